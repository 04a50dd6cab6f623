//! Plans that fit a memory limit: what the backward pass would keep is made again.
//!
//! What enters: an optimized graph, a limit in bytes, the number of threads. What leaves: the plan with the fewest operations that
//! takes no more, or how many bytes the least one takes. Invariant: a value is made again by the same operations on the same
//! operands, so a limit changes no bit of a result. Not here: models' own `recompute`, and what a device other than the CPU takes.
//!
//! Nodes in their order are a schedule. At some node most bytes are alive; what is made before it and read after it is *kept*. The
//! nodes before it are cut into segments of about equally many kept bytes, each cut where the fewest bytes cross it (between
//! two blocks of a transformer that is one activation). What crosses a cut is kept. All else of a segment is made again: once the
//! backward pass comes to it, from what crosses the segment's beginning. Before (`keep` is read late):
//!
//! ```text
//! x, keep = f(x), y = g(keep) | ... dy, dw = dy * keep, dkeep = h(dy, keep)
//! ```
//!
//! After: the originals die early, and an `After` keeps the copy from being begun before `dy` is there and before later segments'
//! gradients of parameters are, so that what these read is gone:
//!
//! ```text
//! x, keep = f(x), y = g(keep) | ... dy, dw = dy * keep', keep' = f(after(x, dy)), dkeep = h(dy, keep')
//! ```
//!
//! The cost model. `n` of the segments, the first ones, are made again; each costs its own operations once more. For a number of
//! segments the least `n` that fits is searched by halving, for peaks fall as `n` grows; of all numbers of segments in `SEGMENTS`
//! the plan with the fewest operations is taken. What a plan takes is not estimated: it is planned.

use super::layout::{Layout, layouts};
use super::space::has_storage;
use super::{Options, Plan, plan};
use crate::graph::rewrite::{Rewriter, copy_node};
use crate::graph::{Graph, NodeId, Op};
use std::collections::HashMap;
use std::ops::Range;

/// Into how many segments what comes before the peak is cut.
const SEGMENTS: [usize; 8] = [2, 3, 4, 6, 8, 12, 16, 24];

/// No plan that we know fits the limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Exceeds {
    /// Bytes of the plan that takes the fewest.
    pub least: u64,
}

/// The plan with the fewest operations that takes at most `limit` bytes with so many threads.
///
/// # Errors
/// There is none, however much is made again.
pub fn plan_within(graph: &Graph, options: &Options, limit: u64, threads: usize) -> Result<Plan, Exceeds> {
    let whole = plan(graph, options);
    let mut least = whole.peak_bytes(threads);
    if least <= limit {
        return Ok(whole);
    }
    let lives = Lives::new(graph, options.max_batch);
    let mut best: Option<Plan> = None;
    let mut tried: Vec<Vec<Range<usize>>> = Vec::new();
    for n_segments in SEGMENTS {
        let segments = lives.segments(n_segments);
        if segments.len() < 2 || tried.contains(&segments) {
            continue;
        }
        // The last segment is read again at once.
        let (mut fails, mut fits) = (0, segments.len());
        while fails + 1 < fits {
            // All of them first: most often it is known then that so many segments will not do.
            let n = if fits == segments.len() { fits - 1 } else { (fails + fits) / 2 };
            let plan = plan(&made_again(graph, &lives, &segments[..n]), options);
            let peak = plan.peak_bytes(threads);
            least = least.min(peak);
            if peak > limit {
                fails = n;
                continue;
            }
            fits = n;
            if best.as_ref().is_none_or(|best| plan.flops < best.flops) {
                best = Some(plan);
            }
        }
        tried.push(segments);
    }
    best.ok_or(Exceeds { least })
}

/// The graph with all but the last of so many segments made again.
#[cfg(test)]
pub fn made_again_in(graph: &Graph, max_batch: i64, n_segments: usize) -> Graph {
    let lives = Lives::new(graph, max_batch);
    match lives.segments(n_segments).split_last() {
        Some((_, segments)) => made_again(graph, &lives, segments),
        None => graph.clone(),
    }
}

/// When each value is alive, nodes taken in their order.
struct Lives {
    layouts: Vec<Layout>,
    /// Bytes of a node's own storage; 0 for views, leaves and roots, which are kept or not whatever is done here.
    bytes: Vec<u64>,
    /// The nodes that read a node's storage, through views or at once, in order.
    users: Vec<Vec<usize>>,
    is_root: Vec<bool>,
    /// The node before which the most bytes are alive.
    peak: usize,
}

