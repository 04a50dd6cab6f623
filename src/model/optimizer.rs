//! Optimizers: ordinary functions of a parameter and its gradient, applied to every parameter of a loss.
//!
//! What enters: `adam(lr = 1e-3)`, or a pipeline of stages; parameters and gradients. What leaves: updates in the
//! graph. Stages run one after another over all parameters: before the update a stage hands on a gradient; after it, p is
//! the next value, which a stage may change again. What a stage asks of all parameters at once is answered in `over`.

use super::alike::{Made, Mark};
use super::elaborate::Elaborator;
use super::over::Over;
use super::value::{Given, Value};
use crate::base::TensorType;
use crate::base::hash::FastMap;
use crate::graph::NodeId;
use gradc_dsl::ast::{Argument, Expr, ExprKind, Function};
use gradc_dsl::{Diagnostic, Span};
use smol_str::{SmolStr, format_smolstr};

/// A parameter on its way through the stages.
#[derive(Clone)]
pub(super) struct Trained {
    pub path: SmolStr,
    pub leaf: NodeId,
    /// What p is: the leaf, until a stage gives it its next value.
    pub value: NodeId,
    pub gradient: NodeId,
    /// Whether a stage gave it one.
    pub updated: bool,
}

/// What a stage did for a parameter.
struct StageMade {
    made: Made,
    has_value: bool,
    has_next: bool,
}

impl<'a> Elaborator<'a> {
    /// Applies an optimizer to the parameters of a loss.
    pub(super) fn optimize(&mut self, optimizer: &'a Expr, loss: NodeId, mut parameters: Vec<Trained>) {
        let mut stages = Vec::new();
        stages_of(optimizer, &mut stages);
        let last = stages.len().saturating_sub(1);
        for (i, stage) in stages.into_iter().enumerate() {
            let Some((function, given)) = self.stage(stage) else { return };
            self.over = Some(Over::new(function.name.text.clone(), given.clone(), loss, parameters.clone()));
            // By their parameters' types.
            let mut made: FastMap<TensorType, StageMade> = FastMap::default();
            for (current, parameter) in parameters.iter_mut().enumerate() {
                let errors = self.n_errors();
                if let Some(over) = &mut self.over {
                    over.current = current;
                }
                let ty = self.graph.ty(parameter.value).clone();
                let again = made.get(&ty).and_then(|made| self.stage_again(made, parameter));
                let (value, next) = match again {
                    Some(found) => found,
                    None => {
                        let begun = self.mark();
                        let (value, next) = self.run_stage(function, &given, parameter, stage.span);
                        if self.n_errors() > errors {
                            self.over = None;
                            return;
                        }
                        if let Some(found) = self.stage_made(begun, parameter, &value, next) {
                            made.insert(ty, found);
                        }
                        (value, next)
                    }
                };
                match (next, value) {
                    (Some(next), _) => {
                        (parameter.value, parameter.updated) = (next, true);
                        self.graph.updates.retain(|(leaf, _)| *leaf != parameter.leaf);
                        self.graph.updates.push((parameter.leaf, next));
                    }
                    (None, Value::Tensor(id))
                        if self.graph.ty(id) == self.graph.ty(parameter.leaf)
                            && i < last
                            && !parameter.updated =>
                    {
                        parameter.gradient = id;
                    }
                    // A stage after the update may only look on.
                    (None, value) if parameter.updated && looks_on(&value, parameter) => {}
                    _ => {
                        self.over = None;
                        let late = parameter.updated;
                        return self.no_update(function, late, stage.span);
                    }
                }
            }
            self.over = None;
        }
    }

    /// A stage that can be copied for other parameters of its parameter's type: one that asks nothing of all of them.
    fn stage_made(
        &self,
        begun: Mark,
        parameter: &Trained,
        value: &Value,
        next: Option<NodeId>,
    ) -> Option<StageMade> {
        let value = match value {
            Value::Tensor(id) => Some(*id),
            Value::Tuple(items) if items.is_empty() => None,
            _ => return None,
        };
        if self.over.as_ref().is_none_or(Over::has_asked) {
            return None;
        }
        let results = value.into_iter().chain(next).collect();
        let given = [parameter.value, parameter.gradient];
        let is_own = |text: &str| text.split_once('/').is_some_and(|(_, path)| path == parameter.path);
        let before = self.graph.len();
        let made = self.made(begun, &given, results, before, &is_own, Some(&parameter.path))?;
        Some(StageMade { made, has_value: value.is_some(), has_next: next.is_some() })
    }

