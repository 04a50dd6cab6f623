//! Sorting lines.
//!
//! What enters: a `Sort`. What leaves: for each line a bitonic network over keys of 64 bits in scratch, shared by the threads of a
//! block (Batcher, "Sorting Networks and Their Applications", 1968; in the form in which all comparisons point one way, so that a
//! length need not be a power of two). A key is the value, so mapped that whole numbers have the order of the sort, above the
//! element's place: no two are equal, so equal elements keep their order.

use super::kernel::Emitter;
use crate::base::{DType, Dim};
use crate::nest::Sort;

pub fn emit_sort(e: &mut Emitter, sort: &Sort) {
    let key = if sort.source.dtype == DType::F32 { "sort_key_f32" } else { "sort_key_i32" };
    e.helper(key);
    e.helper("sort_line");
    let integer = e.names.integer;
    let lines = e.names.dim(&sort.axes.iter().fold(Dim::from(1), |n, axis| n * axis.clone()));
    let n = e.names.dim(&sort.n);
    let (keys, threads) = (e.buffer(sort.keys), e.threads);
    e.w.open("");
    e.w.line(format!("unsigned long long* const keys = reinterpret_cast<unsigned long long*>({keys});"));
    e.w.open(format!("for ({integer} line = 0; line < {lines}; ++line)"));
    let mut index = vec!["0".to_string(); sort.axes.len()];
    let mut inside = Dim::from(1);
    for (axis, extent) in sort.axes.iter().enumerate().rev() {
        let inner = e.names.dim(&inside);
        let rest = if axis == 0 { String::new() } else { format!(" % {}", e.names.dim(extent)) };
        e.w.line(format!("const {integer} i{axis} = line / {inner}{rest};"));
        index[axis] = format!("i{axis}");
        inside = inside * extent.clone();
    }
    index.push("i".into());
    let (source, from) = (e.buffer(sort.source.buffer), e.address(&sort.source, &index));
    let (out, to) = (e.buffer(sort.out.buffer), e.address(&sort.out, &index));
    let descending = sort.descending;
    e.w.open(format!("for ({integer} i = thread; i < {n}; i += {threads})"));
    e.w.line(format!("keys[i] = {key}({source}[{from}], {descending}) << 32 | (unsigned)i;"));
    e.w.close();
    e.w.line(format!("sort_line<{threads}>(keys, {n});"));
    e.w.open(format!("for ({integer} i = thread; i < {n}; i += {threads})"));
    e.w.line(format!("{out}[{to}] = (int)keys[i];"));
    e.w.close();
    e.w.line("__syncthreads();");
    e.w.close();
    e.w.close();
}
