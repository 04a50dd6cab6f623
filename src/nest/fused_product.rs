//! Kernels that are one matrix product, with what its factors are made of and what is made of its result.
//!
//! What enters: a kernel. What leaves: which of its ops the product is; which nests are *prologues*, each of which makes a factor element
//! by element, so that a backend can make an element where it multiplies it; and which is the *epilogue*, a nest without sums that
//! reads each element where the product has made it, so that a backend can hand it over in a register. Or nothing, if there are neither.
//! Other ops are nests that have nothing to do with the factors and the result, and come before. Not here: which products should have them
//! (`plan/prologue.rs`, `plan/epilogue.rs`), how they are made (`codegen/cuda/product.rs`).

use super::analysis::accesses;
use super::{Access, ArgumentAccess, BufferRef, Gemm, Inst, Kernel, Nest, StoreKind, TileOp};
use crate::base::Dim;

#[derive(Clone, Copy, Debug)]
pub struct FusedProduct<'k> {
    /// The number of the product's op.
    pub product: usize,
    pub gemm: &'k Gemm,
    /// What makes the left and the right factor, of which nobody else wants to know.
    pub prologues: [Option<Prologue<'k>>; 2],
    /// The last op.
    pub epilogue: Option<&'k Nest>,
}

#[derive(Clone, Copy, Debug)]
pub struct Prologue<'k> {
    /// The number of its op.
    pub op: usize,
    /// It has one store.
    pub nest: &'k Nest,
}

/// Whether each of the blocks that share `last` can do an op before it for itself: its results are in scratch, and it reads nothing that
/// another block may have overwritten already.
pub fn is_for_each_block(op: &TileOp, last: &Nest) -> bool {
    let TileOp::Nest(nest) = op else { return false };
    let in_scratch = nest.stores.iter().all(|store| matches!(store.access.buffer, BufferRef::Scratch(_)));
    in_scratch && spares(last, nest)
}

/// Whether a nest overwrites nothing that another one touches.
fn spares(nest: &Nest, other: &Nest) -> bool {
    let is_overwritten =
        |access: &&Access| nest.stores.iter().any(|store| store.access.buffer == access.buffer);
    !accesses(other).iter().any(is_overwritten)
}

/// Whether places of the nest are places in memory, one after another.
fn in_order(nest: &Nest, access: &Access) -> bool {
    let steps = nest.axes.iter().rev().scan(Dim::from(1), |step, axis| {
        let inside = step.clone() * axis.extent.clone();
        Some(std::mem::replace(step, inside))
    });
    let axes = nest.axes.iter().zip(&access.strides).rev().zip(steps);
    let mut follows = axes.map(|((axis, stride), step)| axis.extent.is_const(1) || *stride == step);
    access.offset.is_const(0) && follows.all(|follows| follows)
}

fn is_map(nest: &Nest) -> bool {
    nest.stores.iter().all(|store| store.kind == StoreKind::Set) && nest.axes.iter().all(|axis| !axis.reduce)
}

fn touches(nest: &Nest, buffer: BufferRef) -> bool {
    accesses(nest).iter().any(|access| access.buffer == buffer)
}

