//! The loops of a nest, and which of its axes is taken four indices at a time.
//!
//! What enters: a verified nest. What leaves: CLIF. The choice depends on the nest alone, so that results do:
//! - without reduction: the parallel axis along which most accesses are neighbours, moved innermost;
//! - a reduction along whose last axis the loads are neighbours: that axis, each lane with an accumulator of its own,
//!   put together in the end in a fixed order;
//! - another reduction: the parallel axis along which loads are neighbours, so that each lane reduces its own index; some
//!   vectors side by side, so that each visit of a row reads whole lines of it;
//! - `AddAt`: the last axis, if each index adds a row of neighbours to a row, so that what is added to one element comes in the order
//!   of the other axes;
//! - `ArgMax`, and other `AddAt`: one index at a time.
//!
//! What is left over at an axis's end runs one index at a time. Neighbouring axes that step evenly are one.

use super::body::{BodyEmitter, LANES, Mode, lane_type};
use super::kernel::Emitter;
use crate::base::{DType, ReduceOp};
use crate::nest::analysis::{accesses, depends_on, merge_axes};
use crate::nest::{Access, Nest, Store, StoreKind};
use crate::scalar::machine::Compare;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::Variable;

/// Vectors side by side in a reduction of neighbours, a line of a cache; and running values that the registers have room for.
const BESIDE: i64 = 4;
const RUNNING: i64 = 8;

pub fn emit_nest(e: &mut Emitter, nest: &Nest) {
    let nest = merge_axes(nest);
    let n_parallel = nest.axes.iter().filter(|axis| !axis.reduce).count();
    let vector = vector_axis(&nest, n_parallel);
    let mut order: Vec<usize> = (0..n_parallel).collect();
    if let Some(axis) = vector.filter(|axis| *axis < n_parallel) {
        order.retain(|a| *a != axis);
        order.push(axis);
    }
    let zero = e.integer(0);
    let index = vec![zero; nest.axes.len()];
    let mut loops = Loops { nest: &nest, n_parallel, vector, order, beside: 1, index };
    loops.parallel(e, 0, Mode::Scalar);
}

/// How many accesses are neighbours along an axis, less those that are far apart. Of a reduction only those count that are made at each
/// index of what is reduced: others, such as a row's greatest, are made once for a row.
fn score(nest: &Nest, n_parallel: usize, axis: usize) -> i64 {
    let reduces = n_parallel < nest.axes.len();
    let is_inner = |a: &&Access| !reduces || a.strides[n_parallel..].iter().any(|s| !s.is_const(0));
    let one = |a: &Access| match a.strides[axis].as_const() {
        Some(1) => 2,
        Some(0) => 0,
        _ => -3,
    };
    accesses(nest).into_iter().filter(is_inner).map(one).sum()
}

pub fn vector_axis(nest: &Nest, n_parallel: usize) -> Option<usize> {
    let sequential = |s: &Store| matches!(s.kind, StoreKind::ArgMax | StoreKind::AddAt { .. });
    let long_enough = |axis: &usize| nest.axes[*axis].extent.as_const().is_none_or(|n| n >= LANES);
    if nest.stores.iter().any(sequential) {
        let last = nest.axes.len().checked_sub(1)?;
        return Some(last).filter(|axis| long_enough(axis) && adds_rows(nest, *axis));
    }
    let best_parallel =
        (0..n_parallel).filter(long_enough).max_by_key(|axis| (score(nest, n_parallel, *axis), *axis));
    let last = nest.axes.len().checked_sub(1)?;
    if n_parallel == nest.axes.len() {
        return best_parallel;
    }
    let along = score(nest, n_parallel, last);
    let across = best_parallel.map_or(i64::MIN, |axis| score(nest, n_parallel, axis));
    if long_enough(&last) && along > 0 && along >= across {
        Some(last)
    } else {
        best_parallel.filter(|_| across > 0)
    }
}

/// Whether all that a nest does is to add at places that are neighbours along an axis, and differ in nothing else along it.
fn adds_rows(nest: &Nest, axis: usize) -> bool {
    let depends = depends_on(nest, axis);
    nest.stores.iter().all(|store| match &store.kind {
        StoreKind::AddAt { index, .. } => {
            let Access { strides, dtype, .. } = &store.access;
            strides[axis].is_const(1) && dtype.bytes() == 4 && !depends[*index as usize]
        }
        _ => false,
    })
}

