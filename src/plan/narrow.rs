//! What a few neighbours have in common is written out for each of them.
//!
//! What enters: a graph. What leaves: an equal graph in which loops are long where values are neighbours. Channels in groups of four, each of which has a
//! mean: a loop over rows, groups and channels reads it at every fourth element, and its innermost axis is half a vector. Two cases:
//!
//! - A value for each group, stretched over rows and over a few channels: it is stretched over the channels first, and lies in memory so. Over the rows the
//!   last two axes step as one.
//! - A sum over rows and over a few channels: over the rows first, where neighbours are summed side by side, then over the channels.
//!
//! Both take a little memory and time more, as much as one row has; so there must be rows enough. Not here: GPUs, where each thread has an
//! element of its own. Before and after:
//!
//! ```text
//! broadcast [0, 2] %x : f32[batch, 1024, 8, 4]        broadcast [0, 2, 3] (copy (broadcast [0, 1] %x : f32[batch, 8, 4]))
//! reduce sum [1, 3] %y : f32[batch, 8]                reduce sum [2] (reduce sum [1] %y : f32[batch, 8, 4])
//! ```

use super::prepare::copy;
use super::{Options, Target};
use crate::base::{Dim, ReduceOp};
use crate::graph::rewrite::rewrite;
use crate::graph::{Graph, Kind, NodeId, Op, View};

/// Neighbours that are no loop of their own: fewer than two vectors.
const FEW: i64 = if cfg!(test) { 5 } else { 16 };
/// Rows that are worth an array for each of them.
const LEAST_ROWS: i64 = if cfg!(test) { 3 } else { 16 };

pub fn write_out(graph: &Graph, options: &Options) -> Graph {
    if options.target != Target::Cpu {
        return graph.clone();
    }
    rewrite(graph, |new, node, operands| match &node.op {
        _ if !matches!(node.kind(), Kind::Broadcast | Kind::Reduce) => None,
        Op::View(View::Broadcast { axes }) => stretched(new, operands[0], axes, &node.ty.shape),
        Op::Reduce { op, axes } => summed(new, operands[0], *op, axes),
        _ => None,
    })
}

/// Whether the last axis is short, and the others of these many.
fn is_worth_it(shape: &[Dim], others: impl Iterator<Item = usize>) -> bool {
    let is_short = shape.last().and_then(Dim::as_const).is_some_and(|n| (2..FEW).contains(&n));
    let rows = others.filter_map(|axis| shape[axis].as_const()).fold(1, i64::saturating_mul);
    is_short && rows >= LEAST_ROWS
}

fn stretched(graph: &mut Graph, x: NodeId, axes: &[usize], shape: &[Dim]) -> Option<NodeId> {
    let last = shape.len().checked_sub(1)?;
    let is_beside = axes.last().is_some_and(|axis| axis + 1 == last);
    if !is_beside || !is_worth_it(shape, (0..last).filter(|axis| !axes.contains(axis))) {
        return None;
    }
    let kept: Vec<usize> = (0..axes.len()).collect();
    let few: Vec<Dim> = axes.iter().chain([&last]).map(|axis| shape[*axis].clone()).collect();
    let few = graph.broadcast(x, &kept, few).expect("its own sizes and one more");
    let few = copy(graph, few);
    let axes: Vec<usize> = axes.iter().copied().chain([last]).collect();
    Some(graph.broadcast(few, &axes, shape.to_vec()).expect("the old sizes"))
}

fn summed(graph: &mut Graph, x: NodeId, op: ReduceOp, axes: &[usize]) -> Option<NodeId> {
    let shape = graph.ty(x).shape.clone();
    let (last, others) = axes.split_last()?;
    let is_beside = last + 1 == shape.len() && !others.contains(&last.checked_sub(1)?);
    if others.is_empty() || !is_beside || !is_worth_it(&shape, others.iter().copied()) {
        return None;
    }
    let few = graph.reduce(op, x, others).expect("fewer axes of the same operand");
    Some(graph.reduce(op, few, &[last - others.len()]).expect("the last axis is still there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text::parse;

    #[test]
    fn neighbours_have_what_they_share() {
        for (line, ty, made) in [
            ("broadcast [0, 2] %t : f32[batch, 6, 2, 4]", "f32[batch, 6, 2, 4]", "f32[batch, 2, 4]"),
            ("reduce sum [1, 3] %x : f32[batch, 2]", "f32[batch, 2]", "f32[batch, 2, 4]"),
            // Few rows; neighbours that have values of their own; rows that are summed alone.
            ("broadcast [0, 1] %t : f32[batch, 2, 4]", "f32[batch, 2, 4]", ""),
            ("broadcast [0, 3] %t : f32[batch, 6, 4, 2]", "f32[batch, 6, 4, 2]", ""),
            ("reduce sum [1] %x : f32[batch, 2, 4]", "f32[batch, 2, 4]", ""),
        ] {
            let text = format!(
                "graph {{
                %t = input @t : f32[batch, 2]
                %x = input @x : f32[batch, 6, 2, 4]
                %y = {line}
                output y = %y
                }}"
            );
            let graph = parse(&text).unwrap();
            let found = write_out(&graph, &Options::new(3, Target::Cpu));
            let output = found.outputs[0].1;
            assert_eq!(found.ty(output).to_string(), ty, "{line}");
            let below = found.node(output).operands[0];
            let before = graph.node(graph.outputs[0].1).operands[0];
            let expected = if made.is_empty() { graph.ty(before).to_string() } else { made.into() };
            assert_eq!(found.ty(below).to_string(), expected, "{line}");
            assert_eq!(write_out(&graph, &Options::new(3, Target::Cuda)), graph, "{line}");
        }
    }
}
