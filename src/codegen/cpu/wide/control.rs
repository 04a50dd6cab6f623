//! What is the same for all kinds of vectors: the function's frame and stack, loops, pointers, addresses.
//!
//! What enters: ops on counters and pointers. What leaves: instructions. `rdi` has the caller's frame, `rax` passes values inside of an
//! op; counters and pointers have general registers, the innermost first, and what is left over lies on the stack. Not here: what
//! works on vectors.

use super::assembler::{Assembler, Written};
use super::program::{Along, Amount, Counter, Op, Place, Pointer, Program};
use crate::base::DType;
use iced_x86::{Code, Instruction, MemoryOperand, Register};

const FRAME: Register = Register::RDI;
/// Those that a callee may change come first.
const GENERAL: [Register; 12] = [
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::RBX,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];
const N_CHANGEABLE: usize = 7;

/// Where a counter or a pointer is.
#[derive(Clone, Copy)]
enum Cell {
    Register(Register),
    Stack(i64),
}

pub struct Control<'p> {
    program: &'p Program,
    pub code: Assembler,
    counters: Vec<Cell>,
    pointers: Vec<Cell>,
    saved: Vec<Register>,
    /// Bytes of the stack: what vectors need, then cells.
    n_stack: i64,
    first_local: i64,
}

impl<'p> Control<'p> {
    /// `n_stack`: bytes for vectors and masks, from the stack pointer on.
    pub fn new(program: &'p Program, n_stack: i64) -> Self {
        let mut control = Control {
            program,
            code: Assembler::new(program.n_labels),
            counters: Vec::new(),
            pointers: Vec::new(),
            saved: Vec::new(),
            n_stack: n_stack + 8 * program.n_locals as i64,
            first_local: n_stack,
        };
        control.place_cells();
        control.prologue();
        control
    }

    /// Gives registers to the counter of the vector axis, to inner counters, then to pointers; what is left over lies on the stack.
    fn place_cells(&mut self) {
        let n_counters = self.program.n_counters;
        let mut order = vec![self.program.vector_counter];
        order.extend((0..n_counters).rev().filter(|c| *c != self.program.vector_counter).take(2));
        let rest: Vec<Counter> = (0..n_counters).filter(|c| !order.contains(c)).collect();
        let mut general = GENERAL.into_iter();
        let mut cell = |control: &mut Self| match general.next() {
            Some(register) => {
                if GENERAL[N_CHANGEABLE..].contains(&register) {
                    control.saved.push(register);
                }
                Cell::Register(register)
            }
            None => {
                control.n_stack += 8;
                Cell::Stack(control.n_stack - 8)
            }
        };
        self.counters = vec![Cell::Stack(0); n_counters];
        for counter in order {
            self.counters[counter] = cell(self);
        }
        self.pointers = self.program.pointers.iter().map(|_| cell(self)).collect();
        for counter in rest {
            self.counters[counter] = cell(self);
        }
    }

