//! Where a node's elements are read: views folded into strides.
//!
//! What enters: a graph. What leaves: for each node its `Layout`: the node whose storage holds it, an offset, and a
//! stride for each of its axes. Permuting, repeating, slicing, flipping and (where memory order allows) reshaping cost
//! nothing: they are index maps. Invariant: every element that a layout addresses lies in its base's storage, which
//! is row-major and without gaps. An `Iota` is its own base, and an address in it is the value itself.
//! Not here: which nodes get storage.

use crate::base::{DType, Dim, TensorType};
use crate::graph::{Graph, Kind, NodeId, Op, View};
use std::sync::Arc;

/// Sizes or strides, one for each axis: most nodes have those of their operands, so they are shared.
pub type Dims = Arc<[Dim]>;

#[derive(Clone, PartialEq, Debug)]
pub struct Layout {
    /// Has storage, or is written into the body of its users (constants, sizes, iotas).
    pub base: NodeId,
    /// Elements from the start of the base's storage.
    pub offset: Dim,
    /// Elements, one for each axis of the node.
    pub strides: Dims,
    /// The node's own.
    pub shape: Dims,
}

impl Layout {
    /// The node itself, row-major, after the layouts of the nodes before it.
    fn own(graph: &Graph, id: NodeId, before: &[Layout]) -> Layout {
        let node = graph.node(id);
        let (base, offset) = (id, Dim::from(0));
        if let Op::Iota { axis } = node.op {
            let strides = (0..node.ty.rank()).map(|a| Dim::from(i64::from(a == axis))).collect();
            return Layout { base, offset, strides, shape: node.ty.shape[..].into() };
        }
        let is_like = |other: &NodeId| {
            let is_row_major =
                before[other.index()].base == *other && !matches!(graph.node(*other).op, Op::Iota { .. });
            is_row_major && graph.ty(*other).shape == node.ty.shape
        };
        let (strides, shape) = match node.operands.iter().copied().find(is_like) {
            Some(like) => (before[like.index()].strides.clone(), before[like.index()].shape.clone()),
            None => (node.ty.row_major_strides().into(), node.ty.shape[..].into()),
        };
        Layout { base, offset, strides, shape }
    }
}

/// The layout of every node. A reshape that is no index map is its own base: see `is_copy`.
pub fn layouts(graph: &Graph) -> Vec<Layout> {
    let mut all: Vec<Layout> = Vec::with_capacity(graph.len());
    for id in graph.ids() {
        let node = graph.node(id);
        let layout = match &node.op {
            Op::View(view) => through_view(graph, id, view, &all[node.operands[0].index()]),
            Op::Detach | Op::After => Some(all[node.operands[0].index()].clone()),
            _ if is_widening(graph, id) => Some(all[node.operands[0].index()].clone()),
            _ => None,
        };
        all.push(layout.unwrap_or_else(|| Layout::own(graph, id, &all)));
    }
    all
}

/// Whether a node is a bf16 tensor as f32: what reads it widens each element.
pub fn is_widening(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    if node.kind() != Kind::Cast {
        return false;
    }
    let of_bf16 = node.operands.first().is_some_and(|x| graph.dtype(*x) == DType::BF16);
    of_bf16 && node.ty.dtype == DType::F32
}

/// Whether a node is a view that could not be folded, so that its elements must be moved.
pub fn is_copy(graph: &Graph, layouts: &[Layout], id: NodeId) -> bool {
    graph.node(id).op == Op::View(View::Reshape) && layouts[id.index()].base == id
}

fn through_view(graph: &Graph, id: NodeId, view: &View, source: &Layout) -> Option<Layout> {
    let node = graph.node(id);
    let from = &graph.ty(node.operands[0]).shape;
    let mut offset = source.offset.clone();
    let strides: Dims = match view {
        View::Permute(permutation) => permutation.iter().map(|axis| source.strides[*axis].clone()).collect(),
        View::Broadcast { axes } => {
            let mut strides = vec![Dim::from(0); node.ty.rank()];
            for (stride, axis) in source.strides.iter().zip(axes) {
                strides[*axis] = stride.clone();
            }
            strides.into()
        }
        View::Slice { start, step } => {
            for (start, stride) in start.iter().zip(&source.strides[..]) {
                offset = offset + start.clone() * stride.clone();
            }
            source.strides.iter().zip(step).map(|(stride, step)| stride.clone() * Dim::from(*step)).collect()
        }
        View::Flip { axes } => {
            let mut strides = source.strides.to_vec();
            for axis in axes {
                let last = from[*axis].clone() - Dim::from(1);
                offset = offset + last * strides[*axis].clone();
                strides[*axis] = Dim::from(-1) * strides[*axis].clone();
            }
            strides.into()
        }
        View::Window(window) => {
            let mut strides = source.strides.to_vec();
            let along = strides.remove(window.axis);
            let steps = [window.stride, window.dilation].map(|step| along.clone() * Dim::from(step));
            strides.splice(window.axis..window.axis, steps);
            strides.into()
        }
        View::Reshape => reshape(from, &source.strides, &node.ty.shape)?.into(),
        View::Pad { .. } => return None,
    };
    Some(Layout { base: source.base, offset, strides, shape: node.ty.shape[..].into() })
}

fn row_major(shape: &[Dim]) -> Vec<Dim> {
    TensorType::new(DType::F32, shape).row_major_strides()
}

/// The strides of `to` over the elements that `strides` finds in `from`, if the order of elements allows.
fn reshape(from: &[Dim], strides: &[Dim], to: &[Dim]) -> Option<Vec<Dim>> {
    let zero = Dim::from(0);
    let one = Dim::from(1);
    if from.contains(&zero) {
        // No element is ever read.
        return Some(vec![zero; to.len()]);
    }
    // Without gaps any shape will do, also where sizes are sums that do not divide as polynomials.
    if strides == row_major(from) {
        return Some(row_major(to));
    }
    let old: Vec<usize> = (0..from.len()).filter(|i| from[*i] != one).collect();
    let new: Vec<usize> = (0..to.len()).filter(|i| to[*i] != one).collect();
    let mut result = vec![zero; to.len()];
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        // The shortest runs of old and of new axes with equally many elements.
        let (first_old, first_new) = (i, j);
        let (mut n_old, mut n_new) = (from[old[i]].clone(), to[new[j]].clone());
        i += 1;
        j += 1;
        while n_old != n_new {
            if n_old.exact_div(&n_new).is_some() && j < new.len() {
                n_new = n_new * to[new[j]].clone();
                j += 1;
            } else if i < old.len() {
                n_old = n_old * from[old[i]].clone();
                i += 1;
            } else {
                return None;
            }
        }
        // Together the old axes must step evenly.
        let run = &old[first_old..i];
        let even = |w: &[usize]| strides[w[0]] == from[w[1]].clone() * strides[w[1]].clone();
        if !run.windows(2).all(even) {
            return None;
        }
        let mut stride = strides[*run.last()?].clone();
        for axis in new[first_new..j].iter().rev() {
            result[*axis] = stride.clone();
            stride = stride * to[*axis].clone();
        }
    }
    (i == old.len() && j == new.len()).then_some(result)
}
