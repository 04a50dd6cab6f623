//! Products without a sum are maps.
//!
//! What enters: a graph. What leaves: an equal graph in which a contraction that sums over nothing (an outer product: the gradient of a
//! weight of one example, a layer of one input) is a `mul` of both factors, stretched. A matrix product would write its result for the
//! loop that follows to read; a map is part of that loop, and of a large result nothing is in memory twice. Invariant: no bit changes, for a
//! sum of one term is that term, rounded once, added to 0. Not here: GPUs, where a product of tiles reads its factors less often.

use super::{Options, Target};
use crate::base::DType;
use crate::graph::rewrite::rewrite;
use crate::graph::{Contraction, Graph, Kind, NodeId, Op};
use crate::scalar::Func;

pub fn as_maps(graph: &Graph, options: &Options) -> Graph {
    if options.target != Target::Cpu {
        return graph.clone();
    }
    rewrite(graph, |new, node, operands| {
        if node.kind() != Kind::Contract {
            return None;
        }
        let Op::Contract(contraction @ Contraction { lhs, rhs, out }) = &node.op else {
            return None;
        };
        let of_floats = operands.iter().all(|x| new.dtype(*x) == DType::F32);
        if !contraction.summed().is_empty() || !of_floats {
            return None;
        }
        let mut stretched = |x: NodeId, labels: &[u8]| {
            let place =
                |axis: &usize| out.iter().position(|l| *l == labels[*axis]).expect("nothing is summed");
            let mut order: Vec<usize> = (0..labels.len()).collect();
            order.sort_unstable_by_key(place);
            let axes: Vec<usize> = order.iter().map(place).collect();
            let turned = new.permute(x, &order).expect("each axis once");
            new.broadcast(turned, &axes, node.ty.shape.clone()).expect("sizes are those of the labels")
        };
        let factors = [stretched(operands[0], lhs), stretched(operands[1], rhs)];
        let product = new.map(Func::Mul, &factors).expect("both are floats of one shape");
        // Of a product that is -0 the sum is 0.
        let zero = new.full(0.0, &node.ty);
        Some(new.map(Func::Add, &[product, zero]).expect("both are floats of one shape"))
    })
}
