//! What each instruction does to a warp. Memory, barriers and matrices have files of their own.

use super::block::Block;
use super::machine::{Machine, Pause, Stop};
use super::warp::{Frame, lanes_of};
use crate::code::{Instr, Op, Source};
use crate::fault::Violation;
use crate::math::integer;
use crate::math::lanes::{Compute, Lanes, WARP};

impl Machine<'_> {
    /// Executes an instruction for the lanes of `mask`.
    pub fn execute(&mut self, block: &mut Block, w: usize, instr: &Instr, mask: u32) -> Result<Pause, Stop> {
        let warp = &mut block.warps[w];
        let is_called = warp.frames.len() > 1;
        let Some(frame) = warp.frames.last_mut() else { return Ok(Pause::Stopped) };
        if mask == 0 && !matches!(instr.op, Op::Branch { .. } | Op::BranchTable { .. }) {
            return Ok(Pause::None);
        }
        match &instr.op {
            Op::Map { dst, f, sources } => {
                let result = compute(frame, f, sources);
                frame.set(*dst, &result, mask);
            }
            Op::Compare { dst, complement, f, sources, with } => {
                let mut holds = f(&frame.lanes(sources[0]), &frame.lanes(sources[1]));
                let mut fails = !holds;
                if let Some((logic, truth)) = with {
                    let truth = frame.truth(*truth);
                    (holds, fails) = (logic(holds, truth), logic(fails, truth));
                }
                if let Some(dst) = dst {
                    frame.set_predicate(*dst, holds, mask);
                }
                if let Some(dst) = complement {
                    frame.set_predicate(*dst, fails, mask);
                }
            }
            Op::CompareValue { dst, f, sources, with, one } => {
                let mut holds = f(&frame.lanes(sources[0]), &frame.lanes(sources[1]));
                if let Some((logic, truth)) = with {
                    holds = logic(holds, frame.truth(*truth));
                }
                let values = std::array::from_fn(|i| if holds >> i & 1 == 1 { *one } else { 0 });
                frame.set(*dst, &values, mask);
            }
            Op::Select { dst, sources, truth } => {
                let holds = frame.truth(*truth);
                let (a, b) = (frame.lanes(sources[0]), frame.lanes(sources[1]));
                let values = std::array::from_fn(|i| if holds >> i & 1 == 1 { a[i] } else { b[i] });
                frame.set(*dst, &values, mask);
            }
            Op::Truths { dst, f, sources } => {
                let holds = f(frame.truth(sources[0]), frame.truth(sources[1]));
                frame.set_predicate(*dst, holds, mask);
            }
            Op::Insert { dst, sources, width } => {
                let [a, b, start, length] = sources.map(|s| frame.lanes(s));
                let insert =
                    |i: usize| integer::insert(a[i], b[i], start[i] as u32, length[i] as u32, *width);
                frame.set(*dst, &std::array::from_fn(insert), mask);
            }
            Op::Pack { dst, parts, bits } => {
                let keep = u64::MAX >> (64 - bits);
                let mut all = [0; WARP];
                for (i, part) in parts.iter().enumerate() {
                    let part = frame.lanes(*part);
                    for lane in 0..WARP {
                        all[lane] |= (part[lane] & keep) << (i as u32 * bits);
                    }
                }
                frame.set(*dst, &all, mask);
            }
            Op::Unpack { dsts, source, bits } => {
                let keep = u64::MAX >> (64 - bits);
                let all = frame.lanes(*source);
                for (i, dst) in dsts.iter().enumerate() {
                    if let Some(dst) = dst {
                        frame.set(*dst, &all.map(|v| v >> (i as u32 * bits) & keep), mask);
                    }
                }
            }
            Op::Carry { dst, sources, subtract, bits, reads, writes } => {
                let (a, b) = (frame.lanes(sources[0]), frame.lanes(sources[1]));
                let carry = if *reads { frame.predicates[0] } else { 0 };
                let (values, out) = add_with_carry(&a, &b, carry, *subtract, *bits);
                frame.set(*dst, &values, mask);
                if *writes {
                    frame.set_predicate(0, out, mask);
                }
            }
            Op::Branch { target, reconverge } => branch(frame, mask, *target, *reconverge),
            Op::BranchTable { index, targets, reconverge } => {
                branch_table(frame, mask, *index, targets, *reconverge)?;
            }
            Op::Return if is_called => frame.leave(mask),
            Op::Return | Op::Exit => {
                warp.live &= !mask;
                warp.frames.iter_mut().for_each(|frame| frame.leave(mask));
            }
            Op::Trap => return Err((mask.trailing_zeros() as usize, Violation::Trap)),
            Op::Assertion => return Err((mask.trailing_zeros() as usize, Violation::Assertion)),
            Op::Call { function, arguments, results } => {
                self.call(block, w, mask, *function, arguments, results)?;
            }
            Op::Load { .. } | Op::Store { .. } | Op::Atomic { .. } => {
                return self.access(block, w, instr, mask);
            }
            Op::Copy { .. } | Op::CopyCommit | Op::CopyWait(_) => self.copies(block, w, &instr.op, mask)?,
            Op::Barrier { .. } => return self.arrive(block, w, &instr.op, mask),
            Op::WarpBarrier { .. }
            | Op::Shuffle { .. }
            | Op::Vote { .. }
            | Op::Match { .. }
            | Op::WarpReduce { .. }
            | Op::Elect { .. } => self.together(&mut block.warps[w], &instr.op, mask)?,
            Op::Product(product) => {
                super::matrix::multiply(warp, product, mask)?;
            }
            Op::LoadMatrix { .. } | Op::StoreMatrix { .. } => self.matrices(block, w, &instr.op, mask)?,
            Op::Fence { grid } => {
                if *grid {
                    block.fenced = self.clock.advance();
                }
            }
            Op::Sleep => return Ok(Pause::Spins),
            Op::Clock { dst } => {
                let now = [self.steps; WARP];
                frame.set(*dst, &now, mask);
            }
            Op::ActiveMask { dst } => frame.set(*dst, &[mask as u64; WARP], mask),
            Op::IsSpace { dst, space, source } => {
                let addresses = frame.lanes(*source);
                let holds = (0..WARP).fold(0, |all, i| {
                    let is_there = crate::memory::resolve(addresses[i]).0 == *space;
                    all | (is_there as u32) << i
                });
                frame.set_predicate(*dst, holds, mask);
            }
            Op::Nothing => {}
            Op::Unknown(why) => {
                return Err((mask.trailing_zeros() as usize, Violation::Unknown(why.clone())));
            }
        }
        Ok(Pause::None)
    }
}

