//! The transforms of F(2x2, 3x3) and F(4x4, 3x3) as nests.
//!
//! What enters: where the elements of small grids lie, in memory as they are or in matrices in scratch, one for each element of a grid. What leaves: a nest that takes
//! each grid from one place to the other through a transform of its columns and rows. Of a grid at a picture's edge a part is there: the rest
//! is read as 0 and not written. Not here: what is transformed when.

use super::super::lower::Body;
use crate::base::{DType, Dim};
use crate::nest::{Access, Axis, BufferRef, Inst, Matrix, Nest, Store, StoreKind, TileOp, Value};
use crate::scalar::Func;

/// The transform of a line.
pub type Transform = fn(&mut Body, &[Value]) -> Vec<Value>;

type Grid = Vec<Vec<Value>>;

fn call(body: &mut Body, func: Func, a: Value, b: Value) -> Value {
    body.push(Inst::Call { func, arguments: vec![a, b] })
}

fn scaled(body: &mut Body, x: Value, by: f64) -> Value {
    let by = body.push(Inst::Const { bits: by.to_bits(), dtype: DType::F32 });
    call(body, Func::Mul, x, by)
}

fn add(body: &mut Body, a: Value, b: Value) -> Value {
    call(body, Func::Add, a, b)
}

fn sub(body: &mut Body, a: Value, b: Value) -> Value {
    call(body, Func::Sub, a, b)
}

fn sum_and_difference(body: &mut Body, a: Value, b: Value) -> [Value; 2] {
    [add(body, a, b), sub(body, a, b)]
}

/// The transforms of lines that an algorithm consists of, by their names in the module's documentation.
pub struct Transforms {
    /// `Bt`
    pub picture: Transform,
    /// `G`
    pub kernel: Transform,
    /// `At`
    pub result: Transform,
    /// `A`
    pub cotangent: Transform,
    /// `Gt`
    pub kernel_gradient: Transform,
}

/// Of F(2x2, 3x3).
pub const OF_TWO: Transforms = Transforms {
    picture: |body, d| {
        vec![sub(body, d[0], d[2]), add(body, d[1], d[2]), sub(body, d[2], d[1]), sub(body, d[1], d[3])]
    },
    kernel: |body, g| {
        let ends = add(body, g[0], g[2]);
        let (ends, middle) = (scaled(body, ends, 0.5), scaled(body, g[1], 0.5));
        let [sum, difference] = sum_and_difference(body, ends, middle);
        vec![g[0], sum, difference, g[2]]
    },
    result: |body, m| {
        let [sum, difference] = sum_and_difference(body, m[1], m[2]);
        vec![add(body, m[0], sum), sub(body, difference, m[3])]
    },
    cotangent: |body, y| {
        let minus = body.push(Inst::Call { func: Func::Neg, arguments: vec![y[1]] });
        let [sum, difference] = sum_and_difference(body, y[0], y[1]);
        vec![y[0], sum, difference, minus]
    },
    kernel_gradient: |body, m| {
        let [sum, difference] = sum_and_difference(body, m[1], m[2]);
        let (sum, difference) = (scaled(body, sum, 0.5), scaled(body, difference, 0.5));
        vec![add(body, m[0], sum), difference, add(body, sum, m[3])]
    },
};

