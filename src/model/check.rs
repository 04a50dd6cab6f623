//! The whole check of a program, in order: names, each function by itself, the train block, the tests.
//!
//! What enters: a `Program`, a catalog, overrides. What leaves: `Checked`: the model, if there is a train block
//! and no error; test blocks; every message, in the order of the text.

use super::elaborate::{Elaborator, Frame, Mode, show};
use super::load::Program;
use super::settings::{Overrides, REPLACED, TrainSettings};
use super::tests_blocks::TestBlock;
use super::train::prune;
use super::value::Value;
use super::{Aggregate, Catalog, Model, Variable};
use crate::base::{DType, Dim, TensorType};
use crate::graph::rewrite::rewrite;
use crate::graph::{Graph, NodeId, Op};
use gradc_dsl::ast::{DimItem, ExprKind, Function, Item, Pattern, Train, Type};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use indexmap::IndexMap;
use smol_str::SmolStr;
use std::collections::HashSet;
use std::panic::resume_unwind;

/// What a check found.
#[derive(Clone, Default)]
pub struct Checked {
    /// The train block, elaborated; `None` without one, or with errors.
    pub model: Option<Model>,
    pub tests: Vec<TestBlock>,
    /// Errors and warnings, those of the user's file first, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

impl Checked {
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(Diagnostic::is_error)
    }
}

/// For the deepest tree that the parser lets through inside the deepest chain of calls (bytes; touched only when
/// needed).
const STACK: usize = 512 << 20;

/// Checks a program and elaborates its train block.
///
/// # Panics
/// If the system gives no thread.
pub fn check(program: &Program, catalog: &dyn Catalog, overrides: &Overrides) -> Checked {
    deep(|| check_here(program, catalog, overrides))
}

/// Does `work` on a thread with a stack for any model.
pub(super) fn deep<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
        let thread = thread.expect("the system gives a thread");
        thread.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn check_here(program: &Program, catalog: &dyn Catalog, overrides: &Overrides) -> Checked {
    let mut checked = Checked { diagnostics: program.diagnostics.clone(), ..Checked::default() };
    let none = HashSet::new();
    let empty_functions = IndexMap::new();
    let functions = functions(program, &mut checked.diagnostics);
    let no_globals = IndexMap::new();
    let mut first = Elaborator::new(program, &empty_functions, &no_globals, &none, Mode::Generic);
    let globals = globals(program, overrides, &mut first);
    merge(&mut checked.diagnostics, first.diagnostics);

    let mut broken = HashSet::new();
    for function in functions.values().filter(|f| !program.is_std(f.span.source)) {
        let found = check_function(program, &functions, &globals, &broken, function);
        if found.iter().any(Diagnostic::is_error) {
            broken.insert(function.name.text.clone());
        }
        merge(&mut checked.diagnostics, found);
    }

    let trains: Vec<&Train> = items(program)
        .filter_map(|item| match item {
            Item::Train(train) => Some(train),
            _ => None,
        })
        .filter(|train| train.span.source == 0)
        .collect();
    if let [first, second, ..] = trains[..] {
        checked.diagnostics.push(
            Diagnostic::error("E0514", "a file has one train block", second.name.span, "the second")
                .label(first.name.span, "the first")
                .help("put it into a file of its own, and import the functions that both need"),
        );
    }
    if let Some(train) = trains.first() {
        let parts = Parts { program, functions: &functions, globals: &globals, broken: &broken };
        let (model, found) = parts.train(train, catalog, overrides);
        merge(&mut checked.diagnostics, found);
        unknown_overrides(program, train, overrides, &mut checked.diagnostics);
        checked.model = model;
    }
    super::tests_blocks::collect(
        program,
        &functions,
        &globals,
        &broken,
        trains.first().copied(),
        &mut checked,
    );
    if checked.has_errors() {
        checked.model = None;
    }
    silence_consequences(program, &mut checked.diagnostics);
    checked.diagnostics.sort_by_key(|d| d.labels[0].span);
    checked
}

pub(super) struct Parts<'a> {
    pub program: &'a Program,
    pub functions: &'a IndexMap<SmolStr, &'a Function>,
    pub globals: &'a IndexMap<SmolStr, Value>,
    pub broken: &'a HashSet<SmolStr>,
}

