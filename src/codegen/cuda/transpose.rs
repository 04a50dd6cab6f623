//! Maps whose loads are neighbours along another axis than their stores.
//!
//! What enters: a merged nest without reductions. What leaves, where that is so: loops over squares of 32 by 32 indices, in which such
//! loads go through shared memory: a warp loads neighbours and later finds in it what lies across. The squares have 33 columns, so that a warp
//! touches every bank once either way. Not here: nests whose accesses agree.

use super::body::{Body, storage_type};
use super::kernel::Emitter;
use super::nest::{count, thread_order};
use crate::base::Dim;
use crate::nest::{Inst, Nest};

/// Indices along a side below which a square would be mostly empty.
const SHORT: f64 = 16.0;
/// Threads that a square is worth.
const THREADS: f64 = 256.0;
/// Squares in shared memory at once.
const MOST_LOADS: usize = 4;

/// A nest to be taken in squares.
struct Squares {
    /// The axis along which stores are neighbours, and that along which the loads are.
    across: usize,
    along: usize,
    /// The loads, by instruction.
    loads: Vec<usize>,
    /// All other axes.
    around: Vec<usize>,
}

fn squares(e: &Emitter, nest: &Nest) -> Option<Squares> {
    let across = *thread_order(e, nest, nest.axes.len()).last()?;
    let stores_agree = nest.stores.iter().all(|store| store.access.strides[across].is_const(1));
    let (mut loads, mut axes) = (Vec::new(), Vec::new());
    for (i, inst) in nest.body.iter().enumerate() {
        let Inst::Load { access } = inst else { continue };
        if matches!(access.strides[across].as_const(), Some(-1..=1)) {
            continue;
        }
        let along = (0..nest.axes.len()).find(|axis| access.strides[*axis].is_const(1))?;
        loads.push(i);
        axes.push(along);
    }
    axes.dedup();
    let [along] = axes[..] else { return None };
    let is_long = |axis: usize| e.names.most(&nest.axes[axis].extent) >= SHORT;
    let fits = stores_agree && loads.len() <= MOST_LOADS && is_long(across) && is_long(along);
    let around = (0..nest.axes.len()).filter(|axis| ![across, along].contains(axis)).collect();
    fits.then_some(Squares { across, along, loads, around })
}

/// Indices that threads can share, if the nest is taken in squares.
pub fn units(e: &Emitter, nest: &Nest) -> Option<f64> {
    let squares = squares(e, nest)?;
    let along = |axis: usize| (e.names.most(&nest.axes[axis].extent) / 32.0).ceil();
    let around = e.names.most(&count(nest, &squares.around));
    Some(around * along(squares.across) * along(squares.along) * THREADS)
}

/// Whether the nest was taken in squares.
pub fn emit_squares(e: &mut Emitter, nest: &Nest) -> bool {
    let Some(Squares { across, along, loads, around }) = squares(e, nest) else { return false };
    let (integer, warps) = (e.names.integer, e.threads / 32);
    let extent = |e: &Emitter, axis: usize| e.names.dim(&nest.axes[axis].extent);
    let (n_across, n_along) = (extent(e, across), extent(e, along));
    let sides = |e: &Emitter, axis: usize| match e.names.resolve(&nest.axes[axis].extent).as_const() {
        Some(n) => ((n + 31) / 32).to_string(),
        None => format!("(({} + 31) / 32)", extent(e, axis)),
    };
    let (s_across, s_along) = (sides(e, across), sides(e, along));
    let others =
        e.names.dim(&around.iter().fold(Dim::from(1), |n, axis| n * nest.axes[*axis].extent.clone()));
    let first = if e.parts == 1 { "0" } else { "part" };
    e.w.open(format!("for ({integer} i = {first}; i < {others} * {s_along} * {s_across}; i += {})", e.parts));
    for i in &loads {
        let Inst::Load { access } = &nest.body[*i] else { continue };
        e.w.line(format!("__shared__ {} square{i}[32][33];", storage_type(access.dtype)));
        e.of_squares += 32 * 33 * access.dtype.bytes() as u32;
    }
    e.w.line(format!("const {integer} first{across} = i % {s_across} * 32;"));
    e.w.line(format!("const {integer} first{along} = i / {s_across} % {s_along} * 32;"));
    let mut index = vec!["0".to_string(); nest.axes.len()];
    let mut inside = format!("{s_across} * {s_along}");
    for axis in around.iter().rev().filter(|axis| !nest.axes[**axis].extent.is_const(1)) {
        let extent = extent(e, *axis);
        e.w.line(format!("const {integer} i{axis} = i / ({inside}) % {extent};"));
        index[*axis] = format!("i{axis}");
        inside = format!("{inside} * {extent}");
    }
    (index[across], index[along]) = (format!("i{across}"), format!("i{along}"));
    let open = |e: &mut Emitter, by_warp: usize, by_lane: usize| {
        e.w.open(format!("for (int r = thread / 32; r < 32; r += {warps})"));
        e.w.line(format!("const {integer} i{by_warp} = first{by_warp} + r;"));
        e.w.line(format!("const {integer} i{by_lane} = first{by_lane} + thread % 32;"));
        e.w.open(format!("if (i{across} < {n_across} && i{along} < {n_along})"));
    };
    open(e, across, along);
    for i in &loads {
        let Inst::Load { access } = &nest.body[*i] else { continue };
        let (buffer, at) = (e.buffer(access.buffer), e.address(access, &index));
        e.w.line(format!("square{i}[r][thread % 32] = {buffer}[{at}];"));
    }
    e.w.close();
    e.w.close();
    e.meet();
    open(e, along, across);
    let mut body = Body::new(nest, None);
    for i in &loads {
        body.stage(*i, format!("square{i}[thread % 32][r]"));
    }
    body.instructions(e, &index, |_| true);
    body.sets(e, &index);
    e.w.close();
    e.w.close();
    e.meet();
    e.w.close();
    true
}
