//! Whole models, trained on every rung of the ladder.
//!
//! What enters: `tests/models/*.model`, each for what it is about, and `examples/*.model`, the first on a few of its
//! examples. What fails: a rung that trains otherwise than the definition of meaning; an example that does not keep what
//! its own `test` block claims. Adam's `eps` is great in these models, for with
//! the usual one it makes as much of a gradient that is rounding error as of any other.

mod ladder;

use gradc::train::data::{Data, Dataset};
use ladder::{COMPILED, EXACT, Ladder, Values, differences};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

fn models(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "model")).collect();
    models.sort();
    models
}

/// The first `n` examples.
fn cut(data: &Dataset, n: usize) -> Arc<Dataset> {
    let n = n.min(data.n_examples);
    let mut fields = data.fields.clone();
    for field in &mut fields {
        let bytes = field.row_bytes() * n;
        field.bytes.truncate(bytes);
    }
    Arc::new(Dataset::new("the first examples", fields).unwrap())
}

/// What differs in one model, trained on its first `n_examples`.
fn check(path: &Path, settings: &[(&str, &str)], n_examples: usize) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap();
    let data = Data::in_folder(path.parent().unwrap());
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let model = match gradc::check(&gradc::load("test.model", &text), &data, &settings) {
        Ok(model) => model,
        Err(errors) => return errors.iter().map(|e| format!("{}: {}", e.code, e.message)).collect(),
    };
    let examples = cut(&data.load(&model.settings.data).unwrap(), n_examples);
    let ladder = Ladder::new(&model, examples, Values::new()).unwrap();
    differences(&ladder, &ladder.definition(), &[EXACT, COMPILED].concat())
}

#[test]
fn models_train_the_same_on_every_rung() {
    let mut failures = Vec::new();
    let (own, examples) = (models("tests/models"), ["examples/mnist.model"]);
    assert!(own.len() >= 8);
    for path in own {
        // A whole batch, and the shortest that there can be.
        for n_examples in [usize::MAX, 1] {
            let found = check(&path, &[], n_examples);
            failures.extend(found.into_iter().map(|what| format!("{}: {what}", path.display())));
        }
    }
    // The other examples are too large for interpreters: they are held by their own claims.
    for path in examples {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        // One step, for Adam's second divides by what the first left: gradients near zero lose what f32 has of them.
        let found = check(&path, &[("batch", "8"), ("steps", "1"), ("shuffle", "false")], 5);
        failures.extend(found.into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn models_are_in_the_style() {
    for folder in ["examples", "examples/bench", "tests/models", "tests/golden", "tests/parity"] {
        for path in models(folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            let styled =
                gradc_dsl::format::format(&text).unwrap_or_else(|e| panic!("{}: {e:?}", path.display()));
            assert!(styled == text, "{}: `gradc fmt` mends it", path.display());
        }
    }
}

#[test]
fn examples_keep_their_claims() {
    if cfg!(debug_assertions) {
        eprintln!(
            "skipped: hundreds of steps take minutes without optimization; `cargo test --release` runs them"
        );
        return;
    }
    for path in models("examples") {
        let command = Command::new(env!("CARGO_BIN_EXE_gradc")).arg("test").arg(&path).output().unwrap();
        let (said, errors) =
            (String::from_utf8_lossy(&command.stdout), String::from_utf8_lossy(&command.stderr));
        assert!(command.status.success(), "{}:\n{errors}{said}", path.display());
        assert!(said.contains("claims hold"), "{}: {said}", path.display());
    }
}
