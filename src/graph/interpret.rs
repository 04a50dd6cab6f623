//! The meaning of graphs: every node evaluated in f64, in order, slowly and plainly.
//!
//! What enters: a graph and what it reads (sizes of symbols, leaves by name, seed, step). What leaves: the value
//! of every node, or why there is none (a leaf is missing, a size is negative). All else in the compiler is
//! tested against this; the meaning of each primitive stands in its family's file. f32 values are not rounded;
//! i32 values wrap. Not here: speed.

use super::op::family;
use super::{Graph, NodeId};
use crate::base::{DType, Dim, TensorType};
use smol_str::SmolStr;
use std::collections::BTreeMap;

pub use super::tensor::{Tensor, offsets, row_major};

/// What a graph reads from outside.
#[derive(Clone, Debug, Default)]
pub struct Env {
    /// Sizes of symbols, such as `batch`.
    pub symbols: BTreeMap<SmolStr, i64>,
    /// Inputs, parameters and states, by name.
    pub leaves: BTreeMap<SmolStr, Tensor>,
    /// Of the random numbers.
    pub seed: u64,
    pub step: u64,
}

impl Env {
    pub fn dim(&self, dim: &Dim) -> Result<i64, String> {
        let value = dim.eval(&|symbol| self.symbols.get(symbol).copied());
        value.ok_or_else(|| format!("the size {dim} is not known"))
    }

    pub fn shape(&self, shape: &[Dim]) -> Result<Vec<usize>, String> {
        let size = |dim: &Dim| {
            let value = self.dim(dim)?;
            usize::try_from(value).map_err(|_| format!("the size {dim} is {value}"))
        };
        shape.iter().map(size).collect()
    }
}

/// What a primitive sees when it is evaluated.
pub struct Context<'a> {
    pub env: &'a Env,
    /// The result's.
    pub dtype: DType,
    /// The result's.
    pub shape: Vec<usize>,
    pub operand_types: Vec<&'a TensorType>,
}

/// Why a graph has no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{node}: {message}")]
pub struct InterpretError {
    pub node: NodeId,
    pub message: String,
}

/// The value of every node, in order.
pub fn interpret(graph: &Graph, env: &Env) -> Result<Vec<Tensor>, InterpretError> {
    let mut values: Vec<Tensor> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let value =
            evaluate(graph, id, env, &values).map_err(|message| InterpretError { node: id, message })?;
        values.push(value);
    }
    Ok(values)
}

fn evaluate(graph: &Graph, id: NodeId, env: &Env, values: &[Tensor]) -> Result<Tensor, String> {
    let node = graph.node(id);
    let operands: Vec<&Tensor> = node.operands.iter().map(|operand| &values[operand.index()]).collect();
    let cx = Context {
        env,
        dtype: node.ty.dtype,
        shape: env.shape(&node.ty.shape)?,
        operand_types: node.operands.iter().map(|operand| graph.ty(*operand)).collect(),
    };
    let value = family(&node.op).interpret(&node.op, &operands, &cx)?;
    assert_eq!(value.shape, cx.shape, "{id}: the shape rule of {:?} and its meaning differ", node.op);
    Ok(value)
}

/// Outputs by name, and each updated variable's next value by the variable's name.
pub type StepValues = (BTreeMap<SmolStr, Tensor>, BTreeMap<SmolStr, Tensor>);

/// What a caller sees of one step.
pub fn interpret_step(graph: &Graph, env: &Env) -> Result<StepValues, InterpretError> {
    let values = interpret(graph, env)?;
    let value = |id: NodeId| values[id.index()].clone();
    let outputs = graph.outputs.iter().map(|(name, id)| (name.clone(), value(*id))).collect();
    let updates = graph.updates.iter().map(|(variable, next)| {
        let name = graph.node(*variable).op.leaf_name().expect("verified: only variables are updated");
        (name.clone(), value(*next))
    });
    Ok((outputs, updates.collect()))
}
