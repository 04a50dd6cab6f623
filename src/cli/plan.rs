//! `gradc plan FILE`: what a training step will cost, before it runs.

use super::format;
use super::output::{Failure, say};
use super::project::{ModelArguments, Project, n_parameters};
use super::stages::TimePasses;
use crate::plan::Target;
use crate::train::engine::Program;
use crate::train::planned::plan_of;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    time_passes: TimePasses,
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    arguments.time_passes.start();
    let project = Project::open(&arguments.model)?;
    let model = &project.model;
    let plan = plan_of(model, Program::Train, Target::Cpu);
    arguments.time_passes.report();
    let memory = plan.peak_bytes(project.threads);
    if arguments.model.json {
        let phases: Vec<Value> = plan
            .phases
            .iter()
            .map(|phase| {
                let launch = |l: &crate::plan::Launch| json!({ "kernel": plan.kernels[l.kernel].name, "note": l.note });
                phase.iter().map(launch).collect::<Vec<_>>().into()
            })
            .collect();
        return say(json!({
            "name": model.name, "batch": plan.max_batch, "parameters": n_parameters(model),
            "kernels": plan.kernels.len(), "flops": plan.flops, "arena_bytes": plan.arena_bytes,
            "peak_bytes": memory, "phases": phases,
        })
        .to_string());
    }
    let n_launches: usize = plan.phases.iter().map(Vec::len).sum();
    let mut text = format!(
        "{} · batch {}\n\
         parameters    {}\n\
         kernels       {} ({n_launches} launches in {} phases)\n\
         work a step   {:.3} MFLOP\n\
         peak memory   {} ({} of it shared by intermediate values)\n",
        model.name,
        plan.max_batch,
        format::count(n_parameters(model)),
        plan.kernels.len(),
        plan.phases.len(),
        plan.flops as f64 * 1e-6,
        format::bytes(memory),
        format::bytes(plan.arena_bytes),
    );
    for (number, phase) in plan.phases.iter().enumerate() {
        text += &format!("\nphase {number}\n");
        for launch in phase {
            text += &format!("  {}\n", plan.kernels[launch.kernel].name);
            for line in launch.note.lines() {
                text += &format!("      {line}\n");
            }
        }
    }
    say(text)
}
