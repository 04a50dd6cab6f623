//! Additions at indices, in a fixed order and without atomics.
//!
//! What enters: a merged nest with `AddAt` stores. What leaves: loops in which each place is added to by one thread alone, in
//! the order of the nest's indices. Threads share the parallel axes that move the place but not the index (the columns of an
//! embedding), where the strides show that no two of their indices meet. Where the index alone tells rows apart, a block owns some of
//! them: those of its tile, or every so manieth. It looks at all indices, as many at once as it has threads, lists those that are its own
//! in their order, and its threads add their columns of each. Else each thread walks through the axes that it does not share. A nest
//! that also stores something else, or of which nothing can be shared, is one thread's.

use super::body::{Body, loaded, stored};
use super::kernel::Emitter;
use super::nest::{count, indices, thread_order};
use super::steps::call;
use crate::base::Dim;
use crate::nest::analysis::depends_on;
use crate::nest::{Nest, Store, StoreKind};
use crate::scalar::Func;

/// Blocks that own places, at most.
const MOST_OWNERS: f64 = 2048.0;
/// Threads of a block that looks for what is its own.
const THREADS: f64 = 256.0;

/// How a nest's additions are shared.
struct Sharing {
    /// Axes whose indices threads share; the others are walked.
    shared: Vec<usize>,
    /// How many blocks share the places that the index gives, where it alone tells them apart.
    owners: Option<f64>,
}

