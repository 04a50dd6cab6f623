//! A device for tests: memory that remembers what was written, kernels run by the nest interpreter, and the
//! slowest order of work that the caller has allowed for.
//!
//! What enters: what any device gets. What leaves: the same results; and faults: memory that is used after it
//! was freed, before it was written, after something else was written over it, or past its end (of the allocation, or
//! of the part of it that its user has), arguments of one launch that overlap, scratch that is too small, memory left behind. A stream that is late does nothing until somebody waits for it, one that is
//! not does all at once, so that a missing wait shows as a wrong number in one of the two. Invariant: what
//! the mock accepts does not depend on luck.

use super::device::{ALIGNMENT, Address, Device, DeviceError, Launch, N_SIDES, Region, Stream, WholeLaunch};
use crate::codegen::cpu::StepEnv;
use crate::codegen::cuda::library::interpret;
use crate::codegen::cuda::{Entry, Source, Whole};
use crate::nest::interpret::{Run, run_rounded};
use crate::nest::{ArgumentAccess, Kernel};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

/// Bytes between two allocations, which belong to nobody.
const GUARD: u64 = 4096;
/// What memory holds before anything is written there: a NaN, and far outside of any index.
const POISON: u8 = 0xff;
/// What an element of a kernel's argument holds that was not written.
const UNDEFINED: f64 = f64::from_bits(0x7ff8_0000_0bad_0bad);

pub struct Mock {
    state: RefCell<State>,
    capacity: u64,
    late: Late,
    /// Whether blocks of a launch can wait for each other.
    cooperates: bool,
}

/// Which streams do nothing until they must.
#[derive(Clone, Copy, Debug, Default)]
pub struct Late {
    pub compute: bool,
    pub copy: bool,
    pub sides: bool,
}

impl Late {
    pub const ALL: [Late; 8] = {
        let mut all = [Late { compute: false, copy: false, sides: false }; 8];
        let mut i = 0;
        while i < all.len() {
            all[i] = Late { compute: i & 1 != 0, copy: i & 2 != 0, sides: i & 4 != 0 };
            i += 1;
        }
        all
    };

    fn is(self, stream: Stream) -> bool {
        match stream {
            Stream::Compute => self.compute,
            Stream::Copy => self.copy,
            Stream::Side(_) => self.sides,
        }
    }
}

const N_STREAMS: usize = 2 + N_SIDES as usize;

fn number(stream: Stream) -> usize {
    match stream {
        Stream::Compute => 0,
        Stream::Copy => 1,
        Stream::Side(i) => 2 + usize::from(i),
    }
}

#[derive(Default)]
struct State {
    memory: BTreeMap<u64, Allocation>,
    freed: Vec<Region>,
    allocated: u64,
    queues: [VecDeque<Work>; N_STREAMS],
    /// Where work goes while it is taken down.
    capturing: Option<Vec<(Stream, Work)>>,
    faults: Vec<String>,
    log: Vec<String>,
    /// Whether products are made as calls of a library.
    has_library: bool,
}

struct Allocation {
    bytes: Vec<u8>,
    /// Of each byte, which buffer was written there last.
    of: Vec<Owner>,
    /// Begins and bytes of what belongs to different users, from the allocation's begin; none where it is one user's.
    parts: BTreeMap<usize, usize>,
}

/// Whose value a byte is part of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Owner {
    /// Nothing was written.
    Nobody,
    /// The host wrote it, and may have written several buffers at once.
    Host,
    /// A kernel wrote the buffer that begins there, from the allocation's begin.
    Buffer(u32),
}

/// Memory of the host.
type Host = Rc<RefCell<Vec<u8>>>;

/// How often an event was asked to be recorded, and how often it was.
#[derive(Default)]
pub struct Times {
    asked: Cell<u64>,
    done: Cell<u64>,
}

impl Times {
    fn ask(&self) -> u64 {
        self.asked.set(self.asked.get() + 1);
        self.asked.get()
    }
}

#[derive(Clone)]
pub enum Work {
    CopyIn { from: Host, to: Region },
    CopyOut { from: Region, to: Host, at: u64 },
    Launch { kernel: Rc<Kernel>, entry: Box<Entry>, launch: Box<Launch> },
    Whole { pieces: Vec<(Rc<Kernel>, Entry)>, launch: Box<WholeLaunch> },
    Forget(Region),
    Record(Rc<Times>, u64),
    Wait(Rc<Times>, u64),
}

impl Mock {
    pub fn new(capacity: u64, late: Late) -> Mock {
        Mock { state: RefCell::default(), capacity, late, cooperates: true }
    }

    /// The same, where blocks cannot wait for each other.
    pub fn without_meetings(self) -> Mock {
        Mock { cooperates: false, ..self }
    }

    /// The same, with a library of products.
    pub fn with_library(self) -> Mock {
        self.state.borrow_mut().has_library = true;
        self
    }

    /// What callers did wrong so far; and what they have not freed.
    pub fn faults(&self) -> Vec<String> {
        self.state.borrow().faults.clone()
    }

    pub fn n_allocations(&self) -> usize {
        self.state.borrow().memory.len()
    }

