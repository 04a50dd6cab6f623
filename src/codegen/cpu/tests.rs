//! Compiled kernels held to the nest interpreter, and CLIF as snapshots.
//!
//! What enters: the sample kernels, families of them by size, and the kernels of plans of random graphs. How far a compiled
//! f32 may be off follows from the computation itself, by Monte Carlo arithmetic (Parker, "Monte Carlo Arithmetic", 1997):
//! the interpreter runs again with each f32 result moved at random by a few times its bound of error, and the results may differ
//! from the exact ones by as much as those of these runs do. Integers and bools that no run changes must be equal.

use super::{Program, StepEnv, clif, compile};
use crate::base::philox::block;
use crate::base::{DType, Dim, Distribution, ReduceOp};
use crate::graph::arbitrary::{Wish, random_graph};
use crate::nest::interpret::{Run, run, run_rounded};
use crate::nest::samples::*;
use crate::nest::verify::verify;
use crate::nest::{ArgumentAccess, BufferRef, Inst, Kernel};
use crate::plan::{Options, Place, Plan, plan};
use crate::scalar::Func;

/// Bytes before and after each buffer which nobody may touch.
const FENCE: usize = 64;
const FENCE_BYTE: u8 = 0xa5;

/// Elements as a kernel sees them, between fences, at addresses that are multiples of the element's size only.
struct Memory {
    bytes: Vec<u8>,
    first: usize,
    dtype: DType,
    n_bytes: usize,
}

impl Memory {
    fn reserve(dtype: DType, n_bytes: usize, fill: u8) -> Memory {
        let mut bytes = vec![FENCE_BYTE; n_bytes + 2 * FENCE + 8];
        let to_eight = bytes.as_ptr().align_offset(8) + dtype.bytes();
        let first = FENCE + to_eight % 8;
        bytes[first..first + n_bytes].fill(fill);
        Memory { bytes, first, dtype, n_bytes }
    }

    fn new(dtype: DType, values: &[f64]) -> Memory {
        let mut memory = Memory::reserve(dtype, values.len() * dtype.bytes(), 0);
        for (i, value) in values.iter().enumerate() {
            let at = memory.first + i * dtype.bytes();
            match dtype {
                DType::F32 => memory.bytes[at..at + 4].copy_from_slice(&(*value as f32).to_ne_bytes()),
                DType::I32 => memory.bytes[at..at + 4].copy_from_slice(&(*value as i32).to_ne_bytes()),
                DType::U8 => memory.bytes[at] = *value as u8,
                DType::Bool => memory.bytes[at] = u8::from(*value != 0.0),
            }
        }
        memory
    }

    fn address(&mut self) -> *mut u8 {
        self.bytes[self.first..].as_mut_ptr()
    }

    fn values(&self) -> Vec<f64> {
        let bytes = &self.bytes[self.first..self.first + self.n_bytes];
        let words = || bytes.chunks_exact(4).map(|w| w.try_into().expect("four bytes"));
        match self.dtype {
            DType::F32 => words().map(|w| f32::from_ne_bytes(w).into()).collect(),
            DType::I32 => words().map(|w| i32::from_ne_bytes(w).into()).collect(),
            DType::U8 | DType::Bool => bytes.iter().map(|b| f64::from(*b)).collect(),
        }
    }

    fn is_fenced(&self) -> bool {
        let after = &self.bytes[self.first + self.n_bytes..];
        self.bytes[..self.first].iter().chain(after).all(|b| *b == FENCE_BYTE)
    }
}

