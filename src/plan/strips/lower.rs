//! Loops over strips.
//!
//! What enters: strips, and the lowerer of their kernel. What leaves: tile ops: zeros where turns add up, then loops over the dimensions'
//! blocks, and in them the clusters' ops. The rows that a whole number of blocks leaves over are one more turn, written after the loop.
//! Inside of a turn (`Turn`) an axis along a dimension is as long as its block, and an access begins at the block's place; of inner
//! values there is one block, whose rows are neighbours: so a product of few rows, turned about, reads and writes without gaps, and what
//! reduces columns has a row in each lane. Random numbers are written in their own order; where there are any, columns are neighbours.

use super::super::fuse::Cluster;
use super::super::lower::Lowerer;
use super::Strips;
use super::axes::Along;
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::{NodeId, Op};
use crate::nest::{Loop, TileOp, TurnOrder, turn_symbol};

/// The turn that is being written.
pub struct Turn {
    /// The first place of each dimension's block, and how many there are.
    blocks: Vec<(Dim, Dim)>,
    /// The first of its columns, and how many there are.
    columns: (Dim, Dim),
    /// What the axes of the loop that is being written are.
    pub along: Vec<Along>,
    /// Elements from a place to the next along each axis of an inner value, and how many elements it has.
    inner: FastMap<NodeId, (Vec<Dim>, Dim)>,
    /// Products that add to what is there.
    pub adds: bool,
}

impl Turn {
    /// `blocks`: the first place of each dimension's block, and how many there are; so are `columns`. `inner`: elements from a place to the
    /// next along each axis of values of which there is one block, and how many it has.
    pub fn of_blocks(
        blocks: Vec<(Dim, Dim)>,
        columns: (Dim, Dim),
        inner: FastMap<NodeId, (Vec<Dim>, Dim)>,
    ) -> Turn {
        Turn { blocks, columns, along: Vec::new(), inner, adds: false }
    }

    /// From here on there is one block of a value, with these strides and so many elements.
    pub fn add_inner(&mut self, id: NodeId, of_block: (Vec<Dim>, Dim)) {
        self.inner.insert(id, of_block);
    }

    pub fn extent(&self, axis: usize, extent: &Dim) -> Dim {
        match self.along[axis] {
            Along::Whole => extent.clone(),
            Along::Block(d) => self.blocks[d].1.clone(),
            Along::Columns => self.columns.1.clone(),
        }
    }

    /// The place that index 0 of an axis is.
    pub fn first(&self, axis: usize) -> Dim {
        match self.along[axis] {
            Along::Block(d) => self.blocks[d].0.clone(),
            Along::Columns => self.columns.0.clone(),
            Along::Whole => Dim::from(0),
        }
    }

    /// Elements of an inner value.
    pub fn n_elements(&self, id: NodeId) -> Option<&Dim> {
        self.inner.get(&id).map(|(_, n)| n)
    }

    /// Offset and strides, given with `own` strides of the base, as they are in this turn.
    pub fn access(&self, base: NodeId, own: &[Dim], offset: &Dim, strides: &[Dim]) -> (Dim, Vec<Dim>) {
        if let Some((inner, _)) = self.inner.get(&base) {
            let of = |stride: &Dim| match own.iter().position(|own| own == stride) {
                Some(axis) if !stride.is_const(0) => inner[axis].clone(),
                _ => Dim::from(0),
            };
            return (Dim::from(0), strides.iter().map(of).collect());
        }
        let begin = strides.iter().enumerate().map(|(axis, stride)| self.first(axis) * stride.clone());
        (begin.fold(offset.clone(), |sum, step| sum + step), strides.to_vec())
    }
}

