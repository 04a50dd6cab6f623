//! Reductions.
//!
//! What enters: a merged nest with reducing axes. What leaves: loops. Who sums what:
//! - `Thread`: a thread has an index of the parallel axes and goes through the reducing axes by itself: short sums, and
//!   sums along whose parallel axis loads are neighbours (columns);
//! - `Columns`: the same, but the warps of a block share the outermost reducing axis, for columns too few for that many threads;
//! - `Lanes`: the lanes of a warp share the reducing axes of one index, four neighbours each time where that is possible, and put
//!   their parts together in pairs 16, 8, 4, 2, 1 apart; where a half or a quarter of them has enough for all terms, a warp takes two
//!   indices, or four;
//! - `Block`: all warps do, for few long sums, and one warp's lanes put the warps' parts together as their own.
//!
//! Invariant: the choice depends on the nest and its greatest sizes alone, and with it the order of each sum.

use super::body::Body;
use super::kernel::Emitter;
use super::nest::{count, indices, open_lanes, quad_axis, score, thread_order};
use super::steps::{call, float, integer, value_type};
use crate::base::{DType, ReduceOp};
use crate::nest::analysis::depends_on;
use crate::nest::{Nest, Store, StoreKind};
use crate::scalar::Func;

/// Elements below which lanes would have too little to do.
const SHORT: f64 = 16.0;
/// Elements from which a block takes one sum, if there are fewer sums than warps.
const LONG: f64 = 512.0;
/// Sums below which a block's warps share their terms.
const FEW: f64 = 4.0;
const FEW_COLUMNS: f64 = 16384.0;
/// No place yet.
const NOWHERE: &str = "2147483647";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sharing {
    Thread,
    Columns,
    /// So many of a warp.
    Lanes(u32),
    Block,
}

/// Lanes that share a sum, at least.
const LEAST_LANES: u32 = 8;

fn split(nest: &Nest) -> (Vec<usize>, Vec<usize>) {
    (0..nest.axes.len()).partition(|axis| !nest.axes[*axis].reduce)
}

fn sharing(e: &Emitter, nest: &Nest) -> Sharing {
    let (parallel, reducing) = split(nest);
    let (n, terms) = (e.names.most(&count(nest, &parallel)), e.names.most(&count(nest, &reducing)));
    let along = score(nest, *reducing.last().expect("a reducing axis"));
    let best = thread_order(e, nest, parallel.len()).last().map_or(i64::MIN, |axis| score(nest, *axis));
    if terms < SHORT {
        Sharing::Thread
    } else if along >= best {
        if n < FEW && terms >= LONG {
            Sharing::Block
        } else {
            Sharing::Lanes(lanes(e, nest, &reducing, terms))
        }
    } else if n < FEW_COLUMNS && !nest.stores.iter().any(|s| s.kind == StoreKind::ArgMax) {
        Sharing::Columns
    } else {
        Sharing::Thread
    }
}

/// Lanes that have something to do with so many terms.
fn lanes(e: &Emitter, nest: &Nest, reducing: &[usize], terms: f64) -> u32 {
    let at_once = if quad_axis(e, nest, reducing.last().copied()).is_some() { 4.0 } else { 1.0 };
    let wanted = (terms / at_once).ceil() as u32;
    wanted.next_power_of_two().clamp(LEAST_LANES, 32)
}

/// Indices that threads can share.
pub fn units(e: &Emitter, nest: &Nest) -> f64 {
    let n = e.names.most(&count(nest, &split(nest).0));
    match sharing(e, nest) {
        Sharing::Thread => n,
        Sharing::Columns => (n / 32.0).ceil() * 256.0,
        Sharing::Lanes(lanes) => n * f64::from(lanes),
        Sharing::Block => n * 256.0,
    }
}

/// The running value of a store, and for a place that of the value it belongs to.
pub struct Accumulator<'n> {
    pub store: &'n Store,
    dtype: DType,
    value: String,
    place: Option<String>,
}

fn identity(op: ReduceOp, dtype: DType) -> String {
    let value = op.identity(dtype);
    let text = if dtype.is_float() { float(value as f32) } else { integer(value as i32) };
    if text.starts_with('-') { format!("({text})") } else { text }
}

