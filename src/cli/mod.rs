//! The command line, one file a command.
//!
//! What enters: the process's arguments. What leaves: text for people (or one JSON object a line for machines)
//! and an exit code: 0 all well, 1 an error in the model, the data or the machine, 2 a wrong command line.
//! Invariant: nothing here decides what a model means or how it runs; a command calls the library and words the
//! result.

mod bench;
mod build;
mod check;
mod completions;
mod devices;
mod doc;
mod dump;
mod eval;
mod explain;
mod fmt;
mod format;
mod generate;
mod memory;
pub mod output;
mod plan;
mod predict;
mod profile;
mod progress;
mod project;
pub mod render;
mod stages;
mod test;
mod train;
mod tune;

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
    /// Find every error of a model
    Check(check::Arguments),
    /// Put models into the one style
    Fmt(fmt::Arguments),
    /// Train a model
    Train(train::Arguments),
    /// Measure trained weights on data
    Eval(eval::Arguments),
    /// Write what trained weights predict
    Predict(predict::Arguments),
    /// Write text with trained weights, on and on from a prompt
    Generate(generate::Arguments),
    /// Show kernels, memory and work of a step, before any run
    Plan(plan::Arguments),
    /// Run the `test` blocks of a model
    Test(test::Arguments),
    /// Write a model's programs as files: CUDA C, PTX, machine code, and how they fit together
    Build(build::Arguments),
    /// Print the compiler's text after a stage
    Dump(dump::Arguments),
    /// Time compilation and training steps
    Bench(bench::Arguments),
    /// Show where the time of a training step goes
    Profile(profile::Arguments),
    /// Time what can make a model's large products on a GPU, and keep the fastest for later runs
    Tune(tune::Arguments),
    /// Say more about an error's code
    Explain(explain::Arguments),
    /// Show what the functions of the standard library do, or those of a model
    Doc(doc::Arguments),
    /// Show what this machine can run models on
    Devices(devices::Arguments),
    /// Print a completion script for a shell
    Completions(completions::Arguments),
}

/// The whole program.
pub fn main() -> ExitCode {
    crate::runtime::heap::keep_freed();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // A closed standard output is the reader's choice.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let (result, json) = match &cli.command {
        Command::Check(arguments) => (check::run(arguments), check::json(arguments)),
        Command::Fmt(arguments) => (fmt::run(arguments), false),
        Command::Train(arguments) => (train::run(arguments), train::json(arguments)),
        Command::Eval(arguments) => (eval::run(arguments), eval::json(arguments)),
        Command::Predict(arguments) => (predict::run(arguments), predict::json(arguments)),
        Command::Generate(arguments) => (generate::run(arguments), generate::json(arguments)),
        Command::Plan(arguments) => (plan::run(arguments), plan::json(arguments)),
        Command::Test(arguments) => (test::run(arguments), test::json(arguments)),
        Command::Build(arguments) => (build::run(arguments), build::json(arguments)),
        Command::Dump(arguments) => (dump::run(arguments), dump::json(arguments)),
        Command::Bench(arguments) => (bench::run(arguments), bench::json(arguments)),
        Command::Profile(arguments) => (profile::run(arguments), profile::json(arguments)),
        Command::Tune(arguments) => (tune::run(arguments), tune::json(arguments)),
        Command::Explain(arguments) => (explain::run(arguments), false),
        Command::Doc(arguments) => (doc::run(arguments), false),
        Command::Devices(arguments) => (devices::run(arguments), false),
        Command::Completions(arguments) => (completions::run(arguments), false),
    };
    output::finish(result, json)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
