//! Common subexpressions: of nodes with the same primitive, type and operands, one is left. Equal `Random` nodes (same
//! site) give equal numbers, so they too are one. Operands of sums and products count as equal in either order.

use crate::base::hash::FastMap;
use crate::graph::rewrite::rewrite_in;
use crate::graph::{Graph, Kind, NodeId, Op};
use crate::scalar::Func;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hash, Hasher};
use std::mem::discriminant;

pub fn run(graph: &mut Graph) -> bool {
    // The last node with a hash, and of each node that stays one before it with the same, if there is one.
    let mut seen: FastMap<u64, NodeId> = FastMap::default();
    seen.reserve(graph.len());
    let mut before: Vec<Option<NodeId>> = Vec::with_capacity(graph.len());
    rewrite_in(graph, |new, node, operands| {
        let either_order = matches!(node.kind(), Kind::Map(Func::Add | Func::Mul));
        let hash = {
            let mut hasher = seen.hasher().build_hasher();
            match operands {
                [x, y] if either_order => (x.min(y), x.max(y)).hash(&mut hasher),
                _ => operands.hash(&mut hasher),
            }
            node.kind().hash(&mut hasher);
            // Operands tell most of the rest; of sizes, those that are numbers tell enough.
            if operands.is_empty() {
                node.ty.dtype.hash(&mut hasher);
                node.ty.shape.iter().for_each(|size| size.as_const().hash(&mut hasher));
                match &node.op {
                    Op::Const(value) => value.to_bits().hash(&mut hasher),
                    op => (discriminant(op), op.leaf_name()).hash(&mut hasher),
                }
            }
            hasher.finish()
        };
        let next = NodeId(before.len() as u32);
        let entry = seen.entry(hash);
        let last = match &entry {
            Entry::Occupied(last) => Some(*last.get()),
            Entry::Vacant(_) => None,
        };
        let is_same = |id: &NodeId| {
            let other = new.node(*id);
            let same_operands = *other.operands == *operands
                || either_order && other.operands.iter().eq(operands.iter().rev());
            same_operands && other.is_alike(node)
        };
        if let Some(same) = std::iter::successors(last, |id| before[id.index()]).find(is_same) {
            return Some(same);
        }
        entry.insert_entry(next);
        before.push(last);
        None
    })
}
