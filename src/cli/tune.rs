//! `gradc tune FILE`: what makes a model's large products fastest on a GPU, for later runs.
//!
//! What enters: a model, a GPU with cuBLASLt. What leaves: a line for each product, with the time of cuBLASLt's own first choice, of
//! gradc's kernel and of the fastest; and the user's choices for such a GPU, with these added. Invariant: no other command
//! writes them, so that the bits of runs change only when somebody tunes or forgets.

use super::devices::DeviceArguments;
use super::format;
use super::output::{Failure, say};
use super::project::{ModelArguments, Project};
use crate::codegen::cuda::choices::{Choice, Product};
use crate::runtime::cuda::{Device, Driver};
use crate::train::accelerated::Accelerated;
use crate::train::engine::{Program, graph};
use crate::train::run::Trainer;
use crate::train::run::tune::Tuned;
use serde_json::{Value, json};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    device: DeviceArguments,
    /// Forget what was chosen for such a GPU, of all models
    #[arg(long, conflicts_with = "file")]
    forget: bool,
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

const PROGRAMS: [(Program, &str); 3] =
    [(Program::Train, "train"), (Program::Eval, "eval"), (Program::Predict, "predict")];

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(gpu) = arguments.device.gpu() else {
        return Err(Failure::Usage(format!(
            "products are tuned on a GPU, not on the device `{}`: add `--device cuda`",
            arguments.device.device
        )));
    };
    if arguments.forget {
        return forget(arguments, &arguments.device.driver(gpu)?);
    }
    let project = Project::open(&arguments.model)?;
    let model = &project.model;
    let data = project.data.load(&model.settings.data)?;
    let driver = arguments.device.driver(gpu)?;
    let (on, path) = (driver.name(), driver.store().map_err(failure)?.path().to_path_buf());
    let mut trainer = Trainer::new(model, Accelerated::new(model, driver), data, None);
    let mut tuned = Vec::new();
    for (program, _) in PROGRAMS {
        if graph(model, program).outputs.is_empty() {
            continue;
        }
        let n_known = tuned.len();
        trainer.tune(program, &mut tuned)?;
        // What was found stays if a program behind has no room.
        let new = tuned[n_known..].iter().map(|tuned| (&tuned.product, &tuned.timed));
        let kept = trainer.engine.session().device().keep(new);
        kept.map_err(|error| Failure::Error(format!("cannot write `{}`: {error}", path.display())))?;
    }
    let path = path.display().to_string();
    if arguments.model.json {
        let products: Vec<Value> = tuned.iter().map(row_json).collect();
        let (name, batch) = (&model.name, model.settings.batch);
        return say(
            json!({ "name": name, "batch": batch, "on": on, "path": path, "products": products }).to_string()
        );
    }
    let mut lines = vec![format!("{} · batch {} · {on}", model.name, model.settings.batch)];
    if tuned.is_empty() {
        lines.push(
            "no product of it is large enough to be a library's, or its steps are one launch each".into(),
        );
        return say(lines.join("\n"));
    }
    lines.push(format!(
        "{:>10} {:>10} {:>10}  {:<18} {:<24}  product",
        "µs: first", "generated", "best", "chosen", "launches of a step"
    ));
    let whole = tuned.iter().map(|tuned| tuned.batch).max().unwrap_or(0);
    lines.extend(tuned.iter().map(|tuned| row(tuned, whole)));
    let saved = |tuned: &Tuned| tuned.launches[0] as f64 * (tuned.timed.first() - tuned.timed.best().1);
    let of_whole = tuned.iter().filter(|tuned| tuned.batch == whole);
    let n_better = tuned.iter().filter(|tuned| tuned.timed.best().1 < tuned.timed.first()).count();
    lines.push(format!(
        "{n_better} of {} are made faster than by cuBLASLt's first choice; of a training step's time that is {}",
        tuned.len(),
        format::seconds(of_whole.map(saved).sum()),
    ));
    lines.push(format!(
        "kept in {path} for runs on such a GPU; `gradc tune --forget --device {}` removes it",
        arguments.device.device
    ));
    say(lines.join("\n"))
}

fn forget(arguments: &Arguments, driver: &Driver) -> Result<(), Failure> {
    let store = driver.store().map_err(failure)?;
    let path = store.path().display().to_string();
    let forgotten = store.forget();
    let n = forgotten.map_err(|error| Failure::Error(format!("cannot remove `{path}`: {error}")))?;
    if arguments.model.json {
        return say(json!({ "on": driver.name(), "path": path, "forgotten": n }).to_string());
    }
    let s = if n == 1 { "" } else { "s" };
    say(format!("{}: {n} product{s} forgotten; runs take cuBLASLt's first choice again", driver.name()))
}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure::Error(error.to_string())
}

/// `algorithm 3 of 8`, counted as the library offers them.
fn chosen(tuned: &Tuned) -> String {
    let algorithms = &tuned.timed.algorithms;
    match tuned.timed.best().0 {
        Choice::GeneratedKernel => "generated kernel".into(),
        Choice::Algorithm(chosen) => {
            let number = algorithms.iter().position(|(algorithm, _)| *algorithm == chosen);
            format!("algorithm {} of {}", number.map_or(0, |i| i + 1), algorithms.len())
        }
    }
}

/// `12 of 64 x 64 x 32 NT bf16 to f32`: rows and columns of the result as the library counts them, terms; which factors lie by rows.
fn shape(product: &Product) -> String {
    let Product { m, n, k, count, a, b, d, .. } = product;
    let many = if *count > 1 { format!("{count} of ") } else { String::new() };
    let letter = |transposed: bool| if transposed { 'T' } else { 'N' };
    let added = if product.accumulate { ", added" } else { "" };
    let fused = if product.fused.is_some() { ", with maps around it" } else { "" };
    format!(
        "{many}{m} x {n} x {k} {}{} {}{added}{fused}",
        letter(a.transposed),
        letter(b.transposed),
        types(product, d.dtype.name())
    )
}

fn types(product: &Product, result: &str) -> String {
    let factors = if product.tf32 { "tf32" } else { product.a.dtype.name() };
    if product.tf32 || factors == result { factors.to_string() } else { format!("{factors} to {result}") }
}

/// `whole`: examples of a full batch.
fn row(tuned: &Tuned, whole: usize) -> String {
    let short = if tuned.batch == whole { String::new() } else { format!(", of the last {}", tuned.batch) };
    let micro = |seconds: f64| format!("{:.2}", seconds * 1e6);
    let timed = &tuned.timed;
    let launches: Vec<String> = PROGRAMS
        .iter()
        .zip(tuned.launches)
        .filter(|(_, n)| *n > 0)
        .map(|((_, name), n)| format!("{name} {n}"))
        .collect();
    format!(
        "{:>10} {:>10} {:>10}  {:<18} {:<24}  {}{short}",
        micro(timed.first()),
        micro(timed.generated),
        micro(timed.best().1),
        chosen(tuned),
        launches.join(" "),
        shape(&tuned.product),
    )
}

fn row_json(tuned: &Tuned) -> Value {
    let Tuned { product, timed, .. } = tuned;
    let ms = |seconds: f64| seconds * 1e3;
    let [train, eval, predict] = tuned.launches;
    json!({
        "product": product, "batch": tuned.batch, "launches": { "train": train, "eval": eval, "predict": predict },
        "first_ms": ms(timed.first()), "generated_ms": ms(timed.generated), "best_ms": ms(timed.best().1),
        "algorithms_ms": timed.algorithms.iter().map(|(_, seconds)| seconds.map(ms)).collect::<Vec<_>>(),
        "chosen": chosen(tuned),
    })
}
