//! A recording as a Chrome trace: JSON that `chrome://tracing` and Perfetto draw, a row for each thread.
//!
//! What enters: a plan and a recording. What leaves: a file with a slice for each tile of a kernel and, inside of it, one for
//! each op (format: "Trace Event Format", complete events, microseconds). Of many steps the last ones are written, as many as
//! a viewer takes without trouble.

use crate::cli::output::Failure;
use crate::plan::{Launch, Plan};
use crate::runtime::{Recording, What};
use serde_json::json;
use std::io::Write;
use std::path::Path;

/// Events in a file, or thereabouts.
const MOST_EVENTS: usize = 200_000;

pub fn write(path: &Path, plan: &Plan, recording: &Recording) -> Result<(), Failure> {
    let unwritten = |e: std::io::Error| Failure::Error(format!("cannot write `{}`: {e}", path.display()));
    let file = std::fs::File::create(path).map_err(unwritten)?;
    let mut out = std::io::BufWriter::new(file);
    events(&mut out, plan, recording).and_then(|()| out.flush()).map_err(unwritten)
}

fn events(out: &mut dyn Write, plan: &Plan, recording: &Recording) -> std::io::Result<()> {
    let launches: Vec<&Launch> = plan.phases.iter().flatten().collect();
    let steps = &recording.steps;
    let n_marks: usize = recording.threads.iter().map(Vec::len).sum();
    let n_steps = (MOST_EVENTS * steps.len() / n_marks.max(1)).clamp(1, steps.len().max(1));
    let first = steps.len().saturating_sub(n_steps);
    let since = steps.get(first).map_or(0, |step| step.begin);
    let micros = |at: u64| at.saturating_sub(since) as f64 * 1e-3;
    let slice = |name: &str, thread: usize, begin: u64, end: u64, args: serde_json::Value| {
        let duration = end.saturating_sub(begin) as f64 * 1e-3;
        json!({ "name": name, "ph": "X", "pid": 0, "tid": thread, "ts": micros(begin), "dur": duration, "args": args })
    };
    writeln!(out, "{{\"displayTimeUnit\": \"ms\", \"traceEvents\": [")?;
    for thread in 0..recording.threads.len() {
        let args = json!({ "name": format!("thread {thread}") });
        let name = json!({ "name": "thread_name", "ph": "M", "pid": 0, "tid": thread, "args": args });
        writeln!(out, "{name},")?;
    }
    for (thread, marks) in recording.threads.iter().enumerate() {
        let from = marks.partition_point(|mark| mark.at < since);
        // Of the tile that runs: launch, first row, begin, end so far.
        let mut tile: Option<(u32, u32, u64, u64)> = None;
        let close = |out: &mut dyn Write, tile: Option<(u32, u32, u64, u64)>| -> std::io::Result<()> {
            let Some((launch, start, begin, end)) = tile else { return Ok(()) };
            let launch = launches[launch as usize];
            let kernel = &plan.kernels[launch.kernel];
            let args = json!({ "kernel": launch.kernel, "first_row": start, "note": launch.note });
            let name =
                if launch.origin.scope.is_empty() { &kernel.name } else { launch.origin.scope.as_str() };
            writeln!(out, "{},", slice(name, thread, begin, end, args))
        };
        for mark in &marks[from..] {
            match mark.what {
                What::Begun { launch, start } => {
                    close(out, tile.take())?;
                    tile = Some((launch, start, mark.at, mark.at));
                }
                What::Done { op } => {
                    let Some((launch, _, _, end)) = &mut tile else { continue };
                    let part = &launches[*launch as usize].parts[op as usize];
                    let args = json!({ "scope": part.origin.scope.as_str() });
                    writeln!(out, "{},", slice(&part.what, thread, *end, mark.at, args))?;
                    *end = mark.at;
                }
            }
        }
        close(out, tile)?;
    }
    // The last event has no comma after it.
    for (i, step) in steps.iter().enumerate().skip(first) {
        let args = json!({ "batch": step.batch });
        let event = slice(&format!("step {i}"), recording.threads.len(), step.begin, step.end, args);
        let comma = if i + 1 < steps.len() { "," } else { "" };
        writeln!(out, "{event}{comma}")?;
    }
    writeln!(out, "]}}")
}
