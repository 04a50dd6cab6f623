//! Sessions on the mock device: whole steps held to the graph interpreter, lifetimes to the rules.

use super::super::tests::training_step;
use super::device::{Address, Device, DeviceError, Launch, Region, Stream, WholeLaunch};
use super::mock::{Late, Mock};
use super::session::{ProgramId, Session};
use crate::base::{DType, TensorType};
use crate::codegen::cpu::StepEnv;
use crate::codegen::cuda::{emit, emit_whole};
use crate::graph::interpret::{Env, interpret_step};
use crate::graph::{Graph, NodeId};
use crate::nest::ArgumentAccess;
use crate::plan::{Options, Plan, Target, plan};
use crate::runtime::RuntimeError;

const CAPACITY: u64 = 1 << 30;

fn leaf(graph: &Graph, name: &str) -> NodeId {
    graph.ids().find(|id| graph.node(*id).op.leaf_name().is_some_and(|n| n == name)).unwrap()
}

fn bytes_of(graph: &Graph, env: &Env, name: &str) -> Vec<u8> {
    graph.dtype(leaf(graph, name)).encode(&env.leaves[name].data)
}

/// A session with the graph as a program, its variables set.
fn session(graph: &Graph, env: &Env, plan: Plan, mock: Mock) -> (Session<Mock>, ProgramId) {
    let mut session = Session::new(mock);
    let names: Vec<_> = plan.buffers.iter().filter(|b| b.place == crate::plan::Place::Variable).collect();
    let names: Vec<_> = names.into_iter().map(|b| b.name.clone()).collect();
    let program = session.add(plan).unwrap();
    for name in names {
        let dtype = graph.dtype(leaf(graph, &name));
        session.set_variable(&name, dtype, &bytes_of(graph, env, &name)).unwrap();
    }
    (session, program)
}

fn check(graph: &Graph, env: &Env, alone_from: Option<u64>, mock: Mock) {
    let batch = env.symbols.get("batch").copied().unwrap_or(1);
    let options = Options::new(batch + 3, Target::Cuda);
    let alone_from = alone_from.unwrap_or(options.alone_from);
    let plan = plan(graph, &Options { alone_from, ..options });
    let (mut session, program) = session(graph, env, plan, mock);
    let inputs: Vec<Vec<u8>> =
        session.inputs(program).iter().map(|name| bytes_of(graph, env, name)).collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(|b| &b[..]).collect();
    let at = StepEnv { seed: env.seed, step: env.step };
    session.begin(program, batch as usize, at, &inputs).unwrap();
    session.finish(program, 0).unwrap();
    let (outputs, updates) = interpret_step(graph, env).unwrap();
    let of_output = |name: &str| graph.outputs.iter().find(|(n, _)| n == name).unwrap().1;
    let outputs = outputs.iter().map(|(name, value)| {
        (name, value, graph.dtype(of_output(name)).decode(session.output(program, name)))
    });
    let updates = updates.iter().map(|(name, value)| {
        let bytes = session.variable(name).unwrap().unwrap();
        (name, value, graph.dtype(leaf(graph, name)).decode(&bytes))
    });
    for (name, expected, found) in outputs.chain(updates) {
        // Sums of many terms of either sign lose digits: what counts is the largest.
        let scale = expected.data.iter().filter(|x| x.is_finite()).fold(1.0f64, |m, x| m.max(x.abs()));
        let close = |a: &f64, b: &f64| a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 2e-4 * scale;
        let same =
            found.len() == expected.data.len() && found.iter().zip(&expected.data).all(|(a, b)| close(a, b));
        assert!(same, "{name}: {found:?}, not {:?} in\n{graph}", expected.data);
    }
    assert!(session.device().faults().is_empty(), "{:?}", session.device().faults());
}

#[test]
fn whole_steps_do_what_the_interpreter_does() {
    for seed in 0..120 {
        let (graph, env) = training_step(seed);
        let mock = || Mock::new(CAPACITY, Late::ALL[seed as usize % Late::ALL.len()]);
        check(&graph, &env, None, mock());
        check(&graph, &env, None, mock().without_meetings());
        // Products alone, with and without a library.
        check(&graph, &env, Some(1), mock().without_meetings());
        check(&graph, &env, Some(1), mock().without_meetings().with_library());
    }
}

