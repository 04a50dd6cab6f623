//! Intrinsics that arrange a tensor's elements anew: `reshape`, `broadcast`, `concat`, `split`, `pad`.
//!
//! What enters: a tensor and shapes or numbers. What leaves: nodes that move elements and compute nothing. Sizes
//! that do not fit are explained with both shapes.

use super::elaborate::{Elaborator, Mode, show, show_shape};
use super::value::{Given, Value};
use crate::base::{Dim, TensorType};
use crate::graph::NodeId;
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    pub(super) fn reshape(&mut self, x: NodeId, shape: Vec<Dim>, span: Span) -> Value {
        let ty = self.graph.ty(x).clone();
        let to = TensorType::new(ty.dtype, shape);
        let (from, into) = (ty.n_elements(), to.n_elements());
        if from == into {
            let built = self.graph.reshape(x, to.shape);
            return self.built(built, span);
        }
        if self.mode == Mode::Generic && self.same_size(&from, &into) {
            return self.opaque(to);
        }
        self.report(
            Diagnostic::error(
                "E0308",
                format!("{from} numbers cannot be arranged as {}, which holds {into}", show_shape(&to.shape)),
                span,
                format!("from `{}` to `{}`", show(&ty), show(&to)),
            )
            .help("the sizes of both shapes must have the same product"),
        )
    }

    pub(super) fn broadcast_value(&mut self, x: NodeId, shape: Vec<Dim>, span: Span) -> Value {
        let ty = self.graph.ty(x).clone();
        match self.graph.broadcast_to(x, &shape) {
            Ok(id) => Value::Tensor(id),
            Err(_) => self.report(
                Diagnostic::error(
                    "E0301",
                    format!("`{}` cannot be repeated to {}", show(&ty), show_shape(&shape)),
                    span,
                    format!("from `{}` to {}", show(&ty), show_shape(&shape)),
                )
                .help("axes are matched from the last one backwards; they must be equal, or 1"),
            ),
        }
    }

    pub(super) fn concat(&mut self, value: &Value, at: Span, axis: Option<&Given>, span: Span) -> Value {
        let (Value::List(items) | Value::Tuple(items)) = value else {
            let found = self.describe(value);
            return self.report(
                Diagnostic::error("E0312", format!("`concat` takes a list of tensors, not {found}"), at, "")
                    .help("write `concat([a, b], axis = 1)`"),
            );
        };
        let mut ids = Vec::new();
        for item in items {
            match self.tensor(item, at) {
                Some(id) => ids.push(id),
                None => return Value::Error,
            }
        }
        let Some(first) = ids.first().copied() else {
            return self.error(
                "E0312",
                "`concat` needs at least one tensor",
                at,
                "this list is empty",
                "write `concat([a, b], axis = 1)`",
            );
        };
        let last = Given::positional(Value::Dim(Dim::from(-1)), span);
        let Some(axis) = self.axis(first, axis.unwrap_or(&last)) else { return Value::Error };
        match self.graph.concat(&ids, axis) {
            Ok(id) => Value::Tensor(id),
            Err(_) => {
                let types: Vec<String> =
                    ids.iter().map(|id| format!("`{}`", show(self.graph.ty(*id)))).collect();
                self.report(
                    Diagnostic::error(
                        "E0314",
                        format!("{} cannot be joined along axis {axis}", types.join(" and ")),
                        at,
                        "joined here",
                    )
                    .help(format!("all axes except axis {axis} must be equal, and the element types too")),
                )
            }
        }
    }

    pub(super) fn split(
        &mut self,
        value: &Value,
        at: Span,
        n: Option<&Given>,
        axis: Option<&Given>,
        span: Span,
    ) -> Value {
        let Some(x) = self.tensor(value, at) else { return Value::Error };
        let last = Given::positional(Value::Dim(Dim::from(-1)), span);
        let Some(axis) = self.axis(x, axis.unwrap_or(&last)) else { return Value::Error };
        let place = n.map_or(span, |g| g.span);
        let parts = match n.map(|g| &g.value) {
            Some(Value::Dim(d)) => d.as_const(),
            _ => None,
        };
        let Some(parts) = parts.filter(|p| (1..=10_000).contains(p)) else {
            return self.error(
                "E0313",
                "the number of parts must be a whole number from 1 to 10 000",
                place,
                "",
                "write it: `split(x, 2)`",
            );
        };
        let ty = self.graph.ty(x).clone();
        let Some(size) = ty.shape[axis].exact_div(&Dim::from(parts)) else {
            if ty.shape[axis].as_const().is_none() && self.mode == Mode::Generic {
                let mut part = ty.clone();
                part.shape[axis] = Dim::symbol(format!("({} / {parts})", ty.shape[axis]));
                return Value::Tuple((0..parts).map(|_| self.opaque(part.clone())).collect());
            }
            return self.report(
                Diagnostic::error(
                    "E0307",
                    format!("{} does not divide into {parts} equal parts", ty.shape[axis]),
                    place,
                    format!("{parts} parts"),
                )
                .label(at, format!("this is `{}`; axis {axis} is split", show(&ty)))
                .help("choose a number of parts that divides the size"),
            );
        };
        let mut items = Vec::new();
        for part in 0..parts {
            let mut start = vec![Dim::from(0); ty.rank()];
            start[axis] = size.clone() * Dim::from(part);
            let mut shape = ty.shape.clone();
            shape[axis] = size.clone();
            let built = self.graph.slice(x, start, &vec![1; ty.rank()], shape);
            items.push(self.built(built, span));
        }
        Value::Tuple(items)
    }

    /// `pad(x, n)` on all axes, `pad(x, [[low, high], …])` on each.
    pub(super) fn pad(&mut self, value: &Value, at: Span, n: Option<&Given>, span: Span) -> Value {
        let Some(x) = self.tensor(value, at) else { return Value::Error };
        let ty = self.graph.ty(x).clone();
        let place = n.map_or(span, |g| g.span);
        let amount = |v: &Value| match v {
            Value::Dim(d) if d.as_const().is_none_or(|n| (0..=1 << 20).contains(&n)) => Some(d.clone()),
            Value::Opaque => Some(Dim::symbol("(unknown)")),
            _ => None,
        };
        let pairs: Option<Vec<(Dim, Dim)>> = match n.map(|g| &g.value) {
            Some(Value::List(items)) => items
                .iter()
                .map(|item| match item {
                    Value::List(pair) if pair.len() == 2 => Some((amount(&pair[0])?, amount(&pair[1])?)),
                    _ => None,
                })
                .collect(),
            Some(one) => amount(one).map(|n| vec![(n.clone(), n); ty.rank()]),
            None => None,
        };
        let Some(pairs) = pairs.filter(|p| p.len() == ty.rank()) else {
            return self.report(
                Diagnostic::error(
                    "E0312",
                    format!("`pad` needs one number, or {} pairs", ty.rank()),
                    place,
                    "",
                )
                .help("write `pad(x, 1)` or `pad(x, [[0, 0], [1, 1]])`"),
            );
        };
        let start: Vec<Dim> = pairs.iter().map(|(low, _)| low.clone()).collect();
        let shape: Vec<Dim> =
            ty.shape.iter().zip(pairs).map(|(d, (low, high))| d.clone() + low + high).collect();
        let built = self.graph.pad(x, start, &vec![1; ty.rank()], shape);
        self.built(built, span)
    }
}
