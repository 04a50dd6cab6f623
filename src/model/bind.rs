//! Arguments to parameters: an argument is fitted to its parameter's type, and sizes are found by unification.
//!
//! What enters: a signature with one value for each parameter. What leaves: the parameters bound in the call's
//! frame, and a size for every name in the signature. Invariant: one name has one size in a call; a mismatch names
//! both places.

use super::elaborate::{Elaborator, Mode, show, show_shape};
use super::types::{count_axes, plural};
use super::value::{Given, Value};
use crate::base::{DType, Dim, TensorType};
use gradc_dsl::ast::{BinaryOp, DimItem, Expr, ExprKind, Function, Parameter, Type};
use gradc_dsl::{Diagnostic, Span};
use smol_str::SmolStr;

impl<'a> Elaborator<'a> {
    pub(super) fn bind_parameters(
        &mut self,
        function: &'a Function,
        slots: Vec<Option<Given>>,
        call: Span,
    ) -> bool {
        let mut fine = true;
        let mut later = Vec::new();
        let filled = function.parameters.iter().zip(&slots).filter(|(_, slot)| slot.is_some());
        self.frame().given = Some(filled.map(|(parameter, _)| parameter.name.text.clone()).collect());
        for (parameter, slot) in function.parameters.iter().zip(slots) {
            let (value, span) = match (slot, &parameter.default) {
                (Some(given), _) => (given.value, given.span),
                // A default may name the sizes of arguments before it.
                (None, Some(default)) if fine => (self.expr(default), call),
                (None, _) => (Value::Error, call),
            };
            if matches!(value, Value::Error) {
                fine = false;
                self.bind(&parameter.name.text, Value::Error, parameter.name.span);
                continue;
            }
            let value = match &parameter.ty {
                Some(ty) => match self.bind_type(ty, value, span, parameter, &mut later) {
                    Some(value) => value,
                    None => {
                        fine = false;
                        Value::Error
                    }
                },
                None => self.scalar(value, span, parameter),
            };
            fine &= !matches!(value, Value::Error);
            self.bind(&parameter.name.text, value, parameter.name.span);
        }
        for (expr, found, span, axis, parameter, ty) in later {
            if let Some((factor, symbol)) = unknown_factor(expr)
                && self.known_size(symbol).is_none()
            {
                let Some(factor) = self.size(factor) else {
                    fine = false;
                    continue;
                };
                match found.exact_div(&factor) {
                    Some(size) => drop(self.frame().dims.insert(symbol.clone(), (size, span))),
                    None => {
                        let expected = factor * Dim::symbol(symbol.clone());
                        self.argument_differs(&ty, span, parameter, axis, &expected, &found, expr.span);
                        fine = false;
                    }
                }
                continue;
            }
            let Some(expected) = self.size(expr) else {
                fine = false;
                continue;
            };
            if !self.same_size(&expected, &found) {
                self.argument_differs(&ty, span, parameter, axis, &expected, &found, expr.span);
                fine = false;
            }
        }
        fine
    }

    /// A parameter without a type: any scalar.
    fn scalar(&mut self, value: Value, span: Span, parameter: &Parameter) -> Value {
        match value {
            Value::Tensor(id) if self.graph.ty(id).rank() > 0 => {
                let found = show(self.graph.ty(id));
                self.report(
                    Diagnostic::error(
                        "E0312",
                        format!("`{}` is one number, not a tensor", parameter.name.text),
                        span,
                        format!("this is `{found}`"),
                    )
                    .label(parameter.span, "declared here, without a type: a number")
                    .help("give one number; `mean(…)` makes one of a tensor"),
                )
            }
            Value::Text(_) | Value::List(_) | Value::Tuple(_) | Value::Function(_) | Value::Data => {
                let found = self.describe(&value);
                let error = Diagnostic::error(
                    "E0312",
                    format!("`{}` is a number, not {found}", parameter.name.text),
                    span,
                    format!("this is {found}"),
                )
                .label(parameter.span, "declared here");
                self.report(match value {
                    Value::Text(_) => error.help("write the number without quotes"),
                    Value::Function(f) => error.help(format!("call it: `{f}(…)`")),
                    _ => error.help("write a number, such as `0.1`"),
                })
            }
            other => other,
        }
    }

