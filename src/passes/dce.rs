//! Dead code: nodes that no output and no update needs are dropped.

use crate::graph::Graph;
use crate::graph::rewrite::{keep, reachable};

pub fn run(graph: &mut Graph) -> bool {
    let needed = reachable(graph, graph.roots());
    keep(graph, &needed)
}
