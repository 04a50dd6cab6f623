//! Where the time of a training step goes: recorded steps, summed by launch and by op.
//!
//! What enters: a trainer whose engine can be recorded, how many steps. What leaves: for each launch of the plan and for
//! each op of it the threads' time in a step; the time in which threads waited; and the time between steps, in which the next
//! batch is taken and the losses are read. Means over the calmer half of the steps (those that took least), for what other
//! programs do to a step is not the model's. Invariant: times of ops add up to their launch's; launches and waiting add up
//! to the step times the number of threads.

use super::{Inputs, Program, TrainError, Trainer, scalar};
use crate::plan::{Launch, Plan};
use crate::runtime::{Recording, What};
use crate::train::batches::Batches;
use crate::train::compiled::Compiled;

/// Times are seconds a step.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// One for each launch, all phases counted through.
    pub launches: Vec<LaunchTime>,
    /// From a step's begin to its end.
    pub step: f64,
    /// From a step's end to the next one's begin.
    pub between: f64,
    pub n_threads: usize,
    /// How many steps were counted.
    pub n_steps: usize,
    /// All steps, counted or not.
    pub recording: Recording,
}

/// One launch; times are of all threads together.
#[derive(Clone, Debug, Default)]
pub struct LaunchTime {
    pub busy: f64,
    /// From the first tile's begin to the last one's end.
    pub span: f64,
    pub n_tiles: usize,
    /// One for each op of the kernel.
    pub ops: Vec<f64>,
}

impl Profile {
    /// Time in which threads had nothing to do, of all threads together.
    pub fn waiting(&self) -> f64 {
        let busy: f64 = self.launches.iter().map(|launch| launch.busy).sum();
        (self.step * self.n_threads as f64 - busy).max(0.0)
    }

    /// How many threads were busy, on the average, from the begin of a launch's phase to its end: one for each launch.
    pub fn widths(&self, plan: &Plan) -> Vec<f64> {
        let mut launches = self.launches.iter();
        let of_phase = |phase: &Vec<Launch>| {
            let of: Vec<&LaunchTime> = launches.by_ref().take(phase.len()).collect();
            let span = of.iter().map(|launch| launch.span).fold(0.0, f64::max);
            let busy: f64 = of.iter().map(|launch| launch.busy).sum();
            vec![(busy / span.max(1e-12)).clamp(1e-3, self.n_threads as f64); phase.len()]
        };
        plan.phases.iter().flat_map(of_phase).collect()
    }
}

impl Trainer<'_, Compiled<'_>> {
    /// Records steps for some `seconds`, four at least; the engine's training program was compiled to tick.
    ///
    /// # Errors
    /// The data lack a field the model reads.
    pub fn profile(&mut self, seconds: f64) -> Result<Profile, TrainError> {
        // Marks of all steps together.
        const MOST_MARKS: usize = 2_000_000;
        let first = self.profile_steps(2, 2)?;
        let n_marks: usize = first.recording.threads.iter().map(Vec::len).sum();
        let of_one = (n_marks / first.recording.steps.len().max(1)).max(1);
        let wanted = (seconds / (first.step + first.between).max(1e-6)) as usize;
        self.profile_steps(2, wanted.min(MOST_MARKS / of_one).max(4) as u64)
    }

    /// Takes `n_warm` steps, then `n_steps` that are recorded, and one more.
    fn profile_steps(&mut self, n_warm: u64, n_steps: u64) -> Result<Profile, TrainError> {
        let inputs = Inputs::of(&mut self.engine, Program::Train, &self.data)?;
        // One step more than are counted: a step's time goes to the begin of the next.
        let end = n_warm + n_steps + 1;
        let mut batches = Batches::start(self.data.clone(), inputs.fields.clone(), self.schedule(end));
        let mut step = 0;
        while let Some(batch) = batches.next_batch() {
            if step == n_warm {
                self.engine.record(Program::Train, n_steps as usize + 1, self.batch());
            }
            inputs.run(&mut self.engine, Program::Train, batch.n_rows, batch.step, &|i| batch.field(i));
            for name in &self.model.metrics {
                std::hint::black_box(scalar(&self.engine, Program::Train, name));
            }
            step += 1;
        }
        let recording = self.engine.recording(Program::Train);
        let n_ops: Vec<usize> = {
            let plan = self.engine.plan(Program::Train);
            plan.phases.iter().flatten().map(|launch| plan.kernels[launch.kernel].ops.len()).collect()
        };
        Ok(summed(recording, &n_ops))
    }
}