impl Lives {
    fn new(graph: &Graph, batch: i64) -> Lives {
        let layouts = layouts(graph);
        let mut is_root = vec![false; graph.len()];
        graph.roots().for_each(|root| is_root[root.index()] = true);
        let size = |symbol: &str| (symbol == "batch").then_some(batch);
        let bytes_of = |id: NodeId| {
            let ty = graph.ty(id);
            let n = ty.n_elements_at(&size).and_then(|n| u64::try_from(n).ok()).unwrap_or(0);
            n.saturating_mul(ty.dtype.bytes() as u64)
        };
        let is_own = |id: NodeId| has_storage(graph, id) && !is_root[id.index()];
        let bytes = graph.ids().map(|id| if is_own(id) { bytes_of(id) } else { 0 }).collect();
        let mut users = vec![Vec::new(); graph.len()];
        for id in graph.ids() {
            for operand in &graph.node(id).operands {
                users[layouts[operand.index()].base.index()].push(id.index());
            }
        }
        let mut lives = Lives { layouts, bytes, users, is_root, peak: graph.len() };
        let alive = lives.alive();
        lives.peak = (0..graph.len()).max_by_key(|at| alive[*at]).unwrap_or(0);
        lives
    }

    /// The last node before the peak that reads a node's storage.
    fn last_use(&self, made: usize) -> usize {
        self.users[made].iter().copied().rfind(|user| *user < self.peak).unwrap_or(made)
    }

    /// For each node before the peak: bytes made before it that it, or a node between it and the peak, reads.
    fn alive(&self) -> Vec<u64> {
        let mut change = vec![0i128; self.peak + 1];
        for (made, bytes) in self.bytes[..self.peak].iter().enumerate() {
            let last = self.last_use(made);
            if last > made {
                change[made + 1] += i128::from(*bytes);
                change[last + 1] -= i128::from(*bytes);
            }
        }
        let mut alive = 0;
        let sum = |change: &i128| {
            alive += change;
            u64::try_from(alive).unwrap_or(u64::MAX)
        };
        change[..self.peak].iter().map(sum).collect()
    }

    /// The nodes before the peak in at most `n` runs of about equally many kept bytes, cut where little crosses.
    fn segments(&self, n: usize) -> Vec<Range<usize>> {
        let is_kept = |made: &usize| self.users[*made].last().is_some_and(|user| *user >= self.peak);
        let kept = (0..self.peak).map(|made| if is_kept(&made) { self.bytes[made] } else { 0 });
        let mut sum = 0u64;
        let before: Vec<u64> = kept
            .map(|bytes| {
                sum = sum.saturating_add(bytes);
                sum - bytes
            })
            .collect();
        let half = (sum / (2 * n as u64)).max(1);
        let alive = self.alive();
        let mut ends = vec![0];
        for i in 1..n as u64 {
            let window = half.saturating_mul(2 * i - 1)..half.saturating_mul(2 * i + 1);
            let last = *ends.last().expect("the first is there");
            let near = (last + 1..self.peak).filter(|at| window.contains(&before[*at]));
            ends.extend(near.min_by_key(|at| alive[*at]));
        }
        ends.push(self.peak);
        ends.windows(2).map(|ends| ends[0]..ends[1]).collect()
    }
}

/// What the backward pass reads of a segment, and what of it is made again.
struct Again {
    /// The node after which that is done.
    gate: usize,
    /// Nodes of the segment that are made again, in order.
    nodes: Vec<usize>,
}

impl Lives {
    /// Whether the backward pass reads the node itself, not a copy: it is written into its users' bodies, the segment does not
    /// make it, or it is needed in later segments or by the caller.
    fn is_given(&self, graph: &Graph, segment: &Range<usize>, id: NodeId) -> bool {
        let base = self.layouts[id.index()].base;
        let is_written =
            |op: &Op| matches!(op, Op::Const(_) | Op::Iota { .. } | Op::Size(_)) || op.leaf_name().is_some();
        !segment.contains(&id.index())
            || !segment.contains(&base.index())
            || is_written(&graph.node(base).op)
            || self.last_use(base.index()) >= segment.end
            || self.is_root[base.index()]
            || self.is_root[id.index()]
    }

