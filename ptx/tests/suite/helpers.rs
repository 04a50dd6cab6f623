//! Golden modules, random numbers, and a comparison that says which element is wrong.

use gradc_ptx::{Arg, Memory, Module, Size, Stats};

/// Sizes at which kernels go wrong: one, primes, just below and above what a warp, a block or a tile takes.
pub const SIZES: [usize; 9] = [1, 2, 31, 33, 64, 127, 257, 1000, 4099];

pub fn golden(name: &str) -> Module {
    let path = format!("{}/tests/golden/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    Module::parse(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// A source compiled for sm_80 and for sm_90.
pub fn golden_of_both(name: &str) -> [Module; 2] {
    ["sm_80", "sm_90"].map(|arch| golden(&format!("{name}.{arch}")))
}

/// Numbers in [-1, 1), the same for the same seed (xorshift64*: Marsaglia, "Xorshift RNGs", 2003).
pub fn random(seed: u64, n: usize) -> Vec<f32> {
    integers(seed, n).iter().map(|bits| (bits >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
}

pub fn integers(seed: u64, n: usize) -> Vec<u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    (0..n).map(step).collect()
}

/// Launches, and prints the fault if there is one.
#[track_caller]
pub fn run(
    module: &Module,
    kernel: &str,
    grid: impl Size,
    block: impl Size,
    args: &[Arg],
    memory: &mut Memory,
) -> Stats {
    match module.launch(kernel, grid, block, 0, args, memory) {
        Ok(stats) => stats,
        Err(fault) => panic!("{fault}"),
    }
}

/// Each element within `relative` of its own size, plus `absolute`.
#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f64], relative: f64, absolute: f64, what: &str) {
    assert_eq!(actual.len(), expected.len(), "{what}");
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let off = (*a as f64 - e).abs();
        let allowed = relative * e.abs() + absolute;
        assert!(
            off <= allowed || *a as f64 == *e,
            "{what}: element {i} is {a}, expected {e}, off by {off:e}"
        );
    }
}

pub fn pointers(addresses: &[u64]) -> Vec<Arg> {
    addresses.iter().map(|address| Arg::Pointer(*address)).collect()
}
