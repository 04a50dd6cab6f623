//! A matrix product, in blocks that stay in registers.
//!
//! What enters: a `Product`. What leaves: its result. Each element is the sum of its terms in order, one fused multiply-add
//! after another from 0 (or from what is there), whatever the blocks: results do not depend on tiles, threads or vector
//! width. Invariant: no allocation. Not here: threads, and copies of whole operands (the plan packs what many tiles read).
//!
//! The result is made in blocks of `rows x (vectors * lanes)`. The right operand is read along its rows by vectors, each element
//! of the left one is multiplied with all of them: for a block 6 x 64 this is 10 loads for 24 multiply-adds, which
//! take 24 cycles on a core with one 512-bit unit. A right operand that is not contiguous along its rows is first turned
//! about, a panel of `DEPTH` terms at a time, into a buffer of the thread's.

use super::Product;
use super::simd::Simd;
use std::cell::UnsafeCell;

/// Terms in a turned panel.
const DEPTH: usize = 1024;
/// The widest panel.
pub const WIDTH: usize = 64;
/// The most rows of a block.
const MOST_ROWS: usize = 12;
/// Rows of the right operand that are at least so many elements apart fall into few sets of a cache.
const FAR: u64 = 512;
/// Then so many rows of the result are made at once: what cannot stay in a cache is not read again and again.
const FEW_ROWS: usize = 32;

/// One block's operands; `k` terms.
struct Block<S: Simd> {
    k: usize,
    lhs: *const f32,
    lhs_row: isize,
    lhs_column: isize,
    /// Contiguous along its rows.
    rhs: *const f32,
    rhs_row: isize,
    out: *mut f32,
    out_row: isize,
    /// Of the last vector of each row.
    tail: S::Mask,
    accumulate: bool,
}

/// `ROWS` rows of `VECTORS` vectors.
///
/// # Safety
/// The CPU has the features of `S`; the block's addresses are valid.
#[inline(always)]
unsafe fn block<S: Simd, const ROWS: usize, const VECTORS: usize>(block: &Block<S>) {
    let Block { k, lhs, lhs_row, lhs_column, rhs, rhs_row, out, out_row, tail, accumulate } = *block;
    // SAFETY: the caller vouches for the addresses and the CPU.
    unsafe {
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        if accumulate {
            for (i, row) in sums.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    let from = out.offset(i as isize * out_row).add(v * S::LANES);
                    *sum = if v + 1 == VECTORS { S::load_masked(from, tail) } else { S::load(from) };
                }
            }
        }
        let (mut lhs, mut rhs) = (lhs, rhs);
        for _ in 0..k {
            let mut right = [S::splat(0.0); VECTORS];
            for (v, x) in right.iter_mut().enumerate() {
                let from = rhs.add(v * S::LANES);
                *x = if v + 1 == VECTORS { S::load_masked(from, tail) } else { S::load(from) };
            }
            for (i, row) in sums.iter_mut().enumerate() {
                // A pair of bf16 may lie at any even address.
                let left = S::splat(lhs.offset(i as isize * lhs_row).read_unaligned());
                for (sum, x) in row.iter_mut().zip(right) {
                    *sum = S::fma(left, x, *sum);
                }
            }
            lhs = lhs.wrapping_offset(lhs_column);
            rhs = rhs.wrapping_offset(rhs_row);
        }
        for (i, row) in sums.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                let to = out.offset(i as isize * out_row).add(v * S::LANES);
                if v + 1 == VECTORS {
                    S::store_masked(to, tail, *sum);
                } else {
                    S::store(to, *sum);
                }
            }
        }
    }
}

/// The block of that many rows and vectors.
///
/// # Safety
/// As for `block`.
#[inline(always)]
unsafe fn any_block<S: Simd>(rows: usize, vectors: usize, b: &Block<S>) {
    macro_rules! blocks {
        ($($vectors:literal: $($rows:literal)*;)*) => {
            match (vectors, rows) {
                // SAFETY: the caller's promises are this call's.
                $($(($vectors, $rows) => unsafe { block::<S, $rows, $vectors>(b) },)*)*
                _ => unreachable!("no block is {rows} rows by {vectors} vectors"),
            }
        };
    }
    blocks! {
        1: 1 2 3 4 5 6 7 8 9 10 11 12;
        2: 1 2 3 4 5 6 7 8 9 10 11 12;
        3: 1 2 3 4 5 6;
        4: 1 2 3 4 5 6;
    }
}

#[repr(C, align(64))]
struct Panel([f32; DEPTH * WIDTH]);

thread_local! {
    static PANEL: UnsafeCell<Panel> = const { UnsafeCell::new(Panel([0.0; DEPTH * WIDTH])) };
}