    /// Fits an argument to a parameter's type, naming sizes on the way. Sizes that are computed from others wait
    /// in `later`.
    fn bind_type(
        &mut self,
        ty: &'a Type,
        value: Value,
        span: Span,
        parameter: &'a Parameter,
        later: &mut Vec<(&'a Expr, Dim, Span, usize, &'a Parameter, TensorType)>,
    ) -> Option<Value> {
        let name = &parameter.name.text;
        match ty {
            Type::Dim(_) => match value {
                Value::Dim(d) => self.check_size(&d, span).then_some(Value::Dim(d)),
                Value::Opaque => Some(Value::Dim(Dim::symbol(name.clone()))),
                other => {
                    let found = self.describe(&other);
                    let error = Diagnostic::error(
                        "E0313",
                        format!("`{name}` is a size, a whole number, not {found}"),
                        span,
                        format!("this is {found}"),
                    )
                    .label(parameter.span, "declared here");
                    self.report(match other {
                        Value::Text(t) if t.parse::<i64>().is_ok() => {
                            error.help(format!("write it without quotes: `{t}`"))
                        }
                        Value::Number(x) if x.is_finite() => {
                            error.help(format!("write a whole number: `{}`", x.round().max(1.0)))
                        }
                        _ => error.help("write a whole number, such as `64`"),
                    });
                    None
                }
            },
            Type::Constant { name: kind, .. } => {
                let fits = match kind.text.as_str() {
                    "bool" => matches!(value, Value::Bool(_) | Value::Opaque),
                    "int" => matches!(value, Value::Dim(_) | Value::Opaque),
                    "float" => matches!(value, Value::Dim(_) | Value::Number(_) | Value::Opaque),
                    "string" => matches!(value, Value::Text(_) | Value::Opaque),
                    _ => matches!(value, Value::Function(_) | Value::Opaque),
                };
                if !fits {
                    let found = self.describe(&value);
                    self.report(
                        Diagnostic::error(
                            "E0312",
                            format!("`{name}` is a `{}`, not {found}", kind.text),
                            span,
                            format!("this is {found}"),
                        )
                        .label(parameter.span, "declared here")
                        .help(match kind.text.as_str() {
                            "bool" => "write `true` or `false`",
                            "int" => "write a whole number, such as `3`",
                            "float" => "write a number, such as `0.5`",
                            "string" => "write a text in quotes",
                            _ => "write the name of a function",
                        }),
                    );
                    return None;
                }
                Some(value)
            }
            Type::Tuple { .. } => Some(value),
            Type::Tensor { dtype, dims, .. } => {
                let wanted = self.dtype(dtype)?;
                let id = self.tensor_as(&value, wanted, span, parameter)?;
                let ty = self.graph.ty(id).clone();
                let rest = matches!(dims.first(), Some(DimItem::Rest(_)));
                let sizes: Vec<&'a Expr> = dims
                    .iter()
                    .filter_map(|d| match d {
                        DimItem::Dim(e) => Some(e),
                        DimItem::Rest(_) => None,
                    })
                    .collect();
                let rank = ty.rank();
                if rank < sizes.len() || (!rest && rank != sizes.len()) {
                    self.rank_differs(&ty, span, parameter, sizes.len(), rest);
                    return None;
                }
                let leading = rank - sizes.len();
                if rest {
                    let found = ty.shape[..leading].to_vec();
                    match self.frame().rest.clone() {
                        None => self.frame().rest = Some((found, span)),
                        Some((expected, first)) if expected != found => {
                            let one_more = found.split_last().is_some_and(|(last, most)| {
                                last.is_const(1) && most == expected && ty.rank() == found.len()
                            });
                            let help = match self.program.sources.text(span) {
                                text if one_more => {
                                    format!("the last axis has size 1: take it away, `{text}[.., 0]`")
                                }
                                _ => "the leading axes of both must be the same".to_owned(),
                            };
                            self.report(
                                Diagnostic::error(
                                    "E0303",
                                    format!(
                                        "`..` is {} in one argument and {} in another",
                                        show_shape(&expected),
                                        show_shape(&found)
                                    ),
                                    span,
                                    format!("this is `{}`: `..` is {}", show(&ty), show_shape(&found)),
                                )
                                .label(first, format!("here `..` is {}", show_shape(&expected)))
                                .label(parameter.span, "declared here")
                                .help(help),
                            );
                            return None;
                        }
                        Some(_) => {}
                    }
                }
                let named = sizes.iter().map(|size| match &size.kind {
                    ExprKind::Name(symbol) => Some(symbol.clone()),
                    _ => None,
                });
                let names = std::iter::repeat_n(None, leading).chain(named).collect();
                self.frame().axis_names.insert(id, names);
                let mut fine = true;
                for (i, expr) in sizes.into_iter().enumerate() {
                    let found = ty.shape[leading + i].clone();
                    let ExprKind::Name(symbol) = &expr.kind else {
                        later.push((expr, found, span, leading + i, parameter, ty.clone()));
                        continue;
                    };
                    match self.known_size(symbol) {
                        None => {
                            self.frame().dims.insert(symbol.clone(), (found, span));
                        }
                        Some((expected, place)) if !self.same_size(&expected, &found) => {
                            let place = if place == Span::default() { expr.span } else { place };
                            self.argument_differs(
                                &ty,
                                span,
                                parameter,
                                leading + i,
                                &expected,
                                &found,
                                place,
                            );
                            fine = false;
                        }
                        Some(_) => {}
                    }
                }
                fine.then_some(Value::Tensor(id))
            }
        }
    }

    /// A size that a name in a signature has already.
    fn known_size(&mut self, symbol: &SmolStr) -> Option<(Dim, Span)> {
        if let Some(found) = self.frame().dims.get(symbol) {
            return Some(found.clone());
        }
        let bound = self.frame().scopes.iter().rev().find_map(|s| s.get(symbol)).cloned();
        match bound {
            Some(binding) => match binding.value {
                Value::Dim(d) => Some((d, binding.span)),
                _ => None,
            },
            None => match self.globals.get(symbol) {
                Some(Value::Dim(d)) => Some((d.clone(), Span::default())),
                _ => None,
            },
        }
    }

