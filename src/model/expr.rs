//! Expressions: names, pipelines, `repeat`, `if`, and the way to the files that know more.
//!
//! What enters: a syntax tree in a frame. What leaves: its `Value`; messages for what is wrong with it.

use super::elaborate::{Elaborator, Mode};
use super::value::{Given, Value};
use crate::base::{DType, Dim, TensorType};
use crate::graph::NodeId;
use gradc_dsl::ast::{Argument, ArgumentValue, Block, Expr, ExprKind, Name, UnaryOp};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use smol_str::SmolStr;

impl<'a> Elaborator<'a> {
    pub(super) fn expr(&mut self, expr: &'a Expr) -> Value {
        match &expr.kind {
            ExprKind::Number { value, int: true, .. } if value.abs() < 9.3e18 => {
                Value::Dim(Dim::from(*value as i64))
            }
            ExprKind::Number { value, .. } => Value::Number(*value),
            ExprKind::Text(text) => Value::Text(text.clone()),
            ExprKind::Bool(b) => Value::Bool(*b),
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::Field(base, name) => self.field(base, name),
            ExprKind::Unary(op, operand) => {
                let value = self.expr(operand);
                self.unary(*op, value, operand.span)
            }
            ExprKind::Binary(op, left, right) => {
                let (a, b) = (self.expr(left), self.expr(right));
                self.graph_origin(expr.span);
                self.binary(*op, a, b, left.span, right.span, expr.span)
            }
            ExprKind::Call { callee, arguments } => self.call_expr(callee, arguments, None, expr.span),
            ExprKind::Index { base, indices } => {
                let value = self.expr(base);
                self.index(value, base.span, indices, expr.span)
            }
            ExprKind::Pipe(left, right) => {
                let piped = self.expr(left);
                self.receive(piped, left.span, right)
            }
            ExprKind::Repeat { .. } => self.error(
                "E0312",
                "`repeat` needs a value to start with",
                expr.span,
                "nothing flows into it",
                "pipe a value into it: `x |> repeat 4 { … }`",
            ),
            ExprKind::Tuple(items) => Value::Tuple(items.iter().map(|e| self.expr(e)).collect()),
            ExprKind::Paren(inner) => self.expr(inner),
            ExprKind::List(items) => Value::List(items.iter().map(|e| self.expr(e)).collect()),
            ExprKind::If { condition, then, otherwise } => {
                self.if_expr(condition, then, otherwise.as_ref(), expr.span, None)
            }
            ExprKind::IndexReduce { .. } => self.index_notation_value(&[], expr),
            ExprKind::Block(block) => self.block(block, None).unwrap_or(Value::Error),
            ExprKind::Turns(turns) => self.turns(turns, expr.span),
            ExprKind::Error => Value::Error,
        }
    }

    /// What is built next comes from this place.
    pub(super) fn graph_origin(&mut self, span: Span) {
        let scope = self.frame().path.clone();
        self.graph.origin = crate::graph::Origin { span: Some(span), scope };
    }

    /// The right side of a pipe, given its left side.
    pub(super) fn receive(&mut self, piped: Value, span: Span, right: &'a Expr) -> Value {
        match &right.kind {
            ExprKind::Name(_) => self.call_expr(right, &[], Some((piped, span)), right.span),
            ExprKind::Call { callee, arguments } => {
                self.call_expr(callee, arguments, Some((piped, span)), right.span)
            }
            ExprKind::Pipe(first, second) => {
                let value = self.receive(piped, span, first);
                self.receive(value, first.span, second)
            }
            ExprKind::Paren(inner) => self.receive(piped, span, inner),
            ExprKind::Repeat { count, body } => self.repeat(piped, span, count, body),
            ExprKind::Block(block) => self.block(block, Some((piped, span))).unwrap_or(Value::Error),
            ExprKind::If { condition, then, otherwise } => {
                self.if_expr(condition, then, otherwise.as_ref(), right.span, Some((piped, span)))
            }
            ExprKind::Error => Value::Error,
            _ => self.error(
                "E0405",
                "this cannot receive a value from a pipeline",
                right.span,
                "not a function or a call",
                "right of `|>` stands a function, `relu`, or a call, `dense(64)`",
            ),
        }
    }

