//! What is elaborated for one thing after another is elaborated once, if it can be copied for the others.
//!
//! What enters: what an optimizer's stage made for one parameter, or a turn of a `repeat` of one value, and another parameter or value of the
//! same type. What leaves: what would have been made for that one: nodes, variables, updates. Invariant: it is the same but for names, sites of
//! random numbers, and what was given. So what asks about all parameters, has said something to the user, or uses what an
//! earlier run left behind is not copied. Not here: how names differ (`optimizer.rs`, `repeat.rs`).

use super::elaborate::{Elaborator, Leaf, MAX_BLOCKS, MAX_NODES};
use super::{Initial, Variable};
use crate::base::TensorType;
use crate::graph::{Node, NodeId, Op, Origin};
use smol_str::SmolStr;
use std::ops::Range;

/// How far everything has come that elaboration adds to.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    nodes: usize,
    leaves: usize,
    updates: usize,
    last_update: Option<(NodeId, NodeId)>,
    library_calls: usize,
    n_sites: u32,
    n_blocks: usize,
    /// What has to stay as it is: how many inputs, shadows, messages and contributions there are.
    others: [usize; 4],
}

/// What was given to a run, what it added, and what came of it.
pub(super) struct Made {
    given: Vec<NodeId>,
    nodes: Range<usize>,
    leaves: Range<usize>,
    updates: Vec<(NodeId, NodeId)>,
    library_calls: Range<usize>,
    sites: Range<u32>,
    n_blocks: usize,
    results: Vec<NodeId>,
    /// Of what would have come next.
    origin: Origin,
}

