//! The choices that graph and nest share: which reduction, which random numbers.

use super::DType;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    Sum,
    Prod,
    Max,
    Min,
}

impl ReduceOp {
    /// What a reduction over no elements gives.
    pub fn identity(self, dtype: DType) -> f64 {
        match (self, dtype.is_float()) {
            (ReduceOp::Sum, _) => 0.0,
            (ReduceOp::Prod, _) => 1.0,
            (ReduceOp::Max, true) => f64::NEG_INFINITY,
            (ReduceOp::Min, true) => f64::INFINITY,
            (ReduceOp::Max, false) => i32::MIN.into(),
            (ReduceOp::Min, false) => i32::MAX.into(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Distribution {
    /// `[0, 1)`, 24 bits.
    Uniform,
    /// Mean 0, deviation 1 (Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958).
    Normal,
}
