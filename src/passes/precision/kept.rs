//! What a backward pass reads of the forward pass, in bf16: rule 2 of `precision`.
//!
//! What enters: a graph, which of its nodes the outputs need, and which are rounded as factors. What leaves: which are rounded to be kept, and which the backward pass
//! computes again of those. Invariant: what is computed again is nobody's source, so that `MOST_STEPS` bounds it. Not here: rewriting.

use super::super::known;
use super::{base, has_examples, is_over_examples, is_seen_through, lies_in_memory, reads_elements};
use crate::base::DType;
use crate::graph::{Graph, Node, NodeId, Op, View};
use crate::scalar::Func;

/// Steps of the scalar table that what the backward pass computes again may take: reading two bytes takes a CPU as long as four steps, a
/// GPU as long as twenty, and what is not kept need not be written.
const MOST_STEPS: usize = 24;

pub struct Kept {
    /// What the backward pass reads rounded.
    pub rounded: Vec<bool>,
    /// What it reads as a function of what is rounded.
    pub made_again: Vec<bool>,
    /// Of maps of one value for each element of each example, and besides of statistics and of what is common: that value.
    pub argument: Vec<Option<NodeId>>,
}

impl Kept {
    pub fn new(graph: &Graph, forward: &[bool], factors: &[bool]) -> Kept {
        let kinds = Kinds::new(graph);
        let Read { read, exact, compared } = Read::new(graph, forward);
        let may_be_rounded =
            |id: NodeId| !exact[id.index()] && !kinds.is_statistic[id.index()] && lies_in_memory(graph, id);
        let mut rounded: Vec<bool> = graph.ids().map(|id| read[id.index()] && may_be_rounded(id)).collect();
        let argument: Vec<Option<NodeId>> = graph.ids().map(|id| kinds.argument(graph, id)).collect();
        // What a value is a function of, the nearest first.
        let sources = |id: NodeId| {
            let steps = std::iter::successors(Some((id, 0)), |(at, steps)| {
                Some((argument[at.index()]?, steps + graph.n_steps(*at)))
            });
            steps.skip(1).take_while(|(_, steps)| *steps <= MOST_STEPS).map(|(source, _)| source)
        };
        let mut made_again = vec![false; graph.len()];
        let mut n_functions = vec![0; graph.len()];
        let mut alone = Vec::new();
        for id in graph.ids().filter(|id| !factors[id.index()] && !compared[id.index()]) {
            if !rounded[id.index()] {
                continue;
            }
            if sources(id).any(|source| factors[source.index()] || rounded[source.index()]) {
                (made_again[id.index()], rounded[id.index()]) = (true, false);
            } else {
                sources(id).for_each(|source| n_functions[source.index()] += 1);
                alone.push(id);
            }
        }
        // What several are functions of is rounded instead of them.
        for id in alone {
            let mut sources = sources(id);
            if let Some(source) = sources.find(|x| n_functions[x.index()] > 1 && may_be_rounded(*x)) {
                rounded[source.index()] = true;
                (made_again[id.index()], rounded[id.index()]) = (true, false);
            }
        }
        Kept { rounded, made_again, argument }
    }
}

/// What the backward pass reads, seen through views.
struct Read {
    /// Of the forward pass.
    read: Vec<bool>,
    /// With all its digits.
    exact: Vec<bool>,
    /// To compare it or cut it into steps: rounding keeps a sign, a function of what is rounded may not.
    compared: Vec<bool>,
}

impl Read {
    fn new(graph: &Graph, forward: &[bool]) -> Read {
        let nothing = || vec![false; graph.len()];
        let mut found = Read { read: nothing(), exact: nothing(), compared: nothing() };
        for id in graph.ids() {
            let node = graph.node(id);
            if forward[id.index()] || is_seen_through(&node.op) || is_over_examples(graph, id) {
                continue;
            }
            for operand in &node.operands {
                let base = base(graph, *operand).index();
                found.read[base] |= forward[base];
                found.exact[base] |= !reads_elements(&node.op) || wants_all_digits(graph, node);
                found.compared[base] |= matches!(node.op, Op::Map(func) if !func.row().kinks.is_empty());
            }
        }
        found
    }
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
        Kinds { is_statistic, is_common }
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
