//! Calls of functions: arguments to parameters, sizes by unification, the result against its declared type.
//!
//! What enters: a callee and evaluated arguments. What leaves: the call's value. Invariant: after binding, every
//! name in the signature has one size, and every argument fits it; a mismatch names both places.

use super::elaborate::{Elaborator, Frame, MAX_CALLS, Mode, show, show_shape};
use super::value::{Given, Value};
use crate::base::{DType, Dim, TensorType};
use gradc_dsl::ast::{Argument, DimItem, Expr, ExprKind, Function, Parameter, Type};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use smol_str::{SmolStr, format_smolstr};

/// Sizes past this are a slip, and would overflow later.
pub(super) const MAX_SIZE: i64 = 1 << 40;

impl<'a> Elaborator<'a> {
    pub(super) fn call_expr(
        &mut self,
        callee: &'a Expr,
        arguments: &'a [Argument],
        piped: Option<(Value, Span)>,
        span: Span,
    ) -> Value {
        let ExprKind::Name(name) = &callee.kind else {
            if !matches!(callee.kind, ExprKind::Error) {
                return self.error("E0405", "only a function can be called", callee.span, "not a function");
            }
            return Value::Error;
        };
        if let Some(bound) = self.bound_value(name) {
            let found = self.describe(&bound);
            self.arguments(arguments, piped);
            if matches!(bound, Value::Error) {
                return Value::Error;
            }
            let error = Diagnostic::error(
                "E0405",
                format!("`{name}` is not a function"),
                callee.span,
                format!("it is {found}"),
            );
            return self.report(match bound {
                Value::Tensor(_) => error.help(format!("to take elements of it, write `{name}[…]`")),
                _ => error.help(format!("to multiply, write `{name} * …`")),
            });
        }
        if name == "over_params" {
            return self.over_params(arguments, span);
        }
        if let Some(function) = self.functions.get(name).copied() {
            let given = self.arguments(arguments, piped);
            let segment = self.segment(callee.span, name);
            return self.call(function, given, span, segment);
        }
        if super::intrinsics::is_intrinsic(name) {
            let given = self.arguments_with_axes(arguments, piped);
            self.graph_origin(span);
            return self.intrinsic(name, given, span);
        }
        self.arguments(arguments, piped);
        self.unknown_function(name, callee.span)
    }

    /// Arguments of an intrinsic; names of axes may stand in them.
    fn arguments_with_axes(&mut self, arguments: &'a [Argument], piped: Option<(Value, Span)>) -> Vec<Given> {
        self.arguments(arguments, piped)
    }

    fn bound_value(&mut self, name: &SmolStr) -> Option<Value> {
        let frame = self.frame();
        let local = frame.scopes.iter_mut().rev().find_map(|s| s.get_mut(name));
        if let Some(binding) = local {
            binding.used = true;
            return Some(binding.value.clone());
        }
        frame.dims.get(name).map(|(d, _)| Value::Dim(d.clone()))
    }

