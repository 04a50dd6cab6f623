//! What a GPU can do at most, which floors are counted from.
//!
//! What enters: an open GPU. What leaves: operations and bytes a second. Not here: what a kernel does.

use super::device::{Device, DeviceError};
use super::driver::Driver;
use crate::base::Precision;
use cudarc::driver::{result, sys};

/// A second.
#[derive(Clone, Copy, Debug)]
pub struct Peaks {
    /// Floating-point operations in f32, by the number of the GPU's units and their clock; a multiply-add counts 2.
    pub flops: f64,
    /// Those of products on tensor cores, in the same way.
    pub of_tensors: f64,
    /// Bytes that copying a large memory reads and writes.
    pub bytes: f64,
}

/// Multiply-adds of bf16 factors, without sparsity, that a unit begins in a cycle, each of whose lanes begins one in f32: what NVIDIA's data
/// sheets say of a GPU of each architecture (A100 312 TFLOP/s, RTX 3090 71, L40S 362, H100 SXM 989, B200 2,250), by its units and its clock.
fn of_tensor_cores(architecture: &str, lanes: f64) -> f64 {
    match architecture {
        "sm_80" | "sm_87" => 1024.0,
        "sm_86" => 256.0,
        "sm_89" => 512.0,
        "sm_90" => 2048.0,
        "sm_100" | "sm_103" => 4096.0,
        _ => 4.0 * lanes,
    }
}

impl Driver {
    /// The GPU's, with products in this precision.
    ///
    /// # Errors
    /// The GPU has failed, or has not the memory for the copy.
    pub fn peaks(&self, precision: Precision) -> Result<Peaks, DeviceError> {
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
        let of = |per_cycle: f64| f64::from(n_units) * clock * 1e3 * 2.0 * per_cycle;
        // A factor in tf32 is as wide as two in bf16.
        let per_cycle = match precision {
            Precision::F32 => lanes,
            Precision::Tf32 => of_tensor_cores(self.architecture(), lanes) / 2.0,
            Precision::Bf16 => of_tensor_cores(self.architecture(), lanes),
        };
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
        Ok(Peaks { flops: of(lanes), of_tensors: of(per_cycle), bytes: 2.0 * bytes as f64 / least })
    }
}
