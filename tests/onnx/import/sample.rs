//! Pictures read at computed places: affine grids and what lies at them.

use super::{Call, F32, I64, Import, Results, Said, axis_of, built, one};
use gradc::base::DType;
use gradc::graph::NodeId;
use gradc::scalar::Func;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    match call.name() {
        "GridSample" => grid_sample(cx, call),
        "AffineGrid" => affine_grid(cx, call),
        _ => Ok(None),
    }
}

/// Centers (or corners) of the picture's elements from -1 to 1, through a matrix each.
fn affine_grid(cx: &mut Import, call: &Call) -> Results {
    let theta = call.input(0)?;
    let size: Vec<usize> = cx.known_ints(call.input(1)?)?.iter().map(|n| *n as usize).collect();
    let (batch, space) = (size[0], &size[2..]);
    let aligned = call.int("align_corners", 0) == 1;
    let mut columns = Vec::new();
    for axis in (0..space.len()).rev() {
        let n = space[axis] as f64;
        let index = cx.iota(space, axis)?;
        let index = cx.cast(index, DType::F32)?;
        let (step, first) = if aligned { (2.0 / (n - 1.0), -1.0) } else { (2.0 / n, 1.0 / n - 1.0) };
        let scaled = cx.scale(index, step)?;
        columns.push(cx.shift(scaled, first)?);
    }
    columns.push(cx.full(1.0, DType::F32, space));
    let points = cx.stack(&columns, space.len())?;
    let n_points: usize = space.iter().product();
    let points = cx.reshape(points, &[n_points, columns.len()])?;
    let grid = cx.contract("pk,bdk->bpd", points, theta.id)?;
    one(cx.reshape(grid, &[&[batch], space, &[space.len()]].concat())?, theta.elem)
}

struct Sampling {
    mode: String,
    padding: String,
    aligned: bool,
}

impl Sampling {
    /// Mirrored at the borders as often as needed.
    fn reflected(&self, cx: &mut Import, x: NodeId, n: usize) -> Said<NodeId> {
        let (low, high) = if self.aligned { (0.0, n as f64 - 1.0) } else { (-0.5, n as f64 - 0.5) };
        let range = high - low;
        let from = cx.shift(x, -low)?;
        let period = cx.f(2.0 * range);
        let at = cx.map(Func::Rem, &[from, period])?;
        let back = cx.sub(period, at)?;
        let least = cx.map(Func::Min, &[at, back])?;
        cx.shift(least, low)
    }

    /// Where a place between -1 and 1 lies among `n` elements.
    fn place(&self, cx: &mut Import, grid: NodeId, n: usize) -> Said<NodeId> {
        let up = cx.shift(grid, 1.0)?;
        let mut x = if self.aligned {
            cx.scale(up, (n as f64 - 1.0) / 2.0)?
        } else {
            let wide = cx.scale(up, n as f64 / 2.0)?;
            cx.shift(wide, -0.5)?
        };
        if self.mode == "nearest" {
            x = cx.map(Func::Round, &[x])?;
        }
        match self.padding.as_str() {
            "border" => super::elementwise::clamp(cx, x, 0.0, n as f64 - 1.0),
            "reflection" => self.reflected(cx, x, n),
            _ => Ok(x),
        }
    }

    /// Neighbours of a place and their weights.
    fn taps(&self, cx: &mut Import, x: NodeId) -> Said<Vec<(NodeId, Option<NodeId>)>> {
        if self.mode == "nearest" {
            return Ok(vec![(x, None)]);
        }
        let floor = cx.map(Func::Floor, &[x])?;
        let t = cx.sub(x, floor)?;
        let offsets: &[f64] = if self.mode == "cubic" { &[-1.0, 0.0, 1.0, 2.0] } else { &[0.0, 1.0] };
        let mut taps = Vec::new();
        for offset in offsets {
            let at = cx.shift(floor, *offset)?;
            let distance = cx.shift(t, -offset)?;
            let d = cx.map(Func::Abs, &[distance])?;
            // Keys, "Cubic convolution interpolation for digital image processing" (1981), a = -3/4.
            let weight = match (self.mode.as_str(), *offset) {
                ("cubic", -1.0 | 2.0) => polynomial(cx, d, &[-0.75, 3.75, -6.0, 3.0])?,
                ("cubic", _) => polynomial(cx, d, &[1.25, -2.25, 0.0, 1.0])?,
                _ => polynomial(cx, d, &[-1.0, 1.0])?,
            };
            taps.push((at, Some(weight)));
        }
        Ok(taps)
    }
}

