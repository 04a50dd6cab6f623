//! Which instruction does what an op says.

use crate::codegen::cpu::wide::assembler::float_predicate;
use crate::codegen::cpu::wide::program::Binary;
use crate::scalar::machine::Compare;
use iced_x86::Code;

pub fn binary_code(op: Binary) -> Code {
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
        Binary::LowerLanes => Code::EVEX_Vunpcklps_zmm_k1z_zmm_zmmm512b32,
        Binary::UpperLanes => Code::EVEX_Vunpckhps_zmm_k1z_zmm_zmmm512b32,
        Binary::LowerPairs => Code::EVEX_Vunpcklpd_zmm_k1z_zmm_zmmm512b64,
        Binary::UpperPairs => Code::EVEX_Vunpckhpd_zmm_k1z_zmm_zmmm512b64,
        Binary::EvenQuarters | Binary::OddQuarters => Code::EVEX_Vshuff32x4_zmm_k1z_zmm_zmmm512b32_imm8,
    }
}

/// Which quarters the instruction takes: two bits each.
pub fn quarters(op: Binary) -> Option<u32> {
    match op {
        Binary::EvenQuarters => Some(0b10_00_10_00),
        Binary::OddQuarters => Some(0b11_01_11_01),
        _ => None,
    }
}

/// The instruction and its predicate.
pub fn comparison(float: bool, how: Compare) -> (Code, u32) {
    if float {
        return (Code::EVEX_Vcmpps_kr_k1_zmm_zmmm512b32_imm8_sae, float_predicate(how));
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
