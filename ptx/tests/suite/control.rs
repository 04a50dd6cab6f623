//! Control flow that diverges, calls, local memory, votes.

use crate::helpers::*;
use gradc_ptx::{Arg, Memory};

#[test]
fn loops_of_unequal_length_with_breaks() {
    for module in golden_of_both("control") {
        for n in SIZES {
            let x: Vec<u32> = (1..=n as u32).map(|i| i * 7 - 6).collect();
            let mut memory = Memory::new();
            let (px, py) = (memory.alloc_of(&x), memory.alloc(4 * n));
            let args = [Arg::Pointer(px), Arg::Pointer(py), Arg::I32(n as i32)];
            run(&module, "collatz", n.div_ceil(64) as u32, 64, &args, &mut memory);
            let steps = |i: usize| {
                let (mut v, mut count) = (x[i] as u64, 0);
                while v != 1 && count < 200 {
                    if i % 2 == 1 && count == 50 {
                        return 1000;
                    }
                    v = if v % 2 == 0 { v / 2 } else { 3 * v + 1 };
                    count += 1;
                }
                count
            };
            assert_eq!(memory.read_of::<u32>(py, n).unwrap(), (0..n).map(steps).collect::<Vec<u32>>());
        }
    }
}

fn chosen(v: i32) -> i32 {
    const TABLE: [i32; 8] = [3, 1, 4, 1, 5, 9, 2, 6];
    let entry = TABLE[(v >> 4 & 7) as usize];
    let find_first = |v: i32| if v == 0 { 0 } else { v.trailing_zeros() as i32 + 1 };
    match v & 15 {
        0 => v.wrapping_mul(3),
        1 => v ^ 0x55,
        2 => v.count_ones() as i32,
        3 => v.leading_zeros() as i32,
        4 => v.reverse_bits(),
        5 => find_first(v),
        6 => v / 7,
        7 => v % 7 + entry,
        8 => entry,
        9 => {
            let bytes = [v.to_le_bytes(), (!v).to_le_bytes()].concat();
            i32::from_le_bytes([5, 1, 7, 3].map(|i| bytes[i]))
        }
        10 => v.min(1000) - v.max(-1000),
        11 => v.wrapping_abs() >> 3,
        12 => ((v.wrapping_mul(5) as u32) << 7 | v as u32 >> 25) as i32,
        13 => (v as i64 * 123456789 >> 32) as i32,
        14 => 5 + v.abs_diff(99) as i32,
        _ => find_first(v) + (v as i64 * v as i64 >> 13) as i32,
    }
}

#[test]
fn a_switch() {
    for module in golden_of_both("control") {
        let mut x: Vec<i32> = integers(1, 1000).iter().map(|v| (v >> 32) as i32).collect();
        x.extend(-40..40);
        x.extend([i32::MAX, i32::MIN, i32::MIN + 5]);
        let mut memory = Memory::new();
        let (px, py) = (memory.alloc_of(&x), memory.alloc(4 * x.len()));
        let args = [Arg::Pointer(px), Arg::Pointer(py), Arg::I32(x.len() as i32)];
        run(&module, "choose", x.len().div_ceil(96) as u32, 96, &args, &mut memory);
        let y = memory.read_of::<i32>(py, x.len()).unwrap();
        for (x, y) in x.iter().zip(y) {
            assert_eq!(y, chosen(*x), "choose({x}), case {}", x & 15);
        }
    }
}

fn ackermann(m: i32, n: i32) -> i32 {
    match (m, n) {
        (0, _) => n + 1,
        (_, 0) => ackermann(m - 1, 1),
        _ => ackermann(m - 1, ackermann(m, n - 1)),
    }
}

#[test]
fn recursive_calls_that_diverge() {
    for module in golden_of_both("control") {
        for n in [1, 17, 32] {
            let mut memory = Memory::new();
            let y = memory.alloc(4 * n);
            run(&module, "recursive", 1, 32, &[Arg::Pointer(y), Arg::I32(n as i32)], &mut memory);
            let expected: Vec<i32> = (0..n as i32).map(|i| ackermann(2, i % 5)).collect();
            assert_eq!(memory.read_of::<i32>(y, n).unwrap(), expected);
        }
    }
}

