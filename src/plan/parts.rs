//! Long reductions over rows are taken in parts, each a tile of the rows.
//!
//! What enters: a group's clusters; then a loop that reduces over rows, lowered. What leaves: the clusters in segments, each a
//! launch of its own or, of a long reduction, two: the first has a tile loop over the rows and reduces each tile's, the second puts the
//! tiles' results together. Without this a tile would be some columns of all rows: it visits a piece of each row, far from the one
//! before, where the first of these launches reads memory as it lies there, and has as many tiles as there are rows enough for.
//!
//! The order of the sum follows from sizes alone: the tile is chosen for the greatest batch, and whatever the batch is, all parts are
//! added up; the last tile fills those that it leaves over with what changes nothing. That takes a loop whose size is
//! `rest * (1 - rows beyond this tile)`, at most 0 in every other tile. The results of a tile begin at its first row's number
//! times a whole number of elements, so that their place is a polynomial, too.

use super::BufferId;
use super::fuse::{Cluster, Loop};
use super::lower::{Arguments, Lowered};
use super::recompute::recompute;
use super::space::Reads;
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::{Graph, NodeId, Op};
use crate::nest::{Access, Argument, ArgumentAccess, Axis, BufferRef, Inst, Nest, Store, StoreKind, TileOp};

/// Elements of what is reduced from which on it is worth another launch: more than a core's own caches hold. Few in tests, whose
/// graphs are small.
const LARGE: i64 = if cfg!(test) { 8 } else { 1 << 18 };
/// Rows below which there are not tiles enough.
const LEAST_ROWS: i64 = if cfg!(test) { 2 } else { 256 };
/// Elements of a row below which columns are neighbours enough.
const LEAST_WIDTH: i64 = if cfg!(test) { 2 } else { 32 };

/// Rows in a tile, at most: a kernel's parts have their places by its tile, which some tests make two rows.
pub const MOST_ROWS: u32 = if cfg!(test) { 2 } else { 1 << 30 };

/// Whether a reduction over the first axis of a tensor of this shape is long.
pub fn is_long(shape: &[Dim], max_batch: i64) -> bool {
    let [rows, row @ ..] = shape else { return false };
    // There must be no more parts at any batch than at the greatest.
    if rows.shrinks_with("batch") {
        return false;
    }
    let rows = rows.eval(&|symbol| (symbol == "batch").then_some(max_batch));
    let width = row.iter().try_fold(1i64, |n, size| Some(n.saturating_mul(size.as_const()?)));
    rows.zip(width).is_some_and(|(rows, width)| {
        rows >= LEAST_ROWS && width >= LEAST_WIDTH && rows.saturating_mul(width) >= LARGE
    })
}

/// Whether a node is a long reduction over rows.
pub fn is_long_reduction(graph: &Graph, reads: &Reads, id: NodeId, max_batch: i64) -> bool {
    matches!(graph.node(id).op, Op::Reduce { .. })
        && reads.of(id).iter().all(|read| {
            let Some((rows, row)) = read.extents.split_last() else { return false };
            let shape: Vec<Dim> = [rows].into_iter().chain(row).cloned().collect();
            read.n_parallel == row.len() && is_long(&shape, max_batch)
        })
}

/// Whether a cluster is a loop over rows, reduced last, that is long.
fn is_long_loop(cluster: &Cluster, max_batch: i64) -> bool {
    let Cluster::Loop(Loop { extents, n_parallel, .. }) = cluster else { return false };
    let Some((rows, row)) = extents.split_last() else { return false };
    let shape: Vec<Dim> = [rows].into_iter().chain(row).cloned().collect();
    *n_parallel == Some(row.len()) && !row.is_empty() && is_long(&shape, max_batch)
}

/// Whether a cluster is a long reduction: of one kind, along its last axis, of what lies row by row in memory.
fn reduces_rows(
    graph: &Graph,
    reads: &Reads,
    clusters: &[Cluster],
    cluster: &Cluster,
    max_batch: i64,
) -> bool {
    let Cluster::Loop(Loop { nodes, extents, .. }) = cluster else { return false };
    let Some((_, row)) = extents.split_last().filter(|_| is_long_loop(cluster, max_batch)) else {
        return false;
    };
    // Who else reads it makes it again.
    let makes_again = |id: &NodeId, user: &NodeId| {
        let mut readers = clusters.iter().filter(|other| other.nodes().contains(user)).peekable();
        readers.peek().is_some() && readers.all(|reader| reader.nodes().contains(id))
    };
    let mut kinds = nodes.iter().filter_map(|id| match &graph.node(*id).op {
        Op::Reduce { op, .. } => Some((*op, graph.dtype(*id))),
        _ => None,
    });
    let Some(first @ (_, DType::F32)) = kinds.next() else { return false };
    let is_inside = |id: &NodeId| match &graph.node(*id).op {
        Op::Reduce { .. } => true,
        Op::Map(_) | Op::Cast => {
            let is_root = graph.roots().any(|root| root == *id);
            !is_root && reads.by_users(*id).all(|(user, _)| makes_again(id, &user))
        }
        _ => false,
    };
    let by_rows = |id: &NodeId| {
        let far = |strides: &[Dim]| {
            strides[row.len() - 1].is_const(1) && !matches!(strides[row.len()].as_const(), Some(0 | 1))
        };
        reads.of(*id).iter().any(|read| !nodes.contains(&read.base) && far(&read.strides))
    };
    kinds.all(|kind| kind == first) && nodes.iter().all(is_inside) && nodes.iter().any(by_rows)
}

