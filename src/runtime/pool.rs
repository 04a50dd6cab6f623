//! Threads for regions of microseconds.
//!
//! What enters: a job, once a step, and how many threads it is for. What leaves: the job done, by the caller (thread 0) and by
//! those workers that were awake in time: a worker that has not begun when the caller is done is not waited for, so the job must be
//! one that any of its threads can finish alone. Workers spin for a while after a job and then park, so that a training loop
//! finds them awake and an idle program costs nothing. Waiting spins briefly and then yields; with more threads than
//! cores it yields at once. Invariants: no lock and no allocation in `run` or `Together::wait`; a panic on any thread ends the job on
//! all of them and goes on in the caller, and the pool is as good as new. Not here: who does what.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How often a waiting thread looks before it lets others run, if each thread has a core.
const SPINS: u32 = 500;
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

type Job = *const (dyn Fn(usize, &Together) + Sync);

/// Nothing to do.
const IDLE: u8 = 0;
/// There is a job, which the caller may still take back.
const CALLED: u8 = 1;
/// The worker is at the job, and must be waited for.
const AT_WORK: u8 = 2;
/// The pool is being dropped.
const STOPPED: u8 = 3;

/// What one worker watches; on a cache line of its own.
#[repr(align(64))]
struct Mailbox {
    state: AtomicU8,
    is_parked: AtomicBool,
}

