//! A compiled kernel next to the nest interpreter, for tests.
//!
//! What enters: a program, a kernel of it, arguments. What leaves: what the interpreter makes of them, if the machine code does the
//! same and touches nothing else. How far a compiled f32 may be off follows from the computation itself, by Monte Carlo
//! arithmetic (Parker, "Monte Carlo Arithmetic", 1997): the interpreter runs again with each f32 result moved at random by a
//! few times its bound of error, and results may differ from the exact ones by as much as those of these runs do. Integers
//! and bools that no run changes must be equal. Not here: which kernels.

use super::{Program, StepEnv, clif};
use crate::base::philox::block;
use crate::base::{DType, bf16};
use crate::nest::interpret::{Run, run, run_rounded};
use crate::nest::{ArgumentAccess, Kernel};

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

/// Runs all tiles, the last first.
fn run_compiled(
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
    let rows = kernel.rows.eval(&|s| (s == "batch").then_some(at.batch)).expect("rows are over batch");
    let env = StepEnv { seed: at.seed, step: at.step };
    let starts: Vec<i64> = (0..rows).step_by(kernel.tile as usize).collect();
    for start in starts.into_iter().rev() {
        let mut scratch = Memory::reserve(DType::F32, scratch_bytes as usize, 0xff);
        let tile = i64::from(kernel.tile).min(rows - start);
        // SAFETY: the function was compiled from this kernel; each argument has the elements that the interpreter, which checks
        // addresses, was given, and scratch has the kernel's bytes.
        unsafe {
            program.function(index)(
                addresses.as_ptr(),
                scratch.address(),
                at.batch,
                start,
                tile,
                &raw const env,
            );
        }
        assert!(scratch.is_fenced(), "written outside of scratch:\n{kernel}");
    }
    for (i, argument) in memory.iter().enumerate() {
        assert!(argument.is_fenced(), "written outside of ${i}:\n{kernel}");
    }
    memory.iter().map(Memory::values).collect()
}

/// How far each element may be off.
fn tolerances(kernel: &Kernel, arguments: &[Vec<f64>], exact: &[Vec<f64>], at: Run) -> Vec<Vec<f64>> {
    const RUNS: u32 = 4;
    /// Of the bound of each step's error, and of what the runs differ by.
    const MARGIN: f64 = 4.0;
    let mut far: Vec<Vec<f64>> = exact.iter().map(|values| vec![0.0; values.len()]).collect();
    for n in 0..RUNS {
        let mut count = 0;
        let mut round = |value: f64, ulp: f64| {
            count += 1;
            let dice = f64::from(block([count, n, 0, 0], [0; 2])[0]) / f64::from(u32::MAX) * 2.0 - 1.0;
            let ulp = if ulp.is_finite() { ulp } else { 1.0 };
            f64::from((value * (1.0 + dice * MARGIN * ulp * f64::from(f32::EPSILON))) as f32)
        };
        let mut moved = arguments.to_vec();
        run_rounded(kernel, &mut moved, at, &mut round).expect("it ran without rounding");
        for (far, (moved, exact)) in
            far.iter_mut().flatten().zip(moved.iter().flatten().zip(exact.iter().flatten()))
        {
            let difference = (moved - exact).abs();
            // A value that may become NaN or infinite may be anything.
            let is_same = moved == exact || moved.is_nan() && exact.is_nan();
            *far = if is_same {
                *far
            } else if difference.is_nan() {
                f64::INFINITY
            } else {
                far.max(MARGIN * difference)
            };
        }
    }
    far
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
    let mut exact = arguments.to_vec();
    run(kernel, &mut exact, at).unwrap_or_else(|e| panic!("{what}: {e}\n{kernel}"));
    let far = tolerances(kernel, arguments, &exact, at);
    let found = run_compiled(program, index, kernel, arguments, at);
    for (i, argument) in kernel.arguments.iter().enumerate() {
        for (at, ((found, exact), far)) in found[i].iter().zip(&exact[i]).zip(&far[i]).enumerate() {
            // Below the least normal f32, results may be flushed; a value that is stored is rounded.
            let rounding =
                if argument.dtype == DType::F32 { exact.abs() * 2f64.powi(-23) + 2e-38 } else { 0.0 };
            let is_close = found == exact
                || found.is_nan() && exact.is_nan()
                || far.is_infinite()
                || (found - exact).abs() <= far + rounding;
            let reads_only = argument.access == ArgumentAccess::Read;
            assert!(
                is_close && (!reads_only || *far == 0.0),
                "{what}: element {at} of ${i} is {found}, not {exact} (±{far})\n{kernel}\n{}",
                clif(kernel)
            );
        }
    }
    exact
}
