//! Inside a group: which nodes share a loop.
//!
//! What enters: a group's nodes, in order. What leaves: clusters in the order in which they run. A `Loop` cluster becomes
//! one nest: elementwise nodes over the same axes, and reductions of what they make; values pass between them in
//! registers. Everything else stands alone. Invariant: what a node needs is made in an earlier cluster, or at the same
//! index of its own.
//!
//! A node goes into the last loop that it fits, so that chains stay together and independent nodes over the same axes share
//! loads; but a reduction goes into the first that makes or reads what it reduces, for who reads it waits for that loop's end. Reductions of one
//! loop run over the same axes; gathers have loops without any. All of a loop lies in memory along the same axis.

use super::blocks::Blocks;
use super::group::Grouping;
use super::layout::Layout;
use super::space::{Read, Reads};
use super::strips::Strips;
use crate::base::Dim;
use crate::base::hash::{FastMap, FastSet};
use crate::graph::{Graph, NodeId, Op};

#[derive(Clone, Debug)]
pub enum Cluster {
    Loop(Loop),
    /// A contraction, concatenation, padding, scatter, sort or fill.
    Single(NodeId),
    /// Loops and contractions, in loops over strips.
    Strips(Box<Strips>),
    /// Loops and contractions, in loops over blocks: the whole of a kernel.
    Blocks(Box<Blocks>),
}

#[derive(Clone, Default, Debug)]
pub struct Loop {
    pub nodes: Vec<NodeId>,
    /// Extents of all axes, those that are reduced last.
    pub extents: Vec<Dim>,
    /// How many axes are parallel, once a reduction has joined.
    pub n_parallel: Option<usize>,
    /// The axis along which its elements are neighbours in memory.
    pub neighbours: Option<usize>,
    /// Nodes that are made here again (`recompute.rs`): who else reads them finds them where they were made first.
    pub again: FastSet<NodeId>,
}

impl Cluster {
    /// Its own nodes: strips and blocks have none, but in their leaves.
    pub fn nodes(&self) -> &[NodeId] {
        match self {
            Cluster::Loop(l) => &l.nodes,
            Cluster::Single(id) => std::slice::from_ref(id),
            Cluster::Strips(_) | Cluster::Blocks(_) => &[],
        }
    }

    /// Whether a node was made before, and is made here again.
    pub fn makes_again(&self, id: NodeId) -> bool {
        matches!(self, Cluster::Loop(l) if l.again.contains(&id))
    }

    /// The clusters that become nests and products: itself, or those in its strips.
    pub fn leaves(&self) -> &[Cluster] {
        match self {
            Cluster::Strips(strips) => &strips.clusters,
            Cluster::Blocks(blocks) => blocks.clusters(),
            _ => std::slice::from_ref(self),
        }
    }
}

/// Whether a node is computed index by index in a loop.
fn is_loop(op: &Op) -> bool {
    matches!(op, Op::Map(_) | Op::Cast | Op::Gather { .. } | Op::Reduce { .. } | Op::ArgMax { .. })
}

pub fn is_reduction(op: &Op) -> bool {
    matches!(op, Op::Reduce { .. } | Op::ArgMax { .. })
}

