//! What the mock has and does: memory that knows who wrote each byte, queues of work, kernels run by the nest interpreter.
//!
//! What enters: pieces of work. What leaves: changed memory, or a fault. Not here: when work is done (`mod.rs`).

use super::super::device::{DeviceError, Launch, Region, Stream};
use super::{N_STREAMS, POISON, Times, UNDEFINED, Work};
use crate::codegen::cpu::StepEnv;
use crate::codegen::cuda::Entry;
use crate::codegen::cuda::library::interpret;
use crate::nest::interpret::{Run, run_rounded};
use crate::nest::{ArgumentAccess, Kernel};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
#[derive(Default)]
pub struct State {
    pub memory: BTreeMap<u64, Allocation>,
    pub freed: Vec<Region>,
    pub allocated: u64,
    pub queues: [VecDeque<Work>; N_STREAMS],
    /// Where work goes while it is taken down.
    pub capturing: Option<Vec<(Stream, Work)>>,
    pub faults: Vec<String>,
    pub log: Vec<String>,
    /// Whether products are made as calls of a library.
    pub has_library: bool,
}

pub struct Allocation {
    pub bytes: Vec<u8>,
    /// Of each byte, which buffer was written there last.
    pub of: Vec<Owner>,
    /// Begins and bytes of what belongs to different users, from the allocation's begin; none where it is one user's.
    pub parts: BTreeMap<usize, usize>,
}

/// Whose value a byte is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// Nothing was written.
    Nobody,
    /// The host wrote it, and may have written several buffers at once.
    Host,
    /// A kernel wrote the buffer that begins there, from the allocation's begin.
    Buffer(u32),
}

/// Memory of the host.
pub type Host = Rc<RefCell<Vec<u8>>>;

impl State {
    pub fn checked(&self) -> Result<(), DeviceError> {
        match self.faults.first() {
            None => Ok(()),
            Some(fault) => {
                Err(DeviceError::Failed { device: "mock".into(), what: "a step".into(), why: fault.clone() })
            }
        }
    }

    /// Does the next piece of work of a stream; false when there is none.
    pub fn next(&mut self, stream: usize) -> bool {
        let Some(work) = self.queues[stream].pop_front() else { return false };
        if let Err(fault) = self.work(work) {
            self.faults.push(fault);
        }
        true
    }

    /// Does what an event stands for.
    pub fn until(&mut self, times: &Times, asked: u64) -> Result<(), String> {
        while times.done.get() < asked {
            let recorded_on = |queue: &VecDeque<Work>| {
                queue.iter().any(|work| matches!(work, Work::Record(t, _) if std::ptr::eq(&**t, times)))
            };
            let stream = self.queues.iter().position(recorded_on);
            let stream = stream.ok_or("an event is waited for that no stream will record")?;
            self.next(stream);
        }
        Ok(())
    }

    pub fn work(&mut self, work: Work) -> Result<(), String> {
        match work {
            Work::CopyIn { from, to } => {
                let bytes = from.borrow()[..to.bytes as usize].to_vec();
                self.write(to, &bytes)
            }
            Work::CopyOut { from, to, at } => {
                let bytes = self.read(from)?;
                to.borrow_mut()[at as usize..at as usize + bytes.len()].copy_from_slice(&bytes);
                Ok(())
            }
            Work::Launch { kernel, entry, launch } => {
                self.launch(&kernel, &entry, &launch).map_err(|e| format!("{}: {e}", entry.name))
            }
            Work::Together { pieces, launch } => {
                let uses = pieces.iter().zip(&launch.launches).map(|((kernel, _), piece)| {
                    piece.arguments.iter().zip(&kernel.arguments).collect::<Vec<_>>()
                });
                let uses: Vec<_> = uses.collect();
                for (i, of_one) in uses.iter().enumerate() {
                    for (region, argument) in of_one {
                        let writes = argument.access != ArgumentAccess::Read;
                        let others = uses.iter().enumerate().filter(|(j, _)| *j != i).flat_map(|(_, of)| of);
                        if writes && others.into_iter().any(|(other, _)| other.meets(region)) {
                            return Err(format!(
                                "{region:?} is written by one of several launches, and used by another"
                            ));
                        }
                    }
                }
                for ((kernel, entry), piece) in pieces.iter().zip(&launch.launches) {
                    self.launch(kernel, entry, piece).map_err(|e| format!("{}: {e}", entry.name))?;
                }
                Ok(())
            }
            Work::Whole { pieces, launch } => {
                // What the blocks meet by was made 0 once, and nobody else's since.
                self.read(launch.arrived).map_err(|e| format!("where blocks meet: {e}"))?;
                for ((kernel, entry), piece) in pieces.iter().zip(&launch.launches) {
                    if piece.arguments.iter().any(|region| !launch.arguments.contains(region)) {
                        return Err(format!("{}: an argument that the step has not", entry.name));
                    }
                    self.launch(kernel, entry, piece).map_err(|e| format!("{}: {e}", entry.name))?;
                }
                Ok(())
            }
            Work::Forget(region) => {
                let (allocation, at) = self.find(region)?;
                allocation.of[at..at + region.bytes as usize].fill(Owner::Nobody);
                allocation.bytes[at..at + region.bytes as usize].fill(POISON);
                Ok(())
            }
            Work::Record(times, asked) => {
                times.done.set(asked);
                Ok(())
            }
            Work::Wait(times, asked) => self.until(&times, asked),
        }
    }

