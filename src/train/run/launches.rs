//! Where the time of a step goes on a GPU: each launch by itself, and the step as one.
//!
//! What enters: a trainer whose engine runs on a device. What leaves: a `Profile` with one number a launch,
//! the least of some steps, and the time of a step that is handed over whole. Launched one by one, small
//! kernels take longer than inside of a whole step, so that the sum may be more than the step. Not here: ops
//! inside of kernels, which a GPU does not tell apart.

use super::profile::{LaunchTime, Profile};
use super::{Inputs, Program, TrainError, Trainer};
use crate::runtime::cuda::Device;
use crate::train::accelerated::Accelerated;
use crate::train::batches::gathered;

impl<D: Device> Trainer<'_, Accelerated<'_, D>> {
    /// Times the launches of training steps for some `seconds`, and then whole steps; the latter's time, in
    /// seconds, is the second value.
    ///
    /// # Errors
    /// The data lack a field the model reads; the device has failed.
    pub fn time_launches(&mut self, seconds: f64) -> Result<(Profile, f64), TrainError> {
        let inputs = Inputs::of(&mut self.engine, Program::Train, &self.data)?;
        let batches = gathered(&self.data, &inputs.fields, self.schedule(1));
        let batch = &batches[0];
        let mut time = |n_steps: usize| {
            let engine = &mut self.engine;
            let times = inputs.with(0, &|i| batch.field(i), |inputs| {
                engine.time_launches(Program::Train, batch.n_rows, inputs, n_steps)
            });
            times.map_err(TrainError::Engine)
        };
        let of_one: f64 = time(2)?.iter().sum();
        let n_steps = ((seconds / of_one.max(1e-6)) as usize).clamp(4, 1000);
        let times = time(n_steps)?;
        let plan = self.engine.plan(Program::Train);
        let n_blocks = self.engine.n_blocks(Program::Train, batch.n_rows);
        let launch = |(busy, n_tiles): (&f64, usize)| LaunchTime {
            busy: *busy,
            span: *busy,
            n_tiles,
            ops: Vec::new(),
        };
        debug_assert_eq!(times.len(), plan.phases.iter().flatten().count());
        let launches: Vec<LaunchTime> = times.iter().zip(n_blocks).map(launch).collect();
        let step = times.iter().sum();
        let whole = self.time_steps(Program::Train, 4, 10, seconds)?;
        let profile = Profile { launches, step, n_threads: 1, n_steps, ..Profile::default() };
        Ok((profile, whole.means[0]))
    }
}
