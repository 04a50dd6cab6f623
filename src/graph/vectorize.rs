//! One more axis: a node that was built for one element, as the same for `n` of them, the new axis in front.
//!
//! What enters: a node, and its operands, each either *lifted* (with the new axis in front) or the same for all. What
//! leaves: the lifted node. Invariant: index i of the lifted node is the node on index i of its lifted operands. Rules use
//! primitives only. Random numbers become as many for each element. A `Grad` whose target is lifted is the gradient
//! of the sum of all losses, for each loss sees its own element of the target alone.
//! Used where a model says `each`, and by the pass that moves work out of scans.

use super::op::scan::Role;
use super::{Contraction, Graph, Node, NodeId, Op, Scan, ShapeError, View};
use crate::base::{DType, Dim, TensorType};
use crate::scalar::Func;

/// An operand: the node, and whether it has the new axis.
pub type Operand = (NodeId, bool);

type Built = Result<NodeId, ShapeError>;

/// Lifts nodes by an axis of one size.
pub struct Lift<'a> {
    pub n: Dim,
    /// Sites for random numbers.
    pub new_site: &'a mut dyn FnMut() -> u32,
}

fn up(axes: &[usize]) -> Vec<usize> {
    axes.iter().map(|axis| axis + 1).collect()
}

fn behind(first: usize, axes: &[usize]) -> Vec<usize> {
    std::iter::once(first).chain(up(axes)).collect()
}

