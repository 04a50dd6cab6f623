//! From syntax tree to graphs: names, types, shapes, parameters.
//!
//! What enters: a parsed file with its imports, the fields that its data source offers, overrides of its
//! settings. What leaves: a `Model`: a training step, an evaluation and a prediction as graphs, and the list of
//! variables by path; or all errors of the file as `Diagnostic`s. Invariants: a `Model` is well-typed; every
//! trainable parameter is reached by a loss; its graphs' only free symbol is `batch`; gradients stand in them as
//! `Op::Grad`, which `autodiff` replaces. Not here: differentiation, reading of data files.

mod accumulate;
mod alike;
mod arith;
mod axes;
mod bind;
mod call;
mod check;
mod elaborate;
mod elsewhere;
pub mod examples;
mod expr;
mod fold;
mod functions;
mod gathers;
mod index;
mod intrinsics;
mod literals;
pub mod load;
mod metrics;
mod mismatch;
mod notation;
mod optimizer;
mod over;
mod params;
mod paths;
mod per_example;
mod repeat;
mod scalars;
mod settings;
mod slots;
mod sums;
mod tests_blocks;
mod train;
mod turns;
mod types;
mod value;
mod views;
mod windows;

pub use check::{Checked, check};
pub use load::{Disk, Loader, NoFiles, Program, load};
pub use settings::Overrides;
pub use tests_blocks::{CheckedClaim, Subject, TestBlock};

use crate::base::{Precision, TensorType};
use crate::graph::Graph;
use gradc_dsl::Span;
use smol_str::SmolStr;

/// Everything that is known of a train block once it is checked.
#[derive(Clone)]
pub struct Model {
    /// The train block's name.
    pub name: SmolStr,
    /// One optimizer step. Outputs: `loss` (the sum of all minimized losses) and each reported metric;
    /// updates: parameters, optimizer states, model states. Inputs: the data's fields, and `step`.
    pub train: Graph,
    /// The same outputs without updates, with `training` false.
    pub eval: Graph,
    /// What `gradc predict` writes; one output for each `predict` line. Reads only the fields it needs.
    pub predict: Graph,
    /// Parameters first, then states, each in order of first use.
    pub variables: Vec<Variable>,
    /// Parameters to the states that stand for them in `eval` and `predict`, both by path.
    pub shadows: Vec<(SmolStr, SmolStr)>,
    /// The training step's outputs in order: `loss`, then the reports that are one number.
    pub metrics: Vec<SmolStr>,
    /// Reports whose value in an evaluation is not the examples' mean; `eval` has their parts as outputs.
    pub aggregates: Vec<Aggregate>,
    pub settings: Settings,
}

/// A metric that is computed once, of what all batches of an evaluation contribute.
#[derive(Clone)]
pub struct Aggregate {
    pub name: SmolStr,
    /// Constant shape of at most two axes.
    pub ty: TensorType,
    pub parts: Vec<Part>,
    /// From the parts, inputs by the names of their outputs, to the output of the metric's name. `batch` is the number
    /// of all examples in it.
    pub value: Graph,
}

/// What a batch contributes to a metric.
#[derive(Clone, Debug)]
pub struct Part {
    /// An output of `eval`.
    pub output: SmolStr,
    pub ty: TensorType,
    /// Rows of examples, one batch after the other; otherwise a sum.
    pub gathered: bool,
}

/// A parameter or a state.
#[derive(Clone, Debug)]
pub struct Variable {
    /// `classifier.dense.0.w`; optimizer states: `adam.m/classifier.dense.0.w`.
    pub path: SmolStr,
    /// Constant shape.
    pub ty: TensorType,
    pub initial: Initial,
    /// An optimizer's state that begins as the parameter of this path does.
    pub begins_as: Option<SmolStr>,
    /// A parameter, rather than a state.
    pub trained: bool,
    pub span: Span,
}

/// How a variable starts. Limits and deviations are already worked out from the shape.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Initial {
    Constant(f64),
    /// Uniform in `[low, high)`.
    Uniform {
        low: f64,
        high: f64,
    },
    Normal {
        mean: f64,
        deviation: f64,
    },
    /// Rows or columns (the fewer) orthonormal, times `gain` (Saxe et al. 2014, arXiv 1312.6120); over all axes
    /// but the last as rows.
    Orthogonal {
        gain: f64,
    },
}

/// What the train block says about the run.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data: DataCall,
    /// Held-out data, evaluated after training.
    pub test: Option<DataCall>,
    /// Data evaluated after each epoch.
    pub valid: Option<DataCall>,
    pub batch: u64,
    pub epochs: u64,
    /// Stops after that many steps, when given, whatever the epochs.
    pub steps: Option<u64>,
    pub seed: u64,
    pub shuffle: bool,
    /// Of all of the model's programs.
    pub precision: Precision,
}

/// A data source as written, `idx("data/mnist-train")`, arguments evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct DataCall {
    pub source: SmolStr,
    /// `None`: by position.
    pub arguments: Vec<(Option<SmolStr>, DataValue, Span)>,
    pub span: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum DataValue {
    Number(f64),
    Text(String),
    Bool(bool),
    /// A field's type, for one example: `image: f32[28, 28]`.
    Type(TensorType),
}

/// What a data source offers, without reading it all.
#[derive(Clone, Debug, PartialEq)]
pub struct DataInfo {
    /// Name and type of one example's field (no batch axis): `image: u8[28, 28]`, `label: u8[]`.
    pub fields: Vec<(SmolStr, TensorType)>,
    /// Sizes that the data decide, such as `vocab`.
    pub sizes: Vec<(SmolStr, i64)>,
    pub n_examples: u64,
}

/// Looks data sources up for the checker; the training room implements it. An error's text is for the user and
/// stands under the call.
pub trait Catalog: Sync {
    fn info(&self, call: &DataCall) -> Result<DataInfo, String>;
}
