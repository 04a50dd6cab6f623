//! What a large product's factor is made of element by element, in the product's own kernel.
//!
//! What enters: a prepared graph, for a target that gives a large contraction a kernel of its own. What leaves: the same graph, but that
//! some maps that only such contractions read stand before each of these once, for itself; and which they are. Such a factor
//! is never written: its elements are made where a tile of them comes into shared memory (`codegen/cuda/made_factor.rs`). A launch with such
//! factors comes with several that do the same one after the other (`Launch::apart`), for who leaves the product to a library. Invariant:
//! both do the same, to the bit, on a device that makes products in one way.
//!
//! The cost model. A factor in memory is written once and read by each product once for every tile of its other side, mostly from the second cache. One
//! that is made is not written, but made as often as it would be read, and what it is made of is read in its place. So it must be cheap
//! and the product narrow: of all products that read a map, tiles times steps (`Graph::n_steps`) may be `STEPS_PER_BYTE` for each byte of an
//! element; what is read more of than the element's own bytes counts as steps, too, what is read less of is saved (a picture's `u8`).
//! A width of 128 and what a norm makes of it are worth it, for a width of 768 they are not. And a library makes wide products faster (`MOST_TILES`).
//! From the map backwards goes what is made of one array of its size (and of any that are broadcast), for then nothing more is read; the arrays of its size
//! must lie in memory as the factor would, and be
//! there anyway: be given, or read by others; and if it is not given, it must not be wider, for it is kept in the factor's place. What can be the epilogue of the product that it is made of (`epilogue.rs`) is that: made once, in a register.

use super::Options;
use super::blocks::{Sections, sections};
use super::epilogue;
use super::fuse::{Cluster, fuse};
use super::gpu::{is_tiled, stands_alone};
use super::layout::layouts;
use super::space::{Read, Reads, has_storage};
use super::tile::Sizes;
use crate::base::hash::{FastMap, FastSet};
use crate::graph::rewrite::Rewriter;
use crate::graph::{Graph, NodeId, Op, Operands};
use crate::nest::{Gemm, GemmAxis};
use std::collections::BTreeSet;

/// By product: the maps that make its left and its right factor, in order; of a factor that is in memory none.
pub type Prologues = FastMap<NodeId, [Vec<NodeId>; 2]>;

/// Steps that may be taken more often for a byte that is not written: an H100 takes ten in the time of one (`recompute.rs`).
const STEPS_PER_BYTE: i64 = 10;
/// What a byte costs that is read from the second cache, which is some three times as fast as memory.
const STEPS_PER_NEAR_BYTE: i64 = 3;
/// Rows or columns of a tile: large products have more, small ones fewer.
const TILE: u64 = 64;
/// What a library saves of a product grows with its width; from so many tiles on it is more than a write and a read of the factor.
const MOST_TILES: u64 = 8;

/// The graph in which products have factors for themselves, if there are any.
pub fn own_factors(graph: &Graph, options: &Options) -> Option<(Graph, Prologues)> {
    if !graph.ids().any(|id| stands_alone(graph, id, options)) {
        return None;
    }
    let reads = &Reads::new(graph, &layouts(graph));
    let sections = &sections(graph, reads, options.cache_bytes);
    let cx = Find { graph, reads, sections, options };
    let found: FastMap<NodeId, FastSet<NodeId>> =
        graph.ids().filter_map(|id| Some((id, cx.maps(id)?))).collect();
    (!found.is_empty()).then(|| rewrite(graph, reads, &found))
}

struct Find<'a> {
    graph: &'a Graph,
    reads: &'a Reads,
    sections: &'a Sections,
    options: &'a Options,
}

