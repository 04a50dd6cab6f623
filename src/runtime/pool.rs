//! Threads for regions of microseconds.
//!
//! What enters: a job, once a step. What leaves: the job done by every thread, the caller being thread 0. Workers spin for a
//! while after a job and then park, so that a training loop finds them awake and an idle program costs nothing. Waiting spins
//! briefly and then yields, so that more threads than cores still get on. Invariant: no lock and no allocation in `run`
//! or `Barrier::wait`. Not here: who does what.

use std::cell::UnsafeCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How often a waiting thread looks before it lets others run.
const SPINS: u32 = 2_000;
/// How long a worker stays awake without a job.
const AWAKE: Duration = Duration::from_micros(200);

/// Waits until `ready`, spinning first.
fn wait_until(ready: impl Fn() -> bool) {
    let mut spins = 0;
    while !ready() {
        if spins < SPINS {
            spins += 1;
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

type Job = *const (dyn Fn(usize) + Sync);

struct Shared {
    /// Counts jobs; a change is the signal to start.
    round: AtomicU64,
    /// The job of this round; read by workers between the signal and their count in `remaining`.
    job: UnsafeCell<Option<Job>>,
    remaining: AtomicUsize,
    stop: AtomicBool,
    parked: Vec<AtomicBool>,
}

// SAFETY: `job` is written by `run` alone, while no worker is between signal and count, and the signal orders
// the write before the workers' reads.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure that outlives the round.
unsafe impl Send for Shared {}

pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<(Thread, JoinHandle<()>)>,
}

impl Pool {
    /// `n_threads` counts the caller.
    pub fn new(n_threads: usize) -> Pool {
        let n_workers = n_threads.max(1) - 1;
        let shared = Arc::new(Shared {
            round: AtomicU64::new(0),
            job: UnsafeCell::new(None),
            remaining: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            parked: (0..n_workers).map(|_| AtomicBool::new(false)).collect(),
        });
        let spawn = |i: usize| {
            let shared = shared.clone();
            let handle =
                thread::Builder::new().name(format!("gradc-{}", i + 1)).spawn(move || work(&shared, i));
            handle.ok().map(|handle| (handle.thread().clone(), handle))
        };
        // Fewer threads than asked for, if the system has no more: results are the same.
        let workers = (0..n_workers).map_while(spawn).collect();
        Pool { shared, workers }
    }

    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job(thread)` on every thread and returns when all are done.
    pub fn run(&self, job: &(dyn Fn(usize) + Sync)) {
        if self.workers.is_empty() {
            return job(0);
        }
        let shared = &*self.shared;
        // SAFETY: the lifetime is erased for the workers, who are done with the job before this function returns.
        let erased: Job =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(job) };
        // SAFETY: no worker reads the job now: the last round was waited for.
        unsafe { *shared.job.get() = Some(erased) };
        shared.remaining.store(self.workers.len(), Ordering::Relaxed);
        shared.round.fetch_add(1, Ordering::SeqCst);
        for (i, (thread, _)) in self.workers.iter().enumerate() {
            if shared.parked[i].load(Ordering::SeqCst) {
                thread.unpark();
            }
        }
        // If the caller's part panics, the workers must still be waited for: the job lives on this stack.
        let finish = Finish(shared);
        job(0);
        drop(finish);
    }
}

/// Waits for the workers, also while unwinding.
struct Finish<'a>(&'a Shared);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        wait_until(|| self.0.remaining.load(Ordering::Acquire) == 0);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.round.fetch_add(1, Ordering::SeqCst);
        for (thread, handle) in self.workers.drain(..) {
            thread.unpark();
            // A worker that panicked has said so already.
            let _ = handle.join();
        }
    }
}

fn work(shared: &Shared, i: usize) {
    let mut seen = 0;
    loop {
        await_round(shared, i, seen);
        seen = shared.round.load(Ordering::SeqCst);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: written before the signal that was just seen, and not again before this worker counts down.
        let job = unsafe { (*shared.job.get()).expect("a round has a job") };
        // SAFETY: `run` waits for `remaining`, so the closure lives.
        unsafe { (*job)(i + 1) };
        shared.remaining.fetch_sub(1, Ordering::Release);
    }
}

fn await_round(shared: &Shared, i: usize, seen: u64) {
    let next = || shared.round.load(Ordering::SeqCst) != seen;
    let since = Instant::now();
    while since.elapsed() < AWAKE {
        for _ in 0..256 {
            if next() {
                return;
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
    // The flag is set before the last look, and read after the signal is given: one of the two sees the other.
    shared.parked[i].store(true, Ordering::SeqCst);
    while !next() {
        thread::park();
    }
    shared.parked[i].store(false, Ordering::SeqCst);
}

/// All threads of a job meet here.
pub struct Barrier {
    n_threads: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
}

impl Barrier {
    pub fn new(n_threads: usize) -> Barrier {
        Barrier { n_threads, arrived: AtomicUsize::new(0), generation: AtomicUsize::new(0) }
    }

    /// Returns when all have come; what they wrote before is then seen by all.
    pub fn wait(&self) {
        if self.n_threads == 1 {
            return;
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.n_threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
        } else {
            wait_until(|| self.generation.load(Ordering::Acquire) != generation);
        }
    }
}
