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
