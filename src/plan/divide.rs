//! Tiles that are divided: more threads than the plan has tiles for.
//!
//! What enters: a phase's kernels, with the most rows that a tile may have (`tile.rs`), a batch, and what a tile should cost at most.
//! What leaves: the tiles of each launch: as long as they may be, or divided until they cost no more. Invariant: results do not depend
//! on it, for only such tiles are divided whose rows have nothing to do with each other (`can_divide`). Not here: who computes them,
//! and which cost suits a number of threads (`runtime/team.rs`).

use super::tile::{Cost, Sizes, work};
use crate::base::Dim;
use crate::base::hash::FastMap;
use crate::nest::{BufferRef, Inst, Kernel, Loop, StoreKind, TileOp};
use std::cell::LazyCell;

/// Launches whose tiles can be made longer or shorter.
pub struct Divisible<'a> {
    launches: Vec<Launch<'a>>,
}

struct Launch<'a> {
    kernel: &'a Kernel,
    rows: u64,
    cost: Cost,
    can_divide: bool,
}

/// Some rows of a launch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    pub start: i64,
    pub rows: i64,
    /// Floating-point operations, or what takes as long.
    pub cost: u64,
}

impl<'a> Divisible<'a> {
    pub fn new(kernels: impl Iterator<Item = &'a Kernel>, batch: i64) -> Divisible<'a> {
        let launch = |kernel: &'a Kernel| {
            let rows = kernel.n_rows(batch).expect("rows are over batch").max(0) as u64;
            let cost = Cost::new(&kernel.ops, rows, batch);
            Launch { kernel, rows, cost, can_divide: can_divide(&kernel.ops) }
        };
        Divisible { launches: kernels.map(launch).collect() }
    }

    /// Floating-point operations of all launches, or what takes as long; not what each tile is beside them.
    pub fn work(&self) -> u64 {
        self.launches.iter().map(|launch| launch.cost.work()).sum()
    }

    /// Of each launch its tiles: none costs more than this, where it can be divided and so little is possible.
    pub fn tiles(&self, most: u64) -> Vec<Vec<Piece>> {
        self.launches.iter().map(|launch| launch.pieces(launch.cost.longest(most))).collect()
    }

    /// Of each launch its tiles, of a row each where they can be divided.
    pub fn rows(&self) -> Vec<Vec<Piece>> {
        self.launches.iter().map(|launch| launch.pieces(Some(1))).collect()
    }
}

impl Launch<'_> {
    /// Tiles of at most so many rows, about equally long.
    fn pieces(&self, most: Option<u64>) -> Vec<Piece> {
        let whole = u64::from(self.kernel.tile);
        let tile = match most.filter(|most| self.can_divide && *most < whole) {
            Some(1) => 1,
            Some(most) => self.cost.tile(self.rows.div_ceil(most)).min(whole),
            None => whole,
        };
        let piece = |start: u64| {
            let n = tile.min(self.rows - start);
            Piece { start: start as i64, rows: n as i64, cost: self.cost.of_tile(n) }
        };
        (0..self.rows).step_by(tile as usize).map(piece).collect()
    }
}

/// Floating-point operations, or what takes as long, of each of a kernel's ops over a tile of so many rows.
pub fn costs_of_ops(kernel: &Kernel, rows: i64, batch: i64) -> Vec<u64> {
    let sizes = Sizes::new(batch, rows);
    kernel.ops.iter().map(|op| work(std::slice::from_ref(op), &sizes)).collect()
}

/// Whether parts of a tile do together what it does, in the same time: nothing is summed over its rows, passed from one to the next, or
/// gone through by every tile whatever its rows are.
pub fn can_divide(ops: &[TileOp]) -> bool {
    let n_visits = LazyCell::new(|| count(&visits(ops)));
    all_apart(ops, &n_visits)
}

/// How often ops touch each buffer.
type Counts = FastMap<BufferRef, usize>;

fn count(visits: &[Visit]) -> Counts {
    let mut counts = Counts::default();
    visits.iter().for_each(|visit| *counts.entry(visit.buffer).or_default() += 1);
    counts
}

fn is_tiles(dim: &Dim) -> bool {
    ["start", "tile", "rows"].iter().any(|symbol| dim.contains(symbol))
}