/// See the module's documentation.
///
/// # Safety
/// The CPU has the features of `S`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[inline(always)]
pub unsafe fn product<S: Simd>(product: &Product) {
    let p = oriented(product);
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    let width = S::LANES * S::VECTORS;
    let turns = p.rhs_column != 1;
    let depth = if turns { DEPTH } else { k.max(1) };
    let rows_at_once = if !turns && p.rhs_row.unsigned_abs() >= FAR { FEW_ROWS } else { m };
    let panel: *mut f32 = PANEL.with(UnsafeCell::get).cast();
    let mut row = 0;
    while row < m {
        let n_rows = rows_at_once.min(m - row);
        let mut column = 0;
        while column < n {
            let n_columns = width.min(n - column);
            let mut term = 0;
            loop {
                let n_terms = depth.min(k - term);
                let accumulate = p.accumulate != 0 || term > 0;
                // SAFETY: row, column and term are inside of the matrices that the caller vouches for; a panel holds
                // `DEPTH` rows of at most `WIDTH` elements, and is this thread's alone.
                unsafe {
                    let (right, down) =
                        (column as isize * p.rhs_column as isize, term as isize * p.rhs_row as isize);
                    let mut rhs = p.rhs.offset(right + down);
                    let mut rhs_row = p.rhs_row as isize;
                    if turns {
                        copy_panel(rhs, &p, n_terms, n_columns, panel);
                        (rhs, rhs_row) = (panel, n_columns as isize);
                    }
                    let part =
                        Part { row, n_rows, column, n_columns, term, n_terms, rhs, rhs_row, accumulate };
                    blocks_of_rows::<S>(&p, &part);
                }
                term += n_terms;
                if term >= k {
                    break;
                }
            }
            column += n_columns;
        }
        row += n_rows;
    }
}

/// The product, or its transpose: that one whose blocks' rows are contiguous, or, where the right operand must be turned
/// about for that, the one that turns the smaller operand (dealing the result out costs as much as `WORTH` terms).
fn oriented(p: &Product) -> Product {
    const WORTH: i64 = 128;
    let turns = p.rhs_column != 1 && p.n > 1;
    let smaller = p.m < p.n && p.k >= WORTH;
    if (p.out_column != 1 && p.out_row == 1) || (p.out_column == 1 && turns && smaller) {
        p.transposed()
    } else {
        *p
    }
}

/// Some rows and columns of the result, some of their terms, and where the right operand's part of them lies.
pub struct Part {
    pub row: usize,
    pub n_rows: usize,
    pub column: usize,
    pub n_columns: usize,
    pub term: usize,
    pub n_terms: usize,
    pub rhs: *const f32,
    pub rhs_row: isize,
    pub accumulate: bool,
}

/// # Safety
/// As for `product`.
#[inline(always)]
pub unsafe fn blocks_of_rows<S: Simd>(p: &Product, part: &Part) {
    let vectors = part.n_columns.div_ceil(S::LANES);
    let n_blocks = part.n_rows.div_ceil(S::rows(vectors));
    // SAFETY: the caller vouches for the matrices; a block's rows are inside of the part's.
    unsafe {
        let tail = S::mask(part.n_columns - (vectors - 1) * S::LANES);
        let (mut row, end) = (part.row, part.row + part.n_rows);
        for block in 0..n_blocks {
            // Blocks as equal as can be: one row alone would wait for its own sums.
            let n_rows = (end - row).div_ceil(n_blocks - block);
            let (i, term) = (row as isize, part.term as isize);
            let out = p.out.offset(i * p.out_row as isize + part.column as isize * p.out_column as isize);
            let mut b = Block::<S> {
                k: part.n_terms,
                lhs: p.lhs.offset(i * p.lhs_row as isize + term * p.lhs_column as isize),
                lhs_row: p.lhs_row as isize,
                lhs_column: p.lhs_column as isize,
                rhs: part.rhs,
                rhs_row: part.rhs_row,
                out,
                out_row: p.out_row as isize,
                tail,
                accumulate: part.accumulate,
            };
            if p.out_column == 1 {
                any_block(n_rows, vectors, &b);
            } else {
                // Elements of a row are apart: the block is made elsewhere and dealt out.
                let mut apart = [0.0f32; MOST_ROWS * WIDTH];
                let place =
                    |i: usize, j: usize| i as isize * p.out_row as isize + j as isize * p.out_column as isize;
                let each = || (0..part.n_columns).flat_map(|j| (0..n_rows).map(move |i| (i, j)));
                if part.accumulate {
                    each().for_each(|(i, j)| apart[i * WIDTH + j] = *out.offset(place(i, j)));
                }
                (b.out, b.out_row) = (apart.as_mut_ptr(), WIDTH as isize);
                any_block(n_rows, vectors, &b);
                each().for_each(|(i, j)| *out.offset(place(i, j)) = apart[i * WIDTH + j]);
            }
            row += n_rows;
        }
    }
}

/// Copies `n_terms` rows of `n_columns` elements, which then lie one after another.
///
/// # Safety
/// `rhs` is valid for them at the product's strides, `panel` for as many elements.
#[inline(always)]
unsafe fn copy_panel(rhs: *const f32, p: &Product, n_terms: usize, n_columns: usize, panel: *mut f32) {
    let (row, column) = (p.rhs_row as isize, p.rhs_column as isize);
    // SAFETY: the caller vouches for both.
    unsafe {
        // Eight columns at a time: reads go along a few contiguous columns, writes fill parts of a line.
        let mut first = 0;
        while first < n_columns {
            let some = 8.min(n_columns - first);
            for t in 0..n_terms {
                let from = rhs.offset(t as isize * row + first as isize * column);
                let to = panel.add(t * n_columns + first);
                for j in 0..some {
                    *to.add(j) = *from.offset(j as isize * column);
                }
            }
            first += some;
        }
    }
}
