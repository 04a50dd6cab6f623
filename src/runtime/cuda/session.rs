//! Programs on a device that share variables: what `runtime::Session` is for the CPU.
//!
//! What enters: plans, values, batches. What leaves: outputs and variables by name. A program's step, from its first kernel to the
//! copy of its outputs, is taken down once for each batch size and handed over as one from then on; what varies from step to step
//! (seed, step, the batch) lies in device memory. Two steps may be under way: each has a slot of its own, into which its batch is
//! copied while the step before computes. Launches of a phase are dealt to lanes, streams that run side by side. Invariants: variables of one name are one storage; a steady step allocates
//! nothing on the device; outputs are those of the last step that is over; a program that does not fit is refused before anything is allocated.

use super::super::RuntimeError;
use super::device::{ALIGNMENT, Address, Device, DeviceError, Launch, N_SIDES, Region, Stream};
use crate::base::DType;
use crate::base::stopwatch::timed;
use crate::codegen::cpu::StepEnv;
use crate::codegen::cuda::library::call;
use crate::codegen::cuda::{Entry, emit};
use crate::plan::{BufferId, Place, Plan};
use smol_str::SmolStr;
use std::collections::HashMap;

/// A program of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramId(usize);

/// Steps of a program that may be under way.
const N_SLOTS: usize = 2;

/// Launches of a phase that run side by side.
const N_LANES: usize = 1 + N_SIDES as usize;

/// Bytes of a `StepEnv`, and of its place at a slot's begin.
const ENV_BYTES: u64 = size_of::<StepEnv>() as u64;

struct Variable {
    dtype: DType,
    region: Region,
}

/// What a step brings and takes away, in places of its own.
struct Slot<D: Device> {
    /// What the host writes, and the same on the device: a `StepEnv`, then the inputs.
    staged: D::Host,
    input: Region,
    /// Outputs.
    results: D::Host,
    copied: D::Event,
    done: D::Event,
    /// Of the step that used it last.
    batch: i64,
}

struct Program<D: Device> {
    plan: Plan,
    module: D::Module,
    entries: Vec<Entry>,
    inputs: Vec<BufferId>,
    input_names: Vec<SmolStr>,
    arena: Region,
    /// As much for each lane.
    scratch: Region,
    lane_scratch: u64,
    /// Where the lanes of a phase part, and where each of the sides ends.
    fork: D::Event,
    joins: Vec<D::Event>,
    slots: Vec<Slot<D>>,
    recorded: Vec<Recorded<D>>,
    n_begun: usize,
    n_over: usize,
    /// Outputs of the last step that is over, one after another.
    outputs: Vec<Vec<u8>>,
}

/// A step at one batch size.
struct Recorded<D: Device> {
    batch: i64,
    /// Of each input, from the slot's begin.
    inputs: Vec<Region>,
    input_bytes: u64,
    /// Of each output: where from, and its place among the results.
    outputs: Vec<(Region, u64)>,
    /// One for each slot.
    graphs: Vec<Option<D::Graph>>,
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
    /// The plan does not fit into the device's memory, disagrees with another about a variable, or cannot be compiled.
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
        let mut slots = Vec::with_capacity(N_SLOTS);
        for input in &own[3..] {
            slots.push(Slot {
                staged: self.device.host(sizes.input)?,
                input: *input,
                results: self.device.host(sizes.results)?,
                copied: self.device.event()?,
                done: self.device.event()?,
                batch: 0,
            });
        }
        let is_input = |id: &BufferId| plan.buffers[id.0 as usize].place == Place::Input;
        let inputs: Vec<BufferId> = (0..plan.buffers.len() as u32).map(BufferId).filter(is_input).collect();
        let input_names = inputs.iter().map(|id| plan.buffers[id.0 as usize].name.clone()).collect();
        self.programs.push(Program {
            module,
            entries: source.kernels,
            inputs,
            input_names,
            arena: own[1],
            scratch: own[2],
            lane_scratch: sizes.lane_scratch,
            fork: self.device.event()?,
            joins: (0..N_SIDES).map(|_| self.device.event()).collect::<Result<_, _>>()?,
            slots,
            recorded: Vec::new(),
            n_begun: 0,
            n_over: 0,
            outputs: vec![Vec::new(); plan.outputs.len()],
            plan,
        });
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

    /// Hands a step over `batch` examples to the device. Inputs are native bytes, row-major, in the order of `inputs`; they may
    /// change when this returns.
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
        let (device, variables) = (&self.device, &self.variables);
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
            let graph = program.record(device, variables, recorded, which)?;
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

    /// How many seconds the device takes for each launch of a step, all phases counted through: the least of `n_steps` steps over one
    /// batch, launched one by one. Variables change as in so many steps.
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
        let (device, variables) = (&self.device, &self.variables);
        let program = &mut self.programs[program.0];
        let recorded = program.recorded(batch as i64);
        program.stage(device, recorded, 0, env, inputs)?;
        let launches = program.launches(variables, &program.recorded[recorded], &program.slots[0]);
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

