//! Parameters and states: declarations, initial values, updates.
//!
//! What enters: `param`, `state` and `<-`. What leaves: leaves and updates in the graph, `Variable`s by path.
//! Invariant: one leaf for each path, of constant shape outside of generic checking.

use super::elaborate::{Elaborator, Leaf, Mode, show, show_shape};
use super::value::Value;
use super::{Initial, Variable};
use crate::base::{DType, Dim, TensorType};
use crate::graph::NodeId;
use gradc_dsl::ast::{Argument, ArgumentValue, Declaration, Expr, ExprKind, Name};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use smol_str::SmolStr;

const INITIALISERS: [&str; 12] = [
    "zeros",
    "ones",
    "constant",
    "uniform",
    "normal",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_uniform",
    "lecun_normal",
    "orthogonal",
];

/// What a declaration makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Param,
    State,
    Shadow,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Param => "param",
            Kind::State => "state",
            Kind::Shadow => "shadow",
        }
    }
}

impl<'a> Elaborator<'a> {
    pub(super) fn declare(&mut self, declaration: &'a Declaration, kind: Kind) {
        let name = &declaration.name;
        if let Some(first) = self.frame().declared.get(&name.text).copied()
            && first != name.span
        {
            self.report(
                Diagnostic::error(
                    "E0406",
                    format!("`{}` is declared twice", name.text),
                    name.span,
                    "the second time",
                )
                .label(first, "the first time")
                .help("give one of them another name"),
            );
            return;
        }
        self.frame().declared.insert(name.text.clone(), name.span);
        let value = match self.declaration_leaf(declaration, kind) {
            Some(leaf) => {
                if kind != Kind::Param {
                    self.frame().states.insert(name.text.clone(), leaf);
                }
                Value::Tensor(leaf)
            }
            None => Value::Error,
        };
        self.bind(&name.text, value, name.span);
    }

    fn declaration_leaf(&mut self, declaration: &'a Declaration, kind: Kind) -> Option<NodeId> {
        let (trained, word) = (kind == Kind::Param, kind.word());
        let name = &declaration.name;
        let place = super::types::type_span(&declaration.ty);
        let ty = self.declared(&declaration.ty)?;
        if trained && ty.dtype != DType::F32 {
            self.report(
                Diagnostic::error(
                    "E0407",
                    format!("a parameter holds real numbers, not {}", super::types::plural(ty.dtype)),
                    place,
                    format!("this is `{}`", show(&ty)),
                )
                .help("only f32 can be trained; use `state` for what is not trained"),
            );
            return None;
        }
        if ty.shape.iter().any(|d| d.contains("batch")) {
            self.report(
                Diagnostic::error(
                    "E0408",
                    format!("the size of `{}` depends on the batch", name.text),
                    place,
                    format!("`{}`", show_shape(&ty.shape)),
                )
                .note("the last batch of an epoch may be shorter, and a parameter's size may not change")
                .help("leave `batch` out of its shape: one value serves all examples"),
            );
            return None;
        }
        let (initial, begins_as) = match self.begins_as(&declaration.initial) {
            Some(parameter) => {
                let initial = self.leaves.get(&parameter).map(|leaf| leaf.variable.initial);
                (initial.unwrap_or(Initial::Constant(0.0)), Some(parameter))
            }
            None => (self.initial(&declaration.initial, &ty)?, None),
        };
        let frame_path = self.frame().path.clone();
        let path = if frame_path.is_empty() {
            name.text.clone()
        } else {
            super::paths::longer(&frame_path, &name.text)
        };
        if kind == Kind::Shadow {
            self.shadow(&path, &ty, name.span)?;
        }
        if let Some(leaf) = self.leaves.get(&path) {
            let (first, known, node) = (leaf.variable.span, leaf.variable.ty.clone(), leaf.node);
            let other = if first == name.span { leaf.call } else { Some(first) };
            if first == name.span && known == ty {
                return Some(node);
            }
            let text = if first == name.span {
                format!("`{path}` is `{}` in one call and `{}` in another", show(&known), show(&ty))
            } else {
                format!("two variables are called `{path}`")
            };
            let mut error = Diagnostic::error("E0406", text, name.span, format!("this {word}"));
            if let Some(other) = other {
                error = error.label(other, "the other");
            }
            self.report(if self.frames.len() <= 2 {
                error.note("in a train block, all calls of one function share their parameters").help(
                    "write a function that makes both calls, and call that here: there, each call has its own",
                )
            } else {
                error.help("give the calls names of their own: `let first = …`, `let second = …`")
            });
            return None;
        }
        self.graph_origin(name.span);
        let node = match trained {
            true => self.graph.param(path.clone(), ty.clone()),
            false => self.graph.state(path.clone(), ty.clone()),
        };
        let variable = Variable { path: path.clone(), ty, initial, begins_as, trained, span: name.span };
        self.leaves.insert(path, Leaf { variable, call: self.users_call(), node });
        Some(node)
    }

