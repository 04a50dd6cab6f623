//! What a launch counts, on kernels where it can be told by hand.

use crate::helpers::*;
use gradc_ptx::{Arg, Memory};

#[test]
fn a_padded_tile_has_no_bank_conflicts() {
    let module = golden("transpose.sm_80");
    let conflicts = |kernel: &str| {
        let mut memory = Memory::new();
        let (px, py) = (memory.alloc_of(&random(1, 64 * 64)), memory.alloc(4 * 64 * 64));
        let args = [Arg::Pointer(px), Arg::Pointer(py), Arg::I32(64), Arg::I32(64)];
        run(&module, kernel, [2, 2], [32, 8], &args, &mut memory).shared
    };
    let padded = conflicts("transpose");
    assert_eq!(padded.bank_conflicts, 0);
    // 4 blocks of 32 columns, each read in 32 rounds instead of one.
    assert_eq!(conflicts("transpose_with_conflicts").bank_conflicts, 4 * 32 * 31);
    assert_eq!(padded.bytes_read, 4 * 64 * 64);
    assert_eq!(padded.bytes_written, 4 * 64 * 64);
}

#[test]
fn vectors_touch_no_more_sectors_than_they_fill() {
    let module = golden("elementwise.sm_80");
    let n = 4096;
    let mut memory = Memory::new();
    let (px, py) = (memory.alloc_of(&random(1, n)), memory.alloc_of(&random(2, n)));
    let args = [Arg::F32(2.0), Arg::Pointer(px), Arg::Pointer(py), Arg::I32(n as i32)];
    let stats = run(&module, "saxpy", 4, 128, &args, &mut memory);
    assert_eq!(stats.global.bytes_read, 2 * 4 * n as u64);
    assert_eq!(stats.global.bytes_written, 4 * n as u64);
    assert_eq!(stats.global.sectors, 3 * 4 * n as u64 / 32);
    assert_eq!(stats.global.requests, 3 * n as u64 / 128);
    assert_eq!(stats.instructions["fma"].lanes, n as u64);
    assert_eq!(stats.instructions["fma"].warps, n as u64 / 32);
    assert_eq!(stats.barriers, 0);
}

#[test]
fn a_launch_is_repeatable() {
    let module = golden("atomics.sm_80");
    let once = || {
        let mut memory = Memory::new();
        let out = memory.alloc_of(&[0u32; 10]);
        let rest = [memory.alloc_of(&[0f32]), memory.alloc_of(&[0u64]), memory.alloc_of(&[0f64])];
        let stats = run(&module, "each", 5, 96, &pointers(&[out, rest[0], rest[1], rest[2]]), &mut memory);
        (memory.read_of::<u32>(out, 10).unwrap(), stats)
    };
    assert_eq!(once(), once());
}
