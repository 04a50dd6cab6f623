//! Lists of numbers as tensors: `[1, 2, 3]` is `f32[3]`, `[[1, 2], [3, 4]]` is `f32[2, 2]`, where a tensor is expected.
//!
//! What enters: a list's values. What leaves: a tensor of them. Invariant: a list in which a tensor stands stays a list;
//! all rows are equally long.

use super::elaborate::Elaborator;
use super::value::Value;
use crate::base::{DType, Dim};
use crate::graph::NodeId;

/// The element type of a list of numbers, of truth values, or of such lists: f32 or bool; `None` for any other list.
fn kind(items: &[Value]) -> Option<DType> {
    let kinds = items.iter().map(|item| match item {
        Value::Number(_) | Value::Dim(_) => Some(DType::F32),
        Value::Bool(_) => Some(DType::Bool),
        Value::List(items) => kind(items),
        _ => None,
    });
    kinds.reduce(|a, b| if a == b { a } else { None })?
}

/// Whether all numbers of a list are whole.
pub(super) fn whole(items: &[Value]) -> bool {
    items.iter().all(|item| match item {
        Value::Dim(_) => true,
        Value::List(items) => whole(items),
        other => other.as_number().is_some_and(|x| x.fract() == 0.0),
    })
}

impl<'a> Elaborator<'a> {
    /// The tensor that a list of numbers or truth values is. `None`: it is another list, or its rows differ in length.
    pub(super) fn literal(&mut self, items: &[Value]) -> Option<NodeId> {
        kind(items)?;
        let mut rows = Vec::with_capacity(items.len());
        for item in items {
            let element = match item {
                Value::Number(x) => self.graph.constant(*x, DType::F32),
                Value::Dim(d) => self.graph.size(d.clone()),
                Value::Bool(b) => self.graph.constant(f64::from(*b), DType::Bool),
                Value::List(items) => self.literal(items)?,
                _ => return None,
            };
            let mut shape = self.graph.ty(element).shape.clone();
            shape.insert(0, Dim::from(1));
            rows.push(self.graph.reshape(element, shape).ok()?);
        }
        self.graph.concat(&rows, 0).ok()
    }
}
