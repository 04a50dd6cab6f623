//! RNN, GRU, LSTM, turn by turn.

use super::{Call, Import, Results, Said, Value};
use gradc::base::DType;
use gradc::graph::NodeId;
use gradc::scalar::Func;

/// One direction's weights.
struct Cell {
    kind: String,
    hidden: usize,
    w: NodeId,
    r: NodeId,
    /// Of input and of recurrence.
    bias: Option<(NodeId, NodeId)>,
    peephole: Option<NodeId>,
    linear_before_reset: bool,
    coupled: bool,
    clip: Option<f64>,
    activations: Vec<String>,
}

pub fn import(cx: &mut Import, call: &Call) -> Results {
    if !matches!(call.name(), "RNN" | "GRU" | "LSTM") {
        return Ok(None);
    }
    let is_lstm = call.name() == "LSTM";
    let by_batch = call.int("layout", 0) == 1;
    let mut x = call.input(0)?.id;
    if by_batch {
        x = cx.permute(x, &[1, 0, 2])?;
    }
    let (turns, batch) = (cx.shape(x)[0], cx.shape(x)[1]);
    let hidden = call.int("hidden_size", 0) as usize;
    let direction = call.text("direction", "forward");
    let n_directions = if direction == "bidirectional" { 2 } else { 1 };
    let otherwise: &[&str] = match call.name() {
        "RNN" => &["Tanh"],
        "GRU" => &["Sigmoid", "Tanh"],
        _ => &["Sigmoid", "Tanh", "Tanh"],
    };
    let named: Vec<String> = match call.attribute("activations") {
        Some(a) => a.strings.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect(),
        None => otherwise.repeat(n_directions).iter().map(|s| s.to_string()).collect(),
    };
    let lengths = call.optional(4).map(|v| v.id);
    let (mut hs, mut last_h, mut last_c) = (Vec::new(), Vec::new(), Vec::new());
    for d in 0..n_directions {
        let of = |cx: &mut Import, i: usize| -> Said<Option<NodeId>> {
            call.optional(i).map(|v| cx.pick(v.id, 0, d)).transpose()
        };
        let initial = |cx: &mut Import, i: usize| -> Said<NodeId> {
            match call.optional(i) {
                Some(v) => cx.pick(v.id, usize::from(by_batch), d),
                None => Ok(cx.full(0.0, DType::F32, &[batch, hidden])),
            }
        };
        let gates = match call.name() {
            "RNN" => 1,
            "GRU" => 3,
            _ => 4,
        } * hidden;
        let bias = match of(cx, 3)? {
            Some(b) => Some((cx.part(b, 0, 0, 1, gates)?, cx.part(b, 0, gates, 1, gates)?)),
            None => None,
        };
        let n = otherwise.len();
        let cell = Cell {
            kind: call.name().into(),
            hidden,
            w: of(cx, 1)?.ok_or("a recurrence without weights")?,
            r: of(cx, 2)?.ok_or("a recurrence without weights")?,
            bias,
            peephole: if is_lstm { of(cx, 7)? } else { None },
            linear_before_reset: call.int("linear_before_reset", 0) == 1,
            coupled: call.int("input_forget", 0) == 1,
            clip: call.attribute("clip").map(|a| a.f.into()),
            activations: named[d * n..(d + 1) * n].to_vec(),
        };
        let (mut h, mut c) = (initial(cx, 5)?, initial(cx, if is_lstm { 6 } else { 99 })?);
        let backwards = direction == "reverse" || d == 1;
        let order: Vec<usize> = if backwards { (0..turns).rev().collect() } else { (0..turns).collect() };
        let mut stack = vec![None; turns];
        for t in order {
            let xt = cx.pick(x, 0, t)?;
            let (mut new_h, mut new_c) = cell.turn(cx, xt, h, c)?;
            let mut shown = new_h;
            if let Some(lengths) = lengths {
                let t = cx.i(t as i64);
                let inside = cx.map(Func::Lt, &[t, lengths])?;
                let inside = cx.reshape(inside, &[batch, 1])?;
                let zero = cx.f(0.0);
                shown = cx.map(Func::Select, &[inside, new_h, zero])?;
                new_h = cx.map(Func::Select, &[inside, new_h, h])?;
                new_c = cx.map(Func::Select, &[inside, new_c, c])?;
            }
            (h, c) = (new_h, new_c);
            stack[t] = Some(shown);
        }
        let stack: Vec<NodeId> = stack.into_iter().flatten().collect();
        hs.push(cx.stack(&stack, 0)?);
        last_h.push(h);
        last_c.push(c);
    }
    let y = cx.stack(&hs, 1)?;
    let y = if by_batch { cx.permute(y, &[2, 0, 1, 3])? } else { y };
    let at = usize::from(by_batch);
    let mut values = vec![y, cx.stack(&last_h, at)?];
    if is_lstm {
        values.push(cx.stack(&last_c, at)?);
    }
    let elem = call.input(0)?.elem;
    Ok(Some(values.into_iter().map(|id| Value { id, elem }).collect()))
}

