//! Compiled programs held to the graph interpreter, and to themselves on other numbers of threads.

use super::{ProgramId, Session, StepEnv};
use crate::autodiff::differentiate;
use crate::base::DType;
use crate::graph::arbitrary::convolutions::CONVOLUTIONS;
use crate::graph::arbitrary::{Wish, random_graph};
use crate::graph::interpret::{Env, interpret_step};
use crate::graph::{Graph, NodeId, Op};
use crate::passes::optimize;
use crate::plan::{BufferId, Options, Place, Plan, Target, plan, report};

struct Ran {
    session: Session,
    program: ProgramId,
}

/// A plan with tiles of at most two rows: small graphs have tiles enough for many threads only if the tiles are small, too.
fn finely_tiled(graph: &Graph, max_batch: i64) -> Plan {
    let mut plan = plan(graph, &Options::new(max_batch, Target::Cpu));
    plan.kernels.iter_mut().for_each(|kernel| kernel.tile = kernel.tile.min(2));
    plan
}

/// The same plan with all buffers, in the arena and in scratch, apart.
fn apart(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let mut end = 0;
    for i in 0..plan.buffers.len() {
        let bytes = plan.greatest_bytes(BufferId(i as u32)).unwrap();
        if let Place::Arena { offset } = &mut plan.buffers[i].place {
            *offset = end;
            end += (bytes + 1).next_multiple_of(64);
        }
    }
    plan.arena_bytes = end;
    for kernel in &mut plan.kernels {
        let mut end = 0;
        for scratch in &mut kernel.scratch {
            scratch.offset = end;
            end += (scratch.bytes + 1).next_multiple_of(64);
        }
    }
    plan
}

fn run(graph: &Graph, env: &Env, plan: Plan, n_threads: usize, n_steps: u64) -> Ran {
    let mut session = Session::new(n_threads);
    let program = session.add(plan).unwrap();
    let dtype_of = |name: &str| {
        let leaf = graph.ids().find(|id| graph.node(*id).op.leaf_name().is_some_and(|n| n == name)).unwrap();
        graph.dtype(leaf)
    };
    for name in session.variables().cloned().collect::<Vec<_>>() {
        let dtype = dtype_of(&name);
        session.set_variable_bytes(&name, dtype, &dtype.encode(&env.leaves[&name].data)).unwrap();
    }
    let inputs: Vec<Vec<u8>> =
        session.inputs(program).iter().map(|n| dtype_of(n).encode(&env.leaves[n].data)).collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|b| &b[..]).collect();
    let batch = env.symbols.get("batch").copied().unwrap_or(1) as usize;
    for step in env.step..env.step + n_steps {
        session.run(program, batch, StepEnv { seed: env.seed, step }, &inputs);
    }
    Ran { session, program }
}

/// Each by the bound of its own terms, whatever way it is computed.
#[test]
fn convolutions() {
    for convolution in CONVOLUTIONS {
        let (graph, env) = convolution.graph();
        let graph = optimize(&differentiate(&graph));
        let batch = env.symbols["batch"];
        let (exact, _) = interpret_step(&graph, &env).unwrap();
        let ran = run(&graph, &env, plan(&graph, &Options::new(batch, Target::Cpu)), 2, 1);
        for (name, tensor) in &exact {
            let found = DType::F32.decode(ran.session.output(ran.program, name));
            let differences = found.iter().zip(&tensor.data).map(|(a, b)| (a - b).abs());
            let (off, bound) = (differences.fold(0.0, f64::max), convolution.bound(name));
            assert!(off <= bound, "{}: {name} is off by {off}, not by {bound}", convolution.name);
        }
    }
}

fn check(graph: &Graph, env: &Env) {
    let batch = env.symbols.get("batch").copied().unwrap_or(1);
    let (outputs, updates) = interpret_step(graph, env).unwrap();
    for max_batch in [batch, batch + 3] {
        let ran = run(graph, env, finely_tiled(graph, max_batch), 2, 1);
        let output = |name: &str| {
            let (_, id) = graph.outputs.iter().find(|(n, _)| n == name).unwrap();
            graph.dtype(*id).decode(ran.session.output(ran.program, name))
        };
        let variable = |name: &str| {
            let of = |l: &NodeId| graph.node(*l).op.leaf_name().is_some_and(|n| n == name);
            let (leaf, _) = graph.updates.iter().find(|(leaf, _)| of(leaf)).unwrap();
            graph.dtype(*leaf).decode(ran.session.variable_bytes(name).unwrap())
        };
        let found = outputs.iter().map(|(n, t)| (n, t, output(n)));
        let found: Vec<(_, _, Vec<f64>)> =
            found.chain(updates.iter().map(|(n, t)| (n, t, variable(n)))).collect();
        for (name, expected, found) in found {
            // Sums of many terms of either sign lose digits: what counts is the largest.
            let scale = expected.data.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
            let close =
                |a: &f64, b: &f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 2e-4 * scale;
            let same = found.len() == expected.data.len()
                && found.iter().zip(&expected.data).all(|(a, b)| close(a, b));
            assert!(
                same,
                "{name}: {found:?}, not {:?} in\n{graph}\n{}",
                expected.data,
                report(ran.session.plan(ran.program))
            );
        }
    }
}

#[test]
fn random_graphs() {
    for seed in 0..250 {
        let wish = Wish { n_steps: 3 + (seed % 10) as usize, smooth: true, empty: seed % 7 == 0 };
        let (graph, env) = random_graph(seed, wish);
        check(&graph, &env);
    }
}

