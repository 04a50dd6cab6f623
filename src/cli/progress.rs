//! What a person sees while a model trains: a bar on a terminal, a line an epoch in a pipe.

use super::format;
use crate::train::aggregate::Evaluation;
use crate::train::run::{Event, Metrics};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Drawing more often than this costs time and shows nothing new.
const BETWEEN_DRAWINGS: Duration = Duration::from_millis(66);

pub struct Progress {
    /// False when events go out as JSON: then nothing else does.
    visible: bool,
    bar: Option<ProgressBar>,
    n_epochs: u64,
    drawn: Instant,
}

impl Progress {
    pub fn new(json: bool, n_steps: u64, steps_per_epoch: u64) -> Progress {
        let bar = (!json && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(n_steps), ProgressDrawTarget::stderr());
            let style =
                ProgressStyle::with_template("{prefix:<12}{bar:30.cyan/dim} {pos}/{len}  {msg}  {eta}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸─"));
            bar
        });
        Progress {
            visible: !json,
            bar,
            n_epochs: n_steps.div_ceil(steps_per_epoch.max(1)),
            drawn: Instant::now(),
        }
    }

    /// A line of its own, above the bar.
    pub fn say(&self, line: &str) {
        if !self.visible {
            return;
        }
        // A reader that goes away does not end the training.
        let print = || {
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        };
        match &self.bar {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    pub fn show(&mut self, event: &Event) {
        match event {
            Event::Step { step, epoch, metrics } => {
                let Some(bar) = &self.bar else { return };
                if self.drawn.elapsed() >= BETWEEN_DRAWINGS {
                    self.drawn = Instant::now();
                    bar.set_prefix(format!("epoch {epoch}/{}", self.n_epochs));
                    bar.set_message(format!(
                        "loss {}",
                        format::metric(f64::from(metrics.first().copied().unwrap_or(0.0)))
                    ));
                    bar.set_position(step + 1);
                }
            }
            Event::Epoch { epoch, train, valid, seconds, .. } => {
                let name = format!("epoch {epoch}/{}", self.n_epochs);
                let mut line = format!("{name:<12}{}", metrics(train));
                if !valid.is_empty() {
                    line += &format!("   valid {}", metrics(valid));
                }
                self.say(&format!("{line}   {}", format::seconds(*seconds)));
            }
            Event::Checkpoint { .. } => {}
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `loss 0.1234   accuracy 0.9500`
pub fn metrics(metrics: &Metrics) -> String {
    let parts: Vec<String> =
        metrics.iter().map(|(name, value)| format!("{name} {}", format::metric(*value))).collect();
    parts.join("   ")
}

/// The metrics in a line, then the tables.
pub fn evaluation(evaluation: &Evaluation) -> String {
    let tables = evaluation.tables.iter().map(format::table);
    std::iter::once(metrics(&evaluation.metrics)).chain(tables).collect::<Vec<_>>().join("\n")
}

/// Names to numbers, lists, or lists of rows.
pub fn evaluation_json(evaluation: &Evaluation) -> Value {
    let numbers = evaluation.metrics.iter().map(|(name, value)| (name.to_string(), json!(value)));
    let tables = evaluation.tables.iter().map(|table| {
        let rows: Vec<&[f64]> = match table.shape.as_slice() {
            [_, n_columns] => table.values.chunks(*n_columns.max(&1)).collect(),
            _ => return (table.name.to_string(), json!(table.values)),
        };
        (table.name.to_string(), json!(rows))
    });
    Value::Object(numbers.chain(tables).collect())
}
