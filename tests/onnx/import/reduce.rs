//! Reductions, and what is composed of them: softmax, norms of vectors, cumulative sums and products, losses.

use super::{Call, Import, Results, Said, Value, axis_of, built, one};
use gradc::base::{DType, ReduceOp};
use gradc::graph::NodeId;
use gradc::scalar::Func;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    let Some(x) = call.optional(0) else { return Ok(None) };
    let rank = cx.rank(x.id);
    if let Some(kind) = call.name().strip_prefix("Reduce") {
        return reduction(cx, call, kind, x);
    }
    // Before opset 13 these flattened what follows the axis.
    let along = |cx: &mut Import, f: fn(&mut Import, NodeId, usize) -> Said<NodeId>| {
        let axis = axis_of(call.int("axis", if call.opset < 13 { 1 } else { -1 }), rank);
        if call.opset >= 13 {
            return f(cx, x.id, axis);
        }
        let shape = cx.shape(x.id);
        let flat = [shape[..axis].iter().product::<usize>(), shape[axis..].iter().product::<usize>()];
        let y = cx.reshape(x.id, &flat)?;
        let y = f(cx, y, 1)?;
        cx.reshape(y, &shape)
    };
    let id = match call.name() {
        "Softmax" => along(cx, softmax)?,
        "LogSoftmax" => along(cx, log_softmax)?,
        "LpNormalization" => {
            let axis = axis_of(call.int("axis", -1), rank);
            let size = power_sum(cx, x.id, call.int("p", 2), &[axis])?;
            let zero = cx.f(0.0);
            let empty = cx.map(Func::Eq, &[size, zero])?;
            let y = cx.div(x.id, size)?;
            cx.map(Func::Select, &[empty, zero, y])?
        }
        "CumSum" | "CumProd" => return cumulative(cx, call, x),
        "NegativeLogLikelihoodLoss" => {
            let weights = call.optional(2).map(|w| w.id);
            nll(cx, call, x.id, call.input(1)?.id, weights)?
        }
        "SoftmaxCrossEntropyLoss" => {
            let logs = log_softmax(cx, x.id, 1)?;
            let weights = call.optional(2).map(|w| w.id);
            let loss = nll(cx, call, logs, call.input(1)?.id, weights)?;
            return Ok(Some([loss, logs].map(|id| Value { id, elem: x.elem }).to_vec()));
        }
        _ => return Ok(None),
    };
    one(id, x.elem)
}

fn reduction(cx: &mut Import, call: &Call, kind: &str, x: Value) -> Results {
    let rank = cx.rank(x.id);
    let axes = match call.optional(1) {
        Some(axes) => Some(cx.known_ints(axes)?),
        None => call.ints("axes"),
    };
    let axes: Vec<usize> = match axes {
        Some(axes) if !axes.is_empty() => axes.iter().map(|a| axis_of(*a, rank)).collect(),
        _ if call.int("noop_with_empty_axes", 0) == 1 => Vec::new(),
        _ => (0..rank).collect(),
    };
    let keep = call.int("keepdims", 1) == 1;
    // Truths are reduced as 0 and 1.
    let is_truth = cx.graph.dtype(x.id) == DType::Bool;
    let id = if is_truth { cx.cast(x.id, DType::I32)? } else { x.id };
    let y = match kind {
        "Max" if is_truth => cx.reduce(ReduceOp::Sum, id, &axes, keep)?,
        "Min" if is_truth => cx.reduce(ReduceOp::Prod, id, &axes, keep)?,
        "Sum" => cx.reduce(ReduceOp::Sum, id, &axes, keep)?,
        "Prod" => cx.reduce(ReduceOp::Prod, id, &axes, keep)?,
        "Max" => cx.reduce(ReduceOp::Max, id, &axes, keep)?,
        "Min" => cx.reduce(ReduceOp::Min, id, &axes, keep)?,
        "Mean" => {
            let n: usize = axes.iter().map(|a| cx.shape(id)[*a]).product();
            let sum = cx.reduce(ReduceOp::Sum, id, &axes, keep)?;
            cx.scale(sum, 1.0 / n as f64)?
        }
        "L1" => {
            let sizes = cx.map(Func::Abs, &[id])?;
            cx.reduce(ReduceOp::Sum, sizes, &axes, keep)?
        }
        "L2" | "SumSquare" => {
            let squares = cx.mul(id, id)?;
            let sum = cx.reduce(ReduceOp::Sum, squares, &axes, keep)?;
            if kind == "L2" { cx.map(Func::Sqrt, &[sum])? } else { sum }
        }
        "LogSum" => {
            let sum = cx.reduce(ReduceOp::Sum, id, &axes, keep)?;
            cx.map(Func::Log, &[sum])?
        }
        "LogSumExp" => {
            let powers = cx.map(Func::Exp, &[id])?;
            let sum = cx.reduce(ReduceOp::Sum, powers, &axes, keep)?;
            cx.map(Func::Log, &[sum])?
        }
        _ => return Ok(None),
    };
    // The reduction over no elements is f32's or i32's; shorter floats and integers have the same where it matters.
    let y = cx.cast(y, x.elem.dtype())?;
    one(y, x.elem)
}

