//! Bad input of every kind: whatever the text, the checker answers, and soon, and never panics.
//!
//! What enters: the models of `examples` and `tests/golden`, with tokens, lines and bytes deleted, doubled, exchanged
//! or replaced by numbers and signs that a slip or an attack would bring. What fails: a panic, an answer that takes
//! long, an error without a place or an explanation, a model that is accepted and then cannot be differentiated
//! or planned.

use gradc::base::{DType, TensorType};
use gradc::model::{Catalog, DataCall, DataInfo, DataValue, NoFiles, Overrides, check, load};
use proptest::prelude::*;
use std::path::Path;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Generous, for a machine under load and a build without optimization; a hang takes longer.
const LONGEST: Duration = Duration::from_secs(20);

/// Every data source has the fields of its `memory` declaration, and MNIST's.
struct Fields;

impl Catalog for Fields {
    fn info(&self, call: &DataCall) -> Result<DataInfo, String> {
        let mut fields = vec![
            ("image".into(), TensorType::new(DType::U8, [28usize.into(), 28usize.into()])),
            ("label".into(), TensorType::scalar(DType::U8)),
        ];
        for (name, value, _) in &call.arguments {
            if let (Some(name), DataValue::Type(ty)) = (name, value) {
                fields.push((name.clone(), ty.clone()));
            }
        }
        Ok(DataInfo { fields, sizes: Vec::new(), n_examples: 1000 })
    }
}

static MODELS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = ["examples", "tests/golden"]
        .iter()
        .flat_map(|folder| std::fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "model"))
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect()
});

/// What a mutation puts in: numbers at the edges of what a size can be, signs, pieces of the language.
const PIECES: &[&str] = &[
    "0",
    "-1",
    "1",
    "2.5",
    "1e300",
    "-0.0",
    "1000000000000000000",
    "9223372036854775807",
    "4294967296",
    "1000000000",
    "batch",
    "n",
    "x",
    "data",
    "step",
    "training",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "..",
    "|>",
    "->",
    "<-",
    "=",
    "==",
    "+",
    "-",
    "*",
    "/",
    "%",
    "@",
    "^",
    "<",
    "not ",
    " and ",
    "let ",
    "param ",
    "state ",
    "fn ",
    "train ",
    "if ",
    "else ",
    "repeat 1000000000 { relu }",
    "repeat 3 ",
    "f32",
    "i32",
    "u8",
    "bool",
    "f32[batch, 0]",
    "\"text\"",
    "detach",
    "grad(x, wrt = x)",
    "argmax(x)",
    "sum(x, axes = [7])",
    "reshape(x, [-1])",
    "x[0]",
    "x[:, 5:2]",
    "split(x, 0)",
    "pad(x, 1000000000)",
    "concat([])",
    "iota(1000000000000)",
    "one_hot(x, 10)",
    "minimize x with adam()",
    "\n",
    " ",
    "é",
    "\0",
    "\"",
    "//",
    "(((((((((((((((((((((((((((((((((",
    "let a[i, j] = sum[k] x[i, k] * x[k, j]\n",
    "over_params(1)",
    "floor(n / 2)",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "7",
    "8",
    "10",
    "64",
    "100",
    "784",
    "0.5",
    "1e-3",
    "-1",
    "1e30",
    "1000000000",
    "1099511627776",
    "4294967296",
    "9223372036854775807",
    "99999999999999999999",
];

/// Tokens, roughly: words, numbers, runs of blanks, single signs.
fn tokens(text: &str) -> Vec<String> {
    let class = |c: char| match c {
        c if c.is_alphanumeric() || c == '_' => 0,
        c if c.is_whitespace() => 1,
        _ => 2,
    };
    let mut all: Vec<String> = Vec::new();
    let mut last = 3;
    for c in text.chars() {
        match all.last_mut() {
            Some(token) if class(c) == last && last != 2 => token.push(c),
            _ => all.push(c.into()),
        }
        last = class(c);
    }
    all
}

/// Changes a text `edits.len()` times; each edit is a kind, two places and a piece.
fn mutated(text: &str, edits: &[(u8, u32, u32, usize)]) -> Vec<u8> {
    let mut parts = tokens(text);
    let mut raw = Vec::new();
    for (kind, a, b, piece) in edits {
        if parts.is_empty() {
            break;
        }
        let (a, b) = (*a as usize % parts.len(), *b as usize % parts.len());
        let piece = PIECES[piece % PIECES.len()];
        match kind % 16 {
            // Half of the edits keep the syntax: a word for a word of the same text, a number for a number.
            8..=11 => {
                let word = |at: usize| parts[at].starts_with(|c: char| c.is_alphabetic());
                let near = |from: usize| (from..parts.len()).chain(0..from).find(|at| word(*at));
                if let (Some(to), Some(from)) = (near(a), near(b)) {
                    parts[to] = parts[from].clone();
                }
            }
            12..=15 => {
                let number = |at: &usize| parts[*at].starts_with(|c: char| c.is_ascii_digit());
                if let Some(to) = (a..parts.len()).chain(0..a).find(number) {
                    parts[to] = NUMBERS[b % NUMBERS.len()].to_owned();
                }
            }
            0 => drop(parts.remove(a)),
            1 => parts.insert(a, parts[b].clone()),
            2 => parts.swap(a, b),
            3 | 4 => parts[a] = piece.to_owned(),
            5 => parts.insert(a, piece.to_owned()),
            // A whole stretch, as when lines are lost or pasted twice.
            6 => drop(parts.drain(a.min(b)..a.max(b).min(a.min(b) + 30))),
            _ => raw.push((a, b as u8)),
        }
    }
    let mut bytes = parts.concat().into_bytes();
    for (at, byte) in raw {
        let at = at % bytes.len().max(1);
        bytes.splice(at..at, [byte]);
    }
    bytes
}

