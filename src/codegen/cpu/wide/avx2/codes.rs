//! Which instruction does what an op says.

use crate::codegen::cpu::wide::program::Binary;
use iced_x86::Code;

pub fn binary_code(op: Binary) -> Code {
    match op {
        Binary::AddF => Code::VEX_Vaddps_ymm_ymm_ymmm256,
        Binary::SubF => Code::VEX_Vsubps_ymm_ymm_ymmm256,
        Binary::MulF => Code::VEX_Vmulps_ymm_ymm_ymmm256,
        Binary::DivF => Code::VEX_Vdivps_ymm_ymm_ymmm256,
        Binary::MinF => Code::VEX_Vminps_ymm_ymm_ymmm256,
        Binary::MaxF => Code::VEX_Vmaxps_ymm_ymm_ymmm256,
        Binary::AddI => Code::VEX_Vpaddd_ymm_ymm_ymmm256,
        Binary::SubI => Code::VEX_Vpsubd_ymm_ymm_ymmm256,
        Binary::MulI => Code::VEX_Vpmulld_ymm_ymm_ymmm256,
        Binary::MinI => Code::VEX_Vpminsd_ymm_ymm_ymmm256,
        Binary::MaxI => Code::VEX_Vpmaxsd_ymm_ymm_ymmm256,
        Binary::And => Code::VEX_Vpand_ymm_ymm_ymmm256,
        Binary::Or => Code::VEX_Vpor_ymm_ymm_ymmm256,
        Binary::Xor => Code::VEX_Vpxor_ymm_ymm_ymmm256,
        Binary::ShlBy => Code::VEX_Vpsllvd_ymm_ymm_ymmm256,
        Binary::ShrBy => Code::VEX_Vpsravd_ymm_ymm_ymmm256,
        Binary::LowerLanes => Code::VEX_Vunpcklps_ymm_ymm_ymmm256,
        Binary::UpperLanes => Code::VEX_Vunpckhps_ymm_ymm_ymmm256,
        Binary::LowerPairs => Code::VEX_Vunpcklpd_ymm_ymm_ymmm256,
        Binary::UpperPairs => Code::VEX_Vunpckhpd_ymm_ymm_ymmm256,
        Binary::EvenQuarters | Binary::OddQuarters => Code::VEX_Vperm2f128_ymm_ymm_ymmm256_imm8,
    }
}

/// The number behind the operands, where the code has one: which quarters, of four that are counted through both.
pub fn binary_number(op: Binary) -> Option<u32> {
    match op {
        Binary::EvenQuarters => Some(0x20),
        Binary::OddQuarters => Some(0x31),
        _ => None,
    }
}