fn additions(nest: &Nest) -> Option<(&Store, u32, &Dim, &Dim)> {
    match &nest.stores[..] {
        [store] => match &store.kind {
            StoreKind::AddAt { index, stride, bound } => Some((store, *index, stride, bound)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether places tell all combinations of these (stride, count) apart.
fn tells_apart(e: &Emitter, digits: &[(&Dim, &Dim)]) -> bool {
    let mut known: Vec<(i64, i64)> = Vec::new();
    for (stride, n) in digits {
        let n = e.names.resolve(n);
        if n.is_const(1) {
            continue;
        }
        let Some(stride) = stride.as_const() else { return false };
        // The longest is the last of all, so that it does not matter how long it is.
        known.push((stride.unsigned_abs() as i64, n.as_const().unwrap_or(i64::MAX)));
    }
    known.sort_unstable();
    let mut reach: i64 = 0;
    for (stride, n) in known {
        if stride <= reach {
            return false;
        }
        reach = reach.saturating_add(stride.saturating_mul(n.saturating_sub(1)));
    }
    true
}

fn sharing(e: &Emitter, nest: &Nest) -> Option<Sharing> {
    let (store, index, stride, bound) = additions(nest)?;
    let moves_index = |axis: usize| depends_on(nest, axis)[index as usize];
    let moves_place = |axis: usize| !store.access.strides[axis].is_const(0);
    let free: Vec<usize> = (0..nest.axes.len())
        .filter(|axis| !nest.axes[*axis].reduce && moves_place(*axis) && !moves_index(*axis))
        .collect();
    // Axes that move both: their places must be told apart from the others', too.
    let both = (0..nest.axes.len()).filter(|axis| moves_place(*axis) && !free.contains(axis));
    let both: Vec<usize> = both.collect();
    let digit = |axis: &usize| (&store.access.strides[*axis], &nest.axes[*axis].extent);
    let mut digits: Vec<(&Dim, &Dim)> = free.iter().chain(&both).map(digit).collect();
    digits.push((stride, bound));
    if !tells_apart(e, &digits) {
        return None;
    }
    let order = thread_order(e, nest, nest.axes.len());
    let shared: Vec<usize> = order.into_iter().filter(|axis| free.contains(axis)).collect();
    let places = e.names.most(bound);
    let owners = both.is_empty().then(|| places.clamp(1.0, MOST_OWNERS));
    Some(Sharing { shared, owners })
}

/// Indices that threads can share.
pub fn units(e: &Emitter, nest: &Nest) -> f64 {
    match sharing(e, nest) {
        None => 1.0,
        Some(Sharing { owners: Some(owners), .. }) => owners * THREADS,
        Some(Sharing { shared, .. }) => e.names.most(&count(nest, &shared)),
    }
}

pub fn emit_scatter(e: &mut Emitter, nest: &Nest) {
    let Some(Sharing { shared, owners }) = sharing(e, nest) else { return by_one_thread(e, nest) };
    let (store, ..) = additions(nest).expect("shared nests have one store");
    let walked: Vec<usize> = (0..nest.axes.len()).filter(|axis| !shared.contains(axis)).collect();
    match owners {
        Some(_) => by_owner(e, nest, [&shared, &walked], store),
        None => by_column(e, nest, [&shared, &walked], store),
    }
}

/// Blocks own rows.
fn by_owner(e: &mut Emitter, nest: &Nest, [shared, walked]: [&[usize]; 2], store: &Store) {
    let StoreKind::AddAt { index: to, stride, bound } = &store.kind else { return };
    let (integer, threads) = (e.names.integer, e.threads);
    let (list, counts) = (e.columns("int"), e.across("found", "int"));
    let needed = cone(nest, *to);
    let (n, columns) = (e.names.dim(&count(nest, walked)), e.names.dim(&count(nest, shared)));
    let mut index = vec!["0".to_string(); nest.axes.len()];
    e.w.open(format!("for ({integer} first = 0; first < {n}; first += {threads})"));
    e.w.line("int found = 0;");
    e.w.open(format!("if (first + thread < {n})"));
    e.w.line(format!("const {integer} at = first + thread;"));
    indices(e, nest, walked, "at", None, &mut index);
    let mut body = Body::new(nest, None);
    body.instructions(e, &index, |i| needed[i]);
    let place = body.value(*to);
    let mine = if e.parts == 1 { String::new() } else { format!(" && {place} % {} == part", e.parts) };
    e.w.line(format!("found = {place} >= 0 && {place} < {}{mine};", e.names.dim(bound)));
    e.w.close();
    // Where each of them is in the list: how many come before.
    e.w.line("int before = found;");
    e.w.open("for (int step = 1; step < 32; step *= 2)");
    e.w.line("const int other = __shfl_up_sync(0xffffffff, before, step);");
    e.w.line("before += thread % 32 >= step ? other : 0;");
    e.w.close();
    e.w.line(format!("if (thread % 32 == 31) {counts}[thread / 32] = before;"));
    e.meet();
    e.w.line("int n_found = 0;");
    e.w.open(format!("for (int warp = 0; warp < {}; ++warp)", threads / 32));
    e.w.line(format!("before += warp < thread / 32 ? {counts}[warp] : 0;"));
    e.w.line(format!("n_found += {counts}[warp];"));
    e.w.close();
    e.w.line(format!("if (found) {list}[before - 1] = thread;"));
    e.meet();
    e.w.open("for (int k = 0; k < n_found; ++k)");
    e.w.line(format!("const {integer} at = first + {list}[k];"));
    indices(e, nest, walked, "at", None, &mut index);
    let mut body = Body::new(nest, None);
    body.instructions(e, &index, |i| needed[i]);
    let place = body.value(*to).to_string();
    e.w.open(format!("for ({integer} column = thread; column < {columns}; column += {threads})"));
    indices(e, nest, shared, "column", None, &mut index);
    body.instructions(e, &index, |i| !needed[i]);
    add(e, store, &index, &place, stride, body.value(store.value));
    e.w.close();
    e.w.close();
    // The list is the next ones'.
    e.meet();
    e.w.close();
}

/// Threads own columns.
fn by_column(e: &mut Emitter, nest: &Nest, [shared, walked]: [&[usize]; 2], store: &Store) {
    let StoreKind::AddAt { index: to, stride, bound } = &store.kind else { return };
    let columns = e.names.dim(&count(nest, shared));
    e.each("i", &columns);
    let mut index = vec![String::new(); nest.axes.len()];
    indices(e, nest, shared, "i", None, &mut index);
    for axis in walked {
        let (integer, extent) = (e.names.integer, e.names.dim(&nest.axes[*axis].extent));
        e.w.open(format!("for ({integer} i{axis} = 0; i{axis} < {extent}; ++i{axis})"));
        index[*axis] = format!("i{axis}");
    }
    let mut body = Body::new(nest, None);
    let needed = cone(nest, *to);
    body.instructions(e, &index, |i| needed[i]);
    let place = body.value(*to).to_string();
    e.w.open(format!("if ({place} >= 0 && {place} < {})", e.names.dim(bound)));
    body.instructions(e, &index, |i| !needed[i]);
    add(e, store, &index, &place, stride, body.value(store.value));
    e.w.close();
    walked.iter().for_each(|_| e.w.close());
    e.w.close();
}

fn add(e: &mut Emitter, store: &Store, index: &[String], place: &str, stride: &Dim, value: &str) {
    let dtype = store.access.dtype;
    let buffer = e.buffer(store.access.buffer);
    let wide = if e.names.integer == "int" { "" } else { "(long long)" };
    let at = format!("{} + {wide}{place} * {}", e.address(&store.access, index), e.names.dim(stride));
    let before = loaded(dtype, &format!("{buffer}[{at}]"));
    let sum = call(&mut e.functions, Func::Add, &[before, value.to_string()], &[dtype, dtype]);
    e.w.line(format!("{buffer}[{at}] = {};", stored(dtype, &sum)));
}

/// Instructions that a value is made of, itself included.
fn cone(nest: &Nest, value: u32) -> Vec<bool> {
    use crate::nest::Inst;
    let mut needed = vec![false; nest.body.len()];
    needed[value as usize] = true;
    for (i, inst) in nest.body.iter().enumerate().rev() {
        if !needed[i] {
            continue;
        }
        match inst {
            Inst::LoadAt { index, .. } => needed[*index as usize] = true,
            Inst::Call { arguments, .. } => arguments.iter().for_each(|v| needed[*v as usize] = true),
            Inst::Cast { argument, .. } => needed[*argument as usize] = true,
            Inst::Load { .. } | Inst::Const { .. } | Inst::Index { .. } | Inst::Size { .. } => {}
        }
    }
    needed
}

/// All indices one after another.
fn by_one_thread(e: &mut Emitter, nest: &Nest) {
    let first = if e.parts == 1 { "thread == 0" } else { "thread == 0 && part == 0" };
    e.w.open(format!("if ({first})"));
    super::reduce::sequential(e, nest, &mut |e, store, index, body| {
        let StoreKind::AddAt { index: to, stride, bound } = &store.kind else { return };
        let place = body.value(*to).to_string();
        e.w.open(format!("if ({place} >= 0 && {place} < {})", e.names.dim(bound)));
        add(e, store, index, &place, stride, body.value(store.value));
        e.w.close();
    });
    e.w.close();
}
