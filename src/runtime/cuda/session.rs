//! Programs on a device that share variables: what `runtime::Session` is for the CPU.
//!
//! What enters: plans, values, batches. What leaves: outputs and variables by name. A program's step, from
//! its first kernel to the copy of its outputs, is taken down once for each batch size and handed over as one
//! from then on; what varies from step to step (seed, step, the batch) lies in device memory. Two steps may
//! be under way: each has a slot of its own, into which its batch is copied while the step before computes.
//! Launches of a phase are dealt to lanes, streams that run side by side; a small step is one launch. Invariants: variables of one name
//! are one storage; a program's memory (its new variables, its arena, scratch, slots) is one allocation, and one that
//! does not fit is refused before anything is allocated; outputs are those of the last step that is over.

use super::super::RuntimeError;
use super::device::{Address, Device, DeviceError, Launch, Region, Stream};
use super::program::{Code, N_SLOTS, Program, Sizes, aligned};
use crate::base::DType;
use crate::base::stopwatch::timed;
use crate::codegen::cpu::StepEnv;
use crate::codegen::cuda::{Source, emit, emit_whole};
use crate::plan::{BufferId, Place, Plan};
use smol_str::SmolStr;
use std::collections::HashMap;

/// What the blocks of a step meet by.
const MEETING_BYTES: u64 = 4;

/// A program of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramId(pub(super) usize);

pub(super) struct Variable {
    dtype: DType,
    bytes: u64,
    value: Value,
}

/// Where a variable's value is.
enum Value {
    Device(Address),
    /// No program has it yet.
    Host(Vec<u8>),
}

impl Variable {
    pub(super) fn region(&self) -> Region {
        let Value::Device(address) = self.value else { unreachable!("programs have taken their variables") };
        Region { address, bytes: self.bytes }
    }
}

pub struct Session<D: Device> {
    pub(super) device: D,
    pub(super) programs: Vec<Program<D>>,
    pub(super) variables: HashMap<SmolStr, Variable>,
    /// One for each program.
    allocated: Vec<Region>,
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

    /// Compiles a plan and reserves its memory, in one piece. Variables that nobody gave a value are zero.
    ///
    /// # Errors
    /// The plan does not fit into the device's memory, disagrees with another about a variable, or cannot be
    /// compiled.
    pub fn add(&mut self, plan: Plan) -> Result<ProgramId, DeviceError> {
        let source = timed("cuda", || emit(&plan));
        let sizes = Sizes::of(&plan, &source.kernels)?;
        let new = self.new_variables(&plan)?;
        let of_variables: Vec<u64> = new.iter().map(|(_, _, bytes)| *bytes).collect();
        let scratch = sizes.lane_scratch.saturating_mul(sizes.n_lanes);
        let of_program = [plan.arena_bytes, scratch, MEETING_BYTES, sizes.input, sizes.input];
        let parts = Parts::of(of_variables.iter().chain(&of_program).copied());
        let available = self.device.free_bytes();
        let refused = || {
            let sum = |parts: &[u64]| parts.iter().fold(0u64, |n, part| n.saturating_add(aligned(*part)));
            DeviceError::OutOfMemory {
                device: self.device.name(),
                needed: parts.bytes,
                available,
                of: vec![
                    ("variables", sum(&of_variables)),
                    ("values between kernels", plan.arena_bytes),
                    ("scratch", scratch),
                    ("batches", sum(&of_program[3..])),
                ],
            }
        };
        if parts.bytes > available {
            return Err(refused());
        }
        let code = timed("machine code", || self.load(&plan, &source))?;
        let address = self.device.allocate(parts.bytes).ok_or_else(refused)?;
        self.allocated.push(Region { address, bytes: parts.bytes });
        let regions = parts.at(address);
        self.device.divide(&regions);
        let (of_variables, own) = regions.split_at(new.len());
        for ((name, dtype, bytes), region) in new.into_iter().zip(of_variables) {
            match self.variables.get(&name).map(|known| &known.value) {
                Some(Value::Host(value)) => self.device.write(region.address, value)?,
                _ => self.device.zero(*region)?,
            }
            let value = Value::Device(region.address);
            self.variables.insert(name, Variable { dtype, bytes, value });
        }
        self.device.zero(own[2])?;
        let loaded = (code, source);
        self.programs.push(Program::new(&self.device, plan, loaded, own, &sizes)?);
        Ok(ProgramId(self.programs.len() - 1))
    }

    /// A step as one launch, if it is small and the device does that, else as many.
    fn load(&self, plan: &Plan, source: &Source) -> Result<Code<D>, DeviceError> {
        if let Some(whole) = emit_whole(plan)
            && let Some(module) = self.device.load_whole(&plan.kernels, source, &whole)?
        {
            return Ok(Code::Whole(module, whole));
        }
        self.device.load(&plan.kernels, source).map(Code::Launches)
    }

