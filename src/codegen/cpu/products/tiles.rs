//! A matrix product of bf16 factors by AMX's tiles, with sums in f32.
//!
//! What enters: a `Product<u16>`. What leaves: its result. The terms are taken `STEP` at a time, the last of them filled up with
//! 0 * 0. Of these, the first of all pairs are one sum and the second of all pairs another, each one fused multiply-add after
//! another from 0; `sum = sum + (first + second)`. What is below the least normal number counts as 0 throughout. So `TDPBF16PS` does it
//! (Intel, "Software Developer's Manual", volume 2). This is another order than that of `pairs.rs`; it too follows from the number of
//! terms alone. Invariant: no allocation. Not here: the instructions (`amx.rs`).
//!
//! A left row whose terms are neighbours is a tile's row where it lies. All else is laid out in tiles first, some `TERMS` of
//! some rows and columns at a time. Tiles multiply so fast that this takes nearly as long as they do.

use super::Product;
use super::amx::{Block, Rows, SIDE, STEP, Tiles};
use super::panels;
use super::simd::x86::transposed;
use std::arch::x86_64::*;
use std::cell::UnsafeCell;

/// Terms that are laid out at a time: whole steps.
const TERMS: usize = 512;
/// Rows of a left factor that are.
const ROWS: usize = 256;
/// Columns of a right factor that are: long pieces of its rows, and no more than the second-level cache keeps.
const COLUMNS: usize = 4 * EDGE;
/// Rows of a block, and columns.
const EDGE: usize = 2 * SIDE;
/// Numbers of a whole tile.
const TILE: usize = SIDE * STEP;

/// Part of a factor.
type Side = panels::Side<u16>;

#[repr(C, align(64))]
struct Buffers {
    left: [u16; ROWS * TERMS],
    right: [u16; COLUMNS * TERMS],
    apart: [f32; EDGE * EDGE],
}

thread_local! {
    static BUFFERS: UnsafeCell<Buffers> = const {
        UnsafeCell::new(Buffers {
            left: [0; ROWS * TERMS],
            right: [0; COLUMNS * TERMS],
            apart: [0.0; EDGE * EDGE],
        })
    };
}

/// See the module's documentation.
///
/// # Safety
/// The CPU has AVX-512 F and BW, and `amx::are_there`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn product(product: &Product<u16>) {
    let p = if product.out_column != 1 && product.out_row == 1 { product.transposed() } else { *product };
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    if m == 0 || n == 0 {
        return;
    }
    let buffers = BUFFERS.with(UnsafeCell::get);
    // SAFETY: fields of this thread's own buffers, which no other function uses.
    let (left, right, apart) =
        unsafe { (&raw mut (*buffers).left, &raw mut (*buffers).right, &raw mut (*buffers).apart) };
    let (left, right, apart): (*mut u16, *mut u16, *mut f32) = (left.cast(), right.cast(), apart.cast());
    // SAFETY: the caller vouches for the tiles.
    let mut tiles = unsafe { Tiles::begin() };
    let whole = k - k % STEP;
    let rest = (whole < k || k == 0).then_some((whole, k - whole));
    for (term, n_terms) in steps(whole, TERMS).chain(rest) {
        let in_place = p.lhs_column == 1 && n_terms.is_multiple_of(STEP);
        for (row, n_rows) in steps(m, if in_place { m } else { ROWS }) {
            // SAFETY: rows, columns and terms are inside of the matrices that the caller vouches for; the buffers have room for
            // `ROWS` rows and `COLUMNS` columns of `TERMS` terms, in whole tiles.
            unsafe {
                let (across, along) = (p.lhs_row as isize, p.lhs_column as isize);
                let from = p.lhs.offset(row as isize * across + term as isize * along);
                let lhs = Side { from, across, along, n_across: n_rows, n_terms };
                if !in_place {
                    lay_rows(&lhs, left);
                }
                for (column, n_columns) in steps(n, COLUMNS) {
                    let (across, along) = (p.rhs_column as isize, p.rhs_row as isize);
                    let from = p.rhs.offset(column as isize * across + term as isize * along);
                    lay_pairs(&Side { from, across, along, n_across: n_columns, n_terms }, right);
                    let n_steps = n_terms.div_ceil(STEP);
                    let part = Part {
                        lhs: if in_place { lying(&lhs) } else { laid_out(left) },
                        lhs_block: if in_place {
                            EDGE as isize * lhs.across
                        } else {
                            (EDGE * STEP * n_steps) as isize
                        },
                        rhs: right,
                        n_rows,
                        n_columns,
                        n_steps,
                        out: p.out.offset(place(&p, row, column)),
                        apart,
                        accumulate: p.accumulate != 0 || term > 0,
                    };
                    blocks(&mut tiles, &p, &part);
                }
            }
        }
    }
}

