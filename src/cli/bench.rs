//! `gradc bench FILE`: how fast a model compiles and trains here, or what its first steps are, for a twin elsewhere.

use super::devices::{DeviceArguments, Ready};
use super::format;
use super::memory::MemoryLimit;
use super::output::{Failure, say};
use super::project::{ModelArguments, Project, n_parameters};
use super::stages::TimePasses;
use crate::base::stopwatch::timed;
use crate::train::engine::Program;
use crate::train::run::Trainer;
use clap::ValueEnum;
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    time_passes: TimePasses,
    #[command(flatten)]
    memory: MemoryLimit,
    /// How long to measure
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// What to measure: a training step, or the evaluation or prediction of a batch
    #[arg(long, value_enum, default_value = "train")]
    program: Measured,
    /// Measure nothing; write the first steps' data, variables and losses to this file (`--steps` says how many)
    #[arg(long, value_name = "FILE.safetensors", conflicts_with = "program")]
    record: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArguments,
}

/// A model's programs, as the command line names them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Measured {
    Train,
    Eval,
    Predict,
}

/// Steps before the clock starts, at most: caches, page faults, the processor's clock.
const N_WARM: u64 = 20;
/// Steps are timed in so many groups, or fewer where a step is long: a mean over a group is what a training run sees of them.
const N_GROUPS: usize = 20;

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    arguments.time_passes.start();
    let project = Project::open(&arguments.model)?;
    let model = &project.model;
    let data = timed("data", || project.data.load(&model.settings.data))?;
    let n_rows = data.n_examples.min(model.settings.batch as usize);
    let data_ready = begun.elapsed();
    let program = match arguments.program {
        Measured::Train => Program::Train,
        Measured::Eval => Program::Eval,
        Measured::Predict => Program::Predict,
    };
    let Ready { engine, cost, on } =
        arguments.device.engine_within(model, program, project.threads, arguments.memory)?;
    let (memory, flops) = (cost.peak_bytes, cost.flops);
    let mut trainer = Trainer::new(model, engine, data, None);
    if let Some(path) = &arguments.record {
        return Ok(trainer.record(path)?);
    }
    let times = trainer.time_steps(program, N_WARM, N_GROUPS, arguments.seconds)?;
    arguments.time_passes.report();
    let to_first_step = times.first_begun.duration_since(begun).as_secs_f64();
    let first_step = times.first_step.duration_since(begun);
    let (least, median) = (times.means[0], times.means[times.means.len() / 2]);
    let n_steps = times.means.len() * times.in_group;
    let gflops = flops as f64 / median * 1e-9;
    let first_step_ms = first_step.as_secs_f64() * 1e3;
    if arguments.model.json {
        return say(json!({
            "name": model.name, "on": on, "threads": project.threads, "batch": model.settings.batch,
            "ready_ms": to_first_step * 1e3, "first_step_ms": first_step_ms, "data_ms": data_ready.as_secs_f64() * 1e3,
            "parameters": n_parameters(model), "flops": flops, "peak_bytes": memory, "steps": n_steps,
            "ms_min": least * 1e3, "ms_median": median * 1e3, "gflop_per_s": gflops,
            "examples_per_s": n_rows as f64 / median,
        })
        .to_string());
    }
    say(format!(
        "{} · batch {} · {on}\n\
         text to first step  {} until it begins, {} until it is done\n\
         parameters          {}\n\
         work a step         {:.3} MFLOP\n\
         peak memory         {}\n\
         step, least         {:.4} ms\n\
         step, median        {:.4} ms   ({} steps)\n\
         speed               {gflops:.1} GFLOP/s, {} examples/s",
        model.name,
        model.settings.batch,
        format::seconds(to_first_step),
        format::seconds(first_step.as_secs_f64()),
        format::count(n_parameters(model)),
        flops as f64 * 1e-6,
        format::bytes(memory),
        least * 1e3,
        median * 1e3,
        n_steps,
        format::count((n_rows as f64 / median) as u64),
    ))
}
