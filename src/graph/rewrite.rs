//! Making a graph from a graph: the tool of passes and of differentiation.
//!
//! What enters: a graph, and what to do with each node. What leaves: a graph in which every node stands for an old one, a new one or, of
//! `rewrite_in` and `prune`, the same; outputs and updates follow. New nodes made while an old node is rewritten carry that node's
//! origin. Not here: what to rewrite.

use super::{Graph, Node, NodeId, Op, Operands, Scan, View};
use crate::base::hash::FastMap;
use crate::base::{Dim, TensorType};
use smol_str::SmolStr;

/// A graph on its way into another. Old nodes are mapped in order; an old node without an image may only be one
/// that nobody needs.
pub struct Rewriter<'a> {
    pub old: &'a Graph,
    pub new: Graph,
    map: Vec<Option<NodeId>>,
}

impl<'a> Rewriter<'a> {
    pub fn new(old: &'a Graph) -> Rewriter<'a> {
        Rewriter { old, new: Graph::with_room_of(old), map: vec![None; old.len()] }
    }

    /// The image of an old node, if it has one yet.
    pub fn image(&self, old: NodeId) -> Option<NodeId> {
        self.map[old.index()]
    }

    /// The images of an old node's operands.
    ///
    /// # Panics
    /// If one has none yet.
    pub fn operands(&self, old: NodeId) -> Vec<NodeId> {
        self.images(old).to_vec()
    }

    fn images(&self, old: NodeId) -> Operands {
        let image =
            |id: NodeId| self.image(id).unwrap_or_else(|| panic!("{id}, needed by {old}, has no image"));
        self.old.node(old).operands.map(image)
    }

    /// From here on, the old node is `new`.
    pub fn set(&mut self, old: NodeId, new: NodeId) {
        self.map[old.index()] = Some(new);
    }

    /// Starts on an old node: what is built next carries its origin.
    pub fn enter(&mut self, old: NodeId) {
        let origin = &self.old.node(old).origin;
        // Neighbours mostly come from one place, and then their scopes are one text.
        let text = |scope: &SmolStr| (scope.as_ptr(), scope.len());
        let same_scope =
            text(&self.new.origin.scope) == text(&origin.scope) || self.new.origin.scope == origin.scope;
        if self.new.origin.span != origin.span || !same_scope {
            self.new.origin = origin.clone();
        }
    }

    /// Maps an old node to a copy of it on the images of its operands.
    pub fn copy(&mut self, old: NodeId) -> NodeId {
        let operands = self.images(old);
        let new = self.new.push(self.old.node(old).on(operands));
        self.set(old, new);
        new
    }

    /// The new graph, with outputs and updates on the images of the old ones.
    ///
    /// # Panics
    /// If one of them has no image.
    pub fn finish(mut self) -> Graph {
        let image = |id: NodeId| self.map[id.index()].unwrap_or_else(|| panic!("the root {id} has no image"));
        self.new.outputs = self.old.outputs.iter().map(|(name, id)| (name.clone(), image(*id))).collect();
        self.new.updates = self.old.updates.iter().map(|(to, from)| (image(*to), image(*from))).collect();
        self.new.origin = self.old.origin.clone();
        self.new.nodes.finish();
        self.new
    }
}

/// The same node on other operands, its type unchanged.
pub fn copy_node(new: &mut Graph, node: &Node, operands: &[NodeId]) -> NodeId {
    new.push(node.on(operands))
}

/// A new graph in which what was found of some old nodes is built in their places.
pub fn replace<Found>(
    graph: &Graph,
    mut found: FastMap<NodeId, Found>,
    mut build: impl FnMut(&mut Rewriter, NodeId, Found) -> NodeId,
) -> Graph {
    if found.is_empty() {
        return graph.clone();
    }
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids() {
        match found.remove(&id) {
            Some(of_node) => {
                rewriter.enter(id);
                let image = build(&mut rewriter, id, of_node);
                rewriter.set(id, image);
            }
            None => {
                rewriter.copy(id);
            }
        }
    }
    rewriter.finish()
}

/// A new graph from what `change` makes of each node: see `rewrite_in`.
pub fn rewrite(graph: &Graph, change: impl FnMut(&mut Graph, &Node, &[NodeId]) -> Option<NodeId>) -> Graph {
    let mut new = graph.clone();
    rewrite_in(&mut new, change);
    new
}

/// Puts what `change` makes of each node, given the images of its operands, in the node's place; where it makes nothing of one, that
/// stays. The image must have the old node's type. A node may be given more than once, and what was made of it before is forgotten: `change`
/// keeps no ids of what it makes. Whether the graph is another now.
pub fn rewrite_in(
    graph: &mut Graph,
    mut change: impl FnMut(&mut Graph, &Node, &[NodeId]) -> Option<NodeId>,
) -> bool {
    graph.nodes.finish();
    // Until a node changes, the new graph is the old one: most passes find nothing to do.
    let mut tried = graph.clone();
    let mut is_changed = |id: &NodeId| {
        let node = graph.node(*id);
        change(&mut tried, node, &node.operands).is_some()
    };
    let Some(first) = graph.ids().find(&mut is_changed) else { return false };
    drop(tried);
    // What comes before is the old graph's, and what comes after moves, but for its operands: nothing of a node is looked at for that.
    let mut new = std::mem::take(graph);
    let rest = new.nodes.split_off(first.index());
    let mut map: Vec<NodeId> = (0..first.0).map(NodeId).collect();
    map.reserve(rest.len());
    let origin = new.origin.clone();
    let mut is_same = true;
    for node in rest {
        let operands = node.operands.map(|id| map[id.index()]);
        let before = new.len();
        is_same = is_same && before == map.len() && operands == node.operands;
        let image = if let Some(mut image) = change(&mut new, &node, &operands) {
            // Where it comes from is written into what is new; what others share would have to be made with it.
            if !new.nodes.behind(before).iter_mut().all(|made| made.comes_from(&node)) {
                new.nodes.truncate(before);
                new.origin.clone_from(&node.origin);
                image = change(&mut new, &node, &operands).expect("it changed a moment ago");
            }
            debug_assert_eq!(new.ty(image), &node.ty, "the rewriting of {} changed its type", map.len());
            let other = new.node(image);
            is_same =
                is_same && image.index() == before && other.operands == operands && other.is_alike(&node);
            image
        } else {
            if new.len() > before {
                new.nodes.truncate(before);
            }
            new.push(node.moved_on(operands))
        };
        map.push(image);
    }
    // A last node may have left others behind it.
    is_same = is_same && new.len() == map.len();
    let image = |id: &mut NodeId| *id = map[id.index()];
    new.outputs.iter_mut().for_each(|(_, id)| image(id));
    new.updates.iter_mut().for_each(|(to, from)| [to, from].into_iter().for_each(image));
    new.origin = origin;
    new.nodes.finish();
    *graph = new;
    !is_same
}

/// Leaves out what no output and no update needs; whether there is anything.
pub fn prune(graph: &mut Graph) -> bool {
    let needed = reachable(graph, graph.roots());
    keep(graph, &needed)
}

/// Leaves out the nodes that are not `needed`; whether there are any.
fn keep(graph: &mut Graph, needed: &[bool]) -> bool {
    if needed.iter().all(|needed| *needed) {
        return false;
    }
    // Of what is left out the number of the next one: nobody asks for it.
    let mut map: Vec<NodeId> = Vec::with_capacity(needed.len());
    let mut next = 0;
    graph.nodes.retain(|node| {
        let is_needed = needed[map.len()];
        if is_needed {
            node.operands.put(|id| {
                debug_assert!(needed[id.index()], "{id} is needed, but was left out");
                map[id.index()]
            });
        }
        map.push(NodeId(next));
        next += u32::from(is_needed);
        is_needed
    });
    let image = |id: &mut NodeId| {
        assert!(needed[id.index()], "the root {id} was left out");
        *id = map[id.index()];
    };
    graph.outputs.iter_mut().for_each(|(_, id)| image(id));
    graph.updates.iter_mut().for_each(|(to, from)| [to, from].into_iter().for_each(image));
    true
}

/// The graph with `replacement(id)`, if any, in the place of each use of `id`. A replacement comes before all
/// users of what it replaces.
pub fn substitute(graph: &Graph, replacement: impl Fn(NodeId) -> Option<NodeId>) -> Graph {
    let mut new = Graph::with_room_of(graph);
    let resolve = |id: &NodeId| replacement(*id).unwrap_or(*id);
    for id in graph.ids() {
        let node = graph.node(id);
        let operands: Vec<NodeId> = node.operands.iter().map(resolve).collect();
        assert!(operands.iter().all(|operand| *operand < id), "a replacement in {id} comes too late");
        copy_node(&mut new, node, &operands);
    }
    new.outputs = graph.outputs.iter().map(|(name, id)| (name.clone(), resolve(id))).collect();
    new.updates = graph.updates.iter().map(|(to, from)| (*to, resolve(from))).collect();
    new.origin = graph.origin.clone();
    new.nodes.finish();
    new
}

/// The graph for one size: `symbol` is `value` wherever it stands.
pub fn specialize(graph: &Graph, symbol: &str, value: i64) -> Graph {
    let size = |dim: &Dim| dim.substitute(&|s| (s == symbol).then(|| Dim::from(value)));
    let sizes = |dims: &[Dim]| -> Vec<Dim> { dims.iter().map(size).collect() };
    let mut new = Graph::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let op = match &node.op {
            Op::Size(dim) => Op::Size(size(dim)),
            Op::View(View::Slice { start, step }) => {
                Op::View(View::Slice { start: sizes(start), step: step.clone() })
            }
            Op::View(View::Pad { start, step }) => {
                Op::View(View::Pad { start: sizes(start), step: step.clone() })
            }
            Op::Scan(scan) => {
                let body = specialize(&scan.body, symbol, value);
                Op::Scan(Box::new(Scan { body, turns: size(&scan.turns), ..**scan }))
            }
            op => op.clone(),
        };
        let ty = TensorType::new(node.ty.dtype, sizes(&node.ty.shape));
        new.push(Node::new(op, ty, node.operands.clone(), node.origin.clone()));
    }
    new.outputs = graph.outputs.clone();
    new.updates = graph.updates.clone();
    new.origin = graph.origin.clone();
    new
}

