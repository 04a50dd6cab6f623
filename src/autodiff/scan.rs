//! The reverse rule of a scan: a scan in the other direction.
//!
//! What enters: a scan and the cotangent of its vector of results. What leaves: cotangents of its operands. Turn t of the
//! reverse scan reads what the forward turn t began with (its *trace*: every scan yields the carried values of
//! each turn's start, and what of them took long to make, see `traced`), works the rest of the turn out again, and pulls the
//! cotangents back through it by the ordinary rules. It carries the cotangents of the carried values, and yields those of
//! the slices. So nothing but carried values, products and functions of many steps (`exp`, `tanh`) is kept from forward to backward.
//! Products of slices are not: the passes move them out of the loop, in both directions to the same place.
//!
//! A value that all turns read gets the sum of all turns' cotangents. The sum is moved outside of the scan and into
//! the last operation, for the sum over turns of `x_t w_t` is one contraction over turns and all (`Total`): that of a
//! weight is one large product again. Traces that nobody reads fall away in the passes.

use super::{Sweep, sweep};
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::op::scan::{Part, Role};
use crate::graph::rewrite::{copy_node, substitute};
use crate::graph::{Contraction, Graph, Node, NodeId, Op, Scan, View};
use crate::scalar::Func;
use smol_str::{SmolStr, format_smolstr};
use std::collections::HashMap;

const VALID: &str = "the reverse rule of a well-typed scan is well-typed";

/// Steps of a function from which on its values are kept: to read one again takes less time than to make it.
const MANY_STEPS: usize = 12;

/// The scan, with the carried values of each turn's start and what depends on them and takes long to make among its yields; they
/// come last, so that the others keep their places.
pub fn traced(mut scan: Scan) -> Scan {
    let carried = scan.body.updates.iter().enumerate();
    let mut traces: Vec<(SmolStr, NodeId)> =
        carried.map(|(i, (leaf, _))| (format_smolstr!("trace.{i}"), *leaf)).collect();
    let mut depends = vec![false; scan.body.len()];
    for id in scan.body.ids() {
        let node = scan.body.node(id);
        let is_carried = matches!(node.op, Op::State(_));
        depends[id.index()] = is_carried || node.operands.iter().any(|x| depends[x.index()]);
        let is_kept = match node.op {
            Op::Contract(_) => true,
            // A scan yields numbers of this type alone.
            Op::Map(func) if node.ty.dtype == DType::F32 => func.n_steps(DType::F32) >= MANY_STEPS,
            _ => false,
        };
        if depends[id.index()] && is_kept {
            traces.push((kept_name(id), id));
        }
    }
    for (name, id) in traces {
        if scan.body.outputs.iter().all(|(other, _)| *other != name) {
            scan.body.outputs.push((name, id));
        }
    }
    scan
}

fn kept_name(id: NodeId) -> SmolStr {
    format_smolstr!("kept.{}", id.index())
}

/// Which yield is the trace of a carried value.
fn trace_of(scan: &Scan, carried: usize) -> usize {
    let name = format_smolstr!("trace.{carried}");
    let at = scan.body.outputs.iter().position(|(other, _)| *other == name);
    at.expect("differentiation adds the traces of every scan it meets")
}

