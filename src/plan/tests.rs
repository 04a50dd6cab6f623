//! Plans held to the graph interpreter, through the nest interpreter; and what a plan must be.

use super::interpret::{Values, interpret};
use super::rematerialise::made_again_in;
use super::{Buffer, BufferId, Options, Place, Plan, Target, plan, report};
use crate::autodiff::differentiate;
use crate::base::Precision;
use crate::graph::arbitrary::convolutions::CONVOLUTIONS;
use crate::graph::arbitrary::{Wish, random_graph};
use crate::graph::interpret::{Env, Tensor, interpret_step};
use crate::graph::text::parse;
use crate::graph::verify::verify;
use crate::graph::{Graph, Op};
use crate::nest::Kernel;
use crate::nest::interpret::Run;
use crate::passes::{optimize, optimize_in};

fn close(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * (1.0 + a.abs().max(b.abs()))
}

/// Outputs and updated variables agree, for the plan's greatest batch and below it.
pub fn check(graph: &Graph, env: &Env) {
    let batch = env.symbols.get("batch").copied().unwrap_or(1);
    let small = |n_segments| made_again_in(graph, batch, n_segments);
    let of = |batch| Options::new(batch, Target::Cpu);
    let graphs = [
        (graph.clone(), of(batch)),
        (graph.clone(), of(batch + 5)),
        (small(2), of(batch)),
        (small(5), of(batch)),
        (graph.clone(), Options { cache_bytes: 64, ..of(batch) }),
        (graph.clone(), Options { cache_bytes: 64, ..Options::new(batch, Target::Cuda) }),
        (graph.clone(), Options { alone_from: 1, ..Options::new(batch, Target::Cuda) }),
    ];
    for (planned, options) in graphs {
        verify(&planned).unwrap_or_else(|e| panic!("{e} in\n{planned}\nmade of\n{graph}"));
        check_plan(graph, &plan(&planned, &options), env);
    }
}

fn check_plan(graph: &Graph, plan: &Plan, env: &Env) {
    let batch = env.symbols.get("batch").copied().unwrap_or(1);
    no_overlaps(plan);
    let (outputs, updates) = interpret_step(graph, env).unwrap_or_else(|e| panic!("{e} in\n{graph}"));
    let leaves: Values = env.leaves.iter().map(|(name, t)| (name.clone(), t.data.clone())).collect();
    let at = Run { batch, seed: env.seed, step: env.step };
    let (found, variables) =
        interpret(plan, &leaves, at).unwrap_or_else(|e| panic!("{e} in\n{graph}\n{}", report(plan)));
    let expected =
        outputs.iter().map(|(n, t)| (n, t, &found)).chain(updates.iter().map(|(n, t)| (n, t, &variables)));
    for (name, tensor, values) in expected {
        let value = &values[name];
        let same =
            value.len() == tensor.data.len() && value.iter().zip(&tensor.data).all(|(a, b)| close(*a, *b));
        assert!(same, "{name}: {value:?}, not {:?} in\n{graph}\n{}", tensor.data, report(plan));
    }
}

/// Buffers used in one phase share no bytes, and no two launches of a phase write one buffer or one writes what another reads.
fn no_overlaps(plan: &Plan) {
    for phase in &plan.phases {
        let mut used: Vec<(u32, usize, bool)> = Vec::new();
        for (n, launch) in phase.iter().enumerate() {
            for launch in launch.variants() {
                for (id, argument) in launch.arguments.iter().zip(&plan.kernels[launch.kernel].arguments) {
                    used.push((id.0, n, argument.access != crate::nest::ArgumentAccess::Read));
                }
            }
        }
        for (i, (a, first, a_writes)) in used.iter().enumerate() {
            for (b, second, b_writes) in &used[..i] {
                let clash = a == b && first != second && (*a_writes || *b_writes);
                assert!(!clash, "buffer {a} in two launches of a phase:\n{}", report(plan));
                let place = |id: u32| match plan.buffers[id as usize].place {
                    Place::Arena { offset } => {
                        let bytes = plan.buffer_bytes(super::BufferId(id), plan.max_batch).unwrap();
                        Some((offset, offset + bytes))
                    }
                    _ => None,
                };
                if let (Some(x), Some(y)) = (place(*a), place(*b)) {
                    assert!(
                        a == b || x.1 <= y.0 || y.1 <= x.0,
                        "buffers {a} and {b} overlap:\n{}",
                        report(plan)
                    );
                }
            }
        }
    }
}

