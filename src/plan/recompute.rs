//! Cheap values are made again where they are read late, instead of being stored and loaded.
//!
//! What enters: a group's clusters. What leaves: the same clusters, some nodes in more than one of them. The backward pass reads
//! what the forward pass made: of `gelu(x + b)` three arrays as large as `x`, and `x` itself is there anyway. A loop that reads such
//! values at its own index makes them again from what lies in memory, by the same operations, so that no bit changes; the loop
//! that made them first no longer stores them. Invariants: what a node needs is made in an earlier cluster, or earlier in its own; a
//! value that anyone but such loops reads is stored as before.
//!
//! The cost model counts bytes for each index of the loop. Given up are, of each value, a store (a read and a write of its
//! line) and a load in each reader. Taken on is a load in each reader of each operand that it does not load already; operands of fewer
//! elements (broadcast ones) cost nothing. One byte may cost `STEPS_PER_BYTE` steps of the scalar table; where, on a CPU, no product wants long
//! tiles and rows are short, tiles are as short as caches want them, and a byte of a cache is worth `STEPS_PER_NEAR_BYTE`: `exp` is
//! stored there, what is one or two steps is made again. On a GPU large products stand alone, and what reads a value late is mostly
//! another launch: there all launches of a plan are looked at together (`recompute_afar`). Values that the same loop
//! makes and the same loops read are looked at together, for they often come of one operand; if that does not pay, one by one. What
//! is kept alive for longer, the new operands, must not be more than what is no longer kept.

use super::Target;
use super::fuse::{Cluster, is_same_index};
use super::group::Grouping;
use super::parts::{Segment, n_phases};
use super::space::{Read, Reads};
use crate::base::hash::{FastMap, FastSet};
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeMap;

const STEPS_PER_BYTE: usize = 2;
const STEPS_PER_NEAR_BYTE: usize = 1;
/// Bytes of a value's row that stay in a core's own caches with a few others and with those of other values.
const NEAR_ROW: i64 = 32 * 1024;

/// Inside of a group, on a CPU. `kept`: nodes that are stored whoever reads them.
pub fn recompute(graph: &Graph, reads: &Reads, kept: &dyn Fn(NodeId) -> bool, clusters: &mut [Cluster]) {
    let anywhere = Where { may_read: &|_, _| true, is_kept_longer: &|_, _| true };
    recompute_where(graph, reads, Target::Cpu, kept, &anywhere, clusters);
}

/// Among all launches of a plan for a GPU, by their groups.
pub fn recompute_afar(
    graph: &Graph,
    reads: &Reads,
    grouping: &Grouping,
    kept: &dyn Fn(NodeId) -> bool,
    segments: &mut [Vec<Segment>],
) {
    let begin = grouping.phases(&segments.iter().map(|of| n_phases(of)).collect::<Vec<_>>());
    // Of each cluster its group and phase.
    let (mut clusters, mut places) = (Vec::new(), Vec::new());
    for (g, of_group) in segments.iter_mut().enumerate() {
        for (i, segment) in of_group.iter_mut().enumerate() {
            places.resize(places.len() + segment.clusters.len(), (g, begin[g] + i));
            clusters.append(&mut segment.clusters.clone());
        }
    }
    let mut last_read: FastMap<NodeId, usize> = FastMap::default();
    for (cluster, (_, phase)) in clusters.iter().zip(&places) {
        for id in cluster.leaves().iter().flat_map(Cluster::nodes) {
            for read in reads.of(*id) {
                let last = last_read.entry(read.base).or_default();
                *last = (*last).max(*phase);
            }
        }
    }
    let writer = |base: NodeId| {
        let update = graph.updates.iter().position(|(variable, _)| *variable == base);
        let at_once = update.filter(|i| !grouping.deferred.contains(i));
        at_once.and_then(|i| grouping.group_of[graph.updates[i].1.index()])
    };
    // Scalars are worked out in the kernels that read them; a variable is read before it is overwritten.
    let may_read = |reader: usize, base: NodeId| {
        let g = places[reader].0;
        !grouping.inline[base.index()] && writer(base).is_none_or(|w| w == g || grouping.comes_after(w, g))
    };
    // By more than the phase behind.
    let is_kept_longer =
        |reader: usize, base: NodeId| last_read.get(&base).is_none_or(|last| last + 1 < places[reader].1);
    let afar = Where { may_read: &may_read, is_kept_longer: &is_kept_longer };
    recompute_where(graph, reads, Target::Cuda, kept, &afar, &mut clusters);
    let mut clusters = clusters.into_iter();
    for segment in segments.iter_mut().flatten() {
        segment.clusters.iter_mut().for_each(|cluster| *cluster = clusters.next().expect("as many"));
    }
}

