//! The elaborator: runs a model's text abstractly, with tensors as graph nodes and everything else as values
//! known when compiled.
//!
//! What enters: functions, settings, and what stands for their arguments. What leaves: a graph and diagnostics.
//! Two uses of one machine: each function is checked by itself, its sizes as symbols (`Mode::Generic`); the train
//! block is elaborated with the real sizes (`Mode::Train`, `Mode::Eval`). Invariant: an error is reported once,
//! where it was found first, and its value is `Value::Error`, on which all operations are silent.

use super::Variable;
use super::load::Program;
use super::params::Kind;
use super::paths::Segments;
use super::value::Value;
use crate::base::{DType, Dim, TensorType};
use crate::graph::{Graph, NodeId};
use gradc_dsl::ast::{Block, Function, Let, Pattern, Statement};
use gradc_dsl::{Diagnostic, Label, Severity, Span};
use indexmap::IndexMap;
use smol_str::SmolStr;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// More nodes than any model that is ever trained; past it something repeats without end.
pub(super) const MAX_NODES: usize = 200_000;
/// More blocks than any model runs through, even where they make no nodes.
pub(super) const MAX_BLOCKS: usize = 50_000;
/// Deeper calls than any sensible model.
pub(super) const MAX_CALLS: usize = 100;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    /// A function by itself; sizes are symbols, conditions may be undecidable.
    Generic,
    Train,
    /// `training` is false and nothing is updated.
    Eval,
}

#[derive(Clone)]
pub(super) struct Binding {
    pub value: Value,
    pub span: Span,
    pub used: bool,
}

/// A value that a scan carries.
#[derive(Clone, Copy)]
pub(super) struct Carried {
    pub stand_in: NodeId,
    pub next: NodeId,
}

/// A call that is being elaborated.
pub(super) struct Frame<'a> {
    pub function: Option<&'a Function>,
    /// Where it was called.
    pub call: Option<Span>,
    pub scopes: Vec<IndexMap<SmolStr, Binding>>,
    /// Sizes named in the signature.
    pub dims: IndexMap<SmolStr, (Dim, Span)>,
    /// What `..` stands for.
    pub rest: Option<(Vec<Dim>, Span)>,
    /// Where its parameters live, `classifier.dense.0`; empty at the top.
    pub path: SmolStr,
    pub segments: Rc<Segments>,
    /// `.2` inside the third turn of a `repeat`.
    pub turn: Option<usize>,
    /// States declared here: name to leaf.
    pub states: HashMap<SmolStr, NodeId>,
    /// The parameters that the call gave; `None` while a function is checked by itself.
    pub given: Option<HashSet<SmolStr>>,
    /// Parameters and states declared here, with their places.
    pub declared: HashMap<SmolStr, Span>,
    /// What a signature calls the axes of an argument.
    pub axis_names: HashMap<NodeId, Vec<Option<SmolStr>>>,
    /// Names carried by the scans around, innermost last: stand-ins, and the next values so far.
    pub carried: Vec<IndexMap<SmolStr, Carried>>,
    /// In an optimizer stage: the parameter's name and, once assigned, its next value.
    pub optimized: Option<(SmolStr, Option<NodeId>)>,
}

impl<'a> Frame<'a> {
    /// The frame of a function that is called once at most.
    pub(super) fn new(function: Option<&'a Function>, call: Option<Span>, path: SmolStr) -> Frame<'a> {
        let segments = function.map(|f| Segments::of(&f.body)).unwrap_or_default();
        Frame::with(function, call, path, Rc::new(segments))
    }

    fn with(
        function: Option<&'a Function>,
        call: Option<Span>,
        path: SmolStr,
        segments: Rc<Segments>,
    ) -> Frame<'a> {
        Frame {
            function,
            call,
            scopes: vec![IndexMap::new()],
            dims: IndexMap::new(),
            rest: None,
            path,
            segments,
            turn: None,
            states: HashMap::new(),
            given: None,
            declared: HashMap::new(),
            axis_names: HashMap::new(),
            carried: Vec::new(),
            optimized: None,
        }
    }
}

/// A variable with its leaf in the graph that is being built.
pub(super) struct Leaf {
    pub variable: Variable,
    /// The innermost call in the user's text that led here.
    pub call: Option<Span>,
    pub node: NodeId,
}

