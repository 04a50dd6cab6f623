//! Sums are put into sections, each of which becomes one kernel.
//!
//! What enters: wide values and their sums. What leaves: sections: sums over the same columns that need nothing of each other but what can be
//! made in between from row to row, in passes; and an order of all nodes in which sections run as a whole. Invariants: a sum is in one
//! section; a wide value is made in every pass that needs it, and nowhere else; no section waits for itself.

use super::super::fuse::{Cluster, Loop, is_reduction};
use super::super::space::Reads;
use super::super::strips::{Along, label};
use super::Sections;
use super::mended::{Reference, is_mended_by};
use super::wide::{Wide, cluster_of, n_elements, turned};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeSet;

/// Nodes between sums of a section, at most: it is no place for a whole network.
const MOST_BETWEEN: usize = 8;

#[derive(Clone)]
pub struct Section {
    pub extents: Vec<Dim>,
    pub n_columns: Dim,
    /// Of all that is made here.
    pub axes: FastMap<NodeId, Vec<Along>>,
    pub passes: Vec<Pass>,
    is_turned: bool,
}

/// A loop over columns, and what follows it.
#[derive(Clone, Default)]
pub struct Pass {
    /// Ascending.
    wide: BTreeSet<NodeId>,
    pub sums: Vec<NodeId>,
    /// What is made of sums from row to row, for passes that follow.
    pub after: Vec<NodeId>,
    pub mended: Option<Mended>,
}

/// Sums that are made in the pass of a maximum that they need.
#[derive(Clone)]
pub struct Mended {
    pub reference: Reference,
    /// The wide values that the maximum is made of: they and it come first in each turn.
    made_of: BTreeSet<NodeId>,
    pub sums: Vec<NodeId>,
}

impl Pass {
    /// What is made in the loop, in order: first what makes the maximum by which sums are mended, then the rest.
    pub fn inside(&self) -> [Vec<NodeId>; 2] {
        let mut all: Vec<NodeId> = self.wide.iter().chain(&self.sums).copied().collect();
        all.sort_unstable();
        let is_first = |id: &NodeId| {
            let mended = self.mended.as_ref();
            mended.is_some_and(|mended| mended.reference.maximum == *id || mended.made_of.contains(id))
        };
        all.into_iter().partition::<Vec<_>, _>(is_first).into()
    }
}

impl Section {
    /// What the section makes for others.
    pub fn members(&self) -> impl Iterator<Item = NodeId> {
        self.passes.iter().flat_map(|pass| pass.sums.iter().chain(&pass.after)).copied()
    }

    fn pass_of(&self, id: NodeId) -> Option<usize> {
        self.passes.iter().position(|pass| pass.sums.contains(&id) || pass.after.contains(&id))
    }
}

/// What a node reads and waits for.
fn needs(reads: &Reads, id: NodeId) -> impl Iterator<Item = NodeId> {
    reads.of(id).iter().map(|read| read.base).chain(reads.waits(id).iter().copied())
}

/// Wide values that a node is made of, by way of others.
fn cone(reads: &Reads, wide: &Wide, id: NodeId) -> BTreeSet<NodeId> {
    let mut found = BTreeSet::new();
    let mut todo = vec![id];
    while let Some(next) = todo.pop() {
        let of = reads.of(next).iter().map(|read| read.base).filter(|base| wide.axes.contains_key(base));
        todo.extend(of.filter(|base| found.insert(*base)).collect::<Vec<_>>());
    }
    found
}

