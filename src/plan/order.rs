//! Gathered rows lie in the order in which products want them.
//!
//! What enters: a graph. What leaves: an equal one in which some gathers by a matrix of places are made column by column of it, and read through
//! a permutation. An embedding has a row for each example and each place in its sequence; a recurrent layer takes a place of all
//! examples at a time, so the product that goes before it has rows in the other order, and so has what the gradient of that product's
//! weights sums over. Where both sides agree, two labels that step as one are one: a product of all rows, a sum over all of them.
//! Where they do not, there is a product for each example, or a sum a few terms at a time.
//!
//! The rule: only products read the rows; of these some have both labels side by side, the other way round, in their result or
//! their other factor, and none has them as they are; and there are columns enough to be dealt out as rows were. Not here: rows that are made
//! otherwise, whose maker would lose what is fused with it.

use crate::graph::rewrite::{Users, replace};
use crate::graph::{Graph, NodeId, Op};
use std::cell::LazyCell;

pub fn order_rows(graph: &Graph) -> Graph {
    let users = LazyCell::new(|| Users::new(graph));
    let found = |id| Some((id, gather(graph, id).filter(|_| wants_columns(graph, &users, id))?));
    replace(graph, graph.ids().filter_map(found).collect(), |rewriter, id, operands| {
        let [table, places] = operands.map(|x| rewriter.image(x).expect("operands come before their users"));
        let rank = graph.ty(id).rank();
        let turned = [1, 0].into_iter().chain(2..rank).collect::<Vec<_>>();
        let new = &mut rewriter.new;
        let places = new.permute(places, &[1, 0]).expect("places are a matrix");
        let rows = new.gather(table, places, 0).expect("the same rows in another order");
        new.permute(rows, &turned).expect("the order of before")
    })
}

/// Columns of places below which tiles of them are too few.
const LEAST_COLUMNS: i64 = if cfg!(test) { 2 } else { 16 };

/// Table and places of a gather of rows by a matrix of enough columns.
fn gather(graph: &Graph, id: NodeId) -> Option<[NodeId; 2]> {
    let node = graph.node(id);
    let [table, places] = node.operands[..] else { return None };
    let has_columns = match &graph.ty(places).shape[..] {
        [_, columns] => columns.as_const().is_none_or(|n| n >= LEAST_COLUMNS),
        _ => false,
    };
    (node.op == Op::Gather { axis: 0, batch: 0 } && has_columns).then_some([table, places])
}

/// Whether all who read the rows are products, of which some have both labels the other way round and none as they are.
fn wants_columns(graph: &Graph, users: &Users, rows: NodeId) -> bool {
    let has = |labels: &[u8], pair: [u8; 2]| labels.windows(2).any(|two| two == pair);
    let mut is_turned = false;
    for user in users.of(rows) {
        let node = graph.node(*user);
        let Op::Contract(contraction) = &node.op else { return false };
        let (lhs, rhs) = (&contraction.lhs, &contraction.rhs);
        for (operand, own, other) in [(node.operands[0], lhs, rhs), (node.operands[1], rhs, lhs)] {
            let others = [other, &contraction.out];
            if operand == rows && others.iter().any(|labels| has(labels, [own[0], own[1]])) {
                return false;
            }
            is_turned |= operand == rows && others.iter().any(|labels| has(labels, [own[1], own[0]]));
        }
    }
    is_turned
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::interpret::{Env, Tensor};
    use crate::graph::text::parse;
    use crate::nest::TileOp;
    use crate::plan::tests::check;
    use crate::plan::{Options, Target, plan};

    /// A gather whose rows are a factor of two products; `labels` are theirs.
    fn text([product, gradient]: [&str; 2]) -> String {
        let sizes = |labels: &str| -> String {
            let size = |label: char| match label {
                'a' => "batch",
                'd' => "6",
                'b' => "4",
                _ => "5",
            };
            labels.chars().map(size).collect::<Vec<_>>().join(", ")
        };
        let (result, other) =
            (product.split("->").nth(1).unwrap(), gradient.split([',', '-']).nth(1).unwrap());
        format!(
            "graph {{
                %t = param @table : f32[7, 4]
                %p = input @places : i32[batch, 6]
                %w = param @w : f32[4, 5]
                %g = input @g : f32[{other}]
                %x = gather 0 %t, %p : f32[batch, 6, 4]
                %y = contract {product} %x, %w : f32[{result}]
                %d = contract {gradient} %x, %g : f32[4, 5]
                output y = %y
                output d = %d
            }}",
            other = sizes(other),
            result = sizes(result)
        )
    }

    #[test]
    fn rows_lie_as_products_want_them() {
        for (labels, is_turned) in [
            (["adb,bc->dac", "adb,dac->bc"], true),
            (["adb,bc->adc", "adb,adc->bc"], false),
            (["adb,bc->dac", "adb,adc->bc"], false),
        ] {
            let graph = parse(&text(labels)).unwrap();
            let ordered = order_rows(&graph);
            let rows = ordered.ids().find(|id| matches!(ordered.node(*id).op, Op::Gather { .. })).unwrap();
            assert_eq!(ordered.ty(rows).shape[0].as_const() == Some(6), is_turned, "{labels:?}:\n{ordered}");
            let mut env = Env::default();
            env.symbols.insert("batch".into(), 3);
            for id in graph.ids() {
                let Some(name) = graph.node(id).op.leaf_name() else { continue };
                let shape = env.shape(&graph.ty(id).shape).unwrap();
                let n: usize = shape.iter().product();
                let values = (0..n).map(|i| (i * 5 % 7) as f64).collect::<Vec<_>>();
                env.leaves.insert(name.clone(), Tensor::new(shape, values));
            }
            check(&graph, &env);
            // What agrees is one product without loops around.
            let plan = plan(&graph, &Options::new(3, Target::Cpu));
            let loops = plan.kernels.iter().flat_map(|kernel| &kernel.ops).map(|op| match op {
                TileOp::Gemm(gemm) => gemm.batch.len(),
                _ => 0,
            });
            let agrees = labels != ["adb,bc->dac", "adb,adc->bc"];
            assert_eq!(loops.sum::<usize>() == 0, agrees, "{labels:?}: {:?}", plan.kernels);
        }
    }
}
