//! `gradc profile FILE`: where the time of a training step goes.
//!
//! What enters: a model, a recorded run of some steps. What leaves: for each kernel, and for each op inside of kernels, its
//! time, its share, its speed and how far that is from the machine's; what is in no kernel; and a trace for a browser's
//! viewer. Rows that are alike (the same code, the same operations in layers of one kind) are one row, unless all are asked for.
//! Invariant: shares add up to the whole.

mod table;
mod trace;

use super::devices::DeviceArguments;
use super::output::{Failure, say};
use super::project::{ModelArguments, Project};
use crate::plan::{Plan, Work, work};
use crate::runtime::cuda::Device;
use crate::runtime::{Ticking, peaks};
use crate::train::accelerated::Accelerated;
use crate::train::compiled::Compiled;
use crate::train::engine::Program;
use crate::train::run::Trainer;
use crate::train::run::profile::Profile;
use gradc_dsl::SourceMap;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// How long to record
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Show every launch and every op by itself, none left out
    #[arg(long)]
    all: bool,
    /// Write a Chrome trace: a row for each thread, a slice for each tile and each op
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
    /// The machine's peak in GFLOP/s, all threads together [default: measured]
    #[arg(long, value_name = "GFLOP/S")]
    peak: Option<f64>,
    /// The machine's bandwidth in GB/s, all threads together [default: measured over as many bytes as a step takes]
    #[arg(long, value_name = "GB/S")]
    bandwidth: Option<f64>,
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

/// What the machine can do, a second.
#[derive(Clone, Copy)]
pub struct Machine {
    pub flops: f64,
    /// Of products in bf16 or tf32.
    pub of_tensors: f64,
    pub bytes: f64,
}

impl Machine {
    /// Seconds that the work takes at least.
    pub fn floor(&self, work: Work) -> f64 {
        let others = (work.flops - work.of_tensors) as f64 / self.flops;
        (others + work.of_tensors as f64 / self.of_tensors).max(work.bytes as f64 / self.bytes)
    }
}

/// A launch or an op, or several that are alike.
pub struct Row {
    /// Which operations: `[sub exp +sum]`.
    pub what: String,
    /// The path of calls.
    pub scope: String,
    /// Where in the text, `file:line`.
    pub place: String,
    pub n: usize,
    /// Of all threads together, seconds.
    pub busy: f64,
    /// The same divided by how many threads were busy, on the average, while its phase ran.
    pub span: f64,
    pub tiles: usize,
    pub work: Work,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let given = [arguments.peak, arguments.bandwidth].into_iter().flatten();
    if let Some(given) = given.into_iter().find(|given| *given <= 0.0) {
        return Err(Failure::Usage(format!("a machine's peak is more than 0, not {given}")));
    }
    let project = Project::open(&arguments.model)?;
    match (arguments.device.device.as_str(), arguments.device.gpu()) {
        ("cpu", _) => on_cpu(arguments, &project),
        (_, Some(gpu)) => on_gpu(arguments, &project, gpu),
        (device, None) => Err(Failure::Error(format!("a step cannot be profiled on the device `{device}`"))),
    }
}

fn on_cpu(arguments: &Arguments, project: &Project) -> Result<(), Failure> {
    let model = &project.model;
    let data = project.data.load(&model.settings.data)?;
    let mut engine = Compiled::new(model, project.threads);
    let cost = engine.compile_with(Program::Train, Ticking::EachOp).map_err(Failure::Error)?;
    let measured = || peaks::flops_per_second(project.threads);
    let flops = arguments.peak.map_or_else(measured, |gflops| gflops * 1e9);
    // Past a few hundred megabytes everything comes from memory.
    let bytes = cost.peak_bytes.min(256 << 20);
    let measured = || peaks::bytes_per_second(project.threads, bytes);
    let bytes = arguments.bandwidth.map_or_else(measured, |gbytes| gbytes * 1e9);
    let machine = Machine { flops, of_tensors: flops, bytes };
    let mut trainer = Trainer::new(model, engine, data, None);
    let profile = trainer.profile(arguments.seconds)?;
    let plan = trainer.engine.plan(Program::Train);
    if let Some(path) = &arguments.trace {
        trace::write(path, plan, &profile.recording)?;
    }
    let on = format!("{} threads", project.threads);
    show(arguments, project, Measured { plan, profile: &profile, machine, on, whole: None })
}

