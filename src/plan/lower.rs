//! From a group's clusters to a kernel.
//!
//! What enters: clusters, where each value lives (`Homes`), and whether the group is tiled. What leaves: tile ops over
//! arguments and scratch. Invariants: a global buffer is addressed from the tile's first row (`start`), scratch from 0;
//! scratch is written before it is read; a variable that is overwritten is not read afterwards. Not here: the tile's size, and scratch
//! offsets (`tile.rs`).

use super::channelwise::channelwise;
use super::fuse::{Cluster, Loop, is_reduction};
use super::space::{Read, Reads};
use super::strips::Turn;
use super::winograd::Winograd;
use super::{BufferId, Target};
use crate::base::hash::{FastMap, FastSet, Mixer};
use crate::base::{DType, Dim, TensorType};
use crate::graph::{Graph, NodeId, Op, View};
use crate::nest::{
    Access, Argument, ArgumentAccess, Axis, BufferRef, Fill, Gemm, Inst, Nest, Sort, Store, StoreKind,
    TileOp, Value,
};
use crate::scalar::Func;
use indexmap::IndexMap;
use std::hash::BuildHasherDefault;

/// Where values live, seen from one group.
pub struct Homes<'a> {
    /// Nodes with a buffer that other launches or the caller see.
    pub global: &'a FastMap<NodeId, BufferId>,
    /// Variables that each of the nodes is the next value of, if it is written there at once.
    pub variable_of: &'a FastMap<NodeId, NodeId>,
    /// In the body of a scan: what lies in storage of the kernel around it.
    pub placed: FastMap<NodeId, Placed>,
}

/// Storage of a kernel.
#[derive(Clone, Debug)]
pub struct Placed {
    pub storage: Storage,
    /// Elements before the value's first.
    pub offset: Dim,
}

#[derive(Clone, Copy, Debug)]
pub enum Storage {
    /// Rows count from the whole tensor's first.
    Global(BufferId),
    /// Rows count from the tile's first.
    Scratch(u32),
}

/// A scratch buffer before its place is known.
#[derive(Clone, Debug)]
pub struct ScratchUse {
    pub dtype: DType,
    /// Elements, over `batch` and `tile`.
    pub n_elements: Dim,
    /// The first op that touches it, and the last one after which it still matters.
    pub live: (usize, usize),
}

/// A kernel's arguments, in order.
pub type Arguments = IndexMap<BufferId, Argument, BuildHasherDefault<Mixer>>;

/// A kernel whose tile is not chosen yet.
#[derive(Default)]
pub struct Lowered {
    pub arguments: Arguments,
    pub scratch: Vec<ScratchUse>,
    pub ops: Vec<TileOp>,
    /// Ops so far, those inside of loops counted once: the time of `ScratchUse::live`.
    pub clock: usize,
    /// The cluster of each op, loops over turns not looked into; none for the late updates at the end.
    pub clusters: Vec<usize>,
}

impl Lowered {
    pub fn push(&mut self, op: TileOp) {
        self.ops.push(op);
        self.clock += 1;
    }

    pub fn push_all(&mut self, ops: impl IntoIterator<Item = TileOp>) {
        ops.into_iter().for_each(|op| self.push(op));
    }
}

/// Lowers one graph: a model's, or the body of a scan.
pub struct Lowerer<'a> {
    pub graph: &'a Graph,
    pub reads: &'a Reads,
    pub homes: Homes<'a>,
    pub target: Target,
    pub tiled: bool,
    pub out: Lowered,
    pub scratch_of: FastMap<NodeId, u32>,
    /// Nodes that are used by another cluster of this kernel.
    pub shared: FastSet<NodeId>,
    /// New values that wait for the end of the kernel.
    late: FastSet<NodeId>,
    /// How many loops over turns are around.
    pub depth: usize,
    /// Inside of strips: what a turn has of each axis.
    pub turn: Option<Turn>,
}

/// Lowers the clusters of one group, in order.
pub fn lower(
    graph: &Graph,
    reads: &Reads,
    homes: Homes,
    (target, tiled): (Target, bool),
    clusters: &[Cluster],
) -> Lowered {
    let mut cx = Lowerer::new(graph, reads, homes, (target, tiled));
    cx.lower_clusters(clusters);
    cx.out
}

