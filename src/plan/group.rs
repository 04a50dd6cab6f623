//! Which nodes are computed in one visit of a tile of rows.
//!
//! What enters: a prepared graph and its layouts. What leaves: groups of nodes, each with the number of rows that
//! its kernel's tile loop covers, and which others it comes after (their numbers are no order). Invariants: every node with storage is in one
//! group (scalars that depend on constants, sizes and the step alone are in none: each kernel works them out for itself);
//! what a node needs from its own group is its own row tile; a variable's new value comes after all reads of the
//! old one.
//!
//! A node joins the group of an operand when it reads there, row by row, the rows that the group has at hand, and when
//! the group does not have to wait for another of its operands. Of several groups the latest made is taken, and the others
//! become one with it, where no third one stands between them. The rule saves a write and a read of memory for each edge
//! inside of a group and repeats no work; what it gives up is width (a group has as many tiles as rows), which `tile.rs`
//! takes into account. Nodes that are made as a whole (scalars, scatters) have one tile.

use super::blocks::Sections;
use super::layout::Layout;
use super::prologue::Prologues;
use super::space::{Read, Reads, has_storage, is_row_aligned};
use crate::base::Dim;
use crate::base::hash::FastSet;
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeMap;

#[derive(Clone, Default, Debug)]
pub struct Group {
    pub nodes: Vec<NodeId>,
    /// `None`: made as a whole, in one tile.
    pub rows: Option<Dim>,
    /// Why it was begun.
    pub reason: String,
    /// Nothing joins it: it holds one scan, whose loop over turns is the whole of its kernel, one contraction that has a
    /// kernel of its own on this target, or a section of `blocks`.
    pub closed: bool,
    /// The contraction that has a kernel of its own, where maps that make its factors or are made of its result are with it
    /// (`prologue.rs`, `epilogue.rs`).
    pub product: Option<NodeId>,
}

pub struct Grouping {
    pub groups: Vec<Group>,
    /// By node.
    pub group_of: Vec<Option<usize>>,
    /// Scalars that every kernel works out for itself, by node.
    pub inline: Vec<bool>,
    /// Groups that each group comes after.
    pub after: Vec<Vec<usize>>,
    /// Groups that may come after each group: all that do are among them.
    pub later: Vec<Vec<usize>>,
    /// Updates whose value cannot be written into the variable at once, for the old value is still needed.
    pub deferred: Vec<usize>,
}

/// `reads`: as sections leave them. `prologues`: of products that are worth a kernel of their own. `alone`: all of these. `long`: reductions that are worth a visit of all that they read.
pub fn group(
    graph: &Graph,
    layouts: &[Layout],
    reads: &Reads,
    sections: &Sections,
    prologues: &Prologues,
    alone: &dyn Fn(NodeId) -> bool,
    long: &dyn Fn(NodeId) -> bool,
) -> Grouping {
    let inline = inline_scalars(graph, layouts);
    let mut cx = Grouping {
        groups: Vec::new(),
        group_of: vec![None; graph.len()],
        inline,
        after: Vec::new(),
        later: Vec::new(),
        deferred: Vec::new(),
    };
    let mut group_of_section: BTreeMap<usize, usize> = BTreeMap::new();
    let of_products: FastSet<NodeId> = prologues.values().flatten().flatten().copied().collect();
    for id in sections.order(graph) {
        if !has_storage(graph, id)
            || cx.inline[id.index()]
            || sections.is_wide(id)
            || of_products.contains(&id)
        {
            continue;
        }
        match sections.section_of(id) {
            None => {
                cx.place(graph, reads, id, alone(id));
                if let (Some(sides), Some(g)) = (prologues.get(&id), cx.group_of[id.index()]) {
                    sides.iter().flatten().for_each(|map| cx.put(reads, *map, g));
                    cx.groups[g].product = Some(id);
                }
            }
            Some(section) => {
                let g = *group_of_section.entry(section).or_insert_with(|| {
                    let reason = "what it sums is larger than all that it is made of".to_string();
                    let rows = graph.ty(id).shape.first().cloned();
                    cx.begin(Group { rows, reason, closed: true, ..Group::default() })
                });
                cx.put(reads, id, g);
            }
        }
    }
    let has_place = |id: NodeId| {
        let is_own = has_storage(graph, id) && !cx.inline[id.index()] && !sections.is_wide(id);
        !is_own || cx.group_of[id.index()].is_some()
    };
    debug_assert!(graph.ids().all(has_place), "every node with storage is in a group");
    cx.visit_once(graph, reads, long);
    cx.order_updates(graph, reads);
    cx.drop_empty();
    cx
}