pub fn scan(cx: &mut Sweep, id: NodeId, node: &Node, scan: &Scan, g: NodeId) {
    let parts = scan.parts();
    let d_parts = cotangents_of_parts(cx.graph, g, &parts);
    let n_carried = scan.n_carried();
    let needed = |cx: &Sweep, operand: usize| {
        let operand = node.operands[operand];
        cx.needs(operand) && cx.graph.dtype(operand).is_float()
    };

    // The reverse body: its leaves, the turn again, and the sweep through it.
    let mut body = Graph::new();
    let mut slices: Vec<NodeId> = Vec::new();
    let mut first: Vec<NodeId> = Vec::new();
    let d_carried: Vec<NodeId> = (0..n_carried)
        .map(|i| {
            let ty = scan.body.ty(scan.body.updates[i].0).clone();
            first.push(match d_parts[i] {
                Some(d_last) => d_last,
                None => cx.graph.full(0.0, &ty),
            });
            body.state(Role::Carry(i).name(), ty)
        })
        .collect();
    let mut slice = |body: &mut Graph, of: NodeId, ty: crate::base::TensorType| {
        slices.push(of);
        body.input(Role::Slice(slices.len() - 1).name(), ty)
    };
    let mut image: Vec<Option<NodeId>> = vec![None; scan.body.len()];
    let mut leaf_of: Vec<Option<NodeId>> = vec![None; node.operands.len()];
    for (leaf, role) in scan.leaves() {
        let ty = scan.body.ty(leaf).clone();
        let new = match role {
            Role::Carry(i) => {
                let trace = part(cx.graph, id, &parts[n_carried + trace_of(scan, i)]);
                slice(&mut body, trace, ty)
            }
            Role::Slice(_) => slice(&mut body, node.operands[scan.operand(role)], ty),
            Role::Outer(i) => body.input(Role::Outer(i).name(), ty),
        };
        image[leaf.index()] = Some(new);
        leaf_of[scan.operand(role)] = Some(new);
    }
    let d_yields: Vec<Option<NodeId>> = (0..scan.body.outputs.len())
        .map(|i| {
            let ty = scan.body.ty(scan.body.outputs[i].1).clone();
            d_parts[n_carried + i].map(|d| slice(&mut body, d, ty))
        })
        .collect();
    // What was kept, by the nodes that would make it again.
    let mut kept: HashMap<NodeId, NodeId> = HashMap::new();
    for old in scan.body.ids() {
        let name = kept_name(old);
        let yielded = scan.body.outputs.iter().position(|(other, _)| *other == name);
        let value = yielded.map(|yielded| {
            let trace = part(cx.graph, id, &parts[n_carried + yielded]);
            slice(&mut body, trace, scan.body.ty(old).clone())
        });
        if image[old.index()].is_none() {
            let node = scan.body.node(old);
            let operands: Vec<NodeId> =
                node.operands.iter().map(|x| image[x.index()].expect("operands come first")).collect();
            body.origin = node.origin.clone();
            let new = copy_node(&mut body, node, &operands);
            image[old.index()] = Some(new);
            kept.extend(value.map(|value| (new, value)));
        }
    }
    let at = |old: NodeId| image[old.index()].expect("every node of the body was copied");
    let carried = scan.body.updates.iter().zip(&d_carried).map(|((_, next), d)| (at(*next), *d));
    let yields = scan.body.outputs.iter().zip(&d_yields).filter_map(|((_, y), d)| Some((at(*y), (*d)?)));
    let seeds: Vec<(NodeId, NodeId)> = carried.chain(yields).collect();
    // Carried values need theirs whatever is asked for; a leaf that the body does not read has none.
    let carry_leaves: Vec<NodeId> = scan.body.updates.iter().map(|(leaf, _)| at(*leaf)).collect();
    let others: Vec<(usize, NodeId)> = (n_carried..node.operands.len())
        .filter(|operand| needed(cx, *operand))
        .filter_map(|operand| Some((operand, leaf_of[operand]?)))
        .collect();
    let targets: Vec<NodeId> =
        carry_leaves.iter().copied().chain(others.iter().map(|(_, leaf)| *leaf)).collect();
    let gradients = sweep(&mut body, &seeds, &targets);
    // The sweep has gone through what was kept; its values are read.
    let mut body = substitute(&body, |id| kept.get(&id).copied());

    // What leaves it.
    body.updates = d_carried.iter().copied().zip(gradients[..n_carried].iter().copied()).collect();
    let mut gives: Vec<(usize, Give)> = Vec::new();
    for ((operand, _), gradient) in others.iter().zip(&gradients[n_carried..]) {
        let give = match scan.role(*operand) {
            Role::Outer(_) => Give::Sum(Total::of(&mut body, *gradient)),
            _ => Give::Stack(yielded(&mut body, *gradient)),
        };
        gives.push((*operand, give));
    }
    let reverse = Scan { body, turns: scan.turns.clone(), n_sliced: slices.len(), reversed: !scan.reversed };
    let outer = &node.operands[n_carried + scan.n_sliced..];
    let operands: Vec<NodeId> = first.iter().chain(&slices).chain(outer).copied().collect();
    let (d_first, stacks) = cx.graph.scan(traced(reverse.clone()), &operands).expect(VALID);
    for (i, d) in d_first.into_iter().enumerate() {
        if needed(cx, i) {
            cx.add(node.operands[i], d);
        }
    }
    let outside = Outside { reverse: &reverse, operands: &operands, stacks: &stacks };
    for (operand, give) in gives {
        let d = match give {
            Give::Stack(at) => stacks[at],
            Give::Sum(total) => outside.build(cx.graph, &total),
        };
        cx.add(node.operands[operand], d);
    }
}

