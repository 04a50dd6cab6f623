//! Proves a model's gradients by finite differences, in f64, on its own data.
//!
//! What enters: a checked model, examples, variables' values. What leaves: for each trained variable the
//! derivative of its loss along a random direction, from the symbolic gradient and from central differences.
//! The interpreter evaluates both, so this says nothing about generated code. A direction that crosses a kink
//! (relu at 0) shows in the difference, so smaller steps are tried before a gradient is called wrong.

use super::data::{DataError, Dataset};
use super::init::initial_value;
use super::philox::Philox;
use super::weights::Tensors;
use crate::autodiff::differentiate;
use crate::base::DType;
use crate::graph::interpret::{Env, Tensor, interpret_step};
use crate::graph::rewrite::Rewriter;
use crate::graph::{Graph, NodeId, Op};
use crate::model::{Model, Variable};
use crate::scalar::Func;
use smol_str::SmolStr;

/// One variable's comparison.
#[derive(Clone, PartialEq, Debug)]
pub struct Check {
    pub path: SmolStr,
    /// Along the direction, from the gradient the compiler derived.
    pub symbolic: f64,
    /// The same from differences of the loss.
    pub numeric: f64,
    pub agrees: bool,
}

/// Relative to the greater of the two, and to 1e-3 for derivatives near zero.
const TOLERANCE: f64 = 1e-5;
const STEPS: [f64; 3] = [1e-5, 1e-6, 1e-7];

/// Checks every gradient that the training program asks for, on the first `n_rows` examples.
///
/// # Errors
/// The interpreter refuses the model.
pub fn gradcheck(
    model: &Model,
    data: &Dataset,
    variables: &Tensors,
    n_rows: usize,
) -> Result<Vec<Check>, DataError> {
    let env = environment(model, data, variables, n_rows.min(data.n_examples));
    check_all(&model.train, &env)
}

/// Checks a function by itself: the gradient of the sum of its squared results, on random inputs, with every free
/// size 2.
///
/// # Errors
/// The interpreter refuses the function.
pub fn gradcheck_function(graph: &Graph, variables: &[Variable], seed: u64) -> Result<Vec<Check>, DataError> {
    let refused = |e: &dyn std::fmt::Display| DataError::new(e.to_string());
    let mut env = Env { seed, ..Env::default() };
    for id in graph.ids() {
        for symbol in graph.ty(id).shape.iter().flat_map(|d| d.symbols()) {
            env.symbols.insert(symbol, 2);
        }
    }
    for variable in variables {
        let shape = env.shape(&variable.ty.shape).map_err(|e| refused(&e))?;
        let values: Vec<f64> = initial_value(variable, seed).into_iter().map(f64::from).collect();
        env.leaves.insert(variable.path.clone(), Tensor::new(shape, values));
    }
    let mut asked = graph.clone();
    let mut loss = asked.constant(0.0, DType::F32);
    for (_, output) in graph.outputs.iter().filter(|(_, id)| graph.dtype(*id) == DType::F32) {
        let square = asked.map(Func::Mul, &[*output, *output]).map_err(|e| refused(&e))?;
        let sum = asked.sum_all(square).map_err(|e| refused(&e))?;
        loss = asked.map(Func::Add, &[loss, sum]).map_err(|e| refused(&e))?;
    }
    for id in graph.ids() {
        match &graph.node(id).op {
            Op::Param(_) => {
                asked.grad(loss, id).map_err(|e| refused(&e))?;
            }
            Op::Input(name) => {
                let shape = env.shape(&graph.ty(id).shape).map_err(|e| refused(&e))?;
                let mut random = Philox::keyed(seed, name);
                let n = shape.iter().product();
                let values: Vec<f64> = match graph.dtype(id) {
                    DType::F32 => random.normal_vector(n),
                    _ => (0..n).map(|_| random.below(2) as f64).collect(),
                };
                env.leaves.insert(name.clone(), Tensor::new(shape, values));
            }
            _ => {}
        }
    }
    check_all(&asked, &env)
}

/// Every `Grad` node of a graph with respect to a parameter.
fn check_all(graph: &Graph, env: &Env) -> Result<Vec<Check>, DataError> {
    let mut checks = Vec::new();
    for id in graph.ids() {
        let node = graph.node(id);
        let (Op::Grad, [loss, wrt]) = (&node.op, &node.operands[..]) else { continue };
        let Op::Param(path) = &graph.node(*wrt).op else { continue };
        let both = program(graph, &[("loss", *loss), ("gradient", id)]);
        let only_loss = program(graph, &[("loss", *loss)]);
        let gradient = output(&both, env, "gradient")?;
        let direction = direction(path, gradient.data.len());
        let symbolic: f64 = gradient.data.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let mut check = Check { path: path.clone(), symbolic, numeric: f64::NAN, agrees: false };
        for step in STEPS {
            let loss_at = |sign: f64| -> Result<f64, DataError> {
                let mut moved = env.clone();
                let value = moved.leaves.get_mut(path).expect("every variable is in the environment");
                value.data.iter_mut().zip(&direction).for_each(|(v, d)| *v += sign * step * d);
                Ok(output(&only_loss, &moved, "loss")?.data[0])
            };
            check.numeric = (loss_at(1.0)? - loss_at(-1.0)?) / (2.0 * step);
            let scale = symbolic.abs().max(check.numeric.abs()).max(1e-3);
            check.agrees = (check.numeric - symbolic).abs() <= TOLERANCE * scale;
            if check.agrees {
                break;
            }
        }
        checks.push(check);
    }
    Ok(checks)
}