    /// Equal, or not known to differ: while a function is checked by itself, a quotient may turn out equal.
    pub(super) fn same_size(&self, a: &Dim, b: &Dim) -> bool {
        a == b || self.mode == Mode::Generic && undecided(a, b)
    }

    #[expect(clippy::too_many_arguments, reason = "both sides of a mismatch, each with its place")]
    fn argument_differs(
        &mut self,
        ty: &TensorType,
        span: Span,
        parameter: &Parameter,
        axis: usize,
        expected: &Dim,
        found: &Dim,
        place: Span,
    ) {
        let declared = parameter.ty.as_ref().map(|t| self.type_text(t)).unwrap_or_default();
        let error = Diagnostic::error(
            "E0303",
            format!(
                "`{}` has the wrong shape: axis {axis} is `{found}`, not `{expected}`",
                parameter.name.text
            ),
            span,
            format!("this is `{}`", show(ty)),
        )
        .label(parameter.span, format!("declared as `{declared}`"));
        let error = if place != span && place != parameter.span {
            error.label(place, format!("this makes it `{expected}`"))
        } else {
            error
        };
        let hint = if ty.rank() == 2 && ty.shape[1 - axis.min(1)] == *expected {
            "the two axes look exchanged: `transpose(…)` changes them about".to_owned()
        } else {
            format!("make axis {axis} (counted from 0) of size `{expected}`, or change what is declared")
        };
        self.report(error.help(hint));
    }

    fn rank_differs(
        &mut self,
        ty: &TensorType,
        span: Span,
        parameter: &Parameter,
        expected: usize,
        rest: bool,
    ) {
        let declared = parameter.ty.as_ref().map(|t| self.type_text(t)).unwrap_or_default();
        let at_least = if rest { "at least " } else { "" };
        let error = Diagnostic::error(
            "E0303",
            format!(
                "`{}` takes a tensor with {at_least}{}, not {}",
                parameter.name.text,
                count_axes(expected),
                count_axes(ty.rank())
            ),
            span,
            format!("this is `{}`", show(ty)),
        )
        .label(parameter.span, format!("declared as `{declared}`"));
        let help = if ty.rank() > expected && expected == 2 {
            "`flatten(…)` makes one axis of all but the first".to_owned()
        } else if ty.rank() == expected + 1 && ty.shape.last().is_some_and(|d| d.is_const(1)) {
            "the last axis has size 1: take it away with `[.., 0]`".to_owned()
        } else {
            "`reshape(…, […])` gives it other axes".to_owned()
        };
        self.report(error.help(help));
    }

    /// The value as a tensor of the declared element type. Literals and u8 labels convert; nothing else does.
    fn tensor_as(
        &mut self,
        value: &Value,
        wanted: DType,
        span: Span,
        parameter: &Parameter,
    ) -> Option<crate::graph::NodeId> {
        if let (Some(x), DType::I32) = (value.as_number(), wanted)
            && x.fract() == 0.0
        {
            return Some(self.graph.constant(x, DType::I32));
        }
        let id = self.tensor(value, span)?;
        let found = self.graph.dtype(id);
        if found == wanted {
            return Some(id);
        }
        let whole = matches!(value, Value::List(items) if super::literals::whole(items));
        if wanted == DType::I32 && (found == DType::U8 || whole) {
            return self.graph.cast(id, DType::I32).ok();
        }
        let ty = show(self.graph.ty(id));
        let error = Diagnostic::error(
            "E0305",
            format!("`{}` holds {}, not {}", parameter.name.text, plural(wanted), plural(found)),
            span,
            format!("this is `{ty}`"),
        )
        .label(parameter.span, "declared here");
        self.report(match (found, wanted) {
            (DType::U8, DType::F32) => {
                error.help("convert it: `f32(…)`, or `… / 255` to bring bytes into 0 to 1")
            }
            (DType::F32, DType::I32) => {
                error.help("labels and indices are whole numbers: declare the data's field as `i32`, or convert with `i32(…)`")
            }
            _ => error.help(format!("convert it: `{wanted}(…)`")),
        });
        None
    }
}

/// A product whose second factor is a name, as `2 * n`: what is left of it, and the name.
pub(super) fn unknown_factor(expr: &Expr) -> Option<(&Expr, &SmolStr)> {
    match &expr.kind {
        ExprKind::Binary(BinaryOp::Multiply, factor, name) => match &name.kind {
            ExprKind::Name(symbol) => Some((factor, symbol)),
            _ => None,
        },
        _ => None,
    }
}

/// Whether two symbolic sizes could be equal for some values of what is not known.
fn undecided(a: &Dim, b: &Dim) -> bool {
    let quotient = |d: &Dim| d.symbols().iter().any(|s| s.starts_with('('));
    quotient(a) || quotient(b)
}
