//! A profile as text and as JSON.

use super::{Machine, Row};
use crate::cli::format;
use crate::model::Model;
use crate::plan::{Plan, Work};
use crate::train::run::profile::Profile;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Rows of ops that are shown, where not all are asked for.
const MOST_OPS: usize = 24;

pub struct Table<'a> {
    pub model: &'a Model,
    pub plan: &'a Plan,
    pub profile: &'a Profile,
    pub machine: Machine,
    /// Launches and ops.
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
        (self.profile.step + self.profile.between) * self.profile.n_threads as f64
    }

    /// Seconds at which the threads together do a row's work, and how often its floor that is.
    fn time(&self, row: &Row) -> (f64, f64) {
        let time = row.busy / self.profile.n_threads as f64;
        (time, time / self.machine.floor(row.work).max(1e-12))
    }

    fn total(&self) -> Work {
        let add = |sum: Work, row: &Row| Work {
            flops: sum.flops + row.work.flops,
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
        let n_threads = self.profile.n_threads as f64;
        json!({
            "name": self.model.name, "batch": self.plan.max_batch, "threads": self.profile.n_threads,
            "steps": self.profile.n_steps, "ms": (self.profile.step + self.profile.between) * 1e3,
            "peak_gflop_per_s": self.machine.flops * 1e-9, "peak_gb_per_s": self.machine.bytes * 1e-9,
            "kernels": rows(&self.rows.0), "ops": rows(&self.rows.1),
            "waiting": { "ms": self.profile.waiting() / n_threads * 1e3, "share": self.profile.waiting() / self.whole() },
            "between_steps": { "ms": self.profile.between * 1e3, "share": self.profile.between * n_threads / self.whole() },
        })
    }

    pub fn text(&self, all: bool) -> String {
        let profile = self.profile;
        let n_threads = profile.n_threads as f64;
        let mut lines = vec![
            format!(
                "{} · batch {} · {} threads · {} steps of {}",
                self.model.name,
                self.plan.max_batch,
                profile.n_threads,
                profile.n_steps,
                format::seconds(profile.step + profile.between)
            ),
            format!(
                "the machine's peak: {:.0} GFLOP/s, {:.1} GB/s; a row's floor is the time at these",
                self.machine.flops * 1e-9,
                self.machine.bytes * 1e-9
            ),
        ];
        let unit = if self.in_ms() { "ms" } else { "µs" };
        let head = |of: &str| format!("\n{unit:>10}  share  GFLOP/s    GB/s  ×floor  width  tiles  {of}");
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
        lines.push(other(profile.waiting() / n_threads, "waiting: ends of phases, threads without work"));
        lines.push(other(profile.between, "between steps: the next batch, losses"));
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
        self.profile.step > 5e-3
    }

    /// A time in the unit of all rows.
    fn shown(&self, seconds: f64) -> String {
        if self.in_ms() { format!("{:>10.3}", seconds * 1e3) } else { format!("{:>10.2}", seconds * 1e6) }
    }

    fn line(&self, row: &Row) -> String {
        let (time, of_floor) = self.time(row);
        let speed = |amount: u64| amount as f64 / time.max(1e-12) * 1e-9;
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
            speed(row.work.flops),
            speed(row.work.bytes),
            row.tiles,
            row.scope,
        )
    }
}
