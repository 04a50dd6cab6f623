//! A program as machine code.
//!
//! What enters: a program whose registers have homes. What leaves: the bytes of a function that is called with the frame's address,
//! constants behind the code. Nothing in them depends on where they lie. Of the vectors the last two, of the masks the last, of the
//! general registers `rax` pass values inside of an op; `k1` is the tail's mask, `rdi` has the frame.

use super::allocate::{Home, Homes};
use super::program::{Along, Amount, Binary, Class, Counter, Logic, Op, Place, Pointer, Program, Unary, V};
use crate::base::DType;
use crate::scalar::machine::Compare;
use iced_x86::{Code, Encoder, Instruction, MemoryOperand, Register};

/// Code and the constants behind it.
pub struct Written {
    pub bytes: Vec<u8>,
    /// Where the constants begin.
    pub n_code: usize,
}

const SPARE: [Register; 2] = [Register::ZMM30, Register::ZMM31];
const SPARE_MASK: Register = Register::K7;
const TAIL: Register = Register::K1;
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

/// What an instruction says of a place that is known when all are written.
#[derive(Clone, Copy)]
enum Later {
    No,
    Label(usize),
    /// Bytes from the first constant.
    Constant(usize),
}

enum Operand {
    Register(Register),
    Memory(MemoryOperand, Later),
}

pub fn encode(program: &Program, homes: &Homes) -> Written {
    let mut writer = Writer::new(program, homes);
    writer.prologue();
    for op in &program.ops {
        writer.op(op);
    }
    writer.epilogue();
    writer.bytes()
}

struct Writer<'p> {
    program: &'p Program,
    homes: &'p Homes,
    code: Vec<(Instruction, Later)>,
    /// By label: the number of the instruction that follows.
    labels: Vec<usize>,
    constants: Vec<u8>,
    counters: Vec<Cell>,
    pointers: Vec<Cell>,
    saved: Vec<Register>,
    /// Bytes of the stack: vectors, masks, cells.
    n_stack: i64,
    first_mask: i64,
    first_local: i64,
}

impl<'p> Writer<'p> {
    fn new(program: &'p Program, homes: &'p Homes) -> Self {
        let first_mask = 64 * i64::from(homes.n_stack_lanes);
        let first_local = first_mask + 8 * i64::from(homes.n_stack_masks);
        let mut writer = Writer {
            program,
            homes,
            code: Vec::new(),
            labels: vec![usize::MAX; program.n_labels],
            constants: Vec::new(),
            counters: Vec::new(),
            pointers: Vec::new(),
            saved: Vec::new(),
            n_stack: first_local + 8 * program.n_locals as i64,
            first_mask,
            first_local,
        };
        writer.place_cells();
        writer
    }

