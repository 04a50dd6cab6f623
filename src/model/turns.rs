//! `scan` and `each`: a block that runs for each slice of some tensors.
//!
//! What enters: the syntax tree. What leaves: the block's values of all turns, stacked along the axis that was gone
//! through, or a scan's last carried values where the block has no value. The block is elaborated once, on stand-ins for
//! slices and carried values, like any other; `graph::capture` makes a scan of what it added to the graph, or lifts it
//! (`each`). So whatever can be said anywhere can be said in it, parameters included, which all turns share.
//! States cannot be updated there, for it is not said by which turn.

use super::elaborate::{Carried, Elaborator, show};
use super::value::{Given, Value};
use crate::base::{DType, Dim, TensorType};
use crate::graph::NodeId;
use crate::graph::capture::Block;
use gradc_dsl::ast::{Expr, Name, Turns};
use gradc_dsl::{Diagnostic, Span};
use indexmap::IndexMap;
use smol_str::{SmolStr, format_smolstr};

/// What is gone through.
struct Stack<'a> {
    name: &'a Name,
    /// Turns along axis 0.
    tensor: NodeId,
}

impl<'a> Elaborator<'a> {
    pub(super) fn turns(&mut self, turns: &'a Turns, span: Span) -> Value {
        self.graph_origin(span);
        let stacks = self.stacks(turns);
        let first = self.first_values(&turns.carried);
        let segments = turns.segments.as_ref().map(|expr| (expr.span, self.segment_length(expr)));
        let (Some((stacks, axis, count)), Some(first)) = (stacks, first) else { return Value::Error };

        let from = self.graph.len();
        let stand_in = |cx: &mut Self, ty: TensorType| {
            let name = format_smolstr!("(stand-in {})", cx.graph.len());
            cx.graph.input(name, ty)
        };
        self.push_scope();
        let mut slices = Vec::new();
        for stack in &stacks {
            let mut ty = self.graph.ty(stack.tensor).clone();
            ty.shape = ty.shape[1..].into();
            let slice = stand_in(self, ty);
            slices.push((slice, stack.tensor));
            self.bind(&stack.name.text, Value::Tensor(slice), stack.name.span);
        }
        let mut names: IndexMap<SmolStr, Carried> = IndexMap::new();
        for ((name, _), value) in turns.carried.iter().zip(&first) {
            let ty = self.graph.ty(*value).clone();
            let stand_in = stand_in(self, ty);
            names.insert(name.text.clone(), Carried { stand_in, next: stand_in });
            self.bind(&name.text, Value::Tensor(stand_in), name.span);
        }
        self.frame().carried.push(names);
        let errors = self.n_errors();
        let value = self.block_here(&turns.body, None);
        let names = self.frame().carried.pop().unwrap_or_default();
        self.pop_scope();
        if self.n_errors() > errors || matches!(value, Some(Value::Error)) {
            return Value::Error;
        }

        let scans = !turns.carried.is_empty();
        let place = turns.body.value.as_ref().map_or(turns.body.span, |value| value.span);
        let Some(yields) = self.yields(value, scans, place) else { return Value::Error };
        let carried: Vec<(NodeId, NodeId, NodeId)> =
            names.values().zip(&first).map(|(names, first)| (names.stand_in, *first, names.next)).collect();
        let nodes = yields.nodes.clone();
        let block =
            Block { from, slices, carried, yields: nodes, turns: count.clone(), reversed: turns.reversed };
        if self.updates_a_state(&block, turns.body.span) {
            return Value::Error;
        }
        self.graph_origin(span);
        let mut sites = self.n_sites;
        let mut new_site = || {
            sites += 1;
            sites - 1
        };
        let length = segments.and_then(|(place, length)| Some((place, length?)));
        let built = if !scans {
            block.each(&mut self.graph, &mut new_site).map(|yields| (Vec::new(), yields))
        } else if let Some((place, length)) = length {
            if count.exact_div(&length).is_none() {
                return self.uneven_segments(&count, &length, place);
            }
            block.scan_in_segments(&mut self.graph, &length, &mut new_site)
        } else {
            block.scan(&mut self.graph, &mut new_site)
        };
        self.n_sites = sites;
        let (last, stacked) = match built {
            Ok(results) => results,
            Err(error) => {
                return self.error(
                    "E0317",
                    format!("these turns cannot be put together: {error}"),
                    span,
                    "",
                    "",
                );
            }
        };
        let results =
            if yields.is_none { last } else { stacked.into_iter().map(|y| self.at_axis(y, axis)).collect() };
        let mut values: Vec<Value> = results.into_iter().map(Value::Tensor).collect();
        match values.len() {
            1 if !yields.is_tuple => values.remove(0),
            _ => Value::Tuple(values),
        }
    }

