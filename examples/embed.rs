//! Trains a model from arrays in memory: `cargo run --release --example embed`.
//!
//! The model's text says `memory(…)`; the program gives the arrays, runs the loop, reads the parameters.

use gradc::train::data::{Data, Field};
use gradc::train::run::Flow;
use std::error::Error;
use std::time::Duration;

const MODEL: &str = "
fn line(x: f32[batch, 2]) -> f32[batch, 1] { x |> dense(1) }

train line {
    data = memory(x: f32[2], y: f32[1])
    let guess = line(data.x)
    minimize mse(guess, data.y) with sgd(lr = 0.1)
    predict guess
    batch = 16  epochs = 200  seed = 1
}
";

fn main() -> Result<(), Box<dyn Error>> {
    // y = 3 a - 2 b + 1
    let x: Vec<f32> = (0..128).map(|i| (i * 37 % 64) as f32 / 64.0).collect();
    let y: Vec<f32> = x.chunks_exact(2).map(|x| 3.0 * x[0] - 2.0 * x[1] + 1.0).collect();
    let data =
        Data::default().with_memory("data", vec![Field::f32("x", &[2], &x), Field::f32("y", &[1], &y)])?;

    let program = gradc::load("line.model", MODEL);
    let model = gradc::check(&program, &data, &[]).map_err(|errors| {
        errors.iter().map(|e| format!("{}: {}\n", e.code, e.message)).collect::<String>()
    })?;
    let mut trainer = gradc::trainer(&model, &data)?;
    trainer.train(None, Duration::MAX, &mut |_| Flow::Continue)?;

    for (path, tensor) in trainer.weights() {
        println!("{path} = {:.3?}", tensor.values);
    }
    println!("loss {:.2e}", trainer.evaluate(data.load(&model.settings.data)?)?[0].1);
    Ok(())
}
