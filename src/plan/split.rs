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

use super::{Options, Target};
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::rewrite::Rewriter;
use crate::graph::{Contraction, Graph, Node, NodeId, Op};

/// Parts of a sum; fixed, for the order of a sum is part of its result.
const PARTS: i64 = 8;
/// How many times as long as all parts' rows a sum must be.
const WORTH: i64 = 2;

pub fn split_sums(graph: &Graph, options: &Options) -> Graph {
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids() {
        rewriter.enter(id);
        if options.target == Target::Cuda
            && let Some(axis) = few_elements(graph, id, options.max_batch)
        {
            let operands = rewriter.operands(id);
            let sum = over_examples(&mut rewriter.new, [operands[0], operands[1]], &graph.node(id).op, axis);
            rewriter.set(id, sum);
            continue;
        }
        if options.target == Target::Cpu
            && let Some((channel, parts)) = of_kernel(graph, id)
        {
            let operands = rewriter.operands(id);
            let whole =
                by_channels(&mut rewriter.new, [operands[0], operands[1]], graph.node(id), channel, parts);
            rewriter.set(id, whole);
            continue;
        }
        if let Some((label, parts)) = few_rows(graph, id) {
            let operands = rewriter.operands(id);
            let sum =
                over_parts(&mut rewriter.new, [operands[0], operands[1]], &graph.node(id).op, label, parts);
            rewriter.set(id, sum);
            continue;
        }
        match parts(graph, id, options.max_batch) {
            Some(k) => {
                let operands = rewriter.operands(id);
                let sum = in_parts(&mut rewriter.new, [operands[0], operands[1]], k);
                rewriter.set(id, sum);
            }
            None => {
                rewriter.copy(id);
            }
        }
    }
    rewriter.finish()
}

/// Rows of a result below which there are not enough tiles for several cores.
const FEW_ROWS: i64 = 8;
/// Multiply-adds of a product that is worth several cores.
const LARGE: i64 = 1 << 20;

/// Elements of a result below which there are not blocks enough for a large GPU.
const FEW_ELEMENTS: i64 = 1 << 13;
/// Terms of an example's sum, at least.
const LEAST_TERMS: i64 = 64;

/// A long sum over examples, and over more in each of them, with few elements: the label of the examples.
fn few_elements(graph: &Graph, id: NodeId, max_batch: i64) -> Option<u8> {
    let node = graph.node(id);
    let Op::Contract(contraction) = &node.op else { return None };
    let n_elements =
        node.ty.shape.iter().try_fold(1, |n: i64, size| Some(n.saturating_mul(size.as_const()?)))?;
    let shape = &graph.ty(node.operands[0]).shape;
    let size =
        |label: &u8| &shape[contraction.lhs.iter().position(|l| l == label).expect("it is in both operands")];
    let summed = contraction.summed();
    let (known, unknown): (Vec<u8>, Vec<u8>) =
        summed.iter().partition(|label| size(label).as_const().is_some());
    let terms = known.iter().filter_map(|label| size(label).as_const()).fold(1, i64::saturating_mul);
    let [examples] = unknown[..] else { return None };
    let is_worth_it = n_elements < FEW_ELEMENTS
        && terms >= LEAST_TERMS
        && terms.saturating_mul(n_elements).saturating_mul(max_batch) >= LARGE;
    (is_worth_it && *size(&examples) == Dim::symbol("batch")).then_some(examples)
}

/// The sum of the examples' contractions.
fn over_examples(graph: &mut Graph, operands: [NodeId; 2], op: &Op, examples: u8) -> NodeId {
    let Op::Contract(Contraction { lhs, rhs, out }) = op else { unreachable!("only contractions are split") };
    let of_each = Contraction { lhs: lhs.clone(), rhs: rhs.clone(), out: [&[examples], &out[..]].concat() };
    let products = graph.contract(operands[0], operands[1], of_each).expect("the old sizes");
    graph.reduce(ReduceOp::Sum, products, &[0]).expect("the examples' axis")
}

