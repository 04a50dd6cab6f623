//! Small rewritings that leave the planner nothing special to do.
//!
//! What enters: an optimized graph. What leaves: an equal graph in which (1) nothing stands that no root needs; (2) every
//! output and every update's value is a node with storage of its own; (3) a reshape is an index map; (4) operands that
//! must lie in memory (of contractions and sorts, and gathered tables) do; (5) a reduction over rows and over axes inside of them is
//! taken in two stages, each row by itself first: in the kernel that makes the rows, while they are in cache, and whatever else is
//! made there (the terms of the gradients of biases, scales and shifts) is never written to memory; (6) some
//! products are sums of products (`split.rs`); (7) sorts go along the last axis; (8) a scan's operands lie in memory
//! without gaps, and its body is prepared, too; (9) some reductions over rows, and on a GPU inside of them, take their maps along (`along.rs`); (10) cheap functions of
//! places are worked out where they are read (`places.rs`); (11) products that sum over nothing are maps (`outer.rs`); (12) some
//! gathers are made in the order in which products want their rows (`order.rs`); (13) what a few neighbours have in common is written out for each (`narrow.rs`).
//! A copy is a `Cast` to the type that its operand has already.

use super::Options;
use super::along::take_along;
use super::columns::{laid_out, order_results};
use super::layout::{is_copy, is_widening, layouts};
use super::narrow::write_out;
use super::order::order_rows;
use super::outer::as_maps;
use super::pack::pack;
use super::places::make_where_read;
use super::split::split_sums;
use crate::base::Dim;
use crate::base::hash::FastSet;
use crate::graph::rewrite::{Rewriter, copy_node, prune, replace, rewrite};
use crate::graph::{Graph, Kind, Node, NodeId, Op, View};

pub fn prepare(graph: &Graph, options: &Options) -> Graph {
    let graph = write_out(&live(make_where_read(&as_maps(graph, options))), options);
    let graph = live(take_along(&split_reductions(&order_rows(&graph)), options));
    let graph = split_sums(&order_results(&sort_last(&graph)), options);
    copy_where_needed(&prepare_bodies(graph, options))
}

/// (8)
fn prepare_bodies(graph: Graph, options: &Options) -> Graph {
    let scans = graph.ids().filter(|id| graph.node(*id).kind() == Kind::Scan).map(|id| (id, ()));
    replace(&graph, scans.collect(), |rewriter, id, ()| {
        let node = graph.node(id);
        let Op::Scan(scan) = &node.op else { unreachable!("only scans were looked for") };
        let mut operands = rewriter.operands(id);
        let mut scan = Box::new(pack(&mut rewriter.new, scan, &mut operands, options.target));
        scan.body = prepare(&scan.body, options);
        rewriter.new.push(Node::new(Op::Scan(scan), node.ty.clone(), operands, node.origin.clone()))
    })
}

/// (1)
fn live(mut graph: Graph) -> Graph {
    prune(&mut graph);
    graph
}

/// (5)
fn split_reductions(graph: &Graph) -> Graph {
    rewrite(graph, |new, node, operands| {
        if node.kind() != Kind::Reduce {
            return None;
        }
        let Op::Reduce { op, axes } = &node.op else { return None };
        if axes.len() < 2 || !in_stages(&new.ty(operands[0]).shape, axes) {
            return None;
        }
        let rows = new.reduce(*op, operands[0], &axes[1..]).expect("fewer axes of the same operand");
        Some(new.reduce(*op, rows, &[0]).expect("rows remain"))
    })
}

/// Whether the rows' own results are few beside what they are made of.
fn in_stages(shape: &[Dim], axes: &[usize]) -> bool {
    const WORTH: i64 = 8;
    let of_row = axes[1..].iter().fold(Dim::from(1), |n, axis| n * shape[*axis].clone());
    axes.len() == shape.len() || axes[0] == 0 && of_row.as_const().is_none_or(|n| n >= WORTH)
}

