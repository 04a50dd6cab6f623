//! A sum of terms of which all but one sum to 0, or that is there already.
//!
//! ```text
//! sum(a * x + b * (y - mean(y)))  =  a * sum(x)
//! ```
//!
//! if `a` and `b` stand still along the sum's axes: what is left of numbers when their mean is taken from them sums to 0. If a sum of the
//! same factors is there, that one is read. So the gradient of a norm finds the sums that its parameters' gradients need, and visits its
//! rows once less. This rounds otherwise: a product of a sum where it was a sum of products, and 0 where it was what roundings left of it,
//! or NaN. More than one term is never left: a difference of sums may be much smaller than both, where the sum of
//! differences is exact.

use super::{factors, known, map, put};
use crate::base::hash::FastMap;
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::rewrite::{Rewriter, replace};
use crate::graph::{Graph, Kind, NodeId, Op, View};
use crate::scalar::Func;

/// Terms of a sum, and factors of a term, that are looked at.
const MOST_TERMS: usize = 8;
const MOST_FACTORS: usize = 8;

pub fn run(graph: &mut Graph) -> bool {
    let mut sums = Sums::default();
    let expanded = |id: NodeId| Some((id, sums.expanded(graph, id)?));
    let new = replace(graph, graph.ids().filter_map(expanded).collect(), build);
    put(graph, new)
}

/// A product of what stands still along a sum's axes and what does not, each in its order: a sum of one number is then multiplied as the
/// number is, and their difference is 0.
struct Term {
    is_negative: bool,
    still: Vec<NodeId>,
    moving: Vec<NodeId>,
}

/// The sum of a term.
enum Known {
    /// That of its moving factors is made anew.
    New,
    /// Another sum of the same moving factors, with its sign; the term's other still factors are those that this one has not.
    There { sum: NodeId, is_negative: bool },
}

/// What moves, sorted, and the sum's axes.
type Key = (Vec<NodeId>, Vec<usize>);

/// The sums of one term that were met.
#[derive(Default)]
struct Sums {
    there: FastMap<Key, Vec<(NodeId, Term)>>,
}

impl Term {
    fn key(&self, axes: &[usize]) -> Key {
        let mut moving = self.moving.clone();
        moving.sort_unstable();
        (moving, axes.to_vec())
    }
}

impl Sums {
    /// The one term that is left of a sum, or nothing where it is 0, if that is better.
    fn expanded(&mut self, graph: &Graph, id: NodeId) -> Option<Option<(Term, Known)>> {
        let node = graph.node(id);
        if node.kind() != Kind::Reduce {
            return None;
        }
        let Op::Reduce { op: ReduceOp::Sum, axes } = &node.op else { return None };
        let mut terms = Vec::new();
        if node.ty.dtype != DType::F32 || !add_terms(graph, axes, node.operands[0], false, &mut terms) {
            return None;
        }
        let n_terms = terms.len();
        terms.retain(|term| !matches!(term.moving[..], [x] if sums_to_none(graph, axes, x)));
        let Some(mut term) = terms.pop() else { return Some(None) };
        if !terms.is_empty() || term.moving.is_empty() {
            return None;
        }
        let there = self.there.entry(term.key(axes)).or_default();
        let same = there
            .iter()
            .find_map(|(sum, other)| Some((*sum, other.is_negative, without(&term.still, &other.still)?)));
        if let Some((sum, is_negative, still)) = same {
            term.still = still;
            return Some(Some((term, Known::There { sum, is_negative })));
        }
        if n_terms > 1 {
            return Some(Some((term, Known::New)));
        }
        there.push((id, term));
        None
    }
}

/// Adds the terms of `x`; whether there are few enough.
fn add_terms(graph: &Graph, axes: &[usize], x: NodeId, is_negative: bool, terms: &mut Vec<Term>) -> bool {
    let node = graph.node(x);
    let operands = &node.operands;
    match node.kind() {
        Kind::Map(Func::Add) => operands.iter().all(|side| add_terms(graph, axes, *side, is_negative, terms)),
        // What is centred is a term by itself.
        Kind::Map(Func::Sub) if !sums_to_none(graph, axes, x) => {
            add_terms(graph, axes, operands[0], is_negative, terms)
                && add_terms(graph, axes, operands[1], !is_negative, terms)
        }
        Kind::Map(Func::Neg) => add_terms(graph, axes, operands[0], !is_negative, terms),
        _ => {
            let Some((all, is_turned)) = factors(graph, x, MOST_FACTORS) else { return false };
            let stands_still = |id: &NodeId| match &graph.node(*id).op {
                Op::View(View::Broadcast { axes: own }) => axes.iter().all(|axis| !own.contains(axis)),
                _ => false,
            };
            let (still, moving) = all.into_iter().partition(stands_still);
            terms.push(Term { is_negative: is_negative != is_turned, still, moving });
            terms.len() <= MOST_TERMS
        }
    }
}

