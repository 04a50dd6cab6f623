//! Gathers, scatters, orders: whatever reads or writes at computed places.

use super::{Call, I64, Import, Results, Said, Value, axis_of, built, one};
use gradc::base::DType;
use gradc::graph::NodeId;
use gradc::scalar::Func;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    let Some(x) = call.optional(0) else { return Ok(None) };
    let (shape, rank) = (cx.shape(x.id), cx.rank(x.id));
    let axis = |otherwise: i64| axis_of(call.int("axis", otherwise), rank);
    let id = match call.name() {
        "Gather" => {
            let axis = axis(0);
            let index = from_start(cx, call.input(1)?.id, shape[axis])?;
            built(cx.graph.gather(x.id, index, axis))?
        }
        "ArrayFeatureExtractor" => {
            let index = call.input(1)?.id;
            let n = cx.shape(index).iter().product();
            let index = cx.reshape(index, &[n])?;
            built(cx.graph.gather(x.id, index, rank - 1))?
        }
        "GatherElements" => {
            let axis = axis(0);
            let index = from_start(cx, call.input(1)?.id, shape[axis])?;
            let taken = fit(cx, x.id, index, axis)?;
            built(cx.graph.take_along(taken, index, axis))?
        }
        "ScatterElements" | "Scatter" => {
            let axis = axis(0);
            let index = from_start(cx, call.input(1)?.id, shape[axis])?;
            return scatter_elements(cx, call, x, index, call.input(2)?.id, axis);
        }
        "GatherND" => {
            let batch = call.int("batch_dims", 0) as usize;
            let (table, index, rest) = flat_index(cx, x.id, call.input(1)?.id, batch)?;
            let table = cx.reshape(table, &[&rest[..], &[]].concat())?;
            let y = built(cx.graph.gather_in(table, index, batch, batch))?;
            let given = cx.shape(call.input(1)?.id);
            let depth = given[given.len() - 1];
            let out = [&given[..given.len() - 1], &shape[batch + depth..]].concat();
            cx.reshape(y, &out)?
        }
        "ScatterND" => {
            let (table, index, flat) = flat_index(cx, x.id, call.input(1)?.id, 0)?;
            let n: usize = cx.shape(index).iter().product();
            let index = cx.reshape(index, &[n])?;
            let updates = cx.reshape(call.input(2)?.id, &[&[n], &flat[1..]].concat())?;
            let y = scatter(cx, &call.text("reduction", "none"), table, index, updates)?;
            cx.reshape(y, &shape)?
        }
        "OneHot" => return one_hot(cx, call, x),
        "TopK" => return top_k(cx, call, x),
        "ArgMax" | "ArgMin" => {
            let axis = axis(0);
            let key = if call.name() == "ArgMin" { cx.map(Func::Neg, &[x.id])? } else { x.id };
            let last = call.int("select_last_index", 0) == 1;
            let key = if last { built(cx.graph.flip(key, &[axis]))? } else { key };
            let mut place = built(cx.graph.argmax(key, axis))?;
            if last {
                let end = cx.i(shape[axis] as i64 - 1);
                place = cx.sub(end, place)?;
            }
            if call.int("keepdims", 1) == 1 {
                let mut kept = shape.clone();
                kept[axis] = 1;
                place = cx.reshape(place, &kept)?;
            }
            return one(place, I64);
        }
        "ReverseSequence" => {
            let (time, batch) = (call.int("time_axis", 0) as usize, call.int("batch_axis", 1) as usize);
            let index = cx.iota(&shape, time)?;
            let mut across = vec![1; rank];
            across[batch] = shape[batch];
            let lengths = cx.reshape(call.input(1)?.id, &across)?;
            let inside = cx.map(Func::Lt, &[index, lengths])?;
            let end = cx.i(-1);
            let end = cx.add(lengths, end)?;
            let mirrored = cx.sub(end, index)?;
            let place = cx.map(Func::Select, &[inside, mirrored, index])?;
            built(cx.graph.take_along(x.id, place, time))?
        }
        "TensorScatter" => return tensor_scatter(cx, call, x),
        _ => return Ok(None),
    };
    one(id, x.elem)
}

