//! Cheap values are made again where they are read late, instead of being stored and loaded.
//!
//! What enters: a group's clusters. What leaves: these, some nodes in more than one of them, without loops of which nothing is left. The backward pass reads
//! what the forward pass made: of `gelu(x + b)` three arrays as large as `x`, and `x` itself is there anyway. A loop that reads such
//! values at its own index makes them again from what lies in memory, by the same operations, so that no bit changes; the loop
//! that made them first no longer stores them. Invariants: what a node needs is made in an earlier cluster, or earlier in its own; a
//! value that anyone but such loops reads is stored as before.
//!
//! The cost model counts bytes for each index of the loop. Given up are, of each value, a store (a read and a write of its
//! line) and a load in each reader. Taken on is a load in each reader of each operand that it does not load already, and a store of what
//! nobody would store else; operands of fewer elements (broadcast ones) cost nothing. One byte may cost `STEPS_PER_BYTE` steps of the scalar table; on a GPU more, for an H100 does ten in
//! the time of a byte (NVIDIA, data sheet: 67 TFLOP/s, two a step, and 3.35 TB/s), and half of them are to be left; where, on a CPU, no product wants long
//! tiles and rows are short, tiles are as short as caches want them, and a byte of a cache is worth `STEPS_PER_NEAR_BYTE`: `exp` is
//! stored there, what is one or two steps is made again. On a GPU large products stand alone, and what reads a value late is mostly
//! another launch: there all launches of a plan are looked at together (`recompute_afar`). Values that the same loop
//! makes and the same loops read are looked at together, for they often come of one operand, and there are three ways: all of them are
//! made again; or all, of something that the loop rounds to fewer bytes, which is stored instead; or those that are made of others, which
//! are stored as before. What saves the most is done; then what is left is looked at one by one. What is kept alive for longer, the new
//! operands, must not be more than what is no longer kept. A map that nobody reads any more where it was made first is not made there.

use super::Target;
use super::fuse::Cluster;
use super::group::Grouping;
use super::parts::{Segment, n_phases};
use super::prologue::Prologues;
use super::space::{Read, Reads};
use crate::base::hash::{FastMap, FastSet};
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeMap;

const STEPS_PER_BYTE: usize = 2;
const STEPS_PER_BYTE_OF_GPU: usize = 5;
const STEPS_PER_NEAR_BYTE: usize = 1;
/// Bytes of a value's row that stay in a core's own caches with a few others and with those of other values.
const NEAR_ROW: i64 = 32 * 1024;

/// Inside of a group, on a CPU. `kept`: nodes that are stored whoever reads them.
pub fn recompute(graph: &Graph, reads: &Reads, kept: &dyn Fn(NodeId) -> bool, clusters: &mut Vec<Cluster>) {
    let anywhere = Where {
        may_read: &|_, _| true,
        is_stored: &|_| true,
        is_kept_longer: &|_, _| true,
        makes_more: &|_| true,
    };
    recompute_where(graph, reads, Target::Cpu, kept, &anywhere, clusters);
    clusters.retain(is_left);
}

/// Among all launches of a plan for a GPU, by their groups.
pub fn recompute_afar(
    graph: &Graph,
    reads: &Reads,
    grouping: &Grouping,
    prologues: &Prologues,
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
    // All but a product for its own epilogue.
    let is_stored = |base: NodeId| {
        grouping.group_of[base.index()].is_none_or(|g| grouping.groups[g].product != Some(base))
    };
    // By more than the phase behind.
    let is_kept_longer =
        |reader: usize, base: NodeId| last_read.get(&base).is_none_or(|last| last + 1 < places[reader].1);
    // What a prologue makes is made for every tile of its product: more than was weighed is not.
    let of_products: FastSet<NodeId> = prologues.values().flatten().flatten().copied().collect();
    let makes_more = |cluster: &Cluster| !cluster.nodes().iter().any(|id| of_products.contains(id));
    let afar = Where {
        may_read: &may_read,
        is_stored: &is_stored,
        is_kept_longer: &is_kept_longer,
        makes_more: &makes_more,
    };
    recompute_where(graph, reads, Target::Cuda, kept, &afar, &mut clusters);
    let mut clusters = clusters.into_iter();
    // Scalars alone are worked out for nobody.
    let is_scalars = |cluster: &Cluster| matches!(cluster, Cluster::Loop(l) if l.nodes.iter().all(|id| grouping.inline[id.index()]));
    for (g, of_group) in segments.iter_mut().enumerate() {
        let n_products = usize::from(grouping.groups[g].product.is_some());
        for segment in of_group.iter_mut() {
            segment.clusters.iter_mut().for_each(|cluster| *cluster = clusters.next().expect("as many"));
            segment.clusters.retain(is_left);
            if segment.clusters.iter().filter(|cluster| !is_scalars(cluster)).count() == n_products {
                segment.clusters.retain(|cluster| !is_scalars(cluster));
            }
        }
        of_group.retain(|segment| !segment.clusters.is_empty());
    }
}

