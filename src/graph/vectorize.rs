//! One more axis: a node that was built for one element, as the same for `n` of them, the new axis in front.
//!
//! What enters: a node, and its operands, each either *lifted* (with the new axis in front) or the same for all. What
//! leaves: the lifted node. Invariant: index i of the lifted node is the node on index i of its lifted operands. Rules use
//! primitives only. Random numbers become as many for each element, the holes of a rule as large as its value. A `Grad` whose target is lifted is the gradient
//! of the sum of all losses, for each loss sees its own element of the target alone.
//! Used where a model says `each`, and by the pass that moves work out of scans.

use super::op::scan::Role;
use super::{Contraction, Graph, Node, NodeId, Op, Scan, ShapeError, View, Windowing};
use crate::base::{Dim, TensorType};

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
            Op::Hole => Ok(graph.hole(whole)),
            // What it is made of is what its making reads, lifted or not.
            Op::Recompute => {
                let value = first(self, graph)?;
                let made_of: Vec<NodeId> = operands[1..].iter().map(|x| x.0).collect();
                graph.recompute(value, &made_of)
            }
            Op::Contract(contraction) => self.contract(graph, contraction, operands),
            Op::Gather { axis, batch } => self.gather(graph, *axis, *batch, operands),
            Op::ScatterAdd { axis, batch } => self.scatter(graph, [*axis, *batch], &node.ty.shape, operands),
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
            Op::Fold(window) => Op::Fold(Windowing { axis: window.axis + 1, ..*window }),
            Op::Map(_) | Op::Cast | Op::Detach | Op::Rule { .. } | Op::After => op.clone(),
            Op::Input(_) | Op::Param(_) | Op::State(_) | Op::Const(_) | Op::Iota { .. } | Op::Size(_) => {
                unreachable!("a leaf is the same for all")
            }
            Op::Random { .. }
            | Op::Contract(_)
            | Op::Gather { .. }
            | Op::ScatterAdd { .. }
            | Op::Scan(_)
            | Op::Hole
            | Op::Recompute
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
            View::Window(window) => View::Window(Windowing { axis: window.axis + 1, ..*window }),
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

    /// Table and indices have the new axis in common, unless only one of them needs it.
    fn gather(&self, graph: &mut Graph, axis: usize, batch: usize, operands: &[Operand]) -> Built {
        let [table, indices] = [operands[0], operands[1]];
        if batch == 0 && !indices.1 {
            return graph.gather(table.0, indices.0, axis + 1);
        }
        if batch == 0 && !table.1 {
            let read = graph.gather(table.0, indices.0, axis)?;
            // The new axis stands where the indices' first one does.
            let rank = graph.ty(read).rank();
            let order: Vec<usize> = std::iter::once(axis).chain((0..rank).filter(|a| *a != axis)).collect();
            return graph.permute(read, &order);
        }
        let (table, indices) = (self.lifted(graph, table)?, self.lifted(graph, indices)?);
        graph.gather_in(table, indices, axis + 1, batch + 1)
    }

    fn scatter(
        &self,
        graph: &mut Graph,
        [axis, batch]: [usize; 2],
        shape: &[Dim],
        operands: &[Operand],
    ) -> Built {
        let (indices, updates) = (operands[0], self.lifted(graph, operands[1])?);
        if batch == 0 && !indices.1 {
            return graph.scatter_add(indices.0, updates, axis + 1, self.shape(shape));
        }
        let indices = self.lifted(graph, indices)?;
        graph.scatter_add_in(indices, updates, axis + 1, batch + 1, self.shape(shape))
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
                    let leaf = Node::new(op, ty, Vec::new(), node.origin.clone());
                    (body.push(leaf), is_lifted)
                }
                None if of.iter().any(|x| x.1) => (self.node(&mut body, node, &of)?, true),
                None => {
                    let operands: Vec<NodeId> = of.iter().map(|x| x.0).collect();
                    (body.push(node.on(operands)), false)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::arbitrary::{Wish, random_graph};
    use crate::graph::interpret::{Env, Tensor, interpret};
    use crate::graph::verify::verify;

    const N: usize = 3;

    /// Every second leaf or so gets an axis of its own values; the lifted graph is the old one on each element.
    #[test]
    fn a_lifted_graph_is_the_graph_on_each_element() {
        let mut checked = 0;
        for seed in 0..300 {
            let (graph, env) =
                random_graph(seed, Wish { n_steps: 10, smooth: seed % 2 == 0, empty: seed % 5 == 0 });
            if graph.ids().any(|id| matches!(graph.node(id).op, Op::Random { .. })) {
                continue;
            }
            checked += 1;
            // Element i's values: those of the graph's own run, moved a little; indices stay.
            let mut envs: Vec<Env> = vec![env.clone(); N];
            let mut all = env.clone();
            let (mut new, mut image) = (Graph::new(), Vec::new());
            let mut lift = Lift { n: Dim::from(N), new_site: &mut || unreachable!("no random numbers") };
            for id in graph.ids() {
                let node = graph.node(id);
                let operands: Vec<Operand> = node.operands.iter().map(|x| image[x.index()]).collect();
                let is_lifted =
                    node.op.leaf_name().is_some() && (id.index() + seed as usize).is_multiple_of(2);
                image.push(if is_lifted {
                    let name = node.op.leaf_name().expect("a leaf").clone();
                    let moved = |i: usize| -> Vec<f64> {
                        let step = if node.ty.dtype.is_float() { 0.125 * i as f64 } else { 0.0 };
                        env.leaves[&name].data.iter().map(|x| x * (1.0 - step)).collect()
                    };
                    let shape = env.leaves[&name].shape.clone();
                    for (i, env) in envs.iter_mut().enumerate() {
                        env.leaves.insert(name.clone(), Tensor::new(shape.clone(), moved(i)));
                    }
                    let data: Vec<f64> = (0..N).flat_map(moved).collect();
                    all.leaves.insert(name.clone(), Tensor::new([&[N], &shape[..]].concat(), data));
                    (new.input(name, TensorType::new(node.ty.dtype, lift.shape(&node.ty.shape))), true)
                } else if operands.iter().any(|x| x.1) {
                    (
                        lift.node(&mut new, node, &operands).unwrap_or_else(|e| panic!("seed {seed}: {e}")),
                        true,
                    )
                } else {
                    let operands: Vec<NodeId> = operands.iter().map(|x| x.0).collect();
                    (new.push(node.on(operands)), false)
                });
            }
            verify(&new).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{new}"));
            let found = interpret(&new, &all).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{new}"));
            for (i, env) in envs.iter().enumerate() {
                let expected = interpret(&graph, env).unwrap();
                for id in graph.ids() {
                    let (at, is_lifted) = image[id.index()];
                    let (want, got) = (&expected[id.index()].data, &found[at.index()].data);
                    let got = if is_lifted { &got[i * want.len()..][..want.len()] } else { &got[..] };
                    let same = |(a, b): (&f64, &f64)| {
                        a == b || a.is_nan() && b.is_nan() || (a - b).abs() < 1e-9 * (1.0 + a.abs())
                    };
                    assert!(
                        want.iter().zip(got).all(same),
                        "seed {seed}, {id}, element {i} in\n{graph}\n{new}"
                    );
                }
            }
        }
        assert!(checked > 100, "{checked} graphs have no random numbers");
    }
}
