//! Train blocks: settings, data, losses, optimizers, metrics, predictions.
//!
//! What enters: a train block, the catalog of data sources, overrides. What leaves: a `Model`, or messages.
//! The block's statements are elaborated three times, into the train, eval and predict graphs, so that what
//! depends on `training` differs by construction.

use super::elaborate::{Elaborator, Mode, show};
use super::metrics::Reported;
use super::optimizer::Trained;
use super::settings::TrainSettings;
use super::value::Value;
use crate::base::{DType, Dim, TensorType};
use crate::graph::rewrite;
use crate::graph::{Graph, NodeId, Op, Origin};
use gradc_dsl::ast::{ArgumentValue, Expr, ExprKind, Name, Pattern, Train, TrainStatement};
use gradc_dsl::nearest::nearest;
use gradc_dsl::{Diagnostic, Span};
use indexmap::{IndexMap, IndexSet};
use smol_str::SmolStr;

/// A loss, its place, the groups named, the optimizer, and the whole statement's place.
type Minimized<'a> = (NodeId, Span, &'a Vec<Name>, &'a Expr, Span);

/// What one elaboration of a train block gave.
pub(super) struct Elaborated {
    pub losses: Vec<(NodeId, Span)>,
    pub reports: Vec<Reported>,
    pub predictions: Vec<(SmolStr, NodeId)>,
}

impl<'a> Elaborator<'a> {
    /// Elaborates the block's statements.
    pub(super) fn train_block(&mut self, train: &'a Train, settings: &TrainSettings) -> Elaborated {
        let mut fields = IndexMap::new();
        for (name, ty) in &settings.fields {
            let mut shape = vec![Dim::symbol("batch")];
            shape.extend(ty.shape.iter().cloned());
            fields.insert(name.clone(), TensorType::new(ty.dtype, shape));
        }
        self.fields = Some(fields);
        self.sizes = settings.sizes.iter().cloned().collect();
        self.steps = settings.total_steps;
        self.epochs = Some(settings.epochs);
        let mut found = Elaborated { losses: Vec::new(), reports: Vec::new(), predictions: Vec::new() };
        let mut minimized = Vec::new();
        let mut frozen: Vec<&'a Name> = Vec::new();
        for statement in &train.statements {
            match statement {
                TrainStatement::Let(binding) => {
                    let overridden = match &binding.pattern {
                        Pattern::Name(name) => settings.lets.get(&name.text).cloned().map(|v| (name, v)),
                        _ => None,
                    };
                    match overridden {
                        Some((name, value)) => self.bind(&name.text, value, name.span),
                        None => self.let_statement(binding),
                    }
                }
                TrainStatement::Setting { name, value, .. } => {
                    if let Some(number) = settings.value(&name.text) {
                        self.bind(&name.text, number, name.span);
                    } else if !super::settings::NAMES.contains(&name.text.as_str()) {
                        let value = self.expr(value);
                        self.bind(&name.text, value, name.span);
                    }
                }
                TrainStatement::Freeze { paths, .. } => frozen.extend(paths),
                TrainStatement::Minimize { loss, over, optimizer, span } => {
                    let value = self.expr(loss);
                    let Some(id) = self.scalar_loss(&value, loss) else { continue };
                    found.losses.push((id, loss.span));
                    minimized.push((id, loss.span, over, optimizer, *span));
                    if found.predictions.is_empty() && !has_predict(train) {
                        found.predictions.extend(self.default_prediction(loss));
                    }
                }
                TrainStatement::Report { name, value, .. } => {
                    let taken: Vec<&SmolStr> = found.reports.iter().map(|report| &report.name).collect();
                    let name = unique(name_of(name.as_ref(), value, "metric"), &taken);
                    found.reports.extend(self.reported(name, value));
                }
                TrainStatement::Predict { name, value, .. } => {
                    let result = self.expr(value);
                    let Some(id) = self.tensor(&result, value.span) else { continue };
                    let taken: Vec<&SmolStr> = found.predictions.iter().map(|(name, _)| name).collect();
                    let name = unique(name_of(name.as_ref(), value, "prediction"), &taken);
                    found.predictions.push((name, id));
                }
            }
        }
        // A loss that could not be elaborated would leave its parameters unreached.
        let is_loss = |s: &&TrainStatement| matches!(s, TrainStatement::Minimize { .. });
        let all_losses = minimized.len() == train.statements.iter().filter(is_loss).count();
        if self.mode == Mode::Train && self.n_errors() == 0 && all_losses {
            self.minimize_all(minimized, &frozen, settings.accumulate);
        }
        found
    }

