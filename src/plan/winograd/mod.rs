//! Convolutions with 3x3 kernels at stride 1 by fewer multiplications: Winograd's F(2x2, 3x3) and F(4x4, 3x3).
//!
//! What enters: a contraction in which two labels of one side lie a window's taps apart (`row + tap`, `column + tap`, each
//! with three taps), and how it reads and writes. What leaves: tile ops that make the same result, or nothing where the plain product costs
//! less. Invariant: the choice follows from sizes alone. Not here: other kernels and strides; how tile ops make it
//! (`lower.rs`).
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
//! and, for `*` is summed over channels, it is 16 matrix products. A piece of 4x4 elements has 36 products where the plain one has 144
//! multiplications (the same, section 4.3):
//!
//! ```text
//! Bt = 4  0 -5  0  1  0    G =  1/4    0     0    At = 1  1  1  1  1  0
//!      0 -4 -4  1  1  0        -1/6  -1/6  -1/6        0  1 -1  2 -2  0
//!      0  4 -4 -1  1  0        -1/6   1/6  -1/6        0  1  1  4  4  0
//!      0 -2 -1  2  1  0         1/24  1/12  1/6        0  1 -1  8 -8  1
//!      0  2 -1 -2  1  0         1/24 -1/12  1/6
//!      0  4  0 -5  0  1          0     0     1
//! ```
//!
//! The formula is bilinear, so the gradient by the kernel has the same products with sides changed about: `dg = Gt [ (Bt d B) * (A dy At) ] G`,
//! summed over pieces. That by the input is a convolution itself (`passes/window.rs`). A strip of pieces passes through its transforms
//! and products while it is in cache. Pieces at the right and lower edge of a result may lie partly outside of it: there the picture and the
//! cotangent are 0, which changes nothing inside, and nothing is written.
//!
//! Rounding. With the greatest absolute values D of the picture, G of the kernel and Y of the result's cotangent, an element of the
//! result is, by F(2x2), the sum of 9 products' sums of k terms, each at most 4 D * 9/4 G with 10 roundings besides the k of its sum: it may
//! be off by `81 k (k + 10) 2^-24 D G`, where the plain sum may be by `81 k k 2^-24 D G`. An element of the kernel's gradient, over p
//! pieces, may be off by `64 p (p + 8) 2^-24 D Y`, the plain one by `16 p p 2^-24 D Y`. By F(4x4) the sums of absolute values along the rows
//! of `Bt`, `G` and `A` multiply to 48 in the row of `At`, and to 160/3 in the row of `Gt`, where they are most: a result may be off by
//! `2304 k (k + 26) 2^-24 D G`, a kernel's gradient by `2845 p (p + 26) 2^-24 D Y`, the plain one by `256 p p 2^-24 D Y`. An element that
//! is infinite or NaN makes all of its piece NaN.
//!
//! The cost model counts multiply-adds. A piece costs the plain product 9 for each of its elements and pairs of channels (k in, n out), here
//! one for each of its products, and its transforms, which move and add four lanes at a time where a product does 8 or 16: `picture` for
//! each channel in, `result` for each out. The kernel's own costs `kernel * k * n` once a tile. Of both sizes the one is taken that costs less.

mod lower;
mod transform;

use crate::base::{DType, Dim};
use crate::graph::Contraction;
use crate::nest::Access;
use transform::{OF_FOUR, OF_TWO, Transforms};

/// F(n x n, 3x3): pieces of a size, and what their transforms cost.
struct Algorithm {
    /// Elements of a piece of the result along each axis.
    piece: i64,
    by: Transforms,
    /// In multiply-adds: of a channel of a piece of the picture or of the result, and of a kernel's element.
    picture: i64,
    result: i64,
    kernel: i64,
}

const ALGORITHMS: [Algorithm; 2] = [
    Algorithm { piece: 2, by: OF_TWO, picture: 72, result: 56, kernel: 96 },
    Algorithm { piece: 4, by: OF_FOUR, picture: 300, result: 200, kernel: 245 },
];

impl Algorithm {
    /// Elements along each axis of the grid that a piece is made of.
    fn grid(&self) -> i64 {
        self.piece + 2
    }

    /// Its matrix products.
    fn n_products(&self) -> i64 {
        self.grid() * self.grid()
    }
}

/// Pieces that share a transformed kernel, or are added to it at once; at least.
const PIECES: i64 = 16;
/// Elements of a strip that is transformed, so that it stays in a core's cache beside what it is multiplied with.
const STRIP: i64 = 5 << 14;
/// Elements of a transformed kernel, at most: 4 MiB, for each picture passes through all of it, from a cache that cores share.
const MOST_KERNEL: i64 = 1 << 20;

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

