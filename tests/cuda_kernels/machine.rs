//! A plan's CUDA C, compiled by NVRTC and executed by the interpreter of PTX.
//!
//! What enters: a plan for CUDA, what its leaves hold. What leaves: outputs and variables, as the plan's interpreter gives them.
//! Each buffer is memory of its own, exactly as long as the batch needs, and nothing is in it before it is written. A step that may be one
//! launch is executed as such, on several blocks at once, and by its launches, and both must leave the same bits. Where NVRTC is absent
//! the PTX is a golden one, if there is one for the same text.

use crate::skip::skipped;
use gradc::base::Dim;
use gradc::codegen::cuda::nvrtc::Nvrtc;
use gradc::codegen::cuda::{Joint, Source, Together, Whole, emit, emit_whole};
use gradc::nest::interpret::Run;
use gradc::plan::interpret::Values;
use gradc::plan::{Launch, Place, Plan};
use gradc_ptx::{Arg, Memory, Module};
use std::path::{Path, PathBuf};

/// The compiler, or nothing and a line that says so.
pub fn nvrtc() -> Option<Nvrtc> {
    Nvrtc::find(None).map_err(|error| skipped(&error.to_string())).ok()
}

/// PTX that was made before, for machines without NVRTC: the models' names, and whether there is also one of the step as one launch.
pub const GOLDEN: [(&str, bool); 5] = [
    ("convolution", false),
    ("gradient_penalty", false),
    ("own_optimizer", true),
    ("recurrence", false),
    ("short_batch", true),
];

/// The first line of a golden file: which CUDA C it was made of.
pub fn mark(text: &str) -> String {
    format!("// of CUDA C with the BLAKE3 hash {}", &blake3::hash(text.as_bytes()).to_hex()[..32])
}

pub fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cuda_kernels/golden/{name}.ptx"))
}

/// The golden PTX of a text, if there is one.
fn golden(text: &str) -> Option<String> {
    let names = GOLDEN.iter().flat_map(|(name, _)| [name.to_string(), format!("{name}.step")]);
    let texts = names.filter_map(|name| std::fs::read_to_string(golden_path(&name)).ok());
    texts.into_iter().find(|ptx| ptx.lines().next() == Some(&mark(text)))
}

/// What NVRTC made of a text, now or once.
fn module(text: &str) -> Option<Module> {
    let ptx = match nvrtc() {
        Some(nvrtc) => {
            let compiled = nvrtc.compile(text, "sm_80");
            compiled.unwrap_or_else(|error| panic!("{error}\n{text}")).ptx
        }
        None => golden(text)?,
    };
    Some(Module::parse(&ptx).expect("PTX of NVRTC"))
}

/// How a step is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Launches,
    /// Those of a phase that may be one as one.
    Joined,
    /// Products, what makes their factors and what is made of their results apart, where a plan says how.
    Apart,
    /// As one launch of so many blocks.
    Whole {
        blocks: u32,
    },
}

/// What is launched at once.
enum Handed<'m> {
    One(&'m Launch),
    Together(&'m Together, Vec<&'m Launch>),
}

/// A plan that can be run.
pub struct Machine<'p> {
    plan: &'p Plan,
    source: Source,
    module: Module,
    whole: Option<(Whole, Module)>,
}

impl<'p> Machine<'p> {
    /// `None` where there is neither a compiler nor golden PTX.
    pub fn new(plan: &'p Plan) -> Option<Machine<'p>> {
        let source = emit(plan);
        let whole = emit_whole(plan);
        let whole = whole.and_then(|whole| module(&whole.text).map(|module| (whole, module)));
        Some(Machine { plan, module: module(&source.text)?, source, whole })
    }

    /// The step as one launch, if it may be one.
    pub fn whole(&self) -> Option<&Whole> {
        self.whole.as_ref().map(|(whole, _)| whole)
    }

    /// Outputs, and variables after the run, however it is run.
    pub fn run(&self, leaves: &Values, at: Run) -> (Values, Values) {
        let found = self.run_as(How::Launches, leaves, at);
        if self.whole.is_some() {
            let blocks = 3 + at.step as u32 % 2;
            assert_same(&self.run_as(How::Whole { blocks }, leaves, at), &found, "one launch");
        }
        if at.step.is_multiple_of(2)
            && self.launches(How::Apart).count() > self.launches(How::Launches).count()
        {
            assert_same(&self.run_as(How::Apart, leaves, at), &found, "products apart");
        }
        if !self.source.together.is_empty() {
            assert_same(&self.run_as(How::Joined, leaves, at), &found, "several launches as one");
        }
        found
    }

    /// What is launched by itself.
    fn launches(&self, how: How) -> impl Iterator<Item = &Launch> {
        let of = move |launch: &'p Launch| match &launch.apart {
            Some(apart) if how == How::Apart => apart.launches.iter().collect(),
            _ => vec![launch],
        };
        self.plan.phases.iter().flatten().flat_map(of)
    }

