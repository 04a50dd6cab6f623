//! What people are told of a launch.
//!
//! What enters: clusters. What leaves: the graph's operations in them, and where most of them stand in the model.

use super::Part;
use super::fuse::Cluster;
use super::lower::Lowered;
use crate::graph::{Graph, NodeId, Op, Origin};
use smol_str::SmolStr;
use std::borrow::Cow;

/// What people are told of a launch.
pub struct About {
    pub note: String,
    pub origin: Origin,
    pub parts: Vec<Part>,
}

/// What a launch computes, before it is told.
#[derive(Clone)]
pub struct Contents {
    /// Of each cluster the graph's operations in it, and its nodes.
    parts: Vec<(SmolStr, Vec<NodeId>)>,
    /// The cluster of each op; none for late updates.
    of_ops: Vec<Option<usize>>,
}

impl Contents {
    pub fn new(graph: &Graph, clusters: &[Cluster], lowered: &Lowered) -> Contents {
        let nodes = |cluster: &Cluster| cluster.leaves().iter().flat_map(Cluster::nodes).copied().collect();
        let part = |cluster: &Cluster| (describe(graph, cluster).into(), nodes(cluster));
        let of_op = |op: usize| lowered.clusters.get(op).copied();
        Contents {
            parts: clusters.iter().map(part).collect(),
            of_ops: (0..lowered.ops.len()).map(of_op).collect(),
        }
    }

    /// The same of other nodes.
    pub fn renamed(&self, name: &dyn Fn(NodeId) -> NodeId) -> Contents {
        let part = |(what, nodes): &(SmolStr, Vec<NodeId>)| {
            (what.clone(), nodes.iter().map(|id| name(*id)).collect())
        };
        Contents { parts: self.parts.iter().map(part).collect(), of_ops: self.of_ops.clone() }
    }

    /// `reason`: why its group was begun.
    pub fn about(&self, graph: &Graph, reason: &str) -> About {
        let part = |(what, nodes): &(SmolStr, Vec<NodeId>)| Part {
            what: what.clone(),
            origin: origin(graph, nodes),
        };
        let parts: Vec<Part> = self.parts.iter().map(part).collect();
        let late = Part { what: "[late updates]".into(), origin: Origin::default() };
        let of_op = |cluster: &Option<usize>| cluster.map_or(&late, |cluster| &parts[cluster]).clone();
        let all: Vec<&str> = parts.iter().map(|part| part.what.as_str()).collect();
        About {
            note: format!("{}; begun: {reason}", all.join(" ")),
            origin: origin(graph, self.parts.iter().flat_map(|(_, nodes)| nodes)),
            parts: self.of_ops.iter().map(of_op).collect(),
        }
    }
}

/// The scope that most of the nodes come from, and the place that most of those there come from.
fn origin<'n>(graph: &Graph, nodes: impl IntoIterator<Item = &'n NodeId> + Clone) -> Origin {
    let origins = || nodes.clone().into_iter().map(|id| &graph.node(*id).origin);
    let Some(scope) = most(origins().map(|origin| &origin.scope)) else { return Origin::default() };
    let spans = origins().filter(|origin| origin.scope == *scope).filter_map(|origin| origin.span);
    Origin { span: most(spans), scope: scope.clone() }
}

/// What comes most often; of several the last in their order.
fn most<T: Copy + Ord>(all: impl Iterator<Item = T>) -> Option<T> {
    // Neighbours mostly are the same.
    let mut counts: Vec<(T, usize)> = Vec::new();
    for value in all {
        match counts.last_mut() {
            Some((same, n)) if *same == value => *n += 1,
            _ => counts.push((value, 1)),
        }
    }
    counts.sort_unstable();
    counts.dedup_by(|(value, n), (before, sum)| {
        let is_same = value == before;
        *sum += if is_same { *n } else { 0 };
        is_same
    });
    counts.into_iter().max_by_key(|(value, n)| (*n, *value)).map(|(value, _)| value)
}

/// What a cluster computes: `[sub exp +sum]`.
fn describe(graph: &Graph, cluster: &Cluster) -> String {
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
