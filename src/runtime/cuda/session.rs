//! Programs on a device that share variables: what `runtime::Session` is for the CPU.
//!
//! What enters: plans, values, batches. What leaves: outputs and variables by name. A program's step, from
//! its first kernel to the copy of its outputs, is taken down once for each batch size and handed over as one
//! from then on; what varies from step to step (seed, step, the batch) lies in device memory. Two steps may
//! be under way: each has a slot of its own, into which its batch is copied while the step before computes.
//! Launches of a phase are dealt to lanes, streams that run side by side. Invariants: variables of one name
//! are one storage; a steady step allocates nothing on the device; outputs are those of the last step that is
//! over; a program that does not fit is refused before anything is allocated.

use super::super::RuntimeError;
use super::device::{Address, Device, DeviceError, Launch, Region, Stream};
use super::program::{N_SLOTS, Program, Sizes, aligned};
use crate::base::DType;
use crate::base::stopwatch::timed;
use crate::codegen::cpu::StepEnv;
use crate::codegen::cuda::emit;
use crate::plan::{BufferId, Place, Plan};
use smol_str::SmolStr;
use std::collections::HashMap;

/// A program of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramId(usize);

struct Variable {
    dtype: DType,
    region: Region,
}

pub struct Session<D: Device> {
    device: D,
    programs: Vec<Program<D>>,
    variables: HashMap<SmolStr, Variable>,
    allocated: Vec<Address>,
}

impl<D: Device> Session<D> {
    pub fn new(device: D) -> Session<D> {
        Session { device, programs: Vec::new(), variables: HashMap::new(), allocated: Vec::new() }
    }

    pub fn device(&self) -> &D {
        &self.device
    }

    /// How many steps of a program may be begun before the first of them is waited for.
    pub fn n_ahead(&self) -> usize {
        N_SLOTS - 1
    }

    /// Compiles a plan and reserves its memory. Variables that are new are zero.
    ///
    /// # Errors
    /// The plan does not fit into the device's memory, disagrees with another about a variable, or cannot be
    /// compiled.
    pub fn add(&mut self, plan: Plan) -> Result<ProgramId, DeviceError> {
        let source = timed("cuda", || emit(&plan));
        let sizes = Sizes::of(&plan, &source.kernels)?;
        let new = self.new_variables(&plan)?;
        let variable_bytes: u64 =
            new.iter().map(|(_, _, bytes)| aligned(*bytes)).fold(0, u64::saturating_add);
        let scratch = sizes.lane_scratch.saturating_mul(sizes.n_lanes);
        let parts = [variable_bytes, plan.arena_bytes, scratch, sizes.input, sizes.input];
        let needed = parts.iter().map(|part| aligned(*part)).fold(0, u64::saturating_add);
        let available = self.device.free_bytes();
        let refused = DeviceError::OutOfMemory { device: self.device.name(), needed, available };
        if needed > available {
            return Err(refused);
        }
        let module = timed("machine code", || self.device.load(&plan.kernels, &source))?;
        let mut own = Vec::with_capacity(parts.len());
        for bytes in parts {
            match self.device.allocate(bytes) {
                Some(address) => own.push(Region { address, bytes }),
                None => {
                    own.iter().for_each(|region: &Region| self.device.free(region.address));
                    return Err(refused);
                }
            }
        }
        self.allocated.extend(own.iter().map(|region| region.address));
        let mut address = own[0].address;
        for (name, dtype, bytes) in new {
            self.device.zero(Region { address, bytes })?;
            self.variables.insert(name, Variable { dtype, region: Region { address, bytes } });
            address = address.plus(aligned(bytes));
        }
        let loaded = (module, source.kernels);
        self.programs.push(Program::new(&self.device, plan, loaded, &own[1..], &sizes)?);
        Ok(ProgramId(self.programs.len() - 1))
    }

