//! What is made of a large product's result element by element, in the product's own kernel.
//!
//! What enters: groups, for a target that gives a large contraction a kernel of its own. What leaves: the same groups, but that some
//! of the maps have joined the contraction whose result they read. Such a group's launch comes with several that do the same one after the other
//! (`Launch::apart`), for who leaves the product to a library. Invariant: both do the same, to the bit, on a device that makes products in
//! one way.
//!
//! The cost model. A product of `k` terms takes `2 k` operations for each element of its result, and a kernel behind it a write and a read
//! of that element: an H100 does twenty (f32) to three hundred (bf16) operations in the time of a byte (NVIDIA, data sheet: 67 and 989
//! TFLOP/s, 3.35 TB/s), so that 8 bytes are worth as much as 80 to 1,200 terms. Up to `MOST_TERMS` a map joins: there
//! it saves a twelfth of a product's time in f32, and as much as the product takes in bf16. What cannot: sums (of a row, or over rows: a
//! block has a piece of either), random numbers, and what waits for something that is made after the product. A contraction has one epilogue; the first map that
//! can be it is taken.

use super::Target;
use super::fuse::{Cluster, fuse};
use super::gpu::is_tiled;
use super::group::Grouping;
use super::lower::{Homes, lower};
use super::space::{Read, Reads};
use super::tile::Sizes;
use crate::base::hash::{FastMap, FastSet};
use crate::graph::{Graph, NodeId, Op};
use crate::nest::{Gemm, TileOp};

/// Terms of a product's sums beyond which an epilogue is not worth its registers.
const MOST_TERMS: u64 = 1024;

/// Lets maps join the contractions that have a kernel of their own.
pub fn join(graph: &Graph, reads: &Reads, grouping: &mut Grouping, max_batch: i64) {
    for g in 0..grouping.groups.len() {
        let product = match (grouping.groups[g].product, &grouping.groups[g].nodes[..]) {
            (Some(product), _) => product,
            (None, [product]) => *product,
            (None, _) => continue,
        };
        let is_alone = grouping.groups[g].closed && grouping.groups[g].rows.is_none();
        // A variable's new value goes where that is.
        let is_update = reads.is_update(product);
        if !is_alone || is_update || !is_worth_it(graph, reads, product, max_batch) {
            continue;
        }
        let readers = reads.by_users(product).filter_map(|(user, _)| grouping.group_of[user.index()]);
        let mut readers: Vec<usize> = readers.filter(|reader| *reader != g).collect();
        readers.sort_unstable();
        readers.dedup();
        let cx = Follow { graph, reads, grouping, product, of_product: g };
        let found = readers.into_iter().find_map(|reader| Some((reader, cx.maps(reader)?)));
        if let Some((reader, maps)) = found {
            grouping.give(graph, reads, reader, &maps, g);
            let group = &mut grouping.groups[g];
            group.product = Some(product);
            group.reason.push_str(", with what is made of each of its elements");
        }
    }
    grouping.drop_empty();
}

/// The product that a contraction becomes, if it is one.
pub fn product(graph: &Graph, reads: &Reads, id: NodeId) -> Option<Gemm> {
    if !matches!(graph.node(id).op, Op::Contract(_)) {
        return None;
    }
    // Where its operands lie does not matter.
    let nowhere = (FastMap::default(), FastMap::default());
    let homes = Homes { global: &nowhere.0, variable_of: &nowhere.1, placed: FastMap::default() };
    let lowered = lower(graph, reads, homes, (Target::Cuda, false), &[Cluster::Single(id)]);
    match &lowered.ops[..] {
        [TileOp::Gemm(gemm)] => Some((**gemm).clone()),
        _ => None,
    }
}

