//! Attention, rotary positions.

use super::linear::matmul;
use super::reduce::softmax;
use super::{Call, Import, Results, Said, Value};
use gradc::base::DType;
use gradc::graph::NodeId;
use gradc::scalar::Func;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    match call.name() {
        "Attention" => attention(cx, call),
        "RotaryEmbedding" => rotary(cx, call),
        _ => Ok(None),
    }
}

/// `[batch, t, heads * d]` as `[batch, heads, t, d]`.
fn heads(cx: &mut Import, x: NodeId, n: usize) -> Said<NodeId> {
    let shape = cx.shape(x);
    if shape.len() == 4 {
        return Ok(x);
    }
    let x = cx.reshape(x, &[shape[0], shape[1], n, shape[2] / n])?;
    cx.permute(x, &[0, 2, 1, 3])
}

/// Each head repeated for the queries that share it.
fn shared(cx: &mut Import, x: NodeId, n: usize) -> Said<NodeId> {
    let shape = cx.shape(x);
    if shape[1] == n {
        return Ok(x);
    }
    let each = n / shape[1];
    let x = cx.reshape(x, &[shape[0], shape[1], 1, shape[2], shape[3]])?;
    let x = cx.expand(x, &[shape[0], shape[1], each, shape[2], shape[3]])?;
    cx.reshape(x, &[shape[0], n, shape[2], shape[3]])
}

fn attention(cx: &mut Import, call: &Call) -> Results {
    let (q_in, k_in, v_in) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let flat = cx.rank(q_in.id) == 3;
    let (n_q, n_kv) = (call.int("q_num_heads", 0) as usize, call.int("kv_num_heads", 0) as usize);
    let q = heads(cx, q_in.id, n_q)?;
    let (mut k, mut v) = (heads(cx, k_in.id, n_kv)?, heads(cx, v_in.id, n_kv)?);
    let n_past = match (call.optional(4), call.optional(5)) {
        (Some(past_k), Some(past_v)) => {
            k = cx.concat(&[past_k.id, k], 2)?;
            v = cx.concat(&[past_v.id, v], 2)?;
            cx.shape(past_k.id)[2]
        }
        _ => 0,
    };
    let (present_k, present_v) = (k, v);
    let (sq, sk) = (cx.shape(q), cx.shape(k));
    let (n, t, s) = (sq[1], sq[2], sk[2]);
    let (k, v) = (shared(cx, k, n)?, shared(cx, v, n)?);
    let scale = call.float("scale", 1.0 / (sq[3] as f64).sqrt());
    let scaled = cx.scale(q, scale)?;
    let turned = cx.permute(k, &[0, 1, 3, 2])?;
    let raw = matmul(cx, scaled, turned)?;
    let cap = call.float("softcap", 0.0);
    let mut capped = raw;
    if cap != 0.0 {
        let y = cx.scale(raw, 1.0 / cap)?;
        let y = cx.map(Func::Tanh, &[y])?;
        capped = cx.scale(y, cap)?;
    }
    // What may be seen: by the mask, by time, by each row's own length.
    let mut biased = capped;
    let lowest = cx.f(f64::NEG_INFINITY);
    if let Some(mask) = call.optional(3) {
        let mut bias = mask.id;
        if cx.graph.dtype(bias) == DType::Bool {
            let zero = cx.f(0.0);
            bias = cx.map(Func::Select, &[bias, zero, lowest])?;
        }
        let of = cx.shape(bias);
        let last = of[of.len() - 1];
        if last < s {
            let mut pads = vec![(0, 0); of.len()];
            pads[of.len() - 1] = (0, s - last);
            bias = cx.pad(bias, f64::NEG_INFINITY, &pads)?;
        }
        biased = cx.add(biased, bias)?;
    }
    let (row, column) = (cx.iota(&[t, s], 0)?, cx.iota(&[t, s], 1)?);
    let length = call.optional(6).map(|v| v.id);
    // The place of each query among the keys.
    let place = match length {
        Some(length) => {
            let t = cx.i(-(t as i64));
            let offset = cx.add(length, t)?;
            let offset = cx.reshape(offset, &[sq[0], 1, 1, 1])?;
            cx.add(row, offset)?
        }
        None => {
            let past = cx.i(n_past as i64);
            cx.add(row, past)?
        }
    };
    let mut bounds = Vec::new();
    if call.int("is_causal", 0) == 1 {
        bounds.push((Func::Le, 0));
    }
    for (name, func, sign) in [("left_window_size", Func::Ge, -1), ("right_window_size", Func::Le, 1)] {
        let size = call.int(name, -1);
        if size >= 0 {
            bounds.push((func, sign * size));
        }
    }
    for (func, by) in bounds {
        let by = cx.i(by);
        let bound = cx.add(place, by)?;
        let seen = cx.map(func, &[column, bound])?;
        biased = cx.map(Func::Select, &[seen, biased, lowest])?;
    }
    if let Some(length) = length {
        let length = cx.reshape(length, &[sq[0], 1, 1, 1])?;
        let seen = cx.map(Func::Lt, &[column, length])?;
        biased = cx.map(Func::Select, &[seen, biased, lowest])?;
    }
    let weights = softmax(cx, biased, 3)?;
    // A row that sees nothing gives nothing.
    let empty = cx.map(Func::IsNan, &[weights])?;
    let zero = cx.f(0.0);
    let weights = cx.map(Func::Select, &[empty, zero, weights])?;
    let y = matmul(cx, weights, v)?;
    let y = if flat {
        let shape = cx.shape(y);
        let y = cx.permute(y, &[0, 2, 1, 3])?;
        cx.reshape(y, &[shape[0], shape[2], shape[1] * shape[3]])?
    } else {
        y
    };
    let shown = match call.int("qk_matmul_output_mode", 0) {
        0 => raw,
        1 => capped,
        2 => biased,
        _ => weights,
    };
    let values = [(y, q_in.elem), (present_k, k_in.elem), (present_v, v_in.elem), (shown, q_in.elem)];
    Ok(Some(values.map(|(id, elem)| Value { id, elem }).to_vec()))
}

