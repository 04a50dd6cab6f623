//! What a stage of an optimizer knows of all parameters at once: `over_params(e)` and `gradient_at(q)`.
//!
//! What enters: a stage that is running for one parameter. What leaves: a sum over all of them, or the gradient where
//! all are moved at once. The stage is elaborated for each parameter up to the place that asks; what those turns build
//! beyond it is used by nobody. Invariant: each place is asked once a stage, whatever the number of parameters.

use super::elaborate::{Elaborator, Mode, show};
use super::optimizer::Trained;
use super::value::{Given, Value};
use crate::base::Dim;
use crate::graph::NodeId;
use crate::graph::rewrite::{copy_node, reachable};
use crate::scalar::Func;
use gradc_dsl::ast::{Argument, ArgumentValue, Expr};
use gradc_dsl::{Diagnostic, Span};
use smol_str::SmolStr;
use std::collections::HashMap;

/// The stage that is running.
#[derive(Clone)]
pub(super) struct Over {
    pub function: SmolStr,
    pub given: Vec<Given>,
    pub loss: NodeId,
    pub parameters: Vec<Trained>,
    /// The parameter whose turn it is.
    pub current: usize,
    /// Sums already made, by the place of the `over_params`.
    totals: HashMap<Span, NodeId>,
    /// A gradient for each parameter, by the place of the `gradient_at`.
    gradients: HashMap<Span, Vec<NodeId>>,
    /// A gradient with a row for each example, for each parameter.
    pub per_example: Option<Vec<NodeId>>,
    asked: Vec<Question>,
}

/// A place that waits for the stage to come to it, once for each parameter.
#[derive(Clone)]
struct Question {
    place: Span,
    answers: Vec<Option<NodeId>>,
    /// Whether this turn has come past the place: what follows does not matter.
    passed: bool,
}

impl Over {
    pub fn new(function: SmolStr, given: Vec<Given>, loss: NodeId, parameters: Vec<Trained>) -> Over {
        let (totals, gradients) = (HashMap::new(), HashMap::new());
        Over {
            function,
            given,
            loss,
            parameters,
            current: 0,
            totals,
            gradients,
            per_example: None,
            asked: Vec::new(),
        }
    }

    /// Whether the stage wanted to know anything of all parameters.
    pub fn has_asked(&self) -> bool {
        let waits = !self.asked.is_empty() || self.per_example.is_some();
        waits || !self.totals.is_empty() || !self.gradients.is_empty()
    }
}

impl<'a> Elaborator<'a> {
    /// `over_params(e)`: the sum of the number e over all parameters.
    pub(super) fn over_params(&mut self, arguments: &'a [Argument], span: Span) -> Value {
        let Some((term, at)) = self.asked_value(arguments, "over_params(sum(g * g))", span) else {
            return Value::Error;
        };
        let Some(over) = &self.over else { return self.outside("over_params", term, span) };
        // The same for each parameter: one number, or one for each example.
        let ty = self.graph.ty(term);
        if ty.rank() > 1 || ty.shape.first().is_some_and(|size| *size != Dim::symbol("batch")) {
            let found = show(ty);
            return self.report(
                Diagnostic::error(
                    "E0505",
                    "`over_params` sums one number a parameter",
                    at,
                    format!("this is `{found}`"),
                )
                .help("make one number of it, or one for each example: `over_params(sum(…))`"),
            );
        }
        if let Some(total) = over.totals.get(&span) {
            return Value::Tensor(*total);
        }
        let Some(terms) = self.ask(span, term) else { return Value::Tensor(term) };
        let mut total: Option<NodeId> = None;
        for next in terms.into_iter().flatten() {
            total = match total {
                None => Some(next),
                Some(sum) => self.graph.map(Func::Add, &[sum, next]).ok(),
            };
        }
        match (&mut self.over, total) {
            (Some(over), Some(total)) => {
                over.totals.insert(span, total);
                Value::Tensor(total)
            }
            _ => Value::Error,
        }
    }

