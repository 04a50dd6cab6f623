//! Vectors of sixteen lanes, as AVX-512 has them.
//!
//! What enters: a program whose registers have homes. What leaves: the bytes of a function. Of the vectors the last two, of the masks the
//! last pass values inside of an op; `k1` is the tail's mask. Constants that have no register are operands in memory, four bytes for
//! all lanes.

mod codes;
mod memory;

use super::allocate::{Home, Homes, Registers};
use super::assembler::{Assembler, Later, Operand, Written};
use super::control::{Control, frame, low, stack};
use super::operands::Operands;
use super::program::{Amount, Class, Counter, Logic, Op, Program, Unary, V};
use crate::base::DType;
use codes::{binary_code, comparison, quarters};
use iced_x86::{Code, Instruction, MemoryOperand, Register};

pub const LANES: i64 = 16;
/// Vectors but for the last two; masks but for `k0`, which masks nothing, the tail's and the last.
pub fn registers() -> Registers {
    Registers { lanes: (0..30).collect(), masks: Some((2..7).collect()), items_are_operands: true }
}

const SPARE: [Register; 2] = [Register::ZMM30, Register::ZMM31];
const SPARE_MASK: Register = Register::K7;
const TAIL: Register = Register::K1;

pub fn encode(program: &Program, homes: &Homes) -> Written {
    let first_mask = 64 * i64::from(homes.n_stack_lanes);
    let control = Control::new(program, first_mask + 8 * i64::from(homes.n_stack_masks));
    let mut writer = Writer { control, program, homes, first_mask };
    for op in &program.ops {
        if !writer.control.op(op) {
            writer.op(op);
        }
    }
    writer.control.finish()
}

struct Writer<'p> {
    control: Control<'p>,
    program: &'p Program,
    homes: &'p Homes,
    first_mask: i64,
}

impl Operands for Writer<'_> {
    const SPARE: Register = SPARE[0];
    const FMA: [Code; 3] = [
        Code::EVEX_Vfmadd132ps_zmm_k1z_zmm_zmmm512b32_er,
        Code::EVEX_Vfmadd213ps_zmm_k1z_zmm_zmmm512b32_er,
        Code::EVEX_Vfmadd231ps_zmm_k1z_zmm_zmmm512b32_er,
    ];

    fn code(&mut self) -> &mut Assembler {
        &mut self.control.code
    }

    fn home(&self, v: V) -> Home {
        self.homes.of[v as usize]
    }

    fn operand(&mut self, v: V) -> Operand {
        match self.homes.of[v as usize] {
            Home::Register(number) => Operand::Register(Register::ZMM0 + u32::from(number)),
            Home::Stack(at) => Operand::Memory(stack(64 * i64::from(at)), Later::No),
            Home::Bits(bits) => self.control.code.constant_operand(&bits.to_le_bytes(), true),
            Home::Item(item) => Operand::Memory(broadcast(frame(item)), Later::No),
            Home::Iota => {
                let bytes: Vec<u8> = (0..16i32).flat_map(|i| i.to_le_bytes()).collect();
                self.control.code.constant_operand(&bytes, false)
            }
            Home::None => unreachable!("what is read has a home"),
        }
    }

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

    fn move_to(&mut self, to: Register, from: Operand) {
        match from {
            Operand::Register(from) if from == to => {}
            Operand::Memory(memory, later) if memory.is_broadcast => {
                let memory = Operand::Memory(MemoryOperand { is_broadcast: false, ..memory }, later);
                self.control.code.two(Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32, to, memory);
            }
            from => self.control.code.two(Code::EVEX_Vmovaps_zmm_k1z_zmmm512, to, from),
        }
    }
}

