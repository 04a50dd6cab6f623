//! Checked constructors of nodes.
//!
//! What enters: a primitive's attributes and operands. What leaves: the new node, its type worked out by the
//! primitive's shape rule, stamped with `Graph::origin`; or the rule's `ShapeError`, and the graph unchanged.
//! A constructor that would be the identity (a cast to the same type, a reshape to the same shape) gives its
//! operand back. Nothing else is simplified here.

use super::op::{AxisSize, ShapeError, infer};
use super::{Contraction, Graph, Node, NodeId, Op, View, Windowing};
use crate::base::{DType, Dim, Distribution, ReduceOp, TensorType};
use crate::scalar::Func;
use smol_str::SmolStr;

/// The new node, or why there is none.
pub type Built = Result<NodeId, ShapeError>;

impl Graph {
    /// Adds `op`; `requested` is what its type should be where the operands do not determine it.
    pub fn apply(&mut self, op: Op, operands: &[NodeId], requested: &TensorType) -> Built {
        let types: Vec<&TensorType> = operands.iter().map(|id| self.ty(*id)).collect();
        let ty = infer(&op, &types, requested)?;
        Ok(self.push(Node::new(op, ty, operands, self.origin.clone())))
    }

    /// For primitives whose operands determine their type.
    pub fn apply_inferred(&mut self, op: Op, operands: &[NodeId]) -> Built {
        self.apply(op, operands, &TensorType::scalar(DType::F32))
    }

    /// For primitives that cannot be refused.
    fn leaf(&mut self, op: Op, ty: TensorType) -> NodeId {
        self.push(Node::new(op, ty, Vec::new(), self.origin.clone()))
    }

    pub fn input(&mut self, name: impl Into<SmolStr>, ty: TensorType) -> NodeId {
        self.leaf(Op::Input(name.into()), ty)
    }

    pub fn param(&mut self, path: impl Into<SmolStr>, ty: TensorType) -> NodeId {
        self.leaf(Op::Param(path.into()), ty)
    }

    pub fn state(&mut self, path: impl Into<SmolStr>, ty: TensorType) -> NodeId {
        self.leaf(Op::State(path.into()), ty)
    }

    /// A scalar.
    pub fn constant(&mut self, value: f64, dtype: DType) -> NodeId {
        self.leaf(Op::Const(value), TensorType::scalar(dtype))
    }

    /// A size as an f32 scalar: a constant if it is known.
    pub fn size(&mut self, size: Dim) -> NodeId {
        match size.as_const() {
            Some(value) => self.constant(value as f64, DType::F32),
            None => self.leaf(Op::Size(size), TensorType::scalar(DType::F32)),
        }
    }

    /// The index along `axis` of `shape`, as i32.
    pub fn iota(&mut self, shape: impl Into<Vec<Dim>>, axis: usize) -> Built {
        self.apply(Op::Iota { axis }, &[], &TensorType::new(DType::I32, shape))
    }

    pub fn random(&mut self, distribution: Distribution, site: u32, shape: impl Into<Vec<Dim>>) -> NodeId {
        self.leaf(Op::Random { distribution, site }, TensorType::new(DType::F32, shape))
    }

    /// A scalar function of operands of one shape; see `map_broadcast` for others.
    pub fn map(&mut self, func: Func, operands: &[NodeId]) -> Built {
        self.apply_inferred(Op::Map(func), operands)
    }

    pub fn cast(&mut self, x: NodeId, dtype: DType) -> Built {
        if self.dtype(x) == dtype {
            return Ok(x);
        }
        self.apply(Op::Cast, &[x], &TensorType::scalar(dtype))
    }

    /// Folds `axes`, in any order; over no axes it is the operand.
    pub fn reduce(&mut self, op: ReduceOp, x: NodeId, axes: &[usize]) -> Built {
        if axes.is_empty() {
            return Ok(x);
        }
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.apply_inferred(Op::Reduce { op, axes }, &[x])
    }

    pub fn argmax(&mut self, x: NodeId, axis: usize) -> Built {
        self.apply_inferred(Op::ArgMax { axis }, &[x])
    }

