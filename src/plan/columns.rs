//! Columns that are neighbours on one side of a product become neighbours on the other.
//!
//! What enters: a graph; a product with its labels. What leaves: the same product with its result, or its right side, in another order.
//! Labels of columns that step as one in the right side and in the result are one axis of a matrix product (`gemm.rs`); where
//! only one side has them together there is a product for each value of one label, and of the other label alone there may
//! be three columns, which is all of a transposed convolution that makes a picture. Two cases:
//!
//! - The right side has them together and the result, of known size (the gradient of a weight), does not, and those of the last are too
//!   few for a line: the result is made in the right side's order, and read through a permutation.
//! - The result has them together, or the right side's last axis is summed, and the right side is a weight or as small: it is laid out
//!   anew with its columns last, as many as fill a panel. Each of many products would else turn it about for itself.
//!
//! Invariant: no bit changes.

use super::gemm::LINE;
use super::layout::{Layout, layouts};
use super::pack::WIDTH;
use crate::base::Dim;
use crate::graph::rewrite::replace;
use crate::graph::{Contraction, Graph, Node, Op};
use std::cell::LazyCell;
use std::ops::Deref;

/// The first case.
pub fn order_results(graph: &Graph) -> Graph {
    let layouts = LazyCell::new(|| layouts(graph));
    let found = |id| {
        let node = graph.node(id);
        let Op::Contract(contraction) = &node.op else { return None };
        Some((id, (contraction, of_right_side(graph, &layouts, node, contraction)?)))
    };
    replace(graph, graph.ids().filter_map(found).collect(), |rewriter, id, (contraction, order)| {
        let contraction: &Contraction = contraction;
        let order: Vec<usize> = order;
        let operands = rewriter.operands(id);
        let out: Vec<u8> = order.iter().map(|axis| contraction.out[*axis]).collect();
        let back: Vec<usize> =
            (0..order.len()).map(|axis| order.iter().position(|a| *a == axis).expect("each once")).collect();
        let new = &mut rewriter.new;
        let product = new.contract(operands[0], operands[1], Contraction { out, ..contraction.clone() });
        new.permute(product.expect("the same labels"), &back).expect("each axis once")
    })
}

/// An order of the result's axes in which the last two columns of the right side are neighbours.
fn of_right_side(
    graph: &Graph,
    layouts: &impl Deref<Target = Vec<Layout>>,
    node: &Node,
    contraction: &Contraction,
) -> Option<Vec<usize>> {
    let Contraction { lhs, rhs, out } = contraction;
    let [.., first, last] = rhs[..] else { return None };
    let is_column = |label| out.contains(&label) && !lhs.contains(&label);
    // Most are none, and then nobody need know where anything lies.
    if !is_column(first) || !is_column(last) {
        return None;
    }
    let right = node.operands[1];
    let size = graph.ty(right).shape.last()?.as_const()?;
    let strides = &layouts[right.index()].strides;
    let [.., outer, inner] = &strides[..] else { return None };
    let step_as_one = *outer == inner.clone() * Dim::from(size);
    let is_known = node.ty.shape.iter().all(|size| size.as_const().is_some());
    if !step_as_one || size >= LINE || !is_known {
        return None;
    }
    let place = |label| out.iter().position(|l| *l == label).expect("a column is in the result");
    let (from, to) = (place(first), place(last));
    let mut order: Vec<usize> = (0..out.len()).filter(|axis| *axis != from).collect();
    order.insert(order.iter().position(|axis| *axis == to)?, from);
    // Rows stay rows.
    (from > 0 && from + 1 != to).then_some(order)
}

