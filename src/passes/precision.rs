//! What is rounded to bf16 where a model asks for it (`precision = "bf16"`).
//!
//! What enters: an optimized graph. What leaves: one in which the roundings stand as casts to bf16, so that its meaning is exact
//! from here on: every other node is f32, as it was. Three rules, of which all but the first are about the backward pass, that
//! is what no output needs:
//!
//! 1. The factors of a product over examples are rounded; products and sums are f32. A product here has rows, columns and a
//!    sum, all longer than 1; it is over examples if a factor has `batch` among its sizes. So an optimizer's own products
//!    are not, nor are dot products.
//! 2. What the backward pass reads of the forward pass it reads rounded, if `batch` is among its sizes. Exact stay: what
//!    reductions give, and functions of such alone (the mean and the deviation of a norm, a maximum); and what the backward pass
//!    compares or cuts into steps, but for comparisons with 0, which rounding does not change. What is a function, element by element, of
//!    another value that is rounded, and takes few steps, is computed again of that; and of several functions of one value that is rounded
//!    instead: GELU keeps what goes into it, and no more.
//! 3. What the backward pass sums over the examples is rounded, as it would be as a factor beside ones: a bias's gradient.
//!
//! So parameters, states, optimizers, losses, residual streams (both ways) and statistics are f32; what lies in memory between forward and
//! backward pass takes half the bytes; and each weight is rounded once a step. This is what automatic mixed precision does
//! elsewhere (Micikevicius et al., "Mixed Precision Training", ICLR 2018); there is no scaling of the loss, for a bf16 has
//! the range of an f32. Before and after:
//!
//! ```text
//! %2 = contract ab,bc->ac %0, %1 : f32[batch, 8]
//!
//! %2 = cast %0 : bf16[batch, 4]   %3 = cast %1 : bf16[4, 8]   %4 = contract ab,bc->ac %2, %3 : f32[batch, 8]
//! ```
//!
//! Not here: how the rest of the optimizer treats casts (it moves them up through views), and that a tensor of bf16 is
//! read as f32 without a copy (`plan/layout.rs`).

use super::known;
use crate::base::{DType, ReduceOp, TensorType};
use crate::graph::rewrite::{Rewriter, reachable};
use crate::graph::{Contraction, Graph, Node, NodeId, Op, Scan, View};
use crate::scalar::Func;
use std::collections::HashMap;

pub fn run(graph: &Graph) -> Graph {
    let forward = reachable(graph, graph.outputs.iter().map(|(_, id)| *id));
    narrow(graph, &forward)
}

fn narrow(graph: &Graph, forward: &[bool]) -> Graph {
    let mut kinds = Kinds::new(graph);
    let factors = factors(graph);
    let (mut kept, may_be_kept) = kept(graph, forward, &mut kinds);
    let functions = Functions::new(graph, &kinds, &factors, &mut kept, &may_be_kept);
    let mut cx = Narrowing {
        rewriter: Rewriter::new(graph),
        factors,
        kept,
        functions,
        summed: summed(graph, forward),
        forward,
        narrow: HashMap::new(),
        again: HashMap::new(),
    };
    for id in graph.ids() {
        cx.rewriter.enter(id);
        let image = cx.image(id);
        cx.rewriter.set(id, image);
        if [&cx.factors, &cx.kept, &cx.summed].iter().any(|rounded| rounded[id.index()]) {
            // Here, beside the value itself, and not where it is first read: the value need not be kept until then.
            cx.narrowed(image);
        }
    }
    cx.rewriter.finish()
}

struct Narrowing<'a> {
    rewriter: Rewriter<'a>,
    /// Of old nodes: which the outputs need.
    forward: &'a [bool],
    /// Of old nodes: factors of products over examples (rule 1).
    factors: Vec<bool>,
    /// What the backward pass reads rounded of the forward pass (rule 2).
    kept: Vec<bool>,
    functions: Functions,
    /// What it sums over the examples (rule 3).
    summed: Vec<bool>,
    /// Of new nodes: their bf16.
    narrow: HashMap<NodeId, NodeId>,
    /// Of old nodes: the same functions of what is rounded.
    again: HashMap<NodeId, NodeId>,
}

