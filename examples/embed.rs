//! Trains a model from arrays in memory: `cargo run --release --example embed`.
//!
//! The model's text says `memory(…)`; the program gives the arrays, runs the loop, reads the parameters.

use gradc::model;
use gradc::train::compiled::Compiled;
use gradc::train::data::{Data, Field};
use gradc::train::run::{Flow, Trainer};
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

    let program = model::load("line.model", MODEL.as_bytes(), &model::NoFiles);
    let checked = model::check(&program, &data, &model::Overrides::default());
    for diagnostic in &checked.diagnostics {
        eprintln!("{}: {}", diagnostic.code, diagnostic.message);
    }
    let model = checked.model.ok_or("the model has errors")?;

    let examples = data.load(&model.settings.data)?;
    let mut trainer = Trainer::new(&model, Compiled::new(&model, 2), examples.clone(), None);
    trainer.train(None, Duration::MAX, &mut |_| Flow::Continue)?;

    for (path, tensor) in trainer.weights() {
        println!("{path} = {:.3?}", tensor.values);
    }
    println!("loss {:.2e}", trainer.evaluate(examples)?[0].1);
    Ok(())
}
