//! Integer arithmetic, bits and bytes.
//!
//! What enters: an opcode, its type and what stands between (`lo`, `hi`, `wide`, …). What leaves: the closure over a
//! warp. Where PTX leaves a result open (division by zero), it is what the hardware gives.

use super::lanes::{Compute, Word, mixed, one, three, two};
use crate::types::Type;

/// Runs the expression with `$int` as the Rust type of an integer type suffix.
macro_rules! with_int {
    ($ty:expr, $int:ident => $body:expr) => {
        match $ty {
            Type::U8 | Type::B8 => {
                type $int = u8;
                $body
            }
            Type::U16 | Type::B16 => {
                type $int = u16;
                $body
            }
            Type::U32 | Type::B32 => {
                type $int = u32;
                $body
            }
            Type::U64 | Type::B64 => {
                type $int = u64;
                $body
            }
            Type::S8 => {
                type $int = i8;
                $body
            }
            Type::S16 => {
                type $int = i16;
                $body
            }
            Type::S32 => {
                type $int = i32;
                $body
            }
            Type::S64 => {
                type $int = i64;
                $body
            }
            _ => return None,
        }
    };
}
pub(crate) use with_int;

/// add, sub, min, max, div, rem, abs, neg, sad.
pub fn plain(opcode: &str, ty: Type) -> Option<Compute> {
    Some(with_int!(ty, I => match opcode {
        "add" => two(I::wrapping_add),
        "sub" => two(I::wrapping_sub),
        "min" => two(|a: I, b: I| a.min(b)),
        "max" => two(|a: I, b: I| a.max(b)),
        "div" => two(|a: I, b: I| if b == 0 { !0 } else { a.wrapping_div(b) }),
        "rem" => two(|a: I, b: I| if b == 0 { a } else { a.wrapping_rem(b) }),
        "neg" => one(|a: I| (0 as I).wrapping_sub(a)),
        "abs" => one(move |a: I| if ty.is_signed() && a < (0 as I) { (0 as I).wrapping_sub(a) } else { a }),
        "sad" => three(|a: I, b: I, c: I| c.wrapping_add(a.max(b).wrapping_sub(a.min(b)))),
        _ => return None,
    }))
}

/// Which half of a product is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    Low,
    High,
    Wide,
}

/// mul and mad (`add`: with a third operand), with `.lo`, `.hi` or `.wide`.
pub fn product(ty: Type, part: Part, add: bool) -> Option<Compute> {
    Some(with_int!(ty, I => match (part, add) {
        (Part::Low, false) => two(I::wrapping_mul),
        (Part::Low, true) => three(|a: I, b: I, c: I| a.wrapping_mul(b).wrapping_add(c)),
        (Part::High, false) => two(|a: I, b: I| high(a as i128, b as i128, I::BITS) as I),
        (Part::High, true) => three(|a: I, b: I, c: I| (high(a as i128, b as i128, I::BITS) as I).wrapping_add(c)),
        (Part::Wide, _) => return wide_product(ty, add),
    }))
}

/// A product of twice the width, for the widths whose double fits a register.
fn wide_product(ty: Type, add: bool) -> Option<Compute> {
    Some(match (ty, add) {
        (Type::S16, false) => two(|a: i16, b: i16| a as i32 * b as i32),
        (Type::U16, false) => two(|a: u16, b: u16| a as u32 * b as u32),
        (Type::S32, false) => two(|a: i32, b: i32| a as i64 * b as i64),
        (Type::U32, false) => two(|a: u32, b: u32| a as u64 * b as u64),
        (Type::S16, true) => three(|a: i16, b: i16, c: i32| (a as i32 * b as i32).wrapping_add(c)),
        (Type::U16, true) => three(|a: u16, b: u16, c: u32| (a as u32 * b as u32).wrapping_add(c)),
        (Type::S32, true) => three(|a: i32, b: i32, c: i64| (a as i64 * b as i64).wrapping_add(c)),
        (Type::U32, true) => three(|a: u32, b: u32, c: u64| (a as u64 * b as u64).wrapping_add(c)),
        _ => return None,
    })
}

fn high(a: i128, b: i128, bits: u32) -> i128 {
    // Of two u64 the product can pass i128's sign bit: the upper half is then right as bits.
    (a.wrapping_mul(b) as u128 >> bits) as i128
}

