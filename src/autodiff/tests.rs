//! Gradients held to finite differences in f64, through the interpreter.

use super::differentiate;
use crate::base::DType;
use crate::graph::arbitrary::{Wish, random_graph};
use crate::graph::interpret::{Env, Tensor, interpret_step};
use crate::graph::rewrite::Rewriter;
use crate::graph::text::parse;
use crate::graph::verify::{verify, verify_compilable};
use crate::graph::{Graph, NodeId, Op};
use std::collections::BTreeSet;

/// The float leaves that are read from outside.
fn float_leaves(graph: &Graph) -> Vec<NodeId> {
    let is_leaf = |id: &NodeId| graph.node(*id).op.leaf_name().is_some() && graph.dtype(*id) == DType::F32;
    graph.ids().filter(is_leaf).collect()
}

fn loss_of(graph: &Graph) -> NodeId {
    graph.outputs.iter().find(|(name, _)| name == "loss").expect("a graph with a loss").1
}

/// The graph with an output `d.NAME` for the gradient of its loss by each leaf, not yet worked out.
fn with_gradients(graph: &Graph) -> Graph {
    let mut asked = graph.clone();
    let loss = loss_of(graph);
    for leaf in float_leaves(graph) {
        let gradient = asked.grad(loss, leaf).unwrap();
        let name = format!("d.{}", graph.node(leaf).op.leaf_name().unwrap());
        asked.outputs.push((name.into(), gradient));
    }
    asked
}

fn value(graph: &Graph, env: &Env, output: &str) -> Tensor {
    interpret_step(graph, env).unwrap_or_else(|e| panic!("{e} in\n{graph}")).0[output].clone()
}

/// Compares each gradient of the loss with the difference quotient along each element.
fn check(graph: &Graph, env: &Env, tolerance: f64) {
    let differentiated = differentiate(&with_gradients(graph));
    verify(&differentiated).unwrap_or_else(|e| panic!("{e}"));
    verify_compilable(&differentiated).unwrap_or_else(|e| panic!("{e}"));
    let (values, _) =
        interpret_step(&differentiated, env).unwrap_or_else(|e| panic!("{e} in\n{differentiated}"));
    for leaf in float_leaves(graph) {
        let name = graph.node(leaf).op.leaf_name().unwrap();
        let gradient = &values[format!("d.{name}").as_str()];
        for i in 0..gradient.data.len() {
            let h = 1e-5 * (1.0 + env.leaves[name].data[i].abs());
            let moved = |by: f64| {
                let mut env = env.clone();
                env.leaves.get_mut(name).unwrap().data[i] += by;
                value(graph, &env, "loss").data[0]
            };
            let quotient = (moved(h) - moved(-h)) / (2.0 * h);
            let (found, scale) = (gradient.data[i], 1.0 + quotient.abs());
            assert!(
                (found - quotient).abs() <= tolerance * scale,
                "d {name}[{i}] is {found}, the difference quotient {quotient}, in\n{graph}"
            );
        }
    }
}

fn env(leaves: &[(&str, &[usize], &[f64])]) -> Env {
    let mut env = Env::default();
    env.symbols.insert("batch".into(), 2);
    for (name, shape, data) in leaves {
        env.leaves.insert((*name).into(), Tensor::new(shape.to_vec(), data.to_vec()));
    }
    env
}

