//! A graph as a picture: Graphviz DOT. What enters: a graph. What leaves: text for `dot -Tsvg`. Leaves are boxes,
//! outputs and updated values are filled; operand order is on the edges when it matters.

use super::op::family;
use super::{Graph, NodeId, Op};
use petgraph::dot::{Config, Dot};
use petgraph::visit::EdgeRef;

pub fn dot(graph: &Graph) -> String {
    let roots: Vec<NodeId> = graph.roots().collect();
    let edge = |_: &_, edge: petgraph::graph::EdgeReference<'_, ()>| {
        let (source, target) = (NodeId(edge.source().index() as u32), NodeId(edge.target().index() as u32));
        let operands = &graph.node(target).operands;
        let places: Vec<String> = (0..operands.len())
            .filter(|i| operands.len() > 1 && operands[*i] == source)
            .map(|i| i.to_string())
            .collect();
        format!("label=\"{}\"", places.join(","))
    };
    let node = |_: &_, (_, id): (petgraph::graph::NodeIndex, &NodeId)| {
        let node = graph.node(*id);
        let text = format!("{id} {}\\n{}", family(&node.op).print(&node.op).replace('"', "'"), node.ty);
        let is_leaf = matches!(node.op, Op::Input(_) | Op::Param(_) | Op::State(_));
        let shape = if is_leaf { "box" } else { "ellipse" };
        let style = if roots.contains(id) { " style=filled" } else { "" };
        format!("label=\"{text}\" shape={shape}{style}")
    };
    let config = [Config::NodeNoLabel, Config::EdgeNoLabel];
    format!("{:?}", Dot::with_attr_getters(&graph.petgraph(), &config, &edge, &node))
}