/// Loads and checks, differentiates, optimizes and plans what is accepted, and holds what every answer must be.
fn answered(bytes: &[u8]) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let program = load("x.model", bytes, &NoFiles);
    let checked = check(&program, &Fields, &Overrides::default());
    for d in &checked.diagnostics {
        prop_assert!(gradc_dsl::explain::explain(d.code).is_some(), "{} is not explained", d.code);
        prop_assert!(!d.labels.is_empty() && !d.message.is_empty());
        prop_assert!(
            d.help.is_some() || !d.notes.is_empty(),
            "{} does not say how to mend it: {}",
            d.code,
            d.message
        );
        prop_assert!(
            !program.is_std(d.labels[0].span.source),
            "{} points into the library: {}",
            d.code,
            d.message
        );
    }
    if let Some(model) = checked.model {
        for graph in [&model.train, &model.eval, &model.predict] {
            let graph = gradc::passes::optimize(&gradc::autodiff::differentiate(graph));
            let verified = gradc::graph::verify::verify(&graph);
            prop_assert!(verified.is_ok(), "accepted, but {verified:?}");
            if graph.len() < 3000 {
                gradc::plan(&graph, model.settings.batch as i64);
            }
        }
    }
    prop_assert!(start.elapsed() < LONGEST, "took {:?}", start.elapsed());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_models_are_answered(
        model in any::<usize>(),
        edits in prop::collection::vec(any::<(u8, u32, u32, usize)>(), 1..6),
    ) {
        answered(&mutated(&MODELS[model % MODELS.len()], &edits))?;
    }

    #[test]
    fn random_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        answered(&bytes)?;
    }
}

/// Texts that are extreme in one way.
#[test]
fn extremes_are_answered() {
    let net = |body: &str| {
        format!(
            "fn net(x: f32[batch, 8]) -> f32[batch, 3] {{\n    {body}\n}}\n\ntrain net {{\n    \
             data = memory(x: f32[8], y: i32[])\n    minimize cross_entropy(net(data.x), data.y) with adam()\n    \
             batch = 4\n}}\n"
        )
    };
    let setting = |line: &str| net("dense(x, 3)").replace("batch = 4", line);
    let field = |ty: &str| net("dense(x, 3)").replace("x: f32[8]", ty);
    let cases = [
        ("parentheses", net(&format!("{}x{}", "(".repeat(100_000), ")".repeat(100_000)))),
        ("brackets never closed", "[".repeat(1_000_000)),
        ("long chain", net(&format!("dense(x{}, 3)", " + x".repeat(50_000)))),
        ("long pipe", net(&format!("x{} |> dense(3)", " |> relu".repeat(50_000)))),
        ("negations", net(&format!("dense({}x, 3)", "-".repeat(100_000)))),
        ("many functions", (0..2000).map(|i| format!("fn f{i}(x: f32[n]) -> f32[n] {{ x }}\n")).collect()),
        ("many arguments", net(&format!("dense({}x)", "x, ".repeat(10_000)))),
        ("units of 10^18", net("dense(x, 1000000000000000000) |> dense(3)")),
        ("units at the limit", net("dense(x, 1099511627776) |> dense(3)")),
        ("units of 10^30", net("dense(x, 1000000000000000000000000000000) |> dense(3)")),
        ("sizes that overflow as a product", net("dense(x, 4000000000) |> dense(4000000000) |> dense(3)")),
        ("sizes that overflow as a power", net("dense(x, 10 ^ 40) |> dense(3)")),
        (
            "a shape that overflows",
            net("let a = zeros([1000000000, 1000000000, 1000000000])\n    dense(x, 3)"),
        ),
        ("a negative shape", net("let a = zeros([0 - 3])\n    dense(x, 3)")),
        ("a division by zero", net("dense(x, 8 / 0)")),
        ("a remainder by zero", net("dense(x, 8 % 0)")),
        ("repeat 10^9", net("x |> repeat 1000000000 { dense(8) } |> dense(3)")),
        ("repeat of repeat", net("x |> repeat 10000 { relu |> repeat 10000 { relu } } |> dense(3)")),
        ("repeat -1", net("x |> repeat -1 { dense(8) } |> dense(3)")),
        ("batch 0", setting("batch = 0")),
        ("batch -5", setting("batch = -5")),
        ("batch 10^18", setting("batch = 1000000000000000000")),
        ("batch 2.5", setting("batch = 2.5")),
        ("epochs 10^18", setting("batch = 1 epochs = 1000000000000000000")),
        ("steps 10^30", setting("batch = 1 steps = 1e30")),
        ("seed -1", setting("seed = -1")),
        ("a field of 10^18", field("x: f32[1000000000000000000]")),
        ("a field of 0", field("x: f32[0]")),
        ("split in 10^9", net("let a = split(x, 1000000000)\n    dense(x, 3)")),
        ("pad of 10^18", net("pad(x, 1000000000000000000) |> dense(3)")),
        ("index past all", net("dense(x[:, 9223372036854775807], 3)")),
        ("axis past all", net("dense(sum(x, axes = [9223372036854775807]), 3)")),
        ("axis before all", net("dense(sum(x, axes = [-9223372036854775807]), 3)")),
        ("the same in itself", "let a = a\nlet b = b + a\n".to_owned() + &net("dense(x, b)")),
    ];
    for (name, text) in cases {
        let answer = std::panic::catch_unwind(|| answered(text.as_bytes()));
        match answer {
            Ok(Ok(())) => {}
            Ok(Err(error)) => panic!("{name}: {error}"),
            Err(_) => panic!("{name}: panicked"),
        }
    }
}
