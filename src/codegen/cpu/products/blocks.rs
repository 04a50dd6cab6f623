//! A matrix product, in blocks that stay in registers.
//!
//! What enters: a `Product`. What leaves: its result. Each element is the sum of its terms in order, one fused multiply-add
//! after another from 0 (or from what is there), whatever the blocks: results do not depend on tiles, threads or vector
//! width. Invariant: no allocation. Not here: threads, and copies of whole operands (the plan packs what many tiles read).
//!
//! The result is made in blocks of `rows x (vectors * lanes)`. The right operand is read along its rows by vectors, each element
//! of the left one is multiplied with all of them: for a block 6 x 64 this is 10 loads for 24 multiply-adds, which
//! take 24 cycles on a core with one 512-bit unit. A right operand that is not contiguous along its rows, or
//! whose rows are far apart and read by many blocks, is first copied, a panel of `DEPTH` rows at a time, to the stack.

use super::Product;
use super::simd::Simd;

/// Terms in a copied panel.
const DEPTH: usize = 256;
/// The widest panel.
const WIDTH: usize = 64;
/// Rows of the result above which rows of the right operand that are `FAR` elements apart are worth a copy.
const MANY_ROWS: usize = 32;
/// Rows that far apart fall into few sets of the first-level cache.
const FAR: isize = 512;

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
                let left = S::splat(*lhs.offset(i as isize * lhs_row));
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

/// See the module's documentation.
///
/// # Safety
/// The CPU has the features of `S`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[inline(always)]
pub unsafe fn product<S: Simd>(product: &Product) {
    let p = if product.out_column != 1 && product.out_row == 1 { product.transposed() } else { *product };
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    let width = S::LANES * S::VECTORS;
    let mut panel = std::mem::MaybeUninit::<Panel>::uninit();
    let panel: *mut f32 = panel.as_mut_ptr().cast();
    let copies = p.rhs_column != 1 || (m > MANY_ROWS && p.rhs_row.unsigned_abs() >= FAR as u64);
    let depth = if copies { DEPTH } else { k.max(1) };
    let mut column = 0;
    while column < n {
        let n_columns = width.min(n - column);
        let mut term = 0;
        loop {
            let n_terms = depth.min(k - term);
            let accumulate = p.accumulate != 0 || term > 0;
            // SAFETY: row, column and term are inside of the matrices that the caller vouches for; a panel holds
            // `DEPTH` rows of at most `WIDTH` elements.
            unsafe {
                let mut rhs = p
                    .rhs
                    .offset(column as isize * p.rhs_column as isize + term as isize * p.rhs_row as isize);
                let mut rhs_row = p.rhs_row as isize;
                if copies {
                    copy_panel(rhs, &p, n_terms, n_columns, panel);
                    (rhs, rhs_row) = (panel, n_columns as isize);
                }
                let columns =
                    Columns { rhs, rhs_row, first: column, n: n_columns, term, n_terms, accumulate };
                rows_of_blocks::<S>(&p, m, &columns);
            }
            term += n_terms;
            if term >= k {
                break;
            }
        }
        column += n_columns;
    }
}

/// A panel of the right operand, and which columns of the result and which terms it is for.
struct Columns {
    rhs: *const f32,
    rhs_row: isize,
    first: usize,
    n: usize,
    term: usize,
    n_terms: usize,
    accumulate: bool,
}

/// # Safety
/// As for `product`.
#[inline(always)]
unsafe fn rows_of_blocks<S: Simd>(p: &Product, m: usize, columns: &Columns) {
    let vectors = columns.n.div_ceil(S::LANES);
    let most_rows = S::rows(vectors);
    // SAFETY: the caller vouches for the matrices; a block's rows are inside of the result's `m`.
    unsafe {
        let tail = S::mask(columns.n - (vectors - 1) * S::LANES);
        let mut row = 0;
        while row < m {
            let n_rows = most_rows.min(m - row);
            let (i, term) = (row as isize, columns.term as isize);
            let out = p.out.offset(i * p.out_row as isize + columns.first as isize * p.out_column as isize);
            let mut b = Block::<S> {
                k: columns.n_terms,
                lhs: p.lhs.offset(i * p.lhs_row as isize + term * p.lhs_column as isize),
                lhs_row: p.lhs_row as isize,
                lhs_column: p.lhs_column as isize,
                rhs: columns.rhs,
                rhs_row: columns.rhs_row,
                out,
                out_row: p.out_row as isize,
                tail,
                accumulate: columns.accumulate,
            };
            if p.out_column == 1 {
                any_block(n_rows, vectors, &b);
            } else {
                // Elements of a row are apart: the block is made elsewhere and dealt out.
                let mut apart = [0.0f32; 12 * WIDTH];
                let place =
                    |i: usize, j: usize| i as isize * p.out_row as isize + j as isize * p.out_column as isize;
                let each = || (0..n_rows).flat_map(|i| (0..columns.n).map(move |j| (i, j)));
                if columns.accumulate {
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
        if column == 1 {
            for t in 0..n_terms {
                let from = rhs.offset(t as isize * row);
                std::ptr::copy_nonoverlapping(from, panel.add(t * n_columns), n_columns);
            }
            return;
        }
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
