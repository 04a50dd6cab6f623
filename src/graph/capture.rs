//! From a stretch of a graph to a body of its own: how a block of a model's text becomes a scan.
//!
//! The block was built into the graph as if it ran once, on stand-ins for what differs from turn to turn. What enters: the
//! node from which on the block was built, the stand-ins, the values that leave the block. What leaves: a graph of the
//! nodes that depend on a stand-in, and the values of the outer graph that they read. What does not depend on a turn stays
//! outside and is worked out once. Views and constants are copied into the body, for there they cost nothing.
//! Random numbers of the block become slices: fresh ones for each turn. The old nodes are left behind without users.

use super::op::scan::{Role, stacked};
use super::rewrite::{copy_node, reachable};
use super::vectorize::{Lift, Operand};
use super::{Graph, NodeId, Op, Scan, ShapeError, View};
use crate::base::{Dim, TensorType};
use smol_str::format_smolstr;
use std::collections::HashMap;

/// A block, as it stands in the graph.
pub struct Block {
    /// The first node that may belong to it.
    pub from: usize,
    /// Stand-ins for slices, and the tensors whose axis 0 they go through.
    pub slices: Vec<(NodeId, NodeId)>,
    /// Stand-ins for carried values, the values before the first turn, and those after each turn.
    pub carried: Vec<(NodeId, NodeId, NodeId)>,
    pub yields: Vec<NodeId>,
    pub turns: Dim,
    pub reversed: bool,
}

/// A scan's results: the last carried values, and the yields of all turns, stacked along a new axis 0.
pub type Results = (Vec<NodeId>, Vec<NodeId>);

impl Block {
    /// Whether each node from `from` on depends on a turn.
    pub fn varies(&self, graph: &Graph) -> Vec<bool> {
        let mut varies = vec![false; graph.len()];
        for stand_in in self.slices.iter().map(|(s, _)| s).chain(self.carried.iter().map(|(s, ..)| s)) {
            varies[stand_in.index()] = true;
        }
        for id in graph.ids().skip(self.from) {
            let node = graph.node(id);
            let own = matches!(node.op, Op::Random { .. } | Op::Hole);
            varies[id.index()] |= own || node.operands.iter().any(|x| varies[x.index()]);
        }
        varies
    }

    /// The block as a scan. `new_site` gives sites for random numbers.
    ///
    /// # Errors
    /// If a carried value changes its type, or is none that a scan can carry.
    pub fn scan(
        mut self,
        graph: &mut Graph,
        new_site: &mut dyn FnMut() -> u32,
    ) -> Result<Results, ShapeError> {
        self.slice_random(graph, new_site);
        self.scan_sliced(graph)
    }

    /// The scan, once its random numbers are slices.
    fn scan_sliced(self, graph: &mut Graph) -> Result<Results, ShapeError> {
        let varies = self.varies(graph);
        let mut body = Graph::new();
        let mut image: HashMap<NodeId, NodeId> = HashMap::new();
        let mut leaf = |body: &mut Graph, stand_in: NodeId, role: Role| {
            let ty = graph.ty(stand_in).clone();
            let leaf = match role {
                Role::Carry(_) => body.state(role.name(), ty),
                _ => body.input(role.name(), ty),
            };
            image.insert(stand_in, leaf);
            leaf
        };
        let carry: Vec<NodeId> =
            self.carried.iter().enumerate().map(|(i, c)| leaf(&mut body, c.0, Role::Carry(i))).collect();
        for (i, (stand_in, _)) in self.slices.iter().enumerate() {
            leaf(&mut body, *stand_in, Role::Slice(i));
        }
        let mut outer = Vec::new();
        let roots: Vec<NodeId> =
            self.carried.iter().map(|c| c.2).chain(self.yields.iter().copied()).collect();
        let mut cx = Copy { graph, varies: &varies, body: &mut body, image: &mut image, outer: &mut outer };
        let roots: Vec<NodeId> = roots.into_iter().map(|root| cx.value(root)).collect();
        let (next, yields) = roots.split_at(carry.len());
        body.updates = carry.into_iter().zip(next.iter().copied()).collect();
        let named = |(i, id): (usize, &NodeId)| (format_smolstr!("yield.{i}"), *id);
        body.outputs = yields.iter().enumerate().map(named).collect();
        let first = self.carried.iter().map(|c| c.1);
        let operands: Vec<NodeId> = first.chain(self.slices.iter().map(|s| s.1)).chain(outer).collect();
        let scan = Scan { body, turns: self.turns, n_sliced: self.slices.len(), reversed: self.reversed };
        graph.scan(scan, &operands)
    }

