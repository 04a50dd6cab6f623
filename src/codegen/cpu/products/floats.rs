//! A matrix product of f32 factors.
//!
//! What enters: a `Product`. What leaves: its result. Each element is the sum of its terms in order (`blocks.rs`): results do not
//! depend on tiles, threads or vector width. Invariant: no allocation. Not here: threads, and copies of whole operands (the
//! plan packs what many tiles read).
//!
//! `TERMS` terms at a time of `ROWS` rows are multiplied with one panel of columns after another. What of the left operand
//! that is stays in the second-level cache; it is read where it lies, or laid out for the blocks. A panel of the right operand
//! is read by each block of rows, so its rows must lie close together: the first block copies them, or, where its columns are
//! turned about or no whole vectors, it is laid out before (`panels.rs`).
//!
//! Measured on a core of a Xeon (Granite Rapids) with 512-bit vectors, whose blocks do 185 GFLOP/s at best, for 256 x 1536 x 384
//! with operands beyond the second-level cache: 111 GFLOP/s where both operands are laid out before, 256 terms and 192 rows at a
//! time; about 165 as it is now. Blocks of 12 x 32 are slower there (131), perhaps because twice as many panels have their lines
//! read apart and twice as many left rows compete for a set. Left rows are not laid out with vectors of 512 bits: reading them where they lie
//! takes the same time in a block.
//!
//! A sum may have several runs of terms, apart in both operands (`Product::runs`), as the rows of a window are: short runs are taken
//! together, as many as make `TERMS`, so that the result is not written and read after each.
//!
//! A right operand that the plan packed for a scan lies in panels already (`Product::panels`), each as wide as a line of a cache: blocks
//! that are as wide read one after another, wider ones as many side by side.
//!
//! With vectors of 256 bits a panel is a quarter as wide, and to lay left rows out is soon most of what is lost: rows are read where
//! they lie if there are few columns, or if they lie close together. Parts of 384 terms come to the result less often than ones
//! of 256, and the panel may then come from the second-level cache.

use super::Product;
use super::blocks::{Blocks, LINE, Left, Part, Right, WIDTH, blocks_of_rows, deal, steps};
use super::panels::{Side, lay_out};
use super::simd::Simd;
use std::cell::UnsafeCell;

/// Terms at a time where a large right operand is read once, where it lies: it is best read along its rows.
const FEW_TERMS: usize = 8;
/// Rows of an operand that are at least so many elements apart fall into few sets of a cache.
const FAR: u64 = 512;
/// Terms that are at least so many elements apart fall into very few sets: each panel would find them gone.
const PAGE: u64 = 1024;
/// Elements that there is room for, of the left operand and of a panel. Rows of few elements are written a vector at a time, so
/// there is one more at the end.
const LEFT: usize = 256 * 384 + 16;
const RIGHT: usize = 384 * WIDTH;

/// Room for what is laid out.
#[repr(C, align(64))]
struct Buffers {
    left: [f32; LEFT],
    right: [f32; RIGHT],
}

thread_local! {
    static BUFFERS: UnsafeCell<Buffers> =
        const { UnsafeCell::new(Buffers { left: [0.0; LEFT], right: [0.0; RIGHT] }) };
}

