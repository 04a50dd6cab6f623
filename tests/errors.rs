//! Broken models and what is said about them; and models that must be fine.
//!
//! What enters: every file of `tests/errors`. What fails: a message that changed without review, that points into the
//! standard library first or does not say how to mend; a broken model that passes; a code without an explanation, and
//! an explained code without a broken model.

use gradc::base::{DType, TensorType};
use gradc::cli::render::{self, Style};
use gradc::model::{Catalog, Checked, DataCall, DataInfo, DataValue, Overrides, Program, check, load};
use gradc::train::data::Data;
use gradc_dsl::explain::explain;
use std::collections::HashSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// `memory(…)` fields as declared, and MNIST's.
struct Fields;

impl Catalog for Fields {
    fn info(&self, call: &DataCall) -> Result<DataInfo, String> {
        let typed = call.arguments.iter().filter_map(|(name, value, _)| match (name, value) {
            (Some(name), DataValue::Type(ty)) => Some((name.clone(), ty.clone())),
            _ => None,
        });
        match (call.source.as_str(), &call.arguments[..]) {
            ("memory", _) => Ok(DataInfo { fields: typed.collect(), sizes: Vec::new(), n_examples: 50 }),
            ("idx", [(_, DataValue::Text(path), _)]) if path.starts_with("data/mnist") => Ok(DataInfo {
                fields: vec![
                    ("image".into(), TensorType::new(DType::U8, [28usize.into(), 28usize.into()])),
                    ("label".into(), TensorType::scalar(DType::U8)),
                ],
                sizes: Vec::new(),
                n_examples: 4000,
            }),
            // The examples' own files.
            ("text" | "wav", _) => Data::in_folder(root().join("examples")).info(call),
            ("idx", [(_, DataValue::Text(path), _)]) if path.starts_with("data/fashion") => {
                Data::in_folder(root().join("examples")).info(call)
            }
            ("idx", _) => Err("there is no such file".into()),
            (other, _) => Err(format!("there is no data source `{other}`")),
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

struct Folder;

impl gradc::model::Loader for Folder {
    fn load(&self, path: &str) -> Result<Vec<u8>, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/errors");
        fs::read(folder.join(path)).map_err(|_| "there is no such file".into())
    }
}

fn models(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "model"));
    paths.sort();
    paths
        .iter()
        .map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(p).unwrap()))
        .collect()
}

/// A first line `// --set epochs=3` stands for the flag of that name.
fn overrides(text: &[u8]) -> Overrides {
    let text = String::from_utf8_lossy(text);
    let setting = text.lines().next().and_then(|line| line.strip_prefix("// --set "));
    let pair = setting.and_then(|s| s.split_once('='));
    Overrides(pair.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// What a person sees.
fn drawn(program: &Program, checked: &Checked) -> String {
    let draw = |d| without_library_lines(&render::text(d, &program.sources, Style::Plain)) + "\n";
    checked.diagnostics.iter().map(draw).collect()
}

/// Leaves out the numbers of the standard library's lines, so that a function added there changes no message.
fn without_library_lines(text: &str) -> String {
    let (mut lines, mut library) = (Vec::new(), false);
    for line in text.lines() {
        let numbered = line.split_once(" |").filter(|(number, _)| number.trim().parse::<u32>().is_ok());
        if let Some((place, _)) = line.split_once(".model:").filter(|(place, _)| place.contains("::: std/")) {
            library = true;
            lines.push(format!("{}.model", place.trim_start()));
        } else if line.trim_start().starts_with("::: ") || line.trim_start().starts_with("--> ") {
            library = false;
            lines.push(line.to_owned());
        } else if let (true, Some((_, code))) = (library, numbered) {
            lines.push(format!(" |{code}"));
        } else if let (true, Some(rest)) = (library, line.trim_start().strip_prefix('|')) {
            lines.push(format!(" |{rest}"));
        } else {
            lines.push(line.to_owned());
        }
    }
    lines.join("\n")
}

#[test]
fn broken_models_are_explained() {
    let mut all = String::new();
    let mut wrong = Vec::new();
    let mut seen = HashSet::new();
    for (name, bytes) in models("tests/errors") {
        let program = load(&name, &bytes, &Folder);
        let checked = check(&program, &Fields, &overrides(&bytes));
        if checked.diagnostics.is_empty() {
            wrong.push(format!("{name}: nothing was said"));
        }
        for d in &checked.diagnostics {
            seen.insert(d.code);
            if explain(d.code).is_none() {
                wrong.push(format!("{name}: {} has no explanation", d.code));
            }
            if program.is_std(d.labels[0].span.source) {
                wrong.push(format!("{name}: {} points into the standard library first", d.code));
            }
            if d.is_error() && d.help.is_none() && d.notes.is_empty() {
                wrong.push(format!("{name}: {} does not say how to mend it: {}", d.code, d.message));
            }
        }
        writeln!(all, "== {name}\n{}", drawn(&program, &checked)).unwrap();
    }
    // The codes of syntax are held by the tests of the `dsl` crate.
    let checkers = gradc_dsl::explain::all().map(|row| row.code).filter(|code| !code.starts_with("E01"));
    wrong.extend(checkers.filter(|c| !seen.contains(c)).map(|c| format!("no broken model shows {c}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    insta::assert_snapshot!("errors", all);
}

#[test]
fn good_models_are_accepted() {
    let all = models("tests/golden").into_iter().chain(models("examples"));
    let mut bad = String::new();
    for (name, bytes) in all {
        let program = load(&name, &bytes, &Folder);
        let checked = check(&program, &Fields, &Overrides::default());
        if !checked.diagnostics.is_empty() {
            bad.push_str(&format!("{name}:\n{}", drawn(&program, &checked)));
            continue;
        }
        let model = checked.model.unwrap_or_else(|| panic!("{name} has no model"));
        for graph in [&model.train, &model.eval, &model.predict] {
            gradc::graph::verify::verify(graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    assert!(bad.is_empty(), "{bad}");
}