fn on_gpu(arguments: &Arguments, project: &Project, gpu: u32) -> Result<(), Failure> {
    if arguments.trace.is_some() {
        return Err(Failure::Usage("a trace is of a CPU's threads: leave `--trace` out".to_string()));
    }
    let model = &project.model;
    let data = project.data.load(&model.settings.data)?;
    let driver = arguments.device.driver(gpu)?;
    let on = driver.name();
    let peaks = driver.peaks(model.settings.precision).map_err(|error| Failure::Error(error.to_string()))?;
    let given = |given: Option<f64>, peak: f64| given.map_or(peak, |given| given * 1e9);
    let machine = Machine {
        flops: given(arguments.peak, peaks.flops),
        of_tensors: given(arguments.peak, peaks.of_tensors),
        bytes: given(arguments.bandwidth, peaks.bytes),
    };
    let mut engine = Accelerated::new(model, driver);
    engine.compile(Program::Train).map_err(Failure::Error)?;
    let mut trainer = Trainer::new(model, engine, data, None);
    let (profile, whole) = trainer.time_launches(arguments.seconds)?;
    let plan = trainer.engine.plan(Program::Train);
    show(arguments, project, Measured { plan, profile: &profile, machine, on, whole: Some(whole) })
}

/// A profile, and what it was measured on.
pub struct Measured<'a> {
    pub plan: &'a Plan,
    pub profile: &'a Profile,
    pub machine: Machine,
    /// `2 threads`, or a GPU.
    pub on: String,
    /// Seconds of a step that is handed to a GPU as one.
    pub whole: Option<f64>,
}

fn show(arguments: &Arguments, project: &Project, measured: Measured) -> Result<(), Failure> {
    let (launches, ops) = rows(measured.plan, measured.profile, &project.program.sources);
    let rows = match arguments.all {
        true => (launches, ops),
        false => (table::merged(launches), table::merged(ops)),
    };
    let table = table::Table { model: &project.model, measured, rows };
    if arguments.model.json { say(table.json().to_string()) } else { say(table.text(arguments.all)) }
}

/// A row for each launch, and one for each op, in the plan's order.
fn rows(plan: &Plan, profile: &Profile, sources: &SourceMap) -> (Vec<Row>, Vec<Row>) {
    let place = |origin: &crate::graph::Origin| {
        let line = |span: gradc_dsl::Span| {
            format!("{}:{}", sources.sources[span.source as usize].name, sources.line_column(span).0)
        };
        origin.span.map_or(String::new(), line)
    };
    let (mut launches, mut ops) = (Vec::new(), Vec::new());
    let widths = profile.widths(plan);
    for ((launch, time), width) in plan.phases.iter().flatten().zip(&profile.launches).zip(widths) {
        let (whole, each) = work(plan, launch, plan.max_batch);
        launches.push(Row {
            what: format!("kernel {}", launch.kernel),
            scope: launch.origin.scope.to_string(),
            place: place(&launch.origin),
            n: 1,
            busy: time.busy,
            span: time.busy / width,
            tiles: time.n_tiles,
            work: whole,
        });
        for ((part, busy), work) in launch.parts.iter().zip(&time.ops).zip(each) {
            ops.push(Row {
                what: part.what.to_string(),
                scope: part.origin.scope.to_string(),
                place: place(&part.origin),
                n: 1,
                busy: *busy,
                span: *busy / width,
                tiles: time.n_tiles,
                work,
            });
        }
    }
    (launches, ops)
}