/// A part of a scan's vector of results.
fn part(graph: &mut Graph, all: NodeId, part: &Part) -> NodeId {
    let flat = graph.slice(all, [part.offset.clone()], &[1], [part.ty.n_elements()]).expect(VALID);
    graph.reshape(flat, part.ty.shape.clone()).expect(VALID)
}

/// The cotangent of each part, `None` for zero. The vector's cotangent is a sum of parts put in their places by whoever
/// read them; they are taken out again without a vector ever being made, if that is all it is.
fn cotangents_of_parts(graph: &mut Graph, g: NodeId, parts: &[Part]) -> Vec<Option<NodeId>> {
    let mut found: Vec<Vec<NodeId>> = vec![Vec::new(); parts.len()];
    let mut todo = vec![(g, Dim::from(0))];
    while let Some((term, offset)) = todo.pop() {
        let node = graph.node(term);
        let place = match &node.op {
            Op::Map(Func::Add) => {
                todo.extend(node.operands.iter().map(|term| (*term, offset.clone())));
                continue;
            }
            Op::View(View::Pad { start, step }) if step[0] == 1 => {
                let (n, offset) = (graph.ty(node.operands[0]).n_elements(), offset + start[0].clone());
                let place = parts.iter().position(|p| p.offset == offset && p.ty.n_elements() == n);
                if place.is_none() {
                    todo.push((node.operands[0], offset));
                    continue;
                }
                place
            }
            _ => None,
        };
        let Some(place) = place else {
            return parts.iter().map(|p| Some(part(graph, g, p))).collect();
        };
        found[place].push(node.operands[0]);
    }
    let sum = |(terms, part): (Vec<NodeId>, &Part)| {
        let shaped = |graph: &mut Graph, x| graph.reshape(x, part.ty.shape.clone()).expect(VALID);
        let mut terms = terms.into_iter();
        let first = shaped(graph, terms.next()?);
        Some(terms.fold(first, |sum, term| {
            let term = shaped(graph, term);
            graph.map(Func::Add, &[sum, term]).expect(VALID)
        }))
    };
    found.into_iter().zip(parts).map(sum).collect()
}

/// Makes a value of the body a yield, if it is none; which one.
fn yielded(body: &mut Graph, value: NodeId) -> usize {
    if let Some(at) = body.outputs.iter().position(|(_, id)| *id == value) {
        return at;
    }
    body.outputs.push((format_smolstr!("yield.{}", body.outputs.len()), value));
    body.outputs.len() - 1
}

enum Give {
    /// A yield is the cotangent.
    Stack(usize),
    Sum(Total),
}