    /// One word for each call since the last time this was asked.
    pub fn take_log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.borrow_mut().log)
    }

    fn enqueue(&self, stream: Stream, work: Work) -> Result<(), DeviceError> {
        {
            let mut state = self.state.borrow_mut();
            if let Work::CopyOut { to, at, from } = &work {
                // Whoever reads too early finds no number there.
                to.borrow_mut()[*at as usize..(at + from.bytes) as usize].fill(POISON);
            }
            match &mut state.capturing {
                Some(taken) if stream != Stream::Copy => taken.push((stream, work)),
                _ => state.queues[number(stream)].push_back(work),
            }
        }
        if self.late.is(stream) { Ok(()) } else { self.drain(number(stream)) }
    }

    fn drain(&self, stream: usize) -> Result<(), DeviceError> {
        let mut state = self.state.borrow_mut();
        while state.next(stream) {}
        state.checked()
    }

    fn all(&self) -> Result<(), DeviceError> {
        (0..N_STREAMS).rev().try_for_each(|stream| self.drain(stream))
    }

    fn log(&self, what: impl Into<String>) {
        self.state.borrow_mut().log.push(what.into());
    }
}

impl State {
    fn checked(&self) -> Result<(), DeviceError> {
        match self.faults.first() {
            None => Ok(()),
            Some(fault) => {
                Err(DeviceError::Failed { device: "mock".into(), what: "a step".into(), why: fault.clone() })
            }
        }
    }

    /// Does the next piece of work of a stream; false when there is none.
    fn next(&mut self, stream: usize) -> bool {
        let Some(work) = self.queues[stream].pop_front() else { return false };
        if let Err(fault) = self.work(work) {
            self.faults.push(fault);
        }
        true
    }

