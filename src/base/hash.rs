//! A hash that is fast on short keys: the compiler's tables are not open to whoever would want keys to collide.
//!
//! What enters: words. What leaves: a word. Each is mixed in by a rotation, an exclusive or and a product with a constant whose
//! bits are as good as random (Fowler's multiplicative hashing; the constant is 2^64 divided by the golden ratio, made odd:
//! Knuth, The Art of Computer Programming 3, section 6.4). Invariant: equal keys have equal hashes in every run.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

/// A `HashMap` with that hash.
pub type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<Mixer>>;
/// A `HashSet` with that hash.
pub type FastSet<K> = HashSet<K, BuildHasherDefault<Mixer>>;

#[derive(Default)]
pub struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        // The table takes its place from the low bits, and a product's good ones are the high ones.
        self.0.rotate_left(26)
    }

    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.mix(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.mix(u64::from(*byte)));
    }

    fn write_u8(&mut self, value: u8) {
        self.mix(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.mix(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.mix(value);
    }

    fn write_usize(&mut self, value: usize) {
        self.mix(value as u64);
    }

    fn write_i64(&mut self, value: i64) {
        self.mix(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::{BuildHasher, Hash};

    #[test]
    fn keys_that_differ_little_spread() {
        let hash = |key: &dyn Fn(&mut Mixer)| {
            let mut mixer = BuildHasherDefault::<Mixer>::default().build_hasher();
            key(&mut mixer);
            mixer.finish()
        };
        let low: HashSet<u64> = (0..1000u32).map(|i| hash(&|m| vec![i, i + 1].hash(m)) % 4096).collect();
        let high: HashSet<u64> = (0..1000u64).map(|i| hash(&|m| i.hash(m)) >> 57).collect();
        assert!(low.len() > 700 && high.len() > 100, "{} and {}", low.len(), high.len());
        assert_eq!(hash(&|m| "ab".hash(m)), hash(&|m| "ab".hash(m)));
        assert_ne!(hash(&|m| "ab".hash(m)), hash(&|m| "ba".hash(m)));
    }
}
