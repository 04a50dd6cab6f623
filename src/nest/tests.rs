//! Kernels run by the interpreter, kernels that the verifier refuses, and kernels as text.

use super::interpret::{Run, run};
use super::samples::*;
use super::verify::verify;
use super::{ArgumentAccess, Axis, Inst, Kernel, Loop, Nest, TileOp, TurnOrder};
use crate::base::philox::Stream;
use crate::base::{DType, Dim, Distribution, ReduceOp};
use crate::scalar::Func;

fn same(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan()
}

#[test]
fn kernels_give_what_they_mean() {
    for sample in samples() {
        verify(&sample.kernel).unwrap_or_else(|e| panic!("{}: {e}", sample.name));
        let mut arguments = sample.arguments.clone();
        let at = Run { batch: sample.batch, ..Run::default() };
        run(&sample.kernel, &mut arguments, at).unwrap_or_else(|e| panic!("{}: {e}", sample.name));
        for (found, expected) in arguments.iter().zip(&sample.expected) {
            let all = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| same(*a, *b));
            assert!(all, "{}: {found:?}, not {expected:?}", sample.name);
        }
    }
}

#[test]
fn random_numbers_do_not_depend_on_the_tile() {
    for distribution in [Distribution::Uniform, Distribution::Normal] {
        let stream = Stream { seed: 5, step: 6, site: 3, distribution };
        for tile in [1, 2, 7] {
            let mut arguments = vec![vec![f64::NAN; 15]];
            run(&noise(distribution, 3, tile), &mut arguments, Run { batch: 5, seed: 5, step: 6 }).unwrap();
            let expected: Vec<f64> = (0..15).map(|i| stream.at(i).into()).collect();
            assert_eq!(arguments[0], expected);
        }
    }
}

/// `~1` is read after `~0`, in the same bytes, was written.
fn wrong_overlap(second: u64) -> Kernel {
    let constant = |value: f64, to: u32| {
        nest(&[c(2)], &[], vec![number(value, F32)], vec![set(at(scratch(to), F32, c(0), &[1]), 0)])
    };
    let copy = nest(
        &[c(2)],
        &[],
        vec![load(at(scratch(1), F32, c(0), &[1]))],
        vec![set(at(argument(0), F32, c(0), &[1]), 0)],
    );
    let ops = vec![constant(1.0, 1), constant(2.0, 0), copy];
    with_scratch(kernel(c(1), 1, &[(F32, 'w')], ops), &[(F32, 0, 17), (F32, second, 2)])
}

