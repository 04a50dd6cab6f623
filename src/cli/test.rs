//! `gradc test FILE`: the claims that a model's `test` blocks make about it.
//!
//! A block named after the train block, or after a function it calls, is about the program; for a function,
//! `params` counts the variables below its name. Metrics `at N` are those of step N (from 0) of a fresh run.

use super::output::{Failure, report, say};
use super::project::{ModelArguments, Project};
use crate::model::Model;
use crate::train::compiled::{Compiled, peak_bytes, plan_of};
use crate::train::engine::Program;
use crate::train::gradcheck::gradcheck;
use crate::train::run::{Event, Flow, Trainer};
use gradc_dsl::ast::{BinaryOp, Claim, Expr, ExprKind, Item, Test, UnaryOp};
use gradc_dsl::{Diagnostic, Span};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
}

/// Examples that a gradient check looks at: few, since the interpreter is slow.
const N_GRADCHECK_ROWS: usize = 2;

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.model)?;
    let tests = project.program.files[0].items.iter().filter_map(|item| match item {
        Item::Test(test) => Some(test),
        _ => None,
    });
    let mut bench = Bench { project: &project, metrics: BTreeMap::new() };
    let (mut n_claims, mut wrong) = (0, Vec::new());
    for test in tests {
        bench.run_until(test)?;
        for claim in &test.claims {
            n_claims += 1;
            match bench.check(test, claim) {
                Ok(()) => {}
                Err(Verdict::Wrong(diagnostic)) => wrong.push(*diagnostic),
                Err(Verdict::Failure(failure)) => return Err(failure),
            }
        }
    }
    let n_wrong = wrong.len();
    let reported = report(&wrong, &project.sources, arguments.model.json);
    if arguments.model.json {
        say(json!({ "claims": n_claims, "wrong": n_wrong }).to_string())?;
    } else if n_claims == 0 {
        say("the model has no test blocks")?;
    } else {
        say(format!("{} of {n_claims} claims hold", n_claims - n_wrong))?;
    }
    reported
}

enum Verdict {
    Wrong(Box<Diagnostic>),
    Failure(Failure),
}

impl From<Failure> for Verdict {
    fn from(failure: Failure) -> Verdict {
        Verdict::Failure(failure)
    }
}

fn wrong(message: impl Into<String>, span: Span, label: impl Into<String>) -> Verdict {
    Verdict::Wrong(Box::new(Diagnostic::error("E0901", message, span, label)))
}

/// What the claims are checked against.
struct Bench<'a> {
    project: &'a Project,
    /// Metrics by step, for the steps that claims ask for.
    metrics: BTreeMap<u64, Vec<f32>>,
}

