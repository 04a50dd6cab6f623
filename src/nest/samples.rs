//! Small kernels for tests: built by hand, with what they read and what they must give.
//!
//! What enters: nothing. What leaves: kernels that the verifier accepts, for the interpreter's tests and for backends'.
//! Together they use each instruction, store and tile op. Not here: kernels of plans.

use super::{
    Access, Argument, ArgumentAccess, Axis, BufferRef, Fill, Gemm, GemmAxis, Inst, Kernel, Matrix, Nest,
    Scratch, Store, StoreKind, TileOp, Value,
};
use crate::base::{DType, Dim, Distribution, ReduceOp};
use crate::scalar::Func;

pub const F32: DType = DType::F32;
pub const I32: DType = DType::I32;

pub fn c(value: i64) -> Dim {
    Dim::from(value)
}

pub fn symbol(name: &str) -> Dim {
    Dim::symbol(name)
}

pub fn argument(i: u32) -> BufferRef {
    BufferRef::Argument(i)
}

pub fn scratch(i: u32) -> BufferRef {
    BufferRef::Scratch(i)
}

/// `buffer[offset + strides · indices]`
pub fn at(buffer: BufferRef, dtype: DType, offset: Dim, strides: &[i64]) -> Access {
    Access { buffer, dtype, offset, strides: strides.iter().map(|s| c(*s)).collect() }
}

pub fn load(access: Access) -> Inst {
    Inst::Load { access }
}

pub fn load_at(access: Access, index: Value, stride: i64, bound: i64) -> Inst {
    Inst::LoadAt { access, index, stride: c(stride), bound: c(bound) }
}

pub fn number(value: f64, dtype: DType) -> Inst {
    Inst::Const { bits: value.to_bits(), dtype }
}

pub fn call(func: Func, arguments: &[Value]) -> Inst {
    Inst::Call { func, arguments: arguments.to_vec() }
}

pub fn cast(to: DType, argument: Value) -> Inst {
    Inst::Cast { to, argument }
}

pub fn set(access: Access, value: Value) -> Store {
    Store { value, access, kind: StoreKind::Set }
}

pub fn reduce(op: ReduceOp, access: Access, value: Value) -> Store {
    Store { value, access, kind: StoreKind::Reduce(op) }
}

pub fn argmax(access: Access, value: Value) -> Store {
    Store { value, access, kind: StoreKind::ArgMax }
}

pub fn add_at(access: Access, index: Value, stride: i64, bound: i64, value: Value) -> Store {
    Store { value, access, kind: StoreKind::AddAt { index, stride: c(stride), bound: c(bound) } }
}

/// A nest of parallel and of reducing axes.
pub fn nest(parallel: &[Dim], reducing: &[Dim], body: Vec<Inst>, stores: Vec<Store>) -> TileOp {
    let axis = |reduce: bool| move |extent: &Dim| Axis { extent: extent.clone(), reduce };
    let axes = parallel.iter().map(axis(false)).chain(reducing.iter().map(axis(true))).collect();
    TileOp::Nest(Nest { axes, body, stores })
}

pub fn matrix(buffer: BufferRef, offset: Dim, row_stride: i64, column_stride: i64) -> Matrix {
    Matrix { buffer, offset, row_stride: c(row_stride), column_stride: c(column_stride) }
}

/// Element type and access (`r`, `w`, `b`oth) of each argument.
pub fn kernel(rows: Dim, tile: u32, arguments: &[(DType, char)], ops: Vec<TileOp>) -> Kernel {
    let argument = |(dtype, access): &(DType, char)| {
        let access = match access {
            'r' => ArgumentAccess::Read,
            'w' => ArgumentAccess::Write,
            _ => ArgumentAccess::ReadWrite,
        };
        Argument { dtype: *dtype, access }
    };
    let arguments = arguments.iter().map(argument).collect();
    Kernel { name: "sample".into(), rows, tile, arguments, scratch: Vec::new(), ops }
}

