//! `--time-passes`: where the time of a compilation went, on standard error.

use super::format;
use super::output::complain;
use crate::base::stopwatch::{self, Lap};

#[derive(clap::Args)]
pub struct TimePasses {
    /// Say on standard error how long each stage of the compilation took
    #[arg(long)]
    time_passes: bool,
}

impl TimePasses {
    pub fn start(&self) {
        if self.time_passes {
            stopwatch::start();
        }
    }

    /// All stages since the start.
    pub fn report(&self) {
        if self.time_passes {
            complain(&text(&stopwatch::stop()));
        }
    }
}

fn text(laps: &[Lap]) -> String {
    let line = |lap: &Lap| {
        let times = if lap.n > 1 { format!(" ×{}", lap.n) } else { String::new() };
        let counts = lap.counts.iter().map(|(what, n)| format!("  {} {what}", format::count(*n as u64)));
        let name = format!("{:indent$}{}{times}", "", lap.name, indent = 2 * lap.depth);
        let ms = lap.time.as_secs_f64() * 1e3;
        format!("{name:<28}{ms:>9.2} ms{}", counts.collect::<String>())
    };
    let all: f64 = laps.iter().filter(|lap| lap.depth == 0).map(|lap| lap.time.as_secs_f64() * 1e3).sum();
    laps.iter().map(line).chain([format!("{:<28}{all:>9.2} ms", "all")]).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn stages_are_indented_and_summed() {
        let lap = |name, depth, micros, n, counts: &[(&'static str, usize)]| Lap {
            name,
            depth,
            time: Duration::from_micros(micros),
            n,
            counts: counts.to_vec(),
        };
        let laps = [
            lap("parse", 0, 500, 1, &[]),
            lap("optimize", 0, 4000, 1, &[]),
            lap("cse", 1, 1250, 3, &[("nodes", 1200)]),
        ];
        let wanted = "\
parse                            0.50 ms
optimize                         4.00 ms
  cse ×3                         1.25 ms  1,200 nodes
all                              4.50 ms";
        assert_eq!(text(&laps), wanted);
    }
}
