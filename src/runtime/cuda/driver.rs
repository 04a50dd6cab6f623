//! The GPU, by NVIDIA's driver.
//!
//! What enters: a GPU's number, and where NVRTC lies if the user says so. What leaves: a `Device`. The
//! driver's library is looked up when it is asked for: where there is none, that is an error with words.
//! Invariants: every call is made with the GPU's context current, whichever thread makes it; what is made
//! here is destroyed here. Not here: an order of work (`session.rs`).

use super::blas::{Blas, Place, WORKSPACE_BYTES};
use super::device::{
    Address, Device, DeviceError, JointLaunch, Launch, N_SIDES, Region, Stream, WholeLaunch,
};
use super::handles::{Context, Event, Graph, Host, Module};
use crate::codegen::cuda::cache::Cache;
use crate::codegen::cuda::choices::{Machine, Store, Unusable};
use crate::codegen::cuda::nvrtc::{Nvrtc, NvrtcError};
use crate::codegen::cuda::{Entry, Source, Together, Whole};
use crate::nest::Kernel;
use cudarc::cublaslt::result::CublasError;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::path::Path;
use std::ptr::NonNull;
use std::rc::Rc;

/// Drivers before CUDA 12.8's lack a function that is called here, cuEventElapsedTime_v2.
const LEAST_VERSION: i32 = 12080;
/// NVRTC before it takes no more than 4 KB of arguments, which launches that are one may exceed.
const LEAST_NVRTC: (i32, i32) = (12, 1);

pub struct Driver {
    ordinal: i32,
    name: String,
    /// `sm_90`
    pub(super) architecture: String,
    pub(super) nvrtc: Nvrtc,
    pub(super) cache: Option<Cache>,
    /// With memory for each stream that computes.
    pub(super) blas: Option<(Blas, Vec<Address>)>,
    /// Where choices of what makes products are kept; nowhere without a folder or without cuBLASLt.
    pub(super) store: Option<Store>,
    unusable: Option<Unusable>,
    /// Who hears what a run goes on in spite of, and whether a refused choice was told of.
    tell: fn(&str),
    has_told: Cell<bool>,
    pub(super) compute: sys::CUstream,
    copy: sys::CUstream,
    sides: Vec<sys::CUstream>,
    pub(super) context: Rc<Context>,
}

impl Driver {
    /// Opens a GPU by its number; `cuda_path` says where NVRTC is, if anything does.
    ///
    /// # Errors
    /// There is no driver, no such GPU, or no NVRTC.
    pub fn open(ordinal: u32, cuda_path: Option<&Path>) -> Result<Driver, DeviceError> {
        let missing = |what: String| DeviceError::Missing(what);
        // SAFETY: loading the driver's library runs only its initialisers, as any CUDA program does.
        if !unsafe { sys::is_culib_present() } {
            return Err(missing(
                "there is no NVIDIA driver on this machine (its library, libcuda.so.1, is not found): it comes with the \
                 GPU's driver package, and in a container with the NVIDIA container toolkit"
                    .into(),
            ));
        }
        let words =
            |error: DriverError| missing(format!("the NVIDIA driver cannot be used: {}", reason(error)));
        let mut version = 0;
        // SAFETY: the pointer is to a live integer; the function needs no initialisation.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(words)?;
        if version < LEAST_VERSION {
            let found = format!("{}.{}", version / 1000, version % 1000 / 10);
            return Err(missing(format!(
                "the NVIDIA driver is for CUDA {found}; gradc needs one for CUDA {}.{} or newer",
                LEAST_VERSION / 1000,
                LEAST_VERSION % 1000 / 10
            )));
        }
        result::init().map_err(words)?;
        let n_devices = result::device::get_count().map_err(words)?;
        let ordinal = i32::try_from(ordinal).unwrap_or(i32::MAX);
        if ordinal >= n_devices {
            return Err(missing(format!(
                "there is no GPU `cuda:{ordinal}`; this machine has {n_devices}, numbered from 0"
            )));
        }
        let nvrtc = Nvrtc::find(cuda_path).map_err(|error| missing(error.to_string()))?;
        let (newest, made_for) = (version / 1000, nvrtc.version().0);
        if made_for > newest {
            return Err(missing(format!(
                "NVRTC {made_for} makes code that a driver for CUDA {newest} does not load: a newer driver is needed, or NVRTC \
                 {newest} (`pip install nvidia-cuda-nvrtc-cu{newest}` and --cuda-path)"
            )));
        }
        if nvrtc.version() < LEAST_NVRTC {
            let ((major, minor), (least, of)) = (nvrtc.version(), LEAST_NVRTC);
            return Err(missing(format!(
                "NVRTC {major}.{minor} is too old: gradc needs {least}.{of} or newer (`pip install nvidia-cuda-nvrtc-cu{newest}` and \
                 --cuda-path)"
            )));
        }
        let device = result::device::get(ordinal).map_err(words)?;
        let gpu = result::device::get_name(device).map_err(words)?;
        let attribute = |which: sys::CUdevice_attribute| {
            // SAFETY: the device was given by the driver.
            unsafe { result::device::get_attribute(device, which) }.map_err(words)
        };
        let major = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let minor = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
        // SAFETY: the device was given by the driver; `Context` gives the context back.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(words)?;
        let context = Rc::new(Context { device, context });
        context.current().map_err(words)?;
        let stream = || result::stream::create(result::stream::StreamKind::NonBlocking).map_err(words);
        let mut driver = Driver {
            ordinal,
            name: format!("cuda:{ordinal} ({gpu})"),
            architecture: format!("sm_{major}{minor}"),
            nvrtc,
            cache: Cache::of_user(),
            compute: stream()?,
            copy: stream()?,
            sides: (0..N_SIDES).map(|_| stream()).collect::<Result<_, _>>()?,
            blas: None,
            store: None,
            unusable: None,
            tell: |_| {},
            has_told: Cell::new(false),
            context,
        };
        if let Some(mut blas) = Blas::find(cuda_path) {
            let architecture = driver.architecture.clone();
            let machine = Machine { gpu, architecture, cublaslt: blas.version() };
            let store = driver.cache.as_ref().map(|cache| Store::new(cache.folder(), machine));
            match store.as_ref().map(Store::read) {
                Some(Ok(choices)) => blas.choose(choices),
                Some(Err(unusable)) => driver.unusable = Some(unusable),
                None => {}
            }
            driver.store = store;
            // Without room for it the generated kernels do.
            let workspaces: Option<Vec<Address>> =
                (0..=N_SIDES).map(|_| driver.allocate(WORKSPACE_BYTES)).collect();
            driver.blas = workspaces.map(|workspaces| (blas, workspaces));
        }
        Ok(driver)
    }

