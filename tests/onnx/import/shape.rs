//! Operators that move elements: reshapes, slices, pads, tiles; and tensors made from sizes.

use super::{Call, F32, I64, Import, Results, Said, Value, axis_of, built, one};
use crate::onnx::tensor::{Elem, read};
use gradc::base::{DType, Dim};
use gradc::graph::NodeId;
use gradc::graph::interpret::Tensor;
use gradc::scalar::Func;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    if let Some(made) = made(cx, call)? {
        return Ok(Some(vec![made]));
    }
    let Some(x) = call.optional(0) else { return Ok(None) };
    let shape = cx.shape(x.id);
    let rank = shape.len();
    // Axes and the like: an attribute of old, an operand since.
    let listed = |cx: &Import, i: usize, name: &str| -> Said<Option<Vec<i64>>> {
        match call.optional(i) {
            Some(value) => Ok(Some(cx.known_ints(value)?)),
            None => Ok(call.ints(name)),
        }
    };
    let id = match call.name() {
        "Reshape" => {
            let asked = listed(cx, 1, "shape")?.ok_or("a reshape without a shape")?;
            let copy = call.int("allowzero", 0) == 0;
            let size = |(i, n): (usize, &i64)| if *n == 0 && copy { shape[i] as i64 } else { *n };
            let mut to: Vec<i64> = asked.iter().enumerate().map(size).collect();
            let rest: i64 = to.iter().filter(|n| **n >= 0).product();
            for n in to.iter_mut().filter(|n| **n < 0) {
                *n = shape.iter().product::<usize>() as i64 / rest.max(1);
            }
            cx.reshape(x.id, &to.iter().map(|n| *n as usize).collect::<Vec<_>>())?
        }
        "Flatten" => {
            let at = axis_of(call.int("axis", 1), rank);
            let part = |s: &[usize]| s.iter().product::<usize>();
            cx.reshape(x.id, &[part(&shape[..at]), part(&shape[at..])])?
        }
        "Transpose" => {
            let order = call.ints("perm").unwrap_or((0..rank as i64).rev().collect());
            cx.permute(x.id, &order.iter().map(|a| axis_of(*a, rank)).collect::<Vec<_>>())?
        }
        "Squeeze" => {
            let axes: Vec<usize> = match listed(cx, 1, "axes")? {
                Some(axes) => axes.iter().map(|a| axis_of(*a, rank)).collect(),
                None => (0..rank).filter(|i| shape[*i] == 1).collect(),
            };
            let kept = (0..rank).filter(|i| !axes.contains(i)).map(|i| shape[i]);
            cx.reshape(x.id, &kept.collect::<Vec<_>>())?
        }
        "Unsqueeze" => {
            let axes = listed(cx, 1, "axes")?.unwrap_or_default();
            let all = rank + axes.len();
            let new: Vec<usize> = axes.iter().map(|a| axis_of(*a, all)).collect();
            let mut old = shape.iter();
            let size = |i: usize| if new.contains(&i) { 1 } else { *old.next().expect("an old axis") };
            let to: Vec<usize> = (0..all).map(size).collect();
            cx.reshape(x.id, &to)?
        }
        "Concat" => {
            let parts: Vec<NodeId> =
                (0..call.inputs.len()).map(|i| Ok(call.input(i)?.id)).collect::<Said<_>>()?;
            cx.concat(&parts, axis_of(call.int("axis", 0), rank))?
        }
        "Split" => return split(cx, call, x, &shape),
        "Slice" => {
            let starts = listed(cx, 1, "starts")?.unwrap_or_default();
            let ends = listed(cx, 2, "ends")?.unwrap_or_default();
            let axes = listed(cx, 3, "axes")?.unwrap_or((0..starts.len() as i64).collect());
            let steps = listed(cx, 4, "steps")?.unwrap_or(vec![1; starts.len()]);
            let mut y = x.id;
            for (i, axis) in axes.iter().enumerate() {
                y = slice(cx, y, axis_of(*axis, rank), starts[i], ends[i], steps[i])?;
            }
            y
        }
        "Pad" => {
            let pads = listed(cx, 1, "pads")?.unwrap_or_default();
            let axes = match call.optional(3) {
                Some(axes) => cx.known_ints(axes)?,
                None => (0..rank as i64).collect(),
            };
            let value = match call.optional(2) {
                Some(value) => cx.known_number(value)?,
                None => call.float("value", 0.0),
            };
            let mut both = vec![(0, 0); rank];
            for (i, axis) in axes.iter().enumerate() {
                both[axis_of(*axis, rank)] = (pads[i], pads[axes.len() + i]);
            }
            pad(cx, x.id, &call.text("mode", "constant"), value, &both)?
        }
        "Expand" => {
            let to: Vec<usize> = cx.known_ints(call.input(1)?)?.iter().map(|n| *n as usize).collect();
            let n = rank.max(to.len());
            let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(n).map_or(1, |i| s[i]);
            let both = |i: usize| if at(&to, i) == 1 { at(&shape, i) } else { at(&to, i) };
            cx.expand(x.id, &(0..n).map(both).collect::<Vec<_>>())?
        }
        "Tile" => {
            let repeats = cx.known_ints(call.input(1)?)?;
            let mut y = x.id;
            for (axis, n) in repeats.iter().enumerate() {
                y = cx.concat(&vec![y; *n as usize], axis)?;
            }
            y
        }
        "Shape" => {
            let bound = |x: i64| (if x < 0 { x + rank as i64 } else { x }).clamp(0, rank as i64) as usize;
            let (start, end) = (bound(call.int("start", 0)), bound(call.int("end", rank as i64)));
            let sizes: Vec<f64> = shape[start..end.max(start)].iter().map(|n| *n as f64).collect();
            return one(cx.numbers(I64, &[sizes.len()], sizes)?, I64);
        }
        "Size" => return one(cx.numbers(I64, &[], vec![shape.iter().product::<usize>() as f64])?, I64),
        "Trilu" => {
            let k = call.optional(1).map_or(Ok(0), |k| Ok::<i64, String>(cx.known_ints(k)?[0]))?;
            let (row, column) = (cx.iota(&shape, rank - 2)?, cx.iota(&shape, rank - 1)?);
            let k = cx.i(k);
            let diagonal = cx.add(row, k)?;
            let func = if call.int("upper", 1) == 1 { Func::Ge } else { Func::Le };
            let kept = cx.map(func, &[column, diagonal])?;
            let zero = cx.graph.constant(0.0, x.elem.dtype());
            cx.map(Func::Select, &[kept, x.id, zero])?
        }
        "EyeLike" => {
            let elem = match call.attribute("dtype") {
                Some(to) => Elem::of(to.i as i32).ok_or("an element type that is no plain number")?,
                None => x.elem,
            };
            let (row, column) = (cx.iota(&shape, 0)?, cx.iota(&shape, 1)?);
            let k = cx.i(call.int("k", 0));
            let diagonal = cx.add(row, k)?;
            let hit = cx.map(Func::Eq, &[column, diagonal])?;
            return one(cx.cast(hit, elem.dtype())?, elem);
        }
        "DepthToSpace" => {
            let b = call.int("blocksize", 1) as usize;
            let (n, c, h, w) = (shape[0], shape[1] / (b * b), shape[2], shape[3]);
            let (split, order) = match call.text("mode", "DCR").as_str() {
                "DCR" => ([n, b, b, c, h, w], [0, 3, 4, 1, 5, 2]),
                _ => ([n, c, b, b, h, w], [0, 1, 4, 2, 5, 3]),
            };
            let y = cx.reshape(x.id, &split)?;
            let y = cx.permute(y, &order)?;
            cx.reshape(y, &[n, c, h * b, w * b])?
        }
        "SpaceToDepth" => {
            let b = call.int("blocksize", 1) as usize;
            let (n, c, h, w) = (shape[0], shape[1], shape[2] / b, shape[3] / b);
            let y = cx.reshape(x.id, &[n, c, h, b, w, b])?;
            let order: &[usize] = match call.text("mode", "DCR").as_str() {
                "DCR" => &[0, 3, 5, 1, 2, 4],
                _ => &[0, 1, 3, 5, 2, 4],
            };
            let y = cx.permute(y, order)?;
            cx.reshape(y, &[n, c * b * b, h, w])?
        }
        "CenterCropPad" => {
            let to = cx.known_ints(call.input(1)?)?;
            let axes = call.ints("axes").unwrap_or((0..rank as i64).collect());
            let mut y = x.id;
            for (axis, n) in axes.iter().zip(to) {
                let (axis, n) = (axis_of(*axis, rank), n as usize);
                let have = shape[axis];
                if n < have {
                    y = cx.part(y, axis, (have - n) / 2, 1, n)?;
                } else {
                    let mut pads = vec![(0, 0); rank];
                    pads[axis] = ((n - have) / 2, n - have - (n - have) / 2);
                    y = cx.pad(y, 0.0, &pads)?;
                }
            }
            y
        }
        _ => return Ok(None),
    };
    one(id, x.elem)
}

