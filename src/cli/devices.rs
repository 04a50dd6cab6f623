//! `gradc devices`: what this machine can run models on; and `--device`, which chooses among it.
//!
//! Works, and says so, where there is no CUDA.

use super::format;
use super::memory::MemoryLimit;
use super::output::{Failure, complain, say};
use crate::codegen::cuda::cache::Cache;
use crate::codegen::cuda::choices::{Machine, Store};
use crate::codegen::cuda::nvrtc::{Nvrtc, NvrtcError};
use crate::model::Model;
use crate::plan::Target;
use crate::runtime::cuda::{Device, Driver};
use crate::runtime::probe::{Found, cublaslt, cuda_driver};
use crate::train::accelerated::Accelerated;
use crate::train::compiled::Compiled;
use crate::train::engine::{Engine, Program};
use crate::train::interpreted::Interpreted;
use crate::train::planned::Cost;
use serde_json::{Value, json};
use std::env::consts::ARCH;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cuda: CudaPath,
}

/// Where CUDA is.
#[derive(clap::Args, Clone, Default)]
pub struct CudaPath {
    /// Where CUDA's libraries are: a toolkit, or a folder of Python packages [default: GRADC_CUDA_PATH, then
    /// the usual places]
    #[arg(long = "cuda-path", value_name = "DIR")]
    pub path: Option<PathBuf>,
}

impl CudaPath {
    pub fn get(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The compiler of kernels.
    ///
    /// # Errors
    /// There is none.
    pub fn nvrtc(&self) -> Result<Nvrtc, Failure> {
        Nvrtc::find(self.get()).map_err(|error| Failure::Error(error.to_string()))
    }
}

/// The kind of machine that a plan is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum TargetArgument {
    Cpu,
    Cuda,
}

impl TargetArgument {
    pub fn get(self) -> Target {
        match self {
            TargetArgument::Cpu => Target::Cpu,
            TargetArgument::Cuda => Target::Cuda,
        }
    }
}

/// What to run on.
#[derive(clap::Args, Clone)]
pub struct DeviceArguments {
    /// What to run on: cpu, cuda, cuda:N for another GPU than the first, or interpreter
    #[arg(long, default_value = DEVICES[0])]
    pub device: String,
    #[command(flatten)]
    pub cuda: CudaPath,
}

/// The devices that `--device` takes.
const DEVICES: [&str; 3] = ["cpu", "cuda", "interpreter"];

/// A model that a device is ready to run.
pub struct Ready<'m> {
    pub engine: Box<dyn Engine + 'm>,
    /// What a step takes; nothing is known of the interpreter's.
    pub cost: Cost,
    /// For people: `2 threads`, `cuda:0 (NVIDIA H100)`.
    pub on: String,
}

impl DeviceArguments {
    /// A model ready to run `program` on the device.
    ///
    /// # Errors
    /// There is no such device, or it cannot run the model.
    pub fn engine<'m>(
        &self,
        model: &'m Model,
        program: Program,
        n_threads: usize,
    ) -> Result<Ready<'m>, Failure> {
        self.engine_within(model, program, n_threads, MemoryLimit::default())
    }

    /// The same, in so much memory.
    ///
    /// # Errors
    /// As `engine`; or the limit cannot be kept, or not on this device.
    pub fn engine_within<'m>(
        &self,
        model: &'m Model,
        program: Program,
        n_threads: usize,
        limit: MemoryLimit,
    ) -> Result<Ready<'m>, Failure> {
        if limit.memory_limit.is_some() && self.device != "cpu" {
            return Err(Failure::Usage(format!(
                "`--memory-limit` is for programs on the CPU, not on the device `{}`",
                self.device
            )));
        }
        match self.device.as_str() {
            "cpu" => {
                let mut compiled = Compiled::new(model, n_threads).within(limit.memory_limit);
                let cost = compiled.compile(program).map_err(Failure::Error)?;
                Ok(Ready { engine: Box::new(compiled), cost, on: format!("{n_threads} threads") })
            }
            "interpreter" => {
                let (engine, cost) = (Box::new(Interpreted::new(model)), Cost::default());
                Ok(Ready { engine, cost, on: "the interpreter".into() })
            }
            device => {
                let gpu = self.gpu().ok_or_else(|| {
                    Failure::Error(format!(
                        "this build cannot run on the device `{device}`; there is: {} (`gradc devices` shows what the machine has)",
                        DEVICES.join(", ")
                    ))
                })?;
                let driver = self.driver(gpu)?;
                let on = driver.name();
                let mut engine = Accelerated::new(model, driver);
                let cost = engine.compile(program).map_err(Failure::Error)?;
                Ok(Ready { engine: Box::new(engine), cost, on })
            }
        }
    }
}

