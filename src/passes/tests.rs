//! Each pass: text in, text out. All of them: random graphs mean what they meant.

mod cases;

use super::{PIPELINE, optimize, optimize_until};
use crate::autodiff::differentiate;
use crate::graph::arbitrary::{Wish, random_graph};
use crate::graph::interpret::{Env, interpret_step};
use crate::graph::text::{parse, print};
use crate::graph::verify::verify;
use crate::graph::{Graph, Op};
use cases::CASES;

/// Statements stand two blanks or a line apart.
pub fn graph(text: &str) -> Graph {
    let lines: Vec<&str> = text.split("  ").map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = format!("graph {{\n{}\n}}", lines.join("\n"));
    parse(&text).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

#[test]
fn passes() {
    for (name, case, from, to) in CASES {
        let (_, pass) = PIPELINE.iter().find(|(n, _)| n == name).expect("a pass of that name");
        let before = graph(from);
        verify(&before).unwrap_or_else(|e| panic!("{name}, {case}: {e}"));
        let mut after = before.clone();
        pass(&mut after);
        super::dce::run(&mut after);
        verify(&after).unwrap_or_else(|e| panic!("{name}, {case}: {e}"));
        assert_eq!(print(&after, false), print(&graph(to), false), "{name}, {case}");
    }
}

#[test]
fn every_pass_has_cases() {
    for (name, _) in PIPELINE {
        assert!(CASES.iter().any(|(pass, ..)| pass == name), "{name} has no case");
        assert!(optimize_until(&Graph::new(), name).is_some());
    }
    assert!(optimize_until(&Graph::new(), "none").is_none());
}

/// Outputs and updates are what they were, as far as numbers of 53 bits say.
fn check(before: &Graph, after: &Graph, env: &Env, seed: u64) {
    verify(after).unwrap_or_else(|e| panic!("seed {seed}: {e} in\n{after}"));
    let all = |graph| {
        let (outputs, updates) = interpret_step(graph, env).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        outputs.into_iter().chain(updates).collect::<Vec<_>>()
    };
    for ((name, old), (_, new)) in all(before).iter().zip(&all(after)) {
        let close = |a: f64, b: f64| {
            let scale = 1.0 + a.abs().max(b.abs());
            (a - b).abs() <= 1e-9 * scale || a == b || !a.is_finite()
        };
        let same = old.shape == new.shape && old.data.iter().zip(&new.data).all(|(a, b)| close(*a, *b));
        assert!(same, "seed {seed}: {name} was {old:?} and is {new:?} in\n{before}\n{after}");
    }
}

#[test]
fn random_graphs_mean_the_same() {
    for seed in 0..600 {
        let wish = Wish { n_steps: 3 + (seed % 14) as usize, smooth: seed % 3 == 0, empty: seed % 7 == 0 };
        let (graph, env) = random_graph(seed, wish);
        for (_, pass) in PIPELINE {
            let mut after = graph.clone();
            let is_changed = pass(&mut after);
            assert!(
                is_changed == (after != graph),
                "seed {seed}: a pass must know whether it changed the graph"
            );
            check(&graph, &after, &env, seed);
        }
        let optimized = optimize(&graph);
        check(&graph, &optimized, &env, seed);
        assert!(optimize(&optimized) == optimized, "seed {seed}: a second time changes more");
    }
}

#[test]
fn random_gradients_mean_the_same() {
    for seed in 0..150 {
        let (mut graph, env) = random_graph(seed, Wish { n_steps: 6, smooth: true, empty: false });
        let loss = graph.outputs.iter().find(|(name, _)| name == "loss").unwrap().1;
        let leaves: Vec<_> = graph.ids().filter(|id| matches!(graph.node(*id).op, Op::Param(_))).collect();
        for (i, leaf) in leaves.into_iter().enumerate() {
            let gradient = graph.grad(loss, leaf).unwrap();
            graph.outputs.push((format!("gradient {i}").into(), gradient));
        }
        let graph = differentiate(&graph);
        check(&graph, &optimize(&graph), &env, seed);
    }
}
