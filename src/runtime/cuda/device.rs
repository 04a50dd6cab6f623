//! What running on a GPU asks of the machine: memory, copies, launches, and an order between them.
//!
//! What enters: addresses, kernels, bytes. What leaves: the same work done, later, in the order of its
//! stream. There are several streams: one computes, some compute beside it what does not depend on each
//! other, one brings the next batch meanwhile. Two things implement this: the driver (`driver.rs`), and for
//! tests a mock that checks its callers and runs kernels by the nest interpreter (`mock`). Invariant: what
//! was handed over is done in the order of its stream; between streams, and to the host, only events say what
//! is done.

use crate::codegen::cuda::library::Call;
use crate::codegen::cuda::{Entry, Source, Together, Whole};
use crate::nest::Kernel;
use crate::plan::{Apart, bytes};

/// Why a device cannot do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceError {
    /// What is missing, and how to get it.
    #[error("{0}")]
    Missing(String),
    /// What is asked for, all together and by what it is for.
    #[error(
        "a step needs {} of memory ({}), and {device} has {} to give; a smaller `batch` needs less",
        bytes(*.needed), parts(of), bytes(*.available)
    )]
    OutOfMemory { device: String, needed: u64, available: u64, of: Vec<(&'static str, u64)> },
    #[error("{0} does not fit into 64 bits")]
    TooLarge(String),
    #[error("{device}: {what}: {why}")]
    Failed { device: String, what: String, why: String },
    /// A variable is not what another program, or a new value, says.
    #[error(transparent)]
    Variable(#[from] super::super::RuntimeError),
}

/// `5.0 MiB of variables, 300 B of batches`
fn parts(of: &[(&'static str, u64)]) -> String {
    let some = of.iter().filter(|(_, n)| *n > 0);
    some.map(|(what, n)| format!("{} of {what}", bytes(*n))).collect::<Vec<_>>().join(", ")
}

/// A place in the device's memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address(pub u64);

impl Address {
    pub fn plus(self, bytes: u64) -> Address {
        Address(self.0 + bytes)
    }
}

/// Bytes of the device's memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region {
    pub address: Address,
    pub bytes: u64,
}

impl Region {
    pub fn meets(&self, other: &Region) -> bool {
        self.address < other.address.plus(other.bytes) && other.address < self.address.plus(self.bytes)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stream {
    Compute,
    Copy,
    /// Beside `Compute`, below `N_SIDES`.
    Side(u8),
}

/// Streams that compute beside the first.
pub const N_SIDES: u8 = 3;

/// A kernel with its arguments: the ABI stands in `codegen::cuda`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Launch {
    /// Index into the kernels that were loaded.
    pub kernel: usize,
    pub blocks: u32,
    /// One for each argument of the kernel.
    pub arguments: Vec<Region>,
    pub scratch: Region,
    pub batch: i64,
    /// A `StepEnv`.
    pub env: Region,
    /// The same as a call of a library, if it is one; a device may make it instead.
    pub call: Option<Call>,
    /// What does the same in several launches, of which the product has a call.
    pub apart: Option<Box<Apart<Launch>>>,
}

impl Launch {
    /// What may be a call: the launch, or the product of what does the same.
    pub fn product(&self) -> &Launch {
        self.apart.as_ref().map_or(self, |apart| apart.product())
    }
}

/// Launches of one phase as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JointLaunch {
    /// The function's number among those that were loaded.
    pub function: usize,
    pub blocks: u32,
    /// What it does, in the order of its arguments.
    pub launches: Vec<Launch>,
    pub batch: i64,
    /// A `StepEnv`.
    pub env: Region,
}

/// A step as one kernel, with its arguments.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WholeLaunch {
    /// At most; fewer do the same.
    pub blocks: u32,
    /// One for each of `Whole::buffers`.
    pub arguments: Vec<Region>,
    /// By which the blocks meet: 0 at first, and of nobody else.
    pub arrived: Region,
    pub batch: i64,
    /// A `StepEnv`.
    pub env: Region,
    /// What the step does, one after another.
    pub launches: Vec<Launch>,
}

/// Places are multiples of it: what the widest loads want, and the lines of a cache.
pub const ALIGNMENT: u64 = 256;

pub trait Device {
    /// Kernels, ready to launch.
    type Module;
    /// Memory of the host that copies use while the host goes on.
    type Host;
    type Event;
    /// Work that is handed over as one.
    type Graph;

    /// For people: `cuda:0 (NVIDIA H100)`.
    fn name(&self) -> String;
    fn free_bytes(&self) -> u64;

    /// Memory at a multiple of `ALIGNMENT`; nothing is known of its contents. `None` when there is not so much.
    fn allocate(&self, bytes: u64) -> Option<Address>;
    /// Work that uses the memory must be done.
    fn free(&self, address: Address);
    /// # Errors
    /// The system has no such memory.
    fn host(&self, bytes: u64) -> Result<Self::Host, DeviceError>;
    /// Writes into memory of the host that no work uses now.
    fn put(&self, host: &Self::Host, at: u64, bytes: &[u8]);
    /// Reads memory of the host that no work writes now.
    fn take(&self, host: &Self::Host, at: u64, bytes: &mut [u8]);

    /// Compiles and loads a plan's kernels.
    ///
    /// # Errors
    /// A compiler is missing, or refuses them.
    fn load(&self, kernels: &[Kernel], source: &Source) -> Result<Self::Module, DeviceError>;

    /// Compiles and loads a step as one kernel; `None` where blocks of a launch cannot wait for each other.
    ///
    /// # Errors
    /// A compiler is missing, or refuses it.
    fn load_whole(
        &self,
        kernels: &[Kernel],
        source: &Source,
        whole: &Whole,
    ) -> Result<Option<Self::Module>, DeviceError>;

    /// Waits for all work, then makes the bytes 0.
    ///
    /// # Errors
    /// Work has failed.
    fn zero(&self, region: Region) -> Result<(), DeviceError>;
    /// Waits for all work, then copies.
    ///
    /// # Errors
    /// Work has failed.
    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError>;
    /// Waits for all work, then copies.
    ///
    /// # Errors
    /// Work has failed.
    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError>;

    /// Copies from the start of `from`, on the copying stream.
    ///
    /// # Errors
    /// Work has failed.
    fn copy_in(&self, from: &Self::Host, to: Region) -> Result<(), DeviceError>;
    /// Copies to a place in `to`, on the computing stream.
    ///
    /// # Errors
    /// Work has failed.
    fn copy_out(&self, from: Region, to: &Self::Host, at: u64) -> Result<(), DeviceError>;
    /// # Errors
    /// Work has failed.
    fn launch(
        &self,
        stream: Stream,
        module: &Self::Module,
        entry: &Entry,
        launch: &Launch,
    ) -> Result<(), DeviceError>;
    /// # Errors
    /// Work has failed.
    fn launch_together(
        &self,
        stream: Stream,
        module: &Self::Module,
        together: &Together,
        launch: &JointLaunch,
    ) -> Result<(), DeviceError>;
    /// Hands a step that is one kernel to the computing stream.
    ///
    /// # Errors
    /// Work has failed.
    fn launch_whole(
        &self,
        module: &Self::Module,
        whole: &Whole,
        launch: &WholeLaunch,
    ) -> Result<(), DeviceError>;
    /// Before a step is taken down that has this launch: a device may find out what it makes of its call.
    /// Nothing that the launch writes is read before it is written again.
    fn rehearse(&self, _launch: &Launch) {}
    /// Whether it makes the launch's call, which was rehearsed, and does not launch the kernel.
    fn makes_call(&self, _launch: &Launch) -> bool {
        false
    }
    /// The regions of one allocation belong to users of their own, and whoever touches bytes touches those of one
    /// of them: for devices that check their callers.
    fn divide(&self, _regions: &[Region]) {}
    /// Nothing will be read that is there now: for devices that check their callers.
    fn forget(&self, _region: Region) {}

    /// Takes down what `work` hands to the computing streams, which is not done now. It begins and ends on
    /// `Compute`: what goes to a side waits for an event of `Compute`, which waits for one of the side at the
    /// end.
    ///
    /// # Errors
    /// Those of `work`, and work that cannot be taken down.
    fn record_graph(
        &self,
        work: &mut dyn FnMut() -> Result<(), DeviceError>,
    ) -> Result<Self::Graph, DeviceError>;
    /// Hands what was taken down to the computing stream.
    ///
    /// # Errors
    /// Work has failed.
    fn run(&self, graph: &Self::Graph) -> Result<(), DeviceError>;

    /// Hands over `n` pieces of work, one after another, on the computing stream, waits for them, and says
    /// how many seconds the device took for each.
    ///
    /// # Errors
    /// Those of `piece`; work has failed.
    fn time(
        &self,
        n: usize,
        piece: &mut dyn FnMut(usize) -> Result<(), DeviceError>,
    ) -> Result<Vec<f64>, DeviceError>;

    /// # Errors
    /// The device has failed.
    fn event(&self) -> Result<Self::Event, DeviceError>;
    /// The event is over when all that was handed to the stream before is done.
    ///
    /// # Errors
    /// Work has failed.
    fn record(&self, event: &Self::Event, stream: Stream) -> Result<(), DeviceError>;
    /// What is handed to the stream from here on waits for the event.
    ///
    /// # Errors
    /// Work has failed.
    fn wait(&self, stream: Stream, event: &Self::Event) -> Result<(), DeviceError>;
    /// The host waits for the event.
    ///
    /// # Errors
    /// Work has failed.
    fn synchronize(&self, event: &Self::Event) -> Result<(), DeviceError>;
}
