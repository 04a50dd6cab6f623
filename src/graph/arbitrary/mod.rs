//! Random graphs for tests: well typed, over all primitives, with values to run them on.
//!
//! What enters: a seed, and what to avoid. What leaves: a graph that verifies, and an `Env` in which all its
//! values are finite and small, so that f32 and f64 can be compared. The same seed gives the same graph. Sizes
//! are 0, 1, small primes and `batch`. A `smooth` graph has a gradient wherever its `Env` may be moved a little:
//! none of its functions has a jump or a kink. Not here: gradients (`Op::Grad`).

pub mod convolutions;
mod recurrence;
mod steps;

use super::interpret::{Env, Tensor};
use super::{Graph, NodeId};
use crate::base::{DType, Dim, Distribution, TensorType};
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
        match self.below(15) {
            0..=3 => self.map(),
            4 => self.reduce(),
            5 | 6 => self.contract(),
            7 | 8 => self.view(),
            9 => self.concat(),
            10 => self.gather(),
            11 => self.recur(),
            12 => self.sort(),
            13 => self.whole(),
            _ => self.odd(),
        };
        assert_eq!(self.bounds.len(), self.graph.len(), "each new node has a bound");
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
            let next = self.graph.ids().rfind(|id| *self.graph.ty(*id) == ty);
            self.graph.updates.push((variable, next.expect("the variable itself has its type")));
        }
        (self.graph, self.env)
    }
}
