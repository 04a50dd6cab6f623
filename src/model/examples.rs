//! Examples in documentation: claims about a function's values, ready to be computed.
//!
//! What enters: a program, and the text of an example as it stands indented in a doc comment: `let`s, calls, and
//! comparisons such as `relu([-1, 0, 2]) == [0, 0, 2]`. What leaves: an `Example`, a model whose one step computes both
//! sides of every claim; or what is wrong with the text. `step` and `steps` are what the example's `let`s say.
//! An optimizer that is called gives the parameter's next value, its states fresh. Not here: computing, comparing.

use super::check;
use super::elaborate::{Elaborator, Frame, Mode};
use super::load::Program;
use super::value::Value;
use super::{DataCall, Model, Settings};
use crate::graph::{Graph, NodeId};
use gradc_dsl::ast::{BinaryOp, Expr, ExprKind, Function, Item, Let, Pattern, Statement};
use gradc_dsl::{Diagnostic, SourceMap, Span, parse};
use indexmap::IndexMap;
use smol_str::{SmolStr, format_smolstr};
use std::collections::HashSet;

/// An example, elaborated.
pub struct Example {
    /// A training program that computes the outputs `leftN` and `rightN` of the claim N, and nothing else.
    pub model: Model,
    /// The value of `step` in it.
    pub step: u64,
    pub claims: Vec<Claim>,
    /// For places in messages: the program's texts, and the example's.
    pub sources: SourceMap,
}

/// A comparison that is to hold for every element.
pub struct Claim {
    pub op: BinaryOp,
    pub span: Span,
}

/// The function that an example's text becomes the body of.
const WRAPPER: &str = "_example";

/// Elaborates the example `text` of the function `name`.
///
/// # Errors
/// What is wrong with it, and the texts that the places are in.
pub fn example(program: &Program, name: &str, text: &str) -> Result<Example, (Vec<Diagnostic>, SourceMap)> {
    let mut program = program.clone();
    let text = format!("fn {WRAPPER}() {{\n{text}\n}}\n");
    let source = program.sources.add(format!("example of {name}"), text.clone());
    let (file, errors) = parse(source, &text);
    program.files.push(file);
    let elaborated = if errors.is_empty() { check::deep(|| elaborate(&program)) } else { Err(errors) };
    match elaborated {
        Ok((model, step, claims)) => Ok(Example { model, step, claims, sources: program.sources }),
        Err(errors) => Err((errors, program.sources)),
    }
}

fn elaborate(program: &Program) -> Result<(Model, u64, Vec<Claim>), Vec<Diagnostic>> {
    let (none, nothing, no_globals) = (HashSet::new(), IndexMap::new(), IndexMap::new());
    let mut diagnostics = Vec::new();
    let functions = check::functions(program, &mut diagnostics);
    let mut first = Elaborator::new(program, &nothing, &no_globals, &none, Mode::Generic);
    let globals = check::globals(program, &Default::default(), &mut first);
    let mut cx = Elaborator::new(program, &functions, &globals, &none, Mode::Train);
    cx.calls_optimizers = true;
    let own = program.files.last().and_then(|file| match file.items.first() {
        Some(Item::Function(function)) => Some(function),
        _ => None,
    });
    let own: &Function = own.expect("the text was wrapped in a function");
    let step = number_named("step", own).unwrap_or(0);
    cx.steps = Some(number_named("steps", own).unwrap_or(100));
    cx.frames.push(Frame::new(Some(own), None, SmolStr::default()));

    let mut claims = Vec::new();
    for statement in &own.body.statements {
        match statement {
            Statement::Expr(expr) => claims.extend(cx.example_claim(expr, claims.len())),
            other => cx.statement(other),
        }
    }
    if let Some(expr) = &own.body.value {
        claims.extend(cx.example_claim(expr, claims.len()));
    }
    diagnostics.append(&mut cx.diagnostics);
    diagnostics.retain(Diagnostic::is_error);
    if !diagnostics.is_empty() {
        return Err(diagnostics);
    }
    let data = DataCall { source: "none".into(), arguments: Vec::new(), span: Span::default() };
    let settings = Settings {
        data,
        test: None,
        valid: None,
        batch: 1,
        epochs: 1,
        steps: None,
        seed: 0,
        shuffle: false,
        precision: Default::default(),
    };
    let model = Model {
        name: WRAPPER.into(),
        train: super::train::prune(cx.graph.clone()),
        eval: Graph::new(),
        predict: Graph::new(),
        variables: cx.leaves.into_values().map(|leaf| leaf.variable).collect(),
        shadows: Vec::new(),
        aggregates: Vec::new(),
        metrics: Vec::new(),
        settings,
    };
    Ok((model, step, claims))
}

/// `let NAME = 3` in the example's text.
fn number_named(name: &str, own: &Function) -> Option<u64> {
    own.body.statements.iter().find_map(|statement| match statement {
        Statement::Let(Let { pattern: Pattern::Name(bound), value, .. }) if bound.text == name => {
            match value.kind {
                ExprKind::Number { value, .. } => Some(value as u64),
                _ => None,
            }
        }
        _ => None,
    })
}

impl<'a> Elaborator<'a> {
    /// Both sides of a comparison as outputs; a call by itself has only to be possible.
    fn example_claim(&mut self, expr: &'a Expr, index: usize) -> Option<Claim> {
        let ExprKind::Binary(op, left, right) = &expr.kind else {
            self.expr(expr);
            return None;
        };
        if !op.compares() {
            self.expr(expr);
            return None;
        }
        let (left, right) = (self.example_side(left)?, self.example_side(right)?);
        self.graph.outputs.push((format_smolstr!("left{index}"), left));
        self.graph.outputs.push((format_smolstr!("right{index}"), right));
        Some(Claim { op: *op, span: expr.span })
    }

    fn example_side(&mut self, expr: &'a Expr) -> Option<NodeId> {
        let value = self.expr(expr);
        let id = match &value {
            Value::Tensor(id) => *id,
            other => self.tensor(other, expr.span)?,
        };
        // A leaf cannot be an output of itself.
        self.graph.cast(id, crate::base::DType::F32).ok()
    }
}
