//! Sections: which clusters go through strips together.
//!
//! What enters: a group's clusters, and who reads what they make. What leaves: sections. A section begins with a
//! contraction whose result is wide and larger than its factors, and grows by each cluster that reads a wide value, as long as all that
//! stands between comes along. Whoever reads it and cannot come, for it waits for something else that waits for the section (the backward
//! pass), may come to a later section over the same dimensions, which makes the value again (`borrowed`). Invariants: a cluster is in one
//! section at most; no cluster outside stands between two of a section.

use super::super::fuse::Cluster;
use super::super::space::Reads;
use super::axes::{Along, Labels, label, loop_axes, places};
use super::inner::Again;
use super::readers::{Bits, Readers};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::graph::{Contraction, Graph, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet};

/// Clusters that come along because they stand between others, at most: a section is no place for a whole network.
const MOST_BETWEEN: usize = 8;

pub struct Sections<'a> {
    pub graph: &'a Graph,
    pub reads: &'a Reads,
    pub kept: &'a dyn Fn(NodeId) -> bool,
    pub tiled: bool,
    pub cache_bytes: i64,
    pub clusters: &'a [Cluster],
    pub readers: Readers<'a>,
    pub found: Vec<Section>,
    pub again: Again,
    section_of: Vec<Option<usize>>,
    /// Clusters in no section that read a wide value of one.
    left: BTreeSet<usize>,
}

#[derive(Clone)]
pub struct Section {
    /// Of each dimension; the last are the rows.
    pub extents: Vec<Dim>,
    pub n_columns: Dim,
    /// Clusters, in order, with what the axes of their loops are.
    pub members: BTreeMap<usize, Vec<Along>>,
    /// Axes of values that the members make.
    pub values: FastMap<NodeId, Vec<Along>>,
    /// Products that are summed over a dimension.
    pub added: BTreeSet<NodeId>,
    /// Wide values of earlier sections that are made again here, with the section.
    pub borrowed: BTreeMap<NodeId, usize>,
    /// Clusters that a member waits for, and those that wait for one.
    before: Bits,
    after: Bits,
}

impl<'a> Sections<'a> {
    /// Without any section yet, of clusters of which some may begin one.
    pub fn new(
        graph: &'a Graph,
        reads: &'a Reads,
        kept: &'a dyn Fn(NodeId) -> bool,
        tiled: bool,
        cache_bytes: i64,
        clusters: &'a [Cluster],
    ) -> Self {
        Sections {
            graph,
            reads,
            kept,
            tiled,
            cache_bytes,
            clusters,
            readers: Readers::new(reads, clusters),
            found: Vec::new(),
            again: Again::default(),
            section_of: vec![None; clusters.len()],
            left: BTreeSet::new(),
        }
    }

    pub fn find(&mut self) {
        for seed in 0..self.clusters.len() {
            if self.section_of[seed].is_some() {
                continue;
            }
            for mut section in self.begun_by(seed) {
                while self.grow(&mut section) {}
                if section.members.len() > 1 && self.pays(&section) {
                    self.put(section);
                    break;
                }
            }
        }
        self.again = Again::new(self);
    }

    fn put(&mut self, section: Section) {
        let number = self.found.len();
        section.members.keys().for_each(|i| self.section_of[*i] = Some(number));
        let readers = section.wide().flat_map(|id| self.readers.of(id));
        self.left.extend(readers);
        self.left.retain(|i| self.section_of[*i].is_none());
        self.found.push(section);
    }

    /// The section that a cluster is in.
    pub fn section_of(&self, i: usize) -> Option<usize> {
        self.section_of[i]
    }

    /// Sections that a contraction may begin: its left side's labels are rows, or its right side's.
    fn begun_by(&self, seed: usize) -> Vec<Section> {
        let of_larger = larger(self.graph, self.tiled, self.cache_bytes, &self.clusters[seed]);
        let Some((id, contraction)) = of_larger.filter(|(id, _)| !(self.kept)(*id)) else {
            return Vec::new();
        };
        let shape = &self.graph.ty(id).shape;
        let sides = [&contraction.lhs, &contraction.rhs];
        let axes = |left: bool, right: bool| -> Vec<usize> {
            let is_of = |axis: &usize| {
                sides.map(|side| side.contains(&contraction.out[*axis])) == [left, right]
                    && !shape[*axis].is_const(1)
            };
            (0..contraction.out.len()).filter(is_of).collect()
        };
        let both = axes(true, true);
        let begun = |mut rows: Vec<usize>, columns: Vec<usize>| {
            let [columns] = columns[..] else { return None };
            let size = |axis: &usize| shape[*axis].as_const();
            let longest = *rows.iter().max_by_key(|axis| size(axis))?;
            rows.retain(|axis| *axis != longest);
            let dimensions: Vec<usize> = both.iter().copied().chain(rows).chain([longest]).collect();
            let is_row = |axis: usize| self.tiled && axis == 0;
            let known = dimensions.iter().chain([&columns]).all(|a| is_row(*a) || size(a).is_some());
            if !known || self.tiled && dimensions[0] != 0 {
                return None;
            }
            let extent =
                |axis: &usize| if is_row(*axis) { Dim::symbol("tile") } else { shape[*axis].clone() };
            let (extents, _) = loop_axes(self.graph, self.reads, &self.clusters[seed])?;
            let mut along = vec![Along::Whole; extents.len()];
            dimensions.iter().enumerate().for_each(|(d, axis)| along[*axis] = Along::Block(d));
            along[columns] = Along::Columns;
            let mut section = Section {
                extents: dimensions.iter().map(extent).collect(),
                n_columns: shape[columns].clone(),
                members: BTreeMap::new(),
                values: FastMap::default(),
                added: BTreeSet::new(),
                borrowed: BTreeMap::new(),
                before: Bits::none(self.clusters.len()),
                after: Bits::none(self.clusters.len()),
            };
            let labels = self.label(&section, seed, Some(along))?;
            self.add(&mut section, seed, labels);
            Some(section)
        };
        let (left, right) = (axes(true, false), axes(false, true));
        [begun(left.clone(), right.clone()), begun(right, left)].into_iter().flatten().collect()
    }

