//! Kernels as data: loop nests and matrix products over buffers, inside a loop over tiles of rows.
//!
//! A `Kernel` is one parallel loop over tiles of its `rows`. For each tile a straight sequence of `TileOp`s runs
//! on one thread, or on several, each op in portions (`runtime/team.rs`); what they pass to each other stays in scratch, which belongs
//! to whoever is at the tile and is undefined at its start. Tiles of a launch may run in any order, at the same time, and must not write what another
//! tile reads or writes. The tile size is the plan's; parts of a tile may stand for it only where its rows have nothing to do
//! with each other (`plan/divide.rs`), so that results are the same bits for any number of threads.
//!
//! All sizes, offsets and strides are `Dim`s (in elements) over four symbols, known when a tile runs:
//! `batch` (examples in this step), `rows` is `Kernel::rows` (a `Dim` over `batch`), `start` (the tile's first
//! row) and `tile` (its number of rows: `Kernel::tile`, less in the last tile). Inside of a `Loop` there are more: the
//! first place of its turn and, if a turn has several, their number.
//!
//! This room does not know the tensor graph; primitives are lowered to it in `plan`. A backend
//! (`codegen`) and the interpreter (`interpret.rs`) give it the same meaning.

pub mod analysis;
mod bounds;
pub mod fused_product;
pub mod interpret;
#[cfg(test)]
pub mod samples;
mod scratch;
#[cfg(test)]
mod tests;
mod text;
mod tiles;
pub mod verify;

use crate::base::{DType, Dim, Distribution, ReduceOp};

use crate::scalar::Func;
use smol_str::{SmolStr, format_smolstr};

/// Where an operand lives.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum BufferRef {
    /// The kernel's i-th argument; prints `$0`.
    Argument(u32),
    /// The kernel's i-th scratch buffer; prints `~0`.
    Scratch(u32),
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Kernel {
    /// Readable, from the scopes of what it computes; not part of its identity.
    pub name: String,
    /// How many rows the tile loop covers, a `Dim` over `batch`; 1 for a kernel that is not tiled.
    pub rows: Dim,
    /// Rows in a tile (all but the last), at least 1; where nothing is summed over a tile's rows it may as well have fewer.
    pub tile: u32,
    pub arguments: Vec<Argument>,
    pub scratch: Vec<Scratch>,
    pub ops: Vec<TileOp>,
}

