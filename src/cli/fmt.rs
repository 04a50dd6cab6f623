//! `gradc fmt`: one style for every model.

use super::output::{Failure, complain, report, say};
use crate::base::files::write_atomically;
use gradc_dsl::{SourceMap, decode, format};
use std::io::Read;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// Files to format in place; `-` reads standard input and writes standard output
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Change nothing; fail when a file is not in the style
    #[arg(long)]
    check: bool,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut n_wrong = 0;
    let mut broken = false;
    for file in &arguments.files {
        let stdin = file == Path::new("-");
        let bytes = match stdin {
            true => {
                let mut bytes = Vec::new();
                std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
            }
            false => std::fs::read(file),
        };
        let bytes = bytes.map_err(|e| Failure::Error(format!("cannot read `{}`: {e}", file.display())))?;
        let name = if stdin { "<stdin>".to_string() } else { file.display().to_string() };
        let formatted =
            decode(0, &bytes).map_err(|e| vec![e]).and_then(|text| Ok((format::format(&text)?, text)));
        match formatted {
            Err(errors) => {
                let mut sources = SourceMap::default();
                sources.add(name, String::from_utf8_lossy(&bytes));
                broken |= report(&errors, &sources, false).is_err();
            }
            Ok((formatted, text)) if arguments.check => {
                if formatted != text {
                    n_wrong += 1;
                    complain(&format!("{name} is not in the style"));
                }
            }
            Ok((formatted, _)) if stdin => say(formatted)?,
            Ok((formatted, text)) if formatted != text => write_atomically(file, formatted.as_bytes())
                .map_err(|e| Failure::Error(format!("cannot write `{name}`: {e}")))?,
            Ok(_) => {}
        }
    }
    match n_wrong {
        _ if broken => Err(Failure::Reported),
        0 => Ok(()),
        1 => Err(Failure::Error("1 file is not in the style; `gradc fmt FILE` mends it".to_string())),
        n => Err(Failure::Error(format!("{n} files are not in the style; `gradc fmt FILES` mends them"))),
    }
}
