//! Decodes what has no side effects: arithmetic, logic, comparisons, conversions, moves.

use super::reader::{Decoded, Reader};
use crate::code::{Logic, Op, Source, Special, Truth};
use crate::math::float::{self, Mode};
use crate::math::integer::{self, Part};
use crate::math::lanes::{Compute, one, three};
use crate::math::round::{BF16, F16, Rounding};
use crate::math::{compare, convert, half};
use crate::types::{Space, Type};

const NONE: &str = "PTX has no such form of it";

pub fn decode(r: &mut Reader) -> Decoded<Option<Op>> {
    let opcode = r.instruction.opcode.as_str();
    Ok(Some(match opcode {
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "rem" | "min" | "max" | "abs" | "neg" | "sad"
        | "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" | "copysign" => {
            arithmetic(r, opcode)?
        }
        "addc" | "subc" => {
            let writes = r.take("cc");
            let ty = r.take_type()?;
            carry(r, opcode == "subc", ty, true, writes)?
        }
        "mul24" | "mad24" => {
            if !r.take("lo") {
                return Err(NONE.into());
            }
            let ty = r.take_type()?;
            map(r, integer::product24(ty.is_signed(), opcode == "mad24"), ty)?
        }
        "and" | "or" | "xor" | "not" | "cnot" | "shl" | "shr" | "popc" | "clz" | "brev" => bits(r, opcode)?,
        "bfind" => {
            let shift = r.take("shiftamt");
            let ty = r.take_type()?;
            map(r, integer::find_bit(ty, shift).ok_or(NONE)?, ty)?
        }
        "bfe" => {
            let ty = r.take_type()?;
            map(r, integer::extract(ty).ok_or(NONE)?, ty)?
        }
        "bfi" => {
            let ty = r.take_type()?;
            let sources =
                [r.source(1, ty)?, r.source(2, ty)?, r.source(3, Type::U32)?, r.source(4, Type::U32)?];
            Op::Insert { dst: r.dst(0)?, sources, width: ty.bits() }
        }
        "lop3" => {
            let ty = r.take_type()?;
            let table = r.integer(4)? as u32;
            map(r, three(move |a: u32, b: u32, c: u32| integer::logic3(a, b, c, table)), ty)?
        }
        "shf" => {
            let left = r.take("l") || !r.take("r");
            let wrap = r.take("wrap") || !r.take("clamp");
            let ty = r.take_type()?;
            map(r, integer::funnel(left, wrap), ty)?
        }
        "prmt" => {
            let ty = r.take_type()?;
            let mode = r.take_any();
            map(r, integer::permute(mode).ok_or(NONE)?, ty)?
        }
        "dp4a" => {
            let (a, b) = (r.take_type()?, r.take_type()?);
            map(r, integer::dot4(a.is_signed(), b.is_signed()), Type::B32)?
        }
        "dp2a" => {
            let high = r.take("hi");
            if !high && !r.take("lo") {
                return Err(NONE.into());
            }
            let (a, b) = (r.take_type()?, r.take_type()?);
            map(r, integer::dot2(a.is_signed(), b.is_signed(), high), Type::B32)?
        }
        "bmsk" => {
            let wrap = r.take("wrap") || !r.take("clamp");
            let ty = r.take_type()?;
            map(r, integer::mask(wrap), ty)?
        }
        "cvt" => conversion(r)?,
        "setp" | "set" => comparison(r, opcode == "set")?,
        "testp" => {
            let property = r.take_any().ok_or(NONE)?;
            let ty = r.take_type()?;
            let a = r.source(1, ty)?;
            let f = float::property(property, ty == Type::F64).ok_or(NONE)?;
            Op::Compare { dst: Some(r.predicate(0)?), complement: None, f, sources: [a, a], with: None }
        }
        "selp" => {
            let ty = r.take_type()?;
            Op::Select { dst: r.dst(0)?, sources: [r.source(1, ty)?, r.source(2, ty)?], truth: r.truth(3)? }
        }
        "slct" => {
            r.take("ftz");
            let (ty, of) = (r.take_type()?, r.take_type()?);
            let f = match of {
                Type::F32 => three(|a: u64, b: u64, c: f32| if c >= 0.0 { a } else { b }),
                Type::S32 => three(|a: u64, b: u64, c: i32| if c >= 0 { a } else { b }),
                _ => return Err(NONE.into()),
            };
            Op::Map { dst: r.dst(0)?, f, sources: [r.source(1, ty)?, r.source(2, ty)?, r.source(3, of)?] }
        }
        "mov" => moved(r)?,
        "cvta" => {
            let to = r.take("to");
            let space = r.take_space();
            let ty = r.take_type()?;
            let source = r.source(1, ty)?;
            // A parameter of a call has no generic address here.
            let offset = crate::memory::window(if space == Space::Frame { Space::Generic } else { space });
            let offset = if to { offset.wrapping_neg() } else { offset };
            let f = one(move |a: u64| a.wrapping_add(offset));
            Op::Map { dst: r.dst(0)?, f, sources: [source, Source::Value(0), Source::Value(0)] }
        }
        "isspacep" => {
            let space = r.take_space();
            Op::IsSpace { dst: r.predicate(0)?, space, source: r.source(1, Type::U64)? }
        }
        _ => return Ok(None),
    }))
}

