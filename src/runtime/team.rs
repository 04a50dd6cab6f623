//! A tile of several threads: its ops one after another, each in portions.
//!
//! What enters: a phase whose tiles are too few or too uneven for the threads there are: one long example, a weight of three rows. What leaves: phases that do
//! the same, each of them some ops of its launches' tiles: a large op in portions that threads take as they take tiles, small ones
//! by one thread. Invariants: results do not depend on it (`codegen/cpu/portions.rs`); it takes no more memory. Not here: which ops can
//! be had in portions.
//!
//! The tile of number n has the scratch of thread n, whoever is at it. What a portion makes for itself alone lies in the scratch of its own
//! thread, at places that are free in that kernel's scratch while this op runs. So tiles of a team must all be of one kernel, as far as
//! kernels have scratch, and all at the same op; they are.
//!
//! The cost model is the plan's (`plan/tile.rs`): a team pays if the thread that has most to do has `UNEVEN` times its share. An op
//! of less than `WORTH` operations takes as long as it takes threads to wait for each other a few times.

use super::schedule::Phase;
use crate::nest::Kernel;
use crate::plan::{Divisible, Piece, Plan, costs_of_ops};
use std::ops::Range;

/// Work (floating-point operations or thereabouts) below which a phase is not split over one more thread. Little in tests, whose
/// graphs are small.
const WORK_A_THREAD: u64 = if cfg!(test) { 100 } else { 100_000 };
/// Tiles are divided until each thread has so many, at most.
const TILES_A_THREAD: u64 = 4;
/// In tests, whose tiles are too small for it to pay, they are divided as far as it goes, and few of them are a team's.
const ALWAYS: bool = cfg!(test);
const UNEVEN: f64 = 1.25;
/// Operations of an op that is worth being taken in portions.
const WORTH: u64 = if cfg!(test) { 1 } else { 200_000 };
/// Operations of a phase that is worth a team.
const WORTH_A_TEAM: u64 = if cfg!(test) { 1 } else { 4_000_000 };
/// Portions of an op for each thread, so that who is late has less to do.
const PORTIONS_A_THREAD: usize = 2;

/// Rows of a launch, all or some of its kernel's ops, and of those in portions the one to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Job {
    /// Of the phase's launches.
    pub launch: usize,
    pub start: i64,
    pub rows: i64,
    pub ops: Range<usize>,
    pub part: i64,
    pub parts: i64,
    /// Whose scratch the tile has, if a team is at it.
    pub team: Option<usize>,
}

/// How the tiles of a phase's launches are divided at a batch.
pub struct Division {
    pieces: Vec<Vec<Piece>>,
    /// Threads that there is work for.
    n_threads: usize,
    /// Whether a team would do the tiles sooner.
    is_for_team: bool,
}

impl Division {
    /// Tiles as long as they may be, or shorter where that deals them out more evenly.
    pub fn new<'k>(kernels: impl Iterator<Item = &'k Kernel>, batch: i64, n_threads: usize) -> Division {
        let kernels: Vec<&Kernel> = kernels.collect();
        let divisible = Divisible::new(kernels.iter().copied(), batch);
        let useful = (divisible.work() / WORK_A_THREAD).clamp(1, n_threads as u64);
        let whole = divisible.tiles(u64::MAX);
        if useful == 1 {
            return Division { pieces: whole, n_threads: 1, is_for_team: false };
        }
        let cost: u64 = whole.iter().flatten().map(|piece| piece.cost).sum();
        let longest = |pieces: &Vec<Vec<Piece>>| {
            let costs = pieces.iter().map(|pieces| pieces.iter().map(|piece| (piece.cost, ())).collect());
            Phase::deal(costs.collect(), useful as usize).longest()
        };
        let pieces = match ALWAYS {
            true => divisible.rows(),
            false => {
                let divided = (1..=TILES_A_THREAD).map(|n| divisible.tiles(cost / (useful * n)));
                std::iter::once(whole).chain(divided).min_by_key(longest).expect("there is one")
            }
        };
        let is_uneven = longest(&pieces) as f64 * useful as f64 > UNEVEN * cost as f64;
        let are_few = pieces.iter().map(Vec::len).sum::<usize>() <= n_threads;
        let mut with_scratch = kernels.iter().filter(|kernel| !kernel.scratch.is_empty());
        let first = with_scratch.next();
        let are_alike = with_scratch.all(|kernel| first.is_some_and(|first| std::ptr::eq(*first, *kernel)));
        let is_for_team = are_few && are_alike && cost >= WORTH_A_TEAM && (is_uneven || ALWAYS);
        Division { pieces, n_threads: useful as usize, is_for_team }
    }

    /// The phase, or those that take its place. `kernels`: the launches'; `portioned`: of each of their ops, whether it can be had in
    /// portions.
    pub fn phases(&self, kernels: &[&Kernel], portioned: &[&[bool]], batch: i64) -> Vec<Phase<Job>> {
        let rows = |launch: usize| self.pieces[launch].first().map_or(0, |piece| piece.rows);
        let stages: Vec<Vec<Stage>> = kernels
            .iter()
            .zip(portioned)
            .enumerate()
            .map(|(launch, (kernel, portioned))| match self.is_for_team {
                true => stages(&costs_of_ops(kernel, rows(launch), batch), portioned),
                false => vec![Stage { ops: 0..kernel.ops.len(), cost: 0, in_portions: false }],
            })
            .collect();
        let n_stages = stages.iter().map(Vec::len).max().unwrap_or(0);
        (0..n_stages).map(|stage| self.phase(&stages, stage)).collect()
    }

    /// What is done of all launches at the same time.
    fn phase(&self, stages: &[Vec<Stage>], stage: usize) -> Phase<Job> {
        let mut n_tiles = 0;
        let all: usize = self.pieces.iter().map(Vec::len).sum();
        let mut of_launch = |launch: usize, pieces: &Vec<Piece>| -> Vec<(u64, Job)> {
            let has_team = stages[launch].len() > 1;
            let mut jobs = Vec::new();
            for piece in pieces {
                let team = has_team.then_some(n_tiles);
                n_tiles += 1;
                let Some(stage) = stages[launch].get(stage) else { continue };
                let parts =
                    if stage.in_portions { (self.n_threads * PORTIONS_A_THREAD).div_ceil(all) } else { 1 };
                let cost = if has_team { stage.cost } else { piece.cost };
                jobs.extend((0..parts as i64).map(|part| {
                    let (start, rows, ops, parts) =
                        (piece.start, piece.rows, stage.ops.clone(), parts as i64);
                    (cost / parts as u64, Job { launch, start, rows, ops, part, parts, team })
                }));
            }
            jobs
        };
        let jobs: Vec<Vec<(u64, Job)>> =
            self.pieces.iter().enumerate().map(|(launch, pieces)| of_launch(launch, pieces)).collect();
        let n_jobs = jobs.iter().map(Vec::len).sum::<usize>();
        Phase::deal(jobs, n_jobs.clamp(1, self.n_threads))
    }
}