    /// `state slow: f32[..] = p`, in an optimizer: the parameter that the state begins as.
    fn begins_as(&mut self, initial: &'a Expr) -> Option<SmolStr> {
        let ExprKind::Name(name) = &initial.kind else { return None };
        let generic = self.mode == Mode::Generic && self.is_optimizer_like(name);
        let frame = self.frame();
        let optimized = frame.optimized.as_ref().is_some_and(|(parameter, _)| parameter == name);
        let parameter = frame.path.split_once('/').map_or("", |(_, parameter)| parameter).into();
        let found = optimized || generic;
        if found {
            // Marks the name as used.
            self.lookup(name);
        }
        found.then_some(parameter)
    }

    /// Lets the state `path` of an optimizer stand for its parameter in evaluation.
    fn shadow(&mut self, path: &SmolStr, ty: &TensorType, at: Span) -> Option<()> {
        if self.mode == Mode::Generic || self.calls_optimizers {
            return Some(());
        }
        let Some((_, parameter)) = path.split_once('/') else {
            self.report(
                Diagnostic::error("E0421", "a `shadow` belongs to an optimizer", at, "not in an optimizer")
                    .help("it stands for the parameter p of an optimizer's stage; elsewhere write `state`"),
            );
            return None;
        };
        let wanted = self.leaves.get(parameter).map(|leaf| leaf.variable.ty.clone());
        if let Some(wanted) = wanted.filter(|wanted| wanted != ty) {
            let text = format!("this is `{}`, the parameter `{}`", show(ty), show(&wanted));
            self.report(
                Diagnostic::error("E0421", "a shadow has its parameter's type", at, text)
                    .help("declare it with the axes of the signature: `shadow mean_of: f32[..] = p`"),
            );
            return None;
        }
        match self.shadows.insert(parameter.into(), path.clone()) {
            Some(other) if other != *path => {
                let message = format!("`{parameter}` has two shadows, `{other}` and `{path}`");
                self.report(
                    Diagnostic::error("E0421", message, at, "the second")
                        .help("only one value can stand for a parameter in evaluation: use one such stage"),
                );
                None
            }
            _ => Some(()),
        }
    }

