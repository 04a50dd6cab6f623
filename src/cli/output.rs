//! Where commands write, and how they fail.
//!
//! What enters: lines and failures. What leaves: standard output, standard error, an exit code. Invariant: a
//! reader that goes away (`gradc plan f | head`) ends the program quietly, never by a panic.

use super::render::{self, Style};
use gradc_dsl::{Diagnostic, SourceMap};
use std::io::Write;
use std::process::ExitCode;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The model, the data or the machine: exit code 1. The text is printed after `error:`.
    Error(String),
    /// Diagnostics were printed already: exit code 1.
    Reported,
    /// What was asked makes no sense: exit code 2.
    Usage(String),
    /// Standard output is gone.
    Closed,
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Failure::Closed,
            _ => Failure::Error(error.to_string()),
        }
    }
}

impl From<crate::train::run::TrainError> for Failure {
    fn from(error: crate::train::run::TrainError) -> Failure {
        Failure::Error(error.to_string())
    }
}

impl From<crate::train::data::DataError> for Failure {
    fn from(error: crate::train::data::DataError) -> Failure {
        Failure::Error(error.to_string())
    }
}

impl From<crate::train::weights::WeightsError> for Failure {
    fn from(error: crate::train::weights::WeightsError) -> Failure {
        Failure::Error(error.to_string())
    }
}

/// Prints the failure (as JSON when `json`) and gives the exit code.
pub fn finish(result: Result<(), Failure>, json: bool) -> ExitCode {
    let (code, text) = match result {
        Ok(()) | Err(Failure::Closed) => return ExitCode::SUCCESS,
        Err(Failure::Reported) => return ExitCode::from(1),
        Err(Failure::Error(text)) => (1, text),
        Err(Failure::Usage(text)) => (2, text),
    };
    if json {
        let object = serde_json::json!({ "severity": "Error", "message": text });
        complain(&object.to_string());
    } else {
        let word = match Style::for_terminal() {
            Style::Coloured => "\x1b[1;31merror\x1b[0m",
            Style::Plain => "error",
        };
        complain(&format!("{word}: {text}"));
    }
    ExitCode::from(code)
}

/// Prints a piece of text as it is, at once.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A line (or several) to standard output.
pub fn say(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let text = text.as_ref();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// A line to standard error; one that nobody reads is no failure.
pub fn complain(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints diagnostics to standard error, warnings too; `Err` when one of them is an error.
pub fn report(diagnostics: &[Diagnostic], sources: &SourceMap, json: bool) -> Result<(), Failure> {
    let style = Style::for_terminal();
    for diagnostic in diagnostics {
        match json {
            true => complain(&render::json(diagnostic, sources).to_string()),
            false => complain(&format!("{}\n", render::text(diagnostic, sources, style))),
        }
    }
    let n_errors = diagnostics.iter().filter(|d| d.is_error()).count();
    if n_errors == 0 {
        return Ok(());
    }
    if !json {
        let s = if n_errors == 1 { "" } else { "s" };
        complain(&format!("{n_errors} error{s}; `gradc explain CODE` says more about each"));
    }
    Err(Failure::Reported)
}