    fn label(&self, section: &Section, i: usize, known: Option<Vec<Along>>) -> Option<Labels> {
        let of = |id: NodeId| {
            let own = section.values.get(&id).filter(|_| !section.added.contains(&id));
            own.or_else(|| self.borrowable(section, id).and_then(|s| self.found[s].values.get(&id)))
                .map(Vec::as_slice)
        };
        let is_gather = |id: &NodeId| matches!(self.graph.node(*id).op, Op::Gather { .. });
        // A variable's next value may have to wait for others that read the old one.
        if self.clusters[i].nodes().iter().any(|id| self.reads.is_update(*id) || is_gather(id)) {
            return None;
        }
        let reads_sum =
            |id: &NodeId| self.reads.of(*id).iter().any(|read| section.added.contains(&read.base));
        if self.clusters[i].nodes().iter().any(reads_sum) {
            return None;
        }
        let labels = label(self.graph, self.reads, &self.clusters[i], section.extents.len(), known, &of)?;
        (!self.tiled || labels.along.first() == Some(&Along::Block(0))).then_some(labels)
    }

    /// The earlier section over the same dimensions that makes a wide value.
    fn borrowable(&self, section: &Section, id: NodeId) -> Option<usize> {
        let s = self.section_of[self.readers.home(id)?]?;
        let from = &self.found[s];
        let same = from.extents == section.extents && from.n_columns == section.n_columns;
        (same && from.is_wide(id) && !(self.kept)(id)).then_some(s)
    }

    /// Takes in a cluster that reads a wide value; whether there was one.
    fn grow(&self, section: &mut Section) -> bool {
        let is_wide =
            |id: NodeId| !(self.kept)(id) && (section.is_wide(id) || self.borrowable(section, id).is_some());
        let may_come = |i: &usize| {
            let is_free = self.section_of[*i].is_none() && !section.has(*i);
            is_free && self.readers.read_by(*i).iter().any(|read| is_wide(read.base))
        };
        let readers = section.wide().flat_map(|id| self.readers.of(id));
        let readers: BTreeSet<usize> = readers.chain(&self.left).copied().collect();
        let grown = readers.into_iter().filter(may_come).find_map(|i| self.with(section, i));
        let has_grown = grown.is_some();
        grown.into_iter().for_each(|grown| *section = grown);
        has_grown
    }

    fn add(&self, section: &mut Section, i: usize, labels: Labels) {
        if labels.adds {
            section.added.extend(labels.values.iter().map(|(id, _)| *id));
        }
        section.values.extend(labels.values);
        section.members.insert(i, labels.along);
        section.before.extend(self.readers.before(i));
        section.after.extend(self.readers.after(i));
    }

    /// The section with one more cluster, with all that then stands between, and with products and random numbers that are made for
    /// it alone.
    fn with(&self, section: &Section, i: usize) -> Option<Section> {
        let between = self.between(section, i);
        // Of these loops none comes in another way.
        if between.n_common(self.readers.loops()) > MOST_BETWEEN {
            return None;
        }
        let mut grown = section.clone();
        let mut todo: BTreeSet<usize> = between.iter().chain([i]).collect();
        let mut n_between = 0;
        while let Some(next) = todo.pop_first() {
            if grown.has(next) {
                continue;
            }
            n_between += 1;
            if n_between > MOST_BETWEEN || self.section_of[next].is_some() {
                return None;
            }
            let labels = self.label(&grown, next, None)?;
            self.add(&mut grown, next, labels);
            self.borrow(&mut grown, next);
            for (maker, along) in self.makers(&grown, next) {
                let labels = self.label(&grown, maker, Some(along))?;
                self.add(&mut grown, maker, labels);
                todo.extend(self.between(&grown, maker).iter());
            }
            todo.extend(self.between(&grown, next).iter());
        }
        Some(grown)
    }

