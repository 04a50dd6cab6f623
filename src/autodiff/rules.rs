//! The reverse rules: from the cotangent of a node to those of its operands.
//!
//! What enters: a node of the new graph and its whole cotangent `g`. What leaves: what it adds to the cotangents of
//! the operands that need one. Each rule uses primitives only, so the set is closed under differentiation. `dx`
//! stands for the cotangent of operand `x`, `y` for the node's own value.

use super::{Sweep, marks};
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::{Contraction, Graph, Node, NodeId, Op, View};
use crate::scalar::{Expr, Func};

const VALID: &str = "the reverse rule of a well-typed node is well-typed";

/// The operands through which a cotangent can flow.
pub fn differentiable(node: &Node) -> impl Iterator<Item = NodeId> + '_ {
    let through = |i: usize| match node.op {
        Op::Map(func) => !func.derivative(i).is_const(0.0),
        Op::Reduce { .. } | Op::Contract(_) | Op::View(_) | Op::Concat { .. } => true,
        Op::Cast => node.ty.dtype.is_float(),
        Op::Scan(_) | Op::Fold(_) => true,
        Op::Gather { .. } => i == 0,
        Op::ScatterAdd { .. } => i == 1,
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Size(_) => false,
        Op::Rule { n } => (1..=n).contains(&i),
        Op::Recompute => i > 0,
        Op::After => i == 0,
        Op::ArgMax { .. } | Op::Sort { .. } | Op::Random { .. } | Op::Detach | Op::Hole | Op::Grad => false,
    };
    node.operands.iter().enumerate().filter(move |(i, _)| through(*i)).map(|(_, id)| *id)
}

/// Adds to the operands' cotangents.
pub fn pull_back(cx: &mut Sweep, id: NodeId, g: NodeId) {
    let node = cx.graph.node(id).clone();
    match &node.op {
        Op::Map(func) => map(cx, id, &node, *func, g),
        Op::Reduce { op, axes } => reduce(cx, id, &node, *op, axes, g),
        Op::Contract(contraction) => contract(cx, &node, contraction, g),
        Op::View(v) => view(cx, &node, v, g),
        Op::Concat { axis } => concat(cx, &node, *axis, g),
        Op::Gather { axis, batch } => gather(cx, &node, *axis, *batch, g),
        Op::ScatterAdd { axis, batch } => scatter_add(cx, &node, *axis, *batch, g),
        // A window on the sum gives each piece what it was added to.
        Op::Fold(window) => {
            if cx.needs(node.operands[0]) {
                let shape = cx.graph.ty(node.operands[0]).shape.clone();
                let [positions, taps] = [0, 1].map(|i| shape[window.axis + i].clone());
                let dx = cx.graph.window(g, *window, positions, taps).expect(VALID);
                cx.add(node.operands[0], dx);
            }
        }
        Op::Scan(scan) => super::scan::scan(cx, id, &node, scan, g),
        // A cast of f32 to f32 is not made; from other types there is nothing to differentiate by.
        Op::Cast => {}
        Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Size(_) => {}
        Op::Rule { n } => marks::rule(cx, id, &node.operands, *n, g),
        Op::Recompute => marks::recompute(cx, &node.operands, g),
        Op::After => cx.add(node.operands[0], g),
        Op::ArgMax { .. } | Op::Sort { .. } | Op::Random { .. } | Op::Detach | Op::Hole | Op::Grad => {}
    }
}

/// `dx = g * f'(x)`, the derivative from the table.
fn map(cx: &mut Sweep, id: NodeId, node: &Node, func: Func, g: NodeId) {
    for (i, operand) in node.operands.iter().enumerate() {
        if !cx.needs(*operand) || !cx.graph.dtype(*operand).is_float() {
            continue;
        }
        let mut variables = node.operands.to_vec();
        variables.resize(Expr::RESULT as usize, id);
        variables.push(id);
        if let Some(product) = times(cx.graph, g, func.derivative(i), &variables) {
            cx.add(*operand, product);
        }
    }
}

