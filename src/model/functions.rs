//! Functions as values: calls of a parameter that is a function, `custom_grad`, `recompute`.
//!
//! What enters: a function's name as a value, and evaluated arguments. What leaves: a value; the two marks of the graph that
//! say how it is differentiated. A function known only to its caller is silent where its user is checked by itself.

use super::elaborate::{Elaborator, show};
use super::value::{Given, Value};
use crate::base::DType;
use crate::graph::{NodeId, Op};
use gradc_dsl::{Diagnostic, Span};
use smol_str::SmolStr;

impl<'a> Elaborator<'a> {
    /// Calls the function of that name, wherever it is from. Its parameters are found under `segment`.
    pub(super) fn call_value(
        &mut self,
        name: &SmolStr,
        given: Vec<Given>,
        span: Span,
        segment: SmolStr,
    ) -> Value {
        if let Some(function) = self.functions.get(name).copied() {
            return self.call(function, given, span, segment);
        }
        self.graph_origin(span);
        self.intrinsic(name, given, span)
    }

    /// The first `n` functions among the arguments, and the others; `None` where they are not known, said or not.
    fn split_functions(
        &mut self,
        what: &str,
        n: usize,
        given: Vec<Given>,
        span: Span,
    ) -> Option<(Vec<SmolStr>, Vec<Given>)> {
        let (mut functions, mut others) = (Vec::new(), Vec::new());
        for argument in given {
            match &argument.value {
                Value::Function(name) if functions.len() < n => functions.push(name.clone()),
                Value::Error | Value::Opaque => return None,
                _ => others.push(argument),
            }
        }
        if functions.len() == n && !others.is_empty() {
            return Some((functions, others));
        }
        let (count, example) = match n {
            1 => ("a function", "recompute(block, x)"),
            _ => ("two functions", "custom_grad(forward, backward, x)"),
        };
        let message = format!("`{what}` takes {count} and its operands");
        self.error("E0312", message, span, "", &format!("write `{example}`"));
        None
    }

    /// `custom_grad(forward, backward, x, …)`: forward's value, differentiated as `backward(x, …, value, cotangent)` says.
    pub(super) fn custom_grad(&mut self, given: Vec<Given>, span: Span, segment: SmolStr) -> Value {
        let Some((functions, operands)) = self.split_functions("custom_grad", 2, given, span) else {
            return Value::Error;
        };
        let value = self.call_value(&functions[0], operands.clone(), span, segment.clone());
        if matches!(value, Value::Error) {
            return Value::Error;
        }
        let Some(value) = self.tensor(&value, span) else { return Value::Error };
        let ty = self.graph.ty(value).clone();
        if ty.dtype != DType::F32 {
            let found = show(&ty);
            return self.error(
                "E0305",
                "`custom_grad` differentiates real numbers (f32)",
                span,
                format!("the forward function gives `{found}`"),
                "convert its result: `f32(…)`",
            );
        }
        let holes = [self.graph.hole(ty.clone()), self.graph.hole(ty)];
        let mut all = operands.clone();
        all.extend(holes.map(|hole| Given::positional(Value::Tensor(hole), span)));
        let gradients = match self.call_value(&functions[1], all, span, segment) {
            Value::Error => return Value::Error,
            Value::Tuple(items) | Value::List(items) => items,
            one => vec![one],
        };
        let mut by: Vec<NodeId> = Vec::new();
        let mut rules: Vec<NodeId> = Vec::new();
        let tensors: Vec<NodeId> = operands
            .iter()
            .filter_map(|operand| match operand.value {
                Value::Tensor(id) if self.graph.dtype(id) == DType::F32 => Some(id),
                _ => None,
            })
            .collect();
        if gradients.len() > tensors.len() {
            let message = format!("{} gradients for {} operands of type f32", gradients.len(), tensors.len());
            return self.error(
                "E0316",
                message,
                span,
                "",
                "give one gradient for each operand, in their order",
            );
        }
        for (number, (x, gradient)) in tensors.into_iter().zip(gradients).enumerate() {
            let Some(gradient) = self.tensor(&gradient, span) else { return Value::Error };
            let (operand, found) = (self.graph.ty(x).clone(), self.graph.ty(gradient).clone());
            if operand != found {
                let (name, function) = (number + 1, &functions[1]);
                return self.report(
                    Diagnostic::error(
                        "E0302",
                        format!(
                            "the gradient that `{function}` gives for operand {name} is `{}`, the operand is `{}`",
                            show(&found),
                            show(&operand)
                        ),
                        span,
                        "",
                    )
                    .help("a gradient has the shape of what it is a gradient by: sum over what was broadcast"),
                );
            }
            by.push(x);
            rules.push(gradient);
        }
        let built = self.graph.rule(value, &by, holes, &rules);
        self.built(built, span)
    }

    /// `recompute(f, x, …)`: f's value; what is worked out on the way is not kept for the backward pass.
    pub(super) fn recompute(&mut self, given: Vec<Given>, span: Span, segment: SmolStr) -> Value {
        let Some((functions, operands)) = self.split_functions("recompute", 1, given, span) else {
            return Value::Error;
        };
        let first = self.graph.len();
        let value = self.call_value(&functions[0], operands, span, segment);
        let made_of = self.boundary(first);
        let marked = |e: &mut Self, value: Value| match value {
            Value::Tensor(id) if id.index() >= first && e.graph.dtype(id).is_float() => {
                let built = e.graph.recompute(id, &made_of);
                e.built(built, span)
            }
            other => other,
        };
        match value {
            Value::Tuple(items) => Value::Tuple(items.into_iter().map(|item| marked(self, item)).collect()),
            value => marked(self, value),
        }
    }

    /// What the nodes from `first` on read that was there before; inputs and variables count as there.
    fn boundary(&self, first: usize) -> Vec<NodeId> {
        let is_leaf =
            |id: NodeId| matches!(self.graph.node(id).op, Op::Input(_) | Op::Param(_) | Op::State(_));
        let is_number = |id: NodeId| matches!(self.graph.node(id).op, Op::Const(_) | Op::Size(_));
        let inside = self.graph.ids().skip(first).filter(|id| !is_leaf(*id));
        let read = inside.flat_map(|id| &self.graph.node(id).operands).copied();
        let mut found: Vec<NodeId> =
            read.filter(|id| is_leaf(*id) || id.index() < first && !is_number(*id)).collect();
        found.sort_unstable();
        found.dedup();
        found
    }
}
