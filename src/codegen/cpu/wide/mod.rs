//! Nests as AVX-512 or AVX2 code of our own: sixteen lanes or eight, where Cranelift's vectors have four.
//!
//! What enters: a verified nest and the kind of vectors. What leaves: the bytes of a function and what its frame must hold, or nothing,
//! and then the nest is Cranelift's. The way: `form` says how the loops lie, `lower` and `values` write a `program` over virtual
//! registers, `allocate` gives them homes; `control` writes loops and addresses, `avx512` or `avx2` what works on vectors, by way of
//! `assembler`. The bytes depend on the nest and the kind alone, not on the machine that writes them, so that they can be read
//! and compared anywhere; `Kind::of_machine` says what this machine runs.
//!
//! Each lane's bits are those of Cranelift's code; a sum along neighbours is made of other partial sums, so it may differ in its
//! last bits from that of another kind. Not here: loads and additions whose places differ from lane to lane, places of the greatest,
//! quotients of whole numbers.

mod allocate;
mod assembler;
mod avx2;
mod avx512;
mod control;
mod form;
mod lower;
mod operands;
mod program;
mod rows;
mod stream;
#[cfg(test)]
mod tests;
mod turn;
mod values;

pub use program::Item;

use super::calls::Around;
use crate::nest::Nest;
use crate::nest::analysis::merge_axes;
use form::Form;

/// A function `fn(frame: *const [u64; n])` in the calling convention of System V, which reads its frame and nothing else that
/// has an address.
pub struct Wide {
    pub bytes: Vec<u8>,
    /// Eight bytes each.
    pub frame: Vec<Item>,
    /// The code's bytes; constants follow.
    n_code: usize,
}

/// Which vectors a CPU has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// With FMA: eight lanes.
    Avx2,
    /// With its extensions for bytes, words and short vectors: sixteen lanes.
    Avx512,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Avx2, Kind::Avx512];

    pub fn lanes(self) -> i64 {
        match self {
            Kind::Avx2 => avx2::LANES,
            Kind::Avx512 => avx512::LANES,
        }
    }

    /// Whether this CPU has the instructions, and this system the calling convention.
    pub fn is_supported(self) -> bool {
        #[cfg(all(target_arch = "x86_64", unix))]
        {
            use std::arch::is_x86_feature_detected as has;
            match self {
                Kind::Avx2 => has!("avx2") && has!("fma"),
                Kind::Avx512 => {
                    has!("avx512f")
                        && has!("avx512vl")
                        && has!("avx512bw")
                        && has!("avx512dq")
                        && has!("bmi2")
                }
            }
        }
        #[cfg(not(all(target_arch = "x86_64", unix)))]
        false
    }

    /// The widest that this machine runs.
    pub fn of_machine() -> Option<Kind> {
        Kind::ALL.into_iter().rev().find(|kind| kind.is_supported())
    }
}

/// `around`: of the nest's slots.
pub fn compile(nest: &Nest, kind: Kind, around: &Around) -> Option<Wide> {
    let nest = merge_axes(nest);
    let form = Form::of(&nest, kind)?;
    let mut program = lower::lower(&nest, &form, around);
    let registers = match kind {
        Kind::Avx2 => avx2::registers(&program),
        Kind::Avx512 => avx512::registers(),
    };
    let homes = allocate::allocate(&mut program, &registers);
    let written = match kind {
        Kind::Avx2 => avx2::encode(&program, &homes),
        Kind::Avx512 => avx512::encode(&program, &homes),
    };
    Some(Wide { bytes: written.bytes, frame: program.frame, n_code: written.n_code })
}

impl Wide {
    /// Assembly, an instruction a line; jumps say how far their target is from the function's start.
    pub fn text(&self) -> String {
        use iced_x86::{Decoder, DecoderOptions, Formatter, IntelFormatter};
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_space_after_operand_separator(true);
        options.set_rip_relative_addresses(true);
        options.set_branch_leading_zeros(false);
        options.set_uppercase_hex(false);
        let code = &self.bytes[..self.n_code];
        let mut text = String::new();
        for instruction in &mut Decoder::new(64, code, DecoderOptions::NONE) {
            let mut line = String::new();
            formatter.format(&instruction, &mut line);
            text.push_str(&format!("{:5x}  {line}\n", instruction.ip()));
        }
        text
    }
}