    /// In the order of phases: what is launched, one by itself or several as one.
    fn handed_over(&self, how: How) -> Vec<Handed<'_>> {
        let phase = |(launches, joints): (&'p Vec<Launch>, &'_ Vec<Joint>)| {
            let is_joined = |i: &usize| joints.iter().any(|joint| joint.launches.contains(i));
            let alone = (0..launches.len()).filter(|i| !is_joined(i)).map(|i| Handed::One(&launches[i]));
            let of = |joint: &Joint| joint.launches.iter().map(|i| &launches[*i]).collect();
            let joined =
                joints.iter().map(|joint| Handed::Together(&self.source.together[joint.function], of(joint)));
            alone.chain(joined).collect::<Vec<_>>()
        };
        match how {
            How::Whole { .. } => Vec::new(),
            How::Joined => self.plan.phases.iter().zip(&self.source.joints).flat_map(phase).collect(),
            How::Launches | How::Apart => self.launches(how).map(Handed::One).collect(),
        }
    }

    pub fn run_as(&self, how: How, leaves: &Values, at: Run) -> (Values, Values) {
        let mut memory = Memory::new();
        let size = |dim: &Dim| dim.eval(&|s| (s == "batch").then_some(at.batch)).expect("a size over batch");
        let mut places = Vec::new();
        for buffer in &self.plan.buffers {
            let n = buffer.shape.iter().map(size).product::<i64>() as usize;
            let address = match buffer.place {
                Place::Arena { .. } => memory.alloc(n * buffer.dtype.bytes()),
                Place::Variable | Place::Input => {
                    memory.alloc_of(&buffer.dtype.encode(&leaves[&buffer.name]))
                }
            };
            memory.label(address, &buffer.name);
            places.push((address, n * buffer.dtype.bytes(), buffer.dtype));
        }
        let env = memory.alloc_of(&[at.seed, at.step]);
        if let How::Whole { blocks } = how {
            let (whole, module) = self.whole.as_ref().expect("the step may be one launch");
            // What an odd number of meetings leaves is as good a begin as 0.
            let arrived = memory.alloc_of(&[if at.step.is_multiple_of(2) { 0u32 } else { 1 << 31 }]);
            let mut given: Vec<Arg> =
                whole.buffers.iter().map(|id| Arg::Pointer(places[id.0 as usize].0)).collect();
            given.extend([Arg::Pointer(arrived), Arg::I64(at.batch), Arg::Pointer(env)]);
            let blocks = blocks.min(whole.blocks(at.batch));
            module
                .launch(whole.name, blocks, whole.threads, whole.shared_bytes, &given, &mut memory)
                .unwrap_or_else(|fault| panic!("{fault}\n{}", whole.text));
        }
        let pointers =
            |launch: &Launch| launch.arguments.iter().map(|id| places[id.0 as usize].0).collect::<Vec<_>>();
        for handed in self.handed_over(how) {
            let behind = [Arg::I64(at.batch), Arg::Pointer(env)];
            let launched = match &handed {
                Handed::One(launch) => {
                    let entry = &self.source.kernels[launch.kernel];
                    let blocks = entry.blocks(at.batch);
                    let scratch = memory.alloc(entry.scratch_bytes as usize * blocks as usize);
                    let given = pointers(launch).into_iter().chain([scratch]).map(Arg::Pointer);
                    let given: Vec<Arg> = given.chain(behind).collect();
                    let (name, threads, shared) = (&entry.name, entry.threads, entry.shared_bytes);
                    let launched = self.module.launch(name, blocks, threads, shared, &given, &mut memory);
                    memory.free(scratch);
                    launched
                }
                Handed::Together(of, launches) => {
                    let addresses = launches.iter().flat_map(|launch| pointers(launch));
                    let all = Arg::Bytes(addresses.flat_map(u64::to_le_bytes).collect());
                    let given: Vec<Arg> = [all].into_iter().chain(behind).collect();
                    let (blocks, threads, shared) = (of.blocks(at.batch), of.threads, of.shared_bytes);
                    self.module.launch(&of.name, blocks, threads, shared, &given, &mut memory)
                }
            };
            launched.unwrap_or_else(|fault| match handed {
                Handed::One(launch) => panic!("{fault}\n{}", self.plan.kernels[launch.kernel]),
                Handed::Together(..) => panic!("{fault}\n{}", self.source.text),
            });
        }
        let read = |i: usize| {
            let (address, n, dtype) = places[i];
            match n {
                0 => Vec::new(),
                n => dtype.decode(&memory.read(address, n).expect("it was written")),
            }
        };
        let outputs =
            self.plan.outputs.iter().map(|(name, id)| (name.clone(), read(id.0 as usize))).collect();
        let variables = self.plan.buffers.iter().enumerate().filter(|(_, b)| b.place == Place::Variable);
        (outputs, variables.map(|(i, buffer)| (buffer.name.clone(), read(i))).collect())
    }
}

/// Holds two runs to the same bits.
pub fn assert_same(found: &(Values, Values), expected: &(Values, Values), what: &str) {
    for (found, expected) in [(&found.0, &expected.0), (&found.1, &expected.1)] {
        assert_eq!(found.len(), expected.len());
        for (name, values) in expected {
            let same = found[name].iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(
                same && found[name].len() == values.len(),
                "{what}: {name}: {:?}, not {values:?}",
                found[name]
            );
        }
    }
}
