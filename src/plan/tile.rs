//! How many rows a tile has, and where scratch lies.
//!
//! What enters: a kernel's ops, its number of rows, the greatest batch. What leaves: the tile, and an offset for each
//! scratch buffer. Invariant: both follow from sizes alone, never from the machine, so results do not depend on it.
//!
//! The cost model. A kernel of work w (operations) in n tiles, the other sides of whose products are b bytes, takes on p cores
//!
//! ```text
//! ceil(n / p) * (w / n / OPERATIONS + b / BYTES + START)
//! ```
//!
//! seconds: tiles are dealt evenly or not, each reads what all of them multiply with, and each is started. The number of tiles
//! is the one whose times on `FEW_CORES` are least together, each counted against the best that there is for so many cores: long tiles,
//! which a machine with more cores divides (`divide.rs`). Where rows have to do with each other nobody can, and the plan must not know how
//! many cores there are; such a tile should do well on `CORES`, and so should one whose scratch is past a core's second-level
//! cache (`SCRATCH_BYTES`) however long it is, for a longer one has more of it. What lies in scratch
//! should stay in that cache, and so should rows of arrays that several loops go over one after
//! another, unless that makes tiles shorter than `LEAST_ROWS`; where all loops go along rows, a tile may be one. But a tile whose scratch
//! is past the cache, and is written to memory and read again, may cost less a row than shorter ones, each of which reads what all
//! multiply with: the gradient of a weight with a column for each word of a vocabulary. Where even the shortest is past the cache
//! (an example's whole way through a transformer and back), shorter tiles gain no speed, but each thread has such a scratch: it is the shortest that costs
//! hardly more than the best, and past `MOST_SCRATCH_BYTES` tiles have as few rows as vectors and products allow.

use super::divide::can_divide;
use super::lower::ScratchUse;
use super::memory::{Need, place};
use crate::base::Dim;
use crate::nest::analysis::accesses;
use crate::nest::{Axis, BufferRef, GemmAxis, Loop, Matrix, Nest, Scratch, TileOp};
use smol_str::SmolStr;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Operations a second of a core.
const OPERATIONS: f64 = 80e9;
/// Bytes a second of a core from beyond its own caches, and from them.
const FAR_BYTES: f64 = 15e9;
const NEAR_BYTES: f64 = 60e9;
/// What stays in a core's own caches.
const NEAR: u64 = 512 * 1024;
/// Seconds to start a tile.
const START: f64 = 1e-6;
/// Cores of the machines that a tile should do well on which cannot be divided, and of those for which others are as long as they are.
const CORES: &[u64] = &[1, 2, 4];
const FEW_CORES: &[u64] = &[1, 2];
/// Tiles in a launch, at most, while scratch allows.
const MOST_TILES: u64 = 16;
/// Rows in a tile, at most; only sizes past all memory come near.
const MOST_ROWS: u64 = 1 << 30;
/// Scratch of a thread, and what its loops visit more than once.
const SCRATCH_BYTES: u64 = 512 * 1024;
/// Scratch of a thread past which memory counts more than the length of a product.
const MOST_SCRATCH_BYTES: u64 = 16 * 1024 * 1024;
/// What costs no more than so much of the best is as good.
const ALMOST: f64 = 1.05;
/// Rows below which a tile is not split for the sake of scratch.
const LEAST_ROWS: u64 = 8;
/// Tiles have a multiple of so many rows, for the sake of products and vectors, but where a row by itself is so much work.
const ROW_STEP: u64 = 4;
const ROW_WORK: u64 = 4_000_000;

/// Values of the symbols for an estimate.
#[derive(Clone)]
pub struct Sizes {
    pub batch: i64,
    pub tile: i64,
    /// Of the loops around: first places and sizes of their turns.
    turns: Vec<(SmolStr, i64)>,
}

impl Sizes {
    pub fn new(batch: i64, tile: i64) -> Sizes {
        Sizes { batch, tile, turns: Vec::new() }
    }

