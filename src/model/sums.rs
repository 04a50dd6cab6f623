//! Sums of index notation, `sum[k] x[b, k] * w[k, i]`: contractions where the body is a product, reductions else.
//!
//! What enters: a reduction's name, its index names and its body. What leaves: a tensor labelled by the indices that
//! are left. Factors that the summed indices do not touch are multiplied afterwards.

use super::elaborate::Elaborator;
use super::notation::{Labelled, Sizes};
use super::value::Value;
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::{Contraction, NodeId};
use gradc_dsl::Diagnostic;
use gradc_dsl::ast::{BinaryOp, Expr, ExprKind, Name};
use smol_str::SmolStr;

impl<'a> Elaborator<'a> {
    pub(super) fn reduce_over(
        &mut self,
        op: &Name,
        indices: &'a [Name],
        body: &'a Expr,
        sizes: &mut Sizes,
    ) -> Option<Labelled> {
        for index in indices {
            if sizes.contains_key(&index.text) {
                self.report(
                    Diagnostic::error(
                        "E0310",
                        format!("the index `{}` is in use already", index.text),
                        index.span,
                        "",
                    )
                    .help("choose another name for the index that is summed"),
                );
                return None;
            }
            sizes.insert(index.text.clone(), None);
        }
        let summed: Vec<SmolStr> = indices.iter().map(|n| n.text.clone()).collect();
        let result = self.reduce_body(op, &summed, body, sizes);
        for index in indices {
            let known = sizes.shift_remove(&index.text).flatten();
            if known.is_none() && result.is_some() {
                self.report(
                    Diagnostic::error(
                        "E0310",
                        format!("nothing is indexed by `{}`", index.text),
                        index.span,
                        "its size is not known",
                    )
                    .help("leave it out"),
                );
                return None;
            }
        }
        result
    }

    fn reduce_body(
        &mut self,
        op: &Name,
        summed: &[SmolStr],
        body: &'a Expr,
        sizes: &mut Sizes,
    ) -> Option<Labelled> {
        if op.text == "sum" {
            let mut factors = Vec::new();
            factors_of(body, &mut factors);
            if factors.len() > 1 {
                return self.contract_factors(&factors, summed, sizes, body);
            }
        }
        let x = self.labelled(body, sizes)?;
        self.reduce_labels(&op.text, x, summed)
    }

    fn reduce_labels(&mut self, op: &str, x: Labelled, summed: &[SmolStr]) -> Option<Labelled> {
        let axes: Vec<usize> = (0..x.labels.len()).filter(|i| summed.contains(&x.labels[*i])).collect();
        let built = match op {
            "sum" => self.graph.reduce(ReduceOp::Sum, x.node, &axes),
            "prod" => self.graph.reduce(ReduceOp::Prod, x.node, &axes),
            "max" => self.graph.reduce(ReduceOp::Max, x.node, &axes),
            "min" => self.graph.reduce(ReduceOp::Min, x.node, &axes),
            _ => self.graph.mean(x.node, &axes),
        };
        let labels = x.labels.iter().filter(|l| !summed.contains(l)).cloned().collect();
        Some(Labelled { node: built.ok()?, labels })
    }