/// The second case: the right side's axes in their new order, and the labels.
pub fn laid_out(graph: &Graph, node: &Node, contraction: &Contraction) -> Option<(Vec<usize>, Contraction)> {
    let Contraction { lhs, rhs, out } = contraction;
    let shape = &graph.ty(node.operands[1]).shape;
    let is_small = shape.iter().all(|size| size.as_const().is_some());
    if rhs.len() < 3 || graph.ty(node.operands[0]).rank() < rhs.len() || !is_small {
        return None;
    }
    let axis = |label: u8| rhs.iter().position(|l| *l == label);
    let size = |axis: usize| shape[axis].as_const().unwrap_or(i64::MAX);
    let is_column = |axis: &usize| !lhs.contains(&rhs[*axis]);
    let place = out.iter().rposition(|label| axis(*label).is_some_and(|axis| is_column(&axis)))?;
    let last = axis(out[place])?;
    let mut columns = vec![last];
    let mut width = size(last);
    for label in out[..place].iter().rev() {
        let Some(next) = axis(*label).filter(is_column).filter(|_| width < WIDTH) else { break };
        width = width.saturating_mul(size(next));
        columns.insert(0, next);
    }
    let others = (0..rhs.len()).filter(|axis| !columns.contains(axis));
    let order: Vec<usize> = others.chain(columns.iter().copied()).collect();
    let rhs = order.iter().map(|axis| rhs[*axis]).collect();
    let is_as_before = order.iter().copied().eq(0..order.len());
    (!is_as_before).then(|| (order, Contraction { rhs, ..contraction.clone() }))
}

#[cfg(test)]
mod tests {
    use crate::graph::interpret::{Env, Tensor};
    use crate::graph::text::parse;
    use crate::nest::TileOp;
    use crate::plan::tests::check;
    use crate::plan::{Options, Target, plan};

    /// One product; `labels` are its, each of this size.
    fn text(labels: &str, size: fn(char) -> &'static str) -> String {
        let (sides, result) = labels.split_once("->").unwrap();
        let (left, right) = sides.split_once(',').unwrap();
        let [left, right, result] =
            [left, right, result].map(|labels| labels.chars().map(size).collect::<Vec<_>>().join(", "));
        format!(
            "graph {{
                %x = input @x : f32[{left}]
                %w = param @w : f32[{right}]
                %y = contract {labels} %x, %w : f32[{result}]
                output y = %y
            }}"
        )
    }

    #[test]
    fn columns_of_one_side_are_neighbours_on_the_other() {
        let size = |label| match label {
            'a' => "batch",
            'b' => "6",
            'f' => "4",
            'g' => "3",
            'w' => "20",
            _ => "5",
        };
        // The greatest number of columns of a product; 0 where they are a tile's rows.
        for (labels, n) in [
            // Of a known size, in the right side's order.
            ("adb,abefg->edbfg", 12),
            ("adb,abefg->efdbg", 12),
            // Enough by themselves; rows, which stay rows; the other way round, which makes rows of columns step as one, too.
            ("adb,abefw->efdw", 20),
            ("adb,abfg->fdg", 0),
            ("adb,abegf->efdg", 0),
            // In the result's order: a weight; the axis last that is not summed; as many as fill a panel.
            ("abcd,efdg->abecfg", 12),
            ("abcd,egfd->abecfg", 12),
            ("abcd,fdew->abcfew", 100),
            ("abcd,dfg->abcfg", 12),
        ] {
            let graph = parse(&text(labels, size)).unwrap();
            let mut env = Env::default();
            env.symbols.insert("batch".into(), 3);
            for id in graph.ids() {
                let Some(name) = graph.node(id).op.leaf_name() else { continue };
                let shape = env.shape(&graph.ty(id).shape).unwrap();
                let values = (0..shape.iter().product()).map(|i| (i * 5 % 7) as f64).collect::<Vec<_>>();
                env.leaves.insert(name.clone(), Tensor::new(shape, values));
            }
            check(&graph, &env);
            let plan = plan(&graph, &Options::new(3, Target::Cpu));
            let columns = plan.kernels.iter().flat_map(|kernel| &kernel.ops).filter_map(|op| match op {
                TileOp::Gemm(gemm) => Some(gemm.n.as_const().unwrap_or(0)),
                _ => None,
            });
            assert_eq!(columns.max(), Some(n), "{labels}: {:?}", plan.kernels);
        }
    }
}
