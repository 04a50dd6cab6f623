//! A small step as one kernel, which stays on the device from its first phase to its last.
//!
//! What enters: a plan of so little work that launches and the gaps between them would take most of a step's time
//! (`plan::is_one_launch`). What leaves: a text in which each kernel of the plan is a device function, and `step`, which calls them:
//! phase by phase, all blocks of the grid meeting in between (`preamble/meet.cuh`). The blocks that launches of a phase would have
//! had are dealt to those that there are, in the order of launches and blocks; where a kernel's block has fewer threads than
//! `step`'s, several of them share one, each with shared memory and barriers of its own. Invariants: every function does what its
//! kernel does, thread by thread, so results are the same bits as those of launches, for any number of blocks; what is read behind a
//! meeting is not read through the read-only cache. All blocks must be on the device at once: the launch is a cooperative one.
//!
//! ```text
//! extern "C" __global__ void step(T0* b0, …, Tn* bn, unsigned* arrived, long long batch, const StepEnv* env)
//! ```
//!
//! `b3` is buffer 3 of the plan; `arrived` is 0 before the first launch and then the grid's.

use super::body::storage_type;
use super::heading::{headings, name};
use super::kernel::{Emitter, Form, SoFar, Terms};
use super::writer::Writer;
use super::{Entry, preamble};
use crate::base::Dim;
use crate::nest::TileOp;
use crate::plan::{BufferId, Launch, Plan, is_one_launch};
use std::collections::{BTreeMap, BTreeSet};

/// What the function is called.
const NAME: &str = "step";
/// Blocks of a launch, at most: more would wait for each other longer than they save.
const MOST_BLOCKS: u32 = 256;
/// Dynamic shared memory up to which kernels' blocks share one.
const SHARED_BYTES: u32 = 48 * 1024;
/// Shared memory that the text asks for by itself: a kernel has no more than 48 KB of it.
const STATIC_BYTES: u32 = 40 * 1024;
/// All shared memory of a block, which every GPU since sm_80 has.
const ALL_SHARED_BYTES: u32 = 96 * 1024;

/// CUDA C of a step as one kernel, and what it takes to launch it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Whole {
    pub text: String,
    /// The function's name in the text.
    pub name: &'static str,
    pub threads: u32,
    /// Dynamic shared memory of a block; beyond 48 KB a device must be asked for it.
    pub shared_bytes: u32,
    /// The function's first arguments.
    pub buffers: Vec<BufferId>,
    phases: Vec<Vec<Dealt>>,
}

/// A launch's blocks, as they are dealt.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Dealt {
    entry: Entry,
    /// Blocks of the kernel in one of `step`'s.
    together: u32,
}

impl Whole {
    /// Blocks that have something to do, of which there may be fewer.
    pub fn blocks(&self, batch: i64) -> u32 {
        let of_launch = |dealt: &Dealt| u64::from(dealt.entry.blocks(batch).div_ceil(dealt.together));
        let of_phase = |phase: &Vec<Dealt>| phase.iter().map(of_launch).sum::<u64>();
        let most = self.phases.iter().map(of_phase).max().unwrap_or(1);
        most.clamp(1, u64::from(MOST_BLOCKS)) as u32
    }
}

fn has_sort(ops: &[TileOp]) -> bool {
    ops.iter().any(|op| match op {
        TileOp::Sort(_) => true,
        TileOp::Loop(l) => has_sort(&l.ops),
        _ => false,
    })
}

/// The plan's step as one kernel; `None` where it should not be one, or its kernels need what a part of a block has not: scratch in
/// global memory, or a block of threads that sort.
pub fn emit_whole(plan: &Plan) -> Option<Whole> {
    if !is_one_launch(plan) || plan.kernels.iter().any(|kernel| has_sort(&kernel.ops)) {
        return None;
    }
    let nothing = SoFar::default;
    let emitter = |i: usize, so_far, form| Emitter::new(&plan.kernels[i], Terms::of(plan), so_far, form);
    let threads = |i: usize| emitter(i, nothing(), Form::Kernel).choose_threads();
    let launched: BTreeSet<usize> = plan.phases.iter().flatten().map(|launch| launch.kernel).collect();
    let threads = launched.iter().map(|i| threads(*i)).max()?;
    let headings = headings(plan);
    let (mut so_far, mut of_text) = (nothing(), 0);
    let (mut all, mut texts) = (BTreeMap::new(), Vec::new());
    for i in launched {
        let mut e = emitter(i, so_far, Form::Part { of: threads });
        let (entry, text) = e.kernel(&name(&plan.kernels[i].name, &i.to_string()), &headings[i]);
        let has_own = entry.scratch_bytes > 0 || e.names.integer != "int";
        if has_own || (e.of_squares + e.of_products > 0 && entry.threads < threads) {
            return None;
        }
        of_text += e.of_squares;
        let room = SHARED_BYTES.checked_div(entry.shared_bytes).unwrap_or(u32::MAX);
        let together = (threads / entry.threads).min(room).max(1);
        all.insert(i, Dealt { entry, together });
        texts.push(text);
        so_far = (e.functions, e.helpers);
    }
    let shared_bytes = all.values().map(|dealt| dealt.entry.shared_bytes * dealt.together).max()?;
    if of_text > STATIC_BYTES || of_text + shared_bytes > ALL_SHARED_BYTES {
        return None;
    }
    let (functions, mut helpers) = so_far;
    helpers.insert("meet");
    let used: BTreeSet<BufferId> =
        plan.phases.iter().flatten().flat_map(|launch| launch.arguments.iter().copied()).collect();
    let buffers: Vec<BufferId> = used.into_iter().collect();
    let step = step(plan, &all, &buffers, (threads, shared_bytes));
    let mut parts = vec![preamble::OPENING.to_string(), preamble::helpers(&helpers)];
    parts.extend(functions.into_values().chain(texts));
    parts.push(step);
    let text = parts.join("\n");
    let dealt = |launch: &Launch| all[&launch.kernel].clone();
    let phases = plan.phases.iter().map(|phase| phase.iter().map(dealt).collect()).collect();
    Some(Whole { text, name: NAME, threads, shared_bytes, buffers, phases })
}

