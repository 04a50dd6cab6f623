//! Stores past the caches, of results that are too large for them.
//!
//! What enters: a nest and its form. What leaves: its code; where its stores may stream, twice: with stores that do, where sizes and
//! addresses allow, and without. A line that is written whole need not be read before, which is a third of what a map of one array moves,
//! and nothing that may be read again is driven out of a cache. But who reads the result finds it in memory, so that it must be larger
//! than what a cache would have kept.
//!
//! The rule, from sizes and strides alone. A transpose streams from `LARGE_TURNED` elements on that it writes at once: rows of the
//! result that lie a power of two apart would drive each other out of the cache while they wait to be whole. Measured for 16384 by
//! 1024 on one core: 11 ms, not 27; a copy takes 9.5. Any other map streams from `LARGE` elements on that all tiles write together,
//! which is past the share that two cores have of a cache common to many, and only if nothing else of its kernel touches what it
//! writes. Measured for a copy of as much on two cores with AVX2: 3.4 ms, not 4.9. Stores go in a row, a line whole before the next one
//! begins.

use super::lower::Lowering;
use super::program::Op;
use super::turn::LINE;
use crate::base::Dim;
use crate::nest::{Access, BufferRef, StoreKind};

/// Few in tests, whose arrays are small.
const LARGE: i64 = if cfg!(test) { 64 } else { 1 << 23 };
const LARGE_TURNED: i64 = 1 << 18;

impl Lowering<'_> {
    /// The nest.
    pub(super) fn whole(&mut self) {
        let n = self.nest.axes.iter().fold(Dim::from(1), |n, axis| n * axis.extent.clone());
        let (n, least) = match self.form.turn {
            Some(_) => (n, LARGE_TURNED),
            // The tiles of all rows.
            None => (n.substitute(&|symbol| (symbol == "tile").then(|| Dim::symbol("rows"))), LARGE),
        };
        if n.as_const().is_some_and(|n| n < least) || !self.may_stream() {
            return self.run(0);
        }
        let [caches, end] = std::array::from_fn(|_| self.values.program.label());
        if n.as_const().is_none() {
            let amount = self.values.program.amount(&n);
            self.push(Op::LeaveBelow { amount, least, label: caches });
        }
        let nest = self.nest;
        for store in &nest.stores {
            let (pointer, _) = self.locate(&store.access).expect("all accesses have groups");
            self.push(Op::LeaveUnaligned { pointer, label: caches });
            for stride in &store.access.strides {
                let bytes = stride.clone() * Dim::from(store.access.dtype.bytes() as i64);
                if bytes.as_const().is_none() {
                    let amount = self.values.program.amount(&bytes);
                    self.push(Op::LeaveOdd { amount, label: caches });
                }
            }
        }
        self.streams = true;
        self.run(0);
        self.streams = false;
        self.push(Op::Fence);
        self.push(Op::Jump { label: end });
        self.push(Op::Bind { label: caches });
        self.run(0);
        self.push(Op::Bind { label: end });
    }

    /// Whether all stores go to memory that is not scratch, by steps of whole lines as far as these are known.
    fn may_stream(&self) -> bool {
        let is_map = |kind: &StoreKind| *kind == StoreKind::Set;
        let is_alone = self.form.turn.is_some() || self.around.only_stores;
        is_alone
            && self.nest.stores.iter().all(|store| {
                let Access { buffer, dtype, strides, .. } = &store.access;
                let is_whole = |(axis, stride): (usize, &Dim)| {
                    axis == self.form.vector || stride.as_const().is_none_or(|stride| stride % LINE == 0)
                };
                let apart = self.locate(&store.access).map(|(_, beyond)| beyond);
                matches!(buffer, BufferRef::Argument(_))
                    && is_map(&store.kind)
                    && dtype.bytes() == 4
                    && strides[self.form.vector].is_const(1)
                    && apart.is_some_and(|beyond| beyond % 64 == 0)
                    && strides.iter().enumerate().all(is_whole)
            })
    }
}
