//! Kernels in which a row stays in registers: softmax, norms, cross-entropy.
//!
//! What enters: a kernel whose ops go over one row each, a tile's or a turn's: reductions along it, maps of its elements, and what is made of its sums. What leaves:
//! one loop over rows. A row is a warp's, or a block's; each of their threads has the same elements of it in every op, so that
//! what an op makes another finds in a register: memory is read once and written once, and scratch is no memory at all. Warps need no
//! barrier. What is made of sums alone each thread makes for itself. Invariants: which kernels are such follows from them and their greatest
//! sizes alone, and so does the order of each sum: a thread's elements in order, then lanes in pairs, then warps, as in `reduce.rs`.
//!
//! The cost model. An op that reads a row again finds it in the first cache only as long as the rows of all blocks that are under way fit, in
//! the second as long as those of all processors do: of a vocabulary of 32,768 neither holds. Registers hold some elements of a thread beside
//! what it works with (`SHARERS`); up to 512 threads share a row, and where that is not enough it is read again. Rows that are short, or many, are a warp's: a block would
//! wait for its last warp in every sum.

use super::body::Body;
use super::expression::Names;
use super::kernel::Emitter;
use super::nest::open_lanes;
use super::reduce::begin;
use super::steps::value_type;
use super::turns::parallel_turns;
use crate::base::Dim;
use crate::base::hash::{FastMap, FastSet};
use crate::nest::analysis::{accesses, merge_axes};
use crate::nest::{Access, Axis, BufferRef, Inst, Kernel, Loop, Nest, Store, StoreKind, TileOp};
use smol_str::SmolStr;

/// Threads that share a row, and how many elements each holds of all arrays at most: a processor has 128 registers for each of 512.
const SHARERS: [(i64, i64); 3] = [(32, 64), (256, 64), (512, 100)];
/// Threads of a block in which each warp has a row.
const THREADS: i64 = 256;
/// Blocks that keep a large GPU busy, and elements of a row of which a block should have all where there are fewer rows.
const BLOCKS: f64 = 512.0;
const LONG: i64 = 512;

/// What an access is to the row that is at hand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// Each element its own.
    Element,
    /// The same for all of the row.
    Scalar,
}

/// A place in registers: of a buffer, read and written with these strides.
#[derive(Clone, PartialEq, Debug)]
struct Held {
    access: Access,
    kind: Kind,
}

/// How a kernel's rows are made.
#[derive(Clone, Debug)]
pub struct Rows {
    /// How many there are.
    pub count: Dim,
    /// Whose turns they are, one a turn.
    loops: Vec<Loop>,
    /// Elements of a row.
    n: i64,
    /// Threads that share a row.
    pub sharers: u32,
    /// Rows of a block.
    pub rows: u32,
    /// Whether threads take four neighbours each time.
    quads: bool,
    held: Vec<Held>,
}

/// An access by its row and its place in the row: of a nest without a second axis the place is the row's.
fn in_row(access: &Access) -> Access {
    let mut strides = access.strides.clone();
    strides.resize(2, Dim::from(0));
    Access { strides, ..access.clone() }
}

fn kind(access: &Access) -> Kind {
    match access.strides.get(1) {
        Some(stride) if !stride.is_const(0) => Kind::Element,
        _ => Kind::Scalar,
    }
}

fn is_scratch(access: &Access) -> bool {
    matches!(access.buffer, BufferRef::Scratch(_))
}

/// The nest of a row: a first axis of one place, which stands for all that the row is one of, and the elements, if there are any.
fn flat(e: &Emitter, nest: &Nest) -> Option<Nest> {
    let is_long = |axis: &usize| !e.names.resolve(&nest.axes[*axis].extent).is_const(1);
    let long: Vec<usize> = (0..nest.axes.len()).filter(is_long).collect();
    let is_map = long.first().is_none_or(|axis| !nest.axes[*axis].reduce);
    let mut flat = nest.clone();
    // Axes of two kinds are not merged.
    let of_row = Axis { extent: Dim::from(1), reduce: is_map };
    flat.axes = [of_row].into_iter().chain(long.iter().map(|axis| nest.axes[*axis].clone())).collect();
    let picked = |access: &mut Access| {
        let strides = long.iter().map(|axis| access.strides[*axis].clone());
        access.strides = [Dim::from(0)].into_iter().chain(strides).collect();
    };
    for inst in &mut flat.body {
        match inst {
            Inst::Load { access } | Inst::LoadAt { access, .. } => picked(access),
            Inst::Index { axis, .. } => {
                *axis = long.iter().position(|other| *other == *axis as usize).map_or(0, |at| at as u32 + 1);
            }
            _ => {}
        }
    }
    flat.stores.iter_mut().for_each(|store| picked(&mut store.access));
    let mut merged = merge_axes(&flat);
    merged.axes.first_mut().into_iter().for_each(|axis| axis.reduce = false);
    (merged.axes.len() <= 2).then_some(merged)
}

