//! Decodes tensor-core instructions: `mma.sync`, `ldmatrix`, `stmatrix`.

use super::reader::{Decoded, Reader};
use crate::code::{Element, MatrixProduct, Op, Sum};
use crate::types::Type;

const NONE: &str = "PTX has no such form of it, or it is not known";

/// Shape, what a and b are made of, and how many registers a, b and c are.
const SHAPES: [(&str, [usize; 3], Element, [usize; 2]); 10] = [
    ("m16n8k16", [16, 8, 16], Element::F16, [4, 2]),
    ("m16n8k8", [16, 8, 8], Element::F16, [2, 1]),
    ("m16n8k16", [16, 8, 16], Element::Bf16, [4, 2]),
    ("m16n8k8", [16, 8, 8], Element::Bf16, [2, 1]),
    ("m16n8k8", [16, 8, 8], Element::Tf32, [4, 2]),
    ("m16n8k4", [16, 8, 4], Element::Tf32, [2, 1]),
    ("m8n8k4", [8, 8, 4], Element::F64, [1, 1]),
    ("m16n8k32", [16, 8, 32], Element::Byte(true, true), [4, 2]),
    ("m16n8k16", [16, 8, 16], Element::Byte(true, true), [2, 1]),
    ("m8n8k16", [8, 8, 16], Element::Byte(true, true), [1, 1]),
];

pub fn decode(r: &mut Reader) -> Decoded<Option<Op>> {
    Ok(Some(match r.instruction.opcode.as_str() {
        "mma" => product(r)?,
        "ldmatrix" => {
            let (transposed, n) = matrices(r)?;
            let dsts = r.all_dsts(0)?;
            if dsts.len() != n {
                return Err(NONE.into());
            }
            let space = r.take_space();
            Op::LoadMatrix { address: r.address(1, space)?, dsts, transposed }
        }
        "stmatrix" => {
            let (transposed, n) = matrices(r)?;
            let sources = r.sources(1, Type::B32)?;
            if sources.len() != n {
                return Err(NONE.into());
            }
            let space = r.take_space();
            Op::StoreMatrix { address: r.address(0, space)?, sources, transposed }
        }
        _ => return Ok(None),
    }))
}

/// Whether they are transposed, and how many.
fn matrices(r: &mut Reader) -> Decoded<(bool, usize)> {
    if !r.take("sync") || !r.take("m8n8") || !r.take("b16") {
        return Err(NONE.into());
    }
    let n = r.take_of(&[("x1", 1), ("x2", 2), ("x4", 4)]).ok_or(NONE)?;
    Ok((r.take("trans"), n))
}

fn product(r: &mut Reader) -> Decoded<Op> {
    r.take("sync");
    r.take("satfinite");
    let shape = ["m16n8k4", "m16n8k8", "m16n8k16", "m16n8k32", "m8n8k4", "m8n8k16"];
    let shape = shape.into_iter().find(|name| r.take(name)).ok_or(NONE)?;
    if !r.take("row") || !r.take("col") {
        return Err(NONE.into());
    }
    let [d, a, b, c] = [r.take_type()?, r.take_type()?, r.take_type()?, r.take_type()?];
    let elements = match (a, b) {
        (Type::F16, Type::F16) => Element::F16,
        (Type::Bf16, Type::Bf16) => Element::Bf16,
        (Type::Tf32, Type::Tf32) => Element::Tf32,
        (Type::F64, Type::F64) => Element::F64,
        (Type::S8 | Type::U8, Type::S8 | Type::U8) => Element::Byte(a.is_signed(), b.is_signed()),
        _ => return Err(NONE.into()),
    };
    let sums = match (c, d, elements) {
        (Type::F32, Type::F32, Element::F16 | Element::Bf16 | Element::Tf32) => Sum::F32,
        (Type::F16, Type::F16, Element::F16) => Sum::F16,
        (Type::F64, Type::F64, Element::F64) => Sum::F64,
        (Type::S32, Type::S32, Element::Byte(..)) => Sum::S32,
        _ => return Err(NONE.into()),
    };
    let kind = if matches!(elements, Element::Byte(..)) { Element::Byte(true, true) } else { elements };
    let row = SHAPES.iter().find(|row| row.0 == shape && row.2 == kind).ok_or(NONE)?;
    let product = MatrixProduct {
        shape: row.1,
        elements,
        sums,
        d: r.all_dsts(0)?,
        a: r.sources(1, a)?,
        b: r.sources(2, b)?,
        c: r.sources(3, c)?,
    };
    // Each lane holds so many sums, of f16 two in a register.
    let n_sums = row.1[0] * row.1[1] / 32 / if sums == Sum::F16 { 2 } else { 1 };
    let counts = [product.a.len(), product.b.len(), product.c.len(), product.d.len()];
    if counts != [row.3[0], row.3[1], n_sums, n_sums] {
        return Err(NONE.into());
    }
    Ok(Op::Product(product))
}
