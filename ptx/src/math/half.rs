//! Arithmetic of f16 and bf16, alone and in pairs.
//!
//! Each operation is computed in f64, exactly or rounded to odd, and rounded once: as the hardware does for fma, and
//! as `fma` with 1 or -0 does for add and mul.

use super::float::{Mode, least};
use super::lanes::{Compute, one, three, two};
use super::round::{Format, Rounding, narrow, odd, two_sum, widen};

/// An instruction on f16 or bf16 (`packed`: on two of them in 32 bits).
pub fn compute(opcode: &str, format: Format, packed: bool, mode: Mode, relu: bool) -> Option<Compute> {
    let out = move |x: f64| finish(x, format, mode, relu);
    let load = move |bits: u16| enter(bits, format, mode.ftz);
    Some(match opcode {
        "add" => pair2(packed, move |a, b| out(exact_sum(load(a), load(b)))),
        "sub" => pair2(packed, move |a, b| out(exact_sum(load(a), -load(b)))),
        "mul" => pair2(packed, move |a, b| out(load(a) * load(b))),
        "fma" => pair3(packed, move |a, b, c| out(exact_sum(load(a) * load(b), load(c)))),
        "min" => pair2(packed, move |a, b| out(least(load(a) as f32, load(b) as f32, mode.nan) as f64)),
        "max" => pair2(packed, move |a, b| out(-least(-load(a) as f32, -load(b) as f32, mode.nan) as f64)),
        "neg" => pair1(packed, |a| a ^ 0x8000),
        "abs" => pair1(packed, |a| a & 0x7fff),
        "ex2" => pair1(packed, move |a| out(load(a).exp2())),
        "tanh" => pair1(packed, move |a| out(load(a).tanh())),
        _ => return None,
    })
}

fn exact_sum(a: f64, b: f64) -> f64 {
    let (sum, lost) = two_sum(a, b);
    odd(sum, lost)
}

/// The value of a half, flushed if asked.
pub fn enter(bits: u16, format: Format, ftz: bool) -> f64 {
    let is_subnormal = bits & 0x7fff != 0 && (bits & 0x7fff) >> format.mantissa_bits == 0;
    widen(if ftz && is_subnormal { bits & 0x8000 } else { bits } as u32, format)
}

fn finish(x: f64, format: Format, mode: Mode, relu: bool) -> u16 {
    let x = if mode.sat { if x > 0.0 { x.min(1.0) } else { 0.0 } } else { x };
    let x = if relu && x < 0.0 { 0.0 } else { x };
    let bits = narrow(x, format, Rounding::Nearest) as u16;
    if mode.ftz { narrow(enter(bits, format, true), format, Rounding::Nearest) as u16 } else { bits }
}

fn both(f: impl Fn(u32) -> u16) -> u32 {
    f(0) as u32 | (f(16) as u32) << 16
}

fn pair1(packed: bool, f: impl Fn(u16) -> u16 + Send + Sync + 'static) -> Compute {
    if packed { one(move |a: u32| both(|at| f((a >> at) as u16))) } else { one(f) }
}

fn pair2(packed: bool, f: impl Fn(u16, u16) -> u16 + Send + Sync + 'static) -> Compute {
    if packed {
        return two(move |a: u32, b: u32| both(|at| f((a >> at) as u16, (b >> at) as u16)));
    }
    two(f)
}

fn pair3(packed: bool, f: impl Fn(u16, u16, u16) -> u16 + Send + Sync + 'static) -> Compute {
    if packed {
        let each =
            move |a: u32, b: u32, c: u32| both(|at| f((a >> at) as u16, (b >> at) as u16, (c >> at) as u16));
        return three(each);
    }
    three(f)
}

/// Pairs of 16-bit integers: `add.u16x2`, `min.s16x2` and their like.
pub fn integers(opcode: &str, signed: bool) -> Option<Compute> {
    Some(match (opcode, signed) {
        ("add", _) => pair2(true, u16::wrapping_add),
        ("min", false) => pair2(true, u16::min),
        ("max", false) => pair2(true, u16::max),
        ("min", true) => pair2(true, |a, b| (a as i16).min(b as i16) as u16),
        ("max", true) => pair2(true, |a, b| (a as i16).max(b as i16) as u16),
        _ => return None,
    })
}
