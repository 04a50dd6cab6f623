//! Subgraphs that are run as often as is known when the graph is built; optimizers.

use super::{Call, I64, Import, Results, Said, Value};
use crate::onnx::proto::GraphProto;
use crate::onnx::tensor::Elem;
use gradc::graph::NodeId;
use gradc::scalar::Func;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    match call.name() {
        "If" => {
            let yes = cx.known_number(call.input(0)?)? != 0.0;
            let graph = body(call, if yes { "then_branch" } else { "else_branch" })?;
            Ok(Some(cx.run(graph, &[])?))
        }
        "Loop" => run_loop(cx, call),
        "Scan" => scan(cx, call),
        "Momentum" | "Adagrad" | "Adam" => optimizer(cx, call),
        _ => Ok(None),
    }
}

fn body<'a>(call: &'a Call, name: &str) -> Said<&'a GraphProto> {
    let graph = call.attribute(name).and_then(|a| a.g.as_ref());
    graph.ok_or_else(|| format!("{} without its graph", call.name()))
}

fn run_loop(cx: &mut Import, call: &Call) -> Results {
    let graph = body(call, "body")?;
    let most = match call.optional(0) {
        Some(most) => cx.known_number(most)? as i64,
        None => i64::MAX,
    };
    let mut goes_on = match call.optional(1) {
        Some(condition) => cx.known_number(condition)? != 0.0,
        None => true,
    };
    let n_carried = call.inputs.len() - 2;
    let mut carried: Vec<Option<Value>> = call.inputs[2..].to_vec();
    let mut stacks: Vec<Vec<NodeId>> = Vec::new();
    let mut elems: Vec<Elem> = Vec::new();
    let mut turn = 0;
    while turn < most && goes_on {
        let number = Value { id: cx.numbers(I64, &[], vec![turn as f64])?, elem: I64 };
        let condition = Value { id: cx.numbers(Elem::Bool, &[], vec![1.0])?, elem: Elem::Bool };
        let inputs = [&[Some(number), Some(condition)], &carried[..]].concat();
        let results = cx.run(graph, &inputs)?;
        goes_on = cx.known_number(results[0])? != 0.0;
        carried = results[1..=n_carried].iter().copied().map(Some).collect();
        let yields = &results[n_carried + 1..];
        stacks.resize(yields.len(), Vec::new());
        elems = yields.iter().map(|v| v.elem).collect();
        stacks.iter_mut().zip(yields).for_each(|(stack, v)| stack.push(v.id));
        turn += 1;
    }
    let mut values: Vec<Value> = carried.into_iter().flatten().collect();
    for (stack, elem) in stacks.iter().zip(elems) {
        values.push(Value { id: cx.stack(stack, 0)?, elem });
    }
    Ok(Some(values))
}

fn scan(cx: &mut Import, call: &Call) -> Results {
    let graph = body(call, "body")?;
    let n_sliced = call.int("num_scan_inputs", 1) as usize;
    // The first version had lengths, and a batch in front of everything.
    let first = call.opset < 9;
    let inputs = if first { &call.inputs[1..] } else { &call.inputs[..] };
    let n_carried = inputs.len() - n_sliced;
    let flags = |name: &str, n: usize| call.ints(name).unwrap_or(vec![0; n]);
    let directions = flags("scan_input_directions", n_sliced);
    let axes = flags("scan_input_axes", n_sliced);
    let n_yields = graph.output.len() - n_carried;
    let (out_directions, out_axes) =
        (flags("scan_output_directions", n_yields), flags("scan_output_axes", n_yields));
    let given: Vec<Value> =
        inputs.iter().copied().collect::<Option<_>>().ok_or("a scan without its operands")?;
    let batches = if first { cx.shape(given[0].id)[0] } else { 1 };
    let mut parts: Vec<Vec<Value>> = Vec::new();
    for b in 0..batches {
        let of = |cx: &mut Import, v: Value| -> Said<Value> {
            Ok(if first { Value { id: cx.pick(v.id, 0, b)?, elem: v.elem } } else { v })
        };
        let all = given.iter().map(|v| of(cx, *v)).collect::<Said<Vec<Value>>>()?;
        let (carried, slices) = all.split_at(n_carried);
        let axis = |cx: &Import, i: usize| super::axis_of(axes[i], cx.rank(slices[i].id));
        let turns = cx.shape(slices[0].id)[axis(cx, 0)];
        let mut carried: Vec<Value> = carried.to_vec();
        let mut stacks: Vec<Vec<Value>> = vec![Vec::new(); n_yields];
        for t in 0..turns {
            let mut bound: Vec<Option<Value>> = carried.iter().copied().map(Some).collect();
            for (i, slice) in slices.iter().enumerate() {
                let at = if directions[i] == 1 { turns - 1 - t } else { t };
                let axis = axis(cx, i);
                bound.push(Some(Value { id: cx.pick(slice.id, axis, at)?, elem: slice.elem }));
            }
            let results = cx.run(graph, &bound)?;
            carried = results[..n_carried].to_vec();
            stacks.iter_mut().zip(&results[n_carried..]).for_each(|(stack, v)| stack.push(*v));
        }
        for (i, mut stack) in stacks.into_iter().enumerate() {
            if out_directions[i] == 1 {
                stack.reverse();
            }
            let ids: Vec<NodeId> = stack.iter().map(|v| v.id).collect();
            let axis = super::axis_of(out_axes[i], cx.rank(ids[0]) + 1);
            carried.push(Value { id: cx.stack(&ids, axis)?, elem: stack[0].elem });
        }
        parts.push(carried);
    }
    if !first {
        return Ok(parts.pop());
    }
    let mut values = Vec::new();
    for i in 0..parts[0].len() {
        let ids: Vec<NodeId> = parts.iter().map(|part| part[i].id).collect();
        values.push(Value { id: cx.stack(&ids, 0)?, elem: parts[0][i].elem });
    }
    Ok(Some(values))
}