    /// The allocation that holds a region, and the region's place in it.
    pub fn find(&mut self, region: Region) -> Result<(&mut Allocation, usize), String> {
        let (begin, end) = (region.address.0, region.address.0 + region.bytes);
        let meets = |freed: &&Region| begin < freed.address.0 + freed.bytes && freed.address.0 < end;
        if let Some(freed) = self.freed.iter().find(meets) {
            return Err(format!("{region:?} is used after {freed:?} was freed"));
        }
        let found = self.memory.range_mut(..=begin).next_back();
        match found {
            Some((start, allocation)) if end <= start + allocation.bytes.len() as u64 => {
                let at = (begin - start) as usize;
                let part = allocation.parts.range(..=at).next_back();
                let ends = |(begin, bytes): (&usize, &usize)| begin + bytes;
                let is_of_one =
                    allocation.parts.is_empty() || part.map_or(0, ends) >= at + region.bytes as usize;
                if region.bytes > 0 && !is_of_one {
                    return Err(format!("{region:?} is not inside of one part of its allocation"));
                }
                Ok((allocation, at))
            }
            _ => Err(format!("{region:?} is not inside of an allocation")),
        }
    }

    pub fn read(&mut self, region: Region) -> Result<Vec<u8>, String> {
        let (allocation, at) = self.find(region)?;
        let range = at..at + region.bytes as usize;
        for (i, owner) in allocation.of[range.clone()].iter().enumerate() {
            match owner {
                Owner::Nobody => return Err(format!("byte {i} of {region:?} is read before it was written")),
                Owner::Buffer(begin) if *begin as usize != at => {
                    return Err(format!(
                        "byte {i} of {region:?} is read after another buffer was written over it"
                    ));
                }
                Owner::Host | Owner::Buffer(_) => {}
            }
        }
        Ok(allocation.bytes[range].to_vec())
    }

    pub fn write(&mut self, region: Region, bytes: &[u8]) -> Result<(), String> {
        let (allocation, at) = self.find(region)?;
        let range = at..at + region.bytes as usize;
        allocation.bytes[range.clone()].copy_from_slice(bytes);
        allocation.of[range].fill(Owner::Host);
        Ok(())
    }

    pub fn launch(&mut self, kernel: &Kernel, entry: &Entry, launch: &Launch) -> Result<(), String> {
        let n = (kernel.arguments.len(), launch.arguments.len());
        if n.0 != n.1 {
            return Err(format!("{} arguments, not {}", n.1, n.0));
        }
        if launch.blocks != entry.blocks(launch.batch) {
            return Err(format!("{} blocks, not {}", launch.blocks, entry.blocks(launch.batch)));
        }
        let scratch = entry.scratch_bytes * u64::from(launch.blocks);
        if scratch > launch.scratch.bytes {
            return Err(format!("{} bytes of scratch, not {scratch}", launch.scratch.bytes));
        }
        self.find(Region { bytes: scratch, ..launch.scratch })?;
        for (i, (region, argument)) in launch.arguments.iter().zip(&kernel.arguments).enumerate() {
            if region.address.0 % 64 != 0 {
                return Err(format!("argument {i} lies at {:#x}", region.address.0));
            }
            for (j, (other, other_argument)) in
                launch.arguments[..i].iter().zip(&kernel.arguments).enumerate()
            {
                let reads = |argument: &crate::nest::Argument| argument.access == ArgumentAccess::Read;
                if region.meets(other) && !(reads(argument) && reads(other_argument)) {
                    return Err(format!("arguments {j} and {i} overlap, and one is written"));
                }
            }
        }
        let env = self.read(launch.env)?;
        let word = |at: usize| u64::from_ne_bytes(env[at..at + 8].try_into().expect("eight bytes"));
        let (seed, step) =
            (word(std::mem::offset_of!(StepEnv, seed)), word(std::mem::offset_of!(StepEnv, step)));
        let mut values = Vec::with_capacity(launch.arguments.len());
        for (region, argument) in launch.arguments.iter().zip(&kernel.arguments) {
            let size = argument.dtype.bytes();
            values.push(match argument.access {
                ArgumentAccess::Read => argument.dtype.decode(&self.read(*region)?),
                ArgumentAccess::Write | ArgumentAccess::Temporary => {
                    vec![UNDEFINED; region.bytes as usize / size]
                }
                ArgumentAccess::ReadWrite => {
                    let (allocation, at) = self.find(*region)?;
                    let range = at..at + region.bytes as usize;
                    let mut values = argument.dtype.decode(&allocation.bytes[range.clone()]);
                    let is_its_own = |owner: &Owner| match owner {
                        Owner::Nobody => false,
                        Owner::Host => true,
                        Owner::Buffer(begin) => *begin as usize == at,
                    };
                    for (value, owners) in values.iter_mut().zip(allocation.of[range].chunks(size)) {
                        if !owners.iter().all(is_its_own) {
                            *value = UNDEFINED;
                        }
                    }
                    values
                }
            });
        }
        let run = Run { batch: launch.batch, seed, step };
        match &launch.call {
            Some(call) if self.has_library => interpret(call, &mut values),
            _ => run_rounded(kernel, &mut values, run, &mut |value, _| f64::from(value as f32))?,
        }
        for ((region, argument), values) in launch.arguments.iter().zip(&kernel.arguments).zip(values) {
            if argument.access == ArgumentAccess::Read {
                continue;
            }
            let size = argument.dtype.bytes();
            let encoded = argument.dtype.encode(&values);
            let (allocation, at) = self.find(*region)?;
            if argument.access == ArgumentAccess::Temporary {
                allocation.of[at..at + region.bytes as usize].fill(Owner::Nobody);
                continue;
            }
            for (i, value) in values.iter().enumerate() {
                if value.to_bits() != UNDEFINED.to_bits() {
                    let to = at + i * size..at + (i + 1) * size;
                    allocation.bytes[to.clone()].copy_from_slice(&encoded[i * size..(i + 1) * size]);
                    allocation.of[to].fill(Owner::Buffer(at as u32));
                }
            }
        }
        Ok(())
    }
}