pub fn begin<'n>(e: &mut Emitter, body: &Body<'n>) -> Vec<Accumulator<'n>> {
    let mut all = Vec::new();
    for (i, store) in body.nest.stores.iter().enumerate() {
        let dtype = body.types[store.value as usize];
        let (op, is_place) = match store.kind {
            StoreKind::Reduce(op) => (op, false),
            StoreKind::ArgMax => (ReduceOp::Max, true),
            StoreKind::Set | StoreKind::AddAt { .. } => continue,
        };
        let value = format!("r{i}");
        e.w.line(format!("{} {value} = {};", value_type(dtype), identity(op, dtype)));
        let place = is_place.then(|| format!("p{i}"));
        if let Some(place) = &place {
            e.w.line(format!("int {place} = {NOWHERE};"));
        }
        all.push(Accumulator { store, dtype, value, place });
    }
    all
}

impl Accumulator<'_> {
    /// Takes the value at one index; `index` is that along the reducing axis.
    pub fn take(&self, e: &mut Emitter, value: &str, index: &str) {
        let Accumulator { value: sum, place, .. } = self;
        match place {
            None => {
                let next = self.combined(e, sum, value);
                e.w.line(format!("{sum} = {next};"));
            }
            Some(place) => {
                e.w.line(format!(
                    "if ({value} > {sum} || {place} == {NOWHERE}) {sum} = {value}, {place} = (int){index};"
                ));
            }
        }
    }

    fn combined(&self, e: &mut Emitter, a: &str, b: &str) -> String {
        let StoreKind::Reduce(op) = self.store.kind else { unreachable!("places are not combined") };
        call(&mut e.functions, Func::of_reduction(op), &[a.into(), b.into()], &[self.dtype, self.dtype])
    }

    /// Takes what another lane or warp has: `other`, and its place.
    fn join(&self, e: &mut Emitter, other: &str, other_place: &str) {
        let Accumulator { value, place, .. } = self;
        match place {
            None => {
                let next = self.combined(e, value, other);
                e.w.line(format!("{value} = {next};"));
            }
            Some(place) => {
                e.w.line(format!(
                    "if ({other_place} != {NOWHERE} && ({place} == {NOWHERE} || {other} > {value} || \
                     ({other} == {value} && {other_place} < {place}))) {value} = {other}, {place} = {other_place};"
                ));
            }
        }
    }

    /// Puts so many neighbouring lanes of a warp together; each of them has the result.
    pub fn across_lanes(&self, e: &mut Emitter, lanes: u32) {
        e.w.line("#pragma unroll");
        e.w.open(format!("for (int apart = {}; apart > 0; apart /= 2)", lanes / 2));
        let ty = value_type(self.dtype);
        e.w.line(format!("const {ty} other = __shfl_xor_sync(0xffffffffu, {}, apart);", self.value));
        if let Some(place) = &self.place {
            e.w.line(format!("const int other_place = __shfl_xor_sync(0xffffffffu, {place}, apart);"));
        }
        self.join(e, "other", "other_place");
        e.w.close();
    }

    /// Puts the warps of a block together, as if they were lanes; each thread has the result. Every thread must come here.
    pub fn across_warps(&self, e: &mut Emitter) {
        let warps = e.threads / 32;
        if warps == 1 {
            return;
        }
        let shared = e.across(value_type(self.dtype), value_type(self.dtype));
        let places = self.place.as_ref().map(|_| e.across("place", "int"));
        e.w.line(
            "if (thread % 32 == 0) {".to_string()
                + &format!(" {shared}[thread / 32] = {};", self.value)
                + &places
                    .iter()
                    .zip(&self.place)
                    .map(|(s, p)| format!(" {s}[thread / 32] = {p};"))
                    .collect::<String>()
                + " }",
        );
        e.meet();
        let of_lane = |array: &str, none: &str| match warps {
            32 => format!("{array}[thread % 32]"),
            _ => format!("thread % 32 < {warps} ? {array}[thread % 32] : {none}"),
        };
        let op = match self.store.kind {
            StoreKind::Reduce(op) => op,
            _ => ReduceOp::Max,
        };
        e.w.line(format!("{} = {};", self.value, of_lane(&shared, &identity(op, self.dtype))));
        if let (Some(places), Some(place)) = (&places, &self.place) {
            e.w.line(format!("{place} = {};", of_lane(places, NOWHERE)));
        }
        self.across_lanes(e, 32);
        e.meet();
    }

    /// What it has come to.
    pub fn result(&self) -> String {
        match &self.place {
            None => self.value.clone(),
            Some(place) => format!("({place} == {NOWHERE} ? 0 : {place})"),
        }
    }

    fn store(&self, e: &mut Emitter, body: &Body, index: &[String]) {
        body.store(e, self.store, index, &self.result());
    }
}

/// Which instructions are the same for all terms of a sum.
fn outer(nest: &Nest, reducing: &[usize]) -> Vec<bool> {
    let mut outer = vec![true; nest.body.len()];
    for axis in reducing {
        depends_on(nest, *axis).iter().zip(&mut outer).for_each(|(depends, outer)| *outer &= !depends);
    }
    outer
}