/// Rate, step, then parameters, gradients and states, several of each.
fn optimizer(cx: &mut Import, call: &Call) -> Results {
    let (rate, step) = (cx.known_number(call.input(0)?)?, cx.known_number(call.input(1)?)?);
    let n_each = if call.name() == "Adam" { 4 } else { 3 };
    let n = (call.inputs.len() - 2) / n_each;
    let decay = call.float("norm_coefficient", 0.0);
    let mut out: Vec<Vec<Value>> = vec![Vec::new(); n_each - 1];
    for i in 0..n {
        let at = |kind: usize| call.input(2 + kind * n + i);
        let (x, elem) = (at(0)?.id, at(0)?.elem);
        let pull = cx.scale(x, decay)?;
        let g = cx.add(at(1)?.id, pull)?;
        let state = at(2)?.id;
        let moved = |cx: &mut Import, step: NodeId, by: f64| -> Said<NodeId> {
            let step = cx.scale(step, by)?;
            cx.sub(x, step)
        };
        let average = |cx: &mut Import, old: NodeId, keep: f64, new: NodeId, add: f64| -> Said<NodeId> {
            let (old, new) = (cx.scale(old, keep)?, cx.scale(new, add)?);
            cx.add(old, new)
        };
        let results: Vec<NodeId> = match call.name() {
            "Momentum" => {
                let (alpha, beta) = (call.float("alpha", 0.0), call.float("beta", 0.0));
                let v = average(cx, state, alpha, g, if step > 0.0 { beta } else { 1.0 })?;
                let direction = match call.text("mode", "standard").as_str() {
                    "nesterov" => average(cx, v, alpha, g, 1.0)?,
                    _ => v,
                };
                vec![moved(cx, direction, rate)?, v]
            }
            "Adagrad" => {
                let rate = rate / (1.0 + step * call.float("decay_factor", 0.0));
                let square = cx.mul(g, g)?;
                let h = cx.add(state, square)?;
                let root = cx.map(Func::Sqrt, &[h])?;
                let root = cx.shift(root, call.float("epsilon", 1e-6))?;
                let direction = cx.div(g, root)?;
                vec![moved(cx, direction, rate)?, h]
            }
            _ => {
                let (alpha, beta) = (call.float("alpha", 0.9), call.float("beta", 0.999));
                let square = cx.mul(g, g)?;
                let v = average(cx, state, alpha, g, 1.0 - alpha)?;
                let h = average(cx, at(3)?.id, beta, square, 1.0 - beta)?;
                let root = cx.map(Func::Sqrt, &[h])?;
                let root = cx.shift(root, call.float("epsilon", 1e-6))?;
                let direction = cx.div(v, root)?;
                let corrected = match step > 0.0 {
                    true => rate * (1.0 - beta.powf(step)).sqrt() / (1.0 - alpha.powf(step)),
                    false => rate,
                };
                let y = moved(cx, direction, corrected)?;
                let y = cx.scale(y, 1.0 - call.float("norm_coefficient_post", 0.0))?;
                vec![y, v, h]
            }
        };
        out.iter_mut().zip(results).for_each(|(list, id)| list.push(Value { id, elem }));
    }
    Ok(Some(out.concat()))
}
