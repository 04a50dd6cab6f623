//! Rounding: the four modes of IEEE 754 that PTX has, and the narrow formats.
//!
//! Everything is computed in f64 first. Where f64 cannot hold the exact value, `odd` keeps in the last bit that
//! something was lost (Boldo and Melquiond, "Emulation of a FMA and correctly rounded sums", 2008); a second rounding
//! to a format of at most 51 bits is then the only one that counts.

/// A rounding mode. `Away` breaks ties away from zero: `.rna`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    Nearest,
    Away,
    Zero,
    Down,
    Up,
}

/// A binary format narrower than f32, or tf32, whose bits lie in the upper part of f32's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Format {
    pub exponent_bits: u32,
    pub mantissa_bits: u32,
}

pub const F16: Format = Format { exponent_bits: 5, mantissa_bits: 10 };
pub const BF16: Format = Format { exponent_bits: 8, mantissa_bits: 7 };
pub const TF32: Format = Format { exponent_bits: 8, mantissa_bits: 10 };
pub const F32: Format = Format { exponent_bits: 8, mantissa_bits: 23 };

/// The sum and what rounding lost of it (Knuth).
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let of_b = sum - a;
    let lost = (a - (sum - of_b)) + (b - of_b);
    (sum, if lost.is_finite() { lost } else { 0.0 })
}

/// `sum + lost` rounded to odd: `sum` is the nearest value to it.
pub fn odd(sum: f64, lost: f64) -> f64 {
    if lost == 0.0 || !sum.is_finite() || sum.to_bits() & 1 == 1 {
        sum
    } else if lost > 0.0 {
        sum.next_up()
    } else {
        sum.next_down()
    }
}

/// `sum + lost` as an f64: the neighbour of `sum` in the mode's direction, if something was lost on that side.
pub fn directed((sum, lost): (f64, f64), mode: Rounding) -> f64 {
    let up = lost > 0.0;
    let down = lost < 0.0;
    let positive = sum > 0.0;
    match mode {
        Rounding::Up if up => sum.next_up(),
        Rounding::Down if down => sum.next_down(),
        Rounding::Zero if down && positive => sum.next_down(),
        Rounding::Zero if up && !positive => sum.next_up(),
        _ => sum,
    }
}

/// `x` to an integer, in a mode.
pub fn to_integer(x: f64, mode: Rounding) -> f64 {
    match mode {
        Rounding::Nearest => x.round_ties_even(),
        Rounding::Away => x.round(),
        Rounding::Zero => x.trunc(),
        Rounding::Down => x.floor(),
        Rounding::Up => x.ceil(),
    }
}

/// `x`, exact or rounded to odd, as an f32.
pub fn to_f32(x: f64, mode: Rounding) -> f32 {
    match mode {
        Rounding::Nearest => x as f32,
        _ => f32::from_bits(narrow(x, F32, mode)),
    }
}

/// `x`, exact or rounded to odd, in a narrower format: its bits.
pub fn narrow(x: f64, format: Format, mode: Rounding) -> u32 {
    let Format { exponent_bits, mantissa_bits } = format;
    let sign = (x.is_sign_negative() as u32) << (exponent_bits + mantissa_bits);
    let infinity = ((1 << exponent_bits) - 1) << mantissa_bits;
    if x.is_nan() {
        // The canonical NaN has all bits but the sign.
        return infinity | ((1 << mantissa_bits) - 1);
    }
    if x.is_infinite() || x == 0.0 {
        return sign | if x == 0.0 { 0 } else { infinity };
    }
    let bias = (1 << (exponent_bits - 1)) - 1;
    let least = 1 - bias;
    let exponent = (((x.to_bits() >> 52) & 0x7ff) as i32 - 1023).max(least);
    if exponent <= bias {
        // In units of the last place; a power of two away, so exact.
        let scaled = x * power_of_two(mantissa_bits as i32 - exponent);
        let units = to_integer(scaled, mode).abs() as u32;
        // A carry out of the mantissa, or out of the subnormal numbers, raises the exponent by itself.
        let biased = (exponent + bias) as u32 - 1;
        let magnitude = if units >> mantissa_bits == 0 { units } else { (biased << mantissa_bits) + units };
        if magnitude < infinity {
            return sign | magnitude;
        }
    }
    let is_away = match mode {
        Rounding::Nearest | Rounding::Away => true,
        Rounding::Zero => false,
        Rounding::Down => sign != 0,
        Rounding::Up => sign == 0,
    };
    sign | if is_away { infinity } else { infinity - 1 }
}

/// The value of bits in a narrower format.
pub fn widen(bits: u32, format: Format) -> f64 {
    let Format { exponent_bits, mantissa_bits } = format;
    let mantissa = bits & ((1 << mantissa_bits) - 1);
    let exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
    let bias = (1 << (exponent_bits - 1)) - 1;
    let magnitude = if exponent == (1 << exponent_bits) - 1 {
        if mantissa == 0 { f64::INFINITY } else { f64::NAN }
    } else if exponent == 0 {
        mantissa as f64 * power_of_two(1 - bias - mantissa_bits as i32)
    } else {
        let units = mantissa | 1 << mantissa_bits;
        units as f64 * power_of_two(exponent as i32 - bias - mantissa_bits as i32)
    };
    if bits >> (exponent_bits + mantissa_bits) & 1 == 1 { -magnitude } else { magnitude }
}

fn power_of_two(exponent: i32) -> f64 {
    f64::from_bits(((exponent + 1023) as u64) << 52)
}

/// A subnormal number as zero with its sign: `.ftz`.
pub fn flush(x: f32) -> f32 {
    if x.is_subnormal() { f32::copysign(0.0, x) } else { x }
}

/// The NaN that single-precision instructions return. By bits: where a NaN is chosen in place of a square root that is one, LLVM
/// takes the choice for idle, as all NaNs are alike to it.
pub fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits })
}

/// Into [0, 1], with NaN as 0: `.sat`.
pub fn saturate(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}