/// Runs all tiles, the last first.
fn run_compiled(
    program: &Program,
    index: usize,
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    at: Run,
) -> Vec<Vec<f64>> {
    let mut memory: Vec<Memory> =
        arguments.iter().zip(&kernel.arguments).map(|(values, a)| Memory::new(a.dtype, values)).collect();
    let addresses: Vec<*mut u8> = memory.iter_mut().map(Memory::address).collect();
    let scratch_bytes = kernel.scratch.iter().map(|s| s.offset + s.bytes).max().unwrap_or(0);
    let rows = kernel.rows.eval(&|s| (s == "batch").then_some(at.batch)).expect("rows are over batch");
    let env = StepEnv { seed: at.seed, step: at.step };
    let starts: Vec<i64> = (0..rows).step_by(kernel.tile as usize).collect();
    for start in starts.into_iter().rev() {
        let mut scratch = Memory::reserve(DType::F32, scratch_bytes as usize, 0xff);
        let tile = i64::from(kernel.tile).min(rows - start);
        // SAFETY: the function was compiled from this kernel; each argument has the elements that the interpreter, which checks
        // addresses, was given, and scratch has the kernel's bytes.
        unsafe {
            program.function(index)(
                addresses.as_ptr(),
                scratch.address(),
                at.batch,
                start,
                tile,
                &raw const env,
            );
        }
        assert!(scratch.is_fenced(), "written outside of scratch:\n{kernel}");
    }
    for (i, argument) in memory.iter().enumerate() {
        assert!(argument.is_fenced(), "written outside of ${i}:\n{kernel}");
    }
    memory.iter().map(Memory::values).collect()
}

/// How far each element may be off.
fn tolerances(kernel: &Kernel, arguments: &[Vec<f64>], exact: &[Vec<f64>], at: Run) -> Vec<Vec<f64>> {
    const RUNS: u32 = 4;
    /// Of the bound of each step's error, and of what the runs differ by.
    const MARGIN: f64 = 4.0;
    let mut far: Vec<Vec<f64>> = exact.iter().map(|values| vec![0.0; values.len()]).collect();
    for n in 0..RUNS {
        let mut count = 0;
        let mut round = |value: f64, ulp: f64| {
            count += 1;
            let dice = f64::from(block([count, n, 0, 0], [0; 2])[0]) / f64::from(u32::MAX) * 2.0 - 1.0;
            let ulp = if ulp.is_finite() { ulp } else { 1.0 };
            f64::from((value * (1.0 + dice * MARGIN * ulp * f64::from(f32::EPSILON))) as f32)
        };
        let mut moved = arguments.to_vec();
        run_rounded(kernel, &mut moved, at, &mut round).expect("it ran without rounding");
        for (far, (moved, exact)) in
            far.iter_mut().flatten().zip(moved.iter().flatten().zip(exact.iter().flatten()))
        {
            let difference = (moved - exact).abs();
            // A value that may become NaN or infinite may be anything.
            let is_same = moved == exact || moved.is_nan() && exact.is_nan();
            *far = if is_same {
                *far
            } else if difference.is_nan() {
                f64::INFINITY
            } else {
                far.max(MARGIN * difference)
            };
        }
    }
    far
}

/// The compiled kernel does what the interpreter does; gives what that gave.
fn check(
    what: &str,
    program: &Program,
    index: usize,
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    at: Run,
) -> Vec<Vec<f64>> {
    let mut exact = arguments.to_vec();
    run(kernel, &mut exact, at).unwrap_or_else(|e| panic!("{what}: {e}\n{kernel}"));
    let far = tolerances(kernel, arguments, &exact, at);
    let found = run_compiled(program, index, kernel, arguments, at);
    for (i, argument) in kernel.arguments.iter().enumerate() {
        for (at, ((found, exact), far)) in found[i].iter().zip(&exact[i]).zip(&far[i]).enumerate() {
            // Below the least normal f32, results may be flushed; a value that is stored is rounded.
            let rounding =
                if argument.dtype == DType::F32 { exact.abs() * 2f64.powi(-23) + 2e-38 } else { 0.0 };
            let is_close = found == exact
                || found.is_nan() && exact.is_nan()
                || far.is_infinite()
                || (found - exact).abs() <= far + rounding;
            let reads_only = argument.access == ArgumentAccess::Read;
            assert!(
                is_close && (!reads_only || *far == 0.0),
                "{what}: element {at} of ${i} is {found}, not {exact} (±{far})\n{kernel}\n{}",
                clif(kernel)
            );
        }
    }
    exact
}

