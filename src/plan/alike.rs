//! Launches that are like others but for the values that they read and make: a layer's are like those of the layer before, and the
//! update of one parameter is like that of another of its shape.
//!
//! What enters: the clusters of a launch as they were fused. What leaves: a launch known already that has the same kernel, and whose node
//! each of its nodes stands for. All that is decided after this (what is made again, strips, tile ops, the tile) follows from what is
//! compared here: primitives and types; how each operand is read; which values are the same, which are made in the launch, stored, or a
//! variable's next value; who of the launch reads a value, and whether anyone else does; the order of node numbers. Invariant: equal
//! outlines of nodes that are alike give equal kernels. Not here: clusters of clusters, and what is large, for such a launch comes once.

use super::about::Contents;
use super::fuse::Cluster;
use super::space::{Read, Reads};
use super::{BufferId, Launch};
use crate::base::Dim;
use crate::base::hash::{FastMap, Mixer};
use crate::graph::{Graph, NodeId, Op};
use std::hash::{BuildHasher, BuildHasherDefault};

/// Nodes of a launch that is worth a look.
const MOST_NODES: usize = 256;

/// Where values live, as far as it is known before a launch is lowered.
pub struct Homes<'a> {
    pub global: &'a FastMap<NodeId, BufferId>,
    pub variable_of: &'a FastMap<NodeId, NodeId>,
    /// By node.
    pub inline: &'a [bool],
    /// Whether it has been seen to what the launch's loops make again.
    pub makes_again: bool,
}

/// What launches that are alike have in common, and the nodes of one of them.
pub struct Outline {
    rows: Option<Dim>,
    /// Nodes that are made, then those that are read or written from elsewhere, in the order in which they are named.
    ids: Vec<NodeId>,
    n_made: usize,
    places: FastMap<NodeId, u32>,
    /// Everything about them that can be said by places in that list.
    numbers: Vec<u32>,
}

impl Outline {
    /// Nothing for what is not asked.
    pub fn new(
        graph: &Graph,
        reads: &Reads,
        homes: &Homes,
        rows: Option<&Dim>,
        clusters: &[Cluster],
    ) -> Option<Outline> {
        let n_made: usize = clusters.iter().map(|cluster| cluster.nodes().len()).sum();
        if n_made > MOST_NODES {
            return None;
        }
        let mut cx = Outline {
            rows: rows.cloned(),
            ids: Vec::with_capacity(2 * n_made),
            n_made,
            places: FastMap::default(),
            numbers: Vec::with_capacity(16 * n_made),
        };
        cx.places.reserve(2 * n_made);
        cx.numbers.push(u32::from(homes.makes_again));
        for cluster in clusters {
            let of_loop = match cluster {
                Cluster::Loop(l) if l.again.is_empty() => [l.n_parallel, l.neighbours],
                Cluster::Single(id) if !matches!(graph.node(*id).op, Op::Scan(_)) => [None; 2],
                _ => return None,
            };
            cx.numbers.push(cluster.nodes().len() as u32);
            cx.numbers.extend(of_loop.map(|n| n.map_or(0, |n| n as u32 + 1)));
            cx.numbers.push(u32::from(matches!(cluster, Cluster::Loop(_))));
            for id in cluster.nodes() {
                if cx.places.insert(*id, cx.ids.len() as u32).is_some() {
                    return None;
                }
                cx.ids.push(*id);
            }
        }
        let mut in_order: Vec<u32> = (0..n_made as u32).collect();
        in_order.sort_unstable_by_key(|place| cx.ids[*place as usize]);
        cx.numbers.extend(in_order);
        for at in 0..n_made {
            let id = cx.ids[at];
            for base in reads.of(id).iter().map(|read| read.base).chain(reads.waits(id).iter().copied()) {
                let place = cx.place(base);
                cx.numbers.push(place);
            }
        }
        // What is read may be the next value of a variable, which is then named, too.
        let mut at = 0;
        while let Some(id) = cx.ids.get(at).copied() {
            let variable = homes.variable_of.get(&id).map_or(0, |variable| 1 + cx.place(*variable));
            let is_leaf = graph.node(id).op.leaf_name().is_some();
            let flags =
                [homes.global.contains_key(&id), homes.inline[id.index()], reads.is_update(id), is_leaf];
            cx.numbers.push(flags.iter().fold(variable, |sum, flag| 2 * sum + u32::from(*flag)));
            at += 1;
        }
        // Who of the launch reads a value is said by what they read. Scalars that each launch works out are read in all of them.
        let is_read_elsewhere = |id: &NodeId| {
            let is_here = |user: NodeId| cx.places.get(&user).is_some_and(|place| (*place as usize) < n_made);
            homes.inline[id.index()] || reads.by_users(*id).any(|(user, _)| !is_here(user))
        };
        let read_elsewhere: Vec<u32> =
            cx.ids[..n_made].iter().map(|id| u32::from(is_read_elsewhere(id))).collect();
        cx.numbers.extend(read_elsewhere);
        Some(cx)
    }

