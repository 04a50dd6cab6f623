//! Products that are a kernel of their own, what their factors are made of, and what is made of each of their elements.

use super::{Case, case, numbers, once};
use crate::base::DType;
use crate::nest::samples::*;
use crate::nest::{Argument, ArgumentAccess, Gemm, GemmAxis, Inst, Matrix, TileOp};
use crate::scalar::Func;

/// Products that are a kernel of their own: layouts of both factors, sizes around those of tiles, loops and sums around.
pub fn products() -> Vec<Case> {
    let sizes = [
        (16, 16, 16),
        (17, 31, 33),
        (64, 48, 40),
        (65, 130, 16),
        (32, 16, 100),
        (129, 33, 18),
        (3, 40, 5),
        (1, 37, 17),
        (37, 1, 1),
    ];
    let mut cases = Vec::new();
    for (n, (m, columns, k)) in sizes.into_iter().enumerate() {
        for layout in 0..4 {
            let dtype = if layout % 2 == n % 2 { DType::BF16 } else { DType::F32 };
            for dtype in [DType::F32, dtype] {
                let sides = (layout % 2 == 1, layout / 2 == 1);
                let loops = [(1, 1), (2, 1), (1, 3), (2, 2)][(n + layout) % 4];
                cases.push(product_case(dtype, [m, columns, k], sides, loops, n % 3 == 2));
            }
        }
    }
    cases
}

/// `turned`: which factors lie by columns. `loops`: around the product, without and with a sum.
fn product_case(
    dtype: DType,
    [m, n, k]: [i64; 3],
    turned: (bool, bool),
    loops: (i64, i64),
    accumulate: bool,
) -> Case {
    let side = |buffer, rows: i64, columns: i64, turned: bool, dtype: DType| Matrix {
        dtype,
        ..if turned { matrix(buffer, c(0), 1, rows) } else { matrix(buffer, c(0), columns, 1) }
    };
    let axes = [
        GemmAxis { extent: c(loops.0), lhs: c(m * k), rhs: c(0), out: c(m * n), reduce: false },
        GemmAxis { extent: c(loops.1), lhs: c(loops.0 * m * k), rhs: c(k * n), out: c(0), reduce: true },
    ];
    let gemm = Gemm {
        batch: axes.to_vec(),
        m: c(m),
        n: c(n),
        k: c(k),
        lhs: side(argument(0), m, k, turned.0, dtype),
        rhs: side(argument(1), k, n, turned.1, dtype),
        out: side(argument(2), m, n, false, F32),
        accumulate,
    };
    let whole = kernel(
        c(1),
        1,
        &[(dtype, 'r'), (dtype, 'r'), (F32, if accumulate || loops.1 > 1 { 'b' } else { 'w' })],
        vec![TileOp::Gemm(Box::new(gemm))],
    );
    let arguments = [
        numbers(dtype, loops.0 * loops.1 * m * k, 20),
        numbers(dtype, loops.1 * k * n, 21),
        numbers(F32, loops.0 * m * n, 22),
    ];
    let what =
        format!("{m} x {n} x {k} of {dtype}, turned {turned:?}, loops {loops:?}, accumulate {accumulate}");
    case(what, &whole, &arguments, once(1))
}

/// Products with an epilogue: what it reads besides, whether the product's own result is wanted, and axes that do not become the product's.
pub fn epilogues() -> Vec<Case> {
    let sizes = [(16, 16, 16), (17, 31, 33), (64, 48, 40), (65, 130, 16), (129, 33, 18)];
    let mut cases = Vec::new();
    for (i, (m, n, k)) in sizes.into_iter().enumerate() {
        for (j, kind) in ["bias", "scaled", "other"].into_iter().enumerate() {
            for is_wanted in [false, true] {
                let dtype = if (i + j) % 2 == 0 { DType::F32 } else { DType::BF16 };
                let loops = [(1, 1), (2, 1), (1, 2)][(i + 2 * j + usize::from(is_wanted)) % 3];
                let product = product_case(dtype, [m, n, k], (i % 2 == 1, j % 2 == 1), loops, false);
                cases.push(epilogue_case(product, kind, is_wanted, [loops.0, m, n]));
            }
        }
    }
    cases
}

fn epilogue_case(product: Case, kind: &str, is_wanted: bool, shape: [i64; 3]) -> Case {
    let [loops, m, n] = shape;
    let whole = [m * n, n, 1];
    let x = load(at(argument(2), F32, c(0), &whole));
    let (mut scalars, other, body) = match kind {
        "bias" => {
            let bias = load(at(argument(3), F32, c(0), &[0, 0, 1]));
            let zero = number(0.0, F32);
            (vec![], (F32, n), vec![x, bias, call(Func::Add, &[0, 1]), zero, call(Func::Max, &[2, 3])])
        }
        // By a number that is worked out before, and by rows.
        "scaled" => {
            let (from, scale) =
                (load(at(argument(3), F32, c(0), &[])), load(at(scratch(0), F32, c(0), &[0; 3])));
            let scalar = nest(
                &[],
                &[],
                vec![from, call(Func::Exp, &[0])],
                vec![set(at(scratch(0), F32, c(0), &[]), 1)],
            );
            let row = Inst::Index { axis: 1, offset: c(0) };
            let body = vec![x, scale, call(Func::Mul, &[0, 1]), row, cast(F32, 3), call(Func::Add, &[2, 4])];
            (vec![scalar], (F32, 1), body)
        }
        _ => {
            let other = load(at(argument(3), DType::BF16, c(0), &whole));
            (vec![], (DType::BF16, loops * m * n), vec![x, other, cast(F32, 1), call(Func::Mul, &[0, 2])])
        }
    };
    let last = body.len() as u32 - 1;
    let out = if kind == "other" { DType::BF16 } else { F32 };
    let (body, last) = match out {
        DType::BF16 => ([body, vec![cast(out, last)]].concat(), last + 1),
        _ => (body, last),
    };
    let axes = shape.map(c);
    let follows = nest(&axes, &[], body, vec![set(at(argument(4), out, c(0), &whole), last)]);
    let mut ops = product.kernel.ops;
    ops.append(&mut scalars);
    ops.push(follows);
    let factor = product.kernel.arguments[0].dtype;
    let access = if is_wanted { 'b' } else { 't' };
    let types = [(factor, 'r'), (factor, 'r'), (F32, access), (other.0, 'r'), (out, 'w')];
    let whole = with_scratch(kernel(c(1), 1, &types, ops), &[(F32, 0, 1)]);
    let mut arguments = product.arguments;
    arguments.extend([numbers(other.0, other.1, 23), numbers(out, loops * m * n, 24)]);
    case(format!("{kind} of {}, wanted {is_wanted}", product.what), &whole, &arguments, once(1))
}

