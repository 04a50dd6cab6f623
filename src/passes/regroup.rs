//! A sum of what is multiplied with a product of matrices, where the other grouping is there already.
//!
//! ```text
//! sum over j of e[i, j] * (sum over l of a[i, l] * b[j, l])  =  sum over l of a[i, l] * (sum over j of e[i, j] * b[j, l])
//! ```
//!
//! Where a contraction of `e` and `b` over `j` is made anyway, the right side is a sum over few `l` of numbers that are there; the left visits
//! every `i` and `j`. So the gradient of a softmax before a product (attention) takes the sum of its weights times their gradients from
//! the result and the result's gradient, as FlashAttention does (Dao et al. 2022, arXiv 2205.14135, appendix B). What does not move along `j` is a
//! factor of the result. This rounds the same sum otherwise.

use super::{factors, map, put};
use crate::base::{DType, ReduceOp};
use crate::graph::rewrite::{Rewriter, Users, replace};
use crate::graph::{Contraction, Graph, Kind, NodeId, Op, View};
use crate::scalar::Func;
use std::cell::LazyCell;
use std::ops::Deref;

/// Factors that are looked at, at most.
const MOST_FACTORS: usize = 8;

pub fn run(graph: &mut Graph) -> bool {
    let users = LazyCell::new(|| Users::new(graph));
    let sum = |id: NodeId| Some((id, Sum::find(graph, &users, id)?));
    let found = graph.ids().filter_map(sum).collect();
    let new = replace(graph, found, |rewriter, id, sum: Sum| sum.build(rewriter, id));
    put(graph, new)
}

/// A sum that can be grouped otherwise; nodes are of the old graph.
struct Sum {
    /// What stands still along the sum: what it repeats, and along which axes.
    factors: Vec<(NodeId, Vec<usize>)>,
    is_negative: bool,
    axis: usize,
    /// `a`, and what its axes are called.
    a: NodeId,
    a_labels: Vec<u8>,
    /// The contraction of `e` and `b`, and what its axes are called.
    grouped: NodeId,
    grouped_labels: Vec<u8>,
    /// What the axes of the product of `a` and `b` are called.
    labels: Vec<u8>,
}

impl Sum {
    fn find(graph: &Graph, users: &impl Deref<Target = Users>, id: NodeId) -> Option<Sum> {
        let node = graph.node(id);
        if node.kind() != Kind::Reduce {
            return None;
        }
        let Op::Reduce { op: ReduceOp::Sum, axes } = &node.op else { return None };
        let [axis] = axes[..] else { return None };
        let (all, is_negative) = factors(graph, node.operands[0], MOST_FACTORS)?;
        if node.ty.dtype != DType::F32 {
            return None;
        }
        let stands_still = |id: &NodeId| match &graph.node(*id).op {
            Op::View(View::Broadcast { axes }) => !axes.contains(&axis),
            _ => false,
        };
        let (still, moving): (Vec<NodeId>, Vec<NodeId>) = all.into_iter().partition(stands_still);
        let [one, other] = moving[..] else { return None };
        let factors = still.iter().map(|id| match &graph.node(*id).op {
            Op::View(View::Broadcast { axes }) => (graph.node(*id).operands[0], axes.clone()),
            _ => unreachable!("it stands still"),
        });
        let factors: Vec<(NodeId, Vec<usize>)> = factors.collect();
        [(one, other), (other, one)].into_iter().find_map(|(product, e)| {
            let Op::Contract(contraction) = &graph.node(product).op else { return None };
            let sides =
                [(&contraction.lhs, &contraction.rhs, [0, 1]), (&contraction.rhs, &contraction.lhs, [1, 0])];
            let label = contraction.out[axis];
            sides.into_iter().find_map(|(a_labels, b_labels, [a, b])| {
                if a_labels.contains(&label) {
                    return None;
                }
                let [a, b] = [a, b].map(|side| graph.node(product).operands[side]);
                let is_grouped = |user: &&NodeId| **user < id;
                let (grouped, grouped_labels) = users.of(e).iter().filter(is_grouped).find_map(|user| {
                    let labels = relabelled(graph, *user, (e, &contraction.out), (b, b_labels), label)?;
                    Some((*user, labels))
                })?;
                let n_elements = |id: NodeId| graph.ty(id).n_elements_at(&|_| Some(1));
                (n_elements(grouped)? < n_elements(product)?).then(|| Sum {
                    factors: factors.clone(),
                    is_negative,
                    axis,
                    a,
                    a_labels: a_labels.clone(),
                    grouped,
                    grouped_labels,
                    labels: contraction.out.clone(),
                })
            })
        })
    }

