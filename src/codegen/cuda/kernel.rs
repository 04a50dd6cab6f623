//! A kernel's function: what it is, its parameters, its tiles, its ops one after another, and the barriers between them.
//!
//! What enters: kernels, and what people should read above each. What leaves: one text. A block walks over the tiles `blockIdx.x`,
//! `blockIdx.x + gridDim.x`, …; where several blocks share a tile, `part` is the block's number among them. A barrier stands before an
//! op that touches bytes which an op since the last barrier wrote, or writes bytes that one read. As a part of a whole step (`whole.rs`) the function is the
//! same but for who calls it: its block may be some of a block's threads, and is given its number.

use super::Entry;
use super::body::storage_type;
use super::expression::Names;
use super::fill::emit_fill;
use super::heading::{Heading, name};
use super::nest::{emit_nest, nest_units};
use super::product::{self, emit_product};
use super::rows::{Rows, emit_rows, rows_of};
use super::sort::emit_sort;
use super::steps::{Functions, float};
use super::turns::parallel_turns;
use super::writer::Writer;
use crate::base::{DType, Dim};
use crate::nest::fused_product::{FusedProduct, is_for_each_block};
use crate::nest::{
    Access, ArgumentAccess, BufferRef, Inst, Kernel, Loop, Nest, Scratch, Store, TileOp, TurnOrder,
};
use crate::plan::{MOST_SHARED_BYTES, Plan};
use std::collections::BTreeSet;

/// Threads of a block, at most and at least.
const MOST_THREADS: f64 = 256.0;
const LEAST_THREADS: f64 = 32.0;
/// Blocks that share a tile, at most: each thread then has more than one index.
const MOST_PARTS: f64 = 2048.0;
/// Blocks that keep a large GPU busy, where each of them works out some scalars first.
const ENOUGH_BLOCKS: f64 = 512.0;
/// Blocks of a kernel whose scratch lies in global memory: as many as are under way at once on a large GPU.
const SCRATCH_BLOCKS: u32 = 512;
/// What an array through which warps pass values has for each.
const VALUE_BYTES: u32 = 4;
/// A launch has no more.
const MOST_BLOCKS: u32 = i32::MAX as u32;

/// What holds for all kernels of a text.
#[derive(Clone, Copy)]
pub struct Terms {
    /// The greatest batch that they are launched with.
    pub max_batch: i64,
    /// Whether products may round f32 factors to tf32.
    pub allows_tf32: bool,
}

impl Terms {
    pub fn of(plan: &Plan) -> Terms {
        Terms { max_batch: plan.max_batch, allows_tf32: plan.allows_tf32 }
    }
}

/// Functions of the scalar table and helpers that texts need so far.
pub type SoFar = (Functions, BTreeSet<&'static str>);

/// Each kernel's launch and text, and what these need.
pub fn emit_each(kernels: &[Kernel], terms: Terms, headings: &[Heading]) -> (Vec<Entry>, Vec<String>, SoFar) {
    let mut so_far = SoFar::default();
    let (mut entries, mut texts) = (Vec::new(), Vec::new());
    for (i, kernel) in kernels.iter().enumerate() {
        let mut e = Emitter::new(kernel, terms, so_far, Form::Kernel);
        let heading = headings.get(i).cloned().unwrap_or_default();
        let (entry, text) = e.kernel(&name(&kernel.name, &i.to_string()), &heading);
        so_far = (e.functions, e.helpers);
        entries.push(entry);
        texts.push(text);
    }
    (entries, texts, so_far)
}

/// How a kernel's function is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// By the host.
    Kernel,
    /// By the threads of a part of a block; the block has `of`.
    Part { of: u32 },
    /// By a block of several launches.
    Joined,
}

/// Bytes that an op touches.
#[derive(Clone, Copy, PartialEq)]
enum Region {
    Argument(u32),
    Scratch(u64, u64),
}

impl Region {
    fn meets(self, other: Region) -> bool {
        match (self, other) {
            (Region::Scratch(a, a_end), Region::Scratch(b, b_end)) => a < b_end && b < a_end,
            (a, b) => a == b,
        }
    }
}

