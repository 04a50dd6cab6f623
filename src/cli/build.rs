//! `gradc build FILE --emit KINDS`: a model's programs as files for an NVIDIA GPU.
//!
//! What enters: a model. What leaves: for each program its CUDA C, the PTX and the machine code that NVRTC
//! makes of it, and `manifest.json`, which says what a person needs to compile and to run them: buffers,
//! kernels, the order of launches. Invariant: the files are a function of the model and the options alone;
//! CUDA C needs nothing installed.

use super::devices::CudaPath;
use super::output::{Failure, say};
use super::project::{ModelArguments, Project};
use crate::base::files::write_atomically;
use crate::codegen::cuda::nvrtc::Nvrtc;
use crate::codegen::cuda::{Joint, Source, Whole, emit, emit_whole};
use crate::model::Model;
use crate::plan::{Launch, Place, Plan, Target};
use crate::train::engine::{Program, graph};
use crate::train::planned::plan_of;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// What to write: cuda needs nothing, ptx and cubin need NVRTC (but no GPU)
    #[arg(long, value_enum, value_delimiter = ',', default_value = "cuda")]
    emit: Vec<Kind>,
    /// Where the files go [default: build/NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// GPUs to make code for
    #[arg(long, value_name = "sm_NN", value_delimiter = ',', default_value = "sm_80,sm_90")]
    architecture: Vec<String>,
    #[command(flatten)]
    cuda: CudaPath,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Kind {
    Cuda,
    Ptx,
    Cubin,
}

const PROGRAMS: [(Program, &str); 3] =
    [(Program::Train, "train"), (Program::Eval, "eval"), (Program::Predict, "predict")];

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.model)?;
    let model = &project.model;
    let compiled = arguments.emit.iter().any(|kind| *kind != Kind::Cuda);
    let nvrtc = if compiled { Some(arguments.cuda.nvrtc()?) } else { None };
    let folder = arguments.out.clone().unwrap_or_else(|| Path::new("build").join(model.name.as_str()));
    let unwritten =
        |path: &Path, error| Failure::Error(format!("cannot write `{}`: {error}", path.display()));
    std::fs::create_dir_all(&folder).map_err(|error| unwritten(&folder, error))?;
    let mut written = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        write_atomically(&path, bytes).map_err(|error| unwritten(&path, error))?;
        written.push(path.display().to_string());
        Ok::<(), Failure>(())
    };
    let mut programs = Vec::new();
    for (program, name) in PROGRAMS {
        if graph(model, program).outputs.is_empty() {
            continue;
        }
        let plan = plan_of(model, program, Target::Cuda);
        let source = emit(&plan);
        let mut texts = vec![(name.to_string(), source.text.clone())];
        let mut described = described(name, &plan, &source);
        if let Some(whole) = emit_whole(&plan) {
            described["step"] = step(name, &plan, &whole);
            texts.push((format!("{name}.step"), whole.text));
        }
        programs.push(described);
        for (name, text) in texts {
            if arguments.emit.contains(&Kind::Cuda) {
                write(&format!("{name}.cu"), text.as_bytes())?;
            }
            for architecture in nvrtc.iter().flat_map(|_| &arguments.architecture) {
                let nvrtc = nvrtc.as_ref().expect("it is there for each architecture");
                let compiled = nvrtc.compile(&text, architecture);
                let compiled = compiled.map_err(|error| Failure::Error(error.to_string()))?;
                if arguments.emit.contains(&Kind::Ptx) {
                    write(&format!("{name}.{architecture}.ptx"), compiled.ptx.as_bytes())?;
                }
                if arguments.emit.contains(&Kind::Cubin) {
                    write(&format!("{name}.{architecture}.cubin"), &compiled.cubin)?;
                }
            }
        }
    }
    let manifest = manifest(model, programs);
    let text = serde_json::to_string_pretty(&manifest).expect("a value of text and numbers");
    write("manifest.json", format!("{text}\n").as_bytes())?;
    match arguments.model.json {
        true => say(json!({ "files": written }).to_string()),
        false => say(written.join("\n")),
    }
}

