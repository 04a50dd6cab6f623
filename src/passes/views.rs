//! Views of views become one view, and views that change nothing go. `Detach` goes too: it means nothing once gradients
//! are worked out.

use crate::base::Dim;
use crate::graph::rewrite::{copy_node, rewrite};
use crate::graph::{Graph, Node, NodeId, Op, View};

pub fn run(graph: &Graph) -> Graph {
    rewrite(graph, |new, node, operands| match &node.op {
        Op::Detach => operands[0],
        Op::View(view) => compose(new, node, view, operands[0]),
        _ => copy_node(new, node, operands),
    })
}

fn compose(graph: &mut Graph, node: &Node, view: &View, operand: NodeId) -> NodeId {
    let mut view = view.clone();
    let mut operand = operand;
    loop {
        if is_identity(graph, node, &view, operand) {
            return operand;
        }
        let below = graph.node(operand);
        let Op::View(inner) = &below.op else { break };
        let Some(one) = pair(graph, &view, inner, below) else { break };
        (view, operand) = (one, below.operands[0]);
    }
    graph.apply(Op::View(view), &[operand], &node.ty).expect("the composition of two views that fit")
}

fn is_identity(graph: &Graph, node: &Node, view: &View, operand: NodeId) -> bool {
    let same_shape = *graph.ty(operand) == node.ty;
    same_shape
        && match view {
            View::Permute(permutation) => permutation.is_sorted(),
            View::Reshape | View::Broadcast { .. } => true,
            View::Slice { start, step } | View::Pad { start, step } => {
                start.iter().all(|s| s.is_const(0)) && step.iter().all(|s| *s == 1)
            }
            View::Flip { axes } => axes.is_empty(),
            View::Window(_) => false,
        }
}

/// `outer` of `inner` as one view of what `inner` (the node `below`) reads.
fn pair(graph: &Graph, outer: &View, inner: &View, below: &Node) -> Option<View> {
    let source = graph.ty(below.operands[0]);
    let one = Dim::from(1);
    Some(match (outer, inner) {
        (View::Permute(outer), View::Permute(inner)) => {
            View::Permute(outer.iter().map(|axis| inner[*axis]).collect())
        }
        (View::Reshape, View::Reshape) => View::Reshape,
        // A number everywhere has any shape.
        (View::Reshape, View::Broadcast { axes }) if axes.is_empty() => View::Broadcast { axes: Vec::new() },
        (View::Broadcast { axes: outer }, View::Broadcast { axes: inner }) => {
            View::Broadcast { axes: inner.iter().map(|axis| outer[*axis]).collect() }
        }
        // The reshape brought axes of size 1 in: leave them out.
        (View::Broadcast { axes }, View::Reshape) => {
            let kept: Vec<usize> = (0..below.ty.rank()).filter(|axis| below.ty.shape[*axis] != one).collect();
            let sizes: Vec<Dim> = kept.iter().map(|axis| below.ty.shape[*axis].clone()).collect();
            if sizes != source.shape {
                return None;
            }
            View::Broadcast { axes: kept.iter().map(|axis| axes[*axis]).collect() }
        }
        (View::Permute(permutation), View::Broadcast { axes }) => {
            let to = |axis: &usize| {
                permutation.iter().position(|p| p == axis).expect("a permutation has every axis")
            };
            let axes: Vec<usize> = axes.iter().map(to).collect();
            if !axes.is_sorted() {
                return None;
            }
            View::Broadcast { axes }
        }
        (View::Slice { start, step }, View::Slice { start: first, step: by }) => {
            let together = |i: usize| first[i].clone() + start[i].clone() * Dim::from(by[i]);
            View::Slice {
                start: (0..start.len()).map(together).collect(),
                step: step.iter().zip(by).map(|(a, b)| a * b).collect(),
            }
        }
        (View::Flip { axes }, View::Flip { axes: inner }) => {
            let once = |axis: &usize| axes.contains(axis) != inner.contains(axis);
            View::Flip { axes: (0..source.rank()).filter(once).collect() }
        }
        _ => return None,
    })
}