/// A kernel while it is written.
pub struct Emitter<'a> {
    pub w: Writer,
    pub names: Names,
    pub kernel: &'a Kernel,
    pub functions: Functions,
    pub helpers: BTreeSet<&'static str>,
    form: Form,
    pub allows_tf32: bool,
    pub threads: u32,
    /// Blocks that share a tile.
    pub blocks: u32,
    /// Blocks that share the indices of an op: those of its tile, or one where they share turns.
    pub parts: u32,
    /// Whether a loop in whose turns blocks have their parts is around.
    pub in_turns: bool,
    /// Arrays in shared memory through which warps pass values to each other: name, type and length.
    across: BTreeSet<(String, &'static str, u32)>,
    /// Shared memory of products, which have it one after another.
    pub of_products: u32,
    /// Bytes of shared memory that the text asks for where it needs them.
    pub of_squares: u32,
    /// The kernel's product, if its factors or what follows are made tile by tile with it.
    pub fused: Option<FusedProduct<'a>>,
    /// How rows stay in registers, if they do, and the nests of which they are made.
    rows: Option<(Rows, Vec<Nest>)>,
    /// What was touched since the last barrier, and whether it was written.
    touched: Vec<(Region, bool)>,
}

impl<'a> Emitter<'a> {
    pub fn new(kernel: &'a Kernel, terms: Terms, (functions, helpers): SoFar, form: Form) -> Emitter<'a> {
        let mut e = Emitter {
            w: Writer::default(),
            names: Names::of(kernel, terms.max_batch),
            kernel,
            functions,
            helpers,
            form,
            allows_tf32: terms.allows_tf32,
            threads: 32,
            blocks: 1,
            parts: 1,
            in_turns: false,
            across: BTreeSet::new(),
            of_products: 0,
            of_squares: 0,
            fused: None,
            rows: None,
            touched: Vec::new(),
        };
        e.rows = rows_of(&mut e, terms.max_batch);
        e.fused = FusedProduct::of(kernel).filter(|fused| product::has_tiles(&e, fused.gemm));
        e
    }

    /// Marks a device function as used.
    pub fn helper(&mut self, name: &'static str) {
        self.helpers.insert(name);
    }

    /// An array in shared memory with a place for each warp.
    pub fn across(&mut self, name: &str, ty: &'static str) -> String {
        self.shared_array(format!("of_warps_{name}"), ty, self.threads / 32)
    }

    /// An array in shared memory with a place for each thread.
    pub fn columns(&mut self, ty: &'static str) -> String {
        self.shared_array(format!("of_threads_{ty}"), ty, self.threads)
    }

    fn shared_array(&mut self, name: String, ty: &'static str, length: u32) -> String {
        self.across.insert((name.clone(), ty, length));
        name
    }

    pub fn buffer(&self, buffer: BufferRef) -> String {
        match buffer {
            BufferRef::Argument(i) => format!("a{i}"),
            BufferRef::Scratch(i) => format!("s{i}"),
        }
    }

    pub fn address(&self, access: &Access, index: &[String]) -> String {
        self.names.address(&access.offset, &access.strides, index)
    }

    /// `for` over `0..count`, shared by the threads of all blocks of the tile.
    pub fn each(&mut self, index: &str, count: &str) {
        let (integer, threads) = (self.names.integer, self.threads);
        let (first, step) = match self.parts {
            1 => ("thread".to_string(), threads),
            parts => (format!("part * {threads} + thread"), parts * threads),
        };
        self.w.open(format!("for ({integer} {index} = {first}; {index} < {count}; {index} += {step})"));
    }

    /// A value of one type as another.
    pub fn cast(&mut self, x: &str, from: DType, to: DType) -> String {
        match (from, to) {
            _ if from == to => x.into(),
            (DType::BF16, _) => self.cast(x, DType::F32, to),
            (_, DType::BF16) => {
                let x = self.cast(x, from, DType::F32);
                self.helper("round_bf16");
                format!("round_bf16({x})")
            }
            (DType::Bool, DType::F32) => format!("({x} != 0 ? {} : {})", float(1.0), float(0.0)),
            (DType::Bool, _) => format!("(-{x})"),
            (DType::F32, DType::Bool) => format!("-({x} != {})", float(0.0)),
            (_, DType::Bool) => format!("-({x} != 0)"),
            // Saturates, and makes 0 of NaN.
            (DType::F32, DType::U8) => format!("min(max(__float2int_rz({x}), 0), 255)"),
            (DType::F32, _) => format!("__float2int_rz({x})"),
            (_, DType::F32) => format!("__int2float_rn({x})"),
            (DType::I32, DType::U8) => format!("min(max({x}, 0), 255)"),
            _ => x.into(),
        }
    }

    /// Indices that threads can share, at most: what decides how many threads and blocks there are.
    fn units(&mut self, op: &TileOp) -> f64 {
        match op {
            TileOp::Nest(nest) => nest_units(self, nest),
            TileOp::Gemm(gemm) => product::units(self, gemm),
            TileOp::Fill(fill) => self.names.most(&fill.count) / 4.0,
            TileOp::Sort(sort) => self.names.most(&sort.n),
            TileOp::Loop(l) => {
                let outside = self.in_turns;
                self.in_turns |= l.order == TurnOrder::Alone;
                self.names.enter(l);
                let units = l.ops.iter().map(|op| self.units(op)).fold(1.0, f64::max);
                self.names.leave(l);
                self.in_turns = outside;
                units
            }
        }
    }

    fn most_units(&mut self) -> f64 {
        if let Some(fused) = self.fused {
            return product::units(self, fused.gemm);
        }
        self.kernel.ops.iter().map(|op| self.units(op)).fold(1.0, f64::max)
    }

    /// Threads of the kernel's block.
    pub fn choose_threads(&mut self) -> u32 {
        if let Some((rows, _)) = &self.rows {
            self.threads = rows.threads();
            return self.threads;
        }
        let threads = self.most_units().clamp(LEAST_THREADS, MOST_THREADS);
        self.threads = (threads.ceil() as u32).next_power_of_two();
        self.threads
    }

    /// The kernel's function, and how it is launched or called.
    pub fn kernel(&mut self, name: &str, heading: &Heading) -> (Entry, String) {
        let kernel = self.kernel;
        self.choose_threads();
        let scratch_end = self.scratch().iter().map(|s| s.offset + s.bytes).max().unwrap_or(0);
        let in_shared = scratch_end <= MOST_SHARED_BYTES;
        let most_parts = if in_shared { MOST_PARTS } else { f64::from(SCRATCH_BLOCKS) };
        let turns = parallel_turns(kernel);
        if self.rows.is_some() {
            self.blocks = 1;
        } else if turns.is_empty() {
            let parts = (self.most_units() / f64::from(self.threads)).ceil().clamp(1.0, most_parts);
            if self.fused.is_some() || matches!(&kernel.ops[..], [op] if can_be_shared(op)) {
                self.parts = parts as u32;
            } else if has_scalars_before(kernel) {
                let tiles = (self.names.most(&kernel.rows) / f64::from(kernel.tile)).ceil();
                self.parts = parts.min((ENOUGH_BLOCKS / tiles).ceil()).max(1.0) as u32;
            }
            self.blocks = self.parts;
        } else {
            let n = |l: &&Loop| (self.names.most(&l.extent) / f64::from(l.block)).ceil();
            self.blocks = turns.iter().map(n).product::<f64>().clamp(1.0, most_parts) as u32;
        }
        let mut entry = Entry {
            name: name.into(),
            threads: self.threads,
            // The compiler may load sixteen bytes where the last few are wanted.
            shared_bytes: if in_shared { scratch_end.next_multiple_of(16) as u32 } else { 0 },
            // Squares' and products' share is known when they are written.
            static_bytes: 0,
            scratch_bytes: if in_shared { 0 } else { scratch_end.next_multiple_of(256) },
            rows: self.rows.as_ref().map_or(&kernel.rows, |(rows, _)| &rows.count).clone(),
            tile: self.rows.as_ref().map_or(kernel.tile, |(rows, _)| rows.rows),
            parts: self.blocks,
            most_blocks: if in_shared { MOST_BLOCKS } else { SCRATCH_BLOCKS },
        };
        let text = self.text(&mut entry, heading);
        entry.static_bytes = self.of_squares;
        if self.form != Form::Kernel {
            let arrays = self.across.iter().map(|(_, _, length)| length * VALUE_BYTES);
            entry.shared_bytes = (entry.shared_bytes + arrays.sum::<u32>()).next_multiple_of(64);
        }
        (entry, text)
    }

    /// The ops, in a loop over the block's tiles.
    fn tiles(&mut self, heading: &Heading) {
        let kernel = self.kernel;
        self.open_tiles();
        match self.fused {
            Some(fused) => self.fused_product(fused, &heading.ops),
            None if self.parts > 1 => {
                let last = kernel.ops.len() - 1;
                self.by_each_block(0..last, &heading.ops);
                self.ops(&kernel.ops[last..], heading.ops.get(last..).unwrap_or_default());
            }
            None => self.ops(&kernel.ops, &heading.ops),
        }
        self.close_tiles();
    }

    fn text(&mut self, entry: &mut Entry, heading: &Heading) -> String {
        let kernel = self.kernel;
        let scratch = self.scratch();
        let integer = self.names.integer;
        // The body first: only then is it known what it needs above.
        self.w.open("");
        if let Some((rows, nests)) = self.rows.take() {
            emit_rows(self, &rows, &nests, &heading.ops);
        } else {
            self.tiles(heading);
        }
        let body = std::mem::take(&mut self.w).finish();
        let of_scratch = entry.shared_bytes;
        let at_products = of_scratch.next_multiple_of(64);
        if self.of_products > 0 {
            entry.shared_bytes = at_products + self.of_products;
        }
        let w = &mut self.w;
        heading.lines.iter().for_each(|line| w.line(format!("// {line}")));
        let shared = match self.blocks {
            1 => String::new(),
            parts => format!(", {parts} blocks a tile"),
        };
        w.line(format!("// rows: {} in tiles of {}{shared}", entry.rows, entry.tile));
        // What `restrict` says of a part would be taken to hold for the whole step: what it has itself written could be read through the
        // read-only cache.
        let restrict = if let Form::Part { .. } = self.form { "" } else { " __restrict__" };
        let parameter = |(i, a): (usize, &crate::nest::Argument)| {
            let constant = if a.access == ArgumentAccess::Read { "const " } else { "" };
            format!("{constant}{}*{restrict} a{i}", storage_type(a.dtype))
        };
        let mut parameters: Vec<String> = kernel.arguments.iter().enumerate().map(parameter).collect();
        match self.form {
            Form::Kernel => parameters.push("unsigned char* __restrict__ scratch".into()),
            Form::Part { .. } | Form::Joined => {
                parameters.extend(["unsigned char* shared", "int block", "int n_blocks"].map(String::from));
            }
        }
        parameters.extend(["long long n_examples".into(), format!("const StepEnv*{restrict} env")]);
        // One block a processor is enough to ask for: for the sake of more the assembler would spill some registers.
        match self.form {
            Form::Kernel => {
                w.line(format!("extern \"C\" __global__ void __launch_bounds__({}, 1)", entry.threads));
                w.line(format!("{}(", entry.name));
            }
            Form::Part { .. } | Form::Joined => {
                w.line(format!("__device__ __forceinline__ void {}(", entry.name))
            }
        }
        let last = parameters.pop().expect("every kernel has an environment");
        parameters.iter().for_each(|parameter| w.line(format!("    {parameter},")));
        w.open(format!("    {last})"));
        match self.form {
            Form::Part { of } if self.threads < of => {
                w.line(format!("const int thread = threadIdx.x % {};", self.threads));
            }
            _ => w.line("const int thread = threadIdx.x;"),
        }
        if self.blocks > 1 {
            w.line(format!("const int part = {} % {};", block(self.form).0, self.blocks));
        }
        if kernel.rows.contains("batch") || uses_batch(&body) {
            w.line(format!("const {integer} batch = ({integer})n_examples;"));
        }
        if entry.shared_bytes > 0 && self.form == Form::Kernel {
            w.line("extern __shared__ __align__(64) unsigned char shared[];");
        }
        if entry.scratch_bytes > 0 {
            w.line(format!(
                "unsigned char* const own = scratch + (long long)blockIdx.x * {};",
                entry.scratch_bytes
            ));
        }
        if self.of_products > 0 {
            w.line(format!("unsigned char* const stages = shared + {at_products};"));
        }
        let memory = if of_scratch > 0 { "shared" } else { "own" };
        for (i, scratch) in scratch.iter().enumerate() {
            let ty = storage_type(scratch.dtype);
            w.line(format!("{ty}* const s{i} = reinterpret_cast<{ty}*>({memory} + {});", scratch.offset));
        }
        let mut end = entry.shared_bytes;
        for (name, ty, length) in &self.across {
            match self.form {
                Form::Kernel => w.line(format!("__shared__ {ty} {name}[{length}];")),
                Form::Part { .. } | Form::Joined => {
                    w.line(format!("{ty}* const {name} = reinterpret_cast<{ty}*>(shared + {end});"));
                    end += length * VALUE_BYTES;
                }
            }
        }
        let mut text = std::mem::take(w).finish();
        // Without its own braces.
        let lines: Vec<&str> = body.lines().collect();
        for line in &lines[1..] {
            text.push_str(line);
            text.push('\n');
        }
        text.push_str("}\n");
        text
    }

    /// Scratch in memory.
    fn scratch(&self) -> &'a [Scratch] {
        if self.rows.is_some() { &[] } else { &self.kernel.scratch }
    }