/// Clusters that are launched together, and whether they are one long reduction.
pub struct Segment {
    pub clusters: Vec<Cluster>,
    pub is_long: bool,
    /// Whether it has been seen to what its loops make again.
    pub makes_again: bool,
}

impl Segment {
    /// One launch.
    pub fn new(clusters: Vec<Cluster>) -> Segment {
        Segment { clusters, is_long: false, makes_again: false }
    }
}

/// `stays`: what must be made together with the rest of its group. `kept`: what is stored whoever reads it. Scalars that each kernel works
/// out are worked out in each segment.
pub fn segments(
    graph: &Graph,
    reads: &Reads,
    clusters: Vec<Cluster>,
    max_batch: i64,
    stays: &dyn Fn(NodeId) -> bool,
    kept: &dyn Fn(NodeId) -> bool,
) -> Vec<Segment> {
    let whole = |clusters| vec![Segment::new(clusters)];
    if !clusters.iter().any(|cluster| is_long_loop(cluster, max_batch)) {
        return whole(clusters);
    }
    // What several loops make of the same rows each makes for itself, so that none needs another's.
    let mut apart = clusters.clone();
    recompute(graph, reads, kept, &mut apart);
    read_once(graph, reads, &mut apart, max_batch);
    let mut found = in_segments(graph, reads, apart, max_batch, stays);
    if found.len() == 1 || stores_again(reads, &found) {
        return in_segments(graph, reads, clusters, max_batch, stays);
    }
    found.iter_mut().for_each(|segment| segment.makes_again = true);
    found
}

/// Whether a segment reads what more than one before it makes, so that more than one would store it.
fn stores_again(reads: &Reads, segments: &[Segment]) -> bool {
    let nodes = |segment: &Segment| -> Vec<NodeId> {
        segment.clusters.iter().flat_map(Cluster::nodes).copied().collect()
    };
    let made: Vec<Vec<NodeId>> = segments.iter().map(nodes).collect();
    made.iter().enumerate().any(|(at, of_segment)| {
        let mut bases = of_segment.iter().flat_map(|id| reads.of(*id)).map(|read| read.base);
        bases.any(|base| {
            let n_makers = made[..at].iter().filter(|others| others.contains(&base)).count();
            !of_segment.contains(&base) && n_makers > 1
        })
    })
}

/// A reduction of an array that no other node of its long loop reads goes to a later one that reads it, unless it is wanted before:
/// there it is read anyway.
fn read_once(graph: &Graph, reads: &Reads, clusters: &mut [Cluster], max_batch: i64) {
    let is_long = |cluster: &Cluster| is_long_loop(cluster, max_batch);
    let loads = |cluster: &Cluster, base: NodeId, but: NodeId| {
        let nodes = cluster.nodes().iter().filter(|id| **id != but);
        !cluster.nodes().contains(&base) && nodes.flat_map(|id| reads.of(*id)).any(|read| read.base == base)
    };
    for from in (0..clusters.len()).filter(|at| is_long(&clusters[*at])).collect::<Vec<_>>() {
        for id in clusters[from].nodes().to_vec() {
            let [read] = reads.of(id) else { continue };
            let is_reduction = matches!(graph.node(id).op, Op::Reduce { .. });
            if !is_reduction
                || clusters[from].nodes().contains(&read.base)
                || loads(&clusters[from], read.base, id)
            {
                continue;
            }
            let is_wanted =
                |cluster: &Cluster| reads.by_users(id).any(|(user, _)| cluster.nodes().contains(&user));
            let extents = |cluster: &Cluster| match cluster {
                Cluster::Loop(l) => Some((l.extents.clone(), l.n_parallel)),
                _ => None,
            };
            let later = (from + 1..clusters.len()).take_while(|at| !is_wanted(&clusters[*at]));
            let to = later.into_iter().find(|at| {
                is_long(&clusters[*at])
                    && extents(&clusters[*at]) == extents(&clusters[from])
                    && loads(&clusters[*at], read.base, id)
            });
            let Some(to) = to else { continue };
            for (at, is_new) in [(from, false), (to, true)] {
                let Cluster::Loop(l) = &mut clusters[at] else { unreachable!("long ones are loops") };
                l.nodes.retain(|other| *other != id);
                l.nodes.extend(is_new.then_some(id));
                l.nodes.sort_unstable();
            }
        }
    }
}