    fn scalar_loss(&mut self, value: &Value, loss: &Expr) -> Option<NodeId> {
        let id = self.tensor(value, loss.span)?;
        let ty = self.graph.ty(id).clone();
        if ty.rank() != 0 || ty.dtype != DType::F32 {
            self.report(
                Diagnostic::error(
                    "E0505",
                    "a loss is one real number, so that it can be made smaller",
                    loss.span,
                    format!("this is `{}`", show(&ty)),
                )
                .help(
                    "take the mean, `minimize mean(…)`, or use a loss such as `cross_entropy(guess, label)`",
                ),
            );
            return None;
        }
        Some(id)
    }

    /// Without `predict`: the loss's first argument, if it is a real tensor.
    fn default_prediction(&mut self, loss: &'a Expr) -> Option<(SmolStr, NodeId)> {
        let first = match &loss.kind {
            ExprKind::Call { arguments, .. } => match arguments.first().map(|a| &a.value) {
                Some(ArgumentValue::Expr(e)) => e,
                _ => return None,
            },
            ExprKind::Pipe(left, _) => left,
            _ => return None,
        };
        let Value::Tensor(id) = self.expr(first) else { return None };
        (self.graph.dtype(id) == DType::F32).then(|| (name_of(None, first, "prediction"), id))
    }

    fn minimize_all(&mut self, minimized: Vec<Minimized<'a>>, frozen: &[&'a Name], accumulate: u64) {
        let all: Vec<(SmolStr, NodeId)> = self
            .leaves
            .iter()
            .filter(|(_, leaf)| leaf.variable.trained)
            .map(|(path, leaf)| (path.clone(), leaf.node))
            .collect();
        let named = minimized.iter().flat_map(|(_, _, over, ..)| over.iter());
        for name in named.chain(frozen.iter().copied()) {
            self.known_group(name, &all);
        }
        let parameters: Vec<(SmolStr, NodeId)> = all
            .iter()
            .filter(|(path, _)| !frozen.iter().any(|name| under(path, &name.text)))
            .cloned()
            .collect();
        let mut trained_by: IndexMap<SmolStr, Span> = IndexMap::new();
        let mut reached_by_any: Vec<SmolStr> = Vec::new();
        let mut work = Vec::new();
        for (loss, at, over, optimizer, span) in minimized {
            let differentiable = differentiable_from(&self.graph, loss);
            let mut chosen = Vec::new();
            for (path, leaf) in &parameters {
                let named = over.is_empty() || over.iter().any(|n| under(path, &n.text));
                if !named || !differentiable[leaf.index()] {
                    continue;
                }
                reached_by_any.push(path.clone());
                if let Some(first) = trained_by.get(path).copied() {
                    self.report(
                        Diagnostic::error("E0508", format!("`{path}` is optimized twice in one step"), span, "here again")
                            .label(first, "and here")
                            .help("add the losses, `minimize a + b with …`, or divide the parameters: `over params(NAME)`"),
                    );
                    break;
                }
                chosen.push((path.clone(), *leaf));
            }
            for (path, _) in &chosen {
                trained_by.insert(path.clone(), span);
            }
            if chosen.is_empty() && parameters.is_empty() {
                let text =
                    if all.is_empty() { "no `param` is used here" } else { "all parameters are frozen" };
                self.report(
                    Diagnostic::error("E0507", "there is nothing to train", at, text)
                        .help("use a layer with parameters, such as `dense(10)`, or declare a `param`"),
                );
            }
            work.push((loss, chosen, optimizer));
        }
        let unknown_group = self.n_errors() > 0;
        for (path, _) in parameters.iter().filter(|_| !unknown_group) {
            if !reached_by_any.contains(path) {
                self.unreached(path);
            }
        }
        if self.n_errors() > 0 {
            return;
        }
        let before = self.graph.updates.len();
        let last = self.begin_accumulation(accumulate);
        for (loss, chosen, optimizer) in work {
            self.graph_origin(optimizer.span);
            let mut with_gradients = Vec::new();
            for (path, leaf) in chosen {
                if let Ok(gradient) = self.graph.grad(loss, leaf) {
                    let gradient = self.accumulated(&path, gradient);
                    with_gradients.push(Trained { path, leaf, value: leaf, gradient, updated: false });
                }
            }
            self.optimize(optimizer, loss, with_gradients);
        }
        self.end_accumulation(before, last);
    }

    /// Says so if no parameter lies under the path.
    fn known_group(&mut self, name: &Name, parameters: &[(SmolStr, NodeId)]) {
        if parameters.iter().any(|(path, _)| under(path, &name.text)) {
            return;
        }
        let error = Diagnostic::error(
            "E0511",
            format!("there are no parameters of `{}`", name.text),
            name.span,
            "not known",
        );
        // Every path's beginnings, the shortest first.
        let parts = |path: &str| path.matches('.').count();
        let mut known: Vec<&str> = parameters
            .iter()
            .flat_map(|(path, _)| path.match_indices('.').map(|(end, _)| &path[..end]).chain([path.as_str()]))
            .filter(|path| parts(path) <= parts(&name.text))
            .collect();
        known.sort_by_key(|path| parts(path));
        self.report(match nearest(&name.text, known) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(
                "name a function of this train block that has parameters, or a path that `gradc dump` shows",
            ),
        });
    }

    /// A parameter that no loss reaches; one of the standard library's is shown by the call that makes it.
    fn unreached(&mut self, path: &SmolStr) {
        let leaf = &self.leaves[path];
        let (declared, call) = (leaf.variable.span, leaf.call);
        let message = format!("no loss reaches the parameter `{path}`");
        let error = match call.filter(|_| self.program.is_std(declared.source)) {
            Some(call) => {
                let text = "what this call gives is not used in a loss, so its parameters would never change";
                Diagnostic::error("E0506", message, call, text).label(declared, "declared here")
            }
            None => Diagnostic::error("E0506", message, declared, "it would never change"),
        };
        let of_the_library = self.program.is_std(declared.source);
        self.report(
            error.note("no gradient flows through `detach`, `argmax`, comparisons and whole numbers").help(
                if of_the_library {
                    "use its result in what is minimized, or remove the call"
                } else {
                    "use it in what is minimized; or make it a `state`, if it is not to be trained"
                },
            ),
        );
    }

    /// Sets the graph's outputs: `loss` and the reports. In evaluation, parts stand for metrics that are made of them.
    pub(super) fn finish(&mut self, found: &Elaborated) {
        let mut total = None;
        // The same loss may be minimized over several groups.
        let different: IndexSet<NodeId> = found.losses.iter().map(|(loss, _)| *loss).collect();
        for loss in &different {
            total = match total {
                None => Some(*loss),
                Some(sum) => self.graph.map(crate::scalar::Func::Add, &[sum, *loss]).ok(),
            };
        }
        let outputs = total.map(|id| (SmolStr::new_static("loss"), id)).into_iter();
        let mut outputs: Vec<(SmolStr, NodeId)> = outputs.collect();
        for report in &found.reports {
            match &report.aggregate {
                Some((aggregate, nodes)) if self.mode == Mode::Eval => {
                    let names = aggregate.parts.iter().map(|part| part.output.clone());
                    outputs.extend(names.zip(nodes.iter().copied()));
                }
                // Tables, and what is gathered, are for evaluations.
                Some((all, _)) if all.ty.rank() > 0 || all.parts.iter().any(|part| part.gathered) => {}
                _ => outputs.push((report.name.clone(), report.node)),
            }
        }
        self.graph.outputs = outputs;
    }
}