pub fn emit_reduction(e: &mut Emitter, nest: &Nest) {
    match sharing(e, nest) {
        Sharing::Thread => by_thread(e, nest),
        Sharing::Columns => by_columns(e, nest),
        Sharing::Lanes(lanes) => by_lanes(e, nest, lanes),
        Sharing::Block => by_lanes(e, nest, e.threads),
    }
}

/// Terms at one index of all axes.
fn terms<'n>(
    e: &mut Emitter,
    body: &mut Body<'n>,
    all: &[Accumulator<'n>],
    index: &[String],
    outer: &[bool],
) {
    body.instructions(e, index, |i| !outer[i]);
    body.sets(e, index);
    let last = index.last().cloned().unwrap_or_default();
    for accumulator in all {
        let value = body.value(accumulator.store.value).to_string();
        accumulator.take(e, &value, &last);
    }
}

fn open_loop(e: &mut Emitter, nest: &Nest, axis: usize, index: &mut [String]) -> bool {
    let extent = e.names.resolve(&nest.axes[axis].extent);
    if extent.is_const(1) {
        index[axis] = "0".into();
        return false;
    }
    let (integer, extent) = (e.names.integer, e.names.dim(&extent));
    e.w.open(format!("for ({integer} i{axis} = 0; i{axis} < {extent}; ++i{axis})"));
    index[axis] = format!("i{axis}");
    true
}

fn by_thread(e: &mut Emitter, nest: &Nest) {
    let (parallel, reducing) = split(nest);
    let order = thread_order(e, nest, parallel.len());
    let n = e.names.dim(&count(nest, &order));
    e.each("i", &n);
    let mut index = vec![String::new(); nest.axes.len()];
    indices(e, nest, &order, "i", None, &mut index);
    let outer = outer(nest, &reducing);
    let mut body = Body::new(nest, None);
    // An instruction's operands come before it, so those of the outer ones are outer.
    body.instructions(e, &index, |i| outer[i]);
    let all = begin(e, &body);
    let opened = reducing.iter().filter(|axis| open_loop(e, nest, **axis, &mut index)).count();
    if opened == 0 {
        e.w.open("");
    }
    terms(e, &mut body, &all, &index, &outer);
    (0..opened.max(1)).for_each(|_| e.w.close());
    for accumulator in &all {
        accumulator.store(e, &body, &index);
    }
    e.w.close();
}

/// A nest of any stores as one thread's: the parallel axes as loops, in their order; `each` writes what is done at every index besides.
pub fn sequential<F>(e: &mut Emitter, nest: &Nest, each: &mut F)
where
    F: FnMut(&mut Emitter, &Store, &[String], &Body),
{
    let (parallel, reducing) = split(nest);
    let mut index = vec![String::new(); nest.axes.len()];
    let around = parallel.iter().filter(|axis| open_loop(e, nest, **axis, &mut index)).count();
    let mut body = Body::new(nest, None);
    let all = begin(e, &body);
    let inside = reducing.iter().filter(|axis| open_loop(e, nest, **axis, &mut index)).count();
    e.w.open("");
    let outer = vec![false; nest.body.len()];
    terms(e, &mut body, &all, &index, &outer);
    for store in &nest.stores {
        each(e, store, &index, &body);
    }
    (0..=inside).for_each(|_| e.w.close());
    for accumulator in &all {
        accumulator.store(e, &body, &index);
    }
    (0..around).for_each(|_| e.w.close());
}

