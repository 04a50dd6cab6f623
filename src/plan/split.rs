//! Long sums over a parameter are taken in parts, so that a core reads only those weights that it also updates.
//!
//! What enters: a graph, and the greatest batch. What leaves: an equal graph in which some products `x[batch, k] * w[k, n]` are
//! sums of `PARTS` products, each over its own rows of `w`. Tiles over the batch would all read the whole of `w`, and each weight would
//! travel from the core that updated it to all others in every step; parts over `k` read rows of `w`, as the tiles of
//! its update do. The price is that partial results are written and read, so it is done only where they are few beside the
//! weights. Measured on two cores with `mlp-seed` (784 x 64 weights, batch 32): a step takes 0.08 ms with it and 0.105 ms
//! without (`gradc bench examples/bench/mlp-seed.model`).
//! So are sums whose result has too few rows to be dealt out: the gradient of a 3x3 kernel has three. If its pictures are large enough for
//! fewer multiplications (`winograd`), it is made in parts by channels, which need not be summed. On a GPU, where a result of a few
//! thousand elements keeps a few blocks busy, each example has a sum of its own.

use super::winograd::makes_kernel;
use super::{Options, Target};
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::rewrite::replace;
use crate::graph::{Contraction, Graph, Node, NodeId, Op, View};

/// Parts of a sum; fixed, for the order of a sum is part of its result.
const PARTS: i64 = 8;
/// How many times as long as all parts' rows a sum must be.
const WORTH: i64 = 2;
/// Rows of a result below which there are not enough tiles for several cores.
const FEW_ROWS: i64 = 8;
/// Multiply-adds of a product that is worth several cores.
const LARGE: i64 = 1 << 20;
/// Elements of a result below which there are not blocks enough for a large GPU, and terms of an example's sum, at least.
const FEW_ELEMENTS: i64 = 1 << 13;
const LEAST_TERMS: i64 = 64;
/// Parts of a kernel's gradient, and channels in each: what comes of the result's cotangent is made once for each part, so that there are as
/// few as may be, but where each has many channels.
const MOST_PARTS: i64 = 4;
const LEAST_CHANNELS: i64 = 16;
const MANY_CHANNELS: i64 = 64;

/// How a contraction is made in parts, each of which has rows of its own.
enum Split {
    /// Each example's sum by itself, then these are summed: the examples' label.
    Examples(u8),
    /// So many parts of a summed label, which are summed in the end.
    Sums(u8, i64),
    /// So many parts of a label of the left and the result.
    Channels(u8, i64),
}

pub fn split_sums(graph: &Graph, options: &Options) -> Graph {
    let found = |id| Some((id, split(graph, id, options)?));
    replace(graph, graph.ids().filter_map(found).collect(), |rewriter, id, split: Split| {
        let operands = rewriter.operands(id);
        split.made(&mut rewriter.new, [operands[0], operands[1]], graph.node(id))
    })
}

/// How a node should be split, if it should.
fn split(graph: &Graph, id: NodeId, options: &Options) -> Option<Split> {
    let node = graph.node(id);
    let Op::Contract(contraction) = &node.op else { return None };
    let cx = Sum { graph, node, contraction };
    let on_target = match options.target {
        Target::Cpu => cx.of_kernel().or_else(|| cx.of_channels(options.max_batch)),
        Target::Cuda => cx.few_elements(options.max_batch),
    };
    on_target.or_else(|| cx.few_rows()).or_else(|| cx.of_parameter(options.max_batch))
}

/// A contraction that is looked at.
struct Sum<'a> {
    graph: &'a Graph,
    node: &'a Node,
    contraction: &'a Contraction,
}