/// Parts of a kernel's gradient, and channels in each: what comes of the result's cotangent is made once for each part.
const MOST_PARTS: i64 = 4;
const LEAST_CHANNELS: i64 = 16;
/// Elements of a picture that are worth fewer multiplications.
const PICTURE: i64 = 64;

/// The gradient of a 3x3 kernel by the pictures on the left: the label of their channels, and in how many parts it is made.
fn of_kernel(graph: &Graph, id: NodeId) -> Option<(u8, i64)> {
    let node = graph.node(id);
    let Op::Contract(contraction @ Contraction { lhs, rhs, out }) = &node.op else { return None };
    let shape = &graph.ty(node.operands[0]).shape;
    let size =
        |label: u8| shape[lhs.iter().position(|l| *l == label).expect("a label of the left")].as_const();
    let own = lhs.iter().copied().filter(|label| out.contains(label) && !rhs.contains(label));
    let (taps, channels): (Vec<u8>, Vec<u8>) = own.partition(|label| size(*label) == Some(3));
    let ([first, _], [channel]) = (&taps[..], &channels[..]) else { return None };
    let places: Vec<i64> = contraction.summed().into_iter().filter_map(size).collect();
    let [rows, columns] = places[..] else { return None };
    let are_large = rows % 2 == 0 && columns % 2 == 0 && rows * columns >= PICTURE;
    let n = size(*channel)?;
    let parts = (2..=MOST_PARTS).rev().find(|parts| n % parts == 0 && n / parts >= LEAST_CHANNELS)?;
    let columns_out = rhs.iter().filter(|label| !lhs.contains(label)).count();
    (are_large && columns_out == 1 && out.first() == Some(first) && node.ty.dtype == DType::F32)
        .then_some((*channel, parts))
}

/// A contraction whose rows are parts of a label of the left, then as it was.
fn by_channels(graph: &mut Graph, operands: [NodeId; 2], node: &Node, channel: u8, parts: i64) -> NodeId {
    let Op::Contract(Contraction { lhs, rhs, out }) = &node.op else {
        unreachable!("only contractions are split")
    };
    let part = (b'a'..=b'z').find(|l| !lhs.contains(l) && !rhs.contains(l)).expect("fewer than 26 axes");
    let axis = lhs.iter().position(|l| *l == channel).expect("a label of the left");
    let mut shape = graph.ty(operands[0]).shape.clone();
    let size = shape[axis].as_const().expect("found by its size");
    shape.splice(axis..=axis, [Dim::from(parts), Dim::from(size / parts)]);
    let left = graph.reshape(operands[0], shape).expect("as many elements");
    let mut labels = lhs.clone();
    labels.insert(axis, part);
    let of_parts = Contraction { lhs: labels, rhs: rhs.clone(), out: [&[part], &out[..]].concat() };
    let whole = graph.contract(left, operands[1], of_parts).expect("the old sizes");
    // Back before its channels.
    let at = out.iter().position(|l| *l == channel).expect("a label of the result");
    let mut order: Vec<usize> = (1..=out.len()).collect();
    order.insert(at, 0);
    let whole = graph.permute(whole, &order).expect("each axis once");
    graph.reshape(whole, node.ty.shape.clone()).expect("as many elements")
}

/// A long sum with few rows, such as the gradient of a convolution's kernel: a summed label, and in how many parts.
fn few_rows(graph: &Graph, id: NodeId) -> Option<(u8, i64)> {
    let node = graph.node(id);
    let Op::Contract(contraction) = &node.op else { return None };
    let rows = node.ty.shape.first()?.as_const().filter(|rows| *rows < FEW_ROWS)?;
    let shape = &graph.ty(node.operands[0]).shape;
    let size = |label: &u8| {
        let axis =
            contraction.lhs.iter().position(|l| l == label).expect("a summed label is in both operands");
        shape[axis].as_const()
    };
    let summed = contraction.summed();
    let known: i64 = summed.iter().filter_map(size).fold(1, i64::saturating_mul);
    let result = node.ty.shape.iter().filter_map(Dim::as_const).fold(1, i64::saturating_mul);
    // Partial results are written and read; they must be few beside the work.
    if known.saturating_mul(result) < LARGE || known < 8 * PARTS || rows == 0 {
        return None;
    }
    let parts =
        |label: &u8| (2..=PARTS).rev().find(|n| size(label).is_some_and(|size| size % n == 0 && size > *n));
    let best = summed.iter().filter_map(|label| Some((*label, parts(label)?)));
    best.max_by_key(|(label, parts)| (*parts, std::cmp::Reverse(summed.iter().position(|l| l == label))))
}

