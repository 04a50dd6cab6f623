//! Dead code: nodes that no output and no update needs are dropped.

use crate::graph::Graph;
use crate::graph::rewrite::{Rewriter, reachable};

pub fn run(graph: &Graph) -> Graph {
    let needed = reachable(graph, graph.roots());
    if needed.iter().all(|needed| *needed) {
        return graph.clone();
    }
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids().filter(|id| needed[id.index()]) {
        rewriter.enter(id);
        rewriter.copy(id);
    }
    rewriter.finish()
}
