//! Sections: which clusters go through strips together.
//!
//! What enters: a group's clusters. What leaves: sections, and an order of them and of the clusters in none. A section begins with a
//! contraction whose result is wide and larger than its factors, and grows by each cluster that reads a wide value, as long as all that
//! stands between comes along. Whoever reads it and cannot come, for it waits for something else that waits for the section (the backward
//! pass), may come to a later section over the same dimensions, which makes the value again (`borrowed`). Invariants: a cluster is in one
//! section at most; no cluster outside stands between two of a section.

use super::super::fuse::{Cluster, Loop, is_same_index};
use super::super::space::{Read, Reads};
use super::axes::{Along, Labels, label, loop_axes, places};
use crate::base::Dim;
use crate::graph::{Graph, NodeId, Op};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Clusters that come along because they stand between others, at most: a section is no place for a whole network.
const MOST_BETWEEN: usize = 8;

pub struct Sections<'a> {
    pub graph: &'a Graph,
    pub reads: &'a Reads,
    pub kept: &'a dyn Fn(NodeId) -> bool,
    pub tiled: bool,
    pub cache_bytes: i64,
    pub clusters: &'a [Cluster],
    pub found: Vec<Section>,
    /// The cluster that makes a node first.
    home: HashMap<NodeId, usize>,
    /// By cluster: those it waits for, directly or by way of others, as bits.
    before: Vec<Vec<u64>>,
    section_of: Vec<Option<usize>>,
}

#[derive(Clone)]
pub struct Section {
    /// Of each dimension; the last are the rows.
    pub extents: Vec<Dim>,
    pub n_columns: Dim,
    /// Clusters, in order, with what the axes of their loops are.
    members: BTreeMap<usize, Vec<Along>>,
    /// Axes of values that the members make.
    values: HashMap<NodeId, Vec<Along>>,
    /// Products that are summed over a dimension.
    pub added: BTreeSet<NodeId>,
    /// Wide values of earlier sections that are made again here, with the section.
    borrowed: BTreeMap<NodeId, usize>,
}

/// Where something of the group's stands.
#[derive(Clone, Copy)]
pub enum Place {
    Cluster(usize),
    Section(usize),
}

impl<'a> Sections<'a> {
    pub fn new(
        graph: &'a Graph,
        reads: &'a Reads,
        kept: &'a dyn Fn(NodeId) -> bool,
        tiled: bool,
        cache_bytes: i64,
        clusters: &'a [Cluster],
    ) -> Self {
        let mut home = HashMap::new();
        for (i, cluster) in clusters.iter().enumerate() {
            cluster.nodes().iter().for_each(|id| {
                home.entry(*id).or_insert(i);
            });
        }
        let section_of = vec![None; clusters.len()];
        let (found, before) = (Vec::new(), Vec::new());
        Sections { graph, reads, kept, tiled, cache_bytes, clusters, found, home, before, section_of }
    }

    pub fn find(&mut self) {
        for seed in 0..self.clusters.len() {
            if self.section_of[seed].is_some() {
                continue;
            }
            for mut section in self.begun_by(seed) {
                if self.before.is_empty() {
                    self.before = self.all_before();
                }
                while self.grow(&mut section) {}
                if section.members.len() > 1 && self.pays(&section) {
                    let number = self.found.len();
                    section.members.keys().for_each(|i| self.section_of[*i] = Some(number));
                    self.found.push(section);
                    break;
                }
            }
        }
    }