/// Of F(4x4, 3x3).
pub const OF_FOUR: Transforms = Transforms {
    picture: |body, d| {
        let quadruple: Vec<Value> = (0..4).map(|i| scaled(body, d[i], 4.0)).collect();
        let (first, last) = (sub(body, d[4], d[2]), sub(body, d[5], d[3]));
        // 4 d0 - 5 d2 + d4, 4 d1 - 5 d3 + d5
        let (left, right) = (sub(body, quadruple[0], quadruple[2]), sub(body, quadruple[1], quadruple[3]));
        let (even, odd) = (sub(body, d[4], quadruple[2]), sub(body, d[3], quadruple[1]));
        let [near, far] = sum_and_difference(body, even, odd);
        let twice = sub(body, d[3], d[1]);
        let twice = scaled(body, twice, 2.0);
        let [above, below] = sum_and_difference(body, first, twice);
        vec![add(body, left, first), near, far, above, below, add(body, right, last)]
    },
    kernel: |body, g| {
        let ends = add(body, g[0], g[2]);
        let (ends, middle) = (scaled(body, ends, -1.0 / 6.0), scaled(body, g[1], 1.0 / 6.0));
        let (first, second) = (sub(body, ends, middle), add(body, ends, middle));
        let (of_first, of_last) = (scaled(body, g[0], 1.0 / 24.0), scaled(body, g[2], 1.0 / 6.0));
        let (ends, middle) = (add(body, of_first, of_last), scaled(body, g[1], 1.0 / 12.0));
        let [third, fourth] = sum_and_difference(body, ends, middle);
        vec![scaled(body, g[0], 0.25), first, second, third, fourth, g[2]]
    },
    result: |body, m| {
        let [sum, difference] = sum_and_difference(body, m[1], m[2]);
        let [further_sum, further] = sum_and_difference(body, m[3], m[4]);
        let (first, second) = (add(body, m[0], sum), scaled(body, further, 2.0));
        let (third, fourth) = (scaled(body, further_sum, 4.0), scaled(body, further, 8.0));
        let fourth = add(body, difference, fourth);
        vec![
            add(body, first, further_sum),
            add(body, difference, second),
            add(body, sum, third),
            add(body, fourth, m[5]),
        ]
    },
    cotangent: |body, y| {
        let (even, odd) = (add(body, y[0], y[2]), add(body, y[1], y[3]));
        let [sum, difference] = sum_and_difference(body, even, odd);
        let (quadruple, twice, eightfold) =
            (scaled(body, y[2], 4.0), scaled(body, y[1], 2.0), scaled(body, y[3], 8.0));
        let (even, odd) = (add(body, y[0], quadruple), add(body, twice, eightfold));
        let [further_sum, further] = sum_and_difference(body, even, odd);
        vec![y[0], sum, difference, further_sum, further, y[3]]
    },
    kernel_gradient: |body, m| {
        let [sum, difference] = sum_and_difference(body, m[1], m[2]);
        let (sum, difference) = (scaled(body, sum, 1.0 / 6.0), scaled(body, difference, 1.0 / 6.0));
        let [further_sum, further] = sum_and_difference(body, m[3], m[4]);
        let (first, second) = (scaled(body, further_sum, 1.0 / 24.0), scaled(body, further, 1.0 / 12.0));
        let third = scaled(body, further_sum, 1.0 / 6.0);
        let (ends, last) = (scaled(body, m[0], 0.25), add(body, third, m[5]));
        let near = sub(body, ends, sum);
        vec![add(body, near, first), sub(body, second, difference), sub(body, last, sum)]
    },
};

/// A transform of columns, then of rows.
fn both_ways(body: &mut Body, grid: Grid, transform: Transform) -> Grid {
    let columns: Grid = (0..grid[0].len())
        .map(|j| transform(body, &grid.iter().map(|row| row[j]).collect::<Vec<_>>()))
        .collect();
    (0..columns[0].len())
        .map(|i| transform(body, &columns.iter().map(|column| column[i]).collect::<Vec<_>>()))
        .collect()
}

/// Where the elements of a grid lie: the first, steps from row to row and column to column, and along the nest's axes.
pub struct Places {
    pub buffer: BufferRef,
    pub offset: Dim,
    pub steps: [Dim; 2],
    pub strides: Vec<Dim>,
}

impl Places {
    /// The grids from `first` along the nest's axes.
    pub fn from(&self, first: &[i64]) -> Places {
        let beyond = first.iter().zip(&self.strides).map(|(n, stride)| Dim::from(*n) * stride.clone());
        let offset = beyond.fold(self.offset.clone(), |sum, step| sum + step);
        Places { offset, steps: self.steps.clone(), strides: self.strides.clone(), ..*self }
    }