/// Cases by name: nodes that end in `%loss`, over x: f32[batch, 3], w: f32[3, 2], i: i32[4].
const CASES: &[(&str, &str)] = &[
    ("product of a row", "%p = reduce prod [1] %x : f32[batch]\n%loss = reduce sum [0] %p : f32[]"),
    ("greatest of a row", "%p = reduce max [1] %x : f32[batch]\n%loss = reduce sum [0] %p : f32[]"),
    (
        "least of a column",
        "%p = reduce min [0] %x : f32[3]\n%q = map mul %p, %p : f32[3]\n%loss = reduce sum [0] %q : f32[]",
    ),
    (
        "softmax, which cut the gradient elsewhere",
        "%m = reduce max [1] %x : f32[batch]
         %mb = broadcast [0] %m : f32[batch, 3]
         %c = map sub %x, %mb : f32[batch, 3]
         %e = map exp %c : f32[batch, 3]
         %s = reduce sum [1] %e : f32[batch]
         %sb = broadcast [0] %s : f32[batch, 3]
         %p = map div %e, %sb : f32[batch, 3]
         %h = contract bk,kn->bn %p, %w : f32[batch, 2]
         %q = map mul %h, %h : f32[batch, 2]
         %loss = reduce sum [0, 1] %q : f32[]",
    ),
    (
        "layer norm, by mean and variance",
        "%n = const 3 : f32[]
         %nb = broadcast [] %n : f32[batch]
         %s = reduce sum [1] %x : f32[batch]
         %mean = map div %s, %nb : f32[batch]
         %meanb = broadcast [0] %mean : f32[batch, 3]
         %c = map sub %x, %meanb : f32[batch, 3]
         %cc = map mul %c, %c : f32[batch, 3]
         %v = reduce sum [1] %cc : f32[batch]
         %sd = map sqrt %v : f32[batch]
         %sdb = broadcast [0] %sd : f32[batch, 3]
         %y = map div %c, %sdb : f32[batch, 3]
         %h = contract bk,kn->bn %y, %w : f32[batch, 2]
         %q = map exp %h : f32[batch, 2]
         %loss = reduce sum [0, 1] %q : f32[]",
    ),
    (
        "gather reads a row twice, and one out of range is not there",
        "%r = gather 0 %w, %i : f32[4, 2]
         %z = iota 0 : i32[4, 2]
         %k = const 3 : i32[]
         %kb = broadcast [] %k : i32[4, 2]
         %ok = map lt %z, %kb : bool[4, 2]
         %zero = const 0 : f32[]
         %zb = broadcast [] %zero : f32[4, 2]
         %t = map select %ok, %r, %zb : f32[4, 2]
         %q = map mul %t, %t : f32[4, 2]
         %loss = reduce sum [0, 1] %q : f32[]",
    ),
    (
        "scatter drops what is out of range",
        "%u = reshape %xs : f32[4]
         %r = scatter_add 0 %i, %u : f32[3]
         %q = map mul %r, %r : f32[3]
         %loss = reduce sum [0] %q : f32[]",
    ),
];

#[test]
fn named_cases() {
    let env = env(&[
        ("x", &[2, 3], &[0.3, -1.2, 2.0, 0.7, 1.5, -0.4]),
        ("w", &[3, 2], &[0.5, -0.3, 0.8, 0.1, -0.9, 0.4]),
        ("i", &[4], &[2.0, 0.0, 2.0, 7.0]),
        ("xs", &[2, 2], &[1.0, -2.0, 0.5, 3.0]),
    ]);
    let leaves = [
        ("%x", "input @x : f32[batch, 3]"),
        ("%w", "param @w : f32[3, 2]"),
        ("%i", "input @i : i32[4]"),
        ("%xs", "input @xs : f32[2, 2]"),
    ];
    for (name, text) in CASES {
        let used = leaves.iter().filter(|(l, _)| text.split([' ', ',', '\n']).any(|word| word == *l));
        let head: String = used.map(|(l, op)| format!("{l} = {op}\n")).collect();
        let text = format!("graph {{\n{head}{text}\noutput loss = %loss\n}}");
        let graph = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&graph, &env, 1e-6);
    }
}

/// A row with a zero, and one with two: difference quotients see those too.
#[test]
fn product_with_zeros() {
    let text = "graph {\n%x = input @x : f32[3, 3]\n%p = reduce prod [1] %x : f32[3]\n%loss = reduce sum [0] %p : f32[]\noutput loss = %loss\n}";
    let env = env(&[("x", &[3, 3], &[2.0, 0.0, 3.0, 0.0, 0.0, 5.0, 1.0, 2.0, 3.0])]);
    check(&parse(text).unwrap(), &env, 1e-6);
}

#[test]
fn random_graphs() {
    for seed in 0..200 {
        let (graph, env) = random_graph(seed, Wish { n_steps: 8, smooth: true, empty: seed % 5 == 0 });
        check(&graph, &env, 1e-4);
    }
}

