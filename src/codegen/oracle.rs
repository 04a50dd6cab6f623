//! A kernel's results next to the nest interpreter's, for tests of every backend.
//!
//! What enters: a kernel, its arguments, and what a backend made of them. What leaves: what the interpreter makes of them, if both are
//! the same. How far a compiled f32 may be off follows from the computation itself, by Monte Carlo
//! arithmetic (Parker, "Monte Carlo Arithmetic", 1997): the interpreter runs again with each f32 result moved at random by a
//! few times its bound of error, and results may differ from the exact ones by as much as those of these runs do. Of many elements
//! there are some that no run happens to move: what half of an array's elements are moved by, relative to their size, any of
//! them may be. Few runs may each move an element by little: of a long sum that is nearly 0, or where values are rounded to bf16, of which most
//! are moved by nothing. A kernel that differs is run more often before it is wrong. Integers and bools that no run changes must be equal. Not here: which kernels
//! (`suite`), how they are run.

use crate::base::DType;
use crate::base::philox::block;
use crate::nest::interpret::{Run, run, run_rounded};
use crate::nest::{ArgumentAccess, Kernel};
use std::ops::Range;

/// Runs that say how far elements may be off; and further ones, of kernels that differ.
const RUNS: Range<u32> = 0..4;
const MORE_RUNS: Range<u32> = 4..20;

/// How far each element may be off, by some runs.
fn tolerances(
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    exact: &[Vec<f64>],
    at: Run,
    runs: Range<u32>,
) -> Vec<Vec<f64>> {
    /// Of the bound of each step's error, and of what the runs differ by.
    const MARGIN: f64 = 4.0;
    let mut far: Vec<Vec<f64>> = exact.iter().map(|values| vec![0.0; values.len()]).collect();
    for n in runs {
        let mut count = 0;
        let mut round = |value: f64, ulp: f64| {
            count += 1;
            let dice = f64::from(block([count, n, 0, 0], [0; 2])[0]) / f64::from(u32::MAX) * 2.0 - 1.0;
            let ulp = if ulp.is_finite() { ulp } else { 1.0 };
            f64::from((value * (1.0 + dice * MARGIN * ulp * f64::from(f32::EPSILON))) as f32)
        };
        let mut moved = arguments.to_vec();
        run_rounded(kernel, &mut moved, at, &mut round).expect("it ran without rounding");
        for (far, (moved, exact)) in
            far.iter_mut().flatten().zip(moved.iter().flatten().zip(exact.iter().flatten()))
        {
            let difference = (moved - exact).abs();
            // A value that may become NaN or infinite may be anything.
            let is_same = moved == exact || moved.is_nan() && exact.is_nan();
            *far = if is_same {
                *far
            } else if difference.is_nan() {
                f64::INFINITY
            } else {
                far.max(MARGIN * difference)
            };
        }
    }
    for ((far, exact), argument) in far.iter_mut().zip(exact).zip(&kernel.arguments) {
        if argument.dtype.is_float() {
            let relative =
                median(far.iter().zip(exact).filter(|(_, x)| **x != 0.0).map(|(far, x)| far / x.abs()));
            far.iter_mut().zip(exact).for_each(|(far, x)| *far = far.max(relative * x.abs()));
        }
    }
    far
}

/// 0 of nothing, and where it is not finite.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().filter(|median| median.is_finite()).unwrap_or(0.0)
}

/// `found` gives what the interpreter gives, which is returned; `code` is shown where it does not.
pub fn check(
    what: &str,
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    at: Run,
    found: impl FnOnce() -> Vec<Vec<f64>>,
    code: impl Fn() -> String,
) -> Vec<Vec<f64>> {
    let mut exact = arguments.to_vec();
    run(kernel, &mut exact, at).unwrap_or_else(|e| panic!("{what}: {e}\n{kernel}"));
    let mut far = tolerances(kernel, arguments, &exact, at, RUNS);
    let found = found();
    let is_close = |i: usize, found: f64, exact: f64, far: f64| {
        // Below the least normal f32, results may be flushed; a value that is stored is rounded.
        let is_f32 = kernel.arguments[i].dtype == DType::F32;
        let rounding = if is_f32 { exact.abs() * 2f64.powi(-23) + 2e-38 } else { 0.0 };
        found == exact
            || found.is_nan() && exact.is_nan()
            || far.is_infinite()
            || (found - exact).abs() <= far + rounding
    };
    let counts = |i: usize| kernel.arguments[i].access != ArgumentAccess::Temporary;
    let are_close = |far: &[Vec<f64>]| {
        let of = |i: usize| found[i].iter().zip(&exact[i]).zip(&far[i]);
        (0..kernel.arguments.len())
            .filter(|i| counts(*i))
            .all(|i| of(i).all(|((found, exact), far)| is_close(i, *found, *exact, *far)))
    };
    if !are_close(&far) {
        let more = tolerances(kernel, arguments, &exact, at, MORE_RUNS);
        far.iter_mut().flatten().zip(more.into_iter().flatten()).for_each(|(far, more)| *far = far.max(more));
    }
    for (i, argument) in kernel.arguments.iter().enumerate().filter(|(i, _)| counts(*i)) {
        for (at, ((found, exact), far)) in found[i].iter().zip(&exact[i]).zip(&far[i]).enumerate() {
            let reads_only = argument.access == ArgumentAccess::Read;
            assert!(
                is_close(i, *found, *exact, *far) && (!reads_only || *far == 0.0),
                "{what}: element {at} of ${i} is {found}, not {exact} (±{far})\n{kernel}\n{}",
                code()
            );
        }
    }
    exact
}
