//! Products: matrices, einsum, quantized ones; the discrete Fourier transform as a product.

use super::{Call, F32, Import, Results, Said, Value, axis_of, built, one};
use crate::onnx::tensor::Elem;
use gradc::base::{DType, ReduceOp};
use gradc::graph::{Contraction, NodeId};
use gradc::scalar::Func;
use std::f64::consts::TAU;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    match call.name() {
        "MatMul" => {
            let (a, b) = (call.input(0)?, call.input(1)?);
            let [x, y] = [a, b].map(|v| cx.cast(v.id, DType::F32));
            let product = matmul(cx, x?, y?)?;
            one(back(cx, product, a.elem)?, a.elem)
        }
        "Gemm" => {
            let (a, b) = (call.input(0)?, call.input(1)?);
            let mut sides = [cx.cast(a.id, DType::F32)?, cx.cast(b.id, DType::F32)?];
            for (side, name) in sides.iter_mut().zip(["transA", "transB"]) {
                if call.int(name, 0) == 1 {
                    *side = cx.permute(*side, &[1, 0])?;
                }
            }
            let product = matmul(cx, sides[0], sides[1])?;
            let mut y = cx.scale(product, call.float("alpha", 1.0))?;
            if let Some(c) = call.optional(2) {
                let c = cx.cast(c.id, DType::F32)?;
                let c = cx.scale(c, call.float("beta", 1.0))?;
                y = cx.add(y, c)?;
            }
            one(back(cx, y, a.elem)?, a.elem)
        }
        "Einsum" => {
            let x = call.input(0)?;
            let operands: Vec<NodeId> =
                (0..call.inputs.len()).map(|i| Ok(call.input(i)?.id)).collect::<Said<_>>()?;
            one(einsum(cx, &call.text("equation", ""), &operands)?, x.elem)
        }
        "MatMulInteger" => {
            let x = zeroed(cx, call.input(0)?, call.optional(2), true)?;
            let y = zeroed(cx, call.input(1)?, call.optional(3), false)?;
            let product = matmul(cx, x, y)?;
            let elem = Elem::Int(32);
            one(back(cx, product, elem)?, elem)
        }
        "QLinearMatMul" => {
            let x = dequantized(cx, call.input(0)?, call.input(1)?.id, call.optional(2), true)?;
            let y = dequantized(cx, call.input(3)?, call.input(4)?.id, call.optional(5), false)?;
            let product = matmul(cx, x, y)?;
            let zero = call.input(7)?;
            one(quantized(cx, product, call.input(6)?.id, Some(zero.id), zero.elem)?, zero.elem)
        }
        "QuantizeLinear" => quantize(cx, call),
        "DequantizeLinear" => {
            let (x, scale) = (call.input(0)?, call.input(1)?);
            let (s, z) = along(cx, call, x.id, scale.id, call.optional(2))?;
            let mut y = cx.cast(x.id, DType::F32)?;
            if let Some(z) = z {
                let z = cx.cast(z, DType::F32)?;
                y = cx.sub(y, z)?;
            }
            one(cx.mul(y, s)?, scale.elem)
        }
        "DynamicQuantizeLinear" => dynamic(cx, call),
        "DFT" => dft(cx, call),
        _ => Ok(None),
    }
}

/// A product of integers, which f32 holds exactly up to 2^24, as integers.
fn back(cx: &mut Import, x: NodeId, elem: Elem) -> Said<NodeId> {
    cx.cast(x, elem.dtype())
}

/// As numpy: vectors become matrices for the product, leading axes are broadcast.
pub fn matmul(cx: &mut Import, a: NodeId, b: NodeId) -> Said<NodeId> {
    let (mut sa, mut sb) = (cx.shape(a), cx.shape(b));
    let (is_row, is_column) = (sa.len() == 1, sb.len() == 1);
    if is_row {
        sa.insert(0, 1);
    }
    if is_column {
        sb.push(1);
    }
    let (m, k, n) = (sa[sa.len() - 2], sa[sa.len() - 1], sb[sb.len() - 1]);
    let lead: Vec<usize> = {
        let (la, lb) = (&sa[..sa.len() - 2], &sb[..sb.len() - 2]);
        let rank = la.len().max(lb.len());
        let at = |l: &[usize], i: usize| (i + l.len()).checked_sub(rank).map_or(1, |i| l[i]);
        (0..rank).map(|i| if at(la, i) == 1 { at(lb, i) } else { at(la, i) }).collect()
    };
    let count: usize = lead.iter().product();
    let mut side = |x: NodeId, own: &[usize], last: [usize; 2]| -> Said<NodeId> {
        let x = cx.reshape(x, own)?;
        let x = cx.expand(x, &[&lead[..], &last].concat())?;
        cx.reshape(x, &[count, last[0], last[1]])
    };
    let (x, y) = (side(a, &sa, [m, k])?, side(b, &sb, [k, n])?);
    let product = cx.contract("bmk,bkn->bmn", x, y)?;
    let mut out = lead;
    if !is_row {
        out.push(m);
    }
    if !is_column {
        out.push(n);
    }
    cx.reshape(product, &out)
}

