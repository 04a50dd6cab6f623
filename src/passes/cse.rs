//! Common subexpressions: of nodes with the same primitive, type and operands, one is left. Equal `Random` nodes (same
//! site) give equal numbers, so they too are one. Operands of sums and products count as equal in either order.

use crate::base::TensorType;
use crate::graph::rewrite::{copy_node, rewrite};
use crate::graph::{Graph, NodeId, Op};
use crate::scalar::Func;
use std::collections::HashMap;

pub fn run(graph: &Graph) -> Graph {
    let mut seen: HashMap<(Vec<NodeId>, TensorType), Vec<NodeId>> = HashMap::new();
    rewrite(graph, |new, node, operands| {
        let mut order = operands.to_vec();
        if matches!(node.op, Op::Map(Func::Add | Func::Mul)) {
            order.sort_unstable();
        }
        let same_operands = seen.entry((order, node.ty.clone())).or_default();
        if let Some(same) = same_operands.iter().find(|id| new.node(**id).op.is_same(&node.op)) {
            return *same;
        }
        let id = copy_node(new, node, operands);
        same_operands.push(id);
        id
    })
}
