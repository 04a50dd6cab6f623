//! The CUDA backend: kernels become CUDA C, which NVRTC compiles.
//!
//! What enters: a plan. What leaves: a `Source`, one text in which each kernel of the plan is one `__global__` function, and what a
//! launch of each takes. A block takes a tile of rows, as a thread does on a CPU: its threads share the indices of each op, a
//! barrier stands between ops that depend on each other, scratch lies in shared memory, or in memory of the block's own where it is
//! too large. Several blocks share the tile of a kernel that is a single op, a product with what is made before and behind it, or one whose turns may run at the same time
//! (`turns.rs`). Invariants: the text is a function of the plan alone;
//! a kernel does what `nest::interpret` does, within the scalar table's bounds; each sum has one order, whatever the number of blocks.
//! Not here: compiling (`nvrtc.rs`), running.
//!
//! ```text
//! extern "C" __global__ void NAME(T0* a0, …, Tn* an, unsigned char* scratch, long long batch, const StepEnv* env)
//! ```
//!
//! `scratch` has `blocks * Entry::scratch_bytes` bytes; buffers begin at multiples of 16 bytes; `env` points to device memory.

mod body;
pub mod cache;
pub mod choices;
mod expression;
mod fill;
pub mod folders;
mod heading;
mod kernel;
pub mod library;
mod made_factor;
mod nest;
pub mod nvrtc;
mod preamble;
mod product;
mod prune;
mod reduce;
mod rows;
mod scatter;
mod sort;
mod steps;
#[cfg(test)]
pub mod tests;
mod together;
mod transpose;
mod turns;
mod whole;
mod writer;

pub use together::{Joint, Together};
pub use whole::{Whole, emit_whole};

use crate::base::Dim;
use crate::plan::Plan;
use kernel::SoFar;
use std::ops::Range;
use together::emit_joined;

/// CUDA C, and what it takes to launch its kernels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    pub text: String,
    /// One for each kernel of the plan, in its order.
    pub kernels: Vec<Entry>,
    /// Functions that do what several launches do, whose numbers come behind the kernels'.
    pub together: Vec<Together>,
    /// Of each phase, what may be handed over as one.
    pub joints: Vec<Vec<Joint>>,
    /// What all functions need, and each one's own text: `text` is these, one after another.
    shared: String,
    own: Vec<String>,
}

impl Source {
    fn new((functions, helpers): SoFar, kernels: Vec<Entry>, own: Vec<String>) -> Source {
        let mut parts = vec![preamble::OPENING.to_string(), preamble::helpers(&helpers)];
        parts.extend(functions.into_values());
        parts.retain(|part| !part.is_empty());
        let shared = parts.join("\n");
        let all: Vec<&str> = std::iter::once(&shared).chain(&own).map(String::as_str).collect();
        Source { text: all.join("\n"), kernels, together: Vec::new(), joints: Vec::new(), shared, own }
    }

    /// Of each function of the text, in the order of their numbers: its name, threads of a block, dynamic shared memory of a block.
    pub fn functions(&self) -> impl Iterator<Item = (&str, u32, u32)> {
        let kernels = self.kernels.iter().map(|entry| (&entry.name[..], entry.threads, entry.shared_bytes));
        kernels.chain(self.together.iter().map(|of| (&of.name[..], of.threads, of.shared_bytes)))
    }

    /// Texts that can be compiled apart, and at the same time, with the numbers of their functions. What is in a part depends on the text
    /// alone, so that it is found again among what was compiled before.
    pub fn parts(&self) -> Vec<(Range<usize>, String)> {
        // A compilation takes some hundredths of a second, a kernel some tenths.
        const BYTES: usize = 6000;
        let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
        for (i, text) in self.own.iter().enumerate() {
            bytes += text.len();
            if bytes >= BYTES || i + 1 == self.own.len() {
                let texts = std::iter::once(&self.shared).chain(&self.own[begin..=i]);
                let texts: Vec<&str> = texts.map(String::as_str).collect();
                parts.push((begin..i + 1, texts.join("\n")));
                (begin, bytes) = (i + 1, 0);
            }
        }
        parts
    }
}

