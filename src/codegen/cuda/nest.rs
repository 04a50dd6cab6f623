//! The loops of a nest, shared by the threads of a block.
//!
//! What enters: a verified nest. What leaves: loops around its body. How its indices are shared follows from the nest and the
//! greatest sizes alone, so the order of each sum does too:
//! - without reduction, each thread takes an index, or four neighbours at once where every access allows it; neighbouring threads
//!   take neighbours of the axis along which most accesses are neighbours; loads that are neighbours along another one go through
//!   shared memory (`transpose.rs`);
//! - a reduction: `reduce.rs`; additions at indices: `scatter.rs`.

use super::body::Body;
use super::kernel::Emitter;
use super::{reduce, scatter, transpose};
use crate::base::Dim;
use crate::nest::analysis::{accesses, merge_axes};
use crate::nest::{Inst, Nest, StoreKind};

pub fn emit_nest(e: &mut Emitter, nest: &Nest) {
    let nest = merge_axes(nest);
    let is_scatter = nest.stores.iter().any(|s| matches!(s.kind, StoreKind::AddAt { .. }));
    if is_scatter {
        scatter::emit_scatter(e, &nest);
    } else if nest.axes.iter().any(|axis| axis.reduce) {
        reduce::emit_reduction(e, &nest);
    } else {
        emit_map(e, &nest);
    }
}

/// Indices that threads can share, at the greatest sizes.
pub fn nest_units(e: &Emitter, nest: &Nest) -> f64 {
    let nest = merge_axes(nest);
    let all: f64 = nest.axes.iter().map(|axis| e.names.most(&axis.extent)).product();
    if nest.stores.iter().any(|s| matches!(s.kind, StoreKind::AddAt { .. })) {
        return scatter::units(e, &nest);
    }
    if nest.axes.iter().any(|axis| axis.reduce) {
        return reduce::units(e, &nest);
    }
    let order = thread_order(e, &nest, nest.axes.len());
    match quad_axis(e, &nest, order.last().copied()) {
        Some(_) => all / 4.0,
        None => transpose::units(e, &nest).unwrap_or(all),
    }
}

/// The product of the extents of some axes.
pub fn count(nest: &Nest, axes: &[usize]) -> Dim {
    axes.iter().fold(Dim::from(1), |n, axis| n * nest.axes[*axis].extent.clone())
}

/// How many accesses are neighbours along an axis, less those that are far apart.
pub fn score(nest: &Nest, axis: usize) -> i64 {
    let one = |stride: &Dim| match stride.as_const() {
        Some(1 | -1) => 2,
        Some(0) => 0,
        _ => -3,
    };
    accesses(nest).iter().map(|a| one(&a.strides[axis])).sum()
}

/// The first `n` axes, outermost first, the one along which neighbours lie last.
pub fn thread_order(e: &Emitter, nest: &Nest, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let is_long = |axis: &usize| e.names.most(&nest.axes[*axis].extent) > 1.0;
    let best = (0..n).filter(is_long).max_by_key(|axis| (score(nest, *axis), *axis));
    if let Some(best) = best {
        order.retain(|axis| *axis != best);
        order.push(best);
    }
    order
}

/// The axis, if four neighbours along it can be loaded and stored at once wherever they are neighbours.
pub fn quad_axis(e: &Emitter, nest: &Nest, axis: Option<usize>) -> Option<usize> {
    let axis = axis?;
    let is_whole = e.names.is_multiple(&nest.axes[axis].extent, 4);
    let others: Vec<usize> = (0..nest.axes.len()).filter(|a| *a != axis).collect();
    let fits = |access: &crate::nest::Access| {
        access.strides[axis].is_const(1)
            && e.names.is_multiple(&access.offset, 4)
            && others.iter().all(|a| e.names.is_multiple(&access.strides[*a], 4))
    };
    let loads = nest.body.iter().all(|inst| match inst {
        Inst::Load { access } => access.strides[axis].is_const(0) || fits(access),
        _ => true,
    });
    let stores = nest.stores.iter().all(|store| store.kind != StoreKind::Set || fits(&store.access));
    let any = nest.body.iter().any(|inst| matches!(inst, Inst::Load { access } if fits(access)))
        || nest.stores.iter().any(|store| store.kind == StoreKind::Set);
    (is_whole && loads && stores && any).then_some(axis)
}

/// The indices of `axes` (outermost first) from a linear one; along `quad` it counts fours.
pub fn indices(
    e: &mut Emitter,
    nest: &Nest,
    axes: &[usize],
    linear: &str,
    quad: Option<usize>,
    index: &mut [String],
) {
    let extent = |axis: usize| {
        let extent = e.names.resolve(&nest.axes[axis].extent);
        if quad == Some(axis) { extent.exact_div(&Dim::from(4)).unwrap_or(extent) } else { extent }
    };
    let long: Vec<usize> = axes.iter().copied().filter(|axis| !extent(*axis).is_const(1)).collect();
    let mut lines = Vec::new();
    let mut inside = Dim::from(1);
    for (n, axis) in long.iter().enumerate().rev() {
        let mut text = linear.to_string();
        if !inside.is_const(1) {
            text = format!("{text} / {}", e.names.dim(&inside));
        }
        if n > 0 {
            text = format!("{text} % {}", e.names.dim(&extent(*axis)));
        }
        inside = inside * extent(*axis);
        if quad == Some(*axis) {
            text = format!("{text} * 4");
        }
        lines.push((*axis, text));
    }
    for axis in axes {
        index[*axis] = "0".into();
    }
    let integer = e.names.integer;
    for (axis, text) in lines {
        if text == linear {
            index[axis] = text;
            continue;
        }
        e.w.line(format!("const {integer} i{axis} = {text};"));
        index[axis] = format!("i{axis}");
    }
}

/// Four places along the axis, one after another.
pub fn open_lanes(e: &mut Emitter, axis: usize, index: &[String]) -> Vec<String> {
    e.w.line("#pragma unroll");
    e.w.open("for (int lane = 0; lane < 4; ++lane)");
    let mut inner = index.to_vec();
    inner[axis] = if index[axis] == "0" { "lane".into() } else { format!("({} + lane)", index[axis]) };
    inner
}

fn emit_map(e: &mut Emitter, nest: &Nest) {
    let order = thread_order(e, nest, nest.axes.len());
    let quad = quad_axis(e, nest, order.last().copied());
    if quad.is_none() && transpose::emit_squares(e, nest) {
        return;
    }
    let mut n = e.names.resolve(&count(nest, &order));
    if quad.is_some() {
        n = n.exact_div(&Dim::from(4)).expect("its last axis is a multiple of four");
    }
    let n = e.names.dim(&n);
    e.each("i", &n);
    let mut index = vec![String::new(); nest.axes.len()];
    indices(e, nest, &order, "i", quad, &mut index);
    let mut body = Body::new(nest, quad);
    match quad {
        None => {
            body.instructions(e, &index, |_| true);
            body.sets(e, &index);
        }
        Some(axis) => {
            body.open_quad(e, &index);
            let inner = open_lanes(e, axis, &index);
            body.instructions(e, &inner, |_| true);
            body.sets(e, &inner);
            e.w.close();
            body.close_quad(e, &index);
        }
    }
    e.w.close();
}
