//! Kernels by their sizes and types.

use super::parts::*;
use crate::base::{DType, Distribution, ReduceOp};
use crate::nest::{Fill, Gemm, GemmAxis, Inst, Kernel, Scratch, Sort, Store, TileOp};
use crate::scalar::Func;

/// `$1 = 2 * $0 + 1` over rows of 3.
pub fn affine(tile: u32) -> Kernel {
    let from = || symbol("start") * c(3);
    let body = vec![
        load(at(argument(0), F32, from(), &[3, 1])),
        number(2.0, F32),
        number(1.0, F32),
        call(Func::Mul, &[0, 1]),
        call(Func::Add, &[3, 2]),
    ];
    let store = set(at(argument(1), F32, from(), &[3, 1]), 4);
    let op = nest(&[symbol("tile"), c(3)], &[], body, vec![store]);
    kernel(symbol("batch"), tile, &[(F32, 'r'), (F32, 'w')], vec![op])
}

/// Softmax of rows of `n`, through scratch: the greatest, then `exp` and its sum, then the quotient.
pub fn softmax(n: i64, tile: u32) -> Kernel {
    let x = || load(at(argument(0), F32, symbol("start") * c(n), &[n, 1]));
    let (rows, columns) = ([symbol("tile")], [c(n)]);
    let greatest =
        nest(&rows, &columns, vec![x()], vec![reduce(ReduceOp::Max, at(scratch(0), F32, c(0), &[1, 0]), 0)]);
    let exponent =
        vec![x(), load(at(scratch(0), F32, c(0), &[1, 0])), call(Func::Sub, &[0, 1]), call(Func::Exp, &[2])];
    let stores = vec![
        set(at(scratch(1), F32, c(0), &[n, 1]), 3),
        reduce(ReduceOp::Sum, at(scratch(2), F32, c(0), &[1, 0]), 3),
    ];
    let sum = nest(&rows, &columns, exponent, stores);
    let quotient = vec![
        load(at(scratch(1), F32, c(0), &[n, 1])),
        load(at(scratch(2), F32, c(0), &[1, 0])),
        call(Func::Div, &[0, 1]),
    ];
    let store = set(at(argument(1), F32, symbol("start") * c(n), &[n, 1]), 2);
    let divide = nest(&[symbol("tile"), c(n)], &[], quotient, vec![store]);
    let whole = kernel(symbol("batch"), tile, &[(F32, 'r'), (F32, 'w')], vec![greatest, sum, divide]);
    let row = (u64::from(tile) * 4).next_multiple_of(64);
    let all = u64::from(tile) * n as u64;
    with_scratch(whole, &[(F32, 0, tile.into()), (F32, 2 * row, all), (F32, row, tile.into())])
}

/// `$2 = $0 * $1` for rows of `k`, `$1` being `k` by `n`.
pub fn product(k: i64, n: i64, tile: u32) -> Kernel {
    let gemm = Gemm {
        batch: Vec::new(),
        m: symbol("tile"),
        n: c(n),
        k: c(k),
        lhs: matrix(argument(0), symbol("start") * c(k), k, 1),
        rhs: matrix(argument(1), c(0), n, 1),
        out: matrix(argument(2), symbol("start") * c(n), n, 1),
        accumulate: false,
    };
    let ops = vec![TileOp::Gemm(Box::new(gemm))];
    kernel(symbol("batch"), tile, &[(F32, 'r'), (F32, 'r'), (F32, 'w')], ops)
}

/// One nest over `n` elements of arguments that are read and written whole.
pub fn flat(n: i64, arguments: &[(DType, char)], body: Vec<Inst>, stores: Vec<Store>) -> Kernel {
    kernel(c(1), 1, arguments, vec![nest(&[c(n)], &[], body, stores)])
}

/// A reduction of rows of `n` by `op`.
pub fn rows_reduced(op: ReduceOp, dtype: DType, rows: i64, n: i64) -> Kernel {
    let body = vec![load(at(argument(0), dtype, c(0), &[n, 1]))];
    let store = reduce(op, at(argument(1), dtype, c(0), &[1, 0]), 0);
    kernel(c(1), 1, &[(dtype, 'r'), (dtype, 'w')], vec![nest(&[c(rows)], &[c(n)], body, vec![store])])
}

/// `$2[$1[i]] += $0[i]` into `bound` places.
pub fn scatter(dtype: DType, n: i64, bound: i64) -> Kernel {
    let body = vec![load(at(argument(0), dtype, c(0), &[1])), load(at(argument(1), I32, c(0), &[1]))];
    let store = add_at(at(argument(2), dtype, c(0), &[0]), 1, 1, bound, 0);
    flat(n, &[(dtype, 'r'), (I32, 'r'), (dtype, 'b')], body, vec![store])
}

