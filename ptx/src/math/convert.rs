//! `cvt`: between integers and floats of all widths, in all rounding modes.
//!
//! Every source value goes through f64: exactly, or (integers of 64 bits) rounded to odd, so that the result is
//! rounded once.

use super::half::enter;
use super::integer;
use super::lanes::{Compute, Word, one, two};
use super::round::{BF16, F16, Format, Rounding, TF32, directed, flush, narrow, odd, to_f32, to_integer};
use crate::types::Type;

/// What stands between `cvt` and its types.
#[derive(Clone, Copy, Debug)]
pub struct Conversion {
    /// `.rn`, `.rz`, … to a float.
    pub rounding: Option<Rounding>,
    /// `.rni`, `.rzi`, … to an integer, or to a float without a fraction.
    pub integral: Option<Rounding>,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
    /// `.satfinite`: the largest number instead of an infinity.
    pub finite: bool,
}

fn format(ty: Type) -> Option<Format> {
    match ty {
        Type::F16 => Some(F16),
        Type::Bf16 => Some(BF16),
        Type::Tf32 => Some(TF32),
        _ => None,
    }
}

/// `cvt.to.from`.
pub fn convert(to: Type, from: Type, how: Conversion) -> Option<Compute> {
    match (to.is_float(), from.is_float()) {
        (false, false) => integer::convert(from, to, how.sat),
        (true, false) => integer::with_int!(from, I => {
            let mode = how.rounding.unwrap_or(Rounding::Nearest);
            if to == Type::F64 {
                return Some(one(move |a: I| directed(parts(a as i128), mode)));
            }
            Some(one(move |a: I| {
                let (near, lost) = parts(a as i128);
                encode(odd(near, lost), to, how)
            }))
        }),
        (false, true) => {
            let signed_range = integer::range(to);
            let value = decoder(from, how)?;
            Some(one(move |a: u64| to_int(value(a), from, to, signed_range, how)))
        }
        (true, true) => {
            let value = decoder(from, how)?;
            Some(one(move |a: u64| {
                let value = value(a);
                let value = how.integral.map_or(value, |mode| to_integer(value, mode));
                encode(value, to, how)
            }))
        }
    }
}

/// `cvt.to2.f32 d, a, b`: `a` into the upper half, `b` into the lower.
pub fn pack(to: Type, how: Conversion) -> Option<Compute> {
    let part = match to {
        Type::F16x2 => Type::F16,
        Type::Bf16x2 => Type::Bf16,
        _ => return None,
    };
    let value = decoder(Type::F32, how)?;
    Some(two(move |a: u64, b: u64| encode(value(a), part, how) << 16 | encode(value(b), part, how)))
}

fn decoder(from: Type, how: Conversion) -> Option<impl Fn(u64) -> f64 + Send + Sync + 'static> {
    let narrow_format = format(from);
    if narrow_format.is_none() && !matches!(from, Type::F32 | Type::F64) {
        return None;
    }
    Some(move |bits: u64| match narrow_format {
        Some(format) if from != Type::Tf32 => enter(bits as u16, format, false),
        _ if from == Type::F64 => <f64 as Word>::from_bits(bits),
        _ => {
            let value = <f32 as Word>::from_bits(bits);
            if how.ftz { flush(value) as f64 } else { value as f64 }
        }
    })
}

/// The nearest f64 and what it lacks.
fn parts(value: i128) -> (f64, f64) {
    let near = value as f64;
    (near, (value - near as i128) as f64)
}

fn encode(value: f64, to: Type, how: Conversion) -> u64 {
    let mode = how.rounding.unwrap_or(Rounding::Nearest);
    let value = if how.sat { if value > 0.0 { value.min(1.0) } else { 0.0 } } else { value };
    let value = if how.relu && value <= 0.0 { 0.0 } else { value };
    match to {
        Type::F64 => value.to_bits(),
        Type::F32 => {
            let result = super::round::canonical(to_f32(value, mode));
            (if how.ftz { flush(result) } else { result }).to_bits() as u64
        }
        _ => {
            let format = format(to).unwrap_or(F16);
            let mut bits = narrow(value, format, mode);
            let infinity = ((1 << format.exponent_bits) - 1) << format.mantissa_bits;
            let sign = 1 << (format.exponent_bits + format.mantissa_bits);
            if how.finite && bits & !sign == infinity {
                bits -= 1;
            }
            // The bits of tf32 stand where those of f32 do.
            if to == Type::Tf32 { (bits as u64) << 13 } else { bits as u64 }
        }
    }
}

fn to_int(value: f64, from: Type, to: Type, (least, most): (i128, i128), how: Conversion) -> u64 {
    let keep = if to.bits() == 64 { u64::MAX } else { (1 << to.bits()) - 1 };
    if value.is_nan() {
        // Zero, but for double precision and for 64 bits the highest bit alone.
        let is_wide = from == Type::F64 || to.bits() == 64;
        return if is_wide { 1 << (to.bits() - 1) } else { 0 };
    }
    let whole = to_integer(value, how.integral.unwrap_or(Rounding::Zero));
    (whole as i128).clamp(least, most) as u64 & keep
}
