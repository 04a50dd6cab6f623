//! A matrix product, in blocks that stay in registers.
//!
//! What enters: a `Product`. What leaves: its result. Each element is the sum of its terms in order, one fused multiply-add
//! after another from 0 (or from what is there), whatever the blocks: results do not depend on tiles, threads or vector
//! width. Invariant: no allocation. Not here: threads, and copies of whole operands (the plan packs what many tiles read).
//!
//! The result is made in blocks of `rows x (vectors * lanes)`. The right operand is read along its rows by vectors, each element
//! of the left one is multiplied with all of them: for a block 6 x 64 this is 10 loads for 24 multiply-adds, which
//! take 24 cycles on a core with one 512-bit unit. What many blocks read is first laid out for them (`panels.rs`), `TERMS`
//! terms at a time: of the right operand a panel of columns that fits the first-level cache, of the left one `ROWS` rows that fit the second.

use super::Product;
use super::panels::{Side, lay_out, lay_panels};
use super::simd::{Portable, Simd};
use std::cell::UnsafeCell;

/// Terms that blocks take at a time, and go on from what is there.
const TERMS: usize = 256;
/// The same where the right operand is read once, where it lies: it is best read along its rows.
const FEW_TERMS: usize = 8;
/// Rows that are laid out at a time.
const ROWS: usize = 192;
/// The widest panel.
pub const WIDTH: usize = 64;
/// The most rows of a block.
const MOST_ROWS: usize = 12;
/// Rows of an operand that are at least so many elements apart fall into few sets of a cache.
const FAR: u64 = 512;

/// One block's operands; `k` terms.
pub struct Block {
    k: usize,
    lhs: *const f32,
    lhs_row: isize,
    lhs_column: isize,
    /// Contiguous along its rows, in whole vectors.
    rhs: *const f32,
    rhs_row: isize,
    out: *mut f32,
    out_row: isize,
    /// Lanes of the last vector of each row that belong to the result.
    tail: usize,
    accumulate: bool,
}

/// `ROWS` rows of `VECTORS` vectors.
///
/// # Safety
/// The CPU has the features of `S`; the block's addresses are valid.
#[inline(always)]
unsafe fn block<S: Simd, const ROWS: usize, const VECTORS: usize>(block: &Block) {
    let Block { k, lhs, lhs_row, lhs_column, rhs, rhs_row, out, out_row, tail, accumulate } = *block;
    let is_cut = |v: usize| v + 1 == VECTORS && tail < S::LANES;
    // SAFETY: the caller vouches for the addresses and the CPU.
    unsafe {
        let mut sums = [[S::splat(0.0); VECTORS]; ROWS];
        if accumulate {
            for (i, row) in sums.iter_mut().enumerate() {
                for (v, sum) in row.iter_mut().enumerate() {
                    let from = out.offset(i as isize * out_row).add(v * S::LANES);
                    *sum = if is_cut(v) { S::load_some(from, tail) } else { S::load(from) };
                }
            }
        }
        let (mut lhs, mut rhs) = (lhs, rhs);
        for _ in 0..k {
            let right: [S::Vector; VECTORS] = std::array::from_fn(|v| S::load(rhs.add(v * S::LANES)));
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
                if is_cut(v) {
                    S::store_some(to, tail, *sum);
                } else {
                    S::store(to, *sum);
                }
            }
        }
    }
}

/// Vectors, and the blocks compiled for them: once, though several kinds of product call them.
pub trait Blocks: Simd {
    /// The block of that many rows and vectors.
    ///
    /// # Safety
    /// As for `block`.
    unsafe fn run(rows: usize, vectors: usize, b: &Block);
}