impl<'a> Parts<'a> {
    fn elaborator(&self, mode: Mode) -> Elaborator<'a> {
        Elaborator::new(self.program, self.functions, self.globals, self.broken, mode)
    }

    fn train(
        &self,
        train: &'a Train,
        catalog: &dyn Catalog,
        overrides: &Overrides,
    ) -> (Option<Model>, Vec<Diagnostic>) {
        let mut cx = self.elaborator(Mode::Train);
        let settings = cx.settings(train, catalog, overrides);
        let minimizes =
            |s: &gradc_dsl::ast::TrainStatement| matches!(s, gradc_dsl::ast::TrainStatement::Minimize { .. });
        let syntax_fine = !self.program.diagnostics.iter().any(Diagnostic::is_error);
        if syntax_fine && !train.statements.iter().any(minimizes) {
            cx.report(
                Diagnostic::error(
                    "E0502",
                    format!("the train block `{}` minimizes nothing", train.name.text),
                    train.name.span,
                    "",
                )
                .help("say what is to become small: `minimize cross_entropy(guess, data.label) with adam()`"),
            );
        }
        // What training and evaluation are is found side by side: neither depends on the other.
        let (diagnostics, eval) = std::thread::scope(|scope| {
            let eval = || self.evaluation(train, &settings);
            let eval = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, eval);
            let found = cx.train_block(train, &settings);
            cx.finish(&found);
            let eval = eval.expect("the system gives a thread").join();
            (std::mem::take(&mut cx.diagnostics), eval.unwrap_or_else(|panic| resume_unwind(panic)))
        });
        if diagnostics.iter().any(Diagnostic::is_error) {
            return (None, diagnostics);
        }
        if eval.diagnostics.iter().any(Diagnostic::is_error) {
            return (None, eval.diagnostics);
        }
        let Some(run) = settings.settings() else { return (None, diagnostics) };
        if let Some(error) = too_large(&cx, run.batch).or(eval.too_large) {
            return (None, vec![error]);
        }
        let shadows: Vec<(SmolStr, SmolStr)> = cx.shadows.clone().into_iter().collect();
        let evaluation = with_shadows(&eval.graph, &cx.shadows);
        let mut predict = evaluation.clone();
        predict.outputs = eval.predictions;
        let (parameters, states): (Vec<Variable>, Vec<Variable>) =
            cx.leaves.into_iter().map(|(_, leaf)| leaf.variable).partition(|v| v.trained);
        let model = Model {
            name: train.name.text.clone(),
            metrics: cx.graph.outputs.iter().map(|(name, _)| name.clone()).collect(),
            train: prune(cx.graph),
            eval: prune(evaluation),
            predict: prune(predict),
            variables: parameters.into_iter().chain(states).collect(),
            shadows,
            aggregates: eval.aggregates,
            settings: run,
        };
        (Some(model), diagnostics)
    }

    fn evaluation(&self, train: &'a Train, settings: &TrainSettings) -> Evaluation {
        let mut cx = self.elaborator(Mode::Eval);
        let found = cx.train_block(train, settings);
        cx.finish(&found);
        cx.graph.updates.clear();
        let aggregates = found.reports.into_iter().filter_map(|report| report.aggregate);
        Evaluation {
            too_large: too_large(&cx, settings.batch),
            graph: cx.graph,
            predictions: found.predictions,
            aggregates: aggregates.map(|(all, _)| all).collect(),
            diagnostics: cx.diagnostics,
        }
    }
}

/// A train block with `training` false, before parameters' shadows take their places.
struct Evaluation {
    graph: Graph,
    predictions: Vec<(SmolStr, NodeId)>,
    aggregates: Vec<Aggregate>,
    diagnostics: Vec<Diagnostic>,
    too_large: Option<Diagnostic>,
}

/// The graph with each parameter that has a shadow replaced by it.
fn with_shadows(graph: &Graph, shadows: &IndexMap<SmolStr, SmolStr>) -> Graph {
    rewrite(graph, |new, node, _| match &node.op {
        Op::Param(path) => Some(new.state(shadows.get(path)?.clone(), node.ty.clone())),
        _ => None,
    })
}

