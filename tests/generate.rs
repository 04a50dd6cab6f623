//! Going on by one place is reading the whole again: a table of networks, each with what it keeps from place to place.
//!
//! What enters: networks over eight tokens. What fails: a place whose logits are not those of the whole sequence, in the
//! interpreter or in machine code; a network that keeps other values than the table says; one that looks ahead and is taken.

use gradc::train::compiled::Compiled;
use gradc::train::data::{Data, Dataset, Field};
use gradc::train::engine::{Engine, Program};
use gradc::train::generate::{Choice, Writer};
use gradc::train::interpreted::Interpreted;
use gradc::train::run::{TrainError, Trainer};
use std::sync::Arc;

const CONTEXT: usize = 8;
const TOKENS: [i32; CONTEXT] = [3, 1, 4, 1, 5, 2, 6, 0];

/// A network from `x: f32[b, 8, 12]`, and the types that it keeps.
const NETWORKS: &[(&str, &str, &[&str])] = &[
    ("nothing is kept of what each place does by itself", "x |> dense(12) |> gelu |> layer_norm", &[]),
    (
        "attention keeps keys and values",
        "self_attention(x, heads = 2, causal = true)",
        &["f32[1, 2, 8, 6]", "f32[1, 2, 6, 8]"],
    ),
    (
        "shared heads are kept once, rotated or not",
        "self_attention(x, heads = 6, kv_heads = 2, causal = true, rotate = true)",
        &["f32[1, 2, 8, 2]", "f32[1, 2, 8, 2]"],
    ),
    (
        "layers keep their own",
        "x + positions(b, t) |> repeat 2 { encoder_block(heads = 2, causal = true) }",
        &["f32[1, 2, 8, 6]", "f32[1, 2, 6, 8]", "f32[1, 2, 8, 6]", "f32[1, 2, 6, 8]"],
    ),
    ("a recurrence keeps what it carries", "gru(x, 12)", &["f32[1, 12]"]),
    (
        "two of them, both",
        "x |> lstm(12) |> lstm(12)",
        &["f32[1, 12]", "f32[1, 12]", "f32[1, 12]", "f32[1, 12]"],
    ),
    (
        "a convolution keeps its input",
        "x |> back(2) |> conv1d(12, kernel = 3, padding = 0)",
        &["f32[1, 8, 12]"],
    ),
    ("a mean of what has been", "means(x)", &["f32[1, 8, 12]"]),
    ("a sum along the places", "cumsum(x, axis = 1)", &["f32[1, 12]"]),
];

const AHEAD: &[&str] =
    &["self_attention(x, heads = 2)", "gru(x, 12, backwards = true)", "x + mean(x, axes = [1], keep = true)"];

fn text(network: &str) -> String {
    format!(
        "
fn positions(b: dim, t: dim) -> f32[t, 12] {{ param place: f32[t, 12] = normal(std = 0.5)  place }}

fn back(x: f32[b, t, c], n: int) -> f32[b, t + n, c] {{ concat([zeros([b, n, c]), x], axis = 1) }}

fn means(x: f32[b, t, c]) -> f32[b, t, c] {{
    let seen = f32(causal_mask(t, t))
    let y[i, p, k] = sum[q] seen[p, q] * x[i, q, k]
    y / (1 + f32(reshape(iota(t), [t, 1])))
}}

fn body(x: f32[b, t, 12]) -> f32[b, t, 12] {{ {network} }}

fn net(tokens: i32[batch, t]) -> f32[batch, t, 7] {{ embedding(tokens, 7, 12) |> body |> dense(7) }}

train net {{
    data = memory(tokens: i32[8], next: i32[8])
    let guess = net(data.tokens)
    minimize cross_entropy(guess, data.next) with sgd(lr = 0.1)
    predict guess
    batch = 2  epochs = 1  seed = 4
}}
"
    )
}

/// Logits of all places, the whole read at once; and one place after another. And what is kept.
fn both<'m, E: Engine>(
    model: &'m gradc::model::Model,
    writer: &'m Writer,
    data: &Arc<Dataset>,
    engine: impl Fn(&'m gradc::model::Model) -> E,
) -> Result<[Vec<f32>; 2], TrainError> {
    let mut whole = Trainer::new(model, engine(model), data.clone(), None);
    let logits = whole.predict(data.clone(), "guess")?;
    let mut step = Trainer::new(&writer.model, engine(&writer.model), data.clone(), None);
    let mut steps = Vec::new();
    for place in 0..CONTEXT {
        // What comes behind the place is not there yet.
        steps.extend(writer.place(&mut step.engine, &TOKENS[..=place], place)?);
    }
    Ok([bytemuck::pod_collect_to_vec(&logits), steps])
}

