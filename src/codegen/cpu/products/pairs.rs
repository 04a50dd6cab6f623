//! A matrix product of bf16 factors, with sums in f32.
//!
//! What enters: a `Product<u16>`. What leaves: its result. The terms are taken in pairs, the first with the second, the third with
//! the fourth; the second of a pair is added first: `sum = fma(a1, b1, sum)`, then `sum = fma(a0, b0, sum)`. To a last term
//! without a second, 0 * 0 is the second. This is what AVX512-BF16's `VDPBF16PS` does (Intel, "Instruction Set Extensions
//! Programming Reference", 2020), and what all others do here, whatever the blocks: results are the same bits on every CPU
//! but those with AMX, whose tiles sum in an order of their own (`tiles.rs`).
//! Invariant: no allocation. Not here: the blocks in registers (`blocks.rs`), which do not know what an element is.
//!
//! A factor is laid out anew before it is multiplied, some `TERMS` of it at a time, in a buffer of the thread's: pairs, or what
//! `Factors` makes of them, that belong to neighbouring rows or columns become neighbours. Left rows whose terms lie one after
//! another already are read where they lie, if the CPU multiplies pairs.

use super::Product;
use super::blocks::{Blocks, Left, Part, Right, WIDTH, blocks_of_rows};
use super::panels;
use super::simd::Simd;
use std::cell::UnsafeCell;

/// Terms that are laid out at a time, an even number.
const TERMS: usize = 512;
/// Rows of a left factor that are.
const ROWS: usize = 128;

/// Part of a factor.
type Side = panels::Side<u16>;

/// What is multiplied: how pairs of bf16 become elements of 32 bits for a kind of vector.
pub trait Factors {
    type Simd: Blocks;
    /// Elements of a pair: 1 if the vectors multiply pairs, 2 if they multiply numbers.
    const PER_PAIR: usize;

    /// Writes the elements of each pair, those of neighbours across side by side: element `e` of pair `p` of row `i` comes to
    /// `to[(p * PER_PAIR + e) * to_row + i]`.
    ///
    /// # Safety
    /// The CPU has the features; `side` can be read and `to` written.
    unsafe fn lay_out(side: &Side, to: *mut f32, to_row: usize);
}

/// One term after another as f32, the second of a pair first.
pub struct Widened<S>(std::marker::PhantomData<S>);

impl<S: Blocks> Factors for Widened<S> {
    type Simd = S;
    const PER_PAIR: usize = 2;

    #[inline(always)]
    unsafe fn lay_out(side: &Side, to: *mut f32, to_row: usize) {
        for pair in 0..side.n_terms.div_ceil(2) {
            for i in 0..side.n_across {
                for second in [1, 0] {
                    let term = 2 * pair + second;
                    let place = (2 * pair + 1 - second) * to_row + i;
                    // SAFETY: the caller vouches for both.
                    unsafe {
                        let from = side.from.offset(i as isize * side.across + term as isize * side.along);
                        let bits = if term < side.n_terms { from.read() } else { 0 };
                        to.add(place).write(crate::base::bf16::from_bits(bits));
                    }
                }
            }
        }
    }
}

#[repr(C, align(64))]
struct Buffers {
    left: [f32; ROWS * TERMS],
    right: [f32; WIDTH * TERMS],
}

thread_local! {
    static BUFFERS: UnsafeCell<Buffers> =
        const { UnsafeCell::new(Buffers { left: [0.0; ROWS * TERMS], right: [0.0; WIDTH * TERMS] }) };
}

