//! Launches of one phase as one.
//!
//! What enters: a plan, and what its kernels' launches take. What leaves: for each phase, which of its launches are handed over as one, and a function for each
//! such set of kernels: an optimizer, which has a launch for each parameter, the rounding of all weights to bf16, sums of a layer's biases. Invariants:
//! each block does what a block of its own launch does, so that bits are the same; a launch that is not named here is handed over by itself. Not here: products,
//! which a library may make, and whatever takes much of a processor, which would leave its neighbours less of it.
//!
//! The blocks of all launches of the first kernel come first, then those of the second, so that a block finds its launch by a comparison and a division. The
//! launches' arguments are one argument by value, which lies in constant memory: `MOST_BYTES` of them are several hundred launches.
//!
//! ```text
//! extern "C" __global__ void NAME(const __grid_constant__ Of_NAME all, long long batch, const StepEnv* env)
//! ```
//!
//! `all` is nothing but addresses: of each kernel in order, of each of its launches, of each argument.

use super::Entry;
use super::body::storage_type;
use super::heading::{Heading, name};
use super::kernel::{Emitter, Form, SoFar, Terms};
use super::whole::begin;
use super::writer::Writer;
use crate::nest::{ArgumentAccess, Kernel, TileOp};
use crate::plan::{Launch, Plan};
use std::collections::BTreeMap;

/// Bytes of a kernel's arguments, at most (CUDA C++ Programming Guide, since 12.1 and sm_70), but for what others than addresses take.
const MOST_BYTES: usize = if cfg!(test) { 100 } else { 32_764 - 16 };
/// Rows of a launch that may be joined: they are counted in 32 bits.
const MOST_ROWS: u64 = 1 << 30;
/// Shared memory up to which a block leaves room for as many others as a processor has threads for.
const LITTLE_SHARED_BYTES: u32 = 8 << 10;

/// A function that does what launches of some kernels do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Together {
    /// Its name in the text.
    pub name: String,
    pub threads: u32,
    /// Dynamic shared memory of a block.
    pub shared_bytes: u32,
    /// What a launch of each kernel is, and how many there are.
    kernels: Vec<(Entry, u32)>,
}

impl Together {
    pub fn blocks(&self, batch: i64) -> u32 {
        self.kernels.iter().map(|(entry, n)| entry.blocks(batch) * n).sum()
    }
}

/// Launches of a phase that are one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Joint {
    /// Index into `Source::together`.
    pub function: usize,
    /// Their numbers in the phase, in the order of the function's arguments.
    pub launches: Vec<usize>,
}

/// What is joined, the functions' texts, and what these need.
pub struct Joined {
    pub functions: Vec<Together>,
    pub phases: Vec<Vec<Joint>>,
    pub texts: Vec<String>,
    pub so_far: SoFar,
}

/// Whether a kernel's blocks are as many as its elements want, and take little else.
fn is_light(kernel: &Kernel, entry: &Entry, max_batch: i64) -> bool {
    let goes_once = |op: &TileOp| matches!(op, TileOp::Nest(_) | TileOp::Fill(_));
    // More rows than tiles of all blocks have there are not.
    let rows = u64::from(entry.greatest_blocks(max_batch)) * u64::from(entry.tile);
    rows < MOST_ROWS
        && entry.scratch_bytes + u64::from(entry.static_bytes) == 0
        && entry.shared_bytes <= LITTLE_SHARED_BYTES
        && kernel.ops.iter().all(goes_once)
}

/// See the module's documentation. `entries` are of the plan's kernels.
pub fn emit_joined(plan: &Plan, entries: &[Entry], headings: &[Heading], so_far: SoFar) -> Joined {
    let mut joined = Joined { functions: Vec::new(), phases: Vec::new(), texts: Vec::new(), so_far };
    let mut known: BTreeMap<Vec<(usize, u32)>, usize> = BTreeMap::new();
    for phase in &plan.phases {
        let mut joints = Vec::new();
        for launches in sets(plan, entries, phase) {
            let mut counts: Vec<(usize, u32)> = Vec::new();
            for i in &launches {
                match counts.last_mut() {
                    Some((kernel, n)) if *kernel == phase[*i].kernel => *n += 1,
                    _ => counts.push((phase[*i].kernel, 1)),
                }
            }
            let function =
                *known.entry(counts.clone()).or_insert_with(|| joined.add(plan, &counts, headings));
            joints.push(Joint { function, launches });
        }
        joined.phases.push(joints);
    }
    joined
}

