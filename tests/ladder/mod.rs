//! One model on one batch of data, trained by each thing that can: the ladder from a model's meaning to machine code.
//!
//! What enters: a checked model, its data, the variables to start from. What leaves, for each rung: every metric's series
//! and every variable after the last step, by name. Invariant: each step takes the whole data set as its batch, so that
//! all rungs see the same numbers in the same order.

use gradc::graph::interpret::{Env, Tensor, interpret_step};
use gradc::graph::{Graph, Op};
use gradc::model::Model;
use gradc::nest::interpret::Run;
use gradc::plan::interpret::Values as Leaves;
use gradc::train::compiled::Compiled;
use gradc::train::data::Dataset;
use gradc::train::engine::{Engine, Program};
use gradc::train::init::initial_value;
use gradc::train::run::{Event, Flow, Trainer};
use gradc::{autodiff, passes, plan};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Numbers by name: a metric's, step by step, or a variable's elements.
pub type Values = BTreeMap<String, Vec<f64>>;

pub struct Ladder<'m> {
    pub model: &'m Model,
    data: Arc<Dataset>,
    start: Values,
    n_steps: u64,
}

/// One way to train.
#[derive(Clone, Copy)]
pub struct Rung {
    pub name: &'static str,
    /// How far a number may be off, relative to the greatest element of its tensor.
    pub tolerance: f64,
    pub train: fn(&Ladder) -> Values,
}

/// Those that compute in f64, from the definition of meaning down to the plan.
pub const EXACT: &[Rung] = &[
    Rung { name: "graph", tolerance: 1e-10, train: |ladder| ladder.definition() },
    Rung {
        name: "optimized graph",
        tolerance: 1e-10,
        train: |ladder| ladder.graph(&passes::optimize(&ladder.differentiated())),
    },
    Rung { name: "plan", tolerance: 1e-10, train: |ladder| ladder.plan() },
    Rung { name: "plan for CUDA", tolerance: 1e-10, train: |ladder| ladder.plan_for_cuda() },
];

/// Those that compute in f32, in machine code.
pub const COMPILED: &[Rung] = &[
    Rung { name: "cpu, 1 thread", tolerance: 1e-5, train: |ladder| ladder.cpu(1) },
    Rung { name: "cpu, 3 threads", tolerance: 1e-5, train: |ladder| ladder.cpu(3) },
];

