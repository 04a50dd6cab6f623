//! Algebra: the identities of the scalar table, left to right.
//!
//! An identity's variables stand for any nodes (the same variable twice for the same node), its numbers for known
//! numbers, however they are stretched. The table says for which operands an identity holds; results may round
//! otherwise (`pow(a, 0.5)` and `sqrt(a)` do).

use super::{filled, known, map};
use crate::base::DType;
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, Node, NodeId};
use crate::scalar::Expr;

pub fn run(graph: &mut Graph) -> bool {
    rewrite_in(graph, simplify)
}

type Variables = [Option<NodeId>; 3];

fn simplify(graph: &mut Graph, node: &Node, operands: &[NodeId]) -> Option<NodeId> {
    let Kind::Map(func) = node.kind() else { return None };
    // Most identities ask for the same numbers.
    let mut numbers = [None; 3];
    numbers.iter_mut().zip(operands).for_each(|(number, id)| *number = known(graph, *id));
    for (from, to) in func.identities() {
        let Expr::Call(_, patterns) = from else { unreachable!("an identity begins with a function") };
        let mut variables = Variables::default();
        let mut pairs = patterns.iter().zip(operands).zip(numbers);
        let fits = |((pattern, id), number): ((&Expr, &NodeId), Option<f64>)| match pattern {
            Expr::Const(value) => number == Some(*value),
            _ => matches(graph, pattern, *id, &mut variables),
        };
        if pairs.all(fits) {
            return Some(build(graph, to, &variables, node));
        }
    }
    None
}

/// Whether the node has the pattern's form; binds the pattern's variables.
fn matches(graph: &Graph, pattern: &Expr, id: NodeId, variables: &mut Variables) -> bool {
    match pattern {
        Expr::Var(v) => *variables[*v as usize].get_or_insert(id) == id,
        Expr::Const(value) => known(graph, id) == Some(*value),
        Expr::Call(func, patterns) => {
            let node = graph.node(id);
            node.kind() == Kind::Map(*func)
                && patterns.iter().zip(&node.operands).all(|(p, id)| matches(graph, p, *id, variables))
        }
    }
}

/// All that an identity builds has the node's shape, and its numbers the type of what stands beside them.
fn build(graph: &mut Graph, expr: &Expr, variables: &Variables, node: &Node) -> NodeId {
    match expr {
        Expr::Var(v) => {
            variables[*v as usize].expect("an identity's right side uses what its left side binds")
        }
        Expr::Const(value) => {
            let of_numbers =
                variables.iter().flatten().map(|id| graph.ty(*id)).find(|ty| ty.dtype != DType::Bool);
            let like = of_numbers.unwrap_or(&node.ty).clone();
            filled(graph, *value, &like)
        }
        Expr::Call(func, arguments) => {
            let operands: Vec<NodeId> = arguments.iter().map(|e| build(graph, e, variables, node)).collect();
            map(graph, *func, &operands)
        }
    }
}