/// Sets of a phase's launches that are worth one, each sorted by kernels.
fn sets(plan: &Plan, entries: &[Entry], phase: &[Launch]) -> Vec<Vec<usize>> {
    let is_light = |launch: &Launch| {
        launch.apart.is_none()
            && is_light(&plan.kernels[launch.kernel], &entries[launch.kernel], plan.max_batch)
    };
    let mut by_threads: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (i, launch) in phase.iter().enumerate().filter(|(_, launch)| is_light(launch)) {
        by_threads.entry(entries[launch.kernel].threads).or_default().push(i);
    }
    let mut sets = Vec::new();
    for mut launches in by_threads.into_values() {
        launches.sort_by_key(|i| phase[*i].kernel);
        let (mut bytes, mut blocks) = (0, 0);
        let mut set = Vec::new();
        for i in launches {
            let of_one = (
                phase[i].arguments.len() * size_of::<u64>(),
                entries[phase[i].kernel].blocks(plan.max_batch),
            );
            if bytes + of_one.0 > MOST_BYTES || blocks + u64::from(of_one.1) > i32::MAX as u64 {
                sets.push(std::mem::take(&mut set));
                (bytes, blocks) = (0, 0);
            }
            (bytes, blocks) = (bytes + of_one.0, blocks + u64::from(of_one.1));
            set.push(i);
        }
        sets.push(set);
    }
    sets.retain(|set| set.len() > 1);
    sets
}

impl Joined {
    /// Writes the function of so many launches of some kernels; its number.
    fn add(&mut self, plan: &Plan, counts: &[(usize, u32)], headings: &[Heading]) -> usize {
        let number = self.functions.len();
        let names: Vec<&str> = counts.iter().map(|(i, _)| plan.kernels[*i].name.as_str()).collect();
        let name_of_all = name(&common(&names), &format!("together_{number}"));
        let mut kernels = Vec::new();
        let mut text = String::new();
        for (i, n) in counts {
            let kernel = &plan.kernels[*i];
            let form = Form::Joined;
            let mut e = Emitter::new(kernel, Terms::of(plan), std::mem::take(&mut self.so_far), form);
            let (entry, own) =
                e.kernel(&format!("{}_of_{number}", name(&kernel.name, &i.to_string())), &headings[*i]);
            text.push_str(&own);
            text.push('\n');
            kernels.push((*i, entry, *n));
            self.so_far = (e.functions, e.helpers);
        }
        let shared_bytes = kernels.iter().map(|(_, entry, _)| entry.shared_bytes).max().unwrap_or(0);
        let threads = kernels[0].1.threads;
        text.push_str(&function(plan, &name_of_all, &kernels, (threads, shared_bytes)));
        let kernels = kernels.into_iter().map(|(_, entry, n)| (entry, n)).collect();
        self.functions.push(Together { name: name_of_all, threads, shared_bytes, kernels });
        self.texts.push(text);
        number
    }
}

/// What the names begin with, in whole words.
fn common(names: &[&str]) -> String {
    let is_between = |c: char| c == '.' || c == '/';
    let words = |name: &&str| name.split(is_between).map(str::to_string).collect::<Vec<_>>();
    let mut all = names.iter().map(words);
    let mut common = all.next().unwrap_or_default();
    for words in all {
        let n = common.iter().zip(&words).take_while(|(a, b)| a == b).count();
        common.truncate(n);
    }
    if common.is_empty() { "launches".into() } else { common.join(".") }
}

