//! A reduction over rows, or on a GPU inside of them, takes the cheap maps along that are made for it alone.
//!
//! What enters: a graph. What leaves: an equal graph in which some reductions over axis 0 reduce the last axis of maps of permuted
//! operands: the variance of columns, `sum((x - mean) * (x - mean), axes = [0])`, reads `x`, which lies in memory anyway. A map over
//! rows and a reduction over them are never in one kernel, for a tile of rows has only parts of a column; so its value would be
//! written and read again. The same operations are done in the same order, so that no bit changes.
//!
//! The cost model counts arrays of the map's size: a store is a read and a write of each line, so with the reduction's load the old
//! way moves three; but columns are read at a distance, which costs more than rows in a row. So arrays read by columns must not become
//! more: reductions are taken that are made of the same arrays, at most `MOST_LOADED` and not more than there are reductions. The arrays
//! lie in memory whatever is done here: inputs, parameters, and what something else reads over all rows. Operands that are broadcast are
//! small. A long reduction, which is taken in parts (`parts.rs`), reads rows in a row: there, `MOST_BY_ROWS` arrays are less than the
//! three. Both ways do the map's steps, but where others do them too these are additional: at most `MOST_STEPS`. A map that is
//! stored in any case, for a product say, stays where it is.
//!
//! On a GPU blocks take columns side by side, so that reading these costs no more than reading rows, and a reduction inside of rows, over
//! the places of each example, is as one over rows: the last axis stays what threads lie along. There a map has a launch of its own where
//! what it is made of has (a large product, a value of the forward pass), so that its store and load are all saved.

use super::gpu::is_inside_rows;
use super::parts::is_long;
use super::{Options, Target};
use crate::base::hash::{FastMap, FastSet};
use crate::base::{DType, Dim, ReduceOp, TensorType};
use crate::graph::rewrite::{Rewriter, Users, replace};
use crate::graph::{Graph, Node, NodeId, Op, View};

/// With two the gradients of batch norm took 80 ms where storing maps took 62.
const MOST_LOADED: usize = 1;
const MOST_BY_ROWS: usize = 2;
const MOST_OF_GPU: usize = 2;
const MOST_STEPS: usize = 24;

pub fn take_along(graph: &Graph, options: &Options) -> Graph {
    let users = Users::new(graph);
    let mut is_root = vec![false; graph.len()];
    graph.roots().for_each(|id| is_root[id.index()] = true);
    let mut cx = Along { graph, users, is_root, is_read_elsewhere: Vec::new(), options };
    cx.is_read_elsewhere = cx.read_elsewhere();
    // By what it is made of, how many reductions take a map along.
    let loaded: Vec<Option<Vec<NodeId>>> = graph.ids().map(|id| cx.loaded(id)).collect();
    let mut n_made_of: FastMap<&[NodeId], usize> = FastMap::default();
    loaded.iter().flatten().for_each(|arrays| *n_made_of.entry(arrays).or_default() += 1);
    let pays = |id: NodeId, arrays: &Vec<NodeId>| {
        cx.is_by_rows(id) || cx.is_inside(id) || arrays.len() <= n_made_of[&arrays[..]]
    };
    let found = |id: NodeId| {
        let takes = loaded[id.index()].as_ref().is_some_and(|arrays| pays(id, arrays));
        Some((id, cx.over_rows(id).filter(|_| takes)?))
    };
    let mut turned = FastMap::default();
    replace(graph, graph.ids().filter_map(found).collect(), |rewriter, id, (op, axes)| {
        let map = graph.node(id).operands[0];
        let operand = cx.turn(rewriter, &mut turned, map, axes);
        let rank = graph.ty(map).rank();
        let last: Vec<usize> = (rank - axes.len()..rank).collect();
        rewriter.new.reduce(op, operand, &last).expect("the last axes were the reduced ones")
    })
}

struct Along<'a> {
    graph: &'a Graph,
    /// By node.
    users: Users,
    is_root: Vec<bool>,
    is_read_elsewhere: Vec<bool>,
    options: &'a Options,
}

