//! A block of threads: its warps, shared memory and barriers. It can be put aside at any instruction and go on later.

use super::warp::{Status, Warp};
use crate::code::{Slot, Tally};
use crate::memory::shared::Shared;

/// Barriers of a block.
pub const BARRIERS: usize = 16;

#[derive(Default)]
pub struct Barrier {
    pub arrived: u32,
    pub expected: u32,
    /// Warps that wait, with where each wants the tally.
    pub waiting: Vec<(usize, Option<Tally>)>,
    /// Of the predicates that the threads brought.
    pub count: u32,
}

pub struct Block {
    pub index: u32,
    pub id: [u32; 3],
    pub n_threads: u32,
    pub shared: Shared,
    pub warps: Vec<Warp>,
    pub barriers: [Barrier; BARRIERS],
    /// See `memory::shadow`: what other blocks did before this is ordered before what this block does.
    pub since_grid: u32,
    /// The time of its last fence: what it did before is seen by whoever reads a flag that it sets later.
    pub fenced: u32,
}

impl Block {
    /// Releases the warps of a barrier whose threads have all come. `now`: the time of this event.
    pub fn release(&mut self, id: usize, now: u32) {
        let barrier = std::mem::take(&mut self.barriers[id]);
        for (warp, tally) in barrier.waiting {
            let warp = &mut self.warps[warp];
            warp.status = Status::Ready;
            warp.since_block = now;
            warp.since_warp = now;
            if let Some(tally) = tally {
                deliver(warp, tally, barrier.count, barrier.expected);
            }
        }
    }

    pub fn is_done(&self) -> bool {
        self.warps.iter().all(|w| w.status == Status::Done)
    }
}

fn deliver(warp: &mut Warp, tally: Tally, count: u32, threads: u32) {
    let live = warp.live;
    let Some(frame) = warp.frames.last_mut() else { return };
    let mut hold = |slot: Slot, holds: bool| frame.set_predicate(slot, 0u32.wrapping_sub(holds as u32), live);
    match tally {
        Tally::All(slot) => hold(slot, count == threads),
        Tally::Any(slot) => hold(slot, count > 0),
        Tally::Count(slot) => frame.set(slot, &[count as u64; 32], live),
    }
}
