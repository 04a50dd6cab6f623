//! Scalar functions: THE table. One row a function, and nothing about a function stands anywhere else.
//!
//! What enters: nothing. What leaves: for each function its name, arity, type rule, f64 meaning, derivative and
//! identities (as algebra in text), f32 lowering in machine-independent steps, CUDA spelling, error bound and
//! awkward points. Invariant: adding a function touches one row of `table.rs`.
//! This room knows nothing of tensors.

/// A scalar function: a row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Func {
    Add,
    Sub,
    Mul,
    Div,
    /// Remainder with the divisor's sign.
    Rem,
    Neg,
    Abs,
    /// -1, 0 or 1.
    Sign,
    Max,
    Min,
    Pow,
    Sqrt,
    Exp,
    Log,
    /// `log(1 + a)`
    Log1p,
    /// `exp(a) - 1`
    Expm1,
    Tanh,
    /// `1 / (1 + exp(-a))`
    Sigmoid,
    Erf,
    Sin,
    Cos,
    Floor,
    Ceil,
    /// To nearest, ties to even.
    Round,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
    Not,
    /// `select(condition, a, b)`
    Select,
    IsFinite,
}
