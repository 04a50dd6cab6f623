//! Index notation: `let y[b, i] = sum[k] x[b, k] * w[k, i]`.
//!
//! What enters: index names and an expression over them. What leaves: one node for each operation. Every
//! subexpression becomes a tensor whose axes are labelled by index names; a sum over a product of two factors is a
//! contraction. Sizes are found from the tensors that are indexed.

use super::elaborate::{Elaborator, show};
use super::value::{Given, Value};
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::NodeId;
use crate::scalar::Func;
use gradc_dsl::ast::{BinaryOp, Expr, ExprKind, Index, Name};
use gradc_dsl::{Diagnostic, Span};
use indexmap::IndexMap;
use smol_str::SmolStr;

/// A tensor with an index name for each axis.
#[derive(Clone)]
pub(super) struct Labelled {
    pub node: NodeId,
    pub labels: Vec<SmolStr>,
}

/// Index names in scope, with their sizes once known.
pub(super) type Sizes = IndexMap<SmolStr, Option<(Dim, Span)>>;

impl<'a> Elaborator<'a> {
    pub(super) fn index_notation(&mut self, name: &Name, indices: &'a [Name], expr: &'a Expr) -> Value {
        let mut seen: Vec<&SmolStr> = Vec::new();
        for index in indices {
            if seen.contains(&&index.text) {
                return self.error(
                    "E0310",
                    format!("the index `{}` stands twice in `{}`", index.text, name.text),
                    index.span,
                    "the second time",
                    "give each axis an index of its own",
                );
            }
            seen.push(&index.text);
        }
        self.index_notation_value(indices, expr)
    }

    /// An expression over index names, as a tensor whose axes are `indices`.
    pub(super) fn index_notation_value(&mut self, indices: &'a [Name], expr: &'a Expr) -> Value {
        let mut sizes: Sizes = indices.iter().map(|n| (n.text.clone(), None)).collect();
        let Some(found) = self.labelled(expr, &mut sizes) else { return Value::Error };
        let mut shape = Vec::new();
        for index in indices {
            match sizes.get(&index.text).cloned().flatten() {
                Some((size, _)) => shape.push(size),
                None => {
                    return self.report(
                        Diagnostic::error(
                            "E0310",
                            format!("the size of the index `{}` is not known", index.text),
                            index.span,
                            "nothing on the right is indexed by it",
                        )
                        .help("use it to index a tensor, or leave it out"),
                    );
                }
            }
        }
        let labels: Vec<SmolStr> = indices.iter().map(|n| n.text.clone()).collect();
        match self.align(&found, &labels, &shape) {
            Some(id) => Value::Tensor(id),
            None => Value::Error,
        }
    }