struct Shared {
    mailboxes: Vec<Mailbox>,
    /// The job of this round; read by workers that went from `CALLED` to `AT_WORK`.
    job: UnsafeCell<Option<Job>>,
    together: Together,
    /// What the first panic of a round carried; locked only when there is one.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written by `run` alone, which is exclusive and leaves no worker called or at work behind; the change to
// `CALLED` orders the write before the workers' reads. All else is atomics and a mutex.
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
        let mailbox = |_| Mailbox { state: AtomicU8::new(IDLE), is_parked: AtomicBool::new(false) };
        let spins = if n_threads > n_cores { 0 } else { SPINS };
        let shared = Arc::new(Shared {
            mailboxes: (0..n_workers).map(mailbox).collect(),
            job: UnsafeCell::new(None),
            together: Together { broken: AtomicBool::new(false), spins },
            panic: Mutex::new(None),
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

    /// Runs `job(thread, together)` on the caller and on those of the first `n_threads` threads that come in time, and returns
    /// when all that came are done.
    ///
    /// # Panics
    /// If the job does, on any thread, once all threads have left it.
    pub fn run(&mut self, n_threads: usize, job: &(dyn Fn(usize, &Together) + Sync)) {
        let n_workers = n_threads.clamp(1, self.n_threads()) - 1;
        let shared = &*self.shared;
        shared.together.broken.store(false, Ordering::Relaxed);
        // SAFETY: the lifetime is erased for the workers, who are done with the job before this function returns or unwinds.
        let erased: Job = unsafe {
            std::mem::transmute::<
                &(dyn Fn(usize, &Together) + Sync),
                &'static (dyn Fn(usize, &Together) + Sync),
            >(job)
        };
        // SAFETY: no worker reads the job now: the last round left all of them idle, and `&mut self` excludes another.
        unsafe { *shared.job.get() = Some(erased) };
        for (mailbox, worker) in shared.mailboxes.iter().zip(&self.workers).take(n_workers) {
            mailbox.state.store(CALLED, Ordering::SeqCst);
            if mailbox.is_parked.load(Ordering::SeqCst) {
                worker.thread().unpark();
            }
        }
        // The job lives on the caller's stack: no worker is at it when this function is left, whatever happens.
        take_part(shared, job, 0);
        for mailbox in &shared.mailboxes[..n_workers] {
            let taken_back =
                mailbox.state.compare_exchange(CALLED, IDLE, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            if !taken_back {
                let is_idle = || mailbox.state.load(Ordering::SeqCst) == IDLE;
                wait_until(shared.together.spins, is_idle);
            }
        }
        if shared.together.is_broken() {
            let payload = shared.panic.lock().unwrap_or_else(|e| e.into_inner()).take();
            resume_unwind(payload.expect("what broke the job was kept"));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for (mailbox, worker) in self.shared.mailboxes.iter().zip(&self.workers) {
            mailbox.state.store(STOPPED, Ordering::SeqCst);
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            worker.join().expect("a worker catches its job's panics");
        }
    }
}

/// The payload with which threads leave a job that another thread has left by a panic.
struct Left;

/// One thread's part of the job; after a panic nobody waits any more.
fn take_part(shared: &Shared, job: &(dyn Fn(usize, &Together) + Sync), thread: usize) {
    let Err(payload) = catch_unwind(AssertUnwindSafe(|| job(thread, &shared.together))) else { return };
    if !payload.is::<Left>() {
        shared.panic.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(payload);
        shared.together.broken.store(true, Ordering::SeqCst);
    }
}

fn work(shared: &Shared, i: usize) {
    let mailbox = &shared.mailboxes[i];
    loop {
        await_call(shared, mailbox);
        match mailbox.state.compare_exchange(CALLED, AT_WORK, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => {}
            Err(STOPPED) => return,
            // Taken back meanwhile.
            Err(_) => continue,
        }
        // SAFETY: the job was written before the call that was just answered, and is not written again before this worker is
        // idle; `run` waits for that, so the closure lives.
        let job = unsafe { &*(*shared.job.get()).expect("a call has a job") };
        take_part(shared, job, i + 1);
        mailbox.state.store(IDLE, Ordering::SeqCst);
    }
}

fn await_call(shared: &Shared, mailbox: &Mailbox) {
    let is_called = || mailbox.state.load(Ordering::SeqCst) != IDLE;
    let since = Instant::now();
    while since.elapsed() < AWAKE {
        for _ in 0..shared.together.spins.clamp(1, IDLE_SPINS) {
            if is_called() {
                return;
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
    // The flag is set before the last look, and read after the call: one of the two sees the other.
    mailbox.is_parked.store(true, Ordering::SeqCst);
    while !is_called() {
        thread::park();
    }
    mailbox.is_parked.store(false, Ordering::SeqCst);
}

/// How the threads of a job wait for each other.
pub struct Together {
    /// A thread has left the job by a panic; what others wait for may not come.
    broken: AtomicBool,
    spins: u32,
}

impl Together {
    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// Returns when `ready`; `ready` orders memory itself. Unwinds, quietly, if another thread has panicked.
    pub fn wait(&self, ready: impl Fn() -> bool) {
        wait_until(self.spins, || ready() || self.is_broken());
        if self.is_broken() {
            resume_unwind(Box::new(Left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    /// Takes numbers in three phases, each beginning when the one before is done; the sum, and who took numbers.
    fn sum(pool: &mut Pool, n_threads: usize) -> (usize, usize) {
        const N: usize = 40;
        let count = || [const { AtomicUsize::new(0) }; 3];
        let (next, done, total, came) = (count(), count(), AtomicUsize::new(0), AtomicUsize::new(0));
        pool.run(n_threads, &|thread, together| {
            came.fetch_or(1 << thread, Ordering::Relaxed);
            for phase in 0..3 {
                loop {
                    let i = next[phase].fetch_add(1, Ordering::Relaxed);
                    if i >= N {
                        break;
                    }
                    assert!(phase == 0 || done[phase - 1].load(Ordering::Acquire) == N);
                    total.fetch_add(i, Ordering::Relaxed);
                    done[phase].fetch_add(1, Ordering::Release);
                }
                together.wait(|| done[phase].load(Ordering::Acquire) == N);
            }
        });
        (total.into_inner(), came.into_inner())
    }

    const SUM: usize = 3 * 40 * 39 / 2;

    #[test]
    fn jobs_of_any_number_of_threads() {
        for n_threads in [1, 2, 5] {
            let mut pool = Pool::new(n_threads);
            for n in (1..=n_threads).cycle().take(200) {
                let (total, came) = sum(&mut pool, n);
                assert_eq!(total, SUM);
                assert!(came & 1 == 1 && came < 1 << n, "{came:b} of {n}");
            }
        }
    }

    /// A worker that is called for long enough comes, also from sleep.
    #[test]
    fn parked_workers_wake() {
        let mut pool = Pool::new(3);
        for _ in 0..3 {
            thread::sleep(AWAKE * 10);
            let came = AtomicUsize::new(0);
            pool.run(3, &|_, together| {
                came.fetch_add(1, Ordering::SeqCst);
                together.wait(|| came.load(Ordering::SeqCst) == 3);
            });
            assert_eq!(came.into_inner(), 3);
        }
    }

    /// Many more threads than cores: slower, but not by the time that each would spin.
    #[test]
    fn threads_without_cores_get_on() {
        let mut pool = Pool::new(48);
        let since = Instant::now();
        for _ in 0..20 {
            assert_eq!(sum(&mut pool, 48).0, SUM);
        }
        assert!(since.elapsed() < Duration::from_secs(20), "{:?}", since.elapsed());
    }

    #[test]
    fn a_panic_on_any_thread_reaches_the_caller() {
        let mut pool = Pool::new(4);
        for unlucky in 0..4 {
            for all_came in [true, false] {
                let came = AtomicUsize::new(0);
                let job = |thread: usize, together: &Together| {
                    came.fetch_add(1, Ordering::SeqCst);
                    if all_came || thread == 0 {
                        together.wait(|| came.load(Ordering::SeqCst) == 4);
                    }
                    if thread == unlucky {
                        resume_unwind(Box::new(thread));
                    }
                    together.wait(|| false);
                };
                let payload = catch_unwind(AssertUnwindSafe(|| pool.run(4, &job))).unwrap_err();
                assert_eq!(payload.downcast_ref(), Some(&unlucky));
                assert_eq!(sum(&mut pool, 4).0, SUM);
            }
        }
    }
}
