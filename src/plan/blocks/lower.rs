//! Loops over blocks.
//!
//! What enters: a section's clusters in passes, and the lowerer of its kernel, whose tile is one example. What leaves: loops in whose turns
//! blocks of threads have their parts, over all dimensions but the examples; inside of them, for each pass, a loop over columns. In scratch
//! there are a block of each wide value and, of each sum, what it is so far. Turns of a loop over columns reduce their own block, and one
//! more op puts that to what is there; contractions add to it. Invariant: whoever reads a sum reads it behind its pass.

use super::super::fuse::{Cluster, is_reduction};
use super::super::lower::{Lowerer, Placed, ScratchUse, Storage};
use super::super::strips::{Along, Masked, Turn};
use super::mended::Mending;
use super::{Blocks, Pass};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::{NodeId, Op};
use crate::nest::{
    Access, Axis, BufferRef, Inst, Loop, Nest, Store, StoreKind, TileOp, TurnOrder, size_symbol, turn_symbol,
};
use crate::scalar::Func;

impl Lowerer<'_> {
    pub fn lower_blocks(&mut self, blocks: &Blocks) {
        // Examples are the kernel's rows, one a tile.
        let places = vec![(Dim::from(0), Dim::from(1))];
        self.lower_block_dimension(blocks, places);
    }

    /// Loops over the dimensions from here on; `places` has those outside.
    fn lower_block_dimension(&mut self, blocks: &Blocks, mut places: Vec<(Dim, Dim)>) {
        let d = places.len();
        let Some(extent) = blocks.extents.get(d) else { return self.lower_passes(blocks, &places) };
        let is_rows = d + 1 == blocks.extents.len();
        if extent.is_const(1) && !is_rows {
            places.push((Dim::from(0), Dim::from(1)));
            return self.lower_block_dimension(blocks, places);
        }
        let turn = turn_symbol(self.depth);
        let block = if is_rows { blocks.side as u32 } else { 1 };
        let size = if block == 1 { Dim::from(1) } else { Dim::symbol(size_symbol(&turn)) };
        places.push((Dim::symbol(turn.clone()), size));
        let before = std::mem::take(&mut self.out.ops);
        self.depth += 1;
        self.lower_block_dimension(blocks, places);
        self.depth -= 1;
        let ops = std::mem::replace(&mut self.out.ops, before);
        self.out.ops.push(TileOp::Loop(Loop {
            turn,
            extent: extent.clone(),
            block,
            order: TurnOrder::Alone,
            ops,
        }));
    }

    fn lower_passes(&mut self, blocks: &Blocks, places: &[(Dim, Dim)]) {
        let inner = blocks.inner(self);
        let turn = |columns: (Dim, Dim)| Turn::of_blocks(places.to_vec(), columns, inner.clone());
        for pass in &blocks.passes {
            self.turn = Some(turn((Dim::from(0), Dim::from(0))));
            let running: FastMap<NodeId, Placed> =
                pass.sums.iter().map(|sum| (*sum, self.begin_sum(blocks, *sum))).collect();
            if !pass.inside.is_empty() {
                let mending =
                    pass.mended.as_ref().map(|mended| self.begin_mending(blocks, &mended.reference));
                self.lower_columns(blocks, pass, places, (&running, mending.as_ref()), &turn);
                if let Some((mended, mending)) = pass.mended.as_ref().zip(mending) {
                    self.homes.placed.remove(&mended.reference.node());
                    self.turn = Some(turn((Dim::from(0), Dim::from(0))));
                    self.mend_at_last(blocks, mended, &mending, &running);
                }
            }
            for (sum, place) in running {
                self.homes.placed.insert(sum, place);
            }
            self.lower_all(blocks, pass.after.clone());
        }
        for sum in blocks.passes.iter().flat_map(|pass| &pass.sums) {
            if let Some(buffer) = self.homes.global.get(sum).copied() {
                self.copy_sum(
                    blocks,
                    *sum,
                    &Placed { storage: Storage::Global(buffer), offset: Dim::from(0) },
                    places,
                );
            }
        }
        self.turn = None;
    }

    fn lower_columns(
        &mut self,
        blocks: &Blocks,
        pass: &Pass,
        places: &[(Dim, Dim)],
        (running, mending): (&FastMap<NodeId, Placed>, Option<&Mending>),
        turn: &dyn Fn((Dim, Dim)) -> Turn,
    ) {
        let (first_row, n_rows) = places.last().expect("there are rows");
        let symbol = turn_symbol(self.depth);
        let (first, n) = (Dim::symbol(symbol.clone()), Dim::symbol(size_symbol(&symbol)));
        let (first, extent) = match blocks.masked {
            Some(Masked::Beyond(more)) => (first, first_row.clone() + n_rows.clone() + Dim::from(more)),
            Some(Masked::Before) => (first + first_row.clone(), blocks.n_columns.clone() - first_row.clone()),
            None => (first, blocks.n_columns.clone()),
        };
        self.turn = Some(turn((first, n)));
        let clusters = &blocks.clusters[pass.inside.clone()];
        let changed = self.share_inside(clusters, blocks.wide());
        let (before, begun) = (std::mem::take(&mut self.out.ops), self.out.clock);
        self.depth += 1;
        // Where a sum's own block lies.
        let mut of_block: Vec<(NodeId, Placed)> = Vec::new();
        for sum in &pass.sums {
            let is_reduced = is_reduction(&self.graph.node(*sum).op);
            let place = if is_reduced { self.block_place(blocks, *sum) } else { running[sum].clone() };
            if is_reduced {
                of_block.push((*sum, place.clone()));
            }
            self.homes.placed.insert(*sum, place);
        }
        let mut rest = pass.inside.clone();
        if let Some((mended, mending)) = pass.mended.as_ref().zip(mending) {
            self.lower_all(blocks, mended.first.clone());
            rest.start = mended.first.end;
            let maximum = mended.reference.maximum;
            let at = of_block.iter().position(|(sum, _)| *sum == maximum);
            let (_, place) = of_block.remove(at.expect("a maximum is reduced"));
            self.mend(blocks, &mended.reference, mending, [&place, &running[&maximum]]);
            // What is made from here on is made with the greatest so far.
            let reference = mended.reference.node();
            self.homes.placed.insert(reference, mending.reference.clone());
            let of_block = blocks.strides(self, maximum);
            self.turn.as_mut().expect("a turn is written").add_inner(reference, of_block);
            for sum in mended.sums.iter().filter(|sum| !is_reduction(&self.graph.node(**sum).op)) {
                self.mend_sum(blocks, mended, (*sum, &running[sum]), (mending, None));
            }
        }
        self.lower_all(blocks, rest);
        for (sum, place) in of_block {
            match pass.mended.as_ref().zip(mending).filter(|(mended, _)| mended.sums.contains(&sum)) {
                Some((mended, mending)) => {
                    self.mend_sum(blocks, mended, (sum, &running[&sum]), (mending, Some(&place)));
                }
                None => self.put_together(blocks, sum, &place, &running[&sum]),
            }
        }
        self.depth -= 1;
        self.toggle_shared(&changed);
        let ops = std::mem::replace(&mut self.out.ops, before);
        let block = blocks.side as u32;
        self.out.ops.push(TileOp::Loop(Loop { turn: symbol, extent, block, order: TurnOrder::Counted, ops }));
        // What is there before the loop and read in it is there in every turn.
        let end = self.out.clock;
        for scratch in self.out.scratch.iter_mut().filter(|s| s.live.0 < begun && s.live.1 >= begun) {
            scratch.live.1 = end;
        }
        // The next pass has other blocks.
        self.scratch_of.retain(|id, _| !blocks.is_wide(*id));
    }

    /// Lowers clusters where they stand.
    fn lower_all(&mut self, blocks: &Blocks, range: std::ops::Range<usize>) {
        for i in range {
            let cluster = &blocks.clusters[i];
            let turn = self.turn.as_mut().expect("a turn is written");
            turn.along.clone_from(&blocks.along[i]);
            turn.adds = matches!(cluster, Cluster::Single(id) if !blocks.is_wide(*id));
            self.lower_cluster(cluster);
        }
    }

    /// Scratch for a block of a sum.
    pub fn block_place(&mut self, blocks: &Blocks, id: NodeId) -> Placed {
        let n_elements = blocks.strides(self, id).1;
        let now = self.out.clock;
        let dtype = self.graph.dtype(id);
        self.out.scratch.push(ScratchUse { dtype, n_elements, live: (now, now) });
        Placed { storage: Storage::Scratch(self.out.scratch.len() as u32 - 1), offset: Dim::from(0) }
    }

    /// Scratch for what a sum is so far, with the sum of nothing in it.
    fn begin_sum(&mut self, blocks: &Blocks, id: NodeId) -> Placed {
        let identity = match &self.graph.node(id).op {
            Op::Reduce { op, .. } => op.identity(self.graph.dtype(id)),
            _ => 0.0,
        };
        self.begin_with(blocks, id, identity)
    }

    /// Scratch for a block of a sum, with a number everywhere.
    pub fn begin_with(&mut self, blocks: &Blocks, id: NodeId, number: f64) -> Placed {
        let place = self.block_place(blocks, id);
        let dtype = self.graph.dtype(id);
        let (_, n) = blocks.strides(self, id);
        let Storage::Scratch(i) = place.storage else { unreachable!("it is scratch") };
        let access = Access {
            buffer: BufferRef::Scratch(i),
            dtype,
            offset: Dim::from(0),
            strides: vec![Dim::from(1)],
        };
        self.out.push(TileOp::Nest(Nest {
            axes: vec![Axis { extent: n, reduce: false }],
            body: vec![Inst::Const { bits: number.to_bits(), dtype }],
            stores: vec![Store { value: 0, access, kind: StoreKind::Set }],
        }));
        place
    }

    /// What a turn has reduced, to what is there.
    fn put_together(&mut self, blocks: &Blocks, id: NodeId, from: &Placed, to: &Placed) {
        let Op::Reduce { op, .. } = self.graph.node(id).op else {
            unreachable!("only reductions have blocks")
        };
        let strides = blocks.strides(self, id).0;
        let dtype = self.graph.dtype(id);
        let load = |access| Inst::Load { access };
        let old = self.access_at(to, dtype, &Dim::from(0), &strides, false);
        let new = self.access_at(from, dtype, &Dim::from(0), &strides, false);
        let store = self.access_at(to, dtype, &Dim::from(0), &strides, true);
        let body =
            vec![load(old), load(new), Inst::Call { func: Func::of_reduction(op), arguments: vec![0, 1] }];
        let axes = self.axes_of(blocks, id);
        let stores = vec![Store { value: 2, access: store, kind: StoreKind::Set }];
        self.out.push(TileOp::Nest(Nest { axes, body, stores }));
    }

    /// A finished sum, to where others read it.
    fn copy_sum(&mut self, blocks: &Blocks, id: NodeId, to: &Placed, places: &[(Dim, Dim)]) {
        let inner = blocks.strides(self, id).0;
        let own = self.graph.ty(id).row_major_strides();
        let dtype = self.graph.dtype(id);
        let first = |along: &Along| match along {
            Along::Block(d) => places[*d].0.clone(),
            _ => Dim::from(0),
        };
        let offset = blocks.axes[&id]
            .iter()
            .zip(&own)
            .fold(Dim::from(0), |sum, (along, stride)| sum + first(along) * stride.clone());
        let from = self.homes.placed[&id].clone();
        let load = self.access_at(&from, dtype, &Dim::from(0), &inner, false);
        let store = self.access_at(to, dtype, &offset, &own, true);
        let axes = self.axes_of(blocks, id);
        let stores = vec![Store { value: 0, access: store, kind: StoreKind::Set }];
        self.out.push(TileOp::Nest(Nest { axes, body: vec![Inst::Load { access: load }], stores }));
    }

    /// The axes of a value, as long as a turn has them.
    pub fn axes_of(&mut self, blocks: &Blocks, id: NodeId) -> Vec<Axis> {
        let turn = self.turn.as_mut().expect("a turn is written");
        turn.along.clone_from(&blocks.axes[&id]);
        let shape = self.graph.ty(id).shape.clone();
        self.axes(&shape, shape.len())
    }
}