/// Nodes that a later cluster reads, or that their own reads at another index.
fn shared(reads: &Reads, clusters: &[Cluster]) -> FastSet<NodeId> {
    let mut shared = FastSet::default();
    for cluster in clusters.iter().flat_map(Cluster::leaves) {
        for id in cluster.nodes() {
            for read in reads.of(*id) {
                let in_register =
                    matches!(cluster, Cluster::Loop(l) if l.nodes.contains(&read.base)) && read.is_whole;
                if !in_register {
                    shared.insert(read.base);
                }
            }
        }
    }
    shared
}

/// New values that must wait for the end of the kernel, for the old ones are read at other indices or later on.
fn late_updates(graph: &Graph, reads: &Reads, homes: &Homes, clusters: &[Cluster]) -> Vec<NodeId> {
    let clusters: Vec<&Cluster> = clusters.iter().flat_map(Cluster::leaves).collect();
    let is_next = |id: &NodeId| homes.variable_of.contains_key(id);
    if !clusters.iter().flat_map(|cluster| cluster.nodes()).any(is_next) {
        return Vec::new();
    }
    let placed = clusters.iter().enumerate().flat_map(|(at, c)| c.nodes().iter().map(move |id| (*id, at)));
    let cluster_of: FastMap<NodeId, usize> = placed.collect();
    let is_late = |value: &NodeId| {
        let Some(variable) = homes.variable_of.get(value) else { return false };
        let at = cluster_of[value];
        let in_register = matches!(clusters[at], Cluster::Loop(_)) && !is_reduction(&graph.node(*value).op);
        let mut users =
            reads.by_users(*variable).filter_map(|(user, read)| Some((cluster_of.get(&user)?, read)));
        users.any(|(user, read)| *user > at || *user == at && !(in_register && read.is_whole))
    };
    let mut late: Vec<NodeId> = clusters.iter().flat_map(|c| c.nodes()).copied().filter(is_late).collect();
    late.sort();
    late
}