    /// Gives registers to the counter of the vector axis, to inner counters, then to pointers; what is left over lies on the stack.
    fn place_cells(&mut self) {
        let n_counters = self.program.n_counters;
        let mut order = vec![self.program.vector_counter];
        order.extend((0..n_counters).rev().filter(|c| *c != self.program.vector_counter).take(2));
        let rest: Vec<Counter> = (0..n_counters).filter(|c| !order.contains(c)).collect();
        let mut general = GENERAL.into_iter();
        let mut cell = |writer: &mut Self| match general.next() {
            Some(register) => {
                if GENERAL[N_CHANGEABLE..].contains(&register) {
                    writer.saved.push(register);
                }
                Cell::Register(register)
            }
            None => {
                writer.n_stack += 8;
                Cell::Stack(writer.n_stack - 8)
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

    fn push(&mut self, instruction: Instruction) {
        self.code.push((instruction, Later::No));
    }

    fn prologue(&mut self) {
        self.push(Instruction::with1(Code::Push_r64, Register::RBP).expect("push"));
        self.push(Instruction::with2(Code::Mov_r64_rm64, Register::RBP, Register::RSP).expect("mov"));
        for register in self.saved.clone() {
            self.push(Instruction::with1(Code::Push_r64, register).expect("push"));
        }
        if self.n_stack > 0 {
            self.push(Instruction::with2(Code::Sub_rm64_imm32, Register::RSP, self.n_stack as i32).expect("sub"));
            self.push(Instruction::with2(Code::And_rm64_imm8, Register::RSP, -64).expect("and"));
        }
        for (pointer, item) in self.program.pointers.clone().into_iter().enumerate() {
            let from = frame(item);
            match self.pointers[pointer] {
                Cell::Register(register) => {
                    self.push(Instruction::with2(Code::Mov_r64_rm64, register, from).expect("mov"));
                }
                Cell::Stack(at) => {
                    self.push(Instruction::with2(Code::Mov_r64_rm64, Register::RAX, from).expect("mov"));
                    self.push(Instruction::with2(Code::Mov_rm64_r64, stack(at), Register::RAX).expect("mov"));
                }
            }
        }
    }

    fn epilogue(&mut self) {
        self.push(Instruction::with(Code::VEX_Vzeroupper));
        let below = -8 * self.saved.len() as i64;
        if self.n_stack > 0 {
            let at = MemoryOperand::with_base_displ(Register::RBP, below);
            self.push(Instruction::with2(Code::Lea_r64_m, Register::RSP, at).expect("lea"));
        }
        for register in self.saved.clone().into_iter().rev() {
            self.push(Instruction::with1(Code::Pop_r64, register).expect("pop"));
        }
        self.push(Instruction::with1(Code::Pop_r64, Register::RBP).expect("pop"));
        self.push(Instruction::with(Code::Retnq));
    }

    /// All sizes are the same whatever the distances, so that the first pass can measure and the second write.
    fn bytes(self) -> Written {
        let mut ends = Vec::with_capacity(self.code.len() + 1);
        let mut encoder = Encoder::new(64);
        let mut at = 0;
        for (instruction, _) in &self.code {
            ends.push(at);
            at += encoder.encode(instruction, at as u64).expect("the instruction exists");
        }
        ends.push(at);
        let n_code = at;
        let first_constant = n_code.next_multiple_of(64);
        let mut encoder = Encoder::new(64);
        for ((instruction, later), at) in self.code.into_iter().zip(&ends) {
            let mut instruction = instruction;
            match later {
                Later::No => {}
                Later::Label(label) => instruction.set_near_branch64(ends[self.labels[label]] as u64),
                Later::Constant(offset) => instruction.set_memory_displacement64((first_constant + offset) as u64),
            }
            encoder.encode(&instruction, *at as u64).expect("the instruction exists");
        }
        let mut bytes = encoder.take_buffer();
        bytes.resize(first_constant, 0xcc);
        bytes.extend(self.constants);
        Written { bytes, n_code }
    }

    /// The place of constants behind the code; equal ones share it.
    fn constant(&mut self, bytes: &[u8]) -> usize {
        let found = self.constants.chunks_exact(bytes.len()).position(|other| other == bytes);
        let at = found.map(|i| i * bytes.len());
        at.unwrap_or_else(|| {
            self.constants.resize(self.constants.len().next_multiple_of(bytes.len()), 0);
            self.constants.extend(bytes);
            self.constants.len() - bytes.len()
        })
    }

    fn constant_operand(&mut self, bytes: &[u8], broadcast: bool) -> Operand {
        let at = self.constant(bytes);
        let memory = MemoryOperand::new(Register::RIP, Register::None, 1, 0, 8, broadcast, Register::None);
        Operand::Memory(memory, Later::Constant(at))
    }

    /// Lanes as the last operand of an instruction.
    fn operand(&mut self, v: V) -> Operand {
        match self.homes.of[v as usize] {
            Home::Register(number) => Operand::Register(Register::ZMM0 + u32::from(number)),
            Home::Stack(at) => Operand::Memory(stack(64 * i64::from(at)), Later::No),
            Home::Bits(bits) => self.constant_operand(&bits.to_le_bytes(), true),
            Home::Item(item) => Operand::Memory(broadcast(frame(item)), Later::No),
            Home::Iota => {
                let bytes: Vec<u8> = (0..16i32).flat_map(|i| i.to_le_bytes()).collect();
                self.constant_operand(&bytes, false)
            }
            Home::None => unreachable!("what is read has a home"),
        }
    }

    fn is_register(&self, v: V) -> bool {
        matches!(self.homes.of[v as usize], Home::Register(_))
    }

    /// Lanes in a register, the spare one if they lie in memory.
    fn lanes(&mut self, v: V, spare: Register) -> Register {
        match self.operand(v) {
            Operand::Register(register) => register,
            memory => {
                self.move_to(spare, memory);
                spare
            }
        }
    }

    fn move_to(&mut self, to: Register, from: Operand) {
        match from {
            Operand::Register(from) if from == to => {}
            Operand::Memory(memory, later) if memory.is_broadcast => {
                let memory = MemoryOperand { is_broadcast: false, ..memory };
                self.two(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, to, Operand::Memory(memory, later));
            }
            from => self.two(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, to, from),
        }
    }

    fn two(&mut self, code: Code, to: Register, from: Operand) {
        let (instruction, later) = match from {
            Operand::Register(from) => (Instruction::with2(code, to, from), Later::No),
            Operand::Memory(from, later) => (Instruction::with2(code, to, from), later),
        };
        self.code.push((instruction.expect("the code has these operands"), later));
    }

    fn three(&mut self, code: Code, to: Register, a: Register, b: Operand) {
        let (instruction, later) = match b {
            Operand::Register(b) => (Instruction::with3(code, to, a, b), Later::No),
            Operand::Memory(b, later) => (Instruction::with3(code, to, a, b), later),
        };
        self.code.push((instruction.expect("the code has these operands"), later));
    }

    fn two_and_number(&mut self, code: Code, to: Register, from: Operand, number: u32) {
        let (instruction, later) = match from {
            Operand::Register(from) => (Instruction::with3(code, to, from, number), Later::No),
            Operand::Memory(from, later) => (Instruction::with3(code, to, from, number), later),
        };
        self.code.push((instruction.expect("the code has these operands"), later));
    }

    fn three_and_number(&mut self, code: Code, to: Register, a: Register, b: Operand, number: u32) {
        let (instruction, later) = match b {
            Operand::Register(b) => (Instruction::with4(code, to, a, b, number), Later::No),
            Operand::Memory(b, later) => (Instruction::with4(code, to, a, b, number), later),
        };
        self.code.push((instruction.expect("the code has these operands"), later));
    }

    /// The last instruction only in the mask's lanes; the others become 0 or stay.
    fn only(&mut self, mask: Register, zeros: bool) {
        let (last, _) = self.code.last_mut().expect("there is a last instruction");
        last.set_op_mask(mask);
        last.set_zeroing_masking(zeros);
    }

    /// The register for a result, and at its end `keep`.
    fn target(&self, v: V) -> Register {
        match self.homes.of[v as usize] {
            Home::Register(number) if self.program.classes[v as usize] == Class::Mask => {
                Register::K0 + u32::from(number)
            }
            Home::Register(number) => Register::ZMM0 + u32::from(number),
            _ if self.program.classes[v as usize] == Class::Mask => SPARE_MASK,
            _ => SPARE[1],
        }
    }

    fn keep(&mut self, v: V) {
        let Home::Stack(at) = self.homes.of[v as usize] else { return };
        let (code, to, from) = match self.program.classes[v as usize] {
            Class::Lanes => (Code::EVEX_Vmovaps_zmmm512_k1z_zmm, 64 * i64::from(at), SPARE[1]),
            Class::Mask => (Code::VEX_Kmovw_m16_kr, self.first_mask + 8 * i64::from(at), SPARE_MASK),
        };
        self.push(Instruction::with2(code, stack(to), from).expect("the code has these operands"));
    }

    fn mask(&mut self, v: V, spare: Register) -> Register {
        match self.homes.of[v as usize] {
            Home::Register(number) => Register::K0 + u32::from(number),
            Home::Stack(at) => {
                let from = stack(self.first_mask + 8 * i64::from(at));
                self.push(Instruction::with2(Code::VEX_Kmovw_kr_km16, spare, from).expect("kmovw"));
                spare
            }
            _ => unreachable!("masks are in registers or on the stack"),
        }
    }

    fn general(&mut self, cell: Cell) -> Register {
        match cell {
            Cell::Register(register) => register,
            Cell::Stack(at) => {
                self.push(Instruction::with2(Code::Mov_r64_rm64, Register::RAX, stack(at)).expect("mov"));
                Register::RAX
            }
        }
    }

    fn pointer(&mut self, pointer: Pointer) -> Register {
        self.general(self.pointers[pointer])
    }

    fn address(&mut self, at: &Place, dtype: DType) -> MemoryOperand {
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
                self.push(Instruction::with3(Code::Imul_r64_rm64_imm32, rax, vector, by as i32).expect("imul"));
                match self.pointers[at.pointer] {
                    Cell::Register(base) => {
                        self.push(Instruction::with2(Code::Add_r64_rm64, rax, base).expect("add"));
                    }
                    Cell::Stack(base) => {
                        self.push(Instruction::with2(Code::Add_r64_rm64, rax, stack(base)).expect("add"));
                    }
                }
                MemoryOperand::with_base_displ_size(rax, at.beyond, 1)
            }
        }
    }

    fn op(&mut self, op: &Op) {
        match *op {
            Op::Const { to, .. } | Op::Iota { to } | Op::Item { to, .. } if !self.is_register(to) => {}
            Op::Const { to, bits: 0 } => {
                let to = self.target(to);
                self.three(Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, to, to, Operand::Register(to));
            }
            Op::Const { to, bits } => {
                let from = self.constant_operand(&bits.to_le_bytes(), true);
                let to = self.target(to);
                self.move_to(to, from);
            }
            Op::Iota { to } => {
                let bytes: Vec<u8> = (0..16i32).flat_map(|i| i.to_le_bytes()).collect();
                let from = self.constant_operand(&bytes, false);
                let to = self.target(to);
                self.move_to(to, from);
            }
            Op::Item { to, item } => {
                let to = self.target(to);
                self.move_to(to, Operand::Memory(broadcast(frame(item)), Later::No));
            }
            Op::Index { to, counter } => {
                let from = low(self.general(self.counters[counter]));
                let register = self.target(to);
                self.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(from));
                self.keep(to);
            }
            Op::Load { to, at, dtype, masked } => self.load(to, &at, dtype, masked),
            Op::Splat { to, at, dtype } => self.splat(to, &at, dtype),
            Op::Gather { to, at, steps, masked } => {
                let steps = self.lanes(steps, SPARE[0]);
                let register = self.target(to);
                let memory = self.spread(&at, steps);
                self.lanes_in_question(masked);
                self.three(Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, register, register, Operand::Register(register));
                self.two(Code::EVEX_Vgatherdps_zmm_k1_vm32z, register, Operand::Memory(memory, Later::No));
                self.only(SPARE_MASK, false);
                self.keep(to);
            }
            Op::Scatter { value, at, steps, masked } => {
                let steps = self.lanes(steps, SPARE[0]);
                let value = self.lanes(value, SPARE[1]);
                let memory = self.spread(&at, steps);
                self.lanes_in_question(masked);
                self.push(Instruction::with2(Code::EVEX_Vscatterdps_vm32z_k1_zmm, memory, value).expect("scatter"));
                self.only(SPARE_MASK, false);
            }
            Op::Store { value, at, dtype, masked } => self.store(value, &at, dtype, masked),
            Op::StoreFirst { value, at } => {
                let value = self.lanes(value, SPARE[1]);
                let memory = self.address(&at, DType::F32);
                let low = Register::XMM0 + (value as u32 - Register::ZMM0 as u32);
                self.push(Instruction::with2(Code::EVEX_Vmovd_rm32_xmm, memory, low).expect("vmovd"));
            }
            Op::Copy { to, a } => {
                let (register, from) = (self.target(to), self.operand(a));
                self.move_to(register, from);
                self.keep(to);
            }
            Op::Unary { op, to, a } => {
                let (register, from) = (self.target(to), self.operand(a));
                self.unary(op, register, from);
                self.keep(to);
            }
            Op::Binary { op, to, a, b } => {
                let swapped = commutes(op) && !self.is_register(a) && self.is_register(b);
                let (a, b) = if swapped { (b, a) } else { (a, b) };
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                self.three(binary_code(op), register, a, b);
                self.keep(to);
            }
            Op::Fma { to, a, b, c } => self.fma(to, a, b, c),
            Op::Select { to, mask, a, b } => {
                let mask = self.mask(mask, SPARE_MASK);
                let b = self.lanes(b, SPARE[0]);
                let (register, a) = (self.target(to), self.operand(a));
                self.three(Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32, register, b, a);
                self.only(mask, false);
                self.keep(to);
            }
            Op::Compare { to, float, how, a, b } => {
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                let (code, number) = comparison(float, how);
                self.three_and_number(code, register, a, b, number);
                self.keep(to);
            }
            Op::Logic { op, to, a, b } => {
                let (a, b) = (self.mask(a, SPARE_MASK), self.mask(b, Register::K0));
                let code = match op {
                    Logic::And => Code::VEX_Kandw_kr_kr_kr,
                    Logic::Or => Code::VEX_Korw_kr_kr_kr,
                    Logic::Xor => Code::VEX_Kxorw_kr_kr_kr,
                    Logic::AndNot => Code::VEX_Kandnw_kr_kr_kr,
                };
                let register = self.target(to);
                self.three(code, register, a, Operand::Register(b));
                self.keep(to);
            }
            Op::Not { to, a } => {
                let a = self.mask(a, SPARE_MASK);
                let register = self.target(to);
                self.two(Code::VEX_Knotw_kr_kr, register, Operand::Register(a));
                self.keep(to);
            }
            Op::Always { to, set } => {
                let code = if set { Code::VEX_Kxnorw_kr_kr_kr } else { Code::VEX_Kxorw_kr_kr_kr };
                let register = self.target(to);
                self.three(code, register, register, Operand::Register(register));
                self.keep(to);
            }
            Op::LanesOf { to, mask } => {
                let mask = self.mask(mask, SPARE_MASK);
                let register = self.target(to);
                self.two(Code::EVEX_Vpmovm2d_zmm_kr, register, Operand::Register(mask));
                self.keep(to);
            }
            Op::MaskOf { to, a } => {
                let a = self.lanes(a, SPARE[0]);
                let register = self.target(to);
                self.three(Code::EVEX_Vptestmd_kr_k1_zmm_zmmm512b32, register, a, Operand::Register(a));
                self.keep(to);
            }
            Op::Take { op, sum, value, masked } => {
                let before = self.lanes(sum, SPARE[1]);
                let value = self.operand(value);
                self.three(binary_code(op), before, before, value);
                if masked {
                    self.only(TAIL, false);
                }
                self.keep(sum);
            }
            Op::Whole { local, of, step } => {
                let to = stack(self.first_local + 8 * local as i64);
                self.number(of);
                self.push(Instruction::with2(Code::And_rm64_imm32, Register::RAX, -step as i32).expect("and"));
                self.push(Instruction::with2(Code::Mov_rm64_r64, to, Register::RAX).expect("mov"));
            }
            Op::Start { counter } => match self.counters[counter] {
                Cell::Register(register) => {
                    let low = low(register);
                    self.push(Instruction::with2(Code::Xor_r32_rm32, low, low).expect("xor"));
                }
                Cell::Stack(at) => {
                    self.push(Instruction::with2(Code::Mov_rm64_imm32, stack(at), 0).expect("mov"));
                }
            },
            Op::Bind { label } => self.labels[label] = self.code.len(),
            Op::Leave { counter, limit, label } => {
                self.compare_counter(counter, limit);
                self.branch(Code::Jge_rel32_64, label);
            }
            Op::Next { counter, step, limit, label } => {
                self.add(self.counters[counter], Amount::Known(step));
                self.compare_counter(counter, limit);
                self.branch(Code::Jl_rel32_64, label);
            }
            Op::Bump { counter, step } => self.add(self.counters[counter], Amount::Known(step)),
            Op::Advance { pointer, by } => self.add(self.pointers[pointer], by),
            Op::Tail { counter, extent } => self.tail(counter, extent),
        }
    }

