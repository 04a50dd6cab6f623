//! Constant folding: functions, casts and views of numbers that are known become numbers; a `select` whose condition is known
//! becomes its branch.

use super::{filled, known};
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, Node, NodeId, Op, View};
use crate::scalar::Func;

pub fn run(graph: &mut Graph) -> bool {
    rewrite_in(graph, fold)
}

fn fold(graph: &mut Graph, node: &Node, operands: &[NodeId]) -> Option<NodeId> {
    let first = known(graph, *operands.first()?)?;
    if node.kind() == Kind::Map(Func::Select) {
        return Some(operands[if first != 0.0 { 1 } else { 2 }]);
    }
    let values: Vec<f64> = operands.iter().map(|id| known(graph, *id)).collect::<Option<_>>()?;
    let value = match &node.op {
        Op::Map(func) => func.eval_on(graph.dtype(*operands.last()?), &values),
        Op::Cast => node.ty.dtype.convert(values[0]),
        // A pad brings zeros in; a broadcast of a constant is what a known number looks like.
        Op::View(View::Pad { .. } | View::Broadcast { .. }) => return None,
        Op::View(_) | Op::Detach => values[0],
        _ => return None,
    };
    Some(filled(graph, value, &node.ty))
}
