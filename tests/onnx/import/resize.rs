//! Pictures of other sizes: each axis by itself is a product with a matrix of weights that is known when the graph is built.

use super::{Call, F32, Import, Results, axis_of, built, one};
use gradc::graph::Contraction;

pub fn import(cx: &mut Import, call: &Call) -> Results {
    if !matches!(call.name(), "Resize" | "Upsample") {
        return Ok(None);
    }
    let x = call.input(0)?;
    let shape = cx.shape(x.id);
    let rank = shape.len();
    let axes: Vec<usize> = match call.ints("axes") {
        Some(axes) => axes.iter().map(|a| axis_of(*a, rank)).collect(),
        None => (0..rank).collect(),
    };
    let (roi_at, scales_at) = if call.name() == "Resize" && call.opset > 10 { (1, 2) } else { (99, 1) };
    let listed = |cx: &Import, i: usize| -> Result<Vec<f64>, String> {
        match call.optional(i) {
            Some(v) => Ok(cx.known(v)?.data),
            None => Ok(Vec::new()),
        }
    };
    let (roi, mut scales) = (listed(cx, roi_at)?, listed(cx, scales_at)?);
    let sizes = listed(cx, 3)?;
    let mut out: Vec<usize> = Vec::new();
    if !sizes.is_empty() {
        scales = sizes.iter().zip(&axes).map(|(n, a)| n / shape[*a] as f64).collect();
        let policy = call.text("keep_aspect_ratio_policy", "stretch");
        if policy != "stretch" {
            let pick = if policy == "not_larger" { f64::min } else { f64::max };
            let scale = scales.iter().copied().reduce(pick).unwrap_or(1.0);
            scales = vec![scale; axes.len()];
            out = axes.iter().map(|a| (scale * shape[*a] as f64 + 0.5).floor() as usize).collect();
        } else {
            out = sizes.iter().map(|n| *n as usize).collect();
        }
    }
    if scales.is_empty() {
        scales = call
            .attribute("scales")
            .map_or(vec![1.0; rank], |a| a.floats.iter().map(|s| f64::from(*s)).collect());
    }
    if out.is_empty() {
        out = axes.iter().zip(&scales).map(|(a, s)| (shape[*a] as f64 * s).floor() as usize).collect();
    }
    let how = How {
        mode: call.text("mode", "nearest"),
        place: if call.opset > 10 {
            call.text("coordinate_transformation_mode", "half_pixel")
        } else {
            "asymmetric".into()
        },
        nearest: if call.opset > 10 {
            call.text("nearest_mode", "round_prefer_floor")
        } else {
            "floor".into()
        },
        cubic: call.float("cubic_coeff_a", -0.75),
        exclude: call.int("exclude_outside", 0) == 1,
        antialias: call.int("antialias", 0) == 1,
    };
    let outside = call.float("extrapolation_value", 0.0);
    let mut y = x.id;
    let crop = how.place == "tf_crop_and_resize";
    for (i, axis) in axes.iter().enumerate() {
        let roi = if crop { (roi[i], roi[i + axes.len()]) } else { (0.0, 1.0) };
        if out[i] == shape[*axis] && scales[i] == 1.0 && !crop {
            continue;
        }
        let n = shape[*axis];
        let weights = how.weights(n, out[i], scales[i], roi);
        let flat: Vec<f64> = weights.iter().flat_map(|w| w.clone().unwrap_or(vec![0.0; n])).collect();
        let matrix = cx.numbers(F32, &[out[i], n], flat)?;
        let labels: Vec<u8> = (b'a'..).take(rank).collect();
        let mut result = labels.clone();
        result[*axis] = b'z';
        let lhs = vec![b'z', labels[*axis]];
        let real = cx.cast(y, gradc::base::DType::F32)?;
        y = built(cx.graph.contract(matrix, real, Contraction { lhs, rhs: labels, out: result }))?;
        if weights.iter().any(Option::is_none) {
            let mut across = vec![1; rank];
            across[*axis] = out[i];
            let missing = weights.iter().map(|w| f64::from(u8::from(w.is_none()))).collect();
            let missing = cx.numbers(crate::onnx::tensor::Elem::Bool, &across, missing)?;
            let value = cx.f(outside);
            y = cx.map(gradc::scalar::Func::Select, &[missing, value, y])?;
        }
    }
    let y = cx.cast(y, x.elem.dtype())?;
    one(y, x.elem)
}

struct How {
    mode: String,
    place: String,
    nearest: String,
    cubic: f64,
    exclude: bool,
    antialias: bool,
}

impl How {
    /// Where an index of the result lies among those of the operand.
    fn source(&self, i: usize, n: usize, m: usize, scale: f64, roi: (f64, f64)) -> f64 {
        let (i, n_f, m_f) = (i as f64, n as f64, m as f64);
        let wide = scale * n_f;
        match self.place.as_str() {
            "asymmetric" => i / scale,
            "align_corners" if m == 1 || wide == 1.0 => 0.0,
            "align_corners" => i * (n_f - 1.0) / (wide - 1.0),
            "pytorch_half_pixel" if m == 1 => -0.5,
            "half_pixel_symmetric" => {
                let center = n_f / 2.0;
                center * (1.0 - m_f / wide) + (i + 0.5) / scale - 0.5
            }
            "tf_crop_and_resize" if m == 1 => 0.5 * (roi.0 + roi.1) * (n_f - 1.0),
            "tf_crop_and_resize" => roi.0 * (n_f - 1.0) + i * (roi.1 - roi.0) * (n_f - 1.0) / (m_f - 1.0),
            _ => (i + 0.5) / scale - 0.5,
        }
    }

    /// For each index of the result a weight for each of the operand's; `None` outside of what is extrapolated.
    fn weights(&self, n: usize, m: usize, scale: f64, roi: (f64, f64)) -> Vec<Option<Vec<f64>>> {
        (0..m)
            .map(|i| {
                let x = self.source(i, n, m, scale, roi);
                if self.place == "tf_crop_and_resize" && !(0.0..=(n - 1) as f64).contains(&x) {
                    return None;
                }
                let mut row = vec![0.0; n];
                let mut total = 0.0;
                for (at, weight) in self.taps(x, scale) {
                    let inside = (0..n as i64).contains(&at);
                    if inside || !self.exclude {
                        row[at.clamp(0, n as i64 - 1) as usize] += weight;
                        total += weight;
                    }
                }
                row.iter_mut().for_each(|w| *w /= total);
                Some(row)
            })
            .collect()
    }

    fn taps(&self, x: f64, scale: f64) -> Vec<(i64, f64)> {
        if self.mode == "nearest" {
            let at = match self.nearest.as_str() {
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                _ => (x - 0.5).ceil(),
            };
            return vec![(at as i64, 1.0)];
        }
        let reach = if self.mode == "cubic" { 2.0 } else { 1.0 };
        let stretch = if self.antialias { scale.min(1.0) } else { 1.0 };
        let (first, last) = ((x - reach / stretch).floor() as i64, (x + reach / stretch).ceil() as i64);
        let kernel = |d: f64| {
            let (d, a) = (d.abs(), self.cubic);
            match () {
                () if self.mode != "cubic" => (1.0 - d).max(0.0),
                () if d <= 1.0 => ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0,
                () if d < 2.0 => ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a,
                () => 0.0,
            }
        };
        (first..=last).map(|at| (at, kernel((x - at as f64) * stretch))).collect()
    }
}
