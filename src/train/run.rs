//! The training loop, evaluation and prediction.
//!
//! What enters: a model, an engine that runs its programs, data, a position. What leaves: changed variables,
//! events for whoever watches, checkpoints and metrics in a run folder. Invariants: every number depends on
//! (model, data, seed, step) alone; a loss that is not finite stops the run before anything on disk is replaced.

use super::aggregate::{Contributions, Evaluation};
use super::batches::{Batches, Schedule, gathered, steps_per_epoch};
use super::checkpoint::{self, Position, Sums};
use super::data::{DataError, Dataset};
use super::engine::{Engine, Program};
use super::folder::RunFolder;
use super::init::initial_values;
use super::weights::{self, Tensor, Tensors, WeightsError};
use crate::base::stopwatch::timed;
use crate::model::{Model, Variable};
use smol_str::SmolStr;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A metric's mean over examples, by name.
pub type Metrics = Vec<(SmolStr, f64)>;

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The message says where and what to try.
    #[error(
        "`{metric}` is {value} in step {step} (epoch {epoch}); try a smaller learning rate, clip the gradient \
         (`with clip_by_norm(1.0) |> …`), or look for divisions and logarithms of zero"
    )]
    NotFinite { metric: SmolStr, value: f32, step: u64, epoch: u64 },
    #[error(
        "after step {step} the variable `{path}` holds a NaN or an infinity; try a smaller learning rate"
    )]
    VariableNotFinite { path: SmolStr, step: u64 },
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The run's folder cannot be used.
    #[error("{0}")]
    Folder(String),
    /// The model cannot run on this machine.
    #[error("{0}")]
    Engine(String),
}

/// What happens during a run.
pub enum Event<'a> {
    /// `metrics` are this step's, the loss first.
    Step {
        step: u64,
        epoch: u64,
        metrics: &'a [f32],
    },
    /// `epoch` counts from 1; `valid` is empty without held-out data.
    Epoch {
        epoch: u64,
        step: u64,
        train: &'a Metrics,
        valid: &'a Metrics,
        seconds: f64,
    },
    Checkpoint {
        step: u64,
    },
}

/// What the watcher answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    Continue,
    /// Write a checkpoint and return.
    Stop,
}

pub struct Trainer<'a, E> {
    pub model: &'a Model,
    pub engine: E,
    pub data: Arc<Dataset>,
    pub valid: Option<Arc<Dataset>>,
    pub position: Position,
}

impl<'a, E: Engine> Trainer<'a, E> {
    /// At step 0, with initial values drawn by the model's seed.
    pub fn new(model: &'a Model, mut engine: E, data: Arc<Dataset>, valid: Option<Arc<Dataset>>) -> Self {
        let settings = &model.settings;
        timed("initial values", || {
            let set = |variable: &Variable, value: &[f32]| engine.set_variable(&variable.path, value);
            initial_values(&model.variables, settings.seed, set);
        });
        let position = Position {
            step: 0,
            seed: settings.seed,
            batch: settings.batch,
            n_examples: data.n_examples as u64,
            sums: Sums::new(&model.metrics),
        };
        Trainer { model, engine, data, valid, position }
    }

    pub fn steps_per_epoch(&self) -> u64 {
        steps_per_epoch(self.data.n_examples, self.batch())
    }

    /// Steps of the whole run.
    pub fn n_steps(&self) -> u64 {
        let settings = &self.model.settings;
        settings.steps.unwrap_or_else(|| settings.epochs.saturating_mul(self.steps_per_epoch()))
    }

    fn batch(&self) -> usize {
        self.model.settings.batch.max(1) as usize
    }

    /// From the position to the step before `end_step`.
    fn schedule(&self, end_step: u64) -> Schedule {
        let (batch, first_step) = (self.batch(), self.position.step);
        let settings = &self.model.settings;
        Schedule { batch, seed: settings.seed, shuffle: settings.shuffle, first_step, end_step }
    }