/// A convolution in numbers.
#[derive(Clone, Copy)]
struct Shape {
    makes: Makes,
    /// Rows and columns of its result.
    places: [i64; 2],
    /// In and out.
    channels: [i64; 2],
}

impl Shape {
    /// The algorithm that costs least, if that is less than the plain product.
    fn cheapest(&self) -> Option<&'static Algorithm> {
        let costs = ALGORITHMS.iter().filter_map(|by| Some((self.cost(by)?, by)));
        let (cost, by) = costs.min_by(|(a, _), (b, _)| a.total_cmp(b))?;
        (cost < 1.0).then_some(by)
    }

    /// Rows and columns of pieces.
    fn pieces(&self, by: &Algorithm) -> [i64; 2] {
        self.places.map(|n| (n + by.piece - 1) / by.piece)
    }

    /// Rows of pieces that are transformed at a time.
    fn strip(&self, by: &Algorithm) -> i64 {
        let [rows, columns] = self.pieces(by);
        let [k, n] = self.channels;
        let of_row = k.saturating_add(n).saturating_mul(by.n_products() * columns);
        let fits = |strip: &i64| rows % strip == 0 && of_row.saturating_mul(*strip) <= STRIP;
        (1..=rows).rev().find(fits).unwrap_or(1)
    }

    /// What it costs, as a part of what the plain product does; nothing where it cannot be done, or has too few pieces at a time.
    fn cost(&self, by: &Algorithm) -> Option<f64> {
        let Algorithm { picture, result, kernel, .. } = by;
        if self.places.iter().any(|n| *n <= 0) {
            return None;
        }
        let ([rows, columns], [k, n]) = (self.pieces(by), self.channels);
        let product = k.saturating_mul(n);
        // The terms of a kernel's gradient are the pieces of one strip: what they are added to is read and written for each.
        let at_once = if self.makes == Makes::Kernel { self.strip(by) } else { rows };
        let fits = at_once * columns >= PIECES && product.saturating_mul(by.n_products()) <= MOST_KERNEL;
        let of_piece = product.saturating_mul(by.n_products()).saturating_add(picture * k + result * n);
        let here = of_piece.saturating_mul(rows * columns).saturating_add(kernel * product);
        let plain = product.saturating_mul(9).saturating_mul(self.places[0].saturating_mul(self.places[1]));
        fits.then(|| here as f64 / plain as f64)
    }
}

/// Whether the gradient of a 3x3 kernel is made by fewer multiplications: by rows and columns of what it convolves to, and channels.
pub fn makes_kernel(places: [i64; 2], channels: [i64; 2]) -> bool {
    Shape { makes: Makes::Kernel, places, channels }.cheapest().is_some()
}

/// A contraction that is such a convolution. In what has three elements, pictures come first, then the other factor, then what is made.
pub struct Winograd {
    by: &'static Algorithm,
    shape: Shape,
    access: [Access; 3],
    /// Rows and columns of the convolution's result, and their taps.
    places: [Label; 2],
    taps: [Label; 2],
    /// Channels in and out.
    channels: [Label; 2],
    /// In all three, or a kernel's parts: each has a convolution of its own.
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
                    let same_step = |place: &&Label| place.strides[0] == tap.strides[0];
                    pairs
                        .extend(with_places.iter().find(same_step).map(|place| (place.clone(), tap.clone())));
                }
                let [(row, row_tap), (column, column_tap)] = &pairs[..] else { return None };
                let is_free = |label: &&Label| ![row, row_tap, column, column_tap].contains(label);
                let mut free: Vec<&Label> = with_taps.iter().filter(is_free).collect();
                free.sort_by_key(|label| std::cmp::Reverse(label.extent.as_const()));
                let (channel, beside) = free.split_first()?;
                // A kernel's gradient may be made in parts, by channels (`split.rs`); sums over more than channels are none of ours.
                if makes == Makes::Result && !beside.is_empty() {
                    return None;
                }
                let each = of([true, true, true]).into_iter().chain(beside.iter().copied().cloned());
                let each: Vec<Label> = each.collect();
                let number = |label: &Label| label.extent.as_const();
                let shape = Shape {
                    makes,
                    places: [number(row)?, number(column)?],
                    channels: [number(channel)?, number(out)?],
                };
                Some(Winograd {
                    by: shape.cheapest()?,
                    shape,
                    access: access.map(Access::clone),
                    places: [row.clone(), column.clone()],
                    taps: [row_tap.clone(), column_tap.clone()],
                    channels: [(*channel).clone(), out.clone()],
                    each,
                    pictures: with_places.iter().filter(is_free).cloned().collect(),
                })
            },
        )
    }
}