/// See the module's documentation.
///
/// # Safety
/// The CPU has the features of `F`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[inline(always)]
pub unsafe fn product<F: Factors>(product: &Product<u16>) {
    let p = if product.out_column != 1 && product.out_row == 1 { product.transposed() } else { *product };
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    // Whole pairs in every row, at even places from the first on.
    let in_place = F::PER_PAIR == 1 && p.lhs_column == 1 && p.lhs_row % 2 == 0 && k % 2 == 0;
    let buffers = BUFFERS.with(UnsafeCell::get);
    // SAFETY: fields of this thread's own buffers, which no other function uses.
    let (left, right) = unsafe { ((&raw mut (*buffers).left).cast(), (&raw mut (*buffers).right).cast()) };
    let rows_at_once = if in_place { m } else { ROWS };
    let mut row = 0;
    while row < m {
        let n_rows = rows_at_once.min(m - row);
        let mut term = 0;
        loop {
            let n_terms = TERMS.min(k - term);
            let n_elements = n_terms.div_ceil(2) * F::PER_PAIR;
            // SAFETY: row, column and term are inside of the matrices that the caller vouches for; the buffers have room for
            // `ROWS` rows and `WIDTH` columns of `TERMS` elements.
            unsafe {
                let lhs =
                    p.lhs.offset(row as isize * p.lhs_row as isize + term as isize * p.lhs_column as isize);
                let out = p.out.offset(row as isize * p.out_row as isize);
                let (rhs_row, rhs_column) = (p.rhs_row as isize, p.rhs_column as isize);
                let of_rows = Product {
                    m: n_rows as i64,
                    n: p.n,
                    k: n_elements as i64,
                    out,
                    out_row: p.out_row,
                    out_column: p.out_column,
                    lhs: if in_place { lhs.cast() } else { left },
                    lhs_row: if in_place { p.lhs_row / 2 } else { 1 },
                    lhs_column: if in_place { 1 } else { n_rows as i64 },
                    // The blocks find the right side's part of them in `Part`.
                    rhs: right,
                    rhs_row: 0,
                    rhs_column: 1,
                    accumulate: 0,
                    panels: 1,
                    rhs_panel: 0,
                    runs: 1,
                    lhs_run: 0,
                    rhs_run: 0,
                };
                if !in_place {
                    let (across, along) = (p.lhs_row as isize, p.lhs_column as isize);
                    F::lay_out(&Side { from: lhs, across, along, n_across: n_rows, n_terms }, left, n_rows);
                }
                let mut column = 0;
                while column < n {
                    let n_columns = WIDTH.min(F::Simd::LANES * F::Simd::VECTORS).min(n - column);
                    let from = p.rhs.offset(column as isize * rhs_column + term as isize * rhs_row);
                    let side =
                        Side { from, across: rhs_column, along: rhs_row, n_across: n_columns, n_terms };
                    let to_row = n_columns.next_multiple_of(F::Simd::LANES);
                    F::lay_out(&side, right, to_row);
                    let part = Part {
                        row: 0,
                        n_rows,
                        column,
                        n_columns,
                        n_terms: n_elements,
                        n_runs: 1,
                        lhs: Left::InPlace { from: of_rows.lhs, skip: 0 },
                        right: Right::in_place(right, to_row as isize),
                        accumulate: p.accumulate != 0 || term > 0,
                        next: None,
                    };
                    blocks_of_rows::<F::Simd>(&of_rows, &part);
                    column += n_columns;
                }
            }
            term += n_terms;
            if term >= k {
                break;
            }
        }
        row += n_rows;
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    //! Pairs as AVX512-BF16 multiplies them.

    use super::super::simd::x86::{Avx512Bf16, transposed};
    use super::{Factors, Side};
    use std::arch::x86_64::*;

    /// Needs AVX-512 F, BW and BF16.
    pub struct Pairs;

    impl Factors for Pairs {
        type Simd = Avx512Bf16;
        const PER_PAIR: usize = 1;

        #[inline(always)]
        unsafe fn lay_out(side: &Side, to: *mut f32, to_row: usize) {
            // SAFETY: the caller's promises are these calls'.
            unsafe {
                match (side.across, side.along) {
                    (1, _) => interleave(side, to.cast(), to_row),
                    (_, 1) => turn(side, to.cast(), to_row),
                    _ => one_by_one(side, to.cast(), to_row),
                }
            }
        }
    }

    /// How many terms before it is read a row is asked for.
    const AHEAD: isize = 32;

    /// The first `n` of 32 lanes.
    fn lanes(n: usize) -> __mmask32 {
        if n < 32 { (1 << n) - 1 } else { !0 }
    }

    /// Neighbours are next to each other: two rows of terms become one of pairs.
    ///
    /// # Safety
    /// As for `lay_out`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn interleave(side: &Side, to: *mut i32, to_row: usize) {
        // Lanes of the first vector, and (from 32 on) of the second.
        let low: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 32) as u16);
        let high = low.map(|lane| lane + 16);
        // SAFETY: arrays of 64 bytes; masks keep all else inside of what the caller vouches for.
        unsafe {
            let (low, high) =
                (_mm512_loadu_si512(low.as_ptr().cast()), _mm512_loadu_si512(high.as_ptr().cast()));
            for pair in 0..side.n_terms.div_ceil(2) {
                let first = side.from.offset(2 * pair as isize * side.along);
                let has_second = 2 * pair + 1 < side.n_terms;
                let to = to.add(pair * to_row);
                for i in (0..side.n_across).step_by(32) {
                    // A row of terms is a line or two, and the next lies too far away for the CPU to foresee it.
                    for row in [AHEAD, AHEAD + 1] {
                        let next = first.wrapping_offset(row * side.along).wrapping_add(i);
                        _mm_prefetch::<_MM_HINT_T0>(next.cast());
                    }
                    let mask = lanes(side.n_across - i);
                    let a = _mm512_maskz_loadu_epi16(mask, first.add(i).cast());
                    let second_mask = if has_second { mask } else { 0 };
                    let second = first.wrapping_offset(side.along).wrapping_add(i);
                    let b = _mm512_maskz_loadu_epi16(second_mask, second.cast());
                    let (x, y) =
                        (_mm512_permutex2var_epi16(a, low, b), _mm512_permutex2var_epi16(a, high, b));
                    _mm512_mask_storeu_epi32(to.add(i), mask as u16, x);
                    _mm512_mask_storeu_epi32(to.wrapping_add(i + 16), (mask >> 16) as u16, y);
                }
            }
        }
    }

    /// Terms are next to each other: sixteen pairs of sixteen neighbours at a time.
    ///
    /// # Safety
    /// As for `lay_out`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn turn(side: &Side, to: *mut i32, to_row: usize) {
        for pair in (0..side.n_terms.div_ceil(2)).step_by(16) {
            let mask = lanes(side.n_terms - 2 * pair);
            for i in (0..side.n_across).step_by(16) {
                let n_rows = 16.min(side.n_across - i);
                // SAFETY: masks keep all inside of what the caller vouches for.
                unsafe {
                    let mut rows = [_mm512_setzero_si512(); 16];
                    for (row, place) in rows.iter_mut().zip(i..i + n_rows) {
                        let from = side.from.offset(place as isize * side.across + 2 * pair as isize);
                        *row = _mm512_maskz_loadu_epi16(mask, from.cast());
                    }
                    let columns = transposed(rows);
                    for (column, place) in columns.into_iter().zip(pair..side.n_terms.div_ceil(2)) {
                        let to = to.add(place * to_row + i);
                        _mm512_mask_storeu_epi32(to, lanes(n_rows) as u16, column);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As for `lay_out`.
    unsafe fn one_by_one(side: &Side, to: *mut i32, to_row: usize) {
        for pair in 0..side.n_terms.div_ceil(2) {
            for i in 0..side.n_across {
                let at = |term: usize| i as isize * side.across + term as isize * side.along;
                let term = |term: usize| match term < side.n_terms {
                    // SAFETY: the caller vouches for all terms.
                    true => u32::from(unsafe { side.from.offset(at(term)).read() }),
                    false => 0,
                };
                // SAFETY: the caller vouches for all pairs.
                unsafe {
                    to.add(pair * to_row + i).write((term(2 * pair) | term(2 * pair + 1) << 16) as i32)
                };
            }
        }
    }
}
