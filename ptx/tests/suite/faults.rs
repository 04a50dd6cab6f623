//! Each thing that is reported, by the message that it is reported with.

use crate::helpers::*;
use gradc_ptx::{Arg, Limits, Memory};

/// What the kernels of `faulty.cu` are given: buffers `x` (256 zeros) and `y` (256 floats, nothing written), a number.
enum Given {
    Y,
    Xy,
    Yn(i32),
    Xyn(i32),
    NoPointer,
}

#[test]
fn messages() {
    use Given::*;
    let cases: [(&str, u32, u32, Given); 20] = [
        ("past_the_end", 5, 64, Xyn(256)),
        ("before_the_start", 1, 32, Xy),
        ("past_a_shared_array", 1, 32, Yn(3)),
        ("misaligned", 1, 32, Xy),
        ("no_pointer", 1, 32, NoPointer),
        ("uninitialised_global", 1, 129, Xy),
        ("uninitialised_shared", 1, 32, Y),
        ("divergent_barrier", 1, 64, Y),
        ("left_before_barrier", 1, 64, Yn(40)),
        ("left_before_barrier", 1, 64, Yn(32)),
        ("race_between_warps", 1, 64, Y),
        ("race_in_a_warp", 1, 32, Y),
        ("race_of_reader", 1, 64, Y),
        ("race_between_blocks", 2, 32, Y),
        ("forever", 1, 32, Xy),
        ("deadlock", 1, 64, Y),
        ("traps", 1, 32, Y),
        ("shuffle_from_nobody", 1, 32, Y),
        ("copy_without_wait", 1, 32, Xy),
        ("copy_without_barrier", 1, 64, Xy),
    ];
    let module = golden("faulty.sm_80");
    let mut page = String::new();
    for (kernel, grid, block, given) in cases {
        let mut memory = Memory::new();
        let x = memory.alloc(1024);
        let n_written = if kernel == "uninitialised_global" { 128 } else { 256 };
        memory.write(x, &vec![0; 4 * n_written]).unwrap();
        let y = memory.alloc(1024);
        memory.label(x, "x");
        memory.label(y, "y");
        let args = match given {
            Y => pointers(&[y]),
            Xy if kernel == "forever" => pointers(&[x]),
            Xy => pointers(&[x, y]),
            Yn(n) => vec![Arg::Pointer(y), Arg::I32(n)],
            Xyn(n) => vec![Arg::Pointer(x), Arg::Pointer(y), Arg::I32(n)],
            NoPointer => pointers(&[0]),
        };
        let limits = Limits { steps: 10_000, ..Limits::default() };
        let size = ([grid, 1, 1], [block, 1, 1]);
        let fault = match module.launch_within(limits, kernel, size, 0, &args, &mut memory) {
            Ok(_) => panic!("{kernel} ran to its end"),
            Err(fault) => fault,
        };
        page += &format!("{fault}\n\n");
    }
    insta::assert_snapshot!("faults", page);
}

#[test]
fn races_between_blocks_without_a_barrier() {
    let module = golden("persistent.sm_80");
    let mut memory = Memory::new();
    let (a, b) = (memory.alloc_of(&random(1, 100)), memory.alloc(400));
    memory.label(a, "a");
    memory.label(b, "b");
    let args = [Arg::Pointer(a), Arg::Pointer(b), Arg::I32(100), Arg::I32(2)];
    let fault = module.launch("diffuse_without_barrier", 3, 32, 0, &args, &mut memory).unwrap_err();
    insta::assert_snapshot!("between_blocks", fault);
}

#[test]
fn launches_that_cannot_begin() {
    let module = golden("matmul.sm_80");
    let mut memory = Memory::new();
    let pointer = memory.alloc(4);
    let good = {
        let mut args = pointers(&[pointer; 3]);
        args.extend([Arg::I32(1), Arg::I32(1), Arg::I32(1)]);
        args
    };
    let mut wrong = good.clone();
    wrong[3] = Arg::F64(1.0);
    let cases: [(&str, u32, u32, &[Arg]); 6] = [
        ("matmul", 1, 32, &good),
        ("matmul_bf16", 1, 256, &good),
        ("matmul_tiled", 1, 1025, &good),
        ("matmul_tiled", 0, 32, &good),
        ("matmul_tiled", 1, 32, &good[1..]),
        ("matmul_tiled", 1, 32, &wrong),
    ];
    let mut page = String::new();
    for (kernel, grid, block, args) in cases {
        let fault = module.launch(kernel, grid, block, 0, args, &mut memory).unwrap_err();
        page += &format!("{fault}\n");
    }
    let fault = module.launch("matmul_tiled", 1, 32, 300_000, &good, &mut memory).unwrap_err();
    page += &format!("{fault}\n");
    insta::assert_snapshot!("launches", page);
}

#[test]
fn the_host_is_checked_too() {
    let mut memory = Memory::new();
    let x = memory.alloc_of(&[1f32, 2.0]);
    memory.label(x, "x");
    let y = memory.alloc(8);
    memory.label(y, "y");
    memory.write(y, &[1, 2, 3]).unwrap();
    let past = memory.read(x + 4, 8).unwrap_err();
    let unwritten = memory.read(y, 8).unwrap_err();
    memory.free(x);
    let freed = memory.read(x, 4).unwrap_err();
    insta::assert_snapshot!("host", format!("{past}\n{unwritten}\n{freed}"));
}
