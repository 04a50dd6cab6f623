//! Winograd's convolutions as tile ops.
//!
//! What enters: a convolution that was found, with its algorithm. What leaves: loops over pictures and strips of pieces, in which transforms
//! take these into matrices in scratch, products multiply them, and transforms give the result. Not here: which convolutions.

use super::super::lower::{Lowerer, ScratchUse};
use super::transform::{Matrices, Part, Places, Transform, transform};
use super::{Label, Makes, Winograd};
use crate::base::{DType, Dim};
use crate::nest::{BufferRef, Gemm, GemmAxis, Loop, TileOp, turn_symbol};

/// A label that a loop goes along, and the number of its turn.
struct Turns {
    along: Label,
    number: Dim,
}

/// Pieces between the places of a picture or a result, and matrices.
struct Strip {
    /// Rows and columns of pieces.
    pieces: [i64; 2],
    /// Elements of a piece along each axis; and of those in the last row, and in the last column, that are there.
    piece: i64,
    last: [i64; 2],
}

impl Strip {
    /// Takes pieces into matrices, with so many elements more along each axis.
    fn taken(&self, from: &Places, to: &Matrices, more: i64, by: Transform) -> Vec<TileOp> {
        let (matrices, n_channels) = (to.places(&self.pieces), to.columns);
        let take = |first: [i64; 2], [rows, columns]: [i64; 2], part: [i64; 2]| {
            let (from, at) = (from.from(&first), matrices.from(&first));
            let part = Part(part.map(|n| n + more));
            transform(&[rows, columns, n_channels], self.piece + more, (&from, part), (&at, Part::ALL), by)
        };
        self.parts(take)
    }

    /// Gives what is made of matrices out as pieces.
    fn given(&self, from: &Matrices, to: &Places, by: Transform) -> Vec<TileOp> {
        let matrices = from.places(&self.pieces);
        let give = |first: [i64; 2], [rows, columns]: [i64; 2], part: [i64; 2]| {
            let (from_first, to) = (matrices.from(&first), to.from(&first));
            let extents = [rows, columns, from.columns];
            transform(&extents, from.grid, (&from_first, Part::ALL), (&to, Part(part)), by)
        };
        self.parts(give)
    }

    /// An op for the whole pieces, and for those at each edge that are cut: of the first piece, how many there are along both axes, and the
    /// elements of each that are there.
    fn parts(&self, op: impl Fn([i64; 2], [i64; 2], [i64; 2]) -> TileOp) -> Vec<TileOp> {
        let along = |axis: usize| {
            let (n, last) = (self.pieces[axis], self.last[axis]);
            let n_whole = n - i64::from(last < self.piece);
            [(0, n_whole, self.piece), (n_whole, n - n_whole, last)].into_iter().filter(|(_, n, _)| *n > 0)
        };
        let both = along(0).flat_map(|row| along(1).map(move |column| (row, column)));
        both.map(|(row, column)| op([row.0, column.0], [row.1, column.1], [row.2, column.2])).collect()
    }
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
        let [k, n] = w.shape.channels;
        let [rows, columns] = w.shape.pieces(w.by);
        let strip = w.shape.strip(w.by);
        let pieces = strip * columns;
        let begun = self.out.clock;
        let (piece, grid, by) = (w.by.piece, w.by.grid(), &w.by.by);
        let (of_picture, of_kernel, of_result) =
            (self.matrices(grid, pieces, k), self.matrices(grid, k, n), self.matrices(grid, pieces, n));
        let [channel, out] = &w.channels;
        let several = |label: &Label, times: i64, extent: i64| Label {
            extent: Dim::from(extent),
            strides: label.strides.each_ref().map(|stride| stride.clone() * Dim::from(times)),
        };
        let [row, column] = [0, 1].map(|i| several(&w.places[i], piece, 0));
        let n_strips = rows / strip;
        let strip_of = |is_last: bool| {
            let last = [0, 1].map(|i| w.shape.places[i] - (w.shape.pieces(w.by)[i] - 1) * piece);
            Strip { pieces: [strip, columns], piece, last: [if is_last { last[0] } else { piece }, last[1]] }
        };
        let is_cut = strip_of(true).last[0] < piece;
        let strips = |n: i64| several(&w.places[0], piece * strip, n);
        let each = self.turns(0, w.each.iter().cloned());
        let pictures = self.turns(each.len(), w.pictures.iter().cloned());
        // Strips in a loop, and one that is cut.
        let n_whole = n_strips - i64::from(is_cut);
        let in_loop = self.turns(each.len() + pictures.len(), [strips(n_whole)].into_iter());
        let at_edge = [Turns { along: strips(n_strips), number: Dim::from(n_whole) }];