    pub fn of(&self, dim: &Dim) -> u64 {
        let value = dim.eval(&|symbol| match symbol {
            "batch" => Some(self.batch),
            "tile" | "rows" => Some(self.tile),
            "start" => Some(0),
            turn => self.turns.iter().rev().find(|(name, _)| name == turn).map(|(_, value)| *value),
        });
        value.expect("a plan's sizes are over batch, rows, start, tile and turns").max(0) as u64
    }

    /// Turns of a loop.
    pub fn turns(&self, l: &Loop) -> u64 {
        self.of(&l.extent).div_ceil(l.block.into())
    }

    /// Sizes inside of a loop's turn.
    pub fn inside(&self, l: &Loop, turn: u64) -> Sizes {
        let first = turn.saturating_mul(l.block.into());
        let size = self.of(&l.extent).saturating_sub(first).min(l.block.into());
        let of_turn = [(l.turn.clone(), first as i64), (l.size_symbol(), size as i64)];
        Sizes { turns: self.turns.iter().cloned().chain(of_turn).collect(), ..*self }
    }
}

impl Sizes {
    /// The greatest value at any batch up to this one.
    fn greatest(&self, dim: &Dim) -> u64 {
        if let Some(size) = dim.as_const() {
            return size.max(0) as u64;
        }
        let least = if dim.shrinks_with("batch") { 0 } else { self.batch };
        let at = |batch| Sizes { batch, ..self.clone() }.of(dim);
        (least..=self.batch).map(at).max().unwrap_or(0)
    }
}

/// Floating-point operations of an op: 2 for each multiply-add of a product, 1 for each call in a body.
pub fn flops(op: &TileOp, sizes: &Sizes) -> u64 {
    match op {
        TileOp::Gemm(gemm) => {
            let loops = gemm.batch.iter().map(|axis| &axis.extent);
            product(loops.chain([&gemm.m, &gemm.n, &gemm.k]), sizes).saturating_mul(2)
        }
        TileOp::Nest(nest) => iterations(nest, sizes).saturating_mul(calls(nest)),
        TileOp::Fill(fill) => sizes.of(&fill.count).saturating_mul(10),
        TileOp::Loop(l) => over_turns(l, sizes, flops),
        TileOp::Sort(sort) => {
            let n = sizes.of(&sort.n);
            product(sort.axes.iter().chain([&sort.n]), sizes).saturating_mul(n.max(1).ilog2().into())
        }
    }
}

/// Sizes in a turn are sums of its number and others, so the first and the last are together as much as any two turns on average.
pub fn over_turns(l: &Loop, sizes: &Sizes, cost: impl Fn(&TileOp, &Sizes) -> u64) -> u64 {
    let turns = sizes.turns(l);
    let at = |turn: u64| {
        let sizes = sizes.inside(l, turn);
        l.ops.iter().map(|op| cost(op, &sizes)).fold(0, u64::saturating_add)
    };
    (at(0) / 2 + at(turns.saturating_sub(1)) / 2).saturating_mul(turns)
}

fn iterations(nest: &Nest, sizes: &Sizes) -> u64 {
    product(nest.axes.iter().map(|axis| &axis.extent), sizes)
}

/// An estimate need not be exact where no machine would come to its end.
fn product<'a>(dims: impl Iterator<Item = &'a Dim>, sizes: &Sizes) -> u64 {
    dims.fold(1, |product: u64, dim| product.saturating_mul(sizes.of(dim)))
}

fn calls(nest: &Nest) -> u64 {
    let in_body = nest.body.iter().filter(|inst| matches!(inst, crate::nest::Inst::Call { .. })).count();
    let reductions = nest.stores.iter().filter(|s| s.kind != crate::nest::StoreKind::Set).count();
    (in_body + reductions) as u64
}

/// A call costs about as much as a few multiply-adds, for it moves an element; to copy one costs as much.
pub fn work(ops: &[TileOp], sizes: &Sizes) -> u64 {
    fn weighed(op: &TileOp, sizes: &Sizes) -> u64 {
        match op {
            TileOp::Gemm(_) => flops(op, sizes),
            TileOp::Loop(l) => over_turns(l, sizes, weighed),
            TileOp::Nest(nest) => {
                iterations(nest, sizes).saturating_mul(calls(nest).max(1)).saturating_mul(8)
            }
            TileOp::Fill(_) | TileOp::Sort(_) => flops(op, sizes).saturating_mul(8),
        }
    }
    ops.iter().map(|op| weighed(op, sizes)).fold(0, u64::saturating_add)
}