fn manifest(model: &Model, programs: Vec<Value>) -> Value {
    let options = Nvrtc::options("sm_90");
    json!({
        "gradc": env!("CARGO_PKG_VERSION"),
        "name": model.name,
        "seed": model.settings.seed,
        "compile": {
            "nvrtc": options,
            "nvcc": "nvcc -arch=sm_90 -std=c++17 --fmad=false -cubin train.cu",
        },
        "abi": "extern \"C\" __global__ void NAME(T0* a0, ..., Tn* an, unsigned char* scratch, long long batch, const StepEnv* env): \
            the launch's arguments in order, which begin at multiples of 64 bytes; scratch of blocks * scratch_bytes bytes, where \
            blocks = min(max(ceil(rows / tile), 1), most_blocks / parts) * parts; the number of examples; and in device \
            memory struct StepEnv { unsigned long long seed, step; }. Launches of one phase may run at the same time; phases \
            follow one another. Arena buffers lie at their offset in one allocation of arena_bytes, inputs are given before \
            each run, variables (zero or initial values at first) stay from run to run and are shared by name between programs. \
            Where a launch has an `or`, those launches do the same one after another: one of them is a product, which a library \
            may make. Functions of `together` do what several launches of a phase do, of which `joints` says the numbers: void \
            NAME(Of_NAME all, long long batch, const StepEnv* env), where `all` is the arguments of these launches in order, and \
            blocks are those of all of them. A small program also has a `step`, which does all phases as one cooperative launch of at most \
            `blocks` blocks: void NAME(its buffers, unsigned* arrived, long long batch, const StepEnv* env), where `arrived` is a word of \
            device memory that was once 0.",
        "programs": programs,
    })
}

/// The program as one launch.
fn step(name: &str, plan: &Plan, whole: &Whole) -> Value {
    let buffers: Vec<u32> = whole.buffers.iter().map(|id| id.0).collect();
    json!({
        "source": format!("{name}.step.cu"), "name": whole.name, "threads": whole.threads, "shared_bytes": whole.shared_bytes,
        "blocks": whole.blocks(plan.max_batch), "arguments": buffers,
    })
}

fn described(name: &str, plan: &Plan, source: &Source) -> Value {
    let buffers = plan.buffers.iter().map(|buffer| {
        let shape: Vec<String> = buffer.shape.iter().map(|dim| dim.to_string()).collect();
        let place = match buffer.place {
            Place::Arena { offset } => json!({ "arena": offset }),
            Place::Variable => json!("variable"),
            Place::Input => json!("input"),
        };
        json!({ "name": buffer.name, "type": buffer.dtype.name(), "shape": shape, "place": place })
    });
    let kernels = source.kernels.iter().map(|entry| {
        json!({
            "name": entry.name, "threads": entry.threads, "shared_bytes": entry.shared_bytes,
            "scratch_bytes": entry.scratch_bytes, "rows": entry.rows.to_string(), "tile": entry.tile,
            "parts": entry.parts, "most_blocks": entry.most_blocks,
        })
    });
    let phases = plan.phases.iter().map(|phase| {
        let launches = phase.iter().map(|launch| {
            let arguments: Vec<u32> = launch.arguments.iter().map(|id| id.0).collect();
            let kernel = &source.kernels[launch.kernel].name;
            let mut described =
                json!({ "kernel": kernel, "arguments": arguments, "computes": launch.origin.scope.to_string() });
            if let Some(apart) = &launch.apart {
                let one = |launch: &Launch| {
                    let arguments: Vec<u32> = launch.arguments.iter().map(|id| id.0).collect();
                    json!({ "kernel": &source.kernels[launch.kernel].name, "arguments": arguments })
                };
                described["or"] = Value::Array(apart.launches.iter().map(one).collect());
            }
            described
        });
        Value::Array(launches.collect())
    });
    let together = source
        .together
        .iter()
        .map(|of| json!({ "name": of.name, "threads": of.threads, "shared_bytes": of.shared_bytes }));
    let joints = source.joints.iter().map(|joints| {
        let joint = |joint: &Joint| {
            json!({ "function": source.together[joint.function].name, "launches": joint.launches })
        };
        Value::Array(joints.iter().map(joint).collect())
    });
    let outputs = plan.outputs.iter().map(|(name, id)| json!({ "name": name, "buffer": id.0 }));
    json!({
        "name": name, "source": format!("{name}.cu"), "max_batch": plan.max_batch, "arena_bytes": plan.arena_bytes,
        "buffers": buffers.collect::<Vec<_>>(), "kernels": kernels.collect::<Vec<_>>(),
        "phases": phases.collect::<Vec<_>>(), "together": together.collect::<Vec<_>>(),
        "joints": joints.collect::<Vec<_>>(), "outputs": outputs.collect::<Vec<_>>(),
    })
}