/// What a cluster may read that it has not read so far.
struct Where<'a> {
    may_read: &'a dyn Fn(usize, NodeId) -> bool,
    /// Whether that keeps the base in memory for longer.
    is_kept_longer: &'a dyn Fn(usize, NodeId) -> bool,
}

fn recompute_where(
    graph: &Graph,
    reads: &Reads,
    target: Target,
    kept: &dyn Fn(NodeId) -> bool,
    place: &Where,
    clusters: &mut [Cluster],
) {
    let wants_rows = |id: &NodeId| matches!(graph.node(*id).op, Op::Contract(_) | Op::Scan(_));
    let has_short_tiles = target == Target::Cpu && !clusters.iter().flat_map(Cluster::nodes).any(wants_rows);
    let mut cx = Recompute { graph, reads, place, home: FastMap::default(), clusters, has_short_tiles };
    for (at, cluster) in cx.clusters.iter().enumerate() {
        cluster.nodes().iter().for_each(|id| {
            cx.home.insert(*id, at);
        });
    }
    // By the loop that makes them and the loops that read them.
    let mut found: BTreeMap<(usize, Vec<usize>), Vec<NodeId>> = BTreeMap::new();
    for at in 0..cx.clusters.len() {
        for id in cx.clusters[at].nodes() {
            if !kept(*id)
                && let Some(readers) = cx.late_readers(*id, at)
            {
                found.entry((at, readers)).or_default().push(*id);
            }
        }
    }
    for ((_, readers), values) in found {
        if let Some(made) = cx.worth(&values, &readers) {
            cx.make_again(&made, &readers);
            continue;
        }
        for value in values {
            if let Some(made) = cx.worth(&[value], &readers) {
                cx.make_again(&made, &readers);
            }
        }
    }
}

struct Recompute<'a> {
    graph: &'a Graph,
    reads: &'a Reads,
    place: &'a Where<'a>,
    /// The cluster that makes a node first.
    home: FastMap<NodeId, usize>,
    clusters: &'a mut [Cluster],
    has_short_tiles: bool,
}