/// `g * expr`; `None` for zero. The factor `g` is carried inward to where it meets the least: through a choice,
/// so that an infinity that is not chosen does no harm; to the left of a quotient; not at all onto a 1.
fn times(graph: &mut Graph, g: NodeId, expr: &Expr, variables: &[NodeId]) -> Option<NodeId> {
    match expr {
        Expr::Const(c) if *c == 0.0 => None,
        Expr::Const(c) if *c == 1.0 => Some(g),
        Expr::Call(Func::Neg, x) => {
            let product = times(graph, g, &x[0], variables)?;
            Some(graph.map(Func::Neg, &[product]).expect(VALID))
        }
        Expr::Const(c) if *c == -1.0 => Some(graph.map(Func::Neg, &[g]).expect(VALID)),
        Expr::Call(Func::Div, x) => {
            let above = times(graph, g, &x[0], variables)?;
            let below = instantiate(graph, &x[1], variables);
            Some(graph.map(Func::Div, &[above, below]).expect(VALID))
        }
        Expr::Call(Func::Select, x) => {
            let condition = instantiate(graph, &x[0], variables);
            let ty = graph.ty(g).clone();
            let chosen = times(graph, g, &x[1], variables).unwrap_or_else(|| graph.full(0.0, &ty));
            let other = times(graph, g, &x[2], variables).unwrap_or_else(|| graph.full(0.0, &ty));
            Some(graph.map(Func::Select, &[condition, chosen, other]).expect(VALID))
        }
        _ => {
            let factor = instantiate(graph, expr, variables);
            Some(graph.map(Func::Mul, &[g, factor]).expect(VALID))
        }
    }
}

/// The nodes that compute an expression of the table; constants take the shape of the first variable.
fn instantiate(graph: &mut Graph, expr: &Expr, variables: &[NodeId]) -> NodeId {
    match expr {
        Expr::Var(v) => variables[*v as usize],
        Expr::Const(c) => {
            let mut ty = graph.ty(variables[0]).clone();
            ty.dtype = DType::F32;
            graph.full(*c, &ty)
        }
        Expr::Call(func, arguments) => {
            let operands: Vec<NodeId> = arguments.iter().map(|e| instantiate(graph, e, variables)).collect();
            graph.map(*func, &operands).expect(VALID)
        }
    }
}

/// `x` of the reduced shape, repeated along `axes` to `shape`.
fn spread(graph: &mut Graph, x: NodeId, axes: &[usize], shape: &[Dim]) -> NodeId {
    let kept: Vec<usize> = (0..shape.len()).filter(|axis| !axes.contains(axis)).collect();
    graph.broadcast(x, &kept, shape).expect(VALID)
}

fn reduce(cx: &mut Sweep, y: NodeId, node: &Node, op: ReduceOp, axes: &[usize], g: NodeId) {
    let x = node.operands[0];
    if !cx.needs(x) {
        return;
    }
    let graph = &mut *cx.graph;
    let ty = graph.ty(x).clone();
    let zeros = graph.full(0.0, &ty);
    let dx = match op {
        // Every element adds once.
        ReduceOp::Sum => spread(graph, g, axes, &ty.shape),
        // Those that are the extreme share alike, as the two operands of `max` do.
        ReduceOp::Max | ReduceOp::Min => {
            let extreme = spread(graph, y, axes, &ty.shape);
            let is_extreme = graph.map(Func::Eq, &[x, extreme]).expect(VALID);
            let ones = graph.cast(is_extreme, DType::F32).expect(VALID);
            let count = graph.reduce(ReduceOp::Sum, ones, axes).expect(VALID);
            let share = graph.map(Func::Div, &[g, count]).expect(VALID);
            let share = spread(graph, share, axes, &ty.shape);
            graph.map(Func::Select, &[is_extreme, share, zeros]).expect(VALID)
        }
        // The product of all others: of a row with one zero only the zero has a derivative.
        ReduceOp::Prod => {
            let ones = graph.full(1.0, &ty);
            let is_zero = graph.map(Func::Eq, &[x, zeros]).expect(VALID);
            let rest = graph.map(Func::Select, &[is_zero, ones, x]).expect(VALID);
            let product = graph.reduce(ReduceOp::Prod, rest, axes).expect(VALID);
            let zero_marks = graph.cast(is_zero, DType::F32).expect(VALID);
            let n_zeros = graph.reduce(ReduceOp::Sum, zero_marks, axes).expect(VALID);
            let scaled = graph.map(Func::Mul, &[g, product]).expect(VALID);
            let scaled = spread(graph, scaled, axes, &ty.shape);
            let n_zeros = spread(graph, n_zeros, axes, &ty.shape);
            let none = graph.map(Func::Eq, &[n_zeros, zeros]).expect(VALID);
            let one = graph.map(Func::Eq, &[n_zeros, ones]).expect(VALID);
            let of_zero = graph.map(Func::Select, &[one, scaled, zeros]).expect(VALID);
            let quotient = graph.map(Func::Div, &[scaled, rest]).expect(VALID);
            let of_other = graph.map(Func::Select, &[none, quotient, zeros]).expect(VALID);
            graph.map(Func::Select, &[is_zero, of_zero, of_other]).expect(VALID)
        }
    };
    cx.add(x, dx);
}