struct Loops<'n> {
    nest: &'n Nest,
    n_parallel: usize,
    /// The axis that is taken four indices at a time.
    vector: Option<usize>,
    /// Parallel axes, outermost first.
    order: Vec<usize>,
    /// How many vectors the reduction that is being emitted takes along the vector axis.
    beside: i64,
    /// The axes' indices, i64; along the vector axis that of the first lane of the first vector.
    index: Vec<Value>,
}

/// What is done with a body's values: at which indices, and in which of the vectors side by side.
type TakeValues<'e, 'n> = dyn FnMut(&mut BodyEmitter<'n>, &mut Emitter, &[Value], usize) + 'e;

/// A reducing store on its way: the running values.
struct Accumulator<'n> {
    store: &'n Store,
    dtype: DType,
    /// Four lanes or one, as the loop runs.
    sum: Variable,
    /// What is left over after the vectors, one lane; only where the reducing axis is the vector axis.
    rest: Option<Variable>,
    /// For `ArgMax`: the place of the greatest so far.
    place: Option<Variable>,
}

impl<'n> Loops<'n> {
    /// Runs `inside` over an axis, by vectors where it is the vector axis and then one at a time.
    fn over(&mut self, e: &mut Emitter, axis: usize, inside: &mut dyn FnMut(&mut Self, &mut Emitter, Mode)) {
        let zero = e.integer(0);
        let extent = e.extent(&self.nest.axes[axis].extent);
        let mut from = zero;
        let known = self.nest.axes[axis].extent.as_const();
        if self.vector == Some(axis) {
            let n_running = self.nest.stores.iter().filter(|s| s.kind != StoreKind::Set).count() as i64;
            for beside in [(RUNNING / n_running.max(1)).clamp(1, BESIDE), 1] {
                let step = beside * LANES;
                if known.is_some_and(|n| n < step) {
                    continue;
                }
                let whole = e.b.ins().band_imm_s(extent, -step);
                e.each(from, whole, step, |e, i| {
                    self.index[axis] = i;
                    self.beside = beside;
                    inside(self, e, Mode::Vector);
                    self.beside = 1;
                });
                if known.is_some_and(|n| n % step == 0) {
                    return;
                }
                from = whole;
            }
        }
        e.each(from, extent, 1, |e, i| {
            self.index[axis] = i;
            inside(self, e, Mode::Scalar);
        });
    }

    fn parallel(&mut self, e: &mut Emitter, depth: usize, mode: Mode) {
        let innermost_follows = depth + 1 == self.order.len() && self.n_parallel == self.nest.axes.len();
        match self.order.get(depth).copied() {
            None if self.n_parallel == self.nest.axes.len() => {
                // No axes at all.
                let mut body = BodyEmitter::new(self.nest, Mode::Scalar, None);
                body.outer(e, &self.index);
                body.inner(e, &self.index);
            }
            None => self.reduction(e, mode),
            Some(axis) if innermost_follows => self.innermost(e, axis, mode, &mut |_, _, _, _| {}),
            Some(axis) => self.over(e, axis, &mut |loops, e, mode| loops.parallel(e, depth + 1, mode)),
        }
    }

    /// The innermost loop: what does not change along it is made before it. `each` sees every index's values, and the number of
    /// the vector beside the first.
    fn innermost(&mut self, e: &mut Emitter, axis: usize, mode: Mode, each: &mut TakeValues<'_, 'n>) {
        let zero = e.integer(0);
        let extent = e.extent(&self.nest.axes[axis].extent);
        let is_row = self.nest.stores.len() == 1 && adds_rows(self.nest, axis);
        let mut run = |loops: &mut Self,
                       e: &mut Emitter,
                       mode: Mode,
                       from: Value,
                       to: Value,
                       step: i64,
                       inner_vector: bool| {
            // Lanes lie along this axis, or along an outer one that the body must know of.
            let lanes_along = if inner_vector || mode == Mode::Scalar { Some(axis) } else { loops.vector };
            let mut body = BodyEmitter::new(loops.nest, mode, lanes_along);
            if lanes_along == Some(axis) {
                body.outer(e, &loops.index);
                let after = is_row.then(|| body.leave_without_place(e));
                e.each(from, to, step, |e, i| {
                    loops.index[axis] = i;
                    body.inner(e, &loops.index);
                    each(&mut body, e, &loops.index, 0);
                });
                if let Some(after) = after {
                    e.b.ins().jump(after, &[]);
                    e.b.switch_to_block(after);
                }
            } else {
                e.each(from, to, step, |e, i| {
                    loops.index[axis] = i;
                    for number in 0..loops.beside as usize {
                        let index = loops.index_beside(e, number);
                        body.outer(e, &index);
                        body.inner(e, &index);
                        each(&mut body, e, &index, number);
                    }
                });
            }
        };
        if self.vector == Some(axis) {
            let whole = e.b.ins().band_imm_s(extent, -LANES);
            run(self, e, Mode::Vector, zero, whole, LANES, true);
            let known = self.nest.axes[axis].extent.as_const();
            if known.is_none_or(|n| n % LANES != 0) {
                run(self, e, Mode::Scalar, whole, extent, 1, false);
            }
        } else {
            run(self, e, mode, zero, extent, 1, false);
        }
    }

