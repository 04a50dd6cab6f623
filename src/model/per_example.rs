//! The gradient of each example by itself: `example_gradients(g)` in a stage of an optimizer.
//!
//! What enters: the loss of a batch, as a graph, and the parameters. What leaves: for each parameter a gradient with a row
//! for each example. The loss is taken as that of a batch of one (`batch` becomes 1), lifted by an axis of all examples,
//! and differentiated by parameters that are repeated along it. Invariant: an example's row is what a step with that
//! example alone would have as its gradient, but for random numbers, which each example has of its own.

use super::elaborate::{Elaborator, Mode};
use super::value::Value;
use crate::base::{Dim, TensorType};
use crate::graph::rewrite::{copy_node, reachable};
use crate::graph::vectorize::{Lift, Operand};
use crate::graph::{Graph, Node, NodeId, Op, ShapeError, View};
use gradc_dsl::Span;
use gradc_dsl::ast::Argument;

impl<'a> Elaborator<'a> {
    /// `example_gradients(g)`: for each example, what g is the mean of.
    pub(super) fn example_gradients(&mut self, arguments: &'a [Argument], span: Span) -> Value {
        let Some((gradient, _)) = self.asked_value(arguments, "example_gradients(g)", span) else {
            return Value::Error;
        };
        let ty = self.graph.ty(gradient).clone();
        let Some(over) = &self.over else {
            // While a function is checked by itself, and in an example: a batch of one.
            let n = if self.mode == Mode::Generic { Dim::symbol("batch") } else { Dim::from(1) };
            if self.mode != Mode::Generic && !self.calls_optimizers {
                return self.outside("example_gradients", gradient, span);
            }
            let shape: Vec<Dim> = std::iter::once(n).chain(ty.shape).collect();
            return match self.mode {
                Mode::Generic => self.opaque(TensorType::new(ty.dtype, shape)),
                _ => {
                    let built = self.graph.reshape(gradient, shape);
                    self.built(built, span)
                }
            };
        };
        let current = over.current;
        if let Some(gradients) = &over.per_example {
            return Value::Tensor(gradients[current]);
        }
        let (loss, leaves) = (over.loss, over.parameters.iter().map(|p| p.leaf).collect::<Vec<_>>());
        match self.gradients_by_example(loss, &leaves) {
            Ok(gradients) => {
                let own = gradients[current];
                if let Some(over) = &mut self.over {
                    over.per_example = Some(gradients);
                }
                Value::Tensor(own)
            }
            Err(error) => self.built(Err(error), span),
        }
    }

    fn gradients_by_example(&mut self, loss: NodeId, leaves: &[NodeId]) -> Result<Vec<NodeId>, ShapeError> {
        let mut n_sites = self.n_sites;
        let mut new_site = || {
            n_sites += 1;
            n_sites - 1
        };
        let graph = &mut self.graph;
        let mut lift = Lift { n: Dim::symbol("batch"), new_site: &mut new_site };
        let needed = reachable(graph, [loss]);
        let mut image: Vec<Option<Operand>> = vec![None; loss.index() + 1];
        let mut repeated = Vec::new();
        for leaf in leaves {
            let each = lift.lifted(graph, (*leaf, false))?;
            repeated.push(each);
            image[leaf.index()] = Some((each, true));
        }
        let ids: Vec<NodeId> = graph.ids().take(loss.index() + 1).collect();
        for id in ids {
            if !needed[id.index()] || image[id.index()].is_some() {
                continue;
            }
            let node = of_one_example(graph.node(id));
            let operands: Vec<Operand> =
                graph.node(id).operands.iter().filter_map(|operand| image[operand.index()]).collect();
            let of_batch = node != *graph.node(id);
            let own = matches!(node.op, Op::Random { .. } | Op::Hole);
            image[id.index()] = Some(if matches!(node.op, Op::Input(_)) && of_batch {
                // Rows of examples are batches of one.
                let shape: Vec<Dim> =
                    std::iter::once(lift.n.clone()).chain(node.ty.shape.iter().cloned()).collect();
                (graph.reshape(id, shape)?, true)
            } else if own || operands.iter().any(|(_, lifted)| *lifted) {
                (lift.node(graph, &node, &operands)?, true)
            } else {
                let ids: Vec<NodeId> = operands.iter().map(|(operand, _)| *operand).collect();
                let same = !of_batch && ids[..] == *graph.node(id).operands;
                (if same { id } else { copy_node(graph, &node, &ids) }, false)
            });
        }
        let losses = lift.lifted(graph, image[loss.index()].unwrap_or((loss, false)))?;
        let total = graph.sum_all(losses)?;
        let gradients = repeated.iter().map(|each| graph.grad(total, *each)).collect();
        self.n_sites = n_sites;
        gradients
    }
}

fn one(size: &Dim) -> Dim {
    size.substitute(&|symbol| (symbol == "batch").then(|| Dim::from(1)))
}

/// The node in a batch of one.
fn of_one_example(node: &Node) -> Node {
    let all = |sizes: &[Dim]| sizes.iter().map(one).collect::<Vec<_>>();
    let op = match &node.op {
        Op::Size(size) => Op::Size(one(size)),
        Op::View(View::Slice { start, step }) => {
            Op::View(View::Slice { start: all(start), step: step.clone() })
        }
        Op::View(View::Pad { start, step }) => Op::View(View::Pad { start: all(start), step: step.clone() }),
        Op::Scan(scan) => {
            let mut scan = scan.clone();
            scan.turns = one(&scan.turns);
            scan.body = graph_of_one(&scan.body);
            Op::Scan(scan)
        }
        other => other.clone(),
    };
    let ty = TensorType::new(node.ty.dtype, all(&node.ty.shape));
    Node::new(op, ty, node.operands.clone(), node.origin.clone())
}

fn graph_of_one(graph: &Graph) -> Graph {
    let mut new = Graph::new();
    for id in graph.ids() {
        new.push(of_one_example(graph.node(id)));
    }
    new.outputs = graph.outputs.clone();
    new.updates = graph.updates.clone();
    new
}