    /// The places of the elements along `axis` in order; gather by them to have the elements.
    pub fn sort(&mut self, x: NodeId, axis: usize, descending: bool) -> Built {
        self.apply_inferred(Op::Sort { axis, descending }, &[x])
    }

    pub fn contract(&mut self, lhs: NodeId, rhs: NodeId, contraction: Contraction) -> Built {
        self.apply_inferred(Op::Contract(contraction), &[lhs, rhs])
    }

    /// `lhs @ rhs`; see `Contraction::matmul`.
    pub fn matmul(&mut self, lhs: NodeId, rhs: NodeId) -> Built {
        let (lhs_rank, rhs_rank) = (self.ty(lhs).rank(), self.ty(rhs).rank());
        let contraction = Contraction::matmul(lhs_rank, rhs_rank).ok_or(ShapeError::Rank {
            operand: usize::from(lhs_rank > 0),
            expected: 2,
            found: lhs_rank.min(rhs_rank),
        })?;
        self.contract(lhs, rhs, contraction)
    }

    /// Output axis `i` is input axis `permutation[i]`.
    pub fn permute(&mut self, x: NodeId, permutation: &[usize]) -> Built {
        if self.ty(x).rank() == permutation.len() && permutation.iter().enumerate().all(|(i, p)| i == *p) {
            return Ok(x);
        }
        self.apply_inferred(Op::View(View::Permute(permutation.to_vec())), &[x])
    }

    /// The last two axes changed about.
    pub fn transpose(&mut self, x: NodeId) -> Built {
        let rank = self.ty(x).rank();
        if rank < 2 {
            return Err(ShapeError::Rank { operand: 0, expected: 2, found: rank });
        }
        let mut permutation: Vec<usize> = (0..rank).collect();
        permutation.swap(rank - 2, rank - 1);
        self.permute(x, &permutation)
    }

    pub fn reshape(&mut self, x: NodeId, shape: impl Into<Vec<Dim>>) -> Built {
        let to = TensorType::new(self.dtype(x), shape);
        if *self.ty(x) == to {
            return Ok(x);
        }
        self.apply(Op::View(View::Reshape), &[x], &to)
    }

    /// Input axis `i` becomes axis `axes[i]` of `shape`; see `broadcast_to` for trailing alignment.
    pub fn broadcast(&mut self, x: NodeId, axes: &[usize], shape: impl Into<Vec<Dim>>) -> Built {
        let to = TensorType::new(self.dtype(x), shape);
        if *self.ty(x) == to && axes.len() == to.rank() {
            return Ok(x);
        }
        self.apply(Op::View(View::Broadcast { axes: axes.to_vec() }), &[x], &to)
    }

    /// Every `step[i]`-th element of axis `i` from `start[i]`, `shape[i]` of them.
    pub fn slice(
        &mut self,
        x: NodeId,
        start: impl Into<Vec<Dim>>,
        step: &[i64],
        shape: impl Into<Vec<Dim>>,
    ) -> Built {
        let to = TensorType::new(self.dtype(x), shape);
        let start = start.into();
        if *self.ty(x) == to && start.iter().all(|s| s.is_const(0)) && step.iter().all(|s| *s == 1) {
            return Ok(x);
        }
        self.apply(Op::View(View::Slice { start, step: step.to_vec() }), &[x], &to)
    }

    /// The transpose of `slice`: zeros of `shape` with `x` at `start[i] + index * step[i]`.
    pub fn pad(
        &mut self,
        x: NodeId,
        start: impl Into<Vec<Dim>>,
        step: &[i64],
        shape: impl Into<Vec<Dim>>,
    ) -> Built {
        let to = TensorType::new(self.dtype(x), shape);
        let start = start.into();
        if *self.ty(x) == to && start.iter().all(|s| s.is_const(0)) && step.iter().all(|s| *s == 1) {
            return Ok(x);
        }
        self.apply(Op::View(View::Pad { start, step: step.to_vec() }), &[x], &to)
    }