/// One kernel, whatever it reads.
fn check_one(what: &str, kernel: &Kernel, arguments: &[Vec<f64>], at: Run) {
    verify(kernel).unwrap_or_else(|e| panic!("{what}: {e}\n{kernel}"));
    check(what, &compile(std::slice::from_ref(kernel)), 0, kernel, arguments, at);
}

/// `n` numbers of a type, the same each time.
fn numbers(dtype: DType, n: i64, salt: u32) -> Vec<f64> {
    let number = |i: u32| {
        let word = block([i, salt, 0, 0], [0; 2])[0];
        match dtype {
            DType::F32 => f64::from((f64::from(word) / f64::from(u32::MAX) * 4.0 - 2.0) as f32),
            DType::I32 => f64::from(word as i32 >> (word % 31)),
            DType::U8 => f64::from(word as u8),
            DType::Bool => f64::from(word & 1),
        }
    };
    (0..n as u32).map(number).collect()
}

fn once(batch: i64) -> Run {
    Run { batch, seed: 11, step: 5 }
}

#[test]
fn samples_run_compiled() {
    for sample in samples() {
        check_one(sample.name, &sample.kernel, &sample.arguments, once(sample.batch));
    }
}

/// Vectors of four, and what is left over after them.
#[test]
fn every_tail() {
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

#[test]
fn every_function_of_the_table() {
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
            check_one(&format!("{} on {dtype}", func.name()), &kernel, &arguments, once(1));
        }
    }
}

/// Every launch of a plan, its arguments being what the interpreter made of the launches before.
fn check_plan(plan: &Plan, what: &str, leaf: impl Fn(&str) -> Vec<f64>, at: Run) {
    let program = compile(&plan.kernels);
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
    for launch in plan.phases.iter().flatten() {
        let kernel = &plan.kernels[launch.kernel];
        let ids = || launch.arguments.iter().map(|id| id.0 as usize);
        let arguments: Vec<Vec<f64>> = ids().map(|i| memory[i].clone()).collect();
        let exact = check(what, &program, launch.kernel, kernel, &arguments, at);
        for (i, values) in ids().zip(exact) {
            let is_float = plan.buffers[i].dtype.is_float();
            memory[i] = values.into_iter().map(|x| if is_float { f64::from(x as f32) } else { x }).collect();
        }
    }
}

#[test]
fn kernels_of_random_plans() {
    for seed in 0..150 {
        let wish = Wish { n_steps: 3 + (seed % 10) as usize, smooth: seed % 2 == 0, empty: seed % 5 == 0 };
        let (graph, env) = random_graph(seed, wish);
        let batch = env.symbols.get("batch").copied().unwrap_or(1);
        for max_batch in [batch, batch + 4] {
            let plan = plan(&graph, &Options { max_batch });
            let at = Run { batch, seed: env.seed, step: env.step };
            check_plan(&plan, &format!("seed {seed}\n{graph}"), |name| env.leaves[name].data.clone(), at);
        }
    }
}

#[test]
fn kernels_as_clif() {
    let add_rows = {
        let body = vec![
            load(at(argument(0), DType::F32, c(0), &[3, 1])),
            load(at(argument(1), DType::F32, c(0), &[0, 1])),
            call(Func::Add, &[0, 1]),
        ];
        let store = set(at(BufferRef::Argument(2), DType::F32, c(0), &[3, 1]), 2);
        let op = nest(&[symbol("tile"), c(3)], &[], body, vec![store]);
        kernel(symbol("batch"), 4, &[(DType::F32, 'r'), (DType::F32, 'r'), (DType::F32, 'w')], vec![op])
    };
    let kernels = [
        ("a row added to rows", add_rows),
        ("a sum in lanes", rows_reduced(ReduceOp::Sum, DType::F32, 1, 9)),
        ("a product", product(2, 3, 4)),
    ];
    let text: Vec<String> =
        kernels.iter().map(|(name, kernel)| format!("; {name}\n{}", clif(kernel))).collect();
    // The calling convention is the machine's.
    let words = text.join("\n").replace("apple_aarch64", "system_v").replace("windows_fastcall", "system_v");
    insta::assert_snapshot!(words);
}
