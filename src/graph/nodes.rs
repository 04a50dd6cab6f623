//! The nodes of a graph: its own while it grows, shared by all its copies once it is finished.
//!
//! What enters: nodes, in order. What leaves: the same. Invariant: a copy of what is finished costs nothing, and what is then added to
//! it, or left out at its end, no copy sees. So a pass that finds nothing to do gives back the graph that it was given, and one that finds something
//! copies what comes after. Not here: what a node is.

use super::Node;
use std::ops::Index;
use std::sync::Arc;

#[derive(Clone, Default)]
pub(super) struct Nodes {
    shared: Arc<Vec<Node>>,
    /// How many of the shared ones are the graph's first.
    n_shared: usize,
    /// Those behind them.
    own: Vec<Node>,
}

impl Index<usize> for Nodes {
    type Output = Node;
    fn index(&self, at: usize) -> &Node {
        if at < self.n_shared { &self.shared[at] } else { &self.own[at - self.n_shared] }
    }
}

impl Nodes {
    pub fn with_capacity(n: usize) -> Nodes {
        Nodes { own: Vec::with_capacity(n), ..Nodes::default() }
    }

    pub fn len(&self) -> usize {
        self.n_shared + self.own.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Node> {
        self.shared[..self.n_shared].iter().chain(&self.own)
    }

    pub fn push(&mut self, node: Node) {
        self.own.push(node);
    }

    /// Leaves out all but the first so many.
    pub fn truncate(&mut self, n: usize) {
        self.own.truncate(n.saturating_sub(self.n_shared));
        self.n_shared = self.n_shared.min(n);
    }

    /// All but the first so many, which are not shared.
    pub fn behind(&mut self, n: usize) -> &mut [Node] {
        &mut self.own[n - self.n_shared..]
    }

    /// All but the first so many, which are left.
    pub fn split_off(&mut self, n: usize) -> Vec<Node> {
        let mut all = self.take();
        let rest = all.split_off(n);
        self.own = all;
        rest
    }

    /// Leaves those that are wanted, as they are changed, and is finished.
    pub fn retain(&mut self, is_wanted: impl FnMut(&mut Node) -> bool) {
        let mut all = self.take();
        all.retain_mut(is_wanted);
        self.own = all;
        self.finish();
    }

    /// All; of what nobody else has, nothing is copied.
    fn take(&mut self) -> Vec<Node> {
        self.finish();
        self.n_shared = 0;
        Arc::unwrap_or_clone(std::mem::take(&mut self.shared))
    }

    /// From now on copies share them.
    pub fn finish(&mut self) {
        if self.own.is_empty() && self.n_shared == self.shared.len() {
            return;
        }
        let mut all = std::mem::take(&mut self.own);
        if self.n_shared > 0 {
            let first = &self.shared[..self.n_shared];
            let mut both = Vec::with_capacity(first.len() + all.len());
            both.extend_from_slice(first);
            both.append(&mut all);
            all = both;
        }
        self.n_shared = all.len();
        self.shared = Arc::new(all);
    }

    /// Whether both are certainly the same, without a look at each.
    pub fn are_those_of(&self, other: &Nodes) -> bool {
        let is_finished = |nodes: &Nodes| nodes.own.is_empty();
        Arc::ptr_eq(&self.shared, &other.shared)
            && self.n_shared == other.n_shared
            && is_finished(self)
            && is_finished(other)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NodeId, Op, Origin};
    use super::*;
    use crate::base::{DType, TensorType};

    fn numbered(values: std::ops::Range<usize>) -> Nodes {
        let mut nodes = Nodes::default();
        for value in values {
            let ty = TensorType::scalar(DType::F32);
            nodes.push(Node::new(Op::Const(value as f64), ty, Vec::<NodeId>::new(), Origin::default()));
        }
        nodes
    }

    fn values(nodes: &Nodes) -> Vec<f64> {
        assert_eq!(nodes.iter().count(), nodes.len());
        let value = |at: usize| match nodes[at].op {
            Op::Const(value) => value,
            _ => unreachable!("all are numbers"),
        };
        (0..nodes.len()).map(value).collect()
    }

    #[test]
    fn what_is_done_to_a_copy_no_other_sees() {
        let mut first = numbered(0..4);
        first.finish();
        let mut second = first.clone();
        assert!(first.are_those_of(&second));
        second.truncate(2);
        second.push(numbered(7..8)[0].clone());
        assert!(!first.are_those_of(&second));
        assert_eq!((values(&first), values(&second)), (vec![0.0, 1.0, 2.0, 3.0], vec![0.0, 1.0, 7.0]));
        second.finish();
        let mut third = second.clone();
        let rest = third.split_off(1);
        assert_eq!((rest.len(), values(&third), values(&second).len()), (2, vec![0.0], 3));
        // Nobody else has these.
        let mut alone = numbered(0..3);
        assert_eq!(alone.split_off(2).len(), 1);
        assert_eq!(values(&alone), [0.0, 1.0]);
    }
}