impl Sum<'_> {
    /// Of a label of the left.
    fn size(&self, label: u8) -> &Dim {
        let axis = self.contraction.lhs.iter().position(|l| *l == label).expect("a label of the left");
        &self.graph.ty(self.node.operands[0]).shape[axis]
    }

    /// The product of the sizes that are known.
    fn known<'d>(sizes: impl IntoIterator<Item = &'d Dim>) -> i64 {
        sizes.into_iter().filter_map(Dim::as_const).fold(1, i64::saturating_mul)
    }

    /// A long sum over examples, and over more in each of them, with few elements.
    fn few_elements(&self, max_batch: i64) -> Option<Split> {
        let shape = &self.node.ty.shape;
        let n_elements = Sum::known(shape);
        let summed = self.contraction.summed();
        let (known, unknown): (Vec<u8>, Vec<u8>) =
            summed.iter().partition(|label| self.size(**label).as_const().is_some());
        let terms = Sum::known(known.iter().map(|label| self.size(*label)));
        let [examples] = unknown[..] else { return None };
        let is_worth_it = shape.iter().all(|size| size.as_const().is_some())
            && n_elements < FEW_ELEMENTS
            && terms >= LEAST_TERMS
            && terms.saturating_mul(n_elements).saturating_mul(max_batch) >= LARGE;
        (is_worth_it && *self.size(examples) == Dim::symbol("batch")).then_some(Split::Examples(examples))
    }

    /// The gradient of a 3x3 kernel by the pictures on the left, which takes fewer multiplications where its rows are channels.
    fn of_kernel(&self) -> Option<Split> {
        let Contraction { lhs, rhs, out } = self.contraction;
        let size = |label: u8| self.size(label).as_const();
        let own = lhs.iter().copied().filter(|label| out.contains(label) && !rhs.contains(label));
        let (taps, channels): (Vec<u8>, Vec<u8>) = own.partition(|label| size(*label) == Some(3));
        let ([first, _], [channel]) = (&taps[..], &channels[..]) else { return None };
        let places: Vec<i64> = self.contraction.summed().into_iter().filter_map(size).collect();
        let of_result: Vec<usize> = (0..rhs.len()).filter(|i| !lhs.contains(&rhs[*i])).collect();
        let ([rows, columns], [of_result]) = (&places[..], &of_result[..]) else { return None };
        let (n, n_result) =
            (size(*channel)?, self.graph.ty(self.node.operands[1]).shape[*of_result].as_const()?);
        let makes_it = |parts: &i64| {
            n % parts == 0
                && n / parts >= LEAST_CHANNELS
                && makes_kernel([*rows, *columns], [n / parts, n_result])
        };
        let is_worth_it = out.first() == Some(first)
            && self.steps_as_its_taps()
            && self.node.operands.iter().all(|x| self.graph.dtype(*x) == DType::F32);
        let mut parts = (2..=MOST_PARTS).filter(|parts| is_worth_it && makes_it(parts));
        let fewest = parts.next()?;
        let most = parts.rfind(|parts| n / parts >= MANY_CHANNELS);
        Some(Split::Channels(*channel, most.unwrap_or(fewest)))
    }

    /// The gradient of a kernel that each channel has for itself: the channels of one example stay in a cache, those of all do not.
    fn of_channels(&self, max_batch: i64) -> Option<Split> {
        let Contraction { lhs, rhs, out } = self.contraction;
        let channel = lhs.last()?;
        let has_own_kernels = [rhs, out].iter().all(|labels| labels.last() == Some(channel));
        if !has_own_kernels || rhs.iter().chain(out).any(|label| !lhs.contains(label)) {
            return None;
        }
        let is_known = |label: &u8| self.size(*label).as_const().is_some();
        let count = |labels: &[u8]| Sum::known(labels.iter().map(|label| self.size(*label)));
        let (places, others): (Vec<u8>, Vec<u8>) = self.contraction.summed().into_iter().partition(is_known);
        let ([examples], [taps @ .., _]) = (&others[..], &out[..]) else { return None };
        let is_worth_it = max_batch >= PARTS
            && *self.size(*examples) == Dim::symbol("batch")
            && taps.iter().all(is_known)
            && count(&places) >= LEAST_TERMS.max(count(taps));
        is_worth_it.then_some(Split::Examples(*examples))
    }

    /// Whether the windows on the left are as far apart as their taps.
    fn steps_as_its_taps(&self) -> bool {
        let mut id = self.node.operands[0];
        while let Op::View(view) = &self.graph.node(id).op {
            if matches!(view, View::Window(window) if window.stride != window.dilation) {
                return false;
            }
            id = self.graph.node(id).operands[0];
        }
        true
    }

    /// A long sum with few rows, such as the gradient of a convolution's kernel.
    fn few_rows(&self) -> Option<Split> {
        let rows = self.node.ty.shape.first()?.as_const().filter(|rows| *rows < FEW_ROWS)?;
        let summed = self.contraction.summed();
        let known = Sum::known(summed.iter().map(|label| self.size(*label)));
        // Partial results are written and read; they must be few beside the work.
        if known.saturating_mul(Sum::known(&self.node.ty.shape)) < LARGE || known < 8 * PARTS || rows == 0 {
            return None;
        }
        let parts = |label: u8| {
            let size = self.size(label).as_const()?;
            (2..=PARTS).rev().find(|n| size % n == 0 && size > *n)
        };
        let best = summed.iter().filter_map(|label| Some((*label, parts(*label)?)));
        let (label, parts) = best.max_by_key(|(label, parts)| {
            (*parts, std::cmp::Reverse(summed.iter().position(|l| l == label)))
        })?;
        Some(Split::Sums(label, parts))
    }

    /// A product of examples with a parameter of many rows.
    fn of_parameter(&self, max_batch: i64) -> Option<Split> {
        let Contraction { lhs, rhs, out } = self.contraction;
        let is_plain = matches!((&lhs[..], &rhs[..], &out[..]),
            ([row, k], [same, column], [r, c]) if k == same && row == r && column == c);
        let is_parameter = |id: NodeId| matches!(self.graph.node(id).op, Op::Param(_));
        // Itself, or rounded to bf16.
        let right = self.graph.node(self.node.operands[1]);
        let of_parameter =
            is_parameter(self.node.operands[1]) || right.op == Op::Cast && is_parameter(right.operands[0]);
        if !is_plain || !of_parameter || *self.size(lhs[0]) != Dim::symbol("batch") {
            return None;
        }
        let k = self.size(lhs[1]).as_const()?;
        let is_worth_it = k % PARTS == 0 && k >= WORTH.saturating_mul(PARTS).saturating_mul(max_batch);
        is_worth_it.then_some(Split::Sums(lhs[1], PARTS))
    }
}