/// More elements than the memory of any machine: sizes that are fine by themselves can have a product that is not.
const MAX_ELEMENTS: i64 = 1 << 40;

/// The first tensor of the graph that no machine could hold, with this many examples in a batch.
fn too_large(cx: &Elaborator, batch: u64) -> Option<Diagnostic> {
    let graph = &cx.graph;
    let batch_only = |symbol: &str| (symbol == "batch").then_some(batch as i64);
    let elements = |id| graph.ty(id).n_elements_at(&batch_only);
    let id = graph.ids().find(|id| elements(*id).is_none_or(|n| n > MAX_ELEMENTS))?;
    let message = format!("a tensor `{}` is larger than any machine's memory", show(graph.ty(id)));
    Some(
        Diagnostic::error("E0313", message, cx.users_place(id), "made here")
            .note(format!("`batch` is {batch}"))
            .help("make the batch or the sizes smaller"),
    )
}

fn items(program: &Program) -> impl Iterator<Item = &Item> {
    program.files.iter().flat_map(|file| &file.items)
}

/// A statement that could not be read leaves gaps in its function or block; what else is said of that one may only
/// follow from them. Warnings wait until everything can be read.
fn silence_consequences(program: &Program, diagnostics: &mut Vec<Diagnostic>) {
    let unread: Vec<Span> =
        program.diagnostics.iter().filter(|d| d.is_error()).map(|d| d.labels[0].span).collect();
    if unread.is_empty() {
        return;
    }
    let torn: Vec<Span> = items(program)
        .map(Item::span)
        .filter(|item| unread.iter().any(|span| item.overlaps(*span)))
        .collect();
    diagnostics.retain(|d| {
        let place = d.labels[0].span;
        program.diagnostics.contains(d) || d.is_error() && !torn.iter().any(|item| item.overlaps(place))
    });
}

/// Adds messages that are not there yet. Of two of one mistake the shorter stays: what a function does wrong by itself
/// needs no call to explain it.
pub(super) fn merge(all: &mut Vec<Diagnostic>, more: Vec<Diagnostic>) {
    for diagnostic in more {
        let same =
            |d: &&mut Diagnostic| d.code == diagnostic.code && d.labels[0].span == diagnostic.labels[0].span;
        match all.iter_mut().find(same) {
            Some(known) if diagnostic.labels.len() < known.labels.len() => *known = diagnostic,
            Some(_) => {}
            None => all.push(diagnostic),
        }
    }
}

/// All functions by name. A function of the user's hides one of the standard library.
pub(super) fn functions<'a>(
    program: &'a Program,
    diagnostics: &mut Vec<Diagnostic>,
) -> IndexMap<SmolStr, &'a Function> {
    let mut all: IndexMap<SmolStr, &Function> = IndexMap::new();
    let in_order = items(program).filter_map(|item| match item {
        Item::Function(function) => Some(function),
        _ => None,
    });
    for function in in_order {
        let name = &function.name;
        match all.get(&name.text) {
            None => {
                all.insert(name.text.clone(), function);
            }
            Some(_) if program.is_std(function.span.source) => {}
            Some(first) => diagnostics.push(
                Diagnostic::error(
                    "E0204",
                    format!("`{}` is defined twice", name.text),
                    name.span,
                    "the second time",
                )
                .label(first.name.span, "the first time")
                .help("give one of them another name"),
            ),
        }
        let mut seen: IndexMap<SmolStr, Span> = IndexMap::new();
        for parameter in &function.parameters {
            if let Some(first) = seen.insert(parameter.name.text.clone(), parameter.name.span) {
                diagnostics.push(
                    Diagnostic::error(
                        "E0205",
                        format!("`{}` has two arguments called `{}`", name.text, parameter.name.text),
                        parameter.name.span,
                        "the second",
                    )
                    .label(first, "the first")
                    .help("give one of them another name"),
                );
            }
        }
    }
    all
}

/// Top-level `let`s, with overrides.
pub(super) fn globals<'a>(
    program: &'a Program,
    overrides: &Overrides,
    cx: &mut Elaborator<'a>,
) -> IndexMap<SmolStr, Value> {
    let mut globals = IndexMap::new();
    for item in items(program) {
        let Item::Setting(binding) = item else { continue };
        let Pattern::Name(name) = &binding.pattern else { continue };
        let value = cx.expr(&binding.value);
        let value = overrides.get(&name.text).unwrap_or(value);
        cx.bind(&name.text, value.clone(), name.span);
        globals.insert(name.text.clone(), value);
    }
    globals
}

