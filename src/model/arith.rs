//! Operators, elementwise or as matrix products, and scalar functions of tensors.
//!
//! What enters: two values with their places. What leaves: a value. Invariant: element types meet by one rule
//! (`meet`), shapes by one rule (trailing axes align, size 1 stretches), and a mismatch shows both. What is known when
//! compiled is worked out in `fold`.

use super::elaborate::{Elaborator, show};
use super::fold::function;
use super::mismatch::leading;
use super::value::Value;
use crate::base::{DType, Dim};
use crate::graph::NodeId;
use crate::graph::common_shape;
use crate::graph::op::ShapeError;
use crate::scalar::{Func, Types};
use gradc_dsl::ast::BinaryOp;
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    pub(super) fn binary(
        &mut self,
        op: BinaryOp,
        a: Value,
        b: Value,
        at_a: Span,
        at_b: Span,
        span: Span,
    ) -> Value {
        if let (Value::Error, _) | (_, Value::Error) = (&a, &b) {
            return Value::Error;
        }
        if op == BinaryOp::MatMul {
            return self.matmul(a, b, at_a, at_b, span);
        }
        if let Some(value) = self.fold(op, &a, &b, span) {
            return value;
        }
        let scalar = |v: &Value| {
            matches!(v, Value::Opaque | Value::Number(_) | Value::Dim(_) | Value::Bool(_) | Value::Text(_))
        };
        if scalar(&a) && scalar(&b) && (matches!(a, Value::Opaque) || matches!(b, Value::Opaque)) {
            return Value::Opaque;
        }
        if op == BinaryOp::Power && b.as_number() == Some(2.0) {
            return self.map(Func::Mul, &[(a.clone(), at_a), (a, at_a)], span);
        }
        self.map(function(op), &[(a, at_a), (b, at_b)], span)
    }
    /// A scalar function of values that can be tensors, broadcast to one shape.
    pub(super) fn map(&mut self, func: Func, operands: &[(Value, Span)], span: Span) -> Value {
        let mut ids: Vec<NodeId> = Vec::new();
        let literal: Vec<bool> = operands
            .iter()
            .map(|(v, _)| matches!(v, Value::Number(_) | Value::Dim(_) | Value::Opaque))
            .collect();
        for (value, at) in operands {
            if matches!(value, Value::Error) {
                return Value::Error;
            }
            let Some(id) = self.tensor(value, *at) else { return Value::Error };
            ids.push(id);
        }
        let data_from = usize::from(func == Func::Select);
        if !self.meet(func, &mut ids[data_from..], operands, data_from, &literal, span) {
            return Value::Error;
        }
        let shapes: Vec<&[Dim]> = ids.iter().map(|id| &self.graph.ty(*id).shape[..]).collect();
        match common_shape(&shapes) {
            Ok(_) => {}
            Err(ShapeError::SizesDiffer { left, right }) => {
                let (l, r) = (left.operand.unwrap_or(0), right.operand.unwrap_or(1));
                return self.shapes_differ(ids[l], ids[r], operands[l].1, operands[r].1, span);
            }
            Err(other) => {
                return self.error(
                    "E0314",
                    format!("these do not fit: {other}"),
                    span,
                    "",
                    "make their axes equal",
                );
            }
        }
        match self.graph.map_broadcast(func, &ids) {
            Ok(id) => Value::Tensor(id),
            Err(other) => {
                let types: Vec<String> =
                    ids.iter().map(|id| format!("`{}`", show(self.graph.ty(*id)))).collect();
                self.report(
                    Diagnostic::error(
                        "E0305",
                        format!("this function does not take {}", types.join(" and ")),
                        span,
                        format!("{other}"),
                    )
                    .help("convert first: `f32(…)`, `i32(…)` or `bool(…)`"),
                )
            }
        }
    }

    /// Brings operands to one element type: literals follow the others, bytes and truth values become f32 beside
    /// f32. Says so when it cannot.
    fn meet(
        &mut self,
        func: Func,
        ids: &mut [NodeId],
        operands: &[(Value, Span)],
        from: usize,
        literal: &[bool],
        span: Span,
    ) -> bool {
        if matches!(func, Func::And | Func::Or | Func::Not) {
            for (i, id) in ids.iter().enumerate() {
                if self.graph.dtype(*id) != DType::Bool {
                    let found = self.describe(&operands[from + i].0);
                    self.report(
                        Diagnostic::error(
                            "E0305",
                            "`and`, `or` and `not` take truth values (bool)",
                            operands[from + i].1,
                            format!("this is {found}"),
                        )
                        .help("compare first: `x > 0`"),
                    );
                    return false;
                }
            }
            return true;
        }
        let compares = matches!(func, Func::Eq | Func::Ne | Func::Lt | Func::Le | Func::Gt | Func::Ge);
        let kinds: Vec<DType> = ids.iter().map(|id| self.graph.dtype(*id)).collect();
        let solid: Vec<DType> =
            kinds.iter().enumerate().filter(|(i, _)| !literal[from + i]).map(|(_, k)| *k).collect();
        let whole = |i: usize| matches!(operands[from + i].0, Value::Dim(_) | Value::Opaque);
        let all_whole = (0..ids.len()).all(|i| !literal[from + i] || whole(i));
        let target = if ids.len() == 1 {
            kinds[0]
        } else if solid.contains(&DType::F32) || solid.is_empty() {
            DType::F32
        } else if solid.iter().all(|k| *k == DType::Bool)
            && solid.len() == ids.len()
            && (compares || func == Func::Select)
        {
            DType::Bool
        } else if solid.contains(&DType::I32)
            || compares
            || func == Func::Select
            || func.row().types == Types::Whole
        {
            if !all_whole { DType::F32 } else { DType::I32 }
        } else {
            DType::F32
        };
        for (i, id) in ids.iter_mut().enumerate() {
            let kind = kinds[i];
            if kind == target {
                continue;
            }
            if kind == DType::I32 && target == DType::F32 {
                let other = (0..kinds.len()).find(|j| *j != i).unwrap_or(0);
                let text = |k: DType| super::types::plural(k);
                let mut error = Diagnostic::error(
                    "E0305",
                    format!("{} and {} do not mix", text(kind), text(DType::F32)),
                    operands[from + i].1,
                    format!("this is `{}`", show(self.graph.ty(*id))),
                );
                error = error.label(operands[from + other].1, "this is real");
                self.report(error.help("convert the whole numbers: `f32(…)`"));
                return false;
            }
            if literal[from + i]
                && let Some(x) = operands[from + i].0.as_number()
            {
                *id = self.graph.constant(x, target);
                continue;
            }
            match self.graph.cast(*id, target) {
                Ok(cast) => *id = cast,
                Err(_) => return false,
            }
        }
        if target == DType::I32 && matches!(func, Func::Div | Func::Pow) {
            self.report(
                Diagnostic::error(
                    "E0305",
                    "whole numbers (i32) cannot be divided or raised to a power",
                    span,
                    "whole numbers on both sides",
                )
                .help(if func == Func::Div {
                    "write `floor_div(a, b)` or `trunc_div(a, b)`, and `a % b` for what is left; or convert first: `f32(…)`"
                } else {
                    "convert first: `f32(…)`"
                }),
            );
            return false;
        }
        true
    }
    fn matmul(&mut self, a: Value, b: Value, at_a: Span, at_b: Span, span: Span) -> Value {
        let mut ids = Vec::new();
        for (value, at) in [(&a, at_a), (&b, at_b)] {
            let Some(id) = self.tensor(value, at) else { return Value::Error };
            let ty = self.graph.ty(id).clone();
            if ty.rank() == 0 {
                let found = self.describe(value);
                return self.report(
                    Diagnostic::error(
                        "E0302",
                        "`@` multiplies matrices",
                        at,
                        format!("this is {found}, with no axes"),
                    )
                    .help("to multiply by a number, write `*`"),
                );
            }
            let id = match ty.dtype {
                DType::F32 => id,
                DType::BF16 | DType::U8 | DType::Bool => match self.graph.cast(id, DType::F32) {
                    Ok(id) => id,
                    Err(_) => return Value::Error,
                },
                DType::I32 => {
                    return self.report(
                        Diagnostic::error(
                            "E0305",
                            "`@` multiplies real numbers (f32)",
                            at,
                            format!("this is `{}`", show(&ty)),
                        )
                        .help("convert it: `f32(…)`"),
                    );
                }
            };
            ids.push(id);
        }
        let (ta, tb) = (self.graph.ty(ids[0]).clone(), self.graph.ty(ids[1]).clone());
        let inner_b = tb.rank().saturating_sub(2);
        let (x, y) = (&ta.shape[ta.rank() - 1], &tb.shape[inner_b]);
        if x != y {
            let error = Diagnostic::error(
                "E0302",
                format!("`@` needs equal inner sizes, but the left side's last axis is `{x}` and the right side's {} is `{y}`",
                    if tb.rank() == 1 { "only axis" } else { "last axis but one" }),
                self.operator(at_a, at_b, span),
                "",
            )
            .label(at_a, format!("this is `{}`", show(&ta)))
            .label(at_b, format!("this is `{}`", show(&tb)));
            let error = self.with_origins(error, &[at_a, at_b]);
            let (left, right) =
                (self.program.sources.text(at_a).to_owned(), self.program.sources.text(at_b).to_owned());
            let help = if tb.rank() >= 2 && x == &tb.shape[tb.rank() - 1] {
                format!("the right side looks transposed: `{left} @ transpose({right})`")
            } else if ta.rank() >= 2 && y == &ta.shape[ta.rank() - 2] {
                format!("the left side looks transposed: `transpose({left}) @ {right}`")
            } else {
                format!("`[a, n] @ [n, b]` gives `[a, b]`: give the right side `{x}` rows")
            };
            return self.report(error.help(help));
        }
        match self.graph.matmul(ids[0], ids[1]) {
            Ok(id) => Value::Tensor(id),
            Err(_) => self.report(
                Diagnostic::error(
                    "E0302",
                    format!(
                        "the leading axes of this product differ: {} on the left, {} on the right",
                        leading(&ta),
                        leading(&tb)
                    ),
                    self.operator(at_a, at_b, span),
                    "",
                )
                .label(at_a, format!("this is `{}`", show(&ta)))
                .label(at_b, format!("this is `{}`", show(&tb)))
                .help("make the axes before the last two equal on both sides"),
            ),
        }
    }
}
