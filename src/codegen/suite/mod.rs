//! Kernels with arguments on which every backend is held to the nest interpreter: samples, families by size, each function of the
//! table, random nests, and the kernels of plans of random graphs.
//!
//! What enters: nothing, or a plan. What leaves: cases. Not here: running them.

mod products;
mod rows;

pub use products::{epilogues, products, prologues};
pub use rows::rows;

use crate::autodiff::differentiate;
use crate::base::philox::block;
use crate::base::{DType, Dim, Distribution, Precision, ReduceOp};
use crate::graph::arbitrary::{Wish, random_graph};
use crate::graph::interpret::Env;
use crate::graph::text::parse;
use crate::graph::{Graph, NodeId, Op};
use crate::nest::fused_product::FusedProduct;
use crate::nest::interpret::{Run, run};
use crate::nest::samples::*;
use crate::nest::verify::verify;
use crate::nest::{ArgumentAccess, Inst, Kernel};
use crate::passes::optimize_in;
use crate::plan::{Launch, Options, Place, Plan, Target, plan};
use crate::scalar::Func;

/// A kernel, and one run of it.
pub struct Case {
    pub what: String,
    pub kernel: Kernel,
    pub arguments: Vec<Vec<f64>>,
    pub at: Run,
}

fn case(what: String, kernel: &Kernel, arguments: &[Vec<f64>], at: Run) -> Case {
    verify(kernel).unwrap_or_else(|e| panic!("{what}: {e}\n{kernel}"));
    Case { what, kernel: kernel.clone(), arguments: arguments.to_vec(), at }
}

/// `n` numbers of a type, the same each time.
pub fn numbers(dtype: DType, n: i64, salt: u32) -> Vec<f64> {
    let number = |i: u32| {
        let word = block([i, salt, 0, 0], [0; 2])[0];
        match dtype {
            DType::F32 => f64::from((f64::from(word) / f64::from(u32::MAX) * 4.0 - 2.0) as f32),
            DType::BF16 => DType::BF16.convert(f64::from(word) / f64::from(u32::MAX) * 4.0 - 2.0),
            DType::I32 => f64::from(word as i32 >> (word % 31)),
            DType::U8 => f64::from(word as u8),
            DType::Bool => f64::from(word & 1),
        }
    };
    (0..n as u32).map(number).collect()
}

pub fn once(batch: i64) -> Run {
    Run { batch, seed: 11, step: 5 }
}

/// The table of samples.
pub fn sample_cases() -> Vec<Case> {
    let of = |s: Sample| case(s.name.into(), &s.kernel, &s.arguments, once(s.batch));
    samples().into_iter().map(of).collect()
}

/// Vectors of four, and what is left over after them.
pub fn tails() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut check_one = |what: &str, kernel: &Kernel, arguments: &[Vec<f64>], at: Run| {
        cases.push(case(what.into(), kernel, arguments, at));
    };
    for n in 0..=9 {
        let what = |kind: &str| format!("{kind} of {n}");
        for (batch, tile) in [(1, 1), (3, 2), (7, 4), (9, 16)] {
            let x = numbers(DType::F32, batch * n, 1);
            check_one(&what("softmax"), &softmax(n, tile), &[x.clone(), x.clone()], once(batch));
            check_one(
                &what("noise"),
                &noise(Distribution::Normal, n, tile),
                std::slice::from_ref(&x),
                once(batch),
            );
            let (k, w) = (n, numbers(DType::F32, n * 5, 2));
            let out = vec![0.0; batch as usize * 5];
            check_one(&what("product"), &product(k, 5, tile), &[x.clone(), w, out], once(batch));
        }
        for dtype in DType::ALL {
            for width in [1, 2, 4, 7, n.max(1)] {
                let arguments = [
                    numbers(dtype, 3 * width, 3),
                    (0..n).map(|i| (i - 1) as f64).collect(),
                    vec![0.0; (n * width) as usize],
                ];
                check_one(&what("gather"), &gather(dtype, n, width, 3), &arguments, once(1));
            }
            for to in DType::ALL {
                let arguments = [numbers(dtype, n, 4), vec![0.0; n as usize]];
                check_one(&what("conversion"), &conversion(dtype, to, n), &arguments, once(1));
            }
        }
        for dtype in [DType::F32, DType::I32] {
            let places = (0..n).map(|i| (i * 5 % 4 - 1) as f64).collect();
            let arguments = [numbers(dtype, n, 5), places, numbers(dtype, 3, 6)];
            check_one(&what("scatter"), &scatter(dtype, n, 3), &arguments, once(1));
            for op in [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min] {
                for rows in [1, 3, 6] {
                    let arguments = [numbers(dtype, rows * n, 7), vec![0.0; rows as usize]];
                    check_one(&what("rows"), &rows_reduced(op, dtype, rows, n), &arguments, once(1));
                    let arguments = [numbers(dtype, rows * n, 7), vec![0.0; n as usize]];
                    check_one(&what("columns"), &columns_reduced(op, dtype, rows, n), &arguments, once(1));
                }
            }
        }
        check_one(&what("places"), &places(n), &[numbers(DType::F32, 2 * n, 8), vec![0.0; 2]], once(1));
        for (dtype, rows) in DType::ALL.into_iter().flat_map(|dtype| [(dtype, 1), (dtype, 3), (dtype, 8)]) {
            let arguments = [numbers(dtype, rows * n, 9), vec![0.0; (rows * n) as usize]];
            check_one(&what("transpose"), &transposed(dtype, rows, n), &arguments, once(1));
            let arguments = [numbers(dtype, rows, 9), vec![0.0; (rows * n) as usize]];
            check_one(&what("spread"), &spread(dtype, rows, n), &arguments, once(1));
        }
    }
    cases
}