impl<'k> FusedProduct<'k> {
    /// The kernel's, if it is one with a prologue or an epilogue.
    pub fn of(kernel: &'k Kernel) -> Option<FusedProduct<'k>> {
        let product = kernel.ops.iter().position(|op| matches!(op, TileOp::Gemm(_)))?;
        let TileOp::Gemm(gemm) = &kernel.ops[product] else { return None };
        if !kernel.rows.is_const(1) || gemm.accumulate {
            return None;
        }
        let epilogue = match kernel.ops.last()? {
            TileOp::Nest(nest) if product + 1 < kernel.ops.len() => Some(nest),
            _ => None,
        };
        let n_others = kernel.ops.len() - usize::from(epilogue.is_some());
        let others = || (0..n_others).filter(|i| *i != product);
        let prologues = [gemm.lhs.buffer, gemm.rhs.buffer].map(|factor| {
            let makes = |i: &usize| matches!(&kernel.ops[*i], TileOp::Nest(nest) if nest.stores.iter().any(|s| s.access.buffer == factor));
            let op = others().find(makes).filter(|op| *op < product)?;
            let TileOp::Nest(nest) = &kernel.ops[op] else { return None };
            Some(Prologue { op, nest })
        });
        let fused = FusedProduct { product, gemm, prologues, epilogue };
        let is_prologue = |i: &usize| prologues.iter().flatten().any(|prologue| prologue.op == *i);
        let is_apart = |i: usize| match &kernel.ops[i] {
            // A scalar, which each block works out for itself.
            TileOp::Nest(nest) if nest.axes.is_empty() => {
                let buffers = [gemm.lhs.buffer, gemm.rhs.buffer, gemm.out.buffer];
                let in_scratch = |buffer| matches!(buffer, BufferRef::Scratch(_));
                let is_own = !touches(nest, gemm.out.buffer)
                    && nest
                        .stores
                        .iter()
                        .all(|s| in_scratch(s.access.buffer) && !buffers.contains(&s.access.buffer));
                is_own && epilogue.is_none_or(|epilogue| spares(epilogue, nest))
            }
            _ => false,
        };
        let have_places = [0, 1].into_iter().all(|side| fused.makes_factor(kernel, side));
        (prologues.iter().flatten().count() + usize::from(epilogue.is_some()) > 0
            && have_places
            && epilogue.is_none_or(|epilogue| fused.is_followed_by(epilogue))
            && others().filter(|i| !is_prologue(i)).all(is_apart))
        .then_some(fused)
    }

    /// Whether a prologue, if the side has one, makes the factor and nothing else, and the factor is nobody else's.
    fn makes_factor(&self, kernel: &Kernel, side: usize) -> bool {
        let Some(Prologue { op, nest }) = self.prologues[side] else { return true };
        let matrix = [&self.gemm.lhs, &self.gemm.rhs][side];
        let [store] = &nest.stores[..] else { return false };
        let BufferRef::Argument(argument) = matrix.buffer else { return false };
        let is_elsewhere = |(i, other): (usize, &TileOp)| {
            i != op && matches!(other, TileOp::Nest(other) if touches(other, matrix.buffer))
        };
        let reads = |inst: &Inst| match inst {
            Inst::Load { access } => access.buffer != matrix.buffer && access.buffer != self.gemm.out.buffer,
            Inst::LoadAt { .. } => false,
            _ => true,
        };
        kernel.arguments[argument as usize].access == ArgumentAccess::Temporary
            && is_map(nest)
            && store.access.dtype == matrix.dtype
            && in_order(nest, &store.access)
            && nest.body.iter().all(reads)
            && self.epilogue.is_none_or(|epilogue| spares(epilogue, nest))
            && !kernel.ops.iter().enumerate().any(is_elsewhere)
    }

    /// Whether a nest goes over the elements of the product, each in its place.
    fn is_followed_by(&self, nest: &Nest) -> bool {
        let out = self.gemm.out.buffer;
        let mut loads = nest.body.iter().filter_map(|inst| match inst {
            Inst::Load { access } | Inst::LoadAt { access, .. } if access.buffer == out => {
                Some((inst, access))
            }
            _ => None,
        });
        let mut n_loads = 0;
        let are_own = loads.all(|(inst, access)| {
            n_loads += 1;
            matches!(inst, Inst::Load { .. }) && in_order(nest, access)
        });
        // Neither overwrites what the product still reads.
        let spares = |argument: BufferRef| nest.stores.iter().all(|store| store.access.buffer != argument);
        self.gemm.out.offset.is_const(0)
            && [self.gemm.lhs.buffer, self.gemm.rhs.buffer, out].into_iter().all(spares)
            && is_map(nest)
            && n_loads > 0
            && are_own
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