#[test]
fn arrays_in_local_memory() {
    for module in golden_of_both("control") {
        for length in [1, 2, 5, 8] {
            let n = 45;
            let x: Vec<i32> = integers(3, n * length).iter().map(|v| (v >> 58) as i32).collect();
            let mut memory = Memory::new();
            let px = memory.alloc_of(&x);
            let args = [Arg::Pointer(px), Arg::I32(n as i32), Arg::I32(length as i32)];
            run(&module, "sort_eight", 2, 32, &args, &mut memory);
            let mut expected = x;
            expected.chunks_mut(length).for_each(|chunk| chunk.sort());
            assert_eq!(memory.read_of::<i32>(px, n * length).unwrap(), expected);
        }
    }
}

#[test]
fn votes_and_variables_that_outlive_a_launch() {
    for module in golden_of_both("control") {
        let x: Vec<i32> = (0..64).map(|i| if i < 32 { 1 + i * i % 23 } else { 2 * i - 99 }).collect();
        let mut memory = Memory::new();
        let (px, py, pc) = (memory.alloc_of(&x), memory.alloc_of(&[-1i32; 64]), memory.alloc(8));
        for _ in 0..3 {
            memory.write(py, &[0xff; 256]).unwrap();
            let count = memory.alloc_of(&[0i32; 2]);
            run(&module, "compact", 1, 64, &pointers(&[px, py, count]), &mut memory);
            let counts = memory.read_of::<i32>(count, 2).unwrap();
            for warp in 0..2 {
                let own = &x[32 * warp..32 * warp + 32];
                let kept: Vec<i32> = own.iter().copied().filter(|x| x % 2 == 0).collect();
                let y = memory.read_of::<i32>(py + 128 * warp as u64, kept.len()).unwrap();
                assert_eq!(y, kept, "warp {warp}");
                let all = own.iter().all(|x| *x > 0) as i32 * 100;
                let any = own.contains(&7) as i32 * 1000;
                assert_eq!(counts[warp], kept.len() as i32 + all + any, "warp {warp}");
            }
        }
        run(&module, "launched", 1, 1, &pointers(&[pc]), &mut memory);
        assert_eq!(memory.read_of::<u32>(pc, 1).unwrap(), [3]);
        let variable = module.variable("launches", &mut memory).unwrap();
        assert_eq!(memory.read_of::<u32>(variable, 1).unwrap(), [3]);
    }
}

#[test]
fn barriers_that_count() {
    for module in golden_of_both("control") {
        let x: Vec<i32> = (0..3 * 96).map(|i| [i - 50, 1, -1][i as usize / 96]).collect();
        let mut memory = Memory::new();
        let (px, py) = (memory.alloc_of(&x), memory.alloc(12));
        run(&module, "count_in_barrier", 3, 96, &pointers(&[px, py]), &mut memory);
        assert_eq!(memory.read_of::<i32>(py, 3).unwrap(), [100_045, 110_096, 0]);
    }
}

#[test]
fn reductions_matches_and_shuffles_of_a_warp() {
    for module in golden_of_both("control") {
        for scale in [1u32, 31, 40] {
            let x: Vec<u32> = (0..32).map(|i| i * scale % 997).collect();
            let mut memory = Memory::new();
            let (px, py) = (memory.alloc_of(&x), memory.alloc(128));
            run(&module, "reduce_and_match", 1, 32, &pointers(&[px, py]), &mut memory);
            let y = memory.read_of::<u32>(py, 32).unwrap();
            let (sum, most): (u32, u32) = (x.iter().sum(), *x.iter().max().unwrap());
            for i in 0..32 {
                let same = (0..32).filter(|j| x[*j] % 4 == x[i] % 4).fold(0u32, |m, j| m | 1 << j);
                let all = x.iter().all(|v| v / 1000 == x[0] / 1000) as u32;
                let up = if i >= 3 { x[i - 3] } else { x[i] };
                let down = if i % 16 + 5 < 16 { x[i + 5] } else { x[i] };
                let expected = sum ^ most << 8 ^ same ^ all << 30 ^ up << 4 ^ down << 12;
                assert_eq!(y[i], expected, "lane {i}, scale {scale}");
            }
        }
    }
}