    /// Products and random numbers that are wide in a section that reads them, with what their axes are.
    fn makers(&self, section: &Section, reader: usize) -> Vec<(usize, Vec<Along>)> {
        let along = &section.members[&reader];
        let mut found: Vec<(usize, Vec<Along>)> = Vec::new();
        for read in self.readers.read_by(reader) {
            let Some(maker) = self.readers.home(read.base) else { continue };
            let is_single = matches!(&self.clusters[maker], Cluster::Single(_));
            let is_free = self.section_of[maker].is_none() && !section.has(maker);
            if !is_single || !is_free || (self.kept)(read.base) || found.iter().any(|(m, _)| *m == maker) {
                continue;
            }
            let Some((extents, _)) = loop_axes(self.graph, self.reads, &self.clusters[maker]) else {
                continue;
            };
            let Some(places) = places(self.graph, read) else { continue };
            let mut axes = vec![Along::Whole; extents.len()];
            places.iter().zip(along).for_each(|(axis, along)| {
                if let Some(axis) = axis {
                    axes[*axis] = *along;
                }
            });
            let has = |label: Along| axes.contains(&label);
            if (0..section.extents.len()).all(|d| has(Along::Block(d))) && has(Along::Columns) {
                found.push((maker, axes));
            }
        }
        found
    }

    fn borrow(&self, section: &mut Section, reader: usize) {
        let found: Vec<(NodeId, usize)> = self
            .readers
            .read_by(reader)
            .iter()
            .filter_map(|read| Some((read.base, self.borrowable(section, read.base)?)))
            .collect();
        section.borrowed.extend(found);
    }

    /// Clusters outside that wait for the section and that it, or `last`, waits for.
    fn between(&self, section: &Section, last: usize) -> Bits {
        let mut found = section.before.clone();
        found.extend(self.readers.before(last));
        found.retain(&section.after);
        section.members.keys().chain([&last]).for_each(|i| found.remove(*i));
        found
    }

    /// Whether the wide values would leave a cache.
    fn pays(&self, section: &Section) -> bool {
        let bytes = |id: NodeId| {
            let n = elements_of_row(self.graph, self.tiled, id).unwrap_or(0);
            n.saturating_mul(self.graph.dtype(id).bytes() as i64)
        };
        section.wide().filter(|id| self.is_used(*id)).map(bytes).fold(0, i64::saturating_add)
            > self.cache_bytes
    }

    /// Whether anyone reads a value.
    pub fn is_used(&self, id: NodeId) -> bool {
        (self.kept)(id) || !self.readers.of(id).is_empty()
    }
}

/// A contraction whose result is larger than its factors, if the cluster is one.
pub fn larger<'g>(
    graph: &'g Graph,
    tiled: bool,
    cache_bytes: i64,
    cluster: &Cluster,
) -> Option<(NodeId, &'g Contraction)> {
    let Cluster::Single(id) = cluster else { return None };
    let Op::Contract(contraction) = &graph.node(*id).op else { return None };
    let operands = &graph.node(*id).operands;
    let n_elements = |id: NodeId| elements_of_row(graph, tiled, id);
    let (out, lhs, rhs) = (n_elements(*id)?, n_elements(operands[0])?, n_elements(operands[1])?);
    // What all rows share, a weight, each strip would have to read whole.
    let is_of_row = |side: &Vec<u8>| !tiled || side.contains(&contraction.out[0]);
    let is_larger = out > lhs && out > rhs && out * 16 >= cache_bytes;
    (is_larger && is_of_row(&contraction.lhs) && is_of_row(&contraction.rhs)).then_some((*id, contraction))
}

/// Elements of an example's share of a value, or of all of it where there are no tiles of rows.
fn elements_of_row(graph: &Graph, tiled: bool, id: NodeId) -> Option<i64> {
    let shape = &graph.ty(id).shape;
    shape.iter().skip(usize::from(tiled)).try_fold(1i64, |n, extent| n.checked_mul(extent.as_const()?))
}

impl Section {
    pub fn has(&self, i: usize) -> bool {
        self.members.contains_key(&i)
    }

    /// Its clusters, in order.
    pub fn members(&self) -> impl DoubleEndedIterator<Item = usize> {
        self.members.keys().copied()
    }

    pub fn is_wide(&self, id: NodeId) -> bool {
        let last = Along::Block(self.extents.len() - 1);
        let has = |axes: &Vec<Along>| axes.contains(&last) && axes.contains(&Along::Columns);
        self.values.get(&id).is_some_and(has)
    }

    /// Wide values that the section makes for the first time.
    pub fn wide(&self) -> impl Iterator<Item = NodeId> {
        self.values.keys().copied().filter(|id| self.is_wide(*id))
    }
}