    /// `glorot_uniform()`, for a shape.
    fn initial(&mut self, expr: &'a Expr, ty: &TensorType) -> Option<Initial> {
        let (name, arguments, at): (&SmolStr, &'a [Argument], Span) = match &expr.kind {
            ExprKind::Call { callee, arguments } => match &callee.kind {
                ExprKind::Name(name) => (name, arguments, callee.span),
                _ => return self.not_initial(expr.span),
            },
            ExprKind::Name(name) if INITIALISERS.contains(&name.as_str()) => {
                self.report(
                    Diagnostic::error("E0409", format!("`{name}` is a function"), expr.span, "")
                        .help(format!("call it: `{name}()`")),
                );
                return None;
            }
            ExprKind::Error => return None,
            _ => match self.expr(expr) {
                value if value.as_number().is_some() => {
                    return value.as_number().map(Initial::Constant);
                }
                Value::Opaque => return Some(Initial::Constant(0.0)),
                Value::Error => return None,
                Value::Tensor(id) if self.mode == Mode::Generic && self.graph.ty(id).rank() == 0 => {
                    return Some(Initial::Constant(0.0));
                }
                _ => return self.not_initial(expr.span),
            },
        };
        if !INITIALISERS.contains(&name.as_str()) {
            let error =
                Diagnostic::error("E0409", format!("there is no initialiser `{name}`"), at, "not known")
                    .note(format!("they are: {}", INITIALISERS.join(", ")));
            let near = match name.as_str() {
                "xavier" | "xavier_uniform" | "glorot" => Some("glorot_uniform"),
                "xavier_normal" => Some("glorot_normal"),
                "kaiming" | "kaiming_uniform" | "he" => Some("he_uniform"),
                "kaiming_normal" => Some("he_normal"),
                "zero" => Some("zeros"),
                "randn" | "gaussian" => Some("normal"),
                other => nearest(other, INITIALISERS),
            };
            self.report(match near {
                Some(near) => error.help(format!("write `{near}()`")),
                None => error,
            });
            return None;
        }
        let parameters: &[(&str, Option<f64>)] = match name.as_str() {
            "constant" => &[("value", None)],
            "uniform" => &[("low", None), ("high", None)],
            "normal" => &[("mean", Some(0.0)), ("std", Some(1.0))],
            "orthogonal" => &[("gain", Some(1.0))],
            _ => &[],
        };
        let values = self.numbers(name, parameters, arguments, expr.span)?;
        let fans = fans(&ty.shape);
        let (fan_in, fan_out) = fans;
        let uniform = |variance: f64| {
            let limit = (3.0 * variance).sqrt();
            Initial::Uniform { low: -limit, high: limit }
        };
        let normal = |variance: f64| Initial::Normal { mean: 0.0, deviation: variance.sqrt() };
        Some(match name.as_str() {
            "zeros" => Initial::Constant(0.0),
            "ones" => Initial::Constant(1.0),
            "constant" => Initial::Constant(values[0]),
            "uniform" => Initial::Uniform { low: values[0], high: values[1] },
            "normal" => Initial::Normal { mean: values[0], deviation: values[1] },
            "orthogonal" => Initial::Orthogonal { gain: values[0] },
            // Glorot and Bengio 2010; He et al. 2015 (arXiv 1502.01852); LeCun et al. 1998.
            "glorot_uniform" => uniform(2.0 / (fan_in + fan_out)),
            "glorot_normal" => normal(2.0 / (fan_in + fan_out)),
            "he_uniform" => uniform(2.0 / fan_in),
            "he_normal" => normal(2.0 / fan_in),
            "lecun_uniform" => uniform(1.0 / fan_in),
            _ => normal(1.0 / fan_in),
        })
    }

    fn not_initial(&mut self, span: Span) -> Option<Initial> {
        self.report(
            Diagnostic::error("E0409", "this does not say how the variable starts", span, "")
                .help("write an initialiser, `zeros()` or `glorot_uniform()`, or a number"),
        );
        None
    }

    /// Arguments of an initialiser: numbers known when compiled.
    fn numbers(
        &mut self,
        name: &str,
        parameters: &[(&str, Option<f64>)],
        arguments: &'a [Argument],
        span: Span,
    ) -> Option<Vec<f64>> {
        let mut values: Vec<Option<f64>> = parameters.iter().map(|(_, default)| *default).collect();
        for (position, argument) in arguments.iter().enumerate() {
            let at = match &argument.name {
                None => Some(position).filter(|p| *p < parameters.len()),
                Some(n) => parameters.iter().position(|(p, _)| *p == n.text),
            };
            let ArgumentValue::Expr(expr) = &argument.value else { continue };
            let value = self.expr(expr);
            let Some(at) = at else {
                let names: Vec<&str> = parameters.iter().map(|(p, _)| *p).collect();
                self.report(
                    Diagnostic::error(
                        "E0402",
                        format!("`{name}` does not take this argument"),
                        argument.span,
                        "",
                    )
                    .note(format!("its signature is `{name}({})`", names.join(", ")))
                    .help("remove it"),
                );
                return None;
            };
            values[at] = match value {
                Value::Opaque => Some(0.5),
                Value::Tensor(id) if self.mode == Mode::Generic && self.graph.ty(id).rank() == 0 => Some(0.5),
                Value::Error => return None,
                other => match other.as_number() {
                    Some(x) => Some(x),
                    None => {
                        let found = self.describe(&other);
                        self.error(
                            "E0312",
                            format!("`{name}` takes numbers, not {found}"),
                            expr.span,
                            format!("this is {found}"),
                            "write a number, such as 0.1",
                        );
                        return None;
                    }
                },
            };
        }
        if let Some(missing) = values.iter().position(Option::is_none) {
            let parameter = parameters[missing].0;
            self.report(
                Diagnostic::error("E0401", format!("`{name}` needs `{parameter}`"), span, "")
                    .help(format!("give it: `{parameter} = 0.1`")),
            );
            return None;
        }
        Some(values.into_iter().flatten().collect())
    }

