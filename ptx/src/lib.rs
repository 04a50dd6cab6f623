//! An interpreter of PTX, for tests: it runs on the CPU what NVRTC made of a CUDA kernel, and watches it.
//!
//! What enters: the text of a PTX module, memory, arguments. What leaves: what the kernel wrote, counts of what it did,
//! or a `Fault` that says what it must not have done, where in the PTX and in the CUDA source, and which thread did it:
//! access out of bounds or misaligned, reads of what nothing has written or of an asynchronous copy that was not waited
//! for, races in shared memory and between blocks, barriers that not all threads come to, deadlocks, infinite loops,
//! and any instruction that is not known.
//!
//! ```text
//! text ─parser→ Unit ─decode→ Module ─launch→ Stats
//! ```
//!
//! How it runs: blocks one after another, the warps of a block in turns, the lanes of a warp in lock step with a stack
//! of regions that meet again at post-dominators. A value lives in a slot of 32 lanes, and each instruction without
//! side effects is one closure over them. There is no clock and no chance in it: a launch is repeatable.
//!
//! What it does not do: time, caches, textures, clusters, `wgmma` and TMA. Progress of single lanes: lanes of one warp
//! that wait for each other in a loop wait for ever, as before Volta.
//!
//! ```
//! use gradc_ptx::{Arg, Memory, Module};
//!
//! let module = Module::parse(
//!     ".version 8.0
//!      .target sm_80
//!      .address_size 64
//!      .visible .entry twice(.param .u64 x) {
//!          .reg .b64 %rd<4>; .reg .b32 %r<2>; .reg .f32 %f<3>;
//!          ld.param.u64 %rd1, [x];
//!          mov.u32 %r1, %tid.x;
//!          mul.wide.u32 %rd2, %r1, 4;
//!          add.s64 %rd3, %rd1, %rd2;
//!          ld.global.f32 %f1, [%rd3];
//!          add.f32 %f2, %f1, %f1;
//!          st.global.f32 [%rd3], %f2;
//!          ret;
//!      }",
//! )?;
//! let mut memory = Memory::new();
//! let x = memory.alloc_of(&[1.0f32, 2.0, 3.0]);
//! let stats = module.launch("twice", 1, 3, 0, &[Arg::Pointer(x)], &mut memory)?;
//! assert_eq!(memory.read_of::<f32>(x, 3)?, [2.0, 4.0, 6.0]);
//! assert_eq!(stats.global.bytes_read, 12);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod code;
mod decode;
mod fault;
mod math;
mod memory;
mod module;
mod run;
mod text;
mod types;

pub use fault::{Access, Fault, ParseError, Place, Violation};
pub use memory::global::{Memory, Plain};
pub use module::Module;
pub use run::launch::{Arg, Limits, Size};
pub use run::stats::{Count, GlobalTraffic, SharedTraffic, Stats};
