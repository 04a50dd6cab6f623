//! What the driver gives, and has back when it is dropped.
//!
//! Invariant: each handle was made once and is given back once, with the GPU's context current, which every handle keeps.

use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use std::ptr::NonNull;
use std::rc::Rc;

/// The GPU's primary context; given back when nothing uses it any more.
pub struct Context {
    pub device: sys::CUdevice,
    pub context: sys::CUcontext,
}

impl Context {
    pub fn current(&self) -> Result<(), DriverError> {
        // SAFETY: the context is retained for as long as this lives.
        unsafe { result::ctx::set_current(self.context) }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it was retained once, in `Driver::open`. A context that has failed is given back all the same.
        let _ = unsafe { result::primary_ctx::release(self.device) };
    }
}

/// Loaded kernels.
pub struct Module {
    pub modules: Vec<sys::CUmodule>,
    pub functions: Vec<sys::CUfunction>,
    /// Blocks of a step as one kernel that are on the device at once.
    pub resident: u32,
    pub context: Rc<Context>,
}

/// Memory of the host that the driver keeps in its place.
pub struct Host {
    pub start: NonNull<u8>,
    pub bytes: u64,
    pub context: Rc<Context>,
}

pub struct Event {
    pub event: sys::CUevent,
    pub context: Rc<Context>,
}

pub struct Graph {
    pub graph: sys::CUgraph,
    pub executable: sys::CUgraphExec,
    pub context: Rc<Context>,
}

// What a failed context cannot free any more is gone with it: the results of these calls say nothing new.

impl Drop for Module {
    fn drop(&mut self) {
        if self.context.current().is_ok() {
            for module in &self.modules {
                // SAFETY: the module was loaded once, and its functions go with it.
                let _ = unsafe { result::module::unload(*module) };
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.context.current().is_ok() {
            // SAFETY: the memory came from `malloc_host`.
            let _ = unsafe { result::free_host(self.start.as_ptr().cast()) };
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if self.context.current().is_ok() {
            // SAFETY: the event was made once.
            let _ = unsafe { result::event::destroy(self.event) };
        }
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        if self.context.current().is_ok() {
            // SAFETY: both were made once; a step that is under way keeps what it needs.
            unsafe {
                let _ = result::graph::exec_destroy(self.executable);
                let _ = result::graph::destroy(self.graph);
            }
        }
    }
}
