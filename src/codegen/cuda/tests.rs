//! Kernels as CUDA C, compiled by NVRTC and executed by the interpreter of PTX, held to the nest interpreter.
//!
//! What enters: the cases of `codegen/suite`. What leaves: nothing where NVRTC is absent but a line that says so. The
//! interpreter of PTX also stops at what no result shows: races, reads of what nothing has written, accesses out of bounds.

use super::nvrtc::{Compiled, Nvrtc};
use super::{Entry, Source, emit, emit_kernels, kernel};
use crate::base::{DType, Dim, Distribution};
use crate::codegen::oracle;
use crate::codegen::suite::{self, Case, Planned};
use crate::nest::interpret::{self, Run};
use crate::nest::samples::*;
use crate::nest::{ArgumentAccess, Kernel, TileOp};
use crate::plan::Target;
use gradc_ptx::{Arg, Memory, Module};
use std::io::Write;

/// Kernels that are compiled as one text.
const TOGETHER: usize = 48;

/// The compiler, or nothing and a line that says so.
pub fn nvrtc() -> Option<Nvrtc> {
    Nvrtc::find(None).map_err(|error| skipped(&error.to_string())).ok()
}

fn compiled(nvrtc: &Nvrtc, source: &Source, architecture: &str) -> Compiled {
    let result = nvrtc.compile(&source.text, architecture);
    result.unwrap_or_else(|error| panic!("{error}\n{}", source.text))
}

/// What the kernel's PTX makes of the arguments.
fn run_ptx(
    module: &Module,
    entry: &Entry,
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    at: Run,
) -> Vec<Vec<f64>> {
    let mut memory = Memory::new();
    let mut addresses = Vec::new();
    for (i, (values, argument)) in arguments.iter().zip(&kernel.arguments).enumerate() {
        // What is only written is nothing before.
        let address = match argument.access {
            ArgumentAccess::Write => memory.alloc(values.len() * argument.dtype.bytes()),
            ArgumentAccess::Read | ArgumentAccess::ReadWrite | ArgumentAccess::Temporary => {
                memory.alloc_of(&argument.dtype.encode(values))
            }
        };
        memory.label(address, &format!("a{i}"));
        if argument.access == ArgumentAccess::Read {
            memory.protect(address);
        }
        addresses.push(address);
    }
    let blocks = entry.blocks(at.batch);
    let scratch = memory.alloc(entry.scratch_bytes as usize * blocks as usize);
    memory.label(scratch, "scratch");
    let env = memory.alloc_of(&[at.seed, at.step]);
    let mut given: Vec<Arg> = addresses.iter().map(|address| Arg::Pointer(*address)).collect();
    given.extend([Arg::Pointer(scratch), Arg::I64(at.batch), Arg::Pointer(env)]);
    module
        .launch(&entry.name, blocks, entry.threads, entry.shared_bytes, &given, &mut memory)
        .unwrap_or_else(|fault| panic!("{fault}\n{kernel}"));
    // What no thread has written is what it was.
    let element = |(n, old): (usize, &f64), address: u64, dtype: DType| {
        let bytes = memory.read(address + (n * dtype.bytes()) as u64, dtype.bytes());
        bytes.map_or(*old, |bytes| dtype.decode(&bytes)[0])
    };
    let read = |(i, address): (usize, &u64)| -> Vec<f64> {
        let dtype = kernel.arguments[i].dtype;
        arguments[i].iter().enumerate().map(|old| element(old, *address, dtype)).collect()
    };
    addresses.iter().enumerate().map(read).collect()
}

fn check(module: &Module, source: &Source, index: usize, case: &Case) {
    let Case { what, kernel, arguments, at } = case;
    let entry = &source.kernels[index];
    let found = || run_ptx(module, entry, kernel, arguments, *at);
    oracle::check(what, kernel, arguments, *at, found, || text_of(source, entry));
}

/// The function of one kernel in a text.
fn text_of(source: &Source, entry: &Entry) -> String {
    let parts = source.text.split("\n\n");
    parts.filter(|part| part.contains(&format!("\n{}(", entry.name))).collect()
}

fn in_f32(max_batch: i64) -> kernel::Terms {
    kernel::Terms { max_batch, allows_tf32: false }
}

fn check_all(cases: Vec<Case>) {
    let Some(nvrtc) = nvrtc() else { return };
    for some in cases.chunks(TOGETHER) {
        let kernels: Vec<Kernel> = some.iter().map(|case| case.kernel.clone()).collect();
        let most = some.iter().map(|case| case.at.batch).max().unwrap_or(1);
        let source = emit_kernels(&kernels, in_f32(most));
        let module = Module::parse(&compiled(&nvrtc, &source, "sm_80").ptx).expect("PTX of NVRTC");
        for (i, case) in some.iter().enumerate() {
            check(&module, &source, i, case);
        }
    }
}

/// Says so to people: what a test that passes prints in the usual way is kept from them.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_string();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}

