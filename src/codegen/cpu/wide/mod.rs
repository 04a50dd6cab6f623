//! Nests as AVX-512 code of our own: sixteen lanes, where Cranelift's vectors have four.
//!
//! What enters: a verified nest. What leaves: the bytes of a function and what its frame must hold, or nothing, and then the nest is
//! Cranelift's. The way: `form` says how the loops lie, `lower` and `values` write a `program` over virtual registers, `allocate`
//! gives them homes, `encode` writes the bytes. The bytes depend on the nest alone, not on the machine that writes them, so
//! that they can be read and compared anywhere; `is_supported` says whether this machine runs them.
//!
//! Each lane's bits are those of Cranelift's code; a sum along neighbours is made of other partial sums, so it may differ in its
//! last bits from that of a CPU without AVX-512. Not here: indexed loads, places of the greatest, additions at places,
//! quotients of whole numbers.

mod allocate;
mod assembler;
mod codes;
mod encode;
mod form;
mod lower;
mod memory;
mod program;
#[cfg(test)]
mod tests;
mod turn;
mod values;

pub use program::Item;

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

/// Whether this CPU has the instructions, and this system the calling convention.
pub fn is_supported() -> bool {
    #[cfg(all(target_arch = "x86_64", unix))]
    {
        use std::arch::is_x86_feature_detected as has;
        has!("avx512f") && has!("avx512vl") && has!("avx512bw") && has!("avx512dq") && has!("bmi2")
    }
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    false
}

pub fn compile(nest: &Nest) -> Option<Wide> {
    let nest = merge_axes(nest);
    let form = Form::of(&nest)?;
    let mut program = lower::lower(&nest, &form);
    let homes = allocate::allocate(&mut program);
    let written = encode::encode(&program, &homes);
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
