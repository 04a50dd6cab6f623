//! From graph to plan: which kernels, in which order, over which bytes.
//!
//! What enters: an optimized `Graph` without `Grad`, whose only symbol is `batch`, and the greatest batch.
//! What leaves: a `Plan`: unique kernels, phases of launches, buffers with places in one arena. Invariants:
//! launches of one phase are independent of each other; every buffer is written before it is read; a variable is
//! overwritten only after its last reader; buffers whose lives meet do not overlap.
//! Not here: machine code, threads.

mod about;
mod alike;
mod along;
mod blocks;
mod build;
mod channelwise;
mod columns;
mod divide;
mod epilogue;
mod fold;
mod fuse;
mod gemm;
mod gpu;
mod group;
pub mod interpret;
mod late;
mod layout;
mod lower;
mod memory;
mod narrow;
mod order;
mod outer;
mod pack;
mod parts;
mod places;
mod prepare;
mod prologue;
mod recompute;
mod rematerialise;
mod report;
mod scan;
mod scatter;
mod space;
mod split;
mod strips;
#[cfg(test)]
mod tests;
mod tile;
mod winograd;
mod work;

pub use build::plan;
pub use divide::{Divisible, Piece, costs_of_ops};
pub use gpu::{MOST_SHARED_BYTES, is_one_launch, is_tiled};
pub use pack::PANEL;
pub use rematerialise::{Exceeds, plan_within};
pub use report::{bytes, group_digits, report};
pub use work::{Work, work};

use crate::base::{DType, Dim};
use crate::graph::Origin;
use crate::nest::Kernel;
use smol_str::SmolStr;

/// What the planner may not decide by itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// The greatest number of examples in a step.
    pub max_batch: i64,
    pub target: Target,
    /// What values are kept in, that are made and read again soon: bytes of a core's own caches, of which a GPU has about as much a
    /// processor. A number of the plan's, not the machine's, so that results do not depend on it.
    pub cache_bytes: i64,
    /// Multiply-adds from which on a product has a kernel of its own on a GPU (`gpu.rs`).
    pub alone_from: u64,
}

/// The kind of machine that a plan is for: what its tiles are worth there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Target {
    #[default]
    Cpu,
    Cuda,
}

impl Options {
    pub fn new(max_batch: i64, target: Target) -> Options {
        Options { max_batch, target, cache_bytes: 512 * 1024, alone_from: 1 << 20 }
    }
}

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
    /// Whether a device may round the factors of f32 products to tf32 (`base::Precision::Tf32`).
    pub allows_tf32: bool,
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
    /// Where most of it stands in the model.
    pub origin: Origin,
    /// What each op of the kernel is, in this launch.
    pub parts: Vec<Part>,
    /// What does the same in several launches.
    pub apart: Option<Box<Apart<Launch>>>,
}

/// Launches that do what one does, one after another: what makes the factors of a product, the product, which a library may make, and
/// what is made of its result.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Apart<L> {
    pub launches: Vec<L>,
    /// Which of them is the product.
    pub product: usize,
}

impl<L> Apart<L> {
    pub fn product(&self) -> &L {
        &self.launches[self.product]
    }
}

impl Launch {
    /// Itself, and what may be launched instead.
    pub fn variants(&self) -> impl Iterator<Item = &Launch> {
        std::iter::once(self).chain(self.apart.iter().flat_map(|apart| &apart.launches))
    }
}

/// A piece of a launch that people know by the graph's operations in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// `[sub exp +sum]`
    pub what: SmolStr,
    pub origin: Origin,
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

impl Plan {
    /// Bytes of scratch that each thread needs.
    pub fn scratch_bytes(&self) -> u64 {
        let end = |kernel: &Kernel| kernel.scratch.iter().map(|s| s.offset + s.bytes).max().unwrap_or(0);
        self.kernels.iter().map(end).max().unwrap_or(0)
    }

    /// The size of a buffer at a batch, in bytes; `None` when it does not fit 64 bits.
    pub fn buffer_bytes(&self, buffer: BufferId, batch: i64) -> Option<u64> {
        let Buffer { dtype, shape, .. } = &self.buffers[buffer.0 as usize];
        let size =
            |dim: &Dim| dim.eval(&|s| (s == "batch").then_some(batch)).and_then(|n| u64::try_from(n).ok());
        shape.iter().try_fold(dtype.bytes() as u64, |bytes, dim| bytes.checked_mul(size(dim)?))
    }

    /// The most bytes that a buffer takes at any batch up to the greatest: a size may also shrink as the batch grows.
    pub fn greatest_bytes(&self, buffer: BufferId) -> Option<u64> {
        let shrinks = self.buffers[buffer.0 as usize].shape.iter().any(|dim| dim.shrinks_with("batch"));
        let least = if shrinks { 0 } else { self.max_batch };
        (least..=self.max_batch).filter_map(|batch| self.buffer_bytes(buffer, batch)).max()
    }

    /// Bytes of the variables that the plan reads or writes.
    pub fn variable_bytes(&self) -> u64 {
        let ids = (0..self.buffers.len() as u32).map(BufferId);
        let variables = ids.filter(|id| self.buffers[id.0 as usize].place == Place::Variable);
        variables
            .map(|id| self.buffer_bytes(id, self.max_batch).unwrap_or(u64::MAX))
            .fold(0, u64::saturating_add)
    }

    /// Bytes that a run takes at most: arena, variables, one batch of inputs, and scratch for each thread.
    pub fn peak_bytes(&self, threads: usize) -> u64 {
        let ids = (0..self.buffers.len() as u32).map(BufferId);
        let inputs = ids.filter(|id| self.buffers[id.0 as usize].place == Place::Input);
        let inputs = inputs.map(|id| self.buffer_bytes(id, self.max_batch).unwrap_or(u64::MAX));
        let parts =
            [self.arena_bytes, self.variable_bytes(), self.scratch_bytes().saturating_mul(threads as u64)];
        inputs.chain(parts).fold(0, u64::saturating_add)
    }
}