/// An instruction whose operands follow its destination, all of one type but for the counts of shifts.
fn map(r: &mut Reader, f: Compute, ty: Type) -> Decoded<Op> {
    let n = match f {
        Compute::One(_) => 1,
        Compute::Two(_) => 2,
        Compute::Three(_) => 3,
    };
    let mut sources = [Source::Value(0); 3];
    for (i, source) in sources.iter_mut().enumerate().take(n) {
        *source = r.source(i + 1, ty)?;
    }
    Ok(Op::Map { dst: r.dst(0)?, f, sources })
}

fn arithmetic(r: &mut Reader, opcode: &str) -> Decoded<Op> {
    let rounding = r.take_rounding();
    let mode = Mode {
        rounding: rounding.unwrap_or(Rounding::Nearest),
        ftz: r.take("ftz"),
        sat: r.take("sat"),
        nan: r.take("NaN"),
    };
    let approx = r.take("approx") || r.take("full") || r.take("full_range");
    let relu = r.take("relu");
    if r.take("cc") {
        let ty = r.take_type()?;
        return match opcode {
            "add" | "sub" => carry(r, opcode == "sub", ty, false, true),
            _ => Err(NONE.into()),
        };
    }
    let part = r.take_of(&[("lo", Part::Low), ("hi", Part::High), ("wide", Part::Wide)]);
    let ty = r.take_type()?;
    let halves = [
        (Type::F16, F16, false),
        (Type::F16x2, F16, true),
        (Type::Bf16, BF16, false),
        (Type::Bf16x2, BF16, true),
    ];
    let f = match ty {
        Type::F32
            if approx || rounding.is_none() && matches!(opcode, "ex2" | "lg2" | "rsqrt" | "sin" | "cos") =>
        {
            float::approximate(opcode, mode)
        }
        Type::F64 if approx => float::approximate64(opcode),
        Type::F32 => float::single(opcode, mode),
        Type::F64 => float::double(opcode, mode),
        Type::U16x2 | Type::S16x2 => half::integers(opcode, ty == Type::S16x2),
        _ => match (halves.iter().find(|row| row.0 == ty), part, mode.sat) {
            (Some((_, format, packed)), _, _) => half::compute(opcode, *format, *packed, mode, relu),
            (None, Some(part), _) => match opcode {
                "mul" | "mad" => integer::product(ty, part, opcode == "mad"),
                _ => None,
            },
            (None, None, true) if ty == Type::S32 => integer::saturating(opcode),
            (None, None, false) => integer::plain(opcode, ty),
            _ => None,
        },
    };
    let is_wide_sum = opcode == "mad" && part == Some(Part::Wide);
    let mut op = map(r, f.ok_or(NONE)?, ty)?;
    if let Op::Map { sources, .. } = &mut op
        && is_wide_sum
    {
        sources[2] = r.source(3, Type::U64)?;
    }
    Ok(op)
}

fn carry(r: &mut Reader, subtract: bool, ty: Type, reads: bool, writes: bool) -> Decoded<Op> {
    let sources = [r.source(1, ty)?, r.source(2, ty)?];
    Ok(Op::Carry { dst: r.dst(0)?, sources, subtract, bits: ty.bits(), reads, writes })
}