impl Find<'_> {
    /// The maps that make a factor, itself last, if it should be made wherever it is read.
    fn maps(&self, factor: NodeId) -> Option<FastSet<NodeId>> {
        let mut users = self.reads.by_users(factor).map(|(user, _)| user).peekable();
        let is_root = |id: NodeId| self.graph.roots().any(|root| root == id);
        users.peek()?;
        if !self.is_map(factor) || is_root(factor) || !users.all(|user| self.is_product(user)) {
            return None;
        }
        let mut maps = FastSet::from_iter([factor]);
        let (mut leaves, mut todo): (Vec<&Read>, _) = (Vec::new(), vec![factor]);
        while let Some(id) = todo.pop() {
            if !self.reads.waits(id).is_empty() {
                return None;
            }
            for read in self.reads.of(id) {
                let n_whole = || self.reads.of(read.base).iter().filter(|read| is_whole(read)).count();
                let goes_on =
                    self.is_map(read.base) && read.is_whole && !is_root(read.base) && n_whole() <= 1;
                match () {
                    () if goes_on && maps.insert(read.base) => todo.push(read.base),
                    () if goes_on => {}
                    () => leaves.push(read),
                }
            }
        }
        // What another map reads of the chain at another place is no register of it.
        let is_apart = |read: &&Read| !maps.contains(&read.base);
        let is_one_loop = || {
            let mut nodes: Vec<NodeId> = maps.iter().copied().collect();
            nodes.sort_unstable();
            matches!(fuse(self.graph, self.reads, None, &nodes)[..], [Cluster::Loop(_)])
        };
        let is_there = |read: &Read| {
            let base = read.base;
            self.graph.node(base).op.leaf_name().is_some()
                || !has_storage(self.graph, base)
                || self.reads.by_users(base).any(|(user, _)| !maps.contains(&user))
        };
        let whole = || leaves.iter().filter(|read| is_whole(read));
        // Neighbours in the factor are neighbours there, too.
        let lies_along = |read: &Read| {
            let mut steps = read.extents.iter().zip(&read.strides[..]).rev();
            steps.find(|(extent, _)| !extent.is_const(1)).is_none_or(|(_, stride)| stride.is_const(1))
        };
        let pays = || self.is_forced() || self.pays(factor, &maps, whole().map(|read| read.base));
        (leaves.iter().all(is_apart)
            && whole().all(|read| is_there(read) && lies_along(read) && !self.follows(read.base, &leaves))
            && is_one_loop()
            && self.products(factor).all(|product| product.is_some())
            && pays())
        .then_some(maps)
    }

    /// Whether products have prologues whatever that costs: where tests have products of any size alone.
    fn is_forced(&self) -> bool {
        self.options.alone_from <= 1
    }

    fn is_map(&self, id: NodeId) -> bool {
        matches!(self.graph.node(id).op, Op::Map(_) | Op::Cast)
            && has_storage(self.graph, id)
            && self.graph.ty(id).rank() > 0
            && !self.sections.is_wide(id)
            && self.sections.section_of(id).is_none()
    }

    fn is_product(&self, id: NodeId) -> bool {
        stands_alone(self.graph, id, self.options)
            && self.sections.section_of(id).is_none()
            && !self.sections.is_wide(id)
            && !self.reads.is_update(id)
            && self.reads.waits(id).is_empty()
    }

    /// Whether what is made of a product and of others can follow it in its kernel.
    fn follows(&self, product: NodeId, others: &[&Read]) -> bool {
        let waits = || others.iter().any(|read| read.base != product && self.comes_after(read.base, product));
        self.is_product(product)
            && epilogue::is_worth_it(self.graph, self.reads, product, self.options.max_batch)
            && !waits()
    }

    /// Whether a node is made of another one.
    fn comes_after(&self, id: NodeId, other: NodeId) -> bool {
        let (mut seen, mut todo) = (FastSet::default(), vec![id]);
        while let Some(next) = todo.pop() {
            if next == other {
                return true;
            }
            // Operands have smaller numbers.
            if next > other && seen.insert(next) {
                todo.extend(self.reads.of(next).iter().map(|read| read.base));
            }
        }
        false
    }

    /// Of each reader of a factor: the product, and which of its sides the factor is.
    fn products(&self, factor: NodeId) -> impl Iterator<Item = Option<(Gemm, usize)>> {
        let sizes = Sizes::new(self.options.max_batch, 1);
        self.reads.by_users(factor).map(move |(user, read)| {
            let gemm = epilogue::product(self.graph, self.reads, user)?;
            let size = |dim| sizes.of(dim) as f64;
            let is_large = is_tiled(size(&gemm.m), size(&gemm.n), size(&gemm.k));
            let side = usize::from(!std::ptr::eq(&self.reads.of(user)[0], read));
            let same_type = [gemm.lhs.dtype, gemm.rhs.dtype][side] == self.graph.dtype(factor);
            (same_type && (self.is_forced() || is_large)).then_some((gemm, side))
        })
    }

    fn pays(&self, factor: NodeId, maps: &FastSet<NodeId>, whole: impl Iterator<Item = NodeId>) -> bool {
        let sizes = Sizes::new(self.options.max_batch, 1);
        let bytes = |id: NodeId| self.graph.dtype(id).bytes() as i64;
        let of_leaves: FastSet<NodeId> = whole.collect();
        let steps: usize = maps.iter().map(|id| self.graph.n_steps(*id)).sum();
        let sum =
            |which: &dyn Fn(&NodeId) -> bool| of_leaves.iter().copied().filter(which).map(bytes).sum::<i64>();
        let is_made = |id: &NodeId| self.graph.node(*id).op.leaf_name().is_none();
        let more = sum(&|_| true) - bytes(factor);
        // Kept for the products in the factor's place.
        if sum(&is_made) > bytes(factor) {
            return false;
        }
        let of_tile = (steps as i64 + more * STEPS_PER_NEAR_BYTE).max(0);
        let elements =
            self.graph.ty(factor).shape.iter().map(|size| sizes.of(size)).fold(1, u64::saturating_mul);
        // Of a product: tiles of its other side, and how often each makes all elements; windows overlap.
        let tiles = |(gemm, side): (Gemm, usize)| {
            let (across, along) = ([&gemm.n, &gemm.m][side], [&gemm.m, &gemm.n][side]);
            let moves = |axis: &&GemmAxis| ![&axis.lhs, &axis.rhs][side].is_const(0);
            let (moving, still): (Vec<_>, Vec<_>) = gemm.batch.iter().partition(moves);
            let size = |axes: Vec<&GemmAxis>| {
                axes.into_iter().map(|axis| sizes.of(&axis.extent)).fold(1, u64::saturating_mul)
            };
            let read = sizes.of(along).saturating_mul(sizes.of(&gemm.k)).saturating_mul(size(moving));
            (sizes.of(across).div_ceil(TILE).saturating_mul(size(still)), read.div_ceil(elements.max(1)))
        };
        let all: Vec<(u64, u64)> = self.products(factor).flatten().map(tiles).collect();
        let again =
            all.iter().fold(0u64, |sum, (tiles, times)| sum.saturating_add(tiles.saturating_mul(*times)));
        all.iter().all(|(tiles, _)| *tiles <= MOST_TILES)
            && (again.min(1 << 32) as i64).saturating_mul(of_tile) <= STEPS_PER_BYTE * bytes(factor)
    }
}

