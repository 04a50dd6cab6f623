//! Views of views become one view, and views that change nothing go. `Detach` goes too: it means nothing once gradients
//! are worked out. Pads and slices sink below windows, where elements lie once and not once a tap: there one pad takes in
//! another, and a slice takes away what a pad brought in.

use crate::base::{Dim, TensorType};
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, Node, NodeId, Op, View};

pub fn run(graph: &mut Graph) -> bool {
    rewrite_in(graph, |new, node, operands| match node.kind() {
        Kind::Detach => Some(operands[0]),
        Kind::View | Kind::Broadcast => match &node.op {
            Op::View(view) => compose(new, node, view, operands[0]),
            _ => None,
        },
        _ => None,
    })
}

/// What a view is instead, if it can be less.
fn compose(graph: &mut Graph, node: &Node, view: &View, operand: NodeId) -> Option<NodeId> {
    let mut composed: Option<View> = None;
    let mut operand = operand;
    loop {
        let view = composed.as_ref().unwrap_or(view);
        if is_identity(graph, node, view, operand) {
            return Some(operand);
        }
        if let Some(sunk) = below_window(graph, node, view, operand) {
            return Some(sunk);
        }
        let below = graph.node(operand);
        let Op::View(inner) = &below.op else { break };
        let Some(one) = pair(graph, view, inner, node, below) else { break };
        (composed, operand) = (Some(one), below.operands[0]);
    }
    let composed = graph.apply(Op::View(composed?), &[operand], &node.ty);
    Some(composed.expect("the composition of two views that fit"))
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

/// A pad or slice of a window (the node `operand`) as a window of a pad or slice.
fn below_window(graph: &mut Graph, node: &Node, view: &View, operand: NodeId) -> Option<NodeId> {
    let (View::Pad { start, step } | View::Slice { start, step }) = view else { return None };
    let Op::View(View::Window(windowing)) = graph.node(operand).op else { return None };
    let window = graph.node(operand).clone();
    let (axis, shape) = (windowing.axis, &node.ty.shape);
    let is_whole = |i: usize| start[i].is_const(0) && step[i] == 1 && shape[i] == window.ty.shape[i];
    let source = graph.ty(window.operands[0]).shape.clone();
    let without_taps = |of: &[Dim]| [&of[..=axis], &of[axis + 2..]].concat();
    let (mut starts, mut sizes) = (without_taps(start), without_taps(shape));
    let steps = [&step[..=axis], &step[axis + 2..]].concat();
    let changed = match view {
        View::Pad { .. } if is_whole(axis) && is_whole(axis + 1) => {
            sizes[axis] = source[axis].clone();
            graph.pad(window.operands[0], starts, &steps, sizes)
        }
        View::Slice { .. } if step[axis] == 1 && is_whole(axis + 1) => {
            let by = |places: &Dim, step: i64| places.clone() * Dim::from(step);
            let one = Dim::from(1);
            // All that the positions' windows reach; of none, as much as one would reach.
            let last = by(&(shape[axis].clone() - one.clone()), windowing.stride);
            let reach = by(&(shape[axis + 1].clone() - one.clone()), windowing.dilation) + one;
            starts[axis] = by(&start[axis], windowing.stride);
            sizes[axis] = last + reach;
            if is_whole(axis) {
                (starts[axis], sizes[axis]) = (Dim::from(0), source[axis].clone());
            } else if shape[axis].as_const().is_none_or(|n| n < 1)
                || shape[axis + 1].as_const().is_none_or(|n| n < 1)
            {
                return None;
            }
            let sliced = View::Slice { start: starts, step: steps };
            graph.apply(Op::View(sliced), &[window.operands[0]], &TensorType::new(node.ty.dtype, sizes))
        }
        _ => return None,
    };
    let image = graph.window(changed.ok()?, windowing, shape[axis].clone(), shape[axis + 1].clone()).ok()?;
    debug_assert_eq!(*graph.ty(image), node.ty);
    Some(image)
}

/// `outer` (the view of `node`) of `inner` as one view of what `inner` (the node `below`) reads.
fn pair(graph: &Graph, outer: &View, inner: &View, node: &Node, below: &Node) -> Option<View> {
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
        (View::Pad { start, step }, View::Pad { start: first, step: by }) => {
            let together = |i: usize| start[i].clone() + first[i].clone() * Dim::from(step[i]);
            View::Pad {
                start: (0..start.len()).map(together).collect(),
                step: step.iter().zip(by).map(|(a, b)| a * b).collect(),
            }
        }
        // Where nothing but zeros that the pad brought in falls away, it brings in less.
        (View::Slice { start, step }, View::Pad { start: first, step: by }) => {
            let keeps = |i: usize| {
                let before = (first[i].clone() - start[i].clone()).as_const();
                let end = start[i].clone() + node.ty.shape[i].clone();
                let last = first[i].clone() + (source.shape[i].clone() - one.clone()) * Dim::from(by[i]);
                let after = (end - last - one.clone()).as_const();
                step[i] == 1 && before.is_some_and(|n| n >= 0) && after.is_some_and(|n| n >= 0)
            };
            if !(0..start.len()).all(keeps) {
                return None;
            }
            let less = first.iter().zip(start).map(|(first, start)| first.clone() - start.clone());
            View::Pad { start: less.collect(), step: by.clone() }
        }
        (View::Flip { axes }, View::Flip { axes: inner }) => {
            let once = |axis: &usize| axes.contains(axis) != inner.contains(axis);
            View::Flip { axes: (0..source.rank()).filter(once).collect() }
        }
        _ => return None,
    })
}
