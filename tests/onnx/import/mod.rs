//! ONNX graphs through the graph's builder.
//!
//! What enters: a graph of ONNX and the tensors of its inputs. What leaves: a graph of gradc's primitives that computes the
//! same, or why it cannot be said. Element types are carried as in `tensor.rs`; integers shorter than 32 bits are wrapped
//! after arithmetic. Sizes, axes and the like, which ONNX takes as tensors, are read when the graph is built (`known`). What
//! ONNX has as one operator and gradc as a composition is composed here, a file an area.

mod attention;
mod control;
mod elementwise;
mod linear;
mod norm;
mod order;
mod recurrent;
mod reduce;
mod resize;
mod sample;
mod shape;
mod window;

use super::proto::{AttributeProto, GraphProto, NodeProto};
use super::tensor::{Elem, read};
use gradc::base::{DType, Dim, ReduceOp, TensorType};
use gradc::graph::interpret::{Env, Tensor, interpret};
use gradc::graph::{Built, Contraction, Graph, NodeId, Op};
use gradc::scalar::Func;
use std::collections::HashMap;

/// A value of the ONNX graph.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    pub id: NodeId,
    pub elem: Elem,
}

/// A result, or why it cannot be said.
pub type Said<T> = Result<T, String>;

/// The values of a call, if the operator is of the family that was asked.
pub type Results = Said<Option<Vec<Value>>>;

pub const F32: Elem = Elem::Float(32);
pub const I64: Elem = Elem::Int(64);

#[derive(Default)]
pub struct Import {
    pub graph: Graph,
    pub env: Env,
    scope: HashMap<String, Option<Value>>,
    opset: i64,
}

/// A node with its operands.
pub struct Call<'a> {
    pub node: &'a NodeProto,
    pub inputs: Vec<Option<Value>>,
    pub opset: i64,
}

impl Call<'_> {
    pub fn name(&self) -> &str {
        &self.node.op_type
    }

    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.node.attribute.iter().find(|a| a.name == name)
    }

    pub fn int(&self, name: &str, otherwise: i64) -> i64 {
        self.attribute(name).map_or(otherwise, |a| a.i)
    }

    pub fn float(&self, name: &str, otherwise: f64) -> f64 {
        self.attribute(name).map_or(otherwise, |a| a.f.into())
    }

    pub fn text(&self, name: &str, otherwise: &str) -> String {
        self.attribute(name).map_or(otherwise.into(), |a| String::from_utf8_lossy(&a.s).into_owned())
    }

    pub fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attribute(name).map(|a| a.ints.clone())
    }

    pub fn optional(&self, i: usize) -> Option<Value> {
        self.inputs.get(i).copied().flatten()
    }

    pub fn input(&self, i: usize) -> Said<Value> {
        self.optional(i).ok_or_else(|| format!("{} without its operand {i}", self.name()))
    }

    /// Whether the caller names the output.
    pub fn wants(&self, output: usize) -> bool {
        self.node.output.get(output).is_some_and(|name| !name.is_empty())
    }
}

pub fn one(id: NodeId, elem: Elem) -> Results {
    Ok(Some(vec![Value { id, elem }]))
}

pub fn dims(shape: &[usize]) -> Vec<Dim> {
    shape.iter().map(|n| Dim::from(*n)).collect()
}

/// Counted from the end if negative.
pub fn axis_of(axis: i64, rank: usize) -> usize {
    (if axis < 0 { axis + rank as i64 } else { axis }) as usize
}

pub fn built(built: Built) -> Said<NodeId> {
    built.map_err(|error| format!("the builder refuses it: {error}"))
}

impl Import {
    /// A tensor as an input of the graph.
    pub fn tensor(&mut self, elem: Elem, tensor: &Tensor) -> Said<Value> {
        let name = format!("x{}", self.env.leaves.len());
        let ty = TensorType::new(elem.dtype(), dims(&tensor.shape));
        let fits = |x: &f64| (-2_147_483_648.0..=2_147_483_647.0).contains(x);
        if elem.dtype() == DType::I32 && !tensor.data.iter().all(fits) {
            return Err("integers beyond 32 bits".into());
        }
        let rounded = |x: &f64| if elem.is_float() { f64::from(*x as f32) } else { *x };
        let data: Vec<f64> = tensor.data.iter().map(rounded).collect();
        self.env.leaves.insert(name.as_str().into(), Tensor::new(tensor.shape.clone(), data));
        Ok(Value { id: self.graph.input(name.as_str(), ty), elem })
    }

    pub fn numbers(&mut self, elem: Elem, shape: &[usize], data: Vec<f64>) -> Said<NodeId> {
        Ok(self.tensor(elem, &Tensor::new(shape, data))?.id)
    }

    /// The value of a node on the inputs that are there.
    pub fn known(&self, value: Value) -> Said<Tensor> {
        if let Op::Input(name) = &self.graph.node(value.id).op {
            return Ok(self.env.leaves[name].clone());
        }
        let values = interpret(&self.graph, &self.env).map_err(|e| e.to_string())?;
        Ok(values[value.id.index()].clone())
    }

