//! Derivatives of the standard library's functions at their kinks, through the whole compiler.
//!
//! A parameter `w` that begins at 0 takes one step of gradient descent at rate 1 on `sum(f(w))`: it is then less by the derivative
//! of `f` at 0.

use gradc::train::data::{Data, Field};
use gradc::train::run::Flow;
use std::time::Duration;

/// An expression over `w`, and its derivative at 0 by convention: means of the two sides at kinks of `max`, `min` and `abs`, the
/// branch that is taken for `where`.
const CASES: &[(&str, f32)] = &[
    ("abs(w)", 0.0),
    ("maximum(w, 0)", 0.5),
    ("minimum(w, 0)", 0.5),
    ("maximum(w, w)", 1.0),
    ("sign(w)", 0.0),
    ("floor(w)", 0.0),
    ("where(w > 0, 3 * w, 2 * w)", 2.0),
    ("relu(w)", 0.0),
    ("leaky_relu(w, slope = 0.25)", 0.25),
    ("elu(w)", 1.0),
    ("softplus(w)", 0.5),
    ("silu(w)", 0.5),
    ("gelu(w)", 0.5),
    ("mae(w, 0 * w)", 0.0),
    ("huber(w, 0 * w)", 0.0),
    ("binary_cross_entropy_logits(w, 0 * w)", 0.5),
    ("max(w)", 0.5),
];

#[test]
fn derivatives_at_kinks() {
    for (expression, expected) in CASES {
        // Functions that take means take them over one element; `max` shares among two.
        let n = if *expression == "max(w)" { 2 } else { 1 };
        let text = format!(
            "fn f(x: f32[batch, 1]) -> f32 {{
                param w: f32[{n}] = zeros()
                sum({expression}) + 0 * sum(x)
            }}
            train f {{
                data = memory(x: f32[1])
                minimize f(data.x) with sgd(lr = 1)
                batch = 1  epochs = 1  seed = 1
            }}"
        );
        let data = Data::default().with_memory("data", vec![Field::f32("x", &[1], &[1.0])]).unwrap();
        let program = gradc::load("kink.model", &text);
        let model = gradc::check(&program, &data, &[]).unwrap_or_else(|e| panic!("{expression}: {e:?}"));
        let mut trainer = gradc::trainer(&model, &data).unwrap();
        trainer.train(None, Duration::MAX, &mut |_| Flow::Continue).unwrap();
        let found = -trainer.weights()["f.w"].values[0];
        assert!(
            (found - expected).abs() < 1e-6,
            "the derivative of {expression} at 0 is {found}, not {expected}"
        );
    }
}