    /// The number of the block, and how many there are.
    pub fn block(&self) -> (&'static str, &'static str) {
        block(self.form)
    }

    fn open_tiles(&mut self) {
        let (integer, tile) = (self.names.integer, self.kernel.tile);
        let rows = self.names.resolve(&self.kernel.rows);
        if rows.as_const().is_some_and(|rows| rows <= i64::from(tile)) {
            return;
        }
        let (block, n_blocks) = block(self.form);
        let (first, step) = match self.blocks {
            1 => (block.to_string(), n_blocks.to_string()),
            parts => (format!("({block} / {parts})"), format!("({n_blocks} / {parts})")),
        };
        if rows.as_const().is_none() {
            let rows = self.names.dim(&self.kernel.rows);
            self.w.line(format!("const {integer} rows = {rows};"));
        }
        let rows = if let Some(rows) = rows.as_const() { rows.to_string() } else { "rows".into() };
        self.w.open(format!(
            "for ({integer} start = ({integer}){first} * {tile}; start < {rows}; start += ({integer}){step} * {tile})"
        ));
        if self.names.resolve(&Dim::symbol("tile")).as_const().is_none() {
            self.w.line(format!("const {integer} tile = min(({integer}){tile}, {rows} - start);"));
            // Otherwise the compiler lets threads leave a branch at different places for the sake of empty tiles.
            self.w.line("__builtin_assume(tile > 0);");
        }
    }

