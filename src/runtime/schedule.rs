//! Who computes which tile of a phase.
//!
//! What enters: the tiles of each phase's launches with their costs. What leaves: each phase's tiles dealt to threads; and, while a
//! step runs, tiles to threads that ask. A launch of many tiles is dealt in runs of neighbours, so that the rows of a
//! weight that a thread updates are those that it reads, in this step and the next; single tiles go, the costliest first, to the
//! thread that has least to do. A thread takes its own share first, and then what others have not begun: a thread that the
//! system has put aside holds nobody up. Invariants: each tile is given out once a step; `is_done` is seen only after all that a phase's tiles wrote.
//! Not here: what a tile is.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One phase's tiles, by the thread that they are dealt to.
pub struct Phase<T> {
    shares: Vec<Share<T>>,
    n_tiles: usize,
    n_done: Counter,
}

struct Share<T> {
    cost: u64,
    tiles: Vec<T>,
    n_taken: Counter,
}

impl<T> Share<T> {
    fn add(&mut self, cost: u64, tile: T) {
        self.cost += cost;
        self.tiles.push(tile);
    }
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Counter(AtomicUsize);

impl<T> Phase<T> {
    /// Deals the tiles of launches to `n_threads` shares.
    pub fn deal(launches: Vec<Vec<(u64, T)>>, n_threads: usize) -> Phase<T> {
        let n = n_threads.max(1);
        let n_tiles = launches.iter().map(Vec::len).sum();
        let mut shares: Vec<Share<T>> =
            (0..n).map(|_| Share { cost: 0, tiles: Vec::new(), n_taken: Counter::default() }).collect();
        let (many, few): (Vec<_>, Vec<_>) = launches.into_iter().partition(|tiles| tiles.len() >= n);
        for tiles in many {
            let len = tiles.len();
            for (i, (cost, tile)) in tiles.into_iter().enumerate() {
                let thread = i * n / len;
                shares[thread].add(cost, tile);
            }
        }
        let mut single: Vec<(u64, T)> = few.into_iter().flatten().collect();
        single.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (cost, tile) in single {
            shares.iter_mut().min_by_key(|share| share.cost).expect("at least one share").add(cost, tile);
        }
        Phase { shares, n_tiles, n_done: Counter::default() }
    }

    /// What the thread that has most to do costs.
    pub fn longest(&self) -> u64 {
        self.shares.iter().map(|share| share.cost).max().unwrap_or(0)
    }

    pub fn n_threads(&self) -> usize {
        self.shares.len()
    }

    /// Before a step, while no thread is at it.
    pub fn reset(&mut self) {
        *self.n_done.0.get_mut() = 0;
        self.shares.iter_mut().for_each(|share| *share.n_taken.0.get_mut() = 0);
    }

    /// Runs `tile` on every tile that this thread gets hold of.
    pub fn take(&self, thread: usize, mut tile: impl FnMut(&T)) {
        let n = self.shares.len();
        for share in (0..n).map(|i| &self.shares[(thread + i) % n]) {
            // The check keeps counters from running away; taking a number decides.
            while share.n_taken.0.load(Ordering::Relaxed) < share.tiles.len() {
                let i = share.n_taken.0.fetch_add(1, Ordering::Relaxed);
                let Some(next) = share.tiles.get(i) else { break };
                tile(next);
                self.n_done.0.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Whether all tiles have run.
    pub fn is_done(&self) -> bool {
        self.n_done.0.load(Ordering::Acquire) == self.n_tiles
    }

    /// All tiles, for one thread.
    pub fn tiles(&self) -> impl Iterator<Item = &T> {
        self.shares.iter().flat_map(|share| &share.tiles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_given_out_once_a_step() {
        for (n_tiles, n_threads) in [(0, 1), (1, 4), (7, 2), (16, 3)] {
            let tiles = |parity| (0..n_tiles).filter(|i| i % 2 == parity).map(|i| (i * 37 % 11, i)).collect();
            let mut phase = Phase::deal(vec![tiles(0), tiles(1)], n_threads);
            for late in 0..n_threads {
                phase.reset();
                let mut seen = Vec::new();
                // One thread never comes.
                for thread in (0..n_threads).filter(|t| *t != late || n_threads == 1) {
                    phase.take(thread, |tile| seen.push(*tile));
                }
                assert!(phase.is_done());
                seen.sort_unstable();
                assert_eq!(seen, (0..n_tiles).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn neighbours_stay_together_and_single_tiles_even_out() {
        let launch = |costs: &[u64]| costs.iter().map(|cost| (*cost, *cost)).collect::<Vec<_>>();
        let phase = Phase::deal(vec![launch(&[3]), launch(&[10, 11, 12, 13, 4]), launch(&[9])], 2);
        let shares: Vec<&[u64]> = phase.shares.iter().map(|share| &share.tiles[..]).collect();
        assert_eq!(shares, [&[10, 11, 12][..], &[13, 4, 9, 3][..]]);
    }
}
