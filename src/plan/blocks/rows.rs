//! Rows of rows: what a group makes from place to place of a sequence has a block of threads for some places, not for all of an example's.
//!
//! What enters: the clusters of a group whose rows are examples. What leaves: the same, as one cluster in turns over the second axis; or as they
//! were, where some value is not made along it: it sums over it, or reads other places than its own. A batch of eight sequences of a
//! thousand words would otherwise have eight blocks of threads on a device that has room for hundreds, and scratch for all words of
//! a sequence in memory. Invariant: nothing is computed otherwise, only by others.

use super::super::fuse::Cluster;
use super::super::space::Reads;
use super::super::strips::{Along, label};
use super::{Blocks, Pass};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::{Graph, NodeId};

/// Indices that the threads of a block should have at least, together.
const INDICES: i64 = 1024;
/// Places of a turn, at most.
const MOST_PLACES: i64 = 64;

pub fn in_turns(graph: &Graph, reads: &Reads, clusters: Vec<Cluster>) -> Vec<Cluster> {
    let is_scalar = |cluster: &Cluster| matches!(cluster, Cluster::Loop(l) if l.extents.is_empty());
    let n_scalars = clusters.iter().take_while(|cluster| is_scalar(cluster)).count();
    // One op is shared by blocks anyway.
    if clusters.len() < 2 {
        return clusters;
    }
    match blocks(graph, reads, &clusters[n_scalars..]) {
        Some(blocks) => {
            clusters.into_iter().take(n_scalars).chain([Cluster::Blocks(Box::new(blocks))]).collect()
        }
        None => clusters,
    }
}

fn blocks(graph: &Graph, reads: &Reads, clusters: &[Cluster]) -> Option<Blocks> {
    let is_update = |id: &NodeId| graph.updates.iter().any(|(_, value)| value == id);
    let (mut axes, mut all) = (FastMap::default(), Vec::new());
    let mut places: Option<Dim> = None;
    let mut width = 1i64;
    for cluster in clusters {
        let Cluster::Loop(l) = cluster else { return None };
        if l.nodes.iter().any(is_update) || l.n_parallel.unwrap_or(l.extents.len()) < 2 {
            return None;
        }
        let second = places.get_or_insert_with(|| l.extents[1].clone());
        if l.extents[1] != *second || second.as_const()? < 2 {
            return None;
        }
        let mut along = vec![Along::Whole; l.extents.len()];
        (along[0], along[1]) = (Along::Block(0), Along::Block(1));
        let of = |id: NodeId| axes.get(&id).map(Vec::as_slice);
        let labels = label(graph, reads, cluster, 2, Some(along), &of)?;
        let of_row = l.extents[2..].iter().try_fold(1i64, |n, extent| n.checked_mul(extent.as_const()?))?;
        width = width.max(of_row);
        all.push(labels.along);
        axes.extend(labels.values);
    }
    let places = places?;
    Some(Blocks {
        passes: vec![Pass { inside: 0..0, after: 0..clusters.len(), sums: Vec::new() }],
        clusters: clusters.to_vec(),
        along: all,
        axes,
        side: (INDICES / width.max(1)).clamp(1, MOST_PLACES).min(places.as_const()?),
        extents: vec![Dim::symbol("batch"), places],
        n_columns: Dim::from(0),
        masked: None,
    })
}
