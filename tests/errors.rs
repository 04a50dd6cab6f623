//! Broken models and what is said about them; and models that must be fine.
//!
//! What enters: every file of `tests/errors`. What fails: a message that changed without review, a broken model that
//! passes, a code without an explanation.

use gradc::base::{DType, TensorType};
use gradc::model::{Catalog, DataCall, DataInfo, DataValue, Overrides, Program, check, load};
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
            ("memory", _) => Ok(DataInfo { fields: typed.collect(), n_examples: 50 }),
            ("idx", [(_, DataValue::Text(path), _)]) if path.starts_with("data/mnist") => Ok(DataInfo {
                fields: vec![
                    ("image".into(), TensorType::new(DType::U8, [28usize.into(), 28usize.into()])),
                    ("label".into(), TensorType::scalar(DType::U8)),
                ],
                n_examples: 4000,
            }),
            ("idx", _) => Err("there is no such file".into()),
            (other, _) => Err(format!("there is no data source `{other}`")),
        }
    }
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

fn messages(program: &Program) -> (String, Vec<&'static str>, bool) {
    let checked = check(program, &Fields, &Overrides::default());
    let mut text = String::new();
    for d in &checked.diagnostics {
        writeln!(text, "{:?} {}: {}", d.severity, d.code, d.message).unwrap();
        for label in &d.labels {
            let (line, column) = program.sources.line_column(label.span);
            let name = &program.sources.sources[label.span.source as usize].name;
            let excerpt: String = program.sources.text(label.span).chars().take(40).collect();
            writeln!(text, "  {name}:{line}:{column} {excerpt:?} {}", label.text).unwrap();
        }
        for note in &d.notes {
            writeln!(text, "  note: {note}").unwrap();
        }
        if let Some(help) = &d.help {
            writeln!(text, "  help: {help}").unwrap();
        }
    }
    let codes = checked.diagnostics.iter().map(|d| d.code).collect();
    (text, codes, checked.has_errors())
}

#[test]
fn broken_models_are_explained() {
    let mut all = String::new();
    let mut passed = Vec::new();
    for (name, bytes) in models("tests/errors") {
        let (text, codes, _) = messages(&load(&name, &bytes, &Folder));
        // Codes of syntax are held by the tests of the `dsl` crate.
        for code in codes.iter().filter(|code| !code.starts_with("E01")) {
            assert!(gradc_dsl::explain::explain(code).is_some(), "{code} has no explanation");
        }
        if codes.is_empty() {
            passed.push(name.clone());
        }
        writeln!(all, "== {name}\n{text}").unwrap();
    }
    let fine = ["byte_order_mark.model", "tab.model", "windows_line_ends.model"];
    passed.retain(|name| !fine.contains(&name.as_str()));
    assert!(passed.is_empty(), "nothing was said about {passed:?}");
    insta::assert_snapshot!("errors", all);
}

#[test]
fn good_models_are_accepted() {
    let all = models("tests/golden").into_iter().chain(models("examples"));
    let mut bad = String::new();
    for (name, bytes) in all {
        let program = load(&name, &bytes, &Folder);
        let checked = check(&program, &Fields, &Overrides::default());
        let (text, ..) = messages(&program);
        if !checked.diagnostics.is_empty() {
            bad.push_str(&format!("{name}:\n{text}"));
            continue;
        }
        let model = checked.model.unwrap_or_else(|| panic!("{name} has no model"));
        for graph in [&model.train, &model.eval, &model.predict] {
            gradc::graph::verify::verify(graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
    assert!(bad.is_empty(), "{bad}");
}
