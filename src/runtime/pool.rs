//! Threads for regions of microseconds.
//!
//! What enters: a job, once a step, and how many threads it is for. What leaves: the job done by each of them, the caller being
//! thread 0. Workers spin for a while after a job and then park, so that a training loop finds them awake and an idle program
//! costs nothing. Waiting spins briefly and then yields; with more threads than cores it yields at once. Invariants: no lock and
//! no allocation in `run` or `Barrier::wait`; a panic on any thread ends the job on all of them and goes on in the
//! caller, and the pool is as good as new. Not here: who does what.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a waiting thread looks before it lets others run, if each thread has a core.
const SPINS: u32 = 2_000;
/// How often an idle worker looks between two looks at the clock.
const IDLE_SPINS: u32 = 256;
/// How long a worker stays awake without a job.
const AWAKE: Duration = Duration::from_micros(200);

/// Waits until `ready`, spinning first.
fn wait_until(spins: u32, ready: impl Fn() -> bool) {
    let mut left = spins;
    while !ready() {
        if left > 0 {
            left -= 1;
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

type Job = *const (dyn Fn(usize, &Barrier) + Sync);

/// What one worker watches; on a cache line of its own.
#[repr(align(64))]
struct Mailbox {
    /// Counts the worker's jobs; a change is the signal to start.
    round: AtomicU64,
    is_parked: AtomicBool,
}

struct Shared {
    mailboxes: Vec<Mailbox>,
    /// The job of this round; read by workers between the signal and their count in `remaining`.
    job: UnsafeCell<Option<Job>>,
    /// Workers that are not done with the job.
    remaining: AtomicUsize,
    stop: AtomicBool,
    barrier: Barrier,
    /// What the first panic of a round carried; locked only when there is one.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// For `wait_until`.
    spins: u32,
}

// SAFETY: `job` is written by `run` alone, which is exclusive and waits until no worker is between signal and count; the
// signal orders the write before the workers' reads. All else is atomics and a mutex.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is to a `Sync` closure that outlives the round.
unsafe impl Send for Shared {}

pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Pool {
    /// `n_threads` counts the caller.
    pub fn new(n_threads: usize) -> Pool {
        let n_workers = n_threads.max(1) - 1;
        let n_cores = thread::available_parallelism().map_or(1, usize::from);
        let mailbox = |_| Mailbox { round: AtomicU64::new(0), is_parked: AtomicBool::new(false) };
        let spins = if n_threads > n_cores { 0 } else { SPINS };
        let shared = Arc::new(Shared {
            mailboxes: (0..n_workers).map(mailbox).collect(),
            job: UnsafeCell::new(None),
            remaining: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            barrier: Barrier::new(spins),
            panic: Mutex::new(None),
            spins,
        });
        let spawn = |i: usize| {
            let shared = shared.clone();
            thread::Builder::new().name(format!("gradc-{}", i + 1)).spawn(move || work(&shared, i)).ok()
        };
        // Fewer threads than asked for, if the system has no more: results are the same.
        let workers = (0..n_workers).map_while(spawn).collect();
        Pool { shared, workers }
    }

    pub fn n_threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `job(thread, barrier)` on the first `n_threads` threads and returns when all are done. The barrier is for those.
    ///
    /// # Panics
    /// If the job does, on any thread, once all threads have left it.
    pub fn run(&mut self, n_threads: usize, job: &(dyn Fn(usize, &Barrier) + Sync)) {
        let n_workers = n_threads.clamp(1, self.n_threads()) - 1;
        let shared = &*self.shared;
        shared.barrier.reset(n_workers + 1);
        // SAFETY: the lifetime is erased for the workers, who are done with the job before this function returns or unwinds.
        let erased: Job = unsafe {
            std::mem::transmute::<&(dyn Fn(usize, &Barrier) + Sync), &'static (dyn Fn(usize, &Barrier) + Sync)>(
                job,
            )
        };
        // SAFETY: no worker reads the job now: the last round was waited for, and `&mut self` excludes another.
        unsafe { *shared.job.get() = Some(erased) };
        shared.remaining.store(n_workers, Ordering::Relaxed);
        for (mailbox, worker) in shared.mailboxes.iter().zip(&self.workers).take(n_workers) {
            mailbox.round.fetch_add(1, Ordering::SeqCst);
            if mailbox.is_parked.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        // The job lives on the caller's stack: the workers are waited for, whatever happens.
        take_part(shared, job, 0);
        wait_until(shared.spins, || shared.remaining.load(Ordering::Acquire) == 0);
        if shared.barrier.is_broken() {
            let payload = shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
            resume_unwind(payload.expect("what broke the barrier was kept"));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        for (mailbox, worker) in self.shared.mailboxes.iter().zip(&self.workers) {
            mailbox.round.fetch_add(1, Ordering::SeqCst);
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            worker.join().expect("a worker catches its job's panics");
        }
    }
}

/// The payload with which threads leave a job that another thread has left by a panic.
struct Left;

/// One thread's part of the job; a panic breaks the barrier, so that nobody waits for this thread.
fn take_part(shared: &Shared, job: &(dyn Fn(usize, &Barrier) + Sync), thread: usize) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| job(thread, &shared.barrier))) else { return };
    if !payload.is::<Left>() {
        shared.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(payload);
        shared.barrier.broken.store(true, Ordering::SeqCst);
    }
}

fn work(shared: &Shared, i: usize) {
    let mut seen = 0;
    loop {
        await_round(shared, i, seen);
        seen = shared.mailboxes[i].round.load(Ordering::SeqCst);
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: the job was written before the signal that was just seen, and is not written again before this worker counts
        // down; `run` waits for that, so the closure lives.
        let job = unsafe { &*(*shared.job.get()).expect("a round has a job") };
        take_part(shared, job, i + 1);
        shared.remaining.fetch_sub(1, Ordering::Release);
    }
}

fn await_round(shared: &Shared, i: usize, seen: u64) {
    let mailbox = &shared.mailboxes[i];
    let next = || mailbox.round.load(Ordering::SeqCst) != seen;
    let since = Instant::now();
    while since.elapsed() < AWAKE {
        for _ in 0..shared.spins.clamp(1, IDLE_SPINS) {
            if next() {
                return;
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
    // The flag is set before the last look, and read after the signal is given: one of the two sees the other.
    mailbox.is_parked.store(true, Ordering::SeqCst);
    while !next() {
        thread::park();
    }
    mailbox.is_parked.store(false, Ordering::SeqCst);
}

/// All threads of a job meet here.
pub struct Barrier {
    n_threads: AtomicUsize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    /// A thread has left the job and will not come.
    broken: AtomicBool,
    spins: u32,
}

impl Barrier {
    fn new(spins: u32) -> Barrier {
        let zero = || AtomicUsize::new(0);
        let broken = AtomicBool::new(false);
        Barrier { n_threads: zero(), arrived: zero(), generation: zero(), broken, spins }
    }

    /// For a new job, while nobody waits; the signal to start makes it seen.
    fn reset(&self, n_threads: usize) {
        self.n_threads.store(n_threads, Ordering::Relaxed);
        self.arrived.store(0, Ordering::Relaxed);
        self.broken.store(false, Ordering::Relaxed);
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// Returns when all have come; what they wrote before is then seen by all. Unwinds, quietly, if one will not come.
    pub fn wait(&self) {
        let n_threads = self.n_threads.load(Ordering::Relaxed);
        if n_threads == 1 {
            return;
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == n_threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        let is_over = || self.generation.load(Ordering::Acquire) != generation;
        wait_until(self.spins, || is_over() || self.is_broken());
        if !is_over() {
            resume_unwind(Box::new(Left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each thread adds its number in each of 3 phases; a phase begins when the one before is done.
    fn sum(pool: &mut Pool, n_threads: usize) -> usize {
        let total = AtomicUsize::new(0);
        pool.run(n_threads, &|thread, barrier| {
            for phase in 1..=3 {
                total.fetch_add(thread + 1, Ordering::Relaxed);
                barrier.wait();
                assert_eq!(total.load(Ordering::Relaxed), phase * n_threads * (n_threads + 1) / 2);
                barrier.wait();
            }
        });
        total.into_inner()
    }

    #[test]
    fn jobs_of_any_number_of_threads() {
        for n_threads in [1, 2, 5] {
            let mut pool = Pool::new(n_threads);
            for n in (1..=n_threads).cycle().take(200) {
                assert_eq!(sum(&mut pool, n), 3 * n * (n + 1) / 2);
            }
        }
    }

    #[test]
    fn parked_workers_wake() {
        let mut pool = Pool::new(3);
        for _ in 0..3 {
            thread::sleep(AWAKE * 10);
            assert_eq!(sum(&mut pool, 3), 18);
        }
    }

    /// Many more threads than cores: slower, but not by the time that each would spin.
    #[test]
    fn threads_without_cores_get_on() {
        let mut pool = Pool::new(48);
        let since = Instant::now();
        for _ in 0..20 {
            sum(&mut pool, 48);
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    }

    #[test]
    fn a_panic_on_any_thread_reaches_the_caller() {
        let mut pool = Pool::new(4);
        for unlucky in 0..4 {
            for before_barrier in [true, false] {
                let job = |thread: usize, barrier: &Barrier| {
                    if !before_barrier {
                        barrier.wait();
                    }
                    if thread == unlucky {
                        resume_unwind(Box::new(thread));
                    }
                    barrier.wait();
                };
                let payload = catch_unwind(AssertUnwindSafe(|| pool.run(4, &job))).unwrap_err();
                assert_eq!(payload.downcast_ref(), Some(&unlucky));
                assert_eq!(sum(&mut pool, 4), 30);
            }
        }
    }
}
