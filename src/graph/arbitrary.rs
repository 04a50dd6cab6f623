//! Random graphs for tests: well typed, over all primitives, with values to run them on.
//!
//! What enters: a seed, and what to avoid. What leaves: a graph that verifies, and an `Env` in which all its
//! values are finite and small, so that f32 and f64 can be compared. The same seed gives the same graph. Sizes
//! are 0, 1, small primes and `batch`. A `smooth` graph has a gradient wherever its `Env` may be moved a little:
//! none of its functions has a jump or a kink. Not here: gradients (`Op::Grad`).

use super::interpret::{Env, Tensor};
use super::{Contraction, Graph, NodeId};
use crate::base::{DType, Dim, Distribution, ReduceOp, TensorType};
use crate::scalar::Func;

/// What kind of graph is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// How many steps to try; each adds a few nodes, or none.
    pub n_steps: usize,
    /// Only functions with a derivative everywhere.
    pub smooth: bool,
    /// Whether a size may be 0.
    pub empty: bool,
}

impl Default for Wish {
    fn default() -> Wish {
        Wish { n_steps: 12, smooth: false, empty: true }
    }
}

/// A graph with outputs (each value that nothing uses, and `loss`, an f32 scalar of all of them) and what it
/// reads.
pub fn random_graph(seed: u64, wish: Wish) -> (Graph, Env) {
    let mut maker = Maker::new(seed, wish);
    for _ in 0..2 + maker.below(3) {
        maker.leaf();
    }
    for _ in 0..wish.n_steps {
        maker.step();
    }
    maker.finish()
}

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

struct Maker {
    dice: Dice,
    wish: Wish,
    graph: Graph,
    env: Env,
    /// Per node: no element's absolute value is greater.
    bounds: Vec<f64>,
    n_leaves: usize,
    n_sites: u32,
}

/// Values may grow to this; a step that could pass it is not taken.
const LARGEST: f64 = 50.0;
/// Of what a step starts from.
const MOST_ELEMENTS: i64 = 400;
const MOST_AXES: usize = 5;

impl Maker {
    fn new(seed: u64, wish: Wish) -> Maker {
        let mut dice = Dice(seed);
        let batch = [1, 2, 3, 5][(dice.roll() % 4) as usize];
        let mut env = Env { seed, step: dice.roll() % 100, ..Env::default() };
        env.symbols.insert("batch".into(), batch);
        Maker { dice, wish, graph: Graph::new(), env, bounds: Vec::new(), n_leaves: 0, n_sites: 0 }
    }

