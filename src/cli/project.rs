//! A model with everything a command needs around it: texts, settings, data.
//!
//! What enters: a path (a `.model` file, or the folder of a run) and settings of the command line. What leaves: a
//! checked model, or diagnostics printed and a failure.

use super::eval::Part;
use super::output::{Failure, report};
use crate::base::stopwatch::timed;
use crate::model::{self, Disk, Loader, Model, Overrides, TestBlock};
use crate::train::data::{Data, Dataset};
use crate::train::folder::RunFolder;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What all commands that compile a model take.
#[derive(clap::Args, Clone, Default)]
pub struct ModelArguments {
    /// The model, or the folder of a run
    file: Option<PathBuf>,
    /// Replace a top-level `let` or a setting of the train block
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Of shuffles, initial values and random numbers
    #[arg(long)]
    seed: Option<u64>,
    /// Times through the data
    #[arg(long)]
    epochs: Option<u64>,
    /// Stop after that many steps
    #[arg(long)]
    steps: Option<u64>,
    /// Examples in a step
    #[arg(long)]
    batch: Option<u64>,
    /// Of what a step multiplies and keeps: f32; tf32, in which a GPU may round what large products multiply; or bf16, which takes
    /// less memory, and less time where the machine multiplies it (parameters, sums and losses stay f32) [default: the train block's `precision`, or f32]
    #[arg(long, value_parser = ["f32", "tf32", "bf16"])]
    precision: Option<String>,
    /// Threads to compute with; results do not depend on it [default: as many as the machine has]
    #[arg(long)]
    threads: Option<usize>,
    /// Print JSON, one object a line
    #[arg(long)]
    pub json: bool,
}

impl ModelArguments {
    /// `NAME=VALUE` for every setting given, flags last.
    fn settings(&self) -> Vec<String> {
        let flags =
            [("seed", self.seed), ("epochs", self.epochs), ("steps", self.steps), ("batch", self.batch)];
        let flags = flags.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
        let precision = self.precision.iter().map(|value| format!("precision={value}"));
        self.set.iter().cloned().chain(flags).chain(precision).collect()
    }

    fn threads(&self) -> Result<usize, Failure> {
        const MOST: usize = 1024;
        match self.threads {
            Some(n) if !(1..=MOST).contains(&n) => {
                Err(Failure::Usage(format!("`--threads` takes a number from 1 to {MOST}, not {n}")))
            }
            Some(n) => Ok(n),
            None => Ok(std::thread::available_parallelism().map_or(1, usize::from).min(MOST)),
        }
    }
}

pub struct Project {
    /// The model's file as the user named it.
    pub file: PathBuf,
    pub program: Arc<model::Program>,
    pub model: Model,
    pub data: Data,
    /// `NAME=VALUE`, as given.
    pub settings: Vec<String>,
    pub threads: usize,
    /// When `file` was the folder of a run.
    run: Option<RunFolder>,
}

/// A sound file, which may be without a train block.
pub struct Checked {
    pub project: Option<Project>,
    pub tests: Vec<TestBlock>,
    pub program: Arc<model::Program>,
}

impl Checked {
    fn runnable(self) -> Result<Project, Failure> {
        let name = self.program.sources.sources.first().map_or("", |source| source.name.as_str());
        self.project
            .ok_or_else(|| Failure::Error(format!("`{name}` has no train block, so there is nothing to run")))
    }
}

/// The copies of imported files in a run's folder.
struct Copies<'a>(&'a RunFolder);

impl Loader for Copies<'_> {
    fn load(&self, path: &str) -> Result<Vec<u8>, String> {
        match self.0.info.imports.iter().find(|(name, _)| name == path) {
            Some((_, copy)) => std::fs::read(self.0.path.join(copy)).map_err(|e| e.to_string()),
            None => Err("the run's folder has no copy of it".to_string()),
        }
    }
}

impl Project {
    /// Reads and checks the model that the arguments name.
    pub fn open(arguments: &ModelArguments) -> Result<Project, Failure> {
        Project::open_any(arguments)?.runnable()
    }

    /// The model as it was when the run began, with its settings and then those of the arguments.
    pub fn of_run(folder: &RunFolder, arguments: &ModelArguments) -> Result<Project, Failure> {
        Project::check_run(folder, arguments)?.runnable()
    }

