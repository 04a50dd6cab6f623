//! Ops that read and write memory, as instructions: elements of all types become lanes of 32 bits, and back.
//!
//! What enters: an op and its place. What leaves: instructions. Invariant: a masked op touches no memory of lanes that the tail does
//! not have. Elements of four bytes are masked by the CPU; smaller ones go one by one over the stack.

use super::{LANES, SPARE, TAIL, THIRD, Writer, all_lanes, xmm};
use crate::base::DType;
use crate::codegen::cpu::wide::assembler::{Later, Operand};
use crate::codegen::cpu::wide::control::stack;
use crate::codegen::cpu::wide::operands::Operands;
use crate::codegen::cpu::wide::program::{Place, V};
use iced_x86::{Code, Instruction, MemoryOperand, Register};

impl Writer<'_> {
    fn push(&mut self, instruction: Result<Instruction, iced_x86::IcedError>) {
        self.control.code.push(instruction.expect("the code has these operands"));
    }

    pub fn load(&mut self, to: V, at: &Place, dtype: DType, masked: bool) {
        let register = self.target(to);
        match dtype {
            DType::F32 | DType::I32 => {
                let memory = self.control.address(at, dtype);
                if masked {
                    self.push(Instruction::with3(Code::VEX_Vmaskmovps_ymm_ymm_m256, register, TAIL, memory));
                } else {
                    let memory = Operand::Memory(memory, Later::No);
                    self.control.code.two(Code::VEX_Vmovups_ymm_ymmm256, register, memory);
                }
            }
            _ if masked => {
                self.each_left(|writer, lane, element| {
                    let memory = writer.control.address(&moved(at, dtype, lane), dtype);
                    let code = if dtype == DType::BF16 { Code::Movzx_r32_rm16 } else { Code::Movzx_r32_rm8 };
                    writer.push(Instruction::with2(code, Register::EAX, memory));
                    writer.push(Instruction::with2(Code::Mov_rm32_r32, element, Register::EAX));
                });
                let elements = Operand::Memory(stack(self.elements), Later::No);
                self.control.code.two(Code::VEX_Vmovups_ymm_ymmm256, register, elements);
                self.widened(register, dtype);
            }
            _ => {
                let memory = Operand::Memory(self.control.address(at, dtype), Later::No);
                let code = match dtype {
                    DType::BF16 => Code::VEX_Vpmovzxwd_ymm_xmmm128,
                    _ => Code::VEX_Vpmovzxbd_ymm_xmmm64,
                };
                self.control.code.two(code, register, memory);
                self.widened(register, dtype);
            }
        }
        self.keep(to);
    }

    /// What the bits of small elements mean: the upper half of an f32, a mask.
    fn widened(&mut self, register: Register, dtype: DType) {
        let same = Operand::Register(register);
        match dtype {
            DType::BF16 => {
                self.control.code.two_and_number(Code::VEX_Vpslld_ymm_ymm_imm8, register, same, 16)
            }
            DType::Bool => {
                let zero = self.control.code.constant_operand(&all_lanes(0), false);
                self.control.code.three(Code::VEX_Vpcmpgtd_ymm_ymm_ymmm256, register, register, zero);
            }
            _ => {}
        }
    }

    /// Writes `body` for each lane that the tail may have, with the lane's four bytes on the stack, and leaves when there are no
    /// more.
    fn each_left(&mut self, body: impl Fn(&mut Self, i64, MemoryOperand)) {
        let end = self.control.code.label();
        for lane in 0..LANES - 1 {
            let n_left = stack(self.n_left);
            self.push(Instruction::with2(Code::Cmp_rm64_imm8, n_left, lane as i32));
            self.control.code.branch(Code::Jle_rel32_64, end);
            body(self, lane, stack(self.elements + 4 * lane));
        }
        self.control.code.bind(end);
    }

    pub fn splat(&mut self, to: V, at: &Place, dtype: DType) {
        let memory = self.control.address(at, dtype);
        let (register, eax) = (self.target(to), Register::EAX);
        match dtype {
            DType::F32 | DType::I32 => {
                let memory = Operand::Memory(memory, Later::No);
                self.control.code.two(Code::VEX_Vbroadcastss_ymm_m32, register, memory);
            }
            DType::BF16 => {
                self.push(Instruction::with2(Code::Movzx_r32_rm16, eax, memory));
                self.splat_number(register, eax);
                self.widened(register, dtype);
            }
            DType::U8 | DType::Bool => {
                self.push(Instruction::with2(Code::Movzx_r32_rm8, eax, memory));
                self.splat_number(register, eax);
                self.widened(register, dtype);
            }
        }
        self.keep(to);
    }

    pub fn gather(&mut self, to: V, at: &Place, steps: V, masked: bool) {
        let steps = self.lanes(steps, SPARE[0]);
        let register = self.target(to);
        let first = self.control.address(at, DType::F32);
        let memory = MemoryOperand::with_base_index_scale_displ_size(first.base, steps, 4, at.beyond, 1);
        if masked {
            self.move_to(THIRD, Operand::Register(TAIL));
        } else {
            self.control.code.three(
                Code::VEX_Vpcmpeqd_ymm_ymm_ymmm256,
                THIRD,
                THIRD,
                Operand::Register(THIRD),
            );
        }
        let same = Operand::Register(register);
        self.control.code.three(Code::VEX_Vpxor_ymm_ymm_ymmm256, register, register, same);
        self.push(Instruction::with3(Code::VEX_Vgatherdps_ymm_vm32y_ymm, register, memory, THIRD));
        self.keep(to);
    }

    pub fn store(&mut self, value: V, at: &Place, dtype: DType, masked: bool) {
        let from = self.lanes(value, SPARE[1]);
        match dtype {
            DType::F32 | DType::I32 => {
                let memory = self.control.address(at, dtype);
                if masked {
                    self.push(Instruction::with3(Code::VEX_Vmaskmovps_m256_ymm_ymm, memory, TAIL, from));
                } else {
                    self.store_lanes(memory, from);
                }
            }
            _ if masked => self.store_one_by_one(from, at, dtype),
            _ => self.store_packed(from, at, dtype),
        }
    }

    /// A whole vector of four-byte lanes past the caches.
    pub fn stream(&mut self, value: V, at: &Place) {
        let from = self.lanes(value, SPARE[1]);
        let memory = self.control.address(at, DType::F32);
        self.push(Instruction::with2(Code::VEX_Vmovntps_m256_ymm, memory, from));
    }

    fn store_one_by_one(&mut self, from: Register, at: &Place, dtype: DType) {
        self.store_lanes(stack(self.elements), from);
        self.each_left(|writer, lane, element| {
            // The address may need `rax` itself, and the value goes there only then.
            let memory = writer.control.address(&moved(at, dtype, lane), dtype);
            let low = xmm(SPARE[0]);
            writer.push(Instruction::with2(Code::VEX_Vmovd_xmm_rm32, low, element));
            if dtype == DType::BF16 {
                writer.push(Instruction::with3(Code::VEX_Vpextrw_r32m16_xmm_imm8, memory, low, 0));
                return;
            }
            if dtype == DType::Bool {
                let one = writer.control.code.constant_operand(&all_lanes(1), false);
                writer.control.code.three(Code::VEX_Vpand_xmm_xmm_xmmm128, low, low, one);
            }
            writer.push(Instruction::with3(Code::VEX_Vpextrb_r32m8_xmm_imm8, memory, low, 0));
        });
    }

    /// Eight lanes as eight elements of one or two bytes.
    fn store_packed(&mut self, from: Register, at: &Place, dtype: DType) {
        let (spare, low) = (SPARE[0], xmm(SPARE[0]));
        let mut from = from;
        if dtype == DType::Bool {
            let one = self.control.code.constant_operand(&all_lanes(1), false);
            self.control.code.three(Code::VEX_Vpand_ymm_ymm_ymmm256, spare, from, one);
            from = spare;
        }
        // Each half packs by itself: the quarters of eight bytes that have something are brought together.
        self.control.code.three(Code::VEX_Vpackusdw_ymm_ymm_ymmm256, spare, from, Operand::Register(from));
        let same = Operand::Register(spare);
        self.control.code.two_and_number(Code::VEX_Vpermq_ymm_ymmm256_imm8, spare, same, 0xd8);
        let memory = self.control.address(at, dtype);
        if dtype == DType::BF16 {
            return self.push(Instruction::with2(Code::VEX_Vmovups_xmmm128_xmm, memory, low));
        }
        self.control.code.three(Code::VEX_Vpackuswb_xmm_xmm_xmmm128, low, low, Operand::Register(low));
        self.push(Instruction::with2(Code::VEX_Vmovq_xmmm64_xmm, memory, low));
    }
}

/// The place of a lane's own element.
fn moved(at: &Place, dtype: DType, lane: i64) -> Place {
    Place { beyond: at.beyond + lane * dtype.bytes() as i64, ..*at }
}
