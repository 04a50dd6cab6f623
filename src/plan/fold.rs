//! A fold as tile ops: zeros, then for each tap one loop that adds all pieces' elements at that tap.
//!
//! What enters: a `Fold` and how it reads its operand. What leaves: tile ops. Elements of one tap go to places of their own,
//! so each loop may run in any order, and in vectors; the order of the sum is that of the taps. A window with more than
//! `MOST_TAPS` taps would be too much code: its elements are added one after another, each at an index that is worked out.

use super::lower::{Body, Lowerer};
use crate::base::{DType, Dim};
use crate::graph::{NodeId, Windowing};
use crate::nest::{Inst, Nest, Store, StoreKind, TileOp};
use crate::scalar::Func;

const MOST_TAPS: i64 = 32;

impl Lowerer<'_> {
    pub fn lower_fold(&mut self, id: NodeId, window: &Windowing) {
        self.zero(id);
        let own = self.graph.ty(id).row_major_strides();
        let read = &self.reads.of(id)[0];
        let (positions, taps) = (window.axis, window.axis + 1);
        let n_taps = read.extents[taps].as_const().filter(|n| *n <= MOST_TAPS);
        let Some(n_taps) = n_taps else { return self.fold_by_index(id, window) };
        for tap in 0..n_taps {
            let mut read = read.clone();
            let step = read.strides[taps].clone();
            let others = |dims: &[Dim]| [&dims[..taps], &dims[taps + 1..]].concat().into();
            read.strides = others(&read.strides);
            read.extents = others(&read.extents);
            read.n_parallel -= 1;
            read.is_whole = false;
            read.offset = read.offset + Dim::from(tap) * step;
            let mut strides = own.clone();
            strides[positions] = own[positions].clone() * Dim::from(window.stride);
            let offset = own[positions].clone() * Dim::from(tap * window.dilation);
            let mut body = Body::default();
            let added = self.value(&mut body, &read);
            let place = self.access(id, &offset, &strides, true);
            let before = body.push(Inst::Load { access: self.access(id, &offset, &strides, false) });
            let value = body.push(Inst::Call { func: Func::Add, arguments: vec![before, added] });
            let axes = self.axes(&read.extents, read.extents.len());
            let stores = vec![Store { value, access: place, kind: StoreKind::Set }];
            self.out.push(TileOp::Nest(Nest { axes, body: body.insts, stores }));
        }
    }

    fn fold_by_index(&mut self, id: NodeId, window: &Windowing) {
        let ty = self.graph.ty(id).clone();
        let own = ty.row_major_strides();
        let read = self.reads.of(id)[0].clone();
        let mut body = Body::default();
        let value = self.value(&mut body, &read);
        let mut place = None;
        for (axis, step) in [(window.axis, window.stride), (window.axis + 1, window.dilation)] {
            let index = body.push(Inst::Index { axis: axis as u32, offset: Dim::from(0) });
            let step = body.push(Inst::Const { bits: (step as f64).to_bits(), dtype: DType::I32 });
            let term = body.push(Inst::Call { func: Func::Mul, arguments: vec![index, step] });
            place = Some(match place {
                None => term,
                Some(sum) => body.push(Inst::Call { func: Func::Add, arguments: vec![sum, term] }),
            });
        }
        let mut strides = own.clone();
        strides.splice(window.axis..=window.axis, [Dim::from(0), Dim::from(0)]);
        let access = self.access(id, &Dim::from(0), &strides, true);
        let kind = StoreKind::AddAt {
            index: place.expect("two terms"),
            stride: own[window.axis].clone(),
            bound: ty.shape[window.axis].clone(),
        };
        let axes = self.axes(&read.extents, read.extents.len());
        let stores = vec![Store { value, access, kind }];
        self.out.push(TileOp::Nest(Nest { axes, body: body.insts, stores }));
    }
}