    /// `gradient_at(q)`: the loss's gradient by this parameter, were every parameter where its stage says.
    pub(super) fn gradient_at(&mut self, arguments: &'a [Argument], span: Span) -> Value {
        let Some((point, at)) = self.asked_value(arguments, "gradient_at(p + rate * g)", span) else {
            return Value::Error;
        };
        let Some(over) = &self.over else { return self.outside("gradient_at", point, span) };
        let wanted = self.graph.ty(over.parameters[over.current].leaf);
        if self.graph.ty(point) != wanted {
            let (found, wanted) = (show(self.graph.ty(point)), show(wanted));
            return self.report(
                Diagnostic::error("E0505", "`gradient_at` takes another value of the parameter", at, "")
                    .note(format!("this is `{found}`, the parameter `{wanted}`"))
                    .help("give it the parameter's shape: `gradient_at(p + rate * g)`"),
            );
        }
        if let Some(gradients) = over.gradients.get(&span) {
            return Value::Tensor(gradients[over.current]);
        }
        let (loss, current) = (over.loss, over.current);
        let leaves: Vec<(NodeId, NodeId)> = over.parameters.iter().map(|p| (p.leaf, p.value)).collect();
        let Some(points) = self.ask(span, point) else { return Value::Tensor(point) };
        let points: Vec<(NodeId, NodeId)> = leaves
            .iter()
            .zip(points)
            .map(|((leaf, value), point)| (*leaf, point.unwrap_or(*value)))
            .collect();
        let moved = self.moved(loss, &points);
        let mut gradients = Vec::new();
        for (_, point) in &points {
            match self.graph.grad(moved, *point) {
                Ok(gradient) => gradients.push(gradient),
                Err(error) => return self.built(Err(error), span),
            }
        }
        let gradient = gradients[current];
        if let Some(over) = &mut self.over {
            over.gradients.insert(span, gradients);
        }
        Value::Tensor(gradient)
    }

    pub(super) fn asked_value(
        &mut self,
        arguments: &'a [Argument],
        example: &str,
        span: Span,
    ) -> Option<(NodeId, Span)> {
        let [Argument { value: ArgumentValue::Expr(expr), .. }] = arguments else {
            let name = example.split('(').next().unwrap_or(example);
            let message = format!("`{name}` needs one value");
            self.error("E0401", message, span, "", &format!("write `{example}`"));
            return None;
        };
        let expr: &'a Expr = expr;
        let value = self.expr(expr);
        Some((self.tensor(&value, expr.span)?, expr.span))
    }

    /// Outside of a stage: fine while a function is checked by itself.
    pub(super) fn outside(&mut self, name: &str, value: NodeId, span: Span) -> Value {
        if self.mode == Mode::Generic || self.calls_optimizers {
            return Value::Tensor(value);
        }
        self.error(
            "E0510",
            format!("`{name}` is for optimizers only"),
            span,
            "not in an optimizer",
            "in a train block, use the tensor itself: `sum(x)`",
        )
    }

    /// What stands at this place for each parameter; `None` where this turn serves another question.
    fn ask(&mut self, place: Span, own: NodeId) -> Option<Vec<Option<NodeId>>> {
        let over = self.over.as_mut()?;
        let current = over.current;
        let n = over.parameters.len();
        let known = over.asked.iter().any(|question| question.place == place);
        if let Some(last) = over.asked.last_mut() {
            if last.place == place && !last.passed {
                last.answers[current] = Some(own);
                last.passed = true;
            }
            if last.passed || known {
                return None;
            }
        }
        over.asked.push(Question { place, answers: vec![None; n], passed: false });
        let (parameters, given, name) = (over.parameters.clone(), over.given.clone(), over.function.clone());
        let function = self.functions.get(&name).copied()?;
        for (i, parameter) in parameters.iter().enumerate() {
            if let Some(over) = &mut self.over {
                over.current = i;
                over.asked.last_mut()?.passed = false;
            }
            self.run_stage(function, &given, parameter, place);
        }
        let over = self.over.as_mut()?;
        over.current = current;
        over.asked.pop().map(|question| question.answers)
    }

    /// The loss with other values in the place of leaves: a copy of what depends on them.
    fn moved(&mut self, loss: NodeId, points: &[(NodeId, NodeId)]) -> NodeId {
        let needed = reachable(&self.graph, [loss]);
        let mut image: Vec<Option<NodeId>> = vec![None; loss.index() + 1];
        for (leaf, point) in points {
            image[leaf.index()] = Some(*point);
        }
        let ids: Vec<NodeId> = self.graph.ids().take(loss.index() + 1).collect();
        for id in ids {
            let node = self.graph.node(id).clone();
            let moves = node.operands.iter().any(|operand| image[operand.index()].is_some());
            if needed[id.index()] && image[id.index()].is_none() && moves {
                let operands: Vec<NodeId> =
                    node.operands.iter().map(|o| image[o.index()].unwrap_or(*o)).collect();
                image[id.index()] = Some(copy_node(&mut self.graph, &node, &operands));
            }
        }
        image[loss.index()].unwrap_or(loss)
    }
}