    /// Does what an event stands for.
    fn until(&mut self, times: &Times, asked: u64) -> Result<(), String> {
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

    fn work(&mut self, work: Work) -> Result<(), String> {
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
    fn find(&mut self, region: Region) -> Result<(&mut Allocation, usize), String> {
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

    fn read(&mut self, region: Region) -> Result<Vec<u8>, String> {
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

    fn write(&mut self, region: Region, bytes: &[u8]) -> Result<(), String> {
        let (allocation, at) = self.find(region)?;
        let range = at..at + region.bytes as usize;
        allocation.bytes[range.clone()].copy_from_slice(bytes);
        allocation.of[range].fill(Owner::Host);
        Ok(())
    }

    fn launch(&mut self, kernel: &Kernel, entry: &Entry, launch: &Launch) -> Result<(), String> {
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
                let apart = region.address.plus(region.bytes) <= other.address
                    || other.address.plus(other.bytes) <= region.address;
                if !(apart || reads(argument) && reads(other_argument)) {
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

impl Device for Mock {
    type Module = Vec<(Rc<Kernel>, Entry)>;
    type Host = Host;
    type Event = Rc<Times>;
    type Graph = Vec<(Stream, Work)>;

    fn name(&self) -> String {
        "mock".into()
    }

    fn free_bytes(&self) -> u64 {
        self.capacity - self.state.borrow().allocated
    }

    fn allocate(&self, bytes: u64) -> Option<Address> {
        if bytes > self.free_bytes() {
            return None;
        }
        let mut state = self.state.borrow_mut();
        let after = |(start, allocation): (&u64, &Allocation)| start + allocation.bytes.len() as u64;
        // Places are never used twice, so that what was freed is known for good.
        let last = state.memory.last_key_value().map_or(0, after);
        let freed = state.freed.iter().map(|region| region.address.0 + region.bytes).max().unwrap_or(0);
        let address = (last.max(freed) + GUARD).next_multiple_of(ALIGNMENT);
        let n = bytes as usize;
        let (bytes_of, of) = (vec![POISON; n], vec![Owner::Nobody; n]);
        state.memory.insert(address, Allocation { bytes: bytes_of, of, parts: BTreeMap::new() });
        state.allocated += bytes;
        Some(Address(address))
    }

    fn free(&self, address: Address) {
        // What still waits would use it.
        let _ = self.all();
        let mut state = self.state.borrow_mut();
        match state.memory.remove(&address.0) {
            Some(allocation) => {
                let bytes = allocation.bytes.len() as u64;
                state.allocated -= bytes;
                state.freed.push(Region { address, bytes });
            }
            None => state.faults.push(format!("{address:?} is freed, but was not allocated")),
        }
    }

    fn host(&self, bytes: u64) -> Result<Host, DeviceError> {
        Ok(Rc::new(RefCell::new(vec![POISON; bytes as usize])))
    }

    fn put(&self, host: &Host, at: u64, bytes: &[u8]) {
        host.borrow_mut()[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
    }

    fn take(&self, host: &Host, at: u64, bytes: &mut [u8]) {
        bytes.copy_from_slice(&host.borrow()[at as usize..at as usize + bytes.len()]);
    }

    fn load(&self, kernels: &[Kernel], source: &Source) -> Result<Self::Module, DeviceError> {
        assert_eq!(kernels.len(), source.kernels.len(), "one entry a kernel");
        Ok(kernels.iter().cloned().map(Rc::new).zip(source.kernels.iter().cloned()).collect())
    }

    fn load_whole(
        &self,
        kernels: &[Kernel],
        source: &Source,
        _whole: &Whole,
    ) -> Result<Option<Self::Module>, DeviceError> {
        if self.cooperates { self.load(kernels, source).map(Some) } else { Ok(None) }
    }

    fn zero(&self, region: Region) -> Result<(), DeviceError> {
        self.write(region.address, &vec![0; region.bytes as usize])
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.all()?;
        let mut state = self.state.borrow_mut();
        if let Err(fault) = state.write(Region { address: to, bytes: bytes.len() as u64 }, bytes) {
            state.faults.push(fault);
        }
        state.checked()
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.all()?;
        let mut state = self.state.borrow_mut();
        match state.read(Region { address: from, bytes: bytes.len() as u64 }) {
            Ok(found) => bytes.copy_from_slice(&found),
            Err(fault) => state.faults.push(fault),
        }
        state.checked()
    }

    fn copy_in(&self, from: &Host, to: Region) -> Result<(), DeviceError> {
        self.log("copy in");
        self.enqueue(Stream::Copy, Work::CopyIn { from: from.clone(), to })
    }

    fn copy_out(&self, from: Region, to: &Host, at: u64) -> Result<(), DeviceError> {
        self.log("copy out");
        self.enqueue(Stream::Compute, Work::CopyOut { from, to: to.clone(), at })
    }

    fn launch(
        &self,
        stream: Stream,
        module: &Self::Module,
        entry: &Entry,
        launch: &Launch,
    ) -> Result<(), DeviceError> {
        self.log("launch");
        let (kernel, entry) = (module[launch.kernel].0.clone(), Box::new(entry.clone()));
        let launch = Box::new(launch.clone());
        self.enqueue(stream, Work::Launch { kernel, entry, launch })
    }

    fn launch_whole(
        &self,
        module: &Self::Module,
        whole: &Whole,
        launch: &WholeLaunch,
    ) -> Result<(), DeviceError> {
        self.log("launch whole");
        assert_eq!(launch.arguments.len(), whole.buffers.len(), "one argument a buffer");
        let pieces = launch.launches.iter().map(|piece| module[piece.kernel].clone()).collect();
        self.enqueue(Stream::Compute, Work::Whole { pieces, launch: Box::new(launch.clone()) })
    }

    fn divide(&self, regions: &[Region]) {
        let mut state = self.state.borrow_mut();
        for region in regions {
            let (begin, end) = (region.address.0, region.address.0 + region.bytes);
            match state.memory.range_mut(..=begin).next_back() {
                Some((start, allocation)) if end <= start + allocation.bytes.len() as u64 => {
                    let bytes = allocation.parts.entry((begin - start) as usize).or_default();
                    // One that is empty may begin where the next one does.
                    *bytes = (*bytes).max(region.bytes as usize);
                }
                _ => state.faults.push(format!("{region:?} is not a part of an allocation")),
            }
        }
    }

    fn forget(&self, region: Region) {
        // It fails where the region is not the device's, which the next use of it says, too.
        let _ = self.enqueue(Stream::Compute, Work::Forget(region));
    }

    fn record_graph(
        &self,
        work: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Self::Graph, DeviceError> {
        self.state.borrow_mut().capturing = Some(Vec::new());
        let done = work();
        let taken = self.state.borrow_mut().capturing.take().expect("it was set above");
        done.map(|()| taken)
    }

    fn run(&self, graph: &Self::Graph) -> Result<(), DeviceError> {
        self.log("run");
        for (stream, work) in graph {
            let work = match work {
                // Each run has events of its own.
                Work::Record(times, _) => Work::Record(times.clone(), times.ask()),
                Work::Wait(times, _) => Work::Wait(times.clone(), times.asked.get()),
                other => other.clone(),
            };
            self.enqueue(*stream, work)?;
        }
        Ok(())
    }

    fn time(
        &self,
        n: usize,
        piece: &mut dyn FnMut(usize) -> Result<(), DeviceError>,
    ) -> Result<Vec<f64>, DeviceError> {
        (0..n).try_for_each(piece)?;
        self.all()?;
        Ok(vec![1e-6; n])
    }

    fn event(&self) -> Result<Rc<Times>, DeviceError> {
        Ok(Rc::default())
    }

    fn record(&self, event: &Rc<Times>, stream: Stream) -> Result<(), DeviceError> {
        self.log("record");
        self.enqueue(stream, Work::Record(event.clone(), event.ask()))
    }

    fn wait(&self, stream: Stream, event: &Rc<Times>) -> Result<(), DeviceError> {
        self.log("wait");
        self.enqueue(stream, Work::Wait(event.clone(), event.asked.get()))
    }

    fn synchronize(&self, event: &Rc<Times>) -> Result<(), DeviceError> {
        self.log("synchronize");
        let mut state = self.state.borrow_mut();
        if let Err(fault) = state.until(event, event.asked.get()) {
            state.faults.push(fault);
        }
        state.checked()
    }
}