fn bits(r: &mut Reader, opcode: &str) -> Decoded<Op> {
    let ty = r.take_type()?;
    if ty == Type::Pred {
        let f: Logic = match opcode {
            "and" => |a, b| a & b,
            "or" => |a, b| a | b,
            "xor" => |a, b| a ^ b,
            "not" => |a, _| !a,
            _ => return Err(NONE.into()),
        };
        let second = if opcode == "not" { Truth::Constant(false) } else { r.truth(2)? };
        return Ok(Op::Truths { dst: r.predicate(0)?, f, sources: [r.truth(1)?, second] });
    }
    let f = integer::bits(opcode, ty).ok_or(NONE)?;
    if matches!(opcode, "shl" | "shr") {
        let sources = [r.source(1, ty)?, r.source(2, Type::U32)?, Source::Value(0)];
        return Ok(Op::Map { dst: r.dst(0)?, f, sources });
    }
    map(r, f, ty)
}

fn conversion(r: &mut Reader) -> Decoded<Op> {
    let how = convert::Conversion {
        rounding: r.take_rounding(),
        integral: r.take_of(&[
            ("rni", Rounding::Nearest),
            ("rzi", Rounding::Zero),
            ("rmi", Rounding::Down),
            ("rpi", Rounding::Up),
        ]),
        ftz: r.take("ftz"),
        sat: r.take("sat"),
        relu: r.take("relu"),
        finite: r.take("satfinite"),
    };
    let (to, from) = (r.take_type()?, r.take_type()?);
    if matches!(to, Type::F16x2 | Type::Bf16x2) {
        let f = convert::pack(to, how).ok_or(NONE)?;
        return map(r, f, from);
    }
    let f = convert::convert(to, from, how).ok_or(NONE)?;
    let mut op = map(r, f, from)?;
    // The register may be wider than the type; the rest of it is the sign.
    if let Op::Map { f, .. } = &mut op
        && to.is_signed()
        && r.dst_bits(0)? > to.bits()
    {
        let (shift, keep) = (64 - to.bits(), r.dst_bits(0)?);
        let inner = std::mem::replace(f, one(|a: u64| a));
        let Compute::One(inner) = inner else { return Err(NONE.into()) };
        let extend = move |a: u64| ((a << shift) as i64 >> shift) as u64 & (u64::MAX >> (64 - keep));
        *f = Compute::One(Box::new(move |a| inner(a).map(extend)));
    }
    Ok(op)
}

fn comparison(r: &mut Reader, as_value: bool) -> Decoded<Op> {
    let name = r.take_any().ok_or(NONE)?;
    let logic: Option<Logic> =
        r.take_of(&[("and", (|a, b| a & b) as Logic), ("or", |a, b| a | b), ("xor", |a, b| a ^ b)]);
    let ftz = r.take("ftz");
    let result = if as_value { Some(r.take_type()?) } else { None };
    let ty = r.take_type()?;
    let f = compare::comparison(name, ty, ftz).ok_or(NONE)?;
    let sources = [r.source(1, ty)?, r.source(2, ty)?];
    let with = match logic {
        Some(logic) => Some((logic, r.truth(3)?)),
        None => None,
    };
    match result {
        Some(result) => {
            let one = if result == Type::F32 { 1f32.to_bits() as u64 } else { u32::MAX as u64 };
            Ok(Op::CompareValue { dst: r.dst(0)?, f, sources, with, one })
        }
        None => {
            let (dst, complement) = r.predicates(0)?;
            Ok(Op::Compare { dst, complement, f, sources, with })
        }
    }
}

fn moved(r: &mut Reader) -> Decoded<Op> {
    let ty = r.take_type()?;
    if ty == Type::Pred {
        let sources = [r.truth(1)?, Truth::Constant(false)];
        return Ok(Op::Truths { dst: r.predicate(0)?, f: |a, _| a, sources });
    }
    if r.is_vector(0) {
        let dsts = r.dsts(0)?;
        let bits = ty.bits() / dsts.len().max(1) as u32;
        return Ok(Op::Unpack { dsts, source: r.source(1, ty)?, bits });
    }
    let dst = r.dst(0)?;
    if r.is_vector(1) {
        let parts = r.sources(1, Type::B64)?;
        let bits = ty.bits() / parts.len().max(1) as u32;
        return Ok(Op::Pack { dst, parts, bits });
    }
    if let Some(at) = r.local_variable(1) {
        let f = one(move |base: u64| base + at as u64);
        let base = Source::Slot(r.names.special(Special::LocalBase));
        return Ok(Op::Map { dst, f, sources: [base, Source::Value(0), Source::Value(0)] });
    }
    if let Ok(name) = r.name(1)
        && matches!(name.as_str(), "%clock" | "%clock64" | "%globaltimer" | "%clock_hi" | "%globaltimer_lo")
    {
        return Ok(Op::Clock { dst });
    }
    map(r, one(|a: u64| a), ty)
}
