//! What people read of a kernel: its name, and what stands above it and above its ops.
//!
//! What enters: a plan. What leaves: names that are identifiers of C, and lines. Not here: the kernel's text.

use crate::base::Dim;
use crate::plan::{Buffer, Launch, Plan};

/// What people read of a kernel: above it, and above each of its ops.
#[derive(Clone, Default)]
pub struct Heading {
    pub lines: Vec<String>,
    pub ops: Vec<String>,
}

/// Of the first launch of each kernel: what its arguments are, and which nodes its ops compute.
pub fn headings(plan: &Plan) -> Vec<Heading> {
    let mut all: Vec<Heading> = vec![Heading::default(); plan.kernels.len()];
    let shape = |buffer: &Buffer| {
        let sizes: Vec<String> = buffer.shape.iter().map(Dim::to_string).collect();
        format!("{} {}[{}]", buffer.name, buffer.dtype, sizes.join(", "))
    };
    for launch in plan.phases.iter().flatten().flat_map(Launch::variants) {
        let Heading { lines, ops } = &mut all[launch.kernel];
        if ops.is_empty() {
            ops.extend(launch.parts.iter().map(|part| part.what.to_string()));
            let arguments = launch.arguments.iter().map(|id| &plan.buffers[id.0 as usize]).enumerate();
            lines.extend(arguments.map(|(i, buffer)| format!("a{i}: {}", shape(buffer))));
        }
    }
    all
}

/// Of a function, behind what it computes.
pub fn name(what: &str, number: &str) -> String {
    format!("{}_{number}", identifier(what))
}

/// Letters, digits and underscores.
fn identifier(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let clean = clean.trim_matches('_');
    if clean.starts_with(|c: char| c.is_ascii_alphabetic()) {
        clean.into()
    } else {
        format!("kernel_{clean}")
    }
}
