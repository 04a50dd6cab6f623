//! Machine code run between fences, for tests.
//!
//! What enters: a program, a kernel of it, arguments. What leaves: what the interpreter makes of them, if the machine code does the
//! same and touches nothing else. Not here: how far they may differ (`codegen/oracle.rs`), which kernels.

use super::{Program, StepEnv, Tile, clif};
use crate::base::{DType, bf16};
use crate::codegen::oracle;
use crate::nest::Kernel;
use crate::nest::interpret::Run;

/// Bytes before and after each buffer which nobody may touch.
const FENCE: usize = 64;
const FENCE_BYTE: u8 = 0xa5;

/// Elements as a kernel sees them, between fences, at addresses that are multiples of the element's size only.
struct Memory {
    bytes: Vec<u8>,
    first: usize,
    dtype: DType,
    n_bytes: usize,
}

impl Memory {
    fn reserve(dtype: DType, n_bytes: usize, fill: u8) -> Memory {
        let mut bytes = vec![FENCE_BYTE; n_bytes + 2 * FENCE + 8];
        let to_eight = bytes.as_ptr().align_offset(8) + dtype.bytes();
        let first = FENCE + to_eight % 8;
        bytes[first..first + n_bytes].fill(fill);
        Memory { bytes, first, dtype, n_bytes }
    }

    fn new(dtype: DType, values: &[f64]) -> Memory {
        let mut memory = Memory::reserve(dtype, values.len() * dtype.bytes(), 0);
        for (i, value) in values.iter().enumerate() {
            let at = memory.first + i * dtype.bytes();
            match dtype {
                DType::F32 => memory.bytes[at..at + 4].copy_from_slice(&(*value as f32).to_ne_bytes()),
                DType::BF16 => {
                    memory.bytes[at..at + 2].copy_from_slice(&bf16::to_bits(*value as f32).to_ne_bytes())
                }
                DType::I32 => memory.bytes[at..at + 4].copy_from_slice(&(*value as i32).to_ne_bytes()),
                DType::U8 => memory.bytes[at] = *value as u8,
                DType::Bool => memory.bytes[at] = u8::from(*value != 0.0),
            }
        }
        memory
    }

    fn address(&mut self) -> *mut u8 {
        self.bytes[self.first..].as_mut_ptr()
    }

    fn values(&self) -> Vec<f64> {
        let bytes = &self.bytes[self.first..self.first + self.n_bytes];
        let words = || bytes.chunks_exact(4).map(|w| w.try_into().expect("four bytes"));
        match self.dtype {
            DType::F32 => words().map(|w| f32::from_ne_bytes(w).into()).collect(),
            DType::BF16 => {
                let halves = bytes.chunks_exact(2).map(|h| u16::from_ne_bytes([h[0], h[1]]));
                halves.map(|bits| bf16::from_bits(bits).into()).collect()
            }
            DType::I32 => words().map(|w| i32::from_ne_bytes(w).into()).collect(),
            DType::U8 | DType::Bool => bytes.iter().map(|b| f64::from(*b)).collect(),
        }
    }

    fn is_fenced(&self) -> bool {
        let after = &self.bytes[self.first + self.n_bytes..];
        self.bytes[..self.first].iter().chain(after).all(|b| *b == FENCE_BYTE)
    }
}

/// Portions of each op that can be taken in portions; more than some have.
const PARTS: i64 = 3;

/// Runs all tiles, the last first, and portions, if it was compiled for them, the last first.
pub fn run_compiled(
    program: &Program,
    index: usize,
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    at: Run,
) -> Vec<Vec<f64>> {
    let mut memory: Vec<Memory> =
        arguments.iter().zip(&kernel.arguments).map(|(values, a)| Memory::new(a.dtype, values)).collect();
    let addresses: Vec<*mut u8> = memory.iter_mut().map(Memory::address).collect();
    let scratch_bytes = kernel.scratch.iter().map(|s| s.offset + s.bytes).max().unwrap_or(0);
    let rows = kernel.n_rows(at.batch).expect("rows are over batch");
    let env = StepEnv { seed: at.seed, step: at.step };
    let starts: Vec<i64> = (0..rows).step_by(kernel.tile as usize).collect();
    for start in starts.into_iter().rev() {
        let mut scratch = Memory::reserve(DType::F32, scratch_bytes as usize, 0xff);
        let rows = i64::from(kernel.tile).min(rows - start);
        for (op, is_portioned) in program.code().portioned(index).iter().enumerate() {
            for part in (0..if *is_portioned { PARTS } else { 1 }).rev() {
                let mut own = Memory::reserve(DType::F32, scratch_bytes as usize, 0xff);
                let tile = Tile::whole(at.batch, start, rows, &raw const env, scratch.address());
                let tile = match is_portioned {
                    true => Tile { part, parts: PARTS, own: own.address(), ..tile },
                    false => tile,
                };
                // SAFETY: the function was compiled from this kernel; each argument has the elements that the interpreter, which checks
                // addresses, was given, and scratch has the kernel's bytes.
                unsafe {
                    program.code().run(index, op..op + 1, addresses.as_ptr(), scratch.address(), &tile);
                }
                assert!(own.is_fenced(), "written outside of a thread's own scratch:\n{kernel}");
            }
        }
        assert!(scratch.is_fenced(), "written outside of scratch:\n{kernel}");
    }
    for (i, argument) in memory.iter().enumerate() {
        assert!(argument.is_fenced(), "written outside of ${i}:\n{kernel}");
    }
    memory.iter().map(Memory::values).collect()
}

/// The compiled kernel does what the interpreter does; gives what that gave.
pub fn check(
    what: &str,
    program: &Program,
    index: usize,
    kernel: &Kernel,
    arguments: &[Vec<f64>],
    at: Run,
) -> Vec<Vec<f64>> {
    let found = || run_compiled(program, index, kernel, arguments, at);
    oracle::check(what, kernel, arguments, at, found, || clif(kernel))
}
