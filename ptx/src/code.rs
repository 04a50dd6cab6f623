//! Decoded functions: what a warp executes.
//!
//! Invariant: one `Instr` for each instruction of the text, in its order. Registers are slots, labels are places in the
//! list, and each branch knows where its lanes meet again. Nothing is looked up by name while a kernel runs.

use crate::math::lanes::{Compare, Compute};
use crate::memory::shared::SharedLayout;
use crate::types::Space;
use smol_str::SmolStr;

/// A register of a frame: values and predicates are counted apart.
pub type Slot = u32;

pub struct Code {
    pub name: SmolStr,
    pub is_entry: bool,
    pub instrs: Vec<Instr>,
    pub registers: usize,
    pub predicates: usize,
    /// Slots that hold what does not change while a frame lives.
    pub specials: Vec<(Special, Slot)>,
    /// Of one thread and one frame.
    pub local_bytes: u32,
    /// Of an entry: its parameters. Of a function: parameters, results and those of calls, of one thread.
    pub param_bytes: u32,
    pub parameters: Vec<Field>,
    pub results: Vec<Field>,
    pub most_threads: Option<u32>,
    /// Of an entry.
    pub shared: SharedLayout,
}

/// Bytes in parameter memory.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub at: u32,
    pub bytes: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Special {
    /// Of the axis 0, 1 or 2.
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    NWarpId,
    SmId,
    NSmId,
    GridId,
    LaneMaskEq,
    LaneMaskLt,
    LaneMaskLe,
    LaneMaskGt,
    LaneMaskGe,
    /// Where the local memory of the frame begins.
    LocalBase,
    DynamicShared,
    DynamicSharedSize,
    TotalSharedSize,
    /// The address of a global variable.
    Variable(SmolStr),
    /// Where results go that are thrown away.
    Sink,
}

pub struct Instr {
    pub op: Op,
    pub guard: Option<Guard>,
    /// What the statistics call it: its opcode.
    pub name: SmolStr,
    pub text: SmolStr,
    /// In the PTX, from 1.
    pub line: u32,
    pub source: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Guard {
    pub slot: Slot,
    pub negated: bool,
}

#[derive(Clone, Copy, Debug)]
pub enum Source {
    Slot(Slot),
    Value(u64),
}

/// A predicate as an operand.
#[derive(Clone, Copy, Debug)]
pub enum Truth {
    Slot(Guard),
    Constant(bool),
}

#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub space: Space,
    pub base: Option<Slot>,
    pub offset: i64,
}

/// What else an access to memory says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strength {
    Plain,
    /// `.nc`: through the read-only cache.
    ReadOnly,
    /// `.volatile`, `.relaxed`: seen by other threads, orders nothing itself.
    Relaxed,
    /// `.acquire` or `.release`.
    Ordering,
}

pub type Logic = fn(u32, u32) -> u32;
/// The new value from the old one and two operands.
pub type Update = Box<dyn Fn(u64, u64, u64) -> u64 + Send + Sync>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VoteMode {
    All,
    Any,
    Uniform,
    Ballot,
}

/// What a barrier returns to all its threads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tally {
    Count(Slot),
    All(Slot),
    Any(Slot),
}