impl Blocks {
    fn is_wide(&self, id: NodeId) -> bool {
        self.axes.get(&id).is_some_and(|axes| axes.contains(&Along::Columns))
    }

    fn wide(&self) -> impl Iterator<Item = NodeId> {
        self.axes.keys().copied().filter(|id| self.is_wide(*id))
    }

    /// Elements from a place to the next along each axis of a value of which there is one block, and how many it has.
    pub fn strides(&self, cx: &Lowerer, id: NodeId) -> (Vec<Dim>, Dim) {
        let shape = &cx.graph.ty(id).shape;
        let rows = self.extents.len() - 1;
        let extent = |(along, extent): (&Along, &Dim)| match along {
            Along::Columns => Dim::from(self.side),
            Along::Block(d) if *d == rows => Dim::from(self.side),
            Along::Block(_) => Dim::from(1),
            Along::Whole => extent.clone(),
        };
        let extents: Vec<Dim> = self.axes[&id].iter().zip(shape).map(extent).collect();
        let mut strides = vec![Dim::from(0); extents.len()];
        let mut n = Dim::from(1);
        for (stride, extent) in strides.iter_mut().zip(&extents).rev() {
            *stride = n.clone();
            n = n * extent.clone();
        }
        (strides, n)
    }

    /// Values of which there is one block: all but those that are made from sums where others read them.
    fn inner(&self, cx: &Lowerer) -> FastMap<NodeId, (Vec<Dim>, Dim)> {
        let is_sum = |id: &NodeId| self.passes.iter().any(|pass| pass.sums.contains(id));
        let is_inner = |id: &NodeId| is_sum(id) || !cx.homes.global.contains_key(id);
        self.axes.keys().filter(|id| is_inner(id)).map(|id| (*id, self.strides(cx, *id))).collect()
    }
}
