//! On a GPU, what is larger than its factors is never in memory: it is made block by block where it is summed.
//!
//! What enters: a prepared graph and how its nodes read. What leaves: *sections*, each of which becomes a kernel, and for all other planning
//! a view of the reads in which the large values do not exist. Attention multiplies every query with every key; of the scores come
//! maxima, sums and products again, forward and backward. Words: a value with *rows* (queries) and *columns* (keys) that is larger than the
//! factors of the contraction it began with is *wide*, and so is whatever is made of it place by place. A *sum* is what reduces or
//! contracts a wide value to one that is not. Rows and columns can change parts: the gradient of keys sums over queries, so in its
//! section keys are rows.
//!
//! - `wide.rs` finds wide values and their sums in the graph;
//! - `section.rs` puts sums into sections, so that no section waits for itself;
//! - `lower.rs` writes a section's loops;
//! - `mended.rs` finds sums that can follow a maximum, and writes how they do;
//! - `rows.rs` gives groups without large values the same loops, over what is made from place to place of a sequence.
//!
//! A section's kernel has a block of threads for each example, each head and some rows, and goes through the columns block by block, in one
//! *pass* after another: what a pass sums over columns is there before the next one begins. Each pass makes the wide values that it
//! needs from their factors again, in scratch of rows times columns, so nothing grows with the number of columns. A sum of exponentials needs a
//! maximum that is not known before the last block; it is made in the same pass, and mended whenever a greater one is found
//! (`mended.rs`). So attention has one pass forward and one in each of its two sections backward: nine products of a block.
//!
//! Invariants: each sum has one order, block after block; no two blocks of threads add to one place. Masked columns beyond (or before)
//! a block's rows are left out: they would add products with 0 (`masked.rs`).
//!
//! The cost model. A product over `e` features reads `2 * e` numbers for each row and column of a block once, for `rows * columns * e` multiply-adds, so
//! blocks of 64 keep tensor cores busy from the second cache; the wide value itself would be written and read some ten times a step. Where
//! all wide values of an example are less than `Options::cache_bytes`, kernels of one operation each read them from cache, and have
//! more threads. Where a section's blocks have more than `gpu::MOST_SHARED_BYTES`, they are halved.

mod lower;
mod mended;
mod rows;
mod section;
mod wide;

pub use rows::{each_apart, in_turns, split};

use super::fuse::Cluster;
use super::space::Reads;
use super::strips::{Along, Masked, columns_masked};
use crate::base::Dim;
use crate::base::hash::{FastMap, FastSet};
use crate::graph::{Graph, NodeId};
use mended::Reference;
use section::Section;
use std::ops::Range;
use wide::{Kinds, Wide};

/// Rows and columns of a block at most, and at least.
const MOST: i64 = 64;
const LEAST: i64 = 4;
/// Below which tensor cores would have too little to do.
const LEAST_HALF: i64 = 16;

/// All sections of a graph.
#[derive(Default)]
pub struct Sections {
    /// What is made anew wherever it is read.
    wide: FastSet<NodeId>,
    section_of: FastMap<NodeId, usize>,
    found: Vec<Section>,
    /// All nodes in an order in which sections run as a whole; empty where there is no section.
    order: Vec<NodeId>,
}

/// The clusters of a section, in passes.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// Of all passes, in the order in which they run, and what the axes of their loops are.
    clusters: Vec<Cluster>,
    along: Vec<Vec<Along>>,
    passes: Vec<Pass>,
    /// What the axes are of each value that is made here.
    axes: FastMap<NodeId, Vec<Along>>,
    /// Outermost first: examples, others, rows.
    extents: Vec<Dim>,
    n_columns: Dim,
    masked: Option<Masked>,
    /// Rows and columns of a block.
    side: i64,
}

/// One loop over columns: which of the clusters run in it, and which after it.
#[derive(Clone, Debug)]
struct Pass {
    inside: Range<usize>,
    after: Range<usize>,
    sums: Vec<NodeId>,
    mended: Option<Mended>,
}

/// What a pass mends of its sums, and by what.
#[derive(Clone, Debug)]
struct Mended {
    reference: Reference,
    sums: Vec<NodeId>,
    /// The first clusters of the pass, up to the one that makes the maximum.
    first: Range<usize>,
}

