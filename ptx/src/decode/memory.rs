//! Decodes accesses to memory: loads, stores, atomics, asynchronous copies, fences.

use super::reader::{Decoded, Reader};
use crate::code::{Op, Source, Strength, Update};
use crate::math::float::least;
use crate::math::round::{BF16, F16, Format, Rounding, narrow, odd, two_sum, widen};
use crate::types::{Space, Type};

const NONE: &str = "PTX has no such form of it";

pub fn decode(r: &mut Reader) -> Decoded<Option<Op>> {
    Ok(Some(match r.instruction.opcode.as_str() {
        "ld" | "ldu" => load(r)?,
        "st" => store(r)?,
        "atom" => atomic(r, true)?,
        "red" => atomic(r, false)?,
        "cp" if r.take("async") => copy(r)?,
        "membar" => Op::Fence { grid: r.take("gl") || r.take("sys") || !r.take("cta") },
        "fence" => {
            let grid = r.take("gpu") || r.take("sys") || r.take("cluster");
            let _ = r.take("acq_rel") || r.take("sc") || r.take("acquire") || r.take("release");
            Op::Fence { grid }
        }
        _ => return Ok(None),
    }))
}

fn strength(r: &mut Reader) -> Strength {
    if r.take("volatile") || r.take("relaxed") {
        Strength::Relaxed
    } else if r.take("acquire") || r.take("release") || r.take("acq_rel") {
        Strength::Ordering
    } else if r.take("nc") {
        Strength::ReadOnly
    } else {
        Strength::Plain
    }
}

fn lanes_of_vector(r: &mut Reader) -> usize {
    r.take_of(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1)
}

fn load(r: &mut Reader) -> Decoded<Op> {
    let strength = strength(r);
    let space = r.take_space();
    let n = lanes_of_vector(r);
    let ty = r.take_type()?;
    let dsts = r.dsts(0)?;
    if dsts.len() != n || ty == Type::B128 {
        return Err(NONE.into());
    }
    let extend = if ty.is_signed() { Some(r.dst_bits(0)?) } else { None };
    Ok(Op::Load { address: r.address(1, space)?, dsts, bytes: ty.bytes(), extend, strength })
}

fn store(r: &mut Reader) -> Decoded<Op> {
    let strength = strength(r);
    let space = r.take_space();
    let n = lanes_of_vector(r);
    let ty = r.take_type()?;
    let sources = r.sources(1, ty)?;
    if sources.len() != n || ty == Type::B128 {
        return Err(NONE.into());
    }
    Ok(Op::Store { address: r.address(0, space)?, sources, bytes: ty.bytes(), strength })
}

/// `atom` returns the old value, `red` does not.
fn atomic(r: &mut Reader, returns: bool) -> Decoded<Op> {
    let strength = match strength(r) {
        Strength::Plain => Strength::Relaxed,
        other => other,
    };
    let space = r.take_space();
    r.take("noftz");
    const NAMES: [&str; 10] = ["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"];
    let name = NAMES.into_iter().find(|name| r.take(name)).ok_or(NONE)?;
    if lanes_of_vector(r) != 1 {
        return Err(NONE.into());
    }
    let ty = r.take_type()?;
    let update = update(name, ty).ok_or(NONE)?;
    let at = returns as usize;
    let dst = if returns { r.dsts(0)?[0] } else { None };
    let second = if name == "cas" { r.source(at + 2, ty)? } else { Source::Value(0) };
    let sources = [r.source(at + 1, ty)?, second];
    Ok(Op::Atomic { address: r.address(at, space)?, dst, update, sources, bytes: ty.bytes(), strength })
}

fn update(name: &str, ty: Type) -> Option<Update> {
    fn by(f: impl Fn(u64, u64) -> u64 + Send + Sync + 'static) -> Option<Update> {
        Some(Box::new(move |old, a, _| f(old, a)))
    }
    let keep = if ty.bits() >= 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
    match (name, ty) {
        ("exch", _) => by(|_, a| a),
        ("cas", _) => Some(Box::new(|old, a, b| if old == a { b } else { old })),
        ("and", _) => by(|old, a| old & a),
        ("or", _) => by(|old, a| old | a),
        ("xor", _) => by(|old, a| old ^ a),
        ("inc", Type::U32) => by(|old, a| if old >= a { 0 } else { old + 1 }),
        ("dec", Type::U32) => by(|old, a| if old == 0 || old > a { a } else { old - 1 }),
        ("add", Type::F32) => {
            by(|old, a| (f32::from_bits(old as u32) + f32::from_bits(a as u32)).to_bits() as u64)
        }
        ("add", Type::F64) => by(|old, a| (f64::from_bits(old) + f64::from_bits(a)).to_bits()),
        (_, Type::F16) => half(name, F16, 1),
        (_, Type::F16x2) => half(name, F16, 2),
        (_, Type::Bf16) => half(name, BF16, 1),
        (_, Type::Bf16x2) => half(name, BF16, 2),
        _ if ty.is_float() => None,
        ("add", _) => by(move |old, a| old.wrapping_add(a) & keep),
        ("min", Type::S32 | Type::S64) => {
            by(move |old, a| if signed(a, ty) < signed(old, ty) { a } else { old })
        }
        ("max", Type::S32 | Type::S64) => {
            by(move |old, a| if signed(a, ty) > signed(old, ty) { a } else { old })
        }
        ("min", _) => by(u64::min),
        ("max", _) => by(u64::max),
        _ => None,
    }
}

fn signed(bits: u64, ty: Type) -> i64 {
    if ty == Type::S32 { bits as i32 as i64 } else { bits as i64 }
}

/// add, min or max of `n` halves side by side.
fn half(name: &str, format: Format, n: u32) -> Option<Update> {
    let f: fn(f64, f64) -> f64 = match name {
        "add" => |a, b| {
            let (sum, lost) = two_sum(a, b);
            odd(sum, lost)
        },
        "min" => |a, b| least(a as f32, b as f32, false) as f64,
        "max" => |a, b| -least(-a as f32, -b as f32, false) as f64,
        _ => return None,
    };
    Some(Box::new(move |old, a, _| {
        (0..n).fold(0, |all, i| {
            let part = |bits: u64| widen((bits >> (16 * i)) as u32 & 0xffff, format);
            all | (narrow(f(part(old), part(a)), format, Rounding::Nearest) as u64) << (16 * i)
        })
    }))
}

/// `cp.async.ca.shared.global [to], [from], bytes, from_bytes;` and its groups.
fn copy(r: &mut Reader) -> Decoded<Op> {
    if r.take("commit_group") {
        return Ok(Op::CopyCommit);
    }
    if r.take("wait_all") {
        return Ok(Op::CopyWait(None));
    }
    if r.take("wait_group") {
        return Ok(Op::CopyWait(Some(r.integer(0)? as u32)));
    }
    if !r.take("shared") && !r.take("shared::cta") || !r.take("global") {
        return Err("only copies from global to shared memory are known".into());
    }
    let bytes = r.integer(2)? as u32;
    if !matches!(bytes, 4 | 8 | 16) {
        return Err(NONE.into());
    }
    let from_bytes = if r.n_operands() > 3 { Some(r.source(3, Type::U32)?) } else { None };
    Ok(Op::Copy { to: r.address(0, Space::Shared)?, from: r.address(1, Space::Global)?, bytes, from_bytes })
}
