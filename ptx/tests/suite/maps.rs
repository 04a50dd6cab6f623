//! Elementwise kernels, transposes and dropout.

use crate::helpers::*;
use gradc_ptx::{Arg, Memory};

#[test]
fn saxpy_with_vectors_and_a_tail() {
    for module in golden_of_both("elementwise") {
        for n in SIZES {
            let (x, y) = (random(1, n), random(2, n));
            let mut memory = Memory::new();
            let (px, py) = (memory.alloc_of(&x), memory.alloc_of(&y));
            memory.protect(px);
            let args = [Arg::F32(1.5), Arg::Pointer(px), Arg::Pointer(py), Arg::I32(n as i32)];
            run(&module, "saxpy", 3, 64, &args, &mut memory);
            let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 1.5f32.mul_add(*x, *y)).collect();
            assert_eq!(memory.read_of::<f32>(py, n).unwrap(), expected, "{n} elements");
        }
    }
}

#[test]
fn functions_of_the_library() {
    // number, name, function, bound in ulp (CUDA C++ Programming Guide, "Mathematical Functions"; here relative).
    type Function = fn(f64) -> f64;
    let cases: [(i32, &str, Function, f64); 7] = [
        (0, "exp", f64::exp, 2.0),
        (1, "log", |x| x.abs().ln(), 1.0),
        (2, "sin", f64::sin, 2.0),
        (3, "cos", f64::cos, 2.0),
        (5, "pow", |x| x.abs().powf(1.3f32 as f64), 4.0),
        (6, "rsqrt", |x| 1.0 / x.abs().sqrt(), 2.0),
        (7, "1/x", |x| 1.0 / x, 1.0),
    ];
    // Large arguments take the slow path of sin and cos, through a table and local memory.
    let mut x: Vec<f32> = random(3, 300).iter().map(|x| x * 20.0).collect();
    x.extend([1e5, 123456.7, 1e10, -3e30, 1e-30, std::f32::consts::FRAC_PI_4, 88.0, -103.0, 1e-41, 0.1]);
    for module in golden_of_both("elementwise") {
        for (number, name, f, ulp) in cases {
            let mut memory = Memory::new();
            let (px, py) = (memory.alloc_of(&x), memory.alloc(4 * x.len()));
            let args = [Arg::Pointer(px), Arg::Pointer(py), Arg::I32(x.len() as i32), Arg::I32(number)];
            run(&module, "library", 3, 128, &args, &mut memory);
            let y = memory.read_of::<f32>(py, x.len()).unwrap();
            for (x, y) in x.iter().zip(&y) {
                let expected = f(*x as f64);
                if expected > f32::MAX as f64 {
                    assert_eq!(*y, f32::INFINITY, "{name}({x})");
                    continue;
                }
                let unit = ((expected as f32).abs().next_up() - (expected as f32).abs()) as f64;
                let off = (*y as f64 - expected).abs() / unit;
                assert!(off <= ulp + 0.5, "{name}({x}) is {y}, expected {expected}: {off} ulp");
            }
        }
    }
}

#[test]
fn gelu_and_adamw() {
    for module in golden_of_both("elementwise") {
        for n in SIZES {
            let (p, g, m) = (random(1, n), random(2, n), random(3, n));
            let v: Vec<f32> = random(4, n).iter().map(|v| v.abs()).collect();
            let mut memory = Memory::new();
            let [pp, pg, pm, pv] = [&p, &g, &m, &v].map(|a| memory.alloc_of(a));
            let blocks = n.div_ceil(128) as u32;
            let mut args = pointers(&[pp, pg, pm, pv]);
            args.extend([Arg::I32(n as i32), Arg::F32(1e-2), Arg::F32(0.1), Arg::F32(1.25), Arg::F32(1.5)]);
            run(&module, "adamw", blocks, 128, &args, &mut memory);
            let expected: Vec<f64> = (0..n)
                .map(|i| {
                    let [p, g, m, v] = [p[i], g[i], m[i], v[i]].map(|x| x as f64);
                    let (m, v) = (0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g);
                    p - 1e-2 * (m * 1.25 / ((v * 1.5).sqrt() + 1e-8) + 0.1 * p)
                })
                .collect();
            assert_close(&memory.read_of(pp, n).unwrap(), &expected, 1e-5, 1e-6, "adamw");

            let y = memory.alloc(4 * n);
            run(
                &module,
                "gelu",
                blocks,
                128,
                &[Arg::Pointer(pg), Arg::Pointer(y), Arg::I32(n as i32)],
                &mut memory,
            );
            let gelu = |x: f64| 0.5 * x * (1.0 + (0.7978845608 * (x + 0.044715 * x * x * x)).tanh());
            let expected: Vec<f64> = g.iter().map(|g| gelu(*g as f64)).collect();
            assert_close(&memory.read_of(y, n).unwrap(), &expected, 1e-6, 1e-7, "gelu");
        }
    }
}

#[test]
fn transposes_through_shared_memory() {
    let module = golden("transpose.sm_80");
    for (rows, columns) in [(1, 1), (1, 37), (37, 1), (32, 32), (33, 31), (64, 100), (7, 97)] {
        for kernel in ["transpose", "transpose_with_conflicts"] {
            let x = random(5, rows * columns);
            let mut memory = Memory::new();
            let (px, py) = (memory.alloc_of(&x), memory.alloc(4 * x.len()));
            let mut args = pointers(&[px, py]);
            args.extend([Arg::I32(rows as i32), Arg::I32(columns as i32)]);
            let grid = [columns.div_ceil(32) as u32, rows.div_ceil(32) as u32];
            run(&module, kernel, grid, [32, 8], &args, &mut memory);
            let expected: Vec<f32> = (0..columns)
                .flat_map(|c| (0..rows).map(move |r| (r, c)))
                .map(|(r, c)| x[r * columns + c])
                .collect();
            assert_eq!(memory.read_of::<f32>(py, x.len()).unwrap(), expected, "{kernel} {rows} x {columns}");
        }
    }
}

/// Philox4x32-10: the published test vectors are held by gradc's own; here only that PTX computes the same.
fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let wide = |a: u32, b: u32| ((a as u64 * b as u64 >> 32) as u32, a.wrapping_mul(b));
        let (high0, low0) = wide(0xD2511F53, counter[0]);
        let (high1, low1) = wide(0xCD9E8D57, counter[2]);
        counter = [high1 ^ counter[1] ^ key[0], low1, high0 ^ counter[3] ^ key[1], low0];
        key = [key[0].wrapping_add(0x9E3779B9), key[1].wrapping_add(0xBB67AE85)];
    }
    counter
}

#[test]
fn dropout_by_philox() {
    let module = golden("random.sm_80");
    for n in SIZES {
        let x = random(6, n);
        let mut memory = Memory::new();
        let (px, py) = (memory.alloc_of(&x), memory.alloc(4 * n));
        let seed: Vec<u8> = [7u32, 11].iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut args = pointers(&[px, py]);
        args.extend([Arg::I32(n as i32), Arg::F32(0.75), Arg::Bytes(seed)]);
        run(&module, "dropout", n.div_ceil(256) as u32, 64, &args, &mut memory);
        let expected: Vec<f32> = (0..n)
            .map(|i| {
                let bits = philox([i as u32 / 4, 0, 0, 0], [7, 11])[i % 4];
                let uniform = (bits >> 8) as f32 * 2f32.powi(-24);
                if uniform < 0.75 { x[i] / 0.75 } else { 0.0 }
            })
            .collect();
        assert_eq!(memory.read_of::<f32>(py, n).unwrap(), expected, "{n} elements");
    }
}
