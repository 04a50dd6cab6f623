//! The code of a nest before it has registers: a straight list of ops on vectors of eight or sixteen lanes, with loops.
//!
//! What enters: pushes of `lower`. What leaves: a `Program`, which `allocate` gives registers and `encode` writes down. Invariant:
//! a virtual register is defined before it is used, and outside of accumulators once in the text; values are either lanes of 32
//! bits or masks. Not here: what a nest means.

use crate::base::{DType, Dim};
use crate::nest::BufferRef;
use crate::scalar::machine::Compare;

/// A virtual register.
pub type V = u32;
pub type Counter = usize;
pub type Pointer = usize;
pub type Label = usize;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    Lanes,
    Mask,
}

/// What the caller writes into the frame, eight bytes each, before it calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Item {
    /// The address of an element.
    Address { buffer: BufferRef, dtype: DType, offset: Dim },
    /// A size, i64.
    Size(Dim),
    /// How many indices an axis has: none where the size is negative.
    Extent(Dim),
    /// A size as f32, in the low four bytes.
    Float(Dim),
}

/// A number that is known now, or stands in the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Amount {
    Known(i64),
    Frame(usize),
    /// In a local cell: the given multiple at most the number in the frame, made by `Op::Whole`.
    Local(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unary {
    SqrtF,
    FloorF,
    CeilF,
    NearestF,
    Truncate,
    ToF,
    Shl(u8),
    /// The sign kept.
    Shr(u8),
    ShrZeros(u8),
    /// Exchanges lanes at distance 8, 4, 2 or 1, for 0 to 3: what puts lanes together.
    Swap(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Binary {
    AddF,
    SubF,
    MulF,
    DivF,
    /// `a < b ? a : b`, so the second operand where one is NaN.
    MinF,
    MaxF,
    AddI,
    SubI,
    MulI,
    MinI,
    MaxI,
    And,
    Or,
    Xor,
    ShlBy,
    ShrBy,
    /// What transposes are made of: of each quarter of four lanes the lower or the upper two, those of both operands in turn; the
    /// same by pairs; the quarters with even or odd numbers of the first, then of the second.
    LowerLanes,
    UpperLanes,
    LowerPairs,
    UpperPairs,
    EvenQuarters,
    OddQuarters,
}

impl Binary {
    pub fn commutes(self) -> bool {
        use Binary::{AddF, AddI, And, MaxI, MinI, MulF, MulI, Or, Xor};
        matches!(self, AddF | MulF | AddI | MulI | MinI | MaxI | And | Or | Xor)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Logic {
    And,
    Or,
    Xor,
    /// `!a & b`
    AndNot,
}

/// How an address moves along the vector axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Along {
    Fixed,
    /// Lanes are neighbours; the counter is that of the vector axis.
    Unit(Counter),
    /// Lanes are so many bytes apart.
    Strided(Counter, Amount),
}

/// An address: that of a pointer, moved along the vector axis, and bytes beyond.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub pointer: Pointer,
    pub along: Along,
    pub beyond: i64,
}

/// `masked` ops leave out the lanes that the tail does not have: they read 0, are not written, or stay.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Op {
    /// The same bits in all lanes.
    Const {
        to: V,
        bits: u32,
    },
    /// 0, 1, 2, …
    Iota {
        to: V,
    },
    /// The low four bytes of a frame's item, in all lanes.
    Item {
        to: V,
        item: usize,
    },
    /// A loop's index, in all lanes.
    Index {
        to: V,
        counter: Counter,
    },
    /// Neighbours. A bool is a mask, u8 becomes i32, bf16 the upper half of an f32.
    Load {
        to: V,
        at: Place,
        dtype: DType,
        masked: bool,
    },
    /// Asks for the line of a place, which need not be valid.
    Fetch {
        at: Place,
        dtype: DType,
    },
    /// One element, in all lanes.
    Splat {
        to: V,
        at: Place,
        dtype: DType,
    },
    /// Elements of four bytes, `steps` of them from `at`.
    Gather {
        to: V,
        at: Place,
        steps: V,
        masked: bool,
    },
    /// `streams`: past the caches, to a multiple of 64 bytes.
    Store {
        value: V,
        at: Place,
        dtype: DType,
        masked: bool,
        streams: bool,
    },
    Scatter {
        value: V,
        at: Place,
        steps: V,
        masked: bool,
    },
    /// The first lane, four bytes.
    StoreFirst {
        value: V,
        at: Place,
    },
    Copy {
        to: V,
        a: V,
    },
    Unary {
        op: Unary,
        to: V,
        a: V,
    },
    Binary {
        op: Binary,
        to: V,
        a: V,
        b: V,
    },
    /// `a * b + c`, rounded once.
    Fma {
        to: V,
        a: V,
        b: V,
        c: V,
    },
    Select {
        to: V,
        mask: V,
        a: V,
        b: V,
    },
    Compare {
        to: V,
        float: bool,
        how: Compare,
        a: V,
        b: V,
    },
    Logic {
        op: Logic,
        to: V,
        a: V,
        b: V,
    },
    Not {
        to: V,
        a: V,
    },
    /// All masks' lanes set, or none.
    Always {
        to: V,
        set: bool,
    },
    /// A mask as lanes, -1 or 0, and back.
    LanesOf {
        to: V,
        mask: V,
    },
    MaskOf {
        to: V,
        a: V,
    },
    /// `sum = op(sum, value)`.
    Take {
        op: Binary,
        sum: V,
        value: V,
        masked: bool,
    },

    /// A cell becomes the greatest multiple of `step`, a power of two, that is not above the amount.
    Whole {
        local: usize,
        of: Amount,
        step: i64,
    },
    Start {
        counter: Counter,
    },
    Bind {
        label: Label,
    },
    /// To `label` if the counter has reached the limit.
    Leave {
        counter: Counter,
        limit: Amount,
        label: Label,
    },
    /// To `label` if the pointer's address is no multiple of 64, or the amount is none.
    LeaveUnaligned {
        pointer: Pointer,
        label: Label,
    },
    LeaveOdd {
        amount: Amount,
        label: Label,
    },
    /// To `label` if the amount is below this.
    LeaveBelow {
        amount: Amount,
        least: i64,
        label: Label,
    },
    Jump {
        label: Label,
    },
    /// A pointer becomes another one moved by the first lane's number of strides of so many bytes. With a limit: to its label if that
    /// number is below 0, or not below the amount.
    Seek {
        pointer: Pointer,
        from: Pointer,
        index: V,
        stride: Amount,
        limit: Option<(Amount, Label)>,
    },
    /// What was streamed is seen by others before what is written later.
    Fence,
    /// Adds to the counter, and goes to `label` while it is below the limit.
    Next {
        counter: Counter,
        step: i64,
        limit: Amount,
        label: Label,
    },
    Bump {
        counter: Counter,
        step: i64,
    },
    Advance {
        pointer: Pointer,
        by: Amount,
    },
    /// The tail has the lanes from the counter to the extent.
    Tail {
        counter: Counter,
        extent: Amount,
    },
}

/// How an op sees a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    Use,
    /// Still read when the result is partly written.
    LateUse,
    Def,
    Both,
}

impl Op {
    pub fn visit(&self, see: &mut dyn FnMut(V, Role)) {
        use Role::{Both, Def, LateUse, Use};
        match *self {
            Op::Const { to, .. } | Op::Iota { to } | Op::Item { to, .. } | Op::Index { to, .. } => {
                see(to, Def)
            }
            Op::Load { to, .. } | Op::Splat { to, .. } | Op::Always { to, .. } => see(to, Def),
            Op::Gather { to, steps, .. } => {
                see(steps, LateUse);
                see(to, Def);
            }
            Op::Store { value, .. } | Op::StoreFirst { value, .. } => see(value, Use),
            Op::Seek { index, .. } => see(index, Use),
            Op::Scatter { value, steps, .. } => {
                see(value, Use);
                see(steps, Use);
            }
            Op::Copy { to, a } | Op::Unary { to, a, .. } | Op::Not { to, a } | Op::MaskOf { to, a } => {
                see(a, Use);
                see(to, Def);
            }
            Op::LanesOf { to, mask } => {
                see(mask, Use);
                see(to, Def);
            }
            Op::Binary { to, a, b, .. } | Op::Compare { to, a, b, .. } | Op::Logic { to, a, b, .. } => {
                see(a, Use);
                see(b, Use);
                see(to, Def);
            }
            Op::Fma { to, a, b, c } => {
                for v in [a, b, c] {
                    see(v, Use);
                }
                see(to, Def);
            }
            Op::Select { to, mask, a, b } => {
                for v in [mask, a, b] {
                    see(v, Use);
                }
                see(to, Def);
            }
            Op::Take { sum, value, .. } => {
                see(value, Use);
                see(sum, Both);
            }
            Op::Whole { .. }
            | Op::Start { .. }
            | Op::Bind { .. }
            | Op::Leave { .. }
            | Op::LeaveUnaligned { .. }
            | Op::LeaveOdd { .. }
            | Op::LeaveBelow { .. }
            | Op::Jump { .. }
            | Op::Fetch { .. }
            | Op::Fence
            | Op::Next { .. }
            | Op::Bump { .. }
            | Op::Advance { .. }
            | Op::Tail { .. } => {}
        }
    }
}

#[derive(Default)]
pub struct Program {
    pub ops: Vec<Op>,
    /// By virtual register.
    pub classes: Vec<Class>,
    pub frame: Vec<Item>,
    /// By pointer, the frame's item that it starts from.
    pub pointers: Vec<usize>,
    pub n_counters: usize,
    pub n_locals: usize,
    pub n_labels: usize,
    /// The counter that indexes memory and so needs a register: the vector axis's.
    pub vector_counter: Counter,
}

impl Program {
    pub fn register(&mut self, class: Class) -> V {
        self.classes.push(class);
        (self.classes.len() - 1) as V
    }

    /// The place of an item in the frame, shared by equal ones.
    pub fn item(&mut self, item: Item) -> usize {
        if let Some(at) = self.frame.iter().position(|other| *other == item) {
            return at;
        }
        self.frame.push(item);
        self.frame.len() - 1
    }

    pub fn amount(&mut self, dim: &Dim) -> Amount {
        match dim.as_const() {
            Some(value) => Amount::Known(value),
            None => Amount::Frame(self.item(Item::Size(dim.clone()))),
        }
    }

    /// The number of indices of an axis.
    pub fn extent(&mut self, dim: &Dim) -> Amount {
        match dim.as_const() {
            Some(value) => Amount::Known(value),
            None => Amount::Frame(self.item(Item::Extent(dim.clone()))),
        }
    }

    pub fn label(&mut self) -> Label {
        self.n_labels += 1;
        self.n_labels - 1
    }
}
