//! `gradc devices`: what this machine can run models on.
//!
//! Works, and says so, where there is no CUDA.

use super::memory::MemoryLimit;
use super::output::{Failure, say};
use crate::model::Model;
use crate::runtime::probe::{Found, cuda_driver, nvrtc};
use crate::train::compiled::Compiled;
use crate::train::engine::{Engine, Program};
use crate::train::interpreted::Interpreted;
use crate::train::planned::Cost;
use serde_json::{Value, json};
use std::env::consts::ARCH;

#[derive(clap::Args)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What `--device` is when it is not given.
pub const DEFAULT: &str = DEVICES[0];

/// The devices that `--device` takes.
const DEVICES: [&str; 2] = ["cpu", "interpreter"];

/// A model ready to run `program` on a device, and what a step takes (nothing is known of the interpreter's).
///
/// # Errors
/// There is no such device, or it cannot run the model.
pub fn engine<'m>(
    device: &str,
    model: &'m Model,
    program: Program,
    n_threads: usize,
    limit: MemoryLimit,
) -> Result<(Box<dyn Engine + 'm>, Cost), Failure> {
    match device {
        "cpu" => {
            let mut compiled = Compiled::new(model, n_threads).within(limit.memory_limit);
            let cost = compiled.compile(program).map_err(Failure::Error)?;
            Ok((Box::new(compiled), cost))
        }
        "interpreter" if limit.memory_limit.is_some() => Err(Failure::Usage(
            "`--memory-limit` is for compiled programs; the interpreter plans none".to_string(),
        )),
        "interpreter" => Ok((Box::new(Interpreted::new(model)), Cost::default())),
        _ => Err(Failure::Error(format!(
            "this build cannot train on the device `{device}`; there is: {} (`gradc devices` shows what the machine has)",
            DEVICES.join(", ")
        ))),
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let features = cpu_features();
    let (driver, compiler) = (cuda_driver(), nvrtc());
    if arguments.json {
        let version = |(major, minor): (i32, i32)| format!("{major}.{minor}");
        let driver = as_json(driver, |d| json!({ "version": version(d.version), "devices": d.n_devices }));
        let compiler = as_json(compiler, |v| json!({ "version": version(v) }));
        let cpu = json!({ "architecture": ARCH, "threads": threads, "features": features });
        return say(json!({ "cpu": cpu, "cuda": { "driver": driver, "nvrtc": compiler } }).to_string());
    }
    let features = if features.is_empty() { "baseline instructions".to_string() } else { features.join(" ") };
    let driver = match driver {
        Found::Nothing => "no driver".to_string(),
        Found::Unusable => "a driver that cannot be used".to_string(),
        Found::Usable(d) => format!("driver {}.{}, {} devices", d.version.0, d.version.1, d.n_devices),
    };
    let compiler = match compiler {
        Found::Nothing => "no NVRTC".to_string(),
        Found::Unusable => "an NVRTC that cannot be used".to_string(),
        Found::Usable((major, minor)) => format!("NVRTC {major}.{minor}"),
    };
    say(format!("cpu    {ARCH}, {threads} threads, {features}\ncuda   {driver}; {compiler}"))
}

/// Null for nothing, and a note for what cannot be used.
fn as_json<T>(found: Found<T>, describe: impl Fn(T) -> Value) -> Value {
    match found {
        Found::Nothing => Value::Null,
        Found::Unusable => json!({ "state": "present, but not usable" }),
        Found::Usable(value) => describe(value),
    }
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
