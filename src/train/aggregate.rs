//! Metrics of a whole evaluation: contributions of batches, and what they come to.
//!
//! What enters: after each batch, the outputs of the evaluation. What leaves: means weighted by examples, and for each
//! `Aggregate` the value of its graph on all parts, computed in f64 by the interpreter. Invariant: how the examples are cut
//! into batches changes nothing but the rounding of sums.

use super::checkpoint::Sums;
use super::engine::{Engine, Program};
use super::run::Metrics;
use crate::autodiff::differentiate;
use crate::graph::interpret::{Env, Tensor, interpret_step};
use crate::model::{Aggregate, Model};
use indexmap::IndexSet;
use smol_str::SmolStr;

/// What an evaluation found.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Evaluation {
    pub metrics: Metrics,
    pub tables: Vec<Table>,
}

/// A reported vector or matrix.
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    pub name: SmolStr,
    /// One or two sizes.
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f64>,
}

/// What batches have contributed so far.
pub struct Contributions<'m> {
    model: &'m Model,
    /// Of the metrics that are means.
    means: Sums,
    /// For each aggregate, each of its parts' elements.
    parts: Vec<Vec<Vec<f64>>>,
    n_examples: i64,
}

impl<'m> Contributions<'m> {
    pub fn new(model: &'m Model) -> Contributions<'m> {
        let aggregated = |name: &SmolStr| model.aggregates.iter().any(|aggregate| aggregate.name == *name);
        let means: Vec<SmolStr> = model.metrics.iter().filter(|name| !aggregated(name)).cloned().collect();
        let parts =
            model.aggregates.iter().map(|aggregate| vec![Vec::new(); aggregate.parts.len()]).collect();
        Contributions { model, means: Sums::new(&means), parts, n_examples: 0 }
    }

    /// Adds what the engine has computed of a batch.
    pub fn add<E: Engine>(&mut self, engine: &E, n_rows: usize) {
        self.n_examples += n_rows as i64;
        let scalar = |name: &SmolStr| {
            let bytes = engine.output(Program::Eval, name);
            f32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
        };
        let values: Vec<f32> = self.means.metrics.iter().map(|(name, _)| scalar(name)).collect();
        self.means.add(n_rows, values);
        for (aggregate, sums) in self.model.aggregates.iter().zip(&mut self.parts) {
            for (part, sum) in aggregate.parts.iter().zip(sums) {
                let values = part.ty.dtype.decode(engine.output(Program::Eval, &part.output));
                if part.gathered || sum.is_empty() {
                    sum.extend(values);
                } else {
                    sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
                }
            }
        }
    }

    /// The metrics, those that a step has, too, first, and the tables.
    pub fn finish(self) -> Evaluation {
        let means = self.means.means();
        let mut made: Vec<(SmolStr, Tensor)> = Vec::new();
        for (aggregate, parts) in self.model.aggregates.iter().zip(self.parts) {
            made.push((aggregate.name.clone(), value(aggregate, parts, self.n_examples)));
        }
        let of = |name: &SmolStr| {
            let mean = means.iter().find(|(other, _)| other == name).map(|(_, value)| *value);
            mean.or_else(|| made.iter().find(|(other, _)| other == name).map(|(_, value)| value.data[0]))
        };
        let numbers = made.iter().filter(|(_, value)| value.shape.is_empty()).map(|(name, _)| name);
        let names: IndexSet<&SmolStr> = self.model.metrics.iter().chain(numbers).collect();
        let metrics = names.into_iter().filter_map(|name| Some((name.clone(), of(name)?))).collect();
        let tables = made.into_iter().filter(|(_, value)| !value.shape.is_empty());
        let tables =
            tables.map(|(name, value)| Table { name, shape: value.shape, values: value.data.to_vec() });
        Evaluation { metrics, tables: tables.collect() }
    }
}

fn value(aggregate: &Aggregate, parts: Vec<Vec<f64>>, n_examples: i64) -> Tensor {
    let mut env = Env::default();
    env.symbols.insert("batch".into(), n_examples);
    for (part, values) in aggregate.parts.iter().zip(parts) {
        let shape = env.shape(&part.ty.shape).expect("the only symbol is `batch`");
        env.leaves.insert(part.output.clone(), Tensor::new(shape, values));
    }
    let (mut outputs, _) =
        interpret_step(&differentiate(&aggregate.value), &env).expect("the parts are all it reads");
    outputs.remove(&aggregate.name).expect("its output has its name")
}
