//! Normalizations.

use super::{Call, F32, Import, Results, Said, Value, axis_of, one};
use gradc::graph::NodeId;
use gradc::scalar::Func;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    let Some(x) = call.optional(0) else { return Ok(None) };
    let (shape, rank) = (cx.shape(x.id), cx.rank(x.id));
    let id = match call.name() {
        "LayerNormalization" => {
            let axes: Vec<usize> = (axis_of(call.int("axis", -1), rank)..rank).collect();
            let mean = cx.mean(x.id, &axes)?;
            let (centered, inverse) = centered(cx, x.id, mean, &axes, call.float("epsilon", 1e-5))?;
            let mut y = cx.mul(centered, inverse)?;
            y = cx.mul(y, call.input(1)?.id)?;
            if let Some(bias) = call.optional(2) {
                y = cx.add(y, bias.id)?;
            }
            let values = [(y, x.elem), (mean, F32), (inverse, F32)];
            return Ok(Some(values.map(|(id, elem)| Value { id, elem }).to_vec()));
        }
        "RMSNormalization" => {
            let axes: Vec<usize> = (axis_of(call.int("axis", -1), rank)..rank).collect();
            let squares = cx.mul(x.id, x.id)?;
            let mean = cx.mean(squares, &axes)?;
            let mean = cx.shift(mean, call.float("epsilon", 1e-5))?;
            let root = cx.map(Func::Sqrt, &[mean])?;
            let y = cx.div(x.id, root)?;
            cx.mul(y, call.input(1)?.id)?
        }
        "BatchNormalization" => return batch_norm(cx, call, x),
        "InstanceNormalization" => {
            let axes: Vec<usize> = (2..rank).collect();
            let y = normalized(cx, x.id, &axes, call.float("epsilon", 1e-5))?;
            affine(cx, y, call.input(1)?.id, call.input(2)?.id)?
        }
        "GroupNormalization" => {
            let groups = call.int("num_groups", 1) as usize;
            let grouped = [&[shape[0], groups, shape[1] / groups], &shape[2..]].concat();
            let y = cx.reshape(x.id, &grouped)?;
            let axes: Vec<usize> = (2..grouped.len()).collect();
            let y = normalized(cx, y, &axes, call.float("epsilon", 1e-5))?;
            let (scale, bias) = (call.input(1)?.id, call.input(2)?.id);
            if cx.shape(scale)[0] == groups && groups != shape[1] {
                let y = affine(cx, y, scale, bias)?;
                cx.reshape(y, &shape)?
            } else {
                let y = cx.reshape(y, &shape)?;
                affine(cx, y, scale, bias)?
            }
        }
        "MeanVarianceNormalization" => {
            let axes = call.ints("axes").unwrap_or(vec![0, 2, 3]);
            let axes: Vec<usize> = axes.iter().map(|a| axis_of(*a, rank)).collect();
            let mean = cx.mean(x.id, &axes)?;
            let centered = cx.sub(x.id, mean)?;
            let squares = cx.mul(centered, centered)?;
            let variance = cx.mean(squares, &axes)?;
            let deviation = cx.map(Func::Sqrt, &[variance])?;
            let deviation = cx.shift(deviation, 1e-9)?;
            cx.div(centered, deviation)?
        }
        "LRN" => {
            let n = call.int("size", 1) as usize;
            let squares = cx.mul(x.id, x.id)?;
            let mut pads = vec![(0, 0); rank];
            pads[1] = ((n - 1) / 2, n - 1 - (n - 1) / 2);
            let wide = cx.pad(squares, 0.0, &pads)?;
            let mut sum = cx.part(wide, 1, 0, 1, shape[1])?;
            for i in 1..n {
                let next = cx.part(wide, 1, i, 1, shape[1])?;
                sum = cx.add(sum, next)?;
            }
            let y = cx.scale(sum, call.float("alpha", 1e-4) / n as f64)?;
            let y = cx.shift(y, call.float("bias", 1.0))?;
            let beta = cx.f(call.float("beta", 0.75));
            let y = cx.map(Func::Pow, &[y, beta])?;
            cx.div(x.id, y)?
        }
        _ => return Ok(None),
    };
    one(id, x.elem)
}

/// `x - mean`, and one by the root of its variance.
fn centered(
    cx: &mut Import,
    x: NodeId,
    mean: NodeId,
    axes: &[usize],
    epsilon: f64,
) -> Said<(NodeId, NodeId)> {
    let centered = cx.sub(x, mean)?;
    let squares = cx.mul(centered, centered)?;
    let variance = cx.mean(squares, axes)?;
    let variance = cx.shift(variance, epsilon)?;
    let root = cx.map(Func::Sqrt, &[variance])?;
    let one = cx.f(1.0);
    Ok((centered, cx.div(one, root)?))
}

fn normalized(cx: &mut Import, x: NodeId, axes: &[usize], epsilon: f64) -> Said<NodeId> {
    let mean = cx.mean(x, axes)?;
    let (centered, inverse) = centered(cx, x, mean, axes, epsilon)?;
    cx.mul(centered, inverse)
}

/// A vector for the channels, which are axis 1.
pub fn channels(cx: &mut Import, v: NodeId, rank: usize) -> Said<NodeId> {
    let mut across = vec![1; rank];
    across[1] = cx.shape(v)[0];
    cx.reshape(v, &across)
}

fn affine(cx: &mut Import, x: NodeId, scale: NodeId, bias: NodeId) -> Said<NodeId> {
    let rank = cx.rank(x);
    let (scale, bias) = (channels(cx, scale, rank)?, channels(cx, bias, rank)?);
    let y = cx.mul(x, scale)?;
    cx.add(y, bias)
}

fn batch_norm(cx: &mut Import, call: &Call, x: Value) -> Results {
    let rank = cx.rank(x.id);
    let (scale, bias) = (call.input(1)?.id, call.input(2)?.id);
    let (mut mean, mut variance) = (call.input(3)?.id, call.input(4)?.id);
    let (running_mean, running_variance) = (mean, variance);
    let training = call.int("training_mode", 0) == 1;
    if training {
        let axes: Vec<usize> = (0..rank).filter(|a| *a != 1).collect();
        let n = cx.shape(x.id)[1];
        let kept = cx.mean(x.id, &axes)?;
        let centered = cx.sub(x.id, kept)?;
        let squares = cx.mul(centered, centered)?;
        let squares = cx.mean(squares, &axes)?;
        mean = cx.reshape(kept, &[n])?;
        variance = cx.reshape(squares, &[n])?;
    }
    let (m, v) = (channels(cx, mean, rank)?, channels(cx, variance, rank)?);
    let v = cx.shift(v, call.float("epsilon", 1e-5))?;
    let root = cx.map(Func::Sqrt, &[v])?;
    let y = cx.sub(x.id, m)?;
    let y = cx.div(y, root)?;
    let mut values = vec![Value { id: affine(cx, y, scale, bias)?, elem: x.elem }];
    if training {
        let keep = call.float("momentum", 0.9);
        for (running, now) in [(running_mean, mean), (running_variance, variance)] {
            let (a, b) = (cx.scale(running, keep)?, cx.scale(now, 1.0 - keep)?);
            values.push(Value { id: cx.add(a, b)?, elem: F32 });
        }
    }
    Ok(Some(values))
}
