//! What a launch did, counted: for claims about a kernel's cost that need no GPU.

use crate::math::lanes::WARP;
use std::collections::BTreeMap;

/// Counts of one launch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// By opcode (`fma`, `ld`, …).
    pub instructions: BTreeMap<String, Count>,
    pub global: GlobalTraffic,
    pub shared: SharedTraffic,
    /// Barriers of blocks that were passed.
    pub barriers: u64,
}

/// How often an opcode was executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// By a warp.
    pub warps: u64,
    /// By a lane.
    pub lanes: u64,
}

/// Traffic between warps and global memory, without any cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GlobalTraffic {
    pub bytes_read: u64,
    pub bytes_written: u64,
    /// Instructions of a warp.
    pub requests: u64,
    /// Sectors of 32 bytes that the requests touched; bytes / 32 of them would do.
    pub sectors: u64,
}

/// Traffic between warps and shared memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedTraffic {
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub requests: u64,
    /// Rounds beyond those that the size of the requests asks for: two words of one bank take two.
    pub bank_conflicts: u64,
}

impl Stats {
    /// Instructions of warps, of all kinds.
    pub fn warp_instructions(&self) -> u64 {
        self.instructions.values().map(|c| c.warps).sum()
    }

    /// Instructions of lanes, of all kinds.
    pub fn lane_instructions(&self) -> u64 {
        self.instructions.values().map(|c| c.lanes).sum()
    }
}

/// Sectors of 32 bytes that one request touches.
pub fn sectors(addresses: &[u64], bytes: u32) -> u64 {
    let mut touched = [0u64; 2 * WARP];
    let mut n = 0;
    for address in addresses {
        let (first, last) = (address / 32, (address + bytes as u64 - 1) / 32);
        for sector in [first, last] {
            if n == 0 || touched[n - 1] != sector {
                touched[n] = sector;
                n += 1;
            }
        }
    }
    let touched = &mut touched[..n];
    if touched.is_sorted() {
        // Neighbours are distinct already.
        return n as u64;
    }
    touched.sort_unstable();
    1 + touched.windows(2).filter(|w| w[0] != w[1]).count() as u64
}

/// Rounds that one request to shared memory takes beyond the least: 32 banks of 4 bytes, up to 128 bytes a round.
pub fn bank_conflicts(addresses: &[u64], bytes: u32) -> u64 {
    let words = (bytes / 4).max(1) as usize;
    let mut conflicts = 0;
    for group in addresses.chunks(WARP / words) {
        let mut touched = [0u64; WARP];
        let mut n = 0;
        for address in group {
            for word in 0..words as u64 {
                touched[n] = address / 4 + word;
                n += 1;
            }
        }
        let touched = &mut touched[..n];
        if !touched.is_sorted() {
            touched.sort_unstable();
        }
        let mut banks = [0u8; 32];
        for (i, word) in touched.iter().enumerate() {
            if i == 0 || touched[i - 1] != *word {
                banks[(word % 32) as usize] += 1;
            }
        }
        conflicts += banks.iter().copied().max().unwrap_or(0).saturating_sub(1) as u64;
    }
    conflicts
}

#[cfg(test)]
mod tests {
    use super::{bank_conflicts, sectors};

    #[test]
    fn requests_are_counted_in_sectors_and_rounds() {
        type Lane = fn(u64) -> u64;
        // name, address of a lane, bytes, sectors, conflicts.
        let cases: [(&str, Lane, u32, u64, u64); 8] = [
            ("neighbours", |i| i * 4, 4, 4, 0),
            ("one word for all", |_| 8, 4, 1, 0),
            ("every second", |i| i * 8, 4, 8, 1),
            ("a column of 32", |i| i * 128, 4, 32, 31),
            ("a column of 33", |i| i * 132, 4, 32, 0),
            ("vectors", |i| i * 16, 16, 16, 0),
            ("backwards", |i| (31 - i) * 4, 4, 4, 0),
            ("off by one word", |i| i * 4 + 4, 4, 5, 0),
        ];
        for (name, lane, bytes, n_sectors, conflicts) in cases {
            let addresses: Vec<u64> = (0..32).map(lane).collect();
            assert_eq!(sectors(&addresses, bytes), n_sectors, "{name}");
            assert_eq!(bank_conflicts(&addresses, bytes), conflicts, "{name}");
        }
    }
}
