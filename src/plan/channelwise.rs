//! Contractions without a matrix in them: a convolution in which each channel has a kernel of its own.
//!
//! What enters: a contraction, and how it reads and writes. What leaves: a nest, or nothing where there is a product of matrices to
//! be made. A label that both factors and the result have, neighbours in memory, is taken in vectors: as products it would be one for
//! each channel, of a matrix with a column. Invariant: the choice follows from sizes and strides alone.
//!
//! A short sum (the taps of a kernel) is written out in the nest's body, so that an element is made in registers and stored once. So is
//! a short result with a long sum (the kernel's gradient): the body keeps all of its elements at once, and reads the factors once. Of a kernel
//! with more taps than a body holds it is a row of them.

use super::lower::Body;
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::Contraction;
use crate::nest::{Access, Axis, Inst, Nest, Store, StoreKind, Value};
use crate::scalar::Func;

/// Elements that a body makes or adds up.
const MOST_IN_BODY: i64 = 32;
/// Taps of a kernel that is written out a row at a time.
const MOST_TAPS: i64 = 128;
/// Channels that are worth a vector.
const LEAST_CHANNELS: i64 = 4;

/// `extents`: of the output's labels, then of the summed ones; so are strides ordered. The accesses are of left, right and output.
pub fn channelwise(contraction: &Contraction, extents: &[Dim], access: &[Access; 3]) -> Option<Nest> {
    let all = [&contraction.out[..], &contraction.summed()].concat();
    let sides = [&contraction.lhs, &contraction.rhs, &contraction.out];
    let within = |i: usize| sides.map(|side| side.contains(&all[i]));
    let of = |kind: [bool; 3]| -> Vec<usize> { (0..all.len()).filter(|i| within(*i) == kind).collect() };
    let side_by_side = |i: &usize| {
        let is_long = extents[*i].as_const().is_none_or(|n| n >= LEAST_CHANNELS);
        is_long && access.iter().all(|a| a.strides[*i].is_const(1))
    };
    let (rows, columns, summed) = (of([true, false, true]), of([false, true, true]), of([true, true, false]));
    let is_matrix = |labels: &[usize]| labels.iter().any(|i| !extents[*i].is_const(1));
    if access.iter().any(|a| a.dtype != DType::F32)
        || is_matrix(&rows) && is_matrix(&columns)
        || !of([true; 3]).iter().any(side_by_side)
    {
        return None;
    }
    let alone = [rows, columns].concat();
    let is_known = |i: &usize| extents[*i].as_const().is_some();
    // The first label of a result may be a tile's rows.
    let first = alone.iter().rposition(|i| !is_known(i)).map_or(0, |at| at + 1);
    let kernels = [(summed.iter().all(is_known)).then_some(&summed[..]), Some(&alone[first..])];
    let written_out = in_body(extents, kernels.into_iter().flatten());
    let in_loops: Vec<usize> = (0..all.len()).filter(|i| !written_out.contains(i)).collect();

    let at = |a: &Access, index: &[i64]| {
        let steps = written_out.iter().zip(index).map(|(i, n)| a.strides[*i].clone() * Dim::from(*n));
        let offset = steps.fold(a.offset.clone(), |sum, step| sum + step);
        Access { offset, strides: in_loops.iter().map(|i| a.strides[*i].clone()).collect(), ..a.clone() }
    };
    let mut body = Body::default();
    let mut term = |index: &[i64]| -> Value {
        let [left, right] = [0, 1].map(|side| body.push(Inst::Load { access: at(&access[side], index) }));
        body.push(Inst::Call { func: Func::Mul, arguments: vec![left, right] })
    };
    let indices = indices(extents, written_out);
    let terms: Vec<Value> = indices.iter().map(|index| term(index)).collect();
    let is_summed = |i: &usize| *i >= contraction.out.len();
    let is_sum = written_out.iter().all(is_summed) && !written_out.is_empty();
    let kind = if in_loops.iter().any(is_summed) { StoreKind::Reduce(ReduceOp::Sum) } else { StoreKind::Set };
    let stores = if is_sum {
        let add =
            |sum: Value, term: &Value| body.push(Inst::Call { func: Func::Add, arguments: vec![sum, *term] });
        let value = terms[1..].iter().fold(terms[0], add);
        vec![Store { value, access: at(&access[2], &vec![0; written_out.len()]), kind }]
    } else {
        let store = |(index, value): (&Vec<i64>, &Value)| Store {
            value: *value,
            access: at(&access[2], index),
            kind: kind.clone(),
        };
        indices.iter().zip(&terms).map(store).collect()
    };
    let axes = in_loops.iter().map(|i| Axis { extent: extents[*i].clone(), reduce: is_summed(i) }).collect();
    Some(Nest { axes, body: body.insts, stores })
}

/// Those of a few labels that a body may hold: all of them, of the first that are so few, or else the last ones.
fn in_body<'l>(extents: &[Dim], kernels: impl Iterator<Item = &'l [usize]> + Clone) -> &'l [usize] {
    let count = |labels: &[usize]| {
        labels.iter().fold(1i64, |n, i| n.saturating_mul(extents[*i].as_const().expect("a known size")))
    };
    let fits = |labels: &&[usize]| (1..=MOST_IN_BODY).contains(&count(labels));
    let rows = |labels: &'l [usize]| (1..labels.len()).map(|i| &labels[i..]).find(fits);
    let few = kernels.clone().filter(|labels| count(labels) <= MOST_TAPS);
    kernels.clone().find(fits).or_else(|| few.filter_map(rows).next()).unwrap_or(&[])
}

/// All indices along these labels, the last fastest; one empty index for none.
fn indices(extents: &[Dim], labels: &[usize]) -> Vec<Vec<i64>> {
    labels.iter().fold(vec![Vec::new()], |all, i| {
        let n = extents[*i].as_const().expect("counted");
        all.iter().flat_map(|index| (0..n).map(move |n| [&index[..], &[n]].concat())).collect()
    })
}
