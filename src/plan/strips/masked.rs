//! Columns that are masked beyond a row's place, or before it.
//!
//! What enters: what runs in the turns of a section. What leaves: how many columns beyond its own number each row has that count, if every
//! column after these is masked and leaves no trace: a maximum is taken of numbers of which the masked ones are the least, a
//! sum and a product of zeros. Or that no column before a row's own place counts, where keys are the rows. The argument is by values: a node has beyond the place either a number that is known, or any. A
//! mask is a comparison of two places, as `places` leaves it. Numbers of `LOW` and less, by which masks take the place of minus infinity, are less
//! than whatever counts; each row has at least its own column that does, so its maximum is not one of them.

use super::super::space::{Read, Reads};
use super::axes::{Along, places};
use crate::base::hash::FastMap;
use crate::base::{Dim, ReduceOp};
use crate::graph::{Graph, NodeId, Op};
use crate::plan::fuse::Cluster;
use crate::scalar::Func;

const LOW: f64 = -1e8;

/// Columns that need not be gone through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Masked {
    /// Those beyond a row's place and so many more.
    Beyond(i64),
    /// Those before a row's place.
    Before,
}

/// See above; `None` where any column may count for any row. `extents`: of the dimensions, the rows last. `parts`: clusters, and
/// what the axes of their loops are.
pub fn columns_masked(
    graph: &Graph,
    reads: &Reads,
    extents: &[Dim],
    n_columns: &Dim,
    parts: &[(Cluster, Vec<Along>)],
) -> Option<Masked> {
    let rows = Along::Block(extents.len() - 1);
    let mut cx = Follow { graph, reads, rows, beyond: FastMap::default(), mask: None };
    for (cluster, along) in parts {
        let mut loops = cx.loop_of(cluster, along);
        loops.follow()?;
    }
    let n_rows = extents.last()?.as_const()?;
    match cx.mask? {
        Masked::Beyond(distance) => {
            (distance >= 0 && n_rows + distance == n_columns.as_const()?).then_some(Masked::Beyond(distance))
        }
        Masked::Before => (n_rows <= n_columns.as_const()?).then_some(Masked::Before),
    }
}

struct Follow<'a> {
    graph: &'a Graph,
    reads: &'a Reads,
    rows: Along,
    /// By wide value: the number that it is where it is masked, if that is known.
    beyond: FastMap<NodeId, Option<f64>>,
    mask: Option<Masked>,
}

/// One cluster's loop.
struct InLoop<'a, 'b> {
    cx: &'b mut Follow<'a>,
    cluster: &'b Cluster,
    rows: Option<usize>,
    columns: Option<usize>,
}

impl<'a> Follow<'a> {
    fn loop_of<'b>(&'b mut self, cluster: &'b Cluster, along: &[Along]) -> InLoop<'a, 'b> {
        let at = |label: Along| along.iter().position(|a| *a == label);
        InLoop { rows: at(self.rows), columns: at(Along::Columns), cx: self, cluster }
    }
}

impl InLoop<'_, '_> {
    /// Finds what the cluster's values are beyond; `None` if they depend on columns that are masked.
    fn follow(&mut self) -> Option<()> {
        let (graph, reads) = (self.cx.graph, self.cx.reads);
        let Some(columns) = self.columns else { return Some(()) };
        for id in self.cluster.nodes() {
            let node = graph.node(*id);
            let of = reads.of(*id);
            let is_summed = of.first().is_some_and(|read| columns >= read.n_parallel);
            let beyond: Vec<Option<f64>> = of.iter().map(|read| self.read(read)).collect();
            let is_zero = |x: &Option<f64>| *x == Some(0.0);
            let result = match &node.op {
                Op::Map(func) => known(*func, &beyond, node.ty.dtype),
                Op::Cast => beyond[0],
                Op::Random { .. } => None,
                Op::Reduce { op, .. } if is_summed => {
                    let is_neutral = match op {
                        ReduceOp::Sum => is_zero(&beyond[0]),
                        ReduceOp::Max => beyond[0].is_some_and(|x| x <= LOW),
                        _ => false,
                    };
                    is_neutral.then_some(None)?
                }
                Op::Contract(_) => {
                    let has_rows = self.rows.is_some_and(|rows| rows < of[0].n_parallel);
                    // Each column's own sum over rows, or a row's over columns, is made of products with zeros; a wide one is not
                    // asked for.
                    let is_wide = has_rows && !is_summed;
                    (is_wide || beyond.iter().any(is_zero)).then_some(None)?
                }
                _ => return None,
            };
            self.cx.beyond.insert(*id, result);
        }
        Some(())
    }

