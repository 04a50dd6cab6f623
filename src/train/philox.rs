//! Random numbers for the host: the Philox 4x32-10 stream under a key.
//!
//! Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). What enters: a 64-bit key. What
//! leaves: a stream that depends on nothing else, so shuffles and initial values are the same on every machine.

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
            self.block = block(self.counter, self.key);
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

    /// `(0, 1]`, 32 bits: safe under a logarithm.
    fn open(&mut self) -> f64 {
        (f64::from(self.next_u32()) + 1.0) / 4_294_967_296.0
    }

    /// Mean 0, deviation 1 (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.open().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.open()).cos()
    }

    /// Uniform in `0..n` without bias (Lemire 2019, arXiv 1805.10941, on 64 bits); `n` is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        let threshold = n.wrapping_neg() % n;
        loop {
            let random = u64::from(self.next_u32()) << 32 | u64::from(self.next_u32());
            let product = u128::from(random) * u128::from(n);
            if product as u64 >= threshold {
                return (product >> 64) as u64;
            }
        }
    }
}

fn block(counter: u64, key: [u32; 2]) -> [u32; 4] {
    let mut x = [counter as u32, (counter >> 32) as u32, 0, 0];
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let a = 0xD251_1F53_u64 * u64::from(x[0]);
        let b = 0xCD9E_8D57_u64 * u64::from(x[2]);
        x = [(b >> 32) as u32 ^ x[1] ^ k0, b as u32, (a >> 32) as u32 ^ x[3] ^ k1, a as u32];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's known answer for zeros (Random123, `kat_vectors`).
    #[test]
    fn known_answer() {
        assert_eq!(block(0, [0, 0]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
    }

    #[test]
    fn numbers_have_the_right_moments() {
        let mut random = Philox::keyed(7, "test");
        let n = 20_000;
        let normals: Vec<f64> = (0..n).map(|_| random.normal()).collect();
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
