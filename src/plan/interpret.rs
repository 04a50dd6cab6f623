//! A whole plan, run by the nest interpreter: the middle rung of the oracle ladder.
//!
//! What enters: a plan, what its leaves hold, a batch, seed and step. What leaves: outputs and variables by name. Buffers
//! are NaN before they are written, and each is exactly as long as this batch needs, so that a read too early or too far
//! shows. Not here: arena offsets, whose overlaps are checked apart.

use super::{Place, Plan};
use crate::base::Dim;
use crate::nest::interpret::{Run, run};
use smol_str::SmolStr;
use std::collections::BTreeMap;

/// Values by name.
pub type Values = BTreeMap<SmolStr, Vec<f64>>;

/// Runs all phases; gives the outputs, and the variables after the run.
///
/// # Errors
/// A leaf that is missing or has another size; an address outside of a buffer.
pub fn interpret(plan: &Plan, leaves: &Values, at: Run) -> Result<(Values, Values), String> {
    let length = |shape: &[Dim]| -> Option<usize> {
        let size = |dim: &Dim| dim.eval(&|s| (s == "batch").then_some(at.batch)).map(|n| n as usize);
        shape.iter().map(size).try_fold(1, |n, size| Some(n * size?))
    };
    let mut memory: Vec<Vec<f64>> = Vec::with_capacity(plan.buffers.len());
    for buffer in &plan.buffers {
        let n = length(&buffer.shape).ok_or_else(|| format!("{} has no size", buffer.name))?;
        memory.push(match buffer.place {
            Place::Arena { .. } => vec![f64::NAN; n],
            Place::Variable | Place::Input => {
                let value = leaves.get(&buffer.name).ok_or_else(|| format!("{} is missing", buffer.name))?;
                if value.len() != n {
                    return Err(format!("{} has {} elements, not {n}", buffer.name, value.len()));
                }
                value.clone()
            }
        });
    }
    for (p, phase) in plan.phases.iter().enumerate() {
        for launch in phase {
            let kernel = &plan.kernels[launch.kernel];
            let ids: Vec<usize> = launch.arguments.iter().map(|b| b.0 as usize).collect();
            let mut arguments: Vec<Vec<f64>> = ids.iter().map(|i| memory[*i].clone()).collect();
            run(kernel, &mut arguments, at).map_err(|e| format!("phase {p}, {}: {e}", kernel.name))?;
            for (i, value) in ids.into_iter().zip(arguments) {
                memory[i] = value;
            }
        }
    }
    let outputs =
        plan.outputs.iter().map(|(name, id)| (name.clone(), memory[id.0 as usize].clone())).collect();
    let variables = plan.buffers.iter().zip(memory).filter(|(buffer, _)| buffer.place == Place::Variable);
    Ok((outputs, variables.map(|(buffer, value)| (buffer.name.clone(), value)).collect()))
}