    /// Each of `axes`, in any order, read backwards.
    pub fn flip(&mut self, x: NodeId, axes: &[usize]) -> Built {
        if axes.is_empty() {
            return Ok(x);
        }
        let mut axes = axes.to_vec();
        axes.sort_unstable();
        self.apply_inferred(Op::View(View::Flip { axes }), &[x])
    }

    /// Axis `axis` as `positions` pieces of `taps` elements; see `Windowing`. Pieces that lie side by side are a reshape.
    pub fn window(
        &mut self,
        x: NodeId,
        window: Windowing,
        positions: impl Into<Dim>,
        taps: impl Into<Dim>,
    ) -> Built {
        let (positions, taps) = (positions.into(), taps.into());
        let mut to = self.ty(x).clone();
        if window.axis < to.rank() {
            let side_by_side = window.dilation == 1
                && taps.is_const(window.stride)
                && to.shape[window.axis] == positions.clone() * taps.clone();
            let single = taps.is_const(1) && window.stride == 1 && to.shape[window.axis] == positions;
            to.shape.splice(window.axis..=window.axis, [positions, taps]);
            if side_by_side || single {
                return self.reshape(x, to.shape);
            }
        }
        self.apply(Op::View(View::Window(window)), &[x], &to)
    }

    /// The transpose of `window`: pieces added up to an axis of size `n`.
    pub fn fold(&mut self, x: NodeId, window: Windowing, n: impl Into<Dim>) -> Built {
        let mut to = self.ty(x).clone();
        if window.axis + 1 < to.rank() {
            to.shape.splice(window.axis..window.axis + 2, [n.into()]);
        }
        self.apply(Op::Fold(window), &[x], &to)
    }

    pub fn concat(&mut self, operands: &[NodeId], axis: usize) -> Built {
        match operands {
            [one] if axis < self.ty(*one).rank() => Ok(*one),
            _ => self.apply_inferred(Op::Concat { axis }, operands),
        }
    }

    /// `table[.., indices, ..]` along `axis`; indices are i32.
    pub fn gather(&mut self, table: NodeId, indices: NodeId, axis: usize) -> Built {
        self.gather_in(table, indices, axis, 0)
    }

    /// The same with the first `batch` axes common to table and indices.
    pub fn gather_in(&mut self, table: NodeId, indices: NodeId, axis: usize, batch: usize) -> Built {
        self.apply_inferred(Op::Gather { axis, batch }, &[table, indices])
    }

    /// Zeros of `shape`, to which `updates` are added at `indices` along `axis`.
    pub fn scatter_add(
        &mut self,
        indices: NodeId,
        updates: NodeId,
        axis: usize,
        shape: impl Into<Vec<Dim>>,
    ) -> Built {
        self.scatter_add_in(indices, updates, axis, 0, shape)
    }

    /// The same with the first `batch` axes common to indices and updates.
    pub fn scatter_add_in(
        &mut self,
        indices: NodeId,
        updates: NodeId,
        axis: usize,
        batch: usize,
        shape: impl Into<Vec<Dim>>,
    ) -> Built {
        let to = TensorType::new(self.dtype(updates), shape);
        self.apply(Op::ScatterAdd { axis, batch }, &[indices, updates], &to)
    }

    pub fn detach(&mut self, x: NodeId) -> Built {
        self.apply_inferred(Op::Detach, &[x])
    }

    /// Stands for a value of this type in a `rule`.
    pub fn hole(&mut self, ty: TensorType) -> NodeId {
        self.leaf(Op::Hole, ty)
    }

    /// `value`, whose cotangent is pulled back to each of `by` as `gradients` say; see `Op::Rule`.
    pub fn rule(&mut self, value: NodeId, by: &[NodeId], holes: [NodeId; 2], gradients: &[NodeId]) -> Built {
        let operands = [&[value], by, &holes, gradients].concat();
        self.apply_inferred(Op::Rule { n: by.len() }, &operands)
    }