#[test]
fn random_graphs() {
    for seed in 0..400 {
        let wish = Wish { n_steps: 4 + (seed % 12) as usize, smooth: seed % 3 == 0, empty: seed % 7 == 0 };
        let (graph, env) = random_graph(seed, wish);
        check(&graph, &env);
    }
}

/// With gradients, and with updates that read what others overwrite.
#[test]
fn random_training_steps() {
    for seed in 0..150 {
        let (mut graph, mut env) = random_graph(seed, Wish { n_steps: 6, smooth: true, empty: false });
        let loss = graph.outputs.iter().find(|(name, _)| name == "loss").unwrap().1;
        let params: Vec<_> =
            graph.ids().filter(|id| matches!(graph.node(*id).op, Op::Param(_) | Op::State(_))).collect();
        let old = graph.updates.clone();
        graph.updates.clear();
        for leaf in params {
            if !graph.dtype(leaf).is_float() || old.iter().any(|(l, _)| *l == leaf) {
                continue;
            }
            let gradient = graph.grad(loss, leaf).unwrap();
            let next = graph.map(crate::scalar::Func::Sub, &[leaf, gradient]).unwrap();
            graph.updates.push((leaf, next));
        }
        graph.updates.extend(old);
        let graph = differentiate(&graph);
        verify(&graph).unwrap();
        env.step = seed;
        check(&graph, &env);
        check(&optimize_in(Precision::Bf16, &graph), &env);
    }
}

#[test]
fn convolutions() {
    for convolution in CONVOLUTIONS {
        let (graph, env) = convolution.graph();
        let graph = differentiate(&graph);
        check(&graph, &env);
        check(&optimize(&graph), &env);
    }
}

/// A graph, and its batch.
fn given(text: &str, batch: i64) -> (Graph, Env) {
    let graph = parse(text).unwrap();
    verify(&graph).unwrap();
    let mut env = Env::default();
    env.symbols.insert("batch".into(), batch);
    (graph, env)
}

/// The variance of columns is made of what lies in memory: neither the centred rows nor their squares are stored.
#[test]
fn reductions_over_rows_take_maps_along() {
    let text = "graph {
        %x = input @x : f32[batch, 6]
        %s = reduce sum [0] %x : f32[6]
        %m = broadcast [1] %s : f32[batch, 6]
        %c = map sub %x, %m : f32[batch, 6]
        %q = map mul %c, %c : f32[batch, 6]
        %v = reduce sum [0] %q : f32[6]
        %w = broadcast [1] %v : f32[batch, 6]
        %y = map mul %c, %w : f32[batch, 6]
        output y = %y
    }";
    let (graph, mut env) = given(text, 3);
    let x: Vec<f64> = (0..18).map(|i| f64::from(i * i % 7)).collect();
    env.leaves.insert("x".into(), Tensor::new(vec![3, 6], x));
    check(&graph, &env);
    let plan = plan(&graph, &Options::new(3, Target::Cpu));
    let whole = plan.buffers.iter().filter(|b| b.shape.len() == 2 && matches!(b.place, Place::Arena { .. }));
    let names: Vec<&str> = whole.map(|b| b.name.as_str()).collect();
    assert_eq!(names, ["y"], "{}", report(&plan));
}

/// Inside of rows, too, on a GPU: what is rounded for two sums is not stored, nor is what else is made of a product for them.
#[test]
fn reductions_inside_of_rows_take_maps_along_on_a_gpu() {
    let text = |places: i64, width: i64| {
        format!(
            "graph {{
            %x = input @x : f32[batch, {places}, 3]
            %w = param @w : f32[3, {width}]
            %y = contract abc,cd->abd %x, %w : f32[batch, {places}, {width}]
            %t = reduce sum [2] %y : f32[batch, {places}]
            %m = broadcast [0, 1] %t : f32[batch, {places}, {width}]
            %z = map mul %y, %m : f32[batch, {places}, {width}]
            %r = cast %y : bf16[batch, {places}, {width}]
            %c = cast %r : f32[batch, {places}, {width}]
            %s = reduce sum [1] %c : f32[batch, {width}]
            %q = map mul %y, %c : f32[batch, {places}, {width}]
            %v = reduce sum [1] %q : f32[batch, {width}]
            output z = %z
            output s = %s
            output v = %v
            }}"
        )
    };
    let (graph, mut env) = given(&text(5, 6), 3);
    let numbers = |n: i32, f: &dyn Fn(i32) -> i32| -> Vec<f64> { (0..n).map(|i| f64::from(f(i))).collect() };
    env.leaves.insert("x".into(), Tensor::new(vec![3, 5, 3], numbers(45, &|i| i * i % 7)));
    env.leaves.insert("w".into(), Tensor::new(vec![3, 6], numbers(18, &|i| i % 5 - 2)));
    check(&graph, &env);
    // Where they are large, too, of the size of the product there are itself and z.
    for (places, width) in [(5, 6), (1024, 768)] {
        let (graph, _) = given(&text(places, width), 16);
        let plan = plan(&graph, &Options { alone_from: 1, ..Options::new(16, Target::Cuda) });
        let is_whole = |b: &&Buffer| b.shape.len() == 3 && matches!(b.place, Place::Arena { .. });
        let n_whole = plan.buffers.iter().filter(is_whole).count();
        // Nor is an example's part of such a map in scratch.
        let has_room = |kernel: &Kernel| {
            kernel.scratch.iter().map(|s| s.bytes).sum::<u64>() >= (places * width) as u64 * 2
        };
        assert!(n_whole == 2 && !plan.kernels.iter().any(has_room), "{n_whole}: {}", report(&plan));
    }
}