/// Whether as much is read as the reader has elements.
fn is_whole(read: &Read) -> bool {
    let mut steps = read.extents.iter().zip(&read.strides[..]);
    steps.all(|(extent, stride)| extent.is_const(1) || !stride.is_const(0))
}

/// The maps, and the views between them, by way of which an operand is made of leaves.
fn way(graph: &Graph, id: NodeId, maps: &FastSet<NodeId>, found: &mut BTreeSet<NodeId>) -> bool {
    let is_map = maps.contains(&id);
    if !is_map && has_storage(graph, id) {
        return false;
    }
    let operands = &graph.node(id).operands;
    let leads = operands.iter().fold(is_map, |leads, operand| way(graph, *operand, maps, found) || leads);
    if leads {
        found.insert(id);
    }
    leads
}

/// `found`: by factor, the maps that make it.
fn rewrite(graph: &Graph, reads: &Reads, found: &FastMap<NodeId, FastSet<NodeId>>) -> (Graph, Prologues) {
    let made = |id: NodeId, side: usize| {
        let maps = reads.of(id).get(side).and_then(|read| found.get(&read.base))?;
        let mut nodes = BTreeSet::new();
        way(graph, graph.node(id).operands[side], maps, &mut nodes);
        Some((nodes, maps))
    };
    let is_product = |id: NodeId| matches!(graph.node(id).op, Op::Contract(_));
    let mut needed = vec![false; graph.len()];
    graph.roots().for_each(|root| needed[root.index()] = true);
    for id in graph.ids().rev() {
        if !needed[id.index()] {
            continue;
        }
        for (side, operand) in graph.node(id).operands.iter().enumerate() {
            match made(id, side).filter(|_| is_product(id)) {
                None => needed[operand.index()] = true,
                Some((nodes, _)) => {
                    let operands = nodes.iter().flat_map(|node| &graph.node(*node).operands);
                    let outside = operands.filter(|operand| !nodes.contains(operand));
                    outside.for_each(|operand| needed[operand.index()] = true);
                }
            }
        }
    }
    let mut rewriter = Rewriter::new(graph);
    let mut prologues = Prologues::default();
    for id in graph.ids().filter(|id| needed[id.index()] || graph.node(*id).op.leaf_name().is_some()) {
        rewriter.enter(id);
        if !is_product(id) {
            rewriter.copy(id);
            continue;
        }
        let mut of_sides = [Vec::new(), Vec::new()];
        let mut operands: Vec<NodeId> = Vec::new();
        for (side, operand) in graph.node(id).operands.iter().enumerate() {
            let Some((nodes, maps)) = made(id, side) else {
                operands.push(rewriter.image(*operand).expect("it is needed"));
                continue;
            };
            let mut own: FastMap<NodeId, NodeId> = FastMap::default();
            for node in nodes {
                let image = |id: &NodeId| own.get(id).copied().or_else(|| rewriter.image(*id));
                let images: Operands =
                    graph.node(node).operands.iter().map(|id| image(id).expect("it is needed")).collect();
                let copy = rewriter.new.push(graph.node(node).on(images));
                own.insert(node, copy);
                if maps.contains(&node) {
                    of_sides[side].push(copy);
                }
            }
            operands.push(own[operand]);
        }
        let image = rewriter.new.push(graph.node(id).on(operands));
        rewriter.set(id, image);
        if of_sides.iter().any(|of_side| !of_side.is_empty()) {
            prologues.insert(image, of_sides);
        }
    }
    (rewriter.finish(), prologues)
}