fn in_segments(
    graph: &Graph,
    reads: &Reads,
    clusters: Vec<Cluster>,
    max_batch: i64,
    stays: &dyn Fn(NodeId) -> bool,
) -> Vec<Segment> {
    let long: Vec<bool> =
        clusters.iter().map(|cluster| reduces_rows(graph, reads, &clusters, cluster, max_batch)).collect();
    let last = long.iter().rposition(|is_long| *is_long);
    let before = clusters[..last.map_or(0, |last| last + 1)].iter().flat_map(Cluster::nodes);
    if last.is_none() || before.copied().any(stays) {
        return vec![Segment::new(clusters)];
    }
    let of_scalars = matches!(&clusters[0], Cluster::Loop(l) if l.extents.is_empty());
    let mut each = clusters.into_iter().zip(long);
    let scalars = of_scalars.then(|| each.next().expect("it is the first").0);
    let mut found: Vec<Segment> = Vec::new();
    for (cluster, is_long) in each {
        match found.last_mut() {
            Some(last) if !is_long && !last.is_long => last.clusters.push(cluster),
            _ => {
                let clusters = scalars.iter().cloned().chain([cluster]).collect();
                found.push(Segment { clusters, is_long, makes_again: false });
            }
        }
    }
    found
}

/// Phases that a group's segments take, one after another.
pub fn n_phases(segments: &[Segment]) -> usize {
    segments.iter().map(|segment| 1 + usize::from(segment.is_long)).sum()
}

/// A lowered long reduction, and what its parts are.
pub struct Parts {
    lowered: Lowered,
    /// The op that reduces; those before it work out scalars.
    at: usize,
    /// Rows that are reduced, and the columns of a tile of the group.
    rows: Dim,
    columns: Dim,
}

impl Parts {
    pub fn new(lowered: Lowered, columns: Dim) -> Parts {
        let at = lowered.ops.len() - 1;
        let TileOp::Nest(nest) = &lowered.ops[at] else { unreachable!("a loop is a nest") };
        let rows = nest.axes.last().expect("the rows' axis").extent.clone();
        Parts { lowered, at, rows, columns }
    }

    fn nest(&self) -> &Nest {
        let TileOp::Nest(nest) = &self.lowered.ops[self.at] else { unreachable!("a loop is a nest") };
        nest
    }

    pub fn rows(&self) -> &Dim {
        &self.rows
    }

    pub fn columns(&self) -> &Dim {
        &self.columns
    }

    /// Extents of the parallel axes.
    fn row(&self) -> Vec<Dim> {
        let axes = self.nest().axes.split_last().expect("the rows' axis").1;
        let of_all = |dim: &Dim| dim.substitute(&|s| (s == "tile").then(|| self.columns.clone()));
        axes.iter().map(|axis| of_all(&axis.extent)).collect()
    }

    fn width(&self) -> i64 {
        self.row().iter().fold(Dim::from(1), |n, size| n * size.clone()).as_const().expect("a known width")
    }

    /// Elements of a tile's results for each of its rows, for tiles of so many.
    fn of_row(&self, tile: i64) -> i64 {
        let n = self.nest().stores.len() as i64 * self.width();
        (n + tile - 1) / tile
    }

    /// Elements of all parts' results.
    pub fn n_elements(&self, tile: i64, n_parts: i64) -> i64 {
        n_parts * tile * self.of_row(tile)
    }

    /// The launch over tiles of rows, its results in `to`.
    pub fn first(&self, to: BufferId, tile: i64, n_parts: i64) -> Lowered {
        let (nest, start) = (self.nest(), Dim::symbol("start"));
        let last = nest.axes.len() - 1;
        let none = |dim: &Dim| dim.substitute(&|s| (s == "start").then(|| Dim::from(0)));
        // The tile is one of rows.
        let moved = |access: &Access| {
            let offset = none(&access.offset) + start.clone() * access.strides[last].clone();
            Access { offset, ..access.clone() }
        };
        let body = nest.body.iter().map(|inst| match inst {
            Inst::Load { access } => Inst::Load { access: moved(access) },
            Inst::Index { axis, offset } if *axis as usize == last => {
                Inst::Index { axis: *axis, offset: none(offset) + start.clone() }
            }
            Inst::Index { axis, offset } => Inst::Index { axis: *axis, offset: none(offset) },
            inst => inst.clone(),
        });
        let row = self.row();
        let argument = BufferRef::Argument(self.lowered.arguments.len() as u32);
        let place = start.clone() * Dim::from(self.of_row(tile));
        let stores = nest.stores.iter().enumerate().map(|(i, store)| {
            let offset = place.clone() + Dim::from(i as i64 * self.width());
            let access = Access { buffer: argument, dtype: DType::F32, offset, strides: strides(&row, 0) };
            Store { access, ..store.clone() }
        });
        let axes = row.iter().map(|size| Axis { extent: size.clone(), reduce: false });
        let along = Axis { extent: Dim::symbol("tile"), reduce: true };
        let op = Nest { axes: axes.chain([along]).collect(), body: body.collect(), stores: stores.collect() };
        let mut ops: Vec<TileOp> = self.lowered.ops[..self.at].to_vec();
        ops.push(TileOp::Nest(op));
        ops.push(TileOp::Nest(self.fill(argument, place, tile, n_parts)));
        self.lowered_as(ops, to, ArgumentAccess::Write)
    }