impl Split {
    /// The node's value, made so.
    fn made(&self, graph: &mut Graph, [left, right]: [NodeId; 2], node: &Node) -> NodeId {
        let Op::Contract(Contraction { lhs, rhs, out }) = &node.op else {
            unreachable!("only contractions are split")
        };
        let is_free = |l: &u8| !lhs.contains(l) && !rhs.contains(l);
        let part = (b'a'..=b'z').chain(b'A'..=b'Z').find(is_free).expect("fewer than 52 axes");
        let first = match self {
            Split::Examples(label) => *label,
            Split::Sums(..) | Split::Channels(..) => part,
        };
        let ((left, lhs), (right, rhs)) = match self {
            Split::Examples(_) => ((left, lhs.clone()), (right, rhs.clone())),
            Split::Sums(label, n) => {
                (in_two(graph, left, lhs, [*label, part], *n), in_two(graph, right, rhs, [*label, part], *n))
            }
            Split::Channels(label, n) => (in_two(graph, left, lhs, [*label, part], *n), (right, rhs.clone())),
        };
        let in_parts = Contraction { lhs, rhs, out: [&[first], &out[..]].concat() };
        let products = graph.contract(left, right, in_parts).expect("the old sizes");
        match self {
            Split::Examples(_) | Split::Sums(..) => {
                graph.reduce(ReduceOp::Sum, products, &[0]).expect("the parts' axis")
            }
            // The parts go back before what they are parts of.
            Split::Channels(label, _) => {
                let at = out.iter().position(|l| l == label).expect("a label of the result");
                let mut order: Vec<usize> = (1..=out.len()).collect();
                order.insert(at, 0);
                let whole = graph.permute(products, &order).expect("each axis once");
                graph.reshape(whole, node.ty.shape.clone()).expect("as many elements")
            }
        }
    }
}

/// An operand whose axis `label` is two, `parts` of it first, and its labels.
fn in_two(
    graph: &mut Graph,
    x: NodeId,
    labels: &[u8],
    [label, part]: [u8; 2],
    parts: i64,
) -> (NodeId, Vec<u8>) {
    let axis = labels.iter().position(|l| *l == label).expect("a label of the operand");
    let mut shape = graph.ty(x).shape.clone();
    let size = shape[axis].as_const().expect("found by its size");
    shape.splice(axis..=axis, [Dim::from(parts), Dim::from(size / parts)]);
    let mut labels = labels.to_vec();
    labels.insert(axis, part);
    (graph.reshape(x, shape).expect("as many elements"), labels)
}
