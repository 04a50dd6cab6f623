//! The same bits: for any number of threads, and however often a run is stopped and goes on; in f32 and in bf16.
//!
//! What enters: a network with dropout, states and Adam, large enough that every thread has work, on batches of which the
//! last of each epoch is short. What fails: one bit of one loss, or of one variable.

use gradc::model::Model;
use gradc::train::compiled::Compiled;
use gradc::train::data::Data;
use gradc::train::folder::{RunFolder, RunInfo};
use gradc::train::run::{Event, Flow, Trainer};
use gradc::train::weights::Tensors;
use std::time::Duration;

const MODEL: &str = "
fn net(x: f32[batch, n]) -> f32[batch, 10] {
    x |> dense(96) |> batch_norm |> relu |> dropout(rate = 0.2) |> dense(64) |> layer_norm |> gelu |> dense(10)
}

train net {
    data = synthetic(rows = 700, x: f32[50], label: i32[], classes = 10)
    let guess = net(data.x)
    minimize cross_entropy(guess, data.label) with clip_by_norm(1.0) |> adam(lr = cosine(1e-2, warmup = 3))
    report accuracy(guess, data.label)
    batch = 128  epochs = 3  seed = 9
}
";

fn model(precision: &str) -> Model {
    let settings = [("precision".into(), precision.into())];
    gradc::check(&gradc::load("net.model", MODEL), &Data::default(), &settings).unwrap()
}

fn trainer(model: &Model, n_threads: usize) -> Trainer<'_, Compiled<'_>> {
    let examples = Data::default().load(&model.settings.data).unwrap();
    Trainer::new(model, Compiled::new(model, n_threads), examples, None)
}

/// Bits of each step's metrics, up to the end or to the step `last`, after which a checkpoint lies in the folder.
fn train(trainer: &mut Trainer<Compiled>, folder: Option<&mut RunFolder>, last: u64) -> Vec<u32> {
    let mut bits = Vec::new();
    let mut watch = |event: Event| match event {
        Event::Step { step, metrics, .. } => {
            bits.extend(metrics.iter().map(|value| value.to_bits()));
            if step == last { Flow::Stop } else { Flow::Continue }
        }
        _ => Flow::Continue,
    };
    trainer.train(folder, Duration::MAX, &mut watch).unwrap();
    bits
}

fn bits(tensors: &Tensors) -> Vec<(String, Vec<u32>)> {
    let of = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect();
    tensors.iter().map(|(path, tensor)| (path.to_string(), of(&tensor.values))).collect()
}

#[test]
fn any_number_of_threads_computes_the_same_bits() {
    ["f32", "bf16"].into_iter().for_each(check_threads);
}

fn check_threads(precision: &str) {
    let model = model(precision);
    let mut one = trainer(&model, 1);
    let losses = train(&mut one, None, u64::MAX);
    assert_eq!(losses.len(), 2 * 18);
    for n_threads in [1, 2, 3, 8] {
        let mut many = trainer(&model, n_threads);
        assert_eq!(train(&mut many, None, u64::MAX), losses, "losses with {n_threads} threads");
        assert!(bits(&many.variables()) == bits(&one.variables()), "variables with {n_threads} threads");
    }
}

#[test]
fn a_run_that_was_stopped_goes_on_to_the_same_bits() {
    ["f32", "bf16"].into_iter().for_each(check_stops);
}

fn check_stops(precision: &str) {
    let model = model(precision);
    let mut whole = trainer(&model, 2);
    let losses = train(&mut whole, None, u64::MAX);
    let place = tempfile::tempdir().unwrap();
    // The first step, within an epoch, at its end, after the warm-up, before the last step.
    for (stop, n_threads) in [(0, 3), (2, 1), (5, 8), (7, 2), (16, 3)] {
        let info = RunInfo::new("net", "net.model".as_ref(), &[]);
        let path = place.path().join(format!("run-{stop}"));
        let mut folder = RunFolder::create(Some(&path), info, &[]).unwrap();
        let mut first = trainer(&model, 2);
        let mut all = train(&mut first, Some(&mut folder), stop);
        let mut second = trainer(&model, n_threads);
        second.load_checkpoint(&folder.checkpoint()).unwrap();
        all.extend(train(&mut second, None, u64::MAX));
        assert_eq!(all, losses, "stopped after step {stop}");
        assert!(bits(&second.variables()) == bits(&whole.variables()), "stopped after step {stop}");
    }
}