impl Elaborator<'_> {
    pub(super) fn mark(&self) -> Mark {
        Mark {
            nodes: self.graph.len(),
            leaves: self.leaves.len(),
            updates: self.graph.updates.len(),
            last_update: self.graph.updates.last().copied(),
            library_calls: self.library_calls.len(),
            n_sites: self.n_sites,
            n_blocks: self.n_blocks,
            others: [
                self.inputs.len(),
                self.shadows.len(),
                self.diagnostics.len(),
                self.contributions.as_ref().map_or(0, Vec::len),
            ],
        }
    }

    /// What a run has done since the mark, if it can be copied. Nodes `before` so many are the same for all runs, unless they are
    /// variables. `is_own`: whether a path or scope is that of this run. `begins_as`: the parameter that its states may begin as.
    pub(super) fn made(
        &self,
        since: Mark,
        given: &[NodeId],
        results: Vec<NodeId>,
        before: usize,
        is_own: &dyn Fn(&str) -> bool,
        begins_as: Option<&SmolStr>,
    ) -> Option<Made> {
        let now = self.mark();
        // An update may have taken the place of an earlier one.
        let before_updates = self.graph.updates.get(..since.updates)?;
        if before_updates.last() != since.last_update.as_ref() {
            return None;
        }
        let made = Made {
            given: given.to_vec(),
            nodes: since.nodes..now.nodes,
            leaves: since.leaves..now.leaves,
            updates: self.graph.updates[since.updates..].to_vec(),
            library_calls: since.library_calls..now.library_calls,
            sites: since.n_sites..now.n_sites,
            n_blocks: now.n_blocks - since.n_blocks,
            results,
            origin: self.graph.origin.clone(),
        };
        let is_variable = |id: NodeId| matches!(self.graph.node(id).op, Op::Param(_) | Op::State(_));
        let may_be_read = |id: &NodeId| {
            made.nodes.contains(&id.index()) || given.contains(id) || id.index() < before && !is_variable(*id)
        };
        let may_be_copied = |id: usize| {
            let node = self.graph.node(NodeId(id as u32));
            node.operands.iter().all(may_be_read)
                && is_own(&node.origin.scope)
                && match &node.op {
                    Op::Param(path) | Op::State(path) => is_own(path),
                    // A scan's body has scopes and sites of its own.
                    Op::Input(_) | Op::Scan(_) => false,
                    _ => true,
                }
        };
        let of_leaf = |at: usize| {
            let (path, leaf) = self.leaves.get_index(at).expect("it was added");
            is_own(path) && leaf.variable.begins_as.as_ref().is_none_or(|other| Some(other) == begins_as)
        };
        let is_update =
            |(leaf, next): &(NodeId, NodeId)| made.nodes.contains(&leaf.index()) && may_be_read(next);
        (now.others == since.others
            && is_own(&made.origin.scope)
            && given.iter().all(|id| id.index() < since.nodes)
            && are_different(given)
            && made.nodes.clone().all(may_be_copied)
            && made.leaves.clone().all(of_leaf)
            && made.updates.iter().all(is_update)
            && made.results.iter().all(may_be_read))
        .then_some(made)
    }

    /// The same for others of the same types: the results. `moved`: what a path or scope is called there.
    pub(super) fn copy_made(
        &mut self,
        made: &Made,
        given: &[NodeId],
        moved: &dyn Fn(&str) -> SmolStr,
        begins_as: Option<&SmolStr>,
    ) -> Option<Vec<NodeId>> {
        let types =
            |given: &[NodeId]| -> Vec<&TensorType> { given.iter().map(|id| self.graph.ty(*id)).collect() };
        let is_there = |at: usize| {
            self.leaves.get_index(at).is_some_and(|(path, _)| self.leaves.contains_key(&moved(path)))
        };
        // What is too large is said where it is elaborated.
        let is_large =
            self.graph.len() + made.nodes.len() > MAX_NODES || self.n_blocks + made.n_blocks > MAX_BLOCKS;
        let fits = types(&made.given) == types(given) && are_different(given);
        if !fits || is_large || made.leaves.clone().any(is_there) {
            return None;
        }
        let shift = self.graph.len() - made.nodes.start;
        let image = |id: NodeId| match made.given.iter().position(|other| *other == id) {
            Some(at) => given[at],
            None if made.nodes.contains(&id.index()) => NodeId((id.index() + shift) as u32),
            None => id,
        };
        let site_shift = self.n_sites - made.sites.start;
        // Neighbours mostly come from one place.
        let mut scopes: Option<(SmolStr, SmolStr)> = None;
        for id in made.nodes.clone() {
            let node = self.graph.node(NodeId(id as u32));
            let known = scopes.take().filter(|(scope, _)| *scope == node.origin.scope);
            let (scope, scope_there) =
                known.unwrap_or_else(|| (node.origin.scope.clone(), moved(&node.origin.scope)));
            let op = match &node.op {
                Op::Param(path) => Op::Param(moved(path)),
                Op::State(path) => Op::State(moved(path)),
                Op::Random { distribution, site } => {
                    Op::Random { distribution: *distribution, site: site + site_shift }
                }
                op => op.clone(),
            };
            let operands = node.operands.map(image);
            let origin = Origin { span: node.origin.span, scope: scope_there.clone() };
            let copy = Node::new(op, node.ty.clone(), operands, origin);
            self.graph.push(copy);
            scopes = Some((scope, scope_there));
        }
        for at in made.leaves.clone() {
            let (path, Leaf { variable, call, node }) = self.leaves.get_index(at).expect("it was added");
            let (path, call, node) = (moved(path), *call, image(*node));
            let begins_as = begins_as.filter(|_| variable.begins_as.is_some()).cloned();
            let initial = match &begins_as {
                Some(parameter) => {
                    let initial = self.leaves.get(parameter).map(|leaf| leaf.variable.initial);
                    initial.unwrap_or(Initial::Constant(0.0))
                }
                None => variable.initial,
            };
            let variable = Variable { path: path.clone(), initial, begins_as, ..variable.clone() };
            self.leaves.insert(path, Leaf { variable, call, node });
        }
        for (leaf, next) in &made.updates {
            self.graph.updates.push((image(*leaf), image(*next)));
        }
        for at in made.library_calls.clone() {
            let (nodes, span) = self.library_calls[at].clone();
            self.library_calls.push((nodes.start + shift..nodes.end + shift, span));
        }
        self.n_sites += made.sites.len() as u32;
        self.n_blocks += made.n_blocks;
        self.graph.origin = Origin { span: made.origin.span, scope: moved(&made.origin.scope) };
        Some(made.results.iter().map(|id| image(*id)).collect())
    }
}

fn are_different(given: &[NodeId]) -> bool {
    (1..given.len()).all(|i| !given[..i].contains(&given[i]))
}