/// Coefficients from the highest power down.
fn polynomial(cx: &mut Import, x: NodeId, coefficients: &[f64]) -> Said<NodeId> {
    let mut sum = cx.f(coefficients[0]);
    for c in &coefficients[1..] {
        let product = cx.mul(sum, x)?;
        sum = cx.shift(product, *c)?;
    }
    Ok(sum)
}

fn grid_sample(cx: &mut Import, call: &Call) -> Results {
    let (x, grid) = (call.input(0)?, call.input(1)?.id);
    let (shape, of) = (cx.shape(x.id), cx.shape(grid));
    let space = &shape[2..];
    let how = Sampling {
        mode: match call.text("mode", "linear").as_str() {
            "bilinear" => "linear".into(),
            "bicubic" => "cubic".into(),
            other => other.into(),
        },
        padding: call.text("padding_mode", "zeros"),
        aligned: call.int("align_corners", 0) == 1,
    };
    let n_points: usize = of[1..of.len() - 1].iter().product();
    let last = axis_of(-1, of.len());
    // For each axis its taps; all combinations of them are read and added up.
    let mut all: Vec<(NodeId, NodeId, Option<NodeId>)> = Vec::new();
    for (axis, n) in space.iter().enumerate() {
        let component = cx.pick(grid, last, space.len() - 1 - axis)?;
        let component = cx.reshape(component, &[shape[0], n_points])?;
        let place = how.place(cx, component, *n)?;
        let mut here = Vec::new();
        for (at, weight) in how.taps(cx, place)? {
            let at = match how.padding.as_str() {
                "reflection" => how.reflected(cx, at, *n)?,
                "border" => super::elementwise::clamp(cx, at, 0.0, *n as f64 - 1.0)?,
                _ => at,
            };
            let (zero, size) = (cx.f(0.0), cx.f(*n as f64));
            let (least, most) = (cx.map(Func::Ge, &[at, zero])?, cx.map(Func::Lt, &[at, size])?);
            let inside = cx.map(Func::And, &[least, most])?;
            let at = super::elementwise::clamp(cx, at, 0.0, *n as f64 - 1.0)?;
            let index = cx.cast(at, I64.dtype())?;
            here.push((index, inside, weight));
        }
        if axis == 0 {
            all = here;
            continue;
        }
        let stride = cx.i(*n as i64);
        let mut both = Vec::new();
        for (index, inside, weight) in &all {
            for (next, next_inside, next_weight) in &here {
                let rows = cx.mul(*index, stride)?;
                let index = cx.add(rows, *next)?;
                let inside = cx.map(Func::And, &[*inside, *next_inside])?;
                let weight = match (weight, next_weight) {
                    (Some(a), Some(b)) => Some(cx.mul(*a, *b)?),
                    (a, b) => a.or(*b),
                };
                both.push((index, inside, weight));
            }
        }
        all = both;
    }
    let table = cx.reshape(x.id, &[shape[0], shape[1], space.iter().product()])?;
    let mut sum: Option<NodeId> = None;
    for (index, inside, weight) in all {
        let read = built(cx.graph.gather_in(table, index, 2, 1))?;
        let weight = match weight {
            Some(weight) => weight,
            None => cx.full(1.0, DType::F32, &[shape[0], n_points]),
        };
        let zero = cx.f(0.0);
        let weight = cx.map(Func::Select, &[inside, weight, zero])?;
        let weight = cx.reshape(weight, &[shape[0], 1, n_points])?;
        let term = cx.mul(read, weight)?;
        sum = Some(match sum {
            Some(sum) => cx.add(sum, term)?,
            None => term,
        });
    }
    let y = sum.ok_or("a picture without axes")?;
    let out = [&shape[..2], &of[1..of.len() - 1]].concat();
    one(cx.reshape(y, &out)?, if x.elem.is_float() { x.elem } else { F32 })
}