    /// As `scan`, but in two levels: a scan over segments of `length` turns, the body of which is a scan over a segment's
    /// turns. The backward pass keeps what is carried from segment to segment and works one segment out again at a time:
    /// memory for `turns / length + length` turns in place of all (Chen et al. 2016, arXiv 1604.06174). `length` divides the number of turns.
    ///
    /// # Errors
    /// As `scan`.
    pub fn scan_in_segments(
        mut self,
        graph: &mut Graph,
        length: &Dim,
        new_site: &mut dyn FnMut() -> u32,
    ) -> Result<Results, ShapeError> {
        self.slice_random(graph, new_site);
        let n_segments = self.turns.exact_div(length).expect("the caller has seen to it");
        let mut outer = Block {
            from: graph.len(),
            slices: Vec::new(),
            carried: Vec::new(),
            yields: Vec::new(),
            turns: n_segments.clone(),
            reversed: self.reversed,
        };
        let stand_in = |graph: &mut Graph, ty: TensorType| {
            let name = format_smolstr!("(stand-in {})", graph.len());
            graph.input(name, ty)
        };
        // The stacks in segments; in a segment its part of them, and what was carried to its start.
        for (slice, stack) in &mut self.slices {
            let ty = graph.ty(*slice).clone();
            let of_segment = stacked(&ty, length);
            let segments = graph.reshape(*stack, stacked(&of_segment, &n_segments).shape)?;
            *stack = stand_in(graph, of_segment);
            outer.slices.push((*stack, segments));
        }
        for (_, first, _) in &mut self.carried {
            let ty = graph.ty(*first).clone();
            let of_segment = stand_in(graph, ty);
            outer.carried.push((of_segment, *first, of_segment));
            *first = of_segment;
        }
        let turns = self.turns.clone();
        self.turns = length.clone();
        let (last, yields) = self.scan_sliced(graph)?;
        for (carried, last) in outer.carried.iter_mut().zip(last) {
            carried.2 = last;
        }
        outer.yields = yields;
        let (last, yields) = outer.scan_sliced(graph)?;
        let mut whole = Vec::new();
        for y in yields {
            let ty = graph.ty(y).clone();
            let of_turn = TensorType::new(ty.dtype, &ty.shape[2..]);
            whole.push(graph.reshape(y, stacked(&of_turn, &turns).shape)?);
        }
        Ok((last, whole))
    }

    /// The block for all slices at once, each by itself: the yields, with a new axis 0. There is nothing carried. A gradient
    /// by what is the same in all turns is taken for each turn by itself: such targets get the new axis, too.
    ///
    /// # Errors
    /// As `Lift::node`.
    pub fn each(
        self,
        graph: &mut Graph,
        new_site: &mut dyn FnMut() -> u32,
    ) -> Result<Vec<NodeId>, ShapeError> {
        let mut varies = self.varies(graph);
        let mut lift = Lift { n: self.turns.clone(), new_site };
        let mut image: HashMap<NodeId, NodeId> = self.slices.iter().copied().collect();
        let end = graph.len();
        for id in (self.from..end).map(|i| NodeId(i as u32)) {
            let node = graph.node(id).clone();
            if node.op == Op::Grad && !varies[node.operands[1].index()] {
                let target = node.operands[1];
                varies[target.index()] = true;
                image.insert(target, lift.lifted(graph, (target, false))?);
            }
        }
        let reached = reachable(graph, self.yields.iter().copied());
        // Targets of gradients may have made more nodes vary.
        for index in self.from..end {
            let id = NodeId(index as u32);
            let of_varying = graph.node(id).operands.iter().any(|x| varies[x.index()]);
            varies[index] |= of_varying;
            if !varies[index] || !reached[index] || image.contains_key(&id) {
                continue;
            }
            let node = graph.node(id).clone();
            let operands: Vec<Operand> =
                node.operands.iter().map(|x| image.get(x).map_or((*x, false), |y| (*y, true))).collect();
            graph.origin = node.origin.clone();
            let new = lift.node(graph, &node, &operands)?;
            image.insert(id, new);
        }
        let result = |id: &NodeId| lift.lifted(graph, image.get(id).map_or((*id, false), |y| (*y, true)));
        self.yields.iter().map(result).collect()
    }

    /// Random numbers of the block become slices of as many for all turns.
    fn slice_random(&mut self, graph: &mut Graph, new_site: &mut dyn FnMut() -> u32) {
        for id in graph.ids().skip(self.from).collect::<Vec<_>>() {
            if let Op::Random { distribution, .. } = graph.node(id).op {
                let shape = stacked(graph.ty(id), &self.turns).shape;
                let all = graph.random(distribution, new_site(), shape);
                self.slices.push((id, all));
            }
        }
    }
}

struct Copy<'a> {
    graph: &'a Graph,
    varies: &'a [bool],
    body: &'a mut Graph,
    image: &'a mut HashMap<NodeId, NodeId>,
    outer: &'a mut Vec<NodeId>,
}

impl Copy<'_> {
    /// The node in the body that stands for one outside.
    fn value(&mut self, root: NodeId) -> NodeId {
        // Not by recursion: a block may be long.
        let mut todo = vec![root];
        while let Some(&id) = todo.last() {
            if self.image.contains_key(&id) {
                todo.pop();
                continue;
            }
            let node = self.graph.node(id);
            let free = match &node.op {
                Op::Const(_) | Op::Size(_) | Op::Iota { .. } | Op::Hole => true,
                Op::View(view) => !matches!(view, View::Pad { .. }),
                _ => false,
            };
            if !free && !self.varies.get(id.index()).copied().unwrap_or(false) {
                let role = Role::Outer(self.outer.len());
                self.outer.push(id);
                self.image.insert(id, self.body.input(role.name(), node.ty.clone()));
                continue;
            }
            let missing: Vec<NodeId> =
                node.operands.iter().copied().filter(|x| !self.image.contains_key(x)).collect();
            if missing.is_empty() {
                let operands: Vec<NodeId> = node.operands.iter().map(|x| self.image[x]).collect();
                self.image.insert(id, copy_node(self.body, self.graph.node(id), &operands));
            }
            todo.extend(missing);
        }
        self.image[&root]
    }
}