/// The loss becomes the sum of the squares of its gradients: a gradient within a loss.
#[test]
fn gradients_of_gradients() {
    for seed in 0..60 {
        let (graph, env) = random_graph(seed, Wish { n_steps: 4, smooth: true, empty: false });
        let first = differentiate(&with_gradients(&graph));
        let mut second = first.clone();
        second.outputs.clear();
        let mut total = second.constant(0.0, DType::F32);
        for (name, gradient) in first.outputs.iter().filter(|(name, _)| name.starts_with("d.")) {
            let squares = second.map(crate::scalar::Func::Mul, &[*gradient, *gradient]).unwrap();
            let sum = second.sum_all(squares).unwrap();
            total = second.map(crate::scalar::Func::Add, &[total, sum]).unwrap();
            assert!(!name.is_empty());
        }
        second.outputs.push(("loss".into(), total));
        check(&second, &env, 1e-3);
    }
}

/// The same written in one graph: `Grad` of a loss that holds a `Grad`.
#[test]
fn a_gradient_in_a_loss() {
    let text = "graph {
        %x = input @x : f32[3]
        %s = map sin %x : f32[3]
        %t = map mul %s, %x : f32[3]
        %a = reduce sum [0] %t : f32[]
        %g = grad %a, %x : f32[3]
        %gg = map mul %g, %g : f32[3]
        %loss = reduce sum [0] %gg : f32[]
        %d = grad %loss, %x : f32[3]
        output d = %d
    }";
    let differentiated = differentiate(&parse(text).unwrap());
    assert!(differentiated.ids().all(|id| differentiated.node(id).op != Op::Grad));
    let x = [0.4, -1.0, 2.0];
    let found = value(&differentiated, &env(&[("x", &[3], &x)]), "d").data;
    for (x, found) in x.into_iter().zip(found) {
        // f = x sin x, f' = sin x + x cos x, f'' = 2 cos x - x sin x; d (f')² = 2 f' f''.
        let expected = 2.0 * (x.sin() + x * x.cos()) * (2.0 * x.cos() - x * x.sin());
        assert!((found - expected).abs() < 1e-12);
    }
}

#[test]
fn what_the_loss_does_not_see_has_gradient_zero() {
    let text = "graph {
        %x = input @x : f32[2]
        %u = input @u : f32[2]
        %d = detach %u : f32[2]
        %p = map mul %x, %d : f32[2]
        %loss = reduce sum [0] %p : f32[]
        %du = grad %loss, %u : f32[2]
        %dx = grad %loss, %x : f32[2]
        output du = %du
        output dx = %dx
    }";
    let graph = differentiate(&parse(text).unwrap());
    let env = env(&[("x", &[2], &[1.0, 2.0]), ("u", &[2], &[3.0, 4.0])]);
    assert_eq!(value(&graph, &env, "du").data, [0.0, 0.0]);
    assert_eq!(value(&graph, &env, "dx").data, [3.0, 4.0]);
}

/// The rule gives twice the value's own gradient, in terms of its holes: the value `y = exp(x)` has `dx = 2 g y`. Then the loss
/// `sum((dx)²)`, `dx` by `sum(y)` being `2 y`, has the gradient `8 y * (the rule again: 2 y)`.
#[test]
fn a_rule_of_its_own_and_the_gradient_of_its_gradient() {
    let text = "graph {
        %x = input @x : f32[2]
        %e = map exp %x : f32[2]
        %value = hole : f32[2]
        %g = hole : f32[2]
        %gy = map mul %g, %value : f32[2]
        %dx = map add %gy, %gy : f32[2]
        %y = rule 1 %e, %x, %value, %g, %dx : f32[2]
        %sum = reduce sum [0] %y : f32[]
        %d = grad %sum, %x : f32[2]
        %dd = map mul %d, %d : f32[2]
        %loss = reduce sum [0] %dd : f32[]
        %second = grad %loss, %x : f32[2]
        output y = %y
        output first = %d
        output second = %second
    }";
    let graph = differentiate(&parse(text).unwrap());
    verify_compilable(&graph).unwrap();
    let x = [0.3f64, -1.0];
    let env = env(&[("x", &[2], &x)]);
    for (i, x) in x.into_iter().enumerate() {
        let y = x.exp();
        for (output, expected) in [("y", y), ("first", 2.0 * y), ("second", 16.0 * y * y)] {
            let found = value(&graph, &env, output).data[i];
            assert!((found - expected).abs() < 1e-12, "{output} at {x}: {found}, not {expected}");
        }
    }
}

