//! A profile as text and as JSON.

use super::{Machine, Measured, Row};
use crate::cli::format;
use crate::model::Model;
use crate::plan::Work;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Rows of ops that are shown, where not all are asked for.
const MOST_OPS: usize = 24;

pub struct Table<'a> {
    pub model: &'a Model,
    pub measured: Measured<'a>,
    /// Launches and ops; a GPU does not tell ops apart.
    pub rows: (Vec<Row>, Vec<Row>),
}

/// A path of calls without the numbers that tell layers of one kind apart.
fn kind(scope: &str) -> String {
    let part = |part: &str| if part.parse::<u32>().is_ok() { "*".to_string() } else { part.to_string() };
    scope.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// Rows that are alike as one, in the order of their first.
pub fn merged(rows: Vec<Row>) -> Vec<Row> {
    let mut known: HashMap<(String, String), usize> = HashMap::new();
    let mut merged: Vec<Row> = Vec::new();
    for row in rows {
        // Kernels are alike when they are one kernel; ops, when they come from the same place of layers of one kind.
        let scope = if row.what.starts_with('[') { kind(&row.scope) } else { String::new() };
        let at = *known.entry((row.what.clone(), scope)).or_insert(merged.len());
        match merged.get_mut(at) {
            None => merged.push(row),
            Some(first) => {
                first.n += 1;
                first.busy += row.busy;
                first.span += row.span;
                first.tiles += row.tiles;
                first.work.flops += row.work.flops;
                first.work.bytes += row.work.bytes;
                if first.scope != row.scope {
                    first.scope = kind(&first.scope);
                }
            }
        }
    }
    merged
}

impl Table<'_> {
    /// The time of a step and what comes between it and the next, of all threads together.
    fn whole(&self) -> f64 {
        (self.measured.profile.step + self.measured.profile.between) * self.measured.profile.n_threads as f64
    }

    /// Seconds at which the threads together do a row's work, and how often its floor that is.
    fn time(&self, row: &Row) -> (f64, f64) {
        let time = row.busy / self.measured.profile.n_threads as f64;
        (time, time / self.measured.machine.floor(row.work).max(1e-12))
    }

    fn total(&self) -> Work {
        let add = |sum: Work, row: &Row| Work {
            flops: sum.flops + row.work.flops,
            of_tensors: sum.of_tensors + row.work.of_tensors,
            bytes: sum.bytes + row.work.bytes,
        };
        self.rows.0.iter().fold(Work::default(), add)
    }

    pub fn json(&self) -> Value {
        let rows = |rows: &[Row]| -> Vec<Value> {
            let row = |row: &Row| {
                let (time, of_floor) = self.time(row);
                json!({
                    "what": row.what, "scope": row.scope, "place": row.place, "n": row.n, "ms": time * 1e3,
                    "share": row.busy / self.whole(), "flops": row.work.flops, "bytes": row.work.bytes,
                    "gflop_per_s": row.work.flops as f64 / time.max(1e-12) * 1e-9,
                    "gb_per_s": row.work.bytes as f64 / time.max(1e-12) * 1e-9,
                    "times_floor": of_floor, "tiles": row.tiles,
                    "width": row.busy / row.span.max(1e-12),
                })
            };
            rows.iter().map(row).collect()
        };
        let n_threads = self.measured.profile.n_threads as f64;
        json!({
            "name": self.model.name, "batch": self.measured.plan.max_batch, "on": self.measured.on,
            "threads": self.measured.profile.n_threads, "whole_step_ms": self.measured.whole.map(|seconds| seconds * 1e3),
            "steps": self.measured.profile.n_steps, "ms": (self.measured.profile.step + self.measured.profile.between) * 1e3,
            "peak_gflop_per_s": self.measured.machine.flops * 1e-9, "peak_tensor_gflop_per_s": self.measured.machine.of_tensors * 1e-9, "peak_gb_per_s": self.measured.machine.bytes * 1e-9,
            "kernels": rows(&self.rows.0), "ops": rows(&self.rows.1),
            "waiting": { "ms": self.measured.profile.waiting() / n_threads * 1e3, "share": self.measured.profile.waiting() / self.whole() },
            "between_steps": { "ms": self.measured.profile.between * 1e3, "share": self.measured.profile.between * n_threads / self.whole() },
        })
    }

    pub fn text(&self, all: bool) -> String {
        let profile = self.measured.profile;
        let n_threads = profile.n_threads as f64;
        let mut lines = vec![
            format!(
                "{} · batch {} · {} · {} steps of {}",
                self.model.name,
                self.measured.plan.max_batch,
                self.measured.on,
                profile.n_steps,
                format::seconds(profile.step + profile.between)
            ),
            format!(
                "the machine's peak: {}, {:.1} GB/s; a row's floor is the time at these",
                self.peaks(),
                self.measured.machine.bytes * 1e-9
            ),
        ];
        if let Some(whole) = self.measured.whole {
            let whole = format::seconds(whole);
            lines.push(format!(
                "a step as one launch takes {whole}; rows are of kernels launched one by one, also those that a step launches together"
            ));
        }
        let unit = if self.in_ms() { "ms" } else { "µs" };
        let per_second = if self.is_gpu() { "TFLOP/s" } else { "GFLOP/s" };
        let head =
            |of: &str| format!("\n{unit:>10}  share  {per_second}    GB/s  ×floor  width  tiles  {of}");
        let (mut launches, mut ops): (Vec<&Row>, Vec<&Row>) =
            (self.rows.0.iter().collect(), self.rows.1.iter().collect());
        for rows in [&mut launches, &mut ops] {
            rows.sort_by(|x, y| y.busy.total_cmp(&x.busy));
        }
        lines.push(head("kernel"));
        lines.extend(launches.iter().map(|row| self.line(row)));
        let other = |time: f64, what: &str| {
            let share = 100.0 * time * n_threads / self.whole();
            format!("{} {share:>5.1}%{:>41}{what}", self.shown(time), "")
        };
        if self.measured.whole.is_none() {
            lines.push(other(profile.waiting() / n_threads, "waiting: ends of phases, threads without work"));
            lines.push(other(profile.between, "between steps: the next batch, losses"));
        }
        let total = Row {
            what: String::new(),
            scope: "all".to_string(),
            place: String::new(),
            n: 1,
            busy: self.whole(),
            span: profile.step + profile.between,
            tiles: launches.iter().map(|row| row.tiles).sum(),
            work: self.total(),
        };
        lines.push(self.line(&total));
        if ops.is_empty() {
            return lines.join("\n");
        }
        let shown = if all { ops.len() } else { ops.len().min(MOST_OPS) };
        lines.push(head("op inside of kernels"));
        lines.extend(ops[..shown].iter().map(|row| self.line(row)));
        if shown < ops.len() {
            let busy: f64 = ops[shown..].iter().map(|row| row.busy).sum();
            lines.push(other(busy / n_threads, &format!("{} more (`--all` shows them)", ops.len() - shown)));
        }
        lines.join("\n")
    }

    fn in_ms(&self) -> bool {
        self.measured.profile.step > 5e-3
    }

    fn is_gpu(&self) -> bool {
        self.measured.whole.is_some()
    }

    /// Operations a second at most; a GPU has more of products in bf16 and tf32.
    fn peaks(&self) -> String {
        let Machine { flops, of_tensors, .. } = self.measured.machine;
        match (self.is_gpu(), of_tensors > flops) {
            (false, _) => format!("{:.0} GFLOP/s", flops * 1e-9),
            (true, false) => format!("{:.1} TFLOP/s", flops * 1e-12),
            (true, true) => format!(
                "{:.1} TFLOP/s ({:.0} of products in {})",
                flops * 1e-12,
                of_tensors * 1e-12,
                self.model.settings.precision.name()
            ),
        }
    }

    /// A time in the unit of all rows.
    fn shown(&self, seconds: f64) -> String {
        if self.in_ms() { format!("{:>10.3}", seconds * 1e3) } else { format!("{:>10.2}", seconds * 1e6) }
    }

    fn line(&self, row: &Row) -> String {
        let (time, of_floor) = self.time(row);
        let speed = |amount: u64| amount as f64 / time.max(1e-12) * 1e-9;
        let thousands = if self.is_gpu() { 1e-3 } else { 1.0 };
        let times = if row.n > 1 { format!(" (×{})", row.n) } else { String::new() };
        let place = if row.place.is_empty() { String::new() } else { format!(" at {}", row.place) };
        let width = row.busy / row.span.max(1e-12);
        let what = if row.what.is_empty() { String::new() } else { format!(" {}", row.what) };
        // Past some thousand the floor is nothing: a few bytes, or a loop over scalars.
        let of_floor = if of_floor < 9999.0 { format!("{of_floor:.1}") } else { "-".to_string() };
        format!(
            "{:>10} {:>5.1}% {:>8.1} {:>7.1} {of_floor:>7} {width:>6.1} {:>6}  {}{what}{times}{place}",
            self.shown(time),
            100.0 * row.busy / self.whole(),
            speed(row.work.flops) * thousands,
            speed(row.work.bytes),
            row.tiles,
            row.scope,
        )
    }
}