/// Sizes at which a warp, a block or a square of a transpose is shared: their own, primes, and one more or less.
pub fn wide() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |what: String, kernel: Kernel, arguments: &[Vec<f64>], batch: i64| {
        cases.push(case(what, &kernel, arguments, once(batch)));
    };
    let ops = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];
    for (i, n) in [16, 31, 33, 64, 257, 600, 1032].into_iter().enumerate() {
        for (j, rows) in [1, 3, 37].into_iter().enumerate() {
            let (op, dtype) = (ops[(i + j) % 4], if i == 2 { I32 } else { F32 });
            let x = numbers(dtype, rows * n, 7);
            let kernel = rows_reduced(op, dtype, rows, n);
            add(format!("{rows} rows of {n}"), kernel, &[x.clone(), vec![0.0; rows as usize]], 1);
            let kernel = columns_reduced(op, dtype, n, rows);
            add(format!("{rows} columns of {n}"), kernel, &[x, vec![0.0; rows as usize]], 1);
        }
        let x = numbers(F32, 3 * n, 8);
        add(format!("softmax of {n}"), softmax(n, 2), &[x.clone(), x.clone()], 3);
        add(format!("places of {n}"), places(n), &[x[..2 * n as usize].to_vec(), vec![0.0; 2]], 1);
        let line = numbers(F32, 2 * n, 9);
        add(format!("sort of {n}"), sorted(F32, n, 2, 1, i % 2 == 0), &[line, vec![0.0; 2 * n as usize]], 1);
        add(format!("noise of {n}"), noise(Distribution::Uniform, n, 2), std::slice::from_ref(&x), 3);
        let to: Vec<f64> = (0..n).map(|i| (i * 7 % 12 - 1) as f64).collect();
        add(
            format!("scatter of {n}"),
            scatter(F32, n, 10),
            &[numbers(F32, n, 5), to, numbers(F32, 10, 6)],
            1,
        );
    }
    // Rows wider than running values have registers, whole vectors of them, two, and less.
    for (i, n) in [130, 152, 293].into_iter().enumerate() {
        for op in ops {
            let dtype = if i == 1 { I32 } else { F32 };
            let x = numbers(dtype, 70 * n, 11);
            let kernel = columns_reduced(op, dtype, 70, n);
            add(format!("{n} columns of 70"), kernel, &[x, vec![0.0; n as usize]], 1);
        }
    }
    // Rows added to rows, one of them out of range.
    for (dtype, width) in [(F32, 4), (F32, 19), (I32, 32)] {
        let to = [3, 0, 3, 7, 3, -1, 5].map(f64::from).to_vec();
        let arguments = [numbers(dtype, 7 * width, 5), to, numbers(dtype, 6 * width, 6)];
        add(format!("rows of {width} added"), rows_added(dtype, 7, width, 6), &arguments, 1);
    }
    // Several vectors of columns at once, one, and less than one.
    for n in [17, 48, 80, 100] {
        let x = numbers(F32, 5 * n, 7);
        add(
            format!("{n} columns of 5"),
            columns_reduced(ReduceOp::Sum, F32, 5, n),
            &[x, vec![0.0; n as usize]],
            1,
        );
    }
    // More scratch than a block has shared memory.
    let x = numbers(F32, 7 * 31, 10);
    add("softmax of 800 short rows".into(), softmax(31, 800), &[x.clone(), x], 7);
    for (dtype, rows, n) in [
        (F32, 16, 16),
        (F32, 33, 17),
        (DType::BF16, 64, 40),
        (DType::U8, 31, 100),
        (I32, 70, 5),
        (I32, 48, 50),
        (F32, 20, 70),
    ] {
        let arguments = [numbers(dtype, rows * n, 9), vec![0.0; (rows * n) as usize]];
        add(format!("transpose of {rows} x {n}"), transposed(dtype, rows, n), &arguments, 1);
    }
    // Large enough to be written past the caches, where lines allow.
    for (batch, n) in [(1024, 256), (1032, 256), (1030, 259)] {
        let arguments = [numbers(F32, batch * n, 9), vec![0.0; (batch * n) as usize]];
        add(format!("transpose of a batch of {batch} x {n}"), batch_transposed(n), &arguments, batch);
    }
    for (batch, n) in [(1, 40), (45, 64), (64, 21)] {
        let arguments = [(n * 64, 9), (batch * n, 8), (batch, 7), (batch * n, 6)];
        let arguments = arguments.map(|(n, seed)| numbers(F32, n, seed));
        add(format!("{batch} columns as rows of {n}"), columns_as_rows(n), &arguments, batch);
    }
    cases
}

