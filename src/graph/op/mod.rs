//! The structural primitives, a file a family: what each accepts and gives.
//!
//! What enters: an `Op`, its operands' types, and (for primitives whose result is not determined by these:
//! leaves, casts, views) the type that is asked for. What leaves: the type of the result, or a `ShapeError`.
//! Builder, parser and verifier all ask here, so a node's type has one source. Sizes are equal when their `Dim`s
//! are; nothing is assumed about symbols.
//!
//! A family's file holds its rules side by side: shapes, meaning (the interpreter), text form. Its gradient is
//! in the file of the same name in `autodiff`, its lowering in `plan`. To add a primitive: one file here and one
//! line in each of `FAMILIES` and `family`.
//

pub mod concat;
pub mod contract;
mod error;
pub mod gather;
pub mod gradient;
pub mod leaf;
pub mod map;
pub mod random;
pub mod reduce;
pub mod scan;
pub mod sort;
pub mod view;
pub mod window;

pub use error::{AxisSize, ShapeError};

use super::cursor::{Cursor, Read};
use super::interpret::{Context, Tensor};
use crate::base::{DType, Dim, TensorType};
use crate::graph::{Op, View};

/// The rules that a family of primitives brings.
pub trait Family: Sync {
    /// The type of the result. `requested` matters only where the operands do not determine it.
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError>;

    /// The meaning. Types were checked; sizes are those of `cx`.
    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String>;

    /// Keyword and attributes in the text form: `reduce sum [1]`.
    fn print(&self, op: &Op) -> String;

    /// The inverse of `print`, the keyword already read; `None` if it is another family's.
    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>>;
}

const FAMILIES: [&dyn Family; 12] = [
    &leaf::Leaf,
    &map::Map,
    &reduce::Reduce,
    &contract::Contract,
    &view::Views,
    &concat::Concat,
    &gather::Gather,
    &sort::Sort,
    &random::Random,
    &scan::Scans,
    &window::Fold,
    &gradient::Gradient,
];

/// Whose an `Op` is.
pub fn family(op: &Op) -> &'static dyn Family {
    match op {
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Size(_) => {
            &leaf::Leaf
        }
        Op::Map(_) | Op::Cast => &map::Map,
        Op::Reduce { .. } | Op::ArgMax { .. } => &reduce::Reduce,
        Op::Contract(_) => &contract::Contract,
        Op::View(_) => &view::Views,
        Op::Concat { .. } => &concat::Concat,
        Op::Gather { .. } | Op::ScatterAdd { .. } => &gather::Gather,
        Op::Sort { .. } => &sort::Sort,
        Op::Random { .. } => &random::Random,
        Op::Scan(_) => &scan::Scans,
        Op::Fold(_) => &window::Fold,
        Op::Detach | Op::Grad | Op::Rule { .. } | Op::Hole | Op::Recompute | Op::After => &gradient::Gradient,
    }
}

/// The type of `op` applied to operands of the types given; see `Family::infer`.
pub fn infer(op: &Op, operands: &[&TensorType], requested: &TensorType) -> Result<TensorType, ShapeError> {
    family(op).infer(op, operands, requested)
}

/// Reads a primitive with its attributes.
pub fn parse_op(cursor: &mut Cursor) -> Read<Op> {
    let keyword = cursor.word()?;
    for family in FAMILIES {
        if let Some(op) = family.parse(keyword, cursor)? {
            return Ok(op);
        }
    }
    cursor.reject(format!("no primitive is named `{keyword}`"))
}

impl Op {
    /// The name of an input or variable.
    pub fn leaf_name(&self) -> Option<&smol_str::SmolStr> {
        match self {
            Op::Input(name) | Op::Param(name) | Op::State(name) => Some(name),
            _ => None,
        }
    }

    /// The sizes among the attributes.
    pub fn dims(&self) -> &[Dim] {
        match self {
            Op::Size(dim) => std::slice::from_ref(dim),
            Op::Scan(scan) => std::slice::from_ref(&scan.turns),
            Op::View(View::Slice { start, .. } | View::Pad { start, .. }) => start,
            _ => &[],
        }
    }
}

fn expect_operands<const N: usize>(operands: &[&TensorType]) -> Result<(), ShapeError> {
    if operands.len() == N {
        return Ok(());
    }
    Err(ShapeError::OperandCount { expected: N, found: operands.len() })
}

fn expect_dtype(operand: usize, ty: &TensorType, expected: &[DType]) -> Result<(), ShapeError> {
    if expected.contains(&ty.dtype) {
        return Ok(());
    }
    Err(ShapeError::DType { operand, expected: expected.to_vec(), found: ty.dtype })
}

fn expect_rank(operand: usize, ty: &TensorType, expected: usize) -> Result<(), ShapeError> {
    if ty.rank() == expected {
        return Ok(());
    }
    Err(ShapeError::Rank { operand, expected, found: ty.rank() })
}

fn expect_axis(axis: usize, rank: usize) -> Result<(), ShapeError> {
    if axis < rank { Ok(()) } else { Err(ShapeError::Axis { axis, rank }) }
}

/// Axes in increasing order, each once, all inside of the rank.
fn expect_axes(axes: &[usize], rank: usize) -> Result<(), ShapeError> {
    axes.iter().try_for_each(|&axis| expect_axis(axis, rank))?;
    if axes.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    Err(ShapeError::Attribute(format!("axes {axes:?} are not in increasing order")))
}

fn expect_same_size(left: AxisSize, right: AxisSize) -> Result<(), ShapeError> {
    if left.size == right.size { Ok(()) } else { Err(ShapeError::SizesDiffer { left, right }) }
}

/// Operand `i` has exactly the shape of operand 0.
fn expect_same_shape(operands: &[&TensorType], i: usize) -> Result<(), ShapeError> {
    expect_rank(i, operands[i], operands[0].rank())?;
    let size = |operand: usize, axis: usize| AxisSize {
        operand: Some(operand),
        axis,
        size: operands[operand].shape[axis].clone(),
    };
    (0..operands[0].rank()).try_for_each(|axis| expect_same_size(size(0, axis), size(i, axis)))
}
