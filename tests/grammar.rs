//! Every example of the language reference and of the README is a whole file without an error or a warning.
//!
//! What enters: each block of `dsl/grammar.md` and `README.md` between "```model" and "```". What fails: a message of
//! the checker; a README that shows another first model than `examples/mnist.model`.

use gradc::base::{DType, TensorType};
use gradc::model::{Catalog, DataCall, DataInfo, DataValue, NoFiles, Overrides, check, load};
use std::path::Path;

/// The fields that a `memory` or `synthetic` source declares, MNIST's, and a table's of flowers.
struct Fields;

impl Catalog for Fields {
    fn info(&self, call: &DataCall) -> Result<DataInfo, String> {
        let declared = call.arguments.iter().filter_map(|(name, value, _)| match (name, value) {
            (Some(name), DataValue::Type(ty)) => Some((name.clone(), ty.clone())),
            _ => None,
        });
        let fields = match call.source.as_str() {
            "memory" | "synthetic" => declared.collect(),
            "idx" => vec![
                ("image".into(), TensorType::new(DType::U8, [28usize.into(), 28usize.into()])),
                ("label".into(), TensorType::scalar(DType::U8)),
            ],
            "csv" => vec![
                ("features".into(), TensorType::new(DType::F32, [4usize.into()])),
                ("label".into(), TensorType::scalar(DType::I32)),
            ],
            other => return Err(format!("there is no data source `{other}`")),
        };
        Ok(DataInfo { fields, sizes: Vec::new(), n_examples: 1000 })
    }
}

/// The blocks of a file, with the line each begins in.
fn examples(text: &str) -> Vec<(usize, String)> {
    let mut examples: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        match line {
            "```model" => {
                inside = true;
                examples.push((number + 2, String::new()));
            }
            "```" => inside = false,
            _ if inside => {
                let (_, text) = examples.last_mut().expect("a block has begun");
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    examples
}

#[test]
fn examples_are_checked() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut failures = Vec::new();
    for (file, at_least) in [("dsl/grammar.md", 15), ("README.md", 2)] {
        let text = std::fs::read_to_string(root.join(file)).expect("the file is there");
        let examples = examples(&text);
        assert!(examples.len() >= at_least, "{file} has {} examples", examples.len());
        for (line, text) in examples {
            let program = load("example.model", text.as_bytes(), &NoFiles);
            let checked = check(&program, &Fields, &Overrides::default());
            for d in &checked.diagnostics {
                let within = text[..d.labels[0].span.start as usize].lines().count().saturating_sub(1);
                failures.push(format!("{file}:{}: {}: {}", line + within, d.code, d.message));
            }
            let trains = text.lines().any(|line| line.starts_with("train "));
            if trains && checked.model.is_none() && checked.diagnostics.is_empty() {
                failures.push(format!("{file}:{line}: no model and no message"));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_readme_shows_the_example_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).expect("the file is there");
    assert_eq!(examples(&read("README.md"))[0].1, read("examples/mnist.model"));
}