impl Cell {
    fn activate(&self, cx: &mut Import, which: usize, x: NodeId) -> Said<NodeId> {
        let x = match self.clip {
            Some(most) => super::elementwise::clamp(cx, x, -most, most)?,
            None => x,
        };
        match self.activations[which].to_lowercase().as_str() {
            "sigmoid" => cx.map(Func::Sigmoid, &[x]),
            "tanh" => cx.map(Func::Tanh, &[x]),
            "relu" => {
                let zero = cx.f(0.0);
                cx.map(Func::Max, &[x, zero])
            }
            other => Err(format!("no composition: the activation {other}")),
        }
    }

    /// `x @ transpose(w) + b` for the `i`-th gate.
    fn gate(&self, cx: &mut Import, x: NodeId, weights: NodeId, recurrent: bool, i: usize) -> Said<NodeId> {
        let w = cx.part(weights, 0, i * self.hidden, 1, self.hidden)?;
        let y = cx.contract("bk,hk->bh", x, w)?;
        let Some((input, recurrence)) = self.bias else { return Ok(y) };
        let b = cx.part(if recurrent { recurrence } else { input }, 0, i * self.hidden, 1, self.hidden)?;
        cx.add(y, b)
    }

    fn both(&self, cx: &mut Import, x: NodeId, h: NodeId, i: usize) -> Said<NodeId> {
        let (a, b) = (self.gate(cx, x, self.w, false, i)?, self.gate(cx, h, self.r, true, i)?);
        cx.add(a, b)
    }

    /// A gate that also looks at the cell.
    fn peeking(&self, cx: &mut Import, x: NodeId, c: NodeId, i: usize) -> Said<NodeId> {
        let Some(p) = self.peephole else { return Ok(x) };
        let p = cx.part(p, 0, i * self.hidden, 1, self.hidden)?;
        let term = cx.mul(p, c)?;
        cx.add(x, term)
    }

    fn turn(&self, cx: &mut Import, x: NodeId, h: NodeId, c: NodeId) -> Said<(NodeId, NodeId)> {
        match self.kind.as_str() {
            "RNN" => {
                let y = self.both(cx, x, h, 0)?;
                Ok((self.activate(cx, 0, y)?, c))
            }
            "GRU" => {
                let (z, r) = (self.both(cx, x, h, 0)?, self.both(cx, x, h, 1)?);
                let (z, r) = (self.activate(cx, 0, z)?, self.activate(cx, 0, r)?);
                let from_input = self.gate(cx, x, self.w, false, 2)?;
                let from_state = if self.linear_before_reset {
                    let y = self.gate(cx, h, self.r, true, 2)?;
                    cx.mul(r, y)?
                } else {
                    let reset = cx.mul(r, h)?;
                    self.gate(cx, reset, self.r, true, 2)?
                };
                let n = cx.add(from_input, from_state)?;
                let n = self.activate(cx, 1, n)?;
                // (1 - z) n + z h
                let step = cx.sub(h, n)?;
                let step = cx.mul(z, step)?;
                Ok((cx.add(n, step)?, c))
            }
            _ => {
                let (i, o) = (self.both(cx, x, h, 0)?, self.both(cx, x, h, 1)?);
                let (f, g) = (self.both(cx, x, h, 2)?, self.both(cx, x, h, 3)?);
                let i = self.peeking(cx, i, c, 0)?;
                let i = self.activate(cx, 0, i)?;
                let f = if self.coupled {
                    let one = cx.f(1.0);
                    cx.sub(one, i)?
                } else {
                    let f = self.peeking(cx, f, c, 2)?;
                    self.activate(cx, 0, f)?
                };
                let g = self.activate(cx, 1, g)?;
                let (kept, new) = (cx.mul(f, c)?, cx.mul(i, g)?);
                let c = cx.add(kept, new)?;
                let o = self.peeking(cx, o, c, 1)?;
                let o = self.activate(cx, 0, o)?;
                let shown = self.activate(cx, 2, c)?;
                Ok((cx.mul(o, shown)?, c))
            }
        }
    }
}