impl Recompute<'_> {
    fn is_map(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id).op, Op::Map(_) | Op::Cast)
    }

    /// The loops besides its own that read a map, if there are any and all read it at their own index.
    fn late_readers(&self, id: NodeId, at: usize) -> Option<Vec<usize>> {
        if !self.is_map(id) || !matches!(self.clusters[at], Cluster::Loop(_)) {
            return None;
        }
        let shape = &self.graph.ty(id).shape;
        let mut readers = Vec::new();
        for (user, read) in self.reads.by_users(id) {
            // What has no place here is written into the bodies that need it.
            let reader = *self.home.get(&user)?;
            let Cluster::Loop(l) = &self.clusters[reader] else { return None };
            if !is_same_index(self.graph, read) || l.extents != *shape {
                return None;
            }
            if reader != at && !readers.contains(&reader) {
                readers.push(reader);
            }
        }
        readers.sort_unstable();
        (!readers.is_empty()).then_some(readers)
    }

    /// Whether an operand is read as it lies in memory: nothing of this group makes it, or not a map does, or it is stored anyway.
    fn is_stored(&self, id: NodeId) -> bool {
        let Some(at) = self.home.get(&id).copied() else { return true };
        !self.is_map(id)
            || self.late_readers(id, at).is_none()
                && self.reads.by_users(id).any(|(user, _)| self.home.get(&user) != Some(&at))
    }

    /// What must be made again for the values, in order, if that costs less.
    fn worth(&self, values: &[NodeId], readers: &[usize]) -> Option<Vec<NodeId>> {
        let mut made: Vec<NodeId> = Vec::new();
        let mut loaded: FastMap<NodeId, &Read> = FastMap::default();
        let mut todo = values.to_vec();
        while let Some(id) = todo.pop() {
            if made.contains(&id) {
                continue;
            }
            made.push(id);
            for read in self.reads.of(id) {
                let is_here = self.home.get(&read.base) == self.home.get(&id);
                if is_here && !self.is_stored(read.base) && is_same_index(self.graph, read) {
                    todo.push(read.base);
                } else if is_here && !self.is_map(read.base) && read.extents == self.graph.ty(read.base).shape
                {
                    // A reduction of the same loop, which is stored only if someone else reads it.
                    return None;
                } else {
                    loaded.insert(read.base, read);
                }
            }
        }
        made.sort_unstable();
        let bytes = |id: &NodeId| self.graph.dtype(*id).bytes();
        let n = readers.len();
        let kept_no_longer: usize = values.iter().map(bytes).sum();
        let mut kept = 0;
        let mut taken_on = 0;
        for (base, read) in &loaded {
            // Of parameters and inputs, and of what is broadcast, nothing more is kept; broadcast operands stay in caches.
            let is_whole = !read.strides.iter().any(|stride| stride.is_const(0));
            let is_leaf = self.graph.node(*base).op.leaf_name().is_some();
            let new_readers = || readers.iter().filter(|reader| !self.loads(**reader, *base));
            if new_readers().any(|reader| !(self.place.may_read)(*reader, *base)) {
                return None;
            }
            if is_whole {
                taken_on += bytes(base) * new_readers().count();
                let is_longer = new_readers().any(|reader| (self.place.is_kept_longer)(*reader, *base));
                kept += if is_leaf || !is_longer { 0 } else { bytes(base) };
            }
        }
        let given_up = kept_no_longer * (2 + n);
        let steps: usize = made.iter().map(|id| n_steps(self.graph, *id)).sum();
        let is_near = self.has_short_tiles && values.iter().all(|id| self.has_short_rows(*id));
        let worth = if is_near { STEPS_PER_NEAR_BYTE } else { STEPS_PER_BYTE };
        let pays = given_up > taken_on && steps * n <= worth * (given_up - taken_on);
        (pays && kept <= kept_no_longer).then_some(made)
    }

    fn has_short_rows(&self, id: NodeId) -> bool {
        let ty = self.graph.ty(id);
        let row = ty.shape.iter().skip(1).try_fold(1i64, |n, size| Some(n.saturating_mul(size.as_const()?)));
        row.is_some_and(|n| n.saturating_mul(ty.dtype.bytes() as i64) <= NEAR_ROW)
    }

    /// Whether a cluster reads a base from memory.
    fn loads(&self, reader: usize, base: NodeId) -> bool {
        let nodes = self.clusters[reader].nodes();
        !nodes.contains(&base)
            && nodes.iter().any(|id| self.reads.of(*id).iter().any(|read| read.base == base))
    }

    fn make_again(&mut self, made: &[NodeId], readers: &[usize]) {
        for reader in readers {
            let Cluster::Loop(l) = &mut self.clusters[*reader] else { unreachable!("readers are loops") };
            let known: FastSet<NodeId> = l.nodes.iter().copied().collect();
            let new = made.iter().filter(|id| !known.contains(id));
            l.again.extend(new.clone());
            l.nodes.extend(new);
            l.nodes.sort_unstable();
        }
    }
}

/// Steps of a map's function.
pub fn n_steps(graph: &Graph, id: NodeId) -> usize {
    let node = graph.node(id);
    let Op::Map(func) = &node.op else { return 2 };
    func.n_steps(node.operands.last().map_or(node.ty.dtype, |operand| graph.dtype(*operand)))
}
