//! What a node iterates over, and how it reads each operand there.
//!
//! What enters: a node. What leaves: for each operand the axes of the loop that reads it (parallel ones first, in the
//! order of the node's own axes, then the reducing ones), and the operand's layout along them. Grouping asks whether a
//! tile of rows suffices, lowering makes accesses of it. Invariant: the row axis, if any, is axis 0.

use super::layout::{Dims, Layout, is_widening};
use crate::base::{DType, Dim};
use crate::graph::{Graph, Kind, Node, NodeId, Op, View};
use std::ops::Range;

/// One operand, as its reader's loop sees it.
#[derive(Clone, Debug)]
pub struct Read {
    pub base: NodeId,
    /// As what it is read: f32, where the base may be bf16.
    pub dtype: DType,
    pub offset: Dim,
    /// Extents of the loop: `n_parallel` parallel axes, then reducing ones.
    pub extents: Dims,
    pub n_parallel: usize,
    /// One for each extent.
    pub strides: Dims,
    /// The axis that an index reads into: (size, stride).
    pub indexed: Option<(Dim, Dim)>,
    /// Whether the loop's index is the base's own: the value can pass in a register.
    pub is_whole: bool,
}

/// How every node with storage reads its operands, and who reads it: worked out once for a plan.
pub struct Reads {
    /// By node, by operand.
    all: Vec<Read>,
    /// By node: where its own end, which begin where those of the node before end.
    ends: Vec<u32>,
    /// By base: readers, and which of all the reads theirs are.
    users: Vec<(NodeId, u32)>,
    /// By base: where its own end.
    users_end: Vec<u32>,
    /// By node: bases that must be there before it reads, though it does not read them.
    waits: Vec<Vec<NodeId>>,
    /// By node: see `rows`.
    rows: Vec<Option<Dim>>,
    /// By node: whether it is a variable's next value.
    is_update: Vec<bool>,
}

impl Reads {
    pub fn new(graph: &Graph, layouts: &[Layout]) -> Reads {
        let mut all = Vec::with_capacity(2 * graph.len());
        let mut ends = Vec::with_capacity(graph.len());
        for id in graph.ids() {
            if has_storage(graph, id) {
                all.extend((0..graph.node(id).operands.len()).map(|i| read(graph, layouts, id, i)));
            }
            ends.push(all.len() as u32);
        }
        let is_awaited = graph.ids().any(|id| graph.node(id).op == Op::After);
        let waits = |id: NodeId| match is_awaited && has_storage(graph, id) {
            true => graph.node(id).operands.iter().flat_map(|x| waits_for(graph, layouts, *x)).collect(),
            false => Vec::new(),
        };
        let waits = graph.ids().map(waits).collect();
        let rows = graph.ids().map(|id| rows(graph.node(id), graph)).collect();
        let mut is_update = vec![false; graph.len()];
        graph.updates.iter().for_each(|(_, value)| is_update[value.index()] = true);
        let (users, users_end) = users(&all, &ends, &|_| true);
        Reads { all, ends, users, users_end, waits, rows, is_update }
    }

    /// The same, where nodes that were made as a whole are made row by row, of all that they read.
    pub fn with_tiles(mut self, graph: &Graph, by_tiles: &dyn Fn(NodeId) -> bool) -> Reads {
        for id in graph.ids().filter(|id| by_tiles(*id)) {
            self.rows[id.index()] = graph.ty(id).shape.first().cloned();
        }
        self
    }

    /// The number of rows that a node's result can be made of one by one; `None` when it is made as a whole.
    pub fn rows(&self, id: NodeId) -> Option<&Dim> {
        self.rows[id.index()].as_ref()
    }

    /// Reads as they are where some nodes are made anew by whoever reads them: readers read what those are made of.
    pub fn through(&self, graph: &Graph, is_made_anew: &dyn Fn(NodeId) -> bool) -> Reads {
        let mut all: Vec<Read> = Vec::with_capacity(self.all.len());
        let mut ends: Vec<u32> = Vec::with_capacity(graph.len());
        let mut waits: Vec<Vec<NodeId>> = Vec::with_capacity(graph.len());
        // Ids are in an order in which nodes can run: what a node made anew is made of is known before its readers come.
        for id in graph.ids() {
            let (mut own, mut first) = (Vec::new(), self.waits[id.index()].clone());
            for read in self.of(id) {
                if is_made_anew(read.base) {
                    own.extend_from_slice(&all[range(&ends, read.base)]);
                    first.extend(waits[read.base.index()].iter().copied());
                } else {
                    own.push(read.clone());
                }
            }
            all.append(&mut own);
            ends.push(all.len() as u32);
            waits.push(first);
        }
        let (users, users_end) = users(&all, &ends, &|id| !is_made_anew(id));
        let (rows, is_update) = (self.rows.clone(), self.is_update.clone());
        Reads { all, ends, users, users_end, waits, rows, is_update }
    }

