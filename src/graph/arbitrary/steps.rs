//! The steps of a random graph, a function a family: each draws its operands and attributes by the primitive's
//! rules, keeps the bounds of values up to date, and does nothing where a value could grow too large.

use super::{LARGEST, Maker};
use crate::base::{DType, Dim, ReduceOp, TensorType};
use crate::graph::{Contraction, NodeId, Windowing};
use crate::scalar::Func;

impl Maker {
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

    pub(super) fn map(&mut self) {
        use Func::*;
        let x = self.float();
        let bound = self.bound(x);
        let kinds = if self.wish.smooth { 5 } else { 7 };
        match self.below(kinds) {
            0 => {
                let (func, bound) = self.pick(&[
                    (Tanh, 1.0),
                    (Sigmoid, 1.0),
                    (Erf, 1.0),
                    (Sin, 1.0),
                    (Cos, 1.0),
                    (Atan, 1.6),
                    (Asinh, 5.0),
                ]);
                self.call(func, &[x], bound);
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
                let func = self.pick(&[Exp, Expm1, Sinh, Cosh]);
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

    /// Functions, reductions and gathers of whole numbers.
    pub(super) fn whole(&mut self) {
        use Func::*;
        let whole: Vec<NodeId> = self.graph.ids().filter(|id| self.graph.dtype(*id) == DType::I32).collect();
        let x = match whole.len() {
            0 => {
                let shape = self.shape(3);
                self.new_leaf(TensorType::new(DType::I32, shape), -9.0, 9.0)
            }
            n => whole[n - 1 - self.below(n.min(6))],
        };
        let ty = self.graph.ty(x).clone();
        let y = self.new_leaf(ty.clone(), -4.0, 5.0);
        // Both operands have at most six bits and a sign.
        if self.bound(x) <= LARGEST {
            let func =
                self.pick(&[FloorDiv, TruncDiv, Rem, TruncRem, BitAnd, BitOr, BitXor, ShiftRight, Max]);
            self.call(func, &[x, y], 64.0);
        }
        let axes: Vec<usize> = (0..ty.rank()).filter(|_| self.below(2) == 0).collect();
        let n: usize = axes.iter().map(|axis| self.size(&ty.shape[*axis])).product();
        if n > 0 && n as f64 * self.bound(x) < LARGEST {
            let op = self.pick(&[ReduceOp::Sum, ReduceOp::Max, ReduceOp::Min]);
            let bound = n as f64 * self.bound(x);
            let id = self.graph.reduce(op, x, &axes).expect("axes are of the operand");
            self.bounded(id, bound);
        }
        if ty.rank() > 0 {
            let shape = vec![self.dim()];
            let indices = self.new_leaf(TensorType::new(DType::I32, shape), -1.0, 4.0);
            let axis = self.below(ty.rank());
            let id = self.graph.gather(x, indices, axis).expect("the axis is of the table");
            self.bounded(id, self.bound(x));
        }
    }

    pub(super) fn reduce(&mut self) {
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
    pub(super) fn contract(&mut self) {
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

    pub(super) fn view(&mut self) {
        let x = self.float();
        let shape = self.graph.ty(x).shape.clone();
        let rank = shape.len();
        let bound = self.bound(x);
        let made = match self.below(8) {
            6 if rank > 0 => return self.window(x),
            7 if rank > 1 => return self.fold(x),
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

    fn windowing(&mut self, axis: usize) -> Windowing {
        let (stride, dilation) = (1 + self.below(3) as i64, 1 + self.below(2) as i64);
        Windowing { axis, stride, dilation }
    }

    /// As many positions as fit, or one less.
    fn window(&mut self, x: NodeId) {
        let axis = self.below(self.graph.ty(x).rank());
        let window = self.windowing(axis);
        let taps = self.below(4) as i64;
        let Some(n) = self.graph.ty(x).shape[axis].as_const() else { return };
        let room = n - 1 - (taps - 1).max(0) * window.dilation;
        let most = if room < 0 { 0 } else { room / window.stride + 1 };
        let positions = (most - self.below(2) as i64).max(0);
        let id = self.graph.window(x, window, positions, taps).expect("all positions fit");
        self.bounded(id, self.bound(x));
    }

    fn fold(&mut self, x: NodeId) {
        let ty = self.graph.ty(x).clone();
        let axis = self.below(ty.rank() - 1);
        let window = self.windowing(axis);
        let sizes = [0, 1].map(|i| ty.shape[axis + i].as_const());
        let [Some(positions), Some(taps)] = sizes else { return };
        let last = (positions - 1).max(0) * window.stride + (taps - 1).max(0) * window.dilation;
        let bound = self.bound(x) * positions.min(taps).max(1) as f64;
        if bound < LARGEST {
            let n = last + 1 + self.below(2) as i64;
            let id = self.graph.fold(x, window, n).expect("all elements have a place");
            self.bounded(id, bound);
        }
    }

    pub(super) fn concat(&mut self) {
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

    pub(super) fn gather(&mut self) {
        let x = self.float();
        let ty = self.graph.ty(x).clone();
        if ty.rank() == 0 {
            return;
        }
        self.gather_in(x);
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

    /// Lines read and added up at places of their own.
    fn gather_in(&mut self, x: NodeId) {
        let ty = self.graph.ty(x).clone();
        let axis = self.below(ty.rank());
        let batch = self.below(axis + 1);
        let (n, n_read) = (self.size(&ty.shape[axis]), self.dim());
        if n > 0 {
            let shape = [&ty.shape[..batch], &[n_read]].concat();
            let indices = self.new_leaf(TensorType::new(DType::I32, shape), 0.0, n as f64);
            let id = self.graph.gather_in(x, indices, axis, batch).expect("the first axes are the table's");
            self.bounded(id, self.bound(x));
        }
        let bound = self.bound(x) * n as f64;
        if bound < LARGEST {
            let shape = [&ty.shape[..batch], &ty.shape[axis..=axis]].concat();
            let indices = self.new_leaf(TensorType::new(DType::I32, shape), -1.0, 4.0);
            let mut shape = ty.shape.clone();
            shape[axis] = Dim::from(3);
            let id =
                self.graph.scatter_add_in(indices, x, axis, batch, shape).expect("indices are of the axis");
            self.bounded(id, bound);
        }
    }

    /// Values in order, by way of their places; on smooth graphs places are of a leaf, so that small steps do not change them.
    pub(super) fn sort(&mut self) {
        let x = self.float();
        let ty = self.graph.ty(x).clone();
        if ty.rank() == 0 {
            return;
        }
        let axis = self.below(ty.rank());
        let descending = self.below(2) == 0;
        let key = if self.wish.smooth {
            self.new_leaf(TensorType::new(DType::I32, ty.shape), -3.0, 3.0)
        } else {
            x
        };
        let places = self.graph.sort(key, axis, descending).expect("the axis is of the operand");
        self.bounded(places, 5.0);
        let shape = self.graph.ty(places).shape.clone();
        let lines: usize = shape.iter().map(|dim| self.size(dim)).product();
        if axis == 0 && lines > 0 {
            let first: Vec<Dim> = shape[..1].to_vec();
            let start = vec![Dim::from(0); shape.len()];
            let mut one = vec![Dim::from(1); shape.len()];
            one[0] = first[0].clone();
            let line =
                self.graph.slice(places, start, &vec![1; shape.len()], one).expect("a line of the places");
            self.bounded(line, 5.0);
            let line = self.graph.reshape(line, first).expect("the other axes are 1 long");
            self.bounded(line, 5.0);
            let sorted = self.graph.gather(x, line, 0).expect("places are of the axis");
            self.bounded(sorted, self.bound(x));
        }
    }

    /// Casts and `detach`.
    pub(super) fn odd(&mut self) {
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
}
