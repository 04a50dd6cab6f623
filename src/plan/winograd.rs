//! Convolutions with 3x3 kernels at stride 1 by fewer multiplications: Winograd's F(2x2, 3x3).
//!
//! What enters: a contraction in which two labels of one side lie a window's taps apart (`row + tap`, `column + tap`, each
//! with three taps), and how it reads and writes. What leaves: tile ops that make the same result, or nothing where the plain product costs
//! less. Invariant: the choice follows from sizes alone. Not here: other kernels and strides, odd pictures.
//!
//! A piece of 2x2 elements of the result and the 4x4 elements of the picture under it are transformed so that the 36
//! multiplications a channel become 16 (Lavin and Gray 2016, arXiv 1509.09308, section 4.1): with pictures `d`, kernels `g` and results `y`
//!
//! ```text
//! y = At [ (G g Gt) * (Bt d B) ] A      Bt = 1  0 -1  0    G = 1    0    0    At = 1  1  1  0
//!                                            0  1  1  0        1/2  1/2  1/2       0  1 -1 -1
//!                                            0 -1  1  0        1/2 -1/2  1/2
//!                                            0  1  0 -1        0    0    1
//! ```
//!
//! and, for `*` is summed over channels, it is 16 matrix products. The formula is bilinear, so the gradient by the kernel has
//! the same 16 products with sides changed about: `dg = Gt [ (Bt d B) * (A dy At) ] G`, summed over pieces. That by the input is a
//! convolution itself (`passes/window.rs`). A strip of pieces passes through its transforms and products while it is in cache.
//!
//! Rounding. With the greatest absolute values D of the picture, G of the kernel and Y of the result's cotangent, an element of the
//! result is the sum of 9 products' sums of k terms, each at most 4 D * 9/4 G with 10 roundings besides the k of its sum: it may be off
//! by `81 k (k + 10) 2^-24 D G`, where the plain sum may be by `81 k k 2^-24 D G`. An element of the kernel's gradient, over p
//! pieces, may be off by `64 p (p + 8) 2^-24 D Y`, the plain one by `16 p p 2^-24 D Y`. An element that is infinite or NaN makes all of
//! its piece NaN.
//!
//! The cost model counts multiply-adds. A piece costs the plain product `36 * k * n` (k channels in, n out), this one `16 * k * n` and
//! its transforms, which move and add four lanes at a time where a product does 8 or 16: `PICTURE` for each channel in,
//! `RESULT` for each out. The kernel's own costs `KERNEL * k * n` once a tile.

use super::lower::{Body, Lowerer, ScratchUse};
use crate::base::{DType, Dim};
use crate::graph::Contraction;
use crate::nest::{
    Access, Axis, BufferRef, Gemm, GemmAxis, Inst, Loop, Matrix, Nest, Store, StoreKind, TileOp, Value,
    turn_symbol,
};
use crate::scalar::Func;

/// Transforms' costs in multiply-adds: of a channel of a piece of the picture or of the result, and of a kernel's element.
const PICTURE: i64 = 72;
const RESULT: i64 = 56;
const KERNEL: i64 = 96;
/// Pieces that share a transformed kernel, at least.
const PIECES: i64 = 16;
/// Elements of a strip that is transformed, so that it stays in a core's cache beside what it is multiplied with.
const STRIP: i64 = 1 << 16;
/// Elements of a transformed kernel, at most.
const MOST_KERNEL: i64 = 1 << 18;

/// One label, or several that step as one: strides in pictures, in the other factor, and in the result.
#[derive(Clone, PartialEq, Debug)]
struct Label {
    extent: Dim,
    strides: [Dim; 3],
}

/// Which factor of the convolution the contraction makes: its result, or the kernel's gradient.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Makes {
    Result,
    Kernel,
}

