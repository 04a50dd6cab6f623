//! Parts of an operand, laid out for the blocks that read them.
//!
//! What enters: a `Side`, some neighbours (rows of a left operand, columns of a right one) of so many terms. What leaves: the
//! same elements, those of all neighbours for one term side by side. Invariant: each element is copied as it is.

use super::simd::Simd;

/// Part of an operand: `n_across` rows (left) or columns (right) of `n_terms` terms each.
#[derive(Clone, Copy)]
pub struct Side<Element> {
    pub from: *const Element,
    /// Elements from a row (or column) to the next.
    pub across: isize,
    /// Elements from a term to the next.
    pub along: isize,
    pub n_across: usize,
    pub n_terms: usize,
}

/// Element `i` of term `t` comes to `to[t * to_row + i]`.
///
/// # Safety
/// The CPU has the features of `S`; `side` can be read, and `to` written, with a vector more at its end.
#[inline(always)]
pub unsafe fn lay_out<S: Simd>(side: &Side<f32>, to: *mut f32, to_row: usize) {
    let Side { from, across, along, n_across, n_terms } = *side;
    // SAFETY: the caller vouches for both.
    unsafe {
        if across == 1 {
            for t in 0..n_terms {
                copy::<S>(from.offset(t as isize * along), to.add(t * to_row), n_across);
            }
            return;
        }
        let one_by_one = |terms: std::ops::Range<usize>, neighbours: std::ops::Range<usize>| {
            for t in terms {
                for i in neighbours.clone() {
                    *to.add(t * to_row + i) = *from.offset(i as isize * across + t as isize * along);
                }
            }
        };
        let whole_terms = if along == 1 { n_terms - n_terms % S::LANES } else { 0 };
        let mut first = 0;
        while first < n_across {
            let some = S::LANES.min(n_across - first);
            // A vector's other lanes may spill over a row's end, or into the next row, which is written afterwards.
            let may_spill = some == S::LANES || first + S::LANES <= to_row || first == 0;
            let turned = if may_spill { whole_terms } else { 0 };
            for t in (0..turned).step_by(S::LANES) {
                let rows = from.offset(first as isize * across + t as isize);
                S::turn(rows, across, some, to.add(t * to_row + first), to_row);
            }
            one_by_one(turned..n_terms, first..first + some);
            first += some;
        }
    }
}

/// # Safety
/// The CPU has the features of `S`; `n` elements can be read and written.
#[inline(always)]
unsafe fn copy<S: Simd>(from: *const f32, to: *mut f32, n: usize) {
    // SAFETY: the caller vouches for both.
    unsafe {
        let whole = n - n % S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            S::store(to.add(i), S::load(from.add(i)));
        }
        if whole < n {
            S::copy_some(from.add(whole), to.add(whole), n - whole);
        }
    }
}
