//! Addresses of a nest's accesses.
//!
//! What enters: an access, the indices of the axes around the innermost loop. What leaves: its address before that loop, and at an
//! index inside. Invariant: accesses of one buffer that keep their distance share one address, so that a body of many accesses
//! takes few registers.

use super::body::{BodyEmitter, scale};
use super::kernel::Emitter;
use crate::nest::Access;
use cranelift_codegen::ir::{InstBuilder, Value};

/// An address, and bytes beyond it. Accesses that keep their distance share the address: it takes one register for all of them.
#[derive(Clone, Copy)]
pub struct Base {
    pub address: Value,
    pub beyond: i64,
}

impl BodyEmitter<'_> {
    /// The address of an access at inner index 0, by way of one that is known where the distance is.
    pub fn base<'a>(
        &self,
        e: &mut Emitter,
        access: &'a Access,
        index: &[Value],
        known: &mut Vec<(&'a Access, Base)>,
    ) -> Base {
        let bytes = access.dtype.bytes() as i64;
        let distance = |other: &Access| {
            let same = (other.buffer, other.dtype) == (access.buffer, access.dtype)
                && other.strides == access.strides;
            let apart = same.then(|| (access.offset.clone() - other.offset.clone()).as_const()).flatten()?;
            apart.checked_mul(bytes).filter(|bytes| i32::try_from(*bytes).is_ok())
        };
        if let Some((base, beyond)) = known.iter().find_map(|(other, base)| Some((*base, distance(other)?))) {
            return Base { beyond, ..base };
        }
        let base = Base { address: self.address(e, access, index), beyond: 0 };
        known.push((access, base));
        base
    }

    /// The address of an access at inner index 0.
    pub fn address(&self, e: &mut Emitter, access: &Access, index: &[Value]) -> Value {
        let mut at = e.dim(&access.offset);
        for (axis, stride) in access.strides.iter().enumerate() {
            if Some(axis) != self.inner && !stride.is_const(0) {
                let stride = e.dim(stride);
                let step = e.b.ins().imul(index[axis], stride);
                at = e.b.ins().iadd(at, step);
            }
        }
        let base = e.buffer(access.buffer);
        let bytes = scale(e, at, access.dtype);
        e.b.ins().iadd(base, bytes)
    }

    /// The address moved to the inner index.
    pub fn moved(&self, e: &mut Emitter, base: Base, access: &Access, index: &[Value]) -> Value {
        let Base { mut address, beyond } = base;
        if let Some(axis) = self.inner.filter(|axis| !access.strides[*axis].is_const(0)) {
            let stride = &access.strides[axis];
            let mut steps = index[axis];
            if !stride.is_const(1) {
                let stride = e.dim(stride);
                steps = e.b.ins().imul(steps, stride);
            }
            let bytes = scale(e, steps, access.dtype);
            address = e.b.ins().iadd(address, bytes);
        }
        if beyond == 0 { address } else { e.b.ins().iadd_imm_s(address, beyond) }
    }
}
