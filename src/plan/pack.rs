//! Weights that a scan multiplies with in every turn are laid out for that once, before the scan.
//!
//! What enters: a scan with its operands. What leaves: an equal one in which each product `x[a, k] * w[k, n]` with a `w` that is the
//! same in all turns reads it in panels of a few columns, each without gaps, terms one after another: `w` as `[n / width,
//! k, width]`. A product reads a panel from start to end; rows of a whole `w` of 1,024 columns lie 4 KiB apart, where a cache
//! keeps few of them. A `w` whose columns are not a whole number of panels is only turned so that its rows lie along `n`.
//! The copy costs as much as reading `w` once. Not here: products outside of scans, which run over more rows at once.

use super::Target;
use crate::base::{DType, Dim, TensorType};
use crate::graph::op::scan::Role;
use crate::graph::rewrite::Rewriter;
use crate::graph::{Contraction, Graph, Node, NodeId, Op, Scan, ShapeError};

/// Columns of a panel of f32 on a CPU: a line of a cache, which blocks of any width read from start to end.
pub const PANEL: i64 = 16;
/// Columns of any other: as many as a product lays out together.
pub const WIDTH: i64 = 64;

/// The scan with packed weights; `operands` grows by them.
pub fn pack(graph: &mut Graph, scan: &Scan, operands: &mut Vec<NodeId>, target: Target) -> Scan {
    let mut rewriter = Rewriter::new(&scan.body);
    for id in scan.body.ids() {
        rewriter.enter(id);
        let node = scan.body.node(id);
        let packed = match &node.op {
            Op::Contract(contraction) => {
                packed(graph, scan, operands, &mut rewriter, contraction, node, target)
            }
            _ => None,
        };
        match packed {
            Some(image) => rewriter.set(id, image.expect("the same product in another order")),
            None => {
                rewriter.copy(id);
            }
        }
    }
    Scan { body: rewriter.finish(), ..scan.clone() }
}

/// The product with its right side in panels; `None` if it is no product with a matrix from outside.
fn packed(
    graph: &mut Graph,
    scan: &Scan,
    operands: &mut Vec<NodeId>,
    rewriter: &mut Rewriter,
    contraction: &Contraction,
    node: &Node,
    target: Target,
) -> Option<Result<NodeId, ShapeError>> {
    let outer = |id: NodeId| match Role::of(scan.body.node(id).op.leaf_name()?)? {
        Role::Outer(i) => Some(operands[scan.operand(Role::Outer(i))]),
        Role::Carry(_) | Role::Slice(_) => None,
    };
    let [left, right] = [node.operands[0], node.operands[1]];
    let (weights, other, labels, others) = match (outer(right), outer(left)) {
        (Some(w), _) => (w, left, &contraction.rhs, &contraction.lhs),
        (None, Some(w)) => (w, right, &contraction.lhs, &contraction.rhs),
        (None, None) => return None,
    };
    let [first, second] = labels[..] else { return None };
    let is_summed = |label: u8| others.contains(&label) && !contraction.out.contains(&label);
    let is_column = |label: u8| !others.contains(&label);
    let turned = match (is_summed(first) && is_column(second), is_summed(second) && is_column(first)) {
        (true, _) => false,
        (_, true) => true,
        _ => return None,
    };
    let [k, n] = if turned { [second, first] } else { [first, second] };
    let size = |label: u8| {
        scan.body.ty(if outer(right).is_some() { right } else { left }).shape
            [labels.iter().position(|l| *l == label).expect("one of its own")]
        .clone()
    };
    let columns = size(n).as_const()?;
    let width = if target == Target::Cpu && graph.dtype(weights) == DType::F32 { PANEL } else { WIDTH };
    let in_panels = columns % width == 0 && columns > width;
    if !in_panels && !turned {
        return None;
    }
    let mut pack = || {
        let rows = if turned { graph.permute(weights, &[1, 0])? } else { weights };
        if !in_panels {
            return Ok(rows);
        }
        let panels = graph.reshape(rows, [size(k), Dim::from(columns / width), Dim::from(width)])?;
        graph.permute(panels, &[1, 0, 2])
    };
    let value = match pack() {
        Ok(value) => value,
        Err(error) => return Some(Err(error)),
    };
    let at = operands.iter().position(|x| *x == value).unwrap_or_else(|| {
        operands.push(value);
        operands.len() - 1
    });
    let name = scan.role(at).name();
    let new = &mut rewriter.new;
    let known = new.ids().find(|id| new.node(*id).op.leaf_name() == Some(&name));
    let leaf = known.unwrap_or_else(|| {
        let ty = TensorType::new(graph.dtype(value), graph.ty(value).shape.clone());
        new.input(name, ty)
    });
    let used = |l: &u8| contraction.lhs.contains(l) || contraction.rhs.contains(l);
    let panel = (b'a'..=b'z').chain(b'A'..=b'Z').find(|l| !used(l))?;
    let split = |labels: &[u8]| -> Vec<u8> {
        labels.iter().flat_map(|l| if *l == n && in_panels { vec![panel, n] } else { vec![*l] }).collect()
    };
    let rhs = if in_panels { vec![panel, k, n] } else { vec![k, n] };
    let product = Contraction { lhs: others.clone(), rhs, out: split(&contraction.out) };
    let other = rewriter.image(other).expect("operands come before their users");
    let made = rewriter.new.contract(other, leaf, product);
    Some(made.and_then(|made| rewriter.new.reshape(made, node.ty.shape.clone())))
}