/// mul24 and mad24: the low 32 bits of a product of 24-bit numbers.
pub fn product24(signed: bool, add: bool) -> Compute {
    let f = move |a: u32, b: u32| {
        let cut = |v: u32| if signed { ((v << 8) as i32 >> 8) as u32 } else { v & 0xff_ffff };
        cut(a).wrapping_mul(cut(b))
    };
    if add { three(move |a: u32, b: u32, c: u32| f(a, b).wrapping_add(c)) } else { two(f) }
}

/// Saturating add and sub: `.sat.s32`.
pub fn saturating(opcode: &str) -> Option<Compute> {
    match opcode {
        "add" => Some(two(i32::saturating_add)),
        "sub" => Some(two(i32::saturating_sub)),
        _ => None,
    }
}

/// and, or, xor, not, cnot, shl, shr, popc, clz, brev.
pub fn bits(opcode: &str, ty: Type) -> Option<Compute> {
    Some(with_int!(ty, I => match opcode {
        "and" => two(|a: I, b: I| a & b),
        "or" => two(|a: I, b: I| a | b),
        "xor" => two(|a: I, b: I| a ^ b),
        "not" => one(|a: I| !a),
        "cnot" => one(|a: I| (a == 0) as I),
        // A shift by the width or more leaves nothing, or only the sign.
        "shl" => mixed(|a: I, n: u32| if n < I::BITS { a << n } else { 0 }),
        "shr" => mixed(move |a: I, n: u32| {
            if n < I::BITS { a >> n } else if ty.is_signed() { a >> (I::BITS - 1) } else { 0 }
        }),
        "popc" => one(|a: I| a.count_ones()),
        "clz" => one(|a: I| a.leading_zeros()),
        "brev" => one(|a: I| a.reverse_bits()),
        _ => return None,
    }))
}

/// The highest bit that differs from the sign; all ones if there is none. `shift`: how far to shift it up.
pub fn find_bit(ty: Type, shift: bool) -> Option<Compute> {
    Some(with_int!(ty, I => one(move |a: I| {
        let a = if ty.is_signed() && a < (0 as I) { !a } else { a };
        match (a == 0, shift) {
            (true, _) => u32::MAX,
            (_, true) => a.leading_zeros(),
            (_, false) => I::BITS - 1 - a.leading_zeros(),
        }
    })))
}

/// `bfe`: `length` bits from `start`, extended by the sign.
pub fn extract(ty: Type) -> Option<Compute> {
    let width = ty.bits();
    let f = move |a: u64, start: u32, length: u32| {
        let (start, length) = (start & 0xff, length & 0xff);
        let is_negative = |at: u32| ty.is_signed() && a >> at.min(width - 1) & 1 == 1;
        let sign = length != 0 && is_negative((start + length).saturating_sub(1));
        let field = if start < width { a >> start } else { 0 };
        let length = length.min(width.saturating_sub(start));
        let ones = |n: u32| if n >= 64 { u64::MAX } else { (1 << n) - 1 };
        let bits = field & ones(length) | if sign { !ones(length) } else { 0 };
        bits & ones(width)
    };
    matches!(ty, Type::U32 | Type::S32 | Type::U64 | Type::S64).then(|| three(f))
}

/// `bfi`, four operands: `a`'s lowest `length` bits into `b` at `start`.
pub fn insert(a: u64, b: u64, start: u32, length: u32, width: u32) -> u64 {
    let (start, length) = (start & 0xff, length & 0xff);
    let ones = |n: u32| if n >= 64 { u64::MAX } else { (1u64 << n) - 1 };
    if start >= width {
        return b;
    }
    let mask = ones(length.min(width)) << start & ones(width);
    b & !mask | a << start & mask
}

/// `shf`: 32 bits of the 64 in `b` (upper) and `a` (lower), shifted.
pub fn funnel(left: bool, wrap: bool) -> Compute {
    three(move |a: u32, b: u32, n: u32| {
        let n = if wrap { n & 31 } else { n.min(32) };
        let both = (b as u64) << 32 | a as u64;
        if left { ((both << n) >> 32) as u32 } else { (both >> n) as u32 }
    })
}

