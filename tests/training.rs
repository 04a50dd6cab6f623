//! What a train block says of its steps: accumulated gradients, frozen parameters, groups, shadows.
//!
//! What enters: pairs of train blocks that mean the same, and single ones of which something is known. What fails: a
//! variable or a metric that differs by more than rounding.

use gradc::model::Model;
use gradc::train::compiled::Compiled;
use gradc::train::data::{Data, Field};
use gradc::train::interpreted::Interpreted;
use gradc::train::run::{Event, Flow, Trainer};
use std::collections::BTreeMap;
use std::time::Duration;

const NETWORK: &str = "
fn encoder(x: f32[batch, 3]) -> f32[batch, 5] { x |> dense(6) |> tanh |> dense(5) |> tanh }

fn net(x: f32[batch, 3]) -> f32[batch, 2] {
    let head = dense(encoder(x), 2)
    head
}
";

type Values = BTreeMap<String, Vec<f32>>;

/// 17 examples: not a multiple of any batch below.
fn data() -> Data {
    const N: usize = 17;
    let numbers = |n: usize, step: f32| (0..n * N).map(|i| (i as f32 * step).sin()).collect::<Vec<f32>>();
    let fields = vec![Field::f32("x", &[3], &numbers(3, 1.7)), Field::f32("y", &[2], &numbers(2, 0.9))];
    Data::default().with_memory("data", fields).unwrap()
}

fn model(statements: &str) -> Model {
    let text = format!(
        "{NETWORK}\ntrain t {{\n data = memory(x: f32[3], y: f32[2])\n shuffle = false\n seed = 3\n{statements}\n}}\n"
    );
    gradc::check(&gradc::load("t.model", &text), &data(), &[]).unwrap_or_else(|errors| {
        panic!("{statements}: {:?}", errors.iter().map(|e| &e.message).collect::<Vec<_>>())
    })
}

/// Every variable after the training, and what an evaluation then gives, on both engines, which must agree.
fn train(model: &Model) -> (Values, Values, Vec<f32>) {
    let mut losses = Vec::new();
    let mut watch = |event: Event| {
        if let Event::Step { metrics, .. } = event {
            losses.push(metrics[0]);
        }
        Flow::Continue
    };
    let examples = data().load(&model.settings.data).unwrap();
    let mut exact = Trainer::new(model, Interpreted::new(model), examples.clone(), None);
    exact.train(None, Duration::MAX, &mut watch).unwrap();
    let mut compiled = Trainer::new(model, Compiled::new(model, 2), examples.clone(), None);
    compiled.train(None, Duration::MAX, &mut |_| Flow::Continue).unwrap();
    let variables: Values = exact.variables().into_iter().map(|(n, t)| (n.to_string(), t.values)).collect();
    let other: Values = compiled.variables().into_iter().map(|(n, t)| (n.to_string(), t.values)).collect();
    close("the engines", &variables, &other);
    let metrics = |m: gradc::train::run::Metrics| -> Values {
        m.into_iter().map(|(name, value)| (name.to_string(), vec![value as f32])).collect()
    };
    let evaluated = metrics(exact.evaluate(examples.clone()).unwrap());
    close("the engines' evaluations", &evaluated, &metrics(compiled.evaluate(examples).unwrap()));
    (variables, evaluated, losses)
}

/// Of the names in both, equal values.
fn close(what: &str, a: &Values, b: &Values) {
    let mut n_common = 0;
    for (name, left) in a {
        let Some(right) = b.get(name) else { continue };
        n_common += 1;
        let near = |(x, y): (&f32, &f32)| (x - y).abs() <= 2e-5 * x.abs().max(1.0);
        assert!(
            left.len() == right.len() && left.iter().zip(right).all(near),
            "{what}: {name}: {left:?}, {right:?}"
        );
    }
    assert!(n_common > 0, "{what} have nothing in common");
}

