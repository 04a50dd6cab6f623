//! `gradc eval RUN`: metrics of trained weights on data.

use super::devices::DeviceArguments;
use super::output::{Failure, say};
use super::project::{ModelArguments, Project};
use crate::train::engine::Program;
use crate::train::run::Trainer;
use clap::ValueEnum;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The weights [default: the run's, when FILE is a run's folder]
    #[arg(long, value_name = "FILE.safetensors")]
    weights: Option<PathBuf>,
    /// Which of the model's data
    #[arg(long, value_enum, default_value = "test")]
    on: Part,
    #[command(flatten)]
    device: DeviceArguments,
}

/// The data that a train block names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Part {
    Data,
    Valid,
    Test,
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.model)?;
    let data = project.part(arguments.on)?;
    let ready = arguments.device.engine(&project.model, Program::Eval, project.threads)?;
    let mut trainer = Trainer::new(&project.model, ready.engine, data.clone(), None);
    trainer.load_weights(&project.weights(arguments.weights.as_deref())?)?;
    let evaluation = trainer.measure(data)?;
    match arguments.model.json {
        true => say(super::progress::evaluation_json(&evaluation).to_string()),
        false => say(super::progress::evaluation(&evaluation)),
    }
}
