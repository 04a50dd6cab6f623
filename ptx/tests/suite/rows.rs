//! Reductions over rows, and attention with an online softmax.

use crate::helpers::*;
use gradc_ptx::{Arg, Memory};

#[test]
fn softmax_a_warp_a_row() {
    for module in golden_of_both("rows") {
        for (rows, columns) in [(1, 1), (3, 31), (5, 32), (7, 33), (9, 257), (2, 1000)] {
            let x: Vec<f32> = random(1, rows * columns).iter().map(|x| x * 9.0).collect();
            let mut memory = Memory::new();
            let (px, py) = (memory.alloc_of(&x), memory.alloc(4 * x.len()));
            let mut args = pointers(&[px, py]);
            args.extend([Arg::I32(rows as i32), Arg::I32(columns as i32)]);
            run(&module, "softmax", rows.div_ceil(4) as u32, 128, &args, &mut memory);
            let expected: Vec<f64> = x
                .chunks(columns)
                .flat_map(|row| {
                    let sum: f64 = row.iter().map(|x| (*x as f64).exp()).sum();
                    row.iter().map(move |x| (*x as f64).exp() / sum)
                })
                .collect();
            // __expf multiplies by log2(e) in f32: 2 + floor(|x * 1.44|) ulp.
            let what = format!("{rows} x {columns}");
            assert_close(&memory.read_of(py, x.len()).unwrap(), &expected, 4e-6, 1e-12, &what);
        }
    }
}

#[test]
fn layer_norm_a_block_a_row() {
    for module in golden_of_both("rows") {
        for (rows, columns, threads) in [(1, 1, 32), (3, 31, 64), (2, 128, 128), (4, 769, 256), (1, 33, 1024)]
        {
            let (x, scale, shift) = (random(1, rows * columns), random(2, columns), random(3, columns));
            let mut memory = Memory::new();
            let [px, ps, pt] = [&x, &scale, &shift].map(|a| memory.alloc_of(a));
            let py = memory.alloc(4 * x.len());
            let mut args = pointers(&[px, ps, pt, py]);
            args.push(Arg::I32(columns as i32));
            let stats = run(&module, "layer_norm", rows as u32, threads, &args, &mut memory);
            let expected: Vec<f64> = x
                .chunks(columns)
                .flat_map(|row| {
                    let n = columns as f64;
                    let mean = row.iter().map(|x| *x as f64).sum::<f64>() / n;
                    let variance = row.iter().map(|x| (*x as f64 - mean).powi(2)).sum::<f64>() / n;
                    let norm = move |x: &f32| (*x as f64 - mean) / (variance + 1e-5).sqrt();
                    row.iter()
                        .map(norm)
                        .zip(scale.iter().zip(&shift))
                        .map(|(x, (a, b))| x * *a as f64 + *b as f64)
                })
                .collect();
            let what = format!("{rows} x {columns} by {threads} threads");
            assert_close(&memory.read_of(py, x.len()).unwrap(), &expected, 1e-5, 2e-6, &what);
            assert_eq!(stats.barriers, 6 * rows as u64, "{what}");
        }
    }
}

#[test]
fn a_sum_in_two_launches() {
    for module in golden_of_both("rows") {
        for n in SIZES {
            let x = random(1, n);
            let mut memory = Memory::new();
            let (px, partial, sum) = (memory.alloc_of(&x), memory.alloc(4 * 5), memory.alloc(4));
            for (from, to, n, blocks) in [(px, partial, n, 5), (partial, sum, 5, 1)] {
                let args = [Arg::Pointer(from), Arg::Pointer(to), Arg::I32(n as i32)];
                module
                    .launch("sum_stage", blocks, 96, 32 * 4, &args, &mut memory)
                    .unwrap_or_else(|f| panic!("{f}"));
            }
            let expected = x.iter().map(|x| *x as f64).sum::<f64>();
            assert_close(&memory.read_of(sum, 1).unwrap(), &[expected], 1e-5, 1e-5, "sum");
        }
    }
}

#[test]
fn causal_attention_with_an_online_softmax() {
    let module = golden("attention.sm_80");
    for (heads, length) in [(1, 1), (2, 5), (1, 32), (3, 33), (1, 71)] {
        let n = heads * length * 64;
        let [q, k, v] = [1, 2, 3].map(|seed| random(seed, n));
        let mut memory = Memory::new();
        let mut args = pointers(&[&q, &k, &v].map(|a| memory.alloc_of(a)));
        let py = memory.alloc(4 * n);
        args.extend([Arg::Pointer(py), Arg::I32(length as i32)]);
        run(&module, "attention", [length.div_ceil(4) as u32, heads as u32], 128, &args, &mut memory);
        let mut expected = Vec::new();
        for head in 0..heads {
            let row = |a: &[f32], i: usize| -> Vec<f64> {
                let start = (head * length + i) * 64;
                a[start..start + 64].iter().map(|x| *x as f64).collect()
            };
            for i in 0..length {
                let dot = |j: usize| row(&q, i).iter().zip(row(&k, j)).map(|(a, b)| a * b).sum::<f64>() / 8.0;
                let weights: Vec<f64> = (0..=i).map(|j| dot(j).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..64 {
                    let weighted = weights.iter().enumerate().map(|(j, w)| w * row(&v, j)[d]);
                    expected.push(weighted.sum::<f64>() / sum);
                }
            }
        }
        let what = format!("{heads} heads, {length} places");
        assert_close(&memory.read_of(py, n).unwrap(), &expected, 1e-5, 1e-6, &what);
    }
}