#[test]
fn blocks_that_mean_the_same_train_the_same() {
    let accumulated = "let guess = net(data.x)\n minimize mse(guess, data.y) with OPTIMIZER\n batch = 2  accumulate = 3  epochs = 2";
    let whole =
        "let guess = net(data.x)\n minimize mse(guess, data.y) with OPTIMIZER\n batch = 6  epochs = 2";
    let optimizers = [
        "sgd(lr = 0.2)",
        "sgd(lr = 0.2, momentum = 0.9)",
        "clip_by_norm(0.1) |> adam(lr = cosine(0.05, warmup = 2), eps = 0.01)",
        "adam(lr = 0.05, eps = 0.01) |> lookahead(every = 2) |> average(keep = 0.5)",
        "adamw(lr = linear(0.05), eps = 0.01)",
    ];
    for optimizer in optimizers {
        let [a, b] = [accumulated, whole].map(|text| train(&model(&text.replace("OPTIMIZER", optimizer))));
        close(optimizer, &a.0, &b.0);
        close(optimizer, &a.1, &b.1);
    }
    let same = [
        // Groups with one optimizer are as one group, and a loss minimized over two of them counts once.
        (
            "let error = mse(net(data.x), data.y)\n minimize error with adam(eps = 0.01)\n epochs = 3",
            "let error = mse(net(data.x), data.y)\n minimize error over params(net.encoder) with adam(eps = 0.01)\n minimize error over params(net.head.w, net.head.b) with adam(eps = 0.01)\n epochs = 3",
        ),
        // What is frozen is what no group holds.
        (
            "freeze net.encoder.dense.0, net.head.b\n minimize mse(net(data.x), data.y) with sgd(lr = 0.3)\n epochs = 3",
            "let error = mse(net(data.x), data.y)\n minimize error over params(net.encoder.dense.1) with sgd(lr = 0.3)\n minimize error over params(net.head.w) with sgd(lr = 0.3)\n freeze net.encoder.dense.0, net.head.b\n epochs = 3",
        ),
        // An optimizer may choose one by shape, as its library's option does.
        (
            "minimize mse(net(data.x), data.y) with adamw(lr = 0.05, eps = 0.01, weight_decay = 0.5, only_matrices = true)\n epochs = 2",
            "minimize mse(net(data.x), data.y) with chosen()\n epochs = 2",
        ),
    ];
    let chosen = "fn chosen(p: f32[..], g: f32[..]) { if rank(p) == 2 { p <- adamw(p, g, lr = 0.05, eps = 0.01, weight_decay = 0.5) } else { p <- adam(p, g, lr = 0.05, eps = 0.01) } }";
    for (a, b) in same {
        let with = |text: &str| {
            let text = format!(
                "{NETWORK}\n{chosen}\ntrain t {{\n data = memory(x: f32[3], y: f32[2])\n shuffle = false\n seed = 3\n{text}\n}}\n"
            );
            let program = gradc::load("t.model", &text);
            gradc::check(&program, &data(), &[])
                .unwrap_or_else(|e| panic!("{text}: {:?}", e.iter().map(|e| &e.message).collect::<Vec<_>>()))
        };
        let (a, b) = (train(&with(a)), train(&with(b)));
        close("variables", &a.0, &b.0);
        assert_eq!(a.2.len(), b.2.len());
        for (x, y) in a.2.iter().zip(&b.2) {
            assert!((x - y).abs() < 1e-5, "losses {x} and {y}");
        }
    }
}

