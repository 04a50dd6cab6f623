//! Who computes which tile of a phase.
//!
//! What enters: the tiles of each phase with their costs. What leaves: each phase's tiles dealt to threads, the costliest first,
//! each to the thread that has least to do; and, while a step runs, tiles to threads that ask. A thread takes its own share first,
//! so that from step to step it finds its data in its caches, and then what others have not begun: a thread that the system
//! has put aside holds nobody up. Invariants: each tile is given out once a step; `is_done` is seen only after all that a phase's tiles wrote.
//! Not here: what a tile is.

use std::sync::atomic::{AtomicUsize, Ordering};

/// One phase's tiles, by the thread that they are dealt to.
pub struct Phase<T> {
    shares: Vec<Share<T>>,
    n_tiles: usize,
    n_done: Counter,
}

struct Share<T> {
    tiles: Vec<T>,
    n_taken: Counter,
}

/// On a cache line of its own.
#[derive(Default)]
#[repr(align(64))]
struct Counter(AtomicUsize);

impl<T: Copy> Phase<T> {
    /// Deals tiles to `n_threads` shares.
    pub fn deal(mut tiles: Vec<(u64, T)>, n_threads: usize) -> Phase<T> {
        tiles.sort_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        let n_tiles = tiles.len();
        let share = || Share { tiles: Vec::new(), n_taken: Counter::default() };
        let mut shares: Vec<Share<T>> = (0..n_threads.max(1)).map(|_| share()).collect();
        let mut load = vec![0u64; shares.len()];
        for (cost, tile) in tiles {
            let least = (0..load.len()).min_by_key(|t| load[*t]).expect("at least one share");
            load[least] += cost;
            shares[least].tiles.push(tile);
        }
        Phase { shares, n_tiles, n_done: Counter::default() }
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
            let mut phase = Phase::deal((0..n_tiles).map(|i| (i * 37 % 11, i)).collect(), n_threads);
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
    fn shares_are_even() {
        let phase = Phase::deal([5, 1, 1, 1, 1, 1].map(|cost| (cost, cost)).to_vec(), 2);
        let loads: Vec<u64> = phase.shares.iter().map(|share| share.tiles.iter().sum()).collect();
        assert_eq!(loads, [5, 5]);
    }
}