    /// The stage for another parameter: its value, and the parameter's next one.
    fn stage_again(&mut self, stage: &StageMade, parameter: &Trained) -> Option<(Value, Option<NodeId>)> {
        let given = [parameter.value, parameter.gradient];
        // `adam.m/PATH`
        let moved = |text: &str| {
            let stage = text.split_once('/').map_or(text, |(stage, _)| stage);
            format_smolstr!("{stage}/{}", parameter.path)
        };
        let results = self.copy_made(&stage.made, &given, &moved, Some(&parameter.path))?;
        let mut results = results.into_iter();
        let value = stage.has_value.then(|| results.next()).flatten();
        let next = stage.has_next.then(|| results.next()).flatten();
        Some((value.map_or(Value::Tuple(Vec::new()), Value::Tensor), next))
    }

    fn no_update(&mut self, function: &Function, late: bool, span: Span) {
        let name = &function.name.text;
        if late {
            let message = format!("`{name}` changes a gradient that has been used already");
            self.report(
                Diagnostic::error("E0510", message, span, "after the update")
                    .label(function.name.span, "defined here")
                    .help(format!("put it before the optimizer: `with {name}(…) |> adam()`")),
            );
            return;
        }
        self.report(
            Diagnostic::error(
                "E0510",
                format!("`{name}` is not an optimizer"),
                span,
                "it gives the parameter no next value",
            )
            .label(function.name.span, "defined here")
            .help("an optimizer takes a parameter and its gradient and says `p <- …`: `adam(lr = 1e-3)`, `sgd(lr = 0.1)`"),
        );
    }

    /// A stage's function and its arguments beside parameter and gradient.
    fn stage(&mut self, stage: &'a Expr) -> Option<(&'a Function, Vec<Given>)> {
        let (name, span, arguments): (&SmolStr, Span, &'a [Argument]) = match &stage.kind {
            ExprKind::Name(name) => (name, stage.span, &[]),
            ExprKind::Call { callee, arguments } => match &callee.kind {
                ExprKind::Name(name) => (name, callee.span, arguments),
                _ => return self.not_an_optimizer(callee.span),
            },
            ExprKind::Error => return None,
            _ => return self.not_an_optimizer(stage.span),
        };
        let given = self.arguments(arguments, None);
        if given.iter().any(|g| matches!(g.value, Value::Error)) {
            return None;
        }
        let Some(function) = self.functions.get(name).copied() else {
            if super::intrinsics::is_intrinsic(name) {
                self.report(
                    Diagnostic::error("E0510", format!("`{name}` is not an optimizer"), span, "")
                        .help("write an optimizer: `with adam(lr = 1e-3)`"),
                );
            } else {
                self.unknown_function(name, span);
            }
            return None;
        };
        if self.broken.contains(name) {
            return None;
        }
        if function.parameters.len() < 2 {
            self.report(
                Diagnostic::error(
                    "E0510",
                    format!("`{name}` is not an optimizer"),
                    span,
                    "it takes no gradient",
                )
                .label(function.name.span, "defined here")
                .help("an optimizer takes a parameter and its gradient: `with adam(lr = 1e-3)`"),
            );
            return None;
        }
        Some((function, given))
    }

    fn not_an_optimizer<T>(&mut self, span: Span) -> Option<T> {
        self.report(
            Diagnostic::error("E0510", "this is not an optimizer", span, "not the name of a function")
                .help("write an optimizer: `with adam(lr = 1e-3)`"),
        );
        None
    }

    /// One stage for one parameter: its value, and the parameter's next one, if it says so.
    pub(super) fn run_stage(
        &mut self,
        function: &'a Function,
        given: &[Given],
        parameter: &Trained,
        span: Span,
    ) -> (Value, Option<NodeId>) {
        let mut arguments = vec![
            Given::positional(Value::Tensor(parameter.value), span),
            Given::positional(Value::Tensor(parameter.gradient), span),
        ];
        arguments.extend(given.iter().cloned());
        let path = format_smolstr!("{}/{}", function.name.text, parameter.path);
        let mut frame = self.frame_of(function, span, path);
        frame.optimized = Some((function.parameters[0].name.text.clone(), None));
        self.frames.push(frame);
        let value = self.call_stage(function, arguments, span);
        let next = self.frames.pop().and_then(|f| f.optimized).and_then(|(_, next)| next);
        (value, next)
    }
}

/// Whether a stage gives the parameter as it is, or nothing.
fn looks_on(value: &Value, parameter: &Trained) -> bool {
    match value {
        Value::Tensor(id) => *id == parameter.value,
        Value::Tuple(items) => items.is_empty(),
        _ => false,
    }
}

fn stages_of<'a>(expr: &'a Expr, stages: &mut Vec<&'a Expr>) {
    match &expr.kind {
        ExprKind::Pipe(left, right) => {
            stages_of(left, stages);
            stages_of(right, stages);
        }
        ExprKind::Paren(inner) => stages_of(inner, stages),
        _ => stages.push(expr),
    }
}