    /// Sections that a contraction may begin: its left side's labels are rows, or its right side's.
    fn begun_by(&self, seed: usize) -> Vec<Section> {
        let Cluster::Single(id) = &self.clusters[seed] else { return Vec::new() };
        let Op::Contract(contraction) = &self.graph.node(*id).op else { return Vec::new() };
        let shape = &self.graph.ty(*id).shape;
        let operands = &self.graph.node(*id).operands;
        let sides = [&contraction.lhs, &contraction.rhs];
        // What all rows share, a weight, each strip would have to read whole.
        let is_of_row = |side: &&Vec<u8>| !self.tiled || side.contains(&contraction.out[0]);
        let n_elements = |id: NodeId| self.elements_of_row(id);
        let is_larger = match (n_elements(*id), n_elements(operands[0]), n_elements(operands[1])) {
            (Some(out), Some(lhs), Some(rhs)) => {
                out > lhs && out > rhs && out * 16 >= self.cache_bytes && sides.iter().all(is_of_row)
            }
            _ => false,
        };
        if !is_larger || (self.kept)(*id) {
            return Vec::new();
        }
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
                values: HashMap::new(),
                added: BTreeSet::new(),
                borrowed: BTreeMap::new(),
            };
            let labels = self.label(&section, seed, Some(along))?;
            section.add(seed, labels);
            Some(section)
        };
        let (left, right) = (axes(true, false), axes(false, true));
        [begun(left.clone(), right.clone()), begun(right, left)].into_iter().flatten().collect()
    }

    /// Elements of an example's share of a value, or of all of it where there are no tiles of rows.
    fn elements_of_row(&self, id: NodeId) -> Option<i64> {
        let shape = &self.graph.ty(id).shape;
        shape
            .iter()
            .skip(usize::from(self.tiled))
            .try_fold(1i64, |n, extent| n.checked_mul(extent.as_const()?))
    }

    fn label(&self, section: &Section, i: usize, known: Option<Vec<Along>>) -> Option<Labels> {
        let of = |id: NodeId| {
            let own = section.values.get(&id).filter(|_| !section.added.contains(&id));
            own.or_else(|| self.borrowable(section, id).and_then(|s| self.found[s].values.get(&id)))
                .map(Vec::as_slice)
        };
        let is_gather = |id: &NodeId| matches!(self.graph.node(*id).op, Op::Gather { .. });
        if self.clusters[i].nodes().iter().any(|id| !self.has_one_value(*id) || is_gather(id)) {
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

    /// A variable's next value may have to wait for others that read the old one.
    fn has_one_value(&self, id: NodeId) -> bool {
        !self.graph.updates.iter().any(|(_, value)| *value == id)
    }

    /// The earlier section over the same dimensions that makes a wide value.
    fn borrowable(&self, section: &Section, id: NodeId) -> Option<usize> {
        let s = self.section_of[*self.home.get(&id)?]?;
        let from = &self.found[s];
        let same = from.extents == section.extents && from.n_columns == section.n_columns;
        (same && from.is_wide(id) && !(self.kept)(id)).then_some(s)
    }

    /// Takes in a cluster that reads a wide value; whether there was one.
    fn grow(&self, section: &mut Section) -> bool {
        let wide = |read: &Read, section: &Section| {
            !(self.kept)(read.base)
                && (section.is_wide(read.base) || self.borrowable(section, read.base).is_some())
        };
        for i in 0..self.clusters.len() {
            if self.section_of[i].is_some() || section.members.contains_key(&i) {
                continue;
            }
            let reads_wide = self.read_by(&self.clusters[i]).any(|read| wide(read, section));
            if reads_wide && let Some(grown) = self.with(section, i) {
                *section = grown;
                return true;
            }
        }
        false
    }

    /// What a cluster reads that it does not make itself.
    fn read_by<'s>(&'s self, cluster: &'s Cluster) -> impl Iterator<Item = &'s Read> {
        let all = cluster.nodes().iter().flat_map(|id| self.reads.of(*id));
        all.filter(move |read| !(cluster.nodes().contains(&read.base) && is_same_index(self.graph, read)))
    }

    /// The section with one more cluster, with all that then stands between, and with products and random numbers that are made for
    /// it alone.
    fn with(&self, section: &Section, i: usize) -> Option<Section> {
        let mut grown = section.clone();
        let mut todo: BTreeSet<usize> = self.between(&grown, i).into_iter().chain([i]).collect();
        let mut n_between = 0;
        while let Some(next) = todo.pop_first() {
            if grown.members.contains_key(&next) {
                continue;
            }
            n_between += 1;
            if n_between > MOST_BETWEEN || self.section_of[next].is_some() {
                return None;
            }
            let labels = self.label(&grown, next, None)?;
            grown.add(next, labels);
            self.borrow(&mut grown, next);
            for (maker, along) in self.makers(&grown, next) {
                let labels = self.label(&grown, maker, Some(along))?;
                grown.add(maker, labels);
                todo.extend(self.between(&grown, maker));
            }
            todo.extend(self.between(&grown, next));
        }
        Some(grown)
    }

    /// Products and random numbers that are wide in a section that reads them, with what their axes are.
    fn makers(&self, section: &Section, reader: usize) -> Vec<(usize, Vec<Along>)> {
        let along = &section.members[&reader];
        let mut found: Vec<(usize, Vec<Along>)> = Vec::new();
        for read in self.read_by(&self.clusters[reader]) {
            let Some(maker) = self.home.get(&read.base).copied() else { continue };
            let is_single = matches!(&self.clusters[maker], Cluster::Single(_));
            let is_free = self.section_of[maker].is_none() && !section.members.contains_key(&maker);
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
            .read_by(&self.clusters[reader])
            .filter_map(|read| Some((read.base, self.borrowable(section, read.base)?)))
            .collect();
        section.borrowed.extend(found);
    }

    /// Clusters outside that wait for the section and that `last` waits for.
    fn between(&self, section: &Section, last: usize) -> Vec<usize> {
        let waits_for_section =
            |i: &usize| section.members.keys().any(|member| *member != *i && self.is_before(*member, *i));
        let outside = |i: &usize| *i != last && !section.members.contains_key(i);
        let into =
            |i: &usize| self.is_before(*i, last) || section.members.keys().any(|m| self.is_before(*i, *m));
        (0..self.clusters.len()).filter(|i| outside(i) && into(i) && waits_for_section(i)).collect()
    }

    fn is_before(&self, first: usize, last: usize) -> bool {
        self.before[last][first / 64] >> (first % 64) & 1 == 1
    }

    fn all_before(&self) -> Vec<Vec<u64>> {
        let n = self.clusters.len();
        let mut before: Vec<Vec<u64>> = Vec::with_capacity(n);
        for i in 0..n {
            let mut bits = vec![0; n.div_ceil(64)];
            for other in self.needs(i) {
                bits[other / 64] |= 1 << (other % 64);
                if other < i {
                    bits.iter_mut().zip(&before[other]).for_each(|(a, b)| *a |= b);
                }
            }
            before.push(bits);
        }
        before
    }

    /// Clusters that one waits for.
    fn needs(&self, i: usize) -> Vec<usize> {
        let nodes = self.clusters[i].nodes();
        let read = nodes.iter().flat_map(|id| self.reads.of(*id).iter().map(|read| read.base));
        let waits = nodes.iter().flat_map(|id| self.reads.waits(*id).iter().copied());
        let homes = read.chain(waits).filter(|base| !nodes.contains(base));
        homes.filter_map(|base| self.home.get(&base).copied()).filter(|other| *other != i).collect()
    }

    /// Whether the wide values would leave a cache.
    fn pays(&self, section: &Section) -> bool {
        let bytes = |id: NodeId| {
            let n = self.elements_of_row(id).unwrap_or(0);
            n.saturating_mul(self.graph.dtype(id).bytes() as i64)
        };
        let values = section.wide(self).map(bytes).fold(0, i64::saturating_add);
        values > self.cache_bytes
    }

    /// Values of which there is one block at a time: nobody else reads them, or makes them again.
    pub fn inner(&self, number: usize) -> HashMap<NodeId, Vec<Along>> {
        let section = &self.found[number];
        let elsewhere = |id: NodeId| {
            let reads = |i: usize| self.read_by(&self.clusters[i]).any(|read| read.base == id);
            let borrows =
                |i: usize| self.section_of[i].is_some_and(|s| self.found[s].borrowed.contains_key(&id));
            let by_cluster = (0..self.clusters.len())
                .any(|i| !section.members.contains_key(&i) && reads(i) && !borrows(i));
            let by_copy = |other: &Section| {
                let made = self.made_again(other);
                let reads_it = |node: &NodeId| self.reads.of(*node).iter().any(|read| read.base == id);
                !made.contains(&id) && made.iter().any(reads_it)
            };
            by_cluster || self.found.iter().enumerate().any(|(s, other)| s != number && by_copy(other))
        };
        let own = section
            .values
            .iter()
            .filter(|(id, _)| !(self.kept)(**id) && !section.added.contains(*id) && !elsewhere(**id));
        let mut inner: HashMap<NodeId, Vec<Along>> = own.map(|(id, axes)| (*id, axes.clone())).collect();
        for id in self.made_again(section) {
            let from = &self.found[self.section_of[self.home[&id]].expect("it is made in a section")];
            inner.insert(id, from.values[&id].clone());
        }
        inner
    }

    /// What a section makes again: borrowed values, and the wide values of the same section that they are made of.
    fn made_again(&self, section: &Section) -> BTreeSet<NodeId> {
        let mut made = BTreeSet::new();
        let mut todo: Vec<NodeId> = section.borrowed.keys().copied().collect();
        while let Some(id) = todo.pop() {
            if !made.insert(id) {
                continue;
            }
            let from = &self.found[self.section_of[self.home[&id]].expect("it is made in a section")];
            let wide = |base: &NodeId| from.is_wide(*base) && !(self.kept)(*base);
            todo.extend(self.reads.of(id).iter().map(|read| read.base).filter(wide));
        }
        made
    }

    /// Everything in an order in which it can run; nothing if two sections wait for each other.
    pub fn order(&self) -> Option<Vec<Place>> {
        // A section stands where its last cluster stood, for then all is there.
        let last = |s: usize| *self.found[s].members.keys().last().expect("a section has members");
        let mut places: Vec<(usize, Place)> = (0..self.clusters.len())
            .filter(|i| self.section_of[*i].is_none())
            .map(|i| (i, Place::Cluster(i)))
            .chain((0..self.found.len()).map(|s| (last(s), Place::Section(s))))
            .collect();
        places.sort_by_key(|(at, _)| *at);
        let index = |i: usize| -> usize {
            let at = self.section_of[i].map_or(i, last);
            places.binary_search_by_key(&at, |(at, _)| *at).expect("each cluster has a place")
        };
        let members = |place: &Place| -> Vec<usize> {
            match place {
                Place::Cluster(i) => vec![*i],
                Place::Section(s) => self.found[*s].members.keys().copied().collect(),
            }
        };
        let mut waits: Vec<BTreeSet<usize>> = Vec::new();
        for (at, (_, place)) in places.iter().enumerate() {
            let needs = members(place).into_iter().flat_map(|i| self.needs(i)).map(index);
            let mut needs: BTreeSet<usize> = needs.filter(|other| *other != at).collect();
            if let Place::Section(s) = place {
                let bases = self.made_again(&self.found[*s]).into_iter();
                let read =
                    bases.flat_map(|id| self.reads.of(id)).filter_map(|read| self.home.get(&read.base));
                needs.extend(read.map(|i| index(*i)).filter(|other| *other != at));
            }
            waits.push(needs);
        }
        let mut order = Vec::with_capacity(places.len());
        let mut done = vec![false; places.len()];
        while order.len() < places.len() {
            let ready = |at: &usize| !done[*at] && waits[*at].iter().all(|other| done[*other]);
            let next = (0..places.len()).find(ready)?;
            done[next] = true;
            order.push(places[next].1);
        }
        Some(order)
    }
}

impl Section {
    fn add(&mut self, i: usize, labels: Labels) {
        if labels.adds {
            self.added.extend(labels.values.iter().map(|(id, _)| *id));
        }
        self.values.extend(labels.values);
        self.members.insert(i, labels.along);
    }

    fn is_wide(&self, id: NodeId) -> bool {
        let last = Along::Block(self.extents.len() - 1);
        let has = |axes: &Vec<Along>| axes.contains(&last) && axes.contains(&Along::Columns);
        self.values.get(&id).is_some_and(has)
    }

    /// Wide values that the section makes for the first time.
    pub fn wide<'s>(&'s self, sections: &'s Sections) -> impl Iterator<Item = NodeId> {
        let mut wide: Vec<NodeId> = self.values.keys().copied().filter(|id| self.is_wide(*id)).collect();
        wide.sort_unstable();
        let is_read =
            |id: &NodeId| sections.clusters.iter().any(|c| sections.read_by(c).any(|read| read.base == *id));
        wide.into_iter().filter(move |id| is_read(id) || (sections.kept)(*id))
    }

    /// What runs in a turn, with what the axes are: what is made again, then the members.
    pub fn parts(&self, sections: &Sections) -> Vec<(Cluster, Vec<Along>)> {
        let made = sections.made_again(self);
        let mut parts: Vec<(Cluster, Vec<Along>)> = Vec::new();
        let mut known: BTreeSet<NodeId> = BTreeSet::new();
        let lenders: BTreeSet<usize> = self.borrowed.values().copied().collect();
        let borrowed = lenders.iter().flat_map(|s| &sections.found[*s].members);
        for (i, along) in borrowed {
            let cluster = &sections.clusters[*i];
            let nodes: Vec<NodeId> = cluster
                .nodes()
                .iter()
                .copied()
                .filter(|id| made.contains(id) && !known.contains(id))
                .collect();
            known.extend(&nodes);
            if nodes.is_empty() {
                continue;
            }
            match (cluster, parts.last_mut()) {
                // What is made again in one loop after another is made in one.
                (Cluster::Loop(l), Some((Cluster::Loop(last), _))) if last.extents == l.extents => {
                    last.nodes.extend(nodes);
                }
                (Cluster::Loop(l), _) => {
                    let extents = l.extents.clone();
                    parts.push((Cluster::Loop(Loop { nodes, extents, n_parallel: None }), along.clone()));
                }
                (cluster, _) => parts.push((cluster.clone(), along.clone())),
            }
        }
        parts.extend(self.members.iter().map(|(i, along)| (sections.clusters[*i].clone(), along.clone())));
        parts
    }
}