/// A contraction that is such a convolution. In what has three elements, pictures come first, then the other factor, then what is made.
pub struct Winograd {
    makes: Makes,
    access: [Access; 3],
    /// Rows and columns of the convolution's result, and their taps.
    places: [Label; 2],
    taps: [Label; 2],
    /// Channels in and out.
    channels: [Label; 2],
    /// In all three: each has a convolution of its own.
    each: Vec<Label>,
    /// Pictures of one convolution: rows of a result, terms of a kernel's gradient.
    pictures: Vec<Label>,
}

impl Winograd {
    /// `extents`: of the output's labels, then of the summed ones; so are strides ordered. The accesses are of left, right and output.
    pub fn find(contraction: &Contraction, extents: &[Dim], access: &[Access; 3]) -> Option<Winograd> {
        if access.iter().any(|a| a.dtype != DType::F32) {
            return None;
        }
        (0..2).find_map(|side| {
            let [left, right, out] = access;
            let (pictures, other) = if side == 0 { (left, right) } else { (right, left) };
            Winograd::with_pictures(contraction, extents, side, [pictures, other, out])
        })
    }

    fn with_pictures(
        contraction: &Contraction,
        extents: &[Dim],
        side: usize,
        access: [&Access; 3],
    ) -> Option<Winograd> {
        let all = [&contraction.out[..], &contraction.summed()].concat();
        let labels = (0..all.len()).filter(|i| !extents[*i].is_const(1)).map(|i| {
            let label = Label { extent: extents[i].clone(), strides: access.map(|a| a.strides[i].clone()) };
            let sides = [&contraction.lhs, &contraction.rhs];
            let within = [sides[side], sides[1 - side], &contraction.out].map(|of| of.contains(&all[i]));
            (within, label)
        });
        let labels: Vec<([bool; 3], Label)> = labels.collect();
        let of = |within: [bool; 3]| -> Vec<Label> {
            labels.iter().filter(|(w, _)| *w == within).map(|(_, label)| label.clone()).collect()
        };
        let (rows, columns, summed) =
            (of([true, false, true]), of([false, true, true]), of([true, true, false]));
        let [out] = &columns[..] else { return None };
        [(Makes::Result, &rows, &summed), (Makes::Kernel, &summed, &rows)].into_iter().find_map(
            |(makes, with_places, with_taps)| {
                let mut pairs = Vec::new();
                for tap in with_taps.iter().filter(|tap| tap.extent.is_const(3)) {
                    let same_step =
                        |place: &&Label| place.strides[0] == tap.strides[0] && is_even(&place.extent);
                    pairs
                        .extend(with_places.iter().find(same_step).map(|place| (place.clone(), tap.clone())));
                }
                let [(row, row_tap), (column, column_tap)] = &pairs[..] else { return None };
                let is_free = |label: &&Label| ![row, row_tap, column, column_tap].contains(label);
                let [channel] = with_taps.iter().filter(is_free).collect::<Vec<_>>()[..] else { return None };
                let winograd = Winograd {
                    makes,
                    access: access.map(Access::clone),
                    places: [row.clone(), column.clone()],
                    taps: [row_tap.clone(), column_tap.clone()],
                    channels: [channel.clone(), out.clone()],
                    each: of([true, true, true]),
                    pictures: with_places.iter().filter(is_free).cloned().collect(),
                };
                winograd.is_worth().then_some(winograd)
            },
        )
    }

    /// Rows and columns of pieces.
    fn pieces(&self) -> [i64; 2] {
        self.places.each_ref().map(|place| place.extent.as_const().expect("an even number") / 2)
    }

    fn is_worth(&self) -> bool {
        let [Some(k), Some(n)] = self.channels.each_ref().map(|label| label.extent.as_const()) else {
            return false;
        };
        let [rows, columns] = self.pieces();
        let product = k.saturating_mul(n);
        let transforms = PICTURE * k + RESULT * n + KERNEL * product / (rows * columns).max(1);
        rows * columns >= PIECES
            && product.saturating_mul(16) <= MOST_KERNEL
            && product.saturating_mul(36 - 16) > transforms
    }
}

