//! A device for tests: memory that remembers what was written, kernels run by the nest interpreter, and the
//! slowest order of work that the caller has allowed for.
//!
//! What enters: what any device gets. What leaves: the same results; and faults: memory that is used after it
//! was freed, before it was written, after something else was written over it, or past its end (of the allocation, or
//! of the part of it that its user has), arguments of one launch that overlap, scratch that is too small, memory left behind. A stream that is late does nothing until somebody waits for it, one that is
//! not does all at once, so that a missing wait shows as a wrong number in one of the two. Invariant: what
//! the mock accepts does not depend on luck.

mod state;

use super::device::{
    ALIGNMENT, Address, Device, DeviceError, JointLaunch, Launch, N_SIDES, Region, Stream, WholeLaunch,
};
use crate::codegen::cuda::{Entry, Source, Together, Whole};
use crate::nest::Kernel;
use state::{Allocation, Host, Owner, State};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
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
    Together { pieces: Vec<(Rc<Kernel>, Entry)>, launch: Box<JointLaunch> },
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

    fn makes_call(&self, launch: &Launch) -> bool {
        self.state.borrow().has_library && launch.call.is_some()
    }

    fn launch_together(
        &self,
        stream: Stream,
        module: &Self::Module,
        together: &Together,
        launch: &JointLaunch,
    ) -> Result<(), DeviceError> {
        self.log("launch together");
        assert_eq!(launch.blocks, together.blocks(launch.batch), "blocks of all launches");
        let pieces = launch.launches.iter().map(|piece| module[piece.kernel].clone()).collect();
        self.enqueue(stream, Work::Together { pieces, launch: Box::new(launch.clone()) })
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
