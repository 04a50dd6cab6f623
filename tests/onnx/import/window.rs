//! Convolutions and pools: a sum, a maximum or a product for each place of the window, over slices of the padded picture.

use super::linear::{quantized, zeroed};
use super::norm::channels;
use super::shape::spread;
use super::{Call, I64, Import, Results, Said, Value, built, one};
use crate::onnx::tensor::Elem;
use gradc::base::{DType, ReduceOp};
use gradc::graph::NodeId;
use gradc::scalar::Func;

/// How a window goes over the axes after the second.
struct Window {
    kernel: Vec<usize>,
    stride: Vec<usize>,
    dilation: Vec<usize>,
    /// Before and after.
    pads: Vec<(usize, usize)>,
    /// Sizes of the result.
    out: Vec<usize>,
}

impl Window {
    fn new(call: &Call, size: &[usize], kernel: Vec<usize>) -> Window {
        let rank = size.len();
        let list = |name: &str, otherwise: usize| match call.ints(name) {
            Some(list) => list.iter().map(|n| *n as usize).collect(),
            None => vec![otherwise; rank],
        };
        let (stride, dilation) = (list("strides", 1), list("dilations", 1));
        let given = call.ints("pads").unwrap_or(vec![0; 2 * rank]);
        let auto = call.text("auto_pad", "NOTSET");
        let ceil = call.int("ceil_mode", 0) == 1;
        let mut window = Window { kernel, stride, dilation, pads: Vec::new(), out: Vec::new() };
        for i in 0..rank {
            let span = window.dilation[i] * (window.kernel[i] - 1) + 1;
            let (mut before, mut after) = (given[i] as usize, given[rank + i] as usize);
            let step = window.stride[i];
            if auto.starts_with("SAME") {
                let total = ((size[i].div_ceil(step) - 1) * step + span).saturating_sub(size[i]);
                let less = total / 2;
                (before, after) =
                    if auto == "SAME_UPPER" { (less, total - less) } else { (total - less, less) };
            }
            let room = (size[i] + before + after).saturating_sub(span);
            let mut n = if ceil { room.div_ceil(step) } else { room / step } + 1;
            // The last window of those rounded up begins within the picture.
            if ceil && (n - 1) * step >= size[i] + before {
                n -= 1;
            }
            let needed = ((n - 1) * step + span).saturating_sub(size[i] + before);
            window.pads.push((before, needed.max(after)));
            window.out.push(n);
        }
        window
    }

    /// All places of the window, row-major.
    fn places(&self) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new()];
        for n in &self.kernel {
            all = all.iter().flat_map(|p: &Vec<usize>| (0..*n).map(|i| [&p[..], &[i]].concat())).collect();
        }
        all
    }

    /// The picture with its borders.
    fn padded(&self, cx: &mut Import, x: NodeId, value: f64) -> Said<NodeId> {
        cx.pad(x, value, &[&[(0, 0), (0, 0)], &self.pads[..]].concat())
    }

    /// What a place of the window sees of the padded picture.
    fn seen(&self, cx: &mut Import, padded: NodeId, place: &[usize]) -> Said<NodeId> {
        let mut y = padded;
        for (i, at) in place.iter().enumerate() {
            y = cx.part(y, i + 2, at * self.dilation[i], self.stride[i], self.out[i])?;
        }
        Ok(y)
    }
}

pub fn import(cx: &mut Import, call: &Call) -> Results {
    let Some(x) = call.optional(0) else { return Ok(None) };
    match call.name() {
        "Conv" => one(conv(cx, call, x.id, call.input(1)?.id, call.optional(2).map(|b| b.id))?, x.elem),
        "ConvInteger" => {
            let image = zeroed(cx, x, call.optional(2), false)?;
            let kernel = kernel(cx, call.input(1)?, call.optional(3))?;
            let y = conv(cx, call, image, kernel, None)?;
            one(cx.cast(y, DType::I32)?, Elem::Int(32))
        }
        "QLinearConv" => {
            let image = zeroed(cx, x, call.optional(2), false)?;
            let image = cx.mul(image, call.input(1)?.id)?;
            let kernel = kernel(cx, call.input(3)?, call.optional(5))?;
            let kernel = cx.mul(kernel, call.input(4)?.id)?;
            let y = conv(cx, call, image, kernel, None)?;
            let zero = call.input(7)?;
            one(quantized(cx, y, call.input(6)?.id, Some(zero.id), zero.elem)?, zero.elem)
        }
        "ConvTranspose" => conv_transpose(cx, call, x),
        "MaxPool" => max_pool(cx, call, x),
        "AveragePool" | "LpPool" => average_pool(cx, call, x),
        "GlobalAveragePool" | "GlobalMaxPool" => {
            let axes: Vec<usize> = (2..cx.rank(x.id)).collect();
            let y = match call.name() {
                "GlobalAveragePool" => cx.mean(x.id, &axes)?,
                _ => cx.reduce(ReduceOp::Max, x.id, &axes, true)?,
            };
            one(y, x.elem)
        }
        "MaxUnpool" => max_unpool(cx, call, x),
        "Col2Im" => col2im(cx, call, x),
        _ => Ok(None),
    }
}