/// Not a loop of which all is made elsewhere.
fn is_left(cluster: &Cluster) -> bool {
    !matches!(cluster, Cluster::Loop(l) if l.nodes.is_empty())
}

/// What a cluster may read that it has not read so far.
struct Where<'a> {
    may_read: &'a dyn Fn(usize, NodeId) -> bool,
    /// Whether it is stored for any other cluster.
    is_stored: &'a dyn Fn(NodeId) -> bool,
    /// Whether that keeps the base in memory for longer.
    is_kept_longer: &'a dyn Fn(usize, NodeId) -> bool,
    /// Whether a loop may make more than it does.
    makes_more: &'a dyn Fn(&Cluster) -> bool,
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
    let mut cx =
        Recompute { graph, reads, target, place, home: FastMap::default(), clusters, has_short_tiles };
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
    for ((at, readers), values) in found {
        let mut stored: FastSet<NodeId> = values.iter().copied().collect();
        // All of them, of something narrow that is stored instead or of what there is; or those that are made of others, which stay.
        let mut ways: Vec<(Vec<NodeId>, Option<NodeId>)> =
            cx.narrow(at).map(|narrow| (values.clone(), Some(narrow))).collect();
        ways.extend([(values.clone(), None), (cx.made_of_others(&values), None)]);
        let worth = ways.into_iter().filter_map(|(set, instead)| {
            let stored: FastSet<NodeId> = stored.iter().copied().chain(instead).collect();
            Some((cx.worth(&set, &stored, &readers)?, set))
        });
        // Of two that save as much the first.
        if let Some((again, set)) = worth.min_by_key(|(again, _)| std::cmp::Reverse(again.saved)) {
            cx.make_again(&again.made, &readers);
            set.iter().for_each(|value| _ = stored.remove(value));
        }
        for value in values.into_iter().rev() {
            if stored.contains(&value)
                && let Some(again) = cx.worth(&[value], &stored, &readers)
            {
                cx.make_again(&again.made, &readers);
                stored.remove(&value);
            }
        }
    }
    cx.drop_unread(kept);
}

/// Values that are made again.
struct Again {
    /// What is made for them, in order.
    made: Vec<NodeId>,
    /// Bytes, of each index: not stored and loaded, but for those that must be kept for longer.
    saved: usize,
}