/// `of_kernel`: how often all of the kernel's ops touch each buffer.
fn all_apart<F: FnOnce() -> Counts>(ops: &[TileOp], of_kernel: &LazyCell<Counts, F>) -> bool {
    ops.iter().all(|op| match op {
        TileOp::Nest(nest) => {
            let adds = nest.stores.iter().any(|store| matches!(store.kind, StoreKind::AddAt { .. }));
            !adds && !nest.axes.iter().any(|axis| axis.reduce && is_tiles(&axis.extent))
        }
        TileOp::Gemm(gemm) => {
            !is_tiles(&gemm.k) && !gemm.batch.iter().any(|axis| axis.reduce && is_tiles(&axis.extent))
        }
        TileOp::Fill(_) => true,
        TileOp::Sort(sort) => !is_tiles(&sort.n),
        TileOp::Loop(l) => {
            (!is_tiles(&l.extent) || turns_are_apart(l, of_kernel)) && all_apart(&l.ops, of_kernel)
        }
    })
}

/// Whether the turns of a loop over rows, one a turn, pass nothing on: what they write lies at each turn's own place, or in scratch that
/// each turn writes anew and that nothing outside of the loop touches.
fn turns_are_apart(l: &Loop, of_kernel: &Counts) -> bool {
    let visits = visits(&l.ops);
    let of_loop = count(&visits);
    let mut first: FastMap<BufferRef, &Visit> = FastMap::default();
    visits.iter().for_each(|visit| _ = first.entry(visit.buffer).or_insert(visit));
    let is_shared = |visit: &&Visit| visit.writes.is_some_and(|at| !at.contains(&l.turn));
    let is_anew = |visit: &Visit| {
        let (buffer, first) = (visit.buffer, first[&visit.buffer]);
        let is_the_loops = of_loop[&buffer] == of_kernel[&buffer];
        matches!(buffer, BufferRef::Scratch(_)) && first.writes.is_some() && !first.reads && is_the_loops
    };
    l.block == 1 && visits.iter().filter(is_shared).all(is_anew)
}

/// That an op touches a buffer.
struct Visit<'a> {
    buffer: BufferRef,
    reads: bool,
    /// Where, if it writes.
    writes: Option<&'a Dim>,
}

/// In order; an op reads before it writes.
fn visits(ops: &[TileOp]) -> Vec<Visit<'_>> {
    ops.iter().flat_map(visits_of).collect()
}

