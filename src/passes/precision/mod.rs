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
//! Before that, exponentials of a softmax that will be rounded are made such that they are rounded alike whatever the row's
//! maximum is (`powers.rs`).
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

mod kept;
mod powers;
#[cfg(test)]
mod tests;

use crate::base::{DType, ReduceOp, TensorType};
use crate::graph::rewrite::{Rewriter, reachable};
use crate::graph::{Contraction, Graph, Node, NodeId, Op, Scan, View};
use kept::Kept;
use std::collections::HashMap;

pub fn run(graph: &Graph) -> Graph {
    let graph = &powers::run(graph, &factors(graph));
    let forward = reachable(graph, graph.outputs.iter().map(|(_, id)| *id));
    narrow(graph, &forward)
}

fn narrow(graph: &Graph, forward: &[bool]) -> Graph {
    let factors = factors(graph);
    let mut cx = Narrowing {
        rewriter: Rewriter::new(graph),
        kept: Kept::new(graph, forward, &factors),
        factors,
        summed: summed(graph, forward),
        forward,
        narrow: HashMap::new(),
        again: HashMap::new(),
    };
    for id in graph.ids() {
        cx.rewriter.enter(id);
        let image = cx.image(id);
        cx.rewriter.set(id, image);
        if [&cx.factors, &cx.kept.rounded, &cx.summed].iter().any(|rounded| rounded[id.index()]) {
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
    kept: Kept,
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
                    if self.kept.made_again[base] {
                        *operand = self.again(*old_operand);
                    } else if self.kept.rounded[base] || is_sum && self.summed[base] {
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
            _ => self.kept.argument[id.index()],
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
        self.factors[id.index()] || self.kept.rounded[id.index()]
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

/// Whether it is a value of the graph's own, f32 with a row for each example, that would lie in memory for a later reader.
fn lies_in_memory(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let is_made = matches!(
        node.op,
        Op::Map(_) | Op::Cast | Op::Contract(_) | Op::Concat { .. } | Op::Gather { .. } | Op::Fold(_)
    ) || matches!(node.op, Op::View(View::Pad { .. }));
    is_made && node.ty.dtype == DType::F32 && has_examples(graph, id)
}
