//! Training in bf16: what it means, how near to f32 it stays, and what it saves.
//!
//! What enters: a perceptron and a small transformer. What fails: machine code that departs from the interpreter, losses that depart
//! from those in f32 by 1 %, weights that are not f32, a plan that takes no less memory, a `precision` that is not heard.
//! Whole architectures stand in `parity.rs`, threads and resumed runs in `determinism.rs`, each rounding beside its code.

use gradc::base::{DType, Dim, Precision};
use gradc::model::Model;
use gradc::nest::{ArgumentAccess, Kernel};
use gradc::plan::{Launch, Place, Plan, Target, report};
use gradc::train::compiled::Compiled;
use gradc::train::data::Data;
use gradc::train::engine::{Engine, Program};
use gradc::train::interpreted::Interpreted;
use gradc::train::planned::plan_of;
use gradc::train::run::{Event, Flow, Trainer};
use std::time::Duration;

const PERCEPTRON: &str = "
fn net(x: f32[batch, n]) -> f32[batch, 10] { x |> dense(48) |> relu |> dense(33) |> tanh |> dense(10) }

train net {
    data = synthetic(rows = 96, x: f32[30], label: i32[], classes = 10)
    let guess = net(data.x)
    minimize cross_entropy(guess, data.label) with adam(lr = 1e-2)
    batch = 32  epochs = 4  seed = 3
}
";

const TRANSFORMER: &str = "
fn gpt(tokens: i32[batch, t], vocab: dim) -> f32[batch, t, vocab] {
    embedding(tokens, vocab, 64)
        |> learned_positions
        |> repeat 2 { encoder_block(heads = 4, causal = true) }
        |> layer_norm
        |> dense(vocab)
}

train gpt {
    data = synthetic(rows = 64, tokens: i32[24], next: i32[24], classes = 17)
    minimize cross_entropy(gpt(data.tokens, 17), data.next) with adam(lr = 3e-3)
    batch = 8  epochs = 5  seed = 1
}
";

fn model(text: &str, precision: &str) -> Model {
    let settings = [("precision".into(), precision.into())];
    gradc::check(&gradc::load("net.model", text), &Data::default(), &settings).unwrap()
}

/// The loss of each step.
fn losses<E: Engine>(model: &Model, engine: E) -> Vec<f32> {
    let examples = Data::default().load(&model.settings.data).unwrap();
    let mut losses = Vec::new();
    let mut watch = |event: Event| {
        if let Event::Step { metrics, .. } = event {
            losses.push(metrics[0]);
        }
        Flow::Continue
    };
    Trainer::new(model, engine, examples, None).train(None, Duration::MAX, &mut watch).unwrap();
    losses
}

fn assert_near(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        let off = (found - expected).abs() / expected.abs();
        assert!(off < tolerance, "{what}: {found} in step {step}, not {expected} ({off:.1e})");
    }
}

#[test]
fn machine_code_does_what_the_interpreter_says() {
    let model = model(PERCEPTRON, "bf16");
    let (found, expected) =
        (losses(&model, Compiled::new(&model, 2)), losses(&model, Interpreted::new(&model)));
    // A value on the edge between two bf16 may fall to either side, and a step later all weights have moved.
    assert_near("the first step", &found[..1], &expected[..1], 1e-5);
    assert_near("all steps", &found, &expected, 2e-3);
}

#[test]
fn losses_stay_within_a_percent_of_those_in_f32() {
    for text in [PERCEPTRON, TRANSFORMER] {
        let (full, short) = (model(text, "f32"), model(text, "bf16"));
        let found = losses(&short, Compiled::new(&short, 2));
        let expected = losses(&full, Compiled::new(&full, 2));
        assert_ne!(found, expected, "something is rounded");
        assert_near(&full.name, &found, &expected, 1e-2);
    }
}

