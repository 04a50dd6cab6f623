//! A scan as a kernel: a loop over turns around the tile ops of its body.
//!
//! What enters: a prepared scan, and where its operands and its results lie. What leaves: tile ops: copies of the first
//! carried values to scratch, the loop, copies of the last ones to the results. A turn reads its slices where they
//! are and writes what it yields to its place in the stacks. Carried values are like variables, overwritten in place where
//! no later op of the turn reads the old ones (`lower.rs`).
//!
//! Where each row of a turn's values depends on the same row of what is carried, the rows are dealt out in tiles, and a
//! tile goes through all turns by itself, without waiting for others: so a recurrent layer runs on all cores with
//! no barrier between its turns. Else the scan is one tile. Invariant: which of both it is follows from the body alone.

use super::fuse::{fuse, scalars};
use super::group::{Group, Grouping, inline_scalars};
use super::layout::{Layout, layouts};
use super::lower::{Homes, Lowerer, Placed, Storage};
use super::space::{Reads, has_storage, is_row_aligned, rows as rows_of};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::op::scan::Role;
use crate::graph::{Graph, NodeId, Op, Scan};
use crate::nest::{Loop, TileOp, turn_symbol};

/// The rows that a scan can be dealt out in; `None` if a row needs other rows of its turn.
pub fn rows(scan: &Scan) -> Option<Dim> {
    let body = &scan.body;
    let result =
        body.updates.iter().map(|(leaf, _)| leaf).chain(body.outputs.iter().map(|(_, id)| id)).next()?;
    let rows = body.ty(*result).shape.first()?.clone();
    let layouts = layouts(body);
    let reads = Reads::new(body, &layouts);
    let inline = inline_scalars(body, &layouts);
    let is_carried = |id: NodeId| matches!(body.node(id).op, Op::State(_));
    let made_here = |id: NodeId| is_carried(id) || (has_storage(body, id) && !inline[id.index()]);
    let by_row = |id: NodeId| {
        let node = body.node(id);
        if is_carried(id) {
            return node.ty.shape.first() == Some(&rows);
        }
        !matches!(node.op, Op::Scan(_))
            && rows_of(node, body).as_ref() == Some(&rows)
            && reads.of(id).iter().all(|read| !made_here(read.base) || is_row_aligned(body, read))
    };
    body.ids().filter(|id| made_here(*id)).all(by_row).then_some(rows)
}

/// All of a body as one group.
fn whole(body: &Graph, layouts: &[Layout]) -> Grouping {
    let inline = inline_scalars(body, layouts);
    let nodes: Vec<NodeId> = body.ids().filter(|id| has_storage(body, *id) && !inline[id.index()]).collect();
    let mut group_of = vec![None; body.len()];
    nodes.iter().for_each(|id| group_of[id.index()] = Some(0));
    let group = Group { nodes, ..Group::default() };
    let [after, later] = [vec![Vec::new()], vec![Vec::new()]];
    Grouping { groups: vec![group], group_of, inline, after, later, deferred: Vec::new() }
}

impl Lowerer<'_> {
    pub fn lower_scan(&mut self, id: NodeId, scan: &Scan) {
        let body = &scan.body;
        let results = self.place(id);
        let parts = scan.parts();
        let turn = turn_symbol(self.depth);
        let number = Dim::symbol(turn.clone());
        let at = if scan.reversed { scan.turns.clone() - Dim::from(1) - number } else { number };
        let shifted = |place: &Placed, by: Dim| Placed { offset: place.offset.clone() + by, ..place.clone() };

        let operand = |cx: &mut Self, role: Role| {
            let read = &cx.reads.of(id)[scan.operand(role)];
            shifted(&cx.place(read.base), read.offset.clone())
        };
        let mut placed = FastMap::default();
        for (leaf, role) in scan.leaves() {
            let by = match role {
                Role::Slice(_) => at.clone() * body.ty(leaf).n_elements(),
                Role::Outer(_) => Dim::from(0),
                Role::Carry(_) => continue,
            };
            placed.insert(leaf, shifted(&operand(self, role), by));
        }
        let layouts = layouts(body);
        let reads = Reads::new(body, &layouts);
        let grouping = whole(body, &layouts);
        let nodes = &grouping.groups[0].nodes;
        let clusters = fuse(body, &reads, scalars(body, &layouts, &grouping, nodes), nodes);
        for ((_, value), part) in body.outputs.iter().zip(&parts[scan.n_carried()..]) {
            let of_turn = at.clone() * body.ty(*value).n_elements();
            placed.insert(*value, shifted(&results, part.offset.clone() + of_turn));
        }
        let global = FastMap::default();
        let variable_of = body.updates.iter().map(|(leaf, value)| (*value, *leaf)).collect();
        let homes = Homes { global: &global, variable_of: &variable_of, placed: FastMap::default() };
        let mut inner = Lowerer::new(body, &reads, homes, (self.target, self.tiled));
        inner.depth = self.depth + 1;
        inner.out = std::mem::take(&mut self.out);
        let carried: Vec<Placed> = body
            .updates
            .iter()
            .enumerate()
            .map(|(i, (leaf, _))| {
                let place = Placed { storage: Storage::Scratch(inner.scratch(*leaf)), offset: Dim::from(0) };
                placed.insert(*leaf, place.clone());
                self.out = std::mem::take(&mut inner.out);
                let first = operand(self, Role::Carry(i));
                self.copy_place(&first, &place, body.ty(*leaf));
                inner.out = std::mem::take(&mut self.out);
                place
            })
            .collect();
        inner.homes.placed = placed;
        let (before, begun) = (std::mem::take(&mut inner.out.ops), inner.out.clock);
        inner.lower_clusters(&clusters);
        self.out = std::mem::take(&mut inner.out);
        let ops = std::mem::replace(&mut self.out.ops, before);
        self.out.ops.push(TileOp::Loop(Loop::of_turns(turn, scan.turns.clone(), ops)));
        // What was there before the loop, and is read in it, is there in every turn.
        let end = self.out.clock;
        for scratch in self.out.scratch.iter_mut().filter(|s| s.live.0 < begun && s.live.1 >= begun) {
            scratch.live.1 = end;
        }
        for ((leaf, _), (place, part)) in body.updates.iter().zip(carried.iter().zip(&parts)) {
            self.copy_place(place, &shifted(&results, part.offset.clone()), body.ty(*leaf));
        }
    }
}
