//! Blocks of a matrix product that stay in registers.
//!
//! What enters: a `Product` and a `Part` of it, whose operands lie as blocks read them. What leaves: the part's result. Each
//! element is the sum of its terms in order, one fused multiply-add after another from 0 (or from what is there), whatever the
//! blocks. Invariant: no allocation. Not here: how operands come to lie so (`floats.rs`, `pairs.rs`).
//!
//! A block is `rows x (vectors * lanes)`. The right operand is read along its rows by vectors, each element of the left one is
//! multiplied with all of them: for a block 6 x 64 this is 10 loads for 24 multiply-adds, which take 12 cycles on a core with two
//! 512-bit units. Blocks of these sizes, all in the first-level cache, reach 185 of the 211 GFLOP/s that a Xeon (Granite
//! Rapids) core computes in registers, and 180 with operands in the second-level cache. Two things are done on the way, for they
//! are nearly free there: the first block of a panel copies what it reads of the right operand to where the others read it
//! without gaps, and every few terms a block asks for a line of what is multiplied after the panel.

use super::Product;
use super::panels::Side;
use super::simd::{Portable, Simd};

/// The widest panel.
pub const WIDTH: usize = 64;
/// The most rows of a block.
const MOST_ROWS: usize = 12;
/// Terms from one request for what is read later to the next.
const STEP: usize = 4;
/// Elements of a line of a cache.
pub const LINE: usize = 16;

/// One block's operands; `runs` times `k` terms.
pub struct Block {
    k: usize,
    runs: usize,
    /// From the end of a run to the next.
    lhs_skip: isize,
    rhs_skip: isize,
    lhs: *const f32,
    lhs_row: isize,
    lhs_column: isize,
    /// Contiguous along its rows, in whole vectors.
    rhs: *const f32,
    rhs_row: isize,
    /// From a row's vector to the next.
    rhs_vector: isize,
    /// Where the right operand's part is copied to, row after row; null where it is not.
    copy: *mut f32,
    out: *mut f32,
    out_row: isize,
    /// Lanes of the last vector of each row that belong to the result.
    tail: usize,
    accumulate: bool,
    ahead: Ahead,
}

/// What is read soon: a line, or two, every `STEP` terms.
#[derive(Clone, Copy)]
struct Ahead {
    from: *const f32,
    /// From the first line to the second; 0 where one is enough.
    second: usize,
    step: isize,
}

