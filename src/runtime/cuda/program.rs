//! One program of a session: its places on the device, and its steps as the device takes them down.
//!
//! What enters: a plan, loaded kernels, regions of memory; batches. What leaves: work for the device, and outputs
//! of steps that are over. Invariants: a step that is under way is in a slot of its own, which nothing else
//! touches; launches of a phase come behind all of the phase before, unless the step is one launch. Not here: variables, who may
//! begin a step.

use super::device::{ALIGNMENT, Address, Device, DeviceError, Launch, N_SIDES, Region, Stream, WholeLaunch};
use super::phase::N_LANES;
use crate::codegen::cpu::StepEnv;
use crate::codegen::cuda::cache::hash;
use crate::codegen::cuda::library::{Call, call};
use crate::codegen::cuda::{Entry, Joint, Source, Together, Whole, emit};
use crate::plan::{Apart, BufferId, Place, Plan};
use smol_str::SmolStr;

/// Steps of a program that may be under way.
pub const N_SLOTS: usize = 2;

/// Bytes of a `StepEnv`, and of its place at a slot's begin.
const ENV_BYTES: u64 = size_of::<StepEnv>() as u64;

/// What a step brings and takes away, in places of its own.
pub struct Slot<D: Device> {
    /// What the host writes, and the same on the device: a `StepEnv`, then the inputs.
    pub staged: D::Host,
    pub input: Region,
    /// Outputs.
    pub results: D::Host,
    pub copied: D::Event,
    pub done: D::Event,
    /// Of the step that used it last.
    pub batch: i64,
}

/// What a step is on the device.
pub enum Code<D: Device> {
    Launches(D::Module),
    /// One launch.
    Whole(D::Module, Whole),
}

pub struct Program<D: Device> {
    pub plan: Plan,
    pub code: Code<D>,
    /// Its kernels as launches, if somebody has asked for them where a step is one.
    apart: Option<D::Module>,
    pub entries: Vec<Entry>,
    /// Functions that do what several launches do, and of each phase, which of them.
    pub together: Vec<Together>,
    pub joints: Vec<Vec<Joint>>,
    pub inputs: Vec<BufferId>,
    pub input_names: Vec<SmolStr>,
    pub arena: Region,
    /// As much for each lane.
    pub scratch: Region,
    pub lane_scratch: u64,
    /// By which the blocks of a step that is one launch meet.
    pub arrived: Region,
    /// Where the lanes of a phase part, and where each of the sides ends.
    pub fork: D::Event,
    pub joins: Vec<D::Event>,
    pub slots: Vec<Slot<D>>,
    pub recorded: Vec<Recorded<D>>,
    pub n_begun: usize,
    pub n_over: usize,
    /// Outputs of the last step that is over, one after another.
    pub outputs: Vec<Vec<u8>>,
}

/// A step at one batch size.
pub struct Recorded<D: Device> {
    pub batch: i64,
    /// Of each input, from the slot's begin.
    pub inputs: Vec<Region>,
    pub input_bytes: u64,
    /// Of each output: where from, and its place among the results.
    pub outputs: Vec<(Region, u64)>,
    /// One for each slot.
    pub graphs: Vec<Option<D::Graph>>,
}

impl<D: Device> Program<D> {
    /// `regions` are the arena's, the scratch's, where blocks meet, and each slot's input.
    ///
    /// # Errors
    /// The device has failed, or the system has no memory for batches.
    pub fn new(
        device: &D,
        plan: Plan,
        (code, source): (Code<D>, Source),
        regions: &[Region],
        sizes: &Sizes,
    ) -> Result<Program<D>, DeviceError> {
        let [arena, scratch, arrived, slots @ ..] = regions else {
            unreachable!("three, and one for each slot")
        };
        let slot = |input: &Region| -> Result<Slot<D>, DeviceError> {
            Ok(Slot {
                staged: device.host(sizes.input)?,
                input: *input,
                results: device.host(sizes.results)?,
                copied: device.event()?,
                done: device.event()?,
                batch: 0,
            })
        };
        let is_input = |id: &BufferId| plan.buffers[id.0 as usize].place == Place::Input;
        let inputs: Vec<BufferId> = (0..plan.buffers.len() as u32).map(BufferId).filter(is_input).collect();
        let input_names = inputs.iter().map(|id| plan.buffers[id.0 as usize].name.clone()).collect();
        Ok(Program {
            code,
            apart: None,
            entries: source.kernels,
            together: source.together,
            joints: source.joints,
            inputs,
            input_names,
            arena: *arena,
            scratch: *scratch,
            arrived: *arrived,
            lane_scratch: sizes.lane_scratch,
            fork: device.event()?,
            joins: (0..N_SIDES).map(|_| device.event()).collect::<Result<_, _>>()?,
            slots: slots.iter().map(slot).collect::<Result<_, _>>()?,
            recorded: Vec::new(),
            n_begun: 0,
            n_over: 0,
            outputs: vec![Vec::new(); plan.outputs.len()],
            plan,
        })
    }