    fn branch(&mut self, code: Code, label: usize) {
        let jump = Instruction::with_branch(code, 0).expect("a branch");
        self.code.push((jump, Later::Label(label)));
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
        self.push(instruction.expect("mov"));
    }

    fn compare_counter(&mut self, counter: Counter, limit: Amount) {
        let limit = match limit {
            Amount::Known(value) if i32::try_from(value).is_ok() => Amount::Known(value),
            limit => {
                self.number(limit);
                let counter = self.counters[counter];
                let instruction = match counter {
                    Cell::Register(register) => Instruction::with2(Code::Cmp_r64_rm64, register, Register::RAX),
                    Cell::Stack(at) => Instruction::with2(Code::Cmp_rm64_r64, stack(at), Register::RAX),
                };
                return self.push(instruction.expect("cmp"));
            }
        };
        let Amount::Known(value) = limit else { unreachable!("others have returned") };
        let instruction = match self.counters[counter] {
            Cell::Register(register) => Instruction::with2(Code::Cmp_rm64_imm32, register, value as i32),
            Cell::Stack(at) => Instruction::with2(Code::Cmp_rm64_imm32, stack(at), value as i32),
        };
        self.push(instruction.expect("cmp"));
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
            return self.push(instruction.expect("add"));
        }
        self.number(by);
        let instruction = match to {
            Cell::Register(register) => Instruction::with2(Code::Add_r64_rm64, register, Register::RAX),
            Cell::Stack(at) => Instruction::with2(Code::Add_rm64_r64, stack(at), Register::RAX),
        };
        self.push(instruction.expect("add"));
    }

    fn tail(&mut self, counter: Counter, extent: Amount) {
        let (rax, eax) = (Register::RAX, Register::EAX);
        match extent {
            // Whole vectors of a known extent are known too.
            Amount::Known(extent) => {
                let lanes = (1u32 << (extent % super::program::LANES)) - 1;
                self.push(Instruction::with2(Code::Mov_r32_imm32, eax, lanes).expect("mov"));
            }
            extent => {
                self.number(extent);
                let instruction = match self.counters[counter] {
                    Cell::Register(register) => Instruction::with2(Code::Sub_r64_rm64, rax, register),
                    Cell::Stack(at) => Instruction::with2(Code::Sub_r64_rm64, rax, stack(at)),
                };
                self.push(instruction.expect("sub"));
                // All ones, of which `bzhi` keeps as many as there are lanes.
                let (memory, later) = match self.constant_operand(&u32::MAX.to_le_bytes(), false) {
                    Operand::Memory(memory, later) => (memory, later),
                    Operand::Register(_) => unreachable!("constants lie in memory"),
                };
                let instruction = Instruction::with3(Code::VEX_Bzhi_r32_rm32_r32, eax, memory, eax);
                self.code.push((instruction.expect("bzhi"), later));
            }
        }
        self.push(Instruction::with2(Code::VEX_Kmovw_kr_r32, TAIL, eax).expect("kmovw"));
    }

    fn load(&mut self, to: V, at: &Place, dtype: DType, masked: bool) {
        let memory = Operand::Memory(self.address(at, dtype), Later::No);
        let register = self.target(to);
        let tail = |writer: &mut Self| {
            if masked {
                writer.only(TAIL, true);
            }
        };
        match dtype {
            DType::F32 | DType::I32 => {
                self.two(Code::EVEX_Vmovups_zmm_k1z_zmmm512, register, memory);
                tail(self);
            }
            DType::BF16 => {
                self.two(Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256, register, memory);
                tail(self);
                let code = Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8;
                self.two_and_number(code, register, Operand::Register(register), 16);
            }
            DType::U8 => {
                self.two(Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128, register, memory);
                tail(self);
            }
            DType::Bool => {
                let low = Register::XMM31;
                self.two(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, low, memory);
                tail(self);
                self.three(Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128, register, low, Operand::Register(low));
            }
        }
        self.keep(to);
    }

    fn splat(&mut self, to: V, at: &Place, dtype: DType) {
        let memory = self.address(at, dtype);
        let register = self.target(to);
        let eax = Register::EAX;
        match dtype {
            DType::F32 | DType::I32 => {
                self.two(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, register, Operand::Memory(memory, Later::No));
            }
            DType::BF16 => {
                self.push(Instruction::with2(Code::Movzx_r32_rm16, eax, memory).expect("movzx"));
                self.push(Instruction::with2(Code::Shl_rm32_imm8, eax, 16).expect("shl"));
                self.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(eax));
            }
            DType::U8 => {
                self.push(Instruction::with2(Code::Movzx_r32_rm8, eax, memory).expect("movzx"));
                self.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(eax));
            }
            DType::Bool => {
                let low = Register::XMM31;
                self.two(Code::EVEX_Vpbroadcastb_xmm_k1z_xmmm8, low, Operand::Memory(memory, Later::No));
                self.three(Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128, register, low, Operand::Register(low));
            }
        }
        self.keep(to);
    }

    fn store(&mut self, value: V, at: &Place, dtype: DType, masked: bool) {
        let (code, from) = match dtype {
            DType::F32 | DType::I32 => (Code::EVEX_Vmovups_zmmm512_k1z_zmm, self.lanes(value, SPARE[1])),
            DType::BF16 => (Code::EVEX_Vpmovdw_ymmm256_k1z_zmm, self.lanes(value, SPARE[1])),
            DType::U8 => (Code::EVEX_Vpmovdb_xmmm128_k1z_zmm, self.lanes(value, SPARE[1])),
            DType::Bool => {
                let (low, mask) = (Register::XMM31, self.mask(value, SPARE_MASK));
                let ones = self.constant_operand(&[1; 16], false);
                self.two(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, low, ones);
                self.only(mask, true);
                (Code::EVEX_Vmovdqu8_xmmm128_k1z_xmm, low)
            }
        };
        let memory = self.address(at, dtype);
        self.push(Instruction::with2(code, memory, from).expect("the code has these operands"));
        if masked {
            self.only(TAIL, false);
        }
    }

    /// An address for each lane.
    fn spread(&mut self, at: &Place, steps: Register) -> MemoryOperand {
        let first = self.address(at, DType::F32);
        MemoryOperand::with_base_index_scale_displ_size(first.base, steps, 4, at.beyond, 1)
    }

    /// The spare mask, which a gather uses up.
    fn lanes_in_question(&mut self, masked: bool) {
        if masked {
            self.two(Code::VEX_Kmovw_kr_km16, SPARE_MASK, Operand::Register(TAIL));
        } else {
            self.three(Code::VEX_Kxnorw_kr_kr_kr, SPARE_MASK, SPARE_MASK, Operand::Register(SPARE_MASK));
        }
    }

    fn unary(&mut self, op: Unary, to: Register, from: Operand) {
        match op {
            Unary::SqrtF => self.two(Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, to, from),
            Unary::Truncate => self.two(Code::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae, to, from),
            Unary::ToF => self.two(Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er, to, from),
            Unary::FloorF | Unary::CeilF | Unary::NearestF => {
                // Without exceptions; the low bits say which way.
                let way = match op {
                    Unary::FloorF => 9,
                    Unary::CeilF => 10,
                    _ => 8,
                };
                self.two_and_number(Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae, to, from, way);
            }
            Unary::Shl(n) => self.two_and_number(Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, to, from, n.into()),
            Unary::Shr(n) => self.two_and_number(Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8, to, from, n.into()),
            Unary::ShrZeros(n) => {
                self.two_and_number(Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8, to, from, n.into());
            }
            Unary::Swap(half) => {
                // Quarters 2, 3, 0, 1 or 1, 0, 3, 2; the same for elements of each quarter.
                let order = if half % 2 == 0 { 0x4e } else { 0xb1 };
                if half < 2 {
                    self.move_to(SPARE[0], from);
                    let from = Operand::Register(SPARE[0]);
                    let code = Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8;
                    self.three_and_number(code, to, SPARE[0], from, order);
                } else {
                    self.two_and_number(Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8, to, from, order);
                }
            }
        }
    }

    /// `to` is one of the factors or the summand, or becomes one; the last operand may lie in memory.
    fn fma(&mut self, v: V, a: V, b: V, c: V) {
        let to = self.target(v);
        let is = |writer: &Self, x: V| writer.is_register(x) && writer.target(x) == to;
        if is(self, c) {
            let (a, b) = if self.is_register(a) { (a, b) } else { (b, a) };
            let (a, b) = (self.lanes(a, SPARE[0]), self.operand(b));
            self.three(Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er, to, a, b);
        } else {
            let (a, b) = if is(self, b) { (b, a) } else { (a, b) };
            if !is(self, a) {
                let from = self.operand(a);
                self.move_to(to, from);
            }
            if self.is_register(c) && !self.is_register(b) {
                let (b, c) = (self.operand(b), self.lanes(c, SPARE[0]));
                self.three(Code::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er, to, c, b);
            } else {
                let (b, c) = (self.lanes(b, SPARE[0]), self.operand(c));
                self.three(Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er, to, b, c);
            }
        }
        self.keep(v);
    }
}