/// The kernel with scratch buffers of (type, offset, elements).
pub fn with_scratch(mut kernel: Kernel, scratch: &[(DType, u64, u64)]) -> Kernel {
    let buffer = |(dtype, offset, n): &(DType, u64, u64)| Scratch {
        dtype: *dtype,
        offset: *offset,
        bytes: n * dtype.bytes() as u64,
    };
    kernel.scratch = scratch.iter().map(buffer).collect();
    kernel
}

pub struct Sample {
    pub name: &'static str,
    pub kernel: Kernel,
    /// Of the run.
    pub batch: i64,
    pub arguments: Vec<Vec<f64>>,
    /// All arguments after the run.
    pub expected: Vec<Vec<f64>>,
}

fn sample(
    name: &'static str,
    kernel: Kernel,
    batch: i64,
    arguments: &[&[f64]],
    expected: &[&[f64]],
) -> Sample {
    let owned = |all: &[&[f64]]| all.iter().map(|a| a.to_vec()).collect();
    Sample { name, kernel, batch, arguments: owned(arguments), expected: owned(expected) }
}

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

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
fn flat(n: i64, arguments: &[(DType, char)], body: Vec<Inst>, stores: Vec<Store>) -> Kernel {
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
fn summed_products() -> Kernel {
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
fn positions() -> Kernel {
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

pub fn samples() -> Vec<Sample> {
    let big = f64::from(i32::MAX);
    vec![
        sample(
            "a map, the last tile shorter",
            affine(2),
            3,
            &[&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -1.0, -2.0, -3.0], &[NAN; 9]],
            &[
                &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -1.0, -2.0, -3.0],
                &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0, -1.0, -3.0, -5.0],
            ],
        ),
        sample("no rows at all", affine(2), 0, &[&[], &[]], &[&[], &[]]),
        sample(
            "softmax through scratch",
            softmax(2, 2),
            3,
            &[&[0.0, 0.0, 5.0, 5.0, -900.0, -900.0], &[NAN; 6]],
            &[&[0.0, 0.0, 5.0, 5.0, -900.0, -900.0], &[0.5; 6]],
        ),
        sample(
            "sums of rows",
            rows_reduced(ReduceOp::Sum, F32, 2, 3),
            1,
            &[&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], &[NAN; 2]],
            &[&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], &[6.0, 60.0]],
        ),
        sample(
            "the greatest of nothing",
            rows_reduced(ReduceOp::Max, F32, 2, 0),
            1,
            &[&[], &[NAN; 2]],
            &[&[], &[-INF; 2]],
        ),
        sample(
            "the least integer of nothing",
            rows_reduced(ReduceOp::Min, I32, 1, 0),
            1,
            &[&[], &[0.0]],
            &[&[], &[big]],
        ),
        sample(
            "products of integers wrap",
            rows_reduced(ReduceOp::Prod, I32, 2, 3),
            1,
            &[&[123_456_789.0, 987_654_321.0, 7.0, big, 3.0, 1.0], &[0.0; 2]],
            &[&[123_456_789.0, 987_654_321.0, 7.0, big, 3.0, 1.0], &[-470_071_133.0, 2_147_483_645.0]],
        ),
        sample(
            "sums of integers wrap",
            rows_reduced(ReduceOp::Sum, I32, 1, 3),
            1,
            &[&[big, 1.0, 5.0], &[0.0]],
            &[&[big, 1.0, 5.0], &[-2_147_483_643.0]],
        ),
        sample(
            "the first of equal ones is the greatest",
            places(3),
            1,
            &[&[1.0, 3.0, 3.0, -1.0, -2.0, -1.0], &[7.0; 2]],
            &[&[1.0, 3.0, 3.0, -1.0, -2.0, -1.0], &[1.0, 0.0]],
        ),
        sample(
            "the place of minus infinity",
            places(2),
            1,
            &[&[-INF, -INF, -INF, -1e30], &[7.0; 2]],
            &[&[-INF, -INF, -INF, -1e30], &[0.0, 1.0]],
        ),
        sample(
            "rows by index, two out of range",
            gather(F32, 4, 2, 3),
            1,
            &[&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, -1.0, 0.0, 3.0], &[7.0; 8]],
            &[
                &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
                &[2.0, -1.0, 0.0, 3.0],
                &[4.0, 5.0, NAN, NAN, 0.0, 1.0, NAN, NAN],
            ],
        ),
        sample(
            "integers by index, one out of range",
            gather(I32, 2, 1, 2),
            1,
            &[&[5.0, 6.0], &[9.0, 1.0], &[7.0; 2]],
            &[&[5.0, 6.0], &[9.0, 1.0], &[0.0, 6.0]],
        ),
        sample(
            "additions at indices, one twice, one out of range",
            scatter(F32, 4, 3),
            1,
            &[&[1.0, 2.0, 4.0, 8.0], &[2.0, 0.0, 2.0, 3.0], &[0.0, 10.0, 100.0]],
            &[&[1.0, 2.0, 4.0, 8.0], &[2.0, 0.0, 2.0, 3.0], &[2.0, 10.0, 105.0]],
        ),
        sample(
            "additions of integers wrap",
            scatter(I32, 2, 1),
            1,
            &[&[big, 2.0], &[0.0, 0.0], &[0.0]],
            &[&[big, 2.0], &[0.0, 0.0], &[-2_147_483_647.0]],
        ),
        sample(
            "f32 to i32 saturates",
            conversion(F32, I32, 6),
            1,
            &[&[1.9, -1.9, 3e9, -3e9, NAN, -0.0], &[7.0; 6]],
            &[&[1.9, -1.9, 3e9, -3e9, NAN, -0.0], &[1.0, -1.0, big, f64::from(i32::MIN), 0.0, 0.0]],
        ),
        sample(
            "f32 to u8 saturates",
            conversion(F32, DType::U8, 5),
            1,
            &[&[1.9, -1.9, 256.0, 255.9, NAN], &[7.0; 5]],
            &[&[1.9, -1.9, 256.0, 255.9, NAN], &[1.0, 0.0, 255.0, 255.0, 0.0]],
        ),
        sample(
            "i32 to u8 saturates",
            conversion(I32, DType::U8, 3),
            1,
            &[&[-1.0, 300.0, 7.0], &[7.0; 3]],
            &[&[-1.0, 300.0, 7.0], &[0.0, 255.0, 7.0]],
        ),
        sample(
            "f32 to bool",
            conversion(F32, DType::Bool, 4),
            1,
            &[&[0.0, -0.0, 1e-30, NAN], &[0.0; 4]],
            &[&[0.0, -0.0, 1e-30, NAN], &[0.0, 0.0, 1.0, 1.0]],
        ),
        sample(
            "bool to f32",
            conversion(DType::Bool, F32, 2),
            1,
            &[&[0.0, 1.0], &[7.0; 2]],
            &[&[0.0, 1.0], &[0.0, 1.0]],
        ),
        sample("places and sizes", positions(), 3, &[&[7.0; 3], &[7.0; 3]], &[&[0.0, 1.0, 2.0], &[6.0; 3]]),
        sample(
            "a product by rows",
            product(2, 1, 2),
            3,
            &[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 10.0], &[NAN; 3]],
            &[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 10.0], &[21.0, 43.0, 65.0]],
        ),
        sample("a product over nothing", product(0, 2, 2), 2, &[&[], &[], &[NAN; 4]], &[&[], &[], &[0.0; 4]]),
        sample(
            "products summed and added to",
            summed_products(),
            1,
            &[&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 10.0, 10.0], &[NAN]],
            &[&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 10.0, 10.0], &[74.0]],
        ),
        sample(
            "a nest without axes",
            kernel(
                c(1),
                1,
                &[(F32, 'b')],
                vec![nest(
                    &[],
                    &[],
                    vec![load(at(argument(0), F32, c(0), &[])), call(Func::Neg, &[0])],
                    vec![set(at(argument(0), F32, c(0), &[]), 1)],
                )],
            ),
            1,
            &[&[4.0]],
            &[&[-4.0]],
        ),
    ]
}
