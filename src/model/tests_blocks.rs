//! `test` blocks: what a model's author claims of it.
//!
//! What enters: the file's `test` blocks. What leaves: `TestBlock`s, claims with numbers evaluated; running them is
//! the CLI's business. A test names the train block; or a function, of which the variables and the graph are
//! given for the sizes in the test's arguments.

use super::Variable;
use super::check::Checked;
use super::elaborate::{Elaborator, Frame, Mode};
use super::load::Program;
use super::value::{Given, Value};
use crate::base::{DType, Dim, TensorType};
use crate::graph::Graph;
use gradc_dsl::ast::{
    ArgumentValue, BinaryOp, Claim, DimItem, Expr, ExprKind, Function, Item, Test, Train, Type,
};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use indexmap::IndexMap;
use smol_str::SmolStr;
use std::collections::HashSet;

/// A `test` block, ready to be run.
#[derive(Clone)]
pub struct TestBlock {
    pub name: SmolStr,
    pub span: Span,
    pub subject: Subject,
    pub claims: Vec<CheckedClaim>,
}

/// What a test speaks of.
#[derive(Clone)]
pub enum Subject {
    /// The file's train block: `Checked::model`.
    Train,
    /// A function, elaborated by itself; the graph's outputs are its results.
    Function { graph: Box<Graph>, variables: Vec<Variable> },
}

#[derive(Clone, Debug)]
pub enum CheckedClaim {
    /// `params == 52_650`: `quantity` is `params`, `kernels`, `memory`, `flops`…
    Compare {
        quantity: SmolStr,
        device: Option<SmolStr>,
        op: BinaryOp,
        value: f64,
        span: Span,
    },
    GradCheck(Span),
    /// `loss at 0 in 2.0..2.8`
    InRange {
        metric: SmolStr,
        at: u64,
        low: f64,
        high: f64,
        span: Span,
    },
}

/// Quantities that `Compare` knows.
const QUANTITIES: [&str; 6] = ["params", "kernels", "memory", "flops", "states", "nodes"];

pub(super) fn collect<'a>(
    program: &'a Program,
    functions: &'a IndexMap<SmolStr, &'a Function>,
    globals: &'a IndexMap<SmolStr, Value>,
    broken: &'a HashSet<SmolStr>,
    train: Option<&'a Train>,
    checked: &mut Checked,
) {
    let tests: Vec<&'a Test> = program
        .files
        .iter()
        .filter(|f| f.span.source == 0)
        .flat_map(|f| &f.items)
        .filter_map(|item| match item {
            Item::Test(test) => Some(test),
            _ => None,
        })
        .collect();
    for test in tests {
        let mut cx = Elaborator::new(program, functions, globals, broken, Mode::Train);
        let subject = match (train, functions.get(&test.name.text).copied()) {
            (Some(train), _) if train.name.text == test.name.text && test.arguments.is_empty() => {
                Some(Subject::Train)
            }
            (_, Some(function)) => cx.test_subject(function, test),
            _ => {
                let known = functions.keys().map(SmolStr::as_str).chain(train.map(|t| t.name.text.as_str()));
                let error = Diagnostic::error(
                    "E0601",
                    format!("there is no `{}` to test", test.name.text),
                    test.name.span,
                    "not a function or a train block",
                );
                cx.report(match nearest(&test.name.text, known) {
                    Some(near) => error.help(format!("did you mean `{near}`?")),
                    None => error.help("name a function or the train block of this file"),
                });
                None
            }
        };
        let claims: Vec<CheckedClaim> = test.claims.iter().filter_map(|claim| cx.claim(claim)).collect();
        super::check::merge(&mut checked.diagnostics, std::mem::take(&mut cx.diagnostics));
        if let Some(subject) = subject {
            checked.tests.push(TestBlock { name: test.name.text.clone(), span: test.span, subject, claims });
        }
    }
}

