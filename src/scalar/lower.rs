//! The f32 forms of the transcendental functions: lean polynomials over `machine` steps.
//!
//! What enters: the operand's step. What leaves: the result's. Error bounds stand in the table and are tested
//! there. Results below the least normal f32 (about 1.2e-38) may flush to zero. Sources: polynomials of exp, log,
//! sin and cos from Cephes (Moshier, single precision: expf, logf, sinf); rational forms of tanh and erf as in Eigen's
//! packet math; argument reduction after Cody and Waite, with fused multiply-adds.

use super::machine::{Compare, Step, StepId, Steps};
use crate::base::cephes::{COS, LN_2, LOG, SIN};

/// Polynomial of `(exp(r) - 1 - r) / r²` on `|r| <= ln(2) / 2`.
const EXP: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.0e-1];

/// `exp(r) - 1` for `|r| <= ln(2) / 2`. The polynomial's terms are added in pairs, for these do not wait for each other.
fn expm1_reduced(s: &mut Steps, r: StepId) -> StepId {
    let r2 = s.mul(r, r);
    let [first, second, third] = [0, 2, 4].map(|i| s.polynomial(r, &EXP[i..i + 2]));
    let p = s.fma(first, r2, second);
    let p = s.fma(p, r2, third);
    s.fma(p, r2, r)
}

/// `exp(a) = 2^n * exp(r)`, `n` the nearest integer to `a / ln 2`. What is beyond the range is brought to where `2^n` is infinite or 0
/// by itself, so that nothing is chosen at the end: chains of steps are what a CPU waits for.
pub fn exp(s: &mut Steps, a: StepId) -> StepId {
    // Written so that NaN stays, and as the lesser and the greater of two.
    let (most, least) = (s.f(89.5), s.f(-87.5));
    let is_over = s.compare(Compare::Lt, most, a);
    let a = s.select(is_over, most, a);
    let is_under = s.compare(Compare::Gt, least, a);
    let a = s.select(is_under, least, a);
    // In numbers of this size the last bit counts 1, so the sum is rounded to a whole number, whose low bits are `n + 126`.
    let (log2_e, large) = (s.f(std::f32::consts::LOG2_E), s.f(12_582_912.0 + 126.0));
    let rounded = s.fma(a, log2_e, large);
    let n = s.sub(rounded, large);
    // ln 2 in two parts, the first with few bits, so that n * high is exact.
    let (high, low) = (s.f(-LN_2[0]), s.f(-LN_2[1]));
    let r = s.fma(n, high, a);
    let r = s.fma(n, low, r);
    let m = expm1_reduced(s, r);
    // 2^n in two factors: 2^(n - 1) has an exponent even for the greatest n, 128.
    let two = s.f(2.0);
    let y = s.fma(m, two, two);
    let bits = s.push(Step::BitsOfF(rounded));
    let bits = s.push(Step::ShlI(bits, 23));
    let scale = s.push(Step::FOfBits(bits));
    s.mul(y, scale)
}

pub fn expm1(s: &mut Steps, a: StepId) -> StepId {
    let near = expm1_reduced(s, a);
    let (one, limit) = (s.f(1.0), s.f(0.346_573_6));
    let e = exp(s, a);
    let far = s.sub(e, one);
    let size = s.push(Step::AbsF(a));
    let is_near = s.compare(Compare::Le, size, limit);
    s.select(is_near, near, far)
}

