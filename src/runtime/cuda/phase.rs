//! How a phase is handed over.
//!
//! What enters: a phase's launches with their arguments. What leaves: the same, on streams that run side by side, its lanes: launches by themselves, and some
//! as one (`codegen::cuda::Joint`), dealt to the lanes in the order of the first of each. Invariant: all of a phase comes behind what was before, and before what
//! comes behind. Not here: what the launches are.

use super::device::{Device, DeviceError, JointLaunch, Launch, N_SIDES, Stream};
use super::program::Program;
use crate::codegen::cuda::Joint;

/// Launches of a phase that run side by side.
pub const N_LANES: usize = 1 + N_SIDES as usize;

/// What is handed over at once: a launch, or several of a phase as one.
enum Unit<'a> {
    One(usize),
    Joint(&'a Joint),
}

impl Unit<'_> {
    /// Numbers of its launches in the phase.
    fn launches(&self) -> &[usize] {
        match self {
            Unit::One(i) => std::slice::from_ref(i),
            Unit::Joint(joint) => &joint.launches,
        }
    }
}

impl<D: Device> Program<D> {
    /// What a phase is handed over as.
    fn units(&self, phase: usize) -> Vec<Unit<'_>> {
        let joints = &self.joints[phase];
        let of = |i: usize| match joints.iter().find(|joint| joint.launches.contains(&i)) {
            None => Some(Unit::One(i)),
            Some(joint) if joint.launches.iter().all(|other| i <= *other) => Some(Unit::Joint(joint)),
            Some(_) => None,
        };
        (0..self.plan.phases[phase].len()).filter_map(of).collect()
    }

    /// The lane of each launch of a phase.
    pub fn lanes(&self, phase: usize) -> Vec<usize> {
        let mut lanes = vec![0; self.plan.phases[phase].len()];
        for (at, unit) in self.units(phase).into_iter().enumerate() {
            unit.launches().iter().for_each(|i| lanes[*i] = at % N_LANES);
        }
        lanes
    }

    pub fn launch(
        &self,
        device: &D,
        module: &D::Module,
        stream: Stream,
        launch: &Launch,
    ) -> Result<(), DeviceError> {
        let one = |launch: &Launch| device.launch(stream, module, &self.entries[launch.kernel], launch);
        match &launch.apart {
            Some(apart) if device.makes_call(apart.product()) => apart.launches.iter().try_for_each(one),
            _ => one(launch),
        }
    }

    /// Hands over a phase: each lane in its order, all of them after what was before, and before what comes behind.
    pub fn phase(
        &self,
        device: &D,
        module: &D::Module,
        (number, launches): (usize, &[Launch]),
    ) -> Result<(), DeviceError> {
        let units = self.units(number);
        let n_sides = units.len().min(N_LANES).saturating_sub(1);
        let side = |i: usize| Stream::Side(i as u8);
        if n_sides > 0 {
            device.record(&self.fork, Stream::Compute)?;
            (0..n_sides).try_for_each(|i| device.wait(side(i), &self.fork))?;
        }
        for (at, unit) in units.into_iter().enumerate() {
            let stream = if at % N_LANES == 0 { Stream::Compute } else { side(at % N_LANES - 1) };
            match unit {
                Unit::One(i) => self.launch(device, module, stream, &launches[i])?,
                Unit::Joint(joint) => self.launch_joint(device, module, stream, (joint, launches))?,
            }
        }
        for (i, join) in self.joins[..n_sides].iter().enumerate() {
            device.record(join, side(i))?;
            device.wait(Stream::Compute, join)?;
        }
        Ok(())
    }

    /// Hands over some launches of a phase as one.
    fn launch_joint(
        &self,
        device: &D,
        module: &D::Module,
        stream: Stream,
        (joint, launches): (&Joint, &[Launch]),
    ) -> Result<(), DeviceError> {
        let together = &self.together[joint.function];
        let launches: Vec<Launch> = joint.launches.iter().map(|i| launches[*i].clone()).collect();
        let (batch, env) = (launches[0].batch, launches[0].env);
        let (function, blocks) = (self.entries.len() + joint.function, together.blocks(batch));
        device.launch_together(
            stream,
            module,
            together,
            &JointLaunch { function, blocks, launches, batch, env },
        )
    }
}
