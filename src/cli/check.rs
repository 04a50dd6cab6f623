//! `gradc check FILE`: every error of a model, without running it.

use super::output::{Failure, say};
use super::project::{ModelArguments, Project};
use super::{format, project};
use serde_json::json;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.model)?;
    let n_parameters = project::n_parameters(&project.model);
    if arguments.model.json {
        return say(json!({ "name": project.model.name, "parameters": n_parameters }).to_string());
    }
    say(format!("{} is sound: {} parameters", project.model.name, format::count(n_parameters)))
}