#[test]
fn what_the_interpreter_refuses() {
    let never_written = || {
        let mut kernel = wrong_overlap(128);
        kernel.ops.remove(0);
        kernel
    };
    let too_far = || {
        let mut kernel = affine(2);
        let TileOp::Nest(nest) = &mut kernel.ops[0] else { panic!("a nest") };
        let Inst::Load { access } = &mut nest.body[0] else { panic!("a load") };
        access.offset = access.offset.clone() + c(1);
        kernel
    };
    let same_row = |loads: bool| {
        let mut kernel = affine(1);
        let TileOp::Nest(nest) = &mut kernel.ops[0] else { panic!("a nest") };
        let Inst::Load { access } = &mut nest.body[0] else { panic!("a load") };
        if loads {
            access.buffer = argument(1);
            access.offset = c(0);
            kernel.arguments[1].access = ArgumentAccess::ReadWrite;
        } else {
            nest.stores[0].access.offset = c(0);
        }
        kernel
    };
    // Turns over five places, two at a time, that write their own places, or all the first; or read what another turn left in scratch.
    let turns = |order: TurnOrder, step: i64| {
        let first = Dim::symbol("turn") * c(step);
        let axis = Axis { extent: Dim::symbol("n_turn"), reduce: false };
        let store = set(at(argument(0), F32, first, &[1]), 0);
        let op = Nest { axes: vec![axis], body: vec![number(1.0, F32)], stores: vec![store] };
        let l = Loop { turn: "turn".into(), extent: c(5), block: 2, order, ops: vec![TileOp::Nest(op)] };
        kernel(c(1), 1, &[(F32, 'w')], vec![TileOp::Loop(l)])
    };
    let left_in_scratch = |order: TurnOrder| {
        let copy = |from, to| {
            let load = load(at(from, F32, c(0), &[1]));
            nest(&[c(1)], &[], vec![load], vec![set(at(to, F32, c(0), &[1]), 0)])
        };
        let none = nest(
            &[c(1) - Dim::symbol("turn")],
            &[],
            vec![number(1.0, F32)],
            vec![set(at(scratch(0), F32, c(0), &[1]), 0)],
        );
        let store = copy(scratch(0), argument(0));
        let ops = vec![none, store];
        let l = Loop { turn: "turn".into(), extent: c(2), block: 1, order, ops };
        with_scratch(kernel(c(1), 1, &[(F32, 'w')], vec![TileOp::Loop(l)]), &[(F32, 0, 1)])
    };
    let cases: &[(&str, Kernel, Option<&str>)] = &[
        ("turns at the same time", turns(TurnOrder::Alone, 1), None),
        ("turns one after another write the same", turns(TurnOrder::Counted, 0), None),
        (
            "turns at the same time write the same",
            turns(TurnOrder::Alone, 0),
            Some(
                "element 0 of $0 is written by the tile from row 0, turn 0 and written by the tile from row 0, turn 2",
            ),
        ),
        ("a turn reads what the one before left", left_in_scratch(TurnOrder::Counted), None),
        (
            "a turn reads what one at the same time left",
            left_in_scratch(TurnOrder::Alone),
            Some("is read, but holds nothing"),
        ),
        (
            "a turn in any order reads what another left",
            left_in_scratch(TurnOrder::Any),
            Some("is read, but holds nothing"),
        ),
        (
            "two tiles write",
            same_row(false),
            Some("element 0 of $1 is written by the tile from row 0 and written by the tile from row 1"),
        ),
        (
            "a tile reads what another writes",
            same_row(true),
            Some("element 0 of $1 is written by the tile from row 0 and read by the tile from row 1"),
        ),
        ("buffers apart", wrong_overlap(128), None),
        ("buffers that only touch", wrong_overlap(64), None),
        ("never written", never_written(), Some("element 0 of ~1 is read, but holds nothing")),
        ("out of bounds", too_far(), Some("element 6 of $0, which has 6")),
    ];
    for (name, kernel, expected) in cases {
        let mut arguments =
            if kernel.arguments.len() == 1 { vec![vec![0.0; 5]] } else { vec![vec![0.0; 6]; 2] };
        let found = run(kernel, &mut arguments, Run { batch: 2, ..Run::default() }).err();
        match (found, expected) {
            (None, None) => {}
            (Some(found), Some(expected)) if found.contains(expected) => {}
            (found, _) => panic!("{name}: {found:?}"),
        }
    }
}

/// The seventeenth element of `~0` lies where `~1` begins.
#[test]
fn scratch_written_over_is_seen() {
    let mut kernel = wrong_overlap(64);
    let write_last = nest(&[], &[], vec![number(2.0, F32)], vec![set(at(scratch(0), F32, c(16), &[]), 0)]);
    kernel.ops[1] = write_last;
    let error = run(&kernel, &mut [vec![0.0; 2]], Run::default()).unwrap_err();
    assert!(
        error.contains("op 2") && error.contains("element 0 of ~1 is read, but holds nothing"),
        "{error}"
    );
}

fn first_nest(kernel: &mut Kernel) -> &mut Nest {
    match &mut kernel.ops[0] {
        TileOp::Nest(nest) => nest,
        other => panic!("a nest, not {other:?}"),
    }
}

fn first_load(kernel: &mut Kernel) -> &mut super::Access {
    match &mut first_nest(kernel).body[0] {
        Inst::Load { access } => access,
        other => panic!("a load, not {other:?}"),
    }
}