/// Whether a contraction becomes one product in tiles, of few terms.
pub fn is_worth_it(graph: &Graph, reads: &Reads, id: NodeId, max_batch: i64) -> bool {
    let Some(gemm) = product(graph, reads, id) else { return false };
    let sizes = Sizes::new(max_batch, 1);
    let summed = gemm.batch.iter().filter(|axis| axis.reduce).map(|axis| sizes.of(&axis.extent));
    let size = |dim| sizes.of(dim) as f64;
    // In tests, whose graphs are small, whatever its size.
    (cfg!(test) || is_tiled(size(&gemm.m), size(&gemm.n), size(&gemm.k)))
        && summed.fold(sizes.of(&gemm.k), u64::saturating_mul) <= MOST_TERMS
}

/// What may follow a product.
struct Follow<'a> {
    graph: &'a Graph,
    reads: &'a Reads,
    grouping: &'a Grouping,
    product: NodeId,
    of_product: usize,
}

impl Follow<'_> {
    /// The nodes of a group that read the product's result, that should be made with it.
    fn maps(&self, g: usize) -> Option<Vec<NodeId>> {
        let group = &self.grouping.groups[g];
        if group.rows.is_none() || group.closed || group.product.is_some() {
            return None;
        }
        // What can be made with the product; of that, what is made of it.
        let (mut can, mut of_product): (FastSet<NodeId>, FastSet<NodeId>) = Default::default();
        for id in &group.nodes {
            if self.can_follow(*id, g, &can) {
                can.insert(*id);
                let is_made_of = |read: &Read| read.base == self.product || of_product.contains(&read.base);
                if self.reads.of(*id).iter().any(is_made_of) {
                    of_product.insert(*id);
                }
            }
        }
        // And what is made for that alone.
        let mut maps = of_product;
        for id in group.nodes.iter().rev().filter(|id| can.contains(id)) {
            let mut users = self.reads.by_users(*id).peekable();
            let is_wanted = self.graph.roots().any(|root| root == *id);
            if !is_wanted && users.peek().is_some() && users.all(|(user, _)| maps.contains(&user)) {
                maps.insert(*id);
            }
        }
        let is_whole = |id: &NodeId| {
            self.reads
                .of(*id)
                .iter()
                .all(|read| maps.contains(&read.base) || !group.nodes.contains(&read.base))
        };
        let rest: Vec<NodeId> = group.nodes.iter().copied().filter(|id| !maps.contains(id)).collect();
        let joins = match rest.is_empty() {
            true => self.grouping.may_be_next(g, self.of_product),
            false => self.saves(&maps, &rest) && !self.reads_updated(&maps),
        };
        let maps: Vec<NodeId> = group.nodes.iter().copied().filter(|id| maps.contains(id)).collect();
        let is_one_loop = || matches!(fuse(self.graph, self.reads, None, &maps)[..], [Cluster::Loop(_)]);
        (joins && maps.iter().all(is_whole) && is_one_loop()).then_some(maps)
    }

    /// Whether a node of group `g` is a map of the product's elements, made of what there is before the product.
    fn can_follow(&self, id: NodeId, g: usize, can: &FastSet<NodeId>) -> bool {
        let is_there = |read: &Read| match self.grouping.group_of[read.base.index()] {
            _ if read.base == self.product || can.contains(&read.base) => read.is_whole,
            None => true,
            Some(from) => from != g && self.grouping.comes_after(self.of_product, from),
        };
        let overwrites = |(variable, value): &(NodeId, NodeId)| {
            let of_product = &self.grouping.groups[self.of_product].nodes;
            let mut reads = of_product.iter().flat_map(|id| self.reads.of(*id));
            *value == id && reads.any(|read| read.base == *variable)
        };
        matches!(self.graph.node(id).op, Op::Map(_) | Op::Cast)
            && self.graph.ty(id).shape == self.graph.ty(self.product).shape
            && self.reads.waits(id).is_empty()
            && self.reads.of(id).iter().all(is_there)
            && !self.graph.updates.iter().any(overwrites)
    }

    /// Whether some of the maps are the new values of variables, whose readers a part of a group would come before.
    fn reads_updated(&self, maps: &FastSet<NodeId>) -> bool {
        self.graph.updates.iter().any(|(_, value)| maps.contains(value))
    }

    /// Whether less is written and read where the maps leave the rest of their group: arrays of the product's size.
    fn saves(&self, maps: &FastSet<NodeId>, rest: &[NodeId]) -> bool {
        let is_read_by_rest = |base: NodeId| self.reads.by_users(base).any(|(user, _)| rest.contains(&user));
        let is_stored = |id: NodeId| {
            let elsewhere = |user: NodeId| !maps.contains(&user) && !rest.contains(&user);
            self.graph.roots().any(|root| root == id)
                || self.reads.by_users(id).any(|(user, _)| elsewhere(user))
        };
        let given_up =
            if is_read_by_rest(self.product) { 0 } else { 1 + usize::from(!is_stored(self.product)) };
        let crossing: Vec<NodeId> = maps.iter().copied().filter(|id| is_read_by_rest(*id)).collect();
        let written = crossing.iter().filter(|id| !is_stored(**id)).count();
        let operands: FastSet<NodeId> = maps
            .iter()
            .flat_map(|id| self.reads.of(*id))
            .filter(|read| self.is_large(read))
            .map(|read| read.base)
            .collect();
        let again = operands.iter().filter(|base| !maps.contains(base) && is_read_by_rest(**base)).count();
        given_up > crossing.len() + written + again
    }

    /// Whether as much is read as the product has elements.
    fn is_large(&self, read: &Read) -> bool {
        read.base != self.product && !read.strides.iter().any(|stride| stride.is_const(0))
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::text::parse;
    use crate::plan::{Options, Target, plan};

    #[test]
    fn maps_join_the_products_that_they_are_made_of() {
        // What follows `%y`, the product of `%x` and `%w`; how many launches have an epilogue, of how many.
        let cases = [
            ("a bias", "%z = map tanh %y : f32[batch, 8]\noutput z = %z", (1, 1)),
            (
                "what is wanted itself",
                "%z = map tanh %y : f32[batch, 8]\noutput y = %y\noutput z = %z",
                (1, 1),
            ),
            ("a sum of it", "%z = reduce sum [1] %y : f32[batch]\noutput z = %z", (0, 2)),
            (
                "a map that others read, and its sum",
                "%z = map tanh %y : f32[batch, 8]\n%s = reduce sum [1] %z : f32[batch]\noutput z = %z\noutput s = %s",
                (1, 2),
            ),
            (
                "a map that only its sum reads",
                "%z = map tanh %y : f32[batch, 8]\n%s = reduce sum [1] %z : f32[batch]\noutput s = %s",
                (0, 2),
            ),
            (
                "another product, which would have to be there",
                "%v = contract ab,bc->ac %x, %u : f32[batch, 8]\n%z = map mul %y, %v : f32[batch, 8]\n\
                 %s = reduce sum [1] %z : f32[batch]\noutput z = %z\noutput s = %s",
                (0, 3),
            ),
            (
                "a product made of it before",
                "%v = contract ab,cb->ac %y, %u : f32[batch, 4]\n%d = contract ab,bc->ac %v, %w : f32[batch, 8]\n\
                 %z = map mul %y, %d : f32[batch, 8]\noutput z = %z",
                (1, 3),
            ),
        ];
        for (what, text, expected) in cases {
            let text = format!(
                "graph {{\n%x = input @x : f32[batch, 4]\n%w = param @w : f32[4, 8]\n%u = param @u : f32[4, 8]\n\
                 %y = contract ab,bc->ac %x, %w : f32[batch, 8]\n{text}\n}}"
            );
            let graph = parse(&text).unwrap_or_else(|e| panic!("{what}: {e}"));
            let plan = plan(&graph, &Options { alone_from: 1, ..Options::new(3, Target::Cuda) });
            let launches = || plan.phases.iter().flatten();
            let found = (launches().filter(|launch| launch.apart.is_some()).count(), launches().count());
            assert_eq!(found, expected, "{what}:\n{}", crate::plan::report(&plan));
        }
    }
}