    /// Whether a node is a variable's next value.
    pub fn is_update(&self, id: NodeId) -> bool {
        self.is_update[id.index()]
    }

    /// What must be there before a node reads, though it does not read it.
    pub fn waits(&self, id: NodeId) -> &[NodeId] {
        &self.waits[id.index()]
    }

    /// How a node reads its operands; nothing for one without storage.
    pub fn of(&self, id: NodeId) -> &[Read] {
        &self.all[range(&self.ends, id)]
    }

    /// Readers of a base, and how each reads it.
    pub fn by_users(&self, base: NodeId) -> impl Iterator<Item = (NodeId, &Read)> {
        self.users[range(&self.users_end, base)].iter().map(|(id, i)| (*id, &self.all[*i as usize]))
    }
}

/// Where a node's own lie, which end where it says and begin where those of the node before end.
fn range(ends: &[u32], id: NodeId) -> Range<usize> {
    let begin = id.index().checked_sub(1).map_or(0, |before| ends[before]);
    begin as usize..ends[id.index()] as usize
}

/// By base, in order, who of those that count reads it, and which of the reads that is; and where each base's own end.
fn users(all: &[Read], ends: &[u32], counts: &dyn Fn(NodeId) -> bool) -> (Vec<(NodeId, u32)>, Vec<u32>) {
    let of = |id: NodeId| range(ends, id).map(move |i| (id, i as u32));
    let reads = || (0..ends.len() as u32).map(NodeId).filter(|id| counts(*id)).flat_map(of);
    // First where each base's users begin: as they are put down, that moves to where they end.
    let mut places = vec![0; ends.len() + 1];
    reads().for_each(|(_, i)| places[all[i as usize].base.index() + 1] += 1);
    (1..places.len()).for_each(|i| places[i] += places[i - 1]);
    let mut users = vec![(NodeId(0), 0); places[ends.len()] as usize];
    for (id, i) in reads() {
        let place = &mut places[all[i as usize].base.index()];
        users[*place as usize] = (id, i);
        *place += 1;
    }
    (users, places)
}

/// The bases that the `After`s between an operand and its base name.
fn waits_for(graph: &Graph, layouts: &[Layout], operand: NodeId) -> Vec<NodeId> {
    let mut found = Vec::new();
    let mut at = operand;
    while !has_storage(graph, at) {
        let node = graph.node(at);
        if node.op == Op::After {
            found.push(layouts[node.operands[1].index()].base);
        }
        match node.operands.first() {
            Some(next) => at = *next,
            None => break,
        }
    }
    found
}

/// Whether the node's elements lie in memory of their own.
pub fn has_storage(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match node.kind() {
        Kind::Map(_) | Kind::Reduce | Kind::Contract | Kind::Fold | Kind::Scan => true,
        Kind::Const | Kind::Broadcast | Kind::Detach => false,
        Kind::Cast => !is_widening(graph, id),
        Kind::View => matches!(node.op, Op::View(View::Pad { .. })),
        Kind::Other => {
            let is_leaf = node.op.leaf_name().is_some();
            !is_leaf && !matches!(node.op, Op::Iota { .. } | Op::Size(_) | Op::After)
        }
    }
}

