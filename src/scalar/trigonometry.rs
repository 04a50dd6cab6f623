//! The f32 forms of tangent, inverse trigonometric and hyperbolic functions.
//!
//! What enters: the operand's step. What leaves: the result's. Error bounds stand in the table and are tested there.
//! Sources: polynomials from Cephes (Moshier, single precision: asinf, atanf, sinhf); the inverse hyperbolic functions by
//! `log1p`, which keeps their digits near 0 (Kahan, "Branch Cuts for Complex Elementary Functions", 1987).

use super::lower::{cos, exp, log, log1p, sin};
use super::machine::{Compare, Step, StepId, Steps};
use std::f32::consts::{FRAC_PI_2, FRAC_PI_4, LN_2, PI};

pub fn tan(s: &mut Steps, a: StepId) -> StepId {
    let (above, below) = (sin(s, a), cos(s, a));
    s.div(above, below)
}

/// `y`, which is not negative, with the sign of `a`.
fn with_sign(s: &mut Steps, y: StepId, a: StepId) -> StepId {
    let sign = s.i(i32::MIN);
    let bits = s.push(Step::BitsOfF(a));
    let sign = s.push(Step::AndI(bits, sign));
    let bits = s.push(Step::BitsOfF(y));
    let bits = s.push(Step::OrI(bits, sign));
    s.push(Step::FOfBits(bits))
}

/// `x + x * z * p(z)`
fn odd(s: &mut Steps, x: StepId, z: StepId, coefficients: &[f32]) -> StepId {
    let p = s.polynomial(z, coefficients);
    let xz = s.mul(x, z);
    s.fma(xz, p, x)
}

const ASIN: [f32; 5] = [4.216_32e-2, 2.418_131e-2, 4.547_002_6e-2, 7.495_300_3e-2, 1.666_675_2e-1];

/// `asin(x)` for `0 <= x <= 1/2`, given `z = x²`.
fn asin_reduced(s: &mut Steps, x: StepId, z: StepId) -> StepId {
    odd(s, x, z, &ASIN)
}

/// Above 1/2: `pi / 2 - 2 asin(sqrt((1 - x) / 2))`.
pub fn asin(s: &mut Steps, a: StepId) -> StepId {
    let (half, one, two) = (s.f(0.5), s.f(1.0), s.f(2.0));
    let size = s.push(Step::AbsF(a));
    let far = s.compare(Compare::Gt, size, half);
    let rest = s.sub(one, size);
    let z_far = s.mul(rest, half);
    let root = s.push(Step::SqrtF(z_far));
    let z_near = s.mul(size, size);
    let z = s.select(far, z_far, z_near);
    let x = s.select(far, root, size);
    let y = asin_reduced(s, x, z);
    let quarter = s.f(FRAC_PI_2);
    let minus_two = s.push(Step::NegF(two));
    let folded = s.fma(minus_two, y, quarter);
    let y = s.select(far, folded, y);
    with_sign(s, y, a)
}

/// Above 1/2: `2 asin(sqrt((1 - x) / 2))`; below -1/2: pi minus that of -x; between: `pi / 2 - asin(x)`.
pub fn acos(s: &mut Steps, a: StepId) -> StepId {
    let (half, one, two, zero) = (s.f(0.5), s.f(1.0), s.f(2.0), s.f(0.0));
    let size = s.push(Step::AbsF(a));
    let far = s.compare(Compare::Gt, size, half);
    let rest = s.sub(one, size);
    let z_far = s.mul(rest, half);
    let root = s.push(Step::SqrtF(z_far));
    let z_near = s.mul(a, a);
    let z = s.select(far, z_far, z_near);
    let x = s.select(far, root, a);
    let y = asin_reduced(s, x, z);
    let (quarter, turn) = (s.f(FRAC_PI_2), s.f(PI));
    let doubled = s.mul(two, y);
    let mirrored = s.sub(turn, doubled);
    let is_negative = s.compare(Compare::Lt, a, zero);
    let outer = s.select(is_negative, mirrored, doubled);
    let inner = s.sub(quarter, y);
    s.select(far, outer, inner)
}

const ATAN: [f32; 4] = [8.053_744_5e-2, -1.387_768_6e-1, 1.997_771_1e-1, -3.333_295e-1];

/// Of a number that is not negative: beyond `tan(3 pi / 8)` by `pi / 2 - atan(1 / x)`, beyond `tan(pi / 8)` by
/// `pi / 4 + atan((x - 1) / (x + 1))`.
fn atan_positive(s: &mut Steps, x: StepId) -> StepId {
    let (one, high, low) = (s.f(1.0), s.f(2.414_213_6), s.f(0.414_213_57));
    let far = s.compare(Compare::Gt, x, high);
    let middle = s.compare(Compare::Gt, x, low);
    let minus_one = s.f(-1.0);
    let inverse = s.div(minus_one, x);
    let (above, below) = (s.sub(x, one), s.add(x, one));
    let ratio = s.div(above, below);
    let r = s.select(middle, ratio, x);
    let r = s.select(far, inverse, r);
    let z = s.mul(r, r);
    let y = odd(s, r, z, &ATAN);
    let (eighth, quarter, zero) = (s.f(FRAC_PI_4), s.f(FRAC_PI_2), s.f(0.0));
    let base = s.select(middle, eighth, zero);
    let base = s.select(far, quarter, base);
    s.add(base, y)
}