fn is_even(extent: &Dim) -> bool {
    extent.as_const().is_some_and(|n| n >= 2 && n % 2 == 0)
}

type Grid = Vec<Vec<Value>>;

fn call(body: &mut Body, func: Func, a: Value, b: Value) -> Value {
    body.push(Inst::Call { func, arguments: vec![a, b] })
}

fn half(body: &mut Body, x: Value) -> Value {
    let half = body.push(Inst::Const { bits: 0.5f64.to_bits(), dtype: DType::F32 });
    call(body, Func::Mul, x, half)
}

/// `Bt`
fn picture(body: &mut Body, d: &[Value]) -> Vec<Value> {
    vec![
        call(body, Func::Sub, d[0], d[2]),
        call(body, Func::Add, d[1], d[2]),
        call(body, Func::Sub, d[2], d[1]),
        call(body, Func::Sub, d[1], d[3]),
    ]
}

/// `G`
fn kernel(body: &mut Body, g: &[Value]) -> Vec<Value> {
    let ends = call(body, Func::Add, g[0], g[2]);
    let (ends, middle) = (half(body, ends), half(body, g[1]));
    vec![g[0], call(body, Func::Add, ends, middle), call(body, Func::Sub, ends, middle), g[2]]
}

/// `At`
fn result(body: &mut Body, m: &[Value]) -> Vec<Value> {
    let (sum, difference) = (call(body, Func::Add, m[1], m[2]), call(body, Func::Sub, m[1], m[2]));
    vec![call(body, Func::Add, m[0], sum), call(body, Func::Sub, difference, m[3])]
}

/// `A`
fn cotangent(body: &mut Body, y: &[Value]) -> Vec<Value> {
    let minus = body.push(Inst::Call { func: Func::Neg, arguments: vec![y[1]] });
    vec![y[0], call(body, Func::Add, y[0], y[1]), call(body, Func::Sub, y[0], y[1]), minus]
}

/// `Gt`
fn kernel_gradient(body: &mut Body, m: &[Value]) -> Vec<Value> {
    let (sum, difference) = (call(body, Func::Add, m[1], m[2]), call(body, Func::Sub, m[1], m[2]));
    let (sum, difference) = (half(body, sum), half(body, difference));
    vec![call(body, Func::Add, m[0], sum), difference, call(body, Func::Add, sum, m[3])]
}

/// A transform of columns, then of rows.
fn both_ways(body: &mut Body, grid: Grid, transform: fn(&mut Body, &[Value]) -> Vec<Value>) -> Grid {
    let columns: Grid = (0..grid[0].len())
        .map(|j| transform(body, &grid.iter().map(|row| row[j]).collect::<Vec<_>>()))
        .collect();
    (0..columns[0].len())
        .map(|i| transform(body, &columns.iter().map(|column| column[i]).collect::<Vec<_>>()))
        .collect()
}

