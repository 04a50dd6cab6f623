//! Gathered rows lie in the order in which products want them.
//!
//! What enters: a graph. What leaves: an equal one in which some gathers by a matrix of places are made column by column of it, and read through
//! a permutation. An embedding has a row for each example and each place in its sequence; a recurrent layer takes a place of all
//! examples at a time, so the product that goes before it has rows in the other order, and so has what the gradient of that product's
//! weights sums over. Where both sides agree, two labels that step as one are one: a product of all rows, a sum over all of them.
//! Where they do not, there is a product for each example, or a sum a few terms at a time.
//!
//! The rule: of the products that read the rows, some have both labels side by side, the other way round, in their result or
//! their other factor, and none has them as they are. Not here: rows that are made otherwise, whose maker would lose what is fused with it.

use crate::graph::rewrite::{Rewriter, Users};
use crate::graph::{Graph, NodeId, Op};

pub fn order_rows(graph: &Graph) -> Graph {
    let users = Users::new(graph);
    let mut rewriter = Rewriter::new(graph);
    for id in graph.ids() {
        rewriter.enter(id);
        let Some([table, places]) = gather(graph, id).filter(|_| wants_columns(graph, &users, id)) else {
            rewriter.copy(id);
            continue;
        };
        let [table, places] = [table, places].map(|x| rewriter.image(x).expect("operands come before their users"));
        let rank = graph.ty(id).rank();
        let turned = [1, 0].into_iter().chain(2..rank).collect::<Vec<_>>();
        let new = &mut rewriter.new;
        let places = new.permute(places, &[1, 0]).expect("places are a matrix");
        let rows = new.gather(table, places, 0).expect("the same rows in another order");
        let image = new.permute(rows, &turned).expect("the order of before");
        rewriter.set(id, image);
    }
    rewriter.finish()
}

/// Table and places of a gather of rows by a matrix.
fn gather(graph: &Graph, id: NodeId) -> Option<[NodeId; 2]> {
    let node = graph.node(id);
    let [table, places] = node.operands[..] else { return None };
    (node.op == Op::Gather { axis: 0, batch: 0 } && graph.ty(places).rank() == 2).then_some([table, places])
}

fn wants_columns(graph: &Graph, users: &Users, rows: NodeId) -> bool {
    let (mut as_they_are, mut turned) = (0, 0);
    for user in users.of(rows) {
        let node = graph.node(*user);
        let Op::Contract(contraction) = &node.op else { continue };
        let sides = [(node.operands[0], &contraction.lhs, &contraction.rhs), (node.operands[1], &contraction.rhs, &contraction.lhs)];
        for (_, own, other) in sides.into_iter().filter(|(operand, ..)| *operand == rows) {
            let (first, second) = (own[0], own[1]);
            let has = |labels: &[u8], pair: [u8; 2]| labels.windows(2).any(|two| two == pair);
            for labels in [other, &contraction.out] {
                as_they_are += usize::from(has(labels, [first, second]));
                turned += usize::from(has(labels, [second, first]));
            }
        }
    }
    turned > 0 && as_they_are == 0
}
