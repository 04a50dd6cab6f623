//! Pairs of normal numbers, by the formula of Box and Muller (1958): `sqrt(-2 ln u)` times the cosine and the sine of an angle.
//!
//! What enters: two words of 32 random bits. What leaves: two f32, each within 2e-6 of what the formula says (relative, or
//! absolute below 1) where `u` is the first word rounded to an f32, so that the radius is 0 or at least 3.4e-4. Invariant: every
//! operation is one of IEEE 754 in f32, none is fused with another, and no library is asked: so the bits are the same on every
//! machine, in every number of lanes, and in CUDA C (`codegen/cuda/preamble/normal.cuh`). Polynomials: `cephes.rs`.

use super::cephes::{COS, LN_2, LOG, SIN};
use std::f32::consts::{FRAC_1_SQRT_2, TAU};

/// 2^-32
const OF_WORDS: f32 = 1.0 / 4_294_967_296.0;
#[inline(always)]
pub fn normals(a: u32, b: u32) -> [f32; 2] {
    let radius = (-2.0 * log((a as f32 + 1.0) * OF_WORDS)).sqrt();
    let [cos, sin] = on_circle(b);
    [radius * cos, radius * sin]
}

/// Of `2^-32` to 1: `e ln 2 + log(m)`, `m` in `[sqrt(1/2), sqrt(2))`.
#[inline(always)]
fn log(x: f32) -> f32 {
    let above = x.to_bits().wrapping_sub(FRAC_1_SQRT_2.to_bits()) as i32 >> 23;
    let t = f32::from_bits(x.to_bits().wrapping_sub((above << 23) as u32)) - 1.0;
    let (e, t2) = (above as f32, t * t);
    let y = t * t2 * polynomial(t, &LOG) + e * LN_2[1];
    t + (y - 0.5 * t2) + e * LN_2[0]
}

/// Cosine and sine of the angle of which a whole turn is 2^32: of the quarter turns that are nearest, and of what is left.
#[inline(always)]
fn on_circle(angle: u32) -> [f32; 2] {
    let quarters = angle.wrapping_add(1 << 29) >> 30;
    let rest = angle.wrapping_sub(quarters << 30) as i32 as f32 * (TAU * OF_WORDS);
    let square = rest * rest;
    let sin = rest + rest * square * polynomial(square, &SIN);
    let cos = 1.0 - 0.5 * square + square * square * polynomial(square, &COS);
    let [along, across] = if quarters & 1 == 0 { [cos, sin] } else { [sin, cos] };
    let with_sign = |x: f32, sign: u32| f32::from_bits(x.to_bits() ^ (sign & 2) << 30);
    [with_sign(along, quarters + 1), with_sign(across, quarters)]
}

/// The first coefficient is that of the highest power.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: &[f32; N]) -> f32 {
    coefficients[1..].iter().fold(coefficients[0], |sum, coefficient| sum * x + coefficient)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_what_the_formula_says() {
        let edges = [
            0,
            1,
            2,
            1 << 23,
            1 << 24,
            1 << 29,
            (1 << 29) - 1,
            1 << 30,
            1 << 31,
            3 << 29,
            3 << 30,
            7 << 29,
            u32::MAX - 1,
            u32::MAX,
        ];
        let words = (0..2000u32).map(|i| i.wrapping_mul(0x9e37_79b9)).chain(edges);
        for a in words.clone() {
            for b in words.clone() {
                // The radius is that of `a` rounded to an f32.
                let u = f64::from(a as f32 + 1.0) / 4_294_967_296.0;
                let (radius, angle) =
                    ((-2.0 * u.ln()).sqrt(), std::f64::consts::TAU * f64::from(b) / 4_294_967_296.0);
                for (found, wanted) in
                    normals(a, b).into_iter().zip([radius * angle.cos(), radius * angle.sin()])
                {
                    let off = (f64::from(found) - wanted).abs();
                    assert!(off <= 2e-6 * wanted.abs().max(1.0), "{a} {b}: {found}, not {wanted}");
                }
            }
        }
    }
}