/// Sums along the outer axis, so that lanes are neighbouring columns.
fn columns_reduced(op: ReduceOp, dtype: DType, rows: i64, n: i64) -> Kernel {
    let body = vec![load(at(argument(0), dtype, c(0), &[1, n]))];
    let store = reduce(op, at(argument(1), dtype, c(0), &[1, 0]), 0);
    kernel(c(1), 1, &[(dtype, 'r'), (dtype, 'w')], vec![nest(&[c(n)], &[c(rows)], body, vec![store])])
}

fn transposed(dtype: DType, rows: i64, n: i64) -> Kernel {
    let body = vec![load(at(argument(0), dtype, c(0), &[1, n]))];
    let store = set(at(argument(1), dtype, c(0), &[rows, 1]), 0);
    kernel(c(1), 1, &[(dtype, 'r'), (dtype, 'w')], vec![nest(&[c(n), c(rows)], &[], body, vec![store])])
}

/// `$1[i, j] = $0[j, i]` for `n` times a batch.
fn batch_transposed(n: i64) -> Kernel {
    let body = vec![load(at(argument(0), F32, c(0), &[1, n]))];
    let mut store = set(at(argument(1), F32, c(0), &[0, 1]), 0);
    store.access.strides[0] = symbol("batch");
    kernel(c(1), 1, &[(F32, 'r'), (F32, 'w')], vec![nest(&[c(n), symbol("batch")], &[], body, vec![store])])
}

/// Tiles of columns of `$0`, which is `n` by 64, as rows of `$3`: with `$1` added, multiplied with a number of the row and its index.
fn columns_as_rows(n: i64) -> Kernel {
    let start = || symbol("start");
    let body = vec![
        load(at(argument(0), F32, start(), &[1, 64])),
        load(at(argument(1), F32, start() * c(n), &[n, 1])),
        load(at(argument(2), F32, start(), &[1, 0])),
        Inst::Index { axis: 0, offset: start() },
        Inst::Cast { to: F32, argument: 3 },
        call(Func::Add, &[0, 1]),
        call(Func::Mul, &[5, 2]),
        call(Func::Mul, &[6, 4]),
    ];
    let store = set(at(argument(3), F32, start() * c(n), &[n, 1]), 7);
    let op = nest(&[symbol("tile"), c(n)], &[], body, vec![store]);
    kernel(symbol("batch"), 24, &[(F32, 'r'), (F32, 'r'), (F32, 'r'), (F32, 'w')], vec![op])
}