fn frame(item: usize) -> MemoryOperand {
    MemoryOperand::with_base_displ_size(FRAME, 8 * item as i64, 1)
}

fn broadcast(memory: MemoryOperand) -> MemoryOperand {
    MemoryOperand { is_broadcast: true, ..memory }
}

fn stack(at: i64) -> MemoryOperand {
    MemoryOperand::with_base_displ_size(Register::RSP, at, 1)
}

/// The lower half of a general register.
fn low(register: Register) -> Register {
    Register::EAX + (register as u32 - Register::RAX as u32)
}

fn commutes(op: Binary) -> bool {
    use Binary::{AddF, AddI, And, MaxI, MinI, MulF, MulI, Or, Xor};
    matches!(op, AddF | MulF | AddI | MulI | MinI | MaxI | And | Or | Xor)
}

fn binary_code(op: Binary) -> Code {
    match op {
        Binary::AddF => Code::EVEX_Vaddps_zmm_k1z_zmm_zmmm512b32_er,
        Binary::SubF => Code::EVEX_Vsubps_zmm_k1z_zmm_zmmm512b32_er,
        Binary::MulF => Code::EVEX_Vmulps_zmm_k1z_zmm_zmmm512b32_er,
        Binary::DivF => Code::EVEX_Vdivps_zmm_k1z_zmm_zmmm512b32_er,
        Binary::MinF => Code::EVEX_Vminps_zmm_k1z_zmm_zmmm512b32_sae,
        Binary::MaxF => Code::EVEX_Vmaxps_zmm_k1z_zmm_zmmm512b32_sae,
        Binary::AddI => Code::EVEX_Vpaddd_zmm_k1z_zmm_zmmm512b32,
        Binary::SubI => Code::EVEX_Vpsubd_zmm_k1z_zmm_zmmm512b32,
        Binary::MulI => Code::EVEX_Vpmulld_zmm_k1z_zmm_zmmm512b32,
        Binary::MinI => Code::EVEX_Vpminsd_zmm_k1z_zmm_zmmm512b32,
        Binary::MaxI => Code::EVEX_Vpmaxsd_zmm_k1z_zmm_zmmm512b32,
        Binary::And => Code::EVEX_Vpandd_zmm_k1z_zmm_zmmm512b32,
        Binary::Or => Code::EVEX_Vpord_zmm_k1z_zmm_zmmm512b32,
        Binary::Xor => Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
        Binary::ShlBy => Code::EVEX_Vpsllvd_zmm_k1z_zmm_zmmm512b32,
        Binary::ShrBy => Code::EVEX_Vpsravd_zmm_k1z_zmm_zmmm512b32,
    }
}

/// The instruction and its predicate; of floats ordered and quiet, but `Ne`, which is true of NaN.
fn comparison(float: bool, how: Compare) -> (Code, u32) {
    if float {
        let number = match how {
            Compare::Eq => 0x00,
            Compare::Ne => 0x04,
            Compare::Lt => 0x11,
            Compare::Le => 0x12,
            Compare::Gt => 0x1e,
            Compare::Ge => 0x1d,
        };
        return (Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae, number);
    }
    let number = match how {
        Compare::Eq => 0,
        Compare::Lt => 1,
        Compare::Le => 2,
        Compare::Ne => 4,
        Compare::Ge => 5,
        Compare::Gt => 6,
    };
    (Code::EVEX_Vpcmpd_kr_k1_zmm_zmmm512b32_imm8, number)
}
