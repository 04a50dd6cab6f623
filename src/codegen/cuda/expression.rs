//! Sizes and addresses as C expressions.
//!
//! What enters: `Dim`s, and the names of indices. What leaves: text in 32 or 64 bits. A kernel counts in 32 bits where the greatest batch
//! shows that every address and every count fits: a GPU has no 64-bit multiplier. Invariant: what is more than a
//! word stands in parentheses where something is multiplied or divided by it. Not here: element types.

use crate::base::Dim;
use crate::nest::{Access, Gemm, Inst, Kernel, Loop, Matrix, Nest, Sort, StoreKind, TileOp};
use smol_str::SmolStr;

/// Half of what 32 bits hold, so that a loop's last step does not pass it either.
const MOST: f64 = (1u64 << 30) as f64;

/// The greatest sizes of a kernel.
#[derive(Clone)]
struct Greatest {
    batch: f64,
    rows: f64,
    tile: f64,
    turns: Vec<(SmolStr, f64)>,
}

impl Greatest {
    /// The greatest that the terms of a size sum to, whatever their signs.
    fn of(&self, dim: &Dim) -> f64 {
        let symbol = |s: &SmolStr| match s.as_str() {
            "batch" => self.batch,
            "rows" | "start" => self.rows,
            "tile" => self.tile,
            turn => self.turns.iter().find(|(name, _)| name == turn).map_or(f64::INFINITY, |(_, n)| *n),
        };
        let term = |(symbols, c): &(Vec<SmolStr>, i64)| {
            symbols.iter().map(symbol).product::<f64>() * c.unsigned_abs() as f64
        };
        dim.terms().iter().map(term).sum()
    }

    fn product<'a>(&self, dims: impl Iterator<Item = &'a Dim>) -> f64 {
        dims.map(|dim| self.of(dim)).product()
    }

    fn access(&self, access: &Access, extents: &[&Dim]) -> f64 {
        let steps = access.strides.iter().zip(extents).map(|(stride, n)| self.of(stride) * self.of(n));
        self.of(&access.offset) + steps.sum::<f64>()
    }

    fn nest(&self, nest: &Nest) -> f64 {
        let extents: Vec<&Dim> = nest.axes.iter().map(|axis| &axis.extent).collect();
        let mut most = self.product(extents.iter().copied());
        for inst in &nest.body {
            most = most.max(match inst {
                Inst::Load { access } => self.access(access, &extents),
                Inst::LoadAt { access, stride, bound, .. } => {
                    self.access(access, &extents) + self.of(stride) * self.of(bound)
                }
                Inst::Index { axis, offset } => self.of(extents[*axis as usize]) + self.of(offset),
                Inst::Size { size } => self.of(size),
                Inst::Const { .. } | Inst::Call { .. } | Inst::Cast { .. } => 0.0,
            });
        }
        for store in &nest.stores {
            let more = match &store.kind {
                StoreKind::AddAt { stride, bound, .. } => self.of(stride) * self.of(bound),
                _ => 0.0,
            };
            most = most.max(self.access(&store.access, &extents) + more);
        }
        most
    }

    fn gemm(&self, gemm: &Gemm) -> f64 {
        let loops: f64 = self.product(gemm.batch.iter().map(|axis| &axis.extent));
        let side = |matrix: &Matrix, rows: &Dim, columns: &Dim, at: fn(&crate::nest::GemmAxis) -> &Dim| {
            let around: f64 = gemm.batch.iter().map(|axis| self.of(&axis.extent) * self.of(at(axis))).sum();
            let inside = self.of(&matrix.row_stride) * self.of(rows)
                + self.of(&matrix.column_stride) * self.of(columns);
            self.of(&matrix.offset) + around + inside
        };
        let sides = side(&gemm.lhs, &gemm.m, &gemm.k, |axis| &axis.lhs)
            .max(side(&gemm.rhs, &gemm.k, &gemm.n, |axis| &axis.rhs))
            .max(side(&gemm.out, &gemm.m, &gemm.n, |axis| &axis.out));
        sides.max(loops * self.of(&gemm.m) * self.of(&gemm.n)).max(self.of(&gemm.k))
    }

    fn sort(&self, sort: &Sort) -> f64 {
        let extents: Vec<&Dim> = sort.axes.iter().chain([&sort.n]).collect();
        let all = self.product(extents.iter().copied());
        all.max(self.access(&sort.source, &extents)).max(self.access(&sort.out, &extents))
    }

    fn turns(&mut self, l: &Loop) -> f64 {
        let extent = self.of(&l.extent);
        let n_outside = self.turns.len();
        self.turns.push((l.turn.clone(), extent));
        self.turns.push((l.size_symbol(), extent.min(l.block.into())));
        let most = self.ops(&l.ops);
        self.turns.truncate(n_outside);
        // The step past the last place.
        most.max(extent + f64::from(l.block))
    }

    fn ops(&mut self, ops: &[TileOp]) -> f64 {
        ops.iter().fold(0.0, |most: f64, op| {
            most.max(match op {
                TileOp::Nest(nest) => self.nest(nest),
                TileOp::Gemm(gemm) => self.gemm(gemm),
                TileOp::Fill(fill) => self.of(&fill.offset) + self.of(&fill.count),
                TileOp::Sort(sort) => self.sort(sort),
                TileOp::Loop(l) => self.turns(l),
            })
        })
    }
}