    fn close_tiles(&mut self) {
        let rows = self.names.resolve(&self.kernel.rows);
        if rows.as_const().is_some_and(|rows| rows <= i64::from(self.kernel.tile)) {
            return;
        }
        // The next tile's scratch is this one's.
        if !self.kernel.scratch.is_empty() {
            self.barrier();
        }
        self.w.close();
    }

    pub fn barrier(&mut self) {
        self.meet();
        self.touched.clear();
    }

    /// No thread of the kernel's block goes on before all have come.
    pub fn meet(&mut self) {
        match self.form {
            Form::Part { of } if self.threads < of && self.threads == 32 => self.w.line("__syncwarp();"),
            Form::Part { of } if self.threads < of => {
                self.helper("meet_group");
                self.w.line(format!("meet_group<{}>();", self.threads));
            }
            _ => self.w.line("__syncthreads();"),
        }
    }

    /// `said`: of each op, what people should read above it.
    pub fn ops(&mut self, ops: &[TileOp], said: &[String]) {
        for (i, op) in ops.iter().enumerate() {
            let touches = self.regions(op);
            let meets = |(region, writes): &(Region, bool)| {
                self.touched.iter().any(|(other, wrote)| (*writes || *wrote) && region.meets(*other))
            };
            if touches.iter().any(meets) {
                self.barrier();
            }
            if let Some(said) = said.get(i) {
                self.w.line(format!("// {said}"));
            }
            match op {
                TileOp::Nest(nest) => emit_nest(self, nest),
                TileOp::Loop(l) => self.turns(l),
                TileOp::Gemm(gemm) => emit_product(self, gemm),
                TileOp::Fill(fill) => emit_fill(self, fill),
                TileOp::Sort(sort) => emit_sort(self, sort),
            }
            self.touched.extend(touches);
        }
    }