#[cfg(test)]
mod tests {
    use crate::graph::text::parse;
    use crate::plan::{Options, Target, plan, report};

    #[test]
    fn maps_that_only_products_read_are_made_in_these() {
        // What follows `%x`, `%w` and `%u`; how many launches make a factor, of how many.
        let cases = [
            (
                "a picture",
                "%f = cast %p : f32[batch, 4]\n%y = contract ab,bc->ac %f, %w : f32[batch, 8]\noutput y = %y",
                (1, 1),
            ),
            (
                "some maps, and a map behind",
                "%f = cast %p : f32[batch, 4]\n%g = map tanh %f : f32[batch, 4]\n\
                 %y = contract ab,bc->ac %g, %w : f32[batch, 8]\n%z = map tanh %y : f32[batch, 8]\noutput z = %z",
                (1, 1),
            ),
            (
                "for two products, of which one sums over examples",
                "%f = map tanh %x : f32[batch, 4]\n%y = contract ab,bc->ac %f, %w : f32[batch, 8]\n\
                 %v = contract ab,ac->bc %f, %x : f32[4, 4]\noutput y = %y\noutput v = %v",
                (2, 2),
            ),
            (
                "both factors",
                "%f = map tanh %x : f32[batch, 4]\n%g = map exp %w : f32[4, 8]\n\
                 %y = contract ab,bc->ac %f, %g : f32[batch, 8]\noutput y = %y",
                (1, 1),
            ),
            (
                "one factor twice",
                "%f = map tanh %x : f32[batch, 4]\n%y = contract ab,ac->bc %f, %f : f32[4, 4]\noutput y = %y",
                (1, 1),
            ),
            (
                "what others read",
                "%f = map tanh %x : f32[batch, 4]\n%y = contract ab,bc->ac %f, %w : f32[batch, 8]\n\
                 %s = reduce sum [1] %f : f32[batch]\noutput y = %y\noutput s = %s",
                (0, 2),
            ),
            (
                "what is wanted itself",
                "%f = map tanh %x : f32[batch, 4]\n%y = contract ab,bc->ac %f, %w : f32[batch, 8]\n\
                 output y = %y\noutput f = %f",
                (0, 2),
            ),
            (
                "what is made of another product follows that",
                "%v = contract ab,bc->ac %x, %u : f32[batch, 4]\n%f = map tanh %v : f32[batch, 4]\n\
                 %y = contract ab,bc->ac %f, %w : f32[batch, 8]\noutput y = %y",
                (0, 2),
            ),
            (
                "but not what waits for more of that",
                "%v = contract ab,bc->ac %x, %u : f32[batch, 4]\n%s = reduce sum [0] %v : f32[4]\n\
                 %b = broadcast [1] %s : f32[batch, 4]\n%f = map mul %v, %b : f32[batch, 4]\n\
                 %y = contract ab,bc->ac %f, %w : f32[batch, 8]\noutput y = %y",
                (1, 3),
            ),
            (
                "of what is also read at other places",
                "%h = map tanh %u : f32[4, 4]\n%t = permute [1, 0] %h : f32[4, 4]\n%f = map add %h, %t : f32[4, 4]\n\
                 %y = contract ab,bc->ac %x, %f : f32[batch, 4]\noutput y = %y",
                (0, 3),
            ),
            (
                "of what lies across it",
                "%t = permute [1, 0] %u : f32[4, 4]\n%f = map tanh %t : f32[4, 4]\n\
                 %y = contract ab,bc->ac %x, %f : f32[batch, 4]\noutput y = %y",
                (0, 2),
            ),
            (
                "a variable that follows and is read before",
                "%f = map tanh %u : f32[4, 4]\n%y = contract ab,bc->ac %f, %u : f32[4, 4]\n\
                 %v = map add %u, %y : f32[4, 4]\nupdate %u <- %v",
                (1, 2),
            ),
            (
                "what is made of two of its size",
                "%v = map tanh %x : f32[batch, 4]\n%f = map mul %v, %q : f32[batch, 4]\n\
                 %y = contract ab,bc->ac %f, %w : f32[batch, 8]\noutput y = %y",
                (1, 1),
            ),
        ];
        for (what, text, expected) in cases {
            let text = format!(
                "graph {{\n%x = input @x : f32[batch, 4]\n%q = input @q : f32[batch, 4]\n%p = input @p : u8[batch, 4]\n\
                 %w = param @w : f32[4, 8]\n%u = param @u : f32[4, 4]\n{text}\n}}"
            );
            let graph = parse(&text).unwrap_or_else(|e| panic!("{what}: {e}"));
            let plan = plan(&graph, &Options { alone_from: 1, ..Options::new(3, Target::Cuda) });
            let launches = || plan.phases.iter().flatten();
            let makes =
                |launch: &&crate::plan::Launch| launch.apart.as_ref().is_some_and(|apart| apart.product > 0);
            let found = (launches().filter(makes).count(), launches().count());
            assert_eq!(found, expected, "{what}:\n{}", report(&plan));
        }
    }

