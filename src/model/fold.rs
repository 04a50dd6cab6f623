//! Operators on what is known when compiled: numbers, truth values, texts, sizes that may be symbolic.
//!
//! What enters: two values. What leaves: their result, or `None` where one of them is a tensor. Sizes stay exact:
//! polynomials, with quotients that do not divide as symbols of their own.

use super::elaborate::{Elaborator, Mode};
use super::scalars::folded;
use super::value::Value;
use crate::base::Dim;
use crate::scalar::Func;
use gradc_dsl::ast::BinaryOp;
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    /// Both sides known when compiled.
    pub(super) fn fold(&mut self, op: BinaryOp, a: &Value, b: &Value, span: Span) -> Option<Value> {
        use BinaryOp::*;
        match (a, b) {
            (Value::Bool(x), Value::Bool(y)) => Some(Value::Bool(match op {
                And => *x && *y,
                Or => *x || *y,
                Equal => x == y,
                NotEqual => x != y,
                _ => return None,
            })),
            (Value::Text(x), Value::Text(y)) => match op {
                Equal => Some(Value::Bool(x == y)),
                NotEqual => Some(Value::Bool(x != y)),
                _ => None,
            },
            (Value::Dim(x), Value::Dim(y)) => self.fold_sizes(op, x, y, span),
            _ if matches!(op, And | Or | MatMul) => None,
            _ => folded(function(op), &[a, b]),
        }
    }

    fn fold_sizes(&mut self, op: BinaryOp, x: &Dim, y: &Dim, span: Span) -> Option<Value> {
        use BinaryOp::*;
        let constants = x.as_const().zip(y.as_const());
        Some(match op {
            Add => Value::Dim(x.clone() + y.clone()),
            Subtract => Value::Dim(x.clone() - y.clone()),
            Multiply if too_long(x, y) => self.report(
                Diagnostic::error(
                    "E0313",
                    "this size is too complicated",
                    span,
                    "a product of very many sizes",
                )
                .help("give it a name of its own: a size in the signature, or a number"),
            ),
            Multiply => Value::Dim(x.clone() * y.clone()),
            Divide if y.is_const(0) => self.error(
                "E0307",
                "division by zero",
                span,
                "the right side is 0",
                "divide by another number",
            ),
            Divide => match (x.exact_div(y), constants) {
                (Some(quotient), _) => Value::Dim(quotient),
                (None, Some((n, m))) => Value::Number(n as f64 / m as f64),
                (None, None) => Value::Dim(Dim::symbol(format!("({x} / {y})"))),
            },
            Remainder => match constants {
                Some((_, 0)) => self.error(
                    "E0307",
                    "division by zero",
                    span,
                    "the right side is 0",
                    "divide by another number",
                ),
                Some((n, m)) => Value::Dim(Dim::from(n.checked_rem_euclid(m).unwrap_or(0))),
                None if x.exact_div(y).is_some() => Value::Dim(Dim::from(0)),
                None => Value::Opaque,
            },
            Power => match constants {
                Some((n, m)) if (0..64).contains(&m) => match n.checked_pow(m as u32) {
                    Some(power) => Value::Dim(Dim::from(power)),
                    None => Value::Number((n as f64).powf(m as f64)),
                },
                Some((n, m)) => Value::Number((n as f64).powf(m as f64)),
                None => Value::Opaque,
            },
            Equal if x == y => Value::Bool(true),
            NotEqual if x == y => Value::Bool(false),
            Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual => match constants {
                Some((n, m)) => Value::Bool(match op {
                    Equal => n == m,
                    NotEqual => n != m,
                    Less => n < m,
                    LessEqual => n <= m,
                    Greater => n > m,
                    _ => n >= m,
                }),
                None if self.mode == Mode::Generic => Value::Opaque,
                None => self.error(
                    "E0311",
                    "this comparison is not decided when the model is compiled",
                    span,
                    format!("`{x}` against `{y}`"),
                    "compare sizes that are known; the number of examples, `batch`, is not",
                ),
            },
            And | Or | MatMul => return None,
        })
    }
}

/// Whether a product would have more terms or factors than any size of a model; they double with each squaring.
fn too_long(x: &Dim, y: &Dim) -> bool {
    let (x, y) = (x.terms(), y.terms());
    let degree = |terms: &[(Vec<_>, i64)]| terms.iter().map(|(symbols, _)| symbols.len()).max().unwrap_or(0);
    x.len() * y.len() > 1000 || degree(&x) + degree(&y) > 30
}
pub(super) fn function(op: BinaryOp) -> Func {
    match op {
        BinaryOp::Add => Func::Add,
        BinaryOp::Subtract => Func::Sub,
        BinaryOp::Multiply | BinaryOp::MatMul => Func::Mul,
        BinaryOp::Divide => Func::Div,
        BinaryOp::Remainder => Func::Rem,
        BinaryOp::Power => Func::Pow,
        BinaryOp::Equal => Func::Eq,
        BinaryOp::NotEqual => Func::Ne,
        BinaryOp::Less => Func::Lt,
        BinaryOp::LessEqual => Func::Le,
        BinaryOp::Greater => Func::Gt,
        BinaryOp::GreaterEqual => Func::Ge,
        BinaryOp::And => Func::And,
        BinaryOp::Or => Func::Or,
    }
}