fn visits_of(op: &TileOp) -> Vec<Visit<'_>> {
    let read = |buffer: BufferRef| Visit { buffer, reads: true, writes: None };
    match op {
        TileOp::Nest(nest) => {
            let loads = nest.body.iter().filter_map(|inst| match inst {
                Inst::Load { access } | Inst::LoadAt { access, .. } => Some(read(access.buffer)),
                _ => None,
            });
            let stores = nest.stores.iter().map(|store| Visit {
                buffer: store.access.buffer,
                reads: matches!(store.kind, StoreKind::AddAt { .. }),
                writes: Some(&store.access.offset),
            });
            loads.chain(stores).collect()
        }
        TileOp::Gemm(gemm) => {
            let (buffer, writes) = (gemm.out.buffer, Some(&gemm.out.offset));
            let out = Visit { buffer, reads: gemm.accumulate, writes };
            vec![read(gemm.lhs.buffer), read(gemm.rhs.buffer), out]
        }
        TileOp::Fill(fill) => vec![Visit { buffer: fill.buffer, reads: false, writes: Some(&fill.offset) }],
        TileOp::Sort(sort) => {
            let writes = Some(&sort.out.offset);
            let written = [sort.keys, sort.out.buffer].map(|buffer| Visit { buffer, reads: false, writes });
            std::iter::once(read(sort.source.buffer)).chain(written).collect()
        }
        TileOp::Loop(l) => visits(&l.ops),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::DType;
    use crate::nest::samples::{affine, product, scatter, softmax};
    use crate::nest::{Axis, Gemm};

    #[test]
    fn pieces_are_all_rows_and_cost_no_more_than_they_may() {
        for (tile, batch) in
            [(1, 1), (8, 0), (8, 1), (64, 64), (64, 61), (64, 1000), (30, 1000), (1024, 1021)]
        {
            for kernel in [affine(tile), softmax(64, tile), product(256, 128, tile)] {
                let divisible = Divisible::new([&kernel].into_iter(), batch);
                let cost = |rows: u64| divisible.launches[0].cost.of_tile(rows);
                for most in [0, cost(1) - 1, cost(4), cost(7), cost(33), u64::MAX] {
                    let [pieces] = &divisible.tiles(most)[..] else { panic!("one launch has been given") };
                    let what = format!("{} by {tile} of {batch}, {most}: {pieces:?}", kernel.name);
                    let ends = pieces.iter().scan(0, |end, piece| {
                        let begins = *end == piece.start;
                        *end += piece.rows;
                        Some((begins, *end))
                    });
                    assert!(ends.clone().all(|(begins, _)| begins), "{what}");
                    assert_eq!(ends.last().map_or(0, |(_, end)| end), batch, "{what}");
                    // The shortest tiles are those that vectors and products like, and it does not pay to make no tile cheap enough.
                    let is_possible = cost(divisible.launches[0].cost.tile(batch.max(1) as u64)) <= most;
                    let whole = i64::from(tile).min(batch);
                    for piece in pieces {
                        assert!(piece.rows >= 1 && piece.rows <= whole, "{what}");
                        assert!(
                            if is_possible { piece.cost <= most } else { piece.start % whole == 0 },
                            "{what}"
                        );
                    }
                }
                assert!(divisible.rows()[0].iter().all(|piece| piece.rows == 1));
            }
        }
    }

    /// The product in a loop over rows, a row a turn, its result at `out`, after which something else reads what is in scratch.
    fn in_turns(kernel: Kernel, at: BufferRef, out: Dim, accumulate: bool, reads_after: bool) -> Vec<TileOp> {
        let [TileOp::Gemm(gemm)] = &kernel.ops[..] else { unreachable!("it is a product") };
        let mut gemm: Gemm = (**gemm).clone();
        (gemm.m, gemm.out.buffer, gemm.out.offset, gemm.accumulate) = (Dim::from(1), at, out, accumulate);
        let mut after = gemm.clone();
        after.lhs.buffer = at;
        let inside = vec![TileOp::Gemm(Box::new(gemm))];
        let turns = TileOp::Loop(Loop::of_turns("turn".into(), Dim::symbol("tile"), inside));
        if reads_after { vec![turns, TileOp::Gemm(Box::new(after))] } else { vec![turns] }
    }

    #[test]
    fn rows_that_have_to_do_with_each_other_stay_together() {
        let (scratch, argument) = (BufferRef::Scratch(0), BufferRef::Argument(2));
        let turn = || Dim::symbol("turn");
        let turns =
            |at, out, accumulate, reads_after| in_turns(product(4, 4, 8), at, out, accumulate, reads_after);
        let mut over_rows = product(4, 4, 8).ops;
        let TileOp::Gemm(gemm) = &mut over_rows[0] else { unreachable!("it is a product") };
        (gemm.m, gemm.k) = (Dim::from(4), Dim::symbol("tile"));
        let mut folded = affine(8).ops;
        let TileOp::Nest(nest) = &mut folded[0] else { unreachable!("it is a nest") };
        nest.axes[0] = Axis { reduce: true, ..nest.axes[0].clone() };
        for (what, ops, can) in [
            ("a map", affine(8).ops, true),
            ("a reduction of each row", softmax(16, 8).ops, true),
            ("a product", product(4, 4, 8).ops, true),
            ("a product whose terms are rows", over_rows, false),
            ("a reduction over rows", folded, false),
            ("additions at places", scatter(DType::F32, 8, 4).ops, false),
            ("results at each turn's place", turns(argument, turn(), false, false), true),
            ("additions at each turn's place", turns(argument, turn(), true, false), true),
            ("results at one place", turns(argument, Dim::from(0), false, false), false),
            ("scratch of each turn", turns(scratch, Dim::from(0), false, false), true),
            ("scratch that turns add to", turns(scratch, Dim::from(0), true, false), false),
            ("scratch that is read behind the turns", turns(scratch, Dim::from(0), false, true), false),
        ] {
            assert_eq!(can_divide(&ops), can, "{what}");
        }
    }
}
