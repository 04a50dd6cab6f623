//! Ops that read and write memory, as instructions: elements of all types become lanes of 32 bits or masks, and back.
//!
//! What enters: an op and its place. What leaves: instructions. Invariant: a masked op touches no memory of lanes that the tail does
//! not have, for the CPU suppresses their faults.

use super::{SPARE, SPARE_MASK, TAIL, Writer};
use crate::base::DType;
use crate::codegen::cpu::wide::assembler::{Later, Operand};
use crate::codegen::cpu::wide::operands::Operands;
use crate::codegen::cpu::wide::program::{Place, V};
use iced_x86::{Code, Instruction, MemoryOperand, Register};

impl Writer<'_> {
    pub fn load(&mut self, to: V, at: &Place, dtype: DType, masked: bool) {
        let memory = Operand::Memory(self.control.address(at, dtype), Later::No);
        let register = self.target(to);
        let tail = |writer: &mut Self| {
            if masked {
                writer.control.code.only(TAIL, true);
            }
        };
        match dtype {
            DType::F32 | DType::I32 => {
                self.control.code.two(Code::EVEX_Vmovups_zmm_k1z_zmmm512, register, memory);
                tail(self);
            }
            DType::BF16 => {
                self.control.code.two(Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256, register, memory);
                tail(self);
                let code = Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8;
                self.control.code.two_and_number(code, register, Operand::Register(register), 16);
            }
            DType::U8 => {
                self.control.code.two(Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128, register, memory);
                tail(self);
            }
            DType::Bool => {
                let low = Register::XMM31;
                self.control.code.two(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, low, memory);
                tail(self);
                self.control.code.three(
                    Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128,
                    register,
                    low,
                    Operand::Register(low),
                );
            }
        }
        self.keep(to);
    }

    pub fn splat(&mut self, to: V, at: &Place, dtype: DType) {
        let memory = self.control.address(at, dtype);
        let register = self.target(to);
        let eax = Register::EAX;
        match dtype {
            DType::F32 | DType::I32 => {
                self.control.code.two(
                    Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
                    register,
                    Operand::Memory(memory, Later::No),
                );
            }
            DType::BF16 => {
                self.control.code.push(Instruction::with2(Code::Movzx_r32_rm16, eax, memory).expect("movzx"));
                self.control.code.push(Instruction::with2(Code::Shl_rm32_imm8, eax, 16).expect("shl"));
                self.control.code.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(eax));
            }
            DType::U8 => {
                self.control.code.push(Instruction::with2(Code::Movzx_r32_rm8, eax, memory).expect("movzx"));
                self.control.code.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(eax));
            }
            DType::Bool => {
                let low = Register::XMM31;
                self.control.code.two(
                    Code::EVEX_Vpbroadcastb_xmm_k1z_xmmm8,
                    low,
                    Operand::Memory(memory, Later::No),
                );
                self.control.code.three(
                    Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128,
                    register,
                    low,
                    Operand::Register(low),
                );
            }
        }
        self.keep(to);
    }

    pub fn store(&mut self, value: V, at: &Place, dtype: DType, masked: bool) {
        let (code, from) = match dtype {
            DType::F32 | DType::I32 => (Code::EVEX_Vmovups_zmmm512_k1z_zmm, self.lanes(value, SPARE[1])),
            DType::BF16 => (Code::EVEX_Vpmovdw_ymmm256_k1z_zmm, self.lanes(value, SPARE[1])),
            DType::U8 => (Code::EVEX_Vpmovdb_xmmm128_k1z_zmm, self.lanes(value, SPARE[1])),
            DType::Bool => {
                let (low, mask) = (Register::XMM31, self.mask(value, SPARE_MASK));
                let ones = self.control.code.constant_operand(&[1; 16], false);
                self.control.code.two(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, low, ones);
                self.control.code.only(mask, true);
                (Code::EVEX_Vmovdqu8_xmmm128_k1z_xmm, low)
            }
        };
        let memory = self.control.address(at, dtype);
        self.control.code.push(Instruction::with2(code, memory, from).expect("the code has these operands"));
        if masked {
            self.control.code.only(TAIL, false);
        }
    }

    /// A whole vector of four-byte lanes past the caches.
    pub fn stream(&mut self, value: V, at: &Place) {
        let from = self.lanes(value, SPARE[1]);
        let memory = self.control.address(at, DType::F32);
        let code = Code::EVEX_Vmovntps_m512_zmm;
        self.control.code.push(Instruction::with2(code, memory, from).expect("the code has these operands"));
    }

    /// An address for each lane.
    pub fn spread(&mut self, at: &Place, steps: Register) -> MemoryOperand {
        let first = self.control.address(at, DType::F32);
        MemoryOperand::with_base_index_scale_displ_size(first.base, steps, 4, at.beyond, 1)
    }

    /// The spare mask, which a gather uses up.
    pub fn lanes_in_question(&mut self, masked: bool) {
        if masked {
            self.control.code.two(Code::VEX_Kmovw_kr_km16, SPARE_MASK, Operand::Register(TAIL));
        } else {
            self.control.code.three(
                Code::VEX_Kxnorw_kr_kr_kr,
                SPARE_MASK,
                SPARE_MASK,
                Operand::Register(SPARE_MASK),
            );
        }
    }
}