fn function(
    plan: &Plan,
    name: &str,
    kernels: &[(usize, Entry, u32)],
    (threads, shared_bytes): (u32, u32),
) -> String {
    let mut w = Writer::default();
    w.open(format!("struct Of_{name}"));
    for (i, _, n) in kernels {
        w.open("struct");
        for (a, argument) in plan.kernels[*i].arguments.iter().enumerate() {
            let constant = if argument.access == ArgumentAccess::Read { "const " } else { "" };
            w.line(format!("{constant}{}* a{a};", storage_type(argument.dtype)));
        }
        w.close_with(&format!(" of_{i}[{n}];"));
    }
    w.close_with(";");
    w.line("");
    let n_launches: u32 = kernels.iter().map(|(_, _, n)| n).sum();
    let n_kernels = kernels.len();
    w.line(format!("// {n_launches} launches, of {n_kernels} kernels: the blocks of each come behind those of the one before."));
    w.line(format!("extern \"C\" __global__ void __launch_bounds__({threads}, 1)"));
    w.line(format!("{name}("));
    w.line(format!("    const __grid_constant__ Of_{name} all,"));
    w.line("    long long n_examples,");
    w.open("    const StepEnv* __restrict__ env)");
    begin(&mut w, shared_bytes, kernels.iter().map(|(_, entry, _)| entry));
    w.line("int block = (int)blockIdx.x;");
    for (at, (i, entry, n)) in kernels.iter().enumerate() {
        let is_last = at + 1 == kernels.len();
        w.line(format!("const int n{i} = {};", entry.blocks_as_text()));
        let all = if *n == 1 { format!("n{i}") } else { format!("n{i} * {n}") };
        if !is_last {
            w.open(format!("if (block < {all})"));
        }
        let launch = if *n == 1 { "0".to_string() } else { format!("block / n{i}") };
        let own = if *n == 1 { "block".to_string() } else { format!("block % n{i}") };
        w.line(format!("const auto& a = all.of_{i}[{launch}];"));
        let arguments = (0..plan.kernels[*i].arguments.len()).map(|a| format!("a.a{a}"));
        let arguments = arguments.collect::<Vec<_>>().join(", ");
        w.line(format!("{}({arguments}, shared, {own}, n{i}, n_examples, env);", entry.name));
        if !is_last {
            w.line("return;");
            w.close();
            w.line(format!("block -= {all};"));
        }
    }
    w.close();
    w.finish()
}

#[cfg(test)]
mod tests {
    use super::super::emit;
    use super::*;
    use crate::graph::text::parse;
    use crate::plan::{Options, Target, plan};

    /// Parameters of some lengths, each of which is halved.
    fn halved(lengths: &[i64]) -> Plan {
        let each = |(i, n): (usize, &i64)| {
            format!(
                "%p{i} = param @p{i} : f32[{n}]
                %c{i} = const 0.5 : f32[]
                %h{i} = broadcast [] %c{i} : f32[{n}]
                %y{i} = map mul %p{i}, %h{i} : f32[{n}]
                update %p{i} <- %y{i}\n"
            )
        };
        let text: String = lengths.iter().enumerate().map(each).collect();
        plan(&parse(&format!("graph {{\n{text}}}")).unwrap(), &Options::new(1, Target::Cuda))
    }

    #[test]
    fn launches_are_joined_where_their_arguments_fit() {
        // An address each, of which there is room for twelve. Short ones have blocks of fewer threads.
        for (lengths, expected) in [
            (vec![512], vec![]),
            (vec![512, 1024, 512], vec![3]),
            (vec![1 << 20, 32, 1 << 20, 32, 32], vec![3, 2]),
            (vec![512; 14], vec![12, 2]),
            (vec![512; 13], vec![12]),
        ] {
            let plan = halved(&lengths);
            let source = emit(&plan);
            let joints: Vec<&Joint> = source.joints.iter().flatten().collect();
            let mut found: Vec<usize> = joints.iter().map(|joint| joint.launches.len()).collect();
            found.sort_by_key(|n| std::cmp::Reverse(*n));
            assert_eq!(found, expected, "{lengths:?}");
            // Each has the blocks of all of its launches.
            for joint in joints {
                let launches = joint.launches.iter().map(|i| &plan.phases[0][*i]);
                let blocks: u32 = launches.map(|launch| source.kernels[launch.kernel].blocks(1)).sum();
                assert_eq!(source.together[joint.function].blocks(1), blocks);
            }
        }
    }
}
