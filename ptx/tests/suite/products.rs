//! Matrix products: through shared memory, and with tensor cores in bf16 and tf32.

use crate::helpers::*;
use gradc_ptx::{Arg, Memory};

fn product(a: &[f32], b: &[f32], [m, n, k]: [usize; 3]) -> Vec<f64> {
    let at = |i: usize| {
        let (row, column) = (i / n, i % n);
        (0..k).map(|p| a[row * k + p] as f64 * b[p * n + column] as f64).sum()
    };
    (0..m * n).map(at).collect()
}

fn sizes(mut args: Vec<Arg>, shape: [usize; 3]) -> Vec<Arg> {
    args.extend(shape.map(|n| Arg::I32(n as i32)));
    args
}

/// The upper 16 bits of numbers that have no others.
fn to_bf16(values: &[f32]) -> (Vec<u16>, Vec<f32>) {
    let bits: Vec<u16> = values.iter().map(|v| (v.to_bits() >> 16) as u16).collect();
    let exact = bits.iter().map(|b| f32::from_bits((*b as u32) << 16)).collect();
    (bits, exact)
}

#[test]
fn through_shared_memory() {
    for module in golden_of_both("matmul") {
        for shape in [[1, 1, 1], [16, 16, 16], [17, 15, 33], [1, 40, 7], [31, 2, 64]] {
            let [m, n, k] = shape;
            let (a, b) = (random(1, m * k), random(2, k * n));
            let mut memory = Memory::new();
            let (pa, pb, pc) = (memory.alloc_of(&a), memory.alloc_of(&b), memory.alloc(4 * m * n));
            let grid = [n.div_ceil(16) as u32, m.div_ceil(16) as u32];
            run(&module, "matmul_tiled", grid, [16, 16], &sizes(pointers(&[pa, pb, pc]), shape), &mut memory);
            let what = format!("{shape:?}");
            assert_close(&memory.read_of(pc, m * n).unwrap(), &product(&a, &b, shape), 1e-5, 1e-5, &what);
        }
    }
}

#[test]
fn bf16_by_tensor_cores_with_a_pipeline_of_copies() {
    for module in golden_of_both("matmul") {
        for shape in [[1, 8, 8], [64, 64, 64], [65, 72, 40], [3, 128, 96], [130, 8, 200]] {
            let [m, n, k] = shape;
            let ((a_bits, a), (b_bits, b)) = (to_bf16(&random(1, m * k)), to_bf16(&random(2, k * n)));
            let mut memory = Memory::new();
            let (pa, pb, pc) = (memory.alloc_of(&a_bits), memory.alloc_of(&b_bits), memory.alloc(4 * m * n));
            let grid = [n.div_ceil(64) as u32, m.div_ceil(64) as u32];
            let stats =
                run(&module, "matmul_bf16", grid, 128, &sizes(pointers(&[pa, pb, pc]), shape), &mut memory);
            let what = format!("{shape:?}");
            assert_close(&memory.read_of(pc, m * n).unwrap(), &product(&a, &b, shape), 1e-6, 2e-6, &what);
            let products = (grid[0] * grid[1]) as u64 * k.div_ceil(32) as u64 * 4 * 16;
            assert_eq!(stats.instructions["mma"].warps, products, "{what}");
        }
    }
}

#[test]
fn tf32_by_tensor_cores() {
    for module in golden_of_both("matmul") {
        for shape in [[1, 1, 1], [16, 8, 8], [17, 9, 21], [33, 40, 64]] {
            let [m, n, k] = shape;
            let (a, b) = (random(1, m * k), random(2, k * n));
            let mut memory = Memory::new();
            let (pa, pb, pc) = (memory.alloc_of(&a), memory.alloc_of(&b), memory.alloc(4 * m * n));
            let grid = [n.div_ceil(8) as u32, m.div_ceil(16) as u32];
            run(&module, "matmul_tf32", grid, 32, &sizes(pointers(&[pa, pb, pc]), shape), &mut memory);
            // To the nearest of 10 bits, ties away from zero.
            let round = |v: &f32| f32::from_bits((v.to_bits() + 0x1000) & !0x1fff);
            let rounded = |values: &[f32]| values.iter().map(round).collect::<Vec<_>>();
            let expected = product(&rounded(&a), &rounded(&b), shape);
            assert_close(&memory.read_of(pc, m * n).unwrap(), &expected, 1e-6, 2e-6, &format!("{shape:?}"));
        }
    }
}