    /// The GPU's number.
    pub fn ordinal(&self) -> i32 {
        self.ordinal
    }

    /// `sm_90`
    pub fn architecture(&self) -> &str {
        &self.architecture
    }

    fn failed(&self, what: &str, error: DriverError) -> DeviceError {
        DeviceError::Failed { device: self.name.clone(), what: what.into(), why: reason(error) }
    }

    /// Runs some calls with the context current.
    pub(super) fn call<T>(
        &self,
        what: &str,
        calls: impl FnOnce() -> Result<T, DriverError>,
    ) -> Result<T, DeviceError> {
        self.context.current().and_then(|()| calls()).map_err(|error| self.failed(what, error))
    }

    /// Choices of what makes products that were found and cannot be used.
    pub fn unusable(&self) -> Option<&Unusable> {
        self.unusable.as_ref()
    }

    /// From here on `tell` hears what a run goes on in spite of.
    pub fn tell(&mut self, tell: fn(&str)) {
        self.tell = tell;
    }

    /// Where a product goes on a stream that computes.
    pub(super) fn place(&self, workspaces: &[Address], stream: Stream) -> Place {
        let lane = match stream {
            Stream::Side(i) => 1 + usize::from(i),
            _ => 0,
        };
        let workspace = Region { address: workspaces[lane], bytes: WORKSPACE_BYTES };
        Place { workspace, stream: self.stream(stream).cast() }
    }

    pub(super) fn refused(&self, error: &NvrtcError) -> DeviceError {
        let (device, why) = (self.name.clone(), error.to_string());
        DeviceError::Failed { device, what: "compiling kernels".into(), why }
    }

    pub(super) fn refused_product(&self, name: &str, error: CublasError) -> DeviceError {
        let (device, why) = (self.name.clone(), format!("cuBLASLt says {error}"));
        DeviceError::Failed { device, what: name.into(), why }
    }

    pub(super) fn empty_module(&self) -> Module {
        let context = self.context.clone();
        Module { modules: Vec::new(), functions: Vec::new(), resident: 0, context }
    }

    fn event_with(&self, flags: sys::CUevent_flags) -> Result<Event, DeviceError> {
        let event = self.call("an event", || result::event::create(flags))?;
        Ok(Event { event, context: self.context.clone() })
    }

    fn stream(&self, stream: Stream) -> sys::CUstream {
        match stream {
            Stream::Compute => self.compute,
            Stream::Copy => self.copy,
            Stream::Side(i) => self.sides[usize::from(i)],
        }
    }