/// Neighbouring ops that are done between two waits.
struct Stage {
    ops: Range<usize>,
    cost: u64,
    in_portions: bool,
}

/// Each large op that can be had in portions by itself, and what stands between.
fn stages(costs: &[u64], portioned: &[bool]) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for (op, (cost, is_portioned)) in costs.iter().zip(portioned).enumerate() {
        let in_portions = *is_portioned && *cost >= WORTH;
        match stages.last_mut().filter(|last| !last.in_portions && !in_portions) {
            Some(last) => {
                last.ops.end = op + 1;
                last.cost += cost;
            }
            None => stages.push(Stage { ops: op..op + 1, cost: *cost, in_portions }),
        }
    }
    stages
}

/// Of each kernel whether a team would do its tiles, at the plan's greatest batch.
pub fn for_teams(plan: &Plan, n_threads: usize) -> Vec<bool> {
    let mut found = vec![false; plan.kernels.len()];
    for phase in &plan.phases {
        let kernels = phase.iter().map(|launch| &plan.kernels[launch.kernel]);
        if Division::new(kernels, plan.max_batch, n_threads).is_for_team {
            phase.iter().for_each(|launch| found[launch.kernel] = true);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::samples::{product, softmax};
    use std::collections::BTreeMap;

    /// Every op of every tile is done once, whole or in all of its portions, and no op begins before those that stand before it are done.
    #[test]
    fn ops_of_a_tile_come_one_after_another() {
        let mut kernel = softmax(64, 4);
        kernel.ops.extend(product(64, 32, 4).ops);
        let n_ops = kernel.ops.len();
        for (batch, n_threads, portioned) in [
            (4, 2, vec![true; n_ops]),
            (8, 16, (0..n_ops).map(|op| op % 2 == 0).collect::<Vec<_>>()),
            (8, 16, vec![false; n_ops]),
            (40, 3, vec![true; n_ops]),
            (1, 1, vec![true; n_ops]),
        ] {
            let division = Division::new([&kernel].into_iter(), batch, n_threads);
            let phases = division.phases(&[&kernel], &[&portioned], batch);
            let mut done: BTreeMap<i64, usize> = BTreeMap::new();
            let (mut rows, mut scratch) = (0, BTreeMap::new());
            for phase in phases {
                let mut parts: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
                let mut end = BTreeMap::new();
                for job in phase.tiles() {
                    assert_eq!(job.ops.start, done.get(&job.start).copied().unwrap_or(0), "{job:?}");
                    assert!(job.parts == 1 || job.ops.len() == 1 && portioned[job.ops.start], "{job:?}");
                    assert_eq!(
                        *scratch.entry(job.start).or_insert(job.team),
                        job.team,
                        "a tile keeps its scratch"
                    );
                    assert!(job.team.is_none_or(|team| team < n_threads), "{job:?}");
                    parts.entry(job.start).or_default().push(job.part);
                    end.insert(job.start, (job.ops.end, job.parts, job.rows));
                }
                for (start, (end, n_parts, n_rows)) in end {
                    let mut parts = parts.remove(&start).unwrap();
                    parts.sort_unstable();
                    assert_eq!(
                        parts,
                        (0..n_parts).collect::<Vec<_>>(),
                        "portions of the tile from row {start}"
                    );
                    rows += if done.insert(start, end).is_none() { n_rows } else { 0 };
                }
            }
            assert_eq!(rows, batch);
            assert!(done.values().all(|end| *end == n_ops), "{done:?} of {n_ops}");
            let has_team = scratch.values().any(Option::is_some);
            assert_eq!(has_team, batch <= n_threads as i64 && n_threads > 1 && portioned.contains(&true));
        }
    }

    /// Kernels whose scratch is different would be in each other's.
    #[test]
    fn a_team_has_tiles_of_one_kernel_with_scratch() {
        let [one, two] = [product(64, 32, 4), product(32, 64, 4)];
        let with = |kernel: &Kernel| {
            let scratch = crate::nest::Scratch { dtype: crate::base::DType::F32, offset: 0, bytes: 64 };
            Kernel { scratch: vec![scratch], ..kernel.clone() }
        };
        let [one_with, two_with] = [with(&one), with(&two)];
        for (kernels, expected) in [
            ([&one, &two], true),
            ([&one_with, &two], true),
            ([&one_with, &one_with], true),
            ([&one_with, &two_with], false),
        ] {
            assert_eq!(Division::new(kernels.into_iter(), 2, 8).is_for_team, expected);
        }
    }
}