/// Scalars whose whole cone is constants, sizes and scalar inputs. Roots are left out, for they must be written.
pub fn inline_scalars(graph: &Graph, layouts: &[Layout]) -> Vec<bool> {
    let mut inline = vec![false; graph.len()];
    let roots: Vec<NodeId> = graph.roots().collect();
    for id in graph.ids() {
        let node = graph.node(id);
        let is_free = |operand: &NodeId| {
            let base = layouts[operand.index()].base;
            let leaf = match graph.node(base).op {
                Op::Const(_) | Op::Size(_) => true,
                Op::Input(_) => graph.ty(base).rank() == 0,
                _ => false,
            };
            leaf || inline[base.index()]
        };
        let scalar = node.ty.rank() == 0 && matches!(node.op, Op::Map(_) | Op::Cast);
        inline[id.index()] = scalar && !roots.contains(&id) && node.operands.iter().all(is_free);
    }
    inline
}

impl Grouping {
    /// A new group, which comes after none.
    fn begin(&mut self, group: Group) -> usize {
        self.groups.push(group);
        self.after.push(Vec::new());
        self.later.push(Vec::new());
        self.groups.len() - 1
    }

    fn place(&mut self, graph: &Graph, reads: &Reads, id: NodeId, alone: bool) {
        let rows = reads.rows(id).cloned().filter(|_| !alone);
        let sources: Vec<(usize, &Read)> =
            reads.of(id).iter().filter_map(|r| Some((self.group_of[r.base.index()]?, r))).collect();
        let waits_for: Vec<usize> =
            reads.waits(id).iter().filter_map(|base| self.group_of[base.index()]).collect();
        let fits = |g: usize| {
            let aligned =
                |(from, read): &(usize, &Read)| *from != g || rows.is_none() || is_row_aligned(graph, read);
            let waits = |from: &usize| *from != g && self.comes_after(*from, g);
            !self.groups[g].closed
                && self.groups[g].rows == rows
                && sources.iter().all(aligned)
                && !sources.iter().map(|(from, _)| from).chain(&waits_for).any(waits)
        };
        let mut candidates: Vec<usize> = sources.iter().map(|(g, _)| *g).collect();
        candidates.sort_unstable();
        candidates.dedup();
        let closed = alone || matches!(graph.node(id).op, Op::Scan(_));
        let chosen = candidates.iter().copied().rev().find(|g| !closed && fits(*g));
        let g = chosen.unwrap_or_else(|| {
            let reason = match alone {
                true => "a product that is worth a kernel of its own".into(),
                false => self.reason(&rows, &candidates),
            };
            self.begin(Group { rows: rows.clone(), reason, closed, ..Group::default() })
        });
        // Before any merging: a group that waits for one merged into this one would otherwise stand on both sides of it.
        for from in candidates.iter().chain(&waits_for) {
            self.comes_next(*from, g);
        }
        let joins =
            |other: &usize| sources.iter().all(|(from, read)| from != other || is_row_aligned(graph, read));
        for other in candidates.iter().filter(|other| **other != g && rows.is_some() && joins(other)) {
            if self.groups[*other].rows == rows && self.can_merge(graph, reads, *other, g) {
                self.merge(*other, g);
            }
        }
        self.groups[g].nodes.push(id);
        self.group_of[id.index()] = Some(g);
    }

    /// Puts a node into a group, which comes after those that make what it needs.
    fn put(&mut self, reads: &Reads, id: NodeId, g: usize) {
        let needs = reads.of(id).iter().map(|read| read.base).chain(reads.waits(id).iter().copied());
        for from in needs.filter_map(|base| self.group_of[base.index()]).collect::<Vec<_>>() {
            self.comes_next(from, g);
        }
        self.groups[g].nodes.push(id);
        self.group_of[id.index()] = Some(g);
    }

    /// Whether two groups of equally many rows can be visited together: what they read of each other is their own row, and
    /// no third group needs one of them and is needed by the other.
    fn can_merge(&self, graph: &Graph, reads: &Reads, a: usize, b: usize) -> bool {
        if self.groups[a].closed || self.groups[b].closed {
            return false;
        }
        // Seen from the smaller group.
        let (few, many) =
            if self.groups[a].nodes.len() < self.groups[b].nodes.len() { (a, b) } else { (b, a) };
        let in_many = |id: NodeId| self.group_of[id.index()] == Some(many);
        let aligned = |id: &NodeId| {
            reads.of(*id).iter().all(|r| !in_many(r.base) || is_row_aligned(graph, r))
                && reads.by_users(*id).all(|(user, r)| !in_many(user) || is_row_aligned(graph, r))
        };
        self.groups[few].nodes.iter().all(aligned) && self.may_be_next(b, a) && self.may_be_next(a, b)
    }