impl Lowerer<'_> {
    pub fn lower_strips(&mut self, strips: &Strips) {
        strips.added.iter().for_each(|id| self.zero(*id));
        let (begun, n_scratch) = (self.out.clock, self.out.scratch.len());
        let changed = self.share_inside(&strips.clusters, strips.inner.keys().copied());
        let mut of_turns = Vec::new();
        self.lower_dimension(strips, &mut Vec::new(), &mut of_turns);
        self.toggle_shared(&changed);
        // What is there before the loops and read in them is there in every turn; so is what they write and others read.
        let end = self.out.clock;
        for (i, scratch) in self.out.scratch.iter_mut().enumerate() {
            let is_outer = i < n_scratch || !of_turns.contains(&(i as u32));
            if is_outer && scratch.live.1 >= begun {
                scratch.live = (scratch.live.0.min(begun), end);
            }
        }
    }

    /// `blocks`: those of the dimensions outside. `of_turns` grows by the scratch of inner values.
    fn lower_dimension(&mut self, strips: &Strips, blocks: &mut Vec<(Dim, Dim)>, of_turns: &mut Vec<u32>) {
        let Some(dimension) = strips.dimensions.get(blocks.len()) else {
            return self.lower_turn(strips, blocks, of_turns);
        };
        let size = Dim::from(dimension.block);
        let order = if self.adds_over(strips, blocks.len()) { TurnOrder::Counted } else { TurnOrder::Any };
        let (turns, rest) = match dimension.extent.as_const() {
            Some(extent) => (Dim::from(extent / dimension.block), extent % dimension.block),
            None => (dimension.extent.clone(), 0),
        };
        let mut inside = |cx: &mut Self, first: Dim, size: Dim| {
            blocks.push((first, size));
            cx.lower_dimension(strips, blocks, of_turns);
            blocks.pop();
        };
        if turns.is_const(1) {
            inside(self, Dim::from(0), size.clone());
        } else {
            let turn = turn_symbol(self.depth);
            let before = std::mem::take(&mut self.out.ops);
            self.depth += 1;
            inside(self, Dim::symbol(turn.clone()) * size.clone(), size.clone());
            self.depth -= 1;
            let ops = std::mem::replace(&mut self.out.ops, before);
            self.out.ops.push(TileOp::Loop(Loop { order, ..Loop::of_turns(turn, turns.clone(), ops) }));
        }
        if rest > 0 {
            inside(self, turns * size, Dim::from(rest));
        }
    }

    /// Whether a turn of the dimension adds to what others add to.
    fn adds_over(&self, strips: &Strips, dimension: usize) -> bool {
        strips.clusters.iter().zip(&strips.along).any(|(cluster, along)| match cluster {
            Cluster::Single(id) if strips.added.contains(id) => {
                let summed = &along[self.graph.ty(*id).rank()..];
                summed.contains(&Along::Block(dimension))
            }
            _ => false,
        })
    }

    fn lower_turn(&mut self, strips: &Strips, blocks: &[(Dim, Dim)], of_turns: &mut Vec<u32>) {
        let (first, rows) = blocks.last().expect("there are rows");
        let n_columns = match strips.masked_beyond {
            Some(more) => first.clone() + rows.clone() + Dim::from(more),
            None => strips.n_columns.clone(),
        };
        let has_numbers = strips.inner.keys().any(|id| matches!(self.graph.node(*id).op, Op::Random { .. }));
        let last = Along::Block(blocks.len() - 1);
        let place = |(id, axes): (&NodeId, &Vec<Along>)| {
            let extent = |(axis, along): (usize, &Along)| match along {
                Along::Block(d) => blocks[*d].1.clone(),
                _ => self.graph.ty(*id).shape[axis].clone(),
            };
            let extents: Vec<Dim> = axes.iter().enumerate().map(extent).collect();
            let neighbours = axes
                .iter()
                .position(|a| *a == last)
                .filter(|_| axes.contains(&Along::Columns) && !has_numbers);
            let order = (0..axes.len()).rev().filter(|axis| Some(*axis) != neighbours);
            let mut strides = vec![Dim::from(0); axes.len()];
            let mut n = Dim::from(1);
            for axis in neighbours.into_iter().chain(order) {
                strides[axis] = n.clone();
                n = n * extents[axis].clone();
            }
            (*id, (strides, n))
        };
        let inner: FastMap<NodeId, (Vec<Dim>, Dim)> = strips.inner.iter().map(place).collect();
        let blocks = blocks.to_vec();
        let around = self.turn.replace(Turn::of_blocks(blocks, (Dim::from(0), n_columns), inner));
        for (cluster, along) in strips.clusters.iter().zip(&strips.along) {
            let turn = self.turn.as_mut().expect("it was set above");
            turn.along.clone_from(along);
            turn.adds = matches!(cluster, Cluster::Single(id) if strips.added.contains(id));
            self.lower_cluster(cluster);
        }
        self.turn = around;
        of_turns.extend(strips.inner.keys().filter_map(|id| self.scratch_of.remove(id)));
    }
}