/// Bytes that each tile reads of what all tiles multiply with, and seconds for it.
fn shared(ops: &[TileOp], sizes: &Sizes) -> f64 {
    let of_op = |op: &TileOp| match op {
        TileOp::Gemm(gemm) => {
            // A side that lies elsewhere for other rows is a tile's own.
            let of_all = |matrix: &Matrix, at: fn(&GemmAxis) -> &Dim, own: &Dim| {
                let moves = |dim: &Dim| ["start", "tile", "rows"].iter().any(|s| dim.contains(s));
                let is_own = moves(&matrix.offset)
                    || moves(own)
                    || gemm.batch.iter().any(|axis| moves(&axis.extent) && !at(axis).is_const(0))
                    || matches!(matrix.buffer, BufferRef::Scratch(_));
                let loops = gemm.batch.iter().filter(|axis| !at(axis).is_const(0)).map(|axis| &axis.extent);
                if is_own { 0 } else { product(loops.chain([own, &gemm.k]), sizes).saturating_mul(4) }
            };
            of_all(&gemm.lhs, |axis| &axis.lhs, &gemm.m) + of_all(&gemm.rhs, |axis| &axis.rhs, &gemm.n)
        }
        _ => 0,
    };
    let seconds = |bytes: u64| bytes as f64 / if bytes > NEAR { FAR_BYTES } else { NEAR_BYTES };
    let mut sum = 0.0;
    for op in ops {
        sum += match op {
            TileOp::Loop(l) => shared(&l.ops, &sizes.inside(l, 0)) * sizes.turns(l) as f64,
            op => seconds(of_op(op)),
        };
    }
    sum
}

/// What the tiles of a kernel cost.
pub struct Cost {
    rows: u64,
    /// Tiles have a multiple of so many rows.
    step: u64,
    /// Seconds of all rows together, and of each tile beside its own.
    together: f64,
    beside: f64,
}

impl Cost {
    /// Of a kernel of so many rows.
    pub fn new(ops: &[TileOp], rows: u64, batch: i64) -> Cost {
        let sizes = Sizes::new(batch, rows as i64);
        let together = work(ops, &sizes) as f64 / OPERATIONS;
        Cost { rows, step: row_step(ops, rows, batch), together, beside: shared(ops, &sizes) + START }
    }

    /// Floating-point operations of all rows, or what takes as long; what is beside them not counted.
    pub fn work(&self) -> u64 {
        (self.together * OPERATIONS) as u64
    }

    /// Rows of each of `n` tiles, or of the fewer that there are.
    pub fn tile(&self, n: u64) -> u64 {
        self.rows.div_ceil(n).next_multiple_of(self.step).min(self.rows)
    }

    /// Seconds of a tile of so many rows.
    fn seconds(&self, tile: u64) -> f64 {
        self.together * tile as f64 / self.rows as f64 + self.beside
    }

    /// The same in floating-point operations.
    pub fn of_tile(&self, tile: u64) -> u64 {
        (self.seconds(tile) * OPERATIONS) as u64
    }

    /// Rows of the longest tile that costs no more than this; `None` if there is none.
    pub fn longest(&self, most: u64) -> Option<u64> {
        if self.rows == 0 {
            return None;
        }
        let least = self.tile(self.rows);
        if self.of_tile(least) > most {
            return None;
        }
        let share = (most as f64 / OPERATIONS - self.beside) / self.together;
        Some(((share * self.rows as f64) as u64 / self.step * self.step).max(least))
    }

    /// Seconds of `n` tiles on so many cores.
    fn on(&self, cores: u64, n: u64) -> f64 {
        let tile = self.tile(n);
        self.rows.div_ceil(tile).div_ceil(cores) as f64 * self.seconds(tile)
    }

