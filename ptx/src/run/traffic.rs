//! Loads, stores, atomics and asynchronous copies of a warp.

use super::access::effective;
use super::block::Block;
use super::machine::{Machine, Pause, Stop};
use super::stats::{bank_conflicts, sectors};
use super::warp::{Frame, Pending, lanes_of};
use crate::code::{Address, Instr, Op, Strength};
use crate::fault::Access;
use crate::math::lanes::{Lanes, WARP};
use crate::memory::cells::State;
use crate::types::Space;

/// Each lane's space and address; those of lanes that take no part are left out.
struct Request {
    places: [(Space, u64); WARP],
    addresses: [u64; WARP],
    n: usize,
}

fn request(frame: &Frame, address: Address, mask: u32) -> Request {
    let mut request = Request { places: [(Space::Global, 0); WARP], addresses: [0; WARP], n: 0 };
    for lane in lanes_of(mask) {
        let base = address.base.map_or(0, |slot| frame.registers[slot as usize][lane]);
        let place = effective(address.space, base, address.offset);
        request.places[lane] = place;
        request.addresses[request.n] = place.1;
        request.n += 1;
    }
    request
}

impl Machine<'_> {
    /// Counts what a request of a warp costs.
    fn count(&mut self, request: &Request, lane: usize, bytes: u32, access: Access) {
        let addresses = &request.addresses[..request.n];
        let all = bytes as u64 * request.n as u64;
        match request.places[lane].0 {
            Space::Global | Space::Generic => {
                let traffic = &mut self.stats.global;
                traffic.requests += 1;
                traffic.sectors += sectors(addresses, bytes);
                traffic.bytes_read += if access == Access::Write { 0 } else { all };
                traffic.bytes_written += if access == Access::Read { 0 } else { all };
            }
            Space::Shared => {
                let traffic = &mut self.stats.shared;
                traffic.requests += 1;
                traffic.bank_conflicts += bank_conflicts(addresses, bytes);
                traffic.bytes_read += if access == Access::Write { 0 } else { all };
                traffic.bytes_written += if access == Access::Read { 0 } else { all };
            }
            _ => {}
        }
    }

    /// What was set free at an address before others' fences is ordered from now on.
    fn acquire(&mut self, block: &mut Block, (space, at): (Space, u64), strength: Strength) {
        if Self::is_global(space)
            && matches!(strength, Strength::Relaxed | Strength::Ordering)
            && let Some(time) = self.released.get(&at)
        {
            block.since_grid = block.since_grid.max(*time);
        }
    }

    /// Sets free what this block did before its last fence, to whoever reads this address.
    fn release(&mut self, block: &mut Block, (space, at): (Space, u64), strength: Strength) {
        if !Self::is_global(space) || !matches!(strength, Strength::Relaxed | Strength::Ordering) {
            return;
        }
        if strength == Strength::Ordering {
            block.fenced = self.clock.advance();
        }
        let time = self.released.entry(at).or_default();
        *time = (*time).max(block.fenced);
    }

    pub fn access(&mut self, block: &mut Block, w: usize, instr: &Instr, mask: u32) -> Result<Pause, Stop> {
        let Some(frame) = block.warps[w].frames.last() else { return Ok(Pause::None) };
        let lane = mask.trailing_zeros() as usize;
        match &instr.op {
            Op::Load { address, dsts, bytes, extend, strength } => {
                let request = request(frame, *address, mask);
                let all = *bytes * dsts.len() as u32;
                self.count(&request, lane, all, Access::Read);
                self.load(block, w, mask, &request, dsts, (*bytes, *extend), *strength)?;
                if matches!(strength, Strength::Relaxed | Strength::Ordering) {
                    return Ok(self.spin(block, w, dsts.first().copied().flatten(), mask));
                }
            }
            Op::Store { address, sources, bytes, strength } => {
                self.n_writes += 1;
                let request = request(frame, *address, mask);
                let all = *bytes * sources.len() as u32;
                self.count(&request, lane, all, Access::Write);
                let values: Vec<Lanes> = sources.iter().map(|source| frame.lanes(*source)).collect();
                for lane in lanes_of(mask) {
                    let mut data = [0; 32];
                    for (i, value) in values.iter().enumerate() {
                        let at = i * *bytes as usize;
                        data[at..at + *bytes as usize]
                            .copy_from_slice(&value[lane].to_le_bytes()[..*bytes as usize]);
                    }
                    let place = request.places[lane];
                    self.release(block, place, *strength);
                    let actor = self.actor(block, w, lane);
                    if let Some(mut reach) = self.reach(block, w) {
                        reach
                            .write(place, &data[..all as usize], lane, &actor, *strength)
                            .map_err(|violation| (lane, violation))?;
                    }
                }
            }
            Op::Atomic { address, dst, update, sources, bytes, strength } => {
                self.n_writes += 1;
                let request = request(frame, *address, mask);
                self.count(&request, lane, *bytes, Access::Atomic);
                let (a, b) = (frame.lanes(sources[0]), frame.lanes(sources[1]));
                let mut olds = [0; WARP];
                for lane in lanes_of(mask) {
                    let place = request.places[lane];
                    if dst.is_some() {
                        self.acquire(block, place, *strength);
                    }
                    self.release(block, place, *strength);
                    let actor = self.actor(block, w, lane);
                    if let Some(mut reach) = self.reach(block, w) {
                        olds[lane] = reach
                            .update(place, *bytes as usize, &actor, |old| update(old, a[lane], b[lane]))
                            .map_err(|violation| (lane, violation))?;
                    }
                }
                if let (Some(dst), Some(frame)) = (dst, block.warps[w].frames.last_mut()) {
                    frame.set(*dst, &olds, mask);
                    return Ok(self.spin(block, w, Some(*dst), mask));
                }
            }
            _ => {}
        }
        Ok(Pause::None)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one access")]
    fn load(
        &mut self,
        block: &mut Block,
        w: usize,
        mask: u32,
        request: &Request,
        dsts: &[Option<u32>],
        (bytes, extend): (u32, Option<u32>),
        strength: Strength,
    ) -> Result<(), Stop> {
        let n = bytes as usize;
        let mut values = [[0u64; WARP]; 8];
        for lane in lanes_of(mask) {
            let place = request.places[lane];
            self.acquire(block, place, strength);
            let actor = self.actor(block, w, lane);
            let mut data = [0; 64];
            let data = &mut data[..n * dsts.len()];
            if let Some(mut reach) = self.reach(block, w) {
                reach
                    .read(place, (data, n), lane, &actor, strength)
                    .map_err(|violation| (lane, violation))?;
            }
            for (part, values) in data.chunks_exact(n).zip(&mut values) {
                let mut word = [0; 8];
                word[..n].copy_from_slice(part);
                values[lane] = u64::from_le_bytes(word);
            }
        }
        let Some(frame) = block.warps[w].frames.last_mut() else { return Ok(()) };
        for (dst, values) in dsts.iter().zip(&mut values) {
            if let Some(bits) = extend {
                let (shift, keep) = (64 - 8 * bytes, u64::MAX >> (64 - bits));
                values.iter_mut().for_each(|v| *v = ((*v << shift) as i64 >> shift) as u64 & keep);
            }
            if let Some(dst) = dst {
                frame.set(*dst, values, mask);
            }
        }
        Ok(())
    }

    /// A read of what others write, at the same place with the same result as the last one, is a spin.
    fn spin(&self, block: &mut Block, w: usize, dst: Option<u32>, mask: u32) -> Pause {
        let warp = &mut block.warps[w];
        let (Some(frame), Some(dst)) = (warp.frames.last(), dst) else { return Pause::None };
        let Some(top) = frame.stack.last() else { return Pause::None };
        let values = &frame.registers[dst as usize];
        let sum = lanes_of(mask).fold(0u64, |sum, i| sum.rotate_left(7) ^ values[i]);
        let seen = (top.pc, sum);
        let spins = warp.seen == seen;
        warp.seen = seen;
        if spins { Pause::Spins } else { Pause::None }
    }

    /// `cp.async` and its groups: what is copied is read now, and lands when it is waited for.
    pub fn copies(&mut self, block: &mut Block, w: usize, op: &Op, mask: u32) -> Result<(), Stop> {
        match op {
            Op::Copy { to, from, bytes, from_bytes } => {
                let Some(frame) = block.warps[w].frames.last() else { return Ok(()) };
                let (to, from) = (request(frame, *to, mask), request(frame, *from, mask));
                let wanted = from_bytes.map(|source| frame.lanes(source));
                let lane = mask.trailing_zeros() as usize;
                self.count(&from, lane, *bytes, Access::Read);
                self.count(&to, lane, *bytes, Access::Write);
                for lane in lanes_of(mask) {
                    let n = wanted.map_or(*bytes, |w| (w[lane] as u32).min(*bytes));
                    self.begin_copy(block, w, lane, to.places[lane], from.places[lane], (*bytes, n))?;
                }
            }
            Op::CopyCommit => {
                let groups = &mut block.warps[w].groups;
                lanes_of(mask).for_each(|lane| groups[lane] += 1);
            }
            Op::CopyWait(left) => {
                for lane in lanes_of(mask) {
                    let next = block.warps[w].groups[lane];
                    // Groups before this one must have landed.
                    let until = left.map_or(u32::MAX, |left| next.saturating_sub(left));
                    self.land(block, w, lane, until)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn begin_copy(
        &mut self,
        block: &mut Block,
        w: usize,
        lane: usize,
        to: (Space, u64),
        from: (Space, u64),
        (bytes, n): (u32, u32),
    ) -> Result<(), Stop> {
        let actor = self.actor(block, w, lane);
        let mut data = [0; 16];
        let Some(mut reach) = self.reach(block, w) else { return Ok(()) };
        // In pieces of 4 bytes, so that fewer than all may be asked for; alignment is that of the whole.
        if n == bytes {
            let data = (&mut data[..n as usize], n as usize);
            reach.read(from, data, lane, &actor, Strength::Plain).map_err(|v| (lane, v))?;
        } else {
            for at in 0..n as usize {
                let from = (from.0, from.1 + at as u64);
                reach
                    .read(from, (&mut data[at..at + 1], 1), lane, &actor, Strength::Plain)
                    .map_err(|v| (lane, v))?;
            }
        }
        reach.claim_shared(to.1, &data[..bytes as usize], &actor).map_err(|v| (lane, v))?;
        reach.shared.cells.mark(to.1 as usize, bytes as usize, State::InFlight);
        let warp = &mut block.warps[w];
        let group = warp.groups[lane];
        warp.pending.push(Pending { lane: lane as u32, group, at: to.1 as u32, data, bytes: bytes as u8 });
        Ok(())
    }

    /// The copies of a lane in groups before `until` arrive.
    fn land(&mut self, block: &mut Block, w: usize, lane: usize, until: u32) -> Result<(), Stop> {
        let actor = self.actor(block, w, lane);
        let pending = std::mem::take(&mut block.warps[w].pending);
        let is_due = |p: &Pending| p.lane as usize == lane && p.group < until;
        let (due, rest): (Vec<Pending>, Vec<Pending>) = pending.into_iter().partition(is_due);
        block.warps[w].pending = rest;
        let Some(mut reach) = self.reach(block, w) else { return Ok(()) };
        for Pending { at, data, bytes, .. } in due {
            let data = &data[..bytes as usize];
            reach.shared.cells.mark(at as usize, data.len(), State::Unwritten);
            reach.claim_shared(at as u64, data, &actor).map_err(|v| (lane, v))?;
            reach.shared.cells.write(at as usize, data);
        }
        Ok(())
    }
}