/// `Blocks::run`, to be inlined into functions for each kind of vector.
///
/// # Safety
/// As for `block`.
#[inline(always)]
unsafe fn any_block<S: Simd>(rows: usize, vectors: usize, b: &Block) {
    macro_rules! blocks {
        ($($vectors:literal: $($rows:literal)*;)*) => {
            match (vectors, rows) {
                // SAFETY: the caller's promises are this call's.
                $($(($vectors, $rows) if $vectors <= S::VECTORS && $rows <= S::rows($vectors) => unsafe {
                    block::<S, $rows, $vectors>(b)
                },)*)*
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

impl Blocks for Portable {
    unsafe fn run(rows: usize, vectors: usize, b: &Block) {
        // SAFETY: the caller's promises are this call's.
        unsafe { any_block::<Self>(rows, vectors, b) }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! The blocks with the CPU features that their vectors need.

    use super::super::simd::x86::{Avx2, Avx512, Avx512Bf16};
    use super::{Block, Blocks, any_block};

    macro_rules! blocks_with {
        ($vectors:ty, $features:literal) => {
            impl Blocks for $vectors {
                unsafe fn run(rows: usize, vectors: usize, b: &Block) {
                    #[target_feature(enable = $features)]
                    unsafe fn run(rows: usize, vectors: usize, b: &Block) {
                        // SAFETY: the caller's promises are this call's.
                        unsafe { any_block::<$vectors>(rows, vectors, b) }
                    }
                    // SAFETY: the caller vouches for the CPU and the addresses.
                    unsafe { run(rows, vectors, b) }
                }
            }
        };
    }

    blocks_with!(Avx2, "avx2,fma");
    blocks_with!(Avx512, "avx512f");
    blocks_with!(Avx512Bf16, "avx512f,avx512bf16");
}

/// Room for what is laid out; rows of few elements are written a vector at a time, so there is one more at the end.
#[repr(C, align(64))]
struct Buffers {
    left: [f32; ROWS * TERMS + 16],
    right: [f32; TERMS * WIDTH],
}

thread_local! {
    static BUFFERS: UnsafeCell<Buffers> =
        const { UnsafeCell::new(Buffers { left: [0.0; ROWS * TERMS + 16], right: [0.0; TERMS * WIDTH] }) };
}

/// See the module's documentation.
///
/// # Safety
/// The CPU has the features of `S`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[inline(always)]
pub unsafe fn product<S: Blocks>(product: &Product) {
    let p = oriented(product);
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    let width = S::LANES * S::VECTORS;
    let buffers = BUFFERS.with(UnsafeCell::get);
    // SAFETY: fields of this thread's own buffers, which no other function uses.
    let (left, right): (*mut f32, *mut f32) =
        unsafe { ((&raw mut (*buffers).left).cast(), (&raw mut (*buffers).right).cast()) };
    for (row, n_rows) in deal(m, ROWS) {
        let terms = match reads_once(&p, n_rows, S::rows(S::VECTORS)) {
            true if p.rhs_row.unsigned_abs() >= FAR => FEW_TERMS,
            _ => TERMS,
        };
        let mut term = 0;
        loop {
            let n_terms = terms.min(k - term);
            let accumulate = p.accumulate != 0 || term > 0;
            // SAFETY: row, column and term are inside of the matrices that the caller vouches for; the buffers have room for
            // `ROWS` rows and `WIDTH` columns of `TERMS` terms, and are this thread's alone.
            unsafe {
                let lhs =
                    p.lhs.offset(row as isize * p.lhs_row as isize + term as isize * p.lhs_column as isize);
                let lays_left = lays_left(&p, n_rows, width);
                if lays_left {
                    lay_rows::<S>(&p, lhs, n_rows, n_terms, left);
                }
                for (group, n_group) in steps(n, WIDTH) {
                    let side = right_side(&p, term, n_terms, group, n_group);
                    let laid = lays_right(&p, &side, n_rows, S::LANES, S::rows(S::VECTORS));
                    if laid {
                        lay_panels::<S>(&side, right, width);
                    }
                    for (panel, (column, n_columns)) in steps(n_group, width).enumerate() {
                        let (rhs, rhs_row) = match laid {
                            true => (right.add(panel * n_terms * width).cast_const(), width as isize),
                            false => (side.from.offset(column as isize * side.across), side.along),
                        };
                        let lhs = if lays_left { Left::InBlocks(left) } else { Left::InPlace(lhs) };
                        let column = group + column;
                        let part =
                            Part { row, n_rows, column, n_columns, n_terms, lhs, rhs, rhs_row, accumulate };
                        blocks_of_rows::<S>(&p, &part);
                    }
                }
            }
            term += n_terms;
            if term >= k {
                break;
            }
        }
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

/// Whether the left operand's rows are laid out: each panel of columns reads them again.
fn lays_left(p: &Product, n_rows: usize, width: usize) -> bool {
    let panels = (p.n as usize).div_ceil(width);
    match p.lhs_column {
        1 => panels >= 4 && n_rows > 1,
        _ => panels >= 2,
    }
}

/// Whether so few rows of the result are made that the right operand is best read where it lies.
fn reads_once(p: &Product, n_rows: usize, rows_of_block: usize) -> bool {
    p.rhs_column == 1 && n_rows <= 2 * rows_of_block
}

/// Whether panels of the right operand are laid out: they must be whole vectors, and each block of rows reads them again.
fn lays_right(p: &Product, side: &Side<f32>, n_rows: usize, lanes: usize, rows_of_block: usize) -> bool {
    let in_place = side.across == 1 && side.n_across.is_multiple_of(lanes);
    let is_panel = side.along.unsigned_abs() <= WIDTH || p.k == 1;
    !in_place || !(is_panel || reads_once(p, n_rows, rows_of_block))
}

/// A panel's columns of some terms.
fn right_side(p: &Product, term: usize, n_terms: usize, column: usize, n_columns: usize) -> Side<f32> {
    let (across, along) = (p.rhs_column as isize, p.rhs_row as isize);
    let from = p.rhs.wrapping_offset(column as isize * across + term as isize * along);
    Side { from, across, along, n_across: n_columns, n_terms }
}

/// Lays out the left operand's rows, those of a block of the result side by side, one block after another.
///
/// # Safety
/// As for `product`; `to` has room for `n_rows * n_terms` elements and a vector more.
#[inline(always)]
unsafe fn lay_rows<S: Simd>(p: &Product, lhs: *const f32, n_rows: usize, n_terms: usize, to: *mut f32) {
    for (row, of_block) in deal(n_rows, S::rows(S::VECTORS)) {
        let side = Side {
            from: lhs.wrapping_offset(row as isize * p.lhs_row as isize),
            across: p.lhs_row as isize,
            along: p.lhs_column as isize,
            n_across: of_block,
            n_terms,
        };
        // SAFETY: the rows are inside of the operand, which the caller vouches for.
        unsafe { lay_out::<S>(&side, to.add(row * n_terms), of_block) };
    }
}

/// Where the left operand's rows of a part lie.
#[derive(Clone, Copy)]
pub enum Left {
    /// With the operand's own strides, from the part's first row and term.
    InPlace(*const f32),
    /// As `lay_rows` leaves them.
    InBlocks(*const f32),
}

/// Some rows and columns of the result, some of their terms, and where the operands' parts of them lie.
pub struct Part {
    pub row: usize,
    pub n_rows: usize,
    pub column: usize,
    pub n_columns: usize,
    pub n_terms: usize,
    pub lhs: Left,
    /// In whole vectors along its rows.
    pub rhs: *const f32,
    pub rhs_row: isize,
    pub accumulate: bool,
}

/// `n` in parts of at most `most`, as equal as can be: the first of each, and how many. One row alone would wait for its own sums.
pub fn deal(n: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let parts = n.div_ceil(most);
    let mut from = 0;
    (0..parts).map(move |part| {
        let some = (n - from).div_ceil(parts - part);
        from += some;
        (from - some, some)
    })
}

/// `n` by steps of at most `step`: the first of each, and how many.
fn steps(n: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(step).map(move |first| (first, step.min(n - first)))
}

/// # Safety
/// As for `product`.
#[inline(always)]
pub unsafe fn blocks_of_rows<S: Blocks>(p: &Product, part: &Part) {
    let vectors = part.n_columns.div_ceil(S::LANES);
    let most = match part.lhs {
        Left::InPlace(_) => S::rows(vectors),
        Left::InBlocks(_) => S::rows(S::VECTORS),
    };
    // SAFETY: the caller vouches for the matrices; a block's rows are inside of the part's.
    unsafe {
        let tail = part.n_columns - (vectors - 1) * S::LANES;
        for (row, n_rows) in deal(part.n_rows, most) {
            let i = (part.row + row) as isize;
            let out = p.out.offset(i * p.out_row as isize + part.column as isize * p.out_column as isize);
            let (lhs, lhs_row, lhs_column) = match part.lhs {
                Left::InPlace(lhs) => {
                    (lhs.offset(row as isize * p.lhs_row as isize), p.lhs_row as isize, p.lhs_column as isize)
                }
                Left::InBlocks(lhs) => (lhs.add(row * part.n_terms), 1, n_rows as isize),
            };
            let mut b = Block {
                k: part.n_terms,
                lhs,
                lhs_row,
                lhs_column,
                rhs: part.rhs,
                rhs_row: part.rhs_row,
                out,
                out_row: p.out_row as isize,
                tail,
                accumulate: part.accumulate,
            };
            if p.out_column == 1 {
                S::run(n_rows, vectors, &b);
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
                S::run(n_rows, vectors, &b);
                each().for_each(|(i, j)| *out.offset(place(i, j)) = apart[i * WIDTH + j]);
            }
        }
    }
}