/// See the module's documentation.
///
/// # Safety
/// The CPU has the features of `S`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[inline(always)]
pub unsafe fn product<S: Blocks>(product: &Product) {
    const {
        assert!(S::ROWS * S::TERMS + S::LANES <= LEFT && S::TERMS * S::LANES * S::VECTORS <= RIGHT);
    }
    let p = oriented(product);
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    let n_panels = p.panels.max(0) as usize;
    let runs = p.runs.max(1) as usize;
    // Panels of a vector are taken as many together as a block is wide.
    let joins = S::JOINS && n_panels > 1 && n == S::LANES && p.rhs_column == 1;
    let (n_stretches, stretch) = if joins { (1, n_panels * n) } else { (n_panels, n) };
    let n_columns_of = |column: usize, width: usize| width.min(stretch - column % stretch);
    let width = S::LANES * S::VECTORS;
    let buffers = BUFFERS.with(UnsafeCell::get);
    // SAFETY: fields of this thread's own buffers, which no other function uses.
    let (left, panel): (*mut f32, *mut f32) =
        unsafe { ((&raw mut (*buffers).left).cast(), (&raw mut (*buffers).right).cast()) };
    for (row, n_rows) in deal(m, S::ROWS) {
        let most = match reads_once(&p, n_rows, S::rows(S::VECTORS)) {
            true if p.rhs_row.unsigned_abs() >= FAR && n * n_panels * k >= S::READ_ALONG => FEW_TERMS,
            _ => S::TERMS,
        };
        let panel_at = |run: usize, term: usize, column: usize| {
            let (across, along) = (p.rhs_column as isize, p.rhs_row as isize);
            let of_column = (column / n) as isize * p.rhs_panel as isize + (column % n) as isize * across;
            let first = run as isize * p.rhs_run as isize + of_column;
            let from = p.rhs.wrapping_offset(first + term as isize * along);
            let n_across = n_columns_of(column, if joins { S::LANES } else { width });
            Side { from, across, along, n_across, n_terms: terms_at(term, k, most) }
        };
        let (mut run, mut term) = (0, 0);
        loop {
            let n_terms = terms_at(term, k, most);
            let n_runs = if n_terms < k { 1 } else { (most / k.max(1)).clamp(1, runs - run) };
            let accumulate = p.accumulate != 0 || run > 0 || term > 0;
            // SAFETY: row, column and term are inside of the matrices that the caller vouches for; the buffers have room for
            // `ROWS` rows, and a panel's columns, of `TERMS` terms, and are this thread's alone.
            unsafe {
                let of_row = row as isize * p.lhs_row as isize + run as isize * p.lhs_run as isize;
                let lhs = p.lhs.offset(of_row + term as isize * p.lhs_column as isize);
                let skip = |run: i64, along: i64| (run - n_terms as i64 * along) as isize;
                let lhs = match lays_left::<S>(&p, n_rows) {
                    true => {
                        lay_rows::<S>(&p, lhs, n_rows, n_terms, n_runs, left);
                        Left::InBlocks(left)
                    }
                    false => Left::InPlace { from: lhs, skip: skip(p.lhs_run, p.lhs_column) },
                };
                let rhs_skip = skip(p.rhs_run, p.rhs_row);
                let columns = (0..n_stretches)
                    .flat_map(|i| steps(stretch, width).map(move |(at, some)| (i * stretch + at, some)));
                for (column, n_columns) in columns {
                    let side = panel_at(run, term, column);
                    let right = match way(&p, &side, n_rows, S::LANES, S::rows(S::VECTORS)) {
                        _ if joins => Right {
                            vector: Some(p.rhs_panel as isize),
                            ..Right::in_place(side.from, side.along)
                        },
                        Way::InPlace => Right { skip: rhs_skip, ..Right::in_place(side.from, side.along) },
                        Way::Copied => {
                            let from = Right::in_place(side.from, side.along);
                            Right { skip: rhs_skip, copy: panel, ..from }
                        }
                        Way::Laid => {
                            for i in 0..n_runs {
                                let from = side.from.wrapping_offset(i as isize * p.rhs_run as isize);
                                lay_out::<S>(&Side { from, ..side }, panel.add(i * n_terms * width), width);
                            }
                            Right::in_place(panel, width as isize)
                        }
                    };
                    let next = match column + n_columns {
                        column if column < n * n_panels => Some(panel_at(run, term, column)),
                        _ if term + n_terms < k => Some(panel_at(run, term + n_terms, 0)),
                        _ if run + n_runs < runs => Some(panel_at(run + n_runs, 0, 0)),
                        _ => None,
                    };
                    let part = Part {
                        row,
                        n_rows,
                        column,
                        n_columns,
                        n_terms,
                        n_runs,
                        lhs,
                        right,
                        accumulate,
                        next,
                    };
                    blocks_of_rows::<S>(&p, &part);
                }
            }
            term += n_terms;
            if term >= k {
                (run, term) = (run + n_runs, 0);
            }
            if run >= runs {
                break;
            }
        }
    }
}