/// A launch of a kernel: `blocks(batch)` blocks of `threads` threads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The function's name in the text.
    pub name: String,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block; beyond 48 KB a device must be asked for it.
    pub shared_bytes: u32,
    /// Shared memory that the text asks for by itself, squares that are transposed.
    pub static_bytes: u32,
    /// Global memory that each block needs for itself: scratch that does not fit into shared memory.
    pub scratch_bytes: u64,
    /// The kernel's rows, over `batch`, and how many of them are a tile.
    pub rows: Dim,
    pub tile: u32,
    /// Blocks that share a tile.
    pub parts: u32,
    /// Blocks that are launched at most: each then takes several tiles.
    pub most_blocks: u32,
}

impl Entry {
    /// Blocks of a launch for a batch, at least 1.
    pub fn blocks(&self, batch: i64) -> u32 {
        // All parts of a tile or none: a block finds its tile by their number.
        let most = i64::from(self.most_blocks) / i64::from(self.parts);
        (self.tiles(batch).min(most) * i64::from(self.parts)) as u32
    }

    /// Tiles for a batch, at least 1.
    fn tiles(&self, batch: i64) -> i64 {
        let rows = self.rows.eval(&|symbol| (symbol == "batch").then_some(batch)).unwrap_or(0);
        rows.saturating_add(i64::from(self.tile) - 1).div_euclid(self.tile.into()).max(1)
    }

    /// The most blocks for any batch up to the greatest.
    pub fn greatest_blocks(&self, max_batch: i64) -> u32 {
        let least = if self.rows.shrinks_with("batch") { 0 } else { max_batch };
        (least..=max_batch).map(|batch| self.blocks(batch)).max().unwrap_or(1)
    }

    /// The number of blocks as an expression over `batch`, where there is one for each part of each tile.
    fn blocks_as_text(&self) -> String {
        let (tile, parts) = (i64::from(self.tile), i64::from(self.parts));
        let times = if parts == 1 { String::new() } else { format!(" * {parts}") };
        match self.rows.as_const() {
            Some(_) => (self.tiles(0) * parts).to_string(),
            None if tile == 1 => format!("max({}, 1){times}", as_text(&self.rows)),
            None => format!("max(({} + {}) / {tile}, 1){times}", as_text(&self.rows), tile - 1),
        }
    }
}

/// A size over `batch`.
fn as_text(dim: &Dim) -> String {
    let term = |(symbols, coefficient): &(Vec<smol_str::SmolStr>, i64)| {
        let coefficient = (*coefficient != 1 || symbols.is_empty()).then(|| coefficient.to_string());
        symbols.iter().map(|symbol| symbol.to_string()).chain(coefficient).collect::<Vec<_>>().join(" * ")
    };
    dim.terms().iter().map(term).collect::<Vec<_>>().join(" + ")
}

/// The CUDA C of all kernels of a plan.
pub fn emit(plan: &Plan) -> Source {
    let headings = heading::headings(plan);
    let (entries, mut texts, so_far) = kernel::emit_each(&plan.kernels, kernel::Terms::of(plan), &headings);
    let joined = emit_joined(plan, &entries, &headings, so_far);
    texts.extend(joined.texts);
    let source = Source::new(joined.so_far, entries, texts);
    Source { together: joined.functions, joints: joined.phases, ..source }
}

/// The CUDA C of kernels that are of no plan.
#[cfg(test)]
fn emit_kernels(kernels: &[crate::nest::Kernel], terms: kernel::Terms) -> Source {
    let (entries, texts, so_far) = kernel::emit_each(kernels, terms, &[]);
    Source::new(so_far, entries, texts)
}