impl<'m> Ladder<'m> {
    /// Variables begin as the model says, those in `start` with its values.
    ///
    /// # Errors
    /// A name or a number of elements that the model does not have.
    pub fn new(model: &'m Model, data: Arc<Dataset>, start: Values) -> Result<Ladder<'m>, String> {
        assert!(model.settings.batch >= data.n_examples as u64, "a step takes all examples");
        assert!(!model.settings.shuffle, "the examples keep their order");
        let initial =
            |variable| initial_value(variable, model.settings.seed).into_iter().map(f64::from).collect();
        let mut all: Values = model.variables.iter().map(|v| (v.path.to_string(), initial(v))).collect();
        for (path, values) in start {
            match all.get_mut(&path) {
                Some(old) if old.len() == values.len() => *old = values,
                Some(old) => {
                    return Err(format!("`{path}` has {} elements, not {}", old.len(), values.len()));
                }
                None => return Err(format!("there is no variable `{path}`")),
            }
        }
        // A state that begins as a parameter follows it.
        for variable in &model.variables {
            if let Some(values) =
                variable.begins_as.as_ref().and_then(|parameter| all.get(parameter.as_str()))
            {
                all.insert(variable.path.to_string(), values.clone());
            }
        }
        let n_steps = model.settings.steps.expect("the model says how many steps");
        Ok(Ladder { model, data, start: all, n_steps })
    }

    fn differentiated(&self) -> Graph {
        autodiff::differentiate(&self.model.train)
    }

    /// Elements of the input `name` in the step `step`.
    fn input(&self, name: &str, step: u64) -> Vec<f64> {
        let Some(field) = self.data.field(name) else {
            assert_eq!(name, "step", "an input that is no field");
            return vec![step as f64];
        };
        field.ty.dtype.decode(&field.bytes)
    }

    /// What training means: each node of the graph that was checked and differentiated, one after another.
    pub fn definition(&self) -> Values {
        self.graph(&self.differentiated())
    }

    fn graph(&self, graph: &Graph) -> Values {
        let mut variables = self.start.clone();
        let mut metrics = Values::new();
        for step in 0..self.n_steps {
            let mut env = Env { seed: self.model.settings.seed, step, ..Env::default() };
            env.symbols.insert("batch".into(), self.data.n_examples as i64);
            for id in graph.ids() {
                let op = &graph.node(id).op;
                let Some(name) = op.leaf_name() else { continue };
                let shape = env.shape(&graph.ty(id).shape).expect("the only symbol is `batch`");
                let values = match op {
                    Op::Input(_) => self.input(name, step),
                    _ => variables[name.as_str()].clone(),
                };
                env.leaves.insert(name.clone(), Tensor::new(shape, values));
            }
            let (outputs, updates) = interpret_step(graph, &env).expect("the graph has a value");
            variables
                .extend(updates.into_iter().map(|(path, value)| (path.to_string(), value.data.to_vec())));
            for name in &self.model.metrics {
                metrics.entry(name.to_string()).or_default().push(outputs[name].data[0]);
            }
        }
        metrics.extend(variables);
        metrics
    }

    /// The plan of a step.
    pub fn planned(&self, target: plan::Target) -> plan::Plan {
        let graph = passes::optimize(&self.differentiated());
        plan::plan(&graph, &plan::Options::new(self.model.settings.batch as i64, target))
    }

    fn plan(&self) -> Values {
        let plan = self.planned(plan::Target::Cpu);
        self.train_by(&mut |leaves, at| {
            plan::interpret::interpret(&plan, leaves, at).expect("the plan can be run")
        })
    }

    /// The plan for a GPU, by the same interpreter.
    fn plan_for_cuda(&self) -> Values {
        let plan = self.planned(plan::Target::Cuda);
        self.train_by(&mut |leaves, at| {
            plan::interpret::interpret(&plan, leaves, at).expect("the plan can be run")
        })
    }

    /// Trains by what runs one step: gives outputs and variables.
    pub fn train_by(&self, step_of: &mut dyn FnMut(&Leaves, Run) -> (Leaves, Leaves)) -> Values {
        let batch = self.data.n_examples as i64;
        let mut variables = self.start.clone();
        let mut metrics = Values::new();
        for step in 0..self.n_steps {
            let mut leaves: Leaves =
                variables.iter().map(|(path, values)| (path.as_str().into(), values.clone())).collect();
            for id in self.model.train.ids() {
                if let Op::Input(name) = &self.model.train.node(id).op {
                    leaves.insert(name.clone(), self.input(name, step));
                }
            }
            let run = Run { batch, seed: self.model.settings.seed, step };
            let (outputs, after) = step_of(&leaves, run);
            variables.extend(after.into_iter().map(|(path, values)| (path.to_string(), values)));
            for name in &self.model.metrics {
                metrics.entry(name.to_string()).or_default().push(outputs[name][0]);
            }
        }
        metrics.extend(variables);
        metrics
    }

    fn cpu(&self, n_threads: usize) -> Values {
        self.on(Compiled::new(self.model, n_threads))
    }

    /// Trains on an engine of this model.
    pub fn on<E: Engine>(&self, mut engine: E) -> Values {
        engine.prepare(Program::Train).expect("the model can be compiled");
        let mut trainer = Trainer::new(self.model, engine, self.data.clone(), None);
        for (path, values) in &self.start {
            let values: Vec<f32> = values.iter().map(|v| *v as f32).collect();
            trainer.engine.set_variable(path, &values);
        }
        let mut result = Values::new();
        let mut watch = |event: Event| {
            if let Event::Step { metrics, .. } = event {
                for (name, value) in self.model.metrics.iter().zip(metrics) {
                    result.entry(name.to_string()).or_default().push(f64::from(*value));
                }
            }
            Flow::Continue
        };
        trainer.train(None, Duration::MAX, &mut watch).expect("the model can be trained");
        for (path, tensor) in trainer.variables() {
            result.insert(path.to_string(), tensor.values.into_iter().map(f64::from).collect());
        }
        result
    }
}

/// Which rungs are farther from `wanted` than they may be, in which number.
pub fn differences(ladder: &Ladder, wanted: &Values, rungs: &[Rung]) -> Vec<String> {
    let mut differences = Vec::new();
    for Rung { name, tolerance, train } in rungs {
        if let Some((value, deviation)) = farthest(wanted, &train(ladder), *tolerance) {
            differences.push(format!("{name}: `{value}` is off by {deviation:.1e}"));
        }
    }
    differences
}

/// Where `result` is farther from `wanted` than `tolerance` times the greatest element wanted of the same name: the name
/// that is farthest, and how far. Names only in `result` are not looked at.
fn farthest(wanted: &Values, result: &Values, tolerance: f64) -> Option<(String, f64)> {
    let mut worst: Option<(String, f64)> = None;
    for (name, wanted) in wanted {
        let deviation = match result.get(name) {
            Some(result) => deviation(wanted, result),
            None => f64::INFINITY,
        };
        if deviation > tolerance && worst.as_ref().is_none_or(|(_, other)| deviation > *other) {
            worst = Some((name.clone(), deviation));
        }
    }
    worst
}

/// The greatest difference, relative to the greatest element wanted; infinite for a NaN or another number of elements.
fn deviation(wanted: &[f64], result: &[f64]) -> f64 {
    if wanted.len() != result.len() {
        return f64::INFINITY;
    }
    let scale = wanted.iter().fold(0.0f64, |max, v| max.max(v.abs()));
    let differences =
        wanted.iter().zip(result).map(|(w, r)| if r.is_nan() { f64::INFINITY } else { (w - r).abs() });
    let greatest = differences.fold(0.0, f64::max);
    if scale > 0.0 { greatest / scale } else { greatest }
}