    fn build(self, rewriter: &mut Rewriter, id: NodeId) -> NodeId {
        let image = |rewriter: &Rewriter, id| rewriter.image(id).expect("it comes before the sum");
        let (a, grouped) = (image(rewriter, self.a), image(rewriter, self.grouped));
        let factors: Vec<(NodeId, Vec<usize>)> =
            self.factors.iter().map(|(id, axes)| (image(rewriter, *id), axes.clone())).collect();
        let new = &mut rewriter.new;
        // Along the sum's own axes, then along what is summed now.
        let kept: Vec<u8> = self
            .labels
            .iter()
            .enumerate()
            .filter(|(axis, _)| *axis != self.axis)
            .map(|(_, label)| *label)
            .collect();
        let summed: Vec<u8> =
            self.grouped_labels.iter().copied().filter(|label| !kept.contains(label)).collect();
        let order: Vec<u8> = kept.iter().chain(&summed).copied().collect();
        let place = |labels: &[u8], label: &u8| labels.iter().position(|other| other == label);
        let permutation: Vec<usize> = order
            .iter()
            .map(|label| place(&self.grouped_labels, label).expect("each has one place"))
            .collect();
        let grouped = new.permute(grouped, &permutation).expect("each axis once");
        let shape = new.ty(grouped).shape.clone();
        let mut a_order: Vec<usize> = (0..self.a_labels.len()).collect();
        a_order.sort_by_key(|axis| place(&order, &self.a_labels[*axis]));
        let a = new.permute(a, &a_order).expect("each axis once");
        let places: Vec<usize> = a_order
            .iter()
            .map(|axis| place(&order, &self.a_labels[*axis]).expect("its labels are in the other grouping"))
            .collect();
        let a = new.broadcast(a, &places, shape).expect("sizes of the same labels");
        let terms = map(new, Func::Mul, &[a, grouped]);
        let axes: Vec<usize> = (kept.len()..order.len()).collect();
        let mut sum = new.reduce(ReduceOp::Sum, terms, &axes).expect("the last axes");
        if self.is_negative {
            sum = map(new, Func::Neg, &[sum]);
        }
        let shape = rewriter.old.ty(id).shape.clone();
        for (factor, axes) in factors {
            // The summed axis is gone.
            let axes: Vec<usize> = axes.iter().map(|axis| axis - usize::from(*axis > self.axis)).collect();
            let factor =
                rewriter.new.broadcast(factor, &axes, shape.clone()).expect("sizes of the sum's axes");
            sum = map(&mut rewriter.new, Func::Mul, &[sum, factor]);
        }
        sum
    }
}

/// If a node contracts `e` and `b` over one label alone: what its axes are called, by the labels of the two.
fn relabelled(
    graph: &Graph,
    user: NodeId,
    e: (NodeId, &[u8]),
    b: (NodeId, &[u8]),
    over: u8,
) -> Option<Vec<u8>> {
    let node = graph.node(user);
    let Op::Contract(Contraction { lhs, rhs, out }) = &node.op else { return None };
    let sides = [(node.operands[0], lhs), (node.operands[1], rhs)];
    let [e_side, b_side] = match [sides[0].0, sides[1].0] {
        [first, second] if first == e.0 && second == b.0 => [sides[0].1, sides[1].1],
        [first, second] if first == b.0 && second == e.0 => [sides[1].1, sides[0].1],
        _ => return None,
    };
    // Its own label of each of theirs must be one, the same in both.
    let mut names: Vec<(u8, u8)> = Vec::new();
    for (own, theirs) in e_side.iter().zip(e.1).chain(b_side.iter().zip(b.1)) {
        match names.iter().find(|(known, name)| known == own || name == theirs) {
            Some(known) if *known != (*own, *theirs) => return None,
            Some(_) => {}
            None => names.push((*own, *theirs)),
        }
    }
    let name = |label: &u8| names.iter().find(|(own, _)| own == label).map(|(_, name)| *name);
    let kept: Vec<u8> = out.iter().map(name).collect::<Option<Vec<u8>>>()?;
    let is_all_but_one = names.iter().all(|(_, name)| kept.contains(name) != (*name == over));
    is_all_but_one.then_some(kept)
}
