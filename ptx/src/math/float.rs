//! Arithmetic of f32 and f64: add, mul, fma, div, sqrt, min and max, in all rounding modes.
//!
//! What enters: an opcode and its modifiers. What leaves: the closure over a warp, or None if PTX has no such
//! instruction. Single precision returns the canonical NaN; `.ftz` flushes operands and result.

use super::lanes::{Compare, Compute, Word, compare, one, three, two};
use super::round::{Rounding, canonical, directed, flush, odd, saturate, to_f32, two_sum};

/// The modifiers of a float instruction.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub rounding: Rounding,
    pub ftz: bool,
    pub sat: bool,
    /// `.NaN` of min and max: a NaN wins.
    pub nan: bool,
}

type Wrap32 = (bool, bool);

fn finish(x: f32, (ftz, sat): Wrap32) -> f32 {
    let x = canonical(x);
    let x = if sat { saturate(x) } else { x };
    if ftz { flush(x) } else { x }
}

fn enter(x: f32, ftz: bool) -> f32 {
    if ftz { flush(x) } else { x }
}

/// `f` on one f32, with what the modifiers ask around it.
pub fn one32(mode: Mode, f: impl Fn(f32) -> f32 + Send + Sync + 'static) -> Compute {
    let wrap = (mode.ftz, mode.sat);
    if wrap == (false, false) {
        one(move |a| canonical(f(a)))
    } else {
        one(move |a| finish(f(enter(a, wrap.0)), wrap))
    }
}

pub fn two32(mode: Mode, f: impl Fn(f32, f32) -> f32 + Send + Sync + 'static) -> Compute {
    let wrap = (mode.ftz, mode.sat);
    if wrap == (false, false) {
        return two(move |a, b| canonical(f(a, b)));
    }
    two(move |a, b| finish(f(enter(a, wrap.0), enter(b, wrap.0)), wrap))
}

fn three32(mode: Mode, f: impl Fn(f32, f32, f32) -> f32 + Send + Sync + 'static) -> Compute {
    let wrap = (mode.ftz, mode.sat);
    if wrap == (false, false) {
        return three(move |a, b, c| canonical(f(a, b, c)));
    }
    three(move |a, b, c| finish(f(enter(a, wrap.0), enter(b, wrap.0), enter(c, wrap.0)), wrap))
}

/// An instruction of single precision.
pub fn single(opcode: &str, mode: Mode) -> Option<Compute> {
    let rounding = mode.rounding;
    let nearest = rounding == Rounding::Nearest;
    Some(match opcode {
        "add" if nearest => two32(mode, |a, b| a + b),
        "sub" if nearest => two32(mode, |a, b| a - b),
        "mul" if nearest => two32(mode, |a, b| a * b),
        "fma" | "mad" if nearest => three32(mode, f32::mul_add),
        "div" if nearest => two32(mode, |a, b| a / b),
        "rcp" if nearest => one32(mode, |a| 1.0 / a),
        "sqrt" if nearest => one32(mode, f32::sqrt),
        "add" => two32(mode, move |a, b| sum(a as f64, b as f64, rounding)),
        "sub" => two32(mode, move |a, b| sum(a as f64, -b as f64, rounding)),
        // The product of two f32 is exact in f64.
        "mul" => two32(mode, move |a, b| to_f32(a as f64 * b as f64, rounding)),
        "fma" | "mad" => three32(mode, move |a, b, c| sum(a as f64 * b as f64, c as f64, rounding)),
        "div" => two32(mode, move |a, b| quotient(a as f64, b as f64, rounding)),
        "rcp" => one32(mode, move |a| quotient(1.0, a as f64, rounding)),
        "sqrt" => one32(mode, move |a| root(a as f64, rounding)),
        "min" => two32(mode, move |a, b| least(a, b, mode.nan)),
        "max" => two32(mode, move |a, b| -least(-a, -b, mode.nan)),
        "neg" => one(move |a: f32| -enter(a, mode.ftz)),
        "abs" => one(move |a: f32| enter(a, mode.ftz).abs()),
        "copysign" => two(|a: f32, b: f32| b.copysign(a)),
        _ => return None,
    })
}

fn sum(a: f64, b: f64, mode: Rounding) -> f32 {
    let (sum, lost) = two_sum(a, b);
    // An exact zero is negative in this mode, unless both were positive zeros.
    if sum == 0.0 && mode == Rounding::Down && (a.to_bits() | b.to_bits()) != 0 {
        return -0.0;
    }
    to_f32(odd(sum, lost), mode)
}

fn quotient(a: f64, b: f64, mode: Rounding) -> f32 {
    let q = a / b;
    let rest = f64::mul_add(-q, b, a);
    to_f32(if rest.is_finite() { odd(q, rest / b) } else { q }, mode)
}