/// Negative indices count from the end.
fn from_start(cx: &mut Import, index: NodeId, n: usize) -> Said<NodeId> {
    let (zero, n) = (cx.i(0), cx.i(n as i64));
    let negative = cx.map(Func::Lt, &[index, zero])?;
    let moved = cx.add(index, n)?;
    cx.map(Func::Select, &[negative, moved, index])
}

/// `x` cut to the index's sizes on all axes but one.
fn fit(cx: &mut Import, x: NodeId, index: NodeId, axis: usize) -> Said<NodeId> {
    let to = cx.shape(index);
    let mut x = x;
    for (a, n) in to.iter().enumerate().filter(|(a, _)| *a != axis) {
        x = cx.part(x, a, 0, 1, *n)?;
    }
    Ok(x)
}

/// Rows of `table` with `updates` at `index`; of several updates of a place, which is not said, their sum.
fn scatter(cx: &mut Import, how: &str, table: NodeId, index: NodeId, updates: NodeId) -> Said<NodeId> {
    let shape = cx.shape(table);
    let sums = built(cx.graph.scatter_add(index, updates, 0, super::dims(&shape)))?;
    if how == "add" {
        return cx.add(table, sums);
    }
    // In gradc only sums are scattered; of others each place goes through all updates in turn.
    if how != "none" {
        return folded(cx, how, table, index, updates);
    }
    let hit = hits(cx, index, updates, shape)?;
    cx.map(Func::Select, &[hit, sums, table])
}

/// Which places an update goes to.
fn hits(cx: &mut Import, index: NodeId, updates: NodeId, shape: Vec<usize>) -> Said<NodeId> {
    let of = cx.shape(updates);
    let ones = cx.full(1.0, DType::F32, &of);
    let counts = built(cx.graph.scatter_add(index, ones, 0, super::dims(&shape)))?;
    let zero = cx.f(0.0);
    cx.map(Func::Gt, &[counts, zero])
}

/// One update after another.
fn folded(cx: &mut Import, how: &str, table: NodeId, index: NodeId, updates: NodeId) -> Said<NodeId> {
    let func = match how {
        "mul" => Func::Mul,
        "max" => Func::Max,
        _ => Func::Min,
    };
    let shape = cx.shape(table);
    let mut y = table;
    for i in 0..cx.shape(index)[0] {
        let at = cx.pick(index, 0, i)?;
        let update = cx.pick(updates, 0, i)?;
        let rows = cx.iota(&shape, 0)?;
        let hit = cx.map(Func::Eq, &[rows, at])?;
        let changed = cx.map(func, &[y, update])?;
        y = cx.map(Func::Select, &[hit, changed, y])?;
    }
    Ok(y)
}

fn scatter_elements(
    cx: &mut Import,
    call: &Call,
    x: Value,
    index: NodeId,
    updates: NodeId,
    axis: usize,
) -> Results {
    // Each update's place in the flat table.
    let (shape, of) = (cx.shape(x.id), cx.shape(index));
    let strides: Vec<usize> = (0..shape.len()).map(|a| shape[a + 1..].iter().product()).collect();
    let mut place = cx.i(0);
    for (a, stride) in strides.iter().enumerate() {
        let at = if a == axis { index } else { cx.iota(&of, a)? };
        let stride = cx.i(*stride as i64);
        let term = cx.mul(at, stride)?;
        place = cx.add(place, term)?;
    }
    let n: usize = of.iter().product();
    let (place, updates) = (cx.reshape(place, &[n])?, cx.reshape(updates, &[n])?);
    let flat = cx.reshape(x.id, &[shape.iter().product()])?;
    let y = scatter(cx, &call.text("reduction", "none"), flat, place, updates)?;
    one(cx.reshape(y, &shape)?, x.elem)
}