/// `$2[$1[i], j] += $0[i, j]`
fn rows_added(dtype: DType, n: i64, width: i64, bound: i64) -> Kernel {
    let body =
        vec![load(at(argument(0), dtype, c(0), &[width, 1])), load(at(argument(1), I32, c(0), &[1, 0]))];
    let store = add_at(at(argument(2), dtype, c(0), &[0, 1]), 1, width, bound, 0);
    let op = nest(&[c(n), c(width)], &[], body, vec![store]);
    kernel(c(1), 1, &[(dtype, 'r'), (I32, 'r'), (dtype, 'b')], vec![op])
}

/// Each element to a row of `n`.
fn spread(dtype: DType, rows: i64, n: i64) -> Kernel {
    let body = vec![load(at(argument(0), dtype, c(0), &[1, 0]))];
    let store = set(at(argument(1), dtype, c(0), &[n, 1]), 0);
    kernel(c(1), 1, &[(dtype, 'r'), (dtype, 'w')], vec![nest(&[c(rows), c(n)], &[], body, vec![store])])
}

/// A function over `n` elements; all of its operands but a condition are of type `dtype`.
fn mapped(func: Func, dtype: DType, n: i64) -> Option<(Kernel, Vec<DType>)> {
    let mut types = vec![dtype; func.arity()];
    if func == Func::Select {
        types[0] = DType::Bool;
    }
    let gives = func.result_dtype(&types).ok()?;
    let arity = types.len() as u32;
    let mut body: Vec<Inst> =
        (0..arity).map(|i| load(at(argument(i), types[i as usize], c(0), &[1]))).collect();
    body.push(call(func, &(0..arity).collect::<Vec<_>>()));
    let store = set(at(argument(arity), gives, c(0), &[1]), arity);
    let mut arguments: Vec<(DType, char)> = types.iter().map(|t| (*t, 'r')).collect();
    arguments.push((gives, 'w'));
    let op = nest(&[c(n)], &[], body, vec![store]);
    types.push(gives);
    Some((kernel(c(1), 1, &arguments, vec![op]), types))
}

/// Each function at all tuples of its awkward operands.
pub fn functions() -> Vec<Case> {
    let mut cases = Vec::new();
    for &func in Func::ALL {
        for dtype in [DType::F32, DType::I32, DType::Bool] {
            // All tuples of the awkward operands: vectors, and a tail where their number is odd.
            let points: Vec<f64> = match dtype {
                DType::F32 => {
                    let ends = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0];
                    func.row().points.iter().copied().chain(ends).collect()
                }
                DType::I32 => vec![0.0, 1.0, -1.0, 7.0, 65_537.0, f64::from(i32::MAX), f64::from(i32::MIN)],
                _ => vec![0.0, 1.0],
            };
            let n = points.len().pow(func.arity() as u32);
            let Some((kernel, types)) = mapped(func, dtype, n as i64) else { continue };
            let arguments: Vec<Vec<f64>> = types
                .iter()
                .enumerate()
                .map(|(i, of)| {
                    let point = |k: usize| points[k / points.len().pow(i as u32) % points.len()];
                    let value = |k: usize| match of {
                        DType::F32 => f64::from(point(k) as f32),
                        DType::Bool => f64::from(u8::from(point(k) != 0.0)),
                        _ => point(k),
                    };
                    (0..n).map(value).collect()
                })
                .collect();
            cases.push(case(format!("{} on {dtype}", func.name()), &kernel, &arguments, once(1)));
        }
    }
    cases
}

/// `n` random nests; all kinds of stores are among the first 150.
pub fn random_nests(n: u32) -> Vec<Case> {
    let mut kinds = std::collections::BTreeSet::new();
    let cases = (0..n).map(|seed| {
        let (kernel, arguments) = random_nest(seed);
        kinds.extend(kinds_of_stores(&kernel));
        case(format!("seed {seed}"), &kernel, &arguments, once(1))
    });
    let cases = cases.collect();
    assert!(n < 150 || kinds.len() == 4, "{kinds:?}");
    cases
}

