//! Metrics of the library over a whole evaluation.
//!
//! What enters: `tests/metrics/metrics.safetensors`, made by `make.py` beside it: data with ties, an absent class, ignored
//! labels and sentences of different lengths, and each metric's value. What fails: a metric that is off by more than 1e-5,
//! for batches of 1, of 7 (the last one shorter) or of all examples, interpreted or compiled.

use gradc::base::{DType, Dim, TensorType};
use gradc::train::aggregate::Evaluation;
use gradc::train::compiled::Compiled;
use gradc::train::data::{Data, Field};
use gradc::train::engine::Engine;
use gradc::train::interpreted::Interpreted;
use gradc::train::run::Trainer;
use safetensors::tensor::{Dtype, SafeTensors};
use std::collections::BTreeMap;

/// Name of a value in the file, and how it is reported.
const REPORTS: &[(&str, &str)] = &[
    ("accuracy", "accuracy(data.guess, data.label)"),
    ("top_k_accuracy", "top_k_accuracy(data.guess, data.label, k = 2)"),
    ("confusion", "confusion(data.guess, data.label)"),
    ("precision", "precision(data.guess, data.label)"),
    ("weighted_precision", "precision(data.guess, data.label, average = \"weighted\")"),
    ("micro_precision", "precision(data.guess, data.label, average = \"micro\")"),
    ("recall", "recall(data.guess, data.label)"),
    ("weighted_recall", "recall(data.guess, data.label, average = \"weighted\")"),
    ("f1", "f1(data.guess, data.label)"),
    ("weighted_f1", "f1(data.guess, data.label, average = \"weighted\")"),
    ("mean_iou", "mean_iou(data.guess, data.label)"),
    ("matthews", "matthews(data.guess, data.label)"),
    ("binary_precision", "binary_precision(data.score, data.truth)"),
    ("binary_recall", "binary_recall(data.score, data.truth)"),
    ("binary_f1", "binary_f1(data.score, data.truth)"),
    ("auc", "auc(data.score, data.truth)"),
    ("average_precision", "average_precision(data.score, data.truth)"),
    ("mean_average_precision", "mean_average_precision(data.scores, data.truths)"),
    ("perplexity", "perplexity(data.guess, data.ignored)"),
    ("mae", "mae(data.near, data.real)"),
    ("mse", "mse(data.near, data.real)"),
    ("rmse", "rmse(data.near, data.real)"),
    ("r_squared", "r_squared(data.near, data.real)"),
    ("correlation", "correlation(data.near, data.real)"),
    ("word_error_rate", "word_error_rate(data.said, data.wanted)"),
    ("bleu", "bleu(data.said, data.wanted)"),
    (
        "detection_ap",
        "detection_ap(data.boxes, data.confidence, data.labels, data.true_boxes, data.true_labels, classes = 3)",
    ),
    (
        "detection_map",
        "detection_map(data.boxes, data.confidence, data.labels, data.true_boxes, data.true_labels, classes = 3)",
    ),
];

/// The data's fields, and the values wanted.
fn file() -> (Vec<Field>, BTreeMap<String, Vec<f64>>) {
    let bytes = std::fs::read("tests/metrics/metrics.safetensors").unwrap();
    let (mut fields, mut values) = (Vec::new(), BTreeMap::new());
    for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
        match name.split_once('.') {
            Some(("data", name)) => {
                let dtype = if view.dtype() == Dtype::I32 { DType::I32 } else { DType::F32 };
                let shape: Vec<Dim> = view.shape()[1..].iter().map(|n| Dim::from(*n)).collect();
                let ty = TensorType::new(dtype, shape);
                fields.push(Field { name: name.into(), ty, bytes: view.data().to_vec() });
            }
            Some((_, name)) => {
                let numbers = view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap()));
                values.insert(name.to_string(), numbers.collect());
            }
            None => panic!("{name}"),
        }
    }
    (fields, values)
}

fn found(evaluation: &Evaluation, name: &str) -> Option<Vec<f64>> {
    let table = evaluation.tables.iter().find(|table| table.name == name).map(|table| table.values.clone());
    let number = || evaluation.metrics.iter().find(|(n, _)| n == name).map(|(_, value)| vec![*value]);
    table.or_else(number)
}

#[test]
fn batches_of_any_size_give_the_same_right_values() {
    let (fields, values) = file();
    assert_eq!(values.len(), REPORTS.len());
    let types: Vec<String> = fields
        .iter()
        .map(|f| {
            format!("{}: {}{}", f.name, f.ty.dtype, f.ty.to_string().trim_start_matches(f.ty.dtype.name()))
        })
        .collect();
    let reports: Vec<String> =
        REPORTS.iter().map(|(name, text)| format!("    report {name} = {text}\n")).collect();
    let data = Data::default().with_memory("data", fields).unwrap();
    let mut failures = Vec::new();
    for batch in [1, 7, 23] {
        let text = format!(
            "train t {{\n    data = memory({})\n    minimize mse(dense(data.near, 2), data.real) with sgd()\n{}    batch = {batch}\n}}\n",
            types.join(", "),
            reports.concat()
        );
        let model = gradc::check(&gradc::load("t.model", &text), &data, &[]).unwrap_or_else(|errors| {
            panic!("{:?}", errors.iter().map(|e| (&e.code, &e.message)).collect::<Vec<_>>())
        });
        let examples = data.load(&model.settings.data).unwrap();
        let mut check = |what: &str, evaluation: Evaluation| {
            for (name, wanted) in &values {
                let found = found(&evaluation, name).unwrap_or_default();
                let near = |(w, f): (&f64, &f64)| (w - f).abs() <= 1e-5 * w.abs().max(1.0);
                if found.len() != wanted.len() || !wanted.iter().zip(&found).all(near) {
                    failures.push(format!("{what}, batches of {batch}: {name} is {found:?}, not {wanted:?}"));
                }
            }
        };
        fn measure<E: Engine>(mut trainer: Trainer<E>) -> Evaluation {
            let data = trainer.data.clone();
            trainer.measure(data).unwrap()
        }
        let interpreted = Trainer::new(&model, Interpreted::new(&model), examples.clone(), None);
        check("interpreted", measure(interpreted));
        check("compiled", measure(Trainer::new(&model, Compiled::new(&model, 2), examples, None)));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