/// Whether a nest sums over one of these sizes, or asks for its value.
fn is_of_many(nest: &Nest, sizes: &[SmolStr]) -> bool {
    let names = |dim: &Dim| sizes.iter().any(|size| dim.contains(size));
    let in_body = |inst: &Inst| match inst {
        Inst::LoadAt { bound, stride, .. } => names(bound) || names(stride),
        Inst::Size { size } => names(size),
        _ => false,
    };
    nest.axes.iter().any(|axis| axis.reduce && names(&axis.extent))
        || nest.body.iter().any(in_body)
        || accesses(nest).iter().any(|access| access.offset.contains("rows"))
}

/// The loops whose turns are rows, each with one place a turn, and the ops of a row.
fn of_row(kernel: &Kernel) -> Option<(Vec<Loop>, Vec<&TileOp>)> {
    if kernel.ops.iter().all(|op| matches!(op, TileOp::Nest(_))) {
        return Some((Vec::new(), kernel.ops.iter().collect()));
    }
    let loops = parallel_turns(kernel);
    let (inner, before) = (&loops.last()?.ops, &kernel.ops[..kernel.ops.len() - 1]);
    let each = loops.iter().map(|l| Loop { block: 1, ops: Vec::new(), ..(*l).clone() }).collect();
    Some((each, before.iter().chain(inner).collect()))
}

impl Rows {
    /// How the kernel's rows stay in registers, if they can, and the nests of one. The emitter counts in tiles of one row, and has entered
    /// the loops.
    fn of(e: &Emitter, loops: &[Loop], ops: &[&TileOp]) -> Option<(Rows, Vec<Nest>)> {
        let nest = |op: &&TileOp| match op {
            TileOp::Nest(nest) => flat(e, nest),
            _ => None,
        };
        let nests: Vec<Nest> = ops.iter().map(nest).collect::<Option<_>>()?;
        let count = loops.iter().fold(e.kernel.rows.clone(), |n, l| n * e.names.resolve(&l.extent));
        let is_over_batch = count.terms().iter().all(|(symbols, _)| symbols.iter().all(|s| s == "batch"));
        if count.is_const(1) || !is_over_batch || nests.len() < 2 {
            return None;
        }
        // What is of all of a tile or a turn is not a row's.
        let of_many: Vec<SmolStr> =
            ["tile".into(), "rows".into()].into_iter().chain(loops.iter().map(Loop::size_symbol)).collect();
        if ops.iter().any(|op| matches!(op, TileOp::Nest(nest) if is_of_many(nest, &of_many))) {
            return None;
        }
        let mut n = None;
        for nest in &nests {
            let length = nest.axes.get(1).map(|axis| axis.extent.as_const());
            match (n, length) {
                (_, Some(None)) => return None,
                (Some(known), Some(Some(length))) if known != length => return None,
                (None, Some(length)) => n = length,
                _ => {}
            }
            if nest.stores.iter().any(|store| matches!(store.kind, StoreKind::AddAt { .. })) {
                return None;
            }
        }
        // Without a sum nothing waits for all of a row.
        let reduces = nests.iter().any(|nest| nest.axes.iter().any(|axis| axis.reduce));
        let n = n.filter(|n| *n >= 32 && reduces)?;
        let symbols: Vec<SmolStr> =
            ["start".into()].into_iter().chain(loops.iter().map(|l| l.turn.clone())).collect();
        let held = held(&nests, &symbols)?;
        let of_rows = held.iter().filter(|held| held.kind == Kind::Element).count() as i64;
        let n_rows = e.names.most(&count);
        let quads = nests.iter().all(|nest| can_take_four(e, nest));
        let fits = |(sharers, most): &(i64, i64)| {
            let is_wide = *sharers > 32 || n < LONG || n_rows >= BLOCKS;
            is_wide && (n as u64).div_ceil(*sharers as u64) as i64 * of_rows <= *most
        };
        let (sharers, _) = SHARERS.into_iter().find(fits)?;
        let rows = if sharers == 32 { (n_rows / BLOCKS).clamp(1.0, (THREADS / 32) as f64) as u32 } else { 1 };
        let rows = 1 << rows.ilog2();
        Some((Rows { count, loops: loops.to_vec(), n, sharers: sharers as u32, rows, quads, held }, nests))
    }