    /// Gives a variable its value, after all steps that were begun; one that no program has is kept for those to come.
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

impl<D: Device> Program<D> {
    /// Waits for the earliest step that is under way, and takes its outputs.
    fn end_one(&mut self, device: &D) -> Result<(), DeviceError> {
        let slot = &self.slots[self.n_over % N_SLOTS];
        device.synchronize(&slot.done)?;
        let recorded = self.recorded.iter().find(|recorded| recorded.batch == slot.batch);
        let recorded = recorded.expect("a batch size is kept while its steps are under way");
        for (output, (from, at)) in self.outputs.iter_mut().zip(&recorded.outputs) {
            output.resize(from.bytes as usize, 0);
            device.take(&slot.results, *at, output);
        }
        self.n_over += 1;
        Ok(())
    }

    /// The places of a batch size, made if they are not there.
    fn recorded(&mut self, batch: i64) -> usize {
        // A run has one full batch and one last, short one; more sizes than a few are somebody's experiment.
        const MOST: usize = 8;
        if let Some(known) = self.recorded.iter().position(|recorded| recorded.batch == batch) {
            return known;
        }
        let in_use = |recorded: &Recorded<D>| self.slots.iter().any(|slot| slot.batch == recorded.batch);
        if self.recorded.len() >= MOST
            && let Some(unused) = self.recorded.iter().position(|recorded| !in_use(recorded))
        {
            self.recorded.remove(unused);
        }
        let bytes = |id: BufferId| self.plan.buffer_bytes(id, batch).expect("the greatest batch has a size");
        let mut end = ENV_BYTES;
        let mut inputs = Vec::with_capacity(self.inputs.len());
        for id in &self.inputs {
            let begin = end.next_multiple_of(ALIGNMENT);
            inputs.push(Region { address: Address(begin), bytes: bytes(*id) });
            end = begin + bytes(*id);
        }
        let (input_bytes, mut end) = (end, 0u64);
        let mut outputs = Vec::with_capacity(self.plan.outputs.len());
        for (_, id) in &self.plan.outputs {
            let Place::Arena { offset } = self.plan.buffers[id.0 as usize].place else {
                unreachable!("outputs lie in the arena")
            };
            let begin = end.next_multiple_of(ALIGNMENT);
            outputs.push((Region { address: self.arena.address.plus(offset), bytes: bytes(*id) }, begin));
            end = begin + bytes(*id);
        }
        let graphs = (0..N_SLOTS).map(|_| None).collect();
        self.recorded.push(Recorded { batch, inputs, input_bytes, outputs, graphs });
        self.recorded.len() - 1
    }

    /// What a step of a batch size launches, in order, its batch in a slot; of each launch its lane.
    fn launches(
        &self,
        variables: &HashMap<SmolStr, Variable>,
        recorded: &Recorded<D>,
        slot: &Slot<D>,
    ) -> Vec<Vec<(usize, Launch)>> {
        let batch = recorded.batch;
        let env = Region { bytes: ENV_BYTES, ..slot.input };
        let region = |id: &BufferId| {
            let buffer = &self.plan.buffers[id.0 as usize];
            let bytes = || self.plan.buffer_bytes(*id, batch).expect("the greatest batch has a size");
            match buffer.place {
                Place::Arena { offset } => {
                    Region { address: self.arena.address.plus(offset), bytes: bytes() }
                }
                Place::Variable => variables[&buffer.name].region,
                Place::Input => {
                    let input = self.inputs.iter().position(|i| i == id).expect("it is in the list");
                    let place = recorded.inputs[input];
                    Region { address: slot.input.address.plus(place.address.0), bytes: place.bytes }
                }
            }
        };
        let launch = |(i, launch): (usize, &crate::plan::Launch)| {
            let (lane, entry) = (i % N_LANES, &self.entries[launch.kernel]);
            let blocks = entry.blocks(batch);
            let arguments = launch.arguments.iter().map(region).collect();
            let bytes = entry.scratch_bytes * u64::from(blocks);
            // A lane that needs none may be one that has none.
            let begin = if bytes > 0 { lane as u64 * self.lane_scratch } else { 0 };
            let scratch = Region { address: self.scratch.address.plus(begin), bytes };
            let call = call(&self.plan.kernels[launch.kernel], batch);
            (lane, Launch { kernel: launch.kernel, blocks, arguments, scratch, batch, env, call })
        };
        self.plan.phases.iter().map(|phase| phase.iter().enumerate().map(launch).collect()).collect()
    }

    fn launch(&self, device: &D, stream: Stream, launch: &Launch) -> Result<(), DeviceError> {
        device.launch(stream, &self.module, &self.entries[launch.kernel], launch)
    }