/// Puts the sums of wide values into sections, behind those that there are. `seen`: reads as they are without any wide values.
pub fn put(graph: &Graph, reads: &Reads, seen: &Reads, wide: &Wide, found: &mut Vec<Section>) {
    let n = wide.extents.len();
    let n_before = found.len();
    for sum in &wide.sums {
        let cone = cone(reads, wide, sum.id);
        let last = found[n_before..].iter().rposition(|section| section.is_turned == sum.is_turned);
        let joined = last.and_then(|last| {
            let s = n_before + last;
            let between = between(seen, &found[s], sum.id)?;
            let elsewhere = |id: &NodeId| found.iter().any(|section| section.pass_of(*id).is_some());
            if between.iter().any(elsewhere) {
                return None;
            }
            let mut section = found[s].clone();
            section.take_between(graph, reads, seen, &between)?;
            Some((s, section))
        });
        let s = match joined {
            Some((s, section)) => {
                found[s] = section;
                s
            }
            None => {
                let mut extents = wide.extents.clone();
                let mut n_columns = wide.n_columns.clone();
                if sum.is_turned {
                    std::mem::swap(&mut extents[n - 1], &mut n_columns);
                }
                let (axes, passes) = (FastMap::default(), Vec::new());
                found.push(Section { extents, n_columns, axes, passes, is_turned: sum.is_turned });
                found.len() - 1
            }
        };
        let section = &mut found[s];
        let of = |id: &NodeId| {
            let axes = &wide.axes[id];
            (*id, if sum.is_turned { turned(axes, n) } else { axes.clone() })
        };
        section.axes.extend(cone.iter().map(of));
        let (pass, reference) = section.place_of(graph, reads, seen, wide, sum.id);
        section.passes.resize_with(section.passes.len().max(pass + 1), Pass::default);
        section.passes[pass].wide.extend(cone);
        section.passes[pass].sums.push(sum.id);
        if let Some(reference) = reference {
            let made_of = self::cone(reads, wide, reference.maximum);
            let mended =
                section.passes[pass].mended.get_or_insert(Mended { reference, made_of, sums: Vec::new() });
            mended.sums.push(sum.id);
        }
        let axes = section.labels(graph, reads, sum.id).expect("it was a sum when it was found");
        section.axes.insert(sum.id, axes);
    }
    (n_before..found.len()).for_each(|s| take_readers(graph, reads, seen, found, s));
}

/// Takes in what goes from row to row, reads what a section makes, is no larger and waits for nothing that waits for the section.
fn take_readers(graph: &Graph, reads: &Reads, seen: &Reads, found: &mut [Section], s: usize) {
    let members: BTreeSet<NodeId> = found[s].members().collect();
    let mut readers: BTreeSet<NodeId> =
        members.iter().flat_map(|id| seen.by_users(*id)).map(|(user, _)| user).collect();
    let size = |id: NodeId| n_elements(graph, id);
    let most = members.iter().filter_map(|id| size(*id)).max();
    let mut n_taken = 0;
    while let Some(id) = readers.pop_first() {
        let is_taken = found.iter().any(|section| section.pass_of(id).is_some());
        let is_map =
            matches!(graph.node(id).op, Op::Map(_) | Op::Cast) && size(id).is_some_and(|n| Some(n) <= most);
        let is_next = || between(seen, &found[s], id).is_some_and(|between| between.is_empty());
        if is_taken || !is_map || n_taken == MOST_BETWEEN || !is_next() {
            continue;
        }
        if found[s].take_between(graph, reads, seen, &[id]).is_some() {
            n_taken += 1;
            readers.extend(seen.by_users(id).map(|(user, _)| user));
        }
    }
}

/// Nodes outside of a section that need it and that `last` needs, in order; nothing if there are more than `MOST_BETWEEN`.
fn between(seen: &Reads, section: &Section, last: NodeId) -> Option<Vec<NodeId>> {
    let Some(first) = section.members().min() else { return Some(Vec::new()) };
    let mut cx = Between { seen, section, first, last, waits: FastMap::default(), found: Vec::new() };
    cx.waits(last)?;
    cx.found.sort_unstable();
    Some(cx.found)
}

struct Between<'a> {
    seen: &'a Reads,
    section: &'a Section,
    /// Ids are in an order in which nodes can run: none before it waits for the section.
    first: NodeId,
    last: NodeId,
    waits: FastMap<NodeId, bool>,
    found: Vec<NodeId>,
}