    /// The tensors that are gone through, the axis of the first, and the number of turns.
    fn stacks(&mut self, turns: &'a Turns) -> Option<(Vec<Stack<'a>>, usize, Dim)> {
        let along = turns.along.as_ref().map(|expr| {
            let value = self.expr(expr);
            Given::written(expr, value)
        });
        let mut stacks = Vec::new();
        let mut seen: Option<(usize, Dim, Span)> = None;
        let mut fine = true;
        for (name, expr) in &turns.over {
            let value = self.expr(expr);
            let tensor = self.tensor(&value, expr.span);
            let first = Given::positional(Value::Dim(Dim::from(0)), expr.span);
            let axis = tensor.and_then(|x| self.axis(x, along.as_ref().unwrap_or(&first)));
            let (Some(x), Some(axis)) = (tensor, axis) else {
                fine = false;
                continue;
            };
            let count = self.graph.ty(x).shape[axis].clone();
            match &seen {
                None => seen = Some((axis, count, expr.span)),
                Some((_, expected, place)) if !self.same_size(expected, &count) => {
                    self.report(
                        Diagnostic::error(
                            "E0301",
                            format!("{expected} turns over one tensor, and {count} over another"),
                            expr.span,
                            format!("axis {axis} of `{}`", show(self.graph.ty(x))),
                        )
                        .label(*place, format!("here it is {expected}"))
                        .help("a turn takes one slice of each: the axes must be equally long"),
                    );
                    fine = false;
                }
                Some(_) => {}
            }
            let rank = self.graph.ty(x).rank();
            let order: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|a| *a != axis)).collect();
            let tensor = self.graph.permute(x, &order).expect("each axis once");
            stacks.push(Stack { name, tensor });
        }
        let (axis, count, _) = seen.filter(|_| fine)?;
        Some((stacks, axis, count))
    }

    /// What the first turn begins with.
    fn first_values(&mut self, carried: &'a [(Name, Expr)]) -> Option<Vec<NodeId>> {
        let mut values = Vec::new();
        for (name, expr) in carried {
            let value = self.expr(expr);
            let node = self.tensor(&value, expr.span);
            values.push(node.and_then(|x| self.float(x, &format!("`{}`", name.text), expr.span)));
        }
        values.into_iter().collect()
    }

    fn float(&mut self, x: NodeId, what: &str, span: Span) -> Option<NodeId> {
        let dtype = self.graph.dtype(x);
        if dtype == DType::F32 {
            return Some(x);
        }
        self.error(
            "E0312",
            format!("a scan carries and gives f32, but {what} is {dtype}"),
            span,
            format!("this is `{}`", show(self.graph.ty(x))),
            "convert it: `f32(x)`; whole numbers up to 16 million stay exact",
        );
        None
    }

    fn yields(&mut self, value: Option<Value>, scans: bool, place: Span) -> Option<Yields> {
        let (items, is_tuple) = match value {
            Some(Value::Tuple(items) | Value::List(items)) => (items, true),
            Some(value) => (vec![value], false),
            None if scans => return Some(Yields { nodes: Vec::new(), is_tuple: false, is_none: true }),
            None => {
                self.error(
                    "E0311",
                    "`each` has no value",
                    place,
                    "nothing is given for a slice",
                    "end the block with an expression: it is the slice's result",
                );
                return None;
            }
        };
        let mut nodes = Vec::new();
        for item in &items {
            let node = self.tensor(item, place)?;
            nodes.push(if scans { self.float(node, "this value", place)? } else { node });
        }
        Some(Yields { nodes, is_tuple, is_none: false })
    }

    /// A state's next value must not depend on a turn.
    fn updates_a_state(&mut self, block: &Block, span: Span) -> bool {
        let varies = block.varies(&self.graph);
        let updated = self.graph.updates.iter().find(|(_, next)| varies[next.index()]);
        let Some((leaf, _)) = updated else { return false };
        let name = self.graph.node(*leaf).op.leaf_name().cloned().unwrap_or_default();
        self.report(
            Diagnostic::error(
                "E0410",
                format!("the state `{name}` is updated in each turn"),
                span,
                "a state takes one new value a step",
            )
            .help("carry it, `with s = …`, or update the state after the scan"),
        );
        true
    }

    fn segment_length(&mut self, expr: &'a Expr) -> Option<Dim> {
        match self.expr(expr) {
            Value::Dim(d) if self.check_size(&d, expr.span) => Some(d),
            Value::Dim(_) | Value::Error => None,
            other => {
                let found = self.describe(&other);
                let message = format!("`segments` takes a number of turns, not {found}");
                self.error("E0312", message, expr.span, "", "write a whole number, such as `16`");
                None
            }
        }
    }

    fn uneven_segments(&mut self, turns: &Dim, length: &Dim, place: Span) -> Value {
        self.error(
            "E0309",
            format!("{turns} turns are no whole number of segments of {length}"),
            place,
            "",
            "take a length that divides the number of turns; about its square root keeps the least",
        )
    }

    /// The new axis 0 of the turns goes where the first tensor had it.
    fn at_axis(&mut self, stacked: NodeId, axis: usize) -> NodeId {
        let rank = self.graph.ty(stacked).rank();
        let axis = axis.min(rank - 1);
        let order: Vec<usize> = (1..=axis).chain([0]).chain(axis + 1..rank).collect();
        self.graph.permute(stacked, &order).expect("each axis once")
    }
}

/// What a block gives for a turn.
struct Yields {
    nodes: Vec<NodeId>,
    is_tuple: bool,
    is_none: bool,
}