struct Recompute<'a> {
    graph: &'a Graph,
    reads: &'a Reads,
    target: Target,
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
            if !read.is_whole || l.extents != *shape {
                return None;
            }
            if reader != at && !(self.place.makes_more)(&self.clusters[reader]) {
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

    /// Those of a loop's values that others of them are needed for.
    fn made_of_others(&self, values: &[NodeId]) -> Vec<NodeId> {
        let mut made_of: FastSet<NodeId> = values.iter().copied().collect();
        let mut of_others = Vec::new();
        // Operands come before what is made of them.
        for id in self.clusters[self.home[&values[0]]].nodes() {
            if self.reads.of(*id).iter().any(|read| made_of.contains(&read.base)) {
                made_of.insert(*id);
                of_others.extend(values.contains(id).then_some(*id));
            }
        }
        of_others
    }

    /// What a loop rounds to a narrower type.
    fn narrow(&self, at: usize) -> impl Iterator<Item = NodeId> {
        let bytes = |id: NodeId| self.graph.dtype(id).bytes();
        let is_narrow = move |id: &NodeId| {
            let node = self.graph.node(*id);
            node.op == Op::Cast && bytes(*id) < bytes(node.operands[0])
        };
        self.clusters[at].nodes().iter().copied().filter(is_narrow)
    }

    /// Whether a base lies in memory although nobody makes again what loop `at` makes of it.
    fn lies_in_memory(&self, base: NodeId, at: usize) -> bool {
        let is_elsewhere = |user: NodeId| self.home.get(&user) != Some(&at);
        match self.home.get(&base) {
            None => true,
            Some(home) if *home != at && (self.place.is_stored)(base) => true,
            Some(_) => self.reads.by_users(base).any(|(user, _)| is_elsewhere(user)),
        }
    }

    /// What making the values again takes and saves, if it saves anything; of what is stored they are made as it lies in memory.
    fn worth(&self, values: &[NodeId], stored: &FastSet<NodeId>, readers: &[usize]) -> Option<Again> {
        let at = *self.home.get(values.first()?)?;
        let mut made: FastSet<NodeId> = FastSet::default();
        let mut loaded: FastMap<NodeId, &Read> = FastMap::default();
        let mut todo = values.to_vec();
        while let Some(id) = todo.pop() {
            if !made.insert(id) {
                continue;
            }
            for read in self.reads.of(id) {
                let is_here = self.home.get(&read.base) == self.home.get(&id);
                let is_stored = stored.contains(&read.base) && !values.contains(&read.base);
                if is_here && !is_stored && !self.is_stored(read.base) && read.is_whole {
                    todo.push(read.base);
                } else if is_here
                    && !self.is_map(read.base)
                    && *read.extents == *self.graph.ty(read.base).shape
                {
                    // A reduction of the same loop, which is stored only if someone else reads it.
                    return None;
                } else {
                    loaded.insert(read.base, read);
                }
            }
        }
        let mut made: Vec<NodeId> = made.into_iter().collect();
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
                taken_on += if self.lies_in_memory(*base, at) { 0 } else { 2 * bytes(base) };
                let is_longer = new_readers().any(|reader| (self.place.is_kept_longer)(*reader, *base));
                kept += if is_leaf || !is_longer { 0 } else { bytes(base) };
            }
        }
        let given_up = kept_no_longer * (2 + n);
        let steps: usize = made.iter().map(|id| self.graph.n_steps(*id)).sum();
        let is_near = self.has_short_tiles && values.iter().all(|id| self.has_short_rows(*id));
        let worth = match self.target {
            Target::Cpu if is_near => STEPS_PER_NEAR_BYTE,
            Target::Cpu => STEPS_PER_BYTE,
            Target::Cuda => STEPS_PER_BYTE_OF_GPU,
        };
        let pays = given_up > taken_on && steps * n <= worth * (given_up - taken_on);
        (pays && kept <= kept_no_longer)
            .then(|| Again { made, saved: (given_up - taken_on).saturating_sub(kept) })
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

    /// Takes maps out of loops where nobody reads them any more.
    fn drop_unread(&mut self, kept: &dyn Fn(NodeId) -> bool) {
        let mut makers: FastMap<NodeId, Vec<usize>> = FastMap::default();
        for (at, cluster) in self.clusters.iter().enumerate() {
            cluster
                .leaves()
                .iter()
                .flat_map(Cluster::nodes)
                .for_each(|id| makers.entry(*id).or_default().push(at));
        }
        for at in 0..self.clusters.len() {
            let Cluster::Loop(l) = &self.clusters[at] else { continue };
            let maps: Vec<NodeId> =
                l.nodes.iter().rev().copied().filter(|id| self.is_map(*id) && !kept(*id)).collect();
            for id in maps {
                let is_first = !self.clusters[at].makes_again(id);
                // Whoever does not make it itself reads what the first has made.
                let is_read = self.reads.by_users(id).any(|(user, _)| {
                    makers.get(&user).is_none_or(|of_user| {
                        of_user.iter().any(|c| *c == at || is_first && !makers[&id].contains(c))
                    })
                });
                let Cluster::Loop(l) = &mut self.clusters[at] else { unreachable!("it was one") };
                if is_read {
                    continue;
                }
                l.nodes.retain(|node| *node != id);
                l.again.remove(&id);
                makers.get_mut(&id).expect("it is made here").retain(|other| *other != at);
            }
        }
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