impl Narrowing<'_> {
    fn image(&mut self, id: NodeId) -> NodeId {
        let old = self.rewriter.old;
        let node = old.node(id);
        let mut operands = self.rewriter.operands(id);
        match &node.op {
            Op::Contract(contraction) if is_over_examples(old, id) => {
                let [left, right] = [self.narrowed(operands[0]), self.narrowed(operands[1])];
                return self.rewriter.new.contract(left, right, contraction.clone()).expect("the old sizes");
            }
            Op::Scan(scan) => {
                // All that a body makes may be carried: nothing of it is only the backward pass's.
                let forward = vec![true; scan.body.len()];
                let scan = Scan { body: narrow(&scan.body, &forward), ..(**scan).clone() };
                let (op, ty) = (Op::Scan(Box::new(scan)), node.ty.clone());
                return self.rewriter.new.push(Node::new(op, ty, operands, node.origin.clone()));
            }
            op if !self.forward[id.index()] && reads_elements(op) => {
                let is_sum = is_sum_over_examples(old, id);
                for (operand, old_operand) in operands.iter_mut().zip(&node.operands) {
                    let base = base(old, *old_operand).index();
                    if self.functions.made_again[base] {
                        *operand = self.again(*old_operand);
                    } else if self.kept[base] || is_sum && self.summed[base] {
                        *operand = self.widened(*operand);
                    }
                }
            }
            _ => {}
        }
        self.rewriter.new.push(node.on(operands))
    }

    /// The bf16 of a new node, made below the views that it is seen through.
    fn narrowed(&mut self, id: NodeId) -> NodeId {
        if let Some(narrow) = self.narrow.get(&id) {
            return *narrow;
        }
        let node = self.rewriter.new.node(id).clone();
        let narrow = if is_seen_through(&node.op) {
            let mut operands = node.operands.to_vec();
            operands[0] = self.narrowed(operands[0]);
            let ty = TensorType::new(DType::BF16, node.ty.shape.clone());
            self.rewriter.new.push(Node::new(node.op.clone(), ty, operands, node.origin.clone()))
        } else {
            self.rewriter.new.cast(id, DType::BF16).expect("any type casts to any other")
        };
        self.narrow.insert(id, narrow);
        narrow
    }

    /// An old node as a function of what is rounded, or a view of one.
    fn again(&mut self, id: NodeId) -> NodeId {
        if let Some(again) = self.again.get(&id) {
            return *again;
        }
        let old = self.rewriter.old;
        let node = old.node(id);
        let argument = match &node.op {
            op if is_seen_through(op) => Some(node.operands[0]),
            _ if self.is_rounded(id) => None,
            _ => self.functions.argument[id.index()],
        };
        let image =
            |cx: &Self, id: NodeId| cx.rewriter.image(id).expect("operands come before their readers");
        let again = match argument {
            Some(argument) => {
                let of = |operand: &NodeId| match *operand == argument {
                    true => self.again(argument),
                    false => image(self, *operand),
                };
                let operands: Vec<NodeId> = node.operands.iter().map(of).collect();
                self.rewriter.new.push(node.on(operands))
            }
            None => {
                let image = image(self, id);
                self.widened(image)
            }
        };
        self.again.insert(id, again);
        again
    }

    fn is_rounded(&self, id: NodeId) -> bool {
        self.factors[id.index()] || self.kept[id.index()]
    }

    /// The bf16 of a new node, as f32.
    fn widened(&mut self, id: NodeId) -> NodeId {
        let narrow = self.narrowed(id);
        self.rewriter.new.cast(narrow, DType::F32).expect("any type casts to any other")
    }
}

/// Views that have all elements of what they view; a slice is rounded by itself.
fn is_seen_through(op: &Op) -> bool {
    match op {
        Op::View(view) => !matches!(view, View::Slice { .. } | View::Pad { .. }),
        op => matches!(op, Op::After | Op::Detach),
    }
}

/// What a node is, seen through views.
fn base(graph: &Graph, mut id: NodeId) -> NodeId {
    while is_seen_through(&graph.node(id).op) {
        id = graph.node(id).operands[0];
    }
    id
}

/// Whether it reads its operands one element at a time, so that a bf16 will do where there is one.
fn reads_elements(op: &Op) -> bool {
    matches!(op, Op::Map(_) | Op::Reduce { .. } | Op::Cast)
}

fn has_examples(graph: &Graph, id: NodeId) -> bool {
    graph.ty(id).shape.iter().any(|size| size.contains("batch"))
}