/// Weights less their zero point, which may be one for each output channel.
fn kernel(cx: &mut Import, w: Value, zero: Option<Value>) -> Said<NodeId> {
    let Some(zero) = zero else { return zeroed(cx, w, None, false) };
    let mut across = vec![1; cx.rank(w.id)];
    across[0] = cx.shape(zero.id).first().copied().unwrap_or(1);
    let zero = Value { id: cx.reshape(zero.id, &across)?, elem: zero.elem };
    zeroed(cx, w, Some(zero), false)
}

fn kernel_shape(call: &Call) -> Vec<usize> {
    call.ints("kernel_shape").unwrap_or_default().iter().map(|n| *n as usize).collect()
}

/// In groups: `[n, g, c, space] x [g, m, c]`, summed over the window's places.
fn conv(cx: &mut Import, call: &Call, x: NodeId, w: NodeId, bias: Option<NodeId>) -> Said<NodeId> {
    let (sx, sw) = (cx.shape(x), cx.shape(w));
    let window = Window::new(call, &sx[2..], sw[2..].to_vec());
    let g = call.int("group", 1) as usize;
    let (n, c, m) = (sx[0], sw[1], sw[0] / g);
    let area: usize = window.out.iter().product();
    let padded = window.padded(cx, x, 0.0)?;
    let mut sum: Option<NodeId> = None;
    for place in window.places() {
        let seen = window.seen(cx, padded, &place)?;
        let seen = cx.reshape(seen, &[n, g, c, area])?;
        let weights = place.iter().try_fold(w, |w, at| cx.pick(w, 2, *at))?;
        let weights = cx.reshape(weights, &[g, m, c])?;
        let term = cx.contract("ngca,gmc->ngma", seen, weights)?;
        sum = Some(match sum {
            Some(sum) => cx.add(sum, term)?,
            None => term,
        });
    }
    let y = sum.ok_or("a window without places")?;
    let y = cx.reshape(y, &[&[n, g * m], &window.out[..]].concat())?;
    match bias {
        Some(bias) => {
            let bias = channels(cx, bias, sx.len())?;
            cx.add(y, bias)
        }
        None => Ok(y),
    }
}

/// Each place of the window spreads a product over the result.
fn conv_transpose(cx: &mut Import, call: &Call, x: Value) -> Results {
    let w = call.input(1)?.id;
    let (sx, sw) = (cx.shape(x.id), cx.shape(w));
    let rank = sx.len() - 2;
    let list = |name: &str, otherwise: usize| match call.ints(name) {
        Some(list) => list.iter().map(|n| *n as usize).collect(),
        None => vec![otherwise; rank],
    };
    let (stride, dilation) = (list("strides", 1), list("dilations", 1));
    let extra: Vec<usize> = list("output_padding", 0);
    let given: Vec<i64> = call.ints("pads").unwrap_or(vec![0; 2 * rank]);
    let asked = call.ints("output_shape");
    let auto = call.text("auto_pad", "NOTSET");
    let g = call.int("group", 1) as usize;
    let (n, c, m) = (sx[0], sx[1] / g, sw[1]);
    let span = |i: usize| dilation[i] * (sw[2 + i] - 1) + 1;
    let full: Vec<usize> = (0..rank).map(|i| stride[i] * (sx[2 + i] - 1) + span(i) + extra[i]).collect();
    let window = Window {
        kernel: sw[2..].to_vec(),
        stride: stride.clone(),
        dilation: dilation.clone(),
        pads: vec![(0, 0); rank],
        out: sx[2..].to_vec(),
    };
    let area: usize = sx[2..].iter().product();
    let image = cx.reshape(x.id, &[n, g, c, area])?;
    let mut sum: Option<NodeId> = None;
    for place in window.places() {
        let weights = place.iter().try_fold(w, |w, at| cx.pick(w, 2, *at))?;
        let weights = cx.reshape(weights, &[g, c, m])?;
        let term = cx.contract("ngca,gcm->ngma", image, weights)?;
        let mut term = cx.reshape(term, &[&[n, g * m], &sx[2..]].concat())?;
        for (i, at) in place.iter().enumerate() {
            term = spread(cx, term, i + 2, at * dilation[i], stride[i], full[i])?;
        }
        sum = Some(match sum {
            Some(sum) => cx.add(sum, term)?,
            None => term,
        });
    }
    let mut y = sum.ok_or("a window without places")?;
    for i in 0..rank {
        let want = match (&asked, auto.as_str()) {
            (Some(asked), _) => Some(asked[asked.len() - rank + i] as usize),
            (None, "SAME_UPPER" | "SAME_LOWER") => Some(sx[2 + i] * stride[i]),
            _ => None,
        };
        let (before, size) = match want {
            Some(size) if size > full[i] => {
                let mut pads = vec![(0, 0); rank + 2];
                pads[i + 2] = (0, size - full[i]);
                y = cx.pad(y, 0.0, &pads)?;
                (0, size)
            }
            Some(size) => {
                let total = full[i] - size;
                (if auto == "SAME_LOWER" { total - total / 2 } else { total / 2 }, size)
            }
            None => (given[i] as usize, full[i] - (given[i] + given[rank + i]) as usize),
        };
        y = cx.part(y, i + 2, before, 1, size)?;
    }
    if let Some(bias) = call.optional(2) {
        let bias = channels(cx, bias.id, rank + 2)?;
        y = cx.add(y, bias)?;
    }
    one(y, x.elem)
}