/// What is worked out again stands on `After` nodes, and no gradient changes.
#[test]
fn what_is_not_kept_has_the_same_gradients() {
    let text = |mark: &str| {
        format!(
            "graph {{
            %x = input @x : f32[3]
            %w = param @w : f32[3]
            %h = map mul %x, %w : f32[3]
            %s = map sin %h : f32[3]
            %t = map exp %s : f32[3]
            %m = {mark} : f32[3]
            %q = map mul %m, %h : f32[3]
            %loss = reduce sum [0] %q : f32[]
            %dx = grad %loss, %x : f32[3]
            %p = map mul %dx, %dx : f32[3]
            %norm = reduce sum [0] %p : f32[]
            %second = grad %norm, %w : f32[3]
            output dx = %dx
            output second = %second
        }}"
        )
    };
    let env = env(&[("x", &[3], &[0.4, -1.0, 2.0]), ("w", &[3], &[1.5, 0.2, -0.7])]);
    let [kept, again] = ["recompute %t", "recompute %t, %h"].map(|mark| {
        let graph = differentiate(&parse(&text(mark)).unwrap());
        verify_compilable(&graph).unwrap();
        graph
    });
    let plain = differentiate(&parse(&text("map max %t, %t")).unwrap());
    let n_after = again.ids().filter(|id| again.node(*id).op == Op::After).count();
    assert!(n_after > 0 && kept.ids().all(|id| kept.node(id).op != Op::After));
    for output in ["dx", "second"] {
        assert_eq!(value(&again, &env, output), value(&plain, &env, output), "{output}");
    }
}

/// Random graphs, every four and every eight nodes of which are worked out again together: regions in regions.
#[test]
fn random_marks_change_no_gradient() {
    let mut n_marks = 0;
    for seed in 0..60 {
        let (graph, env) = random_graph(seed, Wish { n_steps: 12, smooth: true, empty: seed % 4 == 0 });
        let is_leaf = |id: NodeId| graph.node(id).op.leaf_name().is_some();
        let mut rewriter = Rewriter::new(&graph);
        for id in graph.ids() {
            let mut image = rewriter.copy(id);
            for n in [4, 8] {
                if id.index() % n != n - 1 || !graph.dtype(id).is_float() || is_leaf(id) {
                    continue;
                }
                let first = id.index() + 1 - n;
                let region = (first..=id.index()).map(|i| NodeId(i as u32)).filter(|i| !is_leaf(*i));
                let read = region.flat_map(|i| graph.node(i).operands.to_vec());
                let outside = read.filter(|x| is_leaf(*x) || x.index() < first);
                let made_of: BTreeSet<NodeId> =
                    outside.map(|x| rewriter.image(x).expect("operands come first")).collect();
                image = rewriter.new.recompute(image, &Vec::from_iter(made_of)).unwrap();
                rewriter.set(id, image);
                n_marks += 1;
            }
        }
        let marked = differentiate(&with_gradients(&rewriter.finish()));
        verify_compilable(&marked).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{marked}"));
        let plain = differentiate(&with_gradients(&graph));
        let (found, _) =
            interpret_step(&marked, &env).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{marked}"));
        for (name, expected) in interpret_step(&plain, &env).unwrap().0 {
            let same = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-9 * (1.0 + b.abs());
            let all = found[&name].data.iter().zip(&expected.data).all(same);
            assert!(all, "seed {seed}, {name}: {:?}, not {:?}", found[&name].data, expected.data);
        }
    }
    assert!(n_marks > 300, "{n_marks} marks");
}
