//! The standard library: each function is checked by itself, says what it does, and shows it in an example that holds;
//! many are trained in a model on every rung of the ladder.
//!
//! What enters: the texts of `dsl/std`, and a table of uses. What fails: a message of the checker, a public function
//! without a comment or an example, an example that does not hold in the interpreter or in machine code, machine code
//! that trains otherwise than the definition of meaning.

mod ladder;

use gradc::train::compiled::Compiled;
use gradc::train::data::{Data, Field};
use gradc::train::engine::Engine;
use gradc::train::interpreted::Interpreted;
use ladder::{COMPILED, EXACT, Ladder, Values, differences};
use std::path::Path;

/// Where in the model below a function is used.
enum Use {
    /// The body of the network: from `x: f32[batch, 6]` and `tokens: i32[batch, 3]` to `f32[batch, 4]`.
    Body(&'static str),
    /// What is minimized, of `guess: f32[batch, 4]` and the data.
    Loss(&'static str),
    Optimizer(&'static str),
    Report(&'static str),
}

use Use::{Body, Loss, Optimizer, Report};

const USES: &[(&str, Use)] = &[
    ("dense", Body("dense(x, 4)")),
    ("relu", Body("dense(x, 5) |> relu |> dense(4)")),
    ("leaky_relu", Body("dense(x, 5) |> leaky_relu(slope = 0.2) |> dense(4)")),
    ("elu", Body("dense(x, 5) |> elu(alpha = 0.5) |> dense(4)")),
    ("gelu", Body("dense(x, 5) |> gelu |> dense(4)")),
    ("gelu_tanh", Body("dense(x, 5) |> gelu_tanh |> dense(4)")),
    ("silu", Body("dense(x, 5) |> silu |> dense(4)")),
    ("softplus", Body("dense(x, 5) |> softplus |> dense(4)")),
    ("softmax", Body("dense(x, 5) |> softmax |> dense(4)")),
    ("log_softmax", Body("dense(x, 5) |> log_softmax |> dense(4)")),
    ("logsumexp", Body("dense(x, 4) * reshape(logsumexp(dense(x, 3)), [batch, 1])")),
    ("layer_norm", Body("dense(x, 5) |> layer_norm |> dense(4)")),
    ("rms_norm", Body("dense(x, 5) |> rms_norm |> dense(4)")),
    ("batch_norm", Body("dense(x, 5) |> tanh |> batch_norm |> dense(4)")),
    ("dropout", Body("dense(x, 5) |> dropout(rate = 0.3) |> dense(4)")),
    ("sort", Body("dense(x, 4) |> sort(descending = true)")),
    ("top_k", Body("top_k(dense(x, 6), 4)[0]")),
    ("argmin", Body("dense(x, 4) * reshape(f32(argmin(x)), [batch, 1])")),
    ("median", Body("dense(x, 4) * reshape(median(dense(x, 6)), [batch, 1])")),
    ("take_pairs", Body("concat([take_pairs(dense(x, 7), tokens % 2, tokens % 7), dense(x, 1)], axis = 1)")),
    (
        "scatter_pairs",
        Body("dense(x, 4) + sum(scatter_pairs(dense(x, 3), tokens, tokens, 7, 7), axes = [0])[0:4]"),
    ),
    ("clamp", Body("dense(x, 4) |> clamp(low = -0.5, high = 0.5)")),
    ("xor", Body("where(xor(x > 0, x < 0.5), dense(x, 6), dense(x, 6)) |> dense(4)")),
    ("is_infinite", Body("where(is_infinite(x), 0, dense(x, 6)) |> dense(4)")),
    ("log2", Body("dense(log2(x * x + 1), 4)")),
    ("log10", Body("dense(log10(x * x + 1), 4)")),
    ("straight_through", Body("dense(x, 4) |> straight_through(round) |> dense(4)")),
    ("reverse_gradient", Body("dense(x, 4) |> reverse_gradient(scale = 0.5) |> dense(4)")),
    ("clip_gradient", Body("dense(x, 4) |> clip_gradient(most = 0.01) |> dense(4)")),
    ("embedding", Body("embedding(tokens, 7, 5) |> flatten |> dense(4)")),
    ("rnn", Body("rnn(reshape(x, [batch, 3, 2]), 4)[:, -1]")),
    ("lstm", Body("lstm(reshape(x, [batch, 3, 2]), 4)[:, -1]")),
    ("gru", Body("gru(reshape(x, [batch, 2, 3]), 4, backwards = true)[:, 0]")),
    ("two_directional", Body("two_directional(reshape(x, [batch, 2, 3]), lstm, 2)[:, 1]")),
    ("at_length", Body("at_length(gru(reshape(x, [batch, 3, 2]), 4), 1 + tokens[:, 0] % 3)")),
    ("cross_entropy", Loss("cross_entropy(guess, data.label)")),
    ("cross_entropy_soft", Loss("cross_entropy_soft(guess, data.shares)")),
    ("cross_entropy_probs", Loss("cross_entropy_probs(softmax(guess), data.label)")),
    ("binary_cross_entropy", Loss("binary_cross_entropy(sigmoid(guess), data.shares)")),
    ("binary_cross_entropy_logits", Loss("binary_cross_entropy_logits(guess, data.shares)")),
    ("mse", Loss("mse(guess, data.shares)")),
    ("mae", Loss("mae(guess, data.shares)")),
    ("huber", Loss("huber(guess, data.shares, delta = 0.5)")),
    ("hinge", Loss("hinge(guess, data.signs)")),
    ("kl", Loss("kl(data.shares, softmax(guess))")),
    ("focal", Loss("focal(guess, data.label)")),
    ("binary_focal", Loss("binary_focal(guess, data.shares)")),
    ("negative_log_likelihood", Loss("negative_log_likelihood(log_softmax(guess), data.label)")),
    ("distillation", Loss("distillation(guess, data.shares)")),
    ("smooth_l1", Loss("smooth_l1(guess, data.shares, beta = 0.5)")),
    ("log_cosh", Loss("log_cosh(guess, data.shares)")),
    ("quantile", Loss("quantile(guess, data.shares, q = 0.3)")),
    ("gaussian_nll", Loss("gaussian_nll(guess, data.shares, softplus(guess))")),
    ("poisson_nll", Loss("poisson_nll(guess, data.shares)")),
    ("kl_standard_normal", Loss("kl_standard_normal(guess, tanh(guess))")),
    ("kl_normal", Loss("kl_normal(guess, tanh(guess), data.shares, data.signs)")),
    ("negative_elbo", Loss("negative_elbo(guess, data.shares, guess, tanh(guess))")),
    ("margin_ranking", Loss("margin_ranking(guess, flip(guess), data.signs, margin = 0.1)")),
    ("hinge_embedding", Loss("hinge_embedding(guess, data.signs)")),
    ("soft_margin", Loss("soft_margin(guess, data.signs)")),
    ("multi_margin", Loss("multi_margin(guess, data.label)")),
    ("cosine_embedding", Loss("cosine_embedding(guess, data.shares, data.signs[:, 0])")),
    ("cosine_similarity", Loss("mean(cosine_similarity(guess, data.shares))")),
    ("triplet", Loss("triplet(guess, data.shares, data.signs)")),
    ("distance", Loss("mean(distance(guess, data.shares))")),
    ("info_nce", Loss("info_nce(guess, data.shares, temperature = 0.5)")),
    ("unit", Loss("mse(unit(guess), data.shares)")),
    ("dice", Loss("dice(sigmoid(guess), data.shares)")),
    ("box_iou", Loss("mean(box_iou(guess, data.shares))")),
    (
        "giou",
        Loss("giou(concat([guess[:, 0:2], guess[:, 0:2] + softplus(guess[:, 2:4])], axis = 1), data.shares)"),
    ),
    ("policy_gradient", Loss("policy_gradient(guess, data.label, data.signs[:, 0])")),
    ("ppo", Loss("ppo(guess, data.label, -softplus(data.signs[:, 1]), data.signs[:, 0])")),
    ("entropy", Loss("-entropy(guess)")),
    (
        "temporal_difference",
        Loss("temporal_difference(guess, data.label, data.signs[:, 0], guess, data.shares[:, 0])"),
    ),
    ("accuracy", Report("accuracy(guess, data.label)")),
    ("sgd", Optimizer("sgd(lr = 0.1, momentum = 0.9, nesterov = true, weight_decay = 0.01)")),
    ("adam", Optimizer("adam(lr = 0.01)")),
    ("adamw", Optimizer("adamw(lr = 0.01, weight_decay = 0.1)")),
    ("rmsprop", Optimizer("rmsprop(lr = 0.01)")),
    ("adagrad", Optimizer("adagrad(lr = 0.1)")),
    ("lion", Optimizer("lion(lr = 0.01, weight_decay = 0.1)")),
    ("exponential", Optimizer("sgd(lr = exponential(0.1, factor = 0.9))")),
    ("polynomial", Optimizer("sgd(lr = polynomial(0.1, power = 2))")),
    ("inverse_sqrt", Optimizer("sgd(lr = inverse_sqrt(0.1, warmup = 3))")),
    ("cosine_restarts", Optimizer("sgd(lr = cosine_restarts(0.1, period = 2, longer = 2))")),
    ("one_cycle", Optimizer("sgd(lr = one_cycle(0.1, total = 10))")),
    ("triangular", Optimizer("sgd(lr = triangular(0.1, least = 0.01, half = 3))")),
    ("plateau", Optimizer("sgd(lr = plateau(mean(data.shares), 0.1, patience = 1))")),
    ("clip_by_norm", Optimizer("clip_by_norm(0.1) |> sgd()")),
    ("clip_by_value", Optimizer("clip_by_value(0.01) |> sgd()")),
    ("weight_decay", Optimizer("weight_decay(0.1) |> sgd()")),
    ("constant", Optimizer("sgd(lr = constant(0.1))")),
    ("step_decay", Optimizer("sgd(lr = step_decay(0.1, every = 2))")),
    ("cosine", Optimizer("sgd(lr = cosine(0.1, warmup = 2))")),
    ("linear", Optimizer("sgd(lr = linear(0.1, least = 0.01))")),
];

fn model(usage: &Use) -> String {
    let (mut body, mut loss) = ("dense(x, 5) |> tanh |> dense(4)", "cross_entropy(guess, data.label)");
    let (mut optimizer, mut report) = ("sgd(lr = 0.1)", "mean(guess)");
    match usage {
        Body(text) => body = text,
        Loss(text) => loss = text,
        Optimizer(text) => optimizer = text,
        Report(text) => report = text,
    }
    format!(
        "fn net(x: f32[batch, 6], tokens: i32[batch, 3]) -> f32[batch, 4] {{\n    {body}\n}}\n\n\
         train net {{\n    \
             data = memory(x: f32[6], tokens: i32[3], label: i32[], shares: f32[4], signs: f32[4])\n    \
             let guess = net(data.x, data.tokens)\n    \
             minimize {loss} with {optimizer}\n    \
             report metric = {report}\n    \
             batch = {ROWS}  steps = 4  seed = 3  shuffle = false\n}}\n"
    )
}

const ROWS: usize = 5;

/// Numbers that look random: multiples of 1/97 from 0 to below 1.
fn numbers(n: usize, seed: usize) -> impl Iterator<Item = f32> {
    (0..n).map(move |i| ((i * i * 31 + i * 17 + seed * 43) % 97) as f32 / 97.0)
}

fn data() -> Data {
    let x: Vec<f32> = numbers(ROWS * 6, 1).map(|v| 4.0 * v - 2.0).collect();
    let tokens: Vec<i32> = numbers(ROWS * 3, 2).map(|v| (v * 7.0) as i32).collect();
    let label: Vec<i32> = numbers(ROWS, 3).map(|v| (v * 4.0) as i32).collect();
    let weights: Vec<f32> = numbers(ROWS * 4, 4).map(|v| v + 0.1).collect();
    let shares: Vec<f32> =
        weights.chunks(4).flat_map(|row| row.iter().map(|v| v / row.iter().sum::<f32>())).collect();
    let signs: Vec<f32> = numbers(ROWS * 4, 5).map(|v| if v < 0.5 { -1.0 } else { 1.0 }).collect();
    let fields = vec![
        Field::f32("x", &[6], &x),
        Field::i32("tokens", &[3], &tokens),
        Field::i32("label", &[], &label),
        Field::f32("shares", &[4], &shares),
        Field::f32("signs", &[4], &signs),
    ];
    Data::default().with_memory("data", fields).unwrap()
}

/// Name and text of each file.
fn texts() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dsl/std");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: std::path::PathBuf| {
        (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&path).unwrap())
    };
    paths.filter(|path| path.extension().is_some_and(|e| e == "model")).map(read).collect()
}

#[test]
fn every_function_is_checked() {
    let mut failures = Vec::new();
    let mut names = std::collections::BTreeMap::new();
    for (file, text) in texts() {
        for page in gradc_dsl::page::pages(&text) {
            if let Some(other) = names.insert(page.name.clone(), file.clone()) {
                failures.push(format!("`{}` stands in {other} and in {file}", page.name));
            }
        }
    }
    for (file, text) in texts() {
        if !text.contains("fn ") {
            continue; // An area whose functions are still to come.
        }
        let program = gradc::load(&file, &text);
        let checked = gradc::model::check(&program, &data(), &gradc::model::Overrides::default());
        failures.extend(checked.diagnostics.iter().map(|d| format!("{file}: {}: {}", d.code, d.message)));
        if gradc_dsl::format::format(&text).as_deref() != Ok(text.as_str()) {
            failures.push(format!("{file} is not as `gradc fmt` writes it"));
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

const FORM: &str = "\n
Every public function of the library (its name begins without `_`) says in a comment what it does and shows it in an
example, indented by four spaces, which this test runs:

    /// The positive part. Its derivative at 0 is 0; NaN stays.
    ///
    ///     relu([-1, 0, 2]) == [0, 0, 2]
    fn relu(x: f32[..]) -> f32[..] {

An example is `let`s, calls and comparisons. `==` holds within 1e-4 of the greatest number on the right, or of 1. Lists
of numbers are tensors. Of a layer with random weights claim the shape: `shape(dense(ones([2, 3]), 4)) == [2, 4]`. An
optimizer gives the parameter after one step: `sgd(1, 0.5, lr = 0.1) == 0.95`. `let step = 50` and `let steps = 100` are
what a schedule sees. A private helper is called `_name` and needs no example.
";

#[test]
fn every_function_is_described_and_its_examples_hold() {
    let program = gradc::load("empty.model", "");
    let mut failures = Vec::new();
    for (file, text) in texts() {
        for page in gradc_dsl::page::pages(&text).iter().filter(|page| page.public()) {
            let place = format!("{file}: `{}`", page.name);
            if page.summary().is_empty() {
                failures.push(format!("{place} has no comment"));
            }
            if page.examples().all(|text| !text.contains(&page.name)) {
                failures.push(format!("{place} has no example of itself"));
            }
            for text in page.examples() {
                failures.extend(
                    example_failures(&program, &page.name, text)
                        .iter()
                        .map(|what| format!("{place}: {what}")),
                );
            }
        }
    }
    assert!(failures.is_empty(), "\n{}{FORM}", failures.join("\n"));
}

/// What is wrong with an example, by the definition of meaning and in machine code.
fn example_failures(program: &gradc::model::Program, name: &str, text: &str) -> Vec<String> {
    let example = match gradc::model::examples::example(program, name, text) {
        Ok(example) => example,
        Err((errors, _)) => return errors.iter().map(|e| format!("{}: {}", e.code, e.message)).collect(),
    };
    if example.claims.is_empty() {
        return vec!["an example that claims nothing".to_owned()];
    }
    let mut failures = Vec::new();
    let mut engines: [(&str, Box<dyn Engine>); 2] = [
        ("interpreter", Box::new(Interpreted::new(&example.model))),
        ("cpu", Box::new(Compiled::new(&example.model, 2))),
    ];
    for (engine, run) in &mut engines {
        match gradc::train::examples::run(&example, run) {
            Ok(wrong) => failures.extend(wrong.iter().map(|wrong| {
                let claim = example.sources.text(wrong.span);
                format!("`{claim}` does not hold ({engine}): {}", wrong.found)
            })),
            Err(error) => failures.push(format!("{engine}: {error}")),
        }
    }
    failures
}

#[test]
fn every_use_trains_the_same_on_every_rung() {
    let data = data();
    let mut failures = Vec::new();
    for (name, usage) in USES {
        let text = model(usage);
        assert!(
            text.contains(&format!("{name}(")) || text.contains(&format!("|> {name}")),
            "no use of {name}"
        );
        let model = match gradc::check(&gradc::load("use.model", &text), &data, &[]) {
            Ok(model) => model,
            Err(errors) => {
                failures.extend(errors.iter().map(|e| format!("{name}: {}: {}", e.code, e.message)));
                continue;
            }
        };
        let ladder = Ladder::new(&model, data.load(&model.settings.data).unwrap(), Values::new()).unwrap();
        failures.extend(
            differences(&ladder, &ladder.definition(), &[EXACT, COMPILED].concat())
                .iter()
                .map(|what| format!("{name}, {what}")),
        );
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}
