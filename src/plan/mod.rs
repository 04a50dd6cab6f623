//! From graph to plan: which kernels, in which order, over which bytes.
//!
//! What enters: an optimized `Graph` without `Grad`, whose only symbol is `batch`, and the greatest batch.
//! What leaves: a `Plan`: unique kernels, phases of launches, buffers with places in one arena. Invariants:
//! launches of one phase are independent of each other; every buffer is written before it is read; a variable is
//! overwritten only after its last reader; buffers whose lives meet do not overlap.
//! Not here: machine code, threads.

use crate::base::{DType, Dim};
use crate::nest::Kernel;
use smol_str::SmolStr;

#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Structurally unique kernels.
    pub kernels: Vec<Kernel>,
    /// Launches of a phase may run at the same time; phases follow one another.
    pub phases: Vec<Vec<Launch>>,
    pub buffers: Vec<Buffer>,
    /// What the caller reads, by name.
    pub outputs: Vec<(SmolStr, BufferId)>,
    /// The greatest `batch` the arena has room for.
    pub max_batch: i64,
    /// Bytes of the arena that `Place::Arena` buffers share.
    pub arena_bytes: u64,
    /// Floating-point operations of one run at `max_batch` (a multiply-add counts 2).
    pub flops: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct BufferId(pub u32);

#[derive(Clone, Debug)]
pub struct Launch {
    /// Index into `Plan::kernels`.
    pub kernel: usize,
    /// One buffer for each argument of the kernel.
    pub arguments: Vec<BufferId>,
    /// What this launch computes, and why its group ended where it did: for people.
    pub note: String,
}

#[derive(Clone, Debug)]
pub struct Buffer {
    pub name: SmolStr,
    pub dtype: DType,
    /// Row-major, symbols: `batch` only.
    pub shape: Vec<Dim>,
    pub place: Place,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// Bytes from the arena's start, a multiple of 64.
    Arena { offset: u64 },
    /// A trained or kept variable: storage that outlives the run, shared by name between plans.
    Variable,
    /// Given by the caller before each run, by name.
    Input,
}