    pub(super) fn wait_for_all(&self) -> Result<(), DriverError> {
        // SAFETY: both streams live as long as this.
        unsafe {
            result::stream::synchronize(self.copy)?;
            result::stream::synchronize(self.compute)
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if self.context.current().is_ok() {
            let workspaces = self.blas.take().map_or(Vec::new(), |(_, workspaces)| workspaces);
            workspaces.into_iter().for_each(|address| self.free(address));
            for stream in self.sides.iter().chain([&self.compute, &self.copy]) {
                // SAFETY: the stream was made in `open`, and nobody else has it.
                let _ = unsafe { result::stream::destroy(*stream) };
            }
        }
    }
}

/// A kernel of a loaded module, allowed the shared memory that it takes.
pub(super) fn function(
    module: sys::CUmodule,
    name: &str,
    (threads, shared_bytes): (u32, u32),
) -> Result<sys::CUfunction, DriverError> {
    use sys::CUfunction_attribute_enum as Attribute;
    let name = CString::new(name).expect("names are words");
    // SAFETY: the module was just loaded.
    let function = unsafe { result::module::get_function(module, name) }?;
    // Asking for it also has the driver load the function, which it would else do at the first launch.
    let most = Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK;
    // SAFETY: the function is of a loaded module.
    if unsafe { result::function::get_function_attribute(function, most) }? < threads as i32 {
        return Err(DriverError(sys::CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES));
    }
    // What every kernel may have without asking.
    if shared_bytes > 48 << 10 {
        let shared = Attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        let bytes = shared_bytes as i32;
        // SAFETY: as above.
        unsafe { result::function::set_function_attribute(function, shared, bytes) }?;
    }
    Ok(function)
}

fn reason(error: DriverError) -> String {
    let text = error.error_string().map(|text| text.to_string_lossy().into_owned());
    text.unwrap_or_else(|_| format!("{:?}", error.0))
}

impl Device for Driver {
    type Module = Module;
    type Host = Host;
    type Event = Event;
    type Graph = Graph;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn free_bytes(&self) -> u64 {
        self.call("asking for memory", result::mem_get_info).map_or(0, |(free, _)| free as u64)
    }

    fn allocate(&self, bytes: u64) -> Option<Address> {
        let bytes = usize::try_from(bytes.max(1)).ok()?;
        // SAFETY: nothing is assumed of the contents. The driver's addresses are multiples of 256 bytes.
        self.call("memory", || unsafe { result::malloc_sync(bytes) }).ok().map(Address)
    }

    fn free(&self, address: Address) {
        // SAFETY: the address came from `allocate`; freeing waits for work that uses it. After a failure
        // there is nothing to free.
        let _ = self.call("freeing memory", || unsafe { result::free_sync(address.0) });
    }

    fn host(&self, bytes: u64) -> Result<Host, DeviceError> {
        let n = bytes.max(1) as usize;
        let start = self.call("memory of the host", || {
            // SAFETY: all bytes are written right below, before anybody reads them.
            let start = unsafe { result::malloc_host(n, 0) }?.cast::<u8>();
            // SAFETY: the memory is as long and nobody else's.
            unsafe { start.write_bytes(0, n) };
            Ok(start)
        })?;
        let start = NonNull::new(start).expect("the driver has said that there is memory");
        Ok(Host { start, bytes, context: self.context.clone() })
    }

    fn put(&self, host: &Host, at: u64, bytes: &[u8]) {
        assert!(at + bytes.len() as u64 <= host.bytes, "bytes past the end of the host's memory");
        // SAFETY: the range is inside of the memory, as was just seen; the caller vouches that no copy is under way.
        unsafe { host.start.as_ptr().add(at as usize).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
    }

    fn take(&self, host: &Host, at: u64, bytes: &mut [u8]) {
        assert!(at + bytes.len() as u64 <= host.bytes, "bytes past the end of the host's memory");
        // SAFETY: as in `put`.
        unsafe {
            bytes.as_mut_ptr().copy_from_nonoverlapping(host.start.as_ptr().add(at as usize), bytes.len());
        }
    }

    fn load(&self, _kernels: &[Kernel], source: &Source) -> Result<Module, DeviceError> {
        let cubins = Cache::cubins(self.cache.as_ref(), &self.nvrtc, source, &self.architecture);
        let cubins = cubins.map_err(|error| self.refused(&error))?;
        self.call("loading kernels", || {
            let mut loaded = self.empty_module();
            let mut functions = source.functions();
            for (numbers, cubin) in cubins {
                // SAFETY: the image is a whole cubin, which says its own length.
                let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) }?;
                loaded.modules.push(module);
                for (name, threads, shared_bytes) in functions.by_ref().take(numbers.len()) {
                    loaded.functions.push(function(module, name, (threads, shared_bytes))?);
                }
            }
            Ok(loaded)
        })
    }