/// As many places as columns: a loop along rows has nothing to do with one along columns, whatever their lengths.
#[test]
fn axes_of_equal_length_are_not_the_same() {
    let parts = |places: i64| {
        let text = format!(
            "graph {{
            %x = input @x : f32[batch, {places}, 6]
            %e = map exp %x : f32[batch, {places}, 6]
            %s = reduce sum [1] %e : f32[batch, 6]
            %z = map mul %e, %x : f32[batch, {places}, 6]
            output s = %s
            output z = %z
            }}"
        );
        let (graph, mut env) = given(&text, 3);
        let values: Vec<f64> = (0..3 * places * 6).map(|i| (i * i % 7) as f64 * 0.25).collect();
        env.leaves.insert("x".into(), Tensor::new(vec![3, places as usize, 6], values));
        check(&graph, &env);
        let plan = plan(&graph, &Options::new(3, Target::Cpu));
        plan.phases.concat().into_iter().map(|launch| launch.parts).collect::<Vec<_>>()
    };
    assert_eq!(parts(6), parts(5));
}

/// What is summed over rows is made in the loop that sums it, the other way round.
#[test]
fn maps_that_are_taken_along_stay_with_their_sum() {
    let text = "graph {
        %x = input @x : f32[batch, 1024]
        %d = input @d : f32[batch, 1024]
        %t = reduce max [1] %x : f32[batch]
        %m = broadcast [0] %t : f32[batch, 1024]
        %c = map sub %x, %m : f32[batch, 1024]
        %p = map mul %c, %d : f32[batch, 1024]
        %s = reduce sum [0] %p : f32[1024]
        %r = reduce sum [0] %d : f32[1024]
        output s = %s
        output r = %r
        }";
    let plan = plan(&parse(text).unwrap(), &Options::new(16384, Target::Cpu));
    // The maxima, then parts of both sums, then these.
    let what: Vec<String> =
        plan.phases.concat().iter().map(|launch| launch.parts[0].what.to_string()).collect();
    assert_eq!(what, ["[+max]", "[sub mul +sum +sum]", "[sub mul +sum +sum]"], "{}", report(&plan));
}

/// Many parts and few, the last one short, and those that a small batch leaves over; sums of products, and the greatest.
#[test]
fn long_reductions_are_taken_in_parts() {
    let text = "graph {
        %x = input @x : f32[batch, 2, 3]
        %s = reduce sum [0] %x : f32[2, 3]
        %m = broadcast [1, 2] %s : f32[batch, 2, 3]
        %c = map sub %x, %m : f32[batch, 2, 3]
        %q = map mul %c, %x : f32[batch, 2, 3]
        %v = reduce sum [0] %q : f32[2, 3]
        %g = reduce max [0] %x : f32[2, 3]
        output s = %s
        output v = %v
        output g = %g
    }";
    for batch in [1, 4, 40] {
        let (graph, mut env) = given(text, batch as i64);
        let x: Vec<f64> = (0..6 * batch).map(|i| (i * i % 7) as f64 - 3.0).collect();
        env.leaves.insert("x".into(), Tensor::new(vec![batch, 2, 3], x));
        check(&graph, &env);
        for max_batch in [40, 4000] {
            let plan = plan(&graph, &Options::new(max_batch, Target::Cpu));
            let parts = plan.buffers.iter().filter(|b| b.name.starts_with("parts")).count();
            assert_eq!(parts, 3, "{}", report(&plan));
            check_plan(&graph, &plan, &env);
        }
    }
}

