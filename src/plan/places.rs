//! What is a function of places alone is worked out where it is read.
//!
//! What enters: a graph. What leaves: an equal graph in which a map that reads, through a view, a cheap function of places (a causal
//! mask: `iota >= iota`, stretched over examples and heads) reads a copy of that function of its own, of its own shape. Copies go into
//! their readers' loops, so masks are neither written nor read, and a loop sees of what places its values are made: `strips`
//! learns so which values are masked. Invariant: no bit changes, for the function is the same at each place. The cost is the function's steps, at
//! most `MOST_STEPS`, for each element that is read.

use crate::base::TensorType;
use crate::graph::rewrite::{Rewriter, replace};
use crate::graph::{Graph, Node, NodeId, Op, Operands, View};

const MOST_STEPS: usize = 8;

pub fn make_where_read(graph: &Graph) -> Graph {
    let steps = steps_from_places(graph);
    let through_view = |operand: NodeId| match &graph.node(operand).op {
        Op::View(View::Pad { .. }) => false,
        Op::View(_) => steps[operand.index()].is_some_and(|n| (1..=MOST_STEPS).contains(&n)),
        _ => false,
    };
    let reads_through_view = |id: &NodeId| {
        let node = graph.node(*id);
        matches!(node.op, Op::Map(_)) && node.operands.iter().any(|operand| through_view(*operand))
    };
    let found = graph.ids().filter(reads_through_view).map(|id| (id, ())).collect();
    replace(graph, found, |rewriter, id, ()| {
        let node = graph.node(id);
        let made = |operand: &NodeId, rewriter: &mut Rewriter| match through_view(*operand) {
            true => sink(graph, rewriter, *operand, &mut Vec::new()),
            false => rewriter.image(*operand).expect("an operand comes before its user"),
        };
        let operands: Operands = node.operands.iter().map(|operand| made(operand, rewriter)).collect();
        rewriter.new.push(node.on(operands))
    })
}

/// How many steps a node takes that is made of places, numbers and sizes alone, by node.
fn steps_from_places(graph: &Graph) -> Vec<Option<usize>> {
    let mut steps: Vec<Option<usize>> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let node = graph.node(id);
        let of_operands =
            || node.operands.iter().try_fold(0usize, |sum, x| Some(sum.saturating_add(steps[x.index()]?)));
        steps.push(match &node.op {
            Op::Const(_) | Op::Iota { .. } | Op::Size(_) => Some(0),
            Op::View(View::Pad { .. }) => None,
            Op::View(_) => of_operands(),
            Op::Map(_) | Op::Cast => of_operands().map(|n| n.saturating_add(graph.n_steps(id))),
            _ => None,
        });
    }
    steps
}

/// A function of places with `views` (the last to be applied first) moved from its result to what it is made of.
fn sink(graph: &Graph, rewriter: &mut Rewriter, id: NodeId, views: &mut Vec<NodeId>) -> NodeId {
    let node = graph.node(id);
    match &node.op {
        Op::View(_) => {
            views.push(id);
            let image = sink(graph, rewriter, node.operands[0], views);
            views.pop();
            image
        }
        Op::Map(_) | Op::Cast => {
            let operands: Operands = node.operands.iter().map(|x| sink(graph, rewriter, *x, views)).collect();
            let shape = views.first().map_or(&node.ty.shape, |view| &graph.ty(*view).shape);
            let ty = TensorType::new(node.ty.dtype, shape.clone());
            rewriter.new.push(Node::new(node.op.clone(), ty, operands, node.origin.clone()))
        }
        _ => {
            let image = rewriter.image(id).expect("an operand comes before its user");
            views.iter().rev().fold(image, |image, view| {
                let view = graph.node(*view);
                let ty = TensorType::new(node.ty.dtype, view.ty.shape.clone());
                rewriter.new.push(Node::new(view.op.clone(), ty, vec![image], view.origin.clone()))
            })
        }
    }
}
