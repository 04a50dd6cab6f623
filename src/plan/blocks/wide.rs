//! Wide values and their sums.
//!
//! What enters: a contraction to begin with. What leaves: all wide values that hang together with it, with what their axes are, and the
//! sums that are made of them; or nothing if one of them must lie in memory: the caller wants it, or somebody reads it in a way that
//! neither goes along rows and columns nor sums one of the two. What such values are made with (another large contraction, a mask made of
//! places) is wide, too; what lies in memory anyway (random numbers) is read there.

use super::super::fuse::{Cluster, Loop, is_reduction};
use super::super::space::{Reads, has_storage};
use super::super::strips::{Along, Labels, label, places};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeSet;

/// Wide values that hang together.
pub struct Wide {
    /// Outermost first: examples, others, rows.
    pub extents: Vec<Dim>,
    pub n_columns: Dim,
    pub axes: FastMap<NodeId, Vec<Along>>,
    /// Ascending.
    pub sums: Vec<Sum>,
}

/// A value that a wide one is summed to.
pub struct Sum {
    pub id: NodeId,
    /// Whether rows are what is summed: in its section they are the columns.
    pub is_turned: bool,
}

/// A cluster of one node, and how many of its loop's axes are parallel; nothing for what sections have no place for.
pub fn cluster_of(graph: &Graph, reads: &Reads, id: NodeId) -> Option<Cluster> {
    let node = graph.node(id);
    match &node.op {
        Op::Contract(_) => Some(Cluster::Single(id)),
        Op::Map(_) | Op::Cast | Op::Reduce { .. } if has_storage(graph, id) => {
            let read = reads.of(id).first().filter(|_| is_reduction(&node.op));
            let (extents, n_parallel) = match read {
                Some(read) => (read.extents.to_vec(), Some(read.n_parallel)),
                None => (node.ty.shape.clone(), None),
            };
            Some(Cluster::Loop(Loop { nodes: vec![id], extents, n_parallel, ..Loop::default() }))
        }
        _ => None,
    }
}

/// Axes with rows and columns in each other's place.
pub fn turned(axes: &[Along], n_dimensions: usize) -> Vec<Along> {
    let rows = Along::Block(n_dimensions - 1);
    let other = |along: &Along| match along {
        Along::Columns => rows,
        along if *along == rows => Along::Columns,
        along => *along,
    };
    axes.iter().map(other).collect()
}

/// What nodes are, before it is asked which hang together.
#[derive(Default)]
pub struct Kinds {
    /// A contraction that is larger than its factors, all of which have an axis of examples.
    is_large: Vec<bool>,
    /// A map of places, numbers and sizes alone.
    is_of_places: Vec<bool>,
    /// A value that is wide if it is read beside wide ones: one of the two, or a map of such a value.
    is_made_here: Vec<bool>,
    /// By node: those that wait for it, and do not read it.
    waiting: FastMap<NodeId, Vec<NodeId>>,
}

impl Kinds {
    pub fn of(graph: &Graph, reads: &Reads) -> Kinds {
        let mut kinds = Kinds::default();
        for id in graph.ids() {
            let node = graph.node(id);
            let is_map = matches!(node.op, Op::Map(_) | Op::Cast) && !reads.of(id).is_empty();
            let bases = || reads.of(id).iter().map(|read| read.base);
            let is_free = |base: NodeId| {
                matches!(graph.node(base).op, Op::Iota { .. } | Op::Const(_) | Op::Size(_))
                    || kinds.is_of_places[base.index()]
            };
            let is_of_places = is_map && bases().all(is_free);
            let is_alike = |base: &NodeId| graph.ty(*base).shape == node.ty.shape;
            let is_made_of_one =
                is_map && bases().filter(is_alike).any(|base| kinds.is_made_here[base.index()]);
            let is_large = is_large(graph, id);
            kinds.is_large.push(is_large);
            kinds.is_of_places.push(is_of_places);
            kinds.is_made_here.push(is_large || is_of_places || is_made_of_one);
            for base in reads.waits(id) {
                kinds.waiting.entry(*base).or_default().push(id);
            }
        }
        kinds
    }

    /// Contractions that wide values can begin with.
    pub fn seeds<'k>(&'k self, graph: &'k Graph) -> impl Iterator<Item = NodeId> + 'k {
        graph.ids().filter(|id| self.is_large[id.index()])
    }
}