/// Some rows and columns of the result, some of their terms, and where the factors' parts of them lie.
struct Part {
    lhs: Rows,
    /// Elements from a block's rows to those of the next.
    lhs_block: isize,
    /// As `lay_pairs` leaves them.
    rhs: *const u16,
    n_rows: usize,
    n_columns: usize,
    n_steps: usize,
    out: *mut f32,
    /// Room for a block whose columns are not neighbours in the result.
    apart: *mut f32,
    accumulate: bool,
}

/// A left factor's rows where they lie.
fn lying(side: &Side) -> Rows {
    let row = 2 * side.across as usize;
    Rows { from: side.from, row, step: 2 * STEP, tile: SIDE * row }
}

/// The same as `lay_rows` leaves them.
fn laid_out(from: *const u16) -> Rows {
    Rows { from, row: 2 * STEP, step: 4 * TILE, tile: 2 * TILE }
}

/// # Safety
/// As for `product`; the part is inside of the matrices.
unsafe fn blocks(tiles: &mut Tiles, p: &Product<u16>, part: &Part) {
    let Part { lhs, lhs_block, rhs, n_rows, n_columns, n_steps, out, apart, accumulate } = *part;
    for (column, n_columns) in steps(n_columns, EDGE) {
        for (row, n_rows) in steps(n_rows, EDGE) {
            tiles.shape(n_rows, n_columns);
            // SAFETY: rows and columns are the part's; `apart` has room for a block.
            unsafe {
                let out = out.offset(place(p, row, column));
                let is_apart = p.out_column != 1;
                let to = if is_apart { apart } else { out };
                let block = Block {
                    n_steps,
                    lhs: Rows { from: lhs.from.offset((row / EDGE) as isize * lhs_block), ..lhs },
                    rhs: rhs.add(column * n_steps * STEP),
                    out: to,
                    out_row: if is_apart { EDGE } else { p.out_row as usize },
                    accumulate,
                };
                let each = || (0..n_rows).flat_map(|i| (0..n_columns).map(move |j| (i, j)));
                let there = |i: usize, j: usize| out.offset(place(p, i, j));
                if is_apart && accumulate {
                    each().for_each(|(i, j)| *apart.add(i * EDGE + j) = *there(i, j));
                }
                tiles.block(&block);
                if is_apart {
                    each().for_each(|(i, j)| *there(i, j) = *apart.add(i * EDGE + j));
                }
            }
        }
    }
}

/// Elements from the first of the result to that of row `i` and column `j`.
fn place(p: &Product<u16>, i: usize, j: usize) -> isize {
    i as isize * p.out_row as isize + j as isize * p.out_column as isize
}

/// `n` by steps of at most `step`: the first of each, and how many.
fn steps(n: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(step).map(move |first| (first, step.min(n - first)))
}

/// The first `n` of 32 lanes.
fn lanes(n: usize) -> __mmask32 {
    if n < 32 { (1 << n) - 1 } else { !0 }
}

/// Lays out panels of `EDGE` rows, in each two tiles a step: a row of a tile is one's terms.
///
/// # Safety
/// The CPU has the features; `side` can be read, and whole tiles written.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn lay_rows(side: &Side, to: *mut u16) {
    // SAFETY: the caller's promises are these calls'.
    unsafe {
        match (side.across, side.along) {
            (_, 1) => copy(side, to),
            (1, _) => {
                interleave(side, to);
                turn(side, to);
            }
            _ => one_by_one(side, to, |across, term| across * STEP + term),
        }
    }
}

