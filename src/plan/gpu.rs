//! What a GPU wants of groups and tiles.
//!
//! What enters: contractions before grouping, a kernel's ops before tiling. What leaves: whether a contraction stands alone, and rows
//! in a tile. Invariant: both follow from sizes alone, never from the device, so results do not depend on it.
//!
//! The cost model. A GPU has some hundred processors, each of which hides the time of one access behind the work of many threads, and a
//! shared memory of about `SHARED_BYTES` a block; a launch costs a microsecond or two, a block hardly anything.
//!
//! - A contraction of `Options::alone_from` multiply-adds or more is worth a kernel of its own: its blocks then share its result whatever
//!   its rows are, each reads a tile of both factors once for many products, and a library or a kernel for tensor cores can take its
//!   place. What a group would have saved is a write and a read of the result, `2 * m * n` elements against `m * n * k / 32` that a
//!   block of rows would read more of its factors. Smaller ones stay in their group, where they save a launch. What is made of each element of
//!   a large one may join it (`epilogue.rs`), and what its factors are made of (`prologue.rs`).
//! - A tile is one row until there are more rows than `BLOCKS`, which fill every processor some times over; then it grows until
//!   each thread of a block has `INDICES` indices, for what a block reads for all of its rows it reads once. From there on there are
//!   more blocks. Rows of few elements are at least so many that a warp's lanes have one each: alone each would take a block, and where they are
//!   neighbours 32 bytes of memory for its 4.
//! - Tiles of a scatter's result look at all its indices, each a few steps for a warp; there are no more of them than `OWNERS`.
//! - Scratch of a tile stays in shared memory where that is possible at all.
//! - A step whose launches have less work than it takes to launch them is one launch (`is_one_launch`): a launch begins some
//!   microseconds after the one before has ended, a meeting of all blocks takes one. What is lost is that each processor has the
//!   threads of a block or two and no more, which work that is so little does not need.
//!
//! Long sums are taken in two stages for the CPU's sake already (`prepare.rs`, `split.rs`), in an order that does not change.

use super::lower::ScratchUse;
use super::tile::{Sizes, scratch_offsets};
use super::work::work;
use super::{Options, Plan};
use crate::base::Dim;
use crate::graph::{Graph, NodeId, Op};
use crate::nest::{Axis, Inst, StoreKind, TileOp};
use std::collections::BTreeMap;

/// Blocks that keep a large GPU busy.
const BLOCKS: u64 = 512;
/// Blocks that own rows to which others are added, at most.
const OWNERS: u64 = 2048;
/// Elements of what is added that are worth looking for owners.
const LARGE_SCATTER: u64 = if cfg!(test) { 8 } else { 1 << 16 };
/// Threads of a block, and indices that each should have.
const THREADS: u64 = 256;
const INDICES: u64 = 4;
const WARP: u64 = 32;
/// Shared memory of a block, so that several run on a processor.
const SHARED_BYTES: u64 = 48 * 1024;
/// The most scratch of a block that is in shared memory: two fit on a processor of a large GPU since sm_80, and with what products
/// need beside it one fits on every other.
pub const MOST_SHARED_BYTES: u64 = 72 * 1024;

/// Rows, columns and terms of a product in tiles, at least.
const THIN: f64 = 16.0;

/// The most that a step does which is one launch: launches, floating-point operations, bytes that they read and write.
const FEW_LAUNCHES: usize = 64;
const FEW_FLOPS: u64 = 1 << 26;
const FEW_BYTES: u64 = 1 << 24;

/// Whether a step is so small that it should be one launch. It has several, then.
pub fn is_one_launch(plan: &Plan) -> bool {
    let launches = || plan.phases.iter().flatten();
    let all = launches().map(|launch| work(plan, launch, plan.max_batch).0);
    let (flops, bytes) = all.fold((0u64, 0u64), |(flops, bytes), work| {
        (flops.saturating_add(work.flops), bytes.saturating_add(work.bytes))
    });
    (2..=FEW_LAUNCHES).contains(&launches().count()) && flops <= FEW_FLOPS && bytes <= FEW_BYTES
}

/// Whether a block makes a tile of a product of such sizes. Where one is less, a tile would be mostly empty.
pub fn is_tiled(m: f64, n: f64, k: f64) -> bool {
    m.min(n).min(k) >= THIN
}