impl Writer<'_> {
    fn keep(&mut self, v: V) {
        let Home::Stack(at) = self.homes.of[v as usize] else { return };
        let (code, to, from) = match self.program.classes[v as usize] {
            Class::Lanes => (Code::EVEX_Vmovaps_zmmm512_k1z_zmm, 64 * i64::from(at), SPARE[1]),
            Class::Mask => (Code::VEX_Kmovw_m16_kr, self.first_mask + 8 * i64::from(at), SPARE_MASK),
        };
        self.control
            .code
            .push(Instruction::with2(code, stack(to), from).expect("the code has these operands"));
    }

    fn mask(&mut self, v: V, spare: Register) -> Register {
        match self.homes.of[v as usize] {
            Home::Register(number) => Register::K0 + u32::from(number),
            Home::Stack(at) => {
                let from = stack(self.first_mask + 8 * i64::from(at));
                self.control
                    .code
                    .push(Instruction::with2(Code::VEX_Kmovw_kr_km16, spare, from).expect("kmovw"));
                spare
            }
            _ => unreachable!("masks are in registers or on the stack"),
        }
    }

    fn op(&mut self, op: &Op) {
        match *op {
            Op::Const { to, .. } | Op::Iota { to } | Op::Item { to, .. } if !self.is_register(to) => {}
            Op::Const { to, bits: 0 } => {
                let to = self.target(to);
                self.control.code.three(
                    Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
                    to,
                    to,
                    Operand::Register(to),
                );
            }
            Op::Const { to, bits } => {
                let from = self.control.code.constant_operand(&bits.to_le_bytes(), true);
                let to = self.target(to);
                self.move_to(to, from);
            }
            Op::Iota { to } => {
                let bytes: Vec<u8> = (0..16i32).flat_map(|i| i.to_le_bytes()).collect();
                let from = self.control.code.constant_operand(&bytes, false);
                let to = self.target(to);
                self.move_to(to, from);
            }
            Op::Item { to, item } => {
                let to = self.target(to);
                self.move_to(to, Operand::Memory(broadcast(frame(item)), Later::No));
            }
            Op::Index { to, counter } => {
                let from = low(self.control.counter(counter));
                let register = self.target(to);
                self.control.code.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(from));
                self.keep(to);
            }
            Op::Load { to, at, dtype, masked } => self.load(to, &at, dtype, masked),
            Op::Splat { to, at, dtype } => self.splat(to, &at, dtype),
            Op::Gather { to, at, steps, masked } => {
                let steps = self.lanes(steps, SPARE[0]);
                let register = self.target(to);
                let memory = self.spread(&at, steps);
                self.lanes_in_question(masked);
                self.control.code.three(
                    Code::EVEX_Vpxord_zmm_k1z_zmm_zmmm512b32,
                    register,
                    register,
                    Operand::Register(register),
                );
                self.control.code.two(
                    Code::EVEX_Vgatherdps_zmm_k1_vm32z,
                    register,
                    Operand::Memory(memory, Later::No),
                );
                self.control.code.only(SPARE_MASK, false);
                self.keep(to);
            }
            Op::Scatter { value, at, steps, masked } => {
                let steps = self.lanes(steps, SPARE[0]);
                let value = self.lanes(value, SPARE[1]);
                let memory = self.spread(&at, steps);
                self.lanes_in_question(masked);
                self.control.code.push(
                    Instruction::with2(Code::EVEX_Vscatterdps_vm32z_k1_zmm, memory, value).expect("scatter"),
                );
                self.control.code.only(SPARE_MASK, false);
            }
            Op::Store { value, at, streams: true, .. } => self.stream(value, &at),
            Op::Store { value, at, dtype, masked, .. } => self.store(value, &at, dtype, masked),
            Op::StoreFirst { value, at } => {
                let value = self.lanes(value, SPARE[1]);
                let memory = self.control.address(&at, DType::F32);
                let moved = Instruction::with2(Code::EVEX_Vmovd_rm32_xmm, memory, xmm(value));
                self.control.code.push(moved.expect("vmovd"));
            }
            Op::Seek { pointer, from, index, stride, limit } => {
                let index = xmm(self.lanes(index, SPARE[1]));
                let moved = Instruction::with2(Code::EVEX_Vmovd_rm32_xmm, Register::EAX, index);
                self.control.code.push(moved.expect("vmovd"));
                self.control.seek(pointer, from, stride, limit);
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
                let swapped = op.commutes() && !self.is_register(a) && self.is_register(b);
                let (a, b) = if swapped { (b, a) } else { (a, b) };
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                match quarters(op) {
                    Some(number) => {
                        self.control.code.three_and_number(binary_code(op), register, a, b, number);
                    }
                    None => self.control.code.three(binary_code(op), register, a, b),
                }
                self.keep(to);
            }
            Op::Fma { to, a, b, c } => {
                self.fma(to, a, b, c);
                self.keep(to);
            }
            Op::Select { to, mask, a, b } => {
                let mask = self.mask(mask, SPARE_MASK);
                let b = self.lanes(b, SPARE[0]);
                let (register, a) = (self.target(to), self.operand(a));
                self.control.code.three(Code::EVEX_Vblendmps_zmm_k1z_zmm_zmmm512b32, register, b, a);
                self.control.code.only(mask, false);
                self.keep(to);
            }
            Op::Compare { to, float, how, a, b } => {
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                let (code, number) = comparison(float, how);
                self.control.code.three_and_number(code, register, a, b, number);
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
                self.control.code.three(code, register, a, Operand::Register(b));
                self.keep(to);
            }
            Op::Not { to, a } => {
                let a = self.mask(a, SPARE_MASK);
                let register = self.target(to);
                self.control.code.two(Code::VEX_Knotw_kr_kr, register, Operand::Register(a));
                self.keep(to);
            }
            Op::Always { to, set } => {
                let code = if set { Code::VEX_Kxnorw_kr_kr_kr } else { Code::VEX_Kxorw_kr_kr_kr };
                let register = self.target(to);
                self.control.code.three(code, register, register, Operand::Register(register));
                self.keep(to);
            }
            Op::LanesOf { to, mask } => {
                let mask = self.mask(mask, SPARE_MASK);
                let register = self.target(to);
                self.control.code.two(Code::EVEX_Vpmovm2d_zmm_kr, register, Operand::Register(mask));
                self.keep(to);
            }
            Op::MaskOf { to, a } => {
                let a = self.lanes(a, SPARE[0]);
                let register = self.target(to);
                self.control.code.three(
                    Code::EVEX_Vptestmd_kr_k1_zmm_zmmm512b32,
                    register,
                    a,
                    Operand::Register(a),
                );
                self.keep(to);
            }
            Op::Take { op, sum, value, masked } => {
                let before = self.lanes(sum, SPARE[1]);
                let value = self.operand(value);
                self.control.code.three(binary_code(op), before, before, value);
                if masked {
                    self.control.code.only(TAIL, false);
                }
                self.keep(sum);
            }
            Op::Tail { counter, extent } => self.tail(counter, extent),
            ref op => unreachable!("{op:?} is of loops and pointers"),
        }
    }

    fn tail(&mut self, counter: Counter, extent: Amount) {
        let eax = Register::EAX;
        match extent {
            // Whole vectors of a known extent are known too.
            Amount::Known(extent) => {
                let lanes = (1u32 << (extent % LANES)) - 1;
                self.control.code.push(Instruction::with2(Code::Mov_r32_imm32, eax, lanes).expect("mov"));
            }
            extent => {
                self.control.lanes_left(counter, extent);
                // All ones, of which `bzhi` keeps as many as there are lanes.
                let Operand::Memory(memory, later) =
                    self.control.code.constant_operand(&u32::MAX.to_le_bytes(), false)
                else {
                    unreachable!("constants lie in memory")
                };
                let instruction = Instruction::with3(Code::VEX_Bzhi_r32_rm32_r32, eax, memory, eax);
                self.control.code.push_with(instruction.expect("bzhi"), later);
            }
        }
        self.control.code.push(Instruction::with2(Code::VEX_Kmovw_kr_r32, TAIL, eax).expect("kmovw"));
    }

    fn unary(&mut self, op: Unary, to: Register, from: Operand) {
        match op {
            Unary::SqrtF => self.control.code.two(Code::EVEX_Vsqrtps_zmm_k1z_zmmm512b32_er, to, from),
            Unary::Truncate => self.control.code.two(Code::EVEX_Vcvttps2dq_zmm_k1z_zmmm512b32_sae, to, from),
            Unary::ToF => self.control.code.two(Code::EVEX_Vcvtdq2ps_zmm_k1z_zmmm512b32_er, to, from),
            Unary::FloorF | Unary::CeilF | Unary::NearestF => {
                // Without exceptions; the low bits say which way.
                let way = match op {
                    Unary::FloorF => 9,
                    Unary::CeilF => 10,
                    _ => 8,
                };
                self.control.code.two_and_number(
                    Code::EVEX_Vrndscaleps_zmm_k1z_zmmm512b32_imm8_sae,
                    to,
                    from,
                    way,
                );
            }
            Unary::Shl(n) => self.control.code.two_and_number(
                Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8,
                to,
                from,
                n.into(),
            ),
            Unary::Shr(n) => self.control.code.two_and_number(
                Code::EVEX_Vpsrad_zmm_k1z_zmmm512b32_imm8,
                to,
                from,
                n.into(),
            ),
            Unary::ShrZeros(n) => {
                self.control.code.two_and_number(
                    Code::EVEX_Vpsrld_zmm_k1z_zmmm512b32_imm8,
                    to,
                    from,
                    n.into(),
                );
            }
            Unary::Swap(half) => {
                // Quarters 2, 3, 0, 1 or 1, 0, 3, 2; the same for elements of each quarter.
                let order = if half % 2 == 0 { 0x4e } else { 0xb1 };
                if half < 2 {
                    self.move_to(SPARE[0], from);
                    let from = Operand::Register(SPARE[0]);
                    let code = Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8;
                    self.control.code.three_and_number(code, to, SPARE[0], from, order);
                } else {
                    self.control.code.two_and_number(
                        Code::EVEX_Vpermilps_zmm_k1z_zmmm512b32_imm8,
                        to,
                        from,
                        order,
                    );
                }
            }
        }
    }
}

fn broadcast(memory: MemoryOperand) -> MemoryOperand {
    MemoryOperand { is_broadcast: true, ..memory }
}

/// The lowest quarter of a vector.
fn xmm(register: Register) -> Register {
    Register::XMM0 + (register as u32 - Register::ZMM0 as u32)
}