    /// `value`, made of `made_of` once more where a gradient needs it; see `Op::Recompute`.
    pub fn recompute(&mut self, value: NodeId, made_of: &[NodeId]) -> Built {
        self.apply_inferred(Op::Recompute, &[&[value], made_of].concat())
    }

    /// `x`, not read before `first` is there.
    pub fn after(&mut self, x: NodeId, first: NodeId) -> Built {
        self.apply_inferred(Op::After, &[x, first])
    }

    /// The gradient of the scalar `loss` with respect to `wrt`.
    pub fn grad(&mut self, loss: NodeId, wrt: NodeId) -> Built {
        self.apply_inferred(Op::Grad, &[loss, wrt])
    }

    /// `x` repeated to `shape`, axes aligned at the last; an axis of size 1 stretches.
    pub fn broadcast_to(&mut self, x: NodeId, shape: &[Dim]) -> Built {
        let from = self.ty(x).shape.clone();
        if from.len() > shape.len() {
            return Err(ShapeError::Rank { operand: 0, expected: shape.len(), found: from.len() });
        }
        let missing = shape.len() - from.len();
        let stretches = |axis: usize| from[axis].is_const(1) && !shape[missing + axis].is_const(1);
        let kept: Vec<usize> = (0..from.len()).filter(|axis| !stretches(*axis)).collect();
        let x = self.reshape(x, kept.iter().map(|axis| from[*axis].clone()).collect::<Vec<_>>())?;
        let axes: Vec<usize> = kept.iter().map(|axis| missing + axis).collect();
        self.broadcast(x, &axes, shape)
    }

    /// A scalar function of operands that are first repeated to their common shape.
    pub fn map_broadcast(&mut self, func: Func, operands: &[NodeId]) -> Built {
        let shapes: Vec<&[Dim]> = operands.iter().map(|id| &self.ty(*id).shape[..]).collect();
        let shape = common_shape(&shapes)?;
        let operands: Result<Vec<_>, _> = operands.iter().map(|x| self.broadcast_to(*x, &shape)).collect();
        self.map(func, &operands?)
    }

    /// `value` everywhere.
    pub fn full(&mut self, value: f64, ty: &TensorType) -> NodeId {
        let scalar = self.constant(value, ty.dtype);
        self.broadcast(scalar, &[], ty.shape.clone()).expect("a scalar fits any shape")
    }

    /// The sum of all elements.
    pub fn sum_all(&mut self, x: NodeId) -> Built {
        let axes: Vec<usize> = (0..self.ty(x).rank()).collect();
        self.reduce(ReduceOp::Sum, x, &axes)
    }

    /// The sum over `axes`, divided by how many there were.
    pub fn mean(&mut self, x: NodeId, axes: &[usize]) -> Built {
        let sum = self.reduce(ReduceOp::Sum, x, axes)?;
        let n = axes.iter().fold(Dim::from(1), |n, axis| n * self.ty(x).shape[*axis].clone());
        let n = self.size(n);
        self.map_broadcast(Func::Div, &[sum, n])
    }
}

/// The shape that all of `shapes` can be repeated to: aligned at the last axis, size 1 stretches, and all other
/// sizes agree.
pub fn common_shape(shapes: &[&[Dim]]) -> Result<Vec<Dim>, ShapeError> {
    let rank = shapes.iter().map(|s| s.len()).max().unwrap_or(0);
    let mut common: Vec<Option<AxisSize>> = vec![None; rank];
    for (operand, shape) in shapes.iter().enumerate() {
        for (axis, size) in shape.iter().enumerate() {
            let place = &mut common[rank - shape.len() + axis];
            let here = AxisSize { operand: Some(operand), axis, size: size.clone() };
            match place {
                Some(there) if there.size == here.size || here.size.is_const(1) => {}
                Some(there) if !there.size.is_const(1) => {
                    return Err(ShapeError::SizesDiffer { left: there.clone(), right: here });
                }
                _ => *place = Some(here),
            }
        }
    }
    Ok(common.into_iter().map(|size| size.expect("the longest shape has every axis").size).collect())
}
