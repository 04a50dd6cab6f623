//! A launch under way: what all its blocks share, and the turns of their warps.
//!
//! A warp has its turn until it waits, spins, is done, or has executed enough.
//! Invariant: the place of the running region is advanced before the instruction there is executed (`execute`), so a
//! branch only overwrites it, and a warp that waits goes on behind its barrier.

use super::access::Reach;
use super::block::Block;
use super::launch::Limits;
use super::stats::Stats;
use super::warp::{Frame, Status, Warp, lanes_of};
use crate::code::{Code, Instr, Special};
use crate::fault::{Fault, Place, Violation};
use crate::math::lanes::{Lanes, WARP};
use crate::memory::cells::Cells;
use crate::memory::global::Memory;
use crate::memory::shadow::{Actor, Clock};
use crate::module::Module;
use crate::types::Space;
use smol_str::SmolStr;
use std::collections::HashMap;

/// Calls in calls; more is a recursion without an end.
const MOST_FRAMES: usize = 512;

pub struct Machine<'a> {
    pub module: &'a Module,
    pub memory: &'a mut Memory,
    pub kernel: SmolStr,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_start: u32,
    pub dynamic_bytes: u32,
    pub static_bytes: u32,
    pub params: Cells,
    /// Addresses of the module's global variables.
    pub variables: HashMap<SmolStr, u64>,
    pub limits: Limits,
    pub clock: Clock,
    /// The time at which what is read at an address was set free by a fence.
    pub released: HashMap<u64, u32>,
    pub stats: Stats,
    /// Of each instruction of each function: executions by warps and by lanes.
    pub counts: Vec<Vec<[u64; 2]>>,
    pub steps: u64,
    /// Stores and atomic accesses of warps.
    pub n_writes: u64,
}

/// How a turn of a warp ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pause {
    /// Goes on with the next instruction: never the end of a turn.
    None,
    /// Waits at a barrier, or is done.
    Stopped,
    /// Waits for what others write.
    Spins,
    TurnOver,
}

/// A violation and the lane that it is reported for.
pub type Stop = (usize, Violation);

impl<'a> Machine<'a> {
    /// Runs a warp for at most `turn` instructions.
    pub fn run_warp(&mut self, block: &mut Block, w: usize, turn: u32) -> Result<Pause, Fault> {
        let module = self.module;
        for _ in 0..turn {
            let warp = &mut block.warps[w];
            let Some(function) = settle(module, warp) else {
                warp.status = Status::Done;
                return Ok(Pause::Stopped);
            };
            let code = &module.functions[function];
            let Some((instr, pc, mask)) = fetch(warp, code) else { continue };
            self.steps += 1;
            if let Some(counts) = self.counts[function].get_mut(pc)
                && mask != 0
            {
                counts[0] += 1;
                counts[1] += mask.count_ones() as u64;
            }
            if self.steps > self.limits.steps {
                let stop = (mask.trailing_zeros() as usize, Violation::TooManySteps(self.limits.steps));
                return Err(self.fault(block, w, instr, stop));
            }
            match self.execute(block, w, instr, mask) {
                Ok(Pause::None) => {}
                Ok(pause) => return Ok(pause),
                Err(stop) => return Err(self.fault(block, w, instr, stop)),
            }
        }
        Ok(Pause::TurnOver)
    }

    pub fn fault(&self, block: &Block, w: usize, instr: &Instr, (lane, violation): Stop) -> Fault {
        let thread = w as u32 * WARP as u32 + (lane as u32).min(WARP as u32 - 1);
        let [nx, ny, _] = self.block;
        let source = instr.source.map(|(file, line)| (self.module.file(file), line));
        let place = Place {
            kernel: self.kernel.clone(),
            instruction: instr.text.clone(),
            line: instr.line,
            source,
            block: block.id,
            thread: [thread % nx, thread / nx % ny, thread / (nx * ny)],
        };
        Fault { violation, place: Some(Box::new(place)) }
    }

    /// Calls a function for the lanes of `mask`, with their arguments.
    pub fn call(
        &mut self,
        block: &mut Block,
        w: usize,
        mask: u32,
        function: usize,
        arguments: &[u32],
        results: &[u32],
    ) -> Result<(), Stop> {
        let module = self.module;
        let warp = &block.warps[w];
        let lane = mask.trailing_zeros() as usize;
        let (Some(caller), code) = (warp.frames.last(), &module.functions[function]) else { return Ok(()) };
        if warp.frames.len() >= MOST_FRAMES {
            return Err((lane, Violation::CallsTooDeep(MOST_FRAMES)));
        }
        let local_base = caller.local_base + module.functions[caller.function].local_bytes;
        let mut frame = self.frame(block, w, function, mask, local_base);
        frame.results = results.to_vec();
        for (field, from) in code.parameters.iter().zip(arguments) {
            for lane in lanes_of(mask) {
                let from = lane * caller.param_bytes as usize + *from as usize;
                let to = lane * frame.param_bytes as usize + field.at as usize;
                let n = field.bytes as usize;
                frame.params[to..to + n].copy_from_slice(&caller.params[from..from + n]);
            }
        }
        block.warps[w].enter(frame, code.local_bytes);
        Ok(())
    }

