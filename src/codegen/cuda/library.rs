//! Kernels that are one matrix product, which a library of them can do as well.
//!
//! What enters: a kernel and a batch. What leaves: the product over all of the kernel's rows at once, as a
//! call of a library that counts columns first (BLAS); or nothing, where it is none, or its matrices have no
//! unit stride. Invariant: the call computes what the kernel does, but for the order of sums. Not here:
//! calling anything.

use crate::base::{DType, Dim};
use crate::nest::{BufferRef, Gemm, Kernel, Matrix, TileOp};
use smol_str::SmolStr;

/// `d = op(a) op(b) + beta d`, for each of `count` places: `d` has `m` rows and `n` columns, both factors `k` terms.
/// Column by column: element (i, j) of a matrix lies at `offset + i + j * leading`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Call {
    pub m: u64,
    pub n: u64,
    pub k: u64,
    pub count: u64,
    pub a: Factor,
    pub b: Factor,
    pub d: Factor,
    /// Whether `beta` is 1, else 0.
    pub accumulate: bool,
    /// Whether f32 factors may be rounded to tf32.
    pub allows_tf32: bool,
    /// Which kernel would make the product together with what its factors are made of and what is made of it (`plan/prologue.rs`,
    /// `plan/epilogue.rs`): who makes the call leaves that to other kernels.
    pub fused: Option<SmolStr>,
    /// Whether a library makes it only where that was chosen: its factors are in no memory yet.
    pub is_for_choice: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Factor {
    /// The kernel's argument.
    pub argument: usize,
    pub dtype: DType,
    /// In elements.
    pub offset: u64,
    pub leading: u64,
    /// From one of the `count` places to the next.
    pub stride: u64,
    /// Whether `op` exchanges rows and columns.
    pub transposed: bool,
}

/// A matrix of a product in numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Strided {
    argument: usize,
    dtype: DType,
    offset: i64,
    row: i64,
    column: i64,
    place: i64,
}

impl Strided {
    fn flipped(self) -> Strided {
        Strided { row: self.column, column: self.row, ..self }
    }

    /// As `rows` by `columns`, column by column.
    fn factor(self, rows: i64, columns: i64) -> Option<Factor> {
        let fits = |leading: i64, length: i64, others: i64| leading >= length || others <= 1;
        let (leading, length, transposed) = if self.row == 1 && fits(self.column, rows, columns) {
            (self.column, rows, false)
        } else if self.column == 1 && fits(self.row, columns, rows) {
            (self.row, columns, true)
        } else {
            return None;
        };
        Some(Factor {
            argument: self.argument,
            dtype: self.dtype,
            offset: u64::try_from(self.offset).ok()?,
            // What is one column wide may have any.
            leading: u64::try_from(leading.max(length)).ok()?,
            stride: u64::try_from(self.place).ok()?,
            transposed,
        })
    }
}

/// The call that does what the kernel does, if there is one; it rounds no factors.
pub fn call(kernel: &Kernel, batch: i64) -> Option<Call> {
    let [TileOp::Gemm(gemm)] = &kernel.ops[..] else { return None };
    let rows = kernel.n_rows(batch)?;
    let tile = i64::from(kernel.tile);
    let at = |start: i64, tile: i64| Product::of(gemm, [batch, rows, start, tile]);
    let whole = at(0, rows)?;
    // What tiles do must be parts of the whole: the first, the second, and the last.
    for start in [0, tile, (rows - 1).max(0) / tile * tile] {
        if start < rows && !at(start, tile.min(rows - start))?.is_part_of(&whole, start, rows) {
            return None;
        }
    }
    whole.call()
}

/// A product in numbers, over the rows of a tile.
struct Product {
    m: i64,
    n: i64,
    k: i64,
    count: i64,
    lhs: Strided,
    rhs: Strided,
    out: Strided,
    accumulate: bool,
}

