//! Functions that are built in: the scalar table's rows, reductions, views, conversions, gradients.
//!
//! What enters: a name and evaluated arguments. What leaves: a value. Everything that can be said in the language
//! itself is in the standard library instead.

use super::elaborate::{Elaborator, Mode, show};
use super::scalars::scalar;
use super::value::{Given, Value};
use crate::base::{DType, Dim, Distribution, ReduceOp};
use crate::graph::Built;
use crate::graph::NodeId;
use crate::scalar::Func;
use gradc_dsl::{Diagnostic, Span};
use smol_str::SmolStr;

/// Name and parameters; `?` marks one with a default.
const INTRINSICS: &[(&str, &[&str])] = &[
    ("sum", &["x", "axes?", "keep?"]),
    ("mean", &["x", "axes?", "keep?"]),
    ("max", &["x", "axes?", "keep?"]),
    ("min", &["x", "axes?", "keep?"]),
    ("prod", &["x", "axes?", "keep?"]),
    ("any", &["x", "axes?", "keep?"]),
    ("all", &["x", "axes?", "keep?"]),
    ("argmax", &["x", "axis?"]),
    ("argsort", &["x", "axis?", "descending?"]),
    ("take_along", &["x", "index", "axis?"]),
    ("scatter_along", &["index", "updates", "n", "axis?"]),
    ("scatter_add", &["index", "updates", "n"]),
    ("reshape", &["x", "shape"]),
    ("flatten", &["x"]),
    ("transpose", &["x"]),
    ("permute", &["x", "axes"]),
    ("broadcast", &["x", "shape"]),
    ("concat", &["items", "axis?"]),
    ("split", &["x", "n", "axis?"]),
    ("pad", &["x", "n"]),
    ("window", &["x", "axis", "size", "stride?", "dilation?"]),
    ("fold", &["x", "axis", "stride?", "dilation?"]),
    ("flip", &["x", "axis?"]),
    ("one_hot", &["labels", "n"]),
    ("iota", &["n"]),
    ("zeros", &["shape"]),
    ("ones", &["shape"]),
    ("full", &["shape", "value"]),
    ("random_uniform", &["shape"]),
    ("random_normal", &["shape"]),
    ("where", &["condition", "a", "b"]),
    ("f32", &["x"]),
    ("i32", &["x"]),
    ("u8", &["x"]),
    ("bool", &["x"]),
    ("detach", &["x"]),
    ("grad", &["loss", "wrt"]),
    ("size", &["x", "axis?"]),
    ("shape", &["x"]),
    ("rank", &["x"]),
];

pub(super) fn names() -> impl Iterator<Item = &'static str> {
    let scalar = Func::ALL.iter().map(|func| func.name()).filter(|name| scalar(name).is_some());
    INTRINSICS.iter().map(|(name, _)| *name).chain(["maximum", "minimum"]).chain(scalar)
}

pub(super) fn is_intrinsic(name: &str) -> bool {
    scalar(name).is_some() || INTRINSICS.iter().any(|(n, _)| *n == name)
}

impl<'a> Elaborator<'a> {
    pub(super) fn intrinsic(&mut self, name: &SmolStr, given: Vec<Given>, span: Span) -> Value {
        if given.iter().any(|g| matches!(g.value, Value::Error)) {
            return Value::Error;
        }
        // `max(a, b)` of two values is elementwise; `max(x)` reduces.
        let positional = given.iter().filter(|g| g.name.is_none()).count();
        let listed = given.get(1).is_some_and(|g| matches!(g.value, Value::List(_)));
        let reduces = matches!(name.as_str(), "max" | "min") && (positional != 2 || listed);
        if let Some(func) = scalar(name).filter(|_| !reduces) {
            return self.scalar_call(name, func, given, span);
        }
        let Some((_, parameters)) = INTRINSICS.iter().find(|(n, _)| n == name) else {
            unreachable!("`{name}` is an intrinsic without a row");
        };
        let Some(slots) = self.intrinsic_slots(name, parameters, given, span) else { return Value::Error };
        self.run_intrinsic(name, &slots, span)
    }

