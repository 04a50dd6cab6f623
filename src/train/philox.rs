//! Random numbers for the host: the Philox 4x32-10 stream under a key.
//!
//! Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). What enters: a 64-bit key. What
//! leaves: a stream that depends on nothing else, so shuffles and initial values are the same on every machine.

use crate::base::Distribution;
use crate::base::philox::{Stream, block};
use crate::codegen::cpu::fill;

pub struct Philox {
    key: [u32; 2],
    counter: u64,
    block: [u32; 4],
    used: usize,
}

impl Philox {
    pub fn new(key: u64) -> Philox {
        Philox { key: [key as u32, (key >> 32) as u32], counter: 0, block: [0; 4], used: 4 }
    }

    /// A stream of its own for each (seed, name), far from every other.
    pub fn keyed(seed: u64, name: &str) -> Philox {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let mut key = [0; 8];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Philox::new(u64::from_le_bytes(key))
    }

    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = block([self.counter as u32, (self.counter >> 32) as u32, 0, 0], self.key);
            self.counter += 1;
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// `[0, 1)`, 24 bits.
    pub fn uniform(&mut self) -> f32 {
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// What `uniform` would give so many times, many at once.
    pub fn uniforms(&mut self, out: &mut [f32]) {
        self.fill(Distribution::Uniform, out);
    }

    /// Mean 0, deviation 1; a word each, of which two make a pair. The first, begun in the middle of a pair, is made of a word that was used.
    pub fn normals(&mut self, out: &mut [f32]) {
        self.fill(Distribution::Normal, out);
    }

    /// So many of them.
    pub fn normal_vector(&mut self, n: usize) -> Vec<f64> {
        let mut numbers = vec![0.0; n];
        self.normals(&mut numbers);
        numbers.into_iter().map(f64::from).collect()
    }

    fn fill(&mut self, distribution: Distribution, out: &mut [f32]) {
        let seed = u64::from(self.key[0]) | u64::from(self.key[1]) << 32;
        let stream = Stream { seed, step: 0, site: 0, distribution };
        let first = 4 * self.counter + self.used as u64 - 4;
        fill(stream, first, out);
        let next = first + out.len() as u64;
        (self.counter, self.used) = (next / 4, 4);
        (0..next % 4).for_each(|_| {
            self.next_u32();
        });
    }

    /// Uniform in `0..n` without bias (Lemire 2019, arXiv 1805.10941, on 64 bits); `n` is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        loop {
            let random = u64::from(self.next_u32()) << 32 | u64::from(self.next_u32());
            let product = u128::from(random) * u128::from(n);
            // The rest, which is less than n, is worked out where it matters: hardly ever.
            let low = product as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_numbers_are_those_that_come_one_by_one() {
        for (skip, n) in (0..6).flat_map(|skip| [0, 1, 3, 4, 5, 255, 257, 1030].map(|n| (skip, n))) {
            let [mut one_by_one, mut at_once] = [0, 1].map(|_| Philox::keyed(u64::MAX, "test"));
            (0..skip).for_each(|_| assert_eq!(one_by_one.next_u32(), at_once.next_u32()));
            let wanted: Vec<u32> = (0..n).map(|_| one_by_one.uniform().to_bits()).collect();
            let mut found = vec![0.0; n];
            at_once.uniforms(&mut found);
            assert_eq!(found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), wanted, "{skip} {n}");
            assert_eq!(one_by_one.next_u32(), at_once.next_u32(), "{skip} {n}");
            let from = skip as u64 + n as u64 + 1;
            let seed = u64::from(at_once.key[0]) | u64::from(at_once.key[1]) << 32;
            let stream = Stream { seed, step: 0, site: 0, distribution: Distribution::Normal };
            let wanted: Vec<f64> = (0..n as u64).map(|i| f64::from(stream.at(from + i))).collect();
            assert_eq!(at_once.normal_vector(n), wanted, "{skip} {n}");
            (0..n).for_each(|_| {
                one_by_one.next_u32();
            });
            assert_eq!(one_by_one.next_u32(), at_once.next_u32(), "{skip} {n}");
        }
    }

    #[test]
    fn numbers_have_the_right_moments() {
        let mut random = Philox::keyed(7, "test");
        let n = 20_000;
        let normals = random.normal_vector(n as usize);
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05, "{mean} {variance}");
        let uniform = (0..n).map(|_| f64::from(random.uniform())).sum::<f64>() / f64::from(n);
        assert!((uniform - 0.5).abs() < 0.01, "{uniform}");
        let mut seen = [0; 7];
        (0..n).for_each(|_| seen[random.below(7) as usize] += 1);
        assert!(seen.iter().all(|c| (2600..3100).contains(c)), "{seen:?}");
    }
}
