//! A warp: 32 lanes in lock step, their registers, and where each of them goes on.
//!
//! Invariant: the lanes of a frame are spread over the regions of its stack, and the last region runs. A region ends
//! where its lanes meet the others; it is then dropped, and the region below, which waits there with all of them,
//! goes on. A lane that has left is in no region.

use crate::code::{Code, Guard, Slot, Source, Truth};
use crate::math::lanes::{Lanes, WARP};
use crate::memory::cells::{Cells, POISON, State};

/// What a register holds before anything is written to it.
const POISONED: u64 = POISON as u64 * 0x0101_0101;

/// Lanes that run the same instructions, until `end`.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    pub pc: u32,
    pub end: u32,
    pub mask: u32,
}

/// A call under way.
pub struct Frame {
    pub function: usize,
    pub registers: Vec<Lanes>,
    pub predicates: Vec<u32>,
    pub stack: Vec<Region>,
    /// Parameter memory, lane after lane.
    pub params: Vec<u8>,
    pub param_bytes: u32,
    /// Where its local memory begins.
    pub local_base: u32,
    /// The lanes that called.
    pub mask: u32,
    /// Where the results go in the caller's parameter memory.
    pub results: Vec<u32>,
}

impl Frame {
    pub fn new(function: usize, code: &Code, mask: u32, local_base: u32) -> Frame {
        let end = code.instrs.len() as u32;
        Frame {
            function,
            registers: vec![[POISONED; WARP]; code.registers],
            predicates: vec![0; code.predicates],
            stack: vec![Region { pc: 0, end, mask }],
            params: vec![POISON; code.param_bytes as usize * WARP],
            param_bytes: code.param_bytes,
            local_base,
            mask,
            results: Vec::new(),
        }
    }

    pub fn lanes(&self, source: Source) -> Lanes {
        match source {
            Source::Slot(slot) => self.registers[slot as usize],
            Source::Value(value) => [value; WARP],
        }
    }

    pub fn lane(&self, source: Source, lane: usize) -> u64 {
        match source {
            Source::Slot(slot) => self.registers[slot as usize][lane],
            Source::Value(value) => value,
        }
    }

    /// The lanes in which a predicate holds.
    pub fn truth(&self, truth: Truth) -> u32 {
        match truth {
            Truth::Constant(holds) => 0u32.wrapping_sub(holds as u32),
            Truth::Slot(guard) => self.guard(guard),
        }
    }

    pub fn guard(&self, guard: Guard) -> u32 {
        let holds = self.predicates[guard.slot as usize];
        if guard.negated { !holds } else { holds }
    }

    /// Writes the lanes of `mask`.
    pub fn set(&mut self, slot: Slot, values: &Lanes, mask: u32) {
        let register = &mut self.registers[slot as usize];
        if mask == u32::MAX {
            *register = *values;
            return;
        }
        for lane in 0..WARP {
            if mask >> lane & 1 == 1 {
                register[lane] = values[lane];
            }
        }
    }

    pub fn set_predicate(&mut self, slot: Slot, holds: u32, mask: u32) {
        let predicate = &mut self.predicates[slot as usize];
        *predicate = *predicate & !mask | holds & mask;
    }

    /// Drops regions that have come to their end or have no lane left; false if none is left.
    pub fn settle(&mut self) -> bool {
        while let Some(top) = self.stack.last() {
            if top.mask != 0 && top.pc != top.end {
                return true;
            }
            self.stack.pop();
        }
        false
    }

    /// Lanes leave the frame.
    pub fn leave(&mut self, lanes: u32) {
        for region in &mut self.stack {
            region.mask &= !lanes;
        }
    }

    /// The running region goes on at up to several places, its lanes divided among them; all meet at `meet`.
    pub fn split(&mut self, parts: &[(u32, u32)], meet: u32) {
        let Some(top) = self.stack.last_mut() else { return };
        if let [(_, pc)] = parts {
            top.pc = *pc;
            return;
        }
        // A region that would wait where it ends has nothing to wait for.
        if meet == top.end {
            self.stack.pop();
        } else {
            top.pc = meet;
        }
        for (mask, pc) in parts {
            if *pc != meet {
                self.stack.push(Region { pc: *pc, end: meet, mask: *mask });
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Ready,
    /// At this barrier.
    Waiting(u32),
    Done,
}

/// An asynchronous copy on its way to shared memory.
pub struct Pending {
    pub lane: u32,
    pub group: u32,
    pub at: u32,
    pub data: [u8; 16],
    pub bytes: u8,
}

pub struct Warp {
    /// Lanes with a thread, and those of them that have not left.
    pub threads: u32,
    pub live: u32,
    pub frames: Vec<Frame>,
    pub status: Status,
    /// Local memory of each lane.
    pub local: Vec<Cells>,
    /// See `memory::shadow`.
    pub since_warp: u32,
    pub since_block: u32,
    pub pending: Vec<Pending>,
    /// The group of copies that each lane will commit next.
    pub groups: [u32; WARP],
    /// The place and result of the last read that others may change: the same again is a spin.
    pub seen: (u32, u64),
}

impl Warp {
    pub fn new(n_threads: u32) -> Warp {
        let threads = if n_threads >= WARP as u32 { u32::MAX } else { (1 << n_threads) - 1 };
        Warp {
            threads,
            live: threads,
            frames: Vec::new(),
            status: Status::Ready,
            local: Vec::new(),
            since_warp: 0,
            since_block: 0,
            pending: Vec::new(),
            groups: [0; WARP],
            seen: (u32::MAX, 0),
        }
    }

    /// Begins a function with fresh local memory.
    pub fn enter(&mut self, frame: Frame, local_bytes: u32) {
        if local_bytes > 0 {
            self.local.resize_with(WARP, Cells::default);
            for cells in &mut self.local {
                cells.truncate(frame.local_base as usize);
                cells.extend(local_bytes as usize, State::Unwritten);
            }
        }
        self.frames.push(frame);
    }
}

/// The lanes of a mask, in order.
pub fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        let lane = left.trailing_zeros() as usize;
        left &= left.wrapping_sub(1);
        (lane < WARP).then_some(lane)
    })
}