    fn if_expr(
        &mut self,
        condition: &'a Expr,
        then: &'a Block,
        otherwise: Option<&'a Block>,
        span: Span,
        piped: Option<(Value, Span)>,
    ) -> Value {
        let decided = match self.expr(condition) {
            Value::Bool(b) => Some(b),
            Value::Opaque => None,
            Value::Error => None,
            Value::Tensor(id) if self.mode == Mode::Generic && self.graph.ty(id).rank() == 0 => None,
            other => {
                let found = self.describe(&other);
                return self.report(
                    Diagnostic::error(
                        "E0311",
                        "`if` needs a condition that is known when the model is compiled",
                        condition.span,
                        format!("this is {found}"),
                    )
                    .help("to choose for each element of a tensor, write `where(condition, a, b)`"),
                );
            }
        };
        let nothing = |e: &mut Elaborator<'a>| match piped.clone() {
            Some((value, _)) => value,
            None => e.report(
                Diagnostic::error("E0411", "this `if` has no value when its condition is false", span, "")
                    .help("add `else { … }`"),
            ),
        };
        match decided {
            Some(true) => self.block(then, piped).unwrap_or(Value::Error),
            Some(false) => match otherwise {
                Some(block) => self.block(block, piped).unwrap_or(Value::Error),
                None => nothing(self),
            },
            None => {
                let known = self.diagnostics.len();
                let a = self.block(then, piped.clone()).unwrap_or(Value::Error);
                let b = match otherwise {
                    Some(block) => self.block(block, piped).unwrap_or(Value::Error),
                    None => nothing(self),
                };
                // What fits one number of axes does not fit `..`, which stands for any: such branches are checked
                // where the function is called.
                if asks_for_rank(condition) {
                    self.diagnostics.truncate(known);
                }
                self.either(a, b)
            }
        }
    }

    /// What is known of a value that is one or the other.
    fn either(&mut self, a: Value, b: Value) -> Value {
        match (&a, &b) {
            (Value::Tensor(x), Value::Tensor(y)) if self.graph.ty(*x) == self.graph.ty(*y) => a,
            (Value::Tensor(x), Value::Number(_) | Value::Dim(_)) if self.graph.ty(*x).rank() == 0 => a,
            (Value::Number(_) | Value::Dim(_), Value::Tensor(y)) if self.graph.ty(*y).rank() == 0 => b,
            (Value::Number(_) | Value::Dim(_) | Value::Opaque, Value::Number(_) | Value::Dim(_)) => {
                Value::Opaque
            }
            _ => Value::Error,
        }
    }

    /// A name without a call.
    fn name(&mut self, name: &SmolStr, span: Span) -> Value {
        if let Some(value) = self.lookup(name) {
            return value;
        }
        if self.functions.contains_key(name) || super::intrinsics::is_intrinsic(name) {
            return Value::Function(name.clone());
        }
        self.unknown_name(name, span)
    }

    /// A bound name's value: locals, sizes, settings, and what is there without being bound.
    pub(super) fn lookup(&mut self, name: &SmolStr) -> Option<Value> {
        let frame = self.frame();
        for scope in frame.scopes.iter_mut().rev() {
            if let Some(binding) = scope.get_mut(name) {
                binding.used = true;
                return Some(binding.value.clone());
            }
        }
        if let Some((dim, _)) = frame.dims.get(name) {
            return Some(Value::Dim(dim.clone()));
        }
        if let Some(value) = self.globals.get(name) {
            return Some(value.clone());
        }
        Some(match name.as_str() {
            "inf" => Value::Number(f64::INFINITY),
            "pi" => Value::Number(std::f64::consts::PI),
            "training" => match self.mode {
                Mode::Generic => Value::Opaque,
                mode => Value::Bool(mode == Mode::Train),
            },
            "step" => {
                let step = self.input("step", TensorType::scalar(DType::I32));
                let step = self.graph.cast(step, DType::F32).unwrap_or(step);
                Value::Tensor(self.update_count(step))
            }
            "steps" => self.count(self.steps.map(|n| n.div_ceil(self.accumulate)), "steps"),
            "epochs" => self.count(self.epochs, "epochs"),
            "batch" if self.fields.is_some() => Value::Dim(Dim::symbol("batch")),
            "data" if self.fields.is_some() && self.frames.len() == 1 => Value::Data,
            _ => return None,
        })
    }

    fn count(&mut self, known: Option<u64>, name: &str) -> Value {
        match known {
            Some(n) => Value::Dim(Dim::from(n as i64)),
            None => Value::Tensor(self.input(name, TensorType::scalar(DType::F32))),
        }
    }

    /// An input's leaf, one for each name.
    pub(super) fn input(&mut self, name: &str, ty: TensorType) -> NodeId {
        if let Some(id) = self.inputs.get(name) {
            return *id;
        }
        let id = self.graph.input(name, ty);
        self.inputs.insert(name.into(), id);
        id
    }

    fn unknown_name(&mut self, name: &SmolStr, span: Span) -> Value {
        let frame = self.frames.last().expect("there is always a frame");
        let mut known: Vec<SmolStr> = frame.scopes.iter().flat_map(|s| s.keys().cloned()).collect();
        known.extend(frame.dims.keys().cloned());
        known.extend(self.globals.keys().cloned());
        known.extend(["training", "step", "steps", "epochs"].map(SmolStr::from));
        if self.fields.is_some() && self.frames.len() == 1 {
            known.extend(["data", "batch"].map(SmolStr::from));
        }
        let functions: Vec<SmolStr> = self.functions.keys().cloned().collect();
        let near = nearest(name, known.iter().map(SmolStr::as_str))
            .or_else(|| nearest(name, functions.iter().map(SmolStr::as_str)))
            .or_else(|| nearest(name, super::intrinsics::names()));
        let error = Diagnostic::error("E0201", format!("there is no `{name}` here"), span, "not known");
        let near = near.map(str::to_owned);
        if name == "data" {
            return self.report(error.help("`data` is known in a train block, once it says `data = …`"));
        }
        self.report(match near {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("define it before it is used: `let {name} = …`")),
        })
    }

    fn field(&mut self, base: &'a Expr, name: &Name) -> Value {
        match self.expr(base) {
            Value::Data => {
                if let Some(size) = self.sizes.get(&name.text) {
                    return Value::Dim(Dim::from(*size));
                }
                let fields = self.fields.clone().unwrap_or_default();
                match fields.get(&name.text) {
                    Some(ty) => {
                        let id = self.input(&name.text, ty.clone());
                        Value::Tensor(id)
                    }
                    None if fields.is_empty() => Value::Error,
                    None => {
                        let list: Vec<String> = fields.keys().map(|f| format!("`{f}`")).collect();
                        let error = Diagnostic::error(
                            "E0203",
                            format!("the data has no field `{}`", name.text),
                            name.span,
                            "no such field",
                        )
                        .note(format!("its fields are {}", list.join(", ")));
                        self.report(match nearest(&name.text, fields.keys().map(SmolStr::as_str)) {
                            Some(near) => error.help(format!("did you mean `{near}`?")),
                            None => error.help("use one of them"),
                        })
                    }
                }
            }
            Value::Error => Value::Error,
            other => {
                let found = self.describe(&other);
                self.error(
                    "E0203",
                    format!("{found} has no fields"),
                    name.span,
                    "not the data",
                    "only `data` has fields: `data.image`",
                )
            }
        }
    }

    fn unary(&mut self, op: UnaryOp, value: Value, span: Span) -> Value {
        match (op, value) {
            (_, Value::Error) => Value::Error,
            (_, Value::Opaque) => Value::Opaque,
            (UnaryOp::Negate, Value::Number(x)) => Value::Number(-x),
            (UnaryOp::Negate, Value::Dim(d)) => Value::Dim(Dim::from(0) - d),
            (UnaryOp::Not, Value::Bool(b)) => Value::Bool(!b),
            (op, value) => {
                let func = match op {
                    UnaryOp::Negate => crate::scalar::Func::Neg,
                    UnaryOp::Not => crate::scalar::Func::Not,
                };
                self.map(func, &[(value, span)], span)
            }
        }
    }

    /// Arguments of a call, evaluated in order.
    pub(super) fn arguments(
        &mut self,
        arguments: &'a [Argument],
        piped: Option<(Value, Span)>,
    ) -> Vec<Given> {
        let mut given: Vec<Given> =
            piped.map(|(value, span)| Given::positional(value, span)).into_iter().collect();
        for argument in arguments {
            let value = match &argument.value {
                ArgumentValue::Expr(expr) => {
                    let value = self.expr(expr);
                    Given::written(expr, value)
                }
                ArgumentValue::Type(_) => {
                    let value = self.error(
                        "E0312",
                        "a type stands where a value is expected",
                        argument.span,
                        "a type",
                        "types of fields stand in data sources, `memory(x: f32[8])`; to convert, write `f32(x)`",
                    );
                    Given::positional(value, argument.span)
                }
            };
            given.push(Given { name: argument.name.clone(), ..value });
        }
        given
    }
}

fn asks_for_rank(condition: &Expr) -> bool {
    match &condition.kind {
        ExprKind::Call { callee, .. } => matches!(&callee.kind, ExprKind::Name(name) if name == "rank"),
        ExprKind::Unary(_, inner) | ExprKind::Paren(inner) => asks_for_rank(inner),
        ExprKind::Binary(_, left, right) => asks_for_rank(left) || asks_for_rank(right),
        _ => false,
    }
}