/// A state that each step changes by its inputs, its number and its seed.
fn counter(rows: i64) -> (Graph, Env) {
    let text = "graph {
        %w = state @w : f32[3]
        %x = input @x : f32[batch, 3]
        %r = random uniform 1 : f32[batch, 3]
        %p = map mul %x, %r : f32[batch, 3]
        %s = reduce sum [0] %p : f32[3]
        %n = map add %w, %s : f32[3]
        %l = reduce sum [0] %n : f32[]
        output loss = %l
        update %w <- %n
    }";
    let graph = crate::graph::text::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let mut env = Env::default();
    env.symbols.insert("batch".into(), rows);
    env.leaves.insert("w".into(), crate::graph::interpret::Tensor::new(vec![3], vec![0.5, -1.0, 2.0]));
    (graph, env)
}

/// Losses of steps of several sizes, with as many under way as `ahead` says.
fn losses(ahead: usize, mock: Mock) -> (Vec<u8>, Vec<u8>) {
    let (graph, env) = counter(4);
    let plan = plan(&graph, &Options::new(6, Target::Cuda));
    let (mut session, program) = session(&graph, &env, plan, mock);
    let mut found = Vec::new();
    let n_steps = 40;
    for step in 0..n_steps + ahead {
        if step < n_steps {
            let rows = [6, 6, 1, 4, 2, 3, 5, 6][step % 8];
            let mut x: Vec<f32> = (0..3 * rows).map(|i| (i + step) as f32 * 0.25).collect();
            let at = StepEnv { seed: 7, step: step as u64 };
            session.begin(program, rows, at, &[bytemuck::cast_slice(&x)]).unwrap();
            // The batch belongs to the caller again.
            x.fill(f32::NAN);
        }
        if step >= ahead {
            session.finish(program, ahead.min(n_steps + ahead - 1 - step)).unwrap();
            found.extend_from_slice(session.output(program, "loss"));
        }
    }
    assert!(session.device().faults().is_empty(), "{:?}", session.device().faults());
    (found, session.variable("w").unwrap().unwrap())
}

#[test]
fn steps_under_way_change_nothing() {
    let expected = losses(0, Mock::new(CAPACITY, Late::default()));
    let values: Vec<f32> = bytemuck::pod_collect_to_vec(&expected.0);
    assert!(values.iter().all(|v| v.is_finite()) && values.windows(2).all(|v| v[0] != v[1]), "{values:?}");
    for late in Late::ALL {
        for ahead in [0, 1] {
            for mock in [Mock::new(CAPACITY, late), Mock::new(CAPACITY, late).without_meetings()] {
                assert_eq!(losses(ahead, mock), expected, "{ahead} ahead, late {late:?}");
            }
        }
    }
}

#[test]
fn a_steady_step_is_one_copy_and_one_launch() {
    let (graph, env) = counter(4);
    let mock = Mock::new(CAPACITY, Late::ALL[7]);
    let (mut session, program) = session(&graph, &env, plan(&graph, &Options::new(4, Target::Cuda)), mock);
    let x = [1f32; 12];
    let mut step = |n: u64| {
        session.begin(program, 4, StepEnv { seed: 1, step: n }, &[bytemuck::cast_slice(&x)]).unwrap();
        session.finish(program, 1).unwrap();
        (session.device().take_log(), session.device().n_allocations())
    };
    let n_allocations = (0..4).map(|n| step(n).1).last().unwrap();
    for n in 4..8 {
        let expected = ["copy in", "record", "wait", "run", "record", "synchronize"];
        assert_eq!(step(n), (expected.map(String::from).to_vec(), n_allocations));
    }
}

/// A small step is one launch where blocks can wait for each other; its kernels are timed one by one all the same.
#[test]
fn a_small_step_is_one_launch() {
    let (graph, env) = counter(4);
    let plan = plan(&graph, &Options::new(4, Target::Cuda));
    let n_launches = plan.phases.iter().flatten().count();
    assert!(n_launches > 1);
    let x = [1f32; 12];
    let mut found = Vec::new();
    for mock in [Mock::new(CAPACITY, Late::ALL[7]), Mock::new(CAPACITY, Late::ALL[7]).without_meetings()] {
        let (mut session, program) = session(&graph, &env, plan.clone(), mock);
        let mut log = Vec::new();
        for step in 0..3 {
            session.begin(program, 4, StepEnv { seed: 1, step }, &[bytemuck::cast_slice(&x)]).unwrap();
            session.finish(program, 0).unwrap();
            log.extend(session.device().take_log().into_iter().filter(|call| call.starts_with("launch")));
        }
        let at = StepEnv { seed: 1, step: 3 };
        let times = session.time_launches(program, 4, at, &[bytemuck::cast_slice(&x)], 1).unwrap();
        assert_eq!(times.len(), n_launches);
        found.push((log, session.variable("w").unwrap()));
    }
    // Taken down once for each of two slots.
    assert_eq!(found[0].0, ["launch whole"; 2]);
    assert_eq!(found[1].0, vec!["launch"; 2 * n_launches]);
    assert_eq!(found[0].1, found[1].1);
}