/// `ROWS` rows of `VECTORS` vectors.
///
/// # Safety
/// The CPU has the features of `S`; the block's addresses are valid.
#[inline(always)]
unsafe fn block<S: Simd, const ROWS: usize, const VECTORS: usize, const COPIES: bool>(block: &Block) {
    let Block {
        k,
        runs,
        lhs_skip,
        rhs_skip,
        lhs,
        lhs_row,
        lhs_column,
        rhs,
        rhs_row,
        rhs_vector,
        copy,
        out,
        out_row,
        tail,
        accumulate,
        ahead,
    } = *block;
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
            // The next block begins with what is there, and would wait for it.
            for i in 0..ROWS {
                S::fetch_near(out.wrapping_offset((ROWS + i) as isize * out_row));
            }
        }
        let (mut lhs, mut rhs, mut copy, mut ahead_from) = (lhs, rhs, copy, ahead.from);
        // Rows by threes: one or two strides are added to an address at no cost.
        let three = 3 * lhs_row;
        macro_rules! term {
            ($lhs:expr, $rhs:expr, $copy:expr) => {
                let (lhs, rhs, copy) = ($lhs, $rhs, $copy);
                let right: [S::Vector; VECTORS] =
                    std::array::from_fn(|v| S::load(rhs.wrapping_offset(v as isize * rhs_vector)));
                for (i, row) in sums.iter_mut().enumerate() {
                    let from =
                        lhs.wrapping_offset(i as isize / 3 * three).wrapping_offset(i as isize % 3 * lhs_row);
                    // A pair of bf16 may lie at any even address.
                    let left = S::splat(from.read_unaligned());
                    for (sum, x) in row.iter_mut().zip(right) {
                        *sum = S::fma(left, x, *sum);
                    }
                }
                // Before the products, a store would have LLVM keep sums of 6 x 2 in memory: twice the time with sixteen registers.
                if COPIES {
                    for (v, x) in right.iter().enumerate() {
                        S::store(copy.wrapping_add(v * S::LANES), *x);
                    }
                }
            };
        }
        let mut run = 1;
        loop {
            for _ in 0..k / STEP {
                S::fetch(ahead_from);
                S::fetch(ahead_from.wrapping_add(ahead.second));
                ahead_from = ahead_from.wrapping_offset(ahead.step);
                for t in 0..STEP {
                    term!(
                        lhs.wrapping_offset(t as isize * lhs_column),
                        rhs.wrapping_offset(t as isize * rhs_row),
                        copy.wrapping_add(t * VECTORS * S::LANES)
                    );
                }
                lhs = lhs.wrapping_offset(STEP as isize * lhs_column);
                rhs = rhs.wrapping_offset(STEP as isize * rhs_row);
                copy = copy.wrapping_add(STEP * VECTORS * S::LANES);
            }
            for _ in 0..k % STEP {
                term!(lhs, rhs, copy);
                lhs = lhs.wrapping_offset(lhs_column);
                rhs = rhs.wrapping_offset(rhs_row);
                copy = copy.wrapping_add(VECTORS * S::LANES);
            }
            if run >= runs {
                break;
            }
            run += 1;
            lhs = lhs.wrapping_offset(lhs_skip);
            rhs = rhs.wrapping_offset(rhs_skip);
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
                    // Known strides are parts of instructions. Sixteen registers are too few for that, and thirty-two for 12 x 2.
                    let lanes = S::LANES as isize;
                    if S::JOINS && $vectors > 1 && b.rhs_vector != lanes {
                        return block::<S, $rows, $vectors, false>(b);
                    }
                    let b = &Block { rhs_vector: lanes, ..*b };
                    match (b.copy.is_null(), b.lhs_column) {
                        (true, 1) if !S::LAYS_ROWS && ($vectors == 1 || $rows <= 8) => block::<S, $rows, $vectors, false>(&Block { lhs_column: 1, ..*b }),
                        // So is that there is one run: a loop around the terms takes registers, and a hundredth of a transformer's step.
                        (true, _) if b.runs == 1 => block::<S, $rows, $vectors, false>(&Block { runs: 1, ..*b }),
                        (true, _) => block::<S, $rows, $vectors, false>(b),
                        (false, _) => block::<S, $rows, $vectors, true>(b),
                    }
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

impl<const N: usize> Blocks for Portable<N> {
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

/// Where the left operand's rows of a part lie.
#[derive(Clone, Copy)]
pub enum Left {
    /// With the operand's own strides, from the part's first row and term; `skip` elements from the end of a run of terms to the next.
    InPlace { from: *const f32, skip: isize },
    /// Those of a block side by side, one block after another, all runs' terms without gaps.
    InBlocks(*const f32),
}

/// Some rows and columns of the result, some of their terms, and where the operands' parts of them lie.
pub struct Part {
    pub row: usize,
    pub n_rows: usize,
    pub column: usize,
    pub n_columns: usize,
    /// Of each run.
    pub n_terms: usize,
    pub n_runs: usize,
    pub lhs: Left,
    pub right: Right,
    pub accumulate: bool,
    /// Of the right operand, what is multiplied next.
    pub next: Option<Side<f32>>,
}

/// A panel of the right operand, in whole vectors along its rows.
#[derive(Clone, Copy)]
pub struct Right {
    pub from: *const f32,
    pub row: isize,
    /// From a vector of a row to the next, if not their length.
    pub vector: Option<isize>,
    /// From the end of a run of terms to the next.
    pub skip: isize,
    /// Where the first block copies it to, for those after it; null where it does not.
    pub copy: *mut f32,
}

impl Right {
    /// Read where it lies, by all blocks.
    pub fn in_place(from: *const f32, row: isize) -> Right {
        Right { from, row, vector: None, skip: 0, copy: std::ptr::null_mut() }
    }
}

/// What the blocks of a part ask for, one after another. All together ask for all of `part.next`, if there are enough of
/// them; as slowly as will do, for a core can only wait for so many lines at once.
struct Requests {
    from: *const f32,
    /// Lines that lie one after another, from one such run to the next, and how many of them are left.
    run: isize,
    n_runs: usize,
    /// Runs that a block has the time to ask for a piece of.
    times: usize,
    /// Elements of a run, and of a piece of it.
    length: usize,
    piece: usize,
    /// Where the next block's piece begins in its runs.
    first: usize,
}

impl Requests {
    fn new(part: &Part, n_blocks: usize) -> Requests {
        let times = part.n_terms / STEP;
        let Some(side) = &part.next else {
            // An address that is sure to be found quickly.
            return Requests {
                from: part.right.from,
                run: 0,
                n_runs: 0,
                times,
                length: 0,
                piece: LINE,
                first: 0,
            };
        };
        let (n_runs, run, length) = match side.across {
            1 => (side.n_terms, side.along, side.n_across),
            _ => (side.n_across, side.across, side.n_terms),
        };
        let lines = if n_runs * length.div_ceil(LINE) <= n_blocks * times { 1 } else { 2 };
        Requests { from: side.from, run, n_runs, times, length, piece: lines * LINE, first: 0 }
    }

    /// What the next block asks for.
    fn next(&mut self) -> Ahead {
        if self.n_runs == 0 {
            return Ahead { from: self.from, second: 0, step: 0 };
        }
        let ahead =
            Ahead { from: self.from.wrapping_add(self.first), second: self.piece - LINE, step: self.run };
        self.first += self.piece;
        if self.first >= self.length {
            self.first = 0;
            self.from = self.from.wrapping_offset(self.times as isize * self.run);
            self.n_runs = self.n_runs.saturating_sub(self.times);
        }
        ahead
    }
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
pub fn steps(n: usize, step: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).step_by(step).map(move |first| (first, step.min(n - first)))
}

/// # Safety
/// As for `product`.
#[inline(always)]
pub unsafe fn blocks_of_rows<S: Blocks>(p: &Product, part: &Part) {
    let vectors = part.n_columns.div_ceil(S::LANES);
    let most = match part.lhs {
        Left::InPlace { .. } => S::rows(vectors),
        Left::InBlocks(_) => S::rows(S::VECTORS),
    };
    // SAFETY: the caller vouches for the matrices; a block's rows are inside of the part's.
    unsafe {
        let tail = part.n_columns - (vectors - 1) * S::LANES;
        let mut right = part.right;
        let mut requests = Requests::new(part, part.n_rows.div_ceil(most));
        for (row, n_rows) in deal(part.n_rows, most) {
            let i = (part.row + row) as isize;
            let out = p.out.offset(i * p.out_row as isize + part.column as isize * p.out_column as isize);
            let (lhs, lhs_row, lhs_column, lhs_skip) = match part.lhs {
                Left::InPlace { from, skip } => {
                    let from = from.offset(row as isize * p.lhs_row as isize);
                    (from, p.lhs_row as isize, p.lhs_column as isize, skip)
                }
                Left::InBlocks(lhs) => (lhs.add(row * part.n_terms * part.n_runs), 1, n_rows as isize, 0),
            };
            let mut b = Block {
                k: part.n_terms,
                runs: part.n_runs,
                lhs_skip,
                rhs_skip: right.skip,
                lhs,
                lhs_row,
                lhs_column,
                rhs: right.from,
                rhs_row: right.row,
                rhs_vector: right.vector.unwrap_or(S::LANES as isize),
                copy: right.copy,
                out,
                out_row: p.out_row as isize,
                tail,
                accumulate: part.accumulate,
                ahead: requests.next(),
            };
            if !right.copy.is_null() {
                right = Right::in_place(right.copy, (vectors * S::LANES) as isize);
            }
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