    /// What no tile makes, in the last one.
    fn fill(&self, buffer: BufferRef, place: Dim, tile: i64, n_parts: i64) -> Nest {
        let StoreKind::Reduce(op) = self.nest().stores[0].kind else { unreachable!("it reduces") };
        let identity = match op {
            ReduceOp::Sum => 0.0,
            ReduceOp::Prod => 1.0,
            ReduceOp::Max => f64::NEG_INFINITY,
            ReduceOp::Min => f64::INFINITY,
        };
        let next = place + Dim::from(tile * self.of_row(tile));
        let beyond = self.rows.clone() - Dim::symbol("start") - Dim::symbol("tile");
        let extent = (Dim::from(self.n_elements(tile, n_parts)) - next.clone()) * (Dim::from(1) - beyond);
        let access = Access { buffer, dtype: DType::F32, offset: next, strides: vec![Dim::from(1)] };
        Nest {
            axes: vec![Axis { extent, reduce: false }],
            body: vec![Inst::Const { bits: f64::to_bits(identity), dtype: DType::F32 }],
            stores: vec![Store { value: 0, access, kind: StoreKind::Set }],
        }
    }

    /// The launch that puts the parts in `from` together.
    pub fn second(&self, from: BufferId, tile: i64, n_parts: i64) -> Lowered {
        let nest = self.nest();
        let mut axes = nest.axes.clone();
        axes.last_mut().expect("the rows' axis").extent = Dim::from(n_parts);
        let buffer = BufferRef::Argument(self.lowered.arguments.len() as u32);
        let strides = strides(&self.row(), tile * self.of_row(tile));
        let ops = nest.stores.iter().enumerate().map(|(i, store)| {
            let first = Dim::symbol("start") * strides[0].clone();
            let offset = first + Dim::from(i as i64 * self.width());
            let access = Access { buffer, dtype: DType::F32, offset, strides: strides.clone() };
            let stores = vec![Store { value: 0, ..store.clone() }];
            TileOp::Nest(Nest { axes: axes.clone(), body: vec![Inst::Load { access }], stores })
        });
        self.lowered_as(ops.collect(), from, ArgumentAccess::Read)
    }

    /// Ops over the old arguments and one more, as a kernel's, without the arguments that they do not touch.
    fn lowered_as(&self, mut ops: Vec<TileOp>, buffer: BufferId, access: ArgumentAccess) -> Lowered {
        let mut arguments = self.lowered.arguments.clone();
        arguments.insert(buffer, Argument { dtype: DType::F32, access });
        let mut used = vec![None; arguments.len()];
        let mut kept = Arguments::default();
        let mut renumber = |buffer: &mut BufferRef| {
            let BufferRef::Argument(i) = buffer else { return };
            let to = *used[*i as usize].get_or_insert_with(|| {
                kept.extend(arguments.get_index(*i as usize).map(|(id, argument)| (*id, argument.clone())));
                kept.len() as u32 - 1
            });
            *buffer = BufferRef::Argument(to);
        };
        for op in &mut ops {
            let TileOp::Nest(nest) = op else { unreachable!("loops are nests") };
            for inst in &mut nest.body {
                if let Inst::Load { access } = inst {
                    renumber(&mut access.buffer);
                }
            }
            nest.stores.iter_mut().for_each(|store| renumber(&mut store.access.buffer));
        }
        let (clock, clusters) = (ops.len(), vec![0; ops.len()]);
        Lowered { arguments: kept, scratch: self.lowered.scratch.clone(), ops, clock, clusters }
    }
}

/// Of a row's axes, row-major, and of the axis that follows.
fn strides(row: &[Dim], last: i64) -> Vec<Dim> {
    let mut strides = vec![Dim::from(last)];
    let mut next = Dim::from(1);
    for size in row.iter().rev() {
        strides.insert(0, next.clone());
        next = next * size.clone();
    }
    strides
}