/// (7)
fn sort_last(graph: &Graph) -> Graph {
    rewrite(graph, |new, node, operands| {
        if node.kind() != Kind::Other {
            return None;
        }
        let last = node.ty.rank().saturating_sub(1);
        match node.op {
            Op::Sort { axis, descending } if axis != last => {
                let mut exchange: Vec<usize> = (0..=last).collect();
                exchange.swap(axis, last);
                let lines = new.permute(operands[0], &exchange).expect("each axis once");
                let places = new.sort(lines, last, descending).expect("the types are the old ones");
                Some(new.permute(places, &exchange).expect("each axis once"))
            }
            _ => None,
        }
    })
}

/// Whether a node has no storage: it is read through another, or written into the bodies of its users.
fn is_virtual(graph: &Graph, id: NodeId) -> bool {
    let op = &graph.node(id).op;
    let is_view = matches!(op, Op::View(view) if !matches!(view, View::Pad { .. }));
    is_view
        || is_widening(graph, id)
        || matches!(op, Op::Detach | Op::After | Op::Const(_) | Op::Iota { .. } | Op::Size(_))
        || matches!(op, Op::Input(_) | Op::Param(_) | Op::State(_))
}

pub fn copy(graph: &mut Graph, x: NodeId) -> NodeId {
    let ty = graph.ty(x).clone();
    let origin = graph.node(x).origin.clone();
    graph.push(Node::new(Op::Cast, ty, vec![x], origin))
}

/// (2), (3) and (4)
fn copy_where_needed(graph: &Graph) -> Graph {
    let old_layouts = layouts(graph);
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids() {
        let node = graph.node(id);
        if !matches!(node.kind(), Kind::Contract | Kind::Scan | Kind::View | Kind::Other) {
            rewriter.copy(id);
            continue;
        }
        rewriter.enter(id);
        let mut operands = rewriter.operands(id);
        let has_no_memory = |old: NodeId| {
            let base = old_layouts[old.index()].base;
            let is_written = matches!(graph.node(base).op, Op::Const(_) | Op::Iota { .. } | Op::Size(_));
            is_written || graph.dtype(base) != graph.dtype(old)
        };
        let must_lie_in_memory: &[usize] = match node.op {
            Op::Contract(_) => &[0, 1],
            Op::Gather { .. } | Op::Sort { .. } => &[0],
            _ => &[],
        };
        let turned = match &node.op {
            Op::Contract(contraction) => laid_out(graph, node, contraction),
            _ => None,
        };
        if let Some((permutation, contraction)) = turned {
            let rhs = rewriter.new.permute(operands[1], &permutation).expect("each axis once");
            operands[1] = copy(&mut rewriter.new, rhs);
            let op = Op::Contract(contraction);
            let image = rewriter.new.push(Node::new(op, node.ty.clone(), operands, node.origin.clone()));
            rewriter.set(id, image);
            continue;
        }
        if let Op::Scan(_) = node.op {
            // A turn finds its slice of a tensor at the turn's number of slices from its start.
            for (operand, old) in operands.iter_mut().zip(&node.operands) {
                let layout = &old_layouts[old.index()];
                if has_no_memory(*old) || !graph.ty(*old).is_row_major(&layout.strides) {
                    *operand = copy(&mut rewriter.new, *operand);
                }
            }
        }
        for &i in must_lie_in_memory {
            if has_no_memory(node.operands[i]) {
                operands[i] = copy(&mut rewriter.new, operands[i]);
            }
        }
        if is_copy(graph, &old_layouts, id) {
            operands[0] = copy(&mut rewriter.new, operands[0]);
        }
        let image = copy_node(&mut rewriter.new, graph.node(id), &operands);
        rewriter.set(id, image);
    }
    let mut new = rewriter.finish();
    // Each root gets a node of its own, so that no two share a buffer that one of them may be written into.
    let mut taken: FastSet<NodeId> = FastSet::default();
    let mut own = |new: &mut Graph, id: NodeId| {
        let image = if is_virtual(new, id) || taken.contains(&id) { copy(new, id) } else { id };
        taken.insert(image);
        image
    };
    for i in 0..new.outputs.len() {
        let root = new.outputs[i].1;
        new.outputs[i].1 = own(&mut new, root);
    }
    for i in 0..new.updates.len() {
        let root = new.updates[i].1;
        new.updates[i].1 = own(&mut new, root);
    }
    new
}
