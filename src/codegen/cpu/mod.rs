//! The CPU backend: each kernel becomes one function of machine code, made by Cranelift.
//!
//! What enters: a plan. What leaves: a `Program` that owns the code. A kernel's function has the signature
//! `TileFn`: it runs the tile of `tile` rows from row `start`, for a step of `batch` examples. Vectors have 128 bits
//! (F32X4), the most that Cranelift knows; where a CPU has AVX-512 or AVX2, most nests are functions that `wide` wrote. Matrix products call
//! `products`, which uses the widest vectors there are. Invariant: the code is a function of the kernels and of the CPU's
//! features alone.

mod address;
mod body;
mod kernel;
mod nest;
#[cfg(test)]
mod oracle;
mod products;
mod sort;
#[cfg(test)]
mod tests;
pub mod ticks;
mod wide;

pub use wide::Kind;

use crate::base::stopwatch::timed;
use crate::nest::{Kernel, Nest, TileOp};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, control::ControlPlane};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{Linkage, Module};

/// What varies from step to step; random numbers depend on it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepEnv {
    pub seed: u64,
    pub step: u64,
}

/// Arguments' addresses, scratch, batch, start, tile, environment.
pub type TileFn = unsafe extern "C" fn(*const *mut u8, *mut u8, i64, i64, i64, *const StepEnv);

/// Machine code for a plan's kernels, in their order.
pub struct Program {
    functions: Vec<TileFn>,
    /// Owns the code; `None` only while it is dropped.
    module: Option<JITModule>,
}

impl Program {
    pub fn function(&self, kernel: usize) -> TileFn {
        self.functions[kernel]
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the functions' addresses live in `self.functions` and are only lent by `function`, whose callers (the
            // executor) hold the program for as long as they call.
            unsafe { module.free_memory() };
        }
    }
}

/// The machine that we run on, all its features used.
fn isa() -> OwnedTargetIsa {
    let mut flags = settings::builder();
    let mut set = |name: &str, value: &str| flags.set(name, value).expect("Cranelift knows its own settings");
    set("opt_level", "speed");
    set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" });
    set("is_pic", "false");
    set("use_colocated_libcalls", "false");
    set("enable_probestack", "false");
    let builder = cranelift_native::builder().expect("this CPU is one that Cranelift compiles for");
    builder.finish(settings::Flags::new(flags)).expect("the host's settings are consistent")
}

fn module() -> JITModule {
    let mut builder = JITBuilder::with_isa(isa(), cranelift_module::default_libcall_names());
    builder.symbol(kernel::GEMM, products::product_function() as *const u8);
    builder.symbol(kernel::GEMM_BF16, products::bf16_product_function() as *const u8);
    builder.symbol(kernel::FILL, products::gradc_fill as *const u8);
    builder.symbol(kernel::SORT, sort::gradc_sort as *const u8);
    builder.symbol(kernel::TICK, ticks::gradc_tick as *const u8);
    JITModule::new(builder)
}

/// Whether code says when each op is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ticking {
    Off,
    /// After each op of the kernel itself, not of its loops over turns: see `ticks`.
    EachOp,
}

/// Compiles all kernels for this machine.
pub fn compile(kernels: &[Kernel], ticking: Ticking) -> Program {
    compile_with(kernels, ticking, Kind::of_machine())
}

/// Nests as `wide` writes them for that kind of vectors, where it has code for them, or all as Cranelift does.
fn compile_with(kernels: &[Kernel], ticking: Ticking, vectors: Option<Kind>) -> Program {
    let mut module = module();
    let mut frontend = FunctionBuilderContext::new();
    let mut cx = Context::new();
    let mut ids = Vec::with_capacity(kernels.len());
    for (i, kernel) in kernels.iter().enumerate() {
        timed("clif", || kernel::build(&mut module, &mut cx, &mut frontend, kernel, ticking, vectors));
        let name = format!("kernel_{i}");
        let id = module
            .declare_function(&name, Linkage::Local, &cx.func.signature)
            .expect("kernels have names of their own");
        timed("cranelift", || {
            module
                .define_function_with_control_plane(id, &mut cx, &mut ControlPlane::default())
                .unwrap_or_else(|e| panic!("kernel {} does not compile: {e}", kernel.name));
        });
        module.clear_context(&mut cx);
        ids.push(id);
    }
    module.finalize_definitions().expect("memory for machine code");
    let address = |id| module.get_finalized_function(id);
    let functions = ids.into_iter().map(|id| {
        // SAFETY: `kernel::build` gave the function exactly the signature of `TileFn`.
        unsafe { std::mem::transmute::<*const u8, TileFn>(address(id)) }
    });
    Program { functions: functions.collect(), module: Some(module) }
}

/// The assembly of a kernel's nests for a kind of vectors, whatever CPU this one is. Other ops, and nests that have none, are Cranelift's.
pub fn assembly(kernel: &Kernel, kind: Kind) -> String {
    fn of_ops(ops: &[TileOp], kind: Kind, text: &mut String) {
        for op in ops {
            match op {
                TileOp::Nest(nest) => {
                    let code = wide::compile(nest, kind).map_or("; Cranelift's\n".into(), |wide| wide.text());
                    text.push_str(&format!("{}{code}\n", nest_comment(nest)));
                }
                TileOp::Loop(l) => of_ops(&l.ops, kind, text),
                _ => {}
            }
        }
    }
    let mut text = format!("; {}\n", kernel.name);
    of_ops(&kernel.ops, kind, &mut text);
    text
}

/// A nest as its text, each line a comment.
fn nest_comment(nest: &Nest) -> String {
    nest.to_string().lines().map(|line| format!("; {line}\n")).collect()
}

/// A kernel's CLIF as it is on a CPU without wide vectors, before Cranelift's own optimizations, for dumps and snapshots.
pub fn clif(kernel: &Kernel) -> String {
    let mut module = module();
    let mut cx = Context::new();
    kernel::build(&mut module, &mut cx, &mut FunctionBuilderContext::new(), kernel, Ticking::Off, None);
    let text = cx.func.display().to_string();
    // SAFETY: nothing of this module was ever called or handed out.
    unsafe { module.free_memory() };
    text
}
