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
    let checked = Project::open_any(&arguments.model)?;
    let train = checked.project.as_ref().map(|p| (p.model.name.as_str(), project::n_parameters(&p.model)));
    if arguments.model.json {
        let (name, n_parameters) = train.unzip();
        return say(json!({ "sound": true, "name": name, "parameters": n_parameters }).to_string());
    }
    match train {
        Some((name, n)) => say(format!("{name} is sound: {} parameters", format::count(n))),
        None => say("the functions are sound; there is no train block"),
    }
}