/// With `ab,bc->ac`: `dl = g r` over `ac,bc->ab`, `dr = l g` over `ab,ac->bc`. Labels stay, so whatever was legal stays
/// legal.
fn contract(cx: &mut Sweep, node: &Node, contraction: &Contraction, g: NodeId) {
    let (lhs, rhs) = (node.operands[0], node.operands[1]);
    let Contraction { lhs: l, rhs: r, out } = contraction.clone();
    if cx.needs(lhs) {
        let back = Contraction { lhs: out.clone(), rhs: r.clone(), out: l.clone() };
        let dl = cx.graph.contract(g, rhs, back).expect(VALID);
        cx.add(lhs, dl);
    }
    if cx.needs(rhs) {
        let back = Contraction { lhs: l, rhs: out, out: r };
        let dr = cx.graph.contract(lhs, g, back).expect(VALID);
        cx.add(rhs, dr);
    }
}

/// A view is linear: its transpose gives every element back to where it was read.
fn view(cx: &mut Sweep, node: &Node, view: &View, g: NodeId) {
    let x = node.operands[0];
    if !cx.needs(x) {
        return;
    }
    let graph = &mut *cx.graph;
    let shape = graph.ty(x).shape.clone();
    let dx = match view {
        View::Permute(permutation) => {
            let mut inverse = vec![0; permutation.len()];
            for (to, from) in permutation.iter().enumerate() {
                inverse[*from] = to;
            }
            graph.permute(g, &inverse)
        }
        View::Reshape => graph.reshape(g, shape),
        View::Broadcast { axes } => {
            let repeated: Vec<usize> = (0..node.ty.rank()).filter(|axis| !axes.contains(axis)).collect();
            graph.reduce(ReduceOp::Sum, g, &repeated)
        }
        View::Slice { start, step } => graph.pad(g, start.clone(), step, shape),
        View::Pad { start, step } => graph.slice(g, start.clone(), step, shape),
        View::Flip { axes } => graph.flip(g, axes),
        View::Window(window) => graph.fold(g, *window, shape[window.axis].clone()),
    };
    cx.add(x, dx.expect(VALID));
}

/// Each operand reads its part of `g`.
fn concat(cx: &mut Sweep, node: &Node, axis: usize, g: NodeId) {
    let mut start = vec![Dim::from(0); node.ty.rank()];
    let step = vec![1; node.ty.rank()];
    for operand in &node.operands {
        let shape = cx.graph.ty(*operand).shape.clone();
        let size = shape[axis].clone();
        if cx.needs(*operand) {
            let part = cx.graph.slice(g, start.clone(), &step, shape).expect(VALID);
            cx.add(*operand, part);
        }
        start[axis] = start[axis].clone() + size;
    }
}

/// A row that was read several times gets the sum.
fn gather(cx: &mut Sweep, node: &Node, axis: usize, batch: usize, g: NodeId) {
    let (table, indices) = (node.operands[0], node.operands[1]);
    if cx.needs(table) {
        let shape = cx.graph.ty(table).shape.clone();
        let d_table = cx.graph.scatter_add_in(indices, g, axis, batch, shape).expect(VALID);
        cx.add(table, d_table);
    }
}

/// Each update reads the row it was added to; one that was dropped, for its index is out of range, gets zero.
fn scatter_add(cx: &mut Sweep, node: &Node, axis: usize, batch: usize, g: NodeId) {
    let (indices, updates) = (node.operands[0], node.operands[1]);
    if !cx.needs(updates) {
        return;
    }
    let graph = &mut *cx.graph;
    let read = graph.gather_in(g, indices, axis, batch).expect(VALID);
    let ty = graph.ty(read).clone();
    let zeros = graph.full(0.0, &ty);
    let bound = graph.size(node.ty.shape[axis].clone());
    let bound = graph.cast(bound, DType::I32).expect(VALID);
    let in_range = {
        let index_ty = graph.ty(indices).clone();
        let bound = graph.broadcast(bound, &[], index_ty.shape.clone()).expect(VALID);
        let zero = graph.full(0.0, &index_ty);
        let below = graph.map(Func::Lt, &[indices, bound]).expect(VALID);
        let above = graph.map(Func::Ge, &[indices, zero]).expect(VALID);
        graph.map(Func::And, &[below, above]).expect(VALID)
    };
    let n_own = graph.ty(indices).rank() - batch;
    let index_axes: Vec<usize> = (0..batch).chain(axis..axis + n_own).collect();
    let in_range = graph.broadcast(in_range, &index_axes, ty.shape.clone()).expect(VALID);
    let d_updates = graph.map(Func::Select, &[in_range, read, zeros]).expect(VALID);
    cx.add(updates, d_updates);
}