    /// Ops that each block that shares a tile does for itself.
    fn by_each_block(&mut self, ops: impl Iterator<Item = usize>, said: &[String]) {
        let parts = std::mem::replace(&mut self.parts, 1);
        ops.for_each(|i| self.ops(&self.kernel.ops[i..=i], said.get(i..=i).unwrap_or_default()));
        self.parts = parts;
    }

    fn fused_product(&mut self, fused: FusedProduct, said: &[String]) {
        let ops = &self.kernel.ops;
        let prologues = || fused.prologues.iter().flatten().map(|prologue| prologue.op);
        let epilogue = fused.epilogue.map(|_| ops.len() - 1);
        let made_in_tiles: BTreeSet<usize> = prologues().chain([fused.product]).chain(epilogue).collect();
        self.by_each_block((0..ops.len()).filter(|i| !made_in_tiles.contains(i)), said);
        let touches: Vec<(Region, bool)> =
            made_in_tiles.iter().flat_map(|i| self.regions(&ops[*i])).collect();
        if touches.iter().any(|(region, _)| self.touched.iter().any(|(other, _)| region.meets(*other))) {
            self.barrier();
        }
        for i in made_in_tiles {
            said.get(i).into_iter().for_each(|said| self.w.line(format!("// {said}")));
        }
        emit_product(self, fused.gemm);
    }

