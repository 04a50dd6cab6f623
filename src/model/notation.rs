//! Index notation: `let y[b, i] = sum[k] x[b, k] * w[k, i]`.
//!
//! What enters: index names and an expression over them. What leaves: one node for each operation. Every
//! subexpression becomes a tensor whose axes are labelled by index names; a sum over a product of two factors is a
//! contraction. Sizes are found from the tensors that are indexed.

use super::elaborate::{Elaborator, show};
use super::value::{Given, Value};
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::{Contraction, NodeId};
use crate::scalar::Func;
use gradc_dsl::ast::{BinaryOp, Expr, ExprKind, Index, Name};
use gradc_dsl::{Diagnostic, Span};
use indexmap::IndexMap;
use smol_str::SmolStr;

/// A tensor with an index name for each axis.
#[derive(Clone)]
struct Labelled {
    node: NodeId,
    labels: Vec<SmolStr>,
}

/// Index names in scope, with their sizes once known.
type Sizes = IndexMap<SmolStr, Option<(Dim, Span)>>;

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

    fn labelled(&mut self, expr: &'a Expr, sizes: &mut Sizes) -> Option<Labelled> {
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
                if labels.contains(name) {
                    self.report(
                        Diagnostic::error(
                            "E0310",
                            format!("the index `{name}` stands twice in one tensor"),
                            expr.span,
                            "",
                        )
                        .help("a diagonal is not supported: use two names"),
                    );
                    return None;
                }
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
                labels.push(name.clone());
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
    fn combine(
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

    fn reduce_over(
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
    fn align(&mut self, x: &Labelled, labels: &[SmolStr], shape: &[Dim]) -> Option<NodeId> {
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
