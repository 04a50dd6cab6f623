//! The command line, one file a command.
//!
//! What enters: the process's arguments. What leaves: text for people (or one JSON object a line for machines)
//! and an exit code: 0 all well, 1 an error in the model, the data or the machine, 2 a wrong command line.
//! Invariant: nothing here decides what a model means or how it runs; a command calls the library and words the
//! result.

mod completions;
mod devices;
mod explain;
mod fmt;
pub mod output;
pub mod render;

use clap::Parser;
use std::process::ExitCode;

/// A compiler for neural networks: a model as text in, a native training program out.
#[derive(Parser)]
#[command(name = "gradc", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Put models into the one style
    Fmt(fmt::Arguments),
    /// Say more about an error's code
    Explain(explain::Arguments),
    /// Show what this machine can run models on
    Devices(devices::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed standard output is the reader's choice.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let (result, json) = match &cli.command {
        Command::Fmt(arguments) => (fmt::run(arguments), false),
        Command::Explain(arguments) => (explain::run(arguments), false),
        Command::Devices(arguments) => (devices::run(arguments), false),
        Command::Completions(arguments) => (completions::run(arguments), false),
    };
    output::finish(result, json)
}
