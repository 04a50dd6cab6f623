//! What an expression stands for while a model is being elaborated.
//!
//! What enters: nothing. What leaves: `Value` and its description for messages. Invariant: `Value::Error` means
//! that a message has been given already, so nothing more is said about it.

use crate::base::Dim;
use crate::graph::NodeId;
use gradc_dsl::Span;
use gradc_dsl::ast::{Expr, ExprKind};
use smol_str::SmolStr;

#[derive(Clone, Debug)]
pub(super) enum Value {
    Tensor(NodeId),
    /// A number that is not whole by its writing: `1e-3`, `0.5`.
    Number(f64),
    /// A whole number, or a size that may be symbolic.
    Dim(Dim),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
    Tuple(Vec<Value>),
    /// A function's name.
    Function(SmolStr),
    /// The train block's `data`.
    Data,
    /// A compile-time value that generic checking does not know.
    Opaque,
    Error,
}

impl Value {
    /// For messages: `a tensor`, `the text "16"`.
    pub(super) fn describe(&self) -> String {
        match self {
            Value::Tensor(_) => "a tensor".into(),
            Value::Number(x) => format!("the number {x}"),
            Value::Dim(d) => match d.as_const() {
                Some(n) => format!("the number {n}"),
                None => format!("the size {d}"),
            },
            Value::Bool(b) => format!("`{b}`"),
            Value::Text(t) => format!("the text \"{t}\""),
            Value::List(_) => "a list".into(),
            Value::Tuple(items) => format!("{} values in parentheses", items.len()),
            Value::Function(name) => format!("the function `{name}`"),
            Value::Data => "the whole data source".into(),
            Value::Opaque | Value::Error => "a value".into(),
        }
    }

    /// The value as a number known when compiled.
    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Value::Number(x) => Some(*x),
            Value::Dim(d) => d.as_const().map(|n| n as f64),
            _ => None,
        }
    }
}

/// An argument, evaluated.
#[derive(Clone, Debug)]
pub(super) struct Given {
    pub name: Option<gradc_dsl::ast::Name>,
    pub value: Value,
    pub span: Span,
    /// The name, or the names of the list, as written: what an axis may be called by.
    pub words: Vec<Option<SmolStr>>,
}

impl Given {
    pub(super) fn positional(value: Value, span: Span) -> Given {
        Given { name: None, value, span, words: Vec::new() }
    }

    /// What an expression came to, with the words it was written in.
    pub(super) fn written(expr: &Expr, value: Value) -> Given {
        let word = |e: &Expr| match &e.kind {
            ExprKind::Name(name) => Some(name.clone()),
            _ => None,
        };
        let words = match &expr.kind {
            ExprKind::List(items) => items.iter().map(word).collect(),
            _ => vec![word(expr)],
        };
        Given { name: None, value, span: expr.span, words }
    }
}