impl DeviceArguments {
    /// The number of the GPU that was asked for, if one was.
    pub fn gpu(&self) -> Option<u32> {
        gpu_number(&self.device)
    }

    /// # Errors
    /// There is no such GPU, or something that it needs is missing.
    pub fn driver(&self, gpu: u32) -> Result<Driver, Failure> {
        let mut driver =
            Driver::open(gpu, self.cuda.get()).map_err(|error| Failure::Error(error.to_string()))?;
        if let Some(unusable) = driver.unusable() {
            complain(&format!("warning: {unusable}"));
        }
        driver.tell(|what| complain(&format!("warning: {what}")));
        Ok(driver)
    }
}

/// `cuda` is the first, `cuda:1` the second.
fn gpu_number(device: &str) -> Option<u32> {
    match device.strip_prefix("cuda")? {
        "" => Some(0),
        number => number.strip_prefix(':')?.parse().ok(),
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let features = cpu_features();
    let driver = cuda_driver();
    let nvrtc = Nvrtc::find(arguments.cuda.get());
    let cublaslt = cublaslt(arguments.cuda.get());
    let missing = missing(&driver, &nvrtc, &cublaslt);
    let cublas = match &cublaslt {
        Found::Usable((_, version)) => Some(*version),
        _ => None,
    };
    if arguments.json {
        let cpu = json!({ "architecture": ARCH, "threads": threads, "features": features });
        let nvrtc = nvrtc.as_ref().ok().map(|nvrtc| {
            json!({ "version": version(nvrtc.version()), "path": shown(nvrtc.path()), "headers": nvrtc.headers().map(|h| shown(&h)) })
        });
        let cublaslt = match cublaslt {
            Found::Usable((path, version)) => {
                json!({ "version": cublas_version(version), "path": shown(&path) })
            }
            _ => Value::Null,
        };
        let cuda = json!({ "driver": driver_json(&driver, cublas), "nvrtc": nvrtc, "cublaslt": cublaslt, "missing": missing });
        return say(json!({ "cpu": cpu, "cuda": cuda }).to_string());
    }
    let features = if features.is_empty() { "baseline instructions".to_string() } else { features.join(" ") };
    let mut lines = vec![format!("cpu       {ARCH}, {threads} threads, {features}")];
    if let Found::Usable(driver) = &driver {
        let release = release().map_or(String::new(), |release| format!("{release}, "));
        lines.push(format!("driver    {release}for CUDA {}", version(driver.version)));
        let gpu = |(i, gpu): (usize, &crate::runtime::probe::Gpu)| {
            let tuned = match cublas.and_then(|version| n_tuned(gpu, version)) {
                None => String::new(),
                Some(0) => ", no products tuned".to_string(),
                Some(1) => ", 1 product tuned".to_string(),
                Some(n) => format!(", {n} products tuned"),
            };
            format!("cuda:{i:<5}{}, {}, {}{tuned}", gpu.name, gpu.architecture, format::bytes(gpu.bytes))
        };
        lines.extend(driver.gpus.iter().enumerate().map(gpu));
    }
    if let Ok(nvrtc) = &nvrtc {
        let headers = nvrtc.headers().map_or(String::new(), |h| format!(", headers in {}", shown(&h)));
        lines.push(format!("NVRTC     {}, {}{headers}", version(nvrtc.version()), shown(nvrtc.path())));
    }
    match &cublaslt {
        Found::Usable((path, version)) => {
            lines.push(format!("cuBLASLt  {}, {}", cublas_version(*version), shown(path)));
        }
        Found::Nothing => lines.push(
            "cuBLASLt  not found, so that large products are gradc's own kernels (`pip install nvidia-cublas` brings it)"
                .to_string(),
        ),
        _ => {}
    }
    lines.extend(missing.iter().map(|what| format!("missing   {what}")));
    say(lines.join("\n"))
}

/// The release of the driver, as Linux knows it.
fn release() -> Option<String> {
    let text = std::fs::read_to_string("/sys/module/nvidia/version").ok()?;
    Some(text.trim().to_string()).filter(|release| !release.is_empty())
}

/// What keeps models from running on a GPU here, and how to get it.
fn missing(
    driver: &Found<crate::runtime::probe::Driver>,
    nvrtc: &Result<Nvrtc, NvrtcError>,
    cublaslt: &Found<(PathBuf, usize)>,
) -> Vec<String> {
    let mut missing = Vec::new();
    match driver {
        Found::Nothing => missing.push(
            "an NVIDIA driver: it comes with the GPU's driver package, and in a container with the NVIDIA container toolkit"
                .to_string(),
        ),
        Found::Unusable(why) => missing.push(format!("a driver that can be used: the one here says {why}")),
        Found::Usable(driver) if driver.gpus.is_empty() => missing.push("a GPU".to_string()),
        Found::Usable(_) => {}
    }
    match nvrtc {
        Ok(nvrtc) if nvrtc.headers().is_none() => missing
            .push("CUDA's headers: `pip install nvidia-cuda-runtime nvidia-cuda-crt` brings them".to_string()),
        Ok(_) => {}
        Err(NvrtcError::Absent(_)) => missing.push(
            "NVRTC, which compiles kernels: `pip install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt` brings it; \
             --cuda-path or GRADC_CUDA_PATH says where it is"
                .to_string(),
        ),
        Err(error) => missing.push(error.to_string()),
    }
    if let Found::Unusable(why) = cublaslt {
        missing.push(format!("a cuBLASLt that can be used: {why}"));
    }
    missing
}

/// Products for which something was chosen on such a GPU with such a cuBLASLt (`gradc tune`); a file of them that cannot be used is
/// complained of. Nothing where there is no folder for it.
fn n_tuned(gpu: &crate::runtime::probe::Gpu, cublaslt: usize) -> Option<usize> {
    let machine = Machine { gpu: gpu.name.clone(), architecture: gpu.architecture.clone(), cublaslt };
    let known = Store::new(Cache::of_user()?.folder(), machine).read();
    if let Err(unusable) = &known {
        complain(&format!("warning: {unusable}"));
    }
    Some(known.map_or(0, |choices| choices.len()))
}

fn driver_json(driver: &Found<crate::runtime::probe::Driver>, cublaslt: Option<usize>) -> Value {
    let Found::Usable(driver) = driver else { return Value::Null };
    let gpu = |gpu: &crate::runtime::probe::Gpu| {
        let tuned = cublaslt.and_then(|version| n_tuned(gpu, version));
        json!({ "name": gpu.name, "architecture": gpu.architecture, "bytes": gpu.bytes, "tuned_products": tuned })
    };
    json!({ "version": version(driver.version), "gpus": driver.gpus.iter().map(gpu).collect::<Vec<_>>() })
}

fn version((major, minor): (i32, i32)) -> String {
    format!("{major}.{minor}")
}

/// Since 12 it counts in ten thousands: 130100 is 13.1.0.
pub fn cublas_version(version: usize) -> String {
    format!("{}.{}.{}", version / 10_000, version / 100 % 100, version % 100)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_have_numbers() {
        let cases = [
            ("cuda", Some(0)),
            ("cuda:0", Some(0)),
            ("cuda:3", Some(3)),
            ("cuda:", None),
            ("cuda3", None),
            ("cuda:-1", None),
            ("tpu", None),
        ];
        for (device, expected) in cases {
            assert_eq!(gpu_number(device), expected, "{device}");
        }
    }
}