impl Bench<'_> {
    /// Trains until the last step that a claim of `test` looks at.
    fn run_until(&mut self, test: &Test) -> Result<(), Failure> {
        let wanted: Vec<u64> = test
            .claims
            .iter()
            .filter_map(|claim| match claim {
                Claim::InRange { at, .. } => constant(at).map(|at| at.max(0.0) as u64),
                _ => None,
            })
            .filter(|at| !self.metrics.contains_key(at))
            .collect();
        let Some(last) = wanted.iter().max() else { return Ok(()) };
        let mut model: Model = self.project.model.clone();
        model.settings.steps = Some(last + 1);
        let data = self.project.data.load(&model.settings.data)?;
        let engine = Compiled::new(&model, self.project.threads);
        let mut trainer = Trainer::new(&model, engine, data, None);
        trainer.train(None, Duration::MAX, &mut |event| {
            if let Event::Step { step, metrics, .. } = event
                && wanted.contains(&step)
            {
                self.metrics.insert(step, metrics.to_vec());
            }
            Flow::Continue
        })?;
        Ok(())
    }

    fn check(&self, test: &Test, claim: &Claim) -> Result<(), Verdict> {
        match claim {
            Claim::GradCheck(span) => self.gradients(*span),
            Claim::Compare { left, op, right, span } => {
                let quantity = self.quantity(test, left)?;
                let Some(limit) = constant(right) else {
                    return Err(wrong("this is not a number", right.span, "expected a constant"));
                };
                if holds(*op, quantity, limit) {
                    return Ok(());
                }
                Err(wrong("a claim does not hold", *span, format!("it is {quantity}")))
            }
            Claim::InRange { metric, at, low, high, span } => {
                let (Some(at), Some(low), Some(high)) = (constant(at), constant(low), constant(high)) else {
                    return Err(wrong("a range needs constant numbers", *span, ""));
                };
                let names = &self.project.model.metrics;
                let Some(index) = names.iter().position(|name| *name == metric.text) else {
                    let label = format!("reported are: {}", names.join(", "));
                    return Err(wrong(format!("no metric is called `{}`", metric.text), metric.span, label));
                };
                let value = self.metrics.get(&(at.max(0.0) as u64)).map_or(f64::NAN, |m| f64::from(m[index]));
                if (low..=high).contains(&value) {
                    return Ok(());
                }
                Err(wrong("a metric is out of its range", *span, format!("in step {at} it is {value}")))
            }
        }
    }

    /// `params`, `memory`, `flops`, `kernels(cpu)`.
    fn quantity(&self, test: &Test, expr: &Expr) -> Result<f64, Verdict> {
        let name = match &expr.kind {
            ExprKind::Name(name) => name.as_str(),
            ExprKind::Call { callee, .. } => match &callee.kind {
                ExprKind::Name(name) => name.as_str(),
                _ => "",
            },
            _ => "",
        };
        let model = &self.project.model;
        match name {
            "params" => {
                let below = format!("{}.", test.name.text);
                let whole = test.name.text == model.name
                    && !model.variables.iter().any(|v| v.path.starts_with(below.as_str()));
                let counted = model
                    .variables
                    .iter()
                    .filter(|v| v.trained && (whole || v.path.starts_with(below.as_str())));
                Ok(counted.map(|v| v.ty.n_elements().as_const().unwrap_or(0) as f64).sum())
            }
            "memory" => Ok(peak_bytes(&plan_of(model, Program::Train)) as f64),
            "flops" => Ok(plan_of(model, Program::Train).flops as f64),
            "kernels" => Ok(plan_of(model, Program::Train).kernels.len() as f64),
            _ => Err(wrong(
                "this cannot be claimed",
                expr.span,
                "expected `params`, `memory`, `flops` or `kernels(cpu)`",
            )),
        }
    }

    fn gradients(&self, span: Span) -> Result<(), Verdict> {
        let model = &self.project.model;
        let data = self.project.data.load(&model.settings.data).map_err(Failure::from)?;
        let trainer = Trainer::new(model, Compiled::new(model, 1), data.clone(), None);
        let checks =
            gradcheck(model, &data, &trainer.variables(), N_GRADCHECK_ROWS).map_err(Failure::from)?;
        let bad: Vec<String> = checks
            .iter()
            .filter(|check| !check.agrees)
            .map(|c| {
                format!("`{}`: {:.6e} by calculus, {:.6e} by differences", c.path, c.symbolic, c.numeric)
            })
            .collect();
        if bad.is_empty() {
            return Ok(());
        }
        Err(wrong("gradients disagree with finite differences", span, bad.join("; ")))
    }
}

fn holds(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Less => left < right,
        BinaryOp::LessEqual => left <= right,
        BinaryOp::Greater => left > right,
        BinaryOp::GreaterEqual => left >= right,
        _ => false,
    }
}

/// The value of an expression of numbers alone.
fn constant(expr: &Expr) -> Option<f64> {
    match &expr.kind {
        ExprKind::Number { value, .. } => Some(*value),
        ExprKind::Paren(inner) => constant(inner),
        ExprKind::Unary(UnaryOp::Negate, inner) => Some(-constant(inner)?),
        ExprKind::Binary(op, left, right) => {
            let (left, right) = (constant(left)?, constant(right)?);
            match op {
                BinaryOp::Add => Some(left + right),
                BinaryOp::Subtract => Some(left - right),
                BinaryOp::Multiply => Some(left * right),
                BinaryOp::Divide => Some(left / right),
                BinaryOp::Power => Some(left.powf(right)),
                _ => None,
            }
        }
        _ => None,
    }
}