impl Product {
    /// `sizes` are `batch`, `rows`, `start` and `tile`.
    fn of(gemm: &Gemm, sizes: [i64; 4]) -> Option<Product> {
        let symbols = ["batch", "rows", "start", "tile"];
        let number =
            |dim: &Dim| dim.eval(&|symbol| symbols.iter().position(|s| *s == symbol).map(|i| sizes[i]));
        // Loops around, outermost first: their extent, and the steps of the three matrices.
        let mut loops: Vec<(i64, [i64; 3])> = Vec::new();
        for axis in &gemm.batch {
            let (extent, steps) = (number(&axis.extent)?, [&axis.lhs, &axis.rhs, &axis.out].map(&number));
            let steps = [steps[0]?, steps[1]?, steps[2]?];
            match loops.last_mut() {
                _ if extent == 1 => {}
                _ if axis.reduce => return None,
                // Two that follow each other without a gap are one.
                Some((last, outer)) if (0..3).all(|i| outer[i] == steps[i] * extent) => {
                    (*last, *outer) = (*last * extent, steps);
                }
                _ => loops.push((extent, steps)),
            }
        }
        let (count, steps) = match loops[..] {
            [] => (1, [0; 3]),
            [(extent, steps)] => (extent, steps),
            _ => return None,
        };
        let strided = |matrix: &Matrix, place: i64| {
            let BufferRef::Argument(argument) = matrix.buffer else { return None };
            let [offset, row, column] =
                [&matrix.offset, &matrix.row_stride, &matrix.column_stride].map(&number);
            let (argument, dtype) = (argument as usize, matrix.dtype);
            Some(Strided { argument, dtype, offset: offset?, row: row?, column: column?, place })
        };
        Some(Product {
            m: number(&gemm.m)?,
            n: number(&gemm.n)?,
            k: number(&gemm.k)?,
            count,
            lhs: strided(&gemm.lhs, steps[0])?,
            rhs: strided(&gemm.rhs, steps[1])?,
            out: strided(&gemm.out, steps[2])?,
            accumulate: gemm.accumulate,
        })
    }

    /// Whether this is what the whole does from row `start` of the kernel's `rows` on. The rows are its own
    /// rows, its columns or its places, or groups of as many each.
    fn is_part_of(&self, whole: &Product, start: i64, rows: i64) -> bool {
        let sizes = |product: &Product| [product.m, product.n, product.count];
        let steps = [
            [whole.lhs.row, 0, whole.out.row],
            [0, whole.rhs.column, whole.out.column],
            [whole.lhs.place, whole.rhs.place, whole.out.place],
        ];
        let matrices = [(self.lhs, whole.lhs), (self.rhs, whole.rhs), (self.out, whole.out)];
        let along = |axis: usize| {
            let group = sizes(whole)[axis] / rows.max(1);
            let others = (0..3).filter(|other| *other != axis);
            others.into_iter().all(|other| sizes(self)[other] == sizes(whole)[other])
                && matrices.iter().zip(steps[axis]).all(|((part, whole), step)| {
                    // How far places are apart does not matter where there is one.
                    let place = if self.count == 1 { whole.place } else { part.place };
                    Strided { offset: part.offset - start * group * step, place, ..*part } == *whole
                })
        };
        self.k == whole.k && self.accumulate == whole.accumulate && (0..3).any(along)
    }

    fn call(self) -> Option<Call> {
        // What a library counts by columns is the transpose: `outᵀ = rhsᵀ lhsᵀ`. Where `out` lies by columns,
        // it is itself.
        let (m, n, a, b, d) = if self.out.column == 1 {
            (self.n, self.m, self.rhs.flipped(), self.lhs.flipped(), self.out.flipped())
        } else {
            (self.m, self.n, self.lhs, self.rhs, self.out)
        };
        let d = d.factor(m, n).filter(|d| !d.transposed)?;
        let positive = |n: i64| u64::try_from(n).ok().filter(|n| *n > 0);
        Some(Call {
            m: positive(m)?,
            n: positive(n)?,
            k: positive(self.k)?,
            count: positive(self.count)?,
            a: a.factor(m, self.k)?,
            b: b.factor(self.k, n)?,
            d,
            accumulate: self.accumulate,
            allows_tf32: false,
            fused: None,
            is_for_choice: false,
        })
    }
}

