//! Types and sizes as they are written: their values in a frame, and whether a value has them.
//!
//! What enters: types of the syntax tree. What leaves: `TensorType`s, whose constant sizes are at least 1 and whose
//! product fits a machine; or a message.

use super::elaborate::{Elaborator, show, show_shape};
use super::value::Value;
use crate::base::{DType, Dim, TensorType};
use gradc_dsl::ast::{DimItem, Expr, ExprKind, Type};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};

/// Sizes past this are a slip, and would overflow later.
const MAX_SIZE: i64 = 1 << 36;

impl<'a> Elaborator<'a> {
    /// A declared element type.
    pub(super) fn dtype(&mut self, name: &gradc_dsl::ast::Name) -> Option<DType> {
        let found = DType::from_name(&name.text).filter(|dtype| *dtype != DType::BF16);
        if found.is_none() {
            let error = Diagnostic::error(
                "E0315",
                format!("there is no element type `{}`", name.text),
                name.span,
                "not known",
            )
            .note("the element types are f32, i32, u8 and bool");
            let help = match name.text.as_str() {
                "float" | "double" | "f64" | "float32" | "f16" => "write `f32`".to_owned(),
                "bf16" => {
                    "write `f32`; a train block computes in bf16 with `precision = \"bf16\"`".to_owned()
                }
                "int" | "i64" | "int32" | "int64" | "long" => "write `i32`".to_owned(),
                other => match nearest(other, ["f32", "i32", "u8", "bool"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "write one of them".to_owned(),
                },
            };
            self.report(error.help(help));
        }
        found
    }

    /// A size: a whole number of at least 1, or a symbol.
    pub(super) fn size(&mut self, expr: &'a Expr) -> Option<Dim> {
        match self.expr(expr) {
            Value::Dim(d) => self.check_size(&d, expr.span).then_some(d),
            Value::Error => None,
            Value::Opaque => Some(Dim::symbol("(unknown)")),
            other => {
                let found = self.describe(&other);
                let error = Diagnostic::error(
                    "E0313",
                    format!("a size is a whole number, not {found}"),
                    expr.span,
                    format!("this is {found}"),
                );
                self.report(match (&expr.kind, other) {
                    (ExprKind::Binary(gradc_dsl::ast::BinaryOp::Divide, ..), Value::Number(_)) => {
                        error.help("the division leaves a remainder; choose sizes that divide")
                    }
                    _ => error.help("write a whole number, such as `64`, or the name of a size"),
                });
                None
            }
        }
    }

    pub(super) fn check_size(&mut self, d: &Dim, span: Span) -> bool {
        let Some(n) = d.as_const() else { return true };
        if (1..=MAX_SIZE).contains(&n) {
            return true;
        }
        let text = if n < 1 { "must be at least 1" } else { "more than any machine holds" };
        let message = format!("{n} is not a possible size");
        self.report(
            Diagnostic::error("E0313", message, span, text)
                .help("write a positive whole number, such as `64`"),
        );
        false
    }

    /// A declared type with sizes evaluated in this frame.
    pub(super) fn declared(&mut self, ty: &'a Type) -> Option<TensorType> {
        let Type::Tensor { dtype, dims, span } = ty else {
            self.error(
                "E0315",
                "a tensor's type is expected",
                type_span(ty),
                "",
                "write an element type and sizes: `f32[n, 10]`",
            );
            return None;
        };
        let dtype = self.dtype(dtype)?;
        let mut shape = Vec::new();
        for item in dims {
            match item {
                DimItem::Rest(place) => match self.frame().rest.clone() {
                    Some((rest, _)) => shape.extend(rest),
                    None => {
                        self.report(
                            Diagnostic::error(
                                "E0201",
                                "`..` is not known here",
                                *place,
                                "no argument has a `..`",
                            )
                            .help("`..` stands for leading axes of an argument: `x: f32[.., n]`"),
                        );
                        return None;
                    }
                },
                DimItem::Dim(expr) => shape.push(self.size(expr)?),
            }
        }
        let total = shape.iter().try_fold(1i64, |n, d| n.checked_mul(d.as_const().unwrap_or(1)));
        if total.is_none_or(|n| n > MAX_SIZE) {
            let message = "this tensor is larger than any machine's memory";
            self.report(
                Diagnostic::error("E0313", message, *span, show_shape(&shape)).help("check the sizes"),
            );
            return None;
        }
        Some(TensorType::new(dtype, shape))
    }

    /// Checks a value against a type written in this frame (a `let` with a type).
    pub(super) fn check_type(&mut self, ty: &'a Type, value: Value, span: Span, what: &str) -> Value {
        if !matches!(ty, Type::Tensor { .. }) || matches!(value, Value::Error) {
            return value;
        }
        let (Some(wanted), Some(id)) = (self.declared(ty), self.tensor(&value, span)) else {
            return Value::Error;
        };
        let found = self.graph.ty(id).clone();
        let same = found.dtype == wanted.dtype
            && found.rank() == wanted.rank()
            && found.shape.iter().zip(&wanted.shape).all(|(a, b)| self.same_size(a, b));
        if same {
            return Value::Tensor(id);
        }
        let differs = found.shape.iter().zip(&wanted.shape).position(|(a, b)| a != b);
        let message = match differs {
            Some(axis) if found.rank() == wanted.rank() => format!(
                "this is `{}`, but {what} `{}`: axis {axis} is `{}`, not `{}`",
                show(&found),
                show(&wanted),
                found.shape[axis],
                wanted.shape[axis]
            ),
            _ => format!("this is `{}`, but {what} `{}`", show(&found), show(&wanted)),
        };
        self.report(
            Diagnostic::error("E0304", message, span, format!("this is `{}`", show(&found)))
                .label(type_span(ty), format!("declared as `{}`", show(&wanted)))
                .help("change what is computed, or what is declared"),
        )
    }

    /// A type as it was written.
    pub(super) fn type_text(&self, ty: &Type) -> String {
        self.program.sources.text(type_span(ty)).to_owned()
    }
}

pub(super) fn type_span(ty: &Type) -> Span {
    match ty {
        Type::Tensor { span, .. }
        | Type::Dim(span)
        | Type::Constant { span, .. }
        | Type::Tuple { span, .. } => *span,
    }
}

pub(super) fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}

pub(super) fn count_axes(n: usize) -> String {
    match n {
        0 => "no axes (a single number)".into(),
        1 => "1 axis".into(),
        n => format!("{n} axes"),
    }
}

pub(super) fn plural(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "real numbers (f32)",
        DType::BF16 => "short real numbers (bf16)",
        DType::I32 => "whole numbers (i32)",
        DType::U8 => "bytes (u8)",
        DType::Bool => "truth values (bool)",
    }
}