    #[test]
    fn narrow_products_of_cheap_maps_have_prologues() {
        // Type of what is given, its width and that of the result, maps of it, and whether they are made in the product.
        let cases = [
            ("u8", 784, 64, "%f = cast %x : f32[batch, K]", true),
            ("u8", 784, 512, "%f = cast %x : f32[batch, K]", true),
            ("u8", 784, 576, "%f = cast %x : f32[batch, K]", false),
            ("f32", 128, 128, "%f = map tanh %x : f32[batch, K]", true),
            ("f32", 128, 512, "%f = map tanh %x : f32[batch, K]", false),
            ("f32", 128, 512, "%f = map neg %x : f32[batch, K]", true),
        ];
        for (dtype, k, n, maps, expected) in cases {
            let text = format!(
                "graph {{\n%x = input @x : {dtype}[batch, K]\n%w = param @w : f32[K, {n}]\n{maps}\n\
                 %y = contract ab,bc->ac %f, %w : f32[batch, {n}]\noutput y = %y\n}}"
            );
            let graph = parse(&text.replace('K', &k.to_string())).unwrap();
            let plan = plan(&graph, &Options::new(256, Target::Cuda));
            let found = plan.phases.iter().flatten().any(|launch| launch.apart.is_some());
            assert_eq!(found, expected, "{dtype}, {k} to {n}, {maps}:\n{}", report(&plan));
        }
    }
}