/// What the call means, on arguments as numbers; each sum in the order of its terms.
pub fn interpret(call: &Call, arguments: &mut [Vec<f64>]) {
    let at = |factor: &Factor, place: u64, row: u64, column: u64| {
        let (row, column) = if factor.transposed { (column, row) } else { (row, column) };
        (factor.offset + place * factor.stride + row + column * factor.leading) as usize
    };
    for place in 0..call.count {
        for (row, column) in (0..call.m).flat_map(|row| (0..call.n).map(move |column| (row, column))) {
            let to = at(&call.d, place, row, column);
            let mut sum = if call.accumulate { arguments[call.d.argument][to] } else { 0.0 };
            for term in 0..call.k {
                let a = arguments[call.a.argument][at(&call.a, place, row, term)];
                let b = arguments[call.b.argument][at(&call.b, place, term, column)];
                sum = f64::from((sum + a * b) as f32);
            }
            arguments[call.d.argument][to] = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nest::interpret::{Run, run_rounded};
    use crate::nest::{Argument, ArgumentAccess, GemmAxis};

    /// The sizes of a product, and how its matrices lie.
    struct Case {
        name: &'static str,
        /// What rows of the kernel are: `m`, `n` or the places.
        rows: &'static str,
        /// (row stride, column stride) of lhs, rhs, out for m = 6, n = 5, k = 4.
        strides: [(i64, i64); 3],
        is_call: bool,
    }

    const CASES: [Case; 9] = [
        Case { name: "row-major", rows: "m", strides: [(4, 1), (5, 1), (5, 1)], is_call: true },
        Case { name: "rows of a wider matrix", rows: "m", strides: [(9, 1), (8, 1), (7, 1)], is_call: true },
        Case { name: "lhs transposed", rows: "m", strides: [(1, 6), (5, 1), (5, 1)], is_call: true },
        Case { name: "rhs transposed", rows: "m", strides: [(4, 1), (1, 4), (5, 1)], is_call: true },
        Case { name: "out transposed", rows: "m", strides: [(4, 1), (5, 1), (1, 6)], is_call: true },
        Case { name: "all transposed", rows: "m", strides: [(1, 6), (1, 4), (1, 6)], is_call: true },
        Case { name: "tiles of columns", rows: "n", strides: [(4, 1), (5, 1), (5, 1)], is_call: true },
        Case { name: "tiles of places", rows: "places", strides: [(4, 1), (5, 1), (5, 1)], is_call: true },
        Case { name: "no unit stride", rows: "m", strides: [(8, 2), (5, 1), (5, 1)], is_call: false },
    ];

    fn kernel(case: &Case, accumulate: bool, tile: u32) -> Kernel {
        let [m, n, k, places] = [6i64, 5, 4, 3];
        let symbol = |name: &str| Dim::symbol(name);
        let size = |name: &str, size: i64| if case.rows == name { symbol("tile") } else { Dim::from(size) };
        let space = |(row, column): (i64, i64), rows: i64, columns: i64| {
            (rows - 1) * row + (columns - 1) * column + 1
        };
        let [lhs, rhs, out] = case.strides;
        let steps = [space(lhs, m, k), space(rhs, k, n), space(out, m, n)];
        let offset = |by: [i64; 3]| {
            let of = ["m", "n", "places"].iter().position(|name| *name == case.rows).unwrap();
            symbol("start") * Dim::from(by[of])
        };
        let matrix = |argument: u32, strides: (i64, i64), offset: Dim| Matrix {
            buffer: BufferRef::Argument(argument),
            dtype: DType::F32,
            offset,
            row_stride: Dim::from(strides.0),
            column_stride: Dim::from(strides.1),
        };
        let gemm = Gemm {
            batch: vec![GemmAxis {
                extent: size("places", places),
                lhs: Dim::from(steps[0]),
                rhs: Dim::from(steps[1]),
                out: Dim::from(steps[2]),
                reduce: false,
            }],
            m: size("m", m),
            n: size("n", n),
            k: Dim::from(k),
            lhs: matrix(0, lhs, offset([lhs.0, 0, steps[0]])),
            rhs: matrix(1, rhs, offset([0, rhs.1, steps[1]])),
            out: matrix(2, out, offset([out.0, out.1, steps[2]])),
            accumulate,
        };
        let rows = match case.rows {
            "m" => m,
            "n" => n,
            _ => places,
        };
        let argument = |access| Argument { dtype: DType::F32, access };
        Kernel {
            name: case.name.into(),
            rows: Dim::from(rows),
            tile,
            arguments: vec![
                argument(ArgumentAccess::Read),
                argument(ArgumentAccess::Read),
                argument(ArgumentAccess::ReadWrite),
            ],
            scratch: Vec::new(),
            ops: vec![TileOp::Gemm(Box::new(gemm))],
        }
    }

    #[test]
    fn calls_do_what_kernels_do() {
        for case in &CASES {
            for (accumulate, tile) in [(false, 1), (true, 2), (false, 4), (true, 64)] {
                let kernel = kernel(case, accumulate, tile);
                let found = call(&kernel, 1);
                assert_eq!(found.is_some(), case.is_call, "{} in tiles of {tile}", case.name);
                let Some(found) = found else { continue };
                let fill = |seed: usize| (0..400).map(|i| ((i * 37 + seed) % 19) as f64 - 9.0).collect();
                let mut expected: Vec<Vec<f64>> = (0..3).map(fill).collect();
                let mut calculated = expected.clone();
                let round = &mut |value: f64, _| f64::from(value as f32);
                run_rounded(&kernel, &mut expected, Run { batch: 1, seed: 0, step: 0 }, round).unwrap();
                interpret(&found, &mut calculated);
                assert_eq!(calculated, expected, "{} in tiles of {tile}: {found:?}", case.name);
            }
        }
    }

    #[test]
    fn other_kernels_are_none() {
        let mut two = kernel(&CASES[0], false, 2);
        two.ops.push(two.ops[0].clone());
        assert_eq!(call(&two, 1), None);
        // A tile whose offset does not follow its rows.
        let mut odd = kernel(&CASES[0], false, 2);
        let TileOp::Gemm(gemm) = &mut odd.ops[0] else { unreachable!() };
        gemm.lhs.offset = Dim::symbol("start") * Dim::from(3);
        assert_eq!(call(&odd, 1), None);
    }
}