/// A recording's means; `n_ops` says how many ops each launch has.
fn summed(recording: Recording, n_ops: &[usize]) -> Profile {
    let n_threads = recording.threads.len();
    let steps = &recording.steps;
    let full = steps.iter().map(|step| step.batch).max().unwrap_or(0);
    // (time to the next step's begin, step), of full batches only: a short one is another workload.
    let mut periods: Vec<(u64, usize)> = (1..steps.len())
        .filter(|i| steps[i - 1].batch == full)
        .map(|i| (steps[i].begin - steps[i - 1].begin, i - 1))
        .collect();
    periods.sort_unstable();
    periods.truncate(periods.len().div_ceil(2));
    let mut counted = vec![false; steps.len()];
    periods.iter().for_each(|(_, i)| counted[*i] = true);
    let n = periods.len().max(1) as f64 * 1e9;

    let launch = |n_ops: &usize| LaunchTime { ops: vec![0.0; *n_ops], ..LaunchTime::default() };
    let mut launches: Vec<LaunchTime> = n_ops.iter().map(launch).collect();
    // First begin and last end of each launch, by step.
    let mut spans = vec![(u64::MAX, 0); steps.len() * n_ops.len()];
    for marks in &recording.threads {
        let (mut current, mut at, mut before) = (0, 0, 0);
        for mark in marks {
            match mark.what {
                What::Begun { launch, .. } => {
                    while at + 1 < steps.len() && steps[at].end < mark.at {
                        at += 1;
                    }
                    (current, before) = (launch as usize, mark.at);
                    let span = &mut spans[at * n_ops.len() + current];
                    span.0 = span.0.min(mark.at);
                    launches[current].n_tiles += usize::from(counted[at]);
                }
                What::Done { op } => {
                    if counted[at] {
                        launches[current].ops[op as usize] += (mark.at - before) as f64 / n;
                    }
                    let span = &mut spans[at * n_ops.len() + current];
                    span.1 = span.1.max(mark.at);
                    before = mark.at;
                }
            }
        }
    }
    for (i, launch) in launches.iter_mut().enumerate() {
        launch.busy = launch.ops.iter().sum();
        launch.n_tiles = launch.n_tiles.div_ceil(periods.len().max(1));
        let of_step =
            (0..steps.len()).filter(|step| counted[*step]).map(|step| spans[step * n_ops.len() + i]);
        launch.span = of_step.map(|(begin, end)| end.saturating_sub(begin) as f64).sum::<f64>() / n;
    }
    let of_counted = || steps.iter().zip(&counted).filter(|(_, counted)| **counted).map(|(step, _)| step);
    let step = of_counted().map(|step| (step.end - step.begin) as f64).sum::<f64>() / n;
    let period = periods.iter().map(|(period, _)| *period as f64).sum::<f64>() / n;
    let (between, n_steps) = ((period - step).max(0.0), periods.len());
    Profile { launches, step, between, n_threads, n_steps, recording }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Mark, Step};

    #[test]
    fn marks_are_summed_by_launch_and_op() {
        let step = |begin, end| Step { begin, end, batch: 4 };
        let begun = |at, launch| Mark { at, what: What::Begun { launch, start: 0 } };
        let done = |at, op| Mark { at, what: What::Done { op } };
        let recording = Recording {
            // The second is the slower one and is not counted; the last only ends it.
            steps: vec![step(0, 100), step(120, 500), step(510, 520)],
            threads: vec![
                vec![
                    begun(0, 0),
                    done(30, 0),
                    done(40, 1),
                    begun(50, 1),
                    done(100, 0),
                    begun(130, 1),
                    done(490, 0),
                ],
                vec![begun(10, 0), done(20, 0), done(70, 1)],
            ],
        };
        let profile = summed(recording, &[2, 1]);
        let nanoseconds = |seconds: f64| (seconds * 1e9).round() as u64;
        assert_eq!((profile.n_steps, nanoseconds(profile.step), nanoseconds(profile.between)), (1, 100, 20));
        let of = |l: &LaunchTime| (nanoseconds(l.busy), nanoseconds(l.span), l.n_tiles);
        let found: Vec<_> = profile.launches.iter().map(of).collect();
        assert_eq!(found, [(100, 70, 2), (50, 50, 1)]);
        let ops: Vec<u64> = profile.launches[0].ops.iter().map(|s| nanoseconds(*s)).collect();
        assert_eq!(ops, [40, 60]);
        assert_eq!(nanoseconds(profile.waiting()), 200 - 150);
    }
}