/// Whether a node is a contraction that is worth a kernel of its own.
pub fn stands_alone(graph: &Graph, id: NodeId, options: &Options) -> bool {
    let node = graph.node(id);
    let Op::Contract(contraction) = &node.op else { return false };
    let sizes = Sizes::new(options.max_batch, 1);
    let sides = [(&contraction.lhs, node.operands[0]), (&contraction.rhs, node.operands[1])];
    let labels = sides.iter().flat_map(|(labels, x)| labels.iter().zip(&graph.ty(*x).shape));
    let extents: BTreeMap<u8, u64> = labels.map(|(label, size)| (*label, sizes.of(size))).collect();
    extents.values().fold(1, |n: u64, size| n.saturating_mul(*size)) >= options.alone_from
}

/// Whether a scatter along its rows should be made by who owns them.
pub fn has_owners(graph: &Graph, id: NodeId, max_batch: i64) -> bool {
    let node = graph.node(id);
    let sizes = Sizes::new(max_batch, 1);
    let added =
        || graph.ty(node.operands[1]).shape.iter().fold(1, |n: u64, size| n.saturating_mul(sizes.of(size)));
    matches!(node.op, Op::ScatterAdd { axis: 0, batch: 0 })
        && graph.ty(node.operands[0]).rank() > 0
        && node.ty.shape.first().is_some_and(|rows| sizes.of(rows) > 1)
        && added() >= LARGE_SCATTER
}

/// Whether a nest adds to rows of the kernel's tile, wherever in the whole they are named.
fn adds_to_tile(op: &TileOp) -> bool {
    let TileOp::Nest(nest) = op else { return false };
    nest.stores.iter().any(|s| matches!(&s.kind, StoreKind::AddAt { bound, .. } if bound.contains("tile")))
}

/// Indices of a tile of one row that threads can share, of the op that has the most; the lanes of a warp share the terms of a sum of neighbours.
fn width(ops: &[TileOp], sizes: &Sizes) -> u64 {
    let product =
        |dims: &mut dyn Iterator<Item = &Dim>| dims.fold(1, |n: u64, dim| n.saturating_mul(sizes.of(dim)));
    let of_op = |op: &TileOp| match op {
        TileOp::Nest(nest) => {
            let is_shared = |axis: &&Axis| !axis.reduce || !has_a_thread_each(op);
            product(&mut nest.axes.iter().filter(is_shared).map(|axis| &axis.extent))
        }
        TileOp::Gemm(gemm) => {
            let loops = gemm.batch.iter().filter(|axis| !axis.reduce).map(|axis| &axis.extent);
            product(&mut loops.chain([&gemm.m, &gemm.n]))
        }
        TileOp::Fill(fill) => sizes.of(&fill.count),
        TileOp::Sort(sort) => product(&mut sort.axes.iter().chain([&sort.n])),
        TileOp::Loop(l) => width(&l.ops, &sizes.inside(l, 0)),
    };
    ops.iter().filter(|op| !adds_to_tile(op)).map(of_op).max().unwrap_or(1).max(1)
}

/// Whether each index of the op is a thread's: no sum goes along neighbours, which a warp would share.
fn has_a_thread_each(op: &TileOp) -> bool {
    let TileOp::Nest(nest) = op else { return matches!(op, TileOp::Fill(_)) };
    let Some(last) = nest.axes.iter().rposition(|axis| axis.reduce) else { return true };
    let loads = nest.body.iter().filter_map(|inst| match inst {
        Inst::Load { access } | Inst::LoadAt { access, .. } => Some(access),
        _ => None,
    });
    loads.into_iter().all(|access| !access.strides[last].is_const(1))
}

/// Rows in a tile, for a kernel of `rows` rows.
pub fn choose(ops: &[TileOp], scratch: &[ScratchUse], rows: u64, batch: i64) -> u32 {
    let width = width(ops, &Sizes::new(batch, 1));
    let full = (THREADS * INDICES).div_ceil(width);
    let least = if ops.iter().all(has_a_thread_each) { WARP.div_ceil(width).min(rows.max(1)) } else { 1 };
    let mut tile = (rows / BLOCKS).clamp(least, full);
    if ops.iter().any(adds_to_tile) {
        tile = tile.max(rows.div_ceil(OWNERS));
    }
    let bytes = |tile: u64| scratch_offsets(scratch, &Sizes::new(batch, tile as i64)).1;
    while tile > 1 && bytes(tile) > SHARED_BYTES {
        tile /= 2;
    }
    tile as u32
}

/// Whether a reduction goes over places inside of rows, and leaves the last axis, along which threads lie.
pub fn is_inside_rows(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let Op::Reduce { axes, .. } = &node.op else { return false };
    let last = graph.ty(node.operands[0]).rank() - 1;
    axes[0] > 0 && !axes.contains(&last)
}