    /// Rows of a tile for machines with these numbers of cores.
    fn best_on(&self, cores: &[u64]) -> u64 {
        let counts = 1..=MOST_TILES.min(self.rows);
        let least = |p: &u64| counts.clone().map(|n| self.on(*p, n)).fold(f64::INFINITY, f64::min);
        let best: Vec<f64> = cores.iter().map(least).collect();
        let loss = |n: u64| -> f64 { cores.iter().zip(&best).map(|(p, best)| self.on(*p, n) / best).sum() };
        let n_tiles = counts.clone().min_by(|a, b| loss(*a).total_cmp(&loss(*b))).expect("there is one");
        self.tile(n_tiles)
    }
}

/// Rows in a tile, for a kernel of `rows` rows.
pub fn choose(ops: &[TileOp], scratch: &[ScratchUse], rows: u64, batch: i64) -> u32 {
    if rows <= 1 {
        return 1;
    }
    // Of few tiles each is asked about several times.
    let known = RefCell::new(BTreeMap::<u64, (u64, u64)>::new());
    let of_tile = |tile: u64| {
        *known.borrow_mut().entry(tile).or_insert_with(|| {
            let sizes = Sizes::new(batch, tile as i64);
            (scratch_offsets(scratch, &sizes).1, visited_again(ops, &sizes))
        })
    };
    let bytes = |tile: u64| of_tile(tile).0;
    let visited = |tile: u64| of_tile(tile).1;
    // While a tile is computed, what the next one visits is asked for.
    let near = |tile: u64| bytes(tile).saturating_add(visited(tile).saturating_mul(2));
    let cost = Cost::new(ops, rows, batch);
    let mut tile = cost.best_on(FEW_CORES);
    if !can_divide(ops) || near(tile) > SCRATCH_BYTES {
        tile = cost.best_on(CORES);
    }
    tile = tile.min(MOST_ROWS);
    let (least, multiple) = if are_along_rows(ops) { (1, 1) } else { (LEAST_ROWS, ROW_STEP) };
    let fits = |tile: u64| near(tile) <= SCRATCH_BYTES;
    let shorter = |tile: &u64| {
        let is_last = fits(*tile) || *tile <= least;
        (!is_last).then(|| (tile / 2).next_multiple_of(multiple))
    };
    let lengths: Vec<u64> = std::iter::successors(Some(tile), shorter).collect();
    let of_a_row = |tile: u64| {
        let past_cache =
            if fits(tile) { 0.0 } else { (2.0 * bytes(tile) as f64 + visited(tile) as f64) / FAR_BYTES };
        (cost.beside + past_cache) / tile as f64
    };
    let least_of_a_row = lengths.iter().map(|tile| of_a_row(*tile)).fold(f64::INFINITY, f64::min);
    tile = match lengths.last() {
        // Each row is past the cache in any case: the shortest that costs hardly more than the best.
        Some(last) if !fits(*last) => {
            let of_row = cost.together / rows as f64;
            let is_near = |tile: &u64| of_row + of_a_row(*tile) <= ALMOST * (of_row + least_of_a_row);
            lengths.into_iter().rev().find(is_near).expect("the best is near itself")
        }
        _ => lengths.into_iter().find(|tile| of_a_row(*tile) == least_of_a_row).expect("it has one"),
    };
    while tile > cost.step && bytes(tile) > MOST_SCRATCH_BYTES {
        tile = (tile / 2).next_multiple_of(cost.step);
    }
    tile as u32
}

/// Whether all ops go along rows, so that a row by itself does as well as several.
fn are_along_rows(ops: &[TileOp]) -> bool {
    ops.iter().all(|op| {
        let TileOp::Nest(nest) = op else { return false };
        accesses(nest).into_iter().all(|access| {
            let mut moving = nest.axes.iter().zip(&access.strides).filter(|(_, stride)| !stride.is_const(0));
            let is_across =
                |(axis, stride): (&Axis, &Dim)| axis.extent.contains("tile") && stride.is_const(1);
            moving.clone().count() < 2 || !moving.any(is_across)
        })
    })
}

