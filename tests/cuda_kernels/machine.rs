//! A plan's CUDA C, compiled by NVRTC and executed by the interpreter of PTX.
//!
//! What enters: a plan for CUDA, what its leaves hold. What leaves: outputs and variables, as the plan's interpreter gives them.
//! Each buffer is memory of its own, exactly as long as the batch needs, and nothing is in it before it is written. Where NVRTC is absent the PTX
//! is a golden one, if there is one for the same text.

use gradc::base::Dim;
use gradc::codegen::cuda::nvrtc::Nvrtc;
use gradc::codegen::cuda::{Source, emit};
use gradc::nest::interpret::Run;
use gradc::plan::interpret::Values;
use gradc::plan::{Place, Plan};
use gradc_ptx::{Arg, Memory, Module};
use std::path::{Path, PathBuf};

/// The compiler, or nothing and a line that says so.
pub fn nvrtc() -> Option<Nvrtc> {
    match Nvrtc::find(None) {
        Ok(nvrtc) => Some(nvrtc),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// PTX that was made before, for machines without NVRTC: the models' names.
pub const GOLDEN: [&str; 5] =
    ["convolution", "gradient_penalty", "own_optimizer", "recurrence", "short_batch"];

/// The first line of a golden file: which CUDA C it was made of.
pub fn mark(source: &Source) -> String {
    format!("// of CUDA C with the BLAKE3 hash {}", &blake3::hash(source.text.as_bytes()).to_hex()[..32])
}

pub fn golden_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/cuda_kernels/golden/{name}.ptx"))
}

/// The golden PTX of a text, if there is one.
fn golden(source: &Source) -> Option<String> {
    let texts = GOLDEN.iter().filter_map(|name| std::fs::read_to_string(golden_path(name)).ok());
    texts.into_iter().find(|ptx| ptx.lines().next() == Some(&mark(source)))
}

/// A plan that can be run.
pub struct Machine<'p> {
    plan: &'p Plan,
    source: Source,
    module: Module,
}

impl<'p> Machine<'p> {
    /// `None` where there is neither a compiler nor golden PTX.
    pub fn new(plan: &'p Plan) -> Option<Machine<'p>> {
        let source = emit(plan);
        let ptx = match nvrtc() {
            Some(nvrtc) => {
                let compiled = nvrtc.compile(&source.text, "sm_80");
                compiled.unwrap_or_else(|error| panic!("{error}\n{}", source.text)).ptx
            }
            None => golden(&source)?,
        };
        let module = Module::parse(&ptx).expect("PTX of NVRTC");
        Some(Machine { plan, source, module })
    }

    /// Outputs, and variables after the run.
    pub fn run(&self, leaves: &Values, at: Run) -> (Values, Values) {
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
        for launch in self.plan.phases.iter().flatten() {
            let entry = &self.source.kernels[launch.kernel];
            let blocks = entry.blocks(at.batch);
            let scratch = memory.alloc(entry.scratch_bytes as usize * blocks as usize);
            let mut given: Vec<Arg> =
                launch.arguments.iter().map(|id| Arg::Pointer(places[id.0 as usize].0)).collect();
            given.extend([Arg::Pointer(scratch), Arg::I64(at.batch), Arg::Pointer(env)]);
            self.module
                .launch(&entry.name, blocks, entry.threads, entry.shared_bytes, &given, &mut memory)
                .unwrap_or_else(|fault| panic!("{fault}\n{}", self.plan.kernels[launch.kernel]));
            memory.free(scratch);
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