    /// What an operand is beyond.
    fn read(&mut self, read: &Read) -> Option<f64> {
        let graph = self.cx.graph;
        if let Op::Const(value) = graph.node(read.base).op {
            return Some(value);
        }
        if let Some(mask) = self.mask(read.base) {
            let same = *self.cx.mask.get_or_insert(mask) == mask;
            return same.then_some(0.0);
        }
        self.cx.beyond.get(&read.base).copied().flatten()
    }

    /// If a value of this loop says that a column is at most a row's place, or so many more; or that it is not before it.
    fn mask(&self, id: NodeId) -> Option<Masked> {
        let graph = self.cx.graph;
        if !self.cluster.nodes().contains(&id) {
            return None;
        }
        let of = self.cx.reads.of(id);
        let place = |read: &Read| self.place(read, read.extents.len());
        let (greater, lesser, by) = match graph.node(id).op {
            Op::Map(Func::Ge) => (place(&of[0])?, place(&of[1])?, 0),
            Op::Map(Func::Gt) => (place(&of[0])?, place(&of[1])?, -1),
            Op::Map(Func::Le) => (place(&of[1])?, place(&of[0])?, 0),
            Op::Map(Func::Lt) => (place(&of[1])?, place(&of[0])?, -1),
            _ => return None,
        };
        let is = |(axis, _): (usize, i64), wanted: Option<usize>| Some(axis) == wanted;
        let distance = greater.1 - lesser.1 + by;
        if is(greater, self.rows) && is(lesser, self.columns) {
            return Some(Masked::Beyond(distance));
        }
        (is(greater, self.columns) && is(lesser, self.rows) && distance == 0).then_some(Masked::Before)
    }

    /// If an operand is the place along one axis of the loop, and so many more: which axis, and how many.
    fn place(&self, read: &Read, n_axes: usize) -> Option<(usize, i64)> {
        let graph = self.cx.graph;
        let node = graph.node(read.base);
        match &node.op {
            Op::Iota { .. } => {
                let mut moving = (0..n_axes).filter(|axis| !read.strides[*axis].is_const(0));
                let axis = moving.next().filter(|axis| read.strides[*axis].is_const(1))?;
                moving.next().is_none().then_some((axis, read.offset.as_const()?))
            }
            Op::Map(func @ (Func::Add | Func::Sub)) if self.is_own(read) => {
                let of = self.cx.reads.of(read.base);
                let number = |read: &Read| match graph.node(read.base).op {
                    Op::Const(value) => Some(value as i64),
                    _ => None,
                };
                match (number(&of[0]), number(&of[1]), func) {
                    (None, Some(n), Func::Add) => self.place(&of[0], n_axes).map(|(axis, by)| (axis, by + n)),
                    (None, Some(n), Func::Sub) => self.place(&of[0], n_axes).map(|(axis, by)| (axis, by - n)),
                    (Some(n), None, Func::Add) => self.place(&of[1], n_axes).map(|(axis, by)| (axis, by + n)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether an operand is made at the same index of this loop.
    fn is_own(&self, read: &Read) -> bool {
        self.cluster.nodes().contains(&read.base)
            && places(self.cx.graph, read).is_some_and(|axes| {
                axes.iter().enumerate().all(|(i, axis)| axis.is_none_or(|axis| axis == i))
            })
    }
}

/// A function's value, if its known operands settle it. Unknown ones are numbers greater than `LOW`.
fn known(func: Func, operands: &[Option<f64>], dtype: crate::base::DType) -> Option<f64> {
    let is_low = |x: &Option<f64>| x.is_some_and(|x| x <= LOW);
    match (func, operands) {
        (Func::Select, [Some(condition), a, b]) => {
            if *condition != 0.0 {
                *a
            } else {
                *b
            }
        }
        (Func::Select, [None, a, b]) if a == b => *a,
        (Func::Mul, _) if operands.contains(&Some(0.0)) => Some(0.0),
        (Func::Div, [Some(0.0), None]) => Some(0.0),
        (Func::Add, [a, b]) if is_low(a) && b.is_none() || is_low(b) && a.is_none() => {
            Some(f64::NEG_INFINITY)
        }
        (Func::Sub, [a, None]) if is_low(a) => Some(f64::NEG_INFINITY),
        _ => {
            let operands: Option<Vec<f64>> = operands.iter().copied().collect();
            Some(func.eval_on(dtype, &operands?))
        }
    }
}
