//! gradc: a compiler for neural networks.
//!
//! A model is text. What happens to it stands here in full, each step a function of the one before; a room of the
//! library (a module) does each, and imports only the rooms above it in the list below.
//!
//! ```text
//! text ──load──▶ Program ──check──▶ Model ──differentiate──▶ Graph ──optimize──▶ Graph ──plan──▶ Plan ──▶ Session
//!        dsl                model           autodiff                 passes               plan    codegen, runtime
//! ```
//!
//! [`train`] runs sessions on data; [`cli`] words all of it for people. A program of its own:
//!
//! ```
//! use gradc::train::data::{Data, Field};
//! use gradc::train::run::Flow;
//!
//! let text = "
//!     fn line(x: f32[batch, 1]) -> f32[batch, 1] { x |> dense(1) }
//!     train line {
//!         data = memory(x: f32[1], y: f32[1])
//!         minimize mse(line(data.x), data.y) with sgd(lr = 0.1)
//!         batch = 4  epochs = 300  seed = 1
//!     }";
//! let x = [0.0, 0.25, 0.5, 0.75];
//! let y = [1.0, 1.5, 2.0, 2.5];
//! let data = Data::default()
//!     .with_memory("data", vec![Field::f32("x", &[1], &x), Field::f32("y", &[1], &y)])
//!     .unwrap();
//! let program = gradc::load("line.model", text);
//! let model = gradc::check(&program, &data, &[]).unwrap();
//! let mut trainer = gradc::trainer(&model, &data).unwrap();
//! trainer.train(None, std::time::Duration::MAX, &mut |_| Flow::Continue).unwrap();
//! let weights = trainer.weights();
//! assert!((weights["line.dense.w"].values[0] - 2.0).abs() < 0.05);
//! ```

pub mod base;
pub mod scalar;

pub mod nest;

pub mod graph;

pub mod model;

pub mod autodiff;

pub mod passes;

pub mod plan;

pub mod codegen;

pub mod runtime;

pub mod train;

pub mod cli;

use gradc_dsl::Diagnostic;
use graph::Graph;
use model::{Catalog, Model, Overrides, Program};
use train::compiled::Compiled;
use train::data::Data;
use train::run::{TrainError, Trainer};

/// Reads a model's text, and the standard library with it. Errors of syntax wait in the result.
///
/// ```
/// let program = gradc::load("m.model", "fn twice(x: f32[n]) -> f32[n] { 2 * x }");
/// assert!(program.diagnostics.is_empty());
/// ```
pub fn load(name: &str, text: &str) -> Program {
    model::load(name, text.as_bytes(), &model::NoFiles)
}

/// Finds names, types and shapes; `settings` replace top-level `let`s and the train block's settings.
///
/// # Errors
/// Every error of the model, or none when it has no train block.
///
/// ```
/// use gradc::train::data::Data;
/// let program = gradc::load("m.model", "fn f(x: f32[n]) -> f32[n] { x + missing }");
/// let errors = gradc::check(&program, &Data::default(), &[]).err().unwrap();
/// assert!(errors[0].message.contains("missing"));
/// ```
pub fn check(
    program: &Program,
    data: &dyn Catalog,
    settings: &[(String, String)],
) -> Result<Model, Vec<Diagnostic>> {
    let checked = model::check(program, data, &Overrides(settings.to_vec()));
    checked.model.ok_or(checked.diagnostics)
}

/// Replaces gradients by what computes them, and optimizes.
///
/// ```
/// use gradc::base::{DType, TensorType};
/// use gradc::graph::Graph;
/// let mut graph = Graph::new();
/// let w = graph.param("w", TensorType::scalar(DType::F32));
/// let square = graph.map(gradc::scalar::Func::Mul, &[w, w]).unwrap();
/// let slope = graph.grad(square, w).unwrap();
/// graph.outputs.push(("slope".into(), slope));
/// assert!(gradc::lower(&graph).to_string().contains("output slope"));
/// ```
pub fn lower(graph: &Graph) -> Graph {
    passes::optimize(&autodiff::differentiate(graph))
}

/// Kernels, their order and their memory, for batches of at most `max_batch` examples.
pub fn plan(graph: &Graph, max_batch: i64) -> plan::Plan {
    plan::plan(graph, &plan::Options::new(max_batch, plan::Target::Cpu))
}

/// Everything that is needed to train: the model on an engine, its data, initial parameters.
///
/// # Errors
/// The data cannot be read.
pub fn trainer<'m>(model: &'m Model, data: &Data) -> Result<Trainer<'m, Compiled<'m>>, TrainError> {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let examples = data.load(&model.settings.data)?;
    let valid = model.settings.valid.as_ref().map(|call| data.load(call)).transpose()?;
    Ok(Trainer::new(model, Compiled::new(model, n_threads), examples, valid))
}