/// Rule 1.
fn is_over_examples(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let Op::Contract(Contraction { lhs, rhs, out }) = &node.op else { return false };
    let is_long = |side: usize, labels: &[u8], label: &u8| {
        let axis = labels.iter().position(|l| l == label).expect("one of its own");
        !graph.ty(node.operands[side]).shape[axis].is_const(1)
    };
    let has_rows = lhs.iter().any(|l| !rhs.contains(l) && is_long(0, lhs, l));
    let has_columns = rhs.iter().any(|l| !lhs.contains(l) && is_long(1, rhs, l));
    let has_sum = lhs.iter().any(|l| !out.contains(l) && is_long(0, lhs, l));
    let is_f32 = graph.dtype(node.operands[0]) == DType::F32;
    is_f32 && has_rows && has_columns && has_sum && node.operands.iter().any(|x| has_examples(graph, *x))
}

/// Rule 3.
fn is_sum_over_examples(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    matches!(node.op, Op::Reduce { op: ReduceOp::Sum, .. })
        && node.ty.dtype == DType::F32
        && has_examples(graph, node.operands[0])
        && !has_examples(graph, id)
}

/// What products over examples multiply.
fn factors(graph: &Graph) -> Vec<bool> {
    let mut factors = vec![false; graph.len()];
    for id in graph.ids().filter(|id| is_over_examples(graph, *id)) {
        graph.node(id).operands.iter().for_each(|x| factors[base(graph, *x).index()] = true);
    }
    factors
}

/// Rule 3: what is summed.
fn summed(graph: &Graph, forward: &[bool]) -> Vec<bool> {
    let mut summed = vec![false; graph.len()];
    for id in graph.ids().filter(|id| !forward[id.index()] && is_sum_over_examples(graph, *id)) {
        let base = base(graph, graph.node(id).operands[0]);
        summed[base.index()] = lies_in_memory(graph, base);
    }
    summed
}

/// Rule 2: what is read rounded, and what might be.
fn kept(graph: &Graph, forward: &[bool], kinds: &mut Kinds) -> (Vec<bool>, Vec<bool>) {
    let (mut read, mut exact) = (vec![false; graph.len()], vec![false; graph.len()]);
    for id in graph.ids() {
        let node = graph.node(id);
        if forward[id.index()] || is_seen_through(&node.op) || is_over_examples(graph, id) {
            continue;
        }
        for operand in &node.operands {
            let base = base(graph, *operand).index();
            exact[base] |= !reads_elements(&node.op) || wants_all_digits(graph, node);
            read[base] |= forward[base];
            kinds.has_kinks[base] |= matches!(node.op, Op::Map(func) if !func.row().kinks.is_empty());
        }
    }
    let may_be_kept: Vec<bool> = graph
        .ids()
        .map(|id| !exact[id.index()] && !kinds.is_statistic[id.index()] && lies_in_memory(graph, id))
        .collect();
    (read.iter().zip(&may_be_kept).map(|(read, may)| *read && *may).collect(), may_be_kept)
}

/// Steps of the scalar table that what the backward pass computes again may take: reading two bytes takes a CPU as long as four steps, a
/// GPU as long as twenty, and what is not kept need not be written.
const MOST_STEPS: usize = 24;

/// Rule 2: what is computed again.
struct Functions {
    /// Of maps of one value for each element of each example, and besides of statistics and of what is common: that value.
    argument: Vec<Option<NodeId>>,
    /// What would be kept, and is a function of what is rounded.
    made_again: Vec<bool>,
}

impl Functions {
    /// What is made again is `kept` no more; what several are functions of is kept instead of them.
    fn new(
        graph: &Graph,
        kinds: &Kinds,
        factors: &[bool],
        kept: &mut [bool],
        may_be_kept: &[bool],
    ) -> Functions {
        let argument: Vec<Option<NodeId>> = graph.ids().map(|id| kinds.argument(graph, id)).collect();
        // What a value is a function of, the nearest first.
        let sources = |id: NodeId| {
            let steps = std::iter::successors(Some((id, 0)), |(at, steps)| {
                Some((argument[at.index()]?, steps + n_steps(graph, *at)))
            });
            steps.skip(1).take_while(|(_, steps)| *steps <= MOST_STEPS).map(|(source, _)| source)
        };
        let mut made_again = vec![false; graph.len()];
        let mut n_readers = vec![0; graph.len()];
        let mut alone = Vec::new();
        // In order, so that what is made again is nobody's source.
        for id in graph.ids() {
            let i = id.index();
            if !kept[i] || factors[i] || kinds.has_kinks[i] {
                continue;
            }
            if sources(id).any(|source| factors[source.index()] || kept[source.index()]) {
                (made_again[id.index()], kept[id.index()]) = (true, false);
            } else {
                sources(id).for_each(|source| n_readers[source.index()] += 1);
                alone.push(id);
            }
        }
        for id in alone {
            if let Some(source) =
                sources(id).find(|source| n_readers[source.index()] > 1 && may_be_kept[source.index()])
            {
                kept[source.index()] = true;
                (made_again[id.index()], kept[id.index()]) = (true, false);
            }
        }
        Functions { argument, made_again }
    }
}

