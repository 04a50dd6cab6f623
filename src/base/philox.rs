//! Counter-based random numbers: Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3",
//! SC 2011).
//!
//! What enters: (seed, step, site, element number). What leaves: that element's number, the same whoever asks, in
//! whatever order. The seed is the key; the counter's words are the element's block (low, high), the site and the
//! step. A block of four words serves four elements in a row: each word one uniform number, each pair of words a
//! pair of normal ones. `block` says what the words are; `fill` makes many blocks side by side, lane by lane the same words.

use super::Distribution;
use super::normal::normals;

/// One block: four words that depend on counter and key alone.
pub fn block(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let mut x = counter;
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

/// Which stream of numbers: one `Random` of a graph in one step of one run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    pub seed: u64,
    /// Modulo 2^32.
    pub step: u64,
    pub site: u32,
    pub distribution: Distribution,
}

impl Stream {
    /// The numbers of elements `4 * index` to `4 * index + 3`.
    fn four(self, index: u64) -> [f32; 4] {
        let counter = [index as u32, (index >> 32) as u32, self.site, self.step as u32];
        let words = block(counter, [self.seed as u32, (self.seed >> 32) as u32]);
        match self.distribution {
            Distribution::Uniform => words.map(uniform),
            Distribution::Normal => {
                let [[a, b], [c, d]] = [normals(words[0], words[1]), normals(words[2], words[3])];
                [a, b, c, d]
            }
        }
    }

    /// The number of one element.
    pub fn at(self, element: u64) -> f32 {
        self.four(element / 4)[(element % 4) as usize]
    }

    /// The numbers of elements `first`, `first + 1`, … . Inlined, so that who calls it may be compiled for more of a CPU.
    #[inline(always)]
    pub fn fill(self, first: u64, out: &mut [f32]) {
        let mut element = first;
        let mut rest = out;
        while !rest.is_empty() {
            let skip = (element % 4) as usize;
            let n = rest.len().min(4 * MANY - skip);
            let (now, later) = rest.split_at_mut(n);
            if let Ok(now) = <&mut [f32; 4 * MANY]>::try_from(&mut *now) {
                self.many(element / 4, now);
            } else {
                let mut numbers = [0.0; 4 * MANY];
                self.many(element / 4, &mut numbers);
                now.copy_from_slice(&numbers[skip..skip + n]);
            }
            element += n as u64;
            rest = later;
        }
    }

    /// The numbers of `MANY` blocks.
    #[inline(always)]
    fn many(self, index: u64, out: &mut [f32; 4 * MANY]) {
        let words =
            blocks(index, [self.site, self.step as u32], [self.seed as u32, (self.seed >> 32) as u32]);
        match self.distribution {
            Distribution::Uniform => {
                for i in 0..MANY {
                    for word in 0..4 {
                        out[4 * i + word] = uniform(words[word][i]);
                    }
                }
            }
            Distribution::Normal => {
                let mut numbers = [[0.0; MANY]; 4];
                let [n0, n1, n2, n3] = &mut numbers;
                for i in 0..MANY {
                    [n0[i], n1[i]] = normals(words[0][i], words[1][i]);
                    [n2[i], n3[i]] = normals(words[2][i], words[3][i]);
                }
                for i in 0..MANY {
                    (0..4).for_each(|number| out[4 * i + number] = numbers[number][i]);
                }
            }
        }
    }
}

/// Blocks whose words are turned into numbers together.
const MANY: usize = 64;

/// The words of blocks `first`, `first + 1`, … . The loop is over blocks, with all of a block's rounds inside, so that its vectors stay
/// in registers: round by round, each would go through memory ten times. While rounds run, a word is the lower half of 64 bits, as
/// factors want it; the upper half is of no account.
#[inline(always)]
fn blocks(first: u64, [site, step]: [u32; 2], key: [u32; 2]) -> [[u32; MANY]; 4] {
    const LOW: u64 = 0xffff_ffff;
    let [mut k0, mut k1] = key;
    let keys: [[u64; 2]; 10] = std::array::from_fn(|_| {
        let keys = [u64::from(k0), u64::from(k1)];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
        keys
    });
    let mut words = [[0; MANY]; 4];
    let [w0, w1, w2, w3] = &mut words;
    for i in 0..MANY {
        let index = first.wrapping_add(i as u64);
        let mut x = [index, index >> 32, u64::from(site), u64::from(step)];
        for [k0, k1] in keys {
            let a = 0xD251_1F53 * (x[0] & LOW);
            let b = 0xCD9E_8D57 * (x[2] & LOW);
            x = [(b >> 32) ^ x[1] ^ k0, b, (a >> 32) ^ x[3] ^ k1, a];
        }
        [w0[i], w1[i], w2[i], w3[i]] = x.map(|word| word as u32);
    }
    words
}

/// `[0, 1)`, from the upper 24 bits.
fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 / 16_777_216.0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the reference implementation (Random123, `kat_vectors`).
    #[test]
    fn known_answers() {
        let cases = [
            ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
            ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
            (
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
                [0xa409_3822, 0x299f_31d0],
                [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
            ),
        ];
        for (counter, key, expected) in cases {
            assert_eq!(block(counter, key), expected);
        }
    }

    #[test]
    fn any_part_of_a_stream_is_what_it_is_element_by_element() {
        for distribution in [Distribution::Uniform, Distribution::Normal] {
            let stream = Stream { seed: u64::MAX - 9, step: 1 << 31, site: 5, distribution };
            // The last begins below a block whose number needs more than 32 bits.
            for base in [0, 1 << 20, (1 << 34) - 300] {
                let all: Vec<u32> = (base..base + 600).map(|i| stream.at(i).to_bits()).collect();
                for (skip, n) in
                    (0..9).flat_map(|skip| [0, 1, 3, 4, 17, 255, 256, 257, 511, 580].map(|n| (skip, n)))
                {
                    let mut out = vec![0.0; n];
                    stream.fill(base + skip as u64, &mut out);
                    let found: Vec<u32> = out.iter().map(|x| x.to_bits()).collect();
                    assert_eq!(found, all[skip..skip + n], "{base} {skip} {n}");
                }
            }
        }
    }

    #[test]
    fn streams_fill_as_they_are_read_and_have_their_moments() {
        for (distribution, mean, variance) in
            [(Distribution::Uniform, 0.5, 1.0 / 12.0), (Distribution::Normal, 0.0, 1.0)]
        {
            let stream = Stream { seed: 7, step: 3, site: 2, distribution };
            let mut out = vec![0.0; 20_001];
            stream.fill(3, &mut out);
            assert!((0..out.len()).all(|i| stream.at(3 + i as u64) == out[i]));
            let n = out.len() as f64;
            let found = out.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
            assert!((found - mean).abs() < 0.03, "mean {found}");
            let found = out.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
            assert!((found - variance).abs() < 0.05, "variance {found}");
            for other in
                [Stream { seed: 8, ..stream }, Stream { step: 4, ..stream }, Stream { site: 3, ..stream }]
            {
                assert_ne!(other.at(0), stream.at(0));
            }
        }
    }
}
