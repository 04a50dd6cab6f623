//! Parts of kernels, in few letters: sizes, buffers, accesses, instructions, stores, nests.

use crate::base::{DType, Dim, ReduceOp};
use crate::nest::{
    Access, Argument, ArgumentAccess, Axis, BufferRef, Inst, Kernel, Matrix, Nest, Scratch, Store, StoreKind,
    TileOp, Value,
};
use crate::scalar::Func;

pub const F32: DType = DType::F32;
pub const I32: DType = DType::I32;

pub fn c(value: i64) -> Dim {
    Dim::from(value)
}

pub fn symbol(name: &str) -> Dim {
    Dim::symbol(name)
}

pub fn argument(i: u32) -> BufferRef {
    BufferRef::Argument(i)
}

pub fn scratch(i: u32) -> BufferRef {
    BufferRef::Scratch(i)
}

/// `buffer[offset + strides · indices]`
pub fn at(buffer: BufferRef, dtype: DType, offset: Dim, strides: &[i64]) -> Access {
    Access { buffer, dtype, offset, strides: strides.iter().map(|s| c(*s)).collect() }
}

pub fn load(access: Access) -> Inst {
    Inst::Load { access }
}

pub fn load_at(access: Access, index: Value, stride: i64, bound: i64) -> Inst {
    Inst::LoadAt { access, index, stride: c(stride), bound: c(bound) }
}

pub fn number(value: f64, dtype: DType) -> Inst {
    Inst::Const { bits: value.to_bits(), dtype }
}

pub fn call(func: Func, arguments: &[Value]) -> Inst {
    Inst::Call { func, arguments: arguments.to_vec() }
}

pub fn cast(to: DType, argument: Value) -> Inst {
    Inst::Cast { to, argument }
}

pub fn set(access: Access, value: Value) -> Store {
    Store { value, access, kind: StoreKind::Set }
}

pub fn reduce(op: ReduceOp, access: Access, value: Value) -> Store {
    Store { value, access, kind: StoreKind::Reduce(op) }
}

pub fn argmax(access: Access, value: Value) -> Store {
    Store { value, access, kind: StoreKind::ArgMax }
}

pub fn add_at(access: Access, index: Value, stride: i64, bound: i64, value: Value) -> Store {
    Store { value, access, kind: StoreKind::AddAt { index, stride: c(stride), bound: c(bound) } }
}

/// A nest of parallel and of reducing axes.
pub fn nest(parallel: &[Dim], reducing: &[Dim], body: Vec<Inst>, stores: Vec<Store>) -> TileOp {
    let axis = |reduce: bool| move |extent: &Dim| Axis { extent: extent.clone(), reduce };
    let axes = parallel.iter().map(axis(false)).chain(reducing.iter().map(axis(true))).collect();
    TileOp::Nest(Nest { axes, body, stores })
}

pub fn matrix(buffer: BufferRef, offset: Dim, row_stride: i64, column_stride: i64) -> Matrix {
    Matrix { buffer, dtype: F32, offset, row_stride: c(row_stride), column_stride: c(column_stride) }
}

/// Element type and access (`r`, `w`, `b`oth, `t`emporary) of each argument.
pub fn kernel(rows: Dim, tile: u32, arguments: &[(DType, char)], ops: Vec<TileOp>) -> Kernel {
    let argument = |(dtype, access): &(DType, char)| {
        let access = match access {
            'r' => ArgumentAccess::Read,
            'w' => ArgumentAccess::Write,
            't' => ArgumentAccess::Temporary,
            _ => ArgumentAccess::ReadWrite,
        };
        Argument { dtype: *dtype, access }
    };
    let arguments = arguments.iter().map(argument).collect();
    Kernel { name: "sample".into(), rows, tile, arguments, scratch: Vec::new(), ops }
}

/// The kernel with scratch buffers of (type, offset, elements).
pub fn with_scratch(mut kernel: Kernel, scratch: &[(DType, u64, u64)]) -> Kernel {
    let buffer = |(dtype, offset, n): &(DType, u64, u64)| Scratch {
        dtype: *dtype,
        offset: *offset,
        bytes: n * dtype.bytes() as u64,
    };
    kernel.scratch = scratch.iter().map(buffer).collect();
    kernel
}