    pub(super) fn labelled(&mut self, expr: &'a Expr, sizes: &mut Sizes) -> Option<Labelled> {
        match &expr.kind {
            ExprKind::Paren(inner) => self.labelled(inner, sizes),
            ExprKind::Index { base, indices } => self.indexed(base, indices, expr.span, sizes),
            ExprKind::IndexReduce { op, indices, body } => self.reduce_over(op, indices, body, sizes),
            ExprKind::Unary(gradc_dsl::ast::UnaryOp::Negate, inner) => {
                let x = self.labelled(inner, sizes)?;
                let node = self.graph.map(Func::Neg, &[x.node]).ok()?;
                Some(Labelled { node, labels: x.labels })
            }
            ExprKind::Binary(op, left, right) if *op != BinaryOp::MatMul => {
                let (a, b) = (self.labelled(left, sizes)?, self.labelled(right, sizes)?);
                self.combine(&a, &b, sizes, expr, |e, x, y| {
                    e.binary(*op, Value::Tensor(x), Value::Tensor(y), left.span, right.span, expr.span)
                })
            }
            ExprKind::Call { callee, arguments } if arguments.len() == 1 && mentions(expr, sizes) => {
                let ExprKind::Name(name) = &callee.kind else { return None };
                let gradc_dsl::ast::ArgumentValue::Expr(argument) = &arguments[0].value else { return None };
                let x = self.labelled(argument, sizes)?;
                let given = vec![Given::positional(Value::Tensor(x.node), argument.span)];
                let value = match self.functions.get(name).copied() {
                    Some(function) => self.call(function, given, expr.span, name.clone()),
                    None if super::intrinsics::is_intrinsic(name) => self.intrinsic(name, given, expr.span),
                    None => self.unknown_function(name, callee.span),
                };
                let Value::Tensor(node) = value else { return None };
                if self.graph.ty(node).shape != self.graph.ty(x.node).shape {
                    self.error(
                        "E0310",
                        format!("`{name}` changes the shape, and cannot stand in index notation"),
                        expr.span,
                        "",
                        "apply it first: `let z = …`, and use `z[i, j]` here",
                    );
                    return None;
                }
                Some(Labelled { node, labels: x.labels })
            }
            _ => {
                let value = self.expr(expr);
                let node = self.tensor(&value, expr.span)?;
                if self.graph.ty(node).rank() > 0 {
                    let found = show(self.graph.ty(node));
                    self.report(
                        Diagnostic::error(
                            "E0310",
                            "in index notation every tensor is indexed",
                            expr.span,
                            format!("this is `{found}`"),
                        )
                        .help("write an index name for each axis: `x[b, i]`"),
                    );
                    return None;
                }
                Some(Labelled { node, labels: Vec::new() })
            }
        }
    }

    /// `x[b, k]`: numbers are indices as elsewhere, names of indices label axes.
    fn indexed(
        &mut self,
        base: &'a Expr,
        indices: &'a [Index],
        span: Span,
        sizes: &mut Sizes,
    ) -> Option<Labelled> {
        let value = self.expr(base);
        let mut node = self.tensor(&value, base.span)?;
        let ty = self.graph.ty(node).clone();
        if indices.len() != ty.rank() {
            self.report(
                Diagnostic::error(
                    "E0310",
                    format!("{} indices for a tensor with {} axes", indices.len(), ty.rank()),
                    span,
                    "",
                )
                .label(base.span, format!("this is `{}`", show(&ty)))
                .help("index notation names every axis"),
            );
            return None;
        }
        let mut labels = Vec::new();
        for index in indices {
            let axis = labels.len();
            let Index::Expr(expr) = index else {
                self.report(
                    Diagnostic::error("E0310", "a range cannot stand in index notation", span, "")
                        .help("take the range first: `let part = x[:, 0:3]`"),
                );
                return None;
            };
            if let ExprKind::Name(name) = &expr.kind
                && sizes.contains_key(name)
            {
                let size = self.graph.ty(node).shape[axis].clone();
                match sizes[name].clone() {
                    Some((known, place)) if !self.same_size(&known, &size) => {
                        self.report(
                            Diagnostic::error(
                                "E0310",
                                format!("the index `{name}` runs over {known} in one place and over {size} in another"),
                                expr.span,
                                format!("{size} here"),
                            )
                            .label(place, format!("{known} here"))
                            .help("the axes that one index runs over have the same size"),
                        );
                        return None;
                    }
                    Some(_) => {}
                    None => sizes[name] = Some((size, expr.span)),
                }
                match labels.iter().position(|label| label == name) {
                    Some(first) => node = self.diagonal(node, [first, axis], expr.span)?,
                    None => labels.push(name.clone()),
                }
                continue;
            }
            if let ExprKind::Name(name) = &expr.kind
                && self.lookup(name).is_none()
            {
                self.report(
                    Diagnostic::error(
                        "E0310",
                        format!("the index `{name}` is not introduced"),
                        expr.span,
                        "not known",
                    )
                    .help(format!("put it on the left, `let y[…, {name}]`, or sum over it: `sum[{name}]`")),
                );
                return None;
            }
            if mentions(expr, sizes) {
                self.report(
                    Diagnostic::error(
                        "E0310",
                        "an index is a name or a number, not a formula",
                        expr.span,
                        "",
                    )
                    .help("move the axis with a slice or `pad` first"),
                );
                return None;
            }
            let taken = self.index_axis(node, axis, expr, span)?;
            node = taken;
        }
        Some(Labelled { node, labels })
    }