    /// The reducing axes at one parallel index (or at four).
    fn reduction(&mut self, e: &mut Emitter, mode: Mode) {
        let last = self.nest.axes.len() - 1;
        let along = self.vector == Some(last);
        let lanes = if along { Mode::Vector } else { mode };
        let nest = self.nest;
        let reducing =
            nest.stores.iter().filter(|s| matches!(s.kind, StoreKind::Reduce(_) | StoreKind::ArgMax));
        let reducing: Vec<&Store> = reducing.collect();
        // Those of the first vector, then those of the next.
        let all = (0..self.beside).flat_map(|_| &reducing);
        let accumulators: Vec<Accumulator> = all.map(|store| begin(e, nest, store, lanes, along)).collect();
        self.reduce_axes(e, self.n_parallel, mode, &accumulators);
        for (number, of_vector) in accumulators.chunks(reducing.len().max(1)).enumerate() {
            let index = self.index_beside(e, number);
            for accumulator in of_vector {
                self.end(e, accumulator, lanes, mode, &index);
            }
        }
    }

    /// The indices at a vector beside the first.
    fn index_beside(&self, e: &mut Emitter, number: usize) -> Vec<Value> {
        let mut index = self.index.clone();
        if let Some(axis) = self.vector.filter(|_| number > 0) {
            index[axis] = e.b.ins().iadd_imm_s(index[axis], number as i64 * LANES);
        }
        index
    }