    pub fn known_ints(&self, value: Value) -> Said<Vec<i64>> {
        Ok(self.known(value)?.data.iter().map(|x| *x as i64).collect())
    }

    pub fn known_number(&self, value: Value) -> Said<f64> {
        self.known(value)?.data.first().copied().ok_or_else(|| "a number of an empty tensor".into())
    }

    pub fn shape(&self, id: NodeId) -> Vec<usize> {
        let size = |dim: &Dim| dim.as_const().expect("all sizes of a case are known") as usize;
        self.graph.ty(id).shape.iter().map(size).collect()
    }

    pub fn rank(&self, id: NodeId) -> usize {
        self.graph.ty(id).rank()
    }

    pub fn f(&mut self, x: f64) -> NodeId {
        self.graph.constant(x, DType::F32)
    }

    pub fn i(&mut self, x: i64) -> NodeId {
        self.graph.constant(x as f64, DType::I32)
    }

    /// A scalar function; operands are broadcast.
    pub fn map(&mut self, func: Func, operands: &[NodeId]) -> Said<NodeId> {
        built(self.graph.map_broadcast(func, operands))
    }

    pub fn add(&mut self, a: NodeId, b: NodeId) -> Said<NodeId> {
        self.map(Func::Add, &[a, b])
    }

    pub fn sub(&mut self, a: NodeId, b: NodeId) -> Said<NodeId> {
        self.map(Func::Sub, &[a, b])
    }

    pub fn mul(&mut self, a: NodeId, b: NodeId) -> Said<NodeId> {
        self.map(Func::Mul, &[a, b])
    }

    pub fn div(&mut self, a: NodeId, b: NodeId) -> Said<NodeId> {
        self.map(Func::Div, &[a, b])
    }

    pub fn scale(&mut self, a: NodeId, by: f64) -> Said<NodeId> {
        let by = self.f(by);
        self.mul(a, by)
    }

    pub fn shift(&mut self, a: NodeId, by: f64) -> Said<NodeId> {
        let by = self.f(by);
        self.add(a, by)
    }

    pub fn cast(&mut self, x: NodeId, to: DType) -> Said<NodeId> {
        built(self.graph.cast(x, to))
    }

    pub fn reshape(&mut self, x: NodeId, shape: &[usize]) -> Said<NodeId> {
        built(self.graph.reshape(x, dims(shape)))
    }

    pub fn permute(&mut self, x: NodeId, order: &[usize]) -> Said<NodeId> {
        built(self.graph.permute(x, order))
    }

    pub fn expand(&mut self, x: NodeId, shape: &[usize]) -> Said<NodeId> {
        built(self.graph.broadcast_to(x, &dims(shape)))
    }

    pub fn concat(&mut self, parts: &[NodeId], axis: usize) -> Said<NodeId> {
        built(self.graph.concat(parts, axis))
    }

    pub fn full(&mut self, x: f64, dtype: DType, shape: &[usize]) -> NodeId {
        self.graph.full(x, &TensorType::new(dtype, dims(shape)))
    }

    /// `n` elements of an axis from `from`, `step` apart.
    pub fn part(&mut self, x: NodeId, axis: usize, from: usize, step: usize, n: usize) -> Said<NodeId> {
        let mut shape = self.shape(x);
        let (mut start, mut steps) = (vec![Dim::from(0); shape.len()], vec![1; shape.len()]);
        (shape[axis], start[axis], steps[axis]) = (n, Dim::from(from), step as i64);
        built(self.graph.slice(x, start, &steps, dims(&shape)))
    }

    /// One element of an axis, which disappears.
    pub fn pick(&mut self, x: NodeId, axis: usize, at: usize) -> Said<NodeId> {
        let part = self.part(x, axis, at, 1, 1)?;
        let mut shape = self.shape(part);
        shape.remove(axis);
        self.reshape(part, &shape)
    }

    pub fn stack(&mut self, parts: &[NodeId], axis: usize) -> Said<NodeId> {
        let mut lifted = Vec::new();
        for part in parts {
            let mut shape = self.shape(*part);
            shape.insert(axis, 1);
            lifted.push(self.reshape(*part, &shape)?);
        }
        self.concat(&lifted, axis)
    }

    /// `before` and `after` more elements of `value` at each axis.
    pub fn pad(&mut self, x: NodeId, value: f64, pads: &[(usize, usize)]) -> Said<NodeId> {
        let dtype = self.graph.dtype(x);
        let mut x = x;
        for (axis, (before, after)) in pads.iter().enumerate() {
            let mut parts = vec![x];
            let mut shape = self.shape(x);
            for (n, first) in [(*before, true), (*after, false)] {
                if n > 0 {
                    shape[axis] = n;
                    let part = self.full(value, dtype, &shape);
                    parts.insert(if first { 0 } else { parts.len() }, part);
                }
            }
            x = self.concat(&parts, axis)?;
        }
        Ok(x)
    }

