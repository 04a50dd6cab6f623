//! The CPU backend: each op of a kernel becomes a function of machine code, made by Cranelift, and equal ops become one.
//!
//! What enters: a plan. What leaves: a `Program` that owns the code, and for each kernel the list of its calls (`calls.rs`), which
//! a tile goes through. A function's signature is `OpFn`. Vectors have 128 bits
//! (F32X4), the most that Cranelift knows; where a CPU has AVX-512 or AVX2, most nests are functions that `wide` wrote. Matrix products call
//! `products`, which uses the widest vectors there are. Invariant: the code is a function of the kernels and of the CPU's
//! features alone.

mod address;
mod body;
mod calls;
mod functions;
mod kernel;
mod nest;
#[cfg(test)]
mod oracle;
mod portions;
mod products;
mod sort;
#[cfg(test)]
mod tests;
pub mod ticks;
mod wide;

pub use calls::Tile;
pub use products::fill;
pub use wide::Kind;

use crate::base::stopwatch::{count, timed};
use crate::nest::{Kernel, Nest, TileOp};
use calls::{Around, Calls, OpFn, share};
use cranelift_codegen::isa::OwnedTargetIsa;
use cranelift_codegen::settings::{self, Configurable};
use cranelift_codegen::{Context, control::ControlPlane};
use cranelift_frontend::FunctionBuilderContext;
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::Module;
use std::ops::Range;

/// What varies from step to step; random numbers depend on it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StepEnv {
    pub seed: u64,
    pub step: u64,
}

/// Machine code for a plan's kernels, in their order.
pub struct Program {
    code: Code,
    /// Owns the code; `None` only while it is dropped.
    module: Option<JITModule>,
}

/// What threads see of a program.
pub struct Code {
    functions: Vec<OpFn>,
    kernels: Vec<Calls>,
    ticking: Ticking,
}

impl Program {
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// How many functions all kernels have together: equal ops have one.
    pub fn n_functions(&self) -> usize {
        self.code.functions.len()
    }
}

impl Code {
    /// Of each op of a kernel whether threads may take it in portions.
    pub fn portioned(&self, kernel: usize) -> &[bool] {
        self.kernels[kernel].portioned()
    }

    /// Runs some of a kernel's ops over a tile; in portions only such as can be.
    ///
    /// # Safety
    /// `arguments` are addresses of what the kernel's arguments say, for a batch of the tile's; `scratch` and the tile's own have the
    /// kernel's bytes; what the ops write nobody else uses meanwhile.
    pub unsafe fn run(
        &self,
        kernel: usize,
        ops: Range<usize>,
        arguments: *const *mut u8,
        scratch: *mut u8,
        tile: &Tile,
    ) {
        let ticks = self.ticking == Ticking::EachOp;
        // SAFETY: the functions were compiled along with the calls; the rest is the caller's promise.
        unsafe { self.kernels[kernel].run(&self.functions, ops, arguments, scratch, tile, ticks) };
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: the functions' addresses live in `self.code` alone, and are called by `run`, which borrows it.
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
    compile_in_portions(kernels, &|_| false, ticking)
}

/// The same. `in_portions`: of each kernel whether several threads are to be at a tile of it.
pub fn compile_in_portions(
    kernels: &[Kernel],
    in_portions: &dyn Fn(usize) -> bool,
    ticking: Ticking,
) -> Program {
    compile_with(kernels, in_portions, ticking, Kind::of_machine())
}

/// Nests as `wide` writes them for that kind of vectors, where it has code for them, or all as Cranelift does.
fn compile_with(
    kernels: &[Kernel],
    in_portions: &dyn Fn(usize) -> bool,
    ticking: Ticking,
    vectors: Option<Kind>,
) -> Program {
    let (functions, kernels) = timed("share", || share(kernels, in_portions));
    let mut module = module();
    let mut frontend = FunctionBuilderContext::new();
    let mut cx = Context::new();
    let mut ids = Vec::with_capacity(functions.len());
    for function in &functions {
        timed("clif", || kernel::build(&mut module, &mut cx, &mut frontend, function, vectors));
        let id = module.declare_anonymous_function(&cx.func.signature).expect("a function without a name");
        timed("cranelift", || {
            module
                .define_function_with_control_plane(id, &mut cx, &mut ControlPlane::default())
                .unwrap_or_else(|e| panic!("{:?} does not compile: {e}", function.op));
        });
        module.clear_context(&mut cx);
        ids.push(id);
    }
    module.finalize_definitions().expect("memory for machine code");
    count("functions", ids.len());
    let functions = ids.into_iter().map(|id| {
        // SAFETY: `kernel::build` gave the function exactly the signature of `OpFn`.
        unsafe { std::mem::transmute::<*const u8, OpFn>(module.get_finalized_function(id)) }
    });
    let code = Code { functions: functions.collect(), kernels, ticking };
    Program { code, module: Some(module) }
}

/// The assembly of a kernel's nests for a kind of vectors, whatever CPU this one is. Other ops, and nests that have none, are Cranelift's.
pub fn assembly(kernel: &Kernel, kind: Kind) -> String {
    fn of_op(op: &TileOp, around: &Around, kind: Kind, text: &mut String) {
        match op {
            TileOp::Nest(nest) => {
                let code = wide::compile(nest, kind, around);
                let code = code.map_or("; Cranelift's\n".into(), |wide| wide.text());
                text.push_str(&format!("{}{code}\n", nest_comment(nest)));
            }
            TileOp::Loop(l) => l.ops.iter().for_each(|op| of_op(op, &Around::default(), kind, text)),
            _ => {}
        }
    }
    let mut text = format!("; {}\n", kernel.name);
    let (functions, calls) = share(std::slice::from_ref(kernel), &|_| false);
    for (op, function) in kernel.ops.iter().zip(calls[0].functions()) {
        of_op(op, &functions[function].around, kind, &mut text);
    }
    text
}

/// A nest as its text, each line a comment.
fn nest_comment(nest: &Nest) -> String {
    nest.to_string().lines().map(|line| format!("; {line}\n")).collect()
}

/// The CLIF of a kernel's functions as it is on a CPU without wide vectors, before Cranelift's own optimizations, for dumps and
/// snapshots.
pub fn clif(kernel: &Kernel) -> String {
    let mut module = module();
    let mut cx = Context::new();
    let (functions, calls) = share(std::slice::from_ref(kernel), &|_| false);
    let mut text = String::new();
    for (number, function) in functions.iter().enumerate() {
        kernel::build(&mut module, &mut cx, &mut FunctionBuilderContext::new(), function, None);
        let ops = calls[0].functions().enumerate().filter(|(_, called)| *called == number);
        let ops: Vec<String> = ops.map(|(op, _)| op.to_string()).collect();
        text.push_str(&format!("; op {}\n{}", ops.join(", "), cx.func.display()));
        module.clear_context(&mut cx);
    }
    // SAFETY: nothing of this module was ever called or handed out.
    unsafe { module.free_memory() };
    text
}
