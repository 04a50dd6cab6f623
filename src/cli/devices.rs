//! `gradc devices`: what this machine can run models on.
//!
//! Probing loads libraries by name and asks nothing else of them, so it works, and says so, where there are none.

use super::output::{Failure, say};
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The devices that `--device` takes.
pub const DEVICES: &[&str] = &["cpu"];

/// # Errors
/// The device is not one of [`DEVICES`].
pub fn check(device: &str) -> Result<(), Failure> {
    if DEVICES.contains(&device) {
        return Ok(());
    }
    Err(Failure::Error(format!(
        "this build cannot train on the device `{device}`; there is: {} (`gradc devices` shows what the machine has)",
        DEVICES.join(", ")
    )))
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let features = cpu_features();
    let driver = cuda_driver();
    let compiler = cuda_compiler();
    if arguments.json {
        return say(json!({
            "cpu": { "architecture": std::env::consts::ARCH, "threads": threads, "features": features },
            "cuda": { "driver": driver, "nvrtc": compiler },
        })
        .to_string());
    }
    let describe = |found: &Value, what: &str| match found {
        Value::Null => format!("no {what} found"),
        Value::Object(fields) => {
            let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
            let parts: Vec<String> = fields.iter().map(|(k, v)| format!("{k} {}", text(v))).collect();
            format!("{what}: {}", parts.join(", "))
        }
        other => format!("{what}: {other}"),
    };
    say(format!(
        "cpu    {}, {threads} threads, {}\ncuda   {}; {}",
        std::env::consts::ARCH,
        if features.is_empty() { "baseline instructions".to_string() } else { features.join(" ") },
        describe(&driver, "driver"),
        describe(&compiler, "NVRTC"),
    ))
}

#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let found = [
        ("sse4.2", is_x86_feature_detected!("sse4.2")),
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    found.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<&'static str> {
    Vec::new()
}

/// Version and number of devices, or null.
fn cuda_driver() -> Value {
    // SAFETY: loading the driver's library runs only its initialisers, as any CUDA program does.
    if !unsafe { cudarc::driver::sys::is_culib_present() } {
        return Value::Null;
    }
    // A library that is there may still lack what is asked of it, and cudarc panics then.
    quietly(|| {
        let mut version = 0;
        // SAFETY: the pointer is to a live i32; the function needs no initialisation.
        unsafe { cudarc::driver::sys::cuDriverGetVersion(&mut version) };
        let n_devices = match cudarc::driver::result::init() {
            Ok(()) => cudarc::driver::result::device::get_count().unwrap_or(0),
            Err(_) => 0,
        };
        json!({ "version": format!("{}.{}", version / 1000, version % 1000 / 10), "devices": n_devices })
    })
}

/// The version, or null.
fn cuda_compiler() -> Value {
    // SAFETY: as above.
    if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
        return Value::Null;
    }
    quietly(|| {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the pointers are to live i32s.
        unsafe { cudarc::nvrtc::sys::nvrtcVersion(&mut major, &mut minor) };
        json!({ "version": format!("{major}.{minor}") })
    })
}

/// The result, or a note that the library is broken, without a panic's message.
fn quietly(probe: impl FnOnce() -> Value + std::panic::UnwindSafe) -> Value {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = std::panic::catch_unwind(probe);
    std::panic::set_hook(hook);
    result.unwrap_or_else(|_| json!({ "state": "present, but not usable" }))
}