/// Products whose factors are made in their kernels: which of them, of what, and whether an epilogue follows.
pub fn prologues() -> Vec<Case> {
    let sizes = [(16, 16, 16), (17, 31, 33), (64, 48, 40), (65, 130, 16), (129, 33, 18)];
    let mut cases = Vec::new();
    for (i, (m, n, k)) in sizes.into_iter().enumerate() {
        for (j, made) in [[true, false], [false, true], [true, true]].into_iter().enumerate() {
            for kind in ["normed", "pixels", "both"] {
                let dtype = if (i + j) % 2 == 0 { DType::F32 } else { DType::BF16 };
                let loops = [(1, 1), (2, 1), (1, 2), (1, 1)][(i + 2 * j + kind.len()) % 4];
                let turned = ((i + j) % 2 == 1, (i / 2 + j) % 2 == 1);
                let product = product_case(dtype, [m, n, k], turned, loops, false);
                let around = [loops.0 * loops.1, loops.1];
                let shape = |side: usize| match (side, turned) {
                    (0, (false, _)) => [around[0], m, k],
                    (0, (true, _)) => [around[0], k, m],
                    (_, (_, false)) => [around[1], k, n],
                    (_, (_, true)) => [around[1], n, k],
                };
                let factors = [0, 1].map(|side| made[side].then(|| shape(side)));
                let follows = (i + j) % 3 == 0;
                let case = match follows {
                    true => epilogue_case(product, "bias", kind == "both", [loops.0, m, n]),
                    false => product,
                };
                cases.push(prologue_case(case, kind, factors));
            }
        }
    }
    cases
}

/// `factors`: shapes of those that are made.
fn prologue_case(product: Case, kind: &str, factors: [Option<[i64; 3]>; 2]) -> Case {
    let Case { what, kernel: mut whole, mut arguments, .. } = product;
    let mut makers = Vec::new();
    let mut types: Vec<DType> = Vec::new();
    let n_arguments = whole.arguments.len();
    let mut leaf = |arguments: &mut Vec<Vec<f64>>, dtype: DType, n: i64| {
        types.push(dtype);
        arguments.push(numbers(dtype, n, 30 + types.len() as u32));
        argument((n_arguments + types.len() - 1) as u32)
    };
    for (side, shape) in factors.into_iter().enumerate().filter_map(|(side, shape)| Some((side, shape?))) {
        let [around, rows, columns] = shape;
        let (all, strides) = (around * rows * columns, [rows * columns, columns, 1]);
        // Of an element of its own, numbers of its row and of its column, and its place; or of one or two elements.
        let mut body = match kind {
            "normed" => vec![
                load(at(leaf(&mut arguments, F32, all), F32, c(0), &strides)),
                load(at(leaf(&mut arguments, F32, around * rows), F32, c(0), &[rows, 1, 0])),
                call(Func::Mul, &[0, 1]),
                load(at(leaf(&mut arguments, F32, columns), F32, c(0), &[0, 0, 1])),
                call(Func::Add, &[2, 3]),
                Inst::Index { axis: 2, offset: c(-3) },
                cast(F32, 5),
                call(Func::Sub, &[4, 6]),
            ],
            "pixels" => vec![
                load(at(leaf(&mut arguments, DType::U8, all), DType::U8, c(0), &strides)),
                cast(F32, 0),
                number(1.0 / 255.0, F32),
                call(Func::Mul, &[1, 2]),
            ],
            _ => vec![
                load(at(leaf(&mut arguments, F32, all), F32, c(0), &strides)),
                load(at(leaf(&mut arguments, DType::BF16, all), DType::BF16, c(0), &strides)),
                cast(F32, 1),
                call(Func::Mul, &[0, 2]),
            ],
        };
        let dtype = whole.arguments[side].dtype;
        if dtype != F32 {
            body.push(cast(dtype, body.len() as u32 - 1));
        }
        let last = body.len() as u32 - 1;
        let store = set(at(argument(side as u32), dtype, c(0), &strides), last);
        makers.push(nest(&shape.map(c), &[], body, vec![store]));
        whole.arguments[side].access = ArgumentAccess::Temporary;
    }
    whole.ops.splice(0..0, makers);
    let access = ArgumentAccess::Read;
    whole.arguments.extend(types.into_iter().map(|dtype| Argument { dtype, access }));
    case(format!("{kind}, factors {factors:?} made, of {what}"), &whole, &arguments, once(1))
}
