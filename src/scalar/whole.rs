//! Quotients without fraction, remainders and shifts: on i32 and, where the table says so, on f32.
//!
//! What enters: operands, or their steps. What leaves: the result, or its step. Invariant: with `q` a quotient and `r` its
//! remainder `a = q * b + r`, wrapped at 32 bits, for every `a` and `b`: by 0 the quotient is 0, and the least number by -1
//! is itself. So a lowering never divides by 0 or by -1.

use super::machine::{Compare, Step, StepId, Steps};
use crate::base::DType;

pub fn trunc_div(x: &[i32]) -> i32 {
    if x[1] == 0 { 0 } else { x[0].wrapping_div(x[1]) }
}

pub fn trunc_rem(x: &[i32]) -> i32 {
    x[0].wrapping_sub(trunc_div(x).wrapping_mul(x[1]))
}

/// Whether a remainder that is cut toward zero points away from the divisor.
fn is_opposite(remainder: i32, divisor: i32) -> bool {
    remainder != 0 && (remainder ^ divisor) < 0
}

pub fn floor_div(x: &[i32]) -> i32 {
    trunc_div(x) - i32::from(x[1] != 0 && is_opposite(trunc_rem(x), x[1]))
}

pub fn floor_rem(x: &[i32]) -> i32 {
    x[0].wrapping_sub(floor_div(x).wrapping_mul(x[1]))
}

/// The sign of the divisor, of floats: what is left of a smaller number by an infinite one is that number.
pub fn floor_rem_of_floats(x: &[f64]) -> f64 {
    let rest = x[0] % x[1];
    if rest != 0.0 && (rest < 0.0) != (x[1] < 0.0) { rest + x[1] } else { rest }
}

/// A number of bits to shift by; 31 where there are no so many.
pub fn within(n: f64) -> i32 {
    let n = n as i32;
    if (0..32).contains(&n) { n } else { 31 }
}

/// The number of bits cut down to 0 to 31, and whether it was.
fn bits(s: &mut Steps, n: StepId) -> (StepId, StepId) {
    let most = s.i(31);
    let by = s.push(Step::AndI(n, most));
    (by, s.push(Step::CompareI(Compare::Eq, by, n)))
}

pub fn lower_shift_left(s: &mut Steps, x: &[StepId]) -> StepId {
    let (by, inside) = bits(s, x[1]);
    let (y, zero) = (s.push(Step::ShlBy(x[0], by)), s.i(0));
    s.select(inside, y, zero)
}

pub fn lower_shift_right(s: &mut Steps, x: &[StepId]) -> StepId {
    let (by, inside) = bits(s, x[1]);
    let most = s.i(31);
    let by = s.select(inside, by, most);
    s.push(Step::ShrBy(x[0], by))
}

/// The whole part of an f32.
pub fn toward_zero(s: &mut Steps, x: StepId) -> StepId {
    let zero = s.f(0.0);
    let (down, up) = (s.push(Step::FloorF(x)), s.push(Step::CeilF(x)));
    let is_negative = s.compare(Compare::Lt, x, zero);
    s.select(is_negative, up, down)
}

/// Of i32: the quotient cut toward zero, and its remainder.
fn divided(s: &mut Steps, a: StepId, b: StepId) -> (StepId, StepId) {
    let (zero, one, minus) = (s.i(0), s.i(1), s.i(-1));
    let by_zero = s.push(Step::CompareI(Compare::Eq, b, zero));
    let by_minus = s.push(Step::CompareI(Compare::Eq, b, minus));
    let either = s.push(Step::OrI(by_zero, by_minus));
    let divisor = s.select(either, one, b);
    let q = s.push(Step::DivI(a, divisor));
    let negated = s.push(Step::SubI(zero, a));
    let q = s.select(by_minus, negated, q);
    let q = s.select(by_zero, zero, q);
    let product = s.push(Step::MulI(q, b));
    (q, s.push(Step::SubI(a, product)))
}

/// Of i32: a mask where `floor` and `trunc` differ.
fn opposite(s: &mut Steps, remainder: StepId, divisor: StepId) -> StepId {
    let zero = s.i(0);
    let rest = s.push(Step::CompareI(Compare::Ne, remainder, zero));
    let by_zero = s.push(Step::CompareI(Compare::Ne, divisor, zero));
    let signs = s.push(Step::XorI(remainder, divisor));
    let differ = s.push(Step::CompareI(Compare::Lt, signs, zero));
    let both = s.push(Step::AndI(rest, differ));
    s.push(Step::AndI(both, by_zero))
}

pub fn lower_trunc_div(s: &mut Steps, x: &[StepId], dtype: DType) -> StepId {
    if dtype != DType::F32 {
        return divided(s, x[0], x[1]).0;
    }
    let quotient = s.div(x[0], x[1]);
    toward_zero(s, quotient)
}

pub fn lower_floor_div(s: &mut Steps, x: &[StepId], dtype: DType) -> StepId {
    if dtype != DType::F32 {
        let (q, r) = divided(s, x[0], x[1]);
        let down = opposite(s, r, x[1]);
        // A mask is -1.
        return s.push(Step::AddI(q, down));
    }
    let quotient = s.div(x[0], x[1]);
    s.push(Step::FloorF(quotient))
}

pub fn lower_trunc_rem(s: &mut Steps, x: &[StepId], dtype: DType) -> StepId {
    if dtype != DType::F32 {
        return divided(s, x[0], x[1]).1;
    }
    let q = lower_trunc_div(s, x, dtype);
    let minus = s.push(Step::NegF(q));
    let rest = s.fma(minus, x[1], x[0]);
    // 0 times an infinite divisor is none.
    let zero = s.f(0.0);
    let is_smaller = s.compare(Compare::Eq, q, zero);
    s.select(is_smaller, x[0], rest)
}

pub fn lower_floor_rem(s: &mut Steps, x: &[StepId], dtype: DType) -> StepId {
    let r = lower_trunc_rem(s, x, dtype);
    if dtype != DType::F32 {
        let down = opposite(s, r, x[1]);
        let more = s.push(Step::AndI(down, x[1]));
        return s.push(Step::AddI(r, more));
    }
    let zero = s.f(0.0);
    let (r_below, b_below) = (s.compare(Compare::Lt, r, zero), s.compare(Compare::Lt, x[1], zero));
    let differ = s.push(Step::XorI(r_below, b_below));
    let rest = s.compare(Compare::Ne, r, zero);
    let opposite = s.push(Step::AndI(differ, rest));
    let moved = s.add(r, x[1]);
    s.select(opposite, moved, r)
}
