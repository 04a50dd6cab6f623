//! Atomics, and kernels whose blocks wait for each other.

use crate::helpers::*;
use gradc_ptx::{Arg, Limits, Memory, Violation};

#[test]
fn a_histogram() {
    let module = golden("atomics.sm_80");
    for n in SIZES {
        let x: Vec<u8> = integers(1, n).iter().map(|v| (v >> 32) as u8).collect();
        let mut memory = Memory::new();
        let (px, counts) = (memory.alloc_of(&x), memory.alloc_of(&[0u32; 256]));
        run(
            &module,
            "histogram",
            4,
            64,
            &[Arg::Pointer(px), Arg::Pointer(counts), Arg::I32(n as i32)],
            &mut memory,
        );
        let mut expected = vec![0u32; 256];
        x.iter().for_each(|x| expected[*x as usize] += 1);
        assert_eq!(memory.read_of::<u32>(counts, 256).unwrap(), expected);
    }
}

#[test]
fn each_operation() {
    let module = golden("atomics.sm_80");
    let n = 70u32;
    let mut memory = Memory::new();
    let out = memory.alloc_of(&[0u32, 5, 0, u32::MAX, 0, 0, 0, 0, 0, 0]);
    let (sum, wide, wider) = (memory.alloc_of(&[0f32]), memory.alloc_of(&[0u64]), memory.alloc_of(&[0f64]));
    run(&module, "each", n.div_ceil(35), 35, &pointers(&[out, sum, wide, wider]), &mut memory);
    let all = || 0..n;
    let olds: u32 = all().map(|i| (0..i).sum::<u32>()).sum();
    let expected = [
        all().sum(),
        (3 - (n as i32 - 1)) as u32,
        n - 1,
        0,
        u32::MAX,
        all().fold(0, |a, b| a ^ b),
        n % 7,
        (0..n).fold(0u32, |old, _| if old == 0 || old > 6 { 6 } else { old - 1 }),
        77,
        olds,
    ];
    assert_eq!(memory.read_of::<u32>(out, 10).unwrap(), expected);
    assert_eq!(memory.read_of::<f32>(sum, 1).unwrap(), [all().sum::<u32>() as f32]);
    assert_eq!(memory.read_of::<u64>(wide, 1).unwrap(), [(n as u64) << 40]);
    assert_eq!(memory.read_of::<f64>(wider, 1).unwrap(), [n as f64 / 2.0]);
}

#[test]
fn the_largest_by_compare_and_swap() {
    let module = golden("atomics.sm_80");
    for n in SIZES {
        let x = random(9, n);
        let mut memory = Memory::new();
        let (px, most) = (memory.alloc_of(&x), memory.alloc_of(&[-2f32]));
        let args = [Arg::Pointer(px), Arg::Pointer(most), Arg::I32(n as i32)];
        run(&module, "largest", n.div_ceil(64) as u32, 64, &args, &mut memory);
        assert_eq!(memory.read_of::<f32>(most, 1).unwrap(), [x.iter().copied().fold(-2.0, f32::max)]);
    }
}

fn diffused(mut a: Vec<f32>, steps: usize) -> Vec<f32> {
    let n = a.len();
    for _ in 0..steps {
        a = (0..n).map(|i| 0.5 * a[i] + 0.25 * (a[(i + 1) % n] + a[(i + n - 1) % n])).collect();
    }
    a
}

#[test]
fn blocks_meet_at_a_barrier_of_the_grid() {
    for module in golden_of_both("persistent") {
        for (n, blocks, steps) in [(1, 1, 3), (37, 2, 4), (1000, 7, 6), (513, 16, 5)] {
            let a = random(1, n);
            let mut memory = Memory::new();
            let (pa, pb) = (memory.alloc_of(&a), memory.alloc(4 * n));
            let barrier = memory.alloc_of(&[0u32, 0]);
            let mut args = pointers(&[pa, pb]);
            args.extend([Arg::I32(n as i32), Arg::I32(steps as i32), Arg::Pointer(barrier)]);
            run(&module, "diffuse", blocks, 64, &args, &mut memory);
            let result = if steps % 2 == 0 { pa } else { pb };
            let expected: Vec<f64> = diffused(a, steps).iter().map(|v| *v as f64).collect();
            assert_close(
                &memory.read_of(result, n).unwrap(),
                &expected,
                1e-6,
                1e-7,
                &format!("{n} on {blocks} blocks"),
            );
        }
    }
}

#[test]
fn a_grid_that_is_not_resident_never_meets() {
    let module = golden("persistent.sm_80");
    let mut memory = Memory::new();
    let a = memory.alloc_of(&random(1, 100));
    let b = memory.alloc(400);
    let barrier = memory.alloc_of(&[0u32, 0]);
    let args = [Arg::Pointer(a), Arg::Pointer(b), Arg::I32(100), Arg::I32(2), Arg::Pointer(barrier)];
    let limits = Limits { resident_blocks: 3, ..Limits::default() };
    let fault =
        module.launch_within(limits, "diffuse", ([4, 1, 1], [32, 1, 1]), 0, &args, &mut memory).unwrap_err();
    assert_eq!(fault.violation, Violation::GridDeadlock { under_way: 3, not_begun: 1 });
}