/// How often each node is used: as an operand, an output or an update's value.
pub fn use_counts(graph: &Graph) -> Vec<usize> {
    let mut counts = vec![0; graph.len()];
    let operands = graph.ids().flat_map(|id| &graph.node(id).operands);
    let outputs = graph.outputs.iter().map(|(_, id)| id);
    let updates = graph.updates.iter().map(|(_, value)| value);
    for id in operands.chain(outputs).chain(updates) {
        counts[id.index()] += 1;
    }
    counts
}

/// The users of each node of a graph.
pub struct Users {
    /// By node: where its own end, which begin where those of the node before end.
    ends: Vec<u32>,
    all: Vec<NodeId>,
}

impl Users {
    pub fn new(graph: &Graph) -> Users {
        let operands = || graph.ids().flat_map(|id| graph.node(id).operands.iter().map(move |x| (*x, id)));
        // First where each node's users begin: as they are put down, that moves to where they end.
        let mut ends = vec![0; graph.len() + 1];
        operands().for_each(|(operand, _)| ends[operand.index() + 1] += 1);
        (1..ends.len()).for_each(|i| ends[i] += ends[i - 1]);
        let mut all = vec![NodeId(0); ends[graph.len()] as usize];
        for (operand, user) in operands() {
            let end = &mut ends[operand.index()];
            all[*end as usize] = user;
            *end += 1;
        }
        Users { ends, all }
    }

    /// In order; a user stands there as often as it uses the node.
    pub fn of(&self, id: NodeId) -> &[NodeId] {
        let begin = id.index().checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[begin as usize..self.ends[id.index()] as usize]
    }
}

/// Whether each node is one of `roots` or needed by one.
pub fn reachable(graph: &Graph, roots: impl IntoIterator<Item = NodeId>) -> Vec<bool> {
    let mut reached = vec![false; graph.len()];
    for root in roots {
        reached[root.index()] = true;
    }
    for id in graph.ids().rev().filter(|id| id.index() < graph.len()) {
        if reached[id.index()] {
            for operand in &graph.node(id).operands {
                reached[operand.index()] = true;
            }
        }
    }
    reached
}