/// Terms that are taken together from `term` on: `k` in parts of at most `most`, about equal, all but the last of whole lines.
fn terms_at(term: usize, k: usize, most: usize) -> usize {
    let parts = k.div_ceil(most).max(1);
    k.div_ceil(parts).next_multiple_of(LINE).min(most).min(k - term)
}

/// The product, or its transpose: that one whose blocks' rows are contiguous.
fn oriented(p: &Product) -> Product {
    if p.out_column != 1 && p.out_row == 1 { p.transposed() } else { *p }
}

/// Whether the left operand's rows are laid out: each panel of columns reads them again. To read few columns' worth where it
/// lies takes less than to lay it out.
fn lays_left<S: Simd>(p: &Product, n_rows: usize) -> bool {
    let is_apart = p.lhs_column != 1 || S::LAYS_ROWS && p.lhs_row.unsigned_abs() >= FAR;
    let collides = S::LAYS_ROWS && p.lhs_column.unsigned_abs() >= PAGE;
    let few = if collides { WIDTH / 2 } else { 3 * WIDTH };
    p.n as usize * p.panels as usize > few && n_rows > 1 && is_apart
}

/// Whether so few rows of the result are made that the right operand is best read where it lies.
fn reads_once(p: &Product, n_rows: usize, rows_of_block: usize) -> bool {
    p.rhs_column == 1 && n_rows <= 2 * rows_of_block
}

/// How a panel of the right operand is read.
enum Way {
    InPlace,
    /// The first block copies what it reads.
    Copied,
    /// Laid out before.
    Laid,
}

fn way(p: &Product, side: &Side<f32>, n_rows: usize, lanes: usize, rows_of_block: usize) -> Way {
    if side.across != 1 || !side.n_across.is_multiple_of(lanes) {
        return Way::Laid;
    }
    let is_panel = side.along.unsigned_abs() <= WIDTH || p.k == 1;
    if is_panel || reads_once(p, n_rows, rows_of_block) { Way::InPlace } else { Way::Copied }
}

/// Lays out the left operand's rows, those of a block of the result side by side, one block after another.
///
/// # Safety
/// As for `product`; `to` has room for `n_rows * n_terms` elements and a vector more.
#[inline(always)]
unsafe fn lay_rows<S: Simd>(
    p: &Product,
    lhs: *const f32,
    n_rows: usize,
    n_terms: usize,
    n_runs: usize,
    to: *mut f32,
) {
    // Where rows are neighbours, their lines are still near when the next block's rows of a few terms are laid out. Elsewhere
    // vectors may spill into what follows.
    let few = if p.lhs_row == 1 { LINE } else { n_terms.max(1) };
    let parts = (0..n_runs).flat_map(|run| steps(n_terms, few).map(move |(term, some)| (run, term, some)));
    for (run, term, some) in parts {
        for (row, of_block) in deal(n_rows, S::rows(S::VECTORS)) {
            let (across, along) = (p.lhs_row as isize, p.lhs_column as isize);
            let first = run as isize * p.lhs_run as isize + term as isize * along;
            let from = lhs.wrapping_offset(row as isize * across + first);
            let to = to.wrapping_add(row * n_terms * n_runs + (run * n_terms + term) * of_block);
            let side = Side { from, across, along, n_across: of_block, n_terms: some };
            // SAFETY: the rows are inside of the operand, which the caller vouches for.
            unsafe { lay_out::<S>(&side, to, of_block) };
        }
    }
}