#[test]
fn programs_share_variables_and_leave_nothing_behind() {
    let program = |dtype: DType, n: i64| {
        let mut graph = Graph::new();
        let w = graph.state("w", TensorType::new(dtype, vec![n.into()]));
        let next = graph.map(crate::scalar::Func::Add, &[w, w]).unwrap();
        graph.updates.push((w, next));
        plan(&graph, &Options::new(1, Target::Cuda))
    };
    let mut session = Session::new(Mock::new(CAPACITY, Late::ALL[7]));
    session.set_variable("w", DType::F32, bytemuck::cast_slice(&[1f32, 2.0, 3.0])).unwrap();
    let first = session.add(program(DType::F32, 3)).unwrap();
    let second = session.add(program(DType::F32, 3)).unwrap();
    let differs = |found: usize| RuntimeError::VariableDiffers { name: "w".into(), expected: 3, found };
    let (expected, found) = (DType::F32, DType::I32);
    let type_differs = RuntimeError::VariableTypeDiffers { name: "w".into(), expected, found };
    assert_eq!(session.add(program(DType::F32, 4)).unwrap_err(), differs(4).into());
    assert_eq!(session.add(program(DType::I32, 3)).unwrap_err(), type_differs.clone().into());
    assert_eq!(session.set_variable("w", DType::F32, &[0; 8]).unwrap_err(), differs(2).into());
    assert_eq!(session.set_variable("w", DType::I32, &[0; 12]).unwrap_err(), type_differs.into());
    for program in [first, second, first] {
        session.begin(program, 1, StepEnv::default(), &[]).unwrap();
    }
    let w: Vec<f32> = bytemuck::pod_collect_to_vec(&session.variable("w").unwrap().unwrap());
    assert_eq!(w, [8.0, 16.0, 24.0]);
    assert_eq!(session.variable("other").unwrap(), None);
}

#[test]
fn what_does_not_fit_is_refused_with_its_bytes() {
    let mut graph = Graph::new();
    let x = graph.state("x", TensorType::new(DType::F32, vec![(1i64 << 20).into()]));
    graph.outputs.push(("x".into(), x));
    let plan = plan(&graph, &Options::new(1, Target::Cuda));
    let mut session = Session::new(Mock::new(5 << 20, Late::default()));
    let error = session.add(plan.clone()).unwrap_err();
    let DeviceError::OutOfMemory { needed, available, .. } = &error else { panic!("{error}") };
    assert_eq!(
        error.to_string(),
        "a step needs 8.0 MiB of memory (4.0 MiB of variables, 4.0 MiB of values between kernels, 512 B of batches), and mock has \
         5.0 MiB to give; a smaller `batch` needs less"
    );
    assert!(*needed >= 8 << 20 && *available == 5 << 20, "{error}");
    assert_eq!(session.device().n_allocations(), 0);
    // What was said is what is taken, and in one piece.
    let mut session = Session::new(Mock::new(*needed, Late::default()));
    session.add(plan).unwrap();
    assert_eq!((session.bytes(), session.device().free_bytes()), (*needed, 0));
    assert_eq!(session.device().n_allocations(), 1);
}

