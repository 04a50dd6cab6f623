//! The choices that several rooms share: which reduction, which order, which random numbers, which precision.

use super::DType;
use std::cmp::Ordering;

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

/// The order in which a sort puts two elements; NaN is after everything, either way.
pub fn sort_order(a: f64, b: f64, descending: bool) -> Ordering {
    match a.partial_cmp(&b) {
        Some(order) if descending => order.reverse(),
        Some(order) => order,
        None => a.is_nan().cmp(&b.is_nan()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Distribution {
    /// `[0, 1)`, 24 bits.
    Uniform,
    /// Mean 0, deviation 1 (Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958).
    Normal,
}

/// In what a program's products are computed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Precision {
    #[default]
    F32,
    /// As f32, but where a device has units for it, it may round the factors of f32 products to tf32: an f32 with 10 bits of fraction,
    /// to nearest. Products of these are exact in f32 and summed in f32, so that an element of a product differs from
    /// the exact one by at most `2^-10 (1 + 2^-12)` of its terms' sum without signs, and by what sums in f32 lose. GPUs do so in products
    /// that are kernels of their own; CPUs have no such units and compute in f32.
    Tf32,
    /// `passes/precision.rs` has what it means.
    Bf16,
}

impl Precision {
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// The inverse of `name`.
    pub fn from_name(name: &str) -> Option<Precision> {
        Precision::ALL.into_iter().find(|p| p.name() == name)
    }
}