fn max_pool(cx: &mut Import, call: &Call, x: Value) -> Results {
    let shape = cx.shape(x.id);
    let window = Window::new(call, &shape[2..], kernel_shape(call));
    let least = if x.elem.is_float() { f64::NEG_INFINITY } else { f64::from(i32::MIN) };
    let padded = window.padded(cx, x.id, least)?;
    // Where each element stands, in the whole tensor.
    let whole = call.wants(1).then(|| -> Said<NodeId> {
        let index = cx.iota(&[shape.iter().product()], 0)?;
        let mut index = cx.reshape(index, &shape)?;
        if call.int("storage_order", 0) == 1 && shape.len() == 4 {
            let (planes, row, column) =
                (cx.iota(&[shape[0] * shape[1]], 0)?, cx.iota(&shape, 2)?, cx.iota(&shape, 3)?);
            let planes = cx.reshape(planes, &[shape[0], shape[1], 1, 1])?;
            let (area, height) = (cx.i((shape[2] * shape[3]) as i64), cx.i(shape[2] as i64));
            let (plane, column) = (cx.mul(planes, area)?, cx.mul(column, height)?);
            let place = cx.add(plane, column)?;
            index = cx.add(place, row)?;
        }
        window.padded(cx, index, 0.0)
    });
    let whole = whole.transpose()?;
    let mut best: Option<(NodeId, Option<NodeId>)> = None;
    for place in window.places() {
        let seen = window.seen(cx, padded, &place)?;
        let index = whole.map(|whole| window.seen(cx, whole, &place)).transpose()?;
        best = Some(match best {
            None => (seen, index),
            Some((value, None)) => (cx.map(Func::Max, &[value, seen])?, None),
            Some((value, Some(at))) => {
                let greater = cx.map(Func::Gt, &[seen, value])?;
                let index = index.ok_or("an index for each place")?;
                (
                    cx.map(Func::Select, &[greater, seen, value])?,
                    Some(cx.map(Func::Select, &[greater, index, at])?),
                )
            }
        });
    }
    let (value, index) = best.ok_or("a window without places")?;
    let mut values = vec![Value { id: value, elem: x.elem }];
    values.extend(index.map(|id| Value { id, elem: I64 }));
    Ok(Some(values))
}