    /// Hands over a phase: each lane in its order, all of them after what was before, and before what comes behind.
    fn phase(&self, device: &D, launches: &[(usize, Launch)]) -> Result<(), DeviceError> {
        let n_sides = launches.len().min(N_LANES).saturating_sub(1);
        let side = |i: usize| Stream::Side(i as u8);
        if n_sides > 0 {
            device.record(&self.fork, Stream::Compute)?;
            (0..n_sides).try_for_each(|i| device.wait(side(i), &self.fork))?;
        }
        for (lane, launch) in launches {
            let stream = if *lane == 0 { Stream::Compute } else { side(lane - 1) };
            self.launch(device, stream, launch)?;
        }
        for (i, join) in self.joins[..n_sides].iter().enumerate() {
            device.record(join, side(i))?;
            device.wait(Stream::Compute, join)?;
        }
        Ok(())
    }

    /// Between steps nothing in the arena counts, so that products into it can be tried; a variable does.
    fn rehearse(&self, device: &D, launches: &[Vec<(usize, Launch)>]) {
        let arena = self.arena.address..self.arena.address.plus(self.arena.bytes);
        for (_, launch) in launches.iter().flatten() {
            if launch.call.as_ref().is_some_and(|c| arena.contains(&launch.arguments[c.d.argument].address)) {
                device.rehearse(launch);
            }
        }
    }

    /// Takes down a step of a batch size in a slot.
    fn record(
        &self,
        device: &D,
        variables: &HashMap<SmolStr, Variable>,
        recorded: usize,
        slot: usize,
    ) -> Result<D::Graph, DeviceError> {
        let (recorded, slot) = (&self.recorded[recorded], &self.slots[slot]);
        let launches = self.launches(variables, recorded, slot);
        self.rehearse(device, &launches);
        device.record_graph(&mut || {
            device.forget(self.arena);
            launches.iter().try_for_each(|phase| self.phase(device, phase))?;
            let mut outputs = recorded.outputs.iter();
            outputs.try_for_each(|(from, at)| device.copy_out(*from, &slot.results, *at))
        })
    }

    /// Brings a batch into a slot, for the computing stream.
    fn stage(
        &self,
        device: &D,
        recorded: usize,
        slot: usize,
        env: StepEnv,
        inputs: &[&[u8]],
    ) -> Result<(), DeviceError> {
        let (recorded, slot) = (&self.recorded[recorded], &self.slots[slot]);
        assert_eq!(inputs.len(), recorded.inputs.len(), "a program takes all its inputs");
        device.put(&slot.staged, 0, &[env.seed.to_ne_bytes(), env.step.to_ne_bytes()].concat());
        for ((bytes, place), name) in inputs.iter().zip(&recorded.inputs).zip(&self.input_names) {
            assert_eq!(bytes.len() as u64, place.bytes, "bytes of the input {name}");
            device.put(&slot.staged, place.address.0, bytes);
        }
        device.copy_in(&slot.staged, Region { bytes: recorded.input_bytes, ..slot.input })?;
        device.record(&slot.copied, Stream::Copy)?;
        device.wait(Stream::Compute, &slot.copied)
    }
}

/// What a program needs besides variables and its arena, at any batch up to the greatest.
struct Sizes {
    lane_scratch: u64,
    n_lanes: u64,
    /// Of a slot.
    input: u64,
    results: u64,
}

impl Sizes {
    fn of(plan: &Plan, entries: &[Entry]) -> Result<Sizes, DeviceError> {
        let all = |ids: Vec<BufferId>, begin: u64| {
            ids.into_iter().try_fold(begin, |end, id| {
                let bytes = plan.greatest_bytes(id).and_then(|bytes| bytes.checked_add(end + ALIGNMENT));
                bytes.ok_or_else(|| DeviceError::TooLarge(plan.buffers[id.0 as usize].name.to_string()))
            })
        };
        let is_input = |id: &BufferId| plan.buffers[id.0 as usize].place == Place::Input;
        let input = all((0..plan.buffers.len() as u32).map(BufferId).filter(is_input).collect(), ENV_BYTES)?;
        let results = all(plan.outputs.iter().map(|(_, id)| *id).collect(), 0)?;
        // Blocks need not grow with the batch where rows shrink.
        let scratch = |entry: &Entry| {
            let blocks = (0..=plan.max_batch).map(|batch| entry.blocks(batch)).max().unwrap_or(1);
            entry.scratch_bytes.saturating_mul(u64::from(blocks))
        };
        let needy = entries.iter().filter(|entry| entry.scratch_bytes > 0);
        let lane_scratch = aligned(needy.map(scratch).max().unwrap_or(0));
        let n_lanes = plan.phases.iter().map(Vec::len).max().unwrap_or(0).min(N_LANES) as u64;
        Ok(Sizes { lane_scratch, n_lanes, input, results })
    }
}

/// The next multiple of `ALIGNMENT`; what has none is more than there is anyway.
fn aligned(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
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
