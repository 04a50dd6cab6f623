//! How parameters are called: the segment of a path that each call contributes.
//!
//! What enters: a function's body. What leaves: call's place to segment. A call directly bound by `let NAME`
//! gives NAME; otherwise the function's name, with `.i` when the body calls it more than once. Counting is by the
//! text, so a `repeat` counts its body once.

use gradc_dsl::Span;
use gradc_dsl::ast::{Argument, ArgumentValue, Block, Expr, ExprKind, Index, Pattern, Statement};
use smol_str::{SmolStr, format_smolstr};
use std::collections::HashMap;

/// A path with one more name: behind its end, or in an optimizer's state, `adam.m/classifier.w`, behind the stage.
pub(super) fn longer(path: &str, name: &str) -> SmolStr {
    match path.split_once('/') {
        Some((stage, parameter)) => format_smolstr!("{stage}.{name}/{parameter}"),
        None => format_smolstr!("{path}.{name}"),
    }
}

/// Segments by the call's span (of the callee's name, which is unique).
#[derive(Default, Debug)]
pub(super) struct Segments(HashMap<Span, SmolStr>);

impl Segments {
    pub(super) fn of(body: &Block) -> Segments {
        let mut calls = Vec::new();
        walk_block(body, &mut calls);
        let mut counts: HashMap<SmolStr, usize> = HashMap::new();
        for (_, callee, _) in calls.iter().filter(|(_, _, name)| name.is_none()) {
            *counts.entry(callee.clone()).or_default() += 1;
        }
        let mut seen: HashMap<SmolStr, usize> = HashMap::new();
        let mut segments = HashMap::new();
        for (span, callee, name) in calls {
            let segment = match name {
                Some(name) => name,
                None if counts[&callee] == 1 => callee,
                None => {
                    let turn = seen.entry(callee.clone()).or_default();
                    *turn += 1;
                    format_smolstr!("{callee}.{}", *turn - 1)
                }
            };
            segments.insert(span, segment);
        }
        Segments(segments)
    }

    /// All that were counted.
    pub(super) fn all(&self) -> impl Iterator<Item = &SmolStr> {
        self.0.values()
    }

    /// The segment of the call whose callee stands at `span`; `name` where none was counted.
    pub(super) fn segment(&self, span: Span, name: &SmolStr) -> SmolStr {
        self.0.get(&span).unwrap_or(name).clone()
    }
}

/// Place of the callee, its name, and the `let` that names the call.
type Calls = Vec<(Span, SmolStr, Option<SmolStr>)>;

fn walk_block(block: &Block, calls: &mut Calls) {
    for statement in &block.statements {
        match statement {
            Statement::Let(binding) => {
                let name = match &binding.pattern {
                    Pattern::Name(name) => Some(name.text.clone()),
                    _ => None,
                };
                walk(&binding.value, name, calls);
            }
            Statement::Param(declaration)
            | Statement::State(declaration)
            | Statement::Shadow(declaration) => walk(&declaration.initial, None, calls),
            Statement::Update { value, .. } => walk(value, None, calls),
            Statement::Expr(expr) => walk(expr, None, calls),
        }
    }
    if let Some(value) = &block.value {
        walk(value, None, calls);
    }
}

/// What a call calls: where a mark is put on a call, parameters keep their names.
fn called<'a>(function: &'a SmolStr, arguments: &'a [Argument]) -> &'a SmolStr {
    let named = arguments.iter().find_map(|argument| match &argument.value {
        ArgumentValue::Expr(Expr { kind: ExprKind::Name(name), .. }) => Some(name),
        _ => None,
    });
    match named {
        Some(named) if function == "recompute" => named,
        _ => function,
    }
}

fn walk(expr: &Expr, name: Option<SmolStr>, calls: &mut Calls) {
    let mut visit = |e: &Expr| walk(e, None, calls);
    match &expr.kind {
        ExprKind::Call { callee, arguments } => {
            if let ExprKind::Name(function) = &callee.kind {
                calls.push((callee.span, called(function, arguments).clone(), name));
            }
            for argument in arguments {
                if let ArgumentValue::Expr(value) = &argument.value {
                    walk(value, None, calls);
                }
            }
        }
        ExprKind::Pipe(left, right) => {
            visit(left);
            // A bare name on the right is a call too.
            if let ExprKind::Name(function) = &right.kind {
                calls.push((right.span, function.clone(), name));
            } else {
                walk(right, name, calls);
            }
        }
        ExprKind::Field(base, _) | ExprKind::Unary(_, base) | ExprKind::Paren(base) => visit(base),
        ExprKind::Binary(_, left, right) => {
            visit(left);
            visit(right);
        }
        ExprKind::Index { base, indices } => {
            visit(base);
            for index in indices {
                match index {
                    Index::Expr(e) => walk(e, None, calls),
                    Index::Range { start, end, step, .. } => {
                        for e in [start, end, step].into_iter().flatten() {
                            walk(e, None, calls);
                        }
                    }
                    Index::Rest(_) => {}
                }
            }
        }
        ExprKind::Repeat { count, body } => {
            visit(count);
            walk_body(body, calls);
        }
        ExprKind::Tuple(items) | ExprKind::List(items) => items.iter().for_each(visit),
        ExprKind::If { condition, then, otherwise } => {
            visit(condition);
            walk_block(then, calls);
            if let Some(otherwise) = otherwise {
                walk_block(otherwise, calls);
            }
        }
        ExprKind::IndexReduce { body, .. } => visit(body),
        ExprKind::Block(block) => walk_block(block, calls),
        ExprKind::Turns(turns) => {
            let first = turns.over.iter().chain(&turns.carried).map(|(_, value)| value);
            first.chain(&turns.along).chain(&turns.segments).for_each(visit);
            walk_block(&turns.body, calls);
        }
        ExprKind::Number { .. }
        | ExprKind::Text(_)
        | ExprKind::Bool(_)
        | ExprKind::Name(_)
        | ExprKind::Error => {}
    }
}

/// The body of a `repeat`, whose first stage may be a bare name.
fn walk_body(body: &Block, calls: &mut Calls) {
    let mut first = body.value.as_deref();
    while let Some(Expr { kind: ExprKind::Pipe(left, _), .. }) = first {
        first = Some(left);
    }
    if let Some(Expr { kind: ExprKind::Name(function), span }) = first {
        calls.push((*span, function.clone(), None));
    }
    walk_block(body, calls);
}