/// Letters of an operand, `...` as capitals from the last axis on.
fn letters(term: &str, rank: usize) -> Vec<u8> {
    let term: String = term.chars().filter(|c| !c.is_whitespace()).collect();
    let Some((before, after)) = term.split_once("...") else { return term.into_bytes() };
    let n = rank - before.len() - after.len();
    let dots: String = (0..n).rev().map(|i| (b'A' + i as u8) as char).collect();
    format!("{before}{dots}{after}").into_bytes()
}

fn einsum(cx: &mut Import, equation: &str, operands: &[NodeId]) -> Said<NodeId> {
    let equation = equation.replace(' ', "");
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left.to_string(), Some(right.to_string())),
        None => (equation.clone(), None),
    };
    let mut terms: Vec<(NodeId, Vec<u8>)> = Vec::new();
    for (term, x) in left.split(',').zip(operands) {
        let labels = letters(term, cx.rank(*x));
        terms.push(diagonal(cx, *x, labels)?);
    }
    let dots = terms.iter().flat_map(|(_, l)| l).filter(|l| l.is_ascii_uppercase()).max().copied();
    let n_dots = dots.map_or(0, |last| usize::from(last - b'A') + 1);
    let out = match right {
        Some(right) => letters(&right, right.replace("...", "").len() + n_dots),
        None => {
            let all: Vec<u8> = left.bytes().filter(u8::is_ascii_lowercase).collect();
            let mut single: Vec<u8> =
                all.iter().copied().filter(|l| all.iter().filter(|o| *o == l).count() == 1).collect();
            single.sort_unstable();
            let dots = (0..n_dots).rev().map(|i| b'A' + i as u8);
            dots.chain(single).collect()
        }
    };
    let (mut x, mut labels) = terms.remove(0);
    while let Some((y, other)) = terms.first().cloned() {
        terms.remove(0);
        let later = |l: &u8| out.contains(l) || terms.iter().any(|(_, t)| t.contains(l));
        (x, labels) = drop_labels(cx, x, labels, |l| other.contains(l) || later(l))?;
        let (y, other) = drop_labels(cx, y, other, |l| labels.contains(l) || later(l))?;
        let mut both = labels.clone();
        both.extend(other.iter().filter(|l| !labels.contains(l)));
        both.retain(later);
        let contraction = Contraction { lhs: labels, rhs: other, out: both.clone() };
        x = built(cx.graph.contract(x, y, contraction))?;
        labels = both;
    }
    let (x, labels) = drop_labels(cx, x, labels, |l| out.contains(l))?;
    let place =
        |l: &u8| labels.iter().position(|o| o == l).ok_or("an einsum's result names no operand's axis");
    let order = out.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    cx.permute(x, &order)
}

/// Axes that are in no later term are summed.
fn drop_labels(
    cx: &mut Import,
    x: NodeId,
    labels: Vec<u8>,
    keep: impl Fn(&u8) -> bool,
) -> Said<(NodeId, Vec<u8>)> {
    let gone: Vec<usize> = (0..labels.len()).filter(|i| !keep(&labels[*i])).collect();
    let x = cx.reduce(ReduceOp::Sum, x, &gone, false)?;
    Ok((x, labels.into_iter().filter(|l| keep(l)).collect()))
}