fn unknown_overrides(program: &Program, train: &Train, overrides: &Overrides, all: &mut Vec<Diagnostic>) {
    let mut known: Vec<SmolStr> = REPLACED.map(SmolStr::from).into_iter().collect();
    let lets = items(program).filter_map(|item| match item {
        Item::Setting(binding) => Some(&binding.pattern),
        _ => None,
    });
    let inside = train.statements.iter().filter_map(|s| match s {
        gradc_dsl::ast::TrainStatement::Let(binding) => Some(&binding.pattern),
        _ => None,
    });
    for pattern in lets.chain(inside) {
        if let Pattern::Name(name) = pattern {
            known.push(name.text.clone());
        }
    }
    for (name, _) in &overrides.0 {
        if !known.iter().any(|k| k == name) {
            let error = Diagnostic::error(
                "E0515",
                format!("there is nothing called `{name}` to set"),
                train.name.span,
                "in this train block",
            )
            .note(format!("what can be set: {}", known.join(", ")));
            all.push(match nearest(name, known.iter().map(SmolStr::as_str)) {
                Some(near) => error.help(format!("did you mean `--set {near}=…`?")),
                None => error.help("values that `let` binds at the top of the file can be set"),
            });
        }
    }
}

/// Checks a function by itself: sizes and untyped numbers are symbols.
pub(super) fn check_function<'a>(
    program: &'a Program,
    functions: &'a IndexMap<SmolStr, &'a Function>,
    globals: &'a IndexMap<SmolStr, Value>,
    broken: &'a HashSet<SmolStr>,
    function: &'a Function,
) -> Vec<Diagnostic> {
    let mut cx = Elaborator::new(program, functions, globals, broken, Mode::Generic);
    cx.frames.push(Frame::new(Some(function), None, function.name.text.clone()));
    name_sizes(&mut cx, function);
    let mut bound = Vec::new();
    for parameter in &function.parameters {
        let value = match &parameter.ty {
            None => cx.opaque(TensorType::scalar(DType::F32)),
            Some(Type::Dim(_)) => Value::Dim(Dim::symbol(parameter.name.text.clone())),
            Some(Type::Constant { .. } | Type::Tuple { .. }) => Value::Opaque,
            Some(ty) => match cx.declared(ty) {
                Some(ty) => cx.opaque(ty),
                None => Value::Error,
            },
        };
        if let Some(default) = &parameter.default {
            cx.expr(default);
        }
        bound.push((&parameter.name, value));
    }
    for (name, value) in bound {
        cx.bind(&name.text, value, name.span);
    }
    cx.run_body(function);
    // What is unused in a broken function may be only so because of the error.
    if cx.n_errors() > 0 {
        cx.diagnostics.retain(Diagnostic::is_error);
    }
    cx.diagnostics
}

/// Gives every size in the signature's arguments a symbol of its name.
fn name_sizes<'a>(cx: &mut Elaborator<'a>, function: &'a Function) {
    for parameter in &function.parameters {
        let name = &parameter.name;
        match &parameter.ty {
            Some(Type::Dim(_)) => cx.bind(&name.text, Value::Dim(Dim::symbol(name.text.clone())), name.span),
            Some(Type::Tensor { dims, .. }) => {
                for (position, item) in dims.iter().enumerate() {
                    match item {
                        DimItem::Rest(span) if position == 0 => {
                            cx.frame().rest = Some((vec![Dim::symbol("..")], *span));
                        }
                        DimItem::Rest(_) => {}
                        DimItem::Dim(expr) => {
                            let named = match &expr.kind {
                                ExprKind::Name(symbol) => Some(symbol),
                                _ => super::bind::unknown_factor(expr).map(|(_, symbol)| symbol),
                            };
                            if let Some(symbol) = named
                                && cx.globals.get(symbol).is_none()
                            {
                                let at = (Dim::symbol(symbol.clone()), expr.span);
                                cx.frame().dims.entry(symbol.clone()).or_insert(at);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
    }
}
