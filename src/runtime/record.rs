//! What each thread did in some steps, tile by tile and op by op: the raw matter of a profile.
//!
//! What enters: a program compiled to tick, how many steps to keep. What leaves: the steps' begins and ends, and each
//! thread's marks (`codegen::cpu::ticks`), all in nanoseconds from one origin. Invariant: room for all marks is taken before
//! the first of the steps, so a recorded step allocates nothing. A lock is taken once a step by each thread, for its own
//! list, which nobody else wants. Not here: what the numbers say of a model.

use crate::codegen::cpu::ticks::{Listening, Mark, Marks};
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

/// One recorded step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    pub begin: u64,
    pub end: u64,
    pub batch: i64,
}

/// Recorded steps; see the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    pub steps: Vec<Step>,
    /// By thread, in order of time.
    pub threads: Vec<Vec<Mark>>,
}

pub struct Recorder {
    origin: Instant,
    steps: Vec<Step>,
    n_steps: usize,
    threads: Vec<Mutex<Marks>>,
}

impl Recorder {
    /// Room for `n_steps` steps of up to `marks_a_step` marks.
    pub fn new(n_threads: usize, n_steps: usize, marks_a_step: usize) -> Recorder {
        let origin = Instant::now();
        let marks = |_| Mutex::new(Marks::new(origin, n_steps * marks_a_step));
        let threads = (0..n_threads).map(marks).collect();
        Recorder { origin, steps: Vec::with_capacity(n_steps), n_steps, threads }
    }

    pub fn is_full(&self) -> bool {
        self.steps.len() == self.n_steps
    }

    pub fn now(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }

    pub fn step(&mut self, begin: u64, batch: i64) {
        self.steps.push(Step { begin, end: self.now(), batch });
    }

    /// A thread's list, for as long as it is at a step.
    pub fn marks(&self, thread: usize) -> MutexGuard<'_, Marks> {
        self.threads[thread].lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn recording(&self) -> Recording {
        let threads = (0..self.threads.len()).map(|thread| self.marks(thread).all().to_vec()).collect();
        Recording { steps: self.steps.clone(), threads }
    }
}

/// Has this thread's marks go into the recorder's list, if there is a recorder, while `work` runs.
pub fn listening<T>(recorder: Option<&Recorder>, thread: usize, work: impl FnOnce() -> T) -> T {
    let Some(recorder) = recorder else { return work() };
    let mut marks = recorder.marks(thread);
    let _listening = Listening::begin(&mut marks);
    work()
}