/// See the module's documentation; `None` also where all of it fits `cache_bytes`.
pub fn grown_from(
    graph: &Graph,
    reads: &Reads,
    kinds: &Kinds,
    seed: NodeId,
    cache_bytes: i64,
) -> Option<Wide> {
    let mut wide = begun_by(graph, reads, seed)?;
    wide.grow(graph, reads, kinds);
    let bytes =
        |id: &NodeId| n_elements(graph, *id).unwrap_or(0).saturating_mul(graph.dtype(*id).bytes() as i64);
    let all = wide.axes.keys().map(bytes).fold(0, i64::saturating_add);
    (all > cache_bytes && wide.find_sums(graph, reads, kinds)).then_some(wide)
}

/// Elements of an example's share of a value.
pub fn n_elements(graph: &Graph, id: NodeId) -> Option<i64> {
    let shape = &graph.ty(id).shape;
    shape.iter().skip(1).try_fold(1i64, |n, extent| n.checked_mul(extent.as_const()?))
}

fn is_large(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let Op::Contract(contraction) = &node.op else { return false };
    let size = |id: NodeId| n_elements(graph, id);
    let (Some(out), Some(lhs), Some(rhs)) = (size(id), size(node.operands[0]), size(node.operands[1])) else {
        return false;
    };
    let of_example = |labels: &Vec<u8>| contraction.out.first().is_some_and(|first| labels.contains(first));
    out > lhs && out > rhs && of_example(&contraction.lhs) && of_example(&contraction.rhs)
}

/// Only the contraction itself: the left side's longest axis is the rows, what the right side alone has the columns.
fn begun_by(graph: &Graph, reads: &Reads, seed: NodeId) -> Option<Wide> {
    let Op::Contract(contraction) = &graph.node(seed).op else { return None };
    let shape = &graph.ty(seed).shape;
    let axes = |left: bool, right: bool| -> Vec<usize> {
        let is_of = |axis: &usize| {
            let label = &contraction.out[*axis];
            [&contraction.lhs, &contraction.rhs].map(|side| side.contains(label)) == [left, right]
                && !shape[*axis].is_const(1)
        };
        (0..shape.len()).filter(is_of).collect()
    };
    let (both, mut rows, columns) = (axes(true, true), axes(true, false), axes(false, true));
    let [columns] = columns[..] else { return None };
    let longest = *rows.iter().max_by_key(|axis| shape[**axis].as_const())?;
    rows.retain(|axis| *axis != longest);
    let mut dimensions: Vec<usize> = both.into_iter().chain(rows).collect();
    // Examples come first, also where there is but one at a time.
    dimensions.retain(|axis| *axis != 0);
    dimensions.insert(0, 0);
    dimensions.push(longest);
    if longest == 0 || columns == 0 {
        return None;
    }
    let cluster = cluster_of(graph, reads, seed)?;
    let n_axes = reads.of(seed)[0].extents.len();
    let mut along = vec![Along::Whole; n_axes];
    dimensions.iter().enumerate().for_each(|(d, axis)| along[*axis] = Along::Block(d));
    along[columns] = Along::Columns;
    let labels = label(graph, reads, &cluster, dimensions.len(), Some(along), &|_| None)?;
    let (id, axes) = labels.values.into_iter().next()?;
    let extents: Vec<Dim> = dimensions.iter().map(|axis| shape[*axis].clone()).collect();
    let are_known = extents[1..].iter().chain([&shape[columns]]).all(|extent| extent.as_const().is_some());
    are_known.then(|| Wide {
        extents,
        n_columns: shape[columns].clone(),
        axes: FastMap::from_iter([(id, axes)]),
        sums: Vec::new(),
    })
}

impl Wide {
    fn n_dimensions(&self) -> usize {
        self.extents.len()
    }

    fn is_wide(&self, axes: &[Along]) -> bool {
        axes.contains(&Along::Block(self.n_dimensions() - 1)) && axes.contains(&Along::Columns)
    }

    /// What the axes of a node are that reads wide values, with rows and columns in each other's place if `is_turned`.
    fn label(&self, graph: &Graph, reads: &Reads, id: NodeId, is_turned: bool) -> Option<Labels> {
        let cluster = cluster_of(graph, reads, id)?;
        let axes = |id: NodeId| {
            self.axes
                .get(&id)
                .map(|axes| if is_turned { turned(axes, self.n_dimensions()) } else { axes.clone() })
        };
        let known: FastMap<NodeId, Vec<Along>> =
            reads.of(id).iter().filter_map(|read| Some((read.base, axes(read.base)?))).collect();
        let of = |id: NodeId| known.get(&id).map(Vec::as_slice);
        let labels = label(graph, reads, &cluster, self.n_dimensions(), None, &of)?;
        (!labels.adds && labels.along.first() == Some(&Along::Block(0))).then_some(labels)
    }