    /// A new frame with its special values in place.
    pub fn frame(&self, block: &Block, w: usize, function: usize, mask: u32, local_base: u32) -> Frame {
        let code = &self.module.functions[function];
        let mut frame = Frame::new(function, code, mask, local_base);
        for (special, slot) in &code.specials {
            frame.registers[*slot as usize] = self.special(block, w, special, local_base);
        }
        frame
    }

    fn special(&self, block: &Block, w: usize, special: &Special, local_base: u32) -> Lanes {
        let [nx, ny, nz] = self.block;
        let n_warps = (nx * ny * nz).div_ceil(WARP as u32);
        let thread = |lane: usize| (w * WARP + lane) as u32;
        let same = |value: u64| [value; WARP];
        let each = |f: &dyn Fn(usize) -> u32| std::array::from_fn(|lane| f(lane) as u64);
        match special {
            Special::Tid(0) => each(&|lane| thread(lane) % nx),
            Special::Tid(1) => each(&|lane| thread(lane) / nx % ny),
            Special::Tid(_) => each(&|lane| thread(lane) / (nx * ny)),
            Special::Ntid(axis) => same(self.block[*axis as usize] as u64),
            Special::Ctaid(axis) => same(block.id[*axis as usize] as u64),
            Special::Nctaid(axis) => same(self.grid[*axis as usize] as u64),
            Special::LaneId => each(&|lane| lane as u32),
            Special::WarpId => same(w as u64),
            Special::NWarpId => same(n_warps as u64),
            Special::SmId => same(block.index as u64 % self.limits.resident_blocks as u64),
            Special::NSmId => same(self.limits.resident_blocks as u64),
            Special::GridId => same(1),
            Special::LaneMaskEq => each(&|lane| 1 << lane),
            Special::LaneMaskLt => each(&|lane| (1 << lane) - 1),
            Special::LaneMaskLe => each(&|lane| u32::MAX >> (31 - lane)),
            Special::LaneMaskGt => each(&|lane| !(u32::MAX >> (31 - lane))),
            Special::LaneMaskGe => each(&|lane| !((1 << lane) - 1)),
            Special::LocalBase => same(local_base as u64),
            Special::DynamicShared => same(self.dynamic_start as u64),
            Special::DynamicSharedSize => same(self.dynamic_bytes as u64),
            Special::TotalSharedSize => same((self.static_bytes + self.dynamic_bytes) as u64),
            Special::Variable(name) => same(self.variables.get(name).copied().unwrap_or_default()),
            Special::Sink => same(0),
        }
    }

    /// All memory that the running frame of a warp can reach.
    pub fn reach<'r>(&'r mut self, block: &'r mut Block, w: usize) -> Option<Reach<'r>> {
        let Block { shared, warps, .. } = block;
        let Warp { frames, local, .. } = &mut warps[w];
        Some(Reach {
            memory: self.memory,
            shared,
            local,
            frame: frames.last_mut()?,
            constants: &self.module.constants,
            params: &self.params,
            races: self.clock.is_on,
            uninitialised: self.limits.uninitialised,
        })
    }

    /// Who a lane is to those who look for races.
    pub fn actor(&self, block: &Block, w: usize, lane: usize) -> Actor {
        let warp = &block.warps[w];
        Actor {
            block: block.index,
            thread: (w * WARP + lane) as u32,
            now: self.clock.now(),
            since_warp: warp.since_warp,
            since_block: warp.since_block,
            since_grid: block.since_grid,
        }
    }

    /// Is the address of an access one of global memory?
    pub fn is_global(space: Space) -> bool {
        matches!(space, Space::Global | Space::Generic)
    }
}

/// Ends frames that no lane is in; the function that runs, or None if the warp is done.
fn settle(module: &Module, warp: &mut Warp) -> Option<usize> {
    loop {
        let frame = warp.frames.last_mut()?;
        if frame.settle() {
            return Some(frame.function);
        }
        let done = warp.frames.pop()?;
        let caller = warp.frames.last_mut()?;
        for (field, to) in module.functions[done.function].results.iter().zip(&done.results) {
            for lane in lanes_of(done.mask) {
                let n = field.bytes as usize;
                let from = lane * done.param_bytes as usize + field.at as usize;
                let to = lane * caller.param_bytes as usize + *to as usize;
                caller.params[to..to + n].copy_from_slice(&done.params[from..from + n]);
            }
        }
    }
}

/// The instruction at which the running region stands, its place, and the lanes that execute it.
fn fetch<'c>(warp: &mut Warp, code: &'c Code) -> Option<(&'c Instr, usize, u32)> {
    let frame = warp.frames.last_mut()?;
    let top = frame.stack.last_mut()?;
    let pc = top.pc as usize;
    let Some(instr) = code.instrs.get(pc) else {
        // Past the last instruction: as if it returned.
        top.mask = 0;
        return None;
    };
    top.pc += 1;
    let mask = top.mask;
    let guard = instr.guard.map_or(u32::MAX, |guard| frame.guard(guard));
    Some((instr, pc, mask & guard))
}