pub(super) struct Elaborator<'a> {
    pub program: &'a Program,
    pub functions: &'a IndexMap<SmolStr, &'a Function>,
    pub globals: &'a IndexMap<SmolStr, Value>,
    /// Functions with errors of their own: calls of them say nothing more.
    pub broken: &'a HashSet<SmolStr>,
    pub mode: Mode,
    pub graph: Graph,
    pub frames: Vec<Frame<'a>>,
    /// By function, those that were called so far.
    segments: HashMap<*const Function, Rc<Segments>>,
    pub leaves: IndexMap<SmolStr, Leaf>,
    pub diagnostics: Vec<Diagnostic>,
    pub n_sites: u32,
    pub inputs: IndexMap<SmolStr, NodeId>,
    /// Fields of the data, as batches.
    pub fields: Option<IndexMap<SmolStr, TensorType>>,
    /// Sizes that the data decide: `data.vocab`.
    pub sizes: HashMap<SmolStr, i64>,
    /// `steps` and `epochs`, where they are known.
    pub steps: Option<u64>,
    pub epochs: Option<u64>,
    pub over: Option<super::over::Over>,
    /// Parameters to the states that stand for them in evaluation, both by path.
    pub shadows: IndexMap<SmolStr, SmolStr>,
    /// While a report is elaborated: what it takes of all batches.
    pub contributions: Option<Vec<super::metrics::Contribution>>,
    /// How many steps share an update.
    pub accumulate: u64,
    /// Whether an optimizer may be called like any function, as in examples.
    pub calls_optimizers: bool,
    /// Blocks elaborated so far.
    pub n_blocks: usize,
    /// The nodes that each call of the standard library in the user's text has made.
    pub library_calls: Vec<(std::ops::Range<usize>, Span)>,
}

