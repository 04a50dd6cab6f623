//! Why a primitive refuses its operands.
//!
//! What enters: what a shape rule found. What leaves: a value that names operands by position and sizes by axis,
//! for `model` to turn into a message with spans, and for the verifier to print. It knows nothing of the model's
//! text.

use crate::base::{DType, Dim};
use std::fmt;

/// The size of one axis of an operand, or of the result when `operand` is `None`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AxisSize {
    pub operand: Option<usize>,
    pub axis: usize,
    pub size: Dim,
}

impl fmt::Display for AxisSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.operand {
            Some(operand) => write!(f, "axis {} of operand {operand} ({})", self.axis, self.size),
            None => write!(f, "axis {} of the result ({})", self.axis, self.size),
        }
    }
}

/// What a shape rule found wrong. Operands and axes count from 0.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ShapeError {
    #[error("takes {expected} operands, not {found}")]
    OperandCount { expected: usize, found: usize },
    #[error("operand {operand} has element type {found}; expected {}", list(expected))]
    DType { operand: usize, expected: Vec<DType>, found: DType },
    #[error("operand {} has element type {}, operand {} has {}", left.0, left.1, right.0, right.1)]
    DTypesDiffer { left: (usize, DType), right: (usize, DType) },
    /// `expected` is a sentence of the scalar table.
    #[error("{name} does not take ({}): {expected}", list(found))]
    NoSuchFunction { name: &'static str, found: Vec<DType>, expected: String },
    #[error("operand {operand} has rank {found}; expected {expected}")]
    Rank { operand: usize, expected: usize, found: usize },
    #[error("axis {axis} is outside of rank {rank}")]
    Axis { axis: usize, rank: usize },
    #[error("{left} and {right} differ")]
    SizesDiffer { left: AxisSize, right: AxisSize },
    #[error("{from} elements do not fill a shape of {to}")]
    Elements { from: Dim, to: Dim },
    #[error("axis {axis}: index {index} is outside of size {size}")]
    Bounds { axis: usize, index: Dim, size: Dim },
    /// An attribute that no operands would make right: labels used twice, an axis list out of order.
    #[error("{0}")]
    Attribute(String),
}

fn list<T: fmt::Display>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}
