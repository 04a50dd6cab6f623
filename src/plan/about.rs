//! What people are told of a launch.
//!
//! What enters: clusters. What leaves: the graph's operations in them, and where most of them stand in the model.

use super::Part;
use super::fuse::Cluster;
use crate::base::hash::FastMap;
use crate::graph::{Graph, NodeId, Op, Origin};
use std::borrow::Cow;
use std::hash::Hash;

/// What people are told of a launch.
pub struct About {
    pub note: String,
    pub origin: Origin,
    pub parts: Vec<Part>,
}

/// The scope that most of the nodes come from, and the place that most of those there come from.
pub fn origin<'n>(graph: &Graph, nodes: impl IntoIterator<Item = &'n NodeId> + Clone) -> Origin {
    let origins = || nodes.clone().into_iter().map(|id| &graph.node(*id).origin);
    let Some(scope) = most(origins().map(|origin| &origin.scope)) else { return Origin::default() };
    let spans = origins().filter(|origin| origin.scope == *scope).filter_map(|origin| origin.span);
    Origin { span: most(spans), scope: scope.clone() }
}

/// What comes most often; of several the last in their order.
fn most<T: Copy + Ord + Hash>(all: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: FastMap<T, usize> = FastMap::default();
    all.for_each(|value| *counts.entry(value).or_default() += 1);
    counts.into_iter().max_by_key(|(value, n)| (*n, *value)).map(|(value, _)| value)
}

/// What a cluster computes: `[sub exp +sum]`.
pub fn describe(graph: &Graph, cluster: &Cluster) -> String {
    let word = |id: &NodeId| -> Cow<str> {
        match &graph.node(*id).op {
            Op::Map(func) => func.name().into(),
            Op::Cast => "cast".into(),
            Op::Reduce { op, .. } => format!("+{}", format!("{op:?}").to_lowercase()).into(),
            Op::ArgMax { .. } => "+argmax".into(),
            Op::Contract(c) => format!("contract {c}").into(),
            Op::Gather { .. } => "gather".into(),
            Op::ScatterAdd { .. } => "scatter".into(),
            Op::Concat { .. } => "concat".into(),
            Op::View(_) => "pad".into(),
            Op::Sort { .. } => "sort".into(),
            Op::Random { .. } => "random".into(),
            Op::Fold(_) => "fold".into(),
            Op::Scan(scan) => format!("scan of {} nodes", scan.body.len()).into(),
            op => unreachable!("{op:?} has no storage"),
        }
    };
    let leaves = || cluster.leaves().iter().map(|leaf| describe(graph, leaf)).collect::<Vec<_>>().join(" ");
    match cluster {
        Cluster::Blocks(blocks) => format!("{}: {{{}}}", blocks.describe(), leaves()),
        Cluster::Strips(strips) => format!("{}: {{{}}}", strips.describe(), leaves()),
        c => format!("[{}]", c.nodes().iter().map(word).collect::<Vec<_>>().join(" ")),
    }
}
