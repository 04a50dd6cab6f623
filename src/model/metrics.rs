//! Metrics of a whole evaluation: `total(e)` and `gathered(e)` inside of a `report`.
//!
//! What enters: a reported expression. What leaves: its value in one step, where `total(e)` is e of the step's batch; and an `Aggregate`: what each batch contributes, and the small graph that makes the metric of the
//! contributions of all. Invariant: that graph reads nothing but its parts, so batches of any sizes give one result.

use super::elaborate::{Elaborator, Mode, show};
use super::value::Value;
use super::{Aggregate, Part};
use crate::base::{DType, Dim};
use crate::graph::rewrite::copy_node;
use crate::graph::{Graph, NodeId, Op};
use gradc_dsl::ast::{Argument, ArgumentValue, Expr};
use gradc_dsl::{Diagnostic, Span};
use smol_str::{SmolStr, format_smolstr};

/// A part while its report is elaborated: gathered or summed, its node, its place.
pub(super) struct Contribution {
    gathered: bool,
    node: NodeId,
    span: Span,
}

/// What a `report` gives.
pub(super) struct Reported {
    pub name: SmolStr,
    /// The value in one step.
    pub node: NodeId,
    /// How it is made of all batches, if not as the examples' mean; and the nodes of its parts.
    pub aggregate: Option<(Aggregate, Vec<NodeId>)>,
}

impl<'a> Elaborator<'a> {
    /// `total(e)`: the sum over all batches, and `gathered(e)`: e for all examples.
    pub(super) fn contribution(&mut self, arguments: &'a [Argument], gathered: bool, span: Span) -> Value {
        let name = if gathered { "gathered" } else { "total" };
        let [Argument { name: None, value: ArgumentValue::Expr(expr), .. }] = arguments else {
            let help = format!("write `{name}(sum(…))`");
            return self.error("E0401", format!("`{name}` needs one value"), span, "", &help);
        };
        let expr: &'a Expr = expr;
        let value = self.expr(expr);
        let Some(mut id) = self.tensor(&value, expr.span) else { return Value::Error };
        if !gathered && self.graph.dtype(id) != DType::F32 {
            id = self.graph.cast(id, DType::F32).unwrap_or(id);
        }
        if self.mode == Mode::Generic || self.calls_optimizers {
            return Value::Tensor(id);
        }
        if self.contributions.is_none() {
            return self.error(
                "E0422",
                format!("`{name}` is for metrics"),
                span,
                "not in a `report`",
                "a step sees its own batch only; call the metric in `report METRIC`",
            );
        }
        let ty = self.graph.ty(id).clone();
        let batch = Dim::symbol("batch");
        let in_rows = ty.shape.iter().position(|size| size.contains("batch"));
        let fits = match gathered {
            true => ty.shape.first() == Some(&batch) && !ty.shape[1..].iter().any(|d| d.contains("batch")),
            false => in_rows.is_none(),
        };
        if !fits {
            let error = Diagnostic::error(
                "E0422",
                match gathered {
                    true => "what is gathered has a row for each example",
                    false => "the size of a total cannot depend on the batch",
                },
                expr.span,
                format!("this is `{}`", show(&ty)),
            );
            return self.report(match gathered {
                true => error.help("its first axis is `batch`, and no other depends on it"),
                false => error.help("sum over the examples first: `total(sum(…))`"),
            });
        }
        // A node of its own, so that what is made of it can be told from what it is made of.
        let Ok(node) = self.graph.detach(id) else { return Value::Error };
        if let Some(contributions) = &mut self.contributions {
            contributions.push(Contribution { gathered, node, span });
        }
        Value::Tensor(node)
    }

    /// A reported expression: one number, or a small table of totals.
    pub(super) fn reported(&mut self, name: SmolStr, value: &'a Expr) -> Option<Reported> {
        self.contributions = Some(Vec::new());
        let result = self.expr(value);
        let parts = self.contributions.take().unwrap_or_default();
        let id = self.tensor(&result, value.span)?;
        let ty = self.graph.ty(id).clone();
        let table = !parts.is_empty() && ty.rank() <= 2 && ty.shape.iter().all(|d| d.as_const().is_some());
        if ty.rank() != 0 && !table {
            self.report(
                Diagnostic::error(
                    "E0513",
                    "what is reported is one number, or a table of totals",
                    value.span,
                    format!("this is `{}`", show(&ty)),
                )
                .help("take the mean: `report mean(…)`; a table of at most two axes is made of `total(…)`"),
            );
            return None;
        }
        let node = self.graph.cast(id, DType::F32).ok()?;
        if parts.is_empty() {
            return Some(Reported { name, node, aggregate: None });
        }
        let graph = self.value_of_parts(&name, node, &parts, value.span)?;
        let part = |(i, part): (usize, &Contribution)| Part {
            output: format_smolstr!("{name}/{i}"),
            ty: self.graph.ty(part.node).clone(),
            gathered: part.gathered,
        };
        let nodes = parts.iter().map(|part| part.node).collect();
        let parts = parts.iter().enumerate().map(part).collect();
        Some(Reported {
            name: name.clone(),
            node,
            aggregate: Some((Aggregate { name, ty, parts, value: graph }, nodes)),
        })
    }

    /// The graph from the parts, its inputs, to the metric.
    fn value_of_parts(
        &mut self,
        name: &SmolStr,
        node: NodeId,
        parts: &[Contribution],
        span: Span,
    ) -> Option<Graph> {
        let mut needed = vec![false; node.index() + 1];
        let mut waiting = vec![node];
        while let Some(id) = waiting.pop() {
            if std::mem::replace(&mut needed[id.index()], true) || parts.iter().any(|p| p.node == id) {
                continue;
            }
            let op = &self.graph.node(id).op;
            if op.leaf_name().is_some() || matches!(op, Op::Random { .. }) {
                let error = Diagnostic::error(
                    "E0422",
                    format!("`{name}` mixes values of one batch with totals of all"),
                    span,
                    "",
                );
                let error = parts.iter().take(1).fold(error, |e, part| e.label(part.span, "of all batches"));
                self.report(
                    error.help("put everything that depends on the data into `total(…)` or `gathered(…)`"),
                );
                return None;
            }
            waiting.extend(&self.graph.node(id).operands);
        }
        let mut graph = Graph::new();
        let mut image: Vec<Option<NodeId>> = vec![None; needed.len()];
        for index in (0..needed.len()).filter(|index| needed[*index]) {
            let id = NodeId(index as u32);
            let part = parts.iter().position(|part| part.node == id);
            image[index] = Some(match part {
                Some(i) => graph.input(format_smolstr!("{name}/{i}"), self.graph.ty(id).clone()),
                None => {
                    let node = self.graph.node(id);
                    let operands: Vec<NodeId> =
                        node.operands.iter().filter_map(|o| image[o.index()]).collect();
                    copy_node(&mut graph, node, &operands)
                }
            });
        }
        graph.outputs.push((name.clone(), image[node.index()]?));
        Some(graph)
    }
}