/// Every launch of each plan, from its PTX.
pub fn check_plans(plans: Vec<Planned>) {
    let Some(nvrtc) = nvrtc() else { return };
    for (plan, launches) in plans {
        let source = emit(&plan);
        let module = Module::parse(&compiled(&nvrtc, &source, "sm_80").ptx).expect("PTX of NVRTC");
        for (index, case) in launches {
            check(&module, &source, index, &case);
        }
    }
}

/// One kernel of each family, as people read it.
#[test]
fn families_as_text() {
    let of = |name: &str, cases: Vec<Case>, what: &str| {
        let case =
            cases.into_iter().find(|case| case.what == what).unwrap_or_else(|| panic!("no case {what}"));
        Kernel { name: name.into(), ..case.kernel }
    };
    let kernels = [
        Kernel { name: "affine_map".into(), ..affine(4) },
        of("row_sums_by_thread", suite::tails(), "rows of 5"),
        of("row_products_by_warp", suite::wide(), "3 rows of 64"),
        of("row_maximum_by_block", suite::wide(), "1 rows of 1032"),
        of("column_sums", suite::wide(), "37 columns of 257"),
        of("places_of_the_greatest", suite::wide(), "places of 64"),
        of("softmax", suite::wide(), "softmax of 64"),
        of("transpose", suite::wide(), "transpose of 33 x 17"),
        Kernel { name: "gather".into(), ..gather(F32, 100, 64, 50) },
        Kernel { name: "scatter".into(), ..scatter(F32, 100, 50) },
        Kernel { name: "noise".into(), ..noise(Distribution::Uniform, 64, 2) },
        Kernel { name: "sorted_columns".into(), ..sorted(F32, 33, 2, 1, true) },
        Kernel { name: "small_product".into(), ..product(5, 7, 4) },
        Kernel { name: "product_in_tiles".into(), ..product(64, 128, 64) },
        of("sum_of_products_on_tensor_cores", suite::products(), TENSOR_CORES),
        of("product_and_bias", suite::epilogues(), WITH_BIAS),
        of("product_of_what_is_normed", suite::prologues(), NORMED),
    ];
    insta::assert_snapshot!(emit_kernels(&kernels, in_f32(64)).text);
}

/// A product of f32 factors that may be rounded to tf32.
#[test]
fn tf32_as_text() {
    let kernels = [Kernel { name: "product_in_tf32".into(), ..product(64, 128, 64) }];
    let terms = kernel::Terms { max_batch: 64, allows_tf32: true };
    insta::assert_snapshot!(emit_kernels(&kernels, terms).text);
}

/// Cases of the suite.
const WITH_BIAS: &str =
    "bias of 64 x 48 x 40 of f32, turned (false, false), loops (1, 2), accumulate false, wanted false";
const NORMED: &str = "normed, factors [Some([1, 64, 40]), None] made, of 64 x 48 x 40 of f32, turned (false, true), loops (1, 1), accumulate false";
const TENSOR_CORES: &str = "64 x 48 x 40 of bf16, turned (false, false), loops (1, 3), accumulate true";

#[test]
fn samples() {
    check_all(suite::sample_cases());
}

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

/// Tiles in shared memory, f32 and on tensor cores, and those that are too thin for them.
#[test]
fn products_of_all_layouts() {
    check_all(suite::products());
}

/// Of a warp, of a block of any size, and too long for either.
#[test]
fn rows_in_registers() {
    let cases = suite::rows();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let source = emit_kernels(&kernels, in_f32(1100));
    let threads = source.kernels.iter().zip(&cases).map(|(entry, case)| {
        let text = text_of(&source, entry);
        let held = if text.contains("h0") { "held" } else { "read again" };
        format!("{}: {} threads, tiles of {}, {held}", case.what, entry.threads, entry.tile)
    });
    insta::assert_snapshot!("rows_in_registers", threads.collect::<Vec<_>>().join("\n"));
    check_all(cases);
}

/// In the registers where sums are made: no product's result is stored that nobody wants.
#[test]
fn products_with_epilogues() {
    let cases = suite::epilogues();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let source = emit_kernels(&kernels, in_f32(1));
    for (entry, case) in source.kernels.iter().zip(&cases) {
        let text = text_of(&source, entry);
        let stores = text.matches("a2[").count();
        assert_eq!(
            stores,
            usize::from(case.kernel.arguments[2].access == ArgumentAccess::ReadWrite),
            "{text}"
        );
        assert!(text.contains("add_product_"), "{text}");
    }
    check_all(cases);
}

/// Where factors come into shared memory: none that is made is loaded or stored.
#[test]
fn products_with_prologues() {
    let cases = suite::prologues();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let source = emit_kernels(&kernels, in_f32(1));
    for (entry, case) in source.kernels.iter().zip(&cases) {
        let text = text_of(&source, entry);
        for i in 0..2 {
            let is_made = case.kernel.arguments[i].access == ArgumentAccess::Temporary;
            assert!(!is_made || !text.contains(&format!("a{i}[")), "{}: {text}", case.what);
        }
        assert!(text.contains("add_product_") && text.contains("made<"), "{text}");
    }
    check_all(cases);
}

