//! A node's operands: like a slice, but few of them lie in the node itself.
//!
//! What enters: nodes, in order. What leaves: the same. Invariant: equal lists are equal values. Not here: what an operand is to its
//! user.

use super::NodeId;
use std::fmt;
use std::ops::Deref;

/// Most primitives have no more.
const FEW: usize = 3;

#[derive(Clone)]
pub struct Operands(Repr);

#[derive(Clone)]
enum Repr {
    /// How many, and they.
    Few(u8, [NodeId; FEW]),
    Many(Box<[NodeId]>),
}

impl Deref for Operands {
    type Target = [NodeId];
    fn deref(&self) -> &[NodeId] {
        match &self.0 {
            Repr::Few(n, ids) => &ids[..usize::from(*n)],
            Repr::Many(ids) => ids,
        }
    }
}

impl Operands {
    /// Puts others in their places.
    pub fn put(&mut self, image: impl Fn(NodeId) -> NodeId) {
        let ids = match &mut self.0 {
            Repr::Few(n, ids) => &mut ids[..usize::from(*n)],
            Repr::Many(ids) => &mut ids[..],
        };
        ids.iter_mut().for_each(|id| *id = image(*id));
    }

    /// Others in their places.
    pub fn map(&self, image: impl Fn(NodeId) -> NodeId) -> Operands {
        match &self.0 {
            Repr::Few(n, ids) => {
                let mut images = *ids;
                images[..usize::from(*n)].iter_mut().for_each(|id| *id = image(*id));
                Operands(Repr::Few(*n, images))
            }
            Repr::Many(ids) => Operands(Repr::Many(ids.iter().map(|id| image(*id)).collect())),
        }
    }
}

impl From<&[NodeId]> for Operands {
    fn from(ids: &[NodeId]) -> Operands {
        if ids.len() > FEW {
            return Operands(Repr::Many(ids.into()));
        }
        let mut few = [NodeId(0); FEW];
        few[..ids.len()].copy_from_slice(ids);
        Operands(Repr::Few(ids.len() as u8, few))
    }
}

impl From<Vec<NodeId>> for Operands {
    fn from(ids: Vec<NodeId>) -> Operands {
        Operands::from(&ids[..])
    }
}

impl FromIterator<NodeId> for Operands {
    fn from_iter<I: IntoIterator<Item = NodeId>>(ids: I) -> Operands {
        let (mut ids, mut few) = (ids.into_iter(), [NodeId(0); FEW]);
        for n in 0..FEW {
            match ids.next() {
                Some(id) => few[n] = id,
                None => return Operands(Repr::Few(n as u8, few)),
            }
        }
        match ids.next() {
            Some(id) => Operands(Repr::Many(few.into_iter().chain([id]).chain(ids).collect())),
            None => Operands(Repr::Few(FEW as u8, few)),
        }
    }
}

impl<'a> IntoIterator for &'a Operands {
    type Item = &'a NodeId;
    type IntoIter = std::slice::Iter<'a, NodeId>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for Operands {
    fn eq(&self, other: &Operands) -> bool {
        **self == **other
    }
}

impl Eq for Operands {}

impl fmt::Debug for Operands {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_any_length_are_what_they_were() {
        for n in 0..6 {
            let ids: Vec<NodeId> = (0..n).map(NodeId).collect();
            let (of_slice, of_iterator) =
                (Operands::from(&ids[..]), ids.iter().copied().collect::<Operands>());
            assert_eq!((&of_slice[..], &of_iterator[..]), (&ids[..], &ids[..]));
            assert_eq!(of_slice, of_iterator);
            assert_eq!(
                of_slice.map(|id| NodeId(id.0 + 1))[..],
                ids.iter().map(|id| NodeId(id.0 + 1)).collect::<Vec<_>>()
            );
            assert_ne!(of_slice, Operands::from([&ids[..], &[NodeId(9)]].concat()));
        }
    }
}