    fn access(&self, i: usize, j: usize) -> Access {
        let [rows, columns] = &self.steps;
        let beyond = rows.clone() * Dim::from(i as i64) + columns.clone() * Dim::from(j as i64);
        let (buffer, strides) = (self.buffer, self.strides.clone());
        Access { buffer, dtype: DType::F32, offset: self.offset.clone() + beyond, strides }
    }
}

/// Rows and columns of a grid that are there.
#[derive(Clone, Copy)]
pub struct Part(pub [i64; 2]);

impl Part {
    pub const ALL: Part = Part([i64::MAX; 2]);

    fn has(&self, i: usize, j: usize) -> bool {
        (i as i64) < self.0[0] && (j as i64) < self.0[1]
    }
}

/// A nest that transforms a square grid at each index, as much as is there.
pub fn transform(
    extents: &[i64],
    size: i64,
    (from, read): (&Places, Part),
    (to, written): (&Places, Part),
    by: Transform,
) -> TileOp {
    let (mut body, size) = (Body::default(), size as usize);
    let load = |body: &mut Body, i: usize, j: usize| {
        body.push(match read.has(i, j) {
            true => Inst::Load { access: from.access(i, j) },
            false => Inst::Const { bits: 0f64.to_bits(), dtype: DType::F32 },
        })
    };
    let grid = (0..size).map(|i| (0..size).map(|j| load(&mut body, i, j)).collect()).collect();
    let made = both_ways(&mut body, grid, by);
    let mut stores = Vec::new();
    for (i, row) in made.iter().enumerate() {
        for (j, value) in row.iter().enumerate().filter(|(j, _)| written.has(i, *j)) {
            stores.push(Store { value: *value, access: to.access(i, j), kind: StoreKind::Set });
        }
    }
    let axes = extents.iter().map(|extent| Axis { extent: Dim::from(*extent), reduce: false }).collect();
    TileOp::Nest(Nest { axes, body: body.insts, stores })
}

/// Matrices in scratch, one behind another, of `rows` x `columns`: for each element of a grid one.
pub struct Matrices {
    pub buffer: BufferRef,
    /// Elements of a grid along each axis.
    pub grid: i64,
    pub rows: i64,
    pub columns: i64,
}

impl Matrices {
    /// Elements from one matrix to the next: an odd number of lines of a cache, for the same place in all of them is touched at
    /// once, and must not be the same place of the cache.
    pub fn step(&self) -> Dim {
        const LINE: i64 = 16;
        let lines = (self.rows * self.columns + LINE - 1) / LINE;
        Dim::from((lines | 1) * LINE)
    }

    /// As the grids at each row, which are counted along `rows`, and column.
    pub fn places(&self, rows: &[i64]) -> Places {
        let across = Dim::from(self.columns);
        let strides = match rows {
            [_, inner] => vec![Dim::from(inner * self.columns), across, Dim::from(1)],
            _ => vec![across, Dim::from(1)],
        };
        let steps = [Dim::from(self.grid) * self.step(), self.step()];
        Places { buffer: self.buffer, offset: Dim::from(0), steps, strides }
    }

    pub fn zero(&self) -> TileOp {
        let mut body = Body::default();
        let value = body.push(Inst::Const { bits: 0f64.to_bits(), dtype: DType::F32 });
        let (buffer, offset) = (self.buffer, Dim::from(0));
        let access = Access { buffer, dtype: DType::F32, offset, strides: vec![Dim::from(1)] };
        let axes = vec![Axis { extent: Dim::from(self.grid * self.grid) * self.step(), reduce: false }];
        let stores = vec![Store { value, access, kind: StoreKind::Set }];
        TileOp::Nest(Nest { axes, body: body.insts, stores })
    }

    pub fn matrix(&self, row_stride: i64, column_stride: i64) -> Matrix {
        let (row_stride, column_stride) = (Dim::from(row_stride), Dim::from(column_stride));
        Matrix { buffer: self.buffer, dtype: DType::F32, offset: Dim::from(0), row_stride, column_stride }
    }
}