fn split(cx: &mut Import, call: &Call, x: Value, shape: &[usize]) -> Results {
    let axis = axis_of(call.int("axis", 0), shape.len());
    let sizes: Vec<usize> = match (call.optional(1), call.ints("split")) {
        (Some(sizes), _) => cx.known_ints(sizes)?.iter().map(|n| *n as usize).collect(),
        (None, Some(sizes)) => sizes.iter().map(|n| *n as usize).collect(),
        _ => {
            let n = call.int("num_outputs", call.node.output.len() as i64) as usize;
            let each = shape[axis].div_ceil(n);
            (0..n).map(|i| each.min(shape[axis] - (i * each).min(shape[axis]))).collect()
        }
    };
    let mut from = 0;
    let mut parts = Vec::new();
    for n in sizes {
        parts.push(Value { id: cx.part(x.id, axis, from, 1, n)?, elem: x.elem });
        from += n;
    }
    Ok(Some(parts))
}

/// Elements from `start` to before `end`, clamped as numpy does; backwards for a negative step.
pub fn slice(cx: &mut Import, x: NodeId, axis: usize, start: i64, end: i64, step: i64) -> Said<NodeId> {
    let n = cx.shape(x)[axis] as i64;
    let from_end = |at: i64| if at < 0 { at.saturating_add(n) } else { at };
    let (start, end) = (from_end(start), from_end(end));
    if step > 0 {
        let (start, end) = (start.clamp(0, n), end.clamp(0, n));
        let count = ((end - start).max(0) + step - 1) / step;
        return cx.part(x, axis, start.min(n) as usize, step as usize, count as usize);
    }
    let (start, end) = (start.clamp(-1, n - 1), end.clamp(-1, n - 1));
    let count = ((start - end).max(0) - step - 1) / -step;
    let flipped = built(cx.graph.flip(x, &[axis]))?;
    cx.part(flipped, axis, (n - 1 - start).max(0) as usize, (-step) as usize, count as usize)
}

