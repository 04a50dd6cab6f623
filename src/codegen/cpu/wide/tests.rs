//! Wide code held to Cranelift's, bit for bit where no sum is made along lanes; and as text. That it does what the interpreter does
//! is tested with Cranelift's in `cpu/tests.rs`.

use super::form::Form;
use super::{Kind, compile};
use crate::base::{DType, ReduceOp};
use crate::codegen::cpu::calls::{Around, Function, share};
use crate::codegen::cpu::oracle::run_compiled;
use crate::codegen::cpu::{Ticking, compile_with};
use crate::codegen::suite::{self, Case};
use crate::nest::analysis::merge_axes;
use crate::nest::samples::*;
use crate::nest::{Kernel, Nest, StoreKind, TileOp};
use crate::plan::Target;
use crate::scalar::Func;

fn nests(ops: &[TileOp]) -> Vec<&Nest> {
    let mut found = Vec::new();
    for op in ops {
        match op {
            TileOp::Nest(nest) => found.push(nest),
            TileOp::Loop(l) => found.extend(nests(&l.ops)),
            _ => {}
        }
    }
    found
}

/// Whether a reduction's lanes are parts of one sum.
fn sums_along_lanes(nest: &Nest, kind: Kind) -> bool {
    let nest = merge_axes(nest);
    let reduces = nest.stores.iter().any(|s| matches!(s.kind, StoreKind::Reduce(_)));
    reduces && Form::of(&nest, kind).is_none_or(|form| nest.axes[form.vector].reduce)
}

#[test]
fn lanes_have_the_bits_of_cranelift() {
    let plans = suite::training_plans(40, Target::Cpu).into_iter();
    let of_plans = plans.flat_map(|(_, launches)| launches.into_iter().map(|(_, case)| case));
    let cases = suite::functions()
        .into_iter()
        .chain(suite::random_nests(100))
        .chain(suite::tails())
        .chain(suite::wide());
    let cases: Vec<Case> = cases.chain(of_plans).collect();
    for kind in Kind::ALL {
        if !kind.is_supported() {
            eprintln!("skipped: this CPU has no {kind:?}");
            continue;
        }
        let n_compared = cases.iter().filter(|case| has_the_bits_of_cranelift(case, kind)).count();
        assert!(n_compared > 300, "{n_compared}");
    }
}

/// Whether they can be compared, for there are no sums along lanes.
fn has_the_bits_of_cranelift(Case { what, kernel, arguments, at }: &Case, kind: Kind) -> bool {
    if nests(&kernel.ops).into_iter().any(|nest| sums_along_lanes(nest, kind)) {
        return false;
    }
    let [portable, wide] = [None, Some(kind)].map(|vectors| {
        let program = compile_with(std::slice::from_ref(kernel), &|_| false, Ticking::Off, vectors);
        run_compiled(&program, 0, kernel, arguments, *at)
    });
    for (i, (a, b)) in portable.iter().zip(&wide).enumerate() {
        let differs =
            a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits() && !(a.is_nan() && b.is_nan()));
        if let Some(at) = differs {
            panic!(
                "{what}, {kind:?}: element {at} of ${i} is {}, not {} as Cranelift has it:\n{kernel}",
                b[at], a[at]
            );
        }
    }
    true
}

/// More than two thirds, though random graphs are full of gathers and of axes shorter than four: what has no wide code is named in the
/// module's documentation.
#[test]
fn nests_of_training_have_wide_code() {
    let plans = suite::training_plans(60, Target::Cpu);
    let kernels: Vec<&Kernel> = plans.iter().flat_map(|(plan, _)| &plan.kernels).collect();
    let with_axes = kernels.iter().flat_map(|k| nests(&k.ops)).filter(|nest| !nest.axes.is_empty());
    let (mut n, mut n_wide) = (0, 0);
    for nest in with_axes {
        n += 1;
        n_wide += i32::from(compile(nest, Kind::Avx512, &Around::default()).is_some());
    }
    assert!(n_wide * 3 > n * 2, "{n_wide} of {n}");
}

fn text_of(kernel: &Kernel, kind: Kind) -> String {
    let (functions, _) = share(std::slice::from_ref(kernel), &|_| false);
    let text = |function: &Function| {
        let TileOp::Nest(nest) = &function.op else { unreachable!("the kernels have nests alone") };
        compile(nest, kind, &function.around).expect("it has wide code").text()
    };
    functions.iter().map(text).collect()
}

#[test]
fn assembly() {
    let maps = {
        let body = vec![
            load(at(argument(0), DType::F32, c(0), &[21, 1])),
            load(at(argument(1), DType::F32, c(0), &[0, 1])),
            call(Func::Add, &[0, 1]),
            call(Func::Exp, &[2]),
        ];
        let store = set(at(argument(2), DType::F32, c(0), &[21, 1]), 3);
        let op = nest(&[symbol("tile"), c(21)], &[], body, vec![store]);
        kernel(symbol("batch"), 4, &[(DType::F32, 'r'), (DType::F32, 'r'), (DType::F32, 'w')], vec![op])
    };
    let kernels = [
        ("exp of rows and a row, 21 wide", maps),
        ("a sum of 70 neighbours", rows_reduced(ReduceOp::Sum, DType::F32, 1, 70)),
        ("f32 to bf16", conversion(DType::F32, DType::BF16, 16)),
        (
            "a sum of rows, then less it, where the next rows are asked for",
            visited_twice(256, Func::Sigmoid, false),
        ),
    ];
    for kind in Kind::ALL {
        let text = kernels.iter().map(|(name, kernel)| format!("; {name}\n{}", text_of(kernel, kind)));
        insta::assert_snapshot!(format!("assembly_{kind:?}"), text.collect::<Vec<_>>().join("\n"));
    }
}
