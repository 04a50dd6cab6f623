//! Compositions of primitives that several rooms need, and that take the shapes of their operands into account.
//!
//! What enters: operands. What leaves: the new node, or a primitive's `ShapeError`. Not here: anything that could be said in
//! the language itself.

use super::{Built, Graph, NodeId};

impl Graph {
    /// The order of axes that puts `axis` last; and its inverse.
    fn last(&self, x: NodeId, axis: usize) -> [Vec<usize>; 2] {
        let rank = self.ty(x).rank();
        let mut to: Vec<usize> = (0..rank).filter(|a| *a != axis).collect();
        to.push(axis);
        let mut back = vec![0; to.len()];
        to.iter().enumerate().for_each(|(i, a)| back[*a] = i);
        [to, back]
    }

    /// For each element of `indices`, the element of `x` at that index along `axis`; all other axes are common.
    pub fn take_along(&mut self, x: NodeId, indices: NodeId, axis: usize) -> Built {
        let [to, back] = self.last(x, axis);
        let (x, indices) = (self.permute(x, &to)?, self.permute(indices, &to)?);
        let last = to.len().saturating_sub(1);
        let taken = self.gather_in(x, indices, last, last)?;
        self.permute(taken, &back)
    }

    /// The transpose of `take_along`: zeros, `n` of them along `axis`, to which each update is added at its index.
    pub fn scatter_along(
        &mut self,
        indices: NodeId,
        updates: NodeId,
        axis: usize,
        n: crate::base::Dim,
    ) -> Built {
        let [to, back] = self.last(updates, axis);
        let (indices, updates) = (self.permute(indices, &to)?, self.permute(updates, &to)?);
        let mut shape = self.ty(updates).shape.clone();
        let last = shape.len().saturating_sub(1);
        shape[last] = n;
        let sums = self.scatter_add_in(indices, updates, last, last, shape)?;
        self.permute(sums, &back)
    }
}