/// `$2[i, j] = $0[$1[i], j]`: rows of `width` out of `bound`.
pub fn gather(dtype: DType, n: i64, width: i64, bound: i64) -> Kernel {
    let body = vec![
        load(at(argument(1), I32, c(0), &[1, 0])),
        load_at(at(argument(0), dtype, c(0), &[0, 1]), 0, width, bound),
    ];
    let store = set(at(argument(2), dtype, c(0), &[width, 1]), 1);
    let op = nest(&[c(n), c(width)], &[], body, vec![store]);
    kernel(c(1), 1, &[(dtype, 'r'), (I32, 'r'), (dtype, 'w')], vec![op])
}

/// `$1 = $0` as another type.
pub fn conversion(from: DType, to: DType, n: i64) -> Kernel {
    let body = vec![load(at(argument(0), from, c(0), &[1])), cast(to, 0)];
    flat(n, &[(from, 'r'), (to, 'w')], body, vec![set(at(argument(1), to, c(0), &[1]), 1)])
}

/// The place of the greatest of each of 2 rows of `n`.
pub fn places(n: i64) -> Kernel {
    let body = vec![load(at(argument(0), F32, c(0), &[n, 1]))];
    let store = argmax(at(argument(1), I32, c(0), &[1, 0]), 0);
    kernel(c(1), 1, &[(F32, 'r'), (I32, 'w')], vec![nest(&[c(2)], &[c(n)], body, vec![store])])
}

/// A sum of products over a batch axis, with a second product added on top.
pub fn summed_products() -> Kernel {
    let axis = GemmAxis { extent: c(2), lhs: c(2), rhs: c(2), out: c(0), reduce: true };
    let first = Gemm {
        batch: vec![axis],
        m: c(1),
        n: c(1),
        k: c(2),
        lhs: matrix(argument(0), c(0), 2, 1),
        rhs: matrix(argument(1), c(0), 1, 1),
        out: matrix(argument(2), c(0), 1, 1),
        accumulate: false,
    };
    let again = Gemm { batch: Vec::new(), k: c(1), accumulate: true, ..first.clone() };
    let ops = vec![TileOp::Gemm(Box::new(first)), TileOp::Gemm(Box::new(again))];
    kernel(c(1), 1, &[(F32, 'r'), (F32, 'r'), (F32, 'b')], ops)
}

/// Where each element stands, and the batch, in tiles of 2.
pub fn positions() -> Kernel {
    let body =
        vec![Inst::Index { axis: 0, offset: symbol("start") }, Inst::Size { size: symbol("batch") * c(2) }];
    let stores = vec![
        set(at(argument(0), I32, symbol("start"), &[1]), 0),
        set(at(argument(1), F32, symbol("start"), &[1]), 1),
    ];
    let op = nest(&[symbol("tile")], &[], body, stores);
    kernel(symbol("batch"), 2, &[(I32, 'w'), (F32, 'w')], vec![op])
}

/// Random numbers into a row for each row of the batch.
pub fn noise(distribution: Distribution, n: i64, tile: u32) -> Kernel {
    let first = symbol("start") * c(n);
    let fill = Fill {
        buffer: argument(0),
        offset: first.clone(),
        count: symbol("tile") * c(n),
        first,
        distribution,
        site: 3,
    };
    kernel(symbol("batch"), tile, &[(F32, 'w')], vec![TileOp::Fill(fill)])
}

/// The places of the elements of each column of `n` rows of `width`, in tiles of columns.
pub fn sorted(dtype: DType, n: i64, width: i64, tile: u32, descending: bool) -> Kernel {
    let sort = Sort {
        axes: vec![symbol("tile")],
        n: c(n),
        source: at(argument(0), dtype, symbol("start"), &[1, width]),
        out: at(argument(1), I32, symbol("start") * c(n), &[n, 1]),
        keys: scratch(0),
        descending,
    };
    let whole = kernel(c(width), tile, &[(dtype, 'r'), (I32, 'w')], vec![TileOp::Sort(Box::new(sort))]);
    with_scratch(whole, &[(I32, 0, 2 * n as u64 + 2)])
}

/// Rows of `n` that are summed, then visited again with `func`; the second loop may write to what it reads.
pub fn visited_twice(n: i64, func: Func, writes: bool) -> Kernel {
    let x = || at(argument(0), DType::F32, symbol("start") * c(n), &[n, 1]);
    let sum = || at(scratch(0), DType::F32, c(0), &[1, 0]);
    let summed = nest(&[symbol("tile")], &[c(n)], vec![load(x())], vec![reduce(ReduceOp::Sum, sum(), 0)]);
    let to = if writes { x() } else { at(argument(1), DType::F32, symbol("start") * c(n), &[n, 1]) };
    let body = vec![load(x()), load(sum()), call(Func::Sub, &[0, 1]), call(func, &[2])];
    let again = nest(&[symbol("tile"), c(n)], &[], body, vec![set(to, 3)]);
    let how = if writes { 'b' } else { 'r' };
    let mut kernel =
        kernel(symbol("batch"), 16, &[(DType::F32, how), (DType::F32, 'w')], vec![summed, again]);
    kernel.scratch.push(Scratch { dtype: DType::F32, offset: 0, bytes: 64 });
    kernel
}