    /// Variables of the plan that are not on the device: name, type, bytes.
    fn new_variables(&self, plan: &Plan) -> Result<Vec<(SmolStr, DType, u64)>, DeviceError> {
        let mut new = Vec::new();
        for (i, buffer) in plan.buffers.iter().enumerate().filter(|(_, b)| b.place == Place::Variable) {
            let bytes = plan.buffer_bytes(BufferId(i as u32), plan.max_batch);
            let bytes = bytes.ok_or_else(|| DeviceError::TooLarge(buffer.name.to_string()))?;
            let known = self.variables.get(&buffer.name);
            known.map_or(Ok(()), |known| fits(&buffer.name, known, buffer.dtype, bytes))?;
            if !known.is_some_and(|known| matches!(known.value, Value::Device(_))) {
                new.push((buffer.name.clone(), buffer.dtype, bytes));
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
        self.allocated.iter().map(|region| region.bytes).sum()
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
        let (device, variable) = (&self.device, |name: &SmolStr| self.variables[name].region());
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
    /// `n_steps` steps over one batch, launched one by one, also where a step is one launch. Variables change as in so
    /// many steps.
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
        let (device, variable) = (&self.device, |name: &SmolStr| self.variables[name].region());
        let program = &mut self.programs[program.0];
        program.load_launches(device)?;
        let recorded = program.recorded(batch as i64);
        let module = program.kernels();
        program.stage(device, recorded, 0, env, inputs)?;
        let launches = program.launches(&variable, &program.recorded[recorded], &program.slots[0]);
        program.rehearse(device, &launches);
        let launches: Vec<Launch> = launches.into_iter().flatten().collect();
        let mut least = vec![f64::INFINITY; launches.len()];
        for _ in 0..n_steps.max(1) {
            let times = device.time(launches.len(), &mut |i| {
                program.launch(device, module, Stream::Compute, &launches[i])
            })?;
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

    /// A variable's native bytes after all steps that were begun; `None` if nobody knows it.
    ///
    /// # Errors
    /// The device has failed.
    pub fn variable(&self, name: &str) -> Result<Option<Vec<u8>>, DeviceError> {
        let Some(variable) = self.variables.get(name) else { return Ok(None) };
        let address = match &variable.value {
            Value::Device(address) => *address,
            Value::Host(bytes) => return Ok(Some(bytes.clone())),
        };
        let mut bytes = vec![0; variable.bytes as usize];
        self.device.read(address, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Gives a variable its value, after all steps that were begun; one that no program has is kept for those
    /// to come.
    ///
    /// # Errors
    /// Another type or number of elements than programs expect; the device has failed.
    pub fn set_variable(&mut self, name: &str, dtype: DType, bytes: &[u8]) -> Result<(), DeviceError> {
        let n_bytes = bytes.len() as u64;
        if let Some(variable) = self.variables.get(name) {
            fits(name, variable, dtype, n_bytes)?;
            if let Value::Device(address) = variable.value {
                return self.device.write(address, bytes);
            }
        }
        let value = Value::Host(bytes.to_vec());
        self.variables.insert(name.into(), Variable { dtype, bytes: n_bytes, value });
        Ok(())
    }
}

/// Places of parts in one allocation, one after another.
struct Parts {
    /// Where each part begins, and its bytes.
    all: Vec<(u64, u64)>,
    bytes: u64,
}

impl Parts {
    fn of(sizes: impl Iterator<Item = u64>) -> Parts {
        let (mut all, mut end) = (Vec::new(), 0u64);
        for bytes in sizes {
            all.push((end, bytes));
            end = end.saturating_add(aligned(bytes));
        }
        Parts { all, bytes: end }
    }

    fn at(&self, address: Address) -> Vec<Region> {
        self.all
            .iter()
            .map(|(begin, bytes)| Region { address: address.plus(*begin), bytes: *bytes })
            .collect()
    }
}

impl<D: Device> Drop for Session<D> {
    fn drop(&mut self) {
        for program in &mut self.programs {
            // What the device failed at was said before, or nobody has asked.
            while program.n_begun > program.n_over && program.end_one(&self.device).is_ok() {}
        }
        self.allocated.iter().for_each(|region| self.device.free(region.address));
    }
}

/// Whether a variable is what another program, or a new value, says.
fn fits(name: &str, variable: &Variable, dtype: DType, bytes: u64) -> Result<(), RuntimeError> {
    let (expected, n_elements) = (variable.dtype, |bytes: u64| bytes as usize / dtype.bytes());
    if expected != dtype {
        return Err(RuntimeError::VariableTypeDiffers { name: name.into(), expected, found: dtype });
    }
    if variable.bytes != bytes {
        let (expected, found) = (n_elements(variable.bytes), n_elements(bytes));
        return Err(RuntimeError::VariableDiffers { name: name.into(), expected, found });
    }
    Ok(())
}
