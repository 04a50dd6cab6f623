//! A model run by the interpreter: slow, and the definition of what a compiled one must do.
//!
//! What enters: a checked model. What leaves: an `Engine` that evaluates each graph in f64, node by node, and
//! rounds variables and outputs to their types after each step. Invariant: nothing between the differentiated
//! graph and the numbers; no pass, no plan, no generated code. A model in bf16 is defined by the optimized graph, in which
//! its roundings stand (`passes/precision.rs`).

use super::engine::{Engine, Program, graph};
use crate::autodiff::differentiate;
use crate::base::Precision;
use crate::graph::interpret::{Env, Tensor, interpret_step};
use crate::graph::{Graph, Op};
use crate::model::Model;
use crate::passes::optimize_in;
use smol_str::SmolStr;
use std::collections::BTreeMap;

pub struct Interpreted<'m> {
    model: &'m Model,
    /// In the order of `Program`'s variants.
    graphs: [Option<Graph>; 3],
    variables: BTreeMap<SmolStr, Vec<f32>>,
    outputs: [BTreeMap<SmolStr, Vec<u8>>; 3],
}

impl<'m> Interpreted<'m> {
    pub fn new(model: &'m Model) -> Interpreted<'m> {
        Interpreted {
            model,
            graphs: Default::default(),
            variables: BTreeMap::new(),
            outputs: Default::default(),
        }
    }
}

/// Names and types of a graph's inputs, in node order.
fn inputs(graph: &Graph) -> impl Iterator<Item = (&SmolStr, &crate::base::TensorType)> {
    graph.ids().filter_map(|id| match &graph.node(id).op {
        Op::Input(name) => Some((name, graph.ty(id))),
        _ => None,
    })
}

impl Engine for Interpreted<'_> {
    fn prepare(&mut self, program: Program) -> Result<Vec<SmolStr>, String> {
        let graph = self.graphs[program as usize].get_or_insert_with(|| {
            let graph = differentiate(graph(self.model, program));
            match self.model.settings.precision {
                Precision::F32 | Precision::Tf32 => graph,
                precision => optimize_in(precision, &graph),
            }
        });
        Ok(inputs(graph).map(|(name, _)| name.clone()).collect())
    }

    fn run(&mut self, program: Program, n_rows: usize, step: u64, bytes: &[&[u8]]) {
        let graph = self.graphs[program as usize].as_ref().expect("a program is prepared before it is run");
        let mut env = Env { seed: self.model.settings.seed, step, ..Env::default() };
        env.symbols.insert("batch".into(), n_rows as i64);
        for ((name, ty), bytes) in inputs(graph).zip(bytes) {
            let shape = env.shape(&ty.shape).expect("checked: the only symbol is `batch`");
            env.leaves.insert(name.clone(), Tensor::new(shape, ty.dtype.decode(bytes)));
        }
        for variable in &self.model.variables {
            let shape = env.shape(&variable.ty.shape).expect("checked: variables have constant shapes");
            let values: Vec<f64> = self.variables[&variable.path].iter().map(|v| f64::from(*v)).collect();
            env.leaves.insert(variable.path.clone(), Tensor::new(shape, values));
        }
        let (outputs, updates) = interpret_step(graph, &env).expect("checked: the graph can be evaluated");
        for (path, value) in updates {
            self.variables.insert(path, value.data.iter().map(|v| *v as f32).collect());
        }
        let types: BTreeMap<_, _> = graph.outputs.iter().map(|(name, id)| (name, graph.dtype(*id))).collect();
        self.outputs[program as usize] = outputs
            .into_iter()
            .map(|(name, value)| (name.clone(), types[&name].encode(&value.data)))
            .collect();
    }

    fn output(&self, program: Program, name: &str) -> &[u8] {
        &self.outputs[program as usize][name]
    }

    fn variable(&self, path: &str) -> Vec<f32> {
        self.variables[path].clone()
    }

    fn set_variable(&mut self, path: &str, values: &[f32]) {
        self.variables.insert(path.into(), values.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::{Dataset, Field};
    use super::super::run::{Flow, Trainer};
    use super::*;
    use crate::base::{DType, Dim, TensorType};
    use crate::model::{DataCall, Initial, Settings, Variable};
    use crate::scalar::Func;
    use gradc_dsl::Span;
    use std::sync::Arc;
    use std::time::Duration;

    /// `minimize mean((w * x - y)^2)` with plain gradient descent at rate 0.5.
    #[test]
    fn a_line_is_learnt() {
        let scalar = TensorType::scalar(DType::F32);
        let column = TensorType::new(DType::F32, [Dim::symbol("batch")]);
        let mut g = Graph::new();
        let (x, y) = (g.input("x", column.clone()), g.input("y", column));
        let w = g.param("w", scalar.clone());
        let guess = g.map_broadcast(Func::Mul, &[w, x]).unwrap();
        let error = g.map(Func::Sub, &[guess, y]).unwrap();
        let square = g.map(Func::Mul, &[error, error]).unwrap();
        let loss = g.mean(square, &[0]).unwrap();
        g.outputs.push(("loss".into(), loss));
        let eval = g.clone();
        let slope = g.grad(loss, w).unwrap();
        let rate = g.constant(0.5, DType::F32);
        let change = g.map(Func::Mul, &[rate, slope]).unwrap();
        let next = g.map(Func::Sub, &[w, change]).unwrap();
        g.updates.push((w, next));
        let (initial, span) = (Initial::Constant(0.0), Span::default());
        let variables =
            vec![Variable { path: "w".into(), ty: scalar, initial, begins_as: None, trained: true, span }];
        let data = DataCall { source: "memory".into(), arguments: Vec::new(), span };
        let settings = Settings {
            data,
            test: None,
            valid: None,
            batch: 3,
            epochs: 40,
            steps: None,
            seed: 1,
            shuffle: true,
            precision: Default::default(),
        };
        let predict = Graph::new();
        let model = Model {
            name: "line".into(),
            train: g,
            eval,
            predict,
            variables,
            shadows: Vec::new(),
            aggregates: Vec::new(),
            metrics: vec!["loss".into()],
            settings,
        };
        let fields =
            vec![Field::f32("x", &[], &[0.5, 1.0, 1.5, 2.0]), Field::f32("y", &[], &[1.0, 2.0, 3.0, 4.0])];
        let data = Arc::new(Dataset::new("test", fields).unwrap());
        let mut trainer = Trainer::new(&model, Interpreted::new(&model), data.clone(), None);
        assert!(trainer.train(None, Duration::MAX, &mut |_| Flow::Continue).unwrap());
        assert!((trainer.engine.variable("w")[0] - 2.0).abs() < 1e-4, "{:?}", trainer.engine.variable("w"));
        assert!(trainer.evaluate(data).unwrap()[0].1 < 1e-6);
    }
}
