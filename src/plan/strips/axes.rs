//! Which axis of a loop is which dimension of a section.
//!
//! What enters: a cluster, and for values that the section makes what their axes are. What leaves: the same for the axes of the cluster's loop
//! and of the values that it makes, or nothing if it does not go along: it reads such a value at other places than its own (another
//! row, a part of an axis), it reduces a dimension in a way that turns cannot add up, or does not go through all dimensions. Invariant: an axis that is
//! read along a dimension is that dimension.

use super::super::fuse::{Cluster, is_reduction};
use super::super::space::{Read, Reads};
use crate::base::Dim;
use crate::graph::{Graph, NodeId, Op};

/// What an axis is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Along {
    /// Gone through in each turn, all of it.
    Whole,
    /// A dimension: a turn has one block of it.
    Block(usize),
    /// What of the columns a turn has.
    Columns,
}

/// A cluster's loop, as a section sees it.
#[derive(Clone, Debug)]
pub struct Labels {
    pub along: Vec<Along>,
    pub values: Vec<(NodeId, Vec<Along>)>,
    /// Whether its value is summed over a dimension.
    pub adds: bool,
}

/// The axes of a cluster's loop, and how many of them are parallel; nothing for what has no place in a section.
pub fn loop_axes<'a>(graph: &'a Graph, reads: &'a Reads, cluster: &'a Cluster) -> Option<(&'a [Dim], usize)> {
    match cluster {
        Cluster::Loop(l) => Some((&l.extents, l.n_parallel.unwrap_or(l.extents.len()))),
        Cluster::Single(id) => match graph.node(*id).op {
            Op::Contract(_) => {
                let read = &reads.of(*id)[0];
                Some((&read.extents, read.n_parallel))
            }
            Op::Random { .. } => {
                let shape = &graph.ty(*id).shape;
                Some((shape, shape.len()))
            }
            _ => None,
        },
        Cluster::Strips(_) | Cluster::Blocks(_) => None,
    }
}

/// `known`: what the loop's axes are, as far as that is known. `of`: the axes of a value that the section makes.
pub fn label<'v>(
    graph: &Graph,
    reads: &Reads,
    cluster: &Cluster,
    n_dimensions: usize,
    known: Option<Vec<Along>>,
    of: &dyn Fn(NodeId) -> Option<&'v [Along]>,
) -> Option<Labels> {
    let (extents, n_parallel) = loop_axes(graph, reads, cluster)?;
    let mut along: Vec<Option<Along>> = match known {
        Some(known) => known.into_iter().map(|a| (a != Along::Whole).then_some(a)).collect(),
        None => vec![None; extents.len()],
    };
    let nodes = cluster.nodes();
    for id in nodes.iter() {
        if matches!(graph.node(*id).op, Op::ArgMax { .. }) {
            return None;
        }
        for read in reads.of(*id) {
            let in_register =
                matches!(cluster, Cluster::Loop(_)) && nodes.contains(&read.base) && read.is_whole;
            if in_register {
                continue;
            }
            if nodes.contains(&read.base) {
                return None;
            }
            let Some(axes) = of(read.base) else { continue };
            for (i, axis) in places(graph, read)?.into_iter().enumerate() {
                let Some(axis) = axis else { continue };
                match (along[i], axes[axis]) {
                    (None, Along::Whole) => {}
                    (None, label) => along[i] = Some(label),
                    (Some(label), other) if label != other => return None,
                    _ => {}
                }
            }
        }
    }
    let along: Vec<Along> = along.into_iter().map(|a| a.unwrap_or(Along::Whole)).collect();
    let count = |label: Along| along.iter().filter(|a| **a == label).count();
    let has_all = (0..n_dimensions).all(|d| count(Along::Block(d)) == 1) && count(Along::Columns) <= 1;
    let adds = along[n_parallel..].iter().any(|a| matches!(a, Along::Block(_)));
    let may_add = match cluster {
        Cluster::Single(id) => is_matrix_product(graph, reads, *id),
        _ => !adds,
    };
    if !has_all || !may_add {
        return None;
    }
    let of_value = |id: &NodeId| {
        let is_reduced = matches!(cluster, Cluster::Single(_)) || is_reduction(&graph.node(*id).op);
        (*id, if is_reduced { along[..n_parallel].to_vec() } else { along.clone() })
    };
    let values = nodes.iter().map(of_value).collect();
    Some(Labels { along, values, adds })
}

/// Whether a contraction has rows, columns and a sum; and what is no contraction.
fn is_matrix_product(graph: &Graph, reads: &Reads, id: NodeId) -> bool {
    if !matches!(graph.node(id).op, Op::Contract(_)) {
        return true;
    }
    let [lhs, rhs] = reads.of(id) else { return false };
    let n_parallel = lhs.n_parallel;
    let moves = |read: &Read, axis: usize| !read.strides[axis].is_const(0);
    let has = |left: bool, right: bool, mut axes: std::ops::Range<usize>| {
        axes.any(|axis| moves(lhs, axis) == left && moves(rhs, axis) == right)
    };
    has(true, false, 0..n_parallel)
        && has(false, true, 0..n_parallel)
        && has(true, true, n_parallel..lhs.extents.len())
}

/// For each axis of the loop, which of the base's axes it goes along; none where it stands still or has one place. `None` if the read is
/// anything but that: each axis of the base from its start to its end.
pub fn places(graph: &Graph, read: &Read) -> Option<Vec<Option<usize>>> {
    let base = graph.ty(read.base);
    if read.indexed.is_some() || !read.offset.is_const(0) {
        return None;
    }
    let strides = base.row_major_strides();
    let mut free: Vec<bool> = base.shape.iter().map(|extent| !extent.is_const(1)).collect();
    let mut found = Vec::with_capacity(read.extents.len());
    for (extent, stride) in read.extents.iter().zip(&read.strides[..]) {
        if stride.is_const(0) || extent.is_const(1) {
            found.push(None);
            continue;
        }
        let axis = (0..base.rank())
            .find(|axis| free[*axis] && strides[*axis] == *stride && base.shape[*axis] == *extent)?;
        free[axis] = false;
        found.push(Some(axis));
    }
    // A base's axis that the loop does not go along would be read at its first place alone.
    (!free.contains(&true)).then_some(found)
}
