//! Kernels that are one matrix product and what is made of each of its elements.
//!
//! What enters: a kernel. What leaves: which of its ops the product is and which the *epilogue*, a nest without sums that reads each element
//! where the product has made it, so that a backend can hand it over in a register; or nothing. Other ops are nests that have
//! nothing to do with the product's result, and come before. Not here: which products should have one (`plan/epilogue.rs`), how it is
//! made (`codegen/cuda/product.rs`).

use super::analysis::accesses;
use super::{Access, ArgumentAccess, BufferRef, Gemm, Inst, Kernel, Nest, StoreKind, TileOp};
use crate::base::Dim;

#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'k> {
    /// The number of the product's op. The epilogue is the last op.
    pub product: usize,
    pub gemm: &'k Gemm,
    pub nest: &'k Nest,
}

/// Whether each of the blocks that share `last` can do an op before it for itself: its results are in scratch, and it reads nothing that
/// another block may have overwritten already.
pub fn is_for_each_block(op: &TileOp, last: &Nest) -> bool {
    let TileOp::Nest(nest) = op else { return false };
    let is_overwritten =
        |access: &&Access| last.stores.iter().any(|store| store.access.buffer == access.buffer);
    nest.stores.iter().all(|store| matches!(store.access.buffer, BufferRef::Scratch(_)))
        && !accesses(nest).iter().any(is_overwritten)
}

impl<'k> Epilogue<'k> {
    /// The kernel's, if it has one.
    pub fn of(kernel: &'k Kernel) -> Option<Epilogue<'k>> {
        let (last, before) = kernel.ops.split_last()?;
        let TileOp::Nest(nest) = last else { return None };
        let is_product = |op: &TileOp| matches!(op, TileOp::Gemm(_));
        let product = before.iter().position(is_product)?;
        let TileOp::Gemm(gemm) = &before[product] else { return None };
        let out = gemm.out.buffer;
        let is_apart = |op: &TileOp| {
            let touches_out = |nest: &Nest| accesses(nest).iter().any(|access| access.buffer == out);
            matches!(op, TileOp::Nest(before) if !touches_out(before)) && is_for_each_block(op, nest)
        };
        let others = before.iter().enumerate().filter(|(i, _)| *i != product);
        let is_map = nest.stores.iter().all(|store| store.kind == StoreKind::Set)
            && nest.axes.iter().all(|axis| !axis.reduce);
        let in_order = |access: &Access| {
            let steps = nest.axes.iter().rev().scan(Dim::from(1), |step, axis| {
                let inside = step.clone() * axis.extent.clone();
                Some(std::mem::replace(step, inside))
            });
            let axes = nest.axes.iter().zip(&access.strides).rev().zip(steps);
            let mut follows = axes.map(|((axis, stride), step)| axis.extent.is_const(1) || *stride == step);
            access.offset.is_const(0) && follows.all(|follows| follows)
        };
        let mut loads = nest.body.iter().filter_map(|inst| match inst {
            Inst::Load { access } | Inst::LoadAt { access, .. } if access.buffer == out => {
                Some((inst, access))
            }
            _ => None,
        });
        let mut n_loads = 0;
        let are_own = loads.all(|(inst, access)| {
            n_loads += 1;
            matches!(inst, Inst::Load { .. }) && in_order(access)
        });
        // Neither overwrites what the product still reads.
        let spares = |argument: BufferRef| nest.stores.iter().all(|store| store.access.buffer != argument);
        let is_one = kernel.rows.is_const(1)
            && !gemm.accumulate
            && gemm.out.offset.is_const(0)
            && [gemm.lhs.buffer, gemm.rhs.buffer, out].into_iter().all(spares);
        (is_one && is_map && n_loads > 0 && are_own && others.into_iter().all(|(_, op)| is_apart(op)))
            .then_some(Epilogue { product, gemm, nest })
    }

    /// Whether someone besides the epilogue wants the product's result.
    pub fn is_stored(&self, kernel: &Kernel) -> bool {
        let BufferRef::Argument(i) = self.gemm.out.buffer else { return true };
        kernel.arguments[i as usize].access != ArgumentAccess::Temporary
    }

    /// Whether a load of the epilogue is of the product's result.
    pub fn is_of_product(&self, inst: &Inst) -> bool {
        matches!(inst, Inst::Load { access } if access.buffer == self.gemm.out.buffer)
    }
}