fn n_steps(graph: &Graph, id: NodeId) -> usize {
    match &graph.node(id).op {
        Op::Map(func) => func.n_steps(graph.dtype(id)),
        _ => 0,
    }
}

/// Whether it is a value of the graph's own, f32 with a row for each example, that would lie in memory for a later reader.
fn lies_in_memory(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let is_made = matches!(
        node.op,
        Op::Map(_) | Op::Cast | Op::Contract(_) | Op::Concat { .. } | Op::Gather { .. } | Op::Fold(_)
    ) || matches!(node.op, Op::View(View::Pad { .. }));
    is_made && node.ty.dtype == DType::F32 && has_examples(graph, id)
}

/// Comparisons but for those with 0, and functions with steps.
fn wants_all_digits(graph: &Graph, node: &Node) -> bool {
    let Op::Map(func) = node.op else { return false };
    let with_zero = node.operands.iter().any(|x| known(graph, *x) == Some(0.0));
    let keeps_sign = matches!(func, Func::Abs | Func::Sign) || (with_zero && func.arity() == 2);
    !func.row().kinks.is_empty() && !keeps_sign
}

/// What is not a value for each element of each example.
struct Kinds {
    /// Reductions, and functions of reductions and of what has no examples.
    is_statistic: Vec<bool>,
    /// What is the same for every example.
    is_common: Vec<bool>,
    /// What the backward pass compares or cuts into steps: rounding keeps a sign, a function of what is rounded may not.
    has_kinks: Vec<bool>,
}

impl Kinds {
    fn new(graph: &Graph) -> Kinds {
        let mut is_statistic = vec![false; graph.len()];
        let mut is_common = vec![false; graph.len()];
        for id in graph.ids() {
            let node = graph.node(id);
            let all = |of: &dyn Fn(&NodeId) -> bool| node.operands.iter().all(of);
            let is_function = matches!(node.op, Op::Map(_) | Op::Cast) || is_seen_through(&node.op);
            is_common[id.index()] = match &node.op {
                Op::Const(_) | Op::Iota { .. } | Op::Size(_) => true,
                Op::View(View::Broadcast { .. }) if !has_examples(graph, node.operands[0]) => true,
                _ if is_function => all(&|x| is_common[x.index()]),
                _ => !has_examples(graph, id),
            };
            is_statistic[id.index()] = match &node.op {
                Op::Reduce { .. } | Op::ArgMax { .. } => true,
                _ => {
                    let any = node.operands.iter().any(|x| is_statistic[x.index()]);
                    is_function && any && all(&|x| is_statistic[x.index()] || is_common[x.index()])
                }
            };
        }
        Kinds { is_statistic, is_common, has_kinks: vec![false; graph.len()] }
    }

    /// The one value for each element of each example that a map is of, if it may be rounded.
    fn argument(&self, graph: &Graph, id: NodeId) -> Option<NodeId> {
        let node = graph.node(id);
        if !matches!(node.op, Op::Map(_)) || node.ty.dtype != DType::F32 || wants_all_digits(graph, node) {
            return None;
        }
        // The difference of a value and a mean, also one that is kept from step to step, may be much smaller than either.
        let is_mean = |x: &NodeId| {
            self.is_statistic[x.index()] || matches!(graph.node(base(graph, *x)).op, Op::State(_))
        };
        let cancels = matches!(node.op, Op::Map(Func::Add | Func::Sub)) && node.operands.iter().any(is_mean);
        if cancels || node.op == Op::Map(Func::Sign) {
            return None;
        }
        let is_value = |x: &NodeId| !self.is_statistic[x.index()] && !self.is_common[x.index()];
        let mut values = node.operands.iter().copied().filter(is_value);
        let first = values.next()?;
        let is_one = values.all(|other| other == first) && base(graph, first) == first;
        (is_one && graph.dtype(first) == DType::F32).then_some(first)
    }
}
