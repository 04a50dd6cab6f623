//! Models on an NVIDIA GPU, held to the definition of meaning and to the CPU. Where there is no GPU each test
//! says that it is skipped, and why.
//!
//! What fails: a rung on the GPU that trains otherwise than the definition; steps of an example whose losses
//! are not the CPU's; what compute-sanitizer finds; one bit that differs between two runs, tuned or not; a model too large for the GPU that ends in
//! anything but an error with its bytes.

mod ladder;
mod skip;

use gradc::model::Model;
use gradc::runtime::cuda::Driver;
use gradc::train::accelerated::Accelerated;
use gradc::train::compiled::Compiled;
use gradc::train::data::{Data, Dataset};
use gradc::train::engine::{Engine, Program};
use gradc::train::run::{Event, Flow, Trainer};
use ladder::{COMPILED, EXACT, Ladder, Rung, Values, differences};
use skip::skipped;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// The rung above those of the CPU.
const GPU: &[Rung] = &[Rung {
    name: "gpu",
    tolerance: 1e-5,
    train: |ladder| ladder.on(Accelerated::new(ladder.model, gpu().expect("it was there a moment ago"))),
}];

/// The first GPU, or nothing and a line that says why.
fn gpu() -> Option<Driver> {
    Driver::open(0, None).map_err(|error| skipped(&error.to_string())).ok()
}

fn models(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "model")).collect();
    models.sort();
    models
}

/// The model of a file, and its data; `None` where the data are not on this machine.
fn open(path: &Path, settings: &[(&str, &str)]) -> Option<(Model, Arc<Dataset>)> {
    let text = std::fs::read_to_string(path).unwrap();
    let data = Data::in_folder(path.parent().unwrap());
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let Ok(model) = gradc::check(&gradc::load("test.model", &text), &data, &settings) else {
        skipped(&format!("{} has no data here", path.display()));
        return None;
    };
    let examples = data.load(&model.settings.data).ok()?;
    Some((model, examples))
}

fn losses<E: Engine>(model: &Model, data: Arc<Dataset>, mut engine: E) -> Vec<f32> {
    engine.prepare(Program::Train).unwrap();
    let mut trainer = Trainer::new(model, engine, data, None);
    let mut losses = Vec::new();
    let mut watch = |event: Event| {
        if let Event::Step { metrics, .. } = event {
            losses.push(metrics[0]);
        }
        Flow::Continue
    };
    trainer.train(None, Duration::MAX, &mut watch).unwrap();
    losses
}

#[test]
fn models_train_as_their_definition_says() {
    if gpu().is_none() {
        return;
    }
    let mut failures = Vec::new();
    for path in models("tests/models") {
        let Some((model, data)) = open(&path, &[]) else { continue };
        let ladder = Ladder::new(&model, data, Values::new()).unwrap();
        let found = differences(&ladder, &ladder.definition(), &[EXACT, COMPILED, GPU].concat());
        failures.extend(found.into_iter().map(|what| format!("{}: {what}", path.display())));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn examples_train_as_on_the_cpu() {
    if gpu().is_none() {
        return;
    }
    for path in models("examples").into_iter().chain(models("examples/bench")) {
        let Some((model, data)) = open(&path, &[("steps", "4"), ("batch", "8")]) else { continue };
        let cpu = losses(&model, data.clone(), Compiled::new(&model, 2));
        let found = losses(&model, data, Accelerated::new(&model, gpu().unwrap()));
        let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-3 * b.abs().max(1.0);
        assert!(found.iter().zip(&cpu).all(close), "{}: {found:?}, not {cpu:?}", path.display());
    }
}

#[test]
fn a_run_is_the_same_bits_each_time() {
    if gpu().is_none() {
        return;
    }
    for path in models("examples/bench") {
        let Some((model, data)) = open(&path, &[("steps", "12"), ("batch", "12")]) else { continue };
        let run = || {
            let losses = losses(&model, data.clone(), Accelerated::new(&model, gpu().unwrap()));
            losses.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        assert_eq!(run(), run(), "{}", path.display());
    }
}

/// In a folder of its own: what the user has tuned stays as it is.
#[test]
fn a_tuned_run_is_the_same_bits_each_time() {
    if gpu().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = "
        fn net(x: f32[batch, 512]) -> f32[batch, 8] { x |> dense(1024) |> relu |> dense(1024) |> relu |> dense(8) }
        train net {
            data = synthetic(rows = 512, x: f32[512], label: i32[], classes = 8)
            let guess = net(data.x)
            minimize cross_entropy(guess, data.label) with adam(lr = 1e-3)
            batch = 256  steps = 12  seed = 3
        }";
    std::fs::write(folder.path().join("net.model"), text).unwrap();
    let gradc = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gradc"));
        command.args(arguments).args(["--device", "cuda"]).current_dir(folder.path());
        let output = command.env("GRADC_CACHE", folder.path().join("cache")).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    };
    let (tuned, said, errors) = gradc(&["tune", "net.model"]);
    if errors.contains("there is no cuBLASLt") {
        skipped(&errors);
        return;
    }
    assert!(tuned && said.contains("are made faster than by"), "{said}{errors}");
    println!("{said}");
    let weights = |out: &str| {
        let (trained, _, errors) = gradc(&["train", "net.model", "--out", out]);
        assert!(trained, "{errors}");
        std::fs::read(folder.path().join(out).join("weights.safetensors")).unwrap()
    };
    assert!(weights("one") == weights("two"));
}

/// No access out of bounds, no race in shared memory, no barrier that some threads miss, nothing read that was never written; as one launch
/// and as many, in f32 and in bf16.
#[test]
fn compute_sanitizer_finds_nothing() {
    if gpu().is_none() {
        return;
    }
    let tool = std::env::var_os("COMPUTE_SANITIZER").unwrap_or("compute-sanitizer".into());
    if Command::new(&tool).arg("--version").output().is_err() {
        return skipped("there is no compute-sanitizer; COMPUTE_SANITIZER may say where it is");
    }
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut failures = Vec::new();
    for (model, precision) in [
        ("mnist", "f32"),
        ("bench/cnn", "f32"),
        ("bench/lstm", "f32"),
        ("bench/gpt-nano", "f32"),
        ("bench/gpt-nano", "bf16"),
    ] {
        for check in ["memcheck", "racecheck", "synccheck", "initcheck"] {
            let output = Command::new(&tool)
                .args(["--tool", check, "--error-exitcode", "9", env!("CARGO_BIN_EXE_gradc"), "bench"])
                .arg(examples.join(format!("{model}.model")))
                .args(["--device", "cuda", "--precision", precision, "--batch", "4", "--steps", "2"])
                .output()
                .unwrap();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                failures.push(format!("{model} in {precision}, {check}: {said}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_does_not_fit_is_refused_with_its_bytes() {
    let Some(driver) = gpu() else { return };
    // Four terabytes of one weight and its optimizer's states.
    let text = "
        fn net(x: f32[batch, 4]) -> f32[batch, 1] {
            let wide = x |> dense(1000000)
            wide |> dense(1000000) |> dense(1)
        }
        train net {
            data = synthetic(rows = 8, x: f32[4], y: f32[1])
            minimize mse(net(data.x), data.y) with adam(lr = 1e-3)
            batch = 4  steps = 1
        }";
    let model = gradc::check(&gradc::load("net.model", text), &Data::default(), &[]);
    let model = model.map_err(|errors| errors[0].message.clone()).unwrap();
    let error = Accelerated::new(&model, driver).compile(Program::Train).unwrap_err();
    assert!(error.contains("TiB of memory (") && error.contains("), and cuda:0"), "{error}");
}