/// What `outputs` need of a graph, differentiated.
fn program(graph: &Graph, outputs: &[(&str, NodeId)]) -> Graph {
    let mut program = graph.clone();
    program.outputs = outputs.iter().map(|(name, id)| (SmolStr::from(*name), *id)).collect();
    program.updates.clear();
    let program = differentiate(&prune(&program));
    prune(&program)
}

/// Without the nodes that no root reaches.
fn prune(graph: &Graph) -> Graph {
    let mut live = vec![false; graph.len()];
    graph.roots().for_each(|id| live[id.index()] = true);
    for id in graph.ids().rev() {
        if live[id.index()] {
            graph.node(id).operands.iter().for_each(|o| live[o.index()] = true);
        }
    }
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids().filter(|id| live[id.index()]) {
        rewriter.copy(id);
    }
    rewriter.finish()
}

fn output(graph: &Graph, env: &Env, name: &str) -> Result<Tensor, DataError> {
    let (mut outputs, _) = interpret_step(graph, env).map_err(|e| DataError::new(e.to_string()))?;
    outputs.remove(name).ok_or_else(|| DataError::new(format!("the graph has no output `{name}`")))
}

fn environment(model: &Model, data: &Dataset, variables: &Tensors, n_rows: usize) -> Env {
    let mut env = Env { seed: model.settings.seed, ..Env::default() };
    env.symbols.insert("batch".into(), n_rows as i64);
    env.leaves.insert("step".into(), Tensor::scalar(0.0));
    for field in &data.fields {
        let row_shape = field.ty.shape.iter().map(|d| d.as_const().unwrap_or(0) as usize);
        let shape: Vec<usize> = std::iter::once(n_rows).chain(row_shape).collect();
        let bytes = &field.bytes[..n_rows * field.row_bytes()];
        env.leaves.insert(field.name.clone(), Tensor::new(shape, field.ty.dtype.decode(bytes)));
    }
    for (path, tensor) in variables {
        let values: Vec<f64> = tensor.values.iter().map(|v| f64::from(*v)).collect();
        env.leaves.insert(path.clone(), Tensor::new(tensor.shape.clone(), values));
    }
    env
}

/// A unit vector.
fn direction(path: &str, n: usize) -> Vec<f64> {
    let mut random = Philox::keyed(0, path);
    let vector = random.normal_vector(n);
    let norm = vector.iter().map(|v| v * v).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.into_iter().map(|v| v / norm).collect()
}

#[cfg(test)]
mod tests {
    use super::super::data::Field;
    use super::super::weights::Tensor as Weights;
    use super::*;
    use crate::base::{Dim, ReduceOp, TensorType};
    use crate::model::{DataCall, Settings};
    use gradc_dsl::Span;

    /// `sum(tanh(x @ w)^2)`; with `detached`, one factor is `detach(tanh(x @ w))`, whose gradient is half of the
    /// difference quotient's.
    fn model(detached: bool) -> Model {
        let mut graph = Graph::new();
        let x = graph.input("x", TensorType::new(DType::F32, [Dim::symbol("batch"), Dim::from(3)]));
        let w = graph.param("net.w", TensorType::new(DType::F32, [Dim::from(3), Dim::from(2)]));
        let y = graph.matmul(x, w).unwrap();
        let y = graph.map(Func::Tanh, &[y]).unwrap();
        let other = if detached { graph.detach(y).unwrap() } else { y };
        let square = graph.map(Func::Mul, &[y, other]).unwrap();
        let loss = graph.reduce(ReduceOp::Sum, square, &[0, 1]).unwrap();
        let gradient = graph.grad(loss, w).unwrap();
        graph.updates.push((w, gradient));
        let data = DataCall { source: "memory".into(), arguments: Vec::new(), span: Span::default() };
        let settings = Settings {
            data,
            test: None,
            valid: None,
            batch: 2,
            epochs: 1,
            steps: None,
            seed: 1,
            shuffle: false,
            precision: Default::default(),
        };
        let (eval, predict) = (Graph::new(), Graph::new());
        Model {
            name: "net".into(),
            train: graph,
            eval,
            predict,
            variables: vec![],
            shadows: Vec::new(),
            aggregates: Vec::new(),
            metrics: vec![],
            settings,
        }
    }

    #[test]
    fn a_right_gradient_agrees_and_a_wrong_one_does_not() {
        let x = Field::f32("x", &[3], &[0.1, 0.2, 0.3, -0.4, 0.5, 0.6]);
        let data = Dataset::new("test", vec![x]).unwrap();
        let w = Weights { shape: vec![3, 2], values: vec![0.5, -0.25, 0.75, 1.0, -0.5, 0.125] };
        let variables = Tensors::from([("net.w".into(), w)]);
        for detached in [false, true] {
            let checks = gradcheck(&model(detached), &data, &variables, 2).unwrap();
            let [check] = &checks[..] else { panic!("{checks:?}") };
            assert_eq!((check.path.as_str(), check.agrees), ("net.w", !detached), "{check:?}");
        }
    }
}
