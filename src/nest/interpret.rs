//! The meaning of kernels: every tile, every index, one after another, in f64.
//!
//! What enters: a kernel, its argument buffers, a batch. What leaves: the buffers, changed. Backends are tested against
//! this. Every address is checked; scratch is NaN when a tile starts, so a value that was not written shows. f32 values
//! are not rounded; i32 values wrap. Not here: speed.

use super::{Access, BufferRef, Fill, Gemm, Inst, Kernel, Matrix, Nest, StoreKind, TileOp, Value};
use crate::base::philox::Stream;
use crate::base::{DType, Dim, ReduceOp};

/// What varies from run to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub batch: i64,
    pub seed: u64,
    pub step: u64,
}

/// Runs a kernel over all its tiles.
///
/// # Errors
/// An address outside of a buffer, with the op's number.
pub fn run(kernel: &Kernel, arguments: &mut [Vec<f64>], run: Run) -> Result<(), String> {
    let at = |symbol: &str| (symbol == "batch").then_some(run.batch);
    let rows = kernel.rows.eval(&at).ok_or_else(|| format!("the number of rows is {}", kernel.rows))?;
    let mut start = 0;
    while start < rows {
        let tile = i64::from(kernel.tile).min(rows - start);
        let scratch =
            kernel.scratch.iter().map(|s| vec![f64::NAN; s.bytes as usize / s.dtype.bytes()]).collect();
        let mut cx = Tile { kernel, arguments, scratch, sizes: [run.batch, rows, start, tile], run };
        for (i, op) in kernel.ops.iter().enumerate() {
            let done = match op {
                TileOp::Nest(nest) => cx.nest(nest),
                TileOp::Gemm(gemm) => cx.gemm(gemm),
                TileOp::Fill(fill) => cx.fill(fill),
            };
            done.map_err(|e| format!("op {i}, tile from row {start}: {e}"))?;
        }
        start += tile;
    }
    Ok(())
}

struct Tile<'a> {
    kernel: &'a Kernel,
    arguments: &'a mut [Vec<f64>],
    scratch: Vec<Vec<f64>>,
    /// batch, rows, start, tile.
    sizes: [i64; 4],
    run: Run,
}