/// `first`: what the nodes need of the group's scalars.
pub fn fuse(graph: &Graph, all_reads: &Reads, first: Option<Cluster>, nodes: &[NodeId]) -> Vec<Cluster> {
    let mut clusters: Vec<Cluster> = Vec::new();
    let mut place: FastMap<NodeId, usize> = FastMap::default();
    place.reserve(nodes.len());
    // Loops by their extents, in order.
    let mut loops: FastMap<&[Dim], Vec<usize>> = FastMap::default();
    if let Some(scalars) = first {
        scalars.nodes().iter().for_each(|scalar| {
            place.insert(*scalar, 0);
        });
        clusters.push(scalars);
        loops.insert(&[], vec![0]);
    }
    for &id in nodes {
        let op = &graph.node(id).op;
        let reads = all_reads.of(id);
        let mut least = 0;
        for read in reads {
            if let Some(at) = place.get(&read.base) {
                let in_register = is_loop(op)
                    && read.is_whole
                    && matches!(&clusters[*at], Cluster::Loop(_))
                    && !is_reduction(&graph.node(read.base).op);
                least = least.max(if in_register { *at } else { at + 1 });
            }
        }
        for base in all_reads.waits(id) {
            least = least.max(place.get(base).map_or(0, |at| at + 1));
        }
        let extents_and_parallel: Option<(&[Dim], _)> = is_loop(op).then(|| match reads.first() {
            Some(read) if is_reduction(op) => (&read.extents[..], Some(read.n_parallel)),
            _ => (&graph.ty(id).shape[..], None),
        });
        // Axes of equal length need not be the same: a sum over columns has them in another order than its terms. Here it is the axis along which
        // what a node reads are neighbours; what a loop of the group makes at the same index has that of the loop, be it in memory or made again.
        let is_whole = |read: &&Read| {
            let moves = |(n, stride): (&Dim, &Dim)| n.is_const(1) || !stride.is_const(0);
            read.extents.iter().zip(&read.strides[..]).all(moves)
        };
        let along = |read: &Read| match place.get(&read.base).map(|at| &clusters[*at]) {
            Some(Cluster::Loop(l)) if read.is_whole && !is_reduction(&graph.node(read.base).op) => {
                l.neighbours
            }
            _ => read.strides.iter().rposition(|step| step.is_const(1)),
        };
        let neighbours = reads.iter().filter(is_whole).find_map(along);
        let fits = |at: &usize| match (&clusters[*at], &extents_and_parallel) {
            (Cluster::Loop(l), Some((_, n_parallel))) => {
                let same_order = neighbours.is_none() || l.neighbours.is_none() || l.neighbours == neighbours;
                let same_axes = n_parallel.is_none() || l.n_parallel.is_none() || l.n_parallel == *n_parallel;
                // Of loops with loads at an index there are no wide vectors: a sum in one would be made of other parts than elsewhere, and
                // have other last bits than where its terms are made again.
                let gathers = |op: &Op| matches!(op, Op::Gather { .. });
                let mixes = gathers(op) && l.n_parallel.is_some()
                    || is_reduction(op) && l.nodes.iter().any(|other| gathers(&graph.node(*other).op));
                same_axes && same_order && !mixes
            }
            _ => false,
        };
        let has_what_is_read = |at: &usize| {
            let made = clusters[*at].nodes();
            let is_same = |a: &Read, b: &Read| {
                a.base == b.base && a.offset == b.offset && a.strides == b.strides && a.indexed == b.indexed
            };
            let reads_it = |read: &Read| {
                made.iter().any(|other| all_reads.of(*other).iter().any(|also| is_same(read, also)))
            };
            reads.iter().all(|read| made.contains(&read.base) || reads_it(read))
        };
        let alike = extents_and_parallel.as_ref().and_then(|(extents, _)| loops.get(extents));
        let late = || alike.into_iter().flatten().copied().rev().take_while(|at| *at >= least);
        let last = || late().find(fits);
        let first = || late().filter(|at| fits(at) && has_what_is_read(at)).last();
        let at = if is_reduction(op) { first().or_else(last) } else { last() };
        match (at, extents_and_parallel) {
            (Some(at), Some((_, n_parallel))) => {
                let Cluster::Loop(l) = &mut clusters[at] else { unreachable!("only loops were looked for") };
                l.nodes.push(id);
                l.n_parallel = l.n_parallel.or(n_parallel);
                l.neighbours = l.neighbours.or(neighbours);
                place.insert(id, at);
            }
            (_, Some((extents, n_parallel))) => {
                loops.entry(extents).or_default().push(clusters.len());
                clusters.push(Cluster::Loop(Loop {
                    nodes: vec![id],
                    extents: extents.to_vec(),
                    n_parallel,
                    neighbours,
                    ..Loop::default()
                }));
                place.insert(id, clusters.len() - 1);
            }
            _ => {
                clusters.push(Cluster::Single(id));
                place.insert(id, clusters.len() - 1);
            }
        }
    }
    clusters
}

/// A loop of the inline scalars that the nodes need, if they need any.
pub fn scalars(graph: &Graph, layouts: &[Layout], grouping: &Grouping, nodes: &[NodeId]) -> Option<Cluster> {
    let nodes = scalars_of(graph, layouts, grouping, nodes);
    (!nodes.is_empty()).then(|| Cluster::Loop(Loop { nodes, ..Loop::default() }))
}

/// The inline scalars that the nodes need, in order.
fn scalars_of(graph: &Graph, layouts: &[Layout], grouping: &Grouping, nodes: &[NodeId]) -> Vec<NodeId> {
    let mut found: Vec<NodeId> = Vec::new();
    let mut todo: Vec<NodeId> = nodes.to_vec();
    while let Some(id) = todo.pop() {
        for operand in &graph.node(id).operands {
            let base = layouts[operand.index()].base;
            if grouping.inline[base.index()] && !found.contains(&base) {
                found.push(base);
                todo.push(base);
            }
        }
    }
    found.sort();
    found
}