    fn load_whole(
        &self,
        _kernels: &[Kernel],
        _source: &Source,
        whole: &Whole,
    ) -> Result<Option<Module>, DeviceError> {
        self.load_cooperative(whole)
    }

    fn zero(&self, region: Region) -> Result<(), DeviceError> {
        self.call("writing memory", || {
            self.wait_for_all()?;
            // SAFETY: the region is of an allocation, and no work uses it now.
            unsafe { result::memset_d8_async(region.address.0, 0, region.bytes as usize, self.compute) }?;
            self.wait_for_all()
        })
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<(), DeviceError> {
        self.call("writing memory", || {
            self.wait_for_all()?;
            // SAFETY: the bytes are of an allocation, and no work uses them now; the copy is over when the
            // call returns.
            unsafe { result::memcpy_htod_sync(to.0, bytes) }
        })
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<(), DeviceError> {
        self.call("reading memory", || {
            self.wait_for_all()?;
            // SAFETY: as in `write`.
            unsafe { result::memcpy_dtoh_sync(bytes, from.0) }
        })
    }

    fn copy_in(&self, from: &Host, to: Region) -> Result<(), DeviceError> {
        assert!(to.bytes <= from.bytes, "bytes past the end of the host's memory");
        self.call("copying a batch", || {
            let bytes = to.bytes as usize;
            // SAFETY: both ranges are live until the session has waited for the copy.
            unsafe {
                sys::cuMemcpyHtoDAsync_v2(to.address.0, from.start.as_ptr().cast(), bytes, self.copy).result()
            }
        })
    }

    fn copy_out(&self, from: Region, to: &Host, at: u64) -> Result<(), DeviceError> {
        assert!(at + from.bytes <= to.bytes, "bytes past the end of the host's memory");
        self.call("copying outputs", || {
            let bytes = from.bytes as usize;
            // SAFETY: the place is inside of the memory, as was just seen; both ranges are live until the
            // session has waited for the copy, and for as long as the graph that holds it.
            unsafe {
                let place = to.start.as_ptr().add(at as usize).cast::<c_void>();
                sys::cuMemcpyDtoHAsync_v2(place, from.address.0, bytes, self.compute).result()
            }
        })
    }

    fn launch(
        &self,
        stream: Stream,
        module: &Module,
        entry: &Entry,
        launch: &Launch,
    ) -> Result<(), DeviceError> {
        if let (Some(call), Some((blas, workspaces))) = (&launch.call, &self.blas) {
            self.call("a product", || Ok(()))?;
            match blas.run(call, &launch.arguments, self.place(workspaces, stream)) {
                None => {}
                Some(Ok(())) => return Ok(()),
                Some(Err(error)) => return Err(self.refused_product(&entry.name, error)),
            }
        }
        let mut addresses: Vec<u64> = launch.arguments.iter().map(|region| region.address.0).collect();
        let (mut scratch, mut batch, mut env) =
            (launch.scratch.address.0, launch.batch, launch.env.address.0);
        let mut parameters: Vec<*mut c_void> =
            addresses.iter_mut().map(|address| (&raw mut *address).cast()).collect();
        parameters.extend([
            (&raw mut scratch).cast(),
            (&raw mut batch).cast(),
            (&raw mut env).cast::<c_void>(),
        ]);
        self.call(&entry.name, || {
            let (blocks, threads) = ((launch.blocks, 1, 1), (entry.threads, 1, 1));
            let function = module.functions[launch.kernel];
            // SAFETY: the function is of a loaded module and has these parameters, as `codegen::cuda` says;
            // the driver copies them before it returns. The addresses are of live allocations, which the
            // session frees after all work.
            unsafe {
                result::launch_kernel(
                    function,
                    blocks,
                    threads,
                    entry.shared_bytes,
                    self.stream(stream),
                    &mut parameters,
                )
            }
        })
    }

    fn launch_together(
        &self,
        stream: Stream,
        module: &Module,
        together: &Together,
        launch: &JointLaunch,
    ) -> Result<(), DeviceError> {
        let arguments = launch.launches.iter().flat_map(|launch| &launch.arguments);
        let mut addresses: Vec<u64> = arguments.map(|region| region.address.0).collect();
        let (mut batch, mut env) = (launch.batch, launch.env.address.0);
        let mut parameters: [*mut c_void; 3] =
            [addresses.as_mut_ptr().cast(), (&raw mut batch).cast(), (&raw mut env).cast()];
        self.call(&together.name, || {
            let (blocks, threads) = ((launch.blocks, 1, 1), (together.threads, 1, 1));
            let (function, stream) = (module.functions[launch.function], self.stream(stream));
            // SAFETY: the function is of a loaded module, and its first parameter is as many addresses as its launches have arguments, as
            // `codegen::cuda::together` says; else as in `launch`.
            unsafe {
                result::launch_kernel(
                    function,
                    blocks,
                    threads,
                    together.shared_bytes,
                    stream,
                    &mut parameters,
                )
            }
        })
    }

    fn launch_whole(&self, module: &Module, whole: &Whole, launch: &WholeLaunch) -> Result<(), DeviceError> {
        self.launch_cooperative(module, whole, launch)
    }

    fn rehearse(&self, launch: &Launch) {
        let (Some(call), Some((blas, workspaces))) = (&launch.call, &self.blas) else { return };
        let place = self.place(workspaces, Stream::Compute);
        let done = self.call("a product", || {
            if blas.rehearse(call, &launch.arguments, place).is_err() && !self.has_told.replace(true) {
                (self.tell)(
                    "cuBLASLt refuses what was chosen for a product, which is made as if nothing were: `gradc tune` chooses anew",
                );
            }
            self.wait_for_all()
        });
        if done.is_err() {
            blas.give_up();
        }
    }

    fn makes_call(&self, launch: &Launch) -> bool {
        let blas = self.blas.as_ref();
        launch.call.as_ref().zip(blas).is_some_and(|(call, (blas, _))| blas.makes(call, &launch.arguments))
    }

    fn record_graph(&self, work: &mut dyn FnMut() -> Result<(), DeviceError>) -> Result<Graph, DeviceError> {
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as this; captures do not nest, for the session records one step at a time.
        self.call("recording a step", || unsafe { result::stream::begin_capture(self.compute, mode) })?;
        let done = work();
        // SAFETY: the stream has been capturing since the call above.
        let graph = self.call("recording a step", || unsafe { result::stream::end_capture(self.compute) });
        done?;
        let graph = graph?;
        let flags = sys::CUgraphInstantiate_flags(0);
        // SAFETY: the graph was just made.
        match self.call("recording a step", || unsafe { result::graph::instantiate(graph, flags) }) {
            Ok(executable) => Ok(Graph { graph, executable, context: self.context.clone() }),
            Err(error) => {
                // SAFETY: the graph was just made, and nobody else has it.
                let _ = unsafe { result::graph::destroy(graph) };
                Err(error)
            }
        }
    }

    fn run(&self, graph: &Graph) -> Result<(), DeviceError> {
        // SAFETY: both live; the session waits for the step before it frees what the step uses.
        self.call("starting a step", || unsafe { result::graph::launch(graph.executable, self.compute) })
    }

    fn time(
        &self,
        n: usize,
        piece: &mut dyn FnMut(usize) -> Result<(), DeviceError>,
    ) -> Result<Vec<f64>, DeviceError> {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        let events: Vec<Event> = (0..=n).map(|_| self.event_with(flags)).collect::<Result<_, _>>()?;
        self.record(&events[0], Stream::Compute)?;
        for (i, event) in events[1..].iter().enumerate() {
            piece(i)?;
            self.record(event, Stream::Compute)?;
        }
        self.synchronize(&events[n])?;
        let seconds = |pair: &[Event]| {
            // SAFETY: both events are live and were recorded on one stream.
            let ms =
                self.call("a time", || unsafe { result::event::elapsed(pair[0].event, pair[1].event) })?;
            Ok(f64::from(ms) * 1e-3)
        };
        events.windows(2).map(seconds).collect()
    }

    fn event(&self) -> Result<Event, DeviceError> {
        self.event_with(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)
    }

    fn record(&self, event: &Event, stream: Stream) -> Result<(), DeviceError> {
        // SAFETY: both live.
        self.call("an event", || unsafe { result::event::record(event.event, self.stream(stream)) })
    }

    fn wait(&self, stream: Stream, event: &Event) -> Result<(), DeviceError> {
        let flags = sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT;
        // SAFETY: both live.
        self.call("an event", || unsafe {
            result::stream::wait_event(self.stream(stream), event.event, flags)
        })
    }

    fn synchronize(&self, event: &Event) -> Result<(), DeviceError> {
        // SAFETY: the event lives.
        self.call("a step", || unsafe { result::event::synchronize(event.event) })
    }
}