    fn below(&mut self, n: usize) -> usize {
        (self.dice.roll() % n as u64) as usize
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())].clone()
    }

    /// From `[low, high)`, exact in f32.
    fn number(&mut self, low: f64, high: f64) -> f64 {
        let unit = (self.dice.roll() >> 40) as f64 / f64::from(1 << 24);
        f64::from((low + (high - low) * unit) as f32)
    }

    fn dim(&mut self) -> Dim {
        let zero = if self.wish.empty && self.below(8) == 0 { 0 } else { 4 };
        let sizes = [Dim::symbol("batch"), zero.into(), 1.into(), 2.into(), 3.into(), 5.into()];
        self.pick(&sizes)
    }

    fn shape(&mut self, most_axes: usize) -> Vec<Dim> {
        let rank = self.below(most_axes + 1);
        (0..rank).map(|_| self.dim()).collect()
    }

    fn size(&self, dim: &Dim) -> usize {
        self.env.dim(dim).expect("batch is the only symbol") as usize
    }

    /// Takes a new node into account: the values of all nodes since the last are at most `bound`.
    fn bounded(&mut self, id: NodeId, bound: f64) -> NodeId {
        self.bounds.resize(self.graph.len(), bound);
        id
    }

    fn bound(&self, id: NodeId) -> f64 {
        self.bounds[id.index()]
    }

    fn new_leaf(&mut self, ty: TensorType, low: f64, high: f64) -> NodeId {
        let name = format!("{}{}", self.pick(&["x", "block.w", "m/a.b"]), self.n_leaves);
        self.n_leaves += 1;
        let shape = self.env.shape(&ty.shape).expect("batch is the only symbol");
        let whole = ty.dtype != DType::F32;
        let n_elements = shape.iter().product();
        let number = |maker: &mut Maker| {
            let x = maker.number(low, high);
            if whole { x.floor() } else { x }
        };
        let data: Vec<f64> = (0..n_elements).map(|_| number(self)).collect();
        self.env.leaves.insert(name.clone().into(), Tensor::new(shape, data));
        let is_constant_shape = ty.shape.iter().all(|dim| dim.as_const().is_some());
        let id = match self.below(3) {
            0 if is_constant_shape && !whole => self.graph.param(name, ty),
            1 if is_constant_shape => self.graph.state(name, ty),
            _ => self.graph.input(name, ty),
        };
        self.bounded(id, low.abs().max(high.abs()))
    }

    fn leaf(&mut self) -> NodeId {
        let shape = self.shape(3);
        match self.below(8) {
            0 => self.new_leaf(TensorType::new(DType::U8, shape), 0.0, 40.0),
            1 => self.new_leaf(TensorType::new(DType::I32, shape), -9.0, 9.0),
            2 => {
                let distribution = self.pick(&[Distribution::Uniform, Distribution::Normal]);
                self.n_sites += 1;
                let id = self.graph.random(distribution, self.n_sites, shape);
                self.bounded(id, 6.0)
            }
            3 if !shape.is_empty() => {
                let axis = self.below(shape.len());
                let id = self.graph.iota(shape, axis).expect("the axis is one of the shape");
                self.bounded(id, 5.0)
            }
            4 => {
                let id = self.graph.size(Dim::symbol("batch"));
                self.bounded(id, 5.0)
            }
            _ => self.new_leaf(TensorType::new(DType::F32, shape), -2.0, 2.0),
        }
    }

    /// An f32 node, of late ones rather.
    fn float(&mut self) -> NodeId {
        let small = |ty: &TensorType| {
            let n_elements = self.env.dim(&ty.n_elements()).expect("batch is the only symbol");
            n_elements <= MOST_ELEMENTS && ty.rank() <= MOST_AXES
        };
        let fits = |id: &NodeId| self.graph.dtype(*id) == DType::F32 && small(self.graph.ty(*id));
        let floats: Vec<NodeId> = self.graph.ids().filter(fits).collect();
        let Some(last) = floats.len().checked_sub(1) else {
            let shape = self.shape(3);
            return self.new_leaf(TensorType::new(DType::F32, shape), -2.0, 2.0);
        };
        let back = self.below(floats.len().min(6));
        floats[last - back]
    }

    /// An f32 node of the shape of `x`: an existing one, or one made to fit.
    fn like(&mut self, x: NodeId) -> NodeId {
        let ty = self.graph.ty(x).clone();
        let same: Vec<NodeId> = self.graph.ids().filter(|id| *self.graph.ty(*id) == ty).collect();
        if self.below(3) > 0 {
            return self.pick(&same);
        }
        let from = self.below(ty.rank() + 1);
        let part = self.new_leaf(TensorType::new(DType::F32, ty.shape[from..].to_vec()), -2.0, 2.0);
        let whole = self.graph.broadcast_to(part, &ty.shape).expect("trailing axes broadcast");
        self.bounded(whole, 2.0)
    }

    fn step(&mut self) {
        match self.below(12) {
            0..=3 => self.map(),
            4 => self.reduce(),
            5 | 6 => self.contract(),
            7 | 8 => self.view(),
            9 => self.concat(),
            10 => self.gather(),
            _ => self.odd(),
        };
        assert_eq!(self.bounds.len(), self.graph.len(), "each new node has a bound");
    }

    fn call(&mut self, func: Func, operands: &[NodeId], bound: f64) -> NodeId {
        let id = self.graph.map(func, operands).expect("operands have one shape");
        self.bounded(id, bound)
    }

    /// `x * x + 0.5`: safe to divide by, and to take root and logarithm of.
    fn positive(&mut self, x: NodeId) -> NodeId {
        let bound = self.bound(x).powi(2);
        let square = self.call(Func::Mul, &[x, x], bound);
        let half = self.graph.full(0.5, &self.graph.ty(x).clone());
        self.bounded(half, 0.5);
        self.call(Func::Add, &[square, half], bound + 0.5)
    }

    fn map(&mut self) {
        use Func::*;
        let x = self.float();
        let bound = self.bound(x);
        let kinds = if self.wish.smooth { 5 } else { 7 };
        match self.below(kinds) {
            0 => {
                let func = self.pick(&[Tanh, Sigmoid, Erf, Sin, Cos]);
                self.call(func, &[x], 1.0);
            }
            1 => {
                let y = self.like(x);
                let func = self.pick(&[Add, Sub]);
                self.call(func, &[x, y], bound + self.bound(y));
            }
            2 => {
                let y = self.like(x);
                if bound * self.bound(y) < LARGEST {
                    self.call(Mul, &[x, y], bound * self.bound(y));
                }
            }
            3 if bound < 7.0 => {
                let positive = self.positive(x);
                let (func, bound) = self.pick(&[(Sqrt, 8.0), (Log, 4.0), (Log1p, 4.0)]);
                self.call(func, &[positive], bound);
                let y = self.like(x);
                self.call(Div, &[y, positive], 2.0 * self.bound(y));
            }
            4 if bound < 3.0 => {
                let func = self.pick(&[Exp, Expm1]);
                self.call(func, &[x], 21.0);
            }
            5 => {
                let func = self.pick(&[Abs, Sign, Floor, Ceil, Round, Neg]);
                self.call(func, &[x], bound + 1.0);
                let y = self.like(x);
                let func = self.pick(&[Max, Min]);
                self.call(func, &[x, y], bound.max(self.bound(y)));
            }
            6 => {
                let y = self.like(x);
                let func = self.pick(&[Lt, Le, Gt, Ge, Eq, Ne]);
                let condition = self.call(func, &[x, y], 1.0);
                let not = self.call(Not, &[condition], 1.0);
                let chosen = self.pick(&[condition, not]);
                self.call(Select, &[chosen, x, y], bound.max(self.bound(y)));
            }
            _ => {
                self.call(Neg, &[x], bound);
            }
        }
    }

    fn reduce(&mut self) {
        let x = self.float();
        let ty = self.graph.ty(x).clone();
        let axes: Vec<usize> = (0..ty.rank()).filter(|_| self.below(2) == 0).collect();
        let n: usize = axes.iter().map(|axis| self.size(&ty.shape[*axis])).product();
        let bound = self.bound(x);
        let sum = (ReduceOp::Sum, bound * n as f64);
        let product = (ReduceOp::Prod, bound.max(1.0).powi(n as i32));
        let (op, bound) = match self.below(3) {
            0 if !self.wish.smooth && n > 0 => (self.pick(&[ReduceOp::Max, ReduceOp::Min]), bound),
            1 => product,
            _ => sum,
        };
        if bound < LARGEST {
            let id = self.graph.reduce(op, x, &axes).expect("axes are of the operand");
            self.bounded(id, bound);
        }
        if !self.wish.smooth && ty.rank() > 0 {
            let axis = self.below(ty.rank());
            if self.size(&ty.shape[axis]) > 0 {
                let id = self.graph.argmax(x, axis).expect("the axis is of the operand");
                self.bounded(id, 5.0);
            }
        }
    }

    /// A contraction of a node with a new leaf; labels are drawn for both.
    fn contract(&mut self) {
        let lhs = self.float();
        let shape = self.graph.ty(lhs).shape.clone();
        let labels: Vec<u8> = (b'a'..).take(shape.len()).collect();
        // 0: of the left alone, 1: summed, 2: of both and kept.
        let roles: Vec<usize> = labels.iter().map(|_| self.below(3)).collect();
        let n: usize = (0..shape.len()).filter(|i| roles[*i] == 1).map(|i| self.size(&shape[i])).product();
        if self.bound(lhs) * 2.0 * n as f64 > LARGEST {
            return;
        }
        let with = |role: fn(usize) -> bool| (0..shape.len()).filter(move |i| role(roles[*i]));
        let mut rhs: Vec<(u8, Dim)> =
            with.clone()(|role| role > 0).map(|i| (labels[i], shape[i].clone())).collect();
        let mut out: Vec<u8> = with(|role| role != 1).map(|i| labels[i]).collect();
        if self.below(2) == 0 {
            rhs.push((b'n', self.dim()));
            out.push(b'n');
        }
        if !rhs.is_empty() && !out.is_empty() {
            let turn = self.below(rhs.len());
            rhs.rotate_left(turn);
            let turn = self.below(out.len());
            out.rotate_left(turn);
        }
        let (rhs_labels, rhs_shape): (Vec<u8>, Vec<Dim>) = rhs.into_iter().unzip();
        let rhs = self.new_leaf(TensorType::new(DType::F32, rhs_shape), -2.0, 2.0);
        let bound = self.bound(lhs) * 2.0 * n as f64;
        let contraction = Contraction { lhs: labels, rhs: rhs_labels, out };
        let id = self.graph.contract(lhs, rhs, contraction).expect("labels are drawn by the rules");
        self.bounded(id, bound);
    }

    fn view(&mut self) {
        let x = self.float();
        let shape = self.graph.ty(x).shape.clone();
        let rank = shape.len();
        let bound = self.bound(x);
        let made = match self.below(6) {
            0 => {
                let turn = self.below(rank.max(1));
                let mut permutation: Vec<usize> = (0..rank).collect();
                permutation.rotate_left(turn);
                self.graph.permute(x, &permutation)
            }
            1 => {
                let mut flat = shape.clone();
                if rank > 1 {
                    let last = flat.pop().expect("the rank is more than 1");
                    let before = flat.pop().expect("the rank is more than 1");
                    flat.push(before * last);
                } else {
                    flat.insert(0, Dim::from(1));
                }
                self.graph.reshape(x, flat)
            }
            2 => {
                let mut wide = shape.clone();
                wide.insert(self.below(rank + 1), self.dim());
                let added =
                    wide.iter().zip(shape.iter().map(Some).chain([None])).position(|(w, s)| Some(w) != s);
                let added = added.unwrap_or(rank);
                let axes: Vec<usize> = (0..=rank).filter(|axis| *axis != added).collect();
                self.graph.broadcast(x, &axes, wide)
            }
            3 => {
                // Every size that is known keeps at most its inner half.
                let step: Vec<i64> = shape.iter().map(|_| 1 + self.below(2) as i64).collect();
                let part = |(dim, step): (&Dim, &i64)| match dim.as_const() {
                    Some(n) if n > 1 => (Dim::from(1), Dim::from((n - 2) / step + 1), *step),
                    _ => (Dim::from(0), dim.clone(), 1),
                };
                let parts: Vec<_> = shape.iter().zip(&step).map(part).collect();
                let start: Vec<Dim> = parts.iter().map(|p| p.0.clone()).collect();
                let step: Vec<i64> = parts.iter().map(|p| p.2).collect();
                self.graph.slice(x, start, &step, parts.iter().map(|p| p.1.clone()).collect::<Vec<_>>())
            }
            4 => {
                let start: Vec<Dim> = shape.iter().map(|_| Dim::from(self.below(2))).collect();
                let step: Vec<i64> = shape.iter().map(|_| 1 + self.below(2) as i64).collect();
                let size = |((dim, start), step): ((&Dim, &Dim), &i64)| {
                    dim.clone() * Dim::from(*step) + start.clone() + Dim::from(1)
                };
                let wide: Vec<Dim> = shape.iter().zip(&start).zip(&step).map(size).collect();
                self.graph.pad(x, start, &step, wide)
            }
            _ => {
                let axes: Vec<usize> = (0..rank).filter(|_| self.below(2) == 0).collect();
                self.graph.flip(x, &axes)
            }
        };
        let id = made.expect("views are drawn by the rules");
        self.bounded(id, bound);
    }

    fn concat(&mut self) {
        let x = self.float();
        let rank = self.graph.ty(x).rank();
        if rank == 0 {
            return;
        }
        let axis = self.below(rank);
        let y = self.like(x);
        let bound = self.bound(x).max(self.bound(y));
        let id = self.graph.concat(&[x, y, x], axis).expect("operands have one shape");
        self.bounded(id, bound);
    }

    fn gather(&mut self) {
        let x = self.float();
        let ty = self.graph.ty(x).clone();
        if ty.rank() == 0 {
            return;
        }
        let axis = self.below(ty.rank());
        let n = self.size(&ty.shape[axis]);
        if n > 0 {
            let shape = self.shape(2);
            let indices = self.new_leaf(TensorType::new(DType::I32, shape), 0.0, n as f64);
            let id = self.graph.gather(x, indices, axis).expect("the axis is of the table");
            self.bounded(id, self.bound(x));
        }
        // Some of these indices are out of range, which drops their updates.
        let indices = self.new_leaf(TensorType::new(DType::I32, vec![ty.shape[axis].clone()]), -1.0, 4.0);
        let bound = self.bound(x) * n as f64;
        if bound < LARGEST {
            let mut shape = ty.shape.clone();
            shape[axis] = Dim::from(3);
            let id = self.graph.scatter_add(indices, x, axis, shape).expect("indices are of the axis");
            self.bounded(id, bound);
        }
    }

    /// Casts and `detach`.
    fn odd(&mut self) {
        let id = NodeId(self.below(self.graph.len()) as u32);
        let bound = self.bound(id);
        let made = match self.below(3) {
            0 if !self.wish.smooth => self.graph.detach(id),
            1 if !self.wish.smooth => self.graph.cast(id, DType::I32),
            _ => self.graph.cast(id, DType::F32),
        };
        let made = made.expect("casts are never refused");
        self.bounded(made, bound.max(1.0));
    }

    fn finish(mut self) -> (Graph, Env) {
        let used = super::rewrite::use_counts(&self.graph);
        let ends: Vec<NodeId> = self.graph.ids().filter(|id| used[id.index()] == 0).collect();
        let mut loss = self.graph.constant(0.0, DType::F32);
        for (i, id) in ends.into_iter().enumerate() {
            let float = self.graph.cast(id, DType::F32).expect("casts are never refused");
            let sum = self.graph.sum_all(float).expect("a float sums");
            loss = self.graph.map(Func::Add, &[loss, sum]).expect("scalars add");
            self.graph.outputs.push((format!("value{i}").into(), id));
        }
        self.graph.outputs.push(("loss".into(), loss));
        let variables = self.graph.ids().filter(|id| {
            let op = &self.graph.node(*id).op;
            matches!(op, super::Op::Param(_) | super::Op::State(_))
        });
        for variable in variables.collect::<Vec<_>>() {
            let ty = self.graph.ty(variable).clone();
            let next = self.graph.ids().filter(|id| *self.graph.ty(*id) == ty).next_back();
            self.graph.updates.push((variable, next.expect("the variable itself has its type")));
        }
        (self.graph, self.env)
    }
}
