//! Optimizers: ordinary functions of a parameter and its gradient, applied to every parameter of a loss.
//!
//! What enters: `adam(lr = 1e-3)`, or a pipeline of stages; parameters and gradients. What leaves: updates in the
//! graph. Stages run one after another over all parameters; a stage that gives a value hands it on as the
//! gradient. `over_params(e)` sums `e` over the parameters by elaborating the stage for each of them.

use super::elaborate::{Elaborator, Frame};
use super::value::{Given, Value};
use crate::graph::NodeId;
use crate::scalar::Func;
use gradc_dsl::ast::{Argument, ArgumentValue, Expr, ExprKind, Function};
use gradc_dsl::{Diagnostic, Span};
use smol_str::{SmolStr, format_smolstr};
use std::collections::HashMap;

/// What `over_params` needs: the stage that is running.
#[derive(Clone)]
pub(super) struct Over {
    function: SmolStr,
    given: Vec<Given>,
    /// Path, parameter, gradient.
    parameters: Vec<(SmolStr, NodeId, NodeId)>,
    /// Sums already made, by the place of the `over_params`.
    totals: HashMap<Span, NodeId>,
    /// While summing: the place that is asked for and the terms found.
    asked: Option<(Span, Vec<NodeId>)>,
}

impl<'a> Elaborator<'a> {
    /// Applies an optimizer to parameters `(path, leaf, gradient)`.
    pub(super) fn optimize(&mut self, optimizer: &'a Expr, mut parameters: Vec<(SmolStr, NodeId, NodeId)>) {
        let mut stages = Vec::new();
        stages_of(optimizer, &mut stages);
        let last = stages.len().saturating_sub(1);
        for (i, stage) in stages.into_iter().enumerate() {
            let Some((function, given)) = self.stage(stage) else { return };
            self.over = Some(Over {
                function: function.name.text.clone(),
                given: given.clone(),
                parameters: parameters.clone(),
                totals: HashMap::new(),
                asked: None,
            });
            for parameter in &mut parameters {
                let (path, leaf, gradient) = parameter.clone();
                let errors = self.n_errors();
                let (value, next) = self.run_stage(function, &given, &path, leaf, gradient, stage.span);
                if self.n_errors() > errors {
                    self.over = None;
                    return;
                }
                match (next, value) {
                    (Some(next), _) => {
                        self.graph.updates.retain(|(l, _)| *l != leaf);
                        self.graph.updates.push((leaf, next));
                    }
                    (None, Value::Tensor(id)) if self.graph.ty(id) == self.graph.ty(leaf) && i < last => {
                        parameter.2 = id;
                    }
                    _ => {
                        let name = &function.name.text;
                        self.report(
                            Diagnostic::error(
                                "E0510",
                                format!("`{name}` is not an optimizer"),
                                stage.span,
                                "it gives the parameter no next value",
                            )
                            .label(function.name.span, "defined here")
                            .help("an optimizer takes a parameter and its gradient and says `p <- …`: `adam(lr = 1e-3)`, `sgd(lr = 0.1)`"),
                        );
                        self.over = None;
                        return;
                    }
                }
            }
            self.over = None;
        }
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

    fn run_stage(
        &mut self,
        function: &'a Function,
        given: &[Given],
        path: &SmolStr,
        leaf: NodeId,
        gradient: NodeId,
        span: Span,
    ) -> (Value, Option<NodeId>) {
        let mut arguments = vec![
            Given::positional(Value::Tensor(leaf), span),
            Given::positional(Value::Tensor(gradient), span),
        ];
        arguments.extend(given.iter().cloned());
        let mut frame =
            Frame::new(Some(function), Some(span), format_smolstr!("{}/{path}", function.name.text));
        frame.optimized = Some((function.parameters[0].name.text.clone(), None));
        self.frames.push(frame);
        let value = self.call_stage(function, arguments, span);
        let next = self.frames.pop().and_then(|f| f.optimized).and_then(|(_, next)| next);
        (value, next)
    }

    /// `over_params(e)`
    pub(super) fn over_params(&mut self, arguments: &'a [Argument], span: Span) -> Value {
        let [Argument { value: ArgumentValue::Expr(expr), .. }] = arguments else {
            return self.error(
                "E0401",
                "`over_params` needs one value to sum",
                span,
                "",
                "write `over_params(sum(g * g))`",
            );
        };
        let value = self.expr(expr);
        let Some(term) = self.tensor(&value, expr.span) else { return Value::Error };
        if self.graph.ty(term).rank() > 0 {
            let found = super::elaborate::show(self.graph.ty(term));
            return self.report(
                Diagnostic::error(
                    "E0505",
                    "`over_params` sums one number a parameter",
                    expr.span,
                    format!("this is `{found}`"),
                )
                .help("make one number of it: `over_params(sum(…))`"),
            );
        }
        let Some(mut over) = self.over.take() else {
            if self.mode == super::elaborate::Mode::Generic || self.calls_optimizers {
                return Value::Tensor(term);
            }
            return self.error(
                "E0510",
                "`over_params` is for optimizers only",
                span,
                "not in an optimizer",
                "in a train block, sum over the tensor itself: `sum(x)`",
            );
        };
        if let Some(total) = over.totals.get(&span).copied() {
            self.over = Some(over);
            return Value::Tensor(total);
        }
        if let Some((_, terms)) = over.asked.as_mut().filter(|(asked, _)| *asked == span) {
            terms.push(term);
            self.over = Some(over);
            return Value::Tensor(term);
        }
        let outer = over.asked.replace((span, Vec::new()));
        let (parameters, given, name) = (over.parameters.clone(), over.given.clone(), over.function.clone());
        self.over = Some(over);
        if let Some(function) = self.functions.get(&name).copied() {
            for (path, leaf, gradient) in parameters {
                self.run_stage(function, &given, &path, leaf, gradient, span);
            }
        }
        let Some(mut over) = self.over.take() else { return Value::Error };
        let terms = over.asked.take().map(|(_, terms)| terms).unwrap_or_default();
        over.asked = outer;
        let mut total = None;
        for next in terms {
            total = match total {
                None => Some(next),
                Some(sum) => self.graph.map(Func::Add, &[sum, next]).ok(),
            };
        }
        let Some(total) = total else { return Value::Error };
        over.totals.insert(span, total);
        self.over = Some(over);
        Value::Tensor(total)
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