/// A label that stands twice is read along the diagonal: all but that is zero, and summed.
fn diagonal(cx: &mut Import, x: NodeId, labels: Vec<u8>) -> Said<(NodeId, Vec<u8>)> {
    for (i, label) in labels.iter().enumerate() {
        if let Some(j) = (i + 1..labels.len()).find(|j| labels[*j] == *label) {
            let shape = cx.shape(x);
            let (a, b) = (cx.iota(&shape, i)?, cx.iota(&shape, j)?);
            let same = cx.map(Func::Eq, &[a, b])?;
            let zero = cx.f(0.0);
            let kept = cx.map(Func::Select, &[same, x, zero])?;
            let x = cx.reduce(ReduceOp::Sum, kept, &[j], false)?;
            let mut rest = labels.clone();
            rest.remove(j);
            return diagonal(cx, x, rest);
        }
    }
    Ok((x, labels))
}

/// A vector for the rows (or columns) of a matrix, as one.
fn per_line(cx: &mut Import, v: NodeId, rows: bool) -> Said<NodeId> {
    let shape = cx.shape(v);
    if rows && shape.len() == 1 && shape[0] > 1 { cx.reshape(v, &[shape[0], 1]) } else { Ok(v) }
}

/// Integers less their zero point, as f32.
pub fn zeroed(cx: &mut Import, x: Value, zero: Option<Value>, rows: bool) -> Said<NodeId> {
    let y = cx.cast(x.id, DType::F32)?;
    let Some(zero) = zero else { return Ok(y) };
    let zero = cx.cast(zero.id, DType::F32)?;
    let zero = per_line(cx, zero, rows)?;
    cx.sub(y, zero)
}

fn dequantized(cx: &mut Import, x: Value, scale: NodeId, zero: Option<Value>, rows: bool) -> Said<NodeId> {
    let y = zeroed(cx, x, zero, rows)?;
    let scale = per_line(cx, scale, rows)?;
    cx.mul(y, scale)
}

/// `round(x / scale) + zero`, within the type.
pub fn quantized(
    cx: &mut Import,
    x: NodeId,
    scale: NodeId,
    zero: Option<NodeId>,
    elem: Elem,
) -> Said<NodeId> {
    let y = cx.div(x, scale)?;
    let mut y = cx.map(Func::Round, &[y])?;
    if let Some(zero) = zero {
        let zero = cx.cast(zero, DType::F32)?;
        y = cx.add(y, zero)?;
    }
    let (low, high) = match elem {
        Elem::Int(bits) => (-(2f64.powi(bits as i32 - 1)), 2f64.powi(bits as i32 - 1) - 1.0),
        Elem::Uint(bits) => (0.0, 2f64.powi(bits as i32) - 1.0),
        _ => return Err("quantized to no integers".into()),
    };
    let y = super::elementwise::clamp(cx, y, low, high)?;
    cx.cast(y, DType::I32)
}

/// Scales and zero points along the axis that they are for: one for all, one each, or one for a block.
fn along(
    cx: &mut Import,
    call: &Call,
    x: NodeId,
    scale: NodeId,
    zero: Option<Value>,
) -> Said<(NodeId, Option<NodeId>)> {
    let (shape, block) = (cx.shape(x), call.int("block_size", 0) as usize);
    let mut fit = |v: NodeId| -> Said<NodeId> {
        let of = cx.shape(v);
        if of.is_empty() || of.len() == 1 && of[0] == 1 && shape.len() != 1 {
            return cx.reshape(v, &[]);
        }
        let axis = axis_of(call.int("axis", 1), shape.len());
        if of.len() == 1 {
            let mut across = vec![1; shape.len()];
            across[axis] = of[0];
            return cx.reshape(v, &across);
        }
        let mut wide = of.clone();
        wide.insert(axis + 1, 1);
        let v = cx.reshape(v, &wide)?;
        wide[axis + 1] = block.max(1);
        let v = cx.expand(v, &wide)?;
        let mut flat = of;
        flat[axis] *= block.max(1);
        let v = cx.reshape(v, &flat)?;
        cx.part(v, axis, 0, 1, shape[axis])
    };
    let scale = fit(scale)?;
    Ok((scale, zero.map(|z| fit(z.id)).transpose()?))
}

fn quantize(cx: &mut Import, call: &Call) -> Results {
    let (x, scale) = (call.input(0)?, call.input(1)?);
    let elem = match (call.optional(2), call.attribute("output_dtype")) {
        (Some(zero), _) => zero.elem,
        (None, Some(to)) => Elem::of(to.i as i32).ok_or("an element type that is no plain number")?,
        _ => Elem::Uint(8),
    };
    let (s, z) = along(cx, call, x.id, scale.id, call.optional(2))?;
    one(quantized(cx, x.id, s, z, elem)?, elem)
}

