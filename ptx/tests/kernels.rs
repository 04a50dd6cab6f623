//! Kernels that NVRTC compiled, against plain Rust.

use gradc_ptx::{Arg, Memory, Module};

fn module(name: &str) -> Module {
    let path = format!("{}/tests/golden/{name}.ptx", env!("CARGO_MANIFEST_DIR"));
    Module::parse(&std::fs::read_to_string(&path).unwrap()).unwrap_or_else(|e| panic!("{path}: {e}"))
}

#[test]
fn saxpy() {
    for arch in ["sm_80", "sm_90"] {
        let module = module(&format!("elementwise.{arch}"));
        for n in [1usize, 3, 4, 127, 1000, 4099] {
            let mut memory = Memory::new();
            let x: Vec<f32> = (0..n).map(|i| i as f32 * 0.5).collect();
            let y: Vec<f32> = (0..n).map(|i| 7.0 - i as f32).collect();
            let (px, py) = (memory.alloc_of(&x), memory.alloc_of(&y));
            let args = [Arg::F32(1.5), Arg::Pointer(px), Arg::Pointer(py), Arg::I32(n as i32)];
            module.launch("saxpy", 3, 64, 0, &args, &mut memory).unwrap_or_else(|f| panic!("{n}: {f}"));
            let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 1.5f32.mul_add(*x, *y)).collect();
            assert_eq!(memory.read_of::<f32>(py, n).unwrap(), expected);
        }
    }
}

#[test]
fn nothing_is_unknown() {
    for entry in std::fs::read_dir(format!("{}/tests/golden", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let path = entry.unwrap().path();
        let module = Module::parse(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let unknown: Vec<_> = module.unknown().collect();
        assert!(unknown.is_empty(), "{}: {unknown:?}", path.display());
    }
}