/// Tiles of a table's rows, which the update follows in; with indices out of range, one of them so low that it has no difference to a
/// tile's first row.
#[test]
fn scatters_are_made_by_tiles() {
    let text = "graph {
        %i = input @i : i32[batch, 2]
        %x = input @x : f32[batch, 2, 3]
        %t = param @t : f32[9, 3]
        %s = scatter_add 0 %i, %x : f32[9, 3]
        %n = map sub %t, %s : f32[9, 3]
        update %t <- %n
    }";
    let (graph, mut env) = given(text, 4);
    let i = [8.0, 0.0, 5.0, -1.0, 9.0, 0.0, f64::from(i32::MIN), f64::from(i32::MAX)];
    env.leaves.insert("i".into(), Tensor::new(vec![4, 2], i.to_vec()));
    env.leaves.insert("x".into(), Tensor::new(vec![4, 2, 3], (1..25u8).map(f64::from).collect::<Vec<_>>()));
    env.leaves.insert("t".into(), Tensor::new(vec![9, 3], (0..27u8).map(f64::from).collect::<Vec<_>>()));
    check(&graph, &env);
    let mut plan = plan(&graph, &Options::new(4, Target::Cpu));
    let in_arena = plan.buffers.iter().filter(|b| matches!(b.place, Place::Arena { .. })).count();
    assert!(in_arena == 0 && plan.kernels.len() == 1, "{}", report(&plan));
    assert!(plan.kernels[0].rows.is_const(9), "{}", report(&plan));
    for tile in [1, 2, 4] {
        plan.kernels[0].tile = tile;
        check_plan(&graph, &plan, &env);
    }
}

/// Batch norm's backward pass: reductions that share maps are each taken in parts, and what is summed by itself is summed where it is read
/// anyway.
#[test]
fn long_reductions_make_their_maps_again() {
    let text = "graph {
        %x = input @x : f32[batch, 2, 3]
        %d = input @d : f32[batch, 2, 3]
        %s = reduce sum [0] %x : f32[2, 3]
        %m = broadcast [1, 2] %s : f32[batch, 2, 3]
        %c = map sub %x, %m : f32[batch, 2, 3]
        %q = map mul %c, %c : f32[batch, 2, 3]
        %v = reduce sum [0] %q : f32[2, 3]
        %t = reduce sum [0] %d : f32[2, 3]
        %w = broadcast [1, 2] %v : f32[batch, 2, 3]
        %n = map mul %c, %w : f32[batch, 2, 3]
        %p = map mul %d, %n : f32[batch, 2, 3]
        %g = reduce sum [0] %p : f32[2, 3]
        %h = broadcast [1, 2] %g : f32[batch, 2, 3]
        %y = map mul %h, %n : f32[batch, 2, 3]
        output y = %y
        output t = %t
        output g = %g
    }";
    for batch in [1, 5, 40] {
        let (graph, mut env) = given(text, batch as i64);
        for (name, step) in [("x", 7), ("d", 5)] {
            let data: Vec<f64> = (0..6 * batch).map(|i| (i * i % step) as f64 - 2.0).collect();
            env.leaves.insert(name.into(), Tensor::new(vec![batch, 2, 3], data));
        }
        check(&graph, &env);
        let plan = plan(&graph, &Options::new(40, Target::Cpu));
        let n_parts = plan.buffers.iter().filter(|b| b.name.starts_with("parts")).count();
        let is_whole = |b: &&Buffer| b.shape.len() == 3 && matches!(b.place, Place::Arena { .. });
        let whole: Vec<&str> = plan.buffers.iter().filter(is_whole).map(|b| b.name.as_str()).collect();
        assert_eq!((n_parts, &whole[..]), (3, &["y"][..]), "{}", report(&plan));
        let d = plan.buffers.iter().position(|b| b.name == "d").unwrap() as u32;
        let launches = plan.phases.iter().flatten();
        let n_reads = launches.filter(|launch| launch.arguments.contains(&BufferId(d))).count();
        assert_eq!(n_reads, 1, "{}", report(&plan));
        check_plan(&graph, &plan, &env);
    }
}

