//! One compiled plan: its arena, who does which tile, and a step.
//!
//! What enters: a plan, addresses of variables and inputs. What leaves: bytes in the arena and in the variables. For each
//! batch size the tiles of each phase are dealt to the threads once (`team.rs`, `schedule.rs`); a step then only walks them, phase after
//! phase. Invariant: a tile's result does not depend on who computes it.

use super::buffer::Buffer;
use super::denormal::Flushed;
use super::pool::Pool;
use super::record::{Recorder, listening};
use super::schedule::Phase;
use super::team::{Division, Job};
use crate::codegen::cpu::ticks::{What, mark};
use crate::codegen::cpu::{Code, Program, StepEnv, Tile};
use crate::nest::Kernel;
use crate::plan::{BufferId, Place, Plan};

pub struct Executor {
    pub plan: Plan,
    code: Program,
    arena: Buffer,
    /// Arguments' addresses, all launches one after another.
    table: Vec<*mut u8>,
    /// Where each launch's arguments begin in `table`, by phase.
    first_argument: Vec<Vec<usize>>,
    /// The number of each phase's first launch, all phases counted through.
    first_launch: Vec<u32>,
    /// (place in `table`, input): set before each run.
    inputs_at: Vec<(usize, usize)>,
    /// Inputs' buffers, in order.
    pub inputs: Vec<BufferId>,
    schedules: Vec<Schedule>,
    /// Of the last run; `None` before the first.
    last: Option<i64>,
    /// Steps are recorded while there is room for more.
    pub recorder: Option<Recorder>,
}

// SAFETY: the addresses are of the arena, which moves with the executor without changing its place, and of variables
// whose owner (`Session`) moves along with it.
unsafe impl Send for Executor {}

/// Who does what at one batch size.
struct Schedule {
    batch: i64,
    phases: Vec<Dealt>,
    /// The most that a phase has work for.
    n_threads: usize,
    /// Bytes of each input.
    input_bytes: Vec<u64>,
}

/// A phase of the plan, or a part of it.
struct Dealt {
    phase: usize,
    jobs: Phase<Job>,
}

impl Executor {
    /// `variable` gives the address of a variable by its buffer.
    pub fn new(plan: Plan, code: Program, arena: Buffer, variable: impl Fn(BufferId) -> *mut u8) -> Executor {
        let is_input = |id: &BufferId| plan.buffers[id.0 as usize].place == Place::Input;
        let inputs: Vec<BufferId> = (0..plan.buffers.len() as u32).map(BufferId).filter(is_input).collect();
        let (mut table, mut inputs_at, mut first_argument) = (Vec::new(), Vec::new(), Vec::new());
        for phase in &plan.phases {
            let mut firsts = Vec::with_capacity(phase.len());
            for launch in phase {
                firsts.push(table.len());
                for id in &launch.arguments {
                    let address = match plan.buffers[id.0 as usize].place {
                        Place::Arena { offset } => arena.address().wrapping_add(offset as usize),
                        Place::Variable => variable(*id),
                        Place::Input => {
                            let input = inputs.iter().position(|i| i == id).expect("it is in the list");
                            inputs_at.push((table.len(), input));
                            std::ptr::null_mut()
                        }
                    };
                    table.push(address);
                }
            }
            first_argument.push(firsts);
        }
        let n_before = |phase: usize| plan.phases[..phase].iter().map(Vec::len).sum::<usize>() as u32;
        let first_launch = (0..plan.phases.len()).map(n_before).collect();
        Executor {
            plan,
            code,
            arena,
            table,
            first_argument,
            first_launch,
            inputs_at,
            inputs,
            schedules: Vec::new(),
            last: None,
            recorder: None,
        }
    }

    /// Makes the schedule of a batch size, if it is not there.
    fn schedule(&mut self, batch: i64, n_threads: usize) -> usize {
        if let Some(known) = self.schedules.iter().position(|s| s.batch == batch) {
            return known;
        }
        let mut phases = Vec::with_capacity(self.plan.phases.len());
        for phase in 0..self.plan.phases.len() {
            phases.extend(self.deal(phase, batch, n_threads));
        }
        // A run has one full batch and one last, short one; more sizes than a few are somebody's experiment.
        if self.schedules.len() >= 8 {
            self.schedules.remove(0);
        }
        let bytes =
            |id: &BufferId| self.plan.buffer_bytes(*id, batch).expect("the greatest batch has a size");
        let input_bytes = self.inputs.iter().map(bytes).collect();
        let n_threads = phases.iter().map(|dealt: &Dealt| dealt.jobs.n_threads()).max().unwrap_or(1);
        self.schedules.push(Schedule { batch, phases, n_threads, input_bytes });
        self.schedules.len() - 1
    }

    /// Bytes of each input for a batch; a steady step finds them in its schedule.
    pub fn input_bytes(&mut self, batch: i64, n_threads: usize) -> &[u64] {
        let index = self.schedule(batch, n_threads);
        &self.schedules[index].input_bytes
    }

    /// Makes room to record the next `n_steps` steps over up to `batch` examples; the kernels must have been compiled to
    /// tick.
    pub fn record(&mut self, n_steps: usize, batch: i64, n_threads: usize) {
        let index = self.schedule(batch, n_threads);
        let jobs = self.schedules[index].phases.iter().flat_map(|dealt| dealt.jobs.tiles());
        let marks_a_step = jobs.map(|job| 1 + job.ops.len()).sum();
        self.recorder = Some(Recorder::new(n_threads, n_steps, marks_a_step));
    }

