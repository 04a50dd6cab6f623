//! Reading and adding up at computed places: `take_along`, `scatter_along`, `scatter_add`.
//!
//! What enters: tensors, indices of whole numbers, an axis. What leaves: a value; or a message for shapes that do not go
//! together. Indexing in brackets, `table[tokens]`, is in `index`.

use super::elaborate::{Elaborator, show};
use super::value::{Given, Value};
use crate::base::{DType, Dim};
use crate::graph::NodeId;
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    /// An argument that holds whole numbers.
    fn indices(&mut self, given: &Given) -> Option<NodeId> {
        let index = self.tensor(&given.value, given.span)?;
        if matches!(self.graph.dtype(index), DType::I32 | DType::U8) {
            return self.graph.cast(index, DType::I32).ok();
        }
        let found = show(self.graph.ty(index));
        self.report(
            Diagnostic::error(
                "E0305",
                "an index holds whole numbers (i32)",
                given.span,
                format!("this is `{found}`"),
            )
            .help("convert it: `i32(…)`"),
        );
        None
    }

    /// The axis at which `index` is used, all other axes of the two having equal sizes.
    fn common_axis(&mut self, x: NodeId, index: NodeId, axis: Option<&Given>, span: Span) -> Option<usize> {
        let last = Given::positional(Value::Dim(Dim::from(-1)), span);
        let axis = self.axis(x, axis.unwrap_or(&last))?;
        let (a, b) = (self.graph.ty(x).clone(), self.graph.ty(index).clone());
        let others = |shape: &[Dim]| {
            let mut shape = shape.to_vec();
            if axis < shape.len() {
                shape.remove(axis);
            }
            shape
        };
        if a.rank() == b.rank() && others(&a.shape) == others(&b.shape) {
            return Some(axis);
        }
        self.report(
            Diagnostic::error(
                "E0302",
                format!("`{}` and `{}` differ in more than axis {axis}", show(&a), show(&b)),
                span,
                "",
            )
            .help(
                "all other axes must have equal sizes: `broadcast` repeats, `table[tokens]` takes whole rows",
            ),
        );
        None
    }

    pub(super) fn take_along(
        &mut self,
        x: &Given,
        index: Option<&Given>,
        axis: Option<&Given>,
        span: Span,
    ) -> Value {
        let (Some(x), Some(index)) = (self.tensor(&x.value, x.span), index.and_then(|g| self.indices(g)))
        else {
            return Value::Error;
        };
        let Some(axis) = self.common_axis(x, index, axis, span) else { return Value::Error };
        let built = self.graph.take_along(x, index, axis);
        self.built(built, span)
    }

    /// Operands of a scatter: indices, updates of f32 or i32, and how many places there are.
    fn scattered(
        &mut self,
        index: &Given,
        updates: Option<&Given>,
        n: Option<&Given>,
    ) -> Option<(NodeId, NodeId, Dim)> {
        let (updates, n) = (updates?, self.shape_of(n?)?);
        let index = self.indices(index)?;
        let mut x = self.tensor(&updates.value, updates.span)?;
        if matches!(self.graph.dtype(x), DType::Bool | DType::U8) {
            x = self.graph.cast(x, DType::F32).ok()?;
        }
        Some((index, x, n.into_iter().next()?))
    }

    pub(super) fn scatter_along(
        &mut self,
        index: &Given,
        updates: Option<&Given>,
        n: Option<&Given>,
        axis: Option<&Given>,
        span: Span,
    ) -> Value {
        let Some((index, updates, n)) = self.scattered(index, updates, n) else { return Value::Error };
        let Some(axis) = self.common_axis(updates, index, axis, span) else { return Value::Error };
        if self.graph.ty(updates).shape[axis] != self.graph.ty(index).shape[axis] {
            return self.shapes_differ(updates, index, span, span, span);
        }
        let built = self.graph.scatter_along(index, updates, axis, n);
        self.built(built, span)
    }

    pub(super) fn scatter_add(
        &mut self,
        index: &Given,
        updates: Option<&Given>,
        n: Option<&Given>,
        span: Span,
    ) -> Value {
        let Some((index, updates, n)) = self.scattered(index, updates, n) else { return Value::Error };
        let (a, b) = (self.graph.ty(index).clone(), self.graph.ty(updates).clone());
        if !b.shape.starts_with(&a.shape) {
            return self.report(
                Diagnostic::error(
                    "E0302",
                    format!("`{}` does not begin with the axes of the index, `{}`", show(&b), show(&a)),
                    span,
                    "",
                )
                .help("each index needs an update: for an index `i32[k]` the updates are `f32[k, …]`"),
            );
        }
        let shape = [&[n], &b.shape[a.rank()..]].concat();
        let built = self.graph.scatter_add(index, updates, 0, shape);
        self.built(built, span)
    }
}