    /// Variables of the plan that are not here: name, type, bytes.
    fn new_variables(&self, plan: &Plan) -> Result<Vec<(SmolStr, DType, u64)>, DeviceError> {
        let mut new = Vec::new();
        for (i, buffer) in plan.buffers.iter().enumerate().filter(|(_, b)| b.place == Place::Variable) {
            let bytes = plan.buffer_bytes(BufferId(i as u32), plan.max_batch);
            let bytes = bytes.ok_or_else(|| DeviceError::TooLarge(buffer.name.to_string()))?;
            match self.variables.get(&buffer.name) {
                Some(known) => fits(&buffer.name, known, buffer.dtype, bytes)?,
                None => new.push((buffer.name.clone(), buffer.dtype, bytes)),
            }
        }
        Ok(new)
    }

    /// Names of the inputs that `begin` takes, in order.
    pub fn inputs(&self, program: ProgramId) -> &[SmolStr] {
        &self.programs[program.0].input_names
    }

    pub fn plan(&self, program: ProgramId) -> &Plan {
        &self.programs[program.0].plan
    }

    /// Blocks of each launch of a step, all phases counted through.
    pub fn n_blocks(&self, program: ProgramId, batch: usize) -> Vec<usize> {
        let program = &self.programs[program.0];
        let launches = program.plan.phases.iter().flatten();
        launches.map(|launch| program.entries[launch.kernel].blocks(batch as i64) as usize).collect()
    }

    /// Bytes of the device that this session holds for its programs and variables.
    pub fn bytes(&self) -> u64 {
        let of_program = |p: &Program<D>| {
            p.arena.bytes + p.scratch.bytes + p.slots.iter().map(|slot| slot.input.bytes).sum::<u64>()
        };
        let variables: u64 = self.variables.values().map(|v| v.region.bytes).sum();
        variables + self.programs.iter().map(of_program).sum::<u64>()
    }

    /// Hands a step over `batch` examples to the device. Inputs are native bytes, row-major, in the order of
    /// `inputs`; they may change when this returns.
    ///
    /// # Errors
    /// The device has failed, in this step or one before.
    ///
    /// # Panics
    /// If `batch` is more than the plan's, or an input has not the bytes that the batch needs.
    pub fn begin(
        &mut self,
        program: ProgramId,
        batch: usize,
        env: StepEnv,
        inputs: &[&[u8]],
    ) -> Result<(), DeviceError> {
        let (device, variable) = (&self.device, |name: &SmolStr| self.variables[name].region);
        let program = &mut self.programs[program.0];
        let batch = batch as i64;
        assert!(
            batch <= program.plan.max_batch,
            "a batch of {batch}, planned for {}",
            program.plan.max_batch
        );
        let recorded = program.recorded(batch);
        let which = program.n_begun % N_SLOTS;
        if program.recorded[recorded].graphs[which].is_none() {
            let graph = program.record(device, &variable, recorded, which)?;
            program.recorded[recorded].graphs[which] = Some(graph);
        }
        // The slot's last step may still be reading it.
        while program.n_begun - program.n_over >= N_SLOTS {
            program.end_one(device)?;
        }
        program.stage(device, recorded, which, env, inputs)?;
        let (slot, recorded) = (&mut program.slots[which], &program.recorded[recorded]);
        device.run(recorded.graphs[which].as_ref().expect("it was recorded above"))?;
        device.record(&slot.done, Stream::Compute)?;
        slot.batch = batch;
        program.n_begun += 1;
        Ok(())
    }

    /// Waits until at most `n_left` steps of the program are under way.
    ///
    /// # Errors
    /// The device has failed.
    pub fn finish(&mut self, program: ProgramId, n_left: usize) -> Result<(), DeviceError> {
        let program = &mut self.programs[program.0];
        while program.n_begun - program.n_over > n_left {
            program.end_one(&self.device)?;
        }
        Ok(())
    }

