//! Ops that read and write memory, as instructions: elements of all types become lanes of 32 bits or masks, and back.
//!
//! What enters: an op and its place. What leaves: instructions. Invariant: a masked op touches no memory of lanes that the tail does
//! not have, for the CPU suppresses their faults.

use super::assembler::{Later, Operand};
use super::encode::{Cell, SPARE, SPARE_MASK, TAIL, Writer, stack};
use super::program::{Along, Amount, Place, V};
use crate::base::DType;
use iced_x86::{Code, Instruction, MemoryOperand, Register};

impl Writer<'_> {
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

    pub fn load(&mut self, to: V, at: &Place, dtype: DType, masked: bool) {
        let memory = Operand::Memory(self.address(at, dtype), Later::No);
        let register = self.target(to);
        let tail = |writer: &mut Self| {
            if masked {
                writer.code.only(TAIL, true);
            }
        };
        match dtype {
            DType::F32 | DType::I32 => {
                self.code.two(Code::EVEX_Vmovups_zmm_k1z_zmmm512, register, memory);
                tail(self);
            }
            DType::BF16 => {
                self.code.two(Code::EVEX_Vpmovzxwd_zmm_k1z_ymmm256, register, memory);
                tail(self);
                let code = Code::EVEX_Vpslld_zmm_k1z_zmmm512b32_imm8;
                self.code.two_and_number(code, register, Operand::Register(register), 16);
            }
            DType::U8 => {
                self.code.two(Code::EVEX_Vpmovzxbd_zmm_k1z_xmmm128, register, memory);
                tail(self);
            }
            DType::Bool => {
                let low = Register::XMM31;
                self.code.two(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, low, memory);
                tail(self);
                self.code.three(Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128, register, low, Operand::Register(low));
            }
        }
        self.keep(to);
    }

    pub fn splat(&mut self, to: V, at: &Place, dtype: DType) {
        let memory = self.address(at, dtype);
        let register = self.target(to);
        let eax = Register::EAX;
        match dtype {
            DType::F32 | DType::I32 => {
                self.code.two(
                    Code::EVEX_Vbroadcastss_zmm_k1z_xmmm32,
                    register,
                    Operand::Memory(memory, Later::No),
                );
            }
            DType::BF16 => {
                self.code.push(Instruction::with2(Code::Movzx_r32_rm16, eax, memory).expect("movzx"));
                self.code.push(Instruction::with2(Code::Shl_rm32_imm8, eax, 16).expect("shl"));
                self.code.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(eax));
            }
            DType::U8 => {
                self.code.push(Instruction::with2(Code::Movzx_r32_rm8, eax, memory).expect("movzx"));
                self.code.two(Code::EVEX_Vpbroadcastd_zmm_k1z_r32, register, Operand::Register(eax));
            }
            DType::Bool => {
                let low = Register::XMM31;
                self.code.two(Code::EVEX_Vpbroadcastb_xmm_k1z_xmmm8, low, Operand::Memory(memory, Later::No));
                self.code.three(Code::EVEX_Vptestmb_kr_k1_xmm_xmmm128, register, low, Operand::Register(low));
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
                let ones = self.code.constant_operand(&[1; 16], false);
                self.code.two(Code::EVEX_Vmovdqu8_xmm_k1z_xmmm128, low, ones);
                self.code.only(mask, true);
                (Code::EVEX_Vmovdqu8_xmmm128_k1z_xmm, low)
            }
        };
        let memory = self.address(at, dtype);
        self.code.push(Instruction::with2(code, memory, from).expect("the code has these operands"));
        if masked {
            self.code.only(TAIL, false);
        }
    }

    /// A whole vector of four-byte lanes past the caches.
    pub fn stream(&mut self, value: V, at: &Place) {
        let from = self.lanes(value, SPARE[1]);
        let memory = self.address(at, DType::F32);
        let code = Code::EVEX_Vmovntps_m512_zmm;
        self.code.push(Instruction::with2(code, memory, from).expect("the code has these operands"));
    }

    /// An address for each lane.
    pub fn spread(&mut self, at: &Place, steps: Register) -> MemoryOperand {
        let first = self.address(at, DType::F32);
        MemoryOperand::with_base_index_scale_displ_size(first.base, steps, 4, at.beyond, 1)
    }

    /// The spare mask, which a gather uses up.
    pub fn lanes_in_question(&mut self, masked: bool) {
        if masked {
            self.code.two(Code::VEX_Kmovw_kr_km16, SPARE_MASK, Operand::Register(TAIL));
        } else {
            self.code.three(Code::VEX_Kxnorw_kr_kr_kr, SPARE_MASK, SPARE_MASK, Operand::Register(SPARE_MASK));
        }
    }
}