    fn reads_wide(&self, reads: &Reads, id: NodeId) -> bool {
        reads.of(id).iter().any(|read| self.axes.contains_key(&read.base))
    }

    /// Takes in whatever is made of wide values place by place, and what they are made with.
    fn grow(&mut self, graph: &Graph, reads: &Reads, kinds: &Kinds) {
        let readers = |id: NodeId| reads.by_users(id).map(|(user, _)| user);
        loop {
            let n_before = self.axes.len();
            // In order: wide values, and those who read them.
            let mut todo: BTreeSet<NodeId> =
                self.axes.keys().flat_map(|id| readers(*id).chain([*id])).collect();
            while let Some(id) = todo.pop_first() {
                let is_map = matches!(graph.node(id).op, Op::Map(_) | Op::Cast);
                if is_map && !self.axes.contains_key(&id) && self.reads_wide(reads, id) {
                    let labels = self.label(graph, reads, id, false);
                    if let Some((id, axes)) = labels.and_then(|labels| labels.values.into_iter().next())
                        && self.is_wide(&axes)
                    {
                        self.axes.insert(id, axes);
                        todo.extend(readers(id));
                    }
                }
                if let Some(axes) = self.axes.get(&id).cloned()
                    && is_map
                {
                    let made = self.take_makers(graph, reads, kinds, id, &axes);
                    // A maker comes before its reader: what it is made with is taken in by the next round.
                    todo.extend(made.into_iter().flat_map(readers).filter(|reader| *reader > id));
                }
            }
            if self.axes.len() == n_before {
                return;
            }
        }
    }

    /// Takes in large contractions, what is made of them, and functions of places, that a wide map reads; which are new.
    fn take_makers(
        &mut self,
        graph: &Graph,
        reads: &Reads,
        kinds: &Kinds,
        reader: NodeId,
        along: &[Along],
    ) -> Vec<NodeId> {
        let mut made = Vec::new();
        for read in reads.of(reader) {
            let maker = read.base;
            if self.axes.contains_key(&maker) || !kinds.is_made_here[maker.index()] {
                continue;
            }
            let (Some(cluster), Some(places)) = (cluster_of(graph, reads, maker), places(graph, read)) else {
                continue;
            };
            let n_axes = match &cluster {
                Cluster::Loop(l) => l.extents.len(),
                _ => reads.of(maker)[0].extents.len(),
            };
            let mut axes = vec![Along::Whole; n_axes];
            places.iter().zip(along).for_each(|(axis, along)| {
                if let Some(axis) = axis {
                    axes[*axis] = *along;
                }
            });
            let labels = label(graph, reads, &cluster, self.n_dimensions(), Some(axes), &|_| None);
            if let Some((id, axes)) = labels.and_then(|labels| labels.values.into_iter().next())
                && self.is_wide(&axes)
            {
                self.axes.insert(id, axes);
                made.push(id);
            }
        }
        made
    }

    /// Finds all sums; whether nobody else reads a wide value.
    fn find_sums(&mut self, graph: &Graph, reads: &Reads, kinds: &Kinds) -> bool {
        if graph.roots().any(|root| self.axes.contains_key(&root)) {
            return false;
        }
        let rows = Along::Block(self.n_dimensions() - 1);
        let readers = self.axes.keys().flat_map(|id| reads.by_users(*id)).map(|(user, _)| user);
        let waiting: BTreeSet<NodeId> =
            self.axes.keys().filter_map(|id| kinds.waiting.get(id)).flatten().copied().collect();
        let all: BTreeSet<NodeId> = readers.chain(waiting.iter().copied()).collect();
        for id in all.into_iter().filter(|id| !self.axes.contains_key(id)).collect::<Vec<_>>() {
            let waits = waiting.contains(&id);
            let sums = |is_turned: bool| {
                let labels = self.label(graph, reads, id, is_turned)?;
                let (_, axes) = labels.values.into_iter().next()?;
                (axes.contains(&rows) && !axes.contains(&Along::Columns)).then_some(Sum { id, is_turned })
            };
            // A variable's next value is written where the variable lies, which sections do not do.
            match sums(false).or_else(|| sums(true)) {
                Some(sum) if !waits && !reads.is_update(id) => self.sums.push(sum),
                _ => return false,
            }
        }
        !self.sums.is_empty()
    }
}