/// Where factors may be rounded to tf32: products are within the bound that `Precision::Tf32` states, and some are beyond f32's.
#[test]
fn products_in_tf32() {
    let Some(nvrtc) = nvrtc() else { return };
    // The bound is of products alone, and of factors whose terms have one sign with theirs.
    let is_alone = |case: &Case| {
        let is_f32 = case.kernel.arguments[..2].iter().all(|argument| argument.dtype == DType::F32);
        is_f32 && matches!(case.kernel.ops.last(), Some(TileOp::Gemm(_))) && !case.what.starts_with("normed")
    };
    let cases: Vec<Case> = suite::products().into_iter().chain(suite::prologues()).filter(is_alone).collect();
    let kernels: Vec<Kernel> = cases.iter().map(|case| case.kernel.clone()).collect();
    let source = emit_kernels(&kernels, kernel::Terms { max_batch: 1, allows_tf32: true });
    for architecture in ["sm_80", "sm_90"] {
        let compiled = compiled(&nvrtc, &source, architecture);
        let spills = compiled.usage.iter().find(|usage| usage.spill_store_bytes.max(usage.stack_bytes) > 0);
        assert!(spills.is_none(), "{spills:?}");
    }
    let module = Module::parse(&compiled(&nvrtc, &source, "sm_80").ptx).expect("PTX of NVRTC");
    let (mut n_rounded, mut n_exact) = (0, 0);
    for (entry, Case { what, kernel, arguments, at }) in source.kernels.iter().zip(&cases) {
        let Some(TileOp::Gemm(gemm)) = kernel.ops.last() else { unreachable!("products") };
        let sums = |arguments: &[Vec<f64>]| {
            let mut arguments = arguments.to_vec();
            interpret::run(kernel, &mut arguments, *at).unwrap();
            arguments.swap_remove(2)
        };
        let without_signs: Vec<Vec<f64>> =
            arguments.iter().map(|values| values.iter().map(|x| x.abs()).collect()).collect();
        let (exact, most) = (sums(arguments), sums(&without_signs));
        let found = run_ptx(&module, entry, kernel, arguments, *at).swap_remove(2);
        let is_tiled = text_of(&source, entry).contains("add_product_tf32<");
        let terms = gemm.k.as_const().unwrap() as f64 * gemm.batch[1].extent.as_const().unwrap() as f64;
        let n_made = kernel.ops.len() - 1;
        let of_sums = 2f64.powi(-24) * (terms + 2.0 + n_made as f64);
        let mut beyond = false;
        for ((found, exact), most) in found.iter().zip(&exact).zip(&most) {
            let of_factors = if is_tiled { 2f64.powi(-10) * (1.0 + 2f64.powi(-12)) } else { 0.0 };
            let far = (of_factors + of_sums) * most;
            assert!((found - exact).abs() <= far, "{what}: {found}, not {exact} (±{far})");
            beyond |= (found - exact).abs() > of_sums * most;
        }
        assert_eq!(beyond, is_tiled, "{what}: rounding shows");
        if is_tiled { n_rounded += 1 } else { n_exact += 1 }
    }
    assert!(n_rounded > 20 && n_exact > 0, "{n_rounded} rounded, {n_exact} not");
}

#[test]
fn random_nests() {
    check_all(suite::random_nests(150));
}

#[test]
fn kernels_of_random_plans() {
    check_plans(suite::random_plans(40, Target::Cuda));
}

#[test]
fn kernels_of_training_steps() {
    check_plans(suite::training_plans(20, Target::Cuda));
}

#[test]
fn kernels_of_attention() {
    check_plans(suite::attention_plans(Target::Cuda));
}

/// The kernels of a training step of attention, as people read them.
#[test]
fn attention_as_text() {
    let (plan, _) = suite::attention_plans(Target::Cuda).swap_remove(2);
    insta::assert_snapshot!(emit(&plan).text);
}

/// The host and the text count the same, also where there are no rows.
#[test]
fn blocks_are_counted_alike() {
    let batch = || Dim::symbol("batch");
    for (rows, tile, parts, text, blocks) in [
        (batch(), 1, 1, "max(batch, 1)", [1, 1, 5]),
        (batch(), 4, 1, "max((batch + 3) / 4, 1)", [1, 1, 2]),
        (batch() - Dim::from(1), 1, 8, "max(-1 + batch, 1) * 8", [8, 8, 32]),
        (batch() - Dim::from(3), 2, 3, "max((-3 + batch + 1) / 2, 1) * 3", [3, 3, 3]),
        (Dim::from(7), 2, 3, "12", [12; 3]),
    ] {
        let entry = Entry {
            name: String::new(),
            threads: 32,
            shared_bytes: 0,
            static_bytes: 0,
            scratch_bytes: 0,
            rows,
            tile,
            parts,
            most_blocks: i32::MAX as u32,
        };
        assert_eq!(entry.blocks_as_text(), text);
        assert_eq!([0, 1, 5].map(|batch| entry.blocks(batch)), blocks, "{text}");
        assert_eq!(entry.greatest_blocks(5), blocks[2], "{text}");
    }
}