impl Between<'_> {
    /// Whether a node waits for the section; nothing when too many are found that do.
    fn waits(&mut self, id: NodeId) -> Option<bool> {
        if id < self.first {
            return Some(false);
        }
        if let Some(known) = self.waits.get(&id) {
            return Some(*known);
        }
        let (seen, section) = (self.seen, self.section);
        let is_member = |id: NodeId| section.pass_of(id).is_some();
        let mut waits = false;
        for base in needs(seen, id) {
            waits |= is_member(base) || self.waits(base)?;
        }
        self.waits.insert(id, waits);
        if waits && id != self.last && !is_member(id) {
            self.found.push(id);
        }
        (self.found.len() <= MOST_BETWEEN).then_some(waits)
    }
}

impl Section {
    /// What the axes of a value are that reads what the section makes.
    fn labels(&self, graph: &Graph, reads: &Reads, id: NodeId) -> Option<Vec<Along>> {
        let cluster = cluster_of(graph, reads, id)?;
        let of = |id: NodeId| self.axes.get(&id).map(Vec::as_slice);
        let labels = label(graph, reads, &cluster, self.extents.len(), None, &of)?;
        let (_, axes) = labels.values.into_iter().next()?;
        (!labels.adds && labels.along.first() == Some(&Along::Block(0))).then_some(axes)
    }

    /// Whether a value has one number for each row, and no more.
    fn has_rows_alone(&self, graph: &Graph, id: NodeId) -> bool {
        let is_one = |(along, extent): (&Along, &Dim)| *along != Along::Whole || extent.is_const(1);
        self.axes[&id].iter().zip(&graph.ty(id).shape).all(is_one)
    }

    /// In which pass a sum is made: behind all that it needs; or in that of a maximum that it is mended by.
    fn place_of(
        &self,
        graph: &Graph,
        reads: &Reads,
        seen: &Reads,
        wide: &Wide,
        sum: NodeId,
    ) -> (usize, Option<Reference>) {
        let needs: BTreeSet<(usize, NodeId)> =
            needs(seen, sum).filter_map(|base| Some((self.pass_of(base)?, base))).collect();
        let Some((last, base)) = needs.last().copied() else { return (0, None) };
        let pass = &self.passes[last];
        let is_alone = needs.iter().filter(|(pass, _)| *pass == last).count() == 1;
        let is_mended = |reference: &Reference| {
            pass.mended.as_ref().is_none_or(|mended| mended.reference == *reference)
                && self.has_rows_alone(graph, reference.maximum)
                && !seen.waits(sum).contains(&base)
                && is_mended_by(graph, reads, wide, sum, reference)
        };
        let (is_sum, is_after) = (|id| pass.sums.contains(&id), |id| pass.after.contains(&id));
        let reference = is_alone.then(|| Reference::of(graph, reads, base, &is_sum, &is_after)).flatten();
        match reference.filter(is_mended) {
            Some(reference) => (last, Some(reference)),
            None => (last + 1, None),
        }
    }

    /// Takes in what stands between its sums and one more; nothing if that does not go from row to row.
    fn take_between(&mut self, graph: &Graph, reads: &Reads, seen: &Reads, between: &[NodeId]) -> Option<()> {
        for id in between {
            let axes = self.labels(graph, reads, *id)?;
            if axes.contains(&Along::Columns) || is_reduction(&graph.node(*id).op) {
                return None;
            }
            if reads.is_update(*id) {
                return None;
            }
            let pass = needs(seen, *id).filter_map(|base| self.pass_of(base)).max()?;
            self.axes.insert(*id, axes);
            self.passes[pass].after.push(*id);
        }
        Some(())
    }
}