/// Reads along an axis at places known now.
fn read_at(cx: &mut Import, x: NodeId, axis: usize, places: Vec<f64>) -> Said<NodeId> {
    let places = cx.numbers(I64, &[places.len()], places)?;
    built(cx.graph.gather(x, places, axis))
}

/// Elements added before and after; less than none takes some away.
fn pad(cx: &mut Import, x: NodeId, mode: &str, value: f64, pads: &[(i64, i64)]) -> Said<NodeId> {
    let mut x = x;
    for (axis, (before, after)) in pads.iter().copied().enumerate() {
        let n = cx.shape(x)[axis] as i64;
        if (before, after) == (0, 0) {
            continue;
        }
        if mode == "constant" {
            let (cut, cut_after) = ((-before).max(0), (-after).max(0));
            x = cx.part(x, axis, cut as usize, 1, (n - cut - cut_after) as usize)?;
            let mut both = vec![(0, 0); pads.len()];
            both[axis] = (before.max(0) as usize, after.max(0) as usize);
            x = cx.pad(x, value, &both)?;
            continue;
        }
        let place = |i: i64| match mode {
            "edge" => i.clamp(0, n - 1),
            "wrap" => i.rem_euclid(n),
            _ => {
                let period = (2 * (n - 1)).max(1);
                let at = i.rem_euclid(period);
                at.min(period - at)
            }
        };
        x = read_at(cx, x, axis, (-before..n + after).map(|i| place(i) as f64).collect())?;
    }
    Ok(x)
}