    fn prologue(&mut self) {
        self.code.push(Instruction::with1(Code::Push_r64, Register::RBP).expect("push"));
        self.code.push(Instruction::with2(Code::Mov_r64_rm64, Register::RBP, Register::RSP).expect("mov"));
        for register in self.saved.clone() {
            self.code.push(Instruction::with1(Code::Push_r64, register).expect("push"));
        }
        if self.n_stack > 0 {
            self.code.push(
                Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, self.n_stack as i32).expect("sub"),
            );
            self.code.push(Instruction::with2(Code::And_rm64_imm8, Register::RSP, -64).expect("and"));
        }
        for (pointer, item) in self.program.pointers.clone().into_iter().enumerate() {
            let from = frame(item);
            match self.pointers[pointer] {
                Cell::Register(register) => {
                    self.code.push(Instruction::with2(Code::Mov_r64_rm64, register, from).expect("mov"));
                }
                Cell::Stack(at) => {
                    self.code.push(Instruction::with2(Code::Mov_r64_rm64, Register::RAX, from).expect("mov"));
                    self.code
                        .push(Instruction::with2(Code::Mov_rm64_r64, stack(at), Register::RAX).expect("mov"));
                }
            }
        }
    }

    /// The function's end, and all of it as bytes.
    pub fn finish(mut self) -> Written {
        self.code.push(Instruction::with(Code::VEX_Vzeroupper));
        let below = -8 * self.saved.len() as i64;
        if self.n_stack > 0 {
            let at = MemoryOperand::with_base_displ(Register::RBP, below);
            self.code.push(Instruction::with2(Code::Lea_r64_m, Register::RSP, at).expect("lea"));
        }
        for register in self.saved.clone().into_iter().rev() {
            self.code.push(Instruction::with1(Code::Pop_r64, register).expect("pop"));
        }
        self.code.push(Instruction::with1(Code::Pop_r64, Register::RBP).expect("pop"));
        self.code.push(Instruction::with(Code::Retnq));
        self.code.bytes()
    }

    pub fn counter(&mut self, counter: Counter) -> Register {
        self.general(self.counters[counter])
    }

    fn general(&mut self, cell: Cell) -> Register {
        match cell {
            Cell::Register(register) => register,
            Cell::Stack(at) => {
                self.code
                    .push(Instruction::with2(Code::Mov_r64_rm64, Register::RAX, stack(at)).expect("mov"));
                Register::RAX
            }
        }
    }

    fn pointer(&mut self, pointer: Pointer) -> Register {
        self.general(self.pointers[pointer])
    }

    pub fn address(&mut self, at: &Place, dtype: DType) -> MemoryOperand {
        let Cell::Register(vector) = self.counters[self.program.vector_counter] else {
            unreachable!("the vector axis's counter comes first")
        };
        match at.along {
            Along::Fixed => {
                let base = self.pointer(at.pointer);
                MemoryOperand::with_base_displ_size(base, at.beyond, 1)
            }
            Along::Unit(_) => {
                let base = self.pointer(at.pointer);
                let scale = dtype.bytes() as u32;
                MemoryOperand::with_base_index_scale_displ_size(base, vector, scale, at.beyond, 1)
            }
            Along::Strided(_, by) => {
                let rax = Register::RAX;
                let Amount::Known(by) = by else { unreachable!("the form has seen to it") };
                self.code.push(
                    Instruction::with3(Code::Imul_r64_rm64_imm32, rax, vector, by as i32).expect("imul"),
                );
                match self.pointers[at.pointer] {
                    Cell::Register(base) => {
                        self.code.push(Instruction::with2(Code::Add_r64_rm64, rax, base).expect("add"));
                    }
                    Cell::Stack(base) => {
                        self.code
                            .push(Instruction::with2(Code::Add_r64_rm64, rax, stack(base)).expect("add"));
                    }
                }
                MemoryOperand::with_base_displ_size(rax, at.beyond, 1)
            }
        }
    }

    /// Whether the op was one of loops and pointers, and so is done.
    pub fn op(&mut self, op: &Op) -> bool {
        match *op {
            Op::Whole { local, of, step } => {
                let to = stack(self.first_local + 8 * local as i64);
                self.number(of);
                self.code.push(
                    Instruction::with2(Code::And_rm64_imm32, Register::RAX, -step as i32).expect("and"),
                );
                self.code.push(Instruction::with2(Code::Mov_rm64_r64, to, Register::RAX).expect("mov"));
            }
            Op::Start { counter } => match self.counters[counter] {
                Cell::Register(register) => {
                    let low = low(register);
                    self.code.push(Instruction::with2(Code::Xor_r32_rm32, low, low).expect("xor"));
                }
                Cell::Stack(at) => {
                    self.code.push(Instruction::with2(Code::Mov_rm64_imm32, stack(at), 0).expect("mov"));
                }
            },
            Op::Bind { label } => self.code.bind(label),
            Op::Leave { counter, limit, label } => {
                self.compare_counter(counter, limit);
                self.code.branch(Code::Jge_rel32_64, label);
            }
            Op::LeaveUnaligned { pointer, label } => {
                let register = self.pointer(pointer);
                self.leave_unless_multiple(register, label);
            }
            Op::LeaveOdd { amount, label } => {
                self.number(amount);
                self.leave_unless_multiple(Register::RAX, label);
            }
            Op::LeaveBelow { amount, least, label } => {
                self.number(amount);
                let compare = Instruction::with2(Code::Cmp_rm64_imm32, Register::RAX, least as i32);
                self.code.push(compare.expect("cmp"));
                self.code.branch(Code::Jl_rel32_64, label);
            }
            Op::Jump { label } => self.code.branch(Code::Jmp_rel32_64, label),
            Op::Fence => self.code.push(Instruction::with(Code::Sfence)),
            Op::Fetch { at, dtype } => {
                let memory = self.address(&at, dtype);
                let fetch = Instruction::with1(Code::Prefetcht1_m8, memory);
                self.code.push(fetch.expect("the code has this operand"));
            }
            Op::Next { counter, step, limit, label } => {
                self.add(self.counters[counter], Amount::Known(step));
                self.compare_counter(counter, limit);
                self.code.branch(Code::Jl_rel32_64, label);
            }
            Op::Bump { counter, step } => self.add(self.counters[counter], Amount::Known(step)),
            Op::Advance { pointer, by } => self.add(self.pointers[pointer], by),
            _ => return false,
        }
        true
    }

    /// `Op::Seek`, with the index in `eax`.
    pub fn seek(&mut self, pointer: Pointer, from: Pointer, stride: Amount, limit: Option<(Amount, usize)>) {
        let (rax, eax) = (Register::RAX, Register::EAX);
        self.push(Instruction::with2(Code::Movsxd_r64_rm32, rax, eax));
        if let Some((bound, label)) = limit {
            self.push(match bound {
                Amount::Known(bound) => Instruction::with2(Code::Cmp_rm64_imm32, rax, known(bound)),
                Amount::Frame(item) => Instruction::with2(Code::Cmp_r64_rm64, rax, frame(item)),
                Amount::Local(_) => unreachable!("a bound is a size"),
            });
            // A negative one is a large one without a sign.
            self.code.branch(Code::Jae_rel32_64, label);
        }
        self.push(match stride {
            Amount::Known(stride) => Instruction::with3(Code::Imul_r64_rm64_imm32, rax, rax, known(stride)),
            Amount::Frame(item) => Instruction::with2(Code::Imul_r64_rm64, rax, frame(item)),
            Amount::Local(_) => unreachable!("a stride is a size"),
        });
        self.push(match self.pointers[from] {
            Cell::Register(from) => Instruction::with2(Code::Add_r64_rm64, rax, from),
            Cell::Stack(from) => Instruction::with2(Code::Add_r64_rm64, rax, stack(from)),
        });
        self.push(match self.pointers[pointer] {
            Cell::Register(to) => Instruction::with2(Code::Mov_r64_rm64, to, rax),
            Cell::Stack(to) => Instruction::with2(Code::Mov_rm64_r64, stack(to), rax),
        });
    }

    fn push(&mut self, instruction: Result<Instruction, iced_x86::IcedError>) {
        self.code.push(instruction.expect("the code has these operands"));
    }

    /// Jumps if a register holds no multiple of 64.
    fn leave_unless_multiple(&mut self, register: Register, label: usize) {
        self.code.push(Instruction::with2(Code::Test_rm64_imm32, register, 63).expect("test"));
        self.code.branch(Code::Jne_rel32_64, label);
    }

    /// A number into `rax`.
    fn number(&mut self, amount: Amount) {
        let rax = Register::RAX;
        let instruction = match amount {
            Amount::Known(value) => Instruction::with2(Code::Mov_r64_imm64, rax, value),
            Amount::Frame(item) => Instruction::with2(Code::Mov_r64_rm64, rax, frame(item)),
            Amount::Local(local) => {
                Instruction::with2(Code::Mov_r64_rm64, rax, stack(self.first_local + 8 * local as i64))
            }
        };
        self.code.push(instruction.expect("mov"));
    }

    fn compare_counter(&mut self, counter: Counter, limit: Amount) {
        let limit = match limit {
            Amount::Known(value) if i32::try_from(value).is_ok() => Amount::Known(value),
            limit => {
                self.number(limit);
                let counter = self.counters[counter];
                let instruction = match counter {
                    Cell::Register(register) => {
                        Instruction::with2(Code::Cmp_r64_rm64, register, Register::RAX)
                    }
                    Cell::Stack(at) => Instruction::with2(Code::Cmp_rm64_r64, stack(at), Register::RAX),
                };
                return self.code.push(instruction.expect("cmp"));
            }
        };
        let Amount::Known(value) = limit else { unreachable!("others have returned") };
        let instruction = match self.counters[counter] {
            Cell::Register(register) => Instruction::with2(Code::Cmp_rm64_imm32, register, value as i32),
            Cell::Stack(at) => Instruction::with2(Code::Cmp_rm64_imm32, stack(at), value as i32),
        };
        self.code.push(instruction.expect("cmp"));
    }

    fn add(&mut self, to: Cell, by: Amount) {
        if let Amount::Known(value) = by
            && let Ok(value) = i32::try_from(value)
        {
            let code = if i8::try_from(value).is_ok() { Code::Add_rm64_imm8 } else { Code::Add_rm64_imm32 };
            let instruction = match to {
                Cell::Register(register) => Instruction::with2(code, register, value),
                Cell::Stack(at) => Instruction::with2(code, stack(at), value),
            };
            return self.code.push(instruction.expect("add"));
        }
        self.number(by);
        let instruction = match to {
            Cell::Register(register) => Instruction::with2(Code::Add_r64_rm64, register, Register::RAX),
            Cell::Stack(at) => Instruction::with2(Code::Add_rm64_r64, stack(at), Register::RAX),
        };
        self.code.push(instruction.expect("add"));
    }

    /// The number of lanes that the tail has, into `rax`.
    pub fn lanes_left(&mut self, counter: Counter, extent: Amount) {
        self.number(extent);
        let instruction = match self.counters[counter] {
            Cell::Register(register) => Instruction::with2(Code::Sub_r64_rm64, Register::RAX, register),
            Cell::Stack(at) => Instruction::with2(Code::Sub_r64_rm64, Register::RAX, stack(at)),
        };
        self.code.push(instruction.expect("sub"));
    }
}

fn known(value: i64) -> i32 {
    i32::try_from(value).expect("the form has seen to it")
}

pub fn frame(item: usize) -> MemoryOperand {
    MemoryOperand::with_base_displ_size(FRAME, 8 * item as i64, 1)
}

pub fn stack(at: i64) -> MemoryOperand {
    MemoryOperand::with_base_displ_size(Register::RSP, at, 1)
}

/// The lower half of a general register.
pub fn low(register: Register) -> Register {
    Register::EAX + (register as u32 - Register::RAX as u32)
}