pub fn atan(s: &mut Steps, a: StepId) -> StepId {
    let size = s.push(Step::AbsF(a));
    let y = atan_positive(s, size);
    with_sign(s, y, a)
}

/// `atan(|a| / |b|)`, mirrored for a negative `b` (also -0), with the sign of `a`; of two zeros the angle 0, of two
/// infinities that of two ones.
pub fn atan2(s: &mut Steps, a: StepId, b: StepId) -> StepId {
    let (x, y) = (s.push(Step::AbsF(b)), s.push(Step::AbsF(a)));
    let ratio = s.div(y, x);
    let alike = s.compare(Compare::Eq, x, y);
    let (zero, one) = (s.f(0.0), s.f(1.0));
    let ratio = s.select(alike, one, ratio);
    let none = s.compare(Compare::Eq, y, zero);
    let ratio = s.select(none, zero, ratio);
    let angle = atan_positive(s, ratio);
    // A NaN in `b` alone must stay where `a` is 0.
    let nothing = s.sub(b, b);
    let is_nan = s.compare(Compare::Ne, b, b);
    let angle = s.select(is_nan, nothing, angle);
    let bits = s.push(Step::BitsOfF(b));
    let no_bits = s.i(0);
    let is_behind = s.push(Step::CompareI(Compare::Lt, bits, no_bits));
    let turn = s.f(PI);
    let mirrored = s.sub(turn, angle);
    let angle = s.select(is_behind, mirrored, angle);
    with_sign(s, angle, a)
}

const SINH: [f32; 3] = [2.037_219_1e-4, 8.330_284e-3, 1.666_671_6e-1];

pub fn sinh(s: &mut Steps, a: StepId) -> StepId {
    let (half, one) = (s.f(0.5), s.f(1.0));
    let size = s.push(Step::AbsF(a));
    let e = exp(s, size);
    let up = s.mul(half, e);
    let down = s.div(half, e);
    let far = s.sub(up, down);
    let z = s.mul(size, size);
    let near = odd(s, size, z, &SINH);
    let is_far = s.compare(Compare::Gt, size, one);
    let y = s.select(is_far, far, near);
    with_sign(s, y, a)
}

pub fn cosh(s: &mut Steps, a: StepId) -> StepId {
    let half = s.f(0.5);
    let size = s.push(Step::AbsF(a));
    let e = exp(s, size);
    let up = s.mul(half, e);
    let down = s.div(half, e);
    s.add(up, down)
}

/// From here on a square could be infinite, and 1 beside it is nothing.
const LARGE: f32 = 1e9;

/// `log(2 x)`, for large numbers.
fn log_of_double(s: &mut Steps, x: StepId) -> StepId {
    let l = log(s, x);
    let two = s.f(LN_2);
    s.add(l, two)
}

/// `log1p(x + x² / (1 + sqrt(1 + x²)))` of the size.
pub fn asinh(s: &mut Steps, a: StepId) -> StepId {
    let (one, large) = (s.f(1.0), s.f(LARGE));
    let size = s.push(Step::AbsF(a));
    let z = s.mul(size, size);
    let more = s.add(z, one);
    let root = s.push(Step::SqrtF(more));
    let below = s.add(root, one);
    let part = s.div(z, below);
    let sum = s.add(size, part);
    let near = log1p(s, sum);
    let far = log_of_double(s, size);
    let is_far = s.compare(Compare::Gt, size, large);
    let y = s.select(is_far, far, near);
    with_sign(s, y, a)
}

/// With `t = x - 1`: `log1p(t + sqrt(t (t + 2)))`; NaN below 1.
pub fn acosh(s: &mut Steps, a: StepId) -> StepId {
    let (one, two, large) = (s.f(1.0), s.f(2.0), s.f(LARGE));
    let t = s.sub(a, one);
    let more = s.add(t, two);
    let product = s.mul(t, more);
    let root = s.push(Step::SqrtF(product));
    let sum = s.add(t, root);
    let near = log1p(s, sum);
    let far = log_of_double(s, a);
    let is_far = s.compare(Compare::Gt, a, large);
    let y = s.select(is_far, far, near);
    let nan = s.f(f32::NAN);
    let is_below = s.compare(Compare::Lt, a, one);
    s.select(is_below, nan, y)
}

/// `log1p(2 x / (1 - x)) / 2` of the size.
pub fn atanh(s: &mut Steps, a: StepId) -> StepId {
    let (half, one, two) = (s.f(0.5), s.f(1.0), s.f(2.0));
    let size = s.push(Step::AbsF(a));
    let (above, below) = (s.mul(two, size), s.sub(one, size));
    let ratio = s.div(above, below);
    let l = log1p(s, ratio);
    let y = s.mul(half, l);
    with_sign(s, y, a)
}
