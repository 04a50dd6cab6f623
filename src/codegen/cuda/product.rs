//! Matrix products.
//!
//! What enters: a `Gemm`. What leaves: loops. Each element is one sum in the order of its terms, one fused multiply-add after another,
//! as on the CPU and with the same bits. A small product gives a thread one element at a time.

use super::body::loaded;
use super::kernel::Emitter;
use crate::base::Dim;
use crate::nest::{Gemm, GemmAxis, Matrix};

/// Indices that threads can share.
pub fn units(e: &Emitter, gemm: &Gemm) -> f64 {
    let loops = gemm.batch.iter().filter(|axis| !axis.reduce).map(|axis| &axis.extent);
    loops.chain([&gemm.m, &gemm.n]).map(|dim| e.names.most(dim)).product()
}

/// `offset + loops + row * row_stride + column * column_stride`
fn address(
    e: &Emitter,
    gemm: &Gemm,
    matrix: &Matrix,
    at: fn(&GemmAxis) -> &Dim,
    loops: &[String],
    [row, column]: [&str; 2],
) -> String {
    let mut strides: Vec<Dim> = gemm.batch.iter().map(|axis| at(axis).clone()).collect();
    strides.extend([matrix.row_stride.clone(), matrix.column_stride.clone()]);
    let index: Vec<String> = loops.iter().cloned().chain([row.to_string(), column.to_string()]).collect();
    e.names.address(&matrix.offset, &strides, &index)
}

pub fn emit_product(e: &mut Emitter, gemm: &Gemm) {
    by_element(e, gemm);
}

fn by_element(e: &mut Emitter, gemm: &Gemm) {
    let integer = e.names.integer;
    let parallel: Vec<usize> = (0..gemm.batch.len()).filter(|i| !gemm.batch[*i].reduce).collect();
    let all = parallel.iter().map(|i| &gemm.batch[*i].extent).chain([&gemm.m, &gemm.n]);
    let extents: Vec<Dim> = all.map(|dim| e.names.resolve(dim)).collect();
    let n = e.names.dim(&extents.iter().fold(Dim::from(1), |n, extent| n * extent.clone()));
    e.each("i", &n);
    let mut loops = vec![String::new(); gemm.batch.len()];
    let (mut inside, mut names) = (Dim::from(1), vec!["0".to_string(); extents.len()]);
    for (at, extent) in extents.iter().enumerate().rev().filter(|(_, extent)| !extent.is_const(1)) {
        let quotient = if inside.is_const(1) { "i".into() } else { format!("i / {}", e.names.dim(&inside)) };
        let is_outermost = extents[..at].iter().all(|extent| extent.is_const(1));
        let text = if is_outermost { quotient } else { format!("{quotient} % {}", e.names.dim(extent)) };
        inside = inside * extent.clone();
        names[at] = match at.checked_sub(parallel.len()) {
            None => format!("b{}", parallel[at]),
            Some(0) => "row".into(),
            Some(_) => "column".into(),
        };
        e.w.line(format!("const {integer} {} = {text};", names[at]));
    }
    let column = names.pop().expect("a product has columns");
    let row = names.pop().expect("a product has rows");
    for (axis, name) in parallel.iter().zip(names) {
        loops[*axis] = name;
    }
    let zero_loops = |loops: &[String]| -> Vec<String> {
        loops.iter().map(|name| if name.is_empty() { "0".to_string() } else { name.clone() }).collect()
    };
    let out = address(e, gemm, &gemm.out, |axis| &axis.out, &zero_loops(&loops), [&row, &column]);
    let out = format!("{}[{out}]", e.buffer(gemm.out.buffer));
    e.w.line(format!("float sum = {};", if gemm.accumulate { out.as_str() } else { "0.0f" }));
    let reducing: Vec<usize> = (0..gemm.batch.len()).filter(|i| gemm.batch[*i].reduce).collect();
    for axis in &reducing {
        let extent = e.names.dim(&gemm.batch[*axis].extent);
        e.w.open(format!("for ({integer} b{axis} = 0; b{axis} < {extent}; ++b{axis})"));
        loops[*axis] = format!("b{axis}");
    }
    let k = e.names.dim(&gemm.k);
    e.w.open(format!("for ({integer} k = 0; k < {k}; ++k)"));
    let lhs = address(e, gemm, &gemm.lhs, |axis| &axis.lhs, &loops, [&row, "k"]);
    let rhs = address(e, gemm, &gemm.rhs, |axis| &axis.rhs, &loops, ["k", &column]);
    let factor =
        |matrix: &Matrix, at: &str| loaded(matrix.dtype, &format!("{}[{at}]", e.buffer(matrix.buffer)));
    let line = format!("sum = __fmaf_rn({}, {}, sum);", factor(&gemm.lhs, &lhs), factor(&gemm.rhs, &rhs));
    e.w.line(line);
    (0..=reducing.len()).for_each(|_| e.w.close());
    e.w.line(format!("{out} = sum;"));
    e.w.close();
}
