//! Who reads what, and who waits for whom: worked out once, so that whoever grows a section need not look at all clusters.
//!
//! What enters: a group's clusters. What leaves: for a value the cluster that makes it and those that read it, for a cluster what it reads, what
//! it needs, and all that come before or after it. Clusters are in an order in which they can run, but for those that an `After` lets wait: what
//! these need is before them, what that needs in turn is not asked.

use super::super::fuse::Cluster;
use super::super::space::{Read, Reads};
use crate::base::hash::FastMap;
use crate::graph::NodeId;

pub struct Readers<'a> {
    home: FastMap<NodeId, usize>,
    by_node: FastMap<NodeId, Vec<usize>>,
    /// The others are by cluster.
    read: Vec<Vec<&'a Read>>,
    needs: Vec<Vec<usize>>,
    before: Vec<Bits>,
    after: Vec<Bits>,
    loops: Bits,
}

impl<'a> Readers<'a> {
    pub fn new(reads: &'a Reads, clusters: &[Cluster]) -> Readers<'a> {
        let n = clusters.len();
        let (mut home, mut by_node) = (FastMap::default(), FastMap::<NodeId, Vec<usize>>::default());
        let mut loops = Bits::none(n);
        for (i, cluster) in clusters.iter().enumerate() {
            cluster.nodes().iter().for_each(|id| {
                home.entry(*id).or_insert(i);
            });
            if matches!(cluster, Cluster::Loop(_)) {
                loops.insert(i);
            }
        }
        let read: Vec<Vec<&Read>> = clusters.iter().map(|cluster| read_by(reads, cluster)).collect();
        for (i, read) in read.iter().enumerate() {
            for read in read {
                let readers = by_node.entry(read.base).or_default();
                if readers.last() != Some(&i) {
                    readers.push(i);
                }
            }
        }
        let needs = |(i, cluster)| needs(reads, &home, i, cluster);
        let needs: Vec<Vec<usize>> = clusters.iter().enumerate().map(needs).collect();
        let (mut before, mut after) = (vec![Bits::none(n); n], vec![Bits::none(n); n]);
        for (i, needs) in needs.iter().enumerate() {
            let mut all = Bits::none(n);
            for other in needs {
                all.insert(*other);
                all.extend(&before[*other]);
            }
            before[i] = all;
        }
        for (i, needs) in needs.iter().enumerate().rev() {
            let mut all = after[i].clone();
            all.insert(i);
            needs.iter().for_each(|other| after[*other].extend(&all));
        }
        Readers { home, by_node, read, needs, before, after, loops }
    }

    /// The cluster that makes a node first.
    pub fn home(&self, id: NodeId) -> Option<usize> {
        self.home.get(&id).copied()
    }

    /// Clusters that read a node, but those that have it at hand where they read it.
    pub fn of(&self, id: NodeId) -> &[usize] {
        self.by_node.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What a cluster reads that it does not make itself.
    pub fn read_by(&self, i: usize) -> &[&'a Read] {
        &self.read[i]
    }

    /// Clusters that one waits for, directly.
    pub fn needs(&self, i: usize) -> &[usize] {
        &self.needs[i]
    }

    /// Clusters that one waits for, also by way of others.
    pub fn before(&self, i: usize) -> &Bits {
        &self.before[i]
    }

    /// Clusters that wait for one.
    pub fn after(&self, i: usize) -> &Bits {
        &self.after[i]
    }

    /// Clusters that are loops.
    pub fn loops(&self) -> &Bits {
        &self.loops
    }
}

fn read_by<'a>(reads: &'a Reads, cluster: &Cluster) -> Vec<&'a Read> {
    let all = cluster.nodes().iter().flat_map(|id| reads.of(*id));
    all.filter(|read| !(cluster.nodes().contains(&read.base) && read.is_whole)).collect()
}

fn needs(reads: &Reads, home: &FastMap<NodeId, usize>, i: usize, cluster: &Cluster) -> Vec<usize> {
    let nodes = cluster.nodes();
    let read = nodes.iter().flat_map(|id| reads.of(*id).iter().map(|read| read.base));
    let waits = nodes.iter().flat_map(|id| reads.waits(*id).iter().copied());
    let homes = read.chain(waits).filter(|base| !nodes.contains(base));
    let mut all: Vec<usize> =
        homes.filter_map(|base| home.get(&base).copied()).filter(|other| *other != i).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Some of a group's clusters.
#[derive(Clone)]
pub struct Bits(Vec<u64>);

impl Bits {
    /// None of `n`.
    pub fn none(n: usize) -> Bits {
        Bits(vec![0; n.div_ceil(64)])
    }

    pub fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    pub fn remove(&mut self, i: usize) {
        self.0[i / 64] &= !(1 << (i % 64));
    }

    /// Those of `others`, too.
    pub fn extend(&mut self, others: &Bits) {
        self.0.iter_mut().zip(&others.0).for_each(|(own, others)| *own |= others);
    }

    /// Only those that are in `others`.
    pub fn retain(&mut self, others: &Bits) {
        self.0.iter_mut().zip(&others.0).for_each(|(own, others)| *own &= others);
    }

    /// How many are in both.
    pub fn n_common(&self, others: &Bits) -> usize {
        self.0.iter().zip(&others.0).map(|(own, others)| (own & others).count_ones() as usize).sum()
    }

    /// Ascending.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        self.0.iter().enumerate().flat_map(|(at, word)| {
            let rest = |word: &u64| Some(word & (word - 1)).filter(|rest| *rest != 0);
            let words = std::iter::successors(Some(*word).filter(|word| *word != 0), rest);
            words.map(move |word| 64 * at + word.trailing_zeros() as usize)
        })
    }
}