    pub fn threads(&self) -> u32 {
        self.sharers * self.rows
    }

    /// How often a thread takes elements of a row, one or four.
    fn pieces(&self) -> i64 {
        (self.n as u64).div_ceil(u64::from(self.sharers) * if self.quads { 4 } else { 1 }) as i64
    }

    fn name(&self, access: &Access) -> Option<(String, Kind)> {
        let access = in_row(access);
        let at = self.held.iter().position(|held| held.access == access)?;
        Some((format!("h{at}"), self.held[at].kind))
    }
}

/// Whether four neighbours along a row can be taken at once of all that is in memory.
fn can_take_four(e: &Emitter, nest: &Nest) -> bool {
    let is_even = |access: &Access| match kind(access) {
        Kind::Scalar => true,
        Kind::Element => access.strides[1].is_const(1) && e.names.is_multiple(&access.offset, 4),
    };
    let whole = nest.axes.get(1).is_none_or(|axis| e.names.is_multiple(&axis.extent, 4));
    let loads = nest.body.iter().filter_map(|inst| match inst {
        Inst::Load { access } => Some(access),
        _ => None,
    });
    let stores = nest.stores.iter().map(|store| &store.access);
    whole && loads.chain(stores).filter(|access| !is_scratch(access)).all(is_even)
}

/// What must be held: scratch, what is read by several ops, and what is read after it was written. Nothing if some of that is not read where
/// it was written. `symbols` say which row it is.
fn held(nests: &[Nest], symbols: &[SmolStr]) -> Option<Vec<Held>> {
    // By access: in how many ops it is loaded, and whether it is stored.
    let mut all: Vec<(Held, usize, bool)> = Vec::new();
    let mut written: FastMap<BufferRef, Access> = FastMap::default();
    // Read at places of which some other thread may have the element.
    let mut read_anywhere: FastSet<BufferRef> = FastSet::default();
    for nest in nests {
        let mut loaded: Vec<Access> = Vec::new();
        for inst in &nest.body {
            match inst {
                Inst::Load { access } => {
                    let access = in_row(access);
                    if written.get(&access.buffer).is_some_and(|written| *written != access) {
                        return None;
                    }
                    if is_scratch(&access)
                        && (!written.contains_key(&access.buffer) || !access.offset.is_const(0))
                    {
                        return None;
                    }
                    if !loaded.contains(&access) {
                        loaded.push(access);
                    }
                }
                Inst::LoadAt { access, .. } if is_scratch(access) || written.contains_key(&access.buffer) => {
                    return None;
                }
                Inst::LoadAt { access, .. } => {
                    read_anywhere.insert(access.buffer);
                }
                _ => {}
            }
        }
        for access in loaded {
            match all.iter_mut().find(|(held, ..)| held.access == access) {
                Some((_, n, _)) => *n += 1,
                None => all.push((Held { kind: kind(&access), access }, 1, false)),
            }
        }
        for store in &nest.stores {
            let access = in_row(&store.access);
            // Of a sum there is one for a row, of a map one for an element; more would be written by whoever comes last.
            let of_element = nest.axes.len() == 2 && store.kind == StoreKind::Set;
            let is_own = of_element == (kind(&access) == Kind::Element);
            if !is_own || written.get(&access.buffer).is_some_and(|written| *written != access) {
                return None;
            }
            // A place of the row's own.
            let is_of_row = match is_scratch(&access) {
                true => access.offset.is_const(0),
                false => symbols.iter().all(|symbol| access.offset.contains(symbol)),
            };
            if !is_of_row || read_anywhere.contains(&access.buffer) {
                return None;
            }
            // What was read before it is overwritten is an older value.
            if all.iter().any(|(held, _, stored)| {
                held.access.buffer == access.buffer && (!stored || held.access != access)
            }) {
                return None;
            }
            written.insert(access.buffer, access.clone());
            match all.iter_mut().find(|(held, ..)| held.access == access) {
                Some((_, _, stored)) => *stored = true,
                None => all.push((Held { kind: kind(&access), access }, 0, true)),
            }
        }
    }
    let is_held = |(held, n, stored): &(Held, usize, bool)| {
        is_scratch(&held.access)
            || *stored && *n > 0
            || *n > 1
                && held.kind == Kind::Element
                && symbols.iter().any(|symbol| held.access.offset.contains(symbol))
    };
    Some(all.into_iter().filter(is_held).map(|(held, ..)| held).collect())
}