/// Every launch of a plan, its arguments being what the interpreter made of the launches before; with its kernel's number.
pub fn launches(plan: &Plan, what: &str, leaf: impl Fn(&str) -> Vec<f64>, at: Run) -> Vec<(usize, Case)> {
    let mut cases = Vec::new();
    let length = |shape: &[Dim]| -> i64 {
        shape
            .iter()
            .map(|d| d.eval(&|s| (s == "batch").then_some(at.batch)).expect("a size over batch"))
            .product()
    };
    let mut memory: Vec<Vec<f64>> = Vec::new();
    for buffer in &plan.buffers {
        memory.push(match buffer.place {
            Place::Arena { .. } => numbers(buffer.dtype, length(&buffer.shape), 10),
            Place::Variable | Place::Input => leaf(&buffer.name),
        });
    }
    let mut run_one = |memory: &mut Vec<Vec<f64>>, launch: &Launch| {
        let kernel = &plan.kernels[launch.kernel];
        let ids = || launch.arguments.iter().map(|id| id.0 as usize);
        let arguments: Vec<Vec<f64>> = ids().map(|i| memory[i].clone()).collect();
        let mut exact = arguments.clone();
        run(kernel, &mut exact, at).unwrap_or_else(|e| panic!("{what}: {e}\n{kernel}"));
        cases.push((launch.kernel, case(what.into(), kernel, &arguments, at)));
        for ((i, values), argument) in ids().zip(exact).zip(&kernel.arguments) {
            let is_float = plan.buffers[i].dtype.is_float();
            memory[i] = values.into_iter().map(|x| if is_float { f64::from(x as f32) } else { x }).collect();
            if argument.access == ArgumentAccess::Temporary {
                memory[i].fill(f64::NAN);
            }
        }
    };
    for launch in plan.phases.iter().flatten() {
        let before = launch.apart.is_some().then(|| memory.clone());
        run_one(&mut memory, launch);
        if let (Some(apart), Some(mut before)) = (&launch.apart, before) {
            let kernel = &plan.kernels[launch.kernel];
            assert!(FusedProduct::of(kernel).is_some(), "{what}: a block would make all of it: {kernel}");
            // Apart they do the same, where what lies between them is not rounded either.
            let after = |launches: &[Launch]| {
                let mut memory = before.clone();
                for launch in launches {
                    let ids = || launch.arguments.iter().map(|id| id.0 as usize);
                    let mut arguments: Vec<Vec<f64>> = ids().map(|i| memory[i].clone()).collect();
                    run(&plan.kernels[launch.kernel], &mut arguments, at).expect("it is one that ran");
                    ids().zip(arguments).for_each(|(i, values)| memory[i] = values);
                }
                memory
            };
            let (found, expected) = (after(&apart.launches), after(std::slice::from_ref(launch)));
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            for id in &launch.arguments {
                let i = id.0 as usize;
                assert_eq!(bits(&found[i]), bits(&expected[i]), "{what}: {}", launch.note);
            }
            apart.launches.iter().for_each(|launch| run_one(&mut before, launch));
        }
    }
    cases
}

/// A plan, and its launches.
pub type Planned = (Plan, Vec<(usize, Case)>);

/// Plans of `n` random graphs.
pub fn random_plans(n: u64, target: Target) -> Vec<Planned> {
    let mut all = Vec::new();
    for seed in 0..n {
        let wish = Wish { n_steps: 3 + (seed % 10) as usize, smooth: seed % 2 == 0, empty: seed % 5 == 0 };
        let (graph, env) = random_graph(seed, wish);
        for more in [0, 4] {
            all.push(planned(&graph, &env, seed, more, target, seed % 3 == 0));
        }
    }
    all
}

/// A plan for batches up to `more` than that of `env`, perhaps with every product alone.
fn planned(graph: &Graph, env: &Env, seed: u64, more: i64, target: Target, is_alone: bool) -> Planned {
    let batch = env.symbols.get("batch").copied().unwrap_or(1);
    let options = Options::new(batch + more, target);
    let alone_from = if is_alone { 1 } else { options.alone_from };
    let plan = plan(graph, &Options { alone_from, ..options });
    let at = Run { batch, seed: env.seed, step: env.step };
    let what = format!("seed {seed}\n{graph}");
    let cases = launches(&plan, &what, |name| env.leaves[name].data.clone(), at);
    (plan, cases)
}

