//! Vectors of eight lanes, as AVX2 and FMA have them.
//!
//! What enters: a program whose registers have homes. What leaves: the bytes of a function. There are no masks beside vectors: a mask is
//! lanes of -1 and 0, and that of the tail has the last vector. Three more pass values inside of an op. Constants that have no
//! register are operands in memory, a whole vector each.

mod codes;
mod memory;

use super::allocate::{Home, Homes, Registers};
use super::assembler::{Assembler, Later, Operand, Written, float_predicate};
use super::control::{Control, frame, low, stack};
use super::operands::Operands;
use super::program::{Amount, Binary, Counter, Logic, Op, Program, Unary, V};
use crate::scalar::machine::Compare;
use codes::{binary_code, binary_number};
use iced_x86::{Code, Instruction, MemoryOperand, Register};

pub const LANES: i64 = 8;

/// All but two that pass values, and those that some op of the program needs for itself.
pub fn registers(program: &Program) -> Registers {
    let needs = |found: fn(&Op) -> bool| program.ops.iter().any(found);
    let mut lanes: Vec<u8> = (0..12).collect();
    lanes.extend((!needs(|op| matches!(op, Op::Gather { .. } | Op::Select { .. }))).then_some(12));
    lanes.extend((!needs(|op| matches!(op, Op::Tail { .. }))).then_some(15));
    Registers { lanes, masks: None, items_are_operands: false }
}

const SPARE: [Register; 2] = [Register::YMM13, Register::YMM14];
/// A mask that a gather uses up, or a third operand.
const THIRD: Register = Register::YMM12;
const TAIL: Register = Register::YMM15;
const BYTES: i64 = 32;

pub fn encode(program: &Program, homes: &Homes) -> Written {
    // Behind the vectors one for elements of a tail that are not of four bytes, and how many a tail has.
    let elements = BYTES * i64::from(homes.n_stack_lanes);
    let n_left = elements + BYTES;
    let control = Control::new(program, n_left + 8);
    let mut writer = Writer { control, homes, elements, n_left };
    for op in &program.ops {
        if !writer.control.op(op) {
            writer.op(op);
        }
    }
    writer.control.finish()
}

struct Writer<'p> {
    control: Control<'p>,
    homes: &'p Homes,
    /// Where on the stack these are.
    elements: i64,
    n_left: i64,
}

fn all_lanes(bits: u32) -> Vec<u8> {
    bits.to_le_bytes().repeat(LANES as usize)
}

fn iota() -> Vec<u8> {
    (0..LANES as i32).flat_map(|i| i.to_le_bytes()).collect()
}

impl Operands for Writer<'_> {
    const SPARE: Register = SPARE[0];
    const FMA: [Code; 3] = [
        Code::VEX_Vfmadd132ps_ymm_ymm_ymmm256,
        Code::VEX_Vfmadd213ps_ymm_ymm_ymmm256,
        Code::VEX_Vfmadd231ps_ymm_ymm_ymmm256,
    ];

    fn code(&mut self) -> &mut Assembler {
        &mut self.control.code
    }

    fn home(&self, v: V) -> Home {
        self.homes.of[v as usize]
    }

    fn operand(&mut self, v: V) -> Operand {
        match self.homes.of[v as usize] {
            Home::Register(number) => Operand::Register(Register::YMM0 + u32::from(number)),
            Home::Stack(at) => Operand::Memory(stack(BYTES * i64::from(at)), Later::No),
            Home::Bits(bits) => self.constant(&all_lanes(bits)),
            Home::Iota => self.constant(&iota()),
            Home::Item(_) | Home::None => unreachable!("what is read has a home, and it is none of these"),
        }
    }

    fn target(&self, v: V) -> Register {
        match self.homes.of[v as usize] {
            Home::Register(number) => Register::YMM0 + u32::from(number),
            _ => SPARE[1],
        }
    }

    fn move_to(&mut self, to: Register, from: Operand) {
        match from {
            Operand::Register(from) if from == to => {}
            from => self.control.code.two(Code::VEX_Vmovups_ymm_ymmm256, to, from),
        }
    }
}