/// The sum of `parts` contractions, each over its own part of a label.
fn over_parts(graph: &mut Graph, operands: [NodeId; 2], op: &Op, label: u8, parts: i64) -> NodeId {
    let Op::Contract(Contraction { lhs, rhs, out }) = op else { unreachable!("only contractions are split") };
    let used = |l: &u8| lhs.contains(l) || rhs.contains(l);
    let part = (b'a'..=b'z').chain(b'A'..=b'Z').find(|l| !used(l)).expect("fewer than 52 axes");
    let mut split = |x: NodeId, labels: &[u8]| {
        let axis = labels.iter().position(|l| *l == label).expect("a summed label is in both operands");
        let mut shape = graph.ty(x).shape.clone();
        let size = shape[axis].as_const().expect("found by its size");
        shape.splice(axis..=axis, [Dim::from(parts), Dim::from(size / parts)]);
        let mut labels = labels.to_vec();
        labels.insert(axis, part);
        (graph.reshape(x, shape).expect("as many elements"), labels)
    };
    let ((left, lhs), (right, rhs)) = (split(operands[0], lhs), split(operands[1], rhs));
    let out = [&[part], &out[..]].concat();
    let products = graph.contract(left, right, Contraction { lhs, rhs, out }).expect("the old sizes");
    graph.reduce(ReduceOp::Sum, products, &[0]).expect("the parts' axis")
}

/// The length of the sum, if the node is a product that is worth it.
fn parts(graph: &Graph, id: NodeId, max_batch: i64) -> Option<i64> {
    let node = graph.node(id);
    let Op::Contract(Contraction { lhs, rhs, out }) = &node.op else { return None };
    let is_plain = matches!((&lhs[..], &rhs[..], &out[..]),
        ([row, k], [same, column], [r, c]) if k == same && row == r && column == c);
    let is_parameter = |id: NodeId| matches!(graph.node(id).op, Op::Param(_));
    // Itself, or rounded to bf16.
    let right = graph.node(node.operands[1]);
    let of_parameter =
        is_parameter(node.operands[1]) || right.op == Op::Cast && is_parameter(right.operands[0]);
    let shape = &graph.ty(node.operands[0]).shape;
    if !is_plain || !of_parameter || shape[0] != Dim::symbol("batch") {
        return None;
    }
    let k = shape[1].as_const()?;
    (k % PARTS == 0 && k >= WORTH.saturating_mul(PARTS).saturating_mul(max_batch)).then_some(k)
}

fn in_parts(graph: &mut Graph, [lhs, rhs]: [NodeId; 2], k: i64) -> NodeId {
    let (batch, n) = (graph.ty(lhs).shape[0].clone(), graph.ty(rhs).shape[1].clone());
    let (parts, part) = (Dim::from(PARTS), Dim::from(k / PARTS));
    let lhs = graph.reshape(lhs, [batch, parts.clone(), part.clone()]).expect("as many elements");
    let rhs = graph.reshape(rhs, [parts, part, n]).expect("as many elements");
    let contraction = Contraction { lhs: b"apk".to_vec(), rhs: b"pkc".to_vec(), out: b"pac".to_vec() };
    let products = graph.contract(lhs, rhs, contraction).expect("sizes are those of the old product");
    graph.reduce(ReduceOp::Sum, products, &[0]).expect("the parts' axis")
}
