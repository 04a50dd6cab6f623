//! What the parser and the decoder accept, and what they say of the rest.

use gradc_ptx::{Arg, Memory, Module};

fn kernel(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 y)\n{{\n\
         .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<9>;\n\
         ld.param.u64 %d0, [y];\n{body}\nret;\n}}\n"
    )
}

/// The word that a body leaves in `%r0`, on one thread.
fn word(body: &str) -> u32 {
    let module = Module::parse(&kernel(&format!("{body}\nst.global.u32 [%d0], %r0;")))
        .unwrap_or_else(|e| panic!("{e}"));
    let mut memory = Memory::new();
    let y = memory.alloc(4);
    module.launch("k", 1, 1, 0, &[Arg::Pointer(y)], &mut memory).unwrap_or_else(|f| panic!("{body}: {f}"));
    memory.read_of::<u32>(y, 1).unwrap()[0]
}

#[test]
fn bodies() {
    // body, what is in %r0 at its end.
    let cases: [(&str, u32); 16] = [
        ("mov.u32 %r0, 0x1F;", 31),
        ("mov.b32 %r0, 0f3F800000;", 0x3f80_0000),
        ("mov.f32 %f1, 1.5; mov.b32 %r0, %f1;", 0x3fc0_0000),
        ("mov.s32 %r0, -2;", -2i32 as u32),
        ("{ .reg .b32 %r0; mov.u32 %r0, 1; } mov.u32 %r0, 2;", 2),
        ("{ .reg .b32 t; mov.u32 t, 5; mov.u32 %r0, t; }", 5),
        ("mov.b32 %r1, 0x00070003; mov.b32 {%h1, %h2}, %r1; mov.b32 %r0, {%h2, %h1};", 0x0003_0007),
        ("setp.eq.s32 %p1|%p2, 1, 1; selp.u32 %r1, 10, 20, %p2; selp.u32 %r0, %r1, 7, %p1;", 20),
        ("setp.lt.u32 %p1, 3, 2; setp.ne.or.u32 %p2, 1, 1, !%p1; selp.u32 %r0, 1, 0, %p2;", 1),
        ("mov.u32 %r0, 0; L: add.u32 %r0, %r0, 3; setp.lt.u32 %p1, %r0, 10; @%p1 bra L;", 12),
        ("add.cc.u32 %r1, 0xffffffff, 1; addc.u32 %r0, 5, 0;", 6),
        ("sub.cc.u32 %r1, 0, 1; subc.u32 %r0, 5, 0;", 4),
        (
            "ts: .branchtargets A, B, C;\nmov.u32 %r1, 1; brx.idx %r1, ts; A: mov.u32 %r0, 1; bra E; \
          B: mov.u32 %r0, 2; bra E; C: mov.u32 %r0, 3; E:",
            2,
        ),
        (
            ".local .align 4 .b8 a[8]; st.local.u32 [a+4], 9; mov.u64 %d1, a; cvta.local.u64 %d1, %d1; \
          ld.u32 %r0, [%d1+4];",
            9,
        ),
        (
            ".shared .align 4 .b8 s[16]; st.shared.v2.u32 [s+8], {4, 6}; mov.u32 %r1, s; ld.shared.u32 %r0, [%r1+12];",
            6,
        ),
        ("mov.u64 %d1, 0x1122334455667788; mov.b64 {_, %r0}, %d1;", 0x1122_3344),
    ];
    for (body, expected) in cases {
        assert_eq!(word(body), expected, "{body}");
    }
}

#[test]
fn what_is_not_known_is_named_when_it_runs() {
    let cases = [
        "frobnicate.u32 %r0, %r1;",
        "add.frob.u32 %r0, %r1, %r2;",
        "add.u32 %r0, %r1, %x2;",
        "mov.u32 %r0, {%r1;",
        "wgmma.fence.sync.aligned;",
        "cp.async.bulk.commit_group;",
        "call nowhere, ();",
    ];
    let mut page = String::new();
    for body in cases {
        let text = kernel(body);
        let message = match Module::parse(&text) {
            Err(error) => error.to_string(),
            Ok(module) => {
                let y = Arg::Pointer(0);
                module.launch("k", 1, 1, 0, &[y], &mut Memory::new()).unwrap_err().violation.to_string()
            }
        };
        page += &format!("{message}\n");
    }
    insta::assert_snapshot!("unknown", page);
}

#[test]
fn every_golden_module_is_known_throughout() {
    let folder = format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"));
    let mut n_kernels = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "ptx") {
            continue;
        }
        let module = Module::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let unknown: Vec<_> = module.unknown().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
        assert!(path.to_string_lossy().contains(module.target()), "{}", path.display());
        n_kernels += module.kernels().count();
    }
    assert!(n_kernels > 50);
}

#[test]
fn no_text_makes_the_parser_panic() {
    let golden = include_str!("../golden/control.sm_80.ptx");
    // Each cut and each dropped line: most are no module any more, none may panic.
    for cut in (0..golden.len()).step_by(97) {
        let _ = Module::parse(&golden[..cut]);
    }
    let lines: Vec<&str> = golden.lines().collect();
    for dropped in (0..lines.len()).step_by(7) {
        let rest: Vec<&str> =
            lines.iter().enumerate().filter(|(i, _)| *i != dropped).map(|(_, l)| *l).collect();
        let _ = Module::parse(&rest.join("\n"));
    }
    let _ = Module::parse(&kernel(&"{".repeat(10_000)));
    let _ = Module::parse(&kernel(&format!("mov.u32 %r0, {};", "(".repeat(10_000))));
    let _ = Module::parse(&kernel(&format!("mov.u32 %r0, {}1;", "-".repeat(10_000))));
}