/// A kernel's rows, if they stay in registers, with the names of sizes in a row.
pub fn rows_of(e: &mut Emitter, max_batch: i64) -> Option<(Rows, Vec<Nest>)> {
    let (loops, ops) = of_row(e.kernel)?;
    let of_tiles = e.names.clone();
    e.names = Names::of(&Kernel { tile: 1, ..e.kernel.clone() }, max_batch);
    loops.iter().for_each(|l| e.names.enter(l));
    let found = Rows::of(e, &loops, &ops);
    if found.is_none() {
        e.names = of_tiles;
    }
    found
}

/// The whole of a kernel.
pub fn emit_rows(e: &mut Emitter, rows: &Rows, nests: &[Nest], said: &[String]) {
    let integer = e.names.integer;
    let sharers = rows.sharers;
    let lane = if sharers == 32 && rows.rows > 1 { "thread % 32" } else { "thread" };
    let (block, n_blocks) = e.block();
    let (first, step) = match rows.rows {
        1 => (format!("({integer}){block}"), format!("({integer}){n_blocks}")),
        n => (format!("({integer}){block} * {n} + thread / 32"), format!("({integer}){n_blocks} * {n}")),
    };
    let count = e.names.dim(&rows.count);
    let row = if rows.loops.is_empty() { "start" } else { "row" };
    e.w.open(format!("for ({integer} {row} = {first}; {row} < {count}; {row} += {step})"));
    // Which example, and which turn of each loop.
    let mut inside = Dim::from(1);
    let mut lines = Vec::new();
    for l in rows.loops.iter().rev() {
        let by = if inside.is_const(1) { String::new() } else { format!(" / {}", e.names.dim(&inside)) };
        lines.push(format!("const {integer} {} = row{by} % {};", l.turn, e.names.dim(&l.extent)));
        inside = inside * l.extent.clone();
    }
    if !rows.loops.is_empty() {
        lines.push(format!("const {integer} start = row / {};", e.names.dim(&inside)));
    }
    lines.iter().rev().for_each(|line| e.w.line(line));
    let per_turn = if rows.quads { "[4]" } else { "" };
    for (i, held) in rows.held.iter().enumerate() {
        let ty = value_type(held.access.dtype);
        match held.kind {
            Kind::Element => e.w.line(format!("{ty} h{i}[{}]{per_turn};", rows.pieces())),
            Kind::Scalar => e.w.line(format!("{ty} h{i};")),
        }
    }
    let mut there: Vec<Access> = Vec::new();
    for (i, nest) in nests.iter().enumerate() {
        let said = if rows.loops.is_empty() { said.get(i) } else { None };
        said.into_iter().for_each(|said| e.w.line(format!("// {said}")));
        e.w.open("");
        match nest.axes.get(1) {
            Some(axis) => over_elements(e, rows, nest, axis.reduce, lane, &mut there),
            None => over_row(e, rows, nest, lane, &mut there),
        }
        e.w.close();
    }
    e.w.close();
}

/// A nest of a row's scalars, made by each thread.
fn over_row(e: &mut Emitter, rows: &Rows, nest: &Nest, lane: &str, there: &mut Vec<Access>) {
    let index: Vec<String> = nest.axes.iter().map(|_| "0".to_string()).collect();
    let mut body = Body::in_registers(nest, None);
    find_held(rows, nest, &mut body, there, "");
    body.instructions(e, &index, |_| true);
    // Of one element it is the first.
    let value = |store: &Store| match store.kind {
        StoreKind::ArgMax => "0".to_string(),
        _ => body.value(store.value).to_string(),
    };
    let values: Vec<String> = nest.stores.iter().map(value).collect();
    store_scalars(e, rows, &body, &nest.stores, &values, &index, lane);
    there.extend(nest.stores.iter().map(|store| in_row(&store.access)));
}

/// Says of the loads of what is held where their values are. `element`: which of a thread's elements is meant.
fn find_held(rows: &Rows, nest: &Nest, body: &mut Body, there: &[Access], element: &str) {
    for (i, inst) in nest.body.iter().enumerate() {
        let Inst::Load { access } = inst else { continue };
        if let Some((name, kind)) = rows.name(access)
            && there.contains(&in_row(access))
        {
            body.hold(i, if kind == Kind::Element { format!("{name}{element}") } else { name });
        }
    }
}

