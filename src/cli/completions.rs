//! `gradc completions SHELL`: a script that completes commands and options.

use super::output::{Failure, say};

#[derive(clap::Args)]
pub struct Arguments {
    shell: clap_complete::Shell,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut script = Vec::new();
    let mut command = <super::Cli as clap::CommandFactory>::command();
    clap_complete::generate(arguments.shell, &mut command, "gradc", &mut script);
    say(String::from_utf8_lossy(&script))
}