impl<'a> Elaborator<'a> {
    pub(super) fn new(
        program: &'a Program,
        functions: &'a IndexMap<SmolStr, &'a Function>,
        globals: &'a IndexMap<SmolStr, Value>,
        broken: &'a HashSet<SmolStr>,
        mode: Mode,
    ) -> Elaborator<'a> {
        Elaborator {
            program,
            functions,
            globals,
            broken,
            mode,
            graph: Graph::new(),
            frames: vec![Frame::new(None, None, SmolStr::default())],
            segments: HashMap::new(),
            leaves: IndexMap::new(),
            diagnostics: Vec::new(),
            n_sites: 0,
            inputs: IndexMap::new(),
            fields: None,
            sizes: HashMap::new(),
            steps: None,
            epochs: None,
            over: None,
            shadows: IndexMap::new(),
            contributions: None,
            accumulate: 1,
            calls_optimizers: false,
            n_blocks: 0,
            library_calls: Vec::new(),
        }
    }

    /// The frame of a call; the segments of each function are worked out once.
    pub(super) fn frame_of(&mut self, function: &'a Function, call: Span, path: SmolStr) -> Frame<'a> {
        let known = self.segments.entry(std::ptr::from_ref(function));
        let segments = known.or_insert_with(|| Rc::new(Segments::of(&function.body))).clone();
        Frame::with(Some(function), Some(call), path, segments)
    }

    pub(super) fn frame(&mut self) -> &mut Frame<'a> {
        self.frames.last_mut().expect("there is always a frame")
    }

    /// Reports, and gives the value that silences what follows from it. Where the place is inside the standard
    /// library, the call in the user's text comes first.
    pub(super) fn report(&mut self, mut diagnostic: Diagnostic) -> Value {
        let place = diagnostic.labels[0].span;
        if let Some(call) = self.users_call().filter(|call| *call != place) {
            if self.program.is_std(place.source) {
                diagnostic.labels.insert(0, Label { span: call, text: "in this call".into() });
            } else if !diagnostic.labels.iter().any(|l| l.span.overlaps(call)) {
                // Perhaps found with the sizes of this call only: they are part of the cause.
                diagnostic.labels.push(Label { span: call, text: "in this call".into() });
            }
        }
        let same =
            |d: &Diagnostic| d.code == diagnostic.code && d.labels[0].span == diagnostic.labels[0].span;
        if !self.diagnostics.iter().any(same) {
            self.diagnostics.push(diagnostic);
        }
        Value::Error
    }

    /// The innermost call that stands in the user's text.
    pub(super) fn users_call(&self) -> Option<Span> {
        self.frames.iter().rev().filter_map(|f| f.call).find(|s| !self.program.is_std(s.source))
    }

    /// The place in the user's text that a node comes from.
    pub(super) fn users_place(&self, id: NodeId) -> Span {
        let made = self.graph.node(id).origin.span.filter(|span| !self.program.is_std(span.source));
        let call = self.library_calls.iter().find(|(nodes, _)| nodes.contains(&id.index()));
        made.or(call.map(|(_, span)| *span)).unwrap_or_default()
    }

    pub(super) fn error(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        text: impl Into<String>,
        help: &str,
    ) -> Value {
        self.report(Diagnostic::error(code, message, span, text).help(help))
    }

    pub(super) fn n_errors(&self) -> usize {
        self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count()
    }

    /// A tensor of which only the type is known (generic checking).
    pub(super) fn opaque(&mut self, ty: TensorType) -> Value {
        Value::Tensor(self.graph.input("(unknown)", ty))
    }

    pub(super) fn bind(&mut self, name: &SmolStr, value: Value, span: Span) {
        let scope = self.frame().scopes.last_mut().expect("a frame has a scope");
        scope.insert(name.clone(), Binding { value, span, used: false });
    }

    pub(super) fn push_scope(&mut self) {
        self.frame().scopes.push(IndexMap::new());
    }

    pub(super) fn pop_scope(&mut self) {
        let scope = self.frame().scopes.pop().unwrap_or_default();
        self.warn_unused(scope, "let");
    }

    /// Warns of names that were never read. Names that start with `_` are meant so.
    pub(super) fn warn_unused(&mut self, scope: IndexMap<SmolStr, Binding>, what: &str) {
        if self.mode != Mode::Generic {
            return;
        }
        for (name, binding) in scope {
            if !binding.used && !name.starts_with('_') && !self.program.is_std(binding.span.source) {
                self.report(
                    Diagnostic::warning("W0601", format!("`{name}` is never used"), binding.span, "").help(
                        match what {
                            "parameter" => {
                                format!("use it, or remove it from the function; `_{name}` keeps it silently")
                            }
                            _ => format!("remove it, or call it `_{name}` to keep it"),
                        },
                    ),
                );
            }
        }
    }

    /// Statements and value of a block in a scope of its own. `None`: the block has no value.
    pub(super) fn block(&mut self, block: &'a Block, piped: Option<(Value, Span)>) -> Option<Value> {
        self.push_scope();
        let value = self.block_here(block, piped);
        self.pop_scope();
        value
    }

    pub(super) fn block_here(&mut self, block: &'a Block, piped: Option<(Value, Span)>) -> Option<Value> {
        self.n_blocks += 1;
        if self.graph.len() > MAX_NODES || self.n_blocks > MAX_BLOCKS {
            return Some(self.too_large());
        }
        for statement in &block.statements {
            self.statement(statement);
        }
        let value = block.value.as_ref()?;
        Some(match piped {
            Some((piped, span)) => self.receive(piped, span, value),
            None => self.expr(value),
        })
    }

    /// Said once, at the outermost call; all that is still under way then ends at once.
    fn too_large(&mut self) -> Value {
        if self.diagnostics.iter().any(|d| d.code == "E0413") {
            return Value::Error;
        }
        let calls = self.frames.iter().filter_map(|f| f.call.or(f.function.map(|f| f.name.span)));
        let span = calls.into_iter().next().unwrap_or_default();
        let error = Diagnostic::error(
            "E0413",
            "this model is too large",
            span,
            "it does not come to an end in sensible time",
        )
        .note(format!("more than {MAX_NODES} operations, or {MAX_BLOCKS} calls and turns of `repeat`"))
        .help("a count of `repeat` is probably a slip, or functions that call others twice are stacked too high");
        self.diagnostics.push(error);
        Value::Error
    }

    pub(super) fn statement(&mut self, statement: &'a Statement) {
        match statement {
            Statement::Let(binding) => self.let_statement(binding),
            Statement::Param(declaration) => self.declare(declaration, Kind::Param),
            Statement::State(declaration) => self.declare(declaration, Kind::State),
            Statement::Shadow(declaration) => self.declare(declaration, Kind::Shadow),
            Statement::Update { target, value, .. } => self.update(target, value),
            Statement::Expr(expr) => {
                let value = self.expr(expr);
                if !matches!(value, Value::Error) {
                    self.report(
                        Diagnostic::warning("W0602", "this value is not used", expr.span, "")
                            .help("give it a name with `let`, or remove it"),
                    );
                }
            }
        }
    }

    pub(super) fn let_statement(&mut self, binding: &'a Let) {
        if let Pattern::Indexed { name, indices, .. } = &binding.pattern {
            let value = self.index_notation(name, indices, &binding.value);
            self.bind(&name.text, value, name.span);
            return;
        }
        let mut value = self.expr(&binding.value);
        if let Some(ty) = &binding.ty {
            value = self.check_type(ty, value, binding.value.span, "this `let` declares");
        }
        match &binding.pattern {
            Pattern::Name(name) => self.bind(&name.text, value, name.span),
            Pattern::Tuple(names, span) => match value {
                Value::Tuple(items) | Value::List(items) => {
                    if items.len() != names.len() {
                        self.report(
                            Diagnostic::error(
                                "E0316",
                                format!("{} names for {} values", names.len(), items.len()),
                                *span,
                                format!("{} names", names.len()),
                            )
                            .label(binding.value.span, format!("gives {} values", items.len()))
                            .help("write as many names as there are values; `_` for one you do not need"),
                        );
                    }
                    let values = items.into_iter().chain(std::iter::repeat(Value::Error));
                    for (name, item) in names.iter().zip(values) {
                        self.bind(&name.text, item, name.span);
                    }
                }
                other => {
                    if !matches!(other, Value::Error | Value::Opaque) {
                        self.report(
                            Diagnostic::error(
                                "E0316",
                                format!("{} names for one value", names.len()),
                                *span,
                                format!("{} names", names.len()),
                            )
                            .label(binding.value.span, format!("this is {}", self.describe(&other)))
                            .help("only a tuple `(a, b)` or the result of `split` can be taken apart"),
                        );
                    }
                    for name in names {
                        self.bind(&name.text, Value::Error, name.span);
                    }
                }
            },
            Pattern::Indexed { .. } => {}
        }
    }

    /// For messages: a tensor by its type, others by what they are.
    pub(super) fn describe(&self, value: &Value) -> String {
        match value {
            Value::Tensor(id) => format!("`{}`", show(self.graph.ty(*id))),
            other => other.describe(),
        }
    }

    /// A tensor from a value that can be one; a message and `None` otherwise.
    pub(super) fn tensor(&mut self, value: &Value, span: Span) -> Option<NodeId> {
        match value {
            Value::Tensor(id) => Some(*id),
            Value::Number(x) => Some(self.graph.constant(*x, DType::F32)),
            Value::Dim(d) => Some(self.graph.size(d.clone())),
            Value::Bool(b) => Some(self.graph.constant(f64::from(*b), DType::Bool)),
            Value::Opaque => Some(self.graph.input("(unknown)", TensorType::scalar(DType::F32))),
            Value::Error => None,
            other => {
                if let Value::List(items) = other
                    && let Some(id) = self.literal(items)
                {
                    return Some(id);
                }
                let found = other.describe();
                let text = format!("this is {found}");
                let error =
                    Diagnostic::error("E0312", format!("a tensor is expected, not {found}"), span, text);
                self.report(match other {
                    Value::Function(name) => {
                        error.help(format!("call the function on a tensor: `{name}(x)`"))
                    }
                    Value::Data => error.help("name one of its fields: `data.FIELD`"),
                    Value::Text(text) if text.parse::<f64>().is_ok() => {
                        error.help(format!("write it without quotes: `{text}`"))
                    }
                    Value::List(_) | Value::Tuple(_) => {
                        error.help("take one of its parts, `parts[0]`, or `let (a, b) = …`")
                    }
                    _ => error.help("write a tensor or a number"),
                });
                None
            }
        }
    }
}

/// A type as a person writes it: a scalar has no brackets.
pub(super) fn show(ty: &TensorType) -> String {
    if ty.rank() == 0 { ty.dtype.to_string() } else { ty.to_string() }
}

/// A shape as a person writes it.
pub(super) fn show_shape(shape: &[Dim]) -> String {
    let sizes: Vec<String> = shape.iter().map(Dim::to_string).collect();
    format!("[{}]", sizes.join(", "))
}
