//! What can go wrong: a text that is no PTX, and everything that a running kernel is caught at.
//!
//! Invariant: a `Fault` names what happened in numbers (bytes, addresses by their buffer), the instruction as it is
//! written, its line in the PTX and, where the module has them, its file and line in CUDA, and the thread.

use smol_str::SmolStr;
use std::fmt;

/// A text that is no module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the PTX: {message}")]
pub struct ParseError {
    /// From 1.
    pub line: u32,
    pub message: String,
}

/// Why a kernel was stopped, or not begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub violation: Violation,
    /// None if the kernel was not begun. Boxed: most launches have no fault.
    pub place: Option<Box<Place>>,
}

/// Where a kernel was stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub kernel: SmolStr,
    /// The instruction as written.
    pub instruction: SmolStr,
    /// In the PTX, from 1.
    pub line: u32,
    /// In the CUDA source, if the module was compiled with line numbers.
    pub source: Option<(SmolStr, u32)>,
    pub block: [u32; 3],
    pub thread: [u32; 3],
}

/// What a kernel did that it must not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("out of bounds: {access} of {bytes} bytes, {whereabouts}")]
    OutOfBounds { access: Access, bytes: u32, whereabouts: String },
    #[error("misaligned: {access} of {bytes} bytes at {whereabouts}")]
    Misaligned { access: Access, bytes: u32, whereabouts: String },
    #[error("uninitialised: read of {bytes} bytes at {whereabouts}, which nothing has written")]
    Uninitialised { bytes: u32, whereabouts: String },
    #[error(
        "copy in flight: {access} of {bytes} bytes at {whereabouts}, to which an asynchronous copy is not waited for"
    )]
    InFlight { access: Access, bytes: u32, whereabouts: String },
    #[error("read-only: write of {bytes} bytes at {whereabouts}")]
    ReadOnly { bytes: u32, whereabouts: String },
    #[error(
        "race: {access} of {bytes} bytes at {whereabouts}, after a {other} by {by} with nothing between that orders them"
    )]
    Race { access: Access, bytes: u32, whereabouts: String, other: Access, by: String },
    #[error(
        "stale: read of {bytes} bytes at {whereabouts} through the read-only cache, though this launch wrote them"
    )]
    StaleCache { bytes: u32, whereabouts: String },
    #[error("divergent barrier: {arrived} of {live} live threads of the warp have come")]
    DivergentBarrier { arrived: u32, live: u32 },
    #[error("barrier {barrier} waits for threads that have left: {left} of {threads}")]
    LeftBeforeBarrier { barrier: u32, left: u32, threads: u32 },
    #[error(
        "deadlock: every warp of the block waits, and barrier {barrier} has {arrived} of {expected} threads"
    )]
    Deadlock { barrier: u32, arrived: u32, expected: u32 },
    #[error(
        "deadlock: every block under way waits for what none of them writes; {under_way} are, and {not_begun} have not begun"
    )]
    GridDeadlock { under_way: u32, not_begun: u32 },
    #[error("divergent warp: lanes {mask:#010x} should take part, and lanes {active:#010x} are here")]
    DivergentWarp { mask: u32, active: u32 },
    #[error("shuffle: lane {lane} reads lane {from}, which takes no part")]
    ShuffleFromNobody { lane: u32, from: u32 },
    #[error("the kernel trapped")]
    Trap,
    #[error("an assertion failed")]
    Assertion,
    #[error("{0}")]
    Unknown(String),
    #[error("more than {0} instructions of warps: an infinite loop, or raise `Limits::steps`")]
    TooManySteps(u64),
    #[error("calls of functions are more than {0} deep")]
    CallsTooDeep(usize),
    #[error("{0}")]
    Launch(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Atomic,
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Atomic => "atomic access",
        })
    }
}

impl Fault {
    pub(crate) fn launch(message: String) -> Fault {
        Fault { violation: Violation::Launch(message), place: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.violation)?;
        let Some(place) = &self.place else { return Ok(()) };
        let Place { kernel, instruction, line, source, block, thread } = &**place;
        let [bx, by, bz] = block;
        let [tx, ty, tz] = thread;
        write!(f, "\n  {instruction}\n  line {line} of the PTX")?;
        if let Some((file, line)) = source {
            write!(f, ", {file}:{line}")?;
        }
        write!(f, "\n  kernel {kernel}, block ({bx}, {by}, {bz}), thread ({tx}, {ty}, {tz})")
    }
}

impl std::error::Error for Fault {}