impl Tile<'_> {
    fn dim(&self, dim: &Dim) -> Result<i64, String> {
        let symbols = ["batch", "rows", "start", "tile"];
        let value = dim.eval(&|s| symbols.iter().position(|k| *k == s).map(|i| self.sizes[i]));
        value.ok_or_else(|| format!("{dim} has an unknown symbol"))
    }

    fn element(&mut self, buffer: BufferRef, at: i64) -> Result<&mut f64, String> {
        let elements = match buffer {
            BufferRef::Argument(i) => &mut self.arguments[i as usize],
            BufferRef::Scratch(i) => &mut self.scratch[i as usize],
        };
        let n = elements.len();
        let found = usize::try_from(at).ok().and_then(|at| elements.get_mut(at));
        found.ok_or_else(|| format!("element {at} of {buffer:?}, which has {n}"))
    }

    fn address(&self, access: &Access, index: &[i64]) -> Result<i64, String> {
        let mut at = self.dim(&access.offset)?;
        for (i, stride) in index.iter().zip(&access.strides) {
            at += i * self.dim(stride)?;
        }
        Ok(at)
    }

    fn nest(&mut self, nest: &Nest) -> Result<(), String> {
        let extents: Result<Vec<i64>, String> = nest.axes.iter().map(|a| self.dim(&a.extent)).collect();
        let extents = extents?;
        let n_parallel = nest.axes.iter().filter(|a| !a.reduce).count();
        let (parallel, reducing) = extents.split_at(n_parallel);
        for outer in indices(parallel) {
            let start = |kind: &StoreKind, dtype: DType| match kind {
                StoreKind::Reduce(op) => identity(*op, dtype),
                _ => 0.0,
            };
            let mut sums: Vec<f64> = nest.stores.iter().map(|s| start(&s.kind, s.access.dtype)).collect();
            let mut best: Vec<Option<f64>> = vec![None; nest.stores.len()];
            for (n, inner) in indices(reducing).into_iter().enumerate() {
                let index = [&outer[..], &inner].concat();
                let values = self.body(nest, &index)?;
                for (s, store) in nest.stores.iter().enumerate() {
                    let value = values[store.value as usize];
                    match &store.kind {
                        StoreKind::Set => {
                            let at = self.address(&store.access, &index)?;
                            *self.element(store.access.buffer, at)? = value;
                        }
                        StoreKind::Reduce(op) => {
                            sums[s] = wrap(combine(*op, sums[s], value), store.access.dtype);
                        }
                        StoreKind::ArgMax => {
                            if best[s].is_none_or(|b| value > b) {
                                best[s] = Some(value);
                                sums[s] = n as f64;
                            }
                        }
                        StoreKind::AddAt { index: to, stride, bound } => {
                            let to = values[*to as usize] as i64;
                            if to >= 0 && to < self.dim(bound)? {
                                let at = self.address(&store.access, &index)? + to * self.dim(stride)?;
                                *self.element(store.access.buffer, at)? += value;
                            }
                        }
                    }
                }
            }
            for (s, store) in nest.stores.iter().enumerate() {
                if matches!(store.kind, StoreKind::Reduce(_) | StoreKind::ArgMax) {
                    let at = self.address(&store.access, &outer)?;
                    *self.element(store.access.buffer, at)? = sums[s];
                }
            }
        }
        Ok(())
    }

    /// The values of all instructions at an index.
    fn body(&mut self, nest: &Nest, index: &[i64]) -> Result<Vec<f64>, String> {
        let mut values: Vec<f64> = Vec::with_capacity(nest.body.len());
        let mut types: Vec<DType> = Vec::with_capacity(nest.body.len());
        for inst in &nest.body {
            let at = |v: &Value| values[*v as usize];
            let (value, dtype) = match inst {
                Inst::Load { access } => {
                    let address = self.address(access, index)?;
                    (*self.element(access.buffer, address)?, access.dtype)
                }
                Inst::LoadAt { access, index: i, stride, bound } => {
                    let i = at(i) as i64;
                    let value = if i >= 0 && i < self.dim(bound)? {
                        let address = self.address(access, index)? + i * self.dim(stride)?;
                        *self.element(access.buffer, address)?
                    } else if access.dtype.is_float() {
                        f64::NAN
                    } else {
                        0.0
                    };
                    (value, access.dtype)
                }
                Inst::Const { bits, dtype } => (f64::from_bits(*bits), *dtype),
                Inst::Index { axis, offset } => {
                    ((index[*axis as usize] + self.dim(offset)?) as f64, DType::I32)
                }
                Inst::Size { size } => (self.dim(size)? as f64, DType::F32),
                Inst::Call { func, arguments } => {
                    let operands: Vec<f64> = arguments.iter().map(at).collect();
                    let operand_types: Vec<DType> = arguments.iter().map(|v| types[*v as usize]).collect();
                    let dtype = func.result_dtype(&operand_types)?;
                    (wrap(func.eval(&operands), dtype), dtype)
                }
                Inst::Cast { to, argument } => (cast(at(argument), *to), *to),
            };
            values.push(value);
            types.push(dtype);
        }
        Ok(values)
    }

    fn gemm(&mut self, gemm: &Gemm) -> Result<(), String> {
        let extents: Result<Vec<i64>, String> = gemm.batch.iter().map(|a| self.dim(&a.extent)).collect();
        let (m, n, k) = (self.dim(&gemm.m)?, self.dim(&gemm.n)?, self.dim(&gemm.k)?);
        for index in indices(&extents?) {
            let mut shifts = [0; 3];
            for (i, axis) in index.iter().zip(&gemm.batch) {
                for (shift, stride) in shifts.iter_mut().zip([&axis.lhs, &axis.rhs, &axis.out]) {
                    *shift += i * self.dim(stride)?;
                }
            }
            let later_turn = index.iter().zip(&gemm.batch).any(|(i, axis)| axis.reduce && *i > 0);
            for i in 0..m {
                for j in 0..n {
                    let out = self.matrix(&gemm.out, shifts[2], i, j)?;
                    let mut sum = 0.0;
                    if gemm.accumulate || later_turn {
                        sum = *self.element(gemm.out.buffer, out)?;
                    }
                    for l in 0..k {
                        let (a, b) = (
                            self.matrix(&gemm.lhs, shifts[0], i, l)?,
                            self.matrix(&gemm.rhs, shifts[1], l, j)?,
                        );
                        sum += *self.element(gemm.lhs.buffer, a)? * *self.element(gemm.rhs.buffer, b)?;
                    }
                    *self.element(gemm.out.buffer, out)? = sum;
                }
            }
        }
        Ok(())
    }

    fn matrix(&self, matrix: &Matrix, shift: i64, row: i64, column: i64) -> Result<i64, String> {
        let steps = row * self.dim(&matrix.row_stride)? + column * self.dim(&matrix.column_stride)?;
        Ok(self.dim(&matrix.offset)? + shift + steps)
    }

    fn fill(&mut self, fill: &Fill) -> Result<(), String> {
        let stream = Stream {
            seed: self.run.seed,
            step: self.run.step,
            site: fill.site,
            distribution: fill.distribution,
        };
        let (first, offset) = (self.dim(&fill.first)?, self.dim(&fill.offset)?);
        for i in 0..self.dim(&fill.count)? {
            *self.element(fill.buffer, offset + i)? = f64::from(stream.at((first + i) as u64));
        }
        debug_assert!(!self.kernel.ops.is_empty());
        Ok(())
    }
}

/// All indices below the extents, the last fastest; one empty index for no axes.
fn indices(extents: &[i64]) -> Vec<Vec<i64>> {
    let mut all: Vec<Vec<i64>> = vec![Vec::new()];
    for extent in extents {
        all = all.iter().flat_map(|i| (0..*extent).map(move |j| [&i[..], &[j]].concat())).collect();
    }
    all
}

fn identity(op: ReduceOp, dtype: DType) -> f64 {
    match (op, dtype) {
        (ReduceOp::Sum, _) => 0.0,
        (ReduceOp::Prod, _) => 1.0,
        (ReduceOp::Max, DType::I32) => i32::MIN.into(),
        (ReduceOp::Max, _) => f64::NEG_INFINITY,
        (ReduceOp::Min, DType::I32) => i32::MAX.into(),
        (ReduceOp::Min, _) => f64::INFINITY,
    }
}

fn combine(op: ReduceOp, a: f64, b: f64) -> f64 {
    match op {
        ReduceOp::Sum => a + b,
        ReduceOp::Prod => a * b,
        ReduceOp::Max => a.max(b),
        ReduceOp::Min => a.min(b),
    }
}

/// i32 results wrap.
fn wrap(value: f64, dtype: DType) -> f64 {
    if dtype == DType::I32 && value.is_finite() { f64::from(value as i64 as i32) } else { value }
}

/// To integers toward zero, saturating, NaN to 0; to bool as `!= 0`.
fn cast(x: f64, to: DType) -> f64 {
    match to {
        DType::F32 => x,
        DType::I32 => f64::from(x as i32),
        DType::U8 => f64::from(x as u8),
        DType::Bool => f64::from(u8::from(x != 0.0)),
    }
}