    /// Trains from the position to the end, or until `watch` says stop; true when the end was reached.
    ///
    /// # Errors
    /// A loss or metric that is not finite (the checkpoint on disk stays as it was); a folder that cannot be
    /// written.
    pub fn train(
        &mut self,
        folder: Option<&mut RunFolder>,
        checkpoint_every: Duration,
        watch: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<bool, TrainError> {
        let (start, n_steps) = (Instant::now(), self.n_steps());
        let schedule = self.schedule(n_steps);
        let inputs = Inputs::of(&mut self.engine, Program::Train, &self.data)?;
        let mut batches = Batches::start(self.data.clone(), inputs.fields.clone(), schedule);
        let mut folder = folder;
        let mut last_checkpoint = Instant::now();
        let mut under_way = VecDeque::new();
        while let Some(batch) = batches.next_batch() {
            let (step, n_rows) = (batch.step, batch.n_rows);
            inputs.run(&mut self.engine, Program::Train, n_rows, step, &|i| batch.field(i));
            let ends_epoch = batch.ends_epoch || step + 1 == n_steps;
            under_way.push_back(Begun { step, epoch: batch.epoch + 1, n_rows, ends_epoch });
            let n_left = if ends_epoch { 0 } else { self.engine.n_ahead() };
            let mut flow = Flow::Continue;
            while under_way.len() > n_left {
                flow = self.end_one(&mut under_way, folder.as_deref_mut(), start, watch)?;
                // A stop, and a checkpoint, are behind the last step that was begun.
                if flow == Flow::Stop || folder.is_some() && last_checkpoint.elapsed() >= checkpoint_every {
                    while !under_way.is_empty() {
                        self.end_one(&mut under_way, folder.as_deref_mut(), start, watch)?;
                    }
                }
            }
            let done = self.position.step == n_steps;
            if let Some(folder) = folder.as_deref()
                && !done
                && under_way.is_empty()
                && (flow == Flow::Stop || last_checkpoint.elapsed() >= checkpoint_every)
            {
                self.save_checkpoint(folder)?;
                watch(Event::Checkpoint { step: self.position.step });
                last_checkpoint = Instant::now();
            }
            if flow == Flow::Stop && !done {
                return Ok(false);
            }
        }
        if let Some(folder) = folder.as_deref() {
            self.save_checkpoint(folder)?;
            weights::write(&folder.weights(), &self.weights(), None)?;
        }
        Ok(true)
    }

    /// Waits for the earliest step that is under way, and tells of it.
    fn end_one(
        &mut self,
        under_way: &mut VecDeque<Begun>,
        folder: Option<&mut RunFolder>,
        start: Instant,
        watch: &mut dyn FnMut(Event) -> Flow,
    ) -> Result<Flow, TrainError> {
        let Some(Begun { step, epoch, n_rows, ends_epoch }) = under_way.pop_front() else {
            return Ok(Flow::Continue);
        };
        self.engine.finish(Program::Train, under_way.len()).map_err(TrainError::Engine)?;
        let value = |name: &SmolStr| scalar(&self.engine, Program::Train, name);
        let values: Vec<f32> = self.model.metrics.iter().map(value).collect();
        if let Some(bad) = values.iter().position(|v| !v.is_finite()) {
            let metric = self.model.metrics[bad].clone();
            return Err(TrainError::NotFinite { metric, value: values[bad], step, epoch });
        }
        self.position.sums.add(n_rows, values.iter().copied());
        self.position.step = step + 1;
        if ends_epoch {
            let train = self.position.sums.means();
            self.position.sums = Sums::new(&self.model.metrics);
            let valid = match self.valid.clone() {
                Some(valid) => self.evaluate(valid)?,
                None => Metrics::new(),
            };
            let seconds = start.elapsed().as_secs_f64();
            if let Some(folder) = folder {
                folder.add_epoch(epoch, step + 1, &train, &valid, seconds)?;
            }
            watch(Event::Epoch { epoch, step: step + 1, train: &train, valid: &valid, seconds });
        }
        Ok(watch(Event::Step { step, epoch, metrics: &values }))
    }

    /// Runs a program once and up to `n_warm` times more, then up to `n_groups` groups of steps; both end early after
    /// `seconds`, but not before two steps and three groups. Batches are gathered before, so that steps alone are timed.
    ///
    /// # Errors
    /// The data lack a field the model reads, or the model cannot be compiled.
    pub fn time_steps(
        &mut self,
        program: Program,
        n_warm: u64,
        n_groups: usize,
        seconds: f64,
    ) -> Result<Times, TrainError> {
        const N_BATCHES: u64 = 16;
        let inputs = Inputs::of(&mut self.engine, program, &self.data)?;
        // Of one epoch at most: batches of the same rows again would take memory and tell nothing.
        let n_batches = N_BATCHES.min(self.steps_per_epoch());
        let batches = timed("batches", || gathered(&self.data, &inputs.fields, self.schedule(n_batches)));
        let mut next = 0;
        let n_ahead = self.engine.n_ahead();
        // Takes `n` steps, with as many under way as training has.
        let mut steps = |n: usize| {
            for left in (0..n).rev() {
                let batch = &batches[next as usize % batches.len()];
                inputs.run(&mut self.engine, program, batch.n_rows, next, &|i| batch.field(i));
                self.engine.finish(program, n_ahead.min(left)).map_err(TrainError::Engine)?;
                next += 1;
            }
            Ok::<(), TrainError>(())
        };
        let first_begun = Instant::now();
        timed("first step", || steps(1))?;
        let first_step = Instant::now();
        let mut n_steps = 0;
        while n_steps < n_warm && (n_steps < 2 || first_step.elapsed().as_secs_f64() < seconds) {
            steps(1)?;
            n_steps += 1;
        }
        let warm = Instant::now();
        let of_one = warm.duration_since(first_step).as_secs_f64() / n_steps.max(1) as f64;
        let in_group = ((seconds / n_groups as f64 / of_one.max(1e-9)) as usize).max(1);
        let mut means = Vec::with_capacity(n_groups);
        while means.len() < n_groups && (means.len() < 3 || warm.elapsed().as_secs_f64() < seconds) {
            let begun = Instant::now();
            steps(in_group)?;
            means.push(begun.elapsed().as_secs_f64() / in_group as f64);
        }
        means.sort_by(f64::total_cmp);
        Ok(Times { first_begun, first_step, means, in_group })
    }

    /// Every variable, optimizer states too.
    pub fn variables(&self) -> Tensors {
        let tensor = |path: &SmolStr, shape| Tensor { shape, values: self.engine.variable(path) };
        self.shapes().into_iter().map(|(path, shape)| (path.clone(), tensor(&path, shape))).collect()
    }

    /// Parameters and the model's own states: what evaluation needs. Where a shadow stands for a parameter, its value.
    pub fn weights(&self) -> Tensors {
        let all = self.variables();
        let shadow = |path: &SmolStr| {
            let (_, state) = self.model.shadows.iter().find(|(parameter, _)| parameter == path)?;
            all.get(state).cloned()
        };
        let kept = all.iter().filter(|(path, _)| !is_optimizer_state(path));
        kept.map(|(path, tensor)| (path.clone(), shadow(path).unwrap_or_else(|| tensor.clone()))).collect()
    }

    /// Replaces parameters and states by a file's.
    ///
    /// # Errors
    /// The file cannot be read or does not fit the model.
    pub fn load_weights(&mut self, path: &Path) -> Result<(), TrainError> {
        self.load_parts(path, &[])
    }

    /// The same for the variables under these paths, such as `net.encoder`; the others stay as they are. No path means
    /// all of them.
    ///
    /// # Errors
    /// The file cannot be read, lacks one of them or has it in another shape; a path under which there is none.
    pub fn load_parts(&mut self, path: &Path, parts: &[String]) -> Result<(), TrainError> {
        let under = |name: &str, part: &str| {
            name.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let wanted = |name: &str| parts.is_empty() || parts.iter().any(|part| under(name, part));
        let (mut tensors, _) = weights::read(path, "")?;
        tensors.retain(|name, _| wanted(name));
        let mut shapes = self.shapes();
        if let Some(part) = parts.iter().find(|part| !shapes.iter().any(|(name, _)| under(name, part))) {
            let text = format!("nothing of it is taken: the model has no variables under `{part}`");
            return Err(WeightsError::at(path, text).into());
        }
        shapes.retain(|(name, _)| wanted(name));
        weights::match_names(path, &tensors, &shapes, &is_optimizer_state)?;
        for (name, shape) in shapes {
            if let Some(tensor) = tensors.get(&name).filter(|t| t.shape == shape) {
                self.engine.set_variable(&name, &tensor.values);
            }
        }
        for variable in &self.model.variables {
            if let Some(tensor) = variable.begins_as.as_ref().and_then(|parameter| tensors.get(parameter)) {
                self.engine.set_variable(&variable.path, &tensor.values);
            }
        }
        Ok(())
    }

    /// Goes to where a checkpoint of the same run stands.
    ///
    /// # Errors
    /// The checkpoint is damaged, or is of another model, seed, batch or data.
    pub fn load_checkpoint(&mut self, path: &Path) -> Result<(), TrainError> {
        let (tensors, position) = checkpoint::load(path)?;
        weights::match_names(path, &tensors, &self.shapes(), &|_| false)?;
        let own = &self.position;
        let checks = [
            ("seed", position.seed, own.seed),
            ("batch", position.batch, own.batch),
            ("number of examples", position.n_examples, own.n_examples),
        ];
        for (what, there, here) in checks {
            if there != here {
                let text = format!(
                    "was made with {what} {there}, but now it is {here}; this would not be the same run"
                );
                return Err(WeightsError::at(path, text).into());
            }
        }
        if !position.sums.metrics.iter().map(|(name, _)| name).eq(&self.model.metrics) {
            return Err(WeightsError::at(path, "was made with other reported metrics").into());
        }
        tensors.iter().for_each(|(name, tensor)| self.engine.set_variable(name, &tensor.values));
        self.position = position;
        Ok(())
    }

    /// Writes the checkpoint of this position, unless a variable is not finite.
    pub fn save_checkpoint(&self, folder: &RunFolder) -> Result<(), TrainError> {
        let variables = self.variables();
        if let Some((path, _)) = variables.iter().find(|(_, t)| t.values.iter().any(|v| !v.is_finite())) {
            return Err(TrainError::VariableNotFinite { path: path.clone(), step: self.position.step - 1 });
        }
        Ok(checkpoint::save(&folder.checkpoint(), &variables, &self.position)?)
    }

    fn shapes(&self) -> Vec<(SmolStr, Vec<usize>)> {
        let size = |d: &crate::base::Dim| d.as_const().unwrap_or(0).max(0) as usize;
        self.model.variables.iter().map(|v| (v.path.clone(), v.ty.shape.iter().map(size).collect())).collect()
    }

    /// Metrics over all examples, in the file's order, without training.
    ///
    /// # Errors
    /// The data lack a field the model reads.
    pub fn evaluate(&mut self, data: Arc<Dataset>) -> Result<Metrics, TrainError> {
        Ok(self.measure(data)?.metrics)
    }

    /// The same, with the tables that are reported.
    ///
    /// # Errors
    /// The data lack a field the model reads.
    pub fn measure(&mut self, data: Arc<Dataset>) -> Result<Evaluation, TrainError> {
        let mut contributions = Contributions::new(self.model);
        sweep(
            &mut self.engine,
            Program::Eval,
            data,
            self.model.settings.batch,
            self.position.step,
            |engine, n_rows| contributions.add(engine, n_rows),
        )?;
        Ok(contributions.finish())
    }

    /// The bytes of the output `name` of the predict program, for all examples in the file's order.
    ///
    /// # Errors
    /// The data lack a field the model reads.
    pub fn predict(&mut self, data: Arc<Dataset>, name: &str) -> Result<Vec<u8>, TrainError> {
        let mut bytes = Vec::new();
        sweep(
            &mut self.engine,
            Program::Predict,
            data,
            self.model.settings.batch,
            self.position.step,
            |engine, _| {
                bytes.extend_from_slice(engine.output(Program::Predict, name));
            },
        )?;
        Ok(bytes)
    }
}

/// A step that is under way.
struct Begun {
    step: u64,
    /// Counted from 1.
    epoch: u64,
    n_rows: usize,
    /// True for the last step of a run, too.
    ends_epoch: bool,
}

/// What was measured of training steps.
pub struct Times {
    /// When all was ready for the first step.
    pub first_begun: Instant,
    /// When the first step was done.
    pub first_step: Instant,
    /// Seconds a step, the mean of each group, least first.
    pub means: Vec<f64>,
    /// Steps in a group.
    pub in_group: usize,
}

/// Optimizer states are called `adam.m/PARAMETER`.
fn is_optimizer_state(path: &str) -> bool {
    path.contains('/')
}

fn scalar<E: Engine>(engine: &E, program: Program, name: &str) -> f32 {
    let bytes = engine.output(program, name);
    f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Runs a program once over all examples.
fn sweep<E: Engine>(
    engine: &mut E,
    program: Program,
    data: Arc<Dataset>,
    batch: u64,
    step: u64,
    mut each: impl FnMut(&E, usize),
) -> Result<(), TrainError> {
    let inputs = Inputs::of(engine, program, &data)?;
    let schedule = Schedule::once(data.n_examples, batch.max(1) as usize);
    let mut batches = Batches::start(data, inputs.fields.clone(), schedule);
    while let Some(batch) = batches.next_batch() {
        inputs.run(engine, program, batch.n_rows, step, &|i| batch.field(i));
        engine.finish(program, 0).map_err(TrainError::Engine)?;
        each(engine, batch.n_rows);
    }
    Ok(())
}

/// Where each input of a program comes from.
struct Inputs {
    /// For each input: an index into `fields`, or `None` for `step`.
    sources: Vec<Option<usize>>,
    /// Indices into the data set's fields.
    fields: Vec<usize>,
}

impl Inputs {
    fn of<E: Engine>(engine: &mut E, program: Program, data: &Dataset) -> Result<Inputs, TrainError> {
        let mut inputs = Inputs { sources: Vec::new(), fields: Vec::new() };
        for name in engine.prepare(program).map_err(TrainError::Engine)? {
            let field = data.fields.iter().position(|f| f.name == name);
            match field {
                Some(field) => {
                    inputs.sources.push(Some(inputs.fields.len()));
                    inputs.fields.push(field);
                }
                None if name == "step" => inputs.sources.push(None),
                None => {
                    return Err(DataError::new(format!(
                        "the data have no field `{name}`, which the model reads"
                    ))
                    .into());
                }
            }
        }
        Ok(inputs)
    }

    fn run<'b, E: Engine>(
        &self,
        engine: &mut E,
        program: Program,
        n_rows: usize,
        step: u64,
        field: &dyn Fn(usize) -> &'b [u8],
    ) {
        self.with(step, field, |inputs| engine.run(program, n_rows, step, inputs));
    }

    /// Gives what a step takes to `use_`, in order.
    fn with<'b, T>(
        &self,
        step: u64,
        field: &dyn Fn(usize) -> &'b [u8],
        use_: impl FnOnce(&[&[u8]]) -> T,
    ) -> T {
        let counter = (step as i32).to_ne_bytes();
        let bytes = |source: &Option<usize>| -> &[u8] {
            match source {
                Some(i) => field(*i),
                None => &counter,
            }
        };
        let inputs: Vec<&[u8]> = self.sources.iter().map(bytes).collect();
        use_(&inputs)
    }
}

pub mod launches;
pub mod profile;
mod record;
#[cfg(test)]
mod tests;
pub mod tune;
