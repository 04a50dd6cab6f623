//! Compiled kernels held to the nest interpreter, and CLIF as snapshots.
//!
//! What enters: the sample kernels, families of them by size, and the kernels of plans of random graphs. How they are
//! compared stands in `oracle.rs`.

use super::oracle::{check, run_compiled};
use super::{Kind, Program, StepEnv, Ticking, Tile, clif, compile, compile_with};
use crate::base::{DType, ReduceOp, bf16};
use crate::codegen::suite::{self, Case, Planned};
use crate::nest::interpret::Run;
use crate::nest::samples::*;
use crate::nest::{BufferRef, Kernel};
use crate::plan::Target;
use crate::scalar::Func;

/// Whose code this machine can run.
fn all_vectors() -> impl Iterator<Item = Option<Kind>> {
    std::iter::once(None).chain(Kind::ALL.into_iter().filter(|kind| kind.is_supported()).map(Some))
}

fn check_all(cases: Vec<Case>) {
    for Case { what, kernel, arguments, at } in cases {
        for vectors in all_vectors() {
            let compiled = |in_portions| {
                compile_with(std::slice::from_ref(&kernel), &|_| in_portions, Ticking::Off, vectors)
            };
            let programs = [compiled(false), compiled(true)];
            check(&what, &programs[0], 0, &kernel, &arguments, at);
            same_in_portions(&what, &programs, 0, &kernel, &arguments, at);
        }
    }
}

/// Portions make the same bits, whoever comes first; what is no number may be another one.
fn same_in_portions(
    what: &str,
    programs: &[Program; 2],
    index: usize,
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    at: Run,
) {
    let bit = |x: &f64| if x.is_nan() { f64::NAN.to_bits() } else { x.to_bits() };
    let bits = |program: &Program| -> Vec<Vec<u64>> {
        let found = run_compiled(program, index, kernel, arguments, at);
        found.iter().map(|x| x.iter().map(bit).collect()).collect()
    };
    let [whole, portioned] = programs.each_ref().map(bits);
    assert!(whole == portioned, "{what}, in portions:\n{kernel}");
}

fn check_plans(plans: Vec<Planned>) {
    for (plan, launches) in plans {
        for vectors in all_vectors() {
            let compiled = |in_portions| compile_with(&plan.kernels, &|_| in_portions, Ticking::Off, vectors);
            let programs = [compiled(false), compiled(true)];
            for (index, Case { what, kernel, arguments, at }) in &launches {
                check(what, &programs[0], *index, kernel, arguments, *at);
                same_in_portions(what, &programs, *index, kernel, arguments, *at);
            }
        }
    }
}

#[test]
fn samples_run_compiled() {
    check_all(suite::sample_cases());
}

/// Vectors of four, and what is left over after them.
#[test]
fn every_tail() {
    check_all(suite::tails());
}

#[test]
fn wide_sizes() {
    check_all(suite::wide());
}

#[test]
fn every_function_of_the_table() {
    check_all(suite::functions());
}

#[test]
fn products_of_all_layouts() {
    check_all(suite::products());
}

#[test]
fn random_nests() {
    check_all(suite::random_nests(150));
}

#[test]
fn kernels_of_random_plans() {
    check_plans(suite::random_plans(150, Target::Cpu));
}

/// The kernels that training compiles: gradients, optimized, and variables that are overwritten.
#[test]
fn kernels_of_training_steps() {
    check_plans(suite::training_plans(60, Target::Cpu));
}

/// Runs a kernel without scratch over its only tile.
fn run_raw(kernel: &Kernel, from: *const u8, to: *mut u8) {
    let program = compile(std::slice::from_ref(kernel), Ticking::Off);
    let (addresses, env) = ([from.cast_mut(), to], StepEnv::default());
    let tile = Tile::whole(1, 0, 1, &raw const env, std::ptr::null_mut());
    // SAFETY: the callers' buffers have the elements that the kernel reads and writes.
    unsafe { program.code().run(0, 0..kernel.ops.len(), addresses.as_ptr(), std::ptr::null_mut(), &tile) };
}

/// Bit for bit, NaN and numbers too small to be normal included, in vectors and one at a time.
#[test]
fn roundings_to_bf16_are_exact() {
    let lower = [0, 1, 0x4000, 0x7fff, 0x8000, 0x8001, 0xffff];
    let bits = (0..=u32::from(u16::MAX)).flat_map(|upper| lower.map(|low| upper << 16 | low));
    let numbers: Vec<f32> = bits.map(f32::from_bits).collect();
    for skipped in [0, 3] {
        let from = &numbers[skipped..];
        let mut found = vec![0u16; from.len()];
        let kernel = conversion(DType::F32, DType::BF16, from.len() as i64);
        run_raw(&kernel, from.as_ptr().cast(), found.as_mut_ptr().cast());
        for (x, found) in from.iter().zip(&found) {
            assert_eq!(*found, bf16::to_bits(*x), "of {x:?}, {:08x}", x.to_bits());
        }
        let mut back = vec![0f32; found.len()];
        let kernel = conversion(DType::BF16, DType::F32, found.len() as i64);
        run_raw(&kernel, found.as_ptr().cast(), back.as_mut_ptr().cast());
        assert!(found.iter().zip(&back).all(|(half, x)| x.to_bits() == u32::from(*half) << 16));
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

/// Also as a GPU's plan has them.
#[test]
fn kernels_of_attention() {
    [Target::Cpu, Target::Cuda].into_iter().for_each(|target| check_plans(suite::attention_plans(target)));
}
