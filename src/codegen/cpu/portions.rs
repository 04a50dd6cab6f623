//! An op in portions, each of which a thread may take.
//!
//! What enters: an op of a kernel whose tiles are too few for the threads there are. What leaves: the same op, of which one axis begins at the
//! place `part` and has `n_part` indices, and how many indices that axis has altogether; of a loop whose turns may run at the same time, the loop
//! as it is. A function that is compiled from it does the portion that its `Tile` names. Invariants: results do not depend on the
//! number of portions, for the axis is one of the result's, no term of a sum, and whatever is chosen by its size would be chosen for a part of it;
//! portions touch nothing that another one writes. Not here: who takes which portion (`runtime/team.rs`).

use super::body::LANES;
use crate::base::Dim;
use crate::nest::analysis::accesses;
use crate::nest::{Fill, Gemm, GemmAxis, Inst, Loop, Nest, StoreKind, TileOp, TurnOrder};

/// The symbols for the first place of a portion, and for how many there are.
pub const FIRST: &str = "part";
pub const SIZE: &str = "n_part";

/// Indices of an axis from which on it is worth being taken in portions, and such a part of it looks as long to who chooses loops.
/// In tests, whose ops are small, as few as vectors have lanes.
const LONG: i64 = if cfg!(test) { LANES } else { 16 };
/// A portion has a multiple of so many neighbours: lines of a cache, and whole vectors.
const NEIGHBOURS: u32 = if cfg!(test) { LANES as u32 } else { 64 };
/// Rows and columns of a product that are worth being multiplied apart.
const ROWS: u32 = if cfg!(test) { 2 } else { 24 };
const COLUMNS: u32 = if cfg!(test) { 2 } else { 64 };

/// What is taken in portions.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Portioned {
    /// Indices altogether.
    pub extent: Dim,
    /// A portion has a multiple of so many.
    pub step: u32,
}

/// The op in portions, if it has an axis for that.
pub fn in_portions(op: &TileOp) -> Option<(TileOp, Portioned)> {
    match op {
        TileOp::Nest(nest) => of_nest(nest).map(|(nest, of)| (TileOp::Nest(nest), of)),
        TileOp::Gemm(gemm) => of_gemm(gemm).map(|(gemm, of)| (TileOp::Gemm(Box::new(gemm)), of)),
        TileOp::Fill(fill) => Some(of_fill(fill)).map(|(fill, of)| (TileOp::Fill(fill), of)),
        TileOp::Loop(l) => {
            let extents = at_once(l).into_iter().map(|l| l.extent.clone());
            let extent = extents.reduce(|a, b| a * b)?;
            Some((op.clone(), Portioned { extent, step: 1 }))
        }
        TileOp::Sort(_) => None,
    }
}

/// The loop and those inside of it, each all that its turn does, whose turns may all run at the same time.
pub fn at_once(l: &Loop) -> Vec<&Loop> {
    let mut loops = Vec::new();
    let mut next = Some(l);
    while let Some(l) = next.filter(|l| l.order == TurnOrder::Any && l.block == 1) {
        loops.push(l);
        next = match &l.ops[..] {
            [TileOp::Loop(inner)] => Some(inner),
            _ => None,
        };
    }
    loops
}

fn first() -> Dim {
    Dim::symbol(FIRST)
}

fn size() -> Dim {
    Dim::symbol(SIZE)
}

/// Of a map or reduction the outermost long axis along which all results move.
fn of_nest(nest: &Nest) -> Option<(Nest, Portioned)> {
    let is_in_order = |kind: &StoreKind| matches!(kind, StoreKind::AddAt { .. } | StoreKind::ArgMax);
    if nest.stores.iter().any(|store| is_in_order(&store.kind)) {
        return None;
    }
    let is_long = |axis: usize| nest.axes[axis].extent.as_const().is_some_and(|n| n >= LONG);
    let moves = |axis: usize| nest.stores.iter().all(|store| !store.access.strides[axis].is_const(0));
    let axis = (0..nest.axes.len()).find(|a| !nest.axes[*a].reduce && is_long(*a) && moves(*a))?;
    let are_neighbours = accesses(nest).iter().any(|access| access.strides[axis].is_const(1));
    let step = if are_neighbours { NEIGHBOURS } else { 1 };
    let of = Portioned { extent: nest.axes[axis].extent.clone(), step };
    let mut nest = nest.clone();
    nest.axes[axis].extent = size();
    for inst in &mut nest.body {
        match inst {
            Inst::Load { access } | Inst::LoadAt { access, .. } => {
                access.offset = access.offset.clone() + first() * access.strides[axis].clone();
            }
            Inst::Index { axis: of, offset } if *of as usize == axis => *offset = offset.clone() + first(),
            _ => {}
        }
    }
    for store in &mut nest.stores {
        let access = &mut store.access;
        access.offset = access.offset.clone() + first() * access.strides[axis].clone();
    }
    Some((nest, of))
}

/// Of a product the loop around it, the rows or the columns, whichever are most portions. A tile's rows count as one.
fn of_gemm(gemm: &Gemm) -> Option<(Gemm, Portioned)> {
    let n = |dim: &Dim, step: u32| {
        let value = dim.eval(&|symbol| matches!(symbol, "tile" | "rows" | "batch").then_some(1));
        value.unwrap_or(0) / i64::from(step)
    };
    let is_free = |axis: &&mut GemmAxis| !axis.reduce;
    let mut new = gemm.clone();
    let around = new.batch.iter_mut().filter(is_free).max_by_key(|axis| n(&axis.extent, 1));
    let of_around = around.as_ref().map_or(0, |axis| n(&axis.extent, 1));
    let (rows, columns) = (n(&gemm.m, ROWS), n(&gemm.n, COLUMNS));
    if of_around.max(rows).max(columns) < 2 {
        return None;
    }
    let shift = |offset: &mut Dim, stride: &Dim| *offset = offset.clone() + first() * stride.clone();
    let (extent, step) = match around {
        Some(axis) if of_around >= rows.max(columns).min(LONG) => {
            shift(&mut new.lhs.offset, &axis.lhs);
            shift(&mut new.rhs.offset, &axis.rhs);
            shift(&mut new.out.offset, &axis.out);
            (std::mem::replace(&mut axis.extent, size()), 1)
        }
        _ if rows >= columns => {
            shift(&mut new.lhs.offset, &gemm.lhs.row_stride);
            shift(&mut new.out.offset, &gemm.out.row_stride);
            (std::mem::replace(&mut new.m, size()), ROWS)
        }
        _ => {
            shift(&mut new.rhs.offset, &gemm.rhs.column_stride);
            shift(&mut new.out.offset, &gemm.out.column_stride);
            (std::mem::replace(&mut new.n, size()), COLUMNS)
        }
    };
    Some((new, Portioned { extent, step }))
}

fn of_fill(fill: &Fill) -> (Fill, Portioned) {
    let of = Portioned { extent: fill.count.clone(), step: NEIGHBOURS };
    let new = Fill {
        offset: fill.offset.clone() + first(),
        first: fill.first.clone() + first(),
        count: size(),
        ..fill.clone()
    };
    (new, of)
}
