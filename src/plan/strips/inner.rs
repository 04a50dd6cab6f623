//! Which values there is one block of at a time, and which of these a section makes again.
//!
//! What enters: all sections. What leaves: for each what it makes again, which of its values nobody else reads, and what runs in a turn.
//! Invariant: a value of another section that is made again comes with the wide values there that it is made of.

use super::super::fuse::{Cluster, Loop};
use super::axes::Along;
use super::section::{Section, Sections};
use crate::base::hash::FastMap;
use crate::graph::NodeId;
use std::collections::BTreeSet;

/// What each section makes again.
#[derive(Default)]
pub struct Again {
    of: Vec<BTreeSet<NodeId>>,
    /// By node: the sections that do.
    by: FastMap<NodeId, Vec<usize>>,
}

impl Again {
    pub fn new(sections: &Sections) -> Again {
        let of: Vec<BTreeSet<NodeId>> = sections.found.iter().map(|s| made_again(sections, s)).collect();
        let mut by: FastMap<NodeId, Vec<usize>> = FastMap::default();
        for (s, made) in of.iter().enumerate() {
            made.iter().for_each(|id| by.entry(*id).or_default().push(s));
        }
        Again { of, by }
    }
}

/// What a section makes again: borrowed values, and the wide values of the same section that they are made of.
fn made_again(sections: &Sections, section: &Section) -> BTreeSet<NodeId> {
    let mut made = BTreeSet::new();
    let mut todo: Vec<NodeId> = section.borrowed.keys().copied().collect();
    while let Some(id) = todo.pop() {
        if !made.insert(id) {
            continue;
        }
        let from = sections.maker(id);
        let wide = |base: &NodeId| from.is_wide(*base) && !(sections.kept)(*base);
        todo.extend(sections.reads.of(id).iter().map(|read| read.base).filter(wide));
    }
    made
}

impl Sections<'_> {
    /// What a section makes again.
    pub fn made_again(&self, number: usize) -> &BTreeSet<NodeId> {
        &self.again.of[number]
    }

    /// The section that makes a value first.
    fn maker(&self, id: NodeId) -> &Section {
        let section = self.readers.home(id).and_then(|i| self.section_of(i));
        &self.found[section.expect("it is made in a section")]
    }

    /// Values of which there is one block at a time, with what their axes are: nobody else reads them, or makes them again.
    pub fn inner(&self, number: usize) -> FastMap<NodeId, Vec<Along>> {
        let section = &self.found[number];
        let own = section
            .values
            .iter()
            .filter(|(id, _)| !(self.kept)(**id) && !section.added.contains(*id))
            .filter(|(id, _)| !self.is_read_outside(number, **id));
        let again = self.made_again(number).iter().map(|id| (id, &self.maker(*id).values[id]));
        own.chain(again).map(|(id, axes)| (*id, axes.clone())).collect()
    }

    /// Whether anyone else reads a value of a section, and does not make it again.
    fn is_read_outside(&self, number: usize, id: NodeId) -> bool {
        let borrows = |i: usize| self.section_of(i).is_some_and(|s| self.found[s].borrowed.contains_key(&id));
        let by_cluster = |i: &usize| !self.found[number].has(*i) && !borrows(*i);
        let makes_again = |s: usize, id: NodeId| self.again.of[s].contains(&id);
        let by_copy = |user: NodeId| {
            let mut sections = self.again.by.get(&user).into_iter().flatten();
            sections.any(|s| *s != number && !makes_again(*s, id))
        };
        self.readers.of(id).iter().any(by_cluster) || self.reads.by_users(id).any(|(user, _)| by_copy(user))
    }

    /// What runs in a turn, with what the axes are: what is made again, then the members.
    pub fn parts(&self, number: usize) -> Vec<(Cluster, Vec<Along>)> {
        let (section, made) = (&self.found[number], self.made_again(number));
        let mut parts: Vec<(Cluster, Vec<Along>)> = Vec::new();
        let mut known: BTreeSet<NodeId> = BTreeSet::new();
        let lenders: BTreeSet<usize> = section.borrowed.values().copied().collect();
        let borrowed = lenders.iter().flat_map(|s| &self.found[*s].members);
        for (i, along) in borrowed {
            let cluster = &self.clusters[*i];
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
                    parts.push((Cluster::Loop(Loop { nodes, extents, ..Loop::default() }), along.clone()));
                }
                (cluster, _) => parts.push((cluster.clone(), along.clone())),
            }
        }
        parts.extend(section.members.iter().map(|(i, along)| (self.clusters[*i].clone(), along.clone())));
        parts
    }
}
