//! The tiles of a phase's launches.
//!
//! What enters: kernels, with the most rows that a tile may have (`tile.rs`), a batch, and what a tile should cost at most. What leaves:
//! the tiles of each launch: as long as they may be, or divided until they cost no more. Invariant: results do not depend on it,
//! for only such tiles are divided whose rows have nothing to do with each other. Not here: who computes them, and which cost
//! suits a number of threads (`runtime/executor.rs`).

use super::tile::{Cost, can_divide};
use crate::nest::Kernel;

/// Launches whose tiles can be made longer or shorter.
pub struct Shares<'a> {
    launches: Vec<(&'a Kernel, u64, Cost)>,
}

/// Some rows of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    pub start: i64,
    pub rows: i64,
    /// Floating-point operations, or what takes as long.
    pub cost: u64,
}

impl<'a> Shares<'a> {
    pub fn new(kernels: impl Iterator<Item = &'a Kernel>, batch: i64) -> Shares<'a> {
        let launch = |kernel: &'a Kernel| {
            let rows = kernel.n_rows(batch).expect("rows are over batch").max(0) as u64;
            (kernel, rows, Cost::new(&kernel.ops, rows, batch))
        };
        Shares { launches: kernels.map(launch).collect() }
    }

    /// Floating-point operations of all launches, or what takes as long; not what each tile is beside them.
    pub fn work(&self) -> u64 {
        self.launches.iter().map(|(_, _, cost)| cost.work()).sum()
    }

    /// Of each launch its tiles, which cost no more than this where they can be divided.
    pub fn of(&self, most: u64) -> Vec<Vec<Share>> {
        self.tiles(|kernel, rows, cost| {
            let tile = u64::from(kernel.tile);
            if cost.of_tile(tile.min(rows)) <= most {
                return tile;
            }
            let is_little = |n: &u64| cost.of_tile(cost.tile(*n)) <= most;
            let n = (rows.div_ceil(tile)..rows).find(is_little).unwrap_or(rows);
            cost.tile(n).min(tile)
        })
    }

    /// Of each launch its tiles, of a row each where they can be divided.
    pub fn of_a_row(&self) -> Vec<Vec<Share>> {
        self.tiles(|_, _, _| 1)
    }

    /// Tiles with so many rows where they can be divided.
    fn tiles(&self, divided: impl Fn(&Kernel, u64, &Cost) -> u64) -> Vec<Vec<Share>> {
        let of_launch = |(kernel, rows, cost): &(&Kernel, u64, Cost)| {
            let tile = match can_divide(&kernel.ops) {
                true => divided(kernel, *rows, cost),
                false => kernel.tile.into(),
            };
            let share = |start: u64| {
                let n = tile.min(rows - start);
                Share { start: start as i64, rows: n as i64, cost: cost.of_tile(n) }
            };
            (0..*rows).step_by(tile as usize).map(share).collect()
        };
        self.launches.iter().map(of_launch).collect()
    }
}