fn root(a: f64, mode: Rounding) -> f32 {
    let root = a.sqrt();
    let rest = f64::mul_add(-root, root, a);
    to_f32(if rest.is_finite() { odd(root, rest) } else { root }, mode)
}

/// The lesser; -0 is less than +0; a number wins over a NaN unless `nan`.
pub fn least(a: f32, b: f32, nan: bool) -> f32 {
    if a.is_nan() || b.is_nan() {
        if nan || a.is_nan() && b.is_nan() {
            return f32::NAN;
        }
        return if a.is_nan() { b } else { a };
    }
    if a == 0.0 && b == 0.0 {
        return if a.is_sign_negative() { a } else { b };
    }
    if a < b { a } else { b }
}

/// An instruction of double precision.
pub fn double(opcode: &str, mode: Mode) -> Option<Compute> {
    let rounding = mode.rounding;
    let nearest = rounding == Rounding::Nearest;
    Some(match opcode {
        "add" if nearest => two(|a: f64, b: f64| a + b),
        "sub" if nearest => two(|a: f64, b: f64| a - b),
        "mul" if nearest => two(|a: f64, b: f64| a * b),
        "fma" | "mad" if nearest => three(f64::mul_add),
        "div" if nearest => two(|a: f64, b: f64| a / b),
        "rcp" if nearest => one(|a: f64| 1.0 / a),
        "sqrt" if nearest => one(f64::sqrt),
        "add" => two(move |a: f64, b: f64| directed(two_sum(a, b), rounding)),
        "sub" => two(move |a: f64, b: f64| directed(two_sum(a, -b), rounding)),
        "mul" => two(move |a: f64, b: f64| directed((a * b, f64::mul_add(a, b, -(a * b))), rounding)),
        "min" => two(|a: f64, b: f64| least64(a, b)),
        "max" => two(|a: f64, b: f64| -least64(-a, -b)),
        "neg" => one(|a: f64| -a),
        "abs" => one(f64::abs),
        "copysign" => two(|a: f64, b: f64| b.copysign(a)),
        _ => return None,
    })
}

fn least64(a: f64, b: f64) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, _) => b,
        (_, true) => a,
        _ if a == 0.0 && b == 0.0 => f64::from_bits(a.to_bits() | b.to_bits()),
        _ => a.min(b),
    }
}

/// The approximations of PTX, computed in double precision and rounded: nearer than the manual's bounds ask
/// (2 ulp for ex2, 1 ulp for rcp and sqrt, 2⁻²⁰·⁹ absolute for sin and cos in [-π, π], 2⁻¹¹ relative for tanh).
pub fn approximate(opcode: &str, mode: Mode) -> Option<Compute> {
    fn wide(mode: Mode, f: fn(f64) -> f64) -> Compute {
        one32(mode, move |a| f(a as f64) as f32)
    }
    Some(match opcode {
        "ex2" => wide(mode, f64::exp2),
        "lg2" => wide(mode, f64::log2),
        "sin" => wide(mode, f64::sin),
        "cos" => wide(mode, f64::cos),
        "tanh" => wide(mode, f64::tanh),
        "rcp" => wide(mode, f64::recip),
        "sqrt" => wide(mode, f64::sqrt),
        "rsqrt" => wide(mode, |a| 1.0 / a.sqrt()),
        "div" => two32(mode, |a, b| a / b),
        _ => return None,
    })
}

/// The approximations that double precision has.
pub fn approximate64(opcode: &str) -> Option<Compute> {
    // Only the upper half of the operand and of the result counts: `.approx.ftz.f64`.
    fn upper(f: fn(f64) -> f64) -> Compute {
        one(move |a: u64| f(f64::from_bits(a >> 32 << 32)).to_bits() >> 32 << 32)
    }
    match opcode {
        "rcp" => Some(upper(f64::recip)),
        "rsqrt" => Some(upper(|a| 1.0 / a.sqrt())),
        _ => None,
    }
}

/// `testp`: where the property holds. A comparison of the operand with itself.
pub fn property(name: &str, is_double: bool) -> Option<Compare> {
    let value = move |bits: u64| {
        if is_double { <f64 as Word>::from_bits(bits) } else { <f32 as Word>::from_bits(bits) as f64 }
    };
    let is_subnormal = move |bits: u64| {
        if is_double { value(bits).is_subnormal() } else { <f32 as Word>::from_bits(bits).is_subnormal() }
    };
    Some(match name {
        "finite" => compare(move |a: u64, _| value(a).is_finite()),
        "infinite" => compare(move |a: u64, _| value(a).is_infinite()),
        "number" => compare(move |a: u64, _| !value(a).is_nan()),
        "notanumber" => compare(move |a: u64, _| value(a).is_nan()),
        "subnormal" => compare(move |a: u64, _| is_subnormal(a)),
        "normal" => compare(move |a: u64, _| value(a).is_finite() && value(a) != 0.0 && !is_subnormal(a)),
        _ => return None,
    })
}