    pub fn reduce(&mut self, op: ReduceOp, x: NodeId, axes: &[usize], keep: bool) -> Said<NodeId> {
        let y = built(self.graph.reduce(op, x, axes))?;
        if !keep {
            return Ok(y);
        }
        let kept: Vec<usize> =
            self.shape(x).iter().enumerate().map(|(i, n)| if axes.contains(&i) { 1 } else { *n }).collect();
        self.reshape(y, &kept)
    }

    pub fn sum(&mut self, x: NodeId, axes: &[usize]) -> Said<NodeId> {
        self.reduce(ReduceOp::Sum, x, axes, true)
    }

    pub fn mean(&mut self, x: NodeId, axes: &[usize]) -> Said<NodeId> {
        let n: usize = axes.iter().map(|a| self.shape(x)[*a]).product();
        let sum = self.sum(x, axes)?;
        self.scale(sum, 1.0 / n as f64)
    }

    /// A contraction written as `ab,bc->ac`.
    pub fn contract(&mut self, labels: &str, lhs: NodeId, rhs: NodeId) -> Said<NodeId> {
        let (operands, out) = labels.split_once("->").expect("labels have a result");
        let (l, r) = operands.split_once(',').expect("labels have two operands");
        let bytes = |s: &str| s.as_bytes().to_vec();
        let contraction = Contraction { lhs: bytes(l), rhs: bytes(r), out: bytes(out) };
        built(self.graph.contract(lhs, rhs, contraction))
    }

    /// The index along an axis, f32 or i32.
    pub fn iota(&mut self, shape: &[usize], axis: usize) -> Said<NodeId> {
        built(self.graph.iota(dims(shape), axis))
    }

    /// The value within the bits of its element type.
    pub fn wrap(&mut self, id: NodeId, elem: Elem) -> Said<NodeId> {
        let shifted = |cx: &mut Self, bits: u32| {
            let by = cx.i(i64::from(32 - bits));
            let up = cx.map(Func::ShiftLeft, &[id, by])?;
            cx.map(Func::ShiftRight, &[up, by])
        };
        match elem {
            Elem::Uint(bits @ (8 | 16)) => {
                let mask = self.i((1 << bits) - 1);
                self.map(Func::BitAnd, &[id, mask])
            }
            Elem::Int(bits @ (8 | 16)) => shifted(self, bits),
            _ => Ok(id),
        }
    }

    /// To another element type, as ONNX's `Cast`.
    pub fn convert(&mut self, x: Value, to: Elem) -> Said<NodeId> {
        let id = self.cast(x.id, to.dtype())?;
        if x.elem == to { Ok(id) } else { self.wrap(id, to) }
    }

    /// All nodes of a graph; gives its outputs.
    pub fn run(&mut self, graph: &GraphProto, inputs: &[Option<Value>]) -> Said<Vec<Value>> {
        for proto in &graph.initializer {
            let (elem, tensor) = read(proto).ok_or("an element type that is no plain number")?;
            let value = self.tensor(elem, &tensor)?;
            self.scope.insert(proto.name.clone(), Some(value));
        }
        for (info, value) in graph.input.iter().zip(inputs) {
            self.scope.insert(info.name.clone(), *value);
        }
        for node in &graph.node {
            let find = |name: &String| match self.scope.get(name) {
                _ if name.is_empty() => Ok(None),
                Some(value) => Ok(*value),
                None => Err(format!("no value is called {name}")),
            };
            let inputs = node.input.iter().map(find).collect::<Said<Vec<_>>>()?;
            let call = Call { node, inputs, opset: self.opset };
            for (name, value) in node.output.iter().zip(self.call(&call)?) {
                self.scope.insert(name.clone(), Some(value));
            }
        }
        let outputs = graph.output.iter().map(|info| self.scope.get(&info.name).copied().flatten());
        outputs.collect::<Option<Vec<_>>>().ok_or_else(|| "an output that nothing gives".into())
    }

    /// The graph of a case.
    pub fn model(&mut self, graph: &GraphProto, opset: i64, inputs: &[Option<Value>]) -> Said<Vec<Value>> {
        self.opset = opset;
        self.run(graph, inputs)
    }

    fn call(&mut self, call: &Call) -> Said<Vec<Value>> {
        type Family = fn(&mut Import, &Call) -> Results;
        const FAMILIES: &[Family] = &[
            elementwise::import,
            shape::import,
            reduce::import,
            order::import,
            linear::import,
            norm::import,
            window::import,
            resize::import,
            sample::import,
            recurrent::import,
            attention::import,
            control::import,
        ];
        for family in FAMILIES {
            if let Some(values) = family(self, call)? {
                return Ok(values);
            }
        }
        Err(match call.name() {
            "NonZero" | "Unique" | "Compress" | "NonMaxSuppression" => {
                "the result's shape depends on data".into()
            }
            "Bernoulli" | "RandomNormal" | "RandomUniform" | "RandomNormalLike" | "RandomUniformLike"
            | "Multinomial" => "random numbers of another generator".into(),
            "ImageDecoder" | "StringNormalizer" | "TfIdfVectorizer" => "decoding of files and texts".into(),
            "BitCast" => "an element's bits as another type".into(),
            name => format!("no composition: {name}"),
        })
    }
}