impl Along<'_> {
    fn is_map(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id).op, Op::Map(_) | Op::Cast)
    }

    /// What a reduction over rows alone reduces with, and its axes; on a GPU also one inside of rows, which leaves the last axis.
    fn over_rows(&self, id: NodeId) -> Option<(ReduceOp, &[usize])> {
        match &self.graph.node(id).op {
            Op::Reduce { op, axes } if axes[..] == [0] || self.is_inside(id) => Some((*op, axes)),
            _ => None,
        }
    }

    fn is_inside(&self, id: NodeId) -> bool {
        self.options.target == Target::Cuda && is_inside_rows(self.graph, id)
    }

    /// What a reduction over rows would load if it took its operand along, if it can.
    fn loaded(&self, id: NodeId) -> Option<Vec<NodeId>> {
        self.over_rows(id)?;
        let inside = self.is_inside(id);
        let map = self.graph.node(id).operands[0];
        if self.graph.ty(map).rank() < 2 || !self.goes_along(map, inside) {
            return None;
        }
        let most = match (inside, self.is_by_rows(id)) {
            (true, _) => MOST_OF_GPU,
            (false, true) => MOST_BY_ROWS,
            (false, false) => MOST_LOADED,
        };
        let (mut loaded, mut seen, mut todo, mut steps) = (Vec::new(), FastSet::default(), vec![map], 0);
        while let Some(id) = todo.pop() {
            if !seen.insert(id) {
                continue;
            }
            if self.goes_along(id, inside) {
                steps += self.graph.n_steps(id);
                todo.extend(&self.graph.node(id).operands);
            } else if !self.is_small(id) {
                if !if inside { self.is_stored(id) } else { self.lies_in_memory(id) } {
                    return None;
                }
                loaded.push(id);
            }
            if loaded.len() > most || steps > MOST_STEPS {
                return None;
            }
        }
        loaded.sort_unstable();
        Some(loaded)
    }

    /// Whether a reduction reads its rows one after another.
    fn is_by_rows(&self, id: NodeId) -> bool {
        let map = self.graph.node(id).operands[0];
        self.options.target == Target::Cpu && is_long(&self.graph.ty(map).shape, self.options.max_batch)
    }

    /// A map that is read by maps and by reductions, over rows where these are not by rows, and by nobody else.
    fn is_taken(&self, id: NodeId) -> bool {
        let of_cpu = self.options.target == Target::Cpu;
        let is_reduction = |user: NodeId| matches!(self.graph.node(user).op, Op::Reduce { .. });
        let mut users = self.users.of(id).iter();
        self.is_map(id)
            && !self.is_root[id.index()]
            && users.all(|user| {
                self.is_map(*user) || self.over_rows(*user).is_some() || of_cpu && is_reduction(*user)
            })
    }

    /// Whether it is made again for a reduction, inside of rows or over them.
    fn goes_along(&self, id: NodeId, inside: bool) -> bool {
        self.is_taken(id) && !(inside && self.is_stored(id))
    }

    /// Repeated, or written into bodies.
    fn is_small(&self, id: NodeId) -> bool {
        let op = &self.graph.node(id).op;
        matches!(op, Op::View(View::Broadcast { .. }) | Op::Const(_) | Op::Iota { .. } | Op::Size(_))
    }

    fn lies_in_memory(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let is_summed = |user: &NodeId| match &self.graph.node(*user).op {
            Op::Reduce { axes, .. } => axes[0] == 0 && !self.is_map(id),
            Op::Contract(contraction) => {
                let sides = [&contraction.lhs, &contraction.rhs];
                let mut operands = self.graph.node(*user).operands.iter().zip(sides);
                operands.any(|(operand, labels)| {
                    *operand == id && labels.first().is_some_and(|row| !contraction.out.contains(row))
                })
            }
            _ => false,
        };
        let is_view = matches!(node.op, Op::View(_) | Op::Detach | Op::After);
        node.op.leaf_name().is_some() || !is_view && self.users.of(id).iter().any(is_summed)
    }

    /// Whether a GPU stores it for other launches: a leaf, and what a product makes or what is rounded, if it is read elsewhere.
    fn is_stored(&self, id: NodeId) -> bool {
        let node = self.graph.node(id);
        let is_made = match &node.op {
            Op::Contract(_) => true,
            Op::Cast => node.ty.dtype == DType::BF16,
            _ => false,
        };
        node.op.leaf_name().is_some() || is_made && self.is_read_elsewhere[id.index()]
    }

    /// By node, whether it, or a map of it, is read by anyone but maps that are taken along.
    fn read_elsewhere(&self) -> Vec<bool> {
        let mut is_read = vec![false; self.graph.len()];
        for id in self.graph.ids().rev() {
            is_read[id.index()] = self.users.of(id).iter().any(|user| {
                let is_along = self.is_taken(*user) || self.over_rows(*user).is_some();
                is_read[user.index()] && self.is_taken(*user) || !is_along
            });
        }
        is_read
    }

    /// A map with reduced axes as its last ones, once for all that take it along so.
    fn turn<'a>(
        &'a self,
        rewriter: &mut Rewriter,
        turned: &mut FastMap<(NodeId, &'a [usize]), NodeId>,
        id: NodeId,
        axes: &'a [usize],
    ) -> NodeId {
        if let Some(image) = turned.get(&(id, axes)) {
            return *image;
        }
        let rank = self.graph.ty(id).rank();
        let order: Vec<usize> =
            (0..rank).filter(|axis| !axes.contains(axis)).chain(axes.iter().copied()).collect();
        let image = if self.goes_along(id, axes[0] > 0) {
            let node = self.graph.node(id);
            let operands: Vec<NodeId> =
                node.operands.iter().map(|operand| self.turn(rewriter, turned, *operand, axes)).collect();
            let shape: Vec<Dim> = order.iter().map(|axis| node.ty.shape[*axis].clone()).collect();
            let ty = TensorType::new(node.ty.dtype, shape);
            rewriter.new.push(Node::new(node.op.clone(), ty, operands, node.origin.clone()))
        } else {
            let image = rewriter.image(id).expect("an operand comes before its user");
            rewriter.new.permute(image, &order).expect("each axis once")
        };
        turned.insert((id, axes), image);
        image
    }
}