    fn region(&self, buffer: BufferRef) -> Region {
        match buffer {
            BufferRef::Argument(i) => Region::Argument(i),
            BufferRef::Scratch(i) => {
                let scratch = &self.kernel.scratch[i as usize];
                Region::Scratch(scratch.offset, scratch.offset + scratch.bytes)
            }
        }
    }

    fn regions(&self, op: &TileOp) -> Vec<(Region, bool)> {
        let mut found: Vec<(BufferRef, bool)> = Vec::new();
        match op {
            TileOp::Nest(nest) => {
                for inst in &nest.body {
                    if let Inst::Load { access } | Inst::LoadAt { access, .. } = inst {
                        found.push((access.buffer, false));
                    }
                }
                found.extend(nest.stores.iter().map(|store| (store.access.buffer, true)));
            }
            TileOp::Gemm(gemm) => {
                found.extend([(gemm.lhs.buffer, false), (gemm.rhs.buffer, false), (gemm.out.buffer, true)]);
            }
            TileOp::Fill(fill) => found.push((fill.buffer, true)),
            TileOp::Sort(sort) => {
                found.extend([(sort.source.buffer, false), (sort.out.buffer, true), (sort.keys, true)]);
            }
            TileOp::Loop(l) => return l.ops.iter().flat_map(|op| self.regions(op)).collect(),
        }
        found.into_iter().map(|(buffer, writes)| (self.region(buffer), writes)).collect()
    }
}

/// The number of the kernel's block, and how many there are.
fn block(form: Form) -> (&'static str, &'static str) {
    match form {
        Form::Kernel => ("blockIdx.x", "gridDim.x"),
        Form::Part { .. } | Form::Joined => ("block", "n_blocks"),
    }
}

/// Whether all ops but the last are scalars in scratch, and blocks can share the last one.
fn has_scalars_before(kernel: &Kernel) -> bool {
    let Some((TileOp::Nest(last), before)) = kernel.ops.split_last() else { return false };
    let is_scalar =
        |op: &TileOp| matches!(op, TileOp::Nest(nest) if nest.axes.is_empty()) && is_for_each_block(op, last);
    let in_arguments = |store: &Store| matches!(store.access.buffer, BufferRef::Argument(_));
    before.iter().all(is_scalar) && last.stores.iter().all(in_arguments)
}

fn uses_batch(body: &str) -> bool {
    body.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == "batch")
}

/// Whether several blocks can share a tile: no thread needs what another one made.
fn can_be_shared(op: &TileOp) -> bool {
    match op {
        TileOp::Nest(_) | TileOp::Gemm(_) | TileOp::Fill(_) => true,
        TileOp::Sort(_) | TileOp::Loop(_) => false,
    }
}
