//! The syntax tree of a PTX module: what is written, with no name looked up and no instruction understood.

use crate::types::{Space, Type};
use smol_str::SmolStr;

#[derive(Debug, Default)]
pub struct Unit {
    pub target: SmolStr,
    pub variables: Vec<Variable>,
    pub functions: Vec<Function>,
    /// `.file` directives: number and name.
    pub files: Vec<(u32, SmolStr)>,
}

/// `.shared .align 4 .b8 tile[1024];` and the like.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: SmolStr,
    pub space: Space,
    pub align: u32,
    /// Of the whole; 0 for an array without a size, which is dynamic shared memory.
    pub bytes: u32,
    /// The first bytes; the rest is zero. Empty if nothing is given.
    pub initial: Vec<u8>,
    pub is_extern: bool,
}

#[derive(Debug)]
pub struct Function {
    pub name: SmolStr,
    pub is_entry: bool,
    pub returns: Vec<Variable>,
    pub parameters: Vec<Variable>,
    /// The product of `.maxntid` or `.reqntid`.
    pub most_threads: Option<u32>,
    /// None for a declaration.
    pub body: Option<Vec<Statement>>,
}

#[derive(Debug)]
pub enum Statement {
    Label(SmolStr),
    /// `.reg .b32 %r<9>;` has a count, `.reg .pred p;` none.
    Registers {
        ty: Type,
        name: SmolStr,
        count: Option<u32>,
    },
    Variable(Variable),
    Block(Vec<Statement>),
    Instruction(Instruction),
    /// `NAME: .branchtargets A, B;`
    Targets(SmolStr, Vec<SmolStr>),
}

#[derive(Debug)]
pub struct Instruction {
    /// In the PTX, from 1.
    pub line: u32,
    /// As written, white space made single.
    pub text: SmolStr,
    /// The file's number and the line that the last `.loc` before it names.
    pub source: Option<(u32, u32)>,
    pub guard: Option<Guard>,
    /// `ld` of `ld.global.f32`.
    pub opcode: SmolStr,
    /// `global`, `f32` of `ld.global.f32`.
    pub modifiers: Vec<SmolStr>,
    pub operands: Vec<Operand>,
}

#[derive(Debug)]
pub struct Guard {
    pub register: SmolStr,
    pub negated: bool,
}

#[derive(Clone, Debug)]
pub enum Operand {
    /// A register, a variable, a label, a function; `_` throws a result away.
    Name(SmolStr),
    /// An integer, its two's complement.
    Integer(u64),
    /// A float by its bits; a decimal one is both.
    Single(u32),
    Double(u64),
    /// `[base+offset]`; without a base the offset is the address.
    Address {
        base: Option<SmolStr>,
        offset: i64,
    },
    /// `{a, b}`
    Vector(Vec<Operand>),
    /// `value|predicate`
    Pair(Box<Operand>, Box<Operand>),
    /// `!predicate`
    Not(Box<Operand>),
    /// `(a, b)` of a call.
    Group(Vec<Operand>),
}