/// Whether a node is numbers less their own mean along the axes.
fn sums_to_none(graph: &Graph, axes: &[usize], x: NodeId) -> bool {
    let node = graph.node(x);
    if node.kind() != Kind::Map(Func::Sub) {
        return false;
    }
    let (numbers, mean) = (node.operands[0], graph.node(node.operands[1]));
    let kept: Vec<usize> = (0..node.ty.rank()).filter(|axis| !axes.contains(axis)).collect();
    if mean.op != Op::View(View::Broadcast { axes: kept }) {
        return false;
    }
    let product = graph.node(mean.operands[0]);
    if product.op != Op::Map(Func::Mul) {
        return false;
    }
    let is_sum = |id: NodeId| {
        let sum = graph.node(id);
        matches!(&sum.op, Op::Reduce { op: ReduceOp::Sum, axes: own } if own == axes)
            && sum.operands[0] == numbers
    };
    let n = axes.iter().fold(Dim::from(1), |n, axis| n * node.ty.shape[*axis].clone());
    let [a, b] = [product.operands[0], product.operands[1]];
    is_sum(a) && is_inverse(graph, b, &n) || is_sum(b) && is_inverse(graph, a, &n)
}

/// Whether a node is 1 / `n`.
fn is_inverse(graph: &Graph, id: NodeId, n: &Dim) -> bool {
    if let (Some(value), Some(n)) = (known(graph, id), n.as_const()) {
        return (value * n as f64 - 1.0).abs() < f64::from(f32::EPSILON);
    }
    let node = graph.node(id);
    match &node.op {
        Op::View(View::Broadcast { .. }) => is_inverse(graph, node.operands[0], n),
        Op::Map(Func::Div) => {
            known(graph, node.operands[0]) == Some(1.0)
                && matches!(&graph.node(node.operands[1]).op, Op::Size(size) if size == n)
        }
        _ => false,
    }
}

/// All but some, each as often as it is there; nothing if one of them is not there.
fn without(all: &[NodeId], some: &[NodeId]) -> Option<Vec<NodeId>> {
    let mut left = all.to_vec();
    for id in some {
        left.remove(left.iter().position(|other| other == id)?);
    }
    Some(left)
}

fn build(rewriter: &mut Rewriter, id: NodeId, term: Option<(Term, Known)>) -> NodeId {
    let node = rewriter.old.node(id);
    let Op::Reduce { axes, .. } = &node.op else { unreachable!("it is a sum") };
    let Some((term, known)) = term else { return super::filled(&mut rewriter.new, 0.0, &node.ty) };
    let image = |rewriter: &Rewriter, id| rewriter.image(id).expect("it comes before the sum");
    let (mut sum, of_sum) = match known {
        Known::There { sum, is_negative } => (image(rewriter, sum), is_negative),
        Known::New => {
            let moving: Vec<NodeId> = term.moving.iter().map(|id| image(rewriter, *id)).collect();
            let new = &mut rewriter.new;
            let product = moving.into_iter().reduce(|a, b| map(new, Func::Mul, &[a, b]));
            let product = product.expect("something moves");
            (new.reduce(ReduceOp::Sum, product, axes).expect("the axes of the sum"), false)
        }
    };
    for factor in &term.still {
        let factor = rewriter.old.node(*factor);
        let Op::View(View::Broadcast { axes: own }) = &factor.op else { unreachable!("it repeats") };
        let repeated = image(rewriter, factor.operands[0]);
        // The summed axes are gone.
        let gone = |axis: usize| axes.iter().filter(|gone| **gone < axis).count();
        let places: Vec<usize> = own.iter().map(|axis| axis - gone(*axis)).collect();
        let new = &mut rewriter.new;
        let factor = new.broadcast(repeated, &places, node.ty.shape.clone());
        sum = map(new, Func::Mul, &[sum, factor.expect("sizes of the axes that are left")]);
    }
    if term.is_negative != of_sum { map(&mut rewriter.new, Func::Neg, &[sum]) } else { sum }
}