impl Kernel {
    /// Rows at a batch; `None` where they have no number.
    pub fn n_rows(&self, batch: i64) -> Option<i64> {
        self.rows.eval(&|symbol| (symbol == "batch").then_some(batch))
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Argument {
    pub dtype: DType,
    pub access: ArgumentAccess,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ArgumentAccess {
    Read,
    Write,
    ReadWrite,
    /// What is there before the kernel and after it means nothing: storage for what its ops pass to each other, which a backend may
    /// leave alone.
    Temporary,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Scratch {
    pub dtype: DType,
    /// Bytes from the start of the thread's scratch, a multiple of 64. Buffers whose lives do not meet may overlap.
    pub offset: u64,
    pub bytes: u64,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TileOp {
    Nest(Nest),
    Gemm(Box<Gemm>),
    Fill(Fill),
    Sort(Box<Sort>),
    Loop(Loop),
}

/// Ops that run once a turn, for one block of places after another. What a turn leaves in scratch the next one finds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Loop {
    /// The symbol that stands for the first place of the turn's block, from 0, in the sizes inside; see `turn_symbol`.
    pub turn: SmolStr,
    /// Places there are.
    pub extent: Dim,
    /// Places of a turn: the last one has those that are left. Where it is more than 1, `size_symbol` stands for their number.
    pub block: u32,
    pub order: TurnOrder,
    pub ops: Vec<TileOp>,
}

/// In which order the turns of a loop run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TurnOrder {
    /// One after another: what a turn leaves in scratch the next one finds.
    Counted,
    /// Any, and at the same time: none touches what another one writes, but scratch that only the loop knows, which each writes
    /// before it reads it.
    Any,
    /// Any, and at the same time, each with scratch of its own: it finds what was there before the loop, and leaves nothing there.
    Alone,
}

impl Loop {
    /// One place a turn, one turn after another.
    pub fn of_turns(turn: SmolStr, extent: Dim, ops: Vec<TileOp>) -> Loop {
        Loop { turn, extent, block: 1, order: TurnOrder::Counted, ops }
    }

    /// The symbol that stands for the number of places of a turn.
    pub fn size_symbol(&self) -> SmolStr {
        size_symbol(&self.turn)
    }
}

/// The symbol for the number of places of a turn, by that for the first of them.
pub fn size_symbol(turn: &str) -> SmolStr {
    format_smolstr!("n_{turn}")
}

/// The symbol of a loop inside of `depth` others: `turn`, `turn1`, …
pub fn turn_symbol(depth: usize) -> SmolStr {
    if depth == 0 { "turn".into() } else { format_smolstr!("turn{depth}") }
}

/// A perfect loop nest: for every index of `axes` (outermost first), run `body`, then `stores`.
/// Parallel axes come first, reducing axes last. Reductions run over the reducing axes in order; a backend may
/// split a reduction in lanes, by a rule that depends on the nest alone.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Nest {
    pub axes: Vec<Axis>,
    pub body: Vec<Inst>,
    pub stores: Vec<Store>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Axis {
    pub extent: Dim,
    pub reduce: bool,
}

/// Index of an instruction of the body; prints `v3`.
pub type Value = u32;

/// One scalar computation for each index of the nest. Operands are earlier values.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Inst {
    /// Reads `access`, at an index known from the axes.
    Load {
        access: Access,
    },
    /// Reads `access` at `index * stride` further (index: i32), if `0 <= index < bound`; else NaN, 0 or false.
    LoadAt {
        access: Access,
        index: Value,
        stride: Dim,
        bound: Dim,
    },
    /// The bits of an f64, so that the type can be hashed; of the dtype given.
    Const {
        bits: u64,
        dtype: DType,
    },
    /// The index along an axis plus `offset`, i32.
    Index {
        axis: u32,
        offset: Dim,
    },
    /// A size, as f32.
    Size {
        size: Dim,
    },
    Call {
        func: Func,
        arguments: Vec<Value>,
    },
    Cast {
        to: DType,
        argument: Value,
    },
}

/// `buffer[offset + sum of index * stride]`, one stride for each axis of the nest.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Access {
    pub buffer: BufferRef,
    pub dtype: DType,
    pub offset: Dim,
    pub strides: Vec<Dim>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Store {
    pub value: Value,
    /// For a reduction, strides of reducing axes are 0.
    pub access: Access,
    pub kind: StoreKind,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum StoreKind {
    /// `access = value` at each index, reducing axes included.
    Set,
    /// `access = reduction of value over the reducing axes`; of none the operation's identity. Where values are NaN, it is not
    /// said whether a maximum or a minimum is NaN or that of some of the other values.
    Reduce(ReduceOp),
    /// The index (i32) of the first greatest value along the only reducing axis; 0 if there is none. Not said where
    /// values are NaN.
    ArgMax,
    /// `access[index * stride further] += value`, if `0 <= index < bound`; sequential in index order.
    AddAt { index: Value, stride: Dim, bound: Dim },
}

/// For each index of `batch`: `out[i, j] = sum over l of lhs[i, l] * rhs[l, j]`, or `+=` when `accumulate`. With `k` 0 the sum
/// is 0. Both factors are f32, or both bf16, whose products are f32; so is `out`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Gemm {
    /// Loops around the product, outermost first.
    pub batch: Vec<GemmAxis>,
    pub m: Dim,
    pub n: Dim,
    pub k: Dim,
    pub lhs: Matrix,
    pub rhs: Matrix,
    pub out: Matrix,
    pub accumulate: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GemmAxis {
    pub extent: Dim,
    pub lhs: Dim,
    pub rhs: Dim,
    pub out: Dim,
    /// True when the axis is summed: all but its first turn add to `out`.
    pub reduce: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Matrix {
    pub buffer: BufferRef,
    pub dtype: DType,
    pub offset: Dim,
    pub row_stride: Dim,
    pub column_stride: Dim,
}

/// `out[offset + i] = random(first + i)` for `i < count`; f32, contiguous.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Fill {
    pub buffer: BufferRef,
    pub offset: Dim,
    pub count: Dim,
    /// Number of the first element in the whole tensor; see `base::philox`.
    pub first: Dim,
    pub distribution: Distribution,
    pub site: u32,
}

/// For each index of `axes`: the places (i32) of the `n` elements along the source's last stride, in increasing order,
/// or decreasing if `descending`. Equal elements keep their order, NaN comes last.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sort {
    /// Loops around, outermost first.
    pub axes: Vec<Dim>,
    pub n: Dim,
    /// f32 or i32; one stride for each of `axes`, and one for the elements that are sorted.
    pub source: Access,
    /// i32, with strides as `source`; places of one line are neighbours.
    pub out: Access,
    /// Scratch in which a backend may sort: `key_elements` i32, undefined afterwards.
    pub keys: BufferRef,
    pub descending: bool,
}

impl Sort {
    /// Room for a key of 64 bits an element, wherever such a key may begin.
    pub fn key_elements(n: &Dim) -> Dim {
        n.clone() * Dim::from(2) + Dim::from(2)
    }
}