    /// Waits for the earliest step that is under way, and takes its outputs.
    pub fn end_one(&mut self, device: &D) -> Result<(), DeviceError> {
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
    pub fn recorded(&mut self, batch: i64) -> usize {
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

    /// What a step of a batch size launches, phase by phase, its batch in a slot.
    pub fn launches(
        &self,
        variable: &dyn Fn(&SmolStr) -> Region,
        recorded: &Recorded<D>,
        slot: &Slot<D>,
    ) -> Vec<Vec<Launch>> {
        let batch = recorded.batch;
        let env = env_of(slot);
        let region = |id: &BufferId| self.region(*id, variable, recorded, slot);
        let arena = self.arena.address..self.arena.address.plus(self.arena.bytes);
        let one = |lane: usize, launch: &crate::plan::Launch| {
            let entry = &self.entries[launch.kernel];
            let blocks = entry.blocks(batch);
            let arguments: Vec<Region> = launch.arguments.iter().map(region).collect();
            let bytes = entry.scratch_bytes * u64::from(blocks);
            // A lane that needs none may be one that has none.
            let begin = if bytes > 0 { lane as u64 * self.lane_scratch } else { 0 };
            let scratch = Region { address: self.scratch.address.plus(begin), bytes };
            // Between steps nothing in the arena counts, so that a product into it can be tried; one into a variable cannot, and stays a kernel.
            let call = call(&self.plan.kernels[launch.kernel], batch)
                .filter(|call| arena.contains(&arguments[call.d.argument].address));
            let call = call.map(|call| Call { allows_tf32: self.plan.allows_tf32, ..call });
            Launch { kernel: launch.kernel, blocks, arguments, scratch, batch, env, call, apart: None }
        };
        let launch = |lane: usize, launch: &crate::plan::Launch| {
            let apart = launch.apart.as_ref().map(|apart| {
                let product = apart.product;
                let mut launches: Vec<Launch> =
                    apart.launches.iter().map(|launch| one(lane, launch)).collect();
                if let Some(call) = &mut launches[product].call {
                    let kernel = &self.plan.kernels[launch.kernel];
                    call.fused = Some(hash([&kernel.to_string()[..]]).into());
                    call.is_for_choice = product > 0;
                }
                Box::new(Apart { launches, product })
            });
            Launch { apart, ..one(lane, launch) }
        };
        let of_phase = |(number, phase): (usize, &Vec<crate::plan::Launch>)| {
            self.lanes(number).into_iter().zip(phase).map(|(lane, of_plan)| launch(lane, of_plan)).collect()
        };
        self.plan.phases.iter().enumerate().map(of_phase).collect()
    }

    /// Where a buffer lies in a step.
    fn region(
        &self,
        id: BufferId,
        variable: &dyn Fn(&SmolStr) -> Region,
        recorded: &Recorded<D>,
        slot: &Slot<D>,
    ) -> Region {
        let buffer = &self.plan.buffers[id.0 as usize];
        let bytes = || self.plan.buffer_bytes(id, recorded.batch).expect("the greatest batch has a size");
        match buffer.place {
            Place::Arena { offset } => Region { address: self.arena.address.plus(offset), bytes: bytes() },
            Place::Variable => variable(&buffer.name),
            Place::Input => {
                let input = self.inputs.iter().position(|i| *i == id).expect("it is in the list");
                let place = recorded.inputs[input];
                Region { address: slot.input.address.plus(place.address.0), bytes: place.bytes }
            }
        }
    }

    /// Loads the program's kernels as launches, also where a step is one: for who times them.
    ///
    /// # Errors
    /// A compiler refuses them.
    pub fn load_launches(&mut self, device: &D) -> Result<(), DeviceError> {
        if matches!(self.code, Code::Whole(..)) && self.apart.is_none() {
            self.apart = Some(device.load(&self.plan.kernels, &emit(&self.plan))?);
        }
        Ok(())
    }

    /// The kernels as launches.
    ///
    /// # Panics
    /// If they were not loaded.
    pub fn kernels(&self) -> &D::Module {
        match &self.code {
            Code::Launches(module) => module,
            Code::Whole(..) => self.apart.as_ref().expect("`load_launches` was called"),
        }
    }

    /// Lets the device find out what it makes of calls.
    pub fn rehearse(&self, device: &D, launches: &[Vec<Launch>]) {
        launches.iter().flatten().for_each(|launch| device.rehearse(launch.product()));
    }

    /// Takes down a step of a batch size in a slot.
    pub fn record(
        &self,
        device: &D,
        variable: &dyn Fn(&SmolStr) -> Region,
        recorded: usize,
        slot: usize,
    ) -> Result<D::Graph, DeviceError> {
        let (recorded, slot) = (&self.recorded[recorded], &self.slots[slot]);
        let launches = self.launches(variable, recorded, slot);
        if let Code::Launches(_) = self.code {
            self.rehearse(device, &launches);
        }
        device.record_graph(&mut || {
            device.forget(self.arena);
            match &self.code {
                Code::Launches(module) => {
                    let mut phases = launches.iter().enumerate();
                    phases.try_for_each(|(i, phase)| self.phase(device, module, (i, phase)))?;
                }
                Code::Whole(module, whole) => {
                    let region = |id: &BufferId| self.region(*id, variable, recorded, slot);
                    let launch = WholeLaunch {
                        blocks: whole.blocks(recorded.batch),
                        arguments: whole.buffers.iter().map(region).collect(),
                        arrived: self.arrived,
                        batch: recorded.batch,
                        env: env_of(slot),
                        launches: launches.iter().flatten().cloned().collect(),
                    };
                    device.launch_whole(module, whole, &launch)?;
                }
            }
            let mut outputs = recorded.outputs.iter();
            outputs.try_for_each(|(from, at)| device.copy_out(*from, &slot.results, *at))
        })
    }

    /// Brings a batch into a slot, for the computing stream.
    pub fn stage(
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

/// A slot's `StepEnv`.
fn env_of<D: Device>(slot: &Slot<D>) -> Region {
    Region { bytes: ENV_BYTES, ..slot.input }
}

/// What a program needs besides variables and its arena, at any batch up to the greatest.
pub struct Sizes {
    pub lane_scratch: u64,
    pub n_lanes: u64,
    /// Of a slot.
    pub input: u64,
    pub results: u64,
}

impl Sizes {
    /// # Errors
    /// Something has no size in 64 bits.
    pub fn of(plan: &Plan, entries: &[Entry]) -> Result<Sizes, DeviceError> {
        let all = |ids: Vec<BufferId>, begin: u64| {
            ids.into_iter().try_fold(begin, |end, id| {
                let bytes = plan.greatest_bytes(id).and_then(|bytes| bytes.checked_add(end + ALIGNMENT));
                bytes.ok_or_else(|| DeviceError::TooLarge(plan.buffers[id.0 as usize].name.to_string()))
            })
        };
        let is_input = |id: &BufferId| plan.buffers[id.0 as usize].place == Place::Input;
        let input = all((0..plan.buffers.len() as u32).map(BufferId).filter(is_input).collect(), ENV_BYTES)?;
        let results = all(plan.outputs.iter().map(|(_, id)| *id).collect(), 0)?;
        let scratch = |entry: &Entry| {
            entry.scratch_bytes.saturating_mul(u64::from(entry.greatest_blocks(plan.max_batch)))
        };
        let needy = entries.iter().filter(|entry| entry.scratch_bytes > 0);
        let lane_scratch = aligned(needy.map(scratch).max().unwrap_or(0));
        let n_lanes = plan.phases.iter().map(Vec::len).max().unwrap_or(0).min(N_LANES) as u64;
        Ok(Sizes { lane_scratch, n_lanes, input, results })
    }
}

/// The next multiple of `ALIGNMENT`; what has none is more than there is anyway.
pub fn aligned(bytes: u64) -> u64 {
    bytes.checked_next_multiple_of(ALIGNMENT).unwrap_or(u64::MAX)
}