/// The sections of a graph; none where nothing is large enough.
pub fn sections(graph: &Graph, reads: &Reads, cache_bytes: i64) -> Sections {
    let mut sections = Sections::default();
    let kinds = Kinds::of(graph, reads);
    let mut all: Vec<Wide> = Vec::new();
    for seed in kinds.seeds(graph) {
        if sections.is_wide(seed) {
            continue;
        }
        let Some(wide) = wide::grown_from(graph, reads, &kinds, seed, cache_bytes) else { continue };
        // What is wide in two ways stays as it is.
        if !wide.axes.keys().all(|id| sections.wide.insert(*id)) {
            return Sections::default();
        }
        all.push(wide);
    }
    let Some(seen) = sections.seen(graph, reads) else { return sections };
    all.iter().for_each(|wide| section::put(graph, reads, &seen, wide, &mut sections.found));
    for (s, section) in sections.found.iter().enumerate() {
        sections.section_of.extend(section.members().map(|id| (id, s)));
    }
    match section::order(graph, &seen, &sections) {
        Some(order) => Sections { order, ..sections },
        // Two sections wait for each other.
        None => Sections::default(),
    }
}

impl Sections {
    /// Whether a node is made anew wherever it is read.
    pub fn is_wide(&self, id: NodeId) -> bool {
        self.wide.contains(&id)
    }

    /// The section that makes a node.
    pub fn section_of(&self, id: NodeId) -> Option<usize> {
        self.section_of.get(&id).copied()
    }

    /// All nodes with storage of their own, in an order in which they can be put into groups, a section's one after another.
    pub fn order(&self, graph: &Graph) -> Vec<NodeId> {
        if self.order.is_empty() { graph.ids().collect() } else { self.order.clone() }
    }

    /// Reads as all others see them, if that is not as they are: who reads a wide value reads what it is made of.
    pub fn seen(&self, graph: &Graph, reads: &Reads) -> Option<Reads> {
        (!self.wide.is_empty()).then(|| reads.through(graph, &|id| self.is_wide(id)))
    }

    /// A section as one cluster.
    pub fn blocks(&self, graph: &Graph, reads: &Reads, number: usize, cache_bytes: i64) -> Cluster {
        let section = &self.found[number];
        let mut blocks = Blocks {
            clusters: Vec::new(),
            along: Vec::new(),
            passes: Vec::new(),
            axes: section.axes.clone(),
            extents: section.extents.clone(),
            n_columns: section.n_columns.clone(),
            masked: None,
            side: side(cache_bytes),
        };
        for pass in &section.passes {
            let [first, rest] = pass.inside().map(|nodes| blocks.push(graph, reads, &nodes));
            let after = blocks.push(graph, reads, &pass.after);
            let inside = first.start..rest.end;
            let mended = pass.mended.as_ref().map(|mended| Mended {
                reference: mended.reference.clone(),
                sums: mended.sums.clone(),
                first,
            });
            blocks.passes.push(Pass { inside, after, sums: pass.sums.clone(), mended });
        }
        let parts: Vec<(Cluster, Vec<Along>)> =
            blocks.clusters.iter().cloned().zip(blocks.along.iter().cloned()).collect();
        blocks.masked = columns_masked(graph, reads, &blocks.extents, &blocks.n_columns, &parts);
        Cluster::Blocks(Box::new(blocks))
    }
}

/// Rows and columns of a block, of which four with the wide values of a pass have an eighth of a core's cache.
fn side(cache_bytes: i64) -> i64 {
    let room = cache_bytes / 8 / 4 / 4;
    (1..).take_while(|side| side * side <= room).last().unwrap_or(1).clamp(LEAST, MOST) / LEAST * LEAST
}

impl Blocks {
    /// The clusters, whatever pass they are in.
    pub fn clusters(&self) -> &[Cluster] {
        &self.clusters
    }

    /// Makes blocks half as long and wide; whether they can be.
    pub fn halve(&mut self) -> bool {
        let half = self.side / 2 / LEAST * LEAST;
        let can_be = half >= LEAST_HALF;
        if can_be {
            self.side = half;
        }
        can_be
    }

    /// What people are told.
    pub fn describe(&self) -> String {
        let masked = if self.masked.is_some() { ", masked columns left out" } else { "" };
        if self.passes.iter().all(|pass| pass.inside.is_empty()) {
            return format!("turns of {} places", self.side);
        }
        let passes = if self.passes.len() == 1 {
            "1 pass".to_string()
        } else {
            format!("{} passes", self.passes.len())
        };
        let mended =
            self.passes.iter().filter_map(|pass| pass.mended.as_ref()).map(|mended| mended.sums.len()).sum();
        let mended = match mended {
            0 => String::new(),
            1 => ", 1 sum mended".into(),
            n => format!(", {n} sums mended"),
        };
        format!("blocks of {} by {}, {passes}{mended}{masked}", self.side, self.side)
    }

    /// Puts nodes into clusters behind the others.
    fn push(&mut self, graph: &Graph, reads: &Reads, nodes: &[NodeId]) -> Range<usize> {
        let begin = self.clusters.len();
        for (cluster, along) in section::clusters(graph, reads, nodes, &self.axes, self.extents.len()) {
            self.clusters.push(cluster);
            self.along.push(along);
        }
        begin..self.clusters.len()
    }
}