    /// Whether no third group comes after one and before the other.
    pub fn may_be_next(&self, last: usize, first: usize) -> bool {
        !self.after[last].iter().any(|g| *g != first && self.comes_after(*g, first))
    }

    /// Groups with long reductions of one kind that read the same are one, if they may be.
    fn visit_once(&mut self, graph: &Graph, reads: &Reads, long: &dyn Fn(NodeId) -> bool) {
        let long_of = |cx: &Grouping, g: usize| -> Vec<NodeId> {
            cx.groups[g].nodes.iter().copied().filter(|id| long(*id)).collect()
        };
        let is_alike = |a: NodeId, b: NodeId| match (&graph.node(a).op, &graph.node(b).op) {
            (Op::Reduce { op: a, .. }, Op::Reduce { op: b, .. }) => a == b,
            _ => false,
        };
        let loaded = |cx: &Grouping, g: usize| -> FastSet<NodeId> {
            let bases = cx.groups[g].nodes.iter().flat_map(|id| reads.of(*id)).map(|read| read.base);
            let is_own = |base: &NodeId| cx.group_of[base.index()] == Some(g);
            bases.filter(|base| !is_own(base) && graph.ty(*base).rank() > 1).collect()
        };
        // Of each group its long reductions, and what it loads.
        let mut known: BTreeMap<usize, (Vec<NodeId>, FastSet<NodeId>)> = BTreeMap::new();
        for g in (0..self.groups.len()).filter(|g| self.groups[*g].rows.is_some()) {
            let long = long_of(self, g);
            if !long.is_empty() {
                known.insert(g, (long, loaded(self, g)));
            }
        }
        let reduces: Vec<usize> = known.keys().copied().collect();
        for (i, a) in reduces.iter().enumerate() {
            for b in &reduces[i + 1..] {
                let ((long_a, of_a), (long_b, of_b)) = (&known[a], &known[b]);
                let same_rows = self.groups[*a].rows == self.groups[*b].rows
                    && long_a.iter().chain(long_b).all(|id| is_alike(long_a[0], *id));
                if same_rows
                    && of_b.iter().any(|base| of_a.contains(base))
                    && self.can_merge(graph, reads, *a, *b)
                {
                    self.merge(*a, *b);
                    known.insert(*b, (long_of(self, *b), loaded(self, *b)));
                    break;
                }
            }
        }
    }

    /// Moves everything of `from` into `to`.
    fn merge(&mut self, from: usize, to: usize) {
        let moved = std::mem::take(&mut self.groups[from].nodes);
        for id in &moved {
            self.group_of[id.index()] = Some(to);
        }
        // Both are in order: of the longer, what comes before the other stays.
        let nodes = &mut self.groups[to].nodes;
        let less = if moved.len() > nodes.len() { std::mem::replace(nodes, moved) } else { moved };
        let from_here = less.first().map_or(nodes.len(), |first| nodes.partition_point(|id| id < first));
        nodes.extend(less);
        nodes[from_here..].sort_unstable();
        for before in std::mem::take(&mut self.after[from]) {
            self.comes_next(before, to);
        }
        for g in std::mem::take(&mut self.later[from]) {
            let after = &mut self.after[g];
            if after.contains(&from) {
                after.retain(|before| *before != from && *before != to);
                if g != to {
                    after.push(to);
                    self.later[to].push(g);
                }
            }
        }
    }

    /// Moves some nodes of `from` into `to`, which comes after all that they need; or all of them, and what they come after.
    pub fn give(&mut self, graph: &Graph, reads: &Reads, from: usize, nodes: &[NodeId], to: usize) {
        if nodes.len() == self.groups[from].nodes.len() {
            self.merge(from, to);
            // What was given before came in any order.
            return self.groups[to].nodes.sort_unstable();
        }
        self.groups[from].nodes.retain(|id| !nodes.contains(id));
        self.groups[to].nodes.extend(nodes);
        for id in nodes {
            self.group_of[id.index()] = Some(to);
        }
        // Who waited for the whole group may need only what is gone.
        for later in
            (0..self.groups.len()).filter(|later| self.after[*later].contains(&from)).collect::<Vec<_>>()
        {
            let group = &self.groups[later];
            let needs = |g: usize| {
                let is_there = |base: NodeId| self.group_of[base.index()] == Some(g);
                let overwrites = |(variable, value): &(NodeId, NodeId)| {
                    group.nodes.contains(value) && reads.by_users(*variable).any(|(user, _)| is_there(user))
                };
                let needed = |id: &NodeId| {
                    reads.of(*id).iter().any(|read| is_there(read.base))
                        || reads.waits(*id).iter().any(|base| is_there(*base))
                };
                group.nodes.iter().any(needed) || graph.updates.iter().any(overwrites)
            };
            let (needs_from, needs_to) = (needs(from), needs(to));
            if !needs_from {
                self.after[later].retain(|g| *g != from);
            }
            if needs_to {
                self.comes_next(to, later);
            }
        }
        self.comes_next(to, from);
    }

