//! What a GPU can do at most, which floors are counted from.
//!
//! What enters: an open GPU. What leaves: operations and bytes a second. Not here: what a kernel does.

use super::device::{Device, DeviceError};
use super::driver::Driver;
use cudarc::driver::{result, sys};

impl Driver {
    /// Floating-point operations a second at most, by the number of the GPU's units and their clock (a
    /// multiply-add counts 2), and bytes a second that copying a large memory reads and writes.
    ///
    /// # Errors
    /// The GPU has failed, or has not the memory for the copy.
    pub fn peaks(&self) -> Result<(f64, f64), DeviceError> {
        use sys::CUdevice_attribute as Attribute;
        const MOST_BYTES: u64 = 256 << 20;
        const N_COPIES: usize = 8;
        let attribute = |which| {
            // SAFETY: the device was given by the driver.
            self.call("its properties", || unsafe {
                result::device::get_attribute(self.context.device, which)
            })
        };
        let n_units = attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        let clock = attribute(Attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE)?;
        // CUDA C++ Programming Guide, arithmetic instructions: units of 7.x and 8.0 begin 64 multiply-adds a
        // cycle, all others 128.
        let lanes = match self.architecture() {
            "sm_70" | "sm_72" | "sm_75" | "sm_80" => 64.0,
            _ => 128.0,
        };
        // A driver that does not say the clock leaves the floor to the bytes.
        let clock = if clock > 0 { f64::from(clock) } else { f64::INFINITY };
        let flops = f64::from(n_units) * clock * 1e3 * 2.0 * lanes;
        let bytes = (self.free_bytes() / 4).min(MOST_BYTES);
        let (from, to) = (self.allocate(bytes), self.allocate(bytes));
        let times = match (from, to) {
            (Some(from), Some(to)) => self.time(N_COPIES, &mut |_| {
                // SAFETY: both are as long, and nobody else has them.
                self.call("a copy", || unsafe {
                    result::memcpy_dtod_async(to.0, from.0, bytes as usize, self.compute)
                })
            }),
            _ => Err(DeviceError::OutOfMemory {
                device: self.name(),
                needed: 2 * bytes,
                available: self.free_bytes(),
                of: vec![("copies", 2 * bytes)],
            }),
        };
        from.into_iter().chain(to).for_each(|address| self.free(address));
        let least = times?.into_iter().fold(f64::INFINITY, f64::min);
        Ok((flops, 2.0 * bytes as f64 / least))
    }
}
