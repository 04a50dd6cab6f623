//! Random scans: a small body over the slices of a node, with one or two carried values, a matrix that all turns read
//! where there is an axis for it, and yields of both kinds. `tanh` keeps what is carried small.

use super::Maker;
use crate::base::{DType, Dim, TensorType};
use crate::graph::op::scan::Role;
use crate::graph::{Contraction, Graph, NodeId, Scan};
use crate::scalar::Func;

impl Maker {
    pub(super) fn recur(&mut self) {
        let x = self.float();
        let shape = self.graph.ty(x).shape.clone();
        let Some((turns, slice)) = shape.split_first() else { return };
        let ty = TensorType::new(DType::F32, slice);
        let first = self.new_leaf(ty.clone(), -1.0, 1.0);
        let mut operands = vec![first];
        let mut body = Graph::new();
        let h = body.state(Role::Carry(0).name(), ty.clone());
        let second = (self.below(2) == 0).then(|| {
            operands.push(self.new_leaf(TensorType::scalar(DType::F32), -1.0, 1.0));
            body.state(Role::Carry(1).name(), TensorType::scalar(DType::F32))
        });
        operands.push(x);
        let xt = body.input(Role::Slice(0).name(), ty.clone());
        let outer = self.like(first);
        operands.push(outer);
        let o = body.input(Role::Outer(0).name(), ty.clone());
        let mut call = |func: Func, operands: &[NodeId]| body.map(func, operands).expect("of one shape");
        let kept = call(Func::Mul, &[h, o]);
        let mut sum = call(Func::Add, &[kept, xt]);
        let width = slice.last().and_then(Dim::as_const).filter(|n| *n > 0 && self.below(2) == 0);
        if let Some(n) = width {
            let ty = TensorType::new(DType::F32, [Dim::from(n), Dim::from(n)]);
            operands.push(self.new_leaf(ty.clone(), -0.5, 0.5));
            let w = body.input(Role::Outer(1).name(), ty);
            let contraction = Contraction::matmul(slice.len(), 2).expect("the slice has an axis");
            let product = body.contract(h, w, contraction).expect("the matrix is square");
            sum = body.map(Func::Add, &[sum, product]).expect("of one shape");
        }
        if let Some(c) = second {
            let wide = body.broadcast(c, &[], slice).expect("a scalar fits any shape");
            sum = body.map(Func::Sub, &[sum, wide]).expect("of one shape");
        }
        let next = body.map(Func::Tanh, &[sum]).expect("one operand");
        body.updates.push((h, next));
        if let Some(c) = second {
            let total = body.sum_all(next).expect("a float sums");
            // So little that no turn is much steeper than the last.
            let little = body.constant(0.02, DType::F32);
            let total = body.map(Func::Mul, &[total, little]).expect("scalars");
            let moved = body.map(Func::Add, &[total, c]).expect("scalars");
            let next = body.map(Func::Sin, &[moved]).expect("one operand");
            body.updates.push((c, next));
        }
        let product = body.map(Func::Mul, &[next, xt]).expect("of one shape");
        body.outputs.push(("yield.0".into(), product));
        if self.below(2) == 0 {
            body.outputs.push(("yield.1".into(), next));
        }
        let reversed = self.below(2) == 0;
        let scan = Scan { body, turns: turns.clone(), n_sliced: 1, reversed };
        let bound = self.bound(x).max(1.0);
        let (last, yields) = self.graph.scan(scan, &operands).expect("the body fits its operands");
        for id in last.into_iter().chain(yields) {
            self.bounded(id, bound);
        }
    }
}