/// The mock finds what callers do wrong.
#[test]
fn faults_are_found() {
    let (graph, _) = counter(4);
    let plan = plan(&graph, &Options::new(4, Target::Cuda));
    let source = emit(&plan);
    type Case<'a> = (&'a str, &'a dyn Fn(&Mock));
    let region = |address: Address, bytes: u64| Region { address, bytes };
    // A launch of the first kernel on 64 bytes for each argument.
    let launch_on = |mock: &Mock, at: &dyn Fn(usize) -> Address| {
        let module = mock.load(&plan.kernels, &source).unwrap();
        let (env, n) = (mock.allocate(64).unwrap(), plan.kernels[0].arguments.len());
        mock.write(env, &[0; 64]).unwrap();
        let launch = Launch {
            kernel: 0,
            blocks: source.kernels[0].blocks(4),
            arguments: (0..n).map(|i| region(at(i), 64)).collect(),
            scratch: region(env, 64),
            batch: 4,
            env: region(env, 16),
            call: None,
            apart: None,
        };
        let _ = mock.launch(Stream::Compute, &module, &source.kernels[0], &launch);
    };
    let written = || plan.kernels[0].arguments.iter().position(|a| a.access != ArgumentAccess::Read).unwrap();
    let cases: [Case; 9] = [
        ("before it was written", &|mock| {
            let memory = mock.allocate(64).unwrap();
            let _ = mock.read(memory, &mut [0; 4]);
        }),
        ("not inside of an allocation", &|mock| {
            let memory = mock.allocate(64).unwrap();
            let _ = mock.write(memory, &[0; 65]);
        }),
        ("was freed", &|mock| {
            let memory = mock.allocate(64).unwrap();
            mock.free(memory);
            let _ = mock.write(memory, &[0; 4]);
        }),
        ("was freed", &|mock| {
            let (memory, host) = (mock.allocate(64).unwrap(), mock.host(64).unwrap());
            mock.free(memory);
            let _ = mock.copy_in(&host, region(memory, 64));
            let event = mock.event().unwrap();
            let _ = mock.record(&event, Stream::Copy);
            let _ = mock.synchronize(&event);
        }),
        ("was not allocated", &|mock| mock.free(Address(64))),
        ("overlap", &|mock| {
            let memory = mock.allocate(4096).unwrap();
            mock.write(memory, &[0; 4096]).unwrap();
            launch_on(mock, &|_| memory);
            let _ = mock.read(memory, &mut [0; 4]);
        }),
        ("not inside of one part", &|mock| {
            let memory = mock.allocate(512).unwrap();
            mock.divide(&[region(memory, 256), region(memory.plus(256), 256)]);
            mock.write(memory, &[0; 256]).unwrap();
            let _ = mock.write(memory, &[0; 264]);
        }),
        ("where blocks meet", &|mock| {
            let memory = mock.allocate(4096).unwrap();
            let module = mock.load(&plan.kernels, &source).unwrap();
            let whole = emit_whole(&plan).unwrap();
            let launch = WholeLaunch {
                blocks: 1,
                arguments: vec![region(memory, 64); whole.buffers.len()],
                arrived: region(memory, 4),
                batch: 4,
                env: region(memory, 16),
                launches: Vec::new(),
            };
            let _ = mock.launch_whole(&module, &whole, &launch);
            let _ = mock.read(memory, &mut [0; 4]);
        }),
        // A buffer is read when its place is another one's.
        ("another buffer was written over it", &|mock| {
            let memory = mock.allocate(4096).unwrap();
            mock.write(memory, &[0; 4096]).unwrap();
            launch_on(mock, &|i| memory.plus(i as u64 * 256 + 64));
            let _ = mock.read(memory.plus(written() as u64 * 256), &mut [0; 128]);
        }),
    ];
    for (wanted, wrong) in cases {
        for late in Late::ALL {
            let mock = Mock::new(CAPACITY, late);
            wrong(&mock);
            let faults = mock.faults();
            assert!(faults.first().is_some_and(|fault| fault.contains(wanted)), "{wanted}: {faults:?}");
        }
    }
}

/// Without a wait between the streams, a step would read the batch of another one: the mock shows it.
#[test]
fn a_missing_wait_shows() {
    for late in Late::ALL {
        let mock = Mock::new(CAPACITY, late);
        let memory = mock.allocate(64).unwrap();
        let (from, to) = (mock.host(64).unwrap(), mock.host(64).unwrap());
        mock.write(memory, &[1; 64]).unwrap();
        mock.put(&from, 0, &[2; 64]);
        mock.copy_in(&from, Region { address: memory, bytes: 64 }).unwrap();
        mock.copy_out(Region { address: memory, bytes: 64 }, &to, 0).unwrap();
        let event = mock.event().unwrap();
        mock.record(&event, Stream::Compute).unwrap();
        mock.synchronize(&event).unwrap();
        let mut found = [0];
        mock.take(&to, 0, &mut found);
        // Only where copies happen to be early does it look right.
        assert_eq!(found, [if late.copy { 1 } else { 2 }]);
    }
}
