//! What says how a value is differentiated: `recompute` and `custom_grad`.
//!
//! What enters: one network, with its blocks marked to be worked out again and without; layers that say the same with marks
//! inside of `scan` and `each`, and plainly. What fails: a plan that does not keep less between forward and backward
//! pass, a bit of a loss or of a parameter that differs; a layer that trains otherwise than its plain twin.

use gradc::model::Model;
use gradc::train::compiled::Compiled;
use gradc::train::data::Data;
use gradc::train::run::{Event, Flow, Trainer};
use std::time::Duration;

/// Batch norm needs all rows at once, so what is between two of them must lie in memory.
const NET: &str = "
fn block(x: f32[batch, n]) -> f32[batch, n] {
    let h = dense(x, 4 * n) |> batch_norm |> tanh |> dense(4 * n) |> batch_norm |> gelu
    x + dense(h, n)
}

fn net(x: f32[batch, n]) -> f32[batch, 1] {
    x |> repeat 4 { BLOCK } |> dense(1)
}

train net {
    data = synthetic(rows = 256, x: f32[16], y: f32[1])
    minimize mse(net(data.x), data.y) with adam(lr = 0.005)
    batch = 256   steps = 3   shuffle = false
}
";

fn model(block: &str) -> Model {
    let text = NET.replace("BLOCK", block);
    gradc::check(&gradc::load("net.model", &text), &Data::default(), &[]).unwrap()
}

/// Bytes between the launches of a training step, and its floating-point operations.
fn cost(model: &Model) -> (u64, u64) {
    let plan = gradc::plan(&gradc::lower(&model.train), model.settings.batch as i64);
    (plan.arena_bytes, plan.flops)
}

/// Bits of the losses and of all parameters after training.
fn trained(model: &Model) -> Vec<u32> {
    let examples = Data::default().load(&model.settings.data).unwrap();
    let mut trainer = Trainer::new(model, Compiled::new(model, 2), examples, None);
    let mut bits = Vec::new();
    let mut watch = |event: Event| {
        if let Event::Step { metrics, .. } = event {
            bits.extend(metrics.iter().map(|m| m.to_bits()));
        }
        Flow::Continue
    };
    trainer.train(None, Duration::MAX, &mut watch).unwrap();
    for (_, tensor) in trainer.variables() {
        bits.extend(tensor.values.iter().map(|v| v.to_bits()));
    }
    bits
}

#[test]
fn less_is_kept_and_nothing_changes() {
    let (kept, again) = (model("block"), model("recompute(block)"));
    let ((bytes_kept, work_kept), (bytes_again, work_again)) = (cost(&kept), cost(&again));
    assert!(2 * bytes_again < bytes_kept, "{bytes_again} bytes with marks, {bytes_kept} without");
    assert!(work_again > work_kept, "{work_again} operations with marks, {work_kept} without");
    assert!(trained(&kept) == trained(&again), "training differs");
}

/// Layers from `h: f32[batch, 6]`, with a parameter `w: f32[6]`, to `f32[batch, 6]`; each pair means the same. The rule of
/// `bent` is not the derivative of what it computes, so that a rule that is not used shows.
const TWINS: &[(&str, &str, &str)] = &[
    ("a rule in each", "each row over h { bent(row * w) }", "bent(h * w)"),
    (
        "a rule in a scan",
        "scan row over h with s = zeros([6]) { s <- s + 1  bent(row * w) + s - s }",
        "bent(h * w)",
    ),
    (
        "a rule on what is carried",
        "scan row over h with s = w { let u = 0.1 * (s + row)  s <- bent(u)  s }",
        "scan row over h with s = w { let u = 0.1 * (s + row)  s <- 3 * u + detach(cube(u) - 3 * u)  s }",
    ),
    ("recompute in each", "each row over h { recompute(smooth, row * w) + w }", "smooth(h * w) + w"),
    (
        "recompute in a scan",
        "scan row over h with s = w { s <- recompute(smooth, 0.5 * s + row)  s * w }",
        "scan row over h with s = w { s <- smooth(0.5 * s + row)  s * w }",
    ),
    ("each in recompute", "recompute(rows, h, w)", "rows(h, w)"),
    ("a gradient of a rule", "grad(sum(bent(h * w)), wrt = h)", "3 * w + 0 * h"),
];

fn twin(layer: &str) -> Model {
    let text = format!(
        "
fn cube(x: f32[..]) -> f32[..] {{ x * x * x }}
fn three(_x: f32[..], _y: f32[..], g: f32[..]) -> f32[..] {{ 3 * g }}
fn bent(x: f32[..]) -> f32[..] {{ custom_grad(cube, three, x) }}
fn smooth(x: f32[..]) -> f32[..] {{ tanh(2 * sin(x)) }}
fn rows(h: f32[b, n], w: f32[n]) -> f32[b, n] {{ each row over h {{ smooth(row + w) * w }} }}
fn layer(h: f32[batch, 6]) -> f32[batch, 6] {{
    param w: f32[6] = normal(std = 0.5)
    {layer}
}}
fn net(x: f32[batch, 4]) -> f32[batch, 1] {{ dense(x, 6) |> layer |> dense(1) }}
train net {{
    data = synthetic(rows = 5, x: f32[4], y: f32[1])
    minimize mse(net(data.x), data.y) with sgd(lr = 0.01)
    batch = 5   steps = 3   shuffle = false
}}
"
    );
    gradc::check(&gradc::load("twin.model", &text), &Data::default(), &[])
        .unwrap_or_else(|errors| panic!("{layer}: {errors:?}"))
}

#[test]
fn marks_mean_the_same_wherever_they_stand() {
    for (name, marked, plain) in TWINS {
        let values =
            |layer: &str| -> Vec<f32> { trained(&twin(layer)).into_iter().map(f32::from_bits).collect() };
        let (marked, plain) = (values(marked), values(plain));
        assert_eq!(marked.len(), plain.len(), "{name}");
        for (a, b) in marked.into_iter().zip(plain) {
            assert!((a - b).abs() <= 1e-5 * (1.0 + b.abs()), "{name}: {a}, not {b}");
        }
    }
}
