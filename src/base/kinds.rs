//! The choices that graph and nest share: which reduction, which random numbers.

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ReduceOp {
    Sum,
    Prod,
    Max,
    Min,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Distribution {
    /// `[0, 1)`, 24 bits.
    Uniform,
    /// Mean 0, deviation 1 (Box and Muller, "A Note on the Generation of Random Normal Deviates", 1958).
    Normal,
}