fn data() -> (Data, Arc<Dataset>) {
    let fields = vec![Field::i32("tokens", &[CONTEXT], &TOKENS), Field::i32("next", &[CONTEXT], &TOKENS)];
    let data = Data::default().with_memory("data", fields.clone()).unwrap();
    (data, Arc::new(Dataset::new("eight tokens", fields).unwrap()))
}

#[test]
fn a_place_is_the_whole_at_that_place() {
    let (catalog, data) = data();
    let mut wrong = Vec::new();
    for (name, network, kept) in NETWORKS {
        let model = match gradc::check(&gradc::load("net.model", &text(network)), &catalog, &[]) {
            Ok(model) => model,
            Err(errors) => panic!("{name}: {}", errors[0].message),
        };
        let writer = Writer::new(&model, &data.fields, "guess");
        let own = &writer.model.variables[model.variables.len()..];
        let types: Vec<String> = own.iter().map(|v| v.ty.to_string()).collect();
        if types != *kept {
            wrong.push(format!("{name}: keeps {types:?}"));
        }
        for (engine, found) in [
            ("interpreted", both(&model, &writer, &data, Interpreted::new)),
            ("compiled", both(&model, &writer, &data, |m| Compiled::new(m, 2))),
        ] {
            let [whole, steps] = found.unwrap();
            assert_eq!((whole.len(), steps.len()), (7 * CONTEXT, 7 * CONTEXT), "{name}");
            let near = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5 * (1.0 + a.abs());
            let far = whole.iter().zip(&steps).position(|pair| !near(pair));
            if let Some(at) = far {
                wrong.push(format!("{name}, {engine}, place {}: {} is {}", at / 7, whole[at], steps[at]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// More than the context holds: the text goes on from its last half, and the cache agrees with a fresh one.
#[test]
fn text_goes_on_behind_the_context() {
    let (catalog, data) = data();
    let program = gradc::load("net.model", &text("self_attention(x, heads = 2, causal = true)"));
    let model = gradc::check(&program, &catalog, &[]).map_err(|e| e[0].message.clone()).unwrap();
    let writer = Writer::new(&model, &data.fields, "guess");
    let written = |prompt: Vec<i32>, n: usize| -> Vec<i32> {
        let engine = Compiled::new(&writer.model, 1);
        let mut trainer = Trainer::new(&writer.model, engine, data.clone(), None);
        let mut all = prompt.clone();
        let choice = Choice { temperature: 0.0, top_k: 0, seed: 0 };
        let mut add = |next| -> Result<(), TrainError> {
            all.push(next);
            Ok(())
        };
        writer.generate(&mut trainer.engine, prompt, n, &choice, &mut add).unwrap();
        all
    };
    // The same by reading all that is seen anew for each token.
    let mut engine = Compiled::new(&model, 1);
    engine.prepare(Program::Predict).unwrap();
    let mut slow = Trainer::new(&model, engine, data.clone(), None);
    let mut all = vec![3];
    for _ in 0..30 {
        let half = CONTEXT / 2;
        let start = all.len().saturating_sub(CONTEXT).div_ceil(half) * half;
        let mut seen = all[start..].to_vec();
        let last = seen.len() - 1;
        seen.resize(CONTEXT, 0);
        let one = Dataset::new("seen", vec![Field::i32("tokens", &[CONTEXT], &seen)]).unwrap();
        let logits: Vec<f32> = bytemuck::pod_collect_to_vec(&slow.predict(Arc::new(one), "guess").unwrap());
        let logits = &logits[last * 7..][..7];
        all.push((0..7).max_by(|a, b| logits[*a].total_cmp(&logits[*b])).unwrap() as i32);
    }
    assert_eq!(written(vec![3], 30), all);
    assert_eq!(written(all[..20].to_vec(), 11), all, "a long prompt");
}

#[test]
fn who_looks_ahead_is_refused() {
    let (catalog, data) = data();
    for network in AHEAD {
        let model = gradc::check(&gradc::load("net.model", &text(network)), &catalog, &[]);
        let model = model.map_err(|e| e[0].message.clone()).unwrap();
        let writer = Writer::new(&model, &data.fields, "guess");
        let mut trainer = Trainer::new(&writer.model, Compiled::new(&writer.model, 1), data.clone(), None);
        let choice = Choice { temperature: 0.0, top_k: 0, seed: 0 };
        let each = |_| -> Result<(), TrainError> { Ok(()) };
        let found = writer.generate(&mut trainer.engine, vec![1], 3, &choice, each);
        let said = found.expect_err(network).to_string();
        assert!(said.contains("looks ahead"), "{network}: {said}");
    }
}