/// How operand `i` of a node with storage is read.
fn read(graph: &Graph, layouts: &[Layout], id: NodeId, i: usize) -> Read {
    let node = graph.node(id);
    let operand = node.operands[i];
    let layout = &layouts[operand.index()];
    let shape = &graph.ty(operand).shape;
    let mut indexed = None;
    let (extents, n_parallel, strides) = match &node.op {
        Op::Reduce { axes, .. } => split(shape, &layout.strides, axes),
        Op::ArgMax { axis } => split(shape, &layout.strides, &[*axis]),
        Op::Contract(contraction) => {
            let labels = if i == 0 { &contraction.lhs } else { &contraction.rhs };
            let size = |label: &u8| {
                let of = |side: usize, labels: &[u8]| {
                    let axis = labels.iter().position(|l| l == label)?;
                    Some(graph.ty(node.operands[side]).shape[axis].clone())
                };
                of(0, &contraction.lhs)
                    .or_else(|| of(1, &contraction.rhs))
                    .expect("every label is in an operand")
            };
            let stride = |label: &u8| {
                labels
                    .iter()
                    .position(|l| l == label)
                    .map_or(Dim::from(0), |axis| layout.strides[axis].clone())
            };
            let all = [&contraction.out[..], &contraction.summed()].concat();
            let extents = all.iter().map(size).collect();
            (extents, contraction.out.len(), all.iter().map(stride).collect())
        }
        Op::Gather { axis, batch } => {
            let n_index = graph.ty(node.operands[1]).rank() - batch;
            let strides = (0..node.ty.rank()).map(|out| match (i, out) {
                (0, out) if out < *axis => layout.strides[out].clone(),
                (0, out) if out >= axis + n_index => layout.strides[out - n_index + 1].clone(),
                (1, out) if out < *batch => layout.strides[out].clone(),
                (1, out) if out >= *axis && out < axis + n_index => {
                    layout.strides[out - axis + batch].clone()
                }
                _ => Dim::from(0),
            });
            if i == 0 {
                indexed = Some((shape[*axis].clone(), layout.strides[*axis].clone()));
            }
            (node.ty.shape[..].into(), node.ty.rank(), strides.collect())
        }
        Op::ScatterAdd { axis, batch } => {
            // The loop runs over the updates.
            let updates = &graph.ty(node.operands[1]).shape;
            let strides = match i {
                1 => layout.strides.clone(),
                _ => {
                    let mut strides = vec![Dim::from(0); updates.len()];
                    strides[..*batch].clone_from_slice(&layout.strides[..*batch]);
                    strides[*axis..axis + shape.len() - batch].clone_from_slice(&layout.strides[*batch..]);
                    strides.into()
                }
            };
            // Along the first axis, a row of the result is made of any rows of the updates.
            let n_parallel = if *axis == 0 { 0 } else { updates.len() };
            (updates[..].into(), n_parallel, strides)
        }
        // Elementwise, and what moves each operand's elements to a place of their own.
        _ => (layout.shape.clone(), shape.len(), layout.strides.clone()),
    };
    let dtype = graph.dtype(operand);
    let (base, offset) = (layout.base, layout.offset.clone());
    let of_base = graph.ty(base);
    let is_whole = indexed.is_none()
        && offset.is_const(0)
        && *extents == *of_base.shape
        && of_base.is_row_major(&strides);
    Read { base, dtype, offset, extents, n_parallel, strides, indexed, is_whole }
}

type Split = (Dims, usize, Dims);

/// Kept axes first, then `axes`.
fn split(shape: &[Dim], strides: &[Dim], axes: &[usize]) -> Split {
    let kept = (0..shape.len()).filter(|axis| !axes.contains(axis));
    let order: Vec<usize> = kept.chain(axes.iter().copied()).collect();
    let pick = |from: &[Dim]| order.iter().map(|axis| from[*axis].clone()).collect();
    (pick(shape), shape.len() - axes.len(), pick(strides))
}

/// The number of rows that a node's result can be made of one by one; `None` when it is made as a whole.
pub fn rows(node: &Node, graph: &Graph) -> Option<Dim> {
    let rows = node.ty.shape.first()?.clone();
    let by_row = match &node.op {
        Op::Scan(scan) => return super::scan::rows(scan),
        Op::Fold(window) => window.axis > 0,
        Op::Concat { axis } | Op::Sort { axis, .. } | Op::ScatterAdd { axis, .. } => *axis > 0,
        Op::View(View::Pad { start, step }) => {
            start[0].is_const(0) && step[0] == 1 && graph.ty(node.operands[0]).shape[0] == rows
        }
        _ => true,
    };
    by_row.then_some(rows)
}

/// Whether row `r` of the loop reads row `r` of the base's storage and nothing else of it.
pub fn is_row_aligned(graph: &Graph, read: &Read) -> bool {
    let base = graph.ty(read.base);
    let (Some(rows), Some(extent)) = (base.shape.first(), read.extents.first()) else { return false };
    if read.n_parallel > 0 && read.is_whole {
        return true;
    }
    let row_stride = base.shape[1..].iter().rev().fold(Dim::from(1), |n, size| n * size.clone());
    if read.n_parallel == 0 || rows != extent || read.strides[0] != row_stride {
        return false;
    }
    // Least and greatest element within the row.
    let (Some(mut low), Some(n)) = (read.offset.as_const(), row_stride.as_const()) else { return false };
    let mut high = low;
    let inner = read.extents[1..].iter().zip(&read.strides[1..]);
    for (extent, stride) in inner.chain(read.indexed.iter().map(|(size, stride)| (size, stride))) {
        if stride.is_const(0) {
            continue;
        }
        let (Some(extent), Some(stride)) = (extent.as_const(), stride.as_const()) else { return false };
        let reach = (extent - 1).max(0).saturating_mul(stride);
        low += reach.min(0);
        high += reach.max(0);
    }
    low >= 0 && high < n
}