fn rotary(cx: &mut Import, call: &Call) -> Results {
    let x = call.input(0)?;
    let shape = cx.shape(x.id);
    // [batch, t, heads, d]
    let y = if shape.len() == 4 {
        cx.permute(x.id, &[0, 2, 1, 3])?
    } else {
        let n = call.int("num_heads", 1) as usize;
        cx.reshape(x.id, &[shape[0], shape[1], n, shape[2] / n])?
    };
    let of = cx.shape(y);
    let d = match call.int("rotary_embedding_dim", 0) as usize {
        0 => of[3],
        d => d,
    };
    let (turned, rest) = (cx.part(y, 3, 0, 1, d)?, cx.part(y, 3, d, 1, of[3] - d)?);
    let table = |cx: &mut Import, i: usize| -> Said<NodeId> {
        let table = call.input(i)?.id;
        let rows = match call.optional(3) {
            Some(places) => super::built(cx.graph.gather(table, places.id, 0))?,
            None => table,
        };
        let rows = cx.part(rows, 2, 0, 1, d / 2)?;
        cx.reshape(rows, &[of[0], of[1], 1, d / 2])
    };
    let (cos, sin) = (table(cx, 1)?, table(cx, 2)?);
    let interleaved = call.int("interleaved", 0) == 1;
    let (a, b) = if interleaved {
        (cx.part(turned, 3, 0, 2, d / 2)?, cx.part(turned, 3, 1, 2, d / 2)?)
    } else {
        (cx.part(turned, 3, 0, 1, d / 2)?, cx.part(turned, 3, d / 2, 1, d / 2)?)
    };
    let (ac, bs, as_, bc) = (cx.mul(a, cos)?, cx.mul(b, sin)?, cx.mul(a, sin)?, cx.mul(b, cos)?);
    let (real, imaginary) = (cx.sub(ac, bs)?, cx.add(as_, bc)?);
    let joined = if interleaved {
        let pairs = cx.stack(&[real, imaginary], 4)?;
        cx.reshape(pairs, &[of[0], of[1], of[2], d])?
    } else {
        cx.concat(&[real, imaginary], 3)?
    };
    let y = cx.concat(&[joined, rest], 3)?;
    let y = if shape.len() == 4 { cx.permute(y, &[0, 2, 1, 3])? } else { cx.reshape(y, &shape)? };
    super::one(y, x.elem)
}
