//! A plan for people: `gradc plan`.
//!
//! What enters: a plan. What leaves: text, the same for the same plan: totals, then each phase with its launches and
//! tiles, then the buffers. Not here: kernels' insides, which `nest::text` prints.

use super::tile::Sizes;
use super::{Launch, Place, Plan};
use std::fmt::Write;

/// Bytes as people say them.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

pub fn report(plan: &Plan) -> String {
    let mut out = String::new();
    let n_launches: usize = plan.phases.iter().map(Vec::len).sum();
    let arena = bytes(plan.arena_bytes);
    let (variables, scratch) = (bytes(plan.variable_bytes()), bytes(plan.scratch_bytes()));
    let line = |out: &mut String, text: String| writeln!(out, "{text}").expect("writing to a string");
    line(
        &mut out,
        format!(
            "{} kernels, {n_launches} launches in {} phases, batch up to {}",
            plan.kernels.len(),
            plan.phases.len(),
            plan.max_batch
        ),
    );
    line(&mut out, format!("{} floating-point operations a run", group_digits(plan.flops)));
    line(
        &mut out,
        format!(
            "peak memory {}: variables {variables}, arena {arena}, scratch {scratch} a thread, and inputs",
            bytes(plan.peak_bytes(1))
        ),
    );
    for (number, phase) in plan.phases.iter().enumerate() {
        line(&mut out, format!("\nphase {number}"));
        for launch in phase {
            let kernel = &plan.kernels[launch.kernel];
            let rows = Sizes::new(plan.max_batch, 1).of(&kernel.rows);
            let tiles = rows.div_ceil(kernel.tile.into());
            let shape =
                if tiles == 1 { "1 tile".into() } else { format!("{tiles} tiles of {} rows", kernel.tile) };
            line(&mut out, format!("  kernel {} {}: {shape}", launch.kernel, kernel.name));
            line(&mut out, format!("    {}", launch.note));
            let names = launch.arguments.iter().zip(&kernel.arguments).map(|(id, argument)| {
                format!("{:?} {}", argument.access, plan.buffers[id.0 as usize].name).to_lowercase()
            });
            line(&mut out, format!("    {}", names.collect::<Vec<_>>().join(", ")));
            if let Some(apart) = &launch.apart {
                let one = |(i, launch): (usize, &Launch)| match i == apart.product {
                    true => format!("a library's product for kernel {}", launch.kernel),
                    false => format!("kernel {}", launch.kernel),
                };
                let all: Vec<String> = apart.launches.iter().enumerate().map(one).collect();
                line(&mut out, format!("    or {}", all.join(", and ")));
            }
        }
    }
    line(&mut out, "\nbuffers".into());
    for buffer in &plan.buffers {
        let shape: Vec<String> = buffer.shape.iter().map(ToString::to_string).collect();
        let place = match buffer.place {
            Place::Arena { offset } => format!("arena at {offset}"),
            Place::Variable => "variable".into(),
            Place::Input => "input".into(),
        };
        line(&mut out, format!("  {} {}[{}], {place}", buffer.name, buffer.dtype, shape.join(", ")));
    }
    out
}

/// `12_345_678`, as the language writes numbers.
pub fn group_digits(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push('_');
        }
        out.push(c);
    }
    out
}
