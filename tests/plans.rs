//! The example's training step as snapshots: the optimized graph, and the plan made of it.
//!
//! What fails: a pass or a rule of fusion that changes what people run, for better or worse. `INSTA_UPDATE=always cargo test
//! --test plans` blesses a change that was meant.

use gradc::graph::text::print;
use gradc::train::data::Data;
use std::path::Path;

#[test]
fn the_classifier() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let text = std::fs::read_to_string(folder.join("mnist.model")).unwrap();
    let model = gradc::check(&gradc::load("mnist.model", &text), &Data::in_folder(&folder), &[]).unwrap();
    let graph = gradc::lower(&model.train);
    let plan = gradc::plan(&graph, model.settings.batch as i64);
    insta::assert_snapshot!("classifier_graph", print(&graph, false));
    insta::assert_snapshot!("classifier_plan", gradc::plan::report(&plan));
    let launches: usize = plan.phases.iter().map(Vec::len).sum();
    assert!(launches <= 11 && plan.phases.len() <= 4, "{launches} launches in {} phases", plan.phases.len());
}

/// The backward pass reads what `gelu` made of its operand; it makes that again from the product, which lies in memory anyway.
#[test]
fn cheap_values_are_made_again() {
    let text = "fn net(x: f32[batch, 16]) -> f32[batch, 4] {\n    x |> dense(32) |> gelu |> dense(4)\n}\n\n\
                train net {\n    data = synthetic(rows = 8, x: f32[16], label: i32, classes = 4)\n    \
                minimize cross_entropy(net(data.x), data.label) with sgd()\n    batch = 8\n}\n";
    let model = gradc::check(&gradc::load("net.model", text), &Data::default(), &[]).unwrap();
    let plan = gradc::plan(&gradc::lower(&model.train), model.settings.batch as i64);
    let report = gradc::plan::report(&plan);
    assert_eq!(report.matches(" erf ").count(), 2, "{report}");
}

/// A stack of equal layers takes the code of a few of them, and a plan that grows by as much with each.
#[test]
fn more_layers_take_no_more_code() {
    use gradc::codegen::cpu::{Ticking, compile};
    let of_layers = |n: usize| {
        let text = format!(
            "fn gpt(tokens: i32[batch, t], vocab: dim) -> f32[batch, t, vocab] {{\n    embedding(tokens, vocab, 32)\n        \
             |> repeat {n} {{ encoder_block(heads = 2, causal = true) }}\n        |> layer_norm\n        |> dense(vocab)\n}}\n\n\
             train gpt {{\n    data = synthetic(rows = 8, tokens: i32[16], next: i32[16], classes = 8)\n    \
             minimize cross_entropy(gpt(data.tokens, 8), data.next) with adam(lr = 1e-3)\n    batch = 4\n}}\n"
        );
        let model = gradc::check(&gradc::load("gpt.model", &text), &Data::default(), &[]).unwrap();
        let graph = gradc::lower(&model.train);
        let plan = gradc::plan(&graph, model.settings.batch as i64);
        let n_ops: usize = plan.kernels.iter().map(|kernel| kernel.ops.len()).sum();
        [graph.len(), plan.kernels.len(), n_ops, compile(&plan.kernels, Ticking::Off).n_functions()]
    };
    let [four, six, eight] = [4, 6, 8].map(of_layers);
    assert_eq!((eight[1], eight[3]), (four[1], four[3]), "kernels and functions");
    for (i, what) in [(0, "nodes"), (2, "ops")] {
        assert_eq!(eight[i] - six[i], six[i] - four[i], "{what}: {four:?} {six:?} {eight:?}");
    }
    assert!(eight[3] * 3 < eight[2], "{eight:?}");
}