/// Values of a whole row, to registers and, by one of the row's threads, to memory.
fn store_scalars(
    e: &mut Emitter,
    rows: &Rows,
    body: &Body,
    stores: &[Store],
    values: &[String],
    index: &[String],
    lane: &str,
) {
    for (store, value) in stores.iter().zip(values) {
        if let Some((name, _)) = rows.name(&store.access) {
            e.w.line(format!("{name} = {value};"));
        }
    }
    let in_memory = || stores.iter().zip(values).filter(|(store, _)| !is_scratch(&store.access));
    if in_memory().next().is_some() {
        e.w.open(format!("if ({lane} == 0)"));
        in_memory().for_each(|(store, value)| body.store(e, store, index, value));
        e.w.close();
    }
}

/// A nest over the elements of a row: a map, or sums of it.
fn over_elements(
    e: &mut Emitter,
    rows: &Rows,
    nest: &Nest,
    reduces: bool,
    lane: &str,
    there: &mut Vec<Access>,
) {
    let (integer, quad) = (e.names.integer, rows.quads.then_some(1));
    let mut index = vec!["0".to_string(), "i1".to_string()];
    let mut body = Body::in_registers(nest, quad);
    let all = if reduces { begin(e, &body) } else { Vec::new() };
    let element = if rows.quads { "[piece][lane]" } else { "[piece]" };
    find_held(rows, nest, &mut body, there, element);
    // What is held and not there yet is loaded to where it is held.
    let mut new: Vec<(usize, String, Access)> = Vec::new();
    for (i, inst) in nest.body.iter().enumerate() {
        let Inst::Load { access } = inst else { continue };
        let Some((name, Kind::Element)) = rows.name(access) else { continue };
        let key = in_row(access);
        if !there.contains(&key) {
            if !new.iter().any(|(_, _, known)| in_row(known) == key) {
                new.push((i, name.clone(), access.clone()));
            }
            body.hold(i, format!("{name}{element}"));
        }
    }
    e.w.line("#pragma unroll");
    e.w.open(format!("for (int piece = 0; piece < {}; ++piece)", rows.pieces()));
    let width = if rows.quads { " * 4" } else { "" };
    e.w.line(format!("const {integer} i1 = (piece * {} + {lane}){width};", rows.sharers));
    let is_even = rows.pieces() * i64::from(rows.sharers) * if rows.quads { 4 } else { 1 } == rows.n;
    if !is_even {
        e.w.open(format!("if (i1 < {})", rows.n));
    }
    for (_, name, access) in &new {
        body.load_held(e, access, &index, &format!("{name}[piece]"));
    }
    if rows.quads {
        body.open_quad(e, &index);
        index = open_lanes(e, 1, &index);
    }
    body.instructions(e, &index, |_| true);
    for (i, store) in nest.stores.iter().enumerate().filter(|(_, store)| store.kind == StoreKind::Set) {
        let value = body.value(store.value).to_string();
        if let Some((name, _)) = rows.name(&store.access) {
            e.w.line(format!("{name}{element} = {value};"));
        }
        if !is_scratch(&store.access) {
            match rows.quads {
                true => e.w.line(format!("y{i}[lane] = {value};")),
                false => body.store(e, store, &index, &value),
            }
        }
    }
    for accumulator in &all {
        let value = body.value(accumulator.store.value).to_string();
        accumulator.take(e, &value, &index[1]);
    }
    if rows.quads {
        e.w.close();
        index[1] = "i1".into();
        body.close_quad(e, &index);
    }
    if !is_even {
        e.w.close();
    }
    e.w.close();
    for accumulator in &all {
        accumulator.across_lanes(e, 32);
        if rows.sharers > 32 {
            accumulator.across_warps(e);
        }
    }
    let sums: Vec<Store> = all.iter().map(|accumulator| accumulator.store.clone()).collect();
    let values: Vec<String> = all.iter().map(|accumulator| accumulator.result()).collect();
    store_scalars(e, rows, &body, &sums, &values, &["0".to_string(), "0".to_string()], lane);
    there.extend(new.into_iter().map(|(_, _, access)| in_row(&access)));
    there.extend(nest.stores.iter().map(|store| in_row(&store.access)));
}