/// Where the elements of a grid lie: the first, steps from row to row and column to column, and along the nest's axes.
struct Places {
    buffer: BufferRef,
    offset: Dim,
    steps: [Dim; 2],
    strides: Vec<Dim>,
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
fn transform(
    extents: &[i64],
    size: usize,
    from: &Places,
    to: &Places,
    by: fn(&mut Body, &[Value]) -> Vec<Value>,
) -> TileOp {
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
struct Matrices {
    buffer: BufferRef,
    rows: i64,
    columns: i64,
}

impl Matrices {
    fn size(&self) -> Dim {
        Dim::from(self.rows * self.columns)
    }

    /// As the grids at each row, which are counted along `rows`, and column.
    fn places(&self, rows: &[i64]) -> Places {
        let across = Dim::from(self.columns);
        let strides = match rows {
            [_, inner] => vec![Dim::from(inner * self.columns), across, Dim::from(1)],
            _ => vec![across, Dim::from(1)],
        };
        let steps = [Dim::from(4) * self.size(), self.size()];
        Places { buffer: self.buffer, offset: Dim::from(0), steps, strides }
    }

    fn zero(&self) -> TileOp {
        let mut body = Body::default();
        let value = body.push(Inst::Const { bits: 0f64.to_bits(), dtype: DType::F32 });
        let (buffer, offset) = (self.buffer, Dim::from(0));
        let access = Access { buffer, dtype: DType::F32, offset, strides: vec![Dim::from(1)] };
        let axes = vec![Axis { extent: Dim::from(16) * self.size(), reduce: false }];
        let stores = vec![Store { value, access, kind: StoreKind::Set }];
        TileOp::Nest(Nest { axes, body: body.insts, stores })
    }

    fn matrix(&self, row_stride: i64, column_stride: i64) -> Matrix {
        let (row_stride, column_stride) = (Dim::from(row_stride), Dim::from(column_stride));
        Matrix { buffer: self.buffer, dtype: DType::F32, offset: Dim::from(0), row_stride, column_stride }
    }
}

/// A label that a loop goes along, and the number of its turn.
struct Turns {
    along: Label,
    number: Dim,
}

impl Winograd {
    /// The grids of side `side` in a turn of some loops: `steps` lead from element to element, `every` from grid to grid.
    fn places(&self, side: usize, turns: &[&[Turns]], steps: &[Label; 2], every: &[&Label]) -> Places {
        let offset = turns.iter().copied().flatten().fold(self.access[side].offset.clone(), |sum, turn| {
            sum + turn.number.clone() * turn.along.strides[side].clone()
        });
        let of_side = |label: &Label| label.strides[side].clone();
        Places {
            buffer: self.access[side].buffer,
            offset,
            steps: steps.each_ref().map(of_side),
            strides: every.iter().map(|label| of_side(label)).collect(),
        }
    }
}

impl Lowerer<'_> {
    pub fn lower_winograd(&mut self, w: &Winograd) {
        let [k, n] = w.channels.each_ref().map(|label| label.extent.as_const().expect("it was worth it"));
        let [rows, columns] = w.pieces();
        let fits = |strip: &i64| rows % strip == 0 && 16 * strip * columns * (k + n) <= STRIP;
        let strip = (1..=rows).rev().find(fits).unwrap_or(1);
        let pieces = strip * columns;
        let begun = self.out.clock;
        let (of_picture, of_kernel, of_result) =
            (self.matrices(pieces, k), self.matrices(k, n), self.matrices(pieces, n));
        let [channel, out] = &w.channels;
        let several = |label: &Label, times: i64, extent: i64| Label {
            extent: Dim::from(extent),
            strides: label.strides.each_ref().map(|stride| stride.clone() * Dim::from(times)),
        };
        let [row, column] = [0, 1].map(|i| several(&w.places[i], 2, 0));
        let strips = several(&w.places[0], 2 * strip, rows / strip);
        let each = self.turns(0, w.each.iter().cloned());
        let inside = self.turns(each.len(), w.pictures.iter().cloned().chain([strips]));
        let around: [&[Turns]; 2] = [&each, &inside];

        let (plane, kernels) = ([strip, columns], [k, n]);
        let picture = {
            let from = w.places(0, &around, &w.places, &[&row, &column, channel]);
            transform(&[strip, columns, k], 4, &from, &of_picture.places(&plane), picture)
        };
        let sixteen = |lhs: &Matrices, rhs: &Matrices, out: &Matrices| GemmAxis {
            extent: Dim::from(16),
            lhs: lhs.size(),
            rhs: rhs.size(),
            out: out.size(),
            reduce: false,
        };
        self.in_turns(&each, |cx| match w.makes {
            Makes::Result => {
                let from = w.places(1, &[&each], &w.taps, &[channel, out]);
                cx.out.push(transform(&kernels, 3, &from, &of_kernel.places(&[k]), kernel));
                let to = w.places(2, &around, &w.places, &[&row, &column, out]);
                let product = Gemm {
                    batch: vec![sixteen(&of_picture, &of_kernel, &of_result)],
                    m: Dim::from(pieces),
                    n: Dim::from(n),
                    k: Dim::from(k),
                    lhs: of_picture.matrix(k, 1),
                    rhs: of_kernel.matrix(n, 1),
                    out: of_result.matrix(n, 1),
                    accumulate: false,
                };
                cx.in_turns(&inside, |cx| {
                    cx.out.push(picture);
                    cx.out.push(TileOp::Gemm(Box::new(product)));
                    cx.out.push(transform(&[strip, columns, n], 4, &of_result.places(&plane), &to, result));
                });
            }
            Makes::Kernel => {
                let from = w.places(1, &around, &w.places, &[&row, &column, out]);
                let product = Gemm {
                    batch: vec![sixteen(&of_picture, &of_result, &of_kernel)],
                    m: Dim::from(k),
                    n: Dim::from(n),
                    k: Dim::from(pieces),
                    lhs: of_picture.matrix(1, k),
                    rhs: of_result.matrix(n, 1),
                    out: of_kernel.matrix(n, 1),
                    accumulate: true,
                };
                cx.out.push(of_kernel.zero());
                cx.in_turns(&inside, |cx| {
                    cx.out.push(picture);
                    cx.out.push(transform(
                        &[strip, columns, n],
                        2,
                        &from,
                        &of_result.places(&plane),
                        cotangent,
                    ));
                    cx.out.push(TileOp::Gemm(Box::new(product)));
                });
                let to = w.places(2, &[&each], &w.taps, &[channel, out]);
                cx.out.push(transform(&kernels, 4, &of_kernel.places(&[k]), &to, kernel_gradient));
            }
        });
        // All that is touched in a turn is there in every turn.
        let end = self.out.clock;
        let own = [&of_picture, &of_kernel, &of_result].map(|matrices| matrices.buffer);
        for (buffer, first) in
            own.map(|b| (b, begun)).into_iter().chain(w.access.each_ref().map(|a| (a.buffer, end)))
        {
            if let BufferRef::Scratch(i) = buffer {
                let live = &mut self.out.scratch[i as usize].live;
                *live = (live.0.min(first), end);
            }
        }
    }

    fn matrices(&mut self, rows: i64, columns: i64) -> Matrices {
        let now = self.out.clock;
        let n_elements = Dim::from(16 * rows * columns);
        self.out.scratch.push(ScratchUse { dtype: DType::F32, n_elements, live: (now, now) });
        Matrices { buffer: BufferRef::Scratch(self.out.scratch.len() as u32 - 1), rows, columns }
    }

    /// Loops along labels, inside of `n_around` others of this lowering.
    fn turns(&self, n_around: usize, labels: impl Iterator<Item = Label>) -> Vec<Turns> {
        let several = labels.filter(|label| !label.extent.is_const(1));
        let depth = self.depth + n_around;
        several
            .enumerate()
            .map(|(i, along)| Turns { along, number: Dim::symbol(turn_symbol(depth + i)) })
            .collect()
    }

    /// What `inside` pushes, in loops.
    fn in_turns(&mut self, turns: &[Turns], inside: impl FnOnce(&mut Self)) {
        let before = std::mem::take(&mut self.out.ops);
        inside(self);
        let mut ops = std::mem::replace(&mut self.out.ops, before);
        for Turns { along, number } in turns.iter().rev() {
            let turn = number.symbols().remove(0);
            ops = vec![TileOp::Loop(Loop { turn, turns: along.extent.clone(), ops })];
        }
        self.out.ops.extend(ops);
    }
}
