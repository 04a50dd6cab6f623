//! Element types, symbolic sizes and shapes: what every later room counts in.
//!
//! Invariant: a `Dim` is always in canonical form, so equal sizes are equal values.
//! This room does not know what a tensor is for.

pub mod bf16;
pub mod cephes;
mod dim;
mod dtype;
pub mod files;
pub mod hash;
mod kinds;
mod normal;
pub mod philox;
pub mod stopwatch;

pub use dim::Dim;
pub use dtype::DType;
pub use kinds::{Distribution, Precision, ReduceOp, sort_order};

/// A tensor's type: element type and sizes, outermost first. Rank 0 is a scalar.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Vec<Dim>,
}

impl TensorType {
    pub fn new(dtype: DType, shape: impl Into<Vec<Dim>>) -> Self {
        TensorType { dtype, shape: shape.into() }
    }

    pub fn scalar(dtype: DType) -> Self {
        TensorType { dtype, shape: Vec::new() }
    }

    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The number of elements.
    pub fn n_elements(&self) -> Dim {
        self.shape.iter().fold(Dim::from(1), |n, d| n * d.clone())
    }

    /// The same where `value` knows every symbol: a number takes less work than a polynomial.
    pub fn n_elements_at(&self, value: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        self.shape.iter().try_fold(1i64, |n, size| Some(n.saturating_mul(size.eval(value)?)))
    }

    /// Elements from one index of each axis to the next, rows contiguous.
    pub fn row_major_strides(&self) -> Vec<Dim> {
        let mut strides = vec![Dim::from(1); self.rank()];
        for axis in (1..self.rank()).rev() {
            strides[axis - 1] = strides[axis].clone() * self.shape[axis].clone();
        }
        strides
    }

    /// Whether these are the `row_major_strides`.
    pub fn is_row_major(&self, strides: &[Dim]) -> bool {
        let mut expected = Dim::from(1);
        strides.len() == self.rank()
            && (0..self.rank()).rev().all(|axis| {
                let same = strides[axis] == expected;
                if same && axis > 0 {
                    expected = std::mem::replace(&mut expected, Dim::from(0)) * self.shape[axis].clone();
                }
                same
            })
    }
}

impl std::fmt::Display for TensorType {
    /// `f32[batch, 784]`; a scalar prints as `f32[]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { ", " } else { "" })?;
        }
        write!(f, "]")
    }
}
