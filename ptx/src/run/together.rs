//! What the lanes of a warp, and the warps of a block, do together.

use super::block::{BARRIERS, Block};
use super::machine::{Machine, Pause, Stop};
use super::warp::{Status, Warp, lanes_of};
use crate::code::{Op, ShuffleMode, Source, VoteMode};
use crate::fault::Violation;
use crate::math::lanes::WARP;

impl Machine<'_> {
    pub fn together(&mut self, warp: &mut Warp, op: &Op, mask: u32) -> Result<(), Stop> {
        let now = if matches!(op, Op::WarpBarrier { .. }) { self.clock.advance() } else { 0 };
        let live = warp.live;
        let Some(frame) = warp.frames.last_mut() else { return Ok(()) };
        let first = mask.trailing_zeros() as usize;
        // All lanes that a mask names must be here, but for those that have left.
        let members = |named: Source| {
            let named = frame.lane(named, first) as u32;
            if named & live & !mask != 0 || mask & !named != 0 {
                return Err((first, Violation::DivergentWarp { mask: named, active: mask }));
            }
            Ok(named & mask)
        };
        match op {
            Op::WarpBarrier { mask: named } => {
                members(*named)?;
                warp.since_warp = now;
            }
            Op::Shuffle { mode, dst, truth, sources } => {
                let members = members(sources[3])?;
                let [values, lanes, clamps, _] = sources.map(|s| frame.lanes(s));
                let mut result = values;
                let mut holds = 0;
                for lane in lanes_of(mask) {
                    let (from, inside) = shuffle(*mode, lane as u32, lanes[lane] as u32, clamps[lane] as u32);
                    if members >> from & 1 == 0 {
                        return Err((lane, Violation::ShuffleFromNobody { lane: lane as u32, from }));
                    }
                    result[lane] = values[from as usize];
                    holds |= (inside as u32) << lane;
                }
                frame.set(*dst, &result, mask);
                if let Some(truth) = truth {
                    frame.set_predicate(*truth, holds, mask);
                }
            }
            Op::Vote { mode, dst, truth, mask: named } => {
                let members = members(*named)?;
                let holds = frame.truth(*truth) & members;
                let spread = |holds: bool| 0u32.wrapping_sub(holds as u32);
                match mode {
                    VoteMode::Ballot => frame.set(*dst, &[holds as u64; WARP], mask),
                    VoteMode::All => frame.set_predicate(*dst, spread(holds == members), mask),
                    VoteMode::Any => frame.set_predicate(*dst, spread(holds != 0), mask),
                    VoteMode::Uniform => {
                        frame.set_predicate(*dst, spread(holds == 0 || holds == members), mask);
                    }
                }
            }
            Op::Match { all, dst, truth, source, mask: named } => {
                let members = members(*named)?;
                let values = frame.lanes(*source);
                let same = |lane: usize| {
                    lanes_of(members).fold(0u32, |same, i| same | ((values[i] == values[lane]) as u32) << i)
                };
                if *all {
                    let agree = same(first) == members;
                    frame.set(*dst, &[if agree { members as u64 } else { 0 }; WARP], mask);
                    if let Some(truth) = truth {
                        frame.set_predicate(*truth, 0u32.wrapping_sub(agree as u32), mask);
                    }
                } else {
                    frame.set(*dst, &std::array::from_fn(|lane| same(lane) as u64), mask);
                }
            }
            Op::WarpReduce { f, dst, source, mask: named } => {
                let members = members(*named)?;
                let values = frame.lanes(*source);
                let result = lanes_of(members).map(|i| values[i] as u32).reduce(f).unwrap_or_default();
                frame.set(*dst, &[result as u64; WARP], mask);
            }
            Op::Elect { dst, truth, mask: named } => {
                let leader = members(*named)?.trailing_zeros();
                if let Some(dst) = dst {
                    frame.set(*dst, &[leader as u64; WARP], mask);
                }
                frame.set_predicate(*truth, 1 << leader, mask);
            }
            _ => {}
        }
        Ok(())
    }

    /// A warp comes to a barrier of its block.
    pub fn arrive(&mut self, block: &mut Block, w: usize, op: &Op, mask: u32) -> Result<Pause, Stop> {
        let Op::Barrier { id, threads, arrive_only, tally } = op else { return Ok(Pause::None) };
        let warp = &block.warps[w];
        let lane = mask.trailing_zeros() as usize;
        let Some(frame) = warp.frames.last() else { return Ok(Pause::None) };
        let id = frame.lane(*id, lane) as usize;
        if id >= BARRIERS {
            return Err((lane, Violation::Unknown(format!("barrier {id}: a block has {BARRIERS}"))));
        }
        if mask != warp.live {
            let (arrived, live) = (mask.count_ones(), warp.live.count_ones());
            return Err((lane, Violation::DivergentBarrier { arrived, live }));
        }
        let left = (warp.threads & !warp.live).count_ones();
        if left > 0 {
            let threads = warp.threads.count_ones();
            return Err((lane, Violation::LeftBeforeBarrier { barrier: id as u32, left, threads }));
        }
        // Where a count is given, warps count as whole ones.
        let (expected, here) = match threads {
            Some(threads) => (frame.lane(*threads, lane) as u32, WARP as u32),
            None => (block.n_threads, warp.threads.count_ones()),
        };
        let holds = tally.map_or(0, |(_, truth)| (frame.truth(truth) & mask).count_ones());
        let barrier = &mut block.barriers[id];
        barrier.arrived += here;
        barrier.expected = expected;
        barrier.count += holds;
        if !arrive_only {
            barrier.waiting.push((w, tally.map(|t| t.0)));
            block.warps[w].status = Status::Waiting(id as u32);
        }
        if barrier.arrived >= expected {
            let now = self.clock.advance();
            self.stats.barriers += 1;
            block.release(id, now);
        }
        Ok(if block.warps[w].status == Status::Ready { Pause::None } else { Pause::Stopped })
    }
}

/// The lane that `lane` reads, and whether it lies in its segment; if not, it is the lane itself.
fn shuffle(mode: ShuffleMode, lane: u32, by: u32, clamp: u32) -> (u32, bool) {
    let (by, segment) = (by & 31, clamp >> 8 & 31);
    let clamp = clamp & 31;
    let most = (lane & segment) | (clamp & !segment);
    let least = lane & segment;
    let (from, inside) = match mode {
        ShuffleMode::Up => (lane.wrapping_sub(by), lane as i32 - by as i32 >= most as i32),
        ShuffleMode::Down => (lane + by, lane + by <= most),
        ShuffleMode::Butterfly => (lane ^ by, lane ^ by <= most),
        ShuffleMode::Index => {
            let from = least | (by & !segment);
            (from, from <= most)
        }
    };
    if inside { (from, true) } else { (lane, false) }
}
