//! Rows of rows: what a group makes from place to place of a sequence has a block of threads for some places, not for all of an example's.
//!
//! What enters: the clusters of a group whose rows are examples. What leaves: the same, as one cluster in turns over the second axis; or as they
//! were, where some value is not made along it: it sums over it, or reads other places than its own. If there is much to do, such values
//! are taken out before, to be launched by themselves (`split`): each is one op then, which blocks share. A batch of eight sequences of a
//! thousand words would otherwise have eight blocks of threads on a device that has room for hundreds, and scratch for all words of
//! a sequence in memory. So are the loops of a group whose rows are few and long, as those of a 3x3 kernel (`each_apart`). Invariant: nothing is
//! computed otherwise, only by others.

use super::super::fuse::Cluster;
use super::super::space::Reads;
use super::super::strips::{Along, label};
use super::{Blocks, Pass};
use crate::base::Dim;
use crate::base::hash::{FastMap, FastSet};
use crate::graph::{Graph, NodeId};

/// Indices that the threads of a block should have at least, together.
const INDICES: i64 = 1024;
/// Places of a turn, at most.
const MOST_PLACES: i64 = 64;

/// An example's elements are more than this part of a cache's bytes where another launch is worth it.
const WORTH: i64 = 8;

/// Rows that are so few that they do not keep a GPU busy, and elements of them that should.
const FEW_ROWS: i64 = 64;
const MANY_ELEMENTS: i64 = 1 << 14;

/// Each loop of a group of few long rows by itself, for blocks share one loop; nothing where they should stay together.
pub fn each_apart(reads: &Reads, rows: &Dim, clusters: &[Cluster]) -> Option<Vec<Vec<Cluster>>> {
    let n_scalars = clusters.iter().take_while(|cluster| is_scalar(cluster)).count();
    let (scalars, own) = clusters.split_at(n_scalars);
    let elements = |cluster: &Cluster| match cluster {
        Cluster::Loop(l) => {
            l.extents.iter().try_fold(1, |n: i64, size| Some(n.saturating_mul(size.as_const()?)))
        }
        _ => None,
    };
    let elements: Option<Vec<i64>> = own.iter().map(elements).collect();
    // Who overwrites a variable comes last.
    let (_, before) = own.split_last()?;
    let is_update = |cluster: &Cluster| cluster.nodes().iter().any(|id| reads.is_update(*id));
    let are_few = rows.as_const().is_some_and(|rows| rows < FEW_ROWS);
    let joins = are_few && own.len() > 1 && elements?.into_iter().max()? >= MANY_ELEMENTS;
    (joins && !before.iter().any(is_update))
        .then(|| own.iter().map(|cluster| scalars.iter().chain([cluster]).cloned().collect()).collect())
}

/// Clusters that can go in turns, then those that cannot and what needs them, each by itself; all together where nothing is gained.
pub fn split(graph: &Graph, reads: &Reads, cache_bytes: i64, clusters: Vec<Cluster>) -> Vec<Vec<Cluster>> {
    let n_scalars = clusters.iter().take_while(|cluster| is_scalar(cluster)).count();
    let (scalars, own) = clusters.split_at(n_scalars);
    let mut turns = Turns::default();
    let mut late: Vec<Cluster> = Vec::new();
    let mut made_late: FastSet<NodeId> = FastSet::default();
    for cluster in own {
        let waits = cluster.nodes().iter().any(|id| {
            reads.of(*id).iter().any(|read| made_late.contains(&read.base))
                || reads.waits(*id).iter().any(|base| made_late.contains(base))
        });
        if waits || !turns.take(graph, reads, cluster) {
            made_late.extend(cluster.nodes());
            late.push(cluster.clone());
        }
    }
    let has_updates = own.iter().flat_map(Cluster::nodes).any(|id| reads.is_update(*id));
    let is_plain = |cluster: &Cluster| matches!(cluster, Cluster::Loop(_));
    if late.is_empty()
        || turns.clusters.is_empty()
        || turns.n_elements() < cache_bytes / WORTH
        || has_updates
        || !late.iter().all(is_plain)
    {
        return vec![clusters];
    }
    let with_scalars = |own: Vec<Cluster>| scalars.iter().cloned().chain(own).collect();
    std::iter::once(turns.clusters)
        .chain(late.into_iter().map(|cluster| vec![cluster]))
        .map(with_scalars)
        .collect()
}

fn is_scalar(cluster: &Cluster) -> bool {
    matches!(cluster, Cluster::Loop(l) if l.extents.is_empty())
}

pub fn in_turns(graph: &Graph, reads: &Reads, clusters: Vec<Cluster>) -> Vec<Cluster> {
    let n_scalars = clusters.iter().take_while(|cluster| is_scalar(cluster)).count();
    // One op is shared by blocks anyway.
    if clusters.len() < 2 {
        return clusters;
    }
    let mut turns = Turns::default();
    match clusters[n_scalars..]
        .iter()
        .all(|cluster| turns.take(graph, reads, cluster))
        .then(|| turns.blocks())
        .flatten()
    {
        Some(blocks) => {
            clusters.into_iter().take(n_scalars).chain([Cluster::Blocks(Box::new(blocks))]).collect()
        }
        None => clusters,
    }
}

/// Clusters that go in turns together.
#[derive(Default)]
struct Turns {
    clusters: Vec<Cluster>,
    along: Vec<Vec<Along>>,
    axes: FastMap<NodeId, Vec<Along>>,
    /// How many places there are, and the most indices at one.
    places: Option<Dim>,
    width: i64,
}

impl Turns {
    /// Takes one more in, if it goes along.
    fn take(&mut self, graph: &Graph, reads: &Reads, cluster: &Cluster) -> bool {
        self.taken(graph, reads, cluster).is_some()
    }

    fn taken(&mut self, graph: &Graph, reads: &Reads, cluster: &Cluster) -> Option<()> {
        let Cluster::Loop(l) = cluster else { return None };
        if l.nodes.iter().any(|id| reads.is_update(*id)) || l.n_parallel.unwrap_or(l.extents.len()) < 2 {
            return None;
        }
        let places = self.places.clone().unwrap_or_else(|| l.extents[1].clone());
        if l.extents[1] != places || places.as_const()? < 2 {
            return None;
        }
        let mut along = vec![Along::Whole; l.extents.len()];
        (along[0], along[1]) = (Along::Block(0), Along::Block(1));
        let of = |id: NodeId| self.axes.get(&id).map(Vec::as_slice);
        let labels = label(graph, reads, cluster, 2, Some(along), &of)?;
        let width = l.extents[2..].iter().try_fold(1i64, |n, extent| n.checked_mul(extent.as_const()?))?;
        self.width = self.width.max(width);
        self.places = Some(places);
        self.clusters.push(cluster.clone());
        self.along.push(labels.along);
        self.axes.extend(labels.values);
        Some(())
    }

    /// Elements of an example that the largest loop goes through.
    fn n_elements(&self) -> i64 {
        self.places.as_ref().and_then(Dim::as_const).unwrap_or(0).saturating_mul(self.width)
    }

    fn blocks(self) -> Option<Blocks> {
        let places = self.places?;
        Some(Blocks {
            passes: vec![Pass {
                inside: 0..0,
                after: 0..self.clusters.len(),
                sums: Vec::new(),
                mended: None,
            }],
            side: (INDICES / self.width.max(1)).clamp(1, MOST_PLACES).min(places.as_const()?),
            clusters: self.clusters,
            along: self.along,
            axes: self.axes,
            extents: vec![Dim::symbol("batch"), places],
            n_columns: Dim::from(0),
            masked: None,
        })
    }
}
