//! `--memory-limit`: plans that fit it, and give the same bits.
//!
//! What enters: a transformer with dropout and clipping, a perceptron and a convolutional network, and limits between what a step
//! takes by itself and the least that is known. What fails: a plan that takes more than its limit, one bit of a loss or of a
//! variable, a limit that gains nothing on a deep network, a refusal that does not say by how much.

use gradc::model::Model;
use gradc::plan::Target;
use gradc::train::compiled::Compiled;
use gradc::train::data::Data;
use gradc::train::engine::Program;
use gradc::train::planned::{plan_of, plan_within};
use gradc::train::run::{Event, Flow, Trainer};
use gradc::train::weights::Tensors;
use std::time::Duration;

/// Name, text, and the share of its own memory that a limit must reach.
const MODELS: &[(&str, &str, f64)] = &[
    (
        "transformer",
        "
fn gpt(tokens: i32[batch, t], vocab: dim) -> f32[batch, t, vocab] {
    embedding(tokens, vocab, 32)
        |> learned_positions
        |> repeat 6 { encoder_block(heads = 4, causal = true) |> dropout(rate = 0.1) }
        |> layer_norm
        |> dense(vocab)
}

train gpt {
    data = synthetic(rows = 40, tokens: i32[24], next: i32[24], classes = 17)
    minimize cross_entropy(gpt(data.tokens, 17), data.next) with clip_by_norm(1.0) |> adam(lr = 3e-3)
    batch = 16  epochs = 2  seed = 1
}
",
        0.7,
    ),
    (
        "perceptron",
        "
fn net(x: f32[batch, n]) -> f32[batch, 10] { x |> repeat 9 { dense(40) |> gelu } |> dense(10) }

train net {
    data = synthetic(rows = 1400, x: f32[40], label: i32[], classes = 10)
    minimize cross_entropy(net(data.x), data.label) with sgd(lr = 1e-2)
    batch = 512  epochs = 2  seed = 3
}
",
        0.8,
    ),
    (
        "convolutions",
        "
fn net(x: f32[batch, 12, 12, 3]) -> f32[batch, 10] {
    let features = x |> conv(8) |> repeat 4 { conv(8) |> batch_norm |> relu }
    mean(features, axes = [1, 2]) |> dense(10)
}

train net {
    data = synthetic(rows = 40, x: f32[12, 12, 3], label: i32[], classes = 10)
    minimize cross_entropy(net(data.x), data.label) with adam(lr = 1e-2)
    batch = 16  epochs = 2  seed = 3
}
",
        0.9,
    ),
];

fn model(text: &str) -> Model {
    gradc::check(&gradc::load("net.model", text), &Data::default(), &[]).unwrap_or_else(|e| panic!("{e:?}"))
}

/// The bits of each loss and of each variable in the end.
fn train(model: &Model, limit: Option<u64>) -> (Vec<u32>, Vec<(String, Vec<u32>)>) {
    let examples = Data::default().load(&model.settings.data).unwrap();
    let mut losses = Vec::new();
    let mut watch = |event: Event| {
        if let Event::Step { metrics, .. } = event {
            losses.push(metrics[0].to_bits());
        }
        Flow::Continue
    };
    let mut trainer = Trainer::new(model, Compiled::new(model, 2).within(limit), examples, None);
    trainer.train(None, Duration::MAX, &mut watch).unwrap();
    let bits = |tensors: &Tensors| -> Vec<(String, Vec<u32>)> {
        let of = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
        tensors.iter().map(|(path, tensor)| (path.to_string(), of(&tensor.values))).collect()
    };
    (losses, bits(&trainer.variables()))
}

#[test]
fn a_limit_is_kept_and_changes_no_bit() {
    for (name, text, share) in MODELS {
        let model = model(text);
        let whole = plan_of(&model, Program::Train, Target::Cpu).peak_bytes(2);
        let expected = train(&model, None);
        let mut least = whole;
        for percent in [97, 93, 90, 85, 80, 75, 65, 55] {
            let limit = whole * percent / 100;
            let Ok(plan) = plan_within(&model, Program::Train, Some(limit), 2) else { break };
            least = plan.peak_bytes(2);
            assert!(least <= limit, "{name}: {least} bytes, not {limit}");
            let found = train(&model, Some(limit));
            assert!(found == expected, "{name}: other bits within {percent} % of the memory");
        }
        assert!(least as f64 <= whole as f64 * share, "{name}: {least} of {whole} bytes at the least");
    }
}

#[test]
fn what_cannot_be_kept_is_refused_with_the_difference() {
    let model = model(MODELS[0].1);
    let message = plan_within(&model, Program::Train, Some(1000), 2).unwrap_err();
    let least: u64 = message
        .split(" bytes more")
        .next()
        .and_then(|text| text.rsplit(' ').next())
        .and_then(|digits| digits.replace('_', "").parse().ok())
        .unwrap_or_else(|| panic!("{message}"));
    // That much more, and it fits.
    assert!(plan_within(&model, Program::Train, Some(1000 + least - 1), 2).is_err(), "{message}");
    let plan = plan_within(&model, Program::Train, Some(1000 + least), 2).unwrap();
    assert_eq!(plan.peak_bytes(2), 1000 + least);
}
