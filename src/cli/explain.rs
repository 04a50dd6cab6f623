//! `gradc explain CODE`: the long form of an error.

use super::output::{Failure, say};
use gradc_dsl::explain;
use gradc_dsl::nearest::nearest;

#[derive(clap::Args)]
pub struct Arguments {
    /// Such as E0203; without it, all codes are listed
    code: Option<String>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(code) = &arguments.code else {
        let list: String = explain::all().map(|e| format!("{}  {}\n", e.code, e.title)).collect();
        return say(list);
    };
    let code = code.to_uppercase();
    match explain::explain(&code) {
        Some(e) => say(format!("{}: {}\n\n{}", e.code, e.title, e.text.trim())),
        None => {
            let near = nearest(&code, explain::all().map(|e| e.code));
            let help = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            Err(Failure::Usage(format!("there is no code {code}{help} (`gradc explain` lists all)")))
        }
    }
}