    /// How many seconds the device takes for each launch of a step, all phases counted through: the least of
    /// `n_steps` steps over one batch, launched one by one. Variables change as in so many steps.
    ///
    /// # Errors
    /// The device has failed.
    ///
    /// # Panics
    /// As `begin`.
    pub fn time_launches(
        &mut self,
        program: ProgramId,
        batch: usize,
        env: StepEnv,
        inputs: &[&[u8]],
        n_steps: usize,
    ) -> Result<Vec<f64>, DeviceError> {
        self.finish(program, 0)?;
        let (device, variable) = (&self.device, |name: &SmolStr| self.variables[name].region);
        let program = &mut self.programs[program.0];
        let recorded = program.recorded(batch as i64);
        program.stage(device, recorded, 0, env, inputs)?;
        let launches = program.launches(&variable, &program.recorded[recorded], &program.slots[0]);
        program.rehearse(device, &launches);
        let launches: Vec<Launch> = launches.into_iter().flatten().map(|(_, launch)| launch).collect();
        let mut least = vec![f64::INFINITY; launches.len()];
        for _ in 0..n_steps.max(1) {
            let times = device
                .time(launches.len(), &mut |i| program.launch(device, Stream::Compute, &launches[i]))?;
            least.iter_mut().zip(times).for_each(|(least, time)| *least = least.min(time));
        }
        Ok(least)
    }

    /// An output of the program's last step that is over, native bytes.
    ///
    /// # Panics
    /// If the program has no output of that name.
    pub fn output(&self, program: ProgramId, name: &str) -> &[u8] {
        let program = &self.programs[program.0];
        let found = program.plan.outputs.iter().position(|(n, _)| n == name);
        &program.outputs[found.unwrap_or_else(|| panic!("the program has no output {name}"))]
    }

    /// A variable's native bytes after all steps that were begun; `None` if no program has it.
    ///
    /// # Errors
    /// The device has failed.
    pub fn variable(&self, name: &str) -> Result<Option<Vec<u8>>, DeviceError> {
        let Some(variable) = self.variables.get(name) else { return Ok(None) };
        let mut bytes = vec![0; variable.region.bytes as usize];
        self.device.read(variable.region.address, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Gives a variable its value, after all steps that were begun; one that no program has is kept for those
    /// to come.
    ///
    /// # Errors
    /// Another type or number of elements than programs expect; no memory; the device has failed.
    pub fn set_variable(&mut self, name: &str, dtype: DType, bytes: &[u8]) -> Result<(), DeviceError> {
        let n_bytes = bytes.len() as u64;
        if let Some(variable) = self.variables.get(name) {
            fits(name, variable, dtype, n_bytes)?;
            return self.device.write(variable.region.address, bytes);
        }
        let available = self.device.free_bytes();
        let refused = || DeviceError::OutOfMemory { device: self.device.name(), needed: n_bytes, available };
        let address = self.device.allocate(n_bytes).ok_or_else(refused)?;
        self.allocated.push(address);
        let region = Region { address, bytes: n_bytes };
        self.variables.insert(name.into(), Variable { dtype, region });
        self.device.write(address, bytes)
    }
}

impl<D: Device> Drop for Session<D> {
    fn drop(&mut self) {
        for program in &mut self.programs {
            // What the device failed at was said before, or nobody has asked.
            while program.n_begun > program.n_over && program.end_one(&self.device).is_ok() {}
        }
        self.allocated.iter().for_each(|address| self.device.free(*address));
    }
}

/// Whether a variable is what another program, or a new value, says.
fn fits(name: &str, variable: &Variable, dtype: DType, bytes: u64) -> Result<(), RuntimeError> {
    let (expected, n_elements) = (variable.dtype, |bytes: u64| bytes as usize / dtype.bytes());
    if expected != dtype {
        return Err(RuntimeError::VariableTypeDiffers { name: name.into(), expected, found: dtype });
    }
    if variable.region.bytes != bytes {
        let (expected, found) = (n_elements(variable.region.bytes), n_elements(bytes));
        return Err(RuntimeError::VariableDiffers { name: name.into(), expected, found });
    }
    Ok(())
}