    fn again(&self, graph: &Graph, segment: &Range<usize>) -> Option<Again> {
        let is_made = |id: &NodeId| !self.is_given(graph, segment, *id);
        let later = || (self.peak..graph.len()).map(|i| NodeId(i as u32));
        let reads = |id: &NodeId| graph.node(*id).operands.iter().any(is_made);
        let base = |id: &NodeId| self.layouts[id.index()].base;
        let cotangents = later().filter(reads).flat_map(|id| graph.node(id).operands.iter().map(base));
        let is_later = |id: &NodeId| id.index() >= self.peak && has_storage(graph, *id);
        let gate = cotangents.filter(is_later).min()?.index();
        let mut needed = vec![false; segment.len()];
        for user in later().filter(|user| user.index() > gate) {
            for operand in graph.node(user).operands.iter().filter(|x| is_made(x)) {
                needed[operand.index() - segment.start] = true;
            }
        }
        for at in segment.clone().rev() {
            if needed[at - segment.start] {
                for operand in graph.node(NodeId(at as u32)).operands.iter().filter(|x| is_made(x)) {
                    needed[operand.index() - segment.start] = true;
                }
            }
        }
        // What depends on variables alone would not wait for anything, and be kept from the beginning.
        let mut waits = vec![false; segment.len()];
        for at in segment.clone().filter(|at| needed[at - segment.start]) {
            let node = graph.node(NodeId(at as u32));
            let operand_waits = |x: &NodeId| match is_made(x) {
                true => waits[x.index() - segment.start],
                false => can_wait(graph, base(x)),
            };
            waits[at - segment.start] =
                matches!(node.op, Op::Random { .. }) || node.operands.iter().any(operand_waits);
        }
        let nodes: Vec<usize> = segment.clone().filter(|at| waits[at - segment.start]).collect();
        (!nodes.is_empty()).then_some(Again { gate, nodes })
    }
}

/// Whether an operand of a copy stands behind an `After`: values and inputs. Variables do not, for the planner knows a product
/// with a parameter by it.
fn can_wait(graph: &Graph, base: NodeId) -> bool {
    has_storage(graph, base) || matches!(graph.node(base).op, Op::Input(_))
}

/// The graph in which the segments are made again.
fn made_again(graph: &Graph, lives: &Lives, segments: &[Range<usize>]) -> Graph {
    let mut all: Vec<Again> = segments.iter().filter_map(|segment| lives.again(graph, segment)).collect();
    all.sort_by_key(|again| std::cmp::Reverse(again.gate));
    let mut rewriter = Rewriter::new(graph);
    let mut done = lives.peak;
    for id in graph.ids() {
        while all.last().is_some_and(|again| again.gate < id.index()) {
            let again = all.pop().expect("there is a last one");
            let gates: Vec<NodeId> = gates(graph, done, again.gate);
            done = again.gate + 1;
            copy_again(&mut rewriter, lives, &again, &gates);
        }
        rewriter.enter(id);
        rewriter.copy(id);
    }
    rewriter.finish()
}

/// What the copies wait for: the node that lets them be needed, and sums over the batch between `done` and there, which read what
/// later segments keep.
fn gates(graph: &Graph, done: usize, gate: usize) -> Vec<NodeId> {
    let is_sum = |id: &NodeId| {
        let node = graph.node(*id);
        matches!(node.op, Op::Contract(_) | Op::Reduce { .. } | Op::ScatterAdd { .. })
            && node.ty.rank() > 0
            && !node.ty.shape.iter().any(|size| size.contains("batch"))
    };
    let sums = (done..gate).map(|at| NodeId(at as u32)).filter(is_sum);
    sums.chain([NodeId(gate as u32)]).collect()
}

fn copy_again(rewriter: &mut Rewriter, lives: &Lives, again: &Again, gates: &[NodeId]) {
    const VALID: &str = "operands come before their users";
    let graph = rewriter.old;
    let gates: Vec<NodeId> = gates.iter().map(|gate| rewriter.image(*gate).expect(VALID)).collect();
    let mut copies: HashMap<NodeId, NodeId> = HashMap::new();
    for at in &again.nodes {
        let id = NodeId(*at as u32);
        rewriter.enter(id);
        let mut operands = Vec::with_capacity(graph.node(id).operands.len());
        for operand in &graph.node(id).operands {
            let waits = can_wait(graph, lives.layouts[operand.index()].base);
            let image = match copies.get(operand) {
                Some(copy) => *copy,
                None => {
                    let given = rewriter.image(*operand).expect(VALID);
                    let gates = gates.iter().filter(|_| waits);
                    let later =
                        gates.fold(given, |x, gate| rewriter.new.after(x, *gate).expect("any two nodes"));
                    copies.insert(*operand, later);
                    later
                }
            };
            operands.push(image);
        }
        let copy = copy_node(&mut rewriter.new, graph.node(id), &operands);
        copies.insert(id, copy);
    }
    for at in &again.nodes {
        let id = NodeId(*at as u32);
        rewriter.set(id, copies[&id]);
    }
}
