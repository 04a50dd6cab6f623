//! A launch: arguments to parameter memory, blocks to their turns, counts to statistics.
//!
//! Blocks run one after another, in the order of their index. One that spins, waiting for another block, is put aside
//! and the next begins, so a barrier of the whole grid works as long as all blocks may be resident; if all that are
//! spin and none writes any more, that is a deadlock. The order is always the same: a launch is repeatable.

use super::block::Block;
use super::machine::{Machine, Pause};
use super::stats::{Count, Stats};
use super::warp::{Status, Warp};
use crate::code::{Code, Op};
use crate::fault::{Fault, Violation};
use crate::math::lanes::WARP;
use crate::memory::cells::Cells;
use crate::memory::global::Memory;
use crate::memory::shadow::{Clock, MOST_BLOCKS};
use crate::memory::shared::Shared;
use crate::module::Module;
use std::collections::{HashMap, VecDeque};

/// Instructions of a warp before another has its turn.
const WARP_TURN: u32 = 4096;
/// Rounds of all warps before another block has its turn.
const BLOCK_TURN: u32 = 64;
/// Threads of a block, as all devices have it.
const MOST_THREADS: u64 = 1024;

/// What a launch may cost, and what it looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions of warps; more is an infinite loop.
    pub steps: u64,
    /// Blocks that can be under way at once. On a device it depends on what a block needs.
    pub resident_blocks: usize,
    /// Whether to look for races.
    pub races: bool,
    /// Whether to report reads of what nothing has written.
    pub uninitialised: bool,
    /// Shared memory of a block in bytes, static and dynamic.
    pub shared_bytes: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            steps: 1 << 32,
            resident_blocks: 1024,
            races: true,
            uninitialised: true,
            shared_bytes: 227 * 1024,
        }
    }
}

/// An argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Arg {
    /// A device address.
    Pointer(u64),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    F32(f32),
    F64(f64),
    /// A structure, as it lies in memory.
    Bytes(Vec<u8>),
}

impl Arg {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Arg::Pointer(v) | Arg::U64(v) => v.to_le_bytes().to_vec(),
            Arg::I32(v) => v.to_le_bytes().to_vec(),
            Arg::U32(v) => v.to_le_bytes().to_vec(),
            Arg::I64(v) => v.to_le_bytes().to_vec(),
            Arg::F32(v) => v.to_le_bytes().to_vec(),
            Arg::F64(v) => v.to_le_bytes().to_vec(),
            Arg::Bytes(bytes) => bytes.clone(),
        }
    }
}

/// A size of a grid or of a block: one number, two or three.
pub trait Size {
    fn axes(self) -> [u32; 3];
}

impl Size for u32 {
    fn axes(self) -> [u32; 3] {
        [self, 1, 1]
    }
}

impl Size for [u32; 2] {
    fn axes(self) -> [u32; 3] {
        [self[0], self[1], 1]
    }
}

impl Size for [u32; 3] {
    fn axes(self) -> [u32; 3] {
        self
    }
}

fn count(axes: [u32; 3]) -> u64 {
    axes.iter().map(|n| *n as u64).product()
}

fn parameters(code: &Code, args: &[Arg]) -> Result<Cells, Fault> {
    let wanted = code.parameters.len();
    if args.len() != wanted {
        return Err(Fault::launch(format!(
            "`{}` has {wanted} parameters, and {} are given",
            code.name,
            args.len()
        )));
    }
    let mut bytes = vec![0; code.param_bytes as usize];
    for (i, (field, arg)) in code.parameters.iter().zip(args).enumerate() {
        let given = arg.bytes();
        if given.len() != field.bytes as usize {
            let (wanted, given) = (field.bytes, given.len());
            let message =
                format!("parameter {i} of `{}` has {wanted} bytes, and {given} are given", code.name);
            return Err(Fault::launch(message));
        }
        bytes[field.at as usize..field.at as usize + given.len()].copy_from_slice(&given);
    }
    Ok(Cells::written(bytes))
}

/// Runs a kernel to its end.
pub fn launch(
    module: &Module,
    kernel: &str,
    (grid, block): ([u32; 3], [u32; 3]),
    dynamic_bytes: u32,
    args: &[Arg],
    memory: &mut Memory,
    limits: Limits,
) -> Result<Stats, Fault> {
    let Some(function) = module.functions.iter().position(|f| f.name == kernel && f.is_entry) else {
        return Err(Fault::launch(format!("no kernel `{kernel}` in the module")));
    };
    let code = &module.functions[function];
    let n_threads = count(block);
    let most = code.most_threads.map_or(MOST_THREADS, |most| MOST_THREADS.min(most as u64));
    if n_threads == 0 || n_threads > most || count(grid) == 0 {
        return Err(Fault::launch(format!(
            "`{kernel}` launched with {} blocks of {n_threads} threads; up to {most} threads are possible",
            count(grid)
        )));
    }
    if count(grid) > u32::MAX as u64 {
        return Err(Fault::launch(format!("`{kernel}` launched with {} blocks", count(grid))));
    }
    let shared_bytes = code.shared.bytes() as u64 + dynamic_bytes as u64;
    if shared_bytes > limits.shared_bytes as u64 {
        let most = limits.shared_bytes;
        return Err(Fault::launch(format!(
            "`{kernel}` wants {shared_bytes} bytes of shared memory; {most} are there"
        )));
    }
    memory.forget_accesses();
    let variables = module.variables_in(memory);
    let machine = Machine {
        module,
        memory,
        kernel: code.name.clone(),
        grid,
        block,
        dynamic_start: code.shared.dynamic_start(),
        dynamic_bytes,
        static_bytes: code.shared.bytes(),
        params: parameters(code, args)?,
        variables,
        limits,
        clock: Clock::new(limits.races && count(grid) < MOST_BLOCKS),
        released: HashMap::new(),
        stats: Stats::default(),
        counts: module.functions.iter().map(|f| vec![[0; 2]; f.instrs.len()]).collect(),
        steps: 0,
        n_writes: 0,
    };
    machine.run(function)
}