/// Bytes of a tile's rows in arrays that several loops visit; nothing where products are, whose blocks want rows enough, or where
/// rows do not lie together.
fn visited_again(ops: &[TileOp], sizes: &Sizes) -> u64 {
    let mut visits: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for op in ops {
        let nest = match op {
            TileOp::Nest(nest) => nest,
            TileOp::Fill(_) | TileOp::Sort(_) => continue,
            TileOp::Gemm(_) | TileOp::Loop(_) => return 0,
        };
        let mut of_nest: BTreeMap<u32, u64> = BTreeMap::new();
        for access in accesses(nest) {
            let BufferRef::Argument(argument) = access.buffer else { continue };
            let moving = || nest.axes.iter().zip(&access.strides).filter(|(_, stride)| !stride.is_const(0));
            let is_tile = |dim: &Dim| dim.contains("tile");
            if moving().any(|(axis, stride)| is_tile(&axis.extent) && !stride.is_const(1)) {
                let n = product(moving().map(|(axis, _)| &axis.extent), sizes);
                let bytes = n.saturating_mul(access.dtype.bytes() as u64);
                of_nest.entry(argument).and_modify(|most| *most = bytes.max(*most)).or_insert(bytes);
            }
        }
        for (argument, bytes) in of_nest {
            let (n, most) = visits.entry(argument).or_default();
            (*n, *most) = (*n + 1, bytes.max(*most));
        }
    }
    visits.into_values().filter(|(n, _)| *n > 1).map(|(_, bytes)| bytes).sum()
}

/// Rows that vectors and blocks of products want together: one where a row has work enough of its own.
fn row_step(ops: &[TileOp], rows: u64, batch: i64) -> u64 {
    let of_a_row = |batch| work(ops, &Sizes::new(batch, 1));
    // Of few rows, such as the parts of a long sum, each is a tile if it may be.
    let is_much = of_a_row(1) >= ROW_WORK || rows <= MOST_TILES && of_a_row(batch) >= ROW_WORK;
    if is_much || rows < ROW_STEP { 1 } else { ROW_STEP }
}

/// Places for scratch buffers, those whose lives do not meet sharing bytes; and how many bytes there are in all.
pub fn scratch_offsets(scratch: &[ScratchUse], sizes: &Sizes) -> (Vec<Scratch>, u64) {
    let bytes = |use_: &ScratchUse| sizes.greatest(&use_.n_elements) * use_.dtype.bytes() as u64;
    let needs: Vec<Need> = scratch.iter().map(|use_| Need { bytes: bytes(use_), live: use_.live }).collect();
    let (offsets, end) = place(&needs);
    let at = |((use_, need), offset): ((&ScratchUse, &Need), u64)| Scratch {
        dtype: use_.dtype,
        offset,
        bytes: need.bytes,
    };
    (scratch.iter().zip(&needs).zip(offsets).map(at).collect(), end)
}

#[cfg(test)]
mod tests {
    use crate::graph::text::parse;
    use crate::plan::{Options, Target, plan};

    /// The gradient of a weight of `n` columns over `k` terms, and what is made of it in the same kernel: rows of its tiles.
    fn rows_of_a_tile(n: i64, k: i64) -> u32 {
        let text = format!(
            "graph {{
                %x = input @x : f32[{k}, 256]
                %g = input @g : f32[{k}, {n}]
                %w = param @w : f32[256, {n}]
                %d = contract ab,ac->bc %x, %g : f32[256, {n}]
                %y = map mul %w, %d : f32[256, {n}]
                update %w <- %y
            }}"
        );
        plan(&parse(&text).unwrap(), &Options::new(1, Target::Cpu)).kernels[0].tile
    }

    #[test]
    fn scratch_past_the_cache_is_weighed_against_what_all_tiles_read() {
        for (n, k, rows) in [
            (256, 512, 128),
            (1024, 16, 128),
            (8192, 1024, 64),
            (8192, 4, 16),
            // Not even eight rows stay in the cache.
            (32768, 512, 64),
            (32768, 1, 8),
        ] {
            assert_eq!(rows_of_a_tile(n, k), rows, "{n} columns, {k} terms");
        }
    }

    /// Rows of 4 KiB that several loops visit, 64 MiB in all.
    #[test]
    fn what_several_loops_visit_stays_in_a_cache() {
        let kernel = crate::nest::samples::softmax(1024, 1);
        assert!(super::choose(&kernel.ops, &[], 16384, 16384) <= 64);
    }
}
