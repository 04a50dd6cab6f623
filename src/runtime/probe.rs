//! What CUDA software a machine has, found without linking to any.
//!
//! What enters: where to look, if the user says so. What leaves: versions, places, GPUs, or why there are
//! none. Invariant: never a panic, whatever is installed, and no GPU's state is changed.

use crate::codegen::cuda::folders::{library, library_folders};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use libloading::Library;
use std::path::{Path, PathBuf};

/// NVIDIA's driver, and the GPUs that it knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Driver {
    /// The newest CUDA that it runs (major, minor).
    pub version: (i32, i32),
    pub gpus: Vec<Gpu>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gpu {
    pub name: String,
    /// `sm_90`
    pub architecture: String,
    pub bytes: u64,
}

/// What was found of a library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found<T> {
    Nothing,
    /// It is there, but cannot be used: why.
    Unusable(String),
    Usable(T),
}

/// The driver's library has a fixed name and lies where the system's loader finds it.
pub fn cuda_driver() -> Found<Driver> {
    // SAFETY: loading the driver's library runs only its initialisers, as any CUDA program does.
    if !unsafe { sys::is_culib_present() } {
        return Found::Nothing;
    }
    let found = quietly(|| {
        let mut version = 0;
        // SAFETY: the pointer is to a live i32; the function needs no initialisation.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
        result::init()?;
        let gpus = (0..result::device::get_count()?).map(gpu).collect::<Result<_, _>>()?;
        Ok::<_, DriverError>(Driver { version: (version / 1000, version % 1000 / 10), gpus })
    });
    match found {
        None => Found::Unusable("it lacks functions of CUDA 12".into()),
        Some(Err(error)) => Found::Unusable(format!("{:?}", error.0)),
        Some(Ok(driver)) => Found::Usable(driver),
    }
}

fn gpu(ordinal: i32) -> Result<Gpu, DriverError> {
    use sys::CUdevice_attribute as Attribute;
    let device = result::device::get(ordinal)?;
    // SAFETY: the device was just given by the driver.
    let attribute = |which| unsafe { result::device::get_attribute(device, which) };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // SAFETY: as above.
    let bytes = unsafe { result::device::total_mem(device) }? as u64;
    Ok(Gpu { name: result::device::get_name(device)?, architecture: format!("sm_{major}{minor}"), bytes })
}

/// cuBLASLt's place and version, as one number.
pub fn cublaslt(named: Option<&Path>) -> Found<(PathBuf, usize)> {
    let Some(path) = library(&library_folders(named), "cublasLt") else { return Found::Nothing };
    // SAFETY: loading the library runs its initialisers only.
    let loaded = match unsafe { Library::new(&path) } {
        Ok(loaded) => loaded,
        Err(error) => return Found::Unusable(error.to_string()),
    };
    // SAFETY: the function has this type in all versions of `cublasLt.h`.
    match unsafe { loaded.get::<unsafe extern "C" fn() -> usize>(b"cublasLtGetVersion\0") } {
        // SAFETY: it may be called at any time.
        Ok(version) => Found::Usable((path, unsafe { version() })),
        Err(error) => Found::Unusable(error.to_string()),
    }
}

/// cudarc panics where a library lacks a symbol: that is a finding here, not a crash.
fn quietly<T>(probe: impl FnOnce() -> T + std::panic::UnwindSafe) -> Option<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(probe);
    std::panic::set_hook(hook);
    result.ok()
}
