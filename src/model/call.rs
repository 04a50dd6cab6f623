//! Calls of functions: what is called, the frame it runs in, and its result.
//!
//! What enters: a callee and evaluated arguments. What leaves: the call's value. Invariant: a body is elaborated only
//! when all its arguments are bound without errors; the result is checked against its declared type. Which argument
//! is which parameter's is found in `slots`, sizes by unification in `bind`.

use super::elaborate::{Elaborator, MAX_CALLS, Mode};
use super::value::{Given, Value};
use gradc_dsl::ast::{Argument, ArgumentValue, Expr, ExprKind, Function, Type};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use smol_str::{SmolStr, format_smolstr};

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
                return self.error(
                    "E0405",
                    "only a function can be called",
                    callee.span,
                    "not a function",
                    "write the name of a function, then its arguments: `relu(x)`",
                );
            }
            return Value::Error;
        };
        let bound = self.bound_value(name);
        // A function that was given as an argument.
        let name = match &bound {
            Some(Value::Function(given)) => &given.clone(),
            _ => name,
        };
        if let Some(bound) = bound.filter(|bound| !matches!(bound, Value::Function(_))) {
            let found = self.describe(&bound);
            self.arguments(arguments, piped);
            // Of a function that is not known yet, nothing can be said.
            if matches!(bound, Value::Error | Value::Opaque) {
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
        match name.as_str() {
            "over_params" => return self.over_params(arguments, span),
            "example_gradients" => return self.example_gradients(arguments, span),
            "gradient_at" => return self.gradient_at(arguments, span),
            "given" => return self.given(arguments, span),
            "total" | "gathered" if !self.functions.contains_key(name) => {
                return self.contribution(arguments, name == "gathered", span);
            }
            _ => {}
        }
        if matches!(name.as_str(), "custom_grad" | "recompute") {
            let given = self.arguments(arguments, piped);
            let segment = self.segment(callee.span, name);
            return match name.as_str() {
                "recompute" => self.recompute(given, span, segment),
                _ => self.custom_grad(given, span, segment),
            };
        }
        if let Some(function) = self.functions.get(name).copied() {
            let given = self.arguments(arguments, piped);
            let segment = self.segment(callee.span, name);
            return self.call(function, given, span, segment);
        }
        if super::intrinsics::is_intrinsic(name) {
            let given = self.arguments(arguments, piped);
            self.graph_origin(span);
            return self.intrinsic(name, given, span);
        }
        self.arguments(arguments, piped);
        self.unknown_function(name, callee.span)
    }

    /// `given(p)`: whether the call gave the parameter p, or its default stands in.
    fn given(&mut self, arguments: &'a [Argument], span: Span) -> Value {
        let frame = self.frame();
        let named = match arguments {
            [
                Argument {
                    name: None,
                    value: ArgumentValue::Expr(Expr { kind: ExprKind::Name(name), .. }),
                    ..
                },
            ] => frame.function.and_then(|f| f.parameters.iter().find(|p| p.name.text == *name)),
            _ => None,
        };
        let Some(parameter) = named else {
            return self.error(
                "E0420",
                "`given` asks for a parameter of the function it stands in",
                span,
                "not such a parameter",
                "write `if given(weights) { … }` in a function with a parameter `weights`",
            );
        };
        match &frame.given {
            Some(given) => Value::Bool(given.contains(&parameter.name.text)),
            None if parameter.default.is_none() => Value::Bool(true),
            None => Value::Opaque,
        }
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
        self.report(match (super::elsewhere::here(name), near) {
            (Some(here), _) => error.help(format!("`{here}` does that here")),
            (None, Some(near)) => error.help(format!("did you mean `{near}`?")),
            (None, None) => error.help(format!("define it: `fn {name}(x: f32[..]) -> f32[..] {{ … }}`")),
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
        let path = if outer.is_empty() { segment } else { super::paths::longer(&outer, &segment) };
        let frame = self.frame_of(function, span, path);
        self.frames.push(frame);
        let first = self.graph.len();
        if is_optimizer(function) {
            self.frame().optimized = Some((function.parameters[0].name.text.clone(), None));
        }
        let mut value = self.call_in_frame(function, given, span);
        let frame = self.frames.pop();
        if let Some((_, Some(next))) = frame.and_then(|frame| frame.optimized) {
            value = Value::Tensor(next);
        }
        if self.program.is_std(function.span.source) && !self.program.is_std(span.source) {
            self.library_calls.push((first..self.graph.len(), span));
        }
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
                    format!("{} values", values.len()),
                )
                .label(*place, "promised here")
                .help("give as many values as are promised"),
            ),
            (_, value) => self.check_type(ty, value, span, &what),
        }
    }
}

/// Whether a function has an optimizer's signature: a parameter, its gradient, and no result.
fn is_optimizer(function: &Function) -> bool {
    let tensor = |index: usize| {
        function.parameters.get(index).is_some_and(|p| matches!(p.ty, Some(Type::Tensor { .. })))
    };
    function.result.is_none() && tensor(0) && tensor(1)
}