/// What functions of several kernels have in common: shared memory, and the batch where blocks are counted by it.
pub fn begin<'e>(w: &mut Writer, shared_bytes: u32, mut kernels: impl Iterator<Item = &'e Entry>) {
    if shared_bytes > 0 {
        w.line("extern __shared__ __align__(64) unsigned char shared[];");
    } else {
        w.line("unsigned char* const shared = nullptr;");
    }
    if kernels.any(|entry| entry.rows.as_const().is_none()) {
        w.line("const int batch = (int)n_examples;");
    }
}

fn step(
    plan: &Plan,
    all: &BTreeMap<usize, Dealt>,
    buffers: &[BufferId],
    (threads, shared_bytes): (u32, u32),
) -> String {
    let mut w = Writer::default();
    for id in buffers {
        let buffer = &plan.buffers[id.0 as usize];
        let sizes: Vec<String> = buffer.shape.iter().map(Dim::to_string).collect();
        w.line(format!("// b{}: {} {}[{}]", id.0, buffer.name, buffer.dtype, sizes.join(", ")));
    }
    w.line(format!("extern \"C\" __global__ void __launch_bounds__({threads}, 1)"));
    w.line(format!("{NAME}("));
    for id in buffers {
        w.line(format!("    {}* b{},", storage_type(plan.buffers[id.0 as usize].dtype), id.0));
    }
    w.line("    unsigned* arrived,");
    w.line("    long long n_examples,");
    w.open("    const StepEnv* env)");
    begin(&mut w, shared_bytes, plan.phases.iter().flatten().map(|launch| &all[&launch.kernel].entry));
    for (i, phase) in plan.phases.iter().enumerate() {
        if i > 0 {
            w.line("meet(arrived);");
        }
        w.open("");
        let mut end = "0".to_string();
        for (l, launch) in phase.iter().enumerate() {
            let Dealt { entry, together } = &all[&launch.kernel];
            let units = match together {
                1 => format!("n{l}"),
                n => format!("(n{l} + {}) / {n}", n - 1),
            };
            let before = if l == 0 { String::new() } else { format!("{end} + ") };
            w.line(format!("const int n{l} = {}, end{l} = {before}{units};", entry.blocks_as_text()));
            end = format!("end{l}");
        }
        w.open(format!("for (int at = blockIdx.x; at < {end}; at += gridDim.x)"));
        for (l, launch) in phase.iter().enumerate() {
            let unit = if l == 0 { "at".to_string() } else { format!("(at - end{})", l - 1) };
            let condition = match l {
                _ if l + 1 == phase.len() => String::new(),
                0 => format!("if (at < end{l})"),
                _ => format!("else if (at < end{l})"),
            };
            let condition = if l > 0 && condition.is_empty() { "else".to_string() } else { condition };
            w.open(condition);
            call(&mut w, l, launch, &all[&launch.kernel], threads, &unit);
            w.close();
        }
        // What a block keeps in shared memory is the next one's.
        w.line("__syncthreads();");
        w.close();
        w.close();
    }
    w.close();
    w.finish()
}

/// Calls a kernel's function for the blocks of the unit `at`.
fn call(w: &mut Writer, l: usize, launch: &Launch, dealt: &Dealt, threads: u32, at: &str) {
    let Dealt { entry, together } = dealt;
    let arguments: Vec<String> = launch.arguments.iter().map(|id| format!("b{}", id.0)).collect();
    let arguments = arguments.join(", ");
    let place = format!("threadIdx.x / {}", entry.threads);
    let (shared, block) = match together {
        1 => ("shared".to_string(), at.to_string()),
        n => (format!("shared + {place} * {}", entry.shared_bytes), format!("{at} * {n} + {place}")),
    };
    w.line(format!("const int block = {block};"));
    let mut conditions = Vec::new();
    if *together > 1 {
        conditions.push(format!("block < n{l}"));
    }
    if together * entry.threads < threads {
        conditions.push(format!("threadIdx.x < {}", together * entry.threads));
    }
    let condition =
        if conditions.is_empty() { String::new() } else { format!("if ({}) ", conditions.join(" && ")) };
    w.line(format!("{condition}{}({arguments}, {shared}, block, n{l}, n_examples, env);", entry.name));
}