    fn reason(&self, rows: &Option<Dim>, sources: &[usize]) -> String {
        let Some(last) = sources.last() else { return "reads inputs and variables".into() };
        match (rows, &self.groups[*last].rows) {
            (None, _) => "makes its result as a whole".into(),
            (Some(rows), Some(others)) if rows != others => format!("its rows are {rows}, not {others}"),
            (Some(_), None) => "needs a result made as a whole".into(),
            _ => "needs other rows than its own, or waits for another group".into(),
        }
    }

    fn comes_next(&mut self, before: usize, after: usize) {
        if before != after && !self.after[after].contains(&before) {
            self.after[after].push(before);
            self.later[before].push(after);
        }
    }

    /// Whether `g` has to wait for `other`, by way of any groups.
    pub fn comes_after(&self, g: usize, other: usize) -> bool {
        let mut seen = vec![false; self.groups.len()];
        let mut todo = vec![g];
        while let Some(next) = todo.pop() {
            if next == other {
                return true;
            }
            if !std::mem::replace(&mut seen[next], true) {
                todo.extend(&self.after[next]);
            }
        }
        false
    }

    /// Groups that became part of another are gone.
    pub fn drop_empty(&mut self) {
        let mut next = 0;
        let mut renumbered = Vec::with_capacity(self.groups.len());
        for group in &self.groups {
            renumbered.push(next);
            next += usize::from(!group.nodes.is_empty());
        }
        let keep: Vec<bool> = self.groups.iter().map(|group| !group.nodes.is_empty()).collect();
        let mut kept = keep.iter();
        self.groups.retain(|_| *kept.next().expect("one a group"));
        for lists in [&mut self.after, &mut self.later] {
            let mut kept = keep.iter();
            lists.retain(|_| *kept.next().expect("one a group"));
        }
        // What is gone comes after none.
        self.later.iter_mut().for_each(|later| later.retain(|g| keep[*g]));
        let lists = self.after.iter_mut().chain(&mut self.later);
        for g in lists.flatten().chain(self.group_of.iter_mut().flatten()) {
            *g = renumbered[*g];
        }
    }

    /// A variable is written by the group that makes its new value, after every other group that reads the old one. Where
    /// that cannot be, the value waits in a buffer of its own until all is done.
    fn order_updates(&mut self, graph: &Graph, reads: &Reads) {
        for (i, (variable, value)) in graph.updates.iter().enumerate() {
            let writer = self.group_of[value.index()].expect("prepared: an update's value has storage");
            let mut readers = Vec::new();
            let mut clash = false;
            for (id, read) in reads.by_users(*variable) {
                let Some(g) = self.group_of[id.index()] else { continue };
                readers.push(g);
                let as_whole = self.groups[g].rows.is_none();
                clash |= g == writer && (as_whole || !is_row_aligned(graph, read));
            }
            clash |= readers.iter().any(|g| *g != writer && self.comes_after(*g, writer));
            if clash {
                self.deferred.push(i);
                continue;
            }
            for g in readers {
                self.comes_next(g, writer);
            }
        }
    }

    /// The first phase of each group, which takes so many: the one after the last of those it comes after.
    pub fn phases(&self, n_phases: &[usize]) -> Vec<usize> {
        let n = self.groups.len();
        let mut phase = vec![0; n];
        let mut n_before: Vec<usize> = self.after.iter().map(Vec::len).collect();
        let mut later: Vec<Vec<usize>> = vec![Vec::new(); n];
        for (g, before) in self.after.iter().enumerate() {
            before.iter().for_each(|b| later[*b].push(g));
        }
        let mut ready: Vec<usize> = (0..n).filter(|g| n_before[*g] == 0).collect();
        let mut n_placed = 0;
        while let Some(g) = ready.pop() {
            n_placed += 1;
            for &next in &later[g] {
                phase[next] = phase[next].max(phase[g] + n_phases[g]);
                n_before[next] -= 1;
                if n_before[next] == 0 {
                    ready.push(next);
                }
            }
        }
        assert_eq!(n_placed, n, "no group waits for itself");
        phase
    }
}