/// Nodes in clusters, and what the axes of their loops are: maps and reductions over the same axes share a loop.
pub fn clusters(
    graph: &Graph,
    reads: &Reads,
    nodes: &[NodeId],
    axes: &FastMap<NodeId, Vec<Along>>,
    n_dimensions: usize,
) -> Vec<(Cluster, Vec<Along>)> {
    let mut found: Vec<(Cluster, Vec<Along>)> = Vec::new();
    let mut place: FastMap<NodeId, usize> = FastMap::default();
    for id in nodes {
        let cluster = cluster_of(graph, reads, *id).expect("a section has a place for it");
        let along = loop_of(graph, reads, &cluster, axes, n_dimensions);
        let mut least = 0;
        for read in reads.of(*id) {
            if let Some(at) = place.get(&read.base) {
                let in_register = matches!((&cluster, &found[*at].0), (Cluster::Loop(_), Cluster::Loop(_)))
                    && read.is_whole
                    && !is_reduction(&graph.node(read.base).op);
                least = least.max(if in_register { *at } else { at + 1 });
            }
        }
        let fits = |at: &usize| match (&found[*at], &cluster) {
            ((Cluster::Loop(l), labels), Cluster::Loop(own)) => {
                let same_axes =
                    l.n_parallel.is_none() || own.n_parallel.is_none() || l.n_parallel == own.n_parallel;
                l.extents == own.extents && *labels == along && same_axes
            }
            _ => false,
        };
        let at = (least..found.len()).rev().find(fits);
        match (at, cluster) {
            (Some(at), Cluster::Loop(own)) => {
                let Cluster::Loop(Loop { nodes, n_parallel, .. }) = &mut found[at].0 else {
                    unreachable!("only loops were looked for")
                };
                nodes.extend(own.nodes);
                *n_parallel = n_parallel.or(own.n_parallel);
                place.insert(*id, at);
            }
            (_, cluster) => {
                found.push((cluster, along));
                place.insert(*id, found.len() - 1);
            }
        }
    }
    found
}

/// What the axes of a cluster's loop are, from those of its value or of what it reads.
fn loop_of(
    graph: &Graph,
    reads: &Reads,
    cluster: &Cluster,
    axes: &FastMap<NodeId, Vec<Along>>,
    n_dimensions: usize,
) -> Vec<Along> {
    let [id] = cluster.nodes() else { unreachable!("a cluster of one node") };
    let n_axes = match cluster {
        Cluster::Loop(l) => l.extents.len(),
        _ => reads.of(*id)[0].extents.len(),
    };
    // A value's own axes are the loop's first; those that are reduced follow from what it reads.
    let of = |id: NodeId| axes.get(&id).map(Vec::as_slice);
    let mut known = axes[id].clone();
    known.resize(n_axes, Along::Whole);
    let labels = label(graph, reads, cluster, n_dimensions, Some(known), &of);
    labels.expect("it was found by its axes").along
}

/// All nodes, those of a section one after another; nothing if two sections wait for each other.
pub fn order(graph: &Graph, seen: &Reads, sections: &Sections) -> Option<Vec<NodeId>> {
    let mut cx = Order {
        seen,
        sections,
        order: Vec::new(),
        done: vec![false; graph.len()],
        open: vec![false; sections.found.len()],
    };
    for id in graph.ids() {
        cx.visit(id)?;
    }
    Some(cx.order)
}

struct Order<'a> {
    seen: &'a Reads,
    sections: &'a Sections,
    order: Vec<NodeId>,
    done: Vec<bool>,
    /// Sections whose needs are being looked for.
    open: Vec<bool>,
}

impl Order<'_> {
    fn visit(&mut self, id: NodeId) -> Option<()> {
        if self.done[id.index()] {
            return Some(());
        }
        match self.sections.section_of(id) {
            None => {
                self.done[id.index()] = true;
                self.visit_needs(&[id])?;
                self.order.push(id);
            }
            Some(s) => {
                if std::mem::replace(&mut self.open[s], true) {
                    return None;
                }
                let mut members: Vec<NodeId> = self.sections.found[s].members().collect();
                members.sort_unstable();
                self.visit_needs(&members)?;
                members.iter().for_each(|id| self.done[id.index()] = true);
                self.order.extend(members);
            }
        }
        Some(())
    }

    fn visit_needs(&mut self, members: &[NodeId]) -> Option<()> {
        for id in members {
            for base in needs(self.seen, *id).collect::<Vec<_>>() {
                if !members.contains(&base) {
                    self.visit(base)?;
                }
            }
        }
        Some(())
    }
}