    fn place(&mut self, id: NodeId) -> u32 {
        let next = self.ids.len() as u32;
        let place = *self.places.entry(id).or_insert(next);
        if place == next {
            self.ids.push(id);
        }
        place
    }

    /// The node of a launch that is alike that stands for one of this.
    pub fn renamed(&self, id: NodeId, other: &Outline) -> NodeId {
        other.ids[self.places[&id] as usize]
    }

    fn hash(&self) -> u64 {
        BuildHasherDefault::<Mixer>::default().hash_one(&self.numbers)
    }

    fn is_like(&self, graph: &Graph, reads: &Reads, other: &Outline) -> bool {
        let is_read_alike = |(a, b): (&Read, &Read)| {
            a.dtype == b.dtype
                && a.n_parallel == b.n_parallel
                && a.offset == b.offset
                && a.extents == b.extents
                && a.strides == b.strides
                && a.indexed == b.indexed
        };
        let is_made_alike = |(a, b): (&NodeId, &NodeId)| {
            let (of_a, of_b) = (reads.of(*a), reads.of(*b));
            graph.node(*a).is_alike(graph.node(*b))
                && of_a.len() == of_b.len()
                && of_a.iter().zip(of_b).all(is_read_alike)
                && reads.rows(*a) == reads.rows(*b)
        };
        // Of what comes from elsewhere nobody asks how it is made, but of what is written into the bodies that read it.
        let is_given_alike = |(a, b): (&NodeId, &NodeId)| {
            let (a, b) = (graph.node(*a), graph.node(*b));
            let is_written = |op: &Op| matches!(op, Op::Const(_) | Op::Size(_) | Op::Iota { .. });
            a.ty == b.ty && (!is_written(&a.op) && !is_written(&b.op) || a.op.is_same(&b.op))
        };
        let n = self.n_made;
        self.n_made == other.n_made
            && self.rows == other.rows
            && self.ids.len() == other.ids.len()
            && self.numbers == other.numbers
            && self.ids[..n].iter().zip(&other.ids[..n]).all(is_made_alike)
            && self.ids[n..].iter().zip(&other.ids[n..]).all(is_given_alike)
    }
}

/// A launch that others may be like.
pub struct Like {
    pub outline: Outline,
    pub kernel: usize,
    /// The nodes that lie in the kernel's arguments.
    pub arguments: Vec<NodeId>,
    pub contents: Contents,
    pub flops: u64,
}

/// Launches so far, by the hashes of their outlines.
#[derive(Default)]
pub struct Known {
    by_hash: FastMap<u64, Vec<Like>>,
}

impl Known {
    pub fn add(
        &mut self,
        outline: Outline,
        global: &FastMap<NodeId, BufferId>,
        launch: &Launch,
        contents: Contents,
        flops: u64,
    ) {
        let in_buffer =
            |buffer: &BufferId| outline.ids.iter().copied().find(|id| global.get(id) == Some(buffer));
        // One that has an argument of no node's is like no other.
        let Some(arguments) = launch.arguments.iter().map(in_buffer).collect::<Option<Vec<NodeId>>>() else {
            return;
        };
        let like = Like { kernel: launch.kernel, arguments, contents, flops, outline };
        self.by_hash.entry(like.outline.hash()).or_default().push(like);
    }

    /// A launch that is like one with this outline.
    pub fn like(&self, graph: &Graph, reads: &Reads, outline: &Outline) -> Option<&Like> {
        let same = self.by_hash.get(&outline.hash())?;
        same.iter().find(|like| like.outline.is_like(graph, reads, outline))
    }
}
