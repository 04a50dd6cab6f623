//! What backends ask of a nest: its accesses, the types of its values, what moves along an axis, axes that are one.
//!
//! What enters: a verified nest. What leaves: facts, or an equal nest. Not here: which loop order is good.

use super::{Access, BufferRef, Inst, Nest, StoreKind, TileOp};
use crate::base::DType;

pub fn accesses(nest: &Nest) -> Vec<&Access> {
    let loads = nest.body.iter().filter_map(|inst| match inst {
        Inst::Load { access } | Inst::LoadAt { access, .. } => Some(access),
        _ => None,
    });
    loads.chain(nest.stores.iter().map(|s| &s.access)).collect()
}

/// Shows each of the buffers that an op names, in a fixed order, as often as it names them.
pub fn each_buffer(op: &mut TileOp, see: &mut dyn FnMut(&mut BufferRef)) {
    match op {
        TileOp::Nest(nest) => {
            for inst in &mut nest.body {
                if let Inst::Load { access } | Inst::LoadAt { access, .. } = inst {
                    see(&mut access.buffer);
                }
            }
            nest.stores.iter_mut().for_each(|store| see(&mut store.access.buffer));
        }
        TileOp::Gemm(gemm) => {
            [&mut gemm.lhs, &mut gemm.rhs, &mut gemm.out]
                .into_iter()
                .for_each(|matrix| see(&mut matrix.buffer));
        }
        TileOp::Fill(fill) => see(&mut fill.buffer),
        TileOp::Sort(sort) => {
            [&mut sort.source.buffer, &mut sort.out.buffer, &mut sort.keys].into_iter().for_each(see);
        }
        TileOp::Loop(l) => l.ops.iter_mut().for_each(|op| each_buffer(op, see)),
    }
}

/// The same nest with fewer axes, where two neighbours of one kind step evenly in every access.
pub fn merge_axes(nest: &Nest) -> Nest {
    let mut nest = nest.clone();
    let mut axis = 0;
    while axis + 1 < nest.axes.len() {
        let (outer, inner) = (axis, axis + 1);
        let even =
            |a: &&Access| a.strides[outer] == a.strides[inner].clone() * nest.axes[inner].extent.clone();
        let in_use = nest
            .body
            .iter()
            .any(|i| matches!(i, Inst::Index { axis, .. } if [outer, inner].contains(&(*axis as usize))));
        let same_kind = nest.axes[outer].reduce == nest.axes[inner].reduce;
        let argmax = nest.stores.iter().any(|s| s.kind == StoreKind::ArgMax);
        if !same_kind || in_use || argmax || !accesses(&nest).iter().all(even) {
            axis += 1;
            continue;
        }
        let extent = nest.axes[outer].extent.clone() * nest.axes[inner].extent.clone();
        nest.axes[inner].extent = extent;
        nest.axes.remove(outer);
        for inst in &mut nest.body {
            match inst {
                Inst::Load { access } | Inst::LoadAt { access, .. } => {
                    access.strides.remove(outer);
                }
                Inst::Index { axis, .. } if *axis as usize > inner => *axis -= 1,
                _ => {}
            }
        }
        for store in &mut nest.stores {
            store.access.strides.remove(outer);
        }
    }
    nest
}

/// The type of each instruction's value.
pub fn types_of(nest: &Nest) -> Vec<DType> {
    let mut types: Vec<DType> = Vec::with_capacity(nest.body.len());
    for inst in &nest.body {
        types.push(match inst {
            Inst::Load { access } | Inst::LoadAt { access, .. } => access.dtype,
            Inst::Const { dtype, .. } => *dtype,
            Inst::Index { .. } => DType::I32,
            Inst::Size { .. } => DType::F32,
            Inst::Cast { to, .. } => *to,
            Inst::Call { func, arguments } => {
                let operands: Vec<DType> = arguments.iter().map(|v| types[*v as usize]).collect();
                func.result_dtype(&operands).expect("verified: a call's operands have its types")
            }
        });
    }
    types
}

/// Which instructions have another value at each index of the axis.
pub fn depends_on(nest: &Nest, axis: usize) -> Vec<bool> {
    let mut depends: Vec<bool> = Vec::with_capacity(nest.body.len());
    for inst in &nest.body {
        let moves = |access: &Access| !access.strides[axis].is_const(0);
        depends.push(match inst {
            Inst::Load { access } => moves(access),
            Inst::LoadAt { access, index, .. } => moves(access) || depends[*index as usize],
            Inst::Index { axis: of, .. } => *of as usize == axis,
            Inst::Const { .. } | Inst::Size { .. } => false,
            Inst::Call { arguments, .. } => arguments.iter().any(|v| depends[*v as usize]),
            Inst::Cast { argument, .. } => depends[*argument as usize],
        });
    }
    depends
}