impl<'a> Elaborator<'a> {
    fn test_subject(&mut self, function: &'a Function, test: &'a Test) -> Option<Subject> {
        let mut sizes: IndexMap<SmolStr, Value> = IndexMap::new();
        for argument in &test.arguments {
            if let (Some(name), ArgumentValue::Expr(expr)) = (&argument.name, &argument.value) {
                let value = self.expr(expr);
                sizes.insert(name.text.clone(), value);
            }
        }
        let mut given = Vec::new();
        let mut frame = Frame::new(None, None, SmolStr::default());
        for (name, value) in &sizes {
            if let Value::Dim(d) = value {
                frame.dims.insert(name.clone(), (d.clone(), test.span));
            }
        }
        self.frames.push(frame);
        for parameter in &function.parameters {
            let value = match (sizes.get(&parameter.name.text), &parameter.ty) {
                (Some(value), _) => value.clone(),
                (None, Some(Type::Tensor { dtype, dims, .. })) => {
                    let dtype = self.dtype(dtype)?;
                    let mut shape = Vec::new();
                    for item in dims {
                        match item {
                            DimItem::Rest(_) => shape.push(Dim::symbol("batch")),
                            DimItem::Dim(expr) => match &expr.kind {
                                ExprKind::Name(n) if self.lookup(n).is_none() => {
                                    shape.push(Dim::symbol("batch"))
                                }
                                _ => shape.push(self.size(expr)?),
                            },
                        }
                    }
                    let ty = TensorType::new(dtype, shape);
                    Value::Tensor(self.input(&parameter.name.text, ty))
                }
                (None, _) if parameter.default.is_some() => continue,
                (None, None) => {
                    Value::Tensor(self.input(&parameter.name.text, TensorType::scalar(DType::F32)))
                }
                (None, Some(_)) => {
                    self.report(
                        Diagnostic::error(
                            "E0401",
                            format!("the test of `{}` needs `{}`", function.name.text, parameter.name.text),
                            test.name.span,
                            "",
                        )
                        .help(format!(
                            "write `test {}({} = 64) {{ … }}`",
                            test.name.text, parameter.name.text
                        )),
                    );
                    return None;
                }
            };
            given.push(Given {
                name: Some(parameter.name.clone()),
                ..Given::positional(value, test.name.span)
            });
        }
        self.frames.pop();
        let value = self.call(function, given, test.name.span, function.name.text.clone());
        let results = match value {
            Value::Tuple(items) | Value::List(items) => items,
            Value::Error => return None,
            one => vec![one],
        };
        for (i, result) in results.iter().enumerate() {
            if let Value::Tensor(id) = result {
                self.graph.outputs.push((SmolStr::from(format!("result{i}")), *id));
            }
        }
        let graph = Box::new(super::train::prune(self.graph.clone()));
        let variables = self.leaves.values().map(|leaf| leaf.variable.clone()).collect();
        Some(Subject::Function { graph, variables })
    }

    fn claim(&mut self, claim: &'a Claim) -> Option<CheckedClaim> {
        match claim {
            Claim::GradCheck(span) => Some(CheckedClaim::GradCheck(*span)),
            Claim::Compare { left, op, right, span } => {
                let (name, device, at) = match &left.kind {
                    ExprKind::Name(name) => (name.clone(), None, left.span),
                    ExprKind::Call { callee, arguments } => match (&callee.kind, arguments.first()) {
                        (ExprKind::Name(name), argument) => {
                            let device = argument.and_then(|a| match &a.value {
                                ArgumentValue::Expr(Expr { kind: ExprKind::Name(d), .. }) => Some(d.clone()),
                                _ => None,
                            });
                            (name.clone(), device, callee.span)
                        }
                        _ => return None,
                    },
                    ExprKind::Error => return None,
                    _ => (SmolStr::default(), None, left.span),
                };
                if !QUANTITIES.contains(&name.as_str()) {
                    let message = match name.as_str() {
                        "" => "this is nothing that a test can claim".to_owned(),
                        name => format!("`{name}` is nothing that a test can claim"),
                    };
                    let error = Diagnostic::error("E0602", message, at, "not known")
                        .note(format!("what can be claimed: {}", QUANTITIES.join(", ")));
                    self.report(match nearest(&name, QUANTITIES) {
                        Some(near) => error.help(format!("did you mean `{near}`?")),
                        None => error.help("write, for example, `params == 52_650`"),
                    });
                    return None;
                }
                let value = self.claim_number(right)?;
                Some(CheckedClaim::Compare { quantity: name, device, op: *op, value, span: *span })
            }
            Claim::InRange { metric, at, low, high, span } => {
                let (at, low, high) =
                    (self.claim_number(at)?, self.claim_number(low)?, self.claim_number(high)?);
                Some(CheckedClaim::InRange {
                    metric: metric.text.clone(),
                    at: at.max(0.0) as u64,
                    low,
                    high,
                    span: *span,
                })
            }
        }
    }

    fn claim_number(&mut self, expr: &'a Expr) -> Option<f64> {
        let value = self.expr(expr);
        if matches!(value, Value::Error) {
            return None;
        }
        let number = value.as_number();
        if number.is_none() {
            let found = self.describe(&value);
            self.error(
                "E0602",
                format!("a claim needs a number, not {found}"),
                expr.span,
                "",
                "write a number, such as `52_650`",
            );
        }
        number
    }
}