/// tf32 allows a GPU to round; a CPU does not.
#[test]
fn on_a_cpu_tf32_is_f32() {
    let (full, allowed) = (model(PERCEPTRON, "f32"), model(PERCEPTRON, "tf32"));
    let found = losses(&allowed, Compiled::new(&allowed, 2));
    assert_eq!(found, losses(&full, Compiled::new(&full, 2)));
    let on_gpu = |model: &Model| plan_of(model, Program::Train, Target::Cuda).allows_tf32;
    assert!(on_gpu(&allowed) && !on_gpu(&full));
}

#[test]
fn less_lies_in_memory_between_forward_and_backward_pass() {
    let bytes = |precision| plan_of(&model(TRANSFORMER, precision), Program::Train, Target::Cpu);
    let (full, short) = (bytes("f32"), bytes("bf16"));
    assert_eq!(short.variable_bytes(), full.variable_bytes(), "weights are f32");
    // As if all of a batch were one tile: a tile has more rows where each takes less.
    let whole = |plan: &Plan| {
        let of_row = |kernel: &Kernel| {
            let end = kernel.scratch.iter().map(|scratch| scratch.offset + scratch.bytes).max().unwrap_or(0);
            end / u64::from(kernel.tile)
        };
        let over_examples = plan.kernels.iter().filter(|kernel| kernel.rows == Dim::symbol("batch"));
        plan.arena_bytes + over_examples.map(of_row).max().unwrap_or(0) * plan.max_batch as u64
    };
    let (full, short) = (whole(&full), whole(&short));
    // More than half: weights' gradients and what is between two products are f32 in both. Each has a bound of its own, too.
    assert!(short * 10 < full * 7, "{short} bytes in bf16, {full} in f32");
    assert!(full < 3_500_000 && short < 2_100_000, "{short} bytes in bf16, {full} in f32");
}

/// Between the passes lies what goes into GELU, and for the next layer's gradient what comes out: neither the parts of its derivative, nor
/// a product's sums in f32 where the rounded ones do. The third is the cotangent.
#[test]
fn gelu_keeps_what_goes_into_it() {
    let text = "
fn net(x: f32[batch, 1024]) -> f32[batch, 16] { x |> dense(4096) |> gelu |> dense(16) }

train net {
    data = synthetic(rows = 8192, x: f32[1024], label: i32[], classes = 16)
    minimize cross_entropy(net(data.x), data.label) with adam(lr = 1e-3)
    batch = 4096  epochs = 1  seed = 1
}
";
    for (precision, dtype) in [("f32", DType::F32), ("bf16", DType::BF16)] {
        let plan = plan_of(&model(text, precision), Program::Train, Target::Cuda);
        let is_hidden = |shape: &[Dim]| shape == [Dim::symbol("batch"), Dim::from(4096)];
        let is_stored = |place: &Place| matches!(place, Place::Arena { .. });
        let temporary = |i: usize| {
            let is_it = |launch: &Launch| {
                let access = plan.kernels[launch.kernel].arguments.iter().map(|argument| argument.access);
                access
                    .zip(&launch.arguments)
                    .any(|(access, id)| access == ArgumentAccess::Temporary && id.0 as usize == i)
            };
            plan.phases.iter().flatten().any(is_it)
        };
        let found: Vec<DType> = (0..plan.buffers.len())
            .filter(|i| {
                !temporary(*i) && is_stored(&plan.buffers[*i].place) && is_hidden(&plan.buffers[*i].shape)
            })
            .map(|i| plan.buffers[i].dtype)
            .collect();
        assert_eq!(found, [dtype; 3], "{precision}: {}", report(&plan));
    }
}

#[test]
fn a_model_says_its_precision_and_the_command_line_another() {
    let text = PERCEPTRON.replace("seed = 3", "seed = 3  precision = \"bf16\"");
    let program = gradc::load("net.model", &text);
    let checked = |settings: &[(String, String)]| gradc::check(&program, &Data::default(), settings).unwrap();
    assert_eq!(checked(&[]).settings.precision, Precision::Bf16);
    assert_eq!(checked(&[("precision".into(), "f32".into())]).settings.precision, Precision::F32);
}
