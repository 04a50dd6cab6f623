//! A step as one kernel, on the GPU: a cooperative launch, all of whose blocks are on the device at once.
//!
//! What enters: the text of such a step, its arguments. What leaves: the step, handed to the computing stream; or nothing, where the GPU
//! or its driver cannot do it, also as a part of what is taken down, so that launches do instead. Invariant: no more blocks than the
//! driver says are resident, for one that waits for a block that has not begun waits for ever.

use super::device::{DeviceError, WholeLaunch};
use super::driver::{Driver, function};
use super::handles::Module;
use crate::codegen::cuda::Whole;
use crate::codegen::cuda::cache::Cache;
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ffi::c_void;

/// Batch, and where the environment is.
type Scalars = (i64, u64);

impl Driver {
    /// Compiles and loads a step; `None` where it cannot be launched.
    pub fn load_cooperative(&self, whole: &Whole) -> Result<Option<Module>, DeviceError> {
        use sys::CUdevice_attribute as Attribute;
        let (n_units, cooperates) = self.call("its properties", || {
            // SAFETY: the device was given by the driver.
            let attribute = |which| unsafe { result::device::get_attribute(self.context.device, which) };
            let units = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
            Ok((units, attribute(Attribute::CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH)?))
        })?;
        if cooperates == 0 {
            return Ok(None);
        }
        let cubin = Cache::cubin_of(self.cache.as_ref(), &self.nvrtc, &whole.text, &self.architecture);
        let cubin = cubin.map_err(|error| self.refused(&error))?;
        let loaded = self.call("loading kernels", || {
            let mut loaded = self.empty_module();
            // SAFETY: the image is a whole cubin, which says its own length.
            let module = unsafe { result::module::load_data(cubin.as_ptr().cast()) }?;
            loaded.modules.push(module);
            let function = function(module, whole.name, (whole.threads, whole.shared_bytes))?;
            loaded.functions.push(function);
            let (threads, shared_bytes) = (whole.threads as i32, whole.shared_bytes as usize);
            // SAFETY: the function is of a loaded module.
            let of_unit = unsafe {
                result::occupancy::max_active_block_per_multiprocessor(function, threads, shared_bytes)
            }?;
            loaded.resident = (of_unit * n_units).max(0) as u32;
            Ok(loaded)
        })?;
        let is_possible = loaded.resident > 0 && self.can_be_taken_down(&loaded, whole);
        Ok(is_possible.then_some(loaded))
    }

    /// Whether such a launch can be taken down, which not every driver allows: one is, and never run.
    fn can_be_taken_down(&self, module: &Module, whole: &Whole) -> bool {
        let mut addresses = vec![0; whole.buffers.len() + 1];
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        // SAFETY: the stream lives as long as this, and nobody else is taking it down.
        let begun = self.call("", || unsafe { result::stream::begin_capture(self.compute, mode) });
        if begun.is_err() {
            return false;
        }
        let launched = self.call("", || self.cooperate(module, whole, 1, &mut addresses, (0, 0)));
        // SAFETY: the stream has been capturing since the call above.
        let graph = self.call("", || unsafe { result::stream::end_capture(self.compute) });
        let Ok(graph) = graph else { return false };
        let flags = sys::CUgraphInstantiate_flags(0);
        // SAFETY: the graph was just made.
        let made = self.call("", || unsafe { result::graph::instantiate(graph, flags) });
        let is_made = made.is_ok();
        // SAFETY: both were made above, and nobody else has them.
        unsafe {
            if let Ok(executable) = made {
                let _ = result::graph::exec_destroy(executable);
            }
            let _ = result::graph::destroy(graph);
        }
        launched.is_ok() && is_made
    }

    pub fn launch_cooperative(
        &self,
        module: &Module,
        whole: &Whole,
        launch: &WholeLaunch,
    ) -> Result<(), DeviceError> {
        let regions = launch.arguments.iter().chain([&launch.arrived]);
        let mut addresses: Vec<u64> = regions.map(|region| region.address.0).collect();
        let scalars = (launch.batch, launch.env.address.0);
        let blocks = launch.blocks.min(module.resident);
        self.call(whole.name, || self.cooperate(module, whole, blocks, &mut addresses, scalars))
    }

    fn cooperate(
        &self,
        module: &Module,
        whole: &Whole,
        blocks: u32,
        addresses: &mut [u64],
        (mut batch, mut env): Scalars,
    ) -> Result<(), DriverError> {
        let mut parameters: Vec<*mut c_void> =
            addresses.iter_mut().map(|address| (&raw mut *address).cast()).collect();
        parameters.extend([(&raw mut batch).cast(), (&raw mut env).cast::<c_void>()]);
        // SAFETY: the function is of a loaded module and has these parameters, as `codegen::cuda::whole` says; the
        // driver copies them before it returns. The addresses are of live allocations, which the session frees after
        // all work; those of a launch that is never run are of nothing.
        unsafe {
            result::launch_cooperative_kernel(
                module.functions[0],
                (blocks, 1, 1),
                (whole.threads, 1, 1),
                whole.shared_bytes,
                self.compute,
                &mut parameters,
            )
        }
    }
}