/// Tensors made from attributes and sizes.
fn made(cx: &mut Import, call: &Call) -> Said<Option<Value>> {
    Ok(Some(match call.name() {
        "Constant" => {
            let attribute = call.node.attribute.first().ok_or("a constant without a value")?;
            let all = |data: Vec<f64>| Tensor::new(vec![data.len()], data);
            let (elem, tensor) = match attribute.name.as_str() {
                "value" => {
                    let proto = attribute.t.as_ref().ok_or("a constant without a value")?;
                    read(proto).ok_or("an element type that is no plain number")?
                }
                "value_float" => (F32, Tensor::scalar(attribute.f.into())),
                "value_int" => (I64, Tensor::scalar(attribute.i as f64)),
                "value_floats" => (F32, all(attribute.floats.iter().map(|x| f64::from(*x)).collect())),
                "value_ints" => (I64, all(attribute.ints.iter().map(|x| *x as f64).collect())),
                _ => return Err("texts".into()),
            };
            cx.tensor(elem, &tensor)?
        }
        "ConstantOfShape" => {
            let shape: Vec<usize> = cx.known_ints(call.input(0)?)?.iter().map(|n| *n as usize).collect();
            let (elem, value) = match call.attribute("value").and_then(|a| a.t.as_ref()) {
                Some(proto) => {
                    let (elem, tensor) = read(proto).ok_or("an element type that is no plain number")?;
                    (elem, tensor.data[0])
                }
                None => (F32, 0.0),
            };
            Value { id: cx.full(value, elem.dtype(), &shape), elem }
        }
        "Range" => {
            let elem = call.input(0)?.elem;
            let [start, limit, delta] = [0, 1, 2].map(|i| cx.known_number(call.input(i)?));
            let (start, limit, delta) = (start?, limit?, delta?);
            let n = ((limit - start) / delta).ceil().max(0.0) as usize;
            let index = cx.iota(&[n], 0)?;
            let index = cx.cast(index, elem.dtype())?;
            let (first, step) =
                (cx.graph.constant(start, elem.dtype()), cx.graph.constant(delta, elem.dtype()));
            let y = cx.mul(index, step)?;
            Value { id: cx.add(y, first)?, elem }
        }
        "HannWindow" | "HammingWindow" | "BlackmanWindow" => {
            let n = cx.known_number(call.input(0)?)?;
            let period = if call.int("periodic", 1) == 1 { n } else { n - 1.0 };
            let index = cx.iota(&[n as usize], 0)?;
            let index = cx.cast(index, DType::F32)?;
            let (a, b, c) = match call.name() {
                "HannWindow" => (0.5, -0.5, 0.0),
                "HammingWindow" => (25.0 / 46.0, -21.0 / 46.0, 0.0),
                _ => (0.42, -0.5, 0.08),
            };
            let mut y = cx.f(a);
            for (k, weight) in [(1.0, b), (2.0, c)] {
                let angle = cx.scale(index, k * std::f64::consts::TAU / period)?;
                let cosine = cx.map(Func::Cos, &[angle])?;
                let term = cx.scale(cosine, weight)?;
                y = cx.add(y, term)?;
            }
            Value { id: y, elem: F32 }
        }
        _ => return Ok(None),
    }))
}

/// The transpose of `part`: zeros with `x` at every `step`-th place from `from` of an axis of `n`.
pub fn spread(cx: &mut Import, x: NodeId, axis: usize, from: usize, step: usize, n: usize) -> Said<NodeId> {
    let mut shape = cx.shape(x);
    let (mut start, mut steps) = (vec![Dim::from(0); shape.len()], vec![1; shape.len()]);
    (shape[axis], start[axis], steps[axis]) = (n, Dim::from(from), step as i64);
    built(cx.graph.pad(x, start, &steps, super::dims(&shape)))
}