/// The kernels that training compiles: gradients, optimized, and variables that are overwritten.
pub fn training_plans(n: u64, target: Target) -> Vec<Planned> {
    let mut all = Vec::new();
    for seed in 0..n {
        let wish = Wish { n_steps: 6, smooth: seed % 3 != 0, empty: seed % 5 == 0 };
        let (mut graph, env) = random_graph(seed, wish);
        let loss =
            graph.outputs.iter().find(|(name, _)| name == "loss").expect("random graphs have a loss").1;
        let params: Vec<NodeId> =
            graph.ids().filter(|id| matches!(graph.node(*id).op, Op::Param(_))).collect();
        graph.updates.retain(|(leaf, _)| !params.contains(leaf));
        for leaf in params {
            let gradient = graph.grad(loss, leaf).expect("a scalar by a parameter");
            let next = graph.map(Func::Sub, &[leaf, gradient]).expect("a gradient has its parameter's type");
            graph.updates.push((leaf, next));
        }
        let differentiated = differentiate(&graph);
        // On these plans tf32 is f32.
        for precision in [Precision::F32, Precision::Bf16] {
            let graph = optimize_in(precision, &differentiated);
            all.push(planned(&graph, &env, seed, seed as i64 % 3, target, seed % 2 == 0));
        }
    }
    all
}

/// Training steps of attention whose scores are larger than the cache that a plan is made for: on a GPU, loops over blocks, of which the last are
/// not whole. With and without a causal mask, in both precisions.
pub fn attention_plans(target: Target) -> Vec<Planned> {
    let mut all = Vec::new();
    for (n_columns, precision) in [(45, Precision::F32), (53, Precision::F32), (45, Precision::Bf16)] {
        let graph = optimize_in(precision, &attention(45, n_columns));
        let plan = plan(&graph, &Options { cache_bytes: 48 * 1024, ..Options::new(3, target) });
        let at = Run { batch: 2, seed: 3, step: 1 };
        let what = format!("{n_columns} columns, {precision:?}\n{graph}");
        let n = |name: &str| if name == "q" { 45 } else { n_columns } * 2 * 2 * 16;
        let cases = launches(&plan, &what, |name| numbers(F32, n(name), name.len() as u32 + 30), at);
        all.push((plan, cases));
    }
    all
}

/// Gradients of a loss of two heads' attention by queries, keys and values; causal where there are as many of one as of the other.
fn attention(n_rows: i64, n_columns: i64) -> Graph {
    let scores = format!("[batch, 2, {n_rows}, {n_columns}]");
    let (rows, columns) = (format!("[batch, {n_rows}, 2, 16]"), format!("[batch, {n_columns}, 2, 16]"));
    let masked = if n_rows == n_columns { "select %14, %7, %15" } else { "add %7, %7" };
    let text = format!(
        "graph {{
        %0 = input @q : f32{rows}
        %1 = input @keys : f32{columns}
        %2 = input @values : f32{columns}
        %3 = map mul %0, %0 : f32{rows}
        %4 = contract abcd,aecd->acbe %3, %1 : f32{scores}
        %5 = const 0.25 : f32[]
        %6 = broadcast [] %5 : f32{scores}
        %7 = map mul %4, %6 : f32{scores}
        %8 = iota 0 : i32[{n_rows}]
        %9 = iota 0 : i32[{n_columns}]
        %10 = broadcast [0] %8 : i32[{n_rows}, {n_columns}]
        %11 = broadcast [1] %9 : i32[{n_rows}, {n_columns}]
        %12 = map ge %10, %11 : bool[{n_rows}, {n_columns}]
        %13 = const -1000000000.0 : f32[]
        %14 = broadcast [2, 3] %12 : bool{scores}
        %15 = broadcast [] %13 : f32{scores}
        %16 = map {masked} : f32{scores}
        %17 = reduce max [3] %16 : f32[batch, 2, {n_rows}]
        %18 = detach %17 : f32[batch, 2, {n_rows}]
        %19 = broadcast [0, 1, 2] %18 : f32{scores}
        %20 = map sub %16, %19 : f32{scores}
        %21 = map exp %20 : f32{scores}
        %22 = reduce sum [3] %21 : f32[batch, 2, {n_rows}]
        %23 = broadcast [0, 1, 2] %22 : f32{scores}
        %24 = map div %21, %23 : f32{scores}
        %25 = contract acbe,aecd->abcd %24, %2 : f32{rows}
        %26 = map mul %25, %25 : f32{rows}
        %27 = reduce sum [0, 1, 2, 3] %26 : f32[]
        %28 = grad %27, %0 : f32{rows}
        %29 = grad %27, %1 : f32{columns}
        %30 = grad %27, %2 : f32{columns}
        output loss = %27
        output dq = %28
        output dk = %29
        output dv = %30
        }}"
    );
    differentiate(&parse(&text).unwrap_or_else(|e| panic!("{e} in\n{text}")))
}
