//! Tensor cores: `mma.sync`, `ldmatrix`, `stmatrix`.
//!
//! Which lane holds which element is a formula (PTX ISA, "Matrix fragments for mma"); a product gathers the matrices
//! from the lanes, multiplies them plainly, and spreads the result. Floats: products and their sum in f64, which is
//! exact for what a step adds up in practice, and one rounding at the end. Hardware rounds in between, and differs by
//! so much.

use super::access::effective;
use super::block::Block;
use super::machine::{Machine, Stop};
use super::warp::Warp;
use crate::code::{Element, MatrixProduct, Op, Source, Strength, Sum};
use crate::fault::Violation;
use crate::math::lanes::WARP;
use crate::math::round::{BF16, F16, Rounding, narrow, widen};
use crate::types::Space;

/// How many elements share a register, and how many bits each has.
fn packing(element: Element) -> (usize, u32) {
    match element {
        Element::F16 | Element::Bf16 => (2, 16),
        Element::Tf32 => (1, 32),
        Element::F64 => (1, 64),
        Element::Byte(..) => (4, 8),
    }
}

fn value(element: Element, bits: u64, of_a: bool) -> f64 {
    match element {
        Element::F16 => widen(bits as u32, F16),
        Element::Bf16 => widen(bits as u32, BF16),
        // The lower 13 bits are not looked at.
        Element::Tf32 => f32::from_bits(bits as u32 & !0x1fff) as f64,
        Element::F64 => f64::from_bits(bits),
        Element::Byte(a_signed, b_signed) => {
            let signed = if of_a { a_signed } else { b_signed };
            if signed { bits as i8 as f64 } else { bits as u8 as f64 }
        }
    }
}

pub fn multiply(warp: &mut Warp, product: &MatrixProduct, mask: u32) -> Result<(), Stop> {
    let first = mask.trailing_zeros() as usize;
    if mask != u32::MAX {
        return Err((first, Violation::DivergentWarp { mask: u32::MAX, active: mask }));
    }
    let Some(frame) = warp.frames.last_mut() else { return Ok(()) };
    let MatrixProduct { shape: [m, n, k], elements, sums, .. } = *product;
    let (each, bits) = packing(elements);
    let keep = u64::MAX >> (64 - bits);
    let mut a = vec![0.0; m * k];
    let mut b = vec![0.0; k * n];
    // In each register: rows step by 8, then columns by so many as four lanes hold.
    let gather = |registers: &[Source], place: &mut dyn FnMut(usize, usize, usize, u64)| {
        for (r, register) in registers.iter().enumerate() {
            let values = frame.lanes(*register);
            for (lane, value) in values.iter().enumerate() {
                for e in 0..each {
                    place(r, lane, e, value >> (e as u32 * bits) & keep);
                }
            }
        }
    };
    let rows = m / 8;
    gather(&product.a, &mut |r, lane, e, bits| {
        let row = lane / 4 + r % rows * 8;
        let column = lane % 4 * each + e + r / rows * 4 * each;
        a[row * k + column] = value(elements, bits, true);
    });
    gather(&product.b, &mut |r, lane, e, bits| {
        let row = lane % 4 * each + e + r * 4 * each;
        b[row * n + lane / 4] = value(elements, bits, false);
    });
    // c and d: two neighbours of a row in each of the registers, f16 both in one.
    let at = |lane: usize, i: usize| (lane / 4 + i / 2 * 8) * n + lane % 4 * 2 + i % 2;
    let per_lane = m * n / WARP;
    let mut out = vec![[0u64; WARP]; product.d.len()];
    for i in 0..per_lane {
        let (register, shift) = if sums == Sum::F16 { (i / 2, i as u32 % 2 * 16) } else { (i, 0) };
        let c = frame.lanes(product.c[register]);
        for lane in 0..WARP {
            let place = at(lane, i);
            let (row, column) = (place / n, place % n);
            let old = c[lane] >> shift;
            let start = match sums {
                Sum::F16 => widen(old as u32 & 0xffff, F16),
                Sum::F32 => f32::from_bits(old as u32) as f64,
                Sum::F64 => f64::from_bits(old),
                Sum::S32 => old as i32 as f64,
            };
            let dot = |sum: f64, p: usize| f64::mul_add(a[row * k + p], b[p * n + column], sum);
            let sum = (0..k).fold(start, dot);
            out[register][lane] |= match sums {
                Sum::F16 => (narrow(sum, F16, Rounding::Nearest) as u64) << shift,
                Sum::F32 => (sum as f32).to_bits() as u64,
                Sum::F64 => sum.to_bits(),
                // Wraps as 32 bits do.
                Sum::S32 => sum as i64 as u32 as u64,
            };
        }
    }
    for (slot, values) in product.d.iter().zip(&out) {
        frame.set(*slot, values, mask);
    }
    Ok(())
}