/// `log(a) = e * ln 2 + log(m)`, `m` in `[sqrt(1/2), sqrt(2))`.
pub fn log(s: &mut Steps, a: StepId) -> StepId {
    let (least, up) = (s.f(f32::MIN_POSITIVE), s.f(8_388_608.0));
    let is_small = s.compare(Compare::Lt, a, least);
    let raised = s.mul(a, up);
    let x = s.select(is_small, raised, a);
    let bits = s.push(Step::BitsOfF(x));
    let root_half = s.i(0x3f35_04f3);
    let above = s.push(Step::SubI(bits, root_half));
    let e = s.push(Step::ShrI(above, 23));
    let e_bits = s.push(Step::ShlI(e, 23));
    let m_bits = s.push(Step::SubI(bits, e_bits));
    let m = s.push(Step::FOfBits(m_bits));
    let e = s.push(Step::ToF(e));
    let (shift, zero, one) = (s.f(-23.0), s.f(0.0), s.f(1.0));
    let lowered = s.add(e, shift);
    let e = s.select(is_small, lowered, e);
    let t = s.sub(m, one);
    let p = s.polynomial(t, &LOG);
    let z = s.mul(t, t);
    let tz = s.mul(t, z);
    let (low, high, half) = (s.f(LN_2[1]), s.f(LN_2[0]), s.f(-0.5));
    let y = s.mul(e, low);
    let y = s.fma(tz, p, y);
    let y = s.fma(z, half, y);
    let y = s.add(t, y);
    let y = s.fma(e, high, y);
    let (infinity, minus_infinity, nan) = (s.f(f32::INFINITY), s.f(f32::NEG_INFINITY), s.f(f32::NAN));
    let is_finite = s.compare(Compare::Lt, a, infinity);
    let y = s.select(is_finite, y, a);
    let is_zero = s.compare(Compare::Eq, a, zero);
    let y = s.select(is_zero, minus_infinity, y);
    let is_negative = s.compare(Compare::Lt, a, zero);
    s.select(is_negative, nan, y)
}

/// With `u = 1 + a` rounded, `log(u) * a / (u - 1)` takes the rounding back (Goldberg, "What every computer
/// scientist should know about floating-point arithmetic", theorem 4).
pub fn log1p(s: &mut Steps, a: StepId) -> StepId {
    let (one, infinity) = (s.f(1.0), s.f(f32::INFINITY));
    let u = s.add(a, one);
    let l = log(s, u);
    let back = s.sub(u, one);
    let ratio = s.div(a, back);
    let y = s.mul(l, ratio);
    let is_tiny = s.compare(Compare::Eq, u, one);
    let y = s.select(is_tiny, a, y);
    let is_infinite = s.compare(Compare::Eq, u, infinity);
    let y = s.select(is_infinite, u, y);
    let (minus_one, minus_infinity) = (s.f(-1.0), s.f(f32::NEG_INFINITY));
    let is_pole = s.compare(Compare::Eq, a, minus_one);
    s.select(is_pole, minus_infinity, y)
}

pub fn sigmoid(s: &mut Steps, a: StepId) -> StepId {
    let one = s.f(1.0);
    let negative = s.push(Step::NegF(a));
    let e = exp(s, negative);
    let below = s.add(one, e);
    s.div(one, below)
}

/// An odd rational function, the operand held to where the result is not yet ±1.
fn odd_rational(s: &mut Steps, a: StepId, limit: f32, above: &[f32], below: &[f32]) -> StepId {
    let (most, least) = (s.f(limit), s.f(-limit));
    // Written so that NaN stays, and as the lesser and the greater of two.
    let is_over = s.compare(Compare::Lt, most, a);
    let x = s.select(is_over, most, a);
    let is_under = s.compare(Compare::Gt, least, x);
    let x = s.select(is_under, least, x);
    let x2 = s.mul(x, x);
    let p = s.polynomial(x2, above);
    let p = s.mul(x, p);
    let q = s.polynomial(x2, below);
    s.div(p, q)
}

pub fn tanh(s: &mut Steps, a: StepId) -> StepId {
    let above = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297_2e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_4e-3,
    ];
    let below = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    odd_rational(s, a, 7.905_311, &above, &below)
}

pub fn erf(s: &mut Steps, a: StepId) -> StepId {
    let above = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_5e-5,
        -7.349_906_5e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    let below = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_473_9e-2];
    odd_rational(s, a, 4.0, &above, &below)
}

/// See `sine`.
const MOST_ANGLE: f32 = 1e6;