/// `lop3`: any function of three bits, by its table.
pub fn logic3(a: u32, b: u32, c: u32, table: u32) -> u32 {
    (0..8).filter(|row| table >> row & 1 == 1).fold(0, |result, row| {
        let pick = |v: u32, bit: u32| if row >> bit & 1 == 1 { v } else { !v };
        result | pick(a, 2) & pick(b, 1) & pick(c, 0)
    })
}

/// `prmt`: four bytes of the eight in `b` (upper) and `a`, chosen by `c`.
pub fn permute(mode: Option<&str>) -> Option<Compute> {
    let bytes_of = |a: u32, b: u32| (b as u64) << 32 | a as u64;
    fn at(bytes: u64, index: u32) -> u32 {
        (bytes >> (8 * (index & 7))) as u8 as u32
    }
    let by = |choose: fn(u32, u32) -> u32| {
        three(move |a: u32, b: u32, c: u32| {
            (0..4).fold(0, |all, byte| all | at(bytes_of(a, b), choose(c & 3, byte)) << (8 * byte))
        })
    };
    Some(match mode {
        None => three(move |a: u32, b: u32, c: u32| {
            (0..4).fold(0, |all, byte| {
                let choice = c >> (4 * byte);
                let chosen = at(bytes_of(a, b), choice);
                // The upper bit of a choice spreads the byte's sign instead of taking it.
                let chosen = if choice & 8 != 0 { if chosen & 0x80 != 0 { 0xff } else { 0 } } else { chosen };
                all | chosen << (8 * byte)
            })
        }),
        Some("f4e") => by(|c, byte| c + byte),
        Some("b4e") => by(|c, byte| c.wrapping_sub(byte)),
        Some("rc8") => by(|c, _| c),
        Some("ecl") => by(|c, byte| c.max(byte)),
        Some("ecr") => by(|c, byte| c.min(byte)),
        Some("rc16") => by(|c, byte| (c & 1) * 2 + (byte & 1)),
        Some(_) => return None,
    })
}

/// `dp4a`: four products of bytes and a sum.
pub fn dot4(a_signed: bool, b_signed: bool) -> Compute {
    three(move |a: u32, b: u32, c: u32| {
        let byte = |v: u32, i: u32, signed: bool| {
            let byte = (v >> (8 * i)) as u8;
            if signed { byte as i8 as i32 } else { byte as i32 }
        };
        (0..4).fold(c as i32, |sum, i| sum.wrapping_add(byte(a, i, a_signed) * byte(b, i, b_signed))) as u32
    })
}

/// `dp2a`: two halves times two bytes, the lower or the upper ones, and a sum.
pub fn dot2(a_signed: bool, b_signed: bool, high: bool) -> Compute {
    three(move |a: u32, b: u32, c: u32| {
        let half = |i: u32| {
            let half = (a >> (16 * i)) as u16;
            if a_signed { i32::from(half as i16) } else { i32::from(half) }
        };
        let byte = |i: u32| {
            let byte = (b >> (8 * (i + if high { 2 } else { 0 }))) as u8;
            if b_signed { i32::from(byte as i8) } else { i32::from(byte) }
        };
        (0..2).fold(c as i32, |sum, i| sum.wrapping_add(half(i) * byte(i))) as u32
    })
}

/// `bmsk`: `length` ones from `start`.
pub fn mask(wrap: bool) -> Compute {
    two(move |start: u32, length: u32| {
        let (start, length) = if wrap { (start & 31, length & 31) } else { (start.min(32), length.min(32)) };
        (((1u64 << length) - 1) << start) as u32
    })
}

/// A value of `from` as a value of `to`: extended by `from`'s sign, cut, or saturated.
pub fn convert(from: Type, to: Type, saturate: bool) -> Option<Compute> {
    fn cast<A: Word + 'static>(to: Type, saturate: bool, wide: fn(A) -> i128) -> Compute {
        let width = to.bits();
        let (least, most) = range(to);
        let keep = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        if saturate {
            one(move |a: A| wide(a).clamp(least, most) as u64 & keep)
        } else {
            one(move |a: A| wide(a) as u64 & keep)
        }
    }
    Some(with_int!(from, I => cast::<I>(to, saturate, |a| a as i128)))
}

/// The least and the greatest value of an integer type.
pub fn range(ty: Type) -> (i128, i128) {
    let bits = ty.bits();
    if ty.is_signed() { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}
