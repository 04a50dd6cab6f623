//! Scalar functions: THE table. One row a function, and nothing about a function stands anywhere else.
//!
//! What enters: nothing. What leaves: for each function its name, arity, type rule, f64 meaning, derivatives and
//! identities (as algebra in text), f32 lowering in machine-independent steps, error bound and
//! awkward points. Invariant: adding a function touches one row of `table.rs`.
//! This room knows nothing of tensors.

mod expr;
mod lower;
pub mod machine;
mod table;
#[cfg(test)]
mod tests;
mod trigonometry;
mod whole;

pub use expr::Expr;
pub use machine::{StepId, Steps};
pub use table::{Func, Row, Types};

use crate::base::{DType, ReduceOp};
use machine::Step;
use std::sync::OnceLock;

/// The algebra of a row, parsed once.
struct Algebra {
    derivatives: Vec<Expr>,
    identities: Vec<(Expr, Expr)>,
}

fn algebra(func: Func) -> &'static Algebra {
    static PARSED: OnceLock<Vec<Algebra>> = OnceLock::new();
    let parse = |text: &str| Expr::parse(text).unwrap_or_else(|e| panic!("the table says {text:?}: {e}"));
    let all = PARSED.get_or_init(|| {
        let of_row = |row: &Row| Algebra {
            derivatives: row.derivatives.iter().map(|d| parse(d)).collect(),
            identities: row.identities.iter().map(|(from, to)| (parse(from), parse(to))).collect(),
        };
        Func::ALL.iter().map(|f| of_row(f.row())).collect()
    });
    &all[func as usize]
}

impl Func {
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The function of that name in the language.
    pub fn named(name: &str) -> Option<Func> {
        Func::ALL.iter().copied().find(|f| f.name() == name)
    }

    pub fn arity(self) -> usize {
        self.row().arity
    }

    /// The value in f64; bools are 0 and 1.
    pub fn eval(self, arguments: &[f64]) -> f64 {
        debug_assert_eq!(arguments.len(), self.arity());
        (self.row().eval)(arguments)
    }

    /// The value on numbers of an element type (that of the last operand): f32 is not rounded, i32 results wrap.
    pub fn eval_on(self, dtype: DType, arguments: &[f64]) -> f64 {
        match (dtype, self.row().eval_whole) {
            (DType::I32, Some(eval)) => {
                let whole: Vec<i32> = arguments.iter().map(|x| *x as i32).collect();
                f64::from(eval(&whole))
            }
            // An f64 holds every sum of two i32.
            (DType::I32, None) => f64::from(self.eval(arguments) as i64 as i32),
            _ => self.eval(arguments),
        }
    }

    /// The function that a reduction applies to what it has so far and the next element.
    pub fn of_reduction(op: ReduceOp) -> Func {
        match op {
            ReduceOp::Sum => Func::Add,
            ReduceOp::Prod => Func::Mul,
            ReduceOp::Max => Func::Max,
            ReduceOp::Min => Func::Min,
        }
    }

    /// The partial derivative by an operand, over `a`, `b`, `c` and the result `y`.
    pub fn derivative(self, operand: usize) -> &'static Expr {
        &algebra(self).derivatives[operand]
    }

    /// Equations, left to right, that hold for all numbers for which both sides are defined.
    pub fn identities(self) -> &'static [(Expr, Expr)] {
        &algebra(self).identities
    }

    /// The result's type, or what is expected instead.
    pub fn result_dtype(self, operands: &[DType]) -> Result<DType, String> {
        if operands.len() != self.arity() {
            return Err(format!("{} takes {} operands, not {}", self.name(), self.arity(), operands.len()));
        }
        self.row().types.result(operands)
    }

    /// Appends the steps that compute the function on values of one of its operand types (`dtype`: that of the
    /// last operand).
    pub fn lower(self, steps: &mut Steps, arguments: &[StepId], dtype: DType) -> StepId {
        (self.row().lower)(steps, arguments, dtype)
    }

    /// How many steps of a lane that is, but for constants.
    pub fn n_steps(self, dtype: DType) -> usize {
        let mut steps = Steps::default();
        let operands: Vec<StepId> = (0..self.arity()).map(|i| steps.push(Step::Argument(i as u8))).collect();
        self.lower(&mut steps, &operands, dtype);
        let of_lane = |s: &&Step| !matches!(s, Step::Argument(_) | Step::ConstF(_) | Step::ConstI(_));
        steps.steps.iter().filter(of_lane).count()
    }
}
