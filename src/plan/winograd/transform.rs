//! The transforms of F(2x2, 3x3) as nests.
//!
//! What enters: where the elements of small grids lie, in memory as they are or in sixteen matrices in scratch. What leaves: a nest that takes
//! each grid from one place to the other through a transform of its columns and rows. Not here: what is transformed when.

use super::super::lower::Body;
use crate::base::{DType, Dim};
use crate::nest::{Access, Axis, BufferRef, Inst, Matrix, Nest, Store, StoreKind, TileOp, Value};
use crate::scalar::Func;

/// The transform of a line.
type Transform = fn(&mut Body, &[Value]) -> Vec<Value>;

type Grid = Vec<Vec<Value>>;

fn call(body: &mut Body, func: Func, a: Value, b: Value) -> Value {
    body.push(Inst::Call { func, arguments: vec![a, b] })
}

fn half(body: &mut Body, x: Value) -> Value {
    let half = body.push(Inst::Const { bits: 0.5f64.to_bits(), dtype: DType::F32 });
    call(body, Func::Mul, x, half)
}

/// `Bt`
pub fn picture(body: &mut Body, d: &[Value]) -> Vec<Value> {
    vec![
        call(body, Func::Sub, d[0], d[2]),
        call(body, Func::Add, d[1], d[2]),
        call(body, Func::Sub, d[2], d[1]),
        call(body, Func::Sub, d[1], d[3]),
    ]
}

/// `G`
pub fn kernel(body: &mut Body, g: &[Value]) -> Vec<Value> {
    let ends = call(body, Func::Add, g[0], g[2]);
    let (ends, middle) = (half(body, ends), half(body, g[1]));
    vec![g[0], call(body, Func::Add, ends, middle), call(body, Func::Sub, ends, middle), g[2]]
}

/// `At`
pub fn result(body: &mut Body, m: &[Value]) -> Vec<Value> {
    let (sum, difference) = (call(body, Func::Add, m[1], m[2]), call(body, Func::Sub, m[1], m[2]));
    vec![call(body, Func::Add, m[0], sum), call(body, Func::Sub, difference, m[3])]
}

/// `A`
pub fn cotangent(body: &mut Body, y: &[Value]) -> Vec<Value> {
    let minus = body.push(Inst::Call { func: Func::Neg, arguments: vec![y[1]] });
    vec![y[0], call(body, Func::Add, y[0], y[1]), call(body, Func::Sub, y[0], y[1]), minus]
}

/// `Gt`
pub fn kernel_gradient(body: &mut Body, m: &[Value]) -> Vec<Value> {
    let (sum, difference) = (call(body, Func::Add, m[1], m[2]), call(body, Func::Sub, m[1], m[2]));
    let (sum, difference) = (half(body, sum), half(body, difference));
    vec![call(body, Func::Add, m[0], sum), difference, call(body, Func::Add, sum, m[3])]
}

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
    fn access(&self, i: usize, j: usize) -> Access {
        let [rows, columns] = &self.steps;
        let beyond = rows.clone() * Dim::from(i as i64) + columns.clone() * Dim::from(j as i64);
        let (buffer, strides) = (self.buffer, self.strides.clone());
        Access { buffer, dtype: DType::F32, offset: self.offset.clone() + beyond, strides }
    }
}

/// A nest that transforms a square grid at each index.
pub fn transform(extents: &[i64], size: usize, from: &Places, to: &Places, by: Transform) -> TileOp {
    let mut body = Body::default();
    let load = |body: &mut Body, i: usize, j: usize| body.push(Inst::Load { access: from.access(i, j) });
    let grid = (0..size).map(|i| (0..size).map(|j| load(&mut body, i, j)).collect()).collect();
    let made = both_ways(&mut body, grid, by);
    let mut stores = Vec::new();
    for (i, row) in made.iter().enumerate() {
        for (j, value) in row.iter().enumerate() {
            stores.push(Store { value: *value, access: to.access(i, j), kind: StoreKind::Set });
        }
    }
    let axes = extents.iter().map(|extent| Axis { extent: Dim::from(*extent), reduce: false }).collect();
    TileOp::Nest(Nest { axes, body: body.insts, stores })
}

/// 16 matrices in scratch, one behind another, of `rows` x `columns`.
pub struct Matrices {
    pub buffer: BufferRef,
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
        let steps = [Dim::from(4) * self.step(), self.step()];
        Places { buffer: self.buffer, offset: Dim::from(0), steps, strides }
    }

    pub fn zero(&self) -> TileOp {
        let mut body = Body::default();
        let value = body.push(Inst::Const { bits: 0f64.to_bits(), dtype: DType::F32 });
        let (buffer, offset) = (self.buffer, Dim::from(0));
        let access = Access { buffer, dtype: DType::F32, offset, strides: vec![Dim::from(1)] };
        let axes = vec![Axis { extent: Dim::from(16) * self.step(), reduce: false }];
        let stores = vec![Store { value, access, kind: StoreKind::Set }];
        TileOp::Nest(Nest { axes, body: body.insts, stores })
    }

    pub fn matrix(&self, row_stride: i64, column_stride: i64) -> Matrix {
        let (row_stride, column_stride) = (Dim::from(row_stride), Dim::from(column_stride));
        Matrix { buffer: self.buffer, dtype: DType::F32, offset: Dim::from(0), row_stride, column_stride }
    }
}