    /// `m <- e`
    pub(super) fn update(&mut self, target: &'a Name, value: &'a Expr) {
        let next = self.expr(value);
        let optimized =
            self.frame().optimized.as_ref().is_some_and(|(parameter, _)| *parameter == target.text);
        let leaf = self.frame().states.get(&target.text).copied();
        let current = match self.lookup(&target.text) {
            Some(value) => value,
            None => {
                let known: Vec<SmolStr> = self.frame().states.keys().cloned().collect();
                let error = Diagnostic::error(
                    "E0201",
                    format!("there is no `{}` here", target.text),
                    target.span,
                    "not known",
                );
                let near = nearest(&target.text, known.iter().map(SmolStr::as_str));
                self.report(match near {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error.help("`<-` gives a state its next value: declare `state …` first"),
                });
                return;
            }
        };
        if matches!(current, Value::Error) {
            return;
        }
        let generic_parameter = self.mode == Mode::Generic && self.is_optimizer_like(&target.text);
        let carried = self.frame().carried.last().is_some_and(|names| names.contains_key(&target.text));
        if leaf.is_none() && !optimized && !generic_parameter && !carried {
            let error = Diagnostic::error(
                "E0410",
                format!("`{}` cannot be updated", target.text),
                target.span,
                "not a `state`",
            )
            .note("`<-` says what a `state` holds after the step, and what a scan carries to its next turn");
            self.report(error.help(format!("for a new value in this step, write `let {} = …`", target.text)));
            return;
        }
        let (Value::Tensor(old), false) = (current, matches!(next, Value::Error)) else { return };
        let known = next.as_number().is_some();
        let Some(next) = self.tensor(&next, value.span) else { return };
        let (from, to) = (self.graph.ty(next).clone(), self.graph.ty(old).clone());
        let fitted = match known && from.dtype == to.dtype {
            true => self.graph.broadcast_to(next, &to.shape).ok(),
            false => Some(next),
        };
        let Some(next) = fitted.filter(|id| *self.graph.ty(*id) == to) else {
            self.report(
                Diagnostic::error(
                    "E0412",
                    format!("`{}` is `{}`, but its next value is `{}`", target.text, show(&to), show(&from)),
                    value.span,
                    format!("this is `{}`", show(&from)),
                )
                .label(target.span, format!("this is `{}`", show(&to)))
                .help(match carried {
                    true => format!(
                        "each turn carries the same shape: begin with `{} = zeros({})`",
                        target.text,
                        show_shape(&from.shape)
                    ),
                    false => "a state keeps its type and shape".into(),
                }),
            );
            return;
        };
        if carried && let Some(names) = self.frame().carried.last_mut() {
            names[&target.text].next = next;
        }
        if optimized {
            self.frame().optimized = Some((target.text.clone(), Some(next)));
        }
        if let Some(leaf) = leaf
            && !carried
            && self.mode == Mode::Train
        {
            self.graph.updates.retain(|(l, _)| *l != leaf);
            self.graph.updates.push((leaf, next));
        }
        let scope = self.frame().scopes.iter_mut().rev().find_map(|s| s.get_mut(&target.text));
        if let Some(binding) = scope {
            binding.value = Value::Tensor(next);
        }
    }

    /// Whether `name` is the first argument of a function with two tensors and an update of the first: an
    /// optimizer, which is called with the parameter and its gradient.
    fn is_optimizer_like(&self, name: &SmolStr) -> bool {
        let function = self.frames.last().and_then(|f| f.function);
        function
            .is_some_and(|f| f.result.is_none() && f.parameters.first().is_some_and(|p| p.name.text == *name))
    }
}

/// Inputs and outputs of one unit (Keras's convention): the last axis is the output's, the product of the
/// others the input's; a vector counts as both.
fn fans(shape: &[Dim]) -> (f64, f64) {
    let size = |d: &Dim| d.as_const().unwrap_or(1) as f64;
    match shape {
        [] => (1.0, 1.0),
        [one] => (size(one), size(one)),
        [inputs @ .., output] => (inputs.iter().map(size).product(), size(output)),
    }
}