impl<'a> Lowerer<'a> {
    pub fn new(
        graph: &'a Graph,
        reads: &'a Reads,
        homes: Homes<'a>,
        (target, tiled): (Target, bool),
    ) -> Lowerer<'a> {
        let (out, scratch_of) = (Lowered::default(), FastMap::default());
        let (shared, late) = (FastSet::default(), FastSet::default());
        Lowerer { graph, reads, homes, target, tiled, out, scratch_of, shared, late, depth: 0, turn: None }
    }

    pub fn lower_clusters(&mut self, clusters: &[Cluster]) {
        let late = late_updates(self.graph, self.reads, &self.homes, clusters);
        self.shared = shared(self.reads, clusters);
        self.shared.extend(&late);
        self.late.extend(&late);
        for (i, cluster) in clusters.iter().enumerate() {
            self.lower_cluster(cluster);
            if self.depth == 0 {
                self.out.clusters.resize(self.out.ops.len(), i);
            }
        }
        for value in late {
            self.copy_to_variable(value, self.homes.variable_of[&value]);
        }
    }

    pub fn lower_cluster(&mut self, cluster: &Cluster) {
        match cluster {
            Cluster::Loop(l) => self.lower_loop(l),
            Cluster::Single(id) => self.lower_single(*id),
            Cluster::Strips(strips) => self.lower_strips(strips),
            Cluster::Blocks(blocks) => self.lower_blocks(blocks),
        }
    }

    /// Of the values of `inner`, each once, from now on only those have storage that another of these clusters uses. For which of them
    /// that is new: `toggle_shared` takes it back.
    pub fn share_inside(&mut self, clusters: &[Cluster], inner: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
        let inside = shared(self.reads, clusters);
        let differs = |id: &NodeId| inside.contains(id) != self.shared.contains(id);
        let changed: Vec<NodeId> = inner.filter(differs).collect();
        self.toggle_shared(&changed);
        changed
    }

    /// Those of the values that were shared are not, and the others are.
    pub fn toggle_shared(&mut self, values: &[NodeId]) {
        for id in values {
            if !self.shared.remove(id) {
                self.shared.insert(*id);
            }
        }
    }

    /// The row axis is `tile` rows long.
    pub fn extent(&self, axis: usize, extent: &Dim) -> Dim {
        if let Some(turn) = &self.turn {
            return turn.extent(axis, extent);
        }
        if self.tiled && axis == 0 { Dim::symbol("tile") } else { extent.clone() }
    }

    pub fn axes(&self, extents: &[Dim], n_parallel: usize) -> Vec<Axis> {
        let axis = |(i, e): (usize, &Dim)| Axis { extent: self.extent(i, e), reduce: i >= n_parallel };
        extents.iter().enumerate().map(axis).collect()
    }

    /// The argument for a buffer.
    fn argument(&mut self, buffer: BufferId, dtype: DType, write: bool) -> BufferRef {
        let wanted = if write { ArgumentAccess::Write } else { ArgumentAccess::Read };
        let entry = self.out.arguments.entry(buffer);
        let i = entry.index() as u32;
        let argument = entry.or_insert(Argument { dtype, access: wanted });
        if argument.access != wanted {
            argument.access = ArgumentAccess::ReadWrite;
        }
        BufferRef::Argument(i)
    }

    /// The variable that a node's value is written into at once.
    fn written_into(&self, id: NodeId) -> Option<NodeId> {
        let variable = self.homes.variable_of.get(&id).copied();
        variable.filter(|_| !self.late.contains(&id))
    }

    /// Where a base lies.
    pub fn place(&mut self, base: NodeId) -> Placed {
        let base = self.written_into(base).unwrap_or(base);
        if let Some(placed) = self.homes.placed.get(&base) {
            return placed.clone();
        }
        let storage = match self.homes.global.get(&base) {
            Some(buffer) => Storage::Global(*buffer),
            // A value that waits for the end of the kernel, or that nobody else sees.
            None => Storage::Scratch(self.scratch_of.get(&base).copied().unwrap_or_else(|| {
                let i = self.scratch(base);
                self.scratch_of.insert(base, i);
                i
            })),
        };
        Placed { storage, offset: Dim::from(0) }
    }

    /// A new scratch buffer for a tile of a node's value.
    pub fn scratch(&mut self, like: NodeId) -> u32 {
        let ty = self.graph.ty(like);
        let row =
            |axis: usize, e: &Dim| if self.tiled && axis == 0 { Dim::symbol("tile") } else { e.clone() };
        let whole = || ty.shape.iter().enumerate().fold(Dim::from(1), |n, (axis, e)| n * row(axis, e));
        let of_turn = self.turn.as_ref().and_then(|turn| turn.n_elements(like).cloned());
        let n_elements = of_turn.unwrap_or_else(whole);
        let now = self.out.clock;
        self.out.scratch.push(ScratchUse { dtype: ty.dtype, n_elements, live: (now, now) });
        self.out.scratch.len() as u32 - 1
    }

    /// An access of a base's storage.
    pub fn access(&mut self, base: NodeId, offset: &Dim, strides: &[Dim], write: bool) -> Access {
        let placed = self.place(base);
        let dtype = self.graph.dtype(base);
        match &self.turn {
            Some(turn) => {
                let own = self.graph.ty(base).row_major_strides();
                let (offset, strides) = turn.access(base, &own, offset, strides);
                self.access_at(&placed, dtype, &offset, &strides, write)
            }
            None => self.access_at(&placed, dtype, offset, strides, write),
        }
    }

    /// An access of storage; the row axis of a global buffer is counted from the tile's first row.
    pub fn access_at(
        &mut self,
        placed: &Placed,
        dtype: DType,
        offset: &Dim,
        strides: &[Dim],
        write: bool,
    ) -> Access {
        let mut offset = offset.clone() + placed.offset.clone();
        let buffer = match placed.storage {
            Storage::Global(buffer) => {
                if let Some(stride) = strides.first().filter(|_| self.tiled) {
                    offset = offset + Dim::symbol("start") * stride.clone();
                }
                self.argument(buffer, dtype, write)
            }
            Storage::Scratch(i) => {
                self.out.scratch[i as usize].live.1 = self.out.clock;
                BufferRef::Scratch(i)
            }
        };
        Access { buffer, dtype, offset, strides: strides.to_vec() }
    }

    /// A node's own storage along its own axes, followed by `n_reduce` axes that it does not have.
    fn own_access(&mut self, id: NodeId, n_reduce: usize) -> Access {
        let mut strides = self.graph.ty(id).row_major_strides();
        strides.resize(strides.len() + n_reduce, Dim::from(0));
        self.access(id, &Dim::from(0), &strides, true)
    }

    fn lower_loop(&mut self, l: &Loop) {
        let n_parallel = l.n_parallel.unwrap_or(l.extents.len());
        let mut body = Body::default();
        for &id in &l.nodes {
            let node = self.graph.node(id);
            let reads = self.reads.of(id);
            let value = match &node.op {
                Op::Gather { .. } => {
                    let index = self.value(&mut body, &reads[1]);
                    let access = self.access(reads[0].base, &reads[0].offset, &reads[0].strides, false);
                    let (bound, stride) = reads[0].indexed.clone().expect("a gather reads by index");
                    body.push(Inst::LoadAt { access, index, stride, bound })
                }
                op => {
                    let arguments: Vec<Value> = reads.iter().map(|r| self.value(&mut body, r)).collect();
                    match op {
                        Op::Map(func) => body.push(Inst::Call { func: *func, arguments }),
                        Op::Cast if self.graph.dtype(node.operands[0]) != node.ty.dtype => {
                            body.push(Inst::Cast { to: node.ty.dtype, argument: arguments[0] })
                        }
                        _ => arguments[0],
                    }
                }
            };
            body.of_node.insert(id, value);
        }
        let mut stores = Vec::new();
        for &id in &l.nodes {
            let seen_outside = self.homes.global.contains_key(&id)
                || self.written_into(id).is_some()
                || self.homes.placed.contains_key(&id);
            if !seen_outside && !self.shared.contains(&id) || l.again.contains(&id) {
                continue;
            }
            let (kind, n_reduce) = match &self.graph.node(id).op {
                Op::Reduce { op, .. } => (StoreKind::Reduce(*op), l.extents.len() - n_parallel),
                Op::ArgMax { .. } => (StoreKind::ArgMax, l.extents.len() - n_parallel),
                _ => (StoreKind::Set, 0),
            };
            let access = self.own_access(id, n_reduce);
            stores.push(Store { value: body.of_node[&id], access, kind });
        }
        let axes = self.axes(&l.extents, n_parallel);
        self.out.push(TileOp::Nest(Nest { axes, body: body.insts, stores }));
    }

    /// An operand's value at the loop's index.
    pub fn value(&mut self, body: &mut Body, read: &Read) -> Value {
        let base = self.graph.node(read.base);
        let value = match &base.op {
            Op::Const(c) => body.push(Inst::Const { bits: c.to_bits(), dtype: base.ty.dtype }),
            Op::Size(size) => body.push(Inst::Size { size: size.clone() }),
            Op::Iota { .. } => self.index(body, read),
            _ => match body.of_node.get(&read.base) {
                Some(value) if read.is_whole => *value,
                _ => {
                    let access = self.access(read.base, &read.offset, &read.strides, false);
                    body.push(Inst::Load { access })
                }
            },
        };
        match base.ty.dtype == read.dtype {
            true => value,
            false => body.push(Inst::Cast { to: read.dtype, argument: value }),
        }
    }

    /// `offset + sum of index * stride`, i32.
    fn index(&mut self, body: &mut Body, read: &Read) -> Value {
        let mut sum: Option<Value> = None;
        for (axis, stride) in read.strides.iter().enumerate().filter(|(_, s)| !s.is_const(0)) {
            let mut first = if self.tiled && axis == 0 { Dim::symbol("start") } else { Dim::from(0) };
            if let Some(turn) = &self.turn {
                first = first + turn.first(axis);
            }
            let mut term = body.push(Inst::Index { axis: axis as u32, offset: first });
            if !stride.is_const(1) {
                let factor = body.integer(stride);
                term = body.push(Inst::Call { func: Func::Mul, arguments: vec![term, factor] });
            }
            sum = Some(match sum {
                None => term,
                Some(sum) => body.push(Inst::Call { func: Func::Add, arguments: vec![sum, term] }),
            });
        }
        match sum {
            None => body.integer(&read.offset),
            Some(sum) if read.offset.is_const(0) => sum,
            Some(sum) => {
                let offset = body.integer(&read.offset);
                body.push(Inst::Call { func: Func::Add, arguments: vec![sum, offset] })
            }
        }
    }

    fn lower_single(&mut self, id: NodeId) {
        let node = self.graph.node(id).clone();
        let reads = self.reads.of(id);
        match &node.op {
            Op::Contract(contraction) => {
                let mut factor = |read: &Read| self.access(read.base, &read.offset, &read.strides, false);
                let [lhs, rhs] = [factor(&reads[0]), factor(&reads[1])];
                let out = self.own_access(id, reads[0].extents.len() - reads[0].n_parallel);
                let extents: Vec<Dim> =
                    reads[0].extents.iter().enumerate().map(|(i, e)| self.extent(i, e)).collect();
                let access = [lhs, rhs, out];
                if let Some(turn) = &self.turn {
                    let accumulate = turn.adds;
                    let gemm = super::gemm::gemm(contraction, &extents, access);
                    self.out.push(TileOp::Gemm(Box::new(Gemm { accumulate, ..gemm })));
                } else if self.target == Target::Cpu
                    && let Some(winograd) = Winograd::find(contraction, &extents, &access)
                {
                    // On a GPU blocks would share none of it; a product's tiles they do.
                    self.lower_winograd(&winograd);
                } else if let Some(nest) = channelwise(contraction, &extents, &access) {
                    self.out.push(TileOp::Nest(nest));
                } else {
                    let gemm = super::gemm::gemm(contraction, &extents, access);
                    self.out.push(TileOp::Gemm(Box::new(gemm)));
                }
            }
            Op::Concat { axis } => {
                let mut at = Dim::from(0);
                for read in reads {
                    let strides = node.ty.row_major_strides();
                    self.copy(read, id, &(at.clone() * strides[*axis].clone()), &strides);
                    at = at + read.extents[*axis].clone();
                }
            }
            Op::View(View::Pad { start, step }) => {
                self.zero(id);
                let own = node.ty.row_major_strides();
                let offset = start
                    .iter()
                    .zip(&own)
                    .fold(Dim::from(0), |sum, (s, stride)| sum + s.clone() * stride.clone());
                let strides: Vec<Dim> =
                    own.iter().zip(step).map(|(s, step)| s.clone() * Dim::from(*step)).collect();
                self.copy(&reads[0], id, &offset, &strides);
            }
            Op::ScatterAdd { axis, batch } => self.lower_scatter(id, *axis, *batch),
            Op::Random { distribution, site } => {
                let own = self.own_access(id, 0);
                let extents = node.ty.shape.iter().enumerate().map(|(i, e)| self.extent(i, e));
                let count = extents.fold(Dim::from(1), |n, e| n * e);
                let row = node.ty.row_major_strides().first().cloned().unwrap_or(Dim::from(0));
                let mut first = if self.tiled { Dim::symbol("start") * row } else { Dim::from(0) };
                let mut count = count;
                if let Some(turn) = &self.turn {
                    let strides = node.ty.row_major_strides();
                    let steps =
                        strides.iter().enumerate().map(|(axis, stride)| turn.first(axis) * stride.clone());
                    first = steps.fold(first, |sum, step| sum + step);
                    count = turn.n_elements(id).cloned().unwrap_or(count);
                }
                let fill = Fill {
                    buffer: own.buffer,
                    offset: own.offset,
                    count,
                    first,
                    distribution: *distribution,
                    site: *site,
                };
                self.out.push(TileOp::Fill(fill));
            }
            Op::Sort { descending, .. } => {
                let source = self.access(reads[0].base, &reads[0].offset, &reads[0].strides, false);
                let out = self.own_access(id, 0);
                let mut axes: Vec<Dim> =
                    reads[0].extents.iter().enumerate().map(|(i, e)| self.extent(i, e)).collect();
                let n = axes.pop().expect("a sort has an axis");
                let keys = self.keys(&n);
                let sort = Sort { axes, n, source, out, keys, descending: *descending };
                self.out.push(TileOp::Sort(Box::new(sort)));
            }
            Op::Fold(window) => self.lower_fold(id, window),
            Op::Scan(scan) => self.lower_scan(id, scan),
            op => unreachable!("{op:?} is computed in a loop"),
        }
    }

    /// Scratch for the keys of a sort of `n` elements.
    fn keys(&mut self, n: &Dim) -> BufferRef {
        let now = self.out.clock;
        let n_elements = Sort::key_elements(n);
        self.out.scratch.push(ScratchUse { dtype: DType::I32, n_elements, live: (now, now) });
        BufferRef::Scratch(self.out.scratch.len() as u32 - 1)
    }

    /// Zero everywhere.
    pub fn zero(&mut self, id: NodeId) {
        let ty = self.graph.ty(id).clone();
        let mut body = Body::default();
        let value = body.push(Inst::Const { bits: 0f64.to_bits(), dtype: ty.dtype });
        let access = self.own_access(id, 0);
        let axes = self.axes(&ty.shape, ty.rank());
        let stores = vec![Store { value, access, kind: StoreKind::Set }];
        self.out.push(TileOp::Nest(Nest { axes, body: body.insts, stores }));
    }

    /// An operand's elements to a part of a node's storage.
    fn copy(&mut self, read: &Read, id: NodeId, offset: &Dim, strides: &[Dim]) {
        let mut body = Body::default();
        let value = self.value(&mut body, read);
        let access = self.access(id, offset, strides, true);
        let axes = self.axes(&read.extents, read.extents.len());
        let stores = vec![Store { value, access, kind: StoreKind::Set }];
        self.out.push(TileOp::Nest(Nest { axes, body: body.insts, stores }));
    }

    /// The value of a late update, from scratch to its variable.
    fn copy_to_variable(&mut self, value: NodeId, variable: NodeId) {
        let (from, to) = (self.place(value), self.place(variable));
        self.copy_place(&from, &to, &self.graph.ty(value).clone());
    }

    /// A whole value from one place to another, row-major in both.
    pub fn copy_place(&mut self, from: &Placed, to: &Placed, ty: &TensorType) {
        let strides = ty.row_major_strides();
        let mut body = Body::default();
        let access = self.access_at(from, ty.dtype, &Dim::from(0), &strides, false);
        let value = body.push(Inst::Load { access });
        let access = self.access_at(to, ty.dtype, &Dim::from(0), &strides, true);
        let axes = self.axes(&ty.shape, ty.rank());
        let stores = vec![Store { value, access, kind: StoreKind::Set }];
        self.out.push(TileOp::Nest(Nest { axes, body: body.insts, stores }));
    }
}