impl Writer<'_> {
    fn constant(&mut self, bytes: &[u8]) -> Operand {
        self.control.code.constant_operand(bytes, false)
    }

    fn keep(&mut self, v: V) {
        let Home::Stack(at) = self.homes.of[v as usize] else { return };
        self.store_lanes(stack(BYTES * i64::from(at)), SPARE[1]);
    }

    fn store_lanes(&mut self, to: MemoryOperand, from: Register) {
        let instruction = Instruction::with2(Code::VEX_Vmovups_ymmm256_ymm, to, from);
        self.control.code.push(instruction.expect("vmovups"));
    }

    /// `eax` in all lanes.
    fn splat_number(&mut self, to: Register, from: Register) {
        let low = xmm(to);
        self.control.code.push(Instruction::with2(Code::VEX_Vmovd_xmm_rm32, low, from).expect("vmovd"));
        self.control.code.two(Code::VEX_Vpbroadcastd_ymm_xmmm32, to, Operand::Register(low));
    }

    fn not(&mut self, to: Register, a: Register) {
        let ones = self.constant(&all_lanes(u32::MAX));
        self.control.code.three(Code::VEX_Vpxor_ymm_ymm_ymmm256, to, a, ones);
    }

    fn op(&mut self, op: &Op) {
        match *op {
            Op::Const { to, .. } | Op::Iota { to } if !self.is_register(to) => {}
            Op::Const { to, bits: 0 } | Op::Always { to, set: false } => {
                let register = self.target(to);
                let same = Operand::Register(register);
                self.control.code.three(Code::VEX_Vpxor_ymm_ymm_ymmm256, register, register, same);
                self.keep(to);
            }
            Op::Always { to, set: true } => {
                let register = self.target(to);
                let same = Operand::Register(register);
                self.control.code.three(Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, register, register, same);
                self.keep(to);
            }
            Op::Const { to, bits } => {
                let from = self.constant(&all_lanes(bits));
                let to = self.target(to);
                self.move_to(to, from);
            }
            Op::Iota { to } => {
                let from = self.constant(&iota());
                let to = self.target(to);
                self.move_to(to, from);
            }
            Op::Item { to, item } => {
                let register = self.target(to);
                let from = Operand::Memory(frame(item), Later::No);
                self.control.code.two(Code::VEX_Vbroadcastss_ymm_m32, register, from);
                self.keep(to);
            }
            Op::Index { to, counter } => {
                let from = low(self.control.counter(counter));
                let register = self.target(to);
                self.splat_number(register, from);
                self.keep(to);
            }
            Op::Load { to, at, dtype, masked } => self.load(to, &at, dtype, masked),
            Op::Splat { to, at, dtype } => self.splat(to, &at, dtype),
            Op::Gather { to, at, steps, masked } => self.gather(to, &at, steps, masked),
            Op::Scatter { .. } => unreachable!("the form has none of these"),
            Op::Store { value, at, streams: true, .. } => self.stream(value, &at),
            Op::Store { value, at, dtype, masked, .. } => self.store(value, &at, dtype, masked),
            Op::StoreFirst { value, at } => {
                let value = self.lanes(value, SPARE[1]);
                let memory = self.control.address(&at, crate::base::DType::F32);
                let instruction = Instruction::with2(Code::VEX_Vmovd_rm32_xmm, memory, xmm(value));
                self.control.code.push(instruction.expect("vmovd"));
            }
            Op::Copy { to, a } | Op::LanesOf { to, mask: a } => {
                let (register, from) = (self.target(to), self.operand(a));
                self.move_to(register, from);
                self.keep(to);
            }
            Op::MaskOf { to, a } => {
                // Not equal to 0.
                let a = self.lanes(a, SPARE[0]);
                let (register, zero) = (self.target(to), self.constant(&all_lanes(0)));
                self.control.code.three(Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256, register, a, zero);
                self.not(register, register);
                self.keep(to);
            }
            Op::Not { to, a } => {
                let a = self.lanes(a, SPARE[0]);
                let register = self.target(to);
                self.not(register, a);
                self.keep(to);
            }
            Op::Unary { op, to, a } => {
                self.unary(op, to, a);
                self.keep(to);
            }
            Op::Binary { op, to, a, b } => {
                let swapped = op.commutes() && !self.is_register(a) && self.is_register(b);
                let (a, b) = if swapped { (b, a) } else { (a, b) };
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                match binary_number(op) {
                    None => self.control.code.three(binary_code(op), register, a, b),
                    Some(number) => {
                        self.control.code.three_and_number(binary_code(op), register, a, b, number);
                    }
                }
                self.keep(to);
            }
            Op::Logic { op, to, a, b } => {
                let code = match op {
                    Logic::And => Code::VEX_Vpand_ymm_ymm_ymmm256,
                    Logic::Or => Code::VEX_Vpor_ymm_ymm_ymmm256,
                    Logic::Xor => Code::VEX_Vpxor_ymm_ymm_ymmm256,
                    Logic::AndNot => Code::VEX_Vpandn_ymm_ymm_ymmm256,
                };
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                self.control.code.three(code, register, a, b);
                self.keep(to);
            }
            Op::Fma { to, a, b, c } => {
                self.fma(to, a, b, c);
                self.keep(to);
            }
            Op::Select { to, mask, a, b } => {
                let mask = self.lanes(mask, THIRD);
                let b = self.lanes(b, SPARE[0]);
                let (register, a) = (self.target(to), self.operand(a));
                self.choose(register, mask, a, b);
                self.keep(to);
            }
            Op::Compare { to, float: true, how, a, b } => {
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                let code = Code::VEX_Vcmpps_ymm_ymm_ymmm256_imm8;
                self.control.code.three_and_number(code, register, a, b, float_predicate(how));
                self.keep(to);
            }
            Op::Compare { to, float: false, how, a, b } => {
                // There are but `equal` and `greater`.
                let (a, b) = if matches!(how, Compare::Lt | Compare::Ge) { (b, a) } else { (a, b) };
                let code = match how {
                    Compare::Eq | Compare::Ne => Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256,
                    _ => Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256,
                };
                let a = self.lanes(a, SPARE[0]);
                let (register, b) = (self.target(to), self.operand(b));
                self.control.code.three(code, register, a, b);
                if matches!(how, Compare::Ne | Compare::Le | Compare::Ge) {
                    self.not(register, register);
                }
                self.keep(to);
            }
            Op::Seek { pointer, from, index, stride, limit } => {
                let index = xmm(self.lanes(index, SPARE[1]));
                let moved = Instruction::with2(Code::VEX_Vmovd_rm32_xmm, Register::EAX, index);
                self.control.code.push(moved.expect("vmovd"));
                self.control.seek(pointer, from, stride, limit);
            }
            Op::Take { op, sum, value, masked } => self.take(op, sum, value, masked),
            Op::Tail { counter, extent } => self.tail(counter, extent),
            ref op => unreachable!("{op:?} is of loops and pointers"),
        }
    }

    /// `mask ? a : b`
    fn choose(&mut self, to: Register, mask: Register, a: Operand, b: Register) {
        let code = Code::VEX_Vblendvps_ymm_ymm_ymmm256_ymm;
        let (instruction, later) = match a {
            Operand::Register(a) => (Instruction::with4(code, to, b, a, mask), Later::No),
            Operand::Memory(a, later) => (Instruction::with4(code, to, b, a, mask), later),
        };
        self.control.code.push_with(instruction.expect("vblendvps"), later);
    }

    fn take(&mut self, op: Binary, sum: V, value: V, masked: bool) {
        let before = self.lanes(sum, SPARE[1]);
        let value = self.operand(value);
        if masked {
            self.control.code.three(binary_code(op), SPARE[0], before, value);
            self.choose(before, TAIL, Operand::Register(SPARE[0]), before);
        } else {
            self.control.code.three(binary_code(op), before, before, value);
        }
        self.keep(sum);
    }

    /// The tail's mask, and the number of its lanes on the stack.
    fn tail(&mut self, counter: Counter, extent: Amount) {
        let (rax, eax) = (Register::RAX, Register::EAX);
        match extent {
            // Whole vectors of a known extent are known too.
            Amount::Known(extent) => {
                let n = (extent % LANES) as i32;
                self.control.code.push(Instruction::with2(Code::Mov_r32_imm32, eax, n).expect("mov"));
            }
            extent => self.control.lanes_left(counter, extent),
        }
        let to = stack(self.n_left);
        self.control.code.push(Instruction::with2(Code::Mov_rm64_r64, to, rax).expect("mov"));
        self.splat_number(TAIL, eax);
        let lanes = self.constant(&iota());
        self.move_to(SPARE[0], lanes);
        let lanes = Operand::Register(SPARE[0]);
        self.control.code.three(Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256, TAIL, TAIL, lanes);
    }

    fn unary(&mut self, op: Unary, to: V, a: V) {
        let register = self.target(to);
        match op {
            Unary::SqrtF | Unary::Truncate | Unary::ToF => {
                let code = match op {
                    Unary::SqrtF => Code::VEX_Vsqrtps_ymm_ymmm256,
                    Unary::Truncate => Code::VEX_Vcvttps2dq_ymm_ymmm256,
                    _ => Code::VEX_Vcvtdq2ps_ymm_ymmm256,
                };
                let from = self.operand(a);
                self.control.code.two(code, register, from);
            }
            Unary::FloorF | Unary::CeilF | Unary::NearestF => {
                // Without exceptions; the low bits say which way.
                let way = match op {
                    Unary::FloorF => 9,
                    Unary::CeilF => 10,
                    _ => 8,
                };
                let from = self.operand(a);
                self.control.code.two_and_number(Code::VEX_Vroundps_ymm_ymmm256_imm8, register, from, way);
            }
            Unary::Shl(n) | Unary::Shr(n) | Unary::ShrZeros(n) => {
                let code = match op {
                    Unary::Shl(_) => Code::VEX_Vpslld_ymm_ymm_imm8,
                    Unary::Shr(_) => Code::VEX_Vpsrad_ymm_ymm_imm8,
                    _ => Code::VEX_Vpsrld_ymm_ymm_imm8,
                };
                let from = self.lanes(a, SPARE[0]);
                self.control.code.two_and_number(code, register, Operand::Register(from), n.into());
            }
            Unary::Swap(half) => {
                let from = self.lanes(a, SPARE[0]);
                let same = Operand::Register(from);
                match half {
                    1 => {
                        let code = Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8;
                        self.control.code.three_and_number(code, register, from, same, 1);
                    }
                    half => {
                        let order = if half == 2 { 0x4e } else { 0xb1 };
                        let code = Code::VEX_Vpermilps_ymm_ymmm256_imm8;
                        self.control.code.two_and_number(code, register, same, order);
                    }
                }
            }
        }
    }
}

/// The lower half of a vector.
fn xmm(register: Register) -> Register {
    Register::XMM0 + (register as u32 - Register::YMM0 as u32)
}
