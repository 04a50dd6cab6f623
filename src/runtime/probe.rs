//! What CUDA software a machine has, found without linking to any.
//!
//! What enters: library names. What leaves: versions, or nothing. Invariant: never a panic, whatever is installed.

/// The driver's version (major, minor) and the number of its devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Driver {
    pub version: (i32, i32),
    pub n_devices: i32,
}

/// What was found of a library.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Found<T> {
    Nothing,
    /// The library loads, but lacks what was asked of it.
    Unusable,
    Usable(T),
}

pub fn cuda_driver() -> Found<Driver> {
    // SAFETY: loading the driver's library runs only its initialisers, as any CUDA program does.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Found::Nothing;
    }
    quietly(|| {
        let mut version = 0;
        // SAFETY: the pointer is to a live i32; the function needs no initialisation.
        unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut version) };
        let n_devices = match cudarc::driver::result::init() {
            Ok(()) => cudarc::driver::result::device::get_count().unwrap_or(0),
            Err(_) => 0,
        };
        Driver { version: (version / 1000, version % 1000 / 10), n_devices }
    })
}

/// The version (major, minor) of NVRTC, the compiler of kernels.
pub fn nvrtc() -> Found<(i32, i32)> {
    // SAFETY: as above.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Found::Nothing;
    }
    quietly(|| {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the pointers are to live i32s.
        unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
        (major, minor)
    })
}

/// cudarc panics where a library lacks a symbol: that is a finding here, not a crash.
fn quietly<T>(probe: impl FnOnce() -> T + std::panic::UnwindSafe) -> Found<T> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(probe);
    std::panic::set_hook(hook);
    result.map_or(Found::Unusable, Found::Usable)
}