        let each_matrix = |lhs: &Matrices, rhs: &Matrices, out: &Matrices| GemmAxis {
            extent: Dim::from(w.by.n_products()),
            lhs: lhs.step(),
            rhs: rhs.step(),
            out: out.step(),
            reduce: false,
        };
        let [k_strides, n_strides] = [channel, out].map(|label| [&row, &column, label]);
        let product = match w.shape.makes {
            Makes::Result => Gemm {
                batch: vec![each_matrix(&of_picture, &of_kernel, &of_result)],
                m: Dim::from(pieces),
                n: Dim::from(n),
                k: Dim::from(k),
                lhs: of_picture.matrix(k, 1),
                rhs: of_kernel.matrix(n, 1),
                out: of_result.matrix(n, 1),
                accumulate: false,
            },
            Makes::Kernel => Gemm {
                batch: vec![each_matrix(&of_picture, &of_result, &of_kernel)],
                m: Dim::from(k),
                n: Dim::from(n),
                k: Dim::from(pieces),
                lhs: of_picture.matrix(1, k),
                rhs: of_result.matrix(n, 1),
                out: of_kernel.matrix(n, 1),
                accumulate: true,
            },
        };
        let product = TileOp::Gemm(Box::new(product));
        let of_strip = |cx: &mut Self, turns: &[Turns], strip: Strip| {
            let around: [&[Turns]; 3] = [&each, &pictures, turns];
            let picture = w.places(0, &around, &w.places, &k_strides);
            cx.out.push_all(strip.taken(&picture, &of_picture, 2, by.picture));
            match w.shape.makes {
                Makes::Result => {
                    let result = w.places(2, &around, &w.places, &n_strides);
                    cx.out.push(product.clone());
                    cx.out.push_all(strip.given(&of_result, &result, by.result));
                }
                Makes::Kernel => {
                    let cotangent = w.places(1, &around, &w.places, &n_strides);
                    cx.out.push_all(strip.taken(&cotangent, &of_result, 0, by.cotangent));
                    cx.out.push(product.clone());
                }
            }
        };
        let all = Part::ALL;
        self.in_turns(&each, |cx| {
            match w.shape.makes {
                Makes::Result => {
                    let from = w.places(1, &[&each], &w.taps, &[channel, out]);
                    let to = of_kernel.places(&[k]);
                    cx.out.push(transform(&[k, n], 3, (&from, all), (&to, all), by.kernel));
                }
                Makes::Kernel => cx.out.push(of_kernel.zero()),
            }
            cx.in_turns(&pictures, |cx| {
                if n_whole > 0 {
                    cx.in_turns(&in_loop, |cx| of_strip(cx, &in_loop, strip_of(false)));
                }
                if is_cut {
                    of_strip(cx, &at_edge, strip_of(true));
                }
            });
            if w.shape.makes == Makes::Kernel {
                let from = of_kernel.places(&[k]);
                let to = w.places(2, &[&each], &w.taps, &[channel, out]);
                cx.out.push(transform(&[k, n], grid, (&from, all), (&to, all), by.kernel_gradient));
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

    fn matrices(&mut self, grid: i64, rows: i64, columns: i64) -> Matrices {
        let now = self.out.clock;
        let buffer = BufferRef::Scratch(self.out.scratch.len() as u32);
        let matrices = Matrices { buffer, grid, rows, columns };
        let n_elements = Dim::from(grid * grid) * matrices.step();
        self.out.scratch.push(ScratchUse { dtype: DType::F32, n_elements, live: (now, now) });
        matrices
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
            ops = vec![TileOp::Loop(Loop::of_turns(turn, along.extent.clone(), ops))];
        }
        self.out.ops.extend(ops);
    }
}