    /// What stands at the same place on two axes, without the second: all else counts 0, and is added up.
    fn diagonal(&mut self, x: NodeId, [first, second]: [usize; 2], span: Span) -> Option<NodeId> {
        let ty = self.graph.ty(x).clone();
        let graph = &mut self.graph;
        let mut diagonal = || {
            let numbers = if ty.dtype.is_float() { x } else { graph.cast(x, DType::I32)? };
            let (a, b) = (graph.iota(ty.shape.clone(), first)?, graph.iota(ty.shape.clone(), second)?);
            let is_same = graph.map(Func::Eq, &[a, b])?;
            let zero = graph.constant(0.0, graph.dtype(numbers));
            let kept = graph.map_broadcast(Func::Select, &[is_same, numbers, zero])?;
            let taken = graph.reduce(ReduceOp::Sum, kept, &[second])?;
            graph.cast(taken, ty.dtype)
        };
        let built = diagonal();
        match self.built(built, span) {
            Value::Tensor(node) => Some(node),
            _ => None,
        }
    }

    /// Takes one index out of an axis.
    fn index_axis(&mut self, x: NodeId, axis: usize, expr: &'a Expr, span: Span) -> Option<NodeId> {
        let Value::Dim(at) = self.expr(expr) else {
            self.error(
                "E0310",
                "an index is a name or a whole number",
                expr.span,
                "",
                "write `x[i, j]` or `x[i, 0]`",
            );
            return None;
        };
        let ty = self.graph.ty(x).clone();
        let mut starts = vec![Dim::from(0); ty.rank()];
        starts[axis] = at;
        let mut shape = ty.shape.clone();
        shape[axis] = Dim::from(1);
        let built = self.graph.slice(x, starts, &vec![1; ty.rank()], shape.clone());
        let Value::Tensor(sliced) = self.built(built, span) else { return None };
        shape.remove(axis);
        self.graph.reshape(sliced, shape).ok()
    }

    /// Brings two factors to common labels and applies an operation.
    pub(super) fn combine(
        &mut self,
        a: &Labelled,
        b: &Labelled,
        sizes: &Sizes,
        expr: &Expr,
        apply: impl FnOnce(&mut Self, NodeId, NodeId) -> Value,
    ) -> Option<Labelled> {
        let mut labels = a.labels.clone();
        labels.extend(b.labels.iter().filter(|l| !a.labels.contains(l)).cloned());
        let shape: Option<Vec<Dim>> =
            labels.iter().map(|l| sizes.get(l).cloned().flatten().map(|(d, _)| d)).collect();
        let shape = shape?;
        self.graph_origin(expr.span);
        let (x, y) = (self.align(a, &labels, &shape)?, self.align(b, &labels, &shape)?);
        match apply(self, x, y) {
            Value::Tensor(node) => Some(Labelled { node, labels }),
            _ => None,
        }
    }
}

/// Whether an index name stands in an expression.
fn mentions(expr: &Expr, sizes: &Sizes) -> bool {
    match &expr.kind {
        ExprKind::Name(name) => sizes.contains_key(name),
        ExprKind::Paren(e) | ExprKind::Unary(_, e) => mentions(e, sizes),
        ExprKind::Binary(_, a, b) => mentions(a, sizes) || mentions(b, sizes),
        ExprKind::IndexReduce { body, .. } => mentions(body, sizes),
        ExprKind::Index { base, indices } => {
            mentions(base, sizes) || indices.iter().any(|i| matches!(i, Index::Expr(e) if mentions(e, sizes)))
        }
        ExprKind::Call { arguments, .. } => arguments.iter().any(|a| match &a.value {
            gradc_dsl::ast::ArgumentValue::Expr(e) => mentions(e, sizes),
            gradc_dsl::ast::ArgumentValue::Type(_) => false,
        }),
        _ => false,
    }
}