/// A sum over all turns of a value of the body, as what is to be worked out outside.
enum Total {
    /// Of a value with a stack, also over some of its own axes.
    Reduce(Stack, Vec<usize>),
    /// Of a product of two values with stacks.
    Contract(Contraction, [Stack; 2]),
    /// The sum goes through what is linear: an operation on one sum, or a sum of sums.
    View(Op, crate::base::TensorType, Box<Total>),
    Neg(Box<Total>),
    Add(Box<Total>, Box<Total>),
}

/// The values of all turns.
enum Stack {
    Slice(usize),
    Yield(usize),
}

impl Stack {
    fn of(body: &mut Graph, value: NodeId) -> Stack {
        match body.node(value).op.leaf_name().and_then(|name| Role::of(name)) {
            Some(Role::Slice(i)) => Stack::Slice(i),
            _ => Stack::Yield(yielded(body, value)),
        }
    }
}

impl Total {
    fn of(body: &mut Graph, value: NodeId) -> Total {
        let node = body.node(value).clone();
        let (op, ty, operands) = (node.op.clone(), node.ty.clone(), &node.operands);
        match op {
            Op::Map(Func::Add) => {
                Total::Add(Box::new(Total::of(body, operands[0])), Box::new(Total::of(body, operands[1])))
            }
            Op::Map(Func::Neg) => Total::Neg(Box::new(Total::of(body, operands[0]))),
            // A broadcast of a sum is cheaper than a sum of broadcasts, and so with all views.
            Op::View(_) => Total::View(op, ty, Box::new(Total::of(body, operands[0]))),
            Op::Contract(contraction) => {
                let stacks = [Stack::of(body, operands[0]), Stack::of(body, operands[1])];
                Total::Contract(contraction, stacks)
            }
            Op::Reduce { op: ReduceOp::Sum, axes } => Total::Reduce(Stack::of(body, operands[0]), axes),
            _ => Total::Reduce(Stack::of(body, value), Vec::new()),
        }
    }
}

/// Where stacks are found, once the reverse scan stands.
struct Outside<'a> {
    reverse: &'a Scan,
    operands: &'a [NodeId],
    stacks: &'a [NodeId],
}

impl Outside<'_> {
    fn stack(&self, stack: &Stack) -> NodeId {
        match stack {
            Stack::Slice(i) => self.operands[self.reverse.operand(Role::Slice(*i))],
            Stack::Yield(i) => self.stacks[*i],
        }
    }

    fn build(&self, graph: &mut Graph, total: &Total) -> NodeId {
        let sum = match total {
            Total::Reduce(stack, axes) => {
                let axes: Vec<usize> = std::iter::once(0).chain(axes.iter().map(|axis| axis + 1)).collect();
                graph.reduce(ReduceOp::Sum, self.stack(stack), &axes)
            }
            Total::Contract(contraction, [lhs, rhs]) => {
                // One more label, which both sides have and the result lacks.
                let used = |l: &u8| contraction.lhs.contains(l) || contraction.rhs.contains(l);
                let turn = (b'a'..=b'z').chain(b'A'..=b'Z').find(|l| !used(l)).expect("fewer than 52 axes");
                let with = |labels: &[u8]| [&[turn], labels].concat();
                let contraction = Contraction {
                    lhs: with(&contraction.lhs),
                    rhs: with(&contraction.rhs),
                    out: contraction.out.clone(),
                };
                graph.contract(self.stack(lhs), self.stack(rhs), contraction)
            }
            Total::View(op, ty, inner) => {
                let inner = self.build(graph, inner);
                graph.apply(op.clone(), &[inner], ty)
            }
            Total::Neg(inner) => {
                let inner = self.build(graph, inner);
                graph.map(Func::Neg, &[inner])
            }
            Total::Add(left, right) => {
                let (left, right) = (self.build(graph, left), self.build(graph, right));
                graph.map(Func::Add, &[left, right])
            }
        };
        sum.expect(VALID)
    }
}