/// Whether `path` is the parameter or group called `name`.
fn under(path: &str, name: &str) -> bool {
    path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
}

/// The name, with a number where it is taken.
fn unique(name: SmolStr, taken: &[&SmolStr]) -> SmolStr {
    let used = |n: &SmolStr| n == "loss" || taken.contains(&n);
    if !used(&name) {
        return name;
    }
    let candidates = (2..).map(|i| SmolStr::from(format!("{name}{i}")));
    candidates.into_iter().find(|n| !used(n)).unwrap_or(name)
}

fn has_predict(train: &Train) -> bool {
    train.statements.iter().any(|s| matches!(s, TrainStatement::Predict { .. }))
}

/// What an unnamed output is called: by the name, or the function that makes it.
fn name_of(name: Option<&Name>, value: &Expr, otherwise: &str) -> SmolStr {
    match (name, &value.kind) {
        (Some(name), _) => name.text.clone(),
        (None, ExprKind::Name(name)) => name.clone(),
        (None, ExprKind::Call { callee, .. }) => name_of(None, callee, otherwise),
        (None, ExprKind::Pipe(_, right)) => name_of(None, right, otherwise),
        _ => SmolStr::new(otherwise),
    }
}

/// Nodes through which a gradient flows from `loss`.
fn differentiable_from(graph: &Graph, loss: NodeId) -> Vec<bool> {
    let mut reached = vec![false; graph.len()];
    reached[loss.index()] = true;
    for id in graph.ids().rev() {
        if !reached[id.index()] || matches!(graph.node(id).op, Op::Detach) {
            continue;
        }
        for operand in &graph.node(id).operands {
            if graph.dtype(*operand) == DType::F32 && graph.dtype(id) == DType::F32 {
                reached[operand.index()] = true;
            }
        }
    }
    reached
}

/// The nodes that outputs and updates need, and no others.
pub(super) fn prune(mut graph: Graph) -> Graph {
    rewrite::prune(&mut graph);
    graph.origin = Origin::default();
    graph
}
