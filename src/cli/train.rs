//! `gradc train FILE`: from text to a trained network in a run folder.

use super::devices::DeviceArguments;
use super::format;
use super::memory::MemoryLimit;
use super::output::{Failure, complain, say};
use super::progress::Progress;
use super::project::{ModelArguments, Project};
use super::stages::TimePasses;
use crate::base::stopwatch::timed;
use crate::train::engine::Program;
use crate::train::folder::{RunFolder, RunInfo};
use crate::train::run::{Event, Flow, Trainer};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    time_passes: TimePasses,
    #[command(flatten)]
    memory: MemoryLimit,
    /// Start from these weights instead of random ones
    #[arg(long, value_name = "FILE.safetensors")]
    weights: Option<PathBuf>,
    /// Take only what lies under these paths from the weights, such as `net.encoder`
    #[arg(long, value_name = "PATH", value_delimiter = ',', requires = "weights")]
    only: Vec<String>,
    /// Where the run's files go [default: runs/NAME-N]
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    out: Option<PathBuf>,
    /// Go on with a run that was stopped, to the same bits
    #[arg(long, value_name = "DIR", conflicts_with_all = ["file", "weights", "set", "seed", "epochs", "steps", "batch"])]
    resume: Option<PathBuf>,
    /// Write each event as a JSON line to this file
    #[arg(long, value_name = "FILE.jsonl")]
    log: Option<PathBuf>,
    /// Seconds between checkpoints; 0 for one after every step
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    checkpoint: f64,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Writes events as JSON lines to standard output and to the log, where asked.
struct Events {
    json: bool,
    log: Option<File>,
}

impl Events {
    fn write(&mut self, event: &str, fields: Value) {
        let mut line = Map::from_iter([("event".to_string(), json!(event))]);
        if let Value::Object(fields) = fields {
            line.extend(fields);
        }
        let line = Value::Object(line).to_string();
        if self.json {
            // A reader that goes away does not end the training.
            let _ = say(&line);
        }
        if let Some(log) = &mut self.log
            && let Err(error) = writeln!(log, "{line}")
        {
            complain(&format!("warning: the log cannot be written any more: {error}"));
            self.log = None;
        }
    }
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let begun = Instant::now();
    arguments.time_passes.start();
    if arguments.checkpoint.is_nan() || arguments.checkpoint < 0.0 {
        return Err(Failure::Usage("`--checkpoint` takes a number of seconds from 0".to_string()));
    }
    let resumed = arguments.resume.as_deref().map(RunFolder::open).transpose()?;
    let project = match &resumed {
        Some(folder) => Project::of_run(folder, &arguments.model)?,
        None => Project::open(&arguments.model)?,
    };
    let model = &project.model;
    let data = timed("data", || project.data.load(&model.settings.data))?;
    let valid = model.settings.valid.as_ref().map(|call| project.data.load(call)).transpose()?;
    let test = model.settings.test.as_ref().map(|call| project.data.load(call)).transpose()?;

    let log = match &arguments.log {
        Some(path) => {
            let file = File::options().create(true).append(true).open(path);
            Some(file.map_err(|e| Failure::Error(format!("cannot write `{}`: {e}", path.display())))?)
        }
        None => None,
    };
    let mut events = Events { json: arguments.model.json, log };
    let ready = arguments.device.engine_within(model, Program::Train, project.threads, arguments.memory)?;
    let (engine, memory, on) = (ready.engine, ready.cost.peak_bytes, ready.on);
    let mut trainer = Trainer::new(model, engine, data, valid);
    if let Some(weights) = &arguments.weights {
        trainer.load_parts(weights, &arguments.only)?;
    }
    let mut folder = match resumed {
        Some(folder) => {
            if folder.checkpoint().exists() {
                trainer.load_checkpoint(&folder.checkpoint())?;
            }
            folder.forget_after(trainer.position.step)?;
            folder
        }
        None => {
            let info = RunInfo::new(&model.name, &project.file, &project.settings);
            let folder = RunFolder::create(arguments.out.as_deref(), info, &project.texts())?;
            if arguments.weights.is_some() {
                // So that a resume before the first checkpoint starts from them too.
                trainer.save_checkpoint(&folder)?;
            }
            folder
        }
    };
    let n_steps = trainer.n_steps();
    let n_parameters = super::project::n_parameters(model);
    let mut progress = Progress::new(arguments.model.json, n_steps, trainer.steps_per_epoch());
    let planned = if memory > 0 { format!(" · {} planned", format::bytes(memory)) } else { String::new() };
    progress.say(&format!(
        "{} · {} parameters · {} examples · batch {} · {on}{planned}",
        model.name,
        format::count(n_parameters),
        format::count(trainer.data.n_examples as u64),
        model.settings.batch,
    ));
    events.write(
        "start",
        json!({
            "name": model.name, "parameters": n_parameters, "examples": trainer.data.n_examples,
            "batch": model.settings.batch, "steps": n_steps, "first_step": trainer.position.step,
            "device": arguments.device.device, "threads": project.threads, "peak_bytes": memory, "folder": folder.path.display().to_string(),
            "compile_seconds": begun.elapsed().as_secs_f64(),
        }),
    );
    arguments.time_passes.report();
    crate::runtime::interrupt::catch();
    let every = Duration::try_from_secs_f64(arguments.checkpoint).unwrap_or(Duration::MAX);
    let mut watch = |event: Event| {
        match &event {
            Event::Step { .. } => {}
            Event::Epoch { epoch, step, train, valid, seconds } => {
                let line = crate::train::folder::epoch_line(*epoch, *step, train, valid, *seconds);
                events.write("epoch", line);
            }
            Event::Checkpoint { step } => events.write("checkpoint", json!({ "step": step })),
        }
        progress.show(&event);
        if crate::runtime::interrupt::asked() { Flow::Stop } else { Flow::Continue }
    };
    let outcome = trainer.train(Some(&mut folder), every, &mut watch);
    progress.clear();
    let done = outcome.inspect_err(|_| {
        if folder.checkpoint().exists() {
            complain(&format!("the last good checkpoint stands in {}", folder.path.display()));
        }
    })?;
    if !done {
        events.write("stopped", json!({ "step": trainer.position.step, "folder": shown(&folder.path) }));
        progress.say(&format!(
            "stopped after step {}; `gradc train --resume {}` goes on",
            format::count(trainer.position.step),
            folder.path.display()
        ));
        return Ok(());
    }
    let mut end = json!({ "folder": shown(&folder.path), "seconds": begun.elapsed().as_secs_f64() });
    if let Some(test) = test {
        let evaluation = trainer.measure(test)?;
        progress.say(&format!("{:<12}{}", "test", super::progress::evaluation(&evaluation)));
        end["test"] = super::progress::evaluation_json(&evaluation);
    }
    events.write("end", end);
    progress.say(&format!(
        "saved to {} in {}",
        folder.path.display(),
        format::seconds(begun.elapsed().as_secs_f64())
    ));
    Ok(())
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
