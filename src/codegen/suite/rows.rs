//! Kernels whose ops go over a row each.

use super::{Case, case, numbers, once};
use crate::base::{DType, ReduceOp};
use crate::nest::Kernel;
use crate::nest::samples::*;
use crate::scalar::Func;

/// Lengths around those at which a warp, a block and larger blocks have a row, and numbers of rows.
const SIZES: [(i64, i64); 11] = [
    (32, 3),
    (33, 2),
    (64, 1100),
    (260, 5),
    (1023, 3),
    (1024, 520),
    (4100, 2),
    (8196, 1),
    (12000, 1),
    (16384, 1),
    (16388, 1),
];

/// Softmax, and a norm of bf16 with the place of its greatest element.
pub fn rows() -> Vec<Case> {
    let mut cases = Vec::new();
    for (i, (n, batch)) in SIZES.into_iter().enumerate() {
        let tile = [1, 2, 7][i % 3];
        let x = numbers(F32, batch * n, 40);
        let of = |kind: &str| format!("{kind} of {batch} rows of {n}");
        cases.push(case(of("softmax"), &softmax(n, tile), &[x.clone(), x], once(batch)));
        let arguments = [
            numbers(DType::BF16, batch * n, 41),
            vec![0.0; (batch * n) as usize],
            vec![0.0; batch as usize],
            numbers(F32, n, 42),
        ];
        cases.push(case(of("norm"), &norm(n, tile), &arguments, once(batch)));
    }
    let arguments = [numbers(F32, 3 * 40, 43), vec![0.0; 3]];
    cases.push(case("the place of the only sum of 3 rows of 40".into(), &only(40, 2), &arguments, once(3)));
    cases
}

/// In `$1` the place of the greatest of one, the sum of a row of `n`.
fn only(n: i64, tile: u32) -> Kernel {
    let sum = nest(
        &[symbol("tile")],
        &[c(n)],
        vec![load(at(argument(0), F32, symbol("start") * c(n), &[n, 1]))],
        vec![reduce(ReduceOp::Sum, at(scratch(0), F32, c(0), &[1, 0]), 0)],
    );
    let place = nest(
        &[symbol("tile")],
        &[c(1)],
        vec![load(at(scratch(0), F32, c(0), &[1, 1]))],
        vec![argmax(at(argument(1), I32, symbol("start"), &[1, 0]), 0)],
    );
    let whole = kernel(symbol("batch"), tile, &[(F32, 'r'), (I32, 'w')], vec![sum, place]);
    with_scratch(whole, &[(F32, 0, tile.into())])
}

/// `$1 = ($0 - mean($0)) * $3` of rows of `n`, and in `$2` where the greatest of these is.
fn norm(n: i64, tile: u32) -> Kernel {
    let own = |buffer, dtype| at(buffer, dtype, symbol("start") * c(n), &[n, 1]);
    let scalar = |i: u32, along: &[i64]| at(scratch(i), F32, c(0), along);
    let (row, columns) = ([symbol("tile")], [c(n)]);
    let sum = nest(
        &row,
        &columns,
        vec![load(own(argument(0), DType::BF16)), cast(F32, 0)],
        vec![reduce(ReduceOp::Sum, scalar(0, &[1, 0]), 1)],
    );
    let mean = nest(
        &row,
        &[],
        vec![load(scalar(0, &[1])), number(1.0 / n as f64, F32), call(Func::Mul, &[0, 1])],
        vec![set(scalar(1, &[1]), 2)],
    );
    let body = vec![
        load(own(argument(0), DType::BF16)),
        cast(F32, 0),
        load(scalar(1, &[1, 0])),
        call(Func::Sub, &[1, 2]),
        load(at(argument(3), F32, c(0), &[0, 1])),
        call(Func::Mul, &[3, 4]),
    ];
    let scaled = nest(&[symbol("tile"), c(n)], &[], body, vec![set(own(argument(1), F32), 5)]);
    let place = nest(
        &row,
        &columns,
        vec![load(own(argument(1), F32))],
        vec![argmax(at(argument(2), I32, symbol("start"), &[1, 0]), 0)],
    );
    let types = [(DType::BF16, 'r'), (F32, 'b'), (I32, 'w'), (F32, 'r')];
    let whole = kernel(symbol("batch"), tile, &types, vec![sum, mean, scaled, place]);
    let room = i64::from(tile) as u64;
    with_scratch(whole, &[(F32, 0, room), (F32, (room * 4).next_multiple_of(64), room)])
}