/// A nest's body while it grows; equal instructions are one.
#[derive(Default)]
pub struct Body {
    pub insts: Vec<Inst>,
    /// All of them, once there are more than a few.
    known: FastMap<Inst, Value>,
    of_node: FastMap<NodeId, Value>,
}

/// Instructions of which it takes less to look at each than to have a table of them.
const FEW: usize = 16;

impl Body {
    pub fn push(&mut self, inst: Inst) -> Value {
        let known = match self.insts.len() <= FEW {
            true => self.insts.iter().position(|other| *other == inst).map(|at| at as Value),
            false => self.known.get(&inst).copied(),
        };
        if let Some(value) = known {
            return value;
        }
        let value = self.insts.len() as Value;
        self.insts.push(inst);
        if self.insts.len() > FEW {
            let unknown = self.insts.iter().enumerate().skip(self.known.len());
            self.known.extend(unknown.map(|(at, inst)| (inst.clone(), at as Value)));
        }
        value
    }

    /// A size as i32.
    fn integer(&mut self, size: &Dim) -> Value {
        match size.as_const() {
            Some(c) => self.push(Inst::Const { bits: (c as f64).to_bits(), dtype: DType::I32 }),
            None => {
                let float = self.push(Inst::Size { size: size.clone() });
                self.push(Inst::Cast { to: DType::I32, argument: float })
            }
        }
    }
}