impl Lift<'_> {
    fn shape(&self, shape: &[Dim]) -> Vec<Dim> {
        std::iter::once(self.n.clone()).chain(shape.iter().cloned()).collect()
    }

    /// The operand with the new axis, repeated along it if it is the same for all.
    pub fn lifted(&self, graph: &mut Graph, (x, lifted): Operand) -> Built {
        if lifted {
            return Ok(x);
        }
        let ty = graph.ty(x).clone();
        let axes: Vec<usize> = (1..=ty.rank()).collect();
        graph.broadcast(x, &axes, self.shape(&ty.shape))
    }

    /// The node for all elements, on operands of which at least one is lifted (or none, for random numbers).
    ///
    /// # Errors
    /// None for nodes of a graph that verifies, but for contractions of more labels than there are letters.
    pub fn node(&mut self, graph: &mut Graph, node: &Node, operands: &[Operand]) -> Built {
        let whole = TensorType::new(node.ty.dtype, self.shape(&node.ty.shape));
        let first = |cx: &Self, graph: &mut Graph| cx.lifted(graph, operands[0]);
        match &node.op {
            Op::Random { distribution, .. } => {
                Ok(graph.random(*distribution, (self.new_site)(), whole.shape))
            }
            Op::Contract(contraction) => self.contract(graph, contraction, operands),
            Op::Gather { axis } => self.gather(graph, *axis, operands),
            Op::ScatterAdd { axis } => self.scatter(graph, *axis, &node.ty.shape, operands),
            Op::Scan(scan) => self.scan(graph, scan, operands),
            Op::Grad => {
                let loss = first(self, graph)?;
                let loss = graph.sum_all(loss)?;
                graph.grad(loss, operands[1].0)
            }
            op => {
                let all = operands.iter().map(|x| self.lifted(graph, *x)).collect::<Result<Vec<_>, _>>()?;
                graph.apply(self.op(op), &all, &whole)
            }
        }
    }

    /// The attributes of a primitive that only counts axes.
    fn op(&self, op: &Op) -> Op {
        match op {
            Op::Reduce { op, axes } => Op::Reduce { op: *op, axes: up(axes) },
            Op::ArgMax { axis } => Op::ArgMax { axis: axis + 1 },
            Op::Sort { axis, descending } => Op::Sort { axis: axis + 1, descending: *descending },
            Op::Concat { axis } => Op::Concat { axis: axis + 1 },
            Op::View(view) => Op::View(self.view(view)),
            Op::Map(_) | Op::Cast | Op::Detach => op.clone(),
            Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Size(_) => {
                unreachable!("a leaf is the same for all")
            }
            Op::Random { .. }
            | Op::Contract(_)
            | Op::Gather { .. }
            | Op::ScatterAdd { .. }
            | Op::Scan(_)
            | Op::Grad => unreachable!("has a rule of its own"),
        }
    }

    fn view(&self, view: &View) -> View {
        let zero = |start: &[Dim]| std::iter::once(Dim::from(0)).chain(start.iter().cloned()).collect();
        let one = |step: &[i64]| std::iter::once(1).chain(step.iter().copied()).collect();
        match view {
            View::Permute(permutation) => View::Permute(behind(0, permutation)),
            View::Reshape => View::Reshape,
            View::Broadcast { axes } => View::Broadcast { axes: behind(0, axes) },
            View::Slice { start, step } => View::Slice { start: zero(start), step: one(step) },
            View::Pad { start, step } => View::Pad { start: zero(start), step: one(step) },
            View::Flip { axes } => View::Flip { axes: up(axes) },
        }
    }

    fn contract(&self, graph: &mut Graph, contraction: &Contraction, operands: &[Operand]) -> Built {
        let used = |l: &u8| contraction.lhs.contains(l) || contraction.rhs.contains(l);
        let label = (b'a'..=b'z').chain(b'A'..=b'Z').find(|l| !used(l));
        let Some(label) = label else {
            return Err(ShapeError::Attribute(format!("{contraction} has no letter left for one more axis")));
        };
        let with = |labels: &[u8], lifted: bool| -> Vec<u8> {
            lifted.then_some(label).into_iter().chain(labels.iter().copied()).collect()
        };
        let lifted = Contraction {
            lhs: with(&contraction.lhs, operands[0].1),
            rhs: with(&contraction.rhs, operands[1].1),
            out: with(&contraction.out, true),
        };
        graph.contract(operands[0].0, operands[1].0, lifted)
    }

    fn gather(&self, graph: &mut Graph, axis: usize, operands: &[Operand]) -> Built {
        let [(table, table_lifted), (indices, indices_lifted)] = [operands[0], operands[1]];
        if !indices_lifted {
            return graph.gather(table, indices, axis + 1);
        }
        let n_index = graph.ty(indices).rank() - 1;
        if !table_lifted {
            let read = graph.gather(table, indices, axis)?;
            // The new axis stands where the indices' first one does.
            let rank = graph.ty(read).rank();
            let order: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|a| *a != axis)).collect();
            return graph.permute(read, &order);
        }
        // One table of all tables, one below the other.
        let ty = graph.ty(table).clone();
        let flat = self.below_each_other(graph, table, axis)?;
        let places = self.places(graph, indices, &ty.shape[axis + 1])?;
        let read = graph.gather(flat, places, 0)?;
        // [n, indices, axes before, axes after] to [n, axes before, indices, axes after].
        let before = 1 + n_index..1 + n_index + axis;
        let after = before.end..graph.ty(read).rank();
        let order: Vec<usize> = std::iter::once(0).chain(before).chain(1..1 + n_index).chain(after).collect();
        graph.permute(read, &order)
    }

    fn scatter(&self, graph: &mut Graph, axis: usize, shape: &[Dim], operands: &[Operand]) -> Built {
        let (indices, updates) = (operands[0], self.lifted(graph, operands[1])?);
        if !indices.1 {
            return graph.scatter_add(indices.0, updates, axis + 1, self.shape(shape));
        }
        let n_index = graph.ty(indices.0).rank() - 1;
        let rank = graph.ty(updates).rank();
        // [n, axes before, indices, axes after] to [n, indices, axes before, axes after].
        let (before, index) = (1..1 + axis, 1 + axis..1 + axis + n_index);
        let after = index.end..rank;
        let order: Vec<usize> = std::iter::once(0).chain(index).chain(before).chain(after).collect();
        let updates = graph.permute(updates, &order)?;
        let places = self.places(graph, indices.0, &shape[axis])?;
        let rest: Vec<Dim> = (0..shape.len()).filter(|a| *a != axis).map(|a| shape[a].clone()).collect();
        let tall = |first: &[Dim]| [first, &rest[..]].concat();
        let flat = graph.scatter_add(places, updates, 0, tall(&[self.n.clone() * shape[axis].clone()]))?;
        let parts = graph.reshape(flat, tall(&[self.n.clone(), shape[axis].clone()]))?;
        // [n, axis, axes before, axes after] to [n, axes before, axis, axes after].
        let order: Vec<usize> =
            std::iter::once(0).chain(2..2 + axis).chain([1]).chain(2 + axis..1 + shape.len()).collect();
        graph.permute(parts, &order)
    }

    /// `[n, …, axis, …]` as `[n * axis, the other axes]`.
    fn below_each_other(&self, graph: &mut Graph, x: NodeId, axis: usize) -> Built {
        let shape = graph.ty(x).shape.clone();
        let others: Vec<usize> = (1..shape.len()).filter(|a| *a != axis + 1).collect();
        let order: Vec<usize> = [0, axis + 1].into_iter().chain(others.iter().copied()).collect();
        let x = graph.permute(x, &order)?;
        let flat = std::iter::once(self.n.clone() * shape[axis + 1].clone());
        graph.reshape(x, flat.chain(others.iter().map(|a| shape[*a].clone())).collect::<Vec<_>>())
    }

    /// Indices into each of `n` tables of `size` rows, as indices into all of them one below the other; -1 for those
    /// that are out of range.
    fn places(&self, graph: &mut Graph, indices: NodeId, size: &Dim) -> Built {
        let ty = graph.ty(indices).clone();
        let size = graph.size(size.clone());
        let size = graph.cast(size, DType::I32)?;
        let size = graph.broadcast(size, &[], ty.shape.clone())?;
        let table = graph.iota(ty.shape.clone(), 0)?;
        let start = graph.map(Func::Mul, &[table, size])?;
        let place = graph.map(Func::Add, &[start, indices])?;
        let (zero, none) = (graph.full(0.0, &ty), graph.full(-1.0, &ty));
        let above = graph.map(Func::Ge, &[indices, zero])?;
        let below = graph.map(Func::Lt, &[indices, size])?;
        let inside = graph.map(Func::And, &[above, below])?;
        graph.map(Func::Select, &[inside, place, none])
    }

    /// A scan for all elements at once: the body is lifted.
    fn scan(&mut self, graph: &mut Graph, scan: &Scan, operands: &[Operand]) -> Built {
        let mut body = Graph::new();
        let mut outside: Vec<NodeId> = Vec::new();
        for (i, operand) in operands.iter().enumerate() {
            let is_lifted = operand.1;
            outside.push(match scan.role(i) {
                Role::Carry(_) => self.lifted(graph, *operand)?,
                Role::Slice(_) if is_lifted => {
                    let rank = graph.ty(operand.0).rank();
                    let order: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
                    graph.permute(operand.0, &order)?
                }
                Role::Slice(_) | Role::Outer(_) => operand.0,
            });
        }
        let mut image: Vec<Operand> = Vec::new();
        for id in scan.body.ids() {
            let node = scan.body.node(id);
            let role = node.op.leaf_name().and_then(|name| Role::of(name));
            let of: Vec<Operand> = node.operands.iter().map(|x| image[x.index()]).collect();
            body.origin = node.origin.clone();
            image.push(match role {
                Some(role) => {
                    let is_lifted = matches!(role, Role::Carry(_)) || operands[scan.operand(role)].1;
                    let shape = if is_lifted { self.shape(&node.ty.shape) } else { node.ty.shape.clone() };
                    let op = node.op.clone();
                    let ty = TensorType::new(node.ty.dtype, shape);
                    let leaf = Node { op, ty, operands: Vec::new(), origin: node.origin.clone() };
                    (body.push(leaf), is_lifted)
                }
                None if of.iter().any(|x| x.1) => (self.node(&mut body, node, &of)?, true),
                None => {
                    let operands = of.iter().map(|x| x.0).collect();
                    (body.push(Node { operands, ..node.clone() }), false)
                }
            });
        }
        for (leaf, next) in &scan.body.updates {
            let next = self.lifted(&mut body, image[next.index()])?;
            body.updates.push((image[leaf.index()].0, next));
        }
        for (name, id) in &scan.body.outputs {
            let value = self.lifted(&mut body, image[id.index()])?;
            body.outputs.push((name.clone(), value));
        }
        let (last, yields) = graph.scan(Scan { body, ..scan.clone() }, &outside)?;
        // All results of an element one after another, as a scan of one element gives them.
        let mut parts = Vec::new();
        for (is_yield, part) in last.iter().map(|x| (false, *x)).chain(yields.iter().map(|x| (true, *x))) {
            let rank = graph.ty(part).rank();
            let order: Vec<usize> = [1, 0].into_iter().chain(2..rank).collect();
            let part = if is_yield { graph.permute(part, &order)? } else { part };
            let n_elements = graph.ty(part).shape[1..].iter().fold(Dim::from(1), |n, d| n * d.clone());
            parts.push(graph.reshape(part, [self.n.clone(), n_elements])?);
        }
        graph.concat(&parts, 1)
    }
}