fn shifted(cx: &mut Import, x: NodeId, axis: usize) -> Said<NodeId> {
    let top = cx.reduce(ReduceOp::Max, x, &[axis], true)?;
    cx.sub(x, top)
}

pub fn softmax(cx: &mut Import, x: NodeId, axis: usize) -> Said<NodeId> {
    let y = shifted(cx, x, axis)?;
    let y = cx.map(Func::Exp, &[y])?;
    let sum = cx.sum(y, &[axis])?;
    cx.div(y, sum)
}

fn log_softmax(cx: &mut Import, x: NodeId, axis: usize) -> Said<NodeId> {
    let y = shifted(cx, x, axis)?;
    let powers = cx.map(Func::Exp, &[y])?;
    let sum = cx.sum(powers, &[axis])?;
    let log = cx.map(Func::Log, &[sum])?;
    cx.sub(y, log)
}

/// `(sum |x|^p)^(1/p)`, axes kept.
pub fn power_sum(cx: &mut Import, x: NodeId, p: i64, axes: &[usize]) -> Said<NodeId> {
    let sizes = cx.map(Func::Abs, &[x])?;
    match p {
        1 => cx.sum(sizes, axes),
        2 => {
            let squares = cx.mul(x, x)?;
            let sum = cx.sum(squares, axes)?;
            cx.map(Func::Sqrt, &[sum])
        }
        p => {
            let exponent = cx.f(p as f64);
            let powers = cx.map(Func::Pow, &[sizes, exponent])?;
            let sum = cx.sum(powers, axes)?;
            let exponent = cx.f(1.0 / p as f64);
            cx.map(Func::Pow, &[sum, exponent])
        }
    }
}

/// In log n steps: each adds what stands 1, 2, 4, … before (Hillis and Steele, "Data parallel algorithms", 1986).
fn cumulative(cx: &mut Import, call: &Call, x: Value) -> Results {
    let rank = cx.rank(x.id);
    let axis = axis_of(cx.known_ints(call.input(1)?)?[0], rank);
    let reverse = call.int("reverse", 0) == 1;
    let (func, start) = if call.name() == "CumSum" { (Func::Add, 0.0) } else { (Func::Mul, 1.0) };
    let n = cx.shape(x.id)[axis];
    let mut y = if reverse { built(cx.graph.flip(x.id, &[axis]))? } else { x.id };
    let later = |cx: &mut Import, y: NodeId, by: usize| {
        let kept = cx.part(y, axis, 0, 1, n - by)?;
        let mut pads = vec![(0, 0); rank];
        pads[axis] = (by, 0);
        cx.pad(kept, start, &pads)
    };
    if call.int("exclusive", 0) == 1 && n > 0 {
        y = later(cx, y, 1)?;
    }
    let mut by = 1;
    while by < n {
        let before = later(cx, y, by)?;
        y = cx.map(func, &[y, before])?;
        by *= 2;
    }
    let y = if reverse { built(cx.graph.flip(y, &[axis]))? } else { y };
    one(cx.wrap(y, x.elem)?, x.elem)
}

/// The negative of the labels' entries along axis 1.
fn nll(cx: &mut Import, call: &Call, logs: NodeId, labels: NodeId, weights: Option<NodeId>) -> Said<NodeId> {
    let shape = cx.shape(labels);
    let ignored = call.attribute("ignore_index").map(|a| a.i);
    let mut kept = shape.clone();
    kept.insert(1, 1);
    let counts = match ignored {
        Some(ignored) => {
            let ignored = cx.i(ignored);
            cx.map(Func::Ne, &[labels, ignored])?
        }
        None => cx.full(1.0, DType::Bool, &shape),
    };
    let first = cx.i(0);
    let labels = cx.map(Func::Select, &[counts, labels, first])?;
    let column = cx.reshape(labels, &kept)?;
    let taken = built(cx.graph.take_along(logs, column, 1))?;
    let taken = cx.reshape(taken, &shape)?;
    let mut weight = cx.cast(counts, DType::F32)?;
    if let Some(weights) = weights {
        let own = built(cx.graph.gather(weights, labels, 0))?;
        weight = cx.mul(weight, own)?;
    }
    let loss = cx.mul(taken, weight)?;
    let loss = cx.scale(loss, -1.0)?;
    let all: Vec<usize> = (0..shape.len()).collect();
    match call.text("reduction", "mean").as_str() {
        "none" => Ok(loss),
        "sum" => cx.reduce(ReduceOp::Sum, loss, &all, false),
        _ => {
            let sum = cx.reduce(ReduceOp::Sum, loss, &all, false)?;
            let total = cx.reduce(ReduceOp::Sum, weight, &all, false)?;
            cx.div(sum, total)
        }
    }
}
