//! A program as machine code.
//!
//! What enters: a program whose registers have homes. What leaves: the bytes of a function that is called with the frame's address,
//! constants behind the code. Nothing in them depends on where they lie. Of the vectors the last two, of the masks the last, of the
//! general registers `rax` pass values inside of an op; `k1` is the tail's mask, `rdi` has the frame.

use super::allocate::{Home, Homes};
use super::assembler::{Assembler, Later, Operand, Written};
use super::codes::{binary_code, commutes, comparison, quarters};
use super::program::{Amount, Class, Counter, LANES, Logic, Op, Pointer, Program, Unary, V};
use crate::base::DType;
use iced_x86::{Code, Instruction, MemoryOperand, Register};

pub const SPARE: [Register; 2] = [Register::ZMM30, Register::ZMM31];
pub const SPARE_MASK: Register = Register::K7;
pub const TAIL: Register = Register::K1;
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
pub enum Cell {
    Register(Register),
    Stack(i64),
}

pub fn encode(program: &Program, homes: &Homes) -> Written {
    let mut writer = Writer::new(program, homes);
    writer.prologue();
    for op in &program.ops {
        writer.op(op);
    }
    writer.epilogue();
    writer.code.bytes()
}

pub struct Writer<'p> {
    pub program: &'p Program,
    homes: &'p Homes,
    pub code: Assembler,
    pub counters: Vec<Cell>,
    pub pointers: Vec<Cell>,
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
            code: Assembler::new(program.n_labels),
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

    fn epilogue(&mut self) {
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
    }

    /// Lanes as the last operand of an instruction.
    fn operand(&mut self, v: V) -> Operand {
        match self.homes.of[v as usize] {
            Home::Register(number) => Operand::Register(Register::ZMM0 + u32::from(number)),
            Home::Stack(at) => Operand::Memory(stack(64 * i64::from(at)), Later::No),
            Home::Bits(bits) => self.code.constant_operand(&bits.to_le_bytes(), true),
            Home::Item(item) => Operand::Memory(broadcast(frame(item)), Later::No),
            Home::Iota => {
                let bytes: Vec<u8> = (0..16i32).flat_map(|i| i.to_le_bytes()).collect();
                self.code.constant_operand(&bytes, false)
            }
            Home::None => unreachable!("what is read has a home"),
        }
    }

    fn is_register(&self, v: V) -> bool {
        matches!(self.homes.of[v as usize], Home::Register(_))
    }

    /// Lanes in a register, the spare one if they lie in memory.
    pub fn lanes(&mut self, v: V, spare: Register) -> Register {
        match self.operand(v) {
            Operand::Register(register) => register,
            memory => {
                self.code.move_to(spare, memory);
                spare
            }
        }
    }

    /// The register for a result, and at its end `keep`.
    pub fn target(&self, v: V) -> Register {
        match self.homes.of[v as usize] {
            Home::Register(number) if self.program.classes[v as usize] == Class::Mask => {
                Register::K0 + u32::from(number)
            }
            Home::Register(number) => Register::ZMM0 + u32::from(number),
            _ if self.program.classes[v as usize] == Class::Mask => SPARE_MASK,
            _ => SPARE[1],
        }
    }

    pub fn keep(&mut self, v: V) {
        let Home::Stack(at) = self.homes.of[v as usize] else { return };
        let (code, to, from) = match self.program.classes[v as usize] {
            Class::Lanes => (Code::EVEX_Vmovaps_zmmm512_k1z_zmm, 64 * i64::from(at), SPARE[1]),
            Class::Mask => (Code::VEX_Kmovw_m16_kr, self.first_mask + 8 * i64::from(at), SPARE_MASK),
        };
        self.code.push(Instruction::with2(code, stack(to), from).expect("the code has these operands"));
    }

    pub fn mask(&mut self, v: V, spare: Register) -> Register {
        match self.homes.of[v as usize] {
            Home::Register(number) => Register::K0 + u32::from(number),
            Home::Stack(at) => {
                let from = stack(self.first_mask + 8 * i64::from(at));
                self.code.push(Instruction::with2(Code::VEX_Kmovw_kr_km16, spare, from).expect("kmovw"));
                spare
            }
            _ => unreachable!("masks are in registers or on the stack"),
        }
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

    pub fn pointer(&mut self, pointer: Pointer) -> Register {
        self.general(self.pointers[pointer])
    }

    fn op(&mut self, op: &Op) {
        match *op {
            Op::Const { to, .. } | Op::Iota { to } | Op::Item { to, .. } if !self.is_register(to) => {}
            Op::Const { to, bits: 0 } => {
                let to = self.target(to);
                self.code.three(Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32, to, to, Operand::Register(to));
            }
            Op::Const { to, bits } => {
                let from = self.code.constant_operand(&bits.to_le_bytes(), true);
                let to = self.target(to);
                self.code.move_to(to, from);
            }
            Op::Iota { to } => {
                let bytes: Vec<u8> = (0..16i32).flat_map(|i| i.to_le_bytes()).collect();
                let from = self.code.constant_operand(&bytes, false);
                let to = self.target(to);
                self.code.move_to(to, from);
            }
            Op::Item { to, item } => {
                let to = self.target(to);
                self.code.move_to(to, Operand::Memory(broadcast(frame(item)), Later::No));
            }
            Op::Index { to, counter } => {
                let from = low(self.general(self.counters[counter]));
                let register = self.target(to);
                self.code.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(from));
                self.keep(to);
            }
            Op::Load { to, at, dtype, masked } => self.load(to, &at, dtype, masked),
            Op::Splat { to, at, dtype } => self.splat(to, &at, dtype),
            Op::Gather { to, at, steps, masked } => {
                let steps = self.lanes(steps, SPARE[0]);
                let register = self.target(to);
                let memory = self.spread(&at, steps);
                self.lanes_in_question(masked);
                self.code.three(
                    Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
                    register,
                    register,
                    Operand::Register(register),
                );
                self.code.two(
                    Code::EVEX_Vgatherdps_zmm_k1_vm32z,
                    register,
                    Operand::Memory(memory, Later::No),
                );
                self.code.only(SPARE_MASK, false);
                self.keep(to);
            }
            Op::Scatter { value, at, steps, masked } => {
                let steps = self.lanes(steps, SPARE[0]);
                let value = self.lanes(value, SPARE[1]);
                let memory = self.spread(&at, steps);
                self.lanes_in_question(masked);
                self.code.push(
                    Instruction::with2(Code::EVEX_Vscatterdps_vm32z_k1_zmm, memory, value).expect("scatter"),
                );
                self.code.only(SPARE_MASK, false);
            }
            Op::Store { value, at, streams: true, .. } => self.stream(value, &at),
            Op::Store { value, at, dtype, masked, .. } => self.store(value, &at, dtype, masked),
            Op::StoreFirst { value, at } => {
                let value = self.lanes(value, SPARE[1]);
                let memory = self.address(&at, DType::F32);
                let low = Register::XMM0 + (value as u32 - Register::ZMM0 as u32);
                self.code.push(Instruction::with2(Code::EVEX_Vmovd_rm32_xmm, memory, low).expect("vmovd"));
            }
            Op::Copy { to, a } => {
                let (register, from) = (self.target(to), self.operand(a));
                self.code.move_to(register, from);
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
                match quarters(op) {
                    Some(number) => self.code.three_and_number(binary_code(op), register, a, b, number),
                    None => self.code.three(binary_code(op), register, a, b),
                }
                self.keep(to);
            }
            Op::Fma { to, a, b, c } => self.fma(to, a, b, c),
            Op::Select { to, mask, a, b } => {
                let mask = self.mask(mask, SPARE_MASK);
                let b = self.lanes(b, SPARE[0]);
                let (register, a) = (self.target(to), self.operand(a));
                self.code.three(Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32, register, b, a);
                self.code.only(mask, false);
                self.keep(to);
            }
            Op::Compare { to, float, how, a, b } => {
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                let (code, number) = comparison(float, how);
                self.code.three_and_number(code, register, a, b, number);
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
                self.code.three(code, register, a, Operand::Register(b));
                self.keep(to);
            }
            Op::Not { to, a } => {
                let a = self.mask(a, SPARE_MASK);
                let register = self.target(to);
                self.code.two(Code::VEX_Knotw_kr_kr, register, Operand::Register(a));
                self.keep(to);
            }
            Op::Always { to, set } => {
                let code = if set { Code::VEX_Kxnorw_kr_kr_kr } else { Code::VEX_Kxorw_kr_kr_kr };
                let register = self.target(to);
                self.code.three(code, register, register, Operand::Register(register));
                self.keep(to);
            }
            Op::LanesOf { to, mask } => {
                let mask = self.mask(mask, SPARE_MASK);
                let register = self.target(to);
                self.code.two(Code::EVEX_Vpmovm2d_zmm_kr, register, Operand::Register(mask));
                self.keep(to);
            }
            Op::MaskOf { to, a } => {
                let a = self.lanes(a, SPARE[0]);
                let register = self.target(to);
                self.code.three(Code::EVEX_Vptestmd_kr_k1_zmm_zmmm512b32, register, a, Operand::Register(a));
                self.keep(to);
            }
            Op::Take { op, sum, value, masked } => {
                let before = self.lanes(sum, SPARE[1]);
                let value = self.operand(value);
                self.code.three(binary_code(op), before, before, value);
                if masked {
                    self.code.only(TAIL, false);
                }
                self.keep(sum);
            }
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
            Op::Next { counter, step, limit, label } => {
                self.add(self.counters[counter], Amount::Known(step));
                self.compare_counter(counter, limit);
                self.code.branch(Code::Jl_rel32_64, label);
            }
            Op::Bump { counter, step } => self.add(self.counters[counter], Amount::Known(step)),
            Op::Advance { pointer, by } => self.add(self.pointers[pointer], by),
            Op::Tail { counter, extent } => self.tail(counter, extent),
        }
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

    fn tail(&mut self, counter: Counter, extent: Amount) {
        let (rax, eax) = (Register::RAX, Register::EAX);
        match extent {
            // Whole vectors of a known extent are known too.
            Amount::Known(extent) => {
                let lanes = (1u32 << (extent % LANES)) - 1;
                self.code.push(Instruction::with2(Code::Mov_r32_imm32, eax, lanes).expect("mov"));
            }
            extent => {
                self.number(extent);
                let instruction = match self.counters[counter] {
                    Cell::Register(register) => Instruction::with2(Code::Sub_r64_rm64, rax, register),
                    Cell::Stack(at) => Instruction::with2(Code::Sub_r64_rm64, rax, stack(at)),
                };
                self.code.push(instruction.expect("sub"));
                // All ones, of which `bzhi` keeps as many as there are lanes.
                let (memory, later) = match self.code.constant_operand(&u32::MAX.to_le_bytes(), false) {
                    Operand::Memory(memory, later) => (memory, later),
                    Operand::Register(_) => unreachable!("constants lie in memory"),
                };
                let instruction = Instruction::with3(Code::VEX_Bzhi_r32_rm32_r32, eax, memory, eax);
                self.code.push_with(instruction.expect("bzhi"), later);
            }
        }
        self.code.push(Instruction::with2(Code::VEX_Kmovw_kr_r32, TAIL, eax).expect("kmovw"));
    }

    fn unary(&mut self, op: Unary, to: Register, from: Operand) {
        match op {
            Unary::SqrtF => self.code.two(Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, to, from),
            Unary::Truncate => self.code.two(Code::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae, to, from),
            Unary::ToF => self.code.two(Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er, to, from),
            Unary::FloorF | Unary::CeilF | Unary::NearestF => {
                // Without exceptions; the low bits say which way.
                let way = match op {
                    Unary::FloorF => 9,
                    Unary::CeilF => 10,
                    _ => 8,
                };
                self.code.two_and_number(Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae, to, from, way);
            }
            Unary::Shl(n) => {
                self.code.two_and_number(Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8, to, from, n.into())
            }
            Unary::Shr(n) => {
                self.code.two_and_number(Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8, to, from, n.into())
            }
            Unary::ShrZeros(n) => {
                self.code.two_and_number(Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8, to, from, n.into());
            }
            Unary::Swap(half) => {
                // Quarters 2, 3, 0, 1 or 1, 0, 3, 2; the same for elements of each quarter.
                let order = if half % 2 == 0 { 0x4e } else { 0xb1 };
                if half < 2 {
                    self.code.move_to(SPARE[0], from);
                    let from = Operand::Register(SPARE[0]);
                    let code = Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8;
                    self.code.three_and_number(code, to, SPARE[0], from, order);
                } else {
                    self.code.two_and_number(Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8, to, from, order);
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
            self.code.three(Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er, to, a, b);
        } else {
            let (a, b) = if is(self, b) { (b, a) } else { (a, b) };
            if !is(self, a) {
                let from = self.operand(a);
                self.code.move_to(to, from);
            }
            if self.is_register(c) && !self.is_register(b) {
                let (b, c) = (self.operand(b), self.lanes(c, SPARE[0]));
                self.code.three(Code::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er, to, c, b);
            } else {
                let (b, c) = (self.lanes(b, SPARE[0]), self.operand(c));
                self.code.three(Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er, to, b, c);
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

pub fn stack(at: i64) -> MemoryOperand {
    MemoryOperand::with_base_displ_size(Register::RSP, at, 1)
}

/// The lower half of a general register.
fn low(register: Register) -> Register {
    Register::EAX + (register as u32 - Register::RAX as u32)
}
