//! What this machine can do at most: floating-point operations and bytes a second, measured by short loops.
//!
//! What enters: a number of threads, a number of bytes. What leaves: operations a second of fused multiply-adds on as many
//! independent chains as hide their latency, with the widest vectors that `codegen::cpu::products` uses too; bytes a second of
//! reading two arrays and writing a third (McCalpin's STREAM add) that are together so large. The best of a few rounds: other
//! programs can only make them slower. Invariant: nothing is left behind; a tenth of a second or so.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How long a round takes, and how many there are.
const ROUND: Duration = Duration::from_millis(8);
const N_ROUNDS: usize = 6;

/// The best of some rounds, in which all threads begin together: units a second, where `work(thread)` does some and says how many.
fn rate(n_threads: usize, work: &(dyn Fn(usize) -> u64 + Sync)) -> f64 {
    let mut best: f64 = 0.0;
    for _ in 0..N_ROUNDS {
        let together = Barrier::new(n_threads);
        let of_thread = |thread: usize| {
            together.wait();
            let begun = Instant::now();
            let mut done = 0;
            while begun.elapsed() < ROUND {
                done += work(thread);
            }
            done as f64 / begun.elapsed().as_secs_f64()
        };
        let of_thread = &of_thread;
        let total = std::thread::scope(|scope| {
            let others: Vec<_> = (1..n_threads).map(|t| scope.spawn(move || of_thread(t))).collect();
            let own = of_thread(0);
            others.into_iter().map(|other| other.join().expect("a loop over numbers")).sum::<f64>() + own
        });
        best = best.max(total);
    }
    best
}

/// Floating-point operations a second of `n_threads` threads; a multiply-add counts 2.
pub fn flops_per_second(n_threads: usize) -> f64 {
    rate(n_threads.max(1), &|_| multiply_adds())
}

/// Bytes a second that `n_threads` threads read and write, of `bytes` bytes.
pub fn bytes_per_second(n_threads: usize, bytes: u64) -> f64 {
    let n_threads = n_threads.max(1);
    let n = (bytes as usize / 4 / 3 / n_threads).max(1024);
    let arrays: Vec<_> = (0..n_threads)
        .map(|_| std::sync::Mutex::new([vec![1f32; n], vec![2f32; n], vec![3f32; n]]))
        .collect();
    rate(n_threads, &|thread| {
        let mut arrays = arrays[thread].lock().unwrap_or_else(|e| e.into_inner());
        let [a, b, c] = &mut *arrays;
        for ((c, a), b) in c.iter_mut().zip(a.iter()).zip(b.iter()) {
            *c = *a + *b;
        }
        black_box(&mut arrays[2]);
        12 * n as u64
    })
}

/// Multiply-adds of one call, each on all lanes of as many registers as there are.
const TURNS: u64 = 4096;
const CHAINS: usize = 12;

fn multiply_adds() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has what the function is compiled for.
            return unsafe { x86::avx512() };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: as above.
            return unsafe { x86::avx2() };
        }
    }
    portable()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{CHAINS, TURNS, black_box};
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f")]
    pub fn avx512() -> u64 {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut chains = [b; CHAINS];
        for _ in 0..TURNS {
            chains.iter_mut().for_each(|c| *c = _mm512_fmadd_ps(*c, a, b));
        }
        black_box(chains);
        TURNS * CHAINS as u64 * 32
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2() -> u64 {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut chains = [b; CHAINS];
        for _ in 0..TURNS {
            chains.iter_mut().for_each(|c| *c = _mm256_fmadd_ps(*c, a, b));
        }
        black_box(chains);
        TURNS * CHAINS as u64 * 16
    }
}

/// A product and a sum, where nothing is known of the CPU's vectors.
fn portable() -> u64 {
    const LANES: usize = 4;
    let (a, b) = (black_box(0.999f32), black_box(0.001f32));
    let mut chains = [[b; LANES]; CHAINS];
    for _ in 0..TURNS {
        chains.iter_mut().flatten().for_each(|c| *c = *c * a + b);
    }
    black_box(chains);
    TURNS * (CHAINS * LANES * 2) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_does_something() {
        // Any machine that runs these tests does more, and none a thousand times as much.
        let (flops, bytes) = (flops_per_second(1), bytes_per_second(1, 1 << 20));
        assert!((1e8..1e13).contains(&flops), "{flops}");
        assert!((1e7..1e13).contains(&bytes), "{bytes}");
    }
}
