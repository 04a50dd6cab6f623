//! `recompute`: less memory, more work, the same bits.
//!
//! What enters: one network, with its blocks marked and without. What fails: a plan that does not keep less between
//! forward and backward pass, a bit of a loss or of a parameter that differs.

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
