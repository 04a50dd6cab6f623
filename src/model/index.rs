//! Indexing: `x[0]`, `x[:, 0:3]`, `x[.., -1]`, `table[tokens]`.
//!
//! What enters: a tensor and its indices. What leaves: slices and gathers. A number takes its axis away, a range
//! keeps it; a tensor of whole numbers gathers along its axis.

use super::elaborate::{Elaborator, show};
use super::value::{Given, Value};
use crate::base::{DType, Dim};
use crate::graph::NodeId;
use gradc_dsl::ast::{Expr, Index};
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    pub(super) fn index(&mut self, value: Value, at: Span, indices: &'a [Index], span: Span) -> Value {
        if let Value::List(items) | Value::Tuple(items) = &value {
            return self.item(items, indices, span);
        }
        let Some(mut x) = self.tensor(&value, at) else { return Value::Error };
        let ty = self.graph.ty(x).clone();
        let rest = indices.iter().position(|i| matches!(i, Index::Rest(_)));
        let plain = indices.len() - usize::from(rest.is_some());
        if plain > ty.rank() {
            return self.report(
                Diagnostic::error(
                    "E0309",
                    format!("{plain} indices for a tensor with {} axes", ty.rank()),
                    span,
                    "too many",
                )
                .label(at, format!("this is `{}`", show(&ty)))
                .help("write one index for each axis; axes that are left out are taken whole"),
            );
        }
        let mut axis = 0;
        for index in indices {
            match index {
                Index::Rest(_) => axis += ty.rank() - plain,
                Index::Range { start, end, step, span } => {
                    match self.slice(x, axis, start.as_ref(), end.as_ref(), step.as_ref(), *span) {
                        Some(sliced) => x = sliced,
                        None => return Value::Error,
                    }
                    axis += 1;
                }
                Index::Expr(expr) => match self.one_index(x, axis, expr, span) {
                    Some((taken, n_axes)) => {
                        x = taken;
                        axis += n_axes;
                    }
                    None => return Value::Error,
                },
            }
        }
        Value::Tensor(x)
    }

    /// An element of a list or tuple.
    fn item(&mut self, items: &[Value], indices: &'a [Index], span: Span) -> Value {
        let [Index::Expr(expr)] = indices else {
            return self.error("E0309", "a list takes one index", span, "", "write `list[0]`");
        };
        let value = self.expr(expr);
        if matches!(value, Value::Error) {
            return Value::Error;
        }
        let n = value.as_number().unwrap_or(f64::NAN);
        let at = if n < 0.0 { n + items.len() as f64 } else { n };
        match items.get(at as usize) {
            Some(item) if at >= 0.0 && at.fract() == 0.0 => item.clone(),
            _ => {
                let message = format!("there is no item {n} in a list of {}", items.len());
                self.error("E0309", message, expr.span, "", "elements count from 0; -1 is the last")
            }
        }
    }

    /// A bound of a range or an index: negative numbers count from the end.
    fn bound(&mut self, expr: &'a Expr, size: &Dim) -> Option<Dim> {
        match self.expr(expr) {
            Value::Dim(d) => match d.as_const() {
                Some(n) if n < 0 => Some(size.clone() + d),
                _ => Some(d),
            },
            Value::Error => None,
            // Not known yet, and not the same as another that is not.
            Value::Opaque => Some(Dim::symbol(format!("(unknown at {})", expr.span.start))),
            other => {
                let found = self.describe(&other);
                self.error(
                    "E0309",
                    format!("an index is a whole number, not {found}"),
                    expr.span,
                    format!("this is {found}"),
                    "write a whole number: `x[0]`",
                );
                None
            }
        }
    }

    fn slice(
        &mut self,
        x: NodeId,
        axis: usize,
        start: Option<&'a Expr>,
        end: Option<&'a Expr>,
        step: Option<&'a Expr>,
        span: Span,
    ) -> Option<NodeId> {
        let ty = self.graph.ty(x).clone();
        let size = ty.shape[axis].clone();
        let low = match start {
            Some(expr) => self.bound(expr, &size)?,
            None => Dim::from(0),
        };
        let high = match end {
            Some(expr) => self.bound(expr, &size)?,
            None => size.clone(),
        };
        let step = match step {
            Some(expr) => self.bound(expr, &size)?.as_const().unwrap_or(0),
            None => 1,
        };
        if step < 1 {
            self.report(
                Diagnostic::error("E0309", "the step of a range is at least 1", span, "")
                    .help("to read backwards, write `flip(x, axis)`"),
            );
            return None;
        }
        let length = high.clone() - low.clone();
        let length = match length.as_const() {
            Some(n) => Dim::from(n.saturating_add(step - 1).div_euclid(step)),
            None if step == 1 => length,
            None => match length.exact_div(&Dim::from(step)) {
                Some(length) => length,
                None => Dim::symbol(format!("({length} / {step})")),
            },
        };
        let outside = |d: &Dim| match (d.as_const(), size.as_const()) {
            (Some(n), Some(size)) => n < 0 || n > size,
            (Some(n), None) => n < 0,
            _ => false,
        };
        if outside(&low) || outside(&high) || length.as_const().is_some_and(|n| n < 1) {
            self.report(
                Diagnostic::error(
                    "E0309",
                    format!("the range {low}:{high} is not inside axis {axis}, which has size {size}"),
                    span,
                    format!("of `{}`", show(&ty)),
                )
                .help(format!("a range goes from 0 to at most {size}; the end is not included")),
            );
            return None;
        }
        let mut starts = vec![Dim::from(0); ty.rank()];
        starts[axis] = low;
        let mut steps = vec![1; ty.rank()];
        steps[axis] = step;
        let mut shape = ty.shape.clone();
        shape[axis] = length;
        let built = self.graph.slice(x, starts, &steps, shape);
        match self.built(built, span) {
            Value::Tensor(id) => Some(id),
            _ => None,
        }
    }

    /// A number or a tensor as index: what is taken, and how many axes stand in the axis's place.
    fn one_index(&mut self, x: NodeId, axis: usize, expr: &'a Expr, span: Span) -> Option<(NodeId, usize)> {
        let ty = self.graph.ty(x).clone();
        let value = self.expr(expr);
        if let Value::Tensor(mut index) = value {
            let dtype = self.graph.dtype(index);
            if !matches!(dtype, DType::I32 | DType::U8) {
                let found = show(self.graph.ty(index));
                self.report(
                    Diagnostic::error(
                        "E0305",
                        "an index holds whole numbers (i32)",
                        expr.span,
                        format!("this is `{found}`"),
                    )
                    .help("convert it: `i32(…)`"),
                );
                return None;
            }
            if dtype == DType::U8 {
                index = self.graph.cast(index, DType::I32).ok()?;
            }
            let n_axes = self.graph.ty(index).rank();
            let built = self.graph.gather(x, index, axis);
            return match self.built(built, span) {
                Value::Tensor(id) => Some((id, n_axes)),
                _ => None,
            };
        }
        let given = Given::positional(value, expr.span);
        let at = match &given.value {
            Value::Dim(d) if d.as_const().is_some_and(|n| n < 0) => ty.shape[axis].clone() + d.clone(),
            Value::Dim(d) => d.clone(),
            Value::Opaque => Dim::from(0),
            Value::Error => return None,
            other => {
                let found = self.describe(other);
                self.error(
                    "E0309",
                    format!("an index is a whole number, not {found}"),
                    expr.span,
                    format!("this is {found}"),
                    "write a whole number: `x[0]`",
                );
                return None;
            }
        };
        let outside = match (at.as_const(), ty.shape[axis].as_const()) {
            (Some(n), Some(size)) => n < 0 || n >= size,
            (Some(n), None) => n < 0,
            _ => false,
        };
        if outside {
            self.report(
                Diagnostic::error(
                    "E0309",
                    format!("there is no index {at} in axis {axis}, which has size {}", ty.shape[axis]),
                    expr.span,
                    format!("of `{}`", show(&ty)),
                )
                .help(format!("indices count from 0 to {}", ty.shape[axis].clone() - Dim::from(1))),
            );
            return None;
        }
        let mut starts = vec![Dim::from(0); ty.rank()];
        starts[axis] = at;
        let mut shape = ty.shape.clone();
        shape[axis] = Dim::from(1);
        let built = self.graph.slice(x, starts, &vec![1; ty.rank()], shape.clone());
        let Value::Tensor(sliced) = self.built(built, span) else { return None };
        shape.remove(axis);
        let built = self.graph.reshape(sliced, shape);
        match self.built(built, span) {
            Value::Tensor(id) => Some((id, 0)),
            _ => None,
        }
    }
}
