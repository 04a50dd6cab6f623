//! The meaning of kernels: every tile, every index, one after another, in f64.
//!
//! What enters: a kernel, its argument buffers, a batch. What leaves: the buffers, changed. Backends are tested against
//! this. Every address is checked, and so is every read of scratch: it must have been written by this tile, and not
//! through another buffer of the same bytes since (`scratch.rs`). Tiles that would race are an error (`tiles.rs`). f32 values are rounded as the caller says, or not at all;
//! i32 values wrap. Not here: speed.

use super::scratch::Arena;
use super::tiles::Touched;
use super::{
    Access, BufferRef, Fill, Gemm, Inst, Kernel, Loop, Matrix, Nest, Sort, StoreKind, TileOp, TurnOrder,
    Value,
};
use crate::base::philox::Stream;
use crate::base::{DType, Dim, sort_order};
use crate::scalar::Func;
use smol_str::SmolStr;

/// What varies from run to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    pub batch: i64,
    pub seed: u64,
    pub step: u64,
}

/// What becomes of a computed f32 value: gets the exact one, and how many ulp off a backend may be.
pub type Rounding<'a> = &'a mut dyn FnMut(f64, f64) -> f64;

/// The bound of what is rounded once.
const HALF: f64 = 0.5;

/// Runs a kernel over all its tiles, f32 values as f64.
///
/// # Errors
/// An address outside of a buffer, a read of scratch that holds nothing, tiles that are not independent; with the op's number.
pub fn run(kernel: &Kernel, arguments: &mut [Vec<f64>], run: Run) -> Result<(), String> {
    run_rounded(kernel, arguments, run, &mut |value, _| value)
}

/// Runs a kernel over all its tiles, each f32 result rounded by `round`.
///
/// # Errors
/// As `run`.
pub fn run_rounded(
    kernel: &Kernel,
    arguments: &mut [Vec<f64>],
    run: Run,
    round: Rounding,
) -> Result<(), String> {
    let at = |symbol: &str| (symbol == "batch").then_some(run.batch);
    let rows = kernel.rows.eval(&at).ok_or_else(|| format!("the number of rows is {}", kernel.rows))?;
    let mut touched = Touched::new(arguments.iter().map(Vec::len));
    let mut start = 0;
    while start < rows {
        let tile = i64::from(kernel.tile).min(rows - start);
        let scratch = Arena::new(&kernel.scratch);
        touched.begin(format!("the tile from row {start}"));
        let mut cx = Tile {
            arguments,
            touched: &mut touched,
            scratch,
            sizes: [run.batch, rows, start, tile],
            turns: Vec::new(),
            run,
            round,
        };
        cx.ops(&kernel.ops).map_err(|e| format!("tile from row {start}: {e}"))?;
        start += tile;
    }
    Ok(())
}

struct Tile<'a> {
    arguments: &'a mut [Vec<f64>],
    touched: &'a mut Touched,
    scratch: Arena<'a>,
    /// batch, rows, start, tile.
    sizes: [i64; 4],
    /// Of the loops that are running, outermost first: first places and sizes.
    turns: Vec<(SmolStr, i64)>,
    run: Run,
    round: Rounding<'a>,
}

