//! A matrix product of bf16 factors with AMX's tiles, with sums in f32.
//!
//! What enters: a `Product<u16>`. What leaves: its result. The terms are taken `STEP` at a time, the last of them filled up with
//! 0 * 0; of these, the first of each pair and the second of each are two sums, each one fused multiply-add after another from 0:
//! `step = (a0 b0 + a2 b2 + …) + (a1 b1 + a3 b3 + …)`, then `sum = sum + step`, where all that is below the least normal number
//! counts as 0. So `TDPBF16PS` does it (Intel, "Software Developer's Manual", volume 2). It is another order than that of
//! `pairs.rs`; it depends on nothing but the number of terms. Invariant: no allocation. Not here: the instructions (`amx.rs`).
//!
//! A left row whose terms are neighbours is a row of a tile where it lies. All else is laid out in tiles first: of a right factor
//! `COLUMNS` columns at a time, which stay in the first-level cache while all rows go by; of a left one `ROWS` rows, which stay
//! in the second. Tiles multiply so fast that this takes longer than the products.

use super::Product;
use super::amx::{Block, SIDE, STEP, Tiles};
use super::panels;
use super::simd::x86::transposed;
use std::arch::x86_64::*;
use std::cell::UnsafeCell;

/// Terms that are laid out at a time: whole steps.
const TERMS: usize = 512;
/// Rows of a left factor that are.
const ROWS: usize = 256;
/// Columns of a block.
const COLUMNS: usize = 2 * SIDE;
/// Numbers of a whole tile.
const TILE: usize = SIDE * STEP;

/// Part of a factor.
type Side = panels::Side<u16>;

#[repr(C, align(64))]
struct Buffers {
    left: [u16; ROWS * TERMS],
    right: [u16; COLUMNS * TERMS],
    /// A block whose columns are not neighbours in the result.
    apart: [f32; COLUMNS * COLUMNS],
}

thread_local! {
    static BUFFERS: UnsafeCell<Buffers> = const {
        UnsafeCell::new(Buffers {
            left: [0; ROWS * TERMS],
            right: [0; COLUMNS * TERMS],
            apart: [0.0; COLUMNS * COLUMNS],
        })
    };
}

/// See the module's documentation.
///
/// # Safety
/// The CPU has AVX-512 F and BW, and `amx::are_there`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[target_feature(enable = "avx512f,avx512bw")]
pub unsafe fn product(product: &Product<u16>) {
    let p = oriented(product);
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    if m == 0 || n == 0 {
        return;
    }
    let buffers = BUFFERS.with(UnsafeCell::get);
    // SAFETY: fields of this thread's own buffers, which no other function uses.
    let (left, right, apart) = unsafe {
        (&raw mut (*buffers).left, &raw mut (*buffers).right, &raw mut (*buffers).apart)
    };
    let (left, right, apart): (*mut u16, *mut u16, *mut f32) = (left.cast(), right.cast(), apart.cast());
    // SAFETY: the caller vouches for the tiles.
    let mut tiles = unsafe { Tiles::begin() };
    let whole = k - k % STEP;
    for (term, n_terms) in steps(whole, TERMS).chain((whole < k || k == 0).then_some((whole, k - whole))) {
        let accumulate = p.accumulate != 0 || term > 0;
        let n_steps = n_terms.div_ceil(STEP);
        let in_place = p.lhs_column == 1 && n_terms.is_multiple_of(STEP);
        for (row, n_rows) in steps(m, if in_place { m } else { ROWS }) {
            // SAFETY: rows, columns and terms are inside of the matrices that the caller vouches for; the buffers have room for
            // `ROWS` rows and `COLUMNS` columns of `TERMS` terms, in whole tiles.
            unsafe {
                let lhs = left_side(&p, row, n_rows, term, n_terms);
                if !in_place {
                    for (first, n_across) in steps(n_rows, COLUMNS) {
                        lay_rows(&lhs.part(first, n_across), left.add(first * n_steps * STEP));
                    }
                }
                for (column, n_columns) in steps(n, COLUMNS) {
                    lay_pairs(&right_side(&p, column, n_columns, term, n_terms), right);
                    for (first, n_rows) in steps(n_rows, 2 * SIDE) {
                        tiles.shape(n_rows, n_columns);
                        let out = p.out.offset((row + first) as isize * p.out_row as isize);
                        let out = out.offset(column as isize * p.out_column as isize);
                        let mut block = Block {
                            n_steps,
                            lhs: left.add(first * n_steps * STEP),
                            lhs_row: 2 * STEP,
                            lhs_step: 4 * TILE,
                            lhs_tile: 2 * TILE,
                            rhs: right,
                            out,
                            out_row: p.out_row as usize,
                            accumulate,
                        };
                        if in_place {
                            block.lhs = lhs.from.offset(first as isize * lhs.across);
                            block.lhs_row = 2 * lhs.across as usize;
                            block.lhs_step = 2 * STEP;
                            block.lhs_tile = SIDE * block.lhs_row;
                        }
                        if p.out_column == 1 {
                            tiles.block(&block);
                        } else {
                            (block.out, block.out_row) = (apart, COLUMNS);
                            let size = [n_rows, n_columns];
                            if accumulate {
                                exchange(apart, size, out, &p, true);
                            }
                            tiles.block(&block);
                            exchange(apart, size, out, &p, false);
                        }
                    }
                }
            }
        }
    }
}