fn compute(frame: &Frame, f: &Compute, sources: &[Source; 3]) -> Lanes {
    let mut held = [[0; WARP]; 3];
    let mut operands: [&Lanes; 3] = [&[0; WARP]; 3];
    let n = match f {
        Compute::One(_) => 1,
        Compute::Two(_) => 2,
        Compute::Three(_) => 3,
    };
    for ((source, held), operand) in sources[..n].iter().zip(&mut held).zip(&mut operands) {
        *operand = match source {
            Source::Slot(slot) => &frame.registers[*slot as usize],
            Source::Value(value) => {
                held.fill(*value);
                held
            }
        };
    }
    let [a, b, c] = operands;
    match f {
        Compute::One(f) => f(a),
        Compute::Two(f) => f(a, b),
        Compute::Three(f) => f(a, b, c),
    }
}

/// The lanes of `taken` go to `target`, the others on.
fn branch(frame: &mut Frame, taken: u32, target: u32, reconverge: u32) {
    let Some(top) = frame.stack.last() else { return };
    let (next, rest) = (top.pc, top.mask & !taken);
    match (taken, rest) {
        (0, _) => {}
        (_, 0) => frame.split(&[(taken, target)], reconverge),
        _ => frame.split(&[(rest, next), (taken, target)], reconverge),
    }
}

fn branch_table(
    frame: &mut Frame,
    mask: u32,
    index: Source,
    targets: &[u32],
    reconverge: u32,
) -> Result<(), Stop> {
    let Some(top) = frame.stack.last() else { return Ok(()) };
    let mut parts: Vec<(u32, u32)> = Vec::new();
    let rest = top.mask & !mask;
    if rest != 0 {
        parts.push((rest, top.pc));
    }
    for lane in lanes_of(mask) {
        let at = frame.lane(index, lane) as usize;
        let Some(target) = targets.get(at) else {
            let why = format!("branch number {at} of a table of {}", targets.len());
            return Err((lane, Violation::Unknown(why)));
        };
        match parts.iter_mut().find(|part| part.1 == *target) {
            Some(part) => part.0 |= 1 << lane,
            None => parts.push((1 << lane, *target)),
        }
    }
    if !parts.is_empty() {
        frame.split(&parts, reconverge);
    }
    Ok(())
}

fn add_with_carry(a: &Lanes, b: &Lanes, carry: u32, subtract: bool, bits: u32) -> (Lanes, u32) {
    let keep = u64::MAX >> (64 - bits);
    let mut out = 0;
    let values = std::array::from_fn(|i| {
        let carry = (carry >> i & 1) as u128;
        let (a, b) = (a[i] as u128, b[i] as u128);
        // A borrow shows in the bits above.
        let wide = if subtract { a.wrapping_sub(b).wrapping_sub(carry) } else { a + b + carry };
        out |= ((wide >> bits & 1) as u32) << i;
        wide as u64 & keep
    });
    (values, out)
}