    /// A sum over a product: pairs of factors are contracted from the left; a summed index is summed with the
    /// last factor that has it.
    fn contract_factors(
        &mut self,
        factors: &[(&'a Expr, bool)],
        summed: &[SmolStr],
        sizes: &mut Sizes,
        body: &'a Expr,
    ) -> Option<Labelled> {
        let mut parts = Vec::new();
        for (factor, divides) in factors {
            let x = self.labelled(factor, sizes)?;
            parts.push((x, *divides));
        }
        // Scalars and divisors come last: they commute with the sum if they have no summed index.
        let late = |p: &(Labelled, bool)| {
            (p.1 || p.0.labels.is_empty()) && !p.0.labels.iter().any(|l| summed.contains(l))
        };
        let (after, mut parts): (Vec<_>, Vec<_>) = parts.into_iter().partition(late);
        if parts.iter().any(|(_, divides)| *divides) || parts.is_empty() {
            let x = self.labelled(body, sizes)?;
            return self.reduce_labels("sum", x, summed);
        }
        let (mut product, _) = parts.remove(0);
        if parts.is_empty() {
            product = self.reduce_labels("sum", product, summed)?;
        }
        while !parts.is_empty() {
            let (next, _) = parts.remove(0);
            let later: Vec<SmolStr> = parts.iter().flat_map(|(p, _)| p.labels.clone()).collect();
            let done: Vec<SmolStr> = summed.iter().filter(|s| !later.contains(s)).cloned().collect();
            product = self.contract_pair(product, next, &done, sizes)?;
        }
        for (factor, divides) in after {
            let op = if divides { BinaryOp::Divide } else { BinaryOp::Multiply };
            product = self.combine(&product, &factor, sizes, body, |e, x, y| {
                e.binary(op, Value::Tensor(x), Value::Tensor(y), body.span, body.span, body.span)
            })?;
        }
        Some(product)
    }

    fn contract_pair(
        &mut self,
        a: Labelled,
        b: Labelled,
        done: &[SmolStr],
        sizes: &Sizes,
    ) -> Option<Labelled> {
        // An index in one factor only is summed before.
        let only = |x: &Labelled, y: &Labelled| -> Vec<SmolStr> {
            x.labels.iter().filter(|l| done.contains(l) && !y.labels.contains(l)).cloned().collect()
        };
        let (only_a, only_b) = (only(&a, &b), only(&b, &a));
        let a = self.reduce_labels("sum", a, &only_a)?;
        let b = self.reduce_labels("sum", b, &only_b)?;
        let mut all = a.labels.clone();
        all.extend(b.labels.iter().filter(|l| !a.labels.contains(l)).cloned());
        let letters: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').collect();
        if all.len() > letters.len() {
            return None;
        }
        let letter = |l: &SmolStr| letters[all.iter().position(|x| x == l).unwrap_or(0)];
        let out: Vec<SmolStr> = all.iter().filter(|l| !done.contains(l)).cloned().collect();
        let contraction = Contraction {
            lhs: a.labels.iter().map(letter).collect(),
            rhs: b.labels.iter().map(letter).collect(),
            out: out.iter().map(letter).collect(),
        };
        let float = |e: &mut Self, id: NodeId| match e.graph.dtype(id) {
            DType::F32 => Some(id),
            _ => e.graph.cast(id, DType::F32).ok(),
        };
        let (x, y) = (float(self, a.node)?, float(self, b.node)?);
        let _ = sizes;
        let node = self.graph.contract(x, y, contraction).ok()?;
        Some(Labelled { node, labels: out })
    }

    /// The tensor with its axes in the order of `labels`, repeated along those it lacks.
    pub(super) fn align(&mut self, x: &Labelled, labels: &[SmolStr], shape: &[Dim]) -> Option<NodeId> {
        let present: Vec<&SmolStr> = labels.iter().filter(|l| x.labels.contains(l)).collect();
        let permutation: Option<Vec<usize>> =
            present.iter().map(|l| x.labels.iter().position(|y| y == *l)).collect();
        let node = self.graph.permute(x.node, &permutation?).ok()?;
        let axes: Vec<usize> = (0..labels.len()).filter(|i| x.labels.contains(&labels[*i])).collect();
        self.graph.broadcast(node, &axes, shape).ok()
    }
}
/// Factors of a product, each with whether it divides.
fn factors_of<'a>(expr: &'a Expr, factors: &mut Vec<(&'a Expr, bool)>) {
    match &expr.kind {
        ExprKind::Paren(inner) if matches!(inner.kind, ExprKind::Binary(BinaryOp::Multiply, ..)) => {
            factors_of(inner, factors)
        }
        ExprKind::Binary(BinaryOp::Multiply, left, right) => {
            factors_of(left, factors);
            factors_of(right, factors);
        }
        ExprKind::Binary(BinaryOp::Divide, left, right) => {
            factors_of(left, factors);
            factors.push((right, true));
        }
        _ => factors.push((expr, false)),
    }
}