    fn check_run(folder: &RunFolder, arguments: &ModelArguments) -> Result<Checked, Failure> {
        let bytes = read(&folder.model())?;
        let info = &folder.info;
        let settings = info.settings.iter().cloned().chain(arguments.settings()).collect();
        let loader = Copies(folder);
        let mut checked =
            Project::check(&info.model_file, &bytes, &loader, &info.data_folder, settings, arguments)?;
        if let Some(project) = &mut checked.project {
            project.run = Some(RunFolder { path: folder.path.clone(), info: info.clone() });
        }
        Ok(checked)
    }

    fn check(
        file: &Path,
        bytes: &[u8],
        loader: &dyn Loader,
        data_folder: &Path,
        settings: Vec<String>,
        arguments: &ModelArguments,
    ) -> Result<Checked, Failure> {
        let threads = arguments.threads()?;
        let overrides = Overrides(overrides(&settings)?);
        let program = timed("parse", || model::load(&file.display().to_string(), bytes, loader));
        let data = Data::in_folder(data_folder);
        let checked = timed("check", || model::check(&program, &data, &overrides));
        report(&checked.diagnostics, &program.sources, arguments.json)?;
        let program = Arc::new(program);
        let make = |model| {
            let program = program.clone();
            Project { file: file.to_path_buf(), program, model, data, settings, threads, run: None }
        };
        Ok(Checked { project: checked.model.map(make), tests: checked.tests, program })
    }

    /// Reads and checks a file that need not have a train block.
    pub fn open_any(arguments: &ModelArguments) -> Result<Checked, Failure> {
        let Some(file) = &arguments.file else {
            return Err(Failure::Usage("name a model, such as `mnist.model`".to_string()));
        };
        if file.is_dir() {
            return Project::check_run(&RunFolder::open(file)?, arguments);
        }
        let bytes = read(file)?;
        let folder = file.parent().unwrap_or(Path::new(""));
        Project::check(file, &bytes, &Disk, folder, arguments.settings(), arguments)
    }

    /// The model's text and its imports', without the standard library: (path, text).
    pub fn texts(&self) -> Vec<(String, String)> {
        let sources = self.program.sources.sources.iter().enumerate();
        let own = sources.filter(|(i, _)| !self.program.is_std(*i as u32));
        own.map(|(_, source)| (source.name.clone(), source.text.clone())).collect()
    }

    pub fn part(&self, part: Part) -> Result<Arc<Dataset>, Failure> {
        let settings = &self.model.settings;
        let (call, name) = match part {
            Part::Data => (Some(&settings.data), "data"),
            Part::Valid => (settings.valid.as_ref(), "valid"),
            Part::Test => (settings.test.as_ref(), "test"),
        };
        match call {
            Some(call) => Ok(self.data.load(call)?),
            None => Err(Failure::Error(format!(
                "the train block names no `{name}` data; add `{name} = …`, or use `--on data`"
            ))),
        }
    }

    /// The weights that were named, or the run's.
    pub fn weights(&self, named: Option<&Path>) -> Result<PathBuf, Failure> {
        match (named, &self.run) {
            (Some(path), _) => Ok(path.to_path_buf()),
            (None, Some(run)) if run.weights().exists() => Ok(run.weights()),
            (None, Some(run)) => Err(Failure::Error(format!(
                "the run in `{0}` is not finished, so it has no weights; `gradc train --resume {0}` goes on",
                run.path.display()
            ))),
            (None, None) => Err(Failure::Usage(
                "which weights? Name the folder of a run instead of the model, or give `--weights FILE`"
                    .to_string(),
            )),
        }
    }
}

/// The bytes of the model that the arguments name, and what to call it.
pub fn text(arguments: &ModelArguments) -> Result<(String, Vec<u8>), Failure> {
    let Some(file) = &arguments.file else {
        return Err(Failure::Usage("name a model, such as `mnist.model`".to_string()));
    };
    let file = if file.is_dir() { RunFolder::open(file)?.model() } else { file.clone() };
    Ok((file.display().to_string(), read(&file)?))
}

/// Numbers in all trained variables.
pub fn n_parameters(model: &Model) -> u64 {
    let trained = model.variables.iter().filter(|v| v.trained);
    trained.map(|v| v.ty.n_elements().as_const().unwrap_or(0).max(0) as u64).sum()
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|e| Failure::Error(format!("cannot read `{}`: {e}", file.display())))
}

fn overrides(settings: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |setting: &String| match setting.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().to_string(), value.trim().to_string()))
        }
        _ => Err(Failure::Usage(format!("`--set` takes NAME=VALUE, such as `lr=3e-4`, not `{setting}`"))),
    };
    settings.iter().map(split).collect()
}
