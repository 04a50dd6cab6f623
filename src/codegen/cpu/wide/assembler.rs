//! Instructions in a row, with jumps between them and constants behind them, as bytes.
//!
//! What enters: instructions, some of which name a label or a constant. What leaves: bytes that are the same wherever they lie.
//! Not here: which instruction does what.

use crate::scalar::machine::Compare;
use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};

/// Code and the constants behind it.
pub struct Written {
    pub bytes: Vec<u8>,
    /// Where the constants begin.
    pub n_code: usize,
}

/// What an instruction says of a place that is known when all are written.
#[derive(Clone, Copy)]
pub enum Later {
    No,
    /// It jumps there.
    Label(usize),
    /// Its memory is the constant so many bytes from the first.
    Constant(usize),
}

pub enum Operand {
    Register(Register),
    Memory(MemoryOperand, Later),
}

pub struct Assembler {
    instructions: Vec<(Instruction, Later)>,
    /// By label: the number of the instruction that follows.
    labels: Vec<usize>,
    constants: Vec<u8>,
}

impl Assembler {
    pub fn new(n_labels: usize) -> Assembler {
        Assembler { instructions: Vec::new(), labels: vec![usize::MAX; n_labels], constants: Vec::new() }
    }

    pub fn label(&mut self) -> usize {
        self.labels.push(usize::MAX);
        self.labels.len() - 1
    }

    pub fn bind(&mut self, label: usize) {
        self.labels[label] = self.instructions.len();
    }

    pub fn push(&mut self, instruction: Instruction) {
        self.push_with(instruction, Later::No);
    }

    pub fn push_with(&mut self, instruction: Instruction, later: Later) {
        self.instructions.push((instruction, later));
    }

    pub fn branch(&mut self, code: Code, label: usize) {
        let jump = Instruction::with_branch(code, 0).expect("a branch");
        self.instructions.push((jump, Later::Label(label)));
    }

    pub fn two(&mut self, code: Code, to: Register, from: Operand) {
        let (instruction, later) = match from {
            Operand::Register(from) => (Instruction::with2(code, to, from), Later::No),
            Operand::Memory(from, later) => (Instruction::with2(code, to, from), later),
        };
        self.instructions.push((instruction.expect("the code has these operands"), later));
    }

    pub fn three(&mut self, code: Code, to: Register, a: Register, b: Operand) {
        let (instruction, later) = match b {
            Operand::Register(b) => (Instruction::with3(code, to, a, b), Later::No),
            Operand::Memory(b, later) => (Instruction::with3(code, to, a, b), later),
        };
        self.instructions.push((instruction.expect("the code has these operands"), later));
    }

    pub fn two_and_number(&mut self, code: Code, to: Register, from: Operand, number: u32) {
        let (instruction, later) = match from {
            Operand::Register(from) => (Instruction::with3(code, to, from, number), Later::No),
            Operand::Memory(from, later) => (Instruction::with3(code, to, from, number), later),
        };
        self.instructions.push((instruction.expect("the code has these operands"), later));
    }

    pub fn three_and_number(&mut self, code: Code, to: Register, a: Register, b: Operand, number: u32) {
        let (instruction, later) = match b {
            Operand::Register(b) => (Instruction::with4(code, to, a, b, number), Later::No),
            Operand::Memory(b, later) => (Instruction::with4(code, to, a, b, number), later),
        };
        self.instructions.push((instruction.expect("the code has these operands"), later));
    }

    /// The last instruction only in the mask's lanes; the others become 0 or stay.
    pub fn only(&mut self, mask: Register, zeros: bool) {
        let (last, _) = self.instructions.last_mut().expect("there is a last instruction");
        last.set_op_mask(mask);
        last.set_zeroing_masking(zeros);
    }

    /// All sizes are the same whatever the distances, so that the first pass can measure and the second write.
    pub fn bytes(self) -> Written {
        let mut ends = Vec::with_capacity(self.instructions.len() + 1);
        let mut encoder = Encoder::new(64);
        let mut at = 0;
        for (instruction, _) in &self.instructions {
            ends.push(at);
            at += encoder.encode(instruction, at as u64).expect("the instruction exists");
        }
        ends.push(at);
        let n_code = at;
        let first_constant = n_code.next_multiple_of(64);
        let mut encoder = Encoder::new(64);
        for ((instruction, later), at) in self.instructions.into_iter().zip(&ends) {
            let mut instruction = instruction;
            match later {
                Later::No => {}
                Later::Label(label) => instruction.set_near_branch64(ends[self.labels[label]] as u64),
                Later::Constant(offset) => {
                    instruction.set_memory_displacement64((first_constant + offset) as u64)
                }
            }
            encoder.encode(&instruction, *at as u64).expect("the instruction exists");
        }
        let mut bytes = encoder.take_buffer();
        bytes.resize(first_constant, 0xcc);
        bytes.extend(self.constants);
        Written { bytes, n_code }
    }

    /// The place of constants behind the code; equal ones share it.
    pub fn constant(&mut self, bytes: &[u8]) -> usize {
        let found = self.constants.chunks_exact(bytes.len()).position(|other| other == bytes);
        let at = found.map(|i| i * bytes.len());
        at.unwrap_or_else(|| {
            self.constants.resize(self.constants.len().next_multiple_of(bytes.len()), 0);
            self.constants.extend(bytes);
            self.constants.len() - bytes.len()
        })
    }

    pub fn constant_operand(&mut self, bytes: &[u8], broadcast: bool) -> Operand {
        let at = self.constant(bytes);
        let memory = MemoryOperand::new(Register::RIP, Register::None, 1, 0, 8, broadcast, Register::None);
        Operand::Memory(memory, Later::Constant(at))
    }
}

/// How `vcmpps` names a comparison: ordered and quiet, but `Ne`, which is true of NaN.
pub fn float_predicate(how: Compare) -> u32 {
    match how {
        Compare::Eq => 0x00,
        Compare::Ne => 0x04,
        Compare::Lt => 0x11,
        Compare::Le => 0x12,
        Compare::Gt => 0x1e,
        Compare::Ge => 0x1d,
    }
}