fn average_pool(cx: &mut Import, call: &Call, x: Value) -> Results {
    let shape = cx.shape(x.id);
    let window = Window::new(call, &shape[2..], kernel_shape(call));
    let p = call.int("p", 2);
    let is_norm = call.name() == "LpPool";
    let mut values = x.id;
    if is_norm {
        let size = cx.map(Func::Abs, &[x.id])?;
        let exponent = cx.f(p as f64);
        values = cx.map(Func::Pow, &[size, exponent])?;
    }
    let sum_of = |cx: &mut Import, padded: NodeId| -> Said<NodeId> {
        let mut sum = None;
        for place in window.places() {
            let seen = window.seen(cx, padded, &place)?;
            sum = Some(match sum {
                Some(sum) => cx.add(sum, seen)?,
                None => seen,
            });
        }
        sum.ok_or_else(|| "a window without places".into())
    };
    let padded = window.padded(cx, values, 0.0)?;
    let sum = sum_of(cx, padded)?;
    if is_norm {
        let exponent = cx.f(1.0 / p as f64);
        return one(cx.map(Func::Pow, &[sum, exponent])?, x.elem);
    }
    // How many elements count: those of the picture, or also those of the borders that were asked for.
    let mut counted = cx.full(1.0, DType::F32, &shape);
    let mut rest = window;
    if call.int("count_include_pad", 0) == 1 {
        let rank = shape.len() - 2;
        let given = call.ints("pads").unwrap_or(vec![0; 2 * rank]);
        let auto = call.text("auto_pad", "NOTSET").starts_with("SAME");
        let asked: Vec<(usize, usize)> = (0..rank)
            .map(|i| if auto { rest.pads[i] } else { (given[i] as usize, given[rank + i] as usize) })
            .collect();
        counted = cx.pad(counted, 1.0, &[&[(0, 0), (0, 0)], &asked[..]].concat())?;
        rest.pads = rest.pads.iter().zip(&asked).map(|(p, a)| (p.0 - a.0, p.1 - a.1)).collect();
    }
    let counted = rest.padded(cx, counted, 0.0)?;
    let mut count = None;
    for place in rest.places() {
        let seen = rest.seen(cx, counted, &place)?;
        count = Some(match count {
            Some(sum) => cx.add(sum, seen)?,
            None => seen,
        });
    }
    one(cx.div(sum, count.ok_or("a window without places")?)?, x.elem)
}

/// Values at their places in a tensor of zeros.
fn max_unpool(cx: &mut Import, call: &Call, x: Value) -> Results {
    let shape = cx.shape(x.id);
    let kernel = kernel_shape(call);
    let rank = kernel.len();
    let stride: Vec<usize> =
        call.ints("strides").map_or(vec![1; rank], |s| s.iter().map(|n| *n as usize).collect());
    let pads = call.ints("pads").unwrap_or(vec![0; 2 * rank]);
    let size = |i: usize| (shape[2 + i] - 1) * stride[i] + kernel[i] - (pads[i] + pads[rank + i]) as usize;
    let inferred: Vec<usize> = [shape[0], shape[1]].into_iter().chain((0..rank).map(size)).collect();
    let out: Vec<usize> = match call.optional(2) {
        Some(asked) => cx.known_ints(asked)?.iter().map(|n| *n as usize).collect(),
        None => inferred.clone(),
    };
    let (n, total): (usize, usize) = (shape.iter().product(), inferred.iter().product());
    let places = cx.reshape(call.input(1)?.id, &[n])?;
    let values = cx.reshape(x.id, &[n])?;
    let flat = built(cx.graph.scatter_add(places, values, 0, super::dims(&[total])))?;
    let y = cx.reshape(flat, &inferred)?;
    let grown: Vec<(usize, usize)> = out.iter().zip(&inferred).map(|(o, i)| (0, o - i)).collect();
    one(cx.pad(y, 0.0, &grown)?, x.elem)
}

/// Columns spread back to the picture: the transpose of what a window sees.
fn col2im(cx: &mut Import, call: &Call, x: Value) -> Results {
    let shape = cx.shape(x.id);
    let size: Vec<usize> = cx.known_ints(call.input(1)?)?.iter().map(|n| *n as usize).collect();
    let kernel: Vec<usize> = cx.known_ints(call.input(2)?)?.iter().map(|n| *n as usize).collect();
    let window = Window::new(call, &size, kernel.clone());
    let rank = size.len();
    let n_places: usize = kernel.iter().product();
    let (n, c) = (shape[0], shape[1] / n_places);
    let columns = cx.reshape(x.id, &[&[n, c, n_places], &window.out[..]].concat())?;
    let mut sum: Option<NodeId> = None;
    for (number, place) in window.places().iter().enumerate() {
        let mut term = cx.pick(columns, 2, number)?;
        for i in 0..rank {
            let whole = size[i] + window.pads[i].0 + window.pads[i].1;
            term = spread(cx, term, i + 2, place[i] * window.dilation[i], window.stride[i], whole)?;
        }
        sum = Some(match sum {
            Some(sum) => cx.add(sum, term)?,
            None => term,
        });
    }
    let mut y = sum.ok_or("a window without places")?;
    for (i, n) in size.iter().enumerate() {
        y = cx.part(y, i + 2, window.pads[i].0, 1, *n)?;
    }
    one(y, x.elem)
}