/// A table whose indexed axes are one, the indices into it, and its shape.
fn flat_index(cx: &mut Import, x: NodeId, index: NodeId, batch: usize) -> Said<(NodeId, NodeId, Vec<usize>)> {
    let (shape, of) = (cx.shape(x), cx.shape(index));
    let depth = of[of.len() - 1];
    let indexed = &shape[batch..batch + depth];
    let mut place = cx.i(0);
    for (i, n) in indexed.iter().enumerate() {
        let at = cx.pick(index, of.len() - 1, i)?;
        let at = from_start(cx, at, *n)?;
        let stride = cx.i(indexed[i + 1..].iter().product::<usize>() as i64);
        let term = cx.mul(at, stride)?;
        place = cx.add(place, term)?;
    }
    let flat = [&shape[..batch], &[indexed.iter().product()], &shape[batch + depth..]].concat();
    Ok((cx.reshape(x, &flat)?, place, flat))
}

fn one_hot(cx: &mut Import, call: &Call, x: Value) -> Results {
    let depth = cx.known_number(call.input(1)?)? as usize;
    let values = call.input(2)?;
    let shape = cx.shape(x.id);
    let axis = axis_of(call.int("axis", -1), shape.len() + 1);
    let mut kept = shape.clone();
    kept.insert(axis, 1);
    let mut out = shape;
    out.insert(axis, depth);
    let index = cx.cast(x.id, DType::I32)?;
    let index = from_start(cx, index, depth)?;
    let index = cx.reshape(index, &kept)?;
    let classes = cx.iota(&out, axis)?;
    let hit = cx.map(Func::Eq, &[classes, index])?;
    let (off, on) = (cx.pick(values.id, 0, 0)?, cx.pick(values.id, 0, 1)?);
    one(cx.map(Func::Select, &[hit, on, off])?, values.elem)
}

fn top_k(cx: &mut Import, call: &Call, x: Value) -> Results {
    let rank = cx.rank(x.id);
    let axis = axis_of(call.int("axis", -1), rank);
    let k = match call.optional(1) {
        Some(k) => cx.known_ints(k)?[0],
        None => call.int("k", 1),
    } as usize;
    let places = built(cx.graph.sort(x.id, axis, call.int("largest", 1) == 1))?;
    let places = cx.part(places, axis, 0, 1, k)?;
    let values = built(cx.graph.take_along(x.id, places, axis))?;
    Ok(Some(vec![Value { id: values, elem: x.elem }, Value { id: places, elem: I64 }]))
}

/// Updates written into a cache from a place of each row's own, round the end if circular.
fn tensor_scatter(cx: &mut Import, call: &Call, x: Value) -> Results {
    let updates = call.input(1)?;
    let (shape, of) = (cx.shape(x.id), cx.shape(updates.id));
    let axis = axis_of(call.int("axis", -2), shape.len());
    let offset = match call.optional(2) {
        Some(offset) => offset.id,
        None => cx.full(0.0, DType::I32, &[shape[0]]),
    };
    let mut across = vec![1; shape.len()];
    across[0] = shape[0];
    let offset = cx.reshape(offset, &across)?;
    // For each place of the cache the update that goes there.
    let index = cx.iota(&shape, axis)?;
    let mut from = cx.sub(index, offset)?;
    if call.text("mode", "linear") == "circular" {
        let n = cx.i(shape[axis] as i64);
        from = cx.map(Func::Rem, &[from, n])?;
    }
    let (zero, n) = (cx.i(0), cx.i(of[axis] as i64));
    let (least, most) = (cx.map(Func::Ge, &[from, zero])?, cx.map(Func::Lt, &[from, n])?);
    let hit = cx.map(Func::And, &[least, most])?;
    let taken = built(cx.graph.take_along(updates.id, from, axis))?;
    one(cx.map(Func::Select, &[hit, taken, x.id])?, x.elem)
}