/// Lays out panels of `EDGE` columns, in each two tiles a step: a row of a tile is a pair of terms of each.
///
/// # Safety
/// As for `lay_rows`.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn lay_pairs(side: &Side, to: *mut u16) {
    // SAFETY: the caller's promises are these calls'.
    unsafe {
        match (side.across, side.along) {
            (1, _) => interleave(side, to),
            (_, 1) => {
                copy(side, to);
                turn(side, to);
            }
            _ => one_by_one(side, to, |across, term| (term / 2 * SIDE + across) * 2 + term % 2),
        }
    }
}

/// Neighbours are next to each other: two rows of terms become one of pairs, in each panel.
///
/// # Safety
/// As for `lay_rows`.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn interleave(side: &Side, to: *mut u16) {
    // Lanes of the first vector, and (from 32 on) of the second.
    let low: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 32) as u16);
    let high = low.map(|lane| lane + 16);
    let n_steps = side.n_terms.div_ceil(STEP);
    // SAFETY: arrays of 64 bytes; masks keep all else inside of what the caller vouches for.
    unsafe {
        let (low, high) = (_mm512_loadu_si512(low.as_ptr().cast()), _mm512_loadu_si512(high.as_ptr().cast()));
        for pair in 0..n_steps * SIDE {
            // All panels at once: a line of a cache lies next to one that was just read.
            for (first, n_across) in steps(side.n_across, EDGE) {
                let row = |term: usize| {
                    let from = side.from.wrapping_offset(term as isize * side.along).wrapping_add(first);
                    let mask = if term < side.n_terms { lanes(n_across) } else { 0 };
                    _mm512_maskz_loadu_epi16(mask, from.cast())
                };
                let (a, b) = (row(2 * pair), row(2 * pair + 1));
                let to = to.add(first * n_steps * STEP + pair / SIDE * 2 * TILE + pair % SIDE * STEP);
                _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi16(a, low, b));
                _mm512_storeu_si512(to.add(TILE).cast(), _mm512_permutex2var_epi16(a, high, b));
            }
        }
    }
}

/// Terms are next to each other: each row of a tile is a step's terms.
///
/// # Safety
/// As for `lay_rows`.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn copy(side: &Side, to: *mut u16) {
    let n_steps = side.n_terms.div_ceil(STEP);
    for (first, n_across) in steps(side.n_across, EDGE) {
        for (term, n_terms) in steps(side.n_terms, STEP) {
            for i in 0..n_across {
                // SAFETY: a mask keeps this inside of what the caller vouches for.
                unsafe {
                    let from = side.from.offset((first + i) as isize * side.across + term as isize);
                    let to = to.add(first * n_steps * STEP + term * EDGE + i * STEP);
                    _mm512_storeu_si512(to.cast(), _mm512_maskz_loadu_epi16(lanes(n_terms), from.cast()));
                }
            }
        }
    }
}

/// Tiles of terms become tiles of pairs, or the other way round.
///
/// # Safety
/// As for `lay_rows`.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn turn(side: &Side, tiles: *mut u16) {
    for tile in 0..side.n_across.div_ceil(EDGE) * side.n_terms.div_ceil(STEP) * 2 {
        // SAFETY: whole tiles are the caller's.
        unsafe {
            let row = |i: usize| tiles.add(tile * TILE + i * STEP);
            let columns = transposed(std::array::from_fn(|i| _mm512_loadu_si512(row(i).cast())));
            for (i, column) in columns.into_iter().enumerate() {
                _mm512_storeu_si512(row(i).cast(), column);
            }
        }
    }
}

/// `place`: of a neighbour's term in a tile.
///
/// # Safety
/// As for `lay_rows`.
unsafe fn one_by_one(side: &Side, to: *mut u16, place: impl Fn(usize, usize) -> usize) {
    let n_steps = side.n_terms.div_ceil(STEP);
    for i in 0..side.n_across {
        for term in 0..n_steps * STEP {
            let tile = (i / EDGE * n_steps + term / STEP) * 2 + i % EDGE / SIDE;
            let at = i as isize * side.across + term as isize * side.along;
            // SAFETY: the caller vouches for all terms, and for whole tiles.
            unsafe {
                let bits = if term < side.n_terms { side.from.offset(at).read() } else { 0 };
                to.add(tile * TILE + place(i % SIDE, term % STEP)).write(bits);
            }
        }
    }
}