    /// Who does what of a phase.
    fn deal(&self, phase: usize, batch: i64, n_threads: usize) -> impl Iterator<Item = Dealt> {
        let kernels: Vec<&Kernel> =
            self.plan.phases[phase].iter().map(|launch| &self.plan.kernels[launch.kernel]).collect();
        let code = self.code.code();
        let portioned: Vec<&[bool]> =
            self.plan.phases[phase].iter().map(|launch| code.portioned(launch.kernel)).collect();
        let division = Division::new(kernels.iter().copied(), batch, n_threads);
        division.phases(&kernels, &portioned, batch).into_iter().map(move |jobs| Dealt { phase, jobs })
    }

    /// Runs all phases.
    ///
    /// # Safety
    /// Variables' addresses are those given to `new`, and nobody else touches them; each of `inputs` has the elements that
    /// the plan expects of a batch of this size, aligned; `scratch` has the plan's scratch bytes for each thread of the pool.
    pub unsafe fn run(
        &mut self,
        pool: &mut Pool,
        scratch: &[Buffer],
        batch: i64,
        env: StepEnv,
        inputs: &[*const u8],
    ) {
        let index = self.schedule(batch, pool.n_threads());
        for (at, input) in &self.inputs_at {
            // Kernels only read inputs: an argument that is written is never one.
            self.table[*at] = inputs[*input].cast_mut();
        }
        self.last = Some(batch);
        let schedule = &mut self.schedules[index];
        schedule.phases.iter_mut().for_each(|dealt| dealt.jobs.reset());
        let phases = &schedule.phases;
        let recorder = self.recorder.as_ref().filter(|recorder| !recorder.is_full());
        let recorded = recorder.is_some();
        let begin = recorder.map(Recorder::now);
        let code = self.code.code();
        let step = Step {
            code,
            plan: &self.plan,
            table: Addresses(self.table.as_ptr()),
            first_argument: &self.first_argument,
            first_launch: &self.first_launch,
            scratch,
            batch,
            env,
            recorded,
        };
        if schedule.n_threads == 1 {
            listening(recorder, 0, || {
                let _flushed = Flushed::begin();
                for Dealt { phase, jobs } in phases {
                    // SAFETY: the caller vouches for the addresses; on one thread, phases and jobs are in order.
                    jobs.tiles().for_each(|job| unsafe { step.job(*phase, job, 0) });
                }
            });
        } else {
            pool.run(schedule.n_threads, &|thread, together| {
                listening(recorder, thread, || {
                    let _flushed = Flushed::begin();
                    for Dealt { phase, jobs } in phases {
                        // SAFETY: the caller vouches for the addresses; a phase begins when the one before is done, and its jobs are
                        // independent: tiles (the plan's invariant), and portions of an op (`codegen/cpu/portions.rs`).
                        jobs.take(thread, |job| unsafe { step.job(*phase, job, thread) });
                        together.wait(|| jobs.is_done());
                    }
                });
            });
        }
        if let (Some(begin), Some(recorder)) = (begin, &mut self.recorder) {
            recorder.step(begin, batch);
        }
    }

    /// The bytes of an arena buffer after the last run; none before the first.
    pub fn arena_bytes(&self, id: BufferId) -> &[u8] {
        let Some(batch) = self.last else { return &[] };
        let bytes = self.plan.buffer_bytes(id, batch).expect("a batch that was run has a size") as usize;
        match self.plan.buffers[id.0 as usize].place {
            Place::Arena { offset } => &self.arena.bytes()[offset as usize..offset as usize + bytes],
            _ => unreachable!("outputs lie in the arena"),
        }
    }
}

struct Addresses(*const *mut u8);

// SAFETY: the table is only read while a step runs.
unsafe impl Sync for Addresses {}

/// What all jobs of a step share.
struct Step<'a> {
    code: &'a Code,
    plan: &'a Plan,
    table: Addresses,
    first_argument: &'a [Vec<usize>],
    first_launch: &'a [u32],
    scratch: &'a [Buffer],
    batch: i64,
    env: StepEnv,
    recorded: bool,
}

impl Step<'_> {
    /// # Safety
    /// See `Executor::run`.
    unsafe fn job(&self, phase: usize, job: &Job, thread: usize) {
        let Job { launch, start, rows, part, parts, .. } = *job;
        let kernel = self.plan.phases[phase][launch].kernel;
        let arguments = self.table.0.wrapping_add(self.first_argument[phase][launch]);
        let own = self.scratch[thread].address();
        let scratch = job.team.map_or(own, |tile| self.scratch[tile].address());
        if self.recorded {
            let launch = self.first_launch[phase] + launch as u32;
            mark(What::Begun { launch, start: start as u32 });
        }
        let tile = Tile { batch: self.batch, start, rows, env: &raw const self.env, part, parts, own };
        // SAFETY: the kernel is the launch's, and its arguments are those that `new` put into the table.
        unsafe { self.code.run(kernel, job.ops.clone(), arguments, scratch, &tile) };
    }
}