#[test]
fn what_is_frozen_keeps_its_first_value() {
    let free = model(
        "minimize mse(net(data.x), data.y) with adam()\n steps = 0 epochs = 1"
            .replace("steps = 0 ", "")
            .as_str(),
    );
    let frozen = model("freeze net.encoder\n minimize mse(net(data.x), data.y) with adam()\n epochs = 1");
    let first = |model: &Model| -> Values {
        let examples = data().load(&model.settings.data).unwrap();
        let trainer = Trainer::new(model, Interpreted::new(model), examples, None);
        trainer.variables().into_iter().map(|(n, t)| (n.to_string(), t.values)).collect()
    };
    let (before, after) = (first(&frozen), train(&frozen).0);
    for (path, value) in &before {
        let frozen = path.starts_with("net.encoder");
        assert_eq!(after[path] == *value, frozen, "{path}");
    }
    let states = |values: &Values| values.keys().filter(|path| path.contains('/')).count();
    assert!(states(&before) == 4 && states(&first(&free)) == 12, "states of what is trained only");
}

#[test]
fn evaluation_takes_the_average() {
    let plain = model("minimize mse(net(data.x), data.y) with sgd(lr = 0.3)\n batch = 4  epochs = 2");
    let averaged = model(
        "minimize mse(net(data.x), data.y) with sgd(lr = 0.3) |> average(keep = 0.8)\n batch = 4  epochs = 2",
    );
    let examples = data().load(&plain.settings.data).unwrap();
    // The mean by hand, from the weights after each step.
    let mut trainer = Trainer::new(&plain, Interpreted::new(&plain), examples.clone(), None);
    let mut means: Values = trainer.weights().into_iter().map(|(n, t)| (n.to_string(), t.values)).collect();
    for _ in 0..10 {
        let mut one = |_: Event| Flow::Stop;
        trainer.train(None, Duration::MAX, &mut one).unwrap();
        for (name, tensor) in trainer.weights() {
            let mean = means.get_mut(name.as_str()).unwrap();
            mean.iter_mut().zip(&tensor.values).for_each(|(m, v)| *m = 0.8 * *m + 0.2 * v);
        }
    }
    let mut average = Trainer::new(&averaged, Interpreted::new(&averaged), examples.clone(), None);
    average.train(None, Duration::MAX, &mut |_| Flow::Continue).unwrap();
    let weights: Values = average.weights().into_iter().map(|(n, t)| (n.to_string(), t.values)).collect();
    close("the means", &weights, &means);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    gradc::train::weights::write(&path, &average.weights(), None).unwrap();
    let mut losses = vec![average.evaluate(examples.clone()).unwrap()[0].1];
    for model in [&plain, &averaged] {
        let mut loaded = Trainer::new(model, Interpreted::new(model), examples.clone(), None);
        loaded.load_weights(&path).unwrap();
        losses.push(loaded.evaluate(examples.clone()).unwrap()[0].1);
    }
    assert!(losses.iter().all(|loss| (loss - losses[0]).abs() < 1e-6), "{losses:?}");
    let last = trainer.evaluate(examples).unwrap()[0].1;
    assert!((last - losses[0]).abs() > 1e-4, "the average differs from the last values");
}

#[test]
fn parts_of_other_weights_can_be_taken() {
    let first = model("minimize mse(net(data.x), data.y) with sgd(lr = 0.3)\n epochs = 2");
    let second =
        model("freeze net.encoder\n minimize mse(net(data.x), data.y) with sgd(lr = 0.3)\n epochs = 1");
    let examples = data().load(&first.settings.data).unwrap();
    let mut trained = Trainer::new(&first, Interpreted::new(&first), examples.clone(), None);
    trained.train(None, Duration::MAX, &mut |_| Flow::Continue).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    gradc::train::weights::write(&path, &trained.weights(), None).unwrap();
    let mut fresh = Trainer::new(&second, Interpreted::new(&second), examples, None);
    let (before, there) = (fresh.weights(), trained.weights());
    let error = fresh.load_parts(&path, &["net.encode".to_string()]).unwrap_err();
    assert!(error.to_string().contains("no variables under `net.encode`"), "{error}");
    fresh.load_parts(&path, &["net.encoder".to_string()]).unwrap();
    for (name, tensor) in fresh.weights() {
        let from = if name.starts_with("net.encoder") { &there } else { &before };
        assert_eq!(tensor.values, from[&name].values, "{name}");
    }
}
