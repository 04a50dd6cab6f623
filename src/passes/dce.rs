//! Dead code: nodes that no output and no update needs are dropped.

use crate::graph::Graph;
use crate::graph::rewrite::prune;

pub fn run(graph: &mut Graph) -> bool {
    prune(graph)
}