impl Tile<'_> {
    fn ops(&mut self, ops: &[TileOp]) -> Result<(), String> {
        for (i, op) in ops.iter().enumerate() {
            let done = match op {
                TileOp::Nest(nest) => self.nest(nest),
                TileOp::Gemm(gemm) => self.gemm(gemm),
                TileOp::Fill(fill) => self.fill(fill),
                TileOp::Sort(sort) => self.sort(sort),
                TileOp::Loop(l) => self.turns(l),
            };
            done.map_err(|e| format!("op {i}: {e}"))?;
        }
        Ok(())
    }

    fn turns(&mut self, l: &Loop) -> Result<(), String> {
        let extent = self.dim(&l.extent)?;
        let around = self.touched.who().to_string();
        let before = (l.order == TurnOrder::Alone).then(|| self.scratch.clone());
        let mut turns: Vec<i64> = (0..extent).step_by(l.block as usize).collect();
        if l.order == TurnOrder::Any {
            turns.reverse();
        }
        for turn in turns {
            if let Some(before) = &before {
                self.scratch = before.clone();
                self.touched.begin(format!("{around}, turn {turn}"));
            }
            let n_outside = self.turns.len();
            self.turns.push((l.turn.clone(), turn));
            self.turns.push((l.size_symbol(), (extent - turn).min(l.block.into())));
            let done = self.ops(&l.ops).map_err(|e| format!("turn {turn}, {e}"));
            self.turns.truncate(n_outside);
            done?;
        }
        if let Some(before) = before {
            self.scratch = before;
            self.touched.begin(around);
        }
        Ok(())
    }

    fn dim(&self, dim: &Dim) -> Result<i64, String> {
        let symbols = ["batch", "rows", "start", "tile"];
        let turn = |s: &str| self.turns.iter().find(|(turn, _)| turn == s).map(|(_, number)| *number);
        let size = |s: &str| symbols.iter().position(|k| *k == s).map(|i| self.sizes[i]);
        let value = dim.eval(&|s| size(s).or_else(|| turn(s)));
        value.ok_or_else(|| format!("{dim} has an unknown symbol"))
    }

    /// The function's value on a type; f32 results are rounded.
    fn call(&mut self, func: Func, of: DType, gives: DType, operands: &[f64]) -> f64 {
        let value = func.eval_on(of, operands);
        if gives == DType::F32 { (self.round)(value, func.row().ulp) } else { value }
    }

    fn read(&mut self, buffer: BufferRef, at: i64) -> Result<f64, String> {
        match buffer {
            BufferRef::Argument(i) => {
                let elements = &self.arguments[i as usize];
                let at = place(buffer, elements.len(), at)?;
                self.touched.read(i, at)?;
                Ok(elements[at])
            }
            BufferRef::Scratch(i) => {
                let at = place(buffer, self.scratch.len(i), at)?;
                let value = self.scratch.read(i, at);
                value.ok_or_else(|| format!("element {at} of {buffer} is read, but holds nothing"))
            }
        }
    }

    fn write(&mut self, buffer: BufferRef, at: i64, value: f64) -> Result<(), String> {
        match buffer {
            BufferRef::Argument(i) => {
                let elements = &mut self.arguments[i as usize];
                let at = place(buffer, elements.len(), at)?;
                self.touched.write(i, at)?;
                elements[at] = value;
            }
            BufferRef::Scratch(i) => {
                let at = place(buffer, self.scratch.len(i), at)?;
                self.scratch.write(i, at, value);
            }
        }
        Ok(())
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
                StoreKind::Reduce(op) => op.identity(dtype),
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
                            self.write(store.access.buffer, at, value)?;
                        }
                        StoreKind::Reduce(op) => {
                            let dtype = store.access.dtype;
                            sums[s] = self.call(Func::of_reduction(*op), dtype, dtype, &[sums[s], value]);
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
                                let before = self.read(store.access.buffer, at)?;
                                let dtype = store.access.dtype;
                                let sum = self.call(Func::Add, dtype, dtype, &[before, value]);
                                self.write(store.access.buffer, at, sum)?;
                            }
                        }
                    }
                }
            }
            for (s, store) in nest.stores.iter().enumerate() {
                if matches!(store.kind, StoreKind::Reduce(_) | StoreKind::ArgMax) {
                    let at = self.address(&store.access, &outer)?;
                    self.write(store.access.buffer, at, sums[s])?;
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
                    (self.read(access.buffer, address)?, access.dtype)
                }
                Inst::LoadAt { access, index: i, stride, bound } => {
                    let i = at(i) as i64;
                    let value = if i >= 0 && i < self.dim(bound)? {
                        let address = self.address(access, index)? + i * self.dim(stride)?;
                        self.read(access.buffer, address)?
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
                    let of = operand_types.last().copied().unwrap_or(dtype);
                    (self.call(*func, of, dtype, &operands), dtype)
                }
                Inst::Cast { to: DType::F32, argument } if types[*argument as usize] != DType::BF16 => {
                    ((self.round)(at(argument), HALF), DType::F32)
                }
                Inst::Cast { to, argument } => (to.convert(at(argument)), *to),
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
                        sum = self.read(gemm.out.buffer, out)?;
                    }
                    for l in 0..k {
                        let (a, b) = (
                            self.matrix(&gemm.lhs, shifts[0], i, l)?,
                            self.matrix(&gemm.rhs, shifts[1], l, j)?,
                        );
                        sum += self.read(gemm.lhs.buffer, a)? * self.read(gemm.rhs.buffer, b)?;
                        sum = (self.round)(sum, HALF);
                    }
                    self.write(gemm.out.buffer, out, sum)?;
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
            self.write(fill.buffer, offset + i, f64::from(stream.at((first + i) as u64)))?;
        }
        Ok(())
    }

    fn sort(&mut self, sort: &Sort) -> Result<(), String> {
        let extents: Result<Vec<i64>, String> = sort.axes.iter().map(|axis| self.dim(axis)).collect();
        let n = self.dim(&sort.n)?;
        for outer in indices(&extents?) {
            let mut line: Vec<(f64, i64)> = Vec::new();
            for place in 0..n {
                let at = self.address(&sort.source, &[&outer[..], &[place]].concat())?;
                line.push((self.read(sort.source.buffer, at)?, place));
            }
            line.sort_by(|a, b| sort_order(a.0, b.0, sort.descending));
            for (i, (_, place)) in line.into_iter().enumerate() {
                let at = self.address(&sort.out, &[&outer[..], &[i as i64]].concat())?;
                self.write(sort.out.buffer, at, place as f64)?;
            }
        }
        Ok(())
    }
}

/// The place of element `at` in a buffer of `n`.
fn place(buffer: BufferRef, n: usize, at: i64) -> Result<usize, String> {
    let found = usize::try_from(at).ok().filter(|at| *at < n);
    found.ok_or_else(|| format!("element {at} of {buffer}, which has {n}"))
}

/// All indices below the extents, the last fastest; one empty index for no axes.
fn indices(extents: &[i64]) -> Vec<Vec<i64>> {
    let mut all: Vec<Vec<i64>> = vec![Vec::new()];
    for extent in extents {
        all = all.iter().flat_map(|i| (0..*extent).map(move |j| [&i[..], &[j]].concat())).collect();
    }
    all
}