impl Machine<'_> {
    /// `ldmatrix` and `stmatrix`: lane `8 i + r` has the address of row `r` of matrix `i`; lane `l` holds the elements
    /// `2 (l % 4)` and the next of row `l / 4`, or of that column if transposed.
    pub fn matrices(&mut self, block: &mut Block, w: usize, op: &Op, mask: u32) -> Result<(), Stop> {
        let first = mask.trailing_zeros() as usize;
        if mask != u32::MAX {
            return Err((first, Violation::DivergentWarp { mask: u32::MAX, active: mask }));
        }
        let (address, n, transposed) = match op {
            Op::LoadMatrix { address, dsts, transposed } => (address, dsts.len(), *transposed),
            Op::StoreMatrix { address, sources, transposed } => (address, sources.len(), *transposed),
            _ => return Ok(()),
        };
        let Some(frame) = block.warps[w].frames.last() else { return Ok(()) };
        let base = |lane: usize| address.base.map_or(0, |slot| frame.registers[slot as usize][lane]);
        let places: Vec<(Space, u64)> =
            (0..8 * n).map(|lane| effective(address.space, base(lane), address.offset)).collect();
        let element = |lane: usize, e: usize| {
            let (row, column) = (lane / 4, lane % 4 * 2 + e);
            if transposed { (column, row) } else { (row, column) }
        };
        let addresses: Vec<u64> = places.iter().map(|p| p.1).collect();
        self.stats.shared.requests += 1;
        for matrix in addresses.chunks(8) {
            self.stats.shared.bank_conflicts += super::stats::bank_conflicts(matrix, 16);
        }
        let mut rows = vec![[0u8; 16]; 8 * n];
        if let Op::StoreMatrix { sources, .. } = op {
            for (i, source) in sources.iter().enumerate() {
                let values = frame.lanes(*source);
                for (lane, value) in values.iter().enumerate() {
                    for e in 0..2 {
                        let (row, column) = element(lane, e);
                        let half = (value >> (16 * e)) as u16;
                        rows[8 * i + row][2 * column..2 * column + 2].copy_from_slice(&half.to_le_bytes());
                    }
                }
            }
        }
        for (lane, (place, row)) in places.iter().zip(&mut rows).enumerate() {
            let actor = self.actor(block, w, lane);
            let Some(mut reach) = self.reach(block, w) else { return Ok(()) };
            match op {
                Op::LoadMatrix { .. } => {
                    let n = row.len();
                    reach.read(*place, (row, n), lane, &actor, Strength::Plain)
                }
                _ => reach.write(*place, row, lane, &actor, Strength::Plain),
            }
            .map_err(|violation| (lane, violation))?;
        }
        let bytes = 128 * n as u64;
        let (Op::LoadMatrix { dsts, .. }, Some(frame)) = (op, block.warps[w].frames.last_mut()) else {
            self.stats.shared.bytes_written += bytes;
            return Ok(());
        };
        self.stats.shared.bytes_read += bytes;
        for (i, dst) in dsts.iter().enumerate() {
            let values = std::array::from_fn(|lane| {
                (0..2).fold(0, |all, e| {
                    let (row, column) = element(lane, e);
                    let bytes = &rows[8 * i + row][2 * column..2 * column + 2];
                    all | (u16::from_le_bytes([bytes[0], bytes[1]]) as u64) << (16 * e)
                })
            });
            frame.set(*dst, &values, mask);
        }
        Ok(())
    }
}