/// sin for quarter 0, cos for quarter 1: `quarters` is added to the number of quarter turns taken off. An operand beyond
/// `MOST_ANGLE`, where that number would lose digits, counts as 0; infinite ones give NaN.
fn sine(s: &mut Steps, a: StepId, quarters: i32) -> StepId {
    let (size, most) = (s.push(Step::AbsF(a)), s.f(MOST_ANGLE));
    let is_near = s.compare(Compare::Le, size, most);
    let none = s.sub(a, a);
    let a = s.select(is_near, a, none);
    let per_quarter = s.f(std::f32::consts::FRAC_2_PI);
    let turns = s.mul(a, per_quarter);
    let n = s.push(Step::NearestF(turns));
    // pi / 2 in three parts.
    let parts = [-1.570_796_4, 4.371_139e-8, 1.715_124_5e-15];
    let r = parts.into_iter().fold(a, |r, part| {
        let part = s.f(part);
        s.fma(n, part, r)
    });
    let r2 = s.mul(r, r);
    let p = s.polynomial(r2, &SIN);
    let r3 = s.mul(r, r2);
    let sin = s.fma(p, r3, r);
    let [c0, c1, c2] = COS;
    let q = s.polynomial(r2, &[c0, c1, c2, -0.5]);
    let one = s.f(1.0);
    let cos = s.fma(q, r2, one);
    let n = s.push(Step::TruncateF(n));
    let (quarters, bit, two, zero) = (s.i(quarters), s.i(1), s.i(2), s.i(0));
    let n = s.push(Step::AddI(n, quarters));
    let odd = s.push(Step::AndI(n, bit));
    let is_even = s.push(Step::CompareI(Compare::Eq, odd, zero));
    let y = s.select(is_even, sin, cos);
    let half = s.push(Step::AndI(n, two));
    let sign = s.push(Step::ShlI(half, 30));
    let bits = s.push(Step::BitsOfF(y));
    let bits = s.push(Step::XorI(bits, sign));
    s.push(Step::FOfBits(bits))
}

pub fn sin(s: &mut Steps, a: StepId) -> StepId {
    sine(s, a, 0)
}

pub fn cos(s: &mut Steps, a: StepId) -> StepId {
    sine(s, a, 1)
}

/// `exp(b * log |a|)`, with the sign of an odd power. As IEEE 754 has it: 1 for an exponent of 0 or a base of 1 whatever the
/// other is, and for -1 to an infinite power; NaN for a finite negative base and a fraction; signed zeros.
pub fn pow(s: &mut Steps, a: StepId, b: StepId) -> StepId {
    let (zero, one, half, nan) = (s.f(0.0), s.f(1.0), s.f(0.5), s.f(f32::NAN));
    let size = s.push(Step::AbsF(a));
    let l = log(s, size);
    let exponent = s.mul(b, l);
    let y = exp(s, exponent);
    // 0 times infinity, in the exponent.
    let is_unit = s.compare(Compare::Eq, size, one);
    let y = s.select(is_unit, one, y);
    let whole = s.push(Step::FloorF(b));
    let is_whole = s.compare(Compare::Eq, whole, b);
    let halved = s.mul(b, half);
    let floor = s.push(Step::FloorF(halved));
    let is_half_whole = s.compare(Compare::Ne, floor, halved);
    let is_odd = s.push(Step::AndI(is_whole, is_half_whole));
    let (bits, no_bits) = (s.push(Step::BitsOfF(a)), s.i(0));
    let has_sign = s.push(Step::CompareI(Compare::Lt, bits, no_bits));
    let negates = s.push(Step::AndI(is_odd, has_sign));
    let negated = s.push(Step::NegF(y));
    let y = s.select(negates, negated, y);
    let is_negative = s.compare(Compare::Lt, a, zero);
    let infinity = s.f(f32::INFINITY);
    let is_finite = s.compare(Compare::Lt, size, infinity);
    let is_fraction = s.push(Step::NotI(is_whole));
    let has_no_power = s.push(Step::AndI(is_negative, is_fraction));
    let has_no_power = s.push(Step::AndI(has_no_power, is_finite));
    let y = s.select(has_no_power, nan, y);
    let is_base_one = s.compare(Compare::Eq, a, one);
    let y = s.select(is_base_one, one, y);
    let is_zeroth = s.compare(Compare::Eq, b, zero);
    s.select(is_zeroth, one, y)
}