fn dynamic(cx: &mut Import, call: &Call) -> Results {
    let x = call.input(0)?.id;
    let all: Vec<usize> = (0..cx.rank(x)).collect();
    let zero = cx.f(0.0);
    let low = cx.reduce(ReduceOp::Min, x, &all, false)?;
    let high = cx.reduce(ReduceOp::Max, x, &all, false)?;
    let (low, high) = (cx.map(Func::Min, &[low, zero])?, cx.map(Func::Max, &[high, zero])?);
    let span = cx.sub(high, low)?;
    let steps = cx.f(255.0);
    let scale = cx.div(span, steps)?;
    let start = cx.map(Func::Neg, &[low])?;
    let start = cx.div(start, scale)?;
    let start = super::elementwise::clamp(cx, start, 0.0, 255.0)?;
    let start = cx.map(Func::Round, &[start])?;
    let elem = Elem::Uint(8);
    let y = quantized(cx, x, scale, Some(start), elem)?;
    let start = cx.cast(start, DType::I32)?;
    let values = [(y, elem), (scale, F32), (start, elem)].map(|(id, elem)| Value { id, elem });
    Ok(Some(values.to_vec()))
}

/// Products with cosines and sines; the last axis holds real and imaginary parts.
fn dft(cx: &mut Import, call: &Call) -> Results {
    let x = call.input(0)?;
    let shape = cx.shape(x.id);
    let rank = shape.len();
    let axis = match call.optional(2) {
        Some(axis) => axis_of(cx.known_ints(axis)?[0], rank),
        None => axis_of(call.int("axis", if call.opset < 20 { 1 } else { -2 }), rank),
    };
    let n = match call.optional(1) {
        Some(n) => cx.known_ints(n)?[0] as usize,
        None => shape[axis],
    };
    let (inverse, one_sided) = (call.int("inverse", 0) == 1, call.int("onesided", 0) == 1);
    let mut cut = x.id;
    if n < shape[axis] {
        cut = cx.part(cut, axis, 0, 1, n)?;
    } else if n > shape[axis] {
        let mut pads = vec![(0, 0); rank];
        pads[axis] = (0, n - shape[axis]);
        cut = cx.pad(cut, 0.0, &pads)?;
    }
    // One-sided spectra are of real signals, or give them back.
    let back = inverse && one_sided;
    let n_in = if back { cx.shape(cut)[axis] } else { n };
    let n_out = if one_sided && !inverse { n / 2 + 1 } else { n };
    if back {
        return Err("no composition: DFT, one-sided and inverse".into());
    }
    let turn = TAU / n as f64 * if inverse { 1.0 } else { -1.0 };
    let scale = if inverse { 1.0 / n as f64 } else { 1.0 };
    let table = |f: fn(f64) -> f64| -> Vec<f64> {
        let at = |k: usize, t: usize| f(turn * ((k * t) % n) as f64) * scale;
        (0..n_out).flat_map(|k| (0..n_in).map(move |t| (k, t))).map(|(k, t)| at(k, t)).collect()
    };
    let cosines = cx.numbers(F32, &[n_out, n_in], table(f64::cos))?;
    let sines = cx.numbers(F32, &[n_out, n_in], table(f64::sin))?;
    let product = |cx: &mut Import, table: NodeId, x: NodeId| -> Said<NodeId> {
        let labels: Vec<u8> = (b'a'..).take(rank - 1).collect();
        let mut out = labels.clone();
        out[axis] = b'z';
        let contraction = Contraction { lhs: vec![b'z', labels[axis]], rhs: labels, out };
        built(cx.graph.contract(table, x, contraction))
    };
    let real = cx.pick(cut, rank - 1, 0)?;
    let (mut re, mut im) = (product(cx, cosines, real)?, product(cx, sines, real)?);
    if shape[rank - 1] == 2 {
        let imaginary = cx.pick(cut, rank - 1, 1)?;
        let (a, b) = (product(cx, sines, imaginary)?, product(cx, cosines, imaginary)?);
        (re, im) = (cx.sub(re, a)?, cx.add(im, b)?);
    }
    one(cx.stack(&[re, im], rank - 1)?, x.elem)
}