    fn run_intrinsic(&mut self, name: &str, slots: &[Option<Given>], span: Span) -> Value {
        let first = slots[0].as_ref().expect("the first argument is required");
        let (value, at) = (first.value.clone(), first.span);
        let second = slots.get(1).and_then(Option::as_ref);
        let third = slots.get(2).and_then(Option::as_ref);
        match name {
            "sum" | "mean" | "max" | "min" | "prod" | "any" | "all" => {
                self.reduction(name, &value, at, second, third, span)
            }
            "argmax" => self.with_axis(
                &value,
                at,
                second,
                |e, x, axis| {
                    let x = e.ordered(x)?;
                    e.graph.argmax(x, axis)
                },
                span,
            ),
            "argsort" => {
                let descending = third.is_some_and(|g| matches!(g.value, Value::Bool(true)));
                self.with_axis(
                    &value,
                    at,
                    second,
                    |e, x, axis| {
                        let x = e.ordered(x)?;
                        e.graph.sort(x, axis, descending)
                    },
                    span,
                )
            }
            "take_along" => self.take_along(first, second, third, span),
            "scatter_along" => {
                let axis = slots.get(3).and_then(Option::as_ref);
                self.scatter_along(first, second, third, axis, span)
            }
            "scatter_add" => self.scatter_add(first, second, third, span),
            "window" | "fold" => self.windowed(name, slots, span),
            "flip" => self.with_axis(&value, at, second, |e, x, axis| e.graph.flip(x, &[axis]), span),
            "reshape" | "broadcast" => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                let Some(shape) = second.and_then(|g| self.shape_of(g)) else { return Value::Error };
                if name == "reshape" {
                    self.reshape(x, shape, span)
                } else {
                    self.broadcast_value(x, shape, span)
                }
            }
            "flatten" => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                let ty = self.graph.ty(x).clone();
                let Some((lead, rest)) = ty.shape.split_first() else {
                    return self.error(
                        "E0306",
                        "`flatten` needs a tensor with axes",
                        at,
                        "this is one number",
                        "remove `flatten`",
                    );
                };
                let size = rest.iter().fold(Dim::from(1), |n, d| n * d.clone());
                let built = self.graph.reshape(x, vec![lead.clone(), size]);
                self.built(built, span)
            }
            "transpose" => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                if self.graph.ty(x).rank() < 2 {
                    let found = show(self.graph.ty(x));
                    return self.error(
                        "E0306",
                        "`transpose` exchanges the last two axes, and this has fewer",
                        at,
                        format!("this is `{found}`"),
                        "give it two axes: `reshape(…, [n, 1])`; or remove `transpose`",
                    );
                }
                let built = self.graph.transpose(x);
                self.built(built, span)
            }
            "permute" => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                let rank = self.graph.ty(x).rank();
                let Some(axes) = second.and_then(|g| self.axes(x, g)) else { return Value::Error };
                let mut sorted = axes.clone();
                sorted.sort_unstable();
                if sorted != (0..rank).collect::<Vec<_>>() {
                    let place = second.map_or(span, |g| g.span);
                    return self.error(
                        "E0306",
                        format!("`permute` needs each of the {rank} axes once"),
                        place,
                        "",
                        "list the axes in their new order, counted from 0: `permute(x, [1, 0])` exchanges two",
                    );
                }
                let built = self.graph.permute(x, &axes);
                self.built(built, span)
            }
            "concat" => self.concat(&value, at, second, span),
            "split" => self.split(&value, at, second, third, span),
            "pad" => self.pad(&value, at, second, span),
            "one_hot" => self.one_hot(&value, at, second, span),
            "iota" => {
                let Some(shape) = self.shape_of(first) else { return Value::Error };
                let built = self.graph.iota(shape, 0);
                self.built(built, span)
            }
            "zeros" | "ones" | "full" => {
                let Some(shape) = self.shape_of(first) else { return Value::Error };
                let fill = match (name, second) {
                    ("full", Some(g)) => g.value.clone(),
                    ("ones", _) => Value::Number(1.0),
                    _ => Value::Number(0.0),
                };
                let Some(x) = self.tensor(&fill, span) else { return Value::Error };
                self.broadcast_value(x, shape, span)
            }
            "random_uniform" | "random_normal" => {
                let Some(shape) = self.shape_of(first) else { return Value::Error };
                let distribution =
                    if name == "random_uniform" { Distribution::Uniform } else { Distribution::Normal };
                let site = self.n_sites;
                self.n_sites += 1;
                Value::Tensor(self.graph.random(distribution, site, shape))
            }
            "where" => {
                let Some(condition) = self.tensor(&value, at) else { return Value::Error };
                if self.graph.dtype(condition) != DType::Bool {
                    let found = show(self.graph.ty(condition));
                    return self.report(
                        Diagnostic::error(
                            "E0305",
                            "`where` needs a condition of truth values (bool)",
                            at,
                            format!("this is `{found}`"),
                        )
                        .help("compare: `where(x > 0, a, b)`"),
                    );
                }
                let operands: Vec<(Value, Span)> =
                    slots.iter().flatten().map(|g| (g.value.clone(), g.span)).collect();
                self.map(Func::Select, &operands, span)
            }
            "f32" | "i32" | "u8" | "bool" => {
                if let (Some(x), "f32") = (value.as_number(), name) {
                    return Value::Number(x);
                }
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                let built = self.graph.cast(x, DType::from_name(name).unwrap_or(DType::F32));
                self.built(built, span)
            }
            "detach" => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                let built = self.graph.detach(x);
                self.built(built, span)
            }
            "grad" => self.gradient(&value, at, second, span),
            "rank" => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                let shape = &self.graph.ty(x).shape;
                // While a function is checked by itself, `..` stands for any number of axes.
                match self.mode == Mode::Generic && shape.iter().any(|d| d.contains("..")) {
                    true => Value::Opaque,
                    false => Value::Dim(Dim::from(shape.len())),
                }
            }
            "shape" => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                Value::List(self.graph.ty(x).shape.iter().cloned().map(Value::Dim).collect())
            }
            _ => {
                let Some(x) = self.tensor(&value, at) else { return Value::Error };
                let Some(given) = second else { return Value::Dim(self.graph.ty(x).n_elements()) };
                match self.axis(x, given) {
                    Some(axis) => Value::Dim(self.graph.ty(x).shape[axis].clone()),
                    None => Value::Error,
                }
            }
        }
    }

    /// A built node, or a message for what no earlier check has caught.
    pub(super) fn built(&mut self, built: Built, span: Span) -> Value {
        match built {
            Ok(id) => Value::Tensor(id),
            Err(error) => self.error(
                "E0314",
                format!("this cannot be computed: {error}"),
                span,
                "",
                "look at the shapes of what stands here",
            ),
        }
    }

    fn reduction(
        &mut self,
        name: &str,
        value: &Value,
        at: Span,
        axes: Option<&Given>,
        keep: Option<&Given>,
        span: Span,
    ) -> Value {
        let Some(mut x) = self.tensor(value, at) else { return Value::Error };
        let mut axes = match axes {
            Some(given) => match self.axes(x, given) {
                Some(axes) => axes,
                None => return Value::Error,
            },
            None => (0..self.graph.ty(x).rank()).collect(),
        };
        axes.sort_unstable();
        axes.dedup();
        let of_truths = matches!(name, "any" | "all");
        if of_truths && self.graph.dtype(x) != DType::Bool {
            let found = show(self.graph.ty(x));
            return self.report(
                Diagnostic::error(
                    "E0305",
                    format!("`{name}` takes truth values (bool)"),
                    at,
                    format!("this is `{found}`"),
                )
                .help(format!("compare first: `{name}(x > 0)`")),
            );
        }
        if matches!(self.graph.dtype(x), DType::Bool | DType::U8) {
            let counted = if of_truths { DType::I32 } else { DType::F32 };
            match self.graph.cast(x, counted) {
                Ok(cast) => x = cast,
                Err(error) => return self.built(Err(error), span),
            }
        }
        if name == "mean" && self.graph.dtype(x) == DType::I32 {
            return self.report(
                Diagnostic::error("E0305", "`mean` takes real numbers (f32)", at, "these are whole numbers")
                    .help("convert them: `mean(f32(…))`"),
            );
        }
        let shape = self.graph.ty(x).shape.clone();
        let built = match name {
            "sum" => self.graph.reduce(ReduceOp::Sum, x, &axes),
            "prod" => self.graph.reduce(ReduceOp::Prod, x, &axes),
            // Of no truths, `any` is false and `all` is true.
            "any" => self.graph.reduce(ReduceOp::Sum, x, &axes).and_then(|n| self.graph.cast(n, DType::Bool)),
            "all" => {
                self.graph.reduce(ReduceOp::Prod, x, &axes).and_then(|n| self.graph.cast(n, DType::Bool))
            }
            "max" => self.graph.reduce(ReduceOp::Max, x, &axes),
            "min" => self.graph.reduce(ReduceOp::Min, x, &axes),
            _ => self.graph.mean(x, &axes),
        };
        let keep = keep.is_some_and(|g| matches!(g.value, Value::Bool(true)));
        match built {
            Ok(id) if keep => {
                let size = |(i, d): (usize, &Dim)| if axes.contains(&i) { Dim::from(1) } else { d.clone() };
                let kept: Vec<Dim> = shape.iter().enumerate().map(size).collect();
                let built = self.graph.reshape(id, kept);
                self.built(built, span)
            }
            other => self.built(other, span),
        }
    }

    /// Bytes and truth values as whole numbers, which have an order.
    fn ordered(&mut self, x: NodeId) -> Built {
        let dtype = self.graph.dtype(x);
        if matches!(dtype, DType::U8 | DType::Bool) { self.graph.cast(x, DType::I32) } else { Ok(x) }
    }

    fn with_axis(
        &mut self,
        value: &Value,
        at: Span,
        axis: Option<&Given>,
        build: impl Fn(&mut Self, NodeId, usize) -> Built,
        span: Span,
    ) -> Value {
        let Some(x) = self.tensor(value, at) else { return Value::Error };
        let last = Given::positional(Value::Dim(Dim::from(-1)), span);
        match self.axis(x, axis.unwrap_or(&last)) {
            Some(axis) => {
                let built = build(self, x, axis);
                self.built(built, span)
            }
            None => Value::Error,
        }
    }

    fn one_hot(&mut self, value: &Value, at: Span, n: Option<&Given>, span: Span) -> Value {
        let Some(x) = self.tensor(value, at) else { return Value::Error };
        let dtype = self.graph.dtype(x);
        if !matches!(dtype, DType::I32 | DType::U8) {
            let found = show(self.graph.ty(x));
            return self.report(
                Diagnostic::error(
                    "E0305",
                    "`one_hot` takes whole numbers (i32)",
                    at,
                    format!("this is `{found}`"),
                )
                .help("convert them: `i32(…)`"),
            );
        }
        let Some(sizes) = n.and_then(|g| self.shape_of(g)) else { return Value::Error };
        let mut shape = self.graph.ty(x).shape.clone();
        let axes: Vec<usize> = (0..shape.len()).collect();
        shape.extend(sizes);
        let last = shape.len() - 1;
        let built = self.graph.cast(x, DType::I32).and_then(|x| {
            let labels = self.graph.broadcast(x, &axes, shape.clone())?;
            let classes = self.graph.iota(shape, last)?;
            let equal = self.graph.map(Func::Eq, &[labels, classes])?;
            self.graph.cast(equal, DType::F32)
        });
        self.built(built, span)
    }

    fn gradient(&mut self, value: &Value, at: Span, wrt: Option<&Given>, span: Span) -> Value {
        let Some(wrt) = wrt else { return Value::Error };
        let (Some(loss), Some(x)) = (self.tensor(value, at), self.tensor(&wrt.value, wrt.span)) else {
            return Value::Error;
        };
        let ty = self.graph.ty(loss).clone();
        if ty.rank() != 0 || ty.dtype != DType::F32 {
            return self.report(
                Diagnostic::error(
                    "E0317",
                    "`grad` differentiates one real number, not a tensor",
                    at,
                    format!("this is `{}`", show(&ty)),
                )
                .help("make one number of it first: `grad(sum(…), wrt = x)`"),
            );
        }
        if self.graph.dtype(x) != DType::F32 {
            let found = show(self.graph.ty(x));
            return self.error(
                "E0305",
                "a gradient is with respect to real numbers (f32)",
                wrt.span,
                format!("this is `{found}`"),
                "convert first, `let real = f32(…)`, and use that in the loss",
            );
        }
        let built = self.graph.grad(loss, x);
        self.built(built, span)
    }
}