    fn reduce_axes(&mut self, e: &mut Emitter, axis: usize, mode: Mode, accumulators: &[Accumulator<'n>]) {
        if axis + 1 < self.nest.axes.len() {
            let zero = e.integer(0);
            let extent = e.extent(&self.nest.axes[axis].extent);
            e.each(zero, extent, 1, |e, i| {
                self.index[axis] = i;
                self.reduce_axes(e, axis + 1, mode, accumulators);
            });
            return;
        }
        let n_stores = accumulators.len() / self.beside as usize;
        self.innermost(e, axis, mode, &mut |body, e, index, number| {
            for accumulator in &accumulators[number * n_stores..(number + 1) * n_stores] {
                let value = body.value(accumulator.store.value);
                take(e, body, accumulator, value, index[axis]);
            }
        });
    }

    /// Puts lanes together and stores.
    fn end(&self, e: &mut Emitter, accumulator: &Accumulator, lanes: Mode, mode: Mode, index: &[Value]) {
        let body = BodyEmitter::new(self.nest, mode, self.vector.filter(|_| mode == Mode::Vector));
        let mut value = e.b.use_var(accumulator.place.unwrap_or(accumulator.sum));
        if let StoreKind::Reduce(op) = accumulator.store.kind
            && lanes == Mode::Vector
            && mode == Mode::Scalar
        {
            let lane: Vec<Value> = (0..LANES as u8).map(|i| e.b.ins().extractlane(value, i)).collect();
            let low = combine(e, &body, op, accumulator.dtype, lane[0], lane[1]);
            let high = combine(e, &body, op, accumulator.dtype, lane[2], lane[3]);
            value = combine(e, &body, op, accumulator.dtype, low, high);
            if let Some(rest) = accumulator.rest {
                let rest = e.b.use_var(rest);
                value = combine(e, &body, op, accumulator.dtype, value, rest);
            }
        }
        body.store_result(e, &accumulator.store.access, value, index);
    }
}

/// The value of a reduction of nothing.
fn identity(e: &mut Emitter, op: ReduceOp, dtype: DType) -> Value {
    let float = |e: &mut Emitter, value: f32| e.b.ins().f32const(value);
    let int = |e: &mut Emitter, value: i32| e.b.ins().iconst(types::I32, i64::from(value as u32));
    match (op, dtype) {
        (ReduceOp::Sum, DType::F32) => float(e, 0.0),
        (ReduceOp::Prod, DType::F32) => float(e, 1.0),
        (ReduceOp::Max, DType::F32) => float(e, f32::NEG_INFINITY),
        (ReduceOp::Min, DType::F32) => float(e, f32::INFINITY),
        (ReduceOp::Sum, _) => int(e, 0),
        (ReduceOp::Prod, _) => int(e, 1),
        (ReduceOp::Max, _) => int(e, i32::MIN),
        (ReduceOp::Min, _) => int(e, i32::MAX),
    }
}

fn begin<'n>(e: &mut Emitter, nest: &Nest, store: &'n Store, lanes: Mode, along: bool) -> Accumulator<'n> {
    let dtype = crate::nest::analysis::types_of(nest)[store.value as usize];
    let first = match store.kind {
        StoreKind::Reduce(op) => identity(e, op, dtype),
        _ => identity(e, ReduceOp::Max, dtype),
    };
    let scalar = lane_type(dtype);
    let ty = if lanes == Mode::Vector { scalar.by(4).expect("four lanes of 32 bits") } else { scalar };
    let variable = |e: &mut Emitter, ty, value| {
        let variable = e.b.declare_var(ty);
        e.b.def_var(variable, value);
        variable
    };
    let start = if lanes == Mode::Vector { e.b.ins().splat(ty, first) } else { first };
    let sum = variable(e, ty, start);
    let rest = along.then(|| variable(e, scalar, first));
    let place = (store.kind == StoreKind::ArgMax).then(|| {
        let zero = e.b.ins().iconst(types::I32, 0);
        variable(e, types::I32, zero)
    });
    Accumulator { store, dtype, sum, rest, place }
}

/// Takes the value at one index (or at four) into the accumulator.
fn take(e: &mut Emitter, body: &BodyEmitter, accumulator: &Accumulator, value: Value, index: Value) {
    let variable = match (accumulator.rest, body.mode) {
        (Some(rest), Mode::Scalar) => rest,
        _ => accumulator.sum,
    };
    let before = e.b.use_var(variable);
    match accumulator.store.kind {
        StoreKind::Reduce(op) => {
            let after = combine(e, body, op, accumulator.dtype, before, value);
            e.b.def_var(variable, after);
        }
        _ => {
            let place = accumulator.place.expect("`ArgMax` keeps a place");
            let greater = match accumulator.dtype {
                DType::F32 => body.compare_f(e, Compare::Gt, value, before),
                _ => body.compare_i(e, Compare::Gt, value, before),
            };
            let is_first = e.b.ins().icmp_imm_s(IntCC::Equal, index, 0);
            let is_first = e.b.ins().bmask(types::I32, is_first);
            let better = e.b.ins().bor(greater, is_first);
            let best = e.b.ins().select(better, value, before);
            e.b.def_var(variable, best);
            let old = e.b.use_var(place);
            let here = e.b.ins().ireduce(types::I32, index);
            let found = e.b.ins().select(better, here, old);
            e.b.def_var(place, found);
        }
    }
}

fn combine(e: &mut Emitter, body: &BodyEmitter, op: ReduceOp, dtype: DType, a: Value, b: Value) -> Value {
    let float = dtype == DType::F32;
    match op {
        ReduceOp::Sum if float => e.b.ins().fadd(a, b),
        ReduceOp::Sum => e.b.ins().iadd(a, b),
        ReduceOp::Prod if float => e.b.ins().fmul(a, b),
        ReduceOp::Prod => e.b.ins().imul(a, b),
        ReduceOp::Max | ReduceOp::Min => {
            let how = if op == ReduceOp::Max { Compare::Gt } else { Compare::Lt };
            let first = if float { body.compare_f(e, how, a, b) } else { body.compare_i(e, how, a, b) };
            body.choose(e, first, a, b)
        }
    }
}