/// The product or its transpose.
fn oriented(p: &Product<u16>) -> Product<u16> {
    if p.out_column != 1 && p.out_row == 1 { p.transposed() } else { *p }
}

/// `n` by steps of at most `step`: the first of each, and how many.
fn steps(n: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(step).map(move |first| (first, step.min(n - first)))
}

fn left_side(p: &Product<u16>, row: usize, n_rows: usize, term: usize, n_terms: usize) -> Side {
    let (across, along) = (p.lhs_row as isize, p.lhs_column as isize);
    let from = p.lhs.wrapping_offset(row as isize * across + term as isize * along);
    Side { from, across, along, n_across: n_rows, n_terms }
}

fn right_side(p: &Product<u16>, column: usize, n_columns: usize, term: usize, n_terms: usize) -> Side {
    let (across, along) = (p.rhs_column as isize, p.rhs_row as isize);
    let from = p.rhs.wrapping_offset(column as isize * across + term as isize * along);
    Side { from, across, along, n_across: n_columns, n_terms }
}

impl Side {
    fn part(&self, first: usize, n_across: usize) -> Side {
        Side { from: self.from.wrapping_offset(first as isize * self.across), n_across, ..*self }
    }
}

/// The first `n` of 32 lanes.
fn lanes(n: usize) -> __mmask32 {
    if n < 32 { (1 << n) - 1 } else { !0 }
}

/// Two tiles a step of up to 32 neighbours: each row of a tile is one's terms.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn lay_rows(side: &Side, to: *mut u16) {
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

/// Two tiles a step of up to 32 neighbours: each row of a tile is a pair of terms of each.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn lay_pairs(side: &Side, to: *mut u16) {
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

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn one_by_one(side: &Side, to: *mut u16, place: impl Fn(usize, usize) -> usize) {
    for (step, n_steps) in steps(side.n_terms.next_multiple_of(STEP), STEP) {
        for across in 0..side.n_across {
            for term in 0..n_steps {
                let at = across as isize * side.across + (step + term) as isize * side.along;
                unsafe {
                    let x = if step + term < side.n_terms { side.from.offset(at).read() } else { 0 };
                    to.add(step * COLUMNS + across / SIDE * TILE + place(across % SIDE, term)).write(x);
                }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn copy(side: &Side, to: *mut u16) {
    for across in 0..side.n_across {
        let from = side.from.wrapping_offset(across as isize * side.across);
        let to = to.wrapping_add(across / SIDE * TILE + across % SIDE * STEP);
        for (step, n) in steps(side.n_terms, STEP) {
            unsafe {
                let x = _mm512_maskz_loadu_epi16(lanes(n), from.add(step).cast());
                _mm512_store_si512(to.add(step * COLUMNS).cast(), x);
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn turn(side: &Side, to: *mut u16) {
    for step in 0..side.n_terms.div_ceil(STEP) {
        for tile in 0..side.n_across.div_ceil(SIDE) {
            unsafe {
                let to = to.add((2 * step + tile) * TILE).cast::<__m512i>();
                let rows = std::array::from_fn(|i| to.add(i).read());
                for (i, row) in transposed(rows).into_iter().enumerate() {
                    to.add(i).write(row);
                }
            }
        }
    }
}

/// How many terms before it is read a row is asked for.
const AHEAD: isize = 32;

#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn interleave(side: &Side, to: *mut u16) {
    // Lanes of the first vector, and (from 32 on) of the second.
    let low: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 32) as u16);
    let high = low.map(|lane| lane + 16);
    let mask = lanes(side.n_across);
    unsafe {
        let (low, high) =
            (_mm512_loadu_si512(low.as_ptr().cast()), _mm512_loadu_si512(high.as_ptr().cast()));
        for pair in 0..side.n_terms.next_multiple_of(STEP) / 2 {
            let row = |term: usize| {
                let from = side.from.wrapping_offset(term as isize * side.along);
                _mm_prefetch::<_MM_HINT_T0>(from.wrapping_offset(AHEAD * side.along).cast());
                _mm512_maskz_loadu_epi16(if term < side.n_terms { mask } else { 0 }, from.cast())
            };
            let (a, b) = (row(2 * pair), row(2 * pair + 1));
            let to = to.add(pair / SIDE * 2 * TILE + pair % SIDE * STEP);
            _mm512_store_si512(to.cast(), _mm512_permutex2var_epi16(a, low, b));
            _mm512_store_si512(to.add(TILE).cast(), _mm512_permutex2var_epi16(a, high, b));
        }
    }
}

/// Copies a block from where its elements are apart, or back.
unsafe fn exchange(block: *mut f32, [n_rows, n_columns]: [usize; 2], out: *mut f32, p: &Product<u16>, is_read: bool) {
    for i in 0..n_rows {
        for j in 0..n_columns {
            unsafe {
                let there = out.offset(i as isize * p.out_row as isize + j as isize * p.out_column as isize);
                let here = block.add(i * COLUMNS + j);
                if is_read { *here = *there } else { *there = *here }
            }
        }
    }
}