#[test]
fn broken_kernels_are_refused() {
    type Break = fn(&mut Kernel);
    let cases: &[(&str, Kernel, Break, &str)] = &[
        ("no such argument", affine(2), |k| first_load(k).buffer = argument(2), "rule 1: there is no $2"),
        ("another type", affine(2), |k| first_load(k).dtype = I32, "rule 1: $0 is f32, not i32"),
        (
            "written, but only read",
            affine(2),
            |k| k.arguments[1].access = ArgumentAccess::Read,
            "rule 2: $1 is only read",
        ),
        (
            "read, but only written",
            affine(2),
            |k| k.arguments[0].access = ArgumentAccess::Write,
            "rule 2: $0 is only written",
        ),
        (
            "a stride too few",
            affine(2),
            |k| {
                first_load(k).strides.pop();
            },
            "rule 3: $0[3 * start + 3 i0] in a nest of 2 axes",
        ),
        (
            "a parallel axis inside",
            rows_reduced(ReduceOp::Sum, F32, 2, 3),
            |k| first_nest(k).axes.reverse(),
            "rule 3: a parallel axis inside",
        ),
        (
            "an axis too many",
            affine(2),
            |k| first_nest(k).body[1] = Inst::Index { axis: 2, offset: c(0) },
            "rule 3: there is no axis 2",
        ),
        (
            "a later value",
            affine(2),
            |k| first_nest(k).body[3] = call(Func::Mul, &[0, 4]),
            "rule 4: v4 in v3",
        ),
        (
            "an operand too few",
            affine(2),
            |k| first_nest(k).body[3] = call(Func::Mul, &[0]),
            "rule 4: v3, mul: mul takes 2 operands, not 1",
        ),
        (
            "operands of two types",
            affine(2),
            |k| first_nest(k).body[1] = number(2.0, I32),
            "rule 4: v3, mul: operands of one type",
        ),
        ("nothing to store", affine(2), |k| first_nest(k).stores[0].value = 9, "rule 4: v9 is stored"),
        (
            "i32 into f32",
            affine(2),
            |k| {
                first_nest(k).body.push(cast(I32, 4));
                first_nest(k).stores[0].value = 5;
            },
            "rule 5: ",
        ),
        (
            "a place as f32",
            places(3),
            |k| {
                k.arguments[1].dtype = F32;
                first_nest(k).stores[0].access.dtype = F32;
            },
            "rule 5: ",
        ),
        (
            "a float as index",
            gather(F32, 4, 2, 3),
            |k| {
                k.arguments[1].dtype = F32;
                first_load(k).dtype = F32;
            },
            "rule 5: an index of type f32",
        ),
        (
            "a sum of bytes",
            rows_reduced(ReduceOp::Sum, F32, 2, 3),
            |k| {
                k.arguments.iter_mut().for_each(|a| a.dtype = DType::U8);
                first_load(k).dtype = DType::U8;
                first_nest(k).stores[0].access.dtype = DType::U8;
            },
            "rule 5: $1[i0] = sum of v0: u8 does not count",
        ),
        (
            "a sum that moves",
            rows_reduced(ReduceOp::Sum, F32, 2, 3),
            |k| first_nest(k).stores[0].access.strides[1] = c(1),
            "rule 6: ",
        ),
        ("a place along two axes", places(3), |k| first_nest(k).axes[0].reduce = true, "rule 6: "),
        ("a foreign symbol", affine(2), |k| first_load(k).offset = symbol("n"), "rule 7: n in n"),
        ("rows over the tile", affine(2), |k| k.rows = symbol("tile"), "rule 7: tile in tile"),
        (
            "a product of integers",
            product(2, 1, 2),
            |k| k.arguments[1].dtype = I32,
            "rule 1: $1 is i32, not f32",
        ),
        ("a tile of nothing", affine(2), |k| k.tile = 0, "rule 9"),
        ("scratch off the line", softmax(3, 2), |k| k.scratch[1].offset += 4, "rule 10: ~1: 24 bytes at 132"),
        ("half an element", softmax(3, 2), |k| k.scratch[0].bytes = 6, "rule 10: ~0: 6 bytes at 0"),
        (
            "scratch for a shorter tile",
            softmax(3, 2),
            |k| k.tile = 3,
            "rule 11: element 2 of ~0, which has 2, in a tile of 3",
        ),
        (
            "scratch before its first",
            softmax(3, 2),
            |k| {
                let TileOp::Nest(nest) = &mut k.ops[1] else { panic!("a nest") };
                nest.stores[0].access.offset = c(-1);
            },
            "rule 11: element -1 of ~1",
        ),
    ];
    for (name, kernel, change, expected) in cases {
        let mut kernel = kernel.clone();
        assert_eq!(verify(&kernel), Ok(()), "{name}: before it is broken");
        change(&mut kernel);
        let found = verify(&kernel).err().unwrap_or_default();
        assert!(found.contains(expected), "{name}: {found:?}");
    }
}

#[test]
fn kernels_as_text() {
    let kernels = [
        softmax(4, 8),
        gather(F32, 4, 2, 3),
        scatter(I32, 4, 3),
        places(3),
        product(2, 3, 4),
        noise(Distribution::Normal, 3, 2),
    ];
    let text: Vec<String> = kernels.iter().map(Kernel::to_string).collect();
    insta::assert_snapshot!(text.join("\n"));
}
