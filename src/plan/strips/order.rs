//! Sections and the clusters in none, in an order in which they can run.

use super::section::Sections;
use std::collections::BTreeSet;

/// Where something of the group's stands.
#[derive(Clone, Copy)]
pub enum Place {
    Cluster(usize),
    Section(usize),
}

/// Everything, what stood first as early as it can be; nothing if two sections wait for each other.
pub fn order(sections: &Sections) -> Option<Vec<Place>> {
    // A section stands where its last cluster stood, for then all is there.
    let last = |s: usize| sections.found[s].members().last().expect("a section has members");
    let mut places: Vec<(usize, Place)> = (0..sections.clusters.len())
        .filter(|i| sections.section_of(*i).is_none())
        .map(|i| (i, Place::Cluster(i)))
        .chain((0..sections.found.len()).map(|s| (last(s), Place::Section(s))))
        .collect();
    places.sort_by_key(|(at, _)| *at);
    let index = |i: usize| -> usize {
        let at = sections.section_of(i).map_or(i, last);
        places.binary_search_by_key(&at, |(at, _)| *at).expect("each cluster has a place")
    };
    let needs = |place: &Place| -> Vec<usize> {
        let readers = &sections.readers;
        match place {
            Place::Cluster(i) => readers.needs(*i).to_vec(),
            Place::Section(s) => {
                let of_members = sections.found[*s].members().flat_map(|i| readers.needs(i)).copied();
                let made = sections.made_again(*s).iter().flat_map(|id| sections.reads.of(*id));
                of_members.chain(made.filter_map(|read| readers.home(read.base))).collect()
            }
        }
    };
    let mut n_waits = vec![0; places.len()];
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); places.len()];
    for (at, (_, place)) in places.iter().enumerate() {
        let needs: BTreeSet<usize> =
            needs(place).into_iter().map(index).filter(|other| *other != at).collect();
        n_waits[at] = needs.len();
        needs.iter().for_each(|other| waiting[*other].push(at));
    }
    let mut order = Vec::with_capacity(places.len());
    let mut ready: BTreeSet<usize> = (0..places.len()).filter(|at| n_waits[*at] == 0).collect();
    while let Some(next) = ready.pop_first() {
        order.push(places[next].1);
        for at in &waiting[next] {
            n_waits[*at] -= 1;
            if n_waits[*at] == 0 {
                ready.insert(*at);
            }
        }
    }
    (order.len() == places.len()).then_some(order)
}