impl Machine<'_> {
    fn run(mut self, function: usize) -> Result<Stats, Fault> {
        let n_blocks = count(self.grid) as u32;
        let mut waiting: VecDeque<Block> = VecDeque::new();
        let mut next = 0;
        let mut spare = None;
        // Turns in a row in which a block did nothing but spin.
        let mut n_idle = 0;
        loop {
            let can_begin = next < n_blocks && waiting.len() < self.limits.resident_blocks;
            let mut block = if can_begin {
                next += 1;
                self.begin(next - 1, function, spare.take())
            } else {
                match waiting.pop_front() {
                    Some(block) => block,
                    None => break,
                }
            };
            let before = self.n_writes;
            let spins = self.take_turn(&mut block)?;
            n_idle = if spins && self.n_writes == before { n_idle + 1 } else { 0 };
            if block.is_done() {
                spare = Some(block);
                continue;
            }
            waiting.push_back(block);
            // A spin is a read and a sleep, each the end of a turn; each block has read after the last write.
            if n_idle > 4 * waiting.len() {
                return Err(self.grid_deadlock(&waiting[0], waiting.len() as u32, n_blocks - next));
            }
        }
        for (code, counts) in self.module.functions.iter().zip(&self.counts) {
            for (instr, [warps, lanes]) in code.instrs.iter().zip(counts) {
                if *warps > 0 {
                    let Count { warps: all_warps, lanes: all_lanes } =
                        self.stats.instructions.entry(instr.name.to_string()).or_default();
                    *all_warps += warps;
                    *all_lanes += lanes;
                }
            }
        }
        Ok(self.stats)
    }

    /// A block before its first instruction; `spare` is one that is done, for its memory.
    fn begin(&self, index: u32, function: usize, spare: Option<Block>) -> Block {
        let code = &self.module.functions[function];
        let [gx, gy, _] = self.grid;
        let n_threads = count(self.block) as u32;
        let shared = match spare {
            Some(spare) => {
                let mut shared = spare.shared;
                shared.clear();
                shared
            }
            None => Shared::new(&code.shared, self.dynamic_bytes),
        };
        let mut block = Block {
            index,
            id: [index % gx, index / gx % gy, index / gx / gy],
            n_threads,
            shared,
            warps: Vec::new(),
            barriers: Default::default(),
            since_grid: 0,
            fenced: 0,
        };
        for w in 0..n_threads.div_ceil(WARP as u32) {
            let mut warp = Warp::new(n_threads - w * WARP as u32);
            let frame = self.frame(&block, w as usize, function, warp.live, 0);
            warp.enter(frame, code.local_bytes);
            block.warps.push(warp);
        }
        block
    }

    /// Runs a block until it is done, or all its warps that can run spin (which is the result), or for long enough.
    fn take_turn(&mut self, block: &mut Block) -> Result<bool, Fault> {
        for _ in 0..BLOCK_TURN {
            let mut all_spin = true;
            let mut any_ready = false;
            for w in 0..block.warps.len() {
                if block.warps[w].status != Status::Ready {
                    continue;
                }
                any_ready = true;
                all_spin &= self.run_warp(block, w, WARP_TURN)? == Pause::Spins;
            }
            if block.is_done() {
                return Ok(false);
            }
            if !any_ready {
                return Err(self.deadlock(block));
            }
            if all_spin {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Every block spins, and none writes.
    fn grid_deadlock(&self, block: &Block, under_way: u32, not_begun: u32) -> Fault {
        let violation = Violation::GridDeadlock { under_way, not_begun };
        let w = block.warps.iter().position(|w| w.status == Status::Ready).unwrap_or_default();
        let at = block.warps[w].frames.last().and_then(|f| f.stack.last().map(|top| (f.function, top.pc)));
        let Some((function, pc)) = at else { return Fault { violation, place: None } };
        let instr = &self.module.functions[function].instrs[(pc as usize).saturating_sub(1)];
        self.fault(block, w, instr, (0, violation))
    }

    /// Every warp waits or has left.
    fn deadlock(&self, block: &Block) -> Fault {
        let waiting = block.warps.iter().position(|w| matches!(w.status, Status::Waiting(_)));
        let w = waiting.unwrap_or_default();
        let Status::Waiting(id) = block.warps[w].status else {
            return Fault::launch("every warp waits, and none at a barrier".into());
        };
        let barrier = &block.barriers[id as usize];
        let left: u32 = block.warps.iter().map(|w| (w.threads & !w.live).count_ones()).sum();
        let violation = if left > 0 {
            Violation::LeftBeforeBarrier { barrier: id, left, threads: block.n_threads }
        } else {
            Violation::Deadlock { barrier: id, arrived: barrier.arrived, expected: barrier.expected }
        };
        // The barrier stands before the place where the warp would go on.
        let at = block.warps[w].frames.last().and_then(|f| f.stack.last().map(|top| (f.function, top.pc)));
        let Some((function, pc)) = at else { return Fault { violation, place: None } };
        let instrs = &self.module.functions[function].instrs;
        let instr = &instrs[(pc as usize).saturating_sub(1)];
        debug_assert!(matches!(instr.op, Op::Barrier { .. }));
        self.fault(block, w, instr, (0, violation))
    }
}
