//! bf16 and f16: conversions of every kind of number, and packed arithmetic.

use crate::helpers::*;
use gradc_ptx::{Arg, Memory};

/// Nearest, ties to even, on the bits (of numbers that are no NaN).
fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn wide(bits: u16) -> f32 {
    f32::from_bits((bits as u32) << 16)
}

/// The value of f16's bits, by its definition.
fn from_f16(bits: u16) -> f64 {
    let (sign, exponent, mantissa) = (bits >> 15, bits >> 10 & 31, (bits & 1023) as f64);
    let magnitude = match exponent {
        0 => mantissa * 2f64.powi(-24),
        31 if mantissa == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1.0 + mantissa / 1024.0) * 2f64.powi(exponent as i32 - 15),
    };
    if sign == 1 { -magnitude } else { magnitude }
}

fn awkward() -> Vec<f32> {
    let mut x = random(1, 200);
    x.extend([
        0.0,
        -0.0,
        1.0,
        65504.0,
        65519.9,
        65520.0,
        1e-8,
        6e-8,
        2.9802322e-8,
        1e-40,
        -1e-40,
        3.4e38,
        -3.4e38,
    ]);
    x.extend([
        f32::INFINITY,
        f32::NEG_INFINITY,
        1.0 + 2f32.powi(-8),
        1.0 + 3.0 * 2f32.powi(-8),
        1.0 + 2f32.powi(-11),
        2049.0,
        2051.0,
    ]);
    x.push(0.5);
    x
}

#[test]
fn to_bf16_in_pairs_with_a_tail() {
    let all = awkward();
    for module in golden_of_both("half") {
        for n in [1, 2, 31, all.len()] {
            let x = &all[all.len() - n..];
            let mut memory = Memory::new();
            let (px, py) = (memory.alloc_of(x), memory.alloc(2 * n));
            let args = [Arg::Pointer(px), Arg::Pointer(py), Arg::I32(n as i32)];
            run(&module, "to_bf16", n.div_ceil(128) as u32, 64, &args, &mut memory);
            let expected: Vec<u16> = x.iter().map(|x| bf16(*x)).collect();
            assert_eq!(memory.read_of::<u16>(py, n).unwrap(), expected);
        }
    }
}

#[test]
fn to_f16_is_the_nearest() {
    let x = awkward();
    for module in golden_of_both("half") {
        let mut memory = Memory::new();
        let (px, py) = (memory.alloc_of(&x), memory.alloc(2 * x.len()));
        let args = [Arg::Pointer(px), Arg::Pointer(py), Arg::I32(x.len() as i32)];
        run(&module, "to_f16", 4, 64, &args, &mut memory);
        for (x, bits) in x.iter().zip(memory.read_of::<u16>(py, x.len()).unwrap()) {
            if x.abs() >= 65520.0 {
                assert_eq!(bits, if *x > 0.0 { 0x7c00 } else { 0xfc00 }, "{x}");
                continue;
            }
            let off = |bits: u16| (from_f16(bits) - *x as f64).abs();
            let neighbours = [bits.wrapping_sub(1), bits.wrapping_add(1)];
            for other in neighbours.into_iter().filter(|b| from_f16(*b).is_finite()) {
                let nearer = off(bits) < off(other) || off(bits) == off(other) && bits.is_multiple_of(2);
                assert!(nearer, "{x} became {bits:#x}, and {other:#x} is nearer");
            }
        }
    }
}

#[test]
fn from_bf16_by_vectors_of_eight() {
    for module in golden_of_both("half") {
        let bits: Vec<u16> = integers(1, 8 * 37).iter().map(|v| (v >> 48) as u16 & 0xbfff).collect();
        let mut memory = Memory::new();
        let (px, py) = (memory.alloc_of(&bits), memory.alloc(4 * bits.len()));
        run(&module, "from_bf16", 2, 32, &[Arg::Pointer(px), Arg::Pointer(py), Arg::I32(37)], &mut memory);
        let expected: Vec<u32> = bits.iter().map(|b| wide(*b).to_bits()).collect();
        assert_eq!(memory.read_of::<u32>(py, bits.len()).unwrap(), expected);
    }
}

#[test]
fn packed_arithmetic_rounds_once() {
    let n = 100;
    let bits = |seed: u64| -> Vec<u16> { random(seed, 2 * n).iter().map(|v| bf16(*v)).collect() };
    // f16 of 11 bits, between 0.5 and 2.
    let f16 =
        |seed: u64| -> Vec<u16> { integers(seed, 2 * n).iter().map(|v| 0x3800 + (v >> 53) as u16).collect() };
    let nearest_f16 = |x: f64| -> f64 {
        let unit = 2f64.powi((x.abs().log2().floor() as i32).max(-14) - 10);
        if x == 0.0 { 0.0 } else { (x / unit).round_ties_even() * unit }
    };
    for module in golden_of_both("half") {
        let (a, b, c, d) = (bits(1), bits(2), f16(3), f16(4));
        let mut memory = Memory::new();
        let mut places = [&a, &b, &c, &d].map(|v| memory.alloc_of(v)).to_vec();
        places.extend([memory.alloc(4 * n), memory.alloc(4 * n)]);
        let mut args = pointers(&places);
        args.push(Arg::I32(n as i32));
        run(&module, "packed", 2, 64, &args, &mut memory);
        let y = memory.read_of::<u16>(places[4], 2 * n).unwrap();
        let z = memory.read_of::<u16>(places[5], 2 * n).unwrap();
        for i in 0..2 * n {
            let (a, b) = (wide(a[i]), wide(b[i]));
            // Exact in f64 before the one rounding; the way over f32 is exact for the product.
            let fma = bf16_of(a as f64 * b as f64 + a as f64);
            let expected = fma.max(wide(bf16(a * b)));
            assert_eq!(wide(y[i]), expected, "bf16, element {i}");
            let (c, d) = (from_f16(c[i]), from_f16(d[i]));
            let expected = nearest_f16(nearest_f16(c * d) + c.min(nearest_f16(c - d)));
            assert_eq!(from_f16(z[i]), expected, "f16, element {i}");
        }
    }
}

fn bf16_of(x: f64) -> f32 {
    let unit = 2f64.powi(x.abs().log2().floor() as i32 - 7);
    if x == 0.0 { 0.0 } else { ((x / unit).round_ties_even() * unit) as f32 }
}