    pub(super) fn unknown_function(&mut self, name: &SmolStr, span: Span) -> Value {
        let intrinsics = super::intrinsics::names().map(SmolStr::new_static);
        let known: Vec<SmolStr> = self.functions.keys().cloned().chain(intrinsics).collect();
        let near = nearest(name, known.iter().map(SmolStr::as_str));
        let error = Diagnostic::error("E0202", format!("there is no function `{name}`"), span, "not known");
        self.report(match near {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("define it: `fn {name}(x: f32[..]) -> f32[..] {{ … }}`")),
        })
    }

    /// The path segment of a call. In a train block it is the function's name, so that calls share parameters.
    fn segment(&mut self, callee: Span, name: &SmolStr) -> SmolStr {
        let frame = self.frame();
        let segment = frame.segments.segment(callee, name);
        match frame.turn {
            Some(turn) => format_smolstr!("{segment}.{turn}"),
            None => segment,
        }
    }

    /// Elaborates a function's body with these arguments.
    pub(super) fn call(
        &mut self,
        function: &'a Function,
        given: Vec<Given>,
        span: Span,
        segment: SmolStr,
    ) -> Value {
        let recursive = self.frames.iter().any(|f| f.function.is_some_and(|g| std::ptr::eq(g, function)));
        if recursive || self.frames.len() > MAX_CALLS {
            return self.recursion(function, span);
        }
        let outer = self.frame().path.clone();
        let path = if outer.is_empty() { segment } else { format_smolstr!("{outer}.{segment}") };
        self.frames.push(Frame::new(Some(function), Some(span), path));
        let value = self.call_in_frame(function, given, span);
        self.frames.pop();
        let scope = self.frame().path.clone();
        self.graph.origin = crate::graph::Origin { span: Some(span), scope };
        value
    }

    pub(super) fn recursion(&mut self, function: &Function, span: Span) -> Value {
        self.report(
            Diagnostic::error(
                "E0209",
                format!("`{}` calls itself", function.name.text),
                span,
                "this call never ends",
            )
            .label(function.name.span, "defined here")
            .help("a network has a fixed number of layers: write `x |> repeat 4 { … }` for a stack"),
        )
    }

    /// An optimizer's stage, in a frame that is already there.
    pub(super) fn call_stage(&mut self, function: &'a Function, given: Vec<Given>, span: Span) -> Value {
        self.call_in_frame(function, given, span)
    }

    fn call_in_frame(&mut self, function: &'a Function, given: Vec<Given>, span: Span) -> Value {
        let Some(slots) = self.slots(function, given, span) else { return Value::Error };
        let errors = self.n_errors();
        if !self.bind_parameters(function, slots, span) || self.n_errors() > errors {
            return Value::Error;
        }
        if self.broken.contains(&function.name.text) && self.mode != Mode::Generic
            || self.broken.contains(&function.name.text) && self.frames.len() > 2
        {
            return Value::Error;
        }
        self.run_body(function)
    }

    /// Body and result of a function whose parameters are bound.
    pub(super) fn run_body(&mut self, function: &'a Function) -> Value {
        let value = self.block_here(&function.body, None);
        let result = match (&function.result, value) {
            (Some(ty), Some(value)) => {
                let place = function.body.value.as_ref().map_or(function.body.span, |v| v.span);
                self.check_result(function, ty, value, place)
            }
            (Some(_), None) => self.report(
                Diagnostic::error(
                    "E0411",
                    format!("`{}` promises a result, but its body gives none", function.name.text),
                    function.name.span,
                    "",
                )
                .help("the last line of the body is its result: end with an expression, not with a `let`"),
            ),
            (None, Some(value)) => value,
            (None, None) => Value::Tuple(Vec::new()),
        };
        if let Some(scope) = self.frame().scopes.pop() {
            let parameters: Vec<&SmolStr> = function.parameters.iter().map(|p| &p.name.text).collect();
            let (inputs, lets) = scope.into_iter().partition(|(name, _)| parameters.contains(&name));
            if self.frames.len() == 2 {
                self.warn_unused(inputs, "parameter");
                self.warn_unused(lets, "let");
            }
            self.frame().scopes.push(Default::default());
        }
        result
    }

    /// One argument for each parameter, `None` for a default.
    fn slots(&mut self, function: &'a Function, given: Vec<Given>, span: Span) -> Option<Vec<Option<Given>>> {
        let parameters = &function.parameters;
        let mut slots: Vec<Option<Given>> = vec![None; parameters.len()];
        let mut fine = true;
        let mut position = 0;
        let signature = signature(function);
        for argument in given {
            let at = match &argument.name {
                None => {
                    position += 1;
                    position - 1
                }
                Some(name) => match parameters.iter().position(|p| p.name.text == name.text) {
                    Some(at) => at,
                    None => {
                        let error = Diagnostic::error(
                            "E0403",
                            format!("`{}` has no argument called `{}`", function.name.text, name.text),
                            name.span,
                            "no such argument",
                        )
                        .note(format!("its signature is `{signature}`"));
                        let near = nearest(&name.text, parameters.iter().map(|p| p.name.text.as_str()));
                        self.report(match near {
                            Some(near) => error.help(format!("did you mean `{near}`?")),
                            None => error.help("remove it"),
                        });
                        fine = false;
                        continue;
                    }
                },
            };
            if at >= parameters.len() {
                self.report(
                    Diagnostic::error(
                        "E0402",
                        format!("too many arguments for `{}`", function.name.text),
                        argument.span,
                        format!("it takes {}", count(parameters.len(), "argument")),
                    )
                    .note(format!("its signature is `{signature}`"))
                    .help("remove it; left of `|>` stands the first argument already"),
                );
                fine = false;
                continue;
            }
            if let Some(first) = &slots[at] {
                let first = first.span;
                self.report(
                    Diagnostic::error(
                        "E0404",
                        format!("`{}` is given twice", parameters[at].name.text),
                        argument.span,
                        "the second time",
                    )
                    .label(first, "the first time")
                    .help("remove one of them"),
                );
                fine = false;
                continue;
            }
            slots[at] = Some(argument);
        }
        let missing: Vec<&Parameter> = parameters
            .iter()
            .zip(&slots)
            .filter(|(p, s)| s.is_none() && p.default.is_none())
            .map(|(p, _)| p)
            .collect();
        if !missing.is_empty() && fine {
            let names: Vec<String> = missing.iter().map(|p| format!("`{}`", p.name.text)).collect();
            let example = match &missing[0].ty {
                Some(Type::Dim(_)) => "64",
                _ => "…",
            };
            self.report(
                Diagnostic::error(
                    "E0401",
                    format!("`{}` needs {}", function.name.text, names.join(" and ")),
                    span,
                    format!("{} is missing", names.join(" and ")),
                )
                .label(missing[0].span, "declared here")
                .help(format!("give it: `{} = {example}`", missing[0].name.text)),
            );
            fine = false;
        }
        fine.then_some(slots)
    }

    fn bind_parameters(&mut self, function: &'a Function, slots: Vec<Option<Given>>, call: Span) -> bool {
        let mut fine = true;
        let mut later = Vec::new();
        for (parameter, slot) in function.parameters.iter().zip(slots) {
            let (value, span) = match (slot, &parameter.default) {
                (Some(given), _) => (given.value, given.span),
                (None, Some(default)) => (self.expr(default), call),
                (None, None) => (Value::Error, call),
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
                    .label(parameter.span, "declared here, without a type: a number"),
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
                    _ => error,
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
                        .label(parameter.span, "declared here"),
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
                                .help("the leading axes of both must be the same"),
                            );
                            return None;
                        }
                        Some(_) => {}
                    }
                }
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
            format!("`{}` has the wrong shape: axis {axis} is {found}, not {expected}", parameter.name.text),
            span,
            format!("this is `{}`", show(ty)),
        )
        .label(parameter.span, format!("declared as `{declared}`"));
        let error = if place != span && place != parameter.span {
            error.label(place, format!("this makes it {expected}"))
        } else {
            error
        };
        let hint = if ty.rank() == 2 && ty.shape[1 - axis.min(1)] == *expected {
            "the two axes look exchanged: `transpose(…)` changes them about".to_owned()
        } else {
            format!("make axis {axis} (counted from 0) of size {expected}, or change what is declared")
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
        if found == DType::U8 && wanted == DType::I32 {
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

    /// A declared element type.
    pub(super) fn dtype(&mut self, name: &gradc_dsl::ast::Name) -> Option<DType> {
        let found = DType::from_name(&name.text);
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
                    _ => error,
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
            self.error("E0315", "a tensor's type is expected", type_span(ty), "such as `f32[n, 10]`");
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
                "this is `{}`, but {what} `{}`: axis {axis} is {}, not {}",
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

    fn check_result(&mut self, function: &'a Function, ty: &'a Type, value: Value, span: Span) -> Value {
        let what = format!("`{}` promises", function.name.text);
        match (ty, value) {
            (Type::Tuple { items, .. }, Value::Tuple(values)) if items.len() == values.len() => {
                let pairs = items.iter().zip(values);
                Value::Tuple(pairs.map(|(t, v)| self.check_type(t, v, span, &what)).collect())
            }
            (Type::Tuple { items, span: place }, Value::Tuple(values)) => self.report(
                Diagnostic::error(
                    "E0316",
                    format!(
                        "`{}` promises {} values and gives {}",
                        function.name.text,
                        items.len(),
                        values.len()
                    ),
                    span,
                    "",
                )
                .label(*place, "promised here"),
            ),
            (_, value) => self.check_type(ty, value, span, &what),
        }
    }

    /// A type as it was written.
    fn type_text(&self, ty: &Type) -> String {
        self.program.sources.text(type_span(ty)).to_owned()
    }
}

/// Whether two symbolic sizes could be equal for some values of what is not known.
fn undecided(a: &Dim, b: &Dim) -> bool {
    let quotient = |d: &Dim| d.symbols().iter().any(|s| s.starts_with('('));
    quotient(a) || quotient(b)
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

fn count_axes(n: usize) -> String {
    match n {
        0 => "no axes (a single number)".into(),
        1 => "1 axis".into(),
        n => format!("{n} axes"),
    }
}

pub(super) fn plural(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "real numbers (f32)",
        DType::I32 => "whole numbers (i32)",
        DType::U8 => "bytes (u8)",
        DType::Bool => "truth values (bool)",
    }
}

/// `dense(x, units)`, for messages.
pub(super) fn signature(function: &Function) -> String {
    let names: Vec<&str> = function.parameters.iter().map(|p| p.name.text.as_str()).collect();
    format!("{}({})", function.name.text, names.join(", "))
}