/// Outer products of all kinds are maps, which are loops with what follows: axes in another order, and one that both sides have.
#[test]
fn products_without_a_sum_are_maps() {
    for (name, left, right, out, shape) in [
        ("of two rows", "[batch, 2]", "[3]", "ab,c->abc", "[batch, 2, 3]"),
        ("turned about", "[batch, 2]", "[3]", "ab,c->cab", "[3, batch, 2]"),
        ("of each example", "[batch, 2]", "[batch, 3]", "ab,ac->acb", "[batch, 3, 2]"),
    ] {
        let text = format!(
            "graph {{
                %x = input @x : f32{left}
                %y = input @y : f32{right}
                %p = contract {out} %x, %y : f32{shape}
                %e = map exp %p : f32{shape}
                output e = %e
            }}"
        );
        let graph = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&graph).unwrap();
        let mut env = Env::default();
        env.symbols.insert("batch".into(), 5);
        for (leaf, shape) in [("x", left), ("y", right)] {
            let sizes = shape.trim_matches(['[', ']']).split(", ");
            let sizes: Vec<usize> =
                sizes.map(|s| if s == "batch" { 5 } else { s.parse().unwrap() }).collect();
            let n: usize = sizes.iter().product();
            let data: Vec<f64> = (0..n).map(|i| (i * 3 % 7) as f64 / 4.0 - 0.5).collect();
            env.leaves.insert(leaf.into(), Tensor::new(sizes, data));
        }
        check(&graph, &env);
        let plan = plan(&graph, &Options::new(5, Target::Cpu));
        let n_ops: usize = plan.kernels.iter().map(|kernel| kernel.ops.len()).sum();
        assert_eq!(n_ops, 1, "{name}: {}", report(&plan));
    }
}

/// In a short row `exp` is stored for the loop that follows its sum; in a long one it is made twice, for it would leave the cache.
#[test]
fn what_is_made_again_depends_on_the_row() {
    for (width, n_made) in [(64, 1), (100_000, 2)] {
        let text = format!(
            "graph {{
                %x = input @x : f32[batch, {width}]
                %e = map exp %x : f32[batch, {width}]
                %s = reduce sum [1] %e : f32[batch]
                %b = broadcast [0] %s : f32[batch, {width}]
                %q = map div %e, %b : f32[batch, {width}]
                %y = map mul %q, %x : f32[batch, {width}]
                output y = %y
            }}"
        );
        let graph = parse(&text).unwrap();
        verify(&graph).unwrap();
        let plan = plan(&graph, &Options::new(8, Target::Cpu));
        let n_found =
            plan.kernels.iter().map(|kernel| kernel.to_string().matches("exp").count()).sum::<usize>();
        assert_eq!(n_found, n_made, "{width}: {}", report(&plan));
    }
}

const UPDATES: &[(&str, &str)] = &[
    (
        "two variables change places",
        "%a = state @a : f32[4]
         %b = state @b : f32[4]
         update %a <- %b
         update %b <- %a",
    ),
    (
        "a variable is turned about in place",
        "%w = state @w : f32[4, 4]
         %t = permute [1, 0] %w : f32[4, 4]
         %m = map exp %t : f32[4, 4]
         update %w <- %m",
    ),
    (
        "a row is read backwards and overwritten",
        "%w = state @w : f32[4, 4]
         %t = flip [1] %w : f32[4, 4]
         %m = map sin %t : f32[4, 4]
         update %w <- %m",
    ),
    (
        "the old value is read after the new one is known",
        "%a = state @a : f32[4]
         %n = map exp %a : f32[4]
         %s = reduce sum [0] %n : f32[]
         %r = reduce max [0] %a : f32[]
         %p = map mul %s, %r : f32[]
         update %a <- %n
         output p = %p",
    ),
    (
        "what is made of a variable is read after the variable was overwritten",
        "%w = state @w : f32[4, 4]
         %b = state @b : f32[4]
         %y = contract ab,bc->ac %w, %w : f32[4, 4]
         %r = broadcast [1] %b : f32[4, 4]
         %s = map add %y, %r : f32[4, 4]
         %z = map mul %s, %s : f32[4, 4]
         %v = contract ab,bc->ac %z, %w : f32[4, 4]
         %o = map mul %z, %v : f32[4, 4]
         %n = map mul %b, %b : f32[4]
         update %b <- %n
         output o = %o",
    ),
    (
        "a count",
        "%c = state @c : f32[]
         %one = const 1 : f32[]
         %n = map add %c, %one : f32[]
         update %c <- %n
         output n = %n
         output c = %c",
    ),
];

#[test]
fn updates() {
    let mut env = Env::default();
    env.symbols.insert("batch".into(), 3);
    let ramp = |n: usize| (0..n).map(|i| i as f64 / 5.0 - 0.4).collect::<Vec<_>>();
    for (name, shape) in [("a", vec![4]), ("b", vec![4]), ("w", vec![4, 4]), ("c", vec![])] {
        let n = shape.iter().product();
        env.leaves.insert(name.into(), Tensor::new(shape, ramp(n)));
    }
    for (name, text) in UPDATES {
        let graph = parse(&format!("graph {{\n{text}\n}}")).unwrap_or_else(|e| panic!("{name}: {e}"));
        verify(&graph).unwrap_or_else(|e| panic!("{name}: {e}"));
        check(&graph, &env);
    }
}