/// What a kernel's sizes are called in its text.
#[derive(Clone)]
pub struct Names {
    /// `int` or `long long`.
    pub integer: &'static str,
    /// Symbols that are something else than their name: a kernel of one tile starts at 0.
    known: Vec<(SmolStr, Dim)>,
    greatest: Greatest,
    tile: i64,
    /// Symbols of the loops around, and what they are multiples of.
    multiples: Vec<(SmolStr, i64)>,
}

impl Names {
    pub fn of(kernel: &Kernel, max_batch: i64) -> Names {
        let batch = max_batch.max(1) as f64;
        let mut greatest = Greatest { batch, rows: 0.0, tile: f64::from(kernel.tile), turns: Vec::new() };
        greatest.rows = greatest.of(&kernel.rows);
        let most = greatest.ops(&kernel.ops).max(greatest.rows);
        let mut known = Vec::new();
        if let Some(rows) = kernel.rows.as_const() {
            known.push(("rows".into(), kernel.rows.clone()));
            let tile = i64::from(kernel.tile);
            if rows <= tile {
                known.push(("start".into(), Dim::from(0)));
                known.push(("tile".into(), kernel.rows.clone()));
            } else if rows % tile == 0 {
                known.push(("tile".into(), Dim::from(tile)));
            }
        } else if kernel.tile == 1 {
            known.push(("tile".into(), Dim::from(1)));
        }
        let integer = if most < MOST { "int" } else { "long long" };
        Names { integer, known, greatest, tile: kernel.tile.into(), multiples: Vec::new() }
    }

    /// From here on a loop is around.
    pub fn enter(&mut self, l: &Loop) {
        let (extent, block) = (self.most(&l.extent), i64::from(l.block));
        self.greatest.turns.push((l.turn.clone(), extent));
        self.greatest.turns.push((l.size_symbol(), extent.min(block as f64)));
        self.multiples.push((l.turn.clone(), block));
        if self.is_whole(l) {
            self.known.push((l.size_symbol(), Dim::from(block)));
        }
    }

    /// The loop that was entered last ends.
    pub fn leave(&mut self, l: &Loop) {
        if self.is_whole(l) {
            self.known.pop();
        }
        self.multiples.pop();
        self.greatest.turns.truncate(self.greatest.turns.len() - 2);
    }

    /// Whether each turn of a loop has a whole block.
    pub fn is_whole(&self, l: &Loop) -> bool {
        self.is_multiple(&l.extent, l.block.into())
    }

    /// The greatest value of a size; of a place in turns that are not around, infinite.
    pub fn most(&self, dim: &Dim) -> f64 {
        self.greatest.of(&self.resolve(dim))
    }

    /// Whether a number of elements is a multiple of `n` in every tile.
    pub fn is_multiple(&self, dim: &Dim, n: i64) -> bool {
        self.resolve(dim).terms().iter().all(|(symbols, coefficient)| {
            let of_start = if symbols.iter().any(|s| s == "start") { self.tile } else { 1 };
            let of_turns = self.multiples.iter().filter(|(turn, _)| symbols.contains(turn));
            of_turns.fold(coefficient.wrapping_mul(of_start), |n, (_, block)| n.wrapping_mul(*block)) % n == 0
        })
    }

    /// The size with what is known of it.
    pub fn resolve(&self, dim: &Dim) -> Dim {
        dim.substitute(&|symbol| {
            self.known.iter().find(|(name, _)| name == symbol).map(|(_, dim)| dim.clone())
        })
    }

    /// A size, in parentheses if it is not one word: something may be divided by it.
    pub fn dim(&self, dim: &Dim) -> String {
        let text = self.sum(&[(dim, None)]);
        let is_word = text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_word { text } else { format!("({text})") }
    }

    /// The sum of sizes, each multiplied by an index if there is one.
    pub fn sum(&self, parts: &[(&Dim, Option<&str>)]) -> String {
        let mut text = String::new();
        for (dim, index) in parts {
            for (symbols, coefficient) in self.resolve(dim).terms() {
                let sign = match (text.is_empty(), coefficient < 0) {
                    (true, false) => "",
                    (true, true) => "-",
                    (false, false) => " + ",
                    (false, true) => " - ",
                };
                text.push_str(sign);
                let size = coefficient.unsigned_abs();
                let wide = if size > i32::MAX as u64 { "LL" } else { "" };
                let mut factors: Vec<String> = symbols.iter().map(|s| s.to_string()).collect();
                factors.extend(index.map(String::from));
                if size != 1 || factors.is_empty() {
                    factors.push(format!("{size}{wide}"));
                }
                text.push_str(&factors.join(" * "));
            }
        }
        if text.is_empty() { "0".into() } else { text }
    }

    /// `offset + sum of index * stride`
    pub fn address(&self, offset: &Dim, strides: &[Dim], index: &[String]) -> String {
        let mut parts: Vec<(&Dim, Option<&str>)> = vec![(offset, None)];
        for (stride, index) in strides.iter().zip(index) {
            match index.as_str() {
                "0" => {}
                index => parts.push((stride, Some(index))),
            }
        }
        self.sum(&parts)
    }
}
