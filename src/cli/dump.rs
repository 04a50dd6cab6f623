//! `gradc dump FILE --after STAGE`: the compiler's text forms, one for each stage.

use super::devices::{CudaPath, TargetArgument};
use super::output::{Failure, report, say};
use super::project::{ModelArguments, Project};
use crate::codegen::cpu::{Kind, assembly};
use crate::codegen::cuda::{emit, emit_whole};
use crate::graph::text::print;
use crate::plan::Target;
use crate::train::engine::{Program, graph};
use crate::train::planned::plan_of;
use crate::{autodiff, passes};
use clap::ValueEnum;
use gradc_dsl::SourceMap;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// syntax, graph, grad, the name of a pass, optimized, plan, nest, clif, asm, cuda, step (of a GPU, as one kernel) or ptx
    #[arg(long, default_value = "graph")]
    after: String,
    /// Which of the model's programs
    #[arg(long, value_enum, default_value = "train")]
    program: Which,
    /// The kind of machine that a plan is for
    #[arg(long, value_enum, default_value = "cpu")]
    target: TargetArgument,
    /// The GPU that PTX is made for
    #[arg(long, value_name = "sm_NN", default_value = "sm_90")]
    architecture: String,
    #[command(flatten)]
    cuda: CudaPath,
    /// Add each node's place in the model as a comment
    #[arg(long)]
    scopes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Which {
    Train,
    Eval,
    Predict,
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.after == "syntax" {
        return syntax(&arguments.model);
    }
    let project = Project::open(&arguments.model)?;
    let program = match arguments.program {
        Which::Train => Program::Train,
        Which::Eval => Program::Eval,
        Which::Predict => Program::Predict,
    };
    let model = &project.model;
    let graph = graph(model, program);
    let target = arguments.target.get();
    match arguments.after.as_str() {
        "graph" => say(print(graph, arguments.scopes)),
        "grad" => say(print(&autodiff::differentiate(graph), arguments.scopes)),
        "optimized" => {
            let graph = passes::optimize_in(model.settings.precision, &autodiff::differentiate(graph));
            say(print(&graph, arguments.scopes))
        }
        "plan" => say(crate::plan::report(&plan_of(model, program, target))),
        "nest" => {
            say(plan_of(model, program, target).kernels.iter().map(|k| format!("{k}\n")).collect::<String>())
        }
        "clif" => {
            let kernels = plan_of(model, program, Target::Cpu).kernels;
            say(kernels
                .iter()
                .map(|k| format!("; {}\n{}\n", k.name, crate::codegen::cpu::clif(k)))
                .collect::<String>())
        }
        "asm" => {
            let kernels = plan_of(model, program, Target::Cpu).kernels;
            let kind = Kind::of_machine().unwrap_or(Kind::Avx512);
            say(kernels.iter().map(|kernel| assembly(kernel, kind)).collect::<String>())
        }
        "cuda" => say(emit(&plan_of(model, program, Target::Cuda)).text),
        "step" => match emit_whole(&plan_of(model, program, Target::Cuda)) {
            Some(whole) => say(whole.text),
            None => Err(Failure::Error(
                "a step of this program is launches and no kernel of its own: `--after cuda` has these"
                    .into(),
            )),
        },
        "ptx" => {
            let nvrtc = arguments.cuda.nvrtc()?;
            let text = emit(&plan_of(model, program, Target::Cuda)).text;
            let compiled = nvrtc.compile(&text, &arguments.architecture);
            say(compiled.map_err(|error| Failure::Error(error.to_string()))?.ptx)
        }
        stage => match passes::optimize_until(&autodiff::differentiate(graph), stage) {
            Some(graph) => say(print(&graph, arguments.scopes)),
            None => {
                let names: Vec<&str> = passes::PIPELINE.iter().map(|(name, _)| *name).collect();
                let names = names.join(", ");
                Err(Failure::Usage(format!(
                    "there is no stage `{stage}`; there are syntax, graph, grad, the passes {names}, optimized, plan, nest, clif, asm, cuda, step, ptx"
                )))
            }
        },
    }
}

/// The tree of a file that need not be a sound model.
fn syntax(arguments: &ModelArguments) -> Result<(), Failure> {
    let (name, bytes) = super::project::text(arguments)?;
    let mut sources = SourceMap::default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    sources.add(name, text.clone());
    let (file, diagnostics) = match gradc_dsl::decode(0, &bytes) {
        Ok(text) => gradc_dsl::parse(0, &text),
        Err(error) => return report(&[error], &sources, arguments.json),
    };
    say(gradc_dsl::tree(&file))?;
    report(&diagnostics, &sources, arguments.json)
}
