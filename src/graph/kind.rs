//! What a primitive is but for its attributes.
//!
//! What enters: an `Op`. What leaves: its kind, which lies in the list of nodes itself. So whoever looks through a graph for nodes of few
//! kinds reads that list alone, and not all that is known of each node. Invariant: a node's kind is its op's.

use super::{Op, View};
use crate::scalar::Func;

/// Those that are looked for among many others.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Const,
    Map(Func),
    Cast,
    Reduce,
    Contract,
    Broadcast,
    /// Any other view.
    View,
    Fold,
    Scan,
    Detach,
    Other,
}

impl Kind {
    pub fn of(op: &Op) -> Kind {
        match op {
            Op::Const(_) => Kind::Const,
            Op::Map(func) => Kind::Map(*func),
            Op::Cast => Kind::Cast,
            Op::Reduce { .. } => Kind::Reduce,
            Op::Contract(_) => Kind::Contract,
            Op::View(View::Broadcast { .. }) => Kind::Broadcast,
            Op::View(_) => Kind::View,
            Op::Fold(_) => Kind::Fold,
            Op::Scan(_) => Kind::Scan,
            Op::Detach => Kind::Detach,
            _ => Kind::Other,
        }
    }
}