pub enum Op {
    Map {
        dst: Slot,
        f: Compute,
        sources: [Source; 3],
    },
    Insert {
        dst: Slot,
        sources: [Source; 4],
        width: u32,
    },
    Compare {
        dst: Option<Slot>,
        complement: Option<Slot>,
        f: Compare,
        sources: [Source; 2],
        with: Option<(Logic, Truth)>,
    },
    /// `set`: a comparison as a value.
    CompareValue {
        dst: Slot,
        f: Compare,
        sources: [Source; 2],
        with: Option<(Logic, Truth)>,
        one: u64,
    },
    Select {
        dst: Slot,
        sources: [Source; 2],
        truth: Truth,
    },
    Truths {
        dst: Slot,
        f: Logic,
        sources: [Truth; 2],
    },
    /// Parts into one register, the first lowest.
    Pack {
        dst: Slot,
        parts: Vec<Source>,
        bits: u32,
    },
    Unpack {
        dsts: Vec<Option<Slot>>,
        source: Source,
        bits: u32,
    },
    /// `add.cc`, `addc`, `sub.cc`, `subc`. The carry is predicate 0.
    Carry {
        dst: Slot,
        sources: [Source; 2],
        subtract: bool,
        bits: u32,
        reads: bool,
        writes: bool,
    },
    Branch {
        target: u32,
        reconverge: u32,
    },
    BranchTable {
        index: Source,
        targets: Vec<u32>,
        reconverge: u32,
    },
    Return,
    Exit,
    Trap,
    Assertion,
    Call {
        function: usize,
        arguments: Vec<u32>,
        results: Vec<u32>,
    },
    Load {
        address: Address,
        dsts: Vec<Option<Slot>>,
        /// Of one destination.
        bytes: u32,
        /// For a signed type: the bits of a register, to which the sign is extended.
        extend: Option<u32>,
        strength: Strength,
    },
    Store {
        address: Address,
        sources: Vec<Source>,
        bytes: u32,
        strength: Strength,
    },
    Atomic {
        address: Address,
        dst: Option<Slot>,
        update: Update,
        sources: [Source; 2],
        bytes: u32,
        strength: Strength,
    },
    /// `cp.async`: `bytes` to shared memory, of which `from_bytes` are read and the rest are zeros.
    Copy {
        to: Address,
        from: Address,
        bytes: u32,
        from_bytes: Option<Source>,
    },
    CopyCommit,
    /// Until at most so many groups are under way; None: everything, committed or not.
    CopyWait(Option<u32>),
    Barrier {
        id: Source,
        threads: Option<Source>,
        arrive_only: bool,
        tally: Option<(Tally, Truth)>,
    },
    WarpBarrier {
        mask: Source,
    },
    Shuffle {
        mode: ShuffleMode,
        dst: Slot,
        truth: Option<Slot>,
        /// Value, lane, clamp and segment, mask.
        sources: [Source; 4],
    },
    Vote {
        mode: VoteMode,
        dst: Slot,
        truth: Truth,
        mask: Source,
    },
    Match {
        all: bool,
        dst: Slot,
        truth: Option<Slot>,
        source: Source,
        mask: Source,
    },
    /// `redux.sync`
    WarpReduce {
        f: fn(u32, u32) -> u32,
        dst: Slot,
        source: Source,
        mask: Source,
    },
    Elect {
        dst: Option<Slot>,
        truth: Slot,
        mask: Source,
    },
    Product(MatrixProduct),
    LoadMatrix {
        address: Address,
        dsts: Vec<Slot>,
        transposed: bool,
    },
    StoreMatrix {
        address: Address,
        sources: Vec<Source>,
        transposed: bool,
    },
    /// `membar`, `fence`: of the grid or the device, not of the block alone.
    Fence {
        grid: bool,
    },
    /// `nanosleep`: lets others run.
    Sleep,
    /// Instructions of this warp until now.
    Clock {
        dst: Slot,
    },
    ActiveMask {
        dst: Slot,
    },
    /// `isspacep`
    IsSpace {
        dst: Slot,
        space: Space,
        source: Source,
    },
    /// A hint: prefetches, `griddepcontrol`, `setmaxnreg`.
    Nothing,
    /// An instruction that is not known; why.
    Unknown(String),
}

/// `mma.sync`: d = a @ b + c, a: [m, k], b: [k, n].
pub struct MatrixProduct {
    pub shape: [usize; 3],
    pub elements: Element,
    /// The types of c and d differ for f16 alone; here both are one.
    pub sums: Sum,
    pub d: Vec<Slot>,
    pub a: Vec<Source>,
    pub b: Vec<Source>,
    pub c: Vec<Source>,
}

/// What a and b are made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    F16,
    Bf16,
    Tf32,
    F64,
    /// Of a and of b: true if signed.
    Byte(bool, bool),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sum {
    F16,
    F32,
    F64,
    S32,
}
