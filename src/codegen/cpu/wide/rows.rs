//! Rows at places that an index gives: read, or added to.
//!
//! What enters: a form whose vector axis is innermost, with loads or an addition at an index that is the same for all lanes. What leaves:
//! before the innermost loop a pointer to each such row, and ops that use it. A row that is added to out of range is left out, loop and
//! all, so that to walk through many rows of which few are in range costs little; one that is read out of range is read at place 0,
//! and its elements are none. Not here: places that differ from lane to lane.

use super::lower::{Lowering, combination};
use super::program::{Binary, Class, Item, Logic, Op, Place, Pointer, V};
use crate::base::{DType, Dim, ReduceOp};
use crate::nest::{Access, Inst, Store, StoreKind};
use crate::scalar::machine::Compare;

#[derive(Default)]
pub struct Rows {
    /// By instruction: of a row that is read the pointer, and whether it is in range, once that is known.
    read: Vec<Option<(Pointer, Option<V>)>>,
    /// Pointer to the row that is added to.
    added: Option<Pointer>,
}

impl Rows {
    pub fn are_there(&self) -> bool {
        self.added.is_some() || self.read.iter().any(Option::is_some)
    }
}

impl Lowering<'_> {
    /// A pointer for each row, beside those of all accesses.
    pub(super) fn find_rows(&mut self) {
        let nest = self.nest;
        for inst in &nest.body {
            let Inst::LoadAt { access, .. } = inst else {
                self.rows.read.push(None);
                continue;
            };
            let pointer = self.pointer_beside(access);
            self.rows.read.push(Some((pointer, None)));
        }
        if let [Store { access, kind: StoreKind::AddAt { .. }, .. }] = &nest.stores[..] {
            self.rows.added = Some(self.pointer_beside(access));
        }
    }

    fn pointer_beside(&mut self, access: &Access) -> Pointer {
        let (from, _) = self.locate(access).expect("all accesses have groups");
        let pointers = &mut self.values.program.pointers;
        pointers.push(pointers[from]);
        pointers.len() - 1
    }

    /// The innermost loop, once it is known which rows it is for.
    pub(super) fn rows(&mut self, depth: usize) {
        let nest = self.nest;
        for (i, inst) in nest.body.iter().enumerate() {
            let (Inst::LoadAt { access, index, stride, bound }, Some((pointer, _))) =
                (inst, self.rows.read[i])
            else {
                continue;
            };
            let index = self.value(*index, 0);
            let is_inside = self.is_inside(index, bound);
            let all_or_none = self.values.lanes(is_inside);
            let index = self.values.binary(Binary::And, index, all_or_none);
            self.rows.read[i] = Some((pointer, Some(is_inside)));
            self.seek(pointer, access, index, stride, None);
        }
        let Some((pointer, store)) = self.rows.added.zip(nest.stores.first()) else {
            return self.over(depth);
        };
        let StoreKind::AddAt { index, stride, bound } = &store.kind else { unreachable!("it adds a row") };
        let label = self.values.program.label();
        let index = self.value(*index, 0);
        self.seek(pointer, &store.access, index, stride, Some((bound, label)));
        self.over(depth);
        self.push(Op::Bind { label });
    }

    fn seek(
        &mut self,
        pointer: Pointer,
        access: &Access,
        index: V,
        stride: &Dim,
        limit: Option<(&Dim, usize)>,
    ) {
        let (from, _) = self.locate(access).expect("all accesses have groups");
        let program = &mut self.values.program;
        let stride = program.amount(&(stride.clone() * Dim::from(access.dtype.bytes() as i64)));
        let limit = limit.map(|(bound, label)| (program.amount(bound), label));
        self.push(Op::Seek { pointer, from, index, stride, limit });
    }

    /// Whether an index is one of a bound, in all lanes.
    fn is_inside(&mut self, index: V, bound: &Dim) -> V {
        let zero = self.values.integer(0);
        let bound = match bound.as_const() {
            Some(bound) => self.values.integer(bound as i32),
            None => self.values.item(Item::Size(bound.clone())),
        };
        let is_number = self.values.compare(false, Compare::Ge, index, zero);
        let is_below = self.values.compare(false, Compare::Lt, index, bound);
        self.values.logic(Logic::And, is_number, is_below)
    }

    /// A vector of a row; NaN or 0 where there is no such row.
    pub(super) fn load_of_row(&mut self, i: usize, access: &Access, beside: i64) -> V {
        let Some((pointer, Some(is_inside))) = self.rows.read[i] else {
            unreachable!("rows are found before the innermost loop")
        };
        let at = Place { pointer, ..self.place(access, beside) };
        let (dtype, masked) = (access.dtype, self.masked);
        let row = self.values.make(Class::Lanes, |to| Op::Load { to, at, dtype, masked });
        let none = match dtype {
            DType::F32 => self.values.float(f32::NAN),
            _ => self.values.integer(0),
        };
        self.values.select(is_inside, row, none)
    }

    /// Adds a vector to what is at the row's place.
    pub(super) fn add(&mut self, store: &Store, value: V) {
        let pointer = self.rows.added.expect("it has a pointer of its own");
        let at = Place { pointer, ..self.place(&store.access, 0) };
        let (dtype, masked) = (store.access.dtype, self.masked);
        let before = self.values.make(Class::Lanes, |to| Op::Load { to, at, dtype, masked });
        let sum = self.values.binary(combination(ReduceOp::Sum, dtype), before, value);
        self.push(Op::Store { value: sum, at, dtype, masked, streams: false });
    }
}