/// A graph as training compiles it: gradients, new parameters, optimized.
pub(super) fn training_step(seed: u64) -> (Graph, Env) {
    let wish = Wish { n_steps: 6 + seed as usize % 20, smooth: true, empty: seed.is_multiple_of(7) };
    let (mut graph, env) = random_graph(seed, wish);
    let loss = graph.outputs.iter().find(|(name, _)| name == "loss").unwrap().1;
    let is_param = |graph: &Graph, id: &NodeId| matches!(graph.node(*id).op, Op::Param(_));
    let params: Vec<NodeId> = graph.ids().filter(|id| is_param(&graph, id)).collect();
    graph.updates.retain(|(leaf, _)| !params.contains(leaf));
    for leaf in params {
        let gradient = graph.grad(loss, leaf).unwrap();
        let next = graph.map(crate::scalar::Func::Sub, &[leaf, gradient]).unwrap();
        graph.updates.push((leaf, next));
    }
    (optimize(&differentiate(&graph)), env)
}

/// However many threads there are, into how many tiles their number divides a kernel's rows, and wherever the plan lets buffers share
/// memory.
#[test]
fn the_same_bits_on_any_number_of_threads() {
    for seed in 0..60 {
        let (graph, env) = training_step(seed);
        let whole = plan(&graph, &Options::new(16, Target::Cpu));
        let finely = finely_tiled(&graph, 16);
        let all = |plan: Plan, n_threads: usize| -> Vec<Vec<u8>> {
            let ran = run(&graph, &env, plan, n_threads, 6);
            let outputs = graph.outputs.iter().map(|(name, _)| ran.session.output(ran.program, name));
            let variables = ran.session.variables().map(|name| ran.session.variable_bytes(name).unwrap());
            outputs.chain(variables).map(<[u8]>::to_vec).collect()
        };
        for plan in [whole, finely] {
            let expected = all(apart(&plan), 1);
            for n_threads in [1, 2, 3, 8] {
                assert_eq!(expected, all(plan.clone(), n_threads), "seed {seed}, {n_threads} threads");
            }
        }
    }
}

#[test]
fn variables_are_one_storage_of_one_type() {
    use super::RuntimeError;
    let program = |dtype: DType, n: i64| {
        let mut graph = Graph::new();
        let w = graph.state("w", crate::base::TensorType::new(dtype, vec![n.into()]));
        let next = graph.map(crate::scalar::Func::Add, &[w, w]).unwrap();
        graph.updates.push((w, next));
        plan(&graph, &Options::new(1, Target::Cpu))
    };
    let mut session = Session::new(2);
    let first = session.add(program(DType::F32, 3)).unwrap();
    let second = session.add(program(DType::F32, 3)).unwrap();
    let differs = |found: usize| RuntimeError::VariableDiffers { name: "w".into(), expected: 3, found };
    let (expected, found) = (DType::F32, DType::I32);
    let type_differs = RuntimeError::VariableTypeDiffers { name: "w".into(), expected, found };
    assert_eq!(session.add(program(DType::F32, 4)).unwrap_err(), differs(4));
    assert_eq!(session.add(program(DType::I32, 3)).unwrap_err(), type_differs);
    assert_eq!(session.set_variable("w", &[0.0; 2]).unwrap_err(), differs(2));
    assert_eq!(session.set_variable_bytes("w", DType::I32, &[0; 12]).unwrap_err(), type_differs);
    session.set_variable("w", &[1.0, 2.0, 3.0]).unwrap();
    session.run(first, 1, StepEnv::default(), &[]);
    session.run(second, 1, StepEnv::default(), &[]);
    assert_eq!(session.variable("w").unwrap(), [4.0, 8.0, 12.0]);
}

/// Buffers and scratch have room for the batch that needs most, which is not the greatest here.
#[test]
fn sizes_that_shrink_as_the_batch_grows() {
    let text = "graph {
        %a = random normal 1 : f32[-10 * batch + 100, 3]
        %b = random normal 2 : f32[-10 * batch + 100, 3]
        %p = map mul %a, %b : f32[-10 * batch + 100, 3]
        %s = reduce sum [1] %p : f32[-10 * batch + 100]
        %t = permute [1, 0] %p : f32[3, -10 * batch + 100]
        %q = reduce max [0] %b : f32[3]
        output s = %s
        output p = %p
        output t = %t
        output q = %q
    }";
    let graph = crate::graph::text::parse(text).unwrap();
    let mut env = Env::default();
    env.symbols.insert("batch".into(), 2);
    check(&graph, &env);
}

/// A session may be used and dropped on another thread than the one it was made on, busy or idle.
#[test]
fn sessions_move_and_end() {
    let (graph, env) = random_graph(3, Wish { n_steps: 10, smooth: true, empty: false });
    for n_threads in [1, 2, 9] {
        drop(Session::new(n_threads));
        let ran = run(&graph, &env, finely_tiled(&graph, 8), n_threads, 1);
        let before = ran.session.output(ran.program, "loss").to_vec();
        let after = std::thread::spawn(move || ran.session.output(ran.program, "loss").to_vec()).join();
        assert_eq!(after.unwrap(), before);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut graph = Graph::new();
    let size: i64 = 1 << 45;
    let x = graph.state("x", crate::base::TensorType::new(DType::F32, vec![size.into()]));
    graph.outputs.push(("x".into(), x));
    let mut session = Session::new(1);
    let error = session.add(plan(&graph, &Options::new(1, Target::Cpu))).unwrap_err();
    assert!(matches!(error, super::RuntimeError::OutOfMemory { needed, .. } if needed >= 4 << 45), "{error}");
    assert_eq!(session.variables().count(), 0);
}