/// A warp takes 32 columns and every `warps`-th index of the outermost reducing axis.
fn by_columns(e: &mut Emitter, nest: &Nest) {
    let (parallel, reducing) = split(nest);
    let order = thread_order(e, nest, parallel.len());
    let n = e.names.dim(&count(nest, &order));
    let (integer, warps) = (e.names.integer, e.threads / 32);
    let (first, step) = match e.parts {
        1 => ("0".to_string(), 32),
        parts => ("part * 32".to_string(), 32 * parts),
    };
    e.w.open(format!("for ({integer} first = {first}; first < {n}; first += {step})"));
    e.w.line(format!("const {integer} i = first + thread % 32;"));
    let mut index = vec![String::new(); nest.axes.len()];
    let mut body = Body::new(nest, None);
    let all = begin(e, &body);
    let outer = outer(nest, &reducing);
    e.w.open(format!("if (i < {n})"));
    indices(e, nest, &order, "i", None, &mut index);
    body.instructions(e, &index, |i| outer[i]);
    let mut opened = 0;
    for (at, axis) in reducing.iter().enumerate() {
        if at > 0 {
            opened += usize::from(open_loop(e, nest, *axis, &mut index));
            continue;
        }
        let extent = e.names.dim(&nest.axes[*axis].extent);
        e.w.open(format!("for ({integer} i{axis} = thread / 32; i{axis} < {extent}; i{axis} += {warps})"));
        index[*axis] = format!("i{axis}");
        opened += 1;
    }
    terms(e, &mut body, &all, &index, &outer);
    (0..opened).for_each(|_| e.w.close());
    e.w.close();
    for accumulator in &all {
        let shared = e.columns(value_type(accumulator.dtype));
        e.w.line(format!("{shared}[thread] = {};", accumulator.value));
        e.meet();
        e.w.open(format!("if (thread < 32 && i < {n})"));
        e.w.open(format!("for (int warp = 1; warp < {warps}; ++warp)"));
        accumulator.join(e, &format!("{shared}[warp * 32 + thread]"), "");
        e.w.close();
        indices(e, nest, &order, "i", None, &mut index);
        accumulator.store(e, &body, &index);
        e.w.close();
        e.meet();
    }
    e.w.close();
}

/// `sharers` neighbouring threads share the terms of one index: some lanes of a warp, a warp, or a block.
fn by_lanes(e: &mut Emitter, nest: &Nest, sharers: u32) {
    let (parallel, reducing) = split(nest);
    let n = e.names.dim(&count(nest, &parallel));
    let quad = quad_axis(e, nest, reducing.last().copied());
    let mut n_terms = e.names.resolve(&count(nest, &reducing));
    if quad.is_some() {
        n_terms = n_terms.exact_div(&crate::base::Dim::from(4)).expect("its last axis is a multiple of four");
    }
    let n_terms = e.names.dim(&n_terms);
    let (integer, threads) = (e.names.integer, e.threads);
    let groups = threads / sharers;
    // Lanes of a warp stay together, for they exchange their parts: its first index, if it has several.
    let together = sharers.max(32);
    let of_warp = threads / together;
    let (group, step) = match (e.parts, of_warp) {
        (1, 1) => ("0".to_string(), groups),
        (1, _) => (format!("thread / {together}"), groups),
        (parts, 1) => ("part".into(), groups * parts),
        (parts, _) => (format!("part * {of_warp} + thread / {together}"), groups * parts),
    };
    let has_several = sharers < 32;
    if has_several {
        let first = match &group[..] {
            "0" => group,
            _ => format!("({group}) * {}", 32 / sharers),
        };
        e.w.open(format!("for ({integer} first = {first}; first < {n}; first += {step})"));
        e.w.line(format!("const bool is_there = first + thread % 32 / {sharers} < {n};"));
        e.w.line(format!("const {integer} i = is_there ? first + thread % 32 / {sharers} : {n} - 1;"));
    } else {
        e.w.open(format!("for ({integer} i = {group}; i < {n}; i += {step})"));
    }
    let mut index = vec![String::new(); nest.axes.len()];
    indices(e, nest, &parallel, "i", None, &mut index);
    let mut body = Body::new(nest, quad);
    let outer = outer(nest, &reducing);
    let scalar = vec![false; nest.body.len()];
    // What four lanes of a thread have in common is made for each of them, which costs nothing: the compiler moves it out.
    let outer = if quad.is_some() { scalar } else { outer };
    body.instructions(e, &index, |i| outer[i]);
    let all = begin(e, &body);
    let lane = if sharers == threads { "thread".to_string() } else { format!("thread % {sharers}") };
    let is_there = if has_several { "is_there && " } else { "" };
    e.w.open(format!("for ({integer} j = {lane}; {is_there}j < {n_terms}; j += {sharers})"));
    indices(e, nest, &reducing, "j", quad, &mut index);
    match quad {
        None => terms(e, &mut body, &all, &index, &outer),
        Some(axis) => {
            body.open_quad(e, &index);
            let inner = open_lanes(e, axis, &index);
            terms(e, &mut body, &all, &inner, &outer);
            e.w.close();
            body.close_quad(e, &index);
        }
    }
    e.w.close();
    for accumulator in &all {
        accumulator.across_lanes(e, sharers.min(32));
        if sharers == threads {
            accumulator.across_warps(e);
        }
    }
    if !all.is_empty() {
        e.w.open(format!("if ({is_there}{lane} == 0)"));
        for accumulator in &all {
            accumulator.store(e, &body, &index);
        }
        e.w.close();
    }
    e.w.close();
}
