//! Products too large for a cache are gone through strip by strip, with all that is made of them.
//!
//! What enters: a group's clusters. What leaves: equal ones, in which some clusters stand inside of loops over strips. Attention
//! multiplies every query with every key, and of its scores come maxima, exponentials, sums, and a product again: values as large as
//! the scores, of which each row is made of its own row alone. So a turn takes a few rows of one head through all of it, in scratch
//! that stays in a core's cache, and only what others read is written to memory. The backward pass makes the scores of its strip
//! again, from queries, keys and the row's own maximum and sum, and adds up what is summed over rows (gradients of keys and values).
//! Nothing here knows of attention: a section is grown from a contraction of two values of an example whose result is larger than both.
//!
//! Words: a *section* is what stands in one loop. Its *dimensions* are gone through in blocks: one example, one head, some
//! *rows*; its *columns* (keys) are the axis by which the large product is larger. A value with rows and columns is *wide*.
//!
//! - `axes.rs` says which axis of a cluster's loop is which dimension, from how it reads what the section makes;
//! - `readers.rs` knows who reads a value, and which clusters stand between others;
//! - `section.rs` grows a section by those who read its wide values, with whatever stands between;
//! - `inner.rs` finds the values of which there is one block at a time, and those that are made again;
//! - `order.rs` puts sections and the other clusters in order;
//! - `masked.rs` finds whether columns beyond a row's own place are masked, so that each strip's columns end where its rows do;
//! - `lower.rs` writes the loops.
//!
//! Invariants: sums over rows are in their old order, one strip after another; a value made in a section has storage of its own
//! only if someone outside reads it. Masked columns that are left out would add products with 0: the same number, unless what they are
//! multiplied with is not finite.
//!
//! The cost model. Where all wide values of an example are in a core's cache anyway (`Options::cache_bytes`), nothing is gained. A strip has
//! `MOST_ROWS`, if a wide value of so many is no more than `CACHES`; rows are a multiple of what vectors hold. There are up to five such values
//! at a time, which the second-level cache has no room for; but each strip reads all columns' factors, and fewer rows do less with them. A
//! step of `x + self_attention(layer_norm(x), 4)`, x of 2,048 places by 128, one example, took 75 ms by 16 rows, 67 by 32 and 65 by 64
//! (`gradc bench` of that model, on two cores with 512 KiB each).

mod axes;
mod inner;
mod lower;
mod masked;
mod order;
mod readers;
mod section;
#[cfg(test)]
mod tests;

pub use axes::{Along, Labels, label, places};
pub use lower::Turn;
pub use masked::{Masked, columns_masked};

use super::fuse::Cluster;
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::{Graph, NodeId};
use std::collections::BTreeSet;

use super::space::Reads;
use order::{Place, order};
use section::{Sections, larger};

/// Caches that a wide value's strip may fill.
const CACHES: i64 = 2;
const LEAST_ROWS: i64 = 16;
const MOST_ROWS: i64 = 64;

/// Clusters inside of loops over blocks of dimensions.
#[derive(Clone, Debug)]
pub struct Strips {
    /// In the order of a turn.
    pub clusters: Vec<Cluster>,
    /// What the axes of each cluster's loop are.
    along: Vec<Vec<Along>>,
    /// Outermost first; the last are the rows.
    dimensions: Vec<Dimension>,
    n_columns: Dim,
    /// If columns beyond a row's place are masked: how many more than its number a row has that are not.
    masked_beyond: Option<i64>,
    /// Values of which there is one block at a time, with what each of their axes is.
    inner: FastMap<NodeId, Vec<Along>>,
    /// Products that sum over a dimension: each turn adds to them.
    added: BTreeSet<NodeId>,
}

#[derive(Clone, PartialEq, Debug)]
struct Dimension {
    extent: Dim,
    block: i64,
}

impl Strips {
    /// What people are told: blocks, and whether columns are left out.
    pub fn describe(&self) -> String {
        let rows = self.dimensions.last().expect("there are rows").block;
        let masked = if self.masked_beyond.is_some() { ", masked columns left out" } else { "" };
        format!("strips of {rows} rows{masked}")
    }
}

/// `kept`: nodes that have storage whoever reads them. `tiled`: whether axis 0 is that of the tile's rows.
pub fn strips(
    graph: &Graph,
    reads: &Reads,
    kept: &dyn Fn(NodeId) -> bool,
    tiled: bool,
    cache_bytes: i64,
    clusters: Vec<Cluster>,
) -> Vec<Cluster> {
    if clusters.iter().all(|cluster| larger(graph, tiled, cache_bytes, cluster).is_none()) {
        return clusters;
    }
    let mut sections = Sections::new(graph, reads, kept, tiled, cache_bytes, &clusters);
    sections.find();
    if sections.found.is_empty() {
        return clusters;
    }
    let Some(order) = order(&sections) else { return clusters };
    let strips: Vec<Strips> = (0..sections.found.len()).map(|s| finished(&sections, s)).collect();
    let mut strips = strips.into_iter().map(Some).collect::<Vec<_>>();
    let mut clusters: Vec<Option<Cluster>> = clusters.into_iter().map(Some).collect();
    let mut taken = |place: Place| match place {
        Place::Cluster(i) => clusters[i].take().expect("each cluster has one place"),
        Place::Section(i) => Cluster::Strips(Box::new(strips[i].take().expect("each section has one place"))),
    };
    order.into_iter().map(&mut taken).collect()
}

/// A section whose values have found their places.
fn finished(sections: &Sections, number: usize) -> Strips {
    let section = &sections.found[number];
    let parts = sections.parts(number);
    let inner = sections.inner(number);
    let all_inner = section.wide().all(|id| inner.contains_key(&id) || !sections.is_used(id));
    let masked =
        || columns_masked(sections.graph, sections.reads, &section.extents, &section.n_columns, &parts);
    let masked_beyond = match all_inner.then(masked).flatten() {
        Some(Masked::Beyond(distance)) => Some(distance),
        _ => None,
    };
    let rows = section.extents.last().and_then(Dim::as_const).expect("rows are known");
    let n_dimensions = section.extents.len();
    let block = |d: usize| {
        if d + 1 == n_dimensions { block(rows, &section.n_columns, sections.cache_bytes) } else { 1 }
    };
    let dimensions = section.extents.iter().enumerate();
    Strips {
        dimensions: dimensions
            .map(|(d, extent)| Dimension { extent: extent.clone(), block: block(d) })
            .collect(),
        n_columns: section.n_columns.clone(),
        masked_beyond,
        inner,
        added: section.added.clone(),
        along: parts.iter().map(|(_, along)| along.clone()).collect(),
        clusters: parts.into_iter().map(|(cluster, _)| cluster).collect(),
    }
}

/// Rows of a strip: those that there is room for, less if the rows are then a whole number of strips.
fn block(rows: i64, n_columns: &Dim, cache_bytes: i64) -> i64 {
    let columns = n_columns.as_const().expect("columns are known").max(1);
    let most = (CACHES * cache_bytes / 4 / columns).clamp(LEAST_ROWS, MOST_ROWS) / LEAST_ROWS * LEAST_ROWS;
    if rows <= most {
        return rows;
    }
    (most / 2..=most).rev().find(|block| block % 8 == 0 && rows % block == 0).unwrap_or(most)
}
