//! Scans do in each turn only what must wait for the turn before.
//!
//! - A body is optimized like any graph.
//! - Results that nobody reads are not made, and operands that the body does not read are not given.
//! - What is the same in all turns is worked out once, before the scan.
//! - A product that does not depend on what is carried is worked out for all turns at once, and its slices are read:
//!   `scan { h <- tanh(x_t w + h u) }` is `z = x w; scan { h <- tanh(z_t + h u) }`, one large product in place of many
//!   small ones. In the backward pass this is the whole of what is worked out again.
//! - A product that is only yielded is made of its stacked operands after the scan.
//!
//! Products leave the innermost scans only: of a scan in segments the point is that not all turns' values exist at once.
//! Before: `scan [t] { … %p = contract %slice, %outer … }`; after: `contract` of the stack, and a scan without it.

use super::{optimize, put};
use crate::base::TensorType;
use crate::graph::op::scan::{Part, Role, stacked};
use crate::graph::rewrite::{Rewriter, Users, copy_node, use_counts};
use crate::graph::vectorize::{Lift, Operand};
use crate::graph::{Graph, Kind, Node, NodeId, Op, Scan, View};
use smol_str::{SmolStr, format_smolstr};
use std::collections::HashMap;

pub fn run(graph: &mut Graph) -> bool {
    if !graph.ids().any(|id| graph.node(id).kind() == Kind::Scan) {
        return false;
    }
    let new = with_less_in_turns(graph);
    put(graph, new)
}

fn with_less_in_turns(graph: &Graph) -> Graph {
    let users = Users::new(graph);
    let roots: Vec<NodeId> = graph.roots().collect();
    let mut rewriter = Rewriter::new(graph);
    // Of each scan taken apart: its parts, and what is in their places now.
    let mut taken: HashMap<NodeId, Vec<(Part, Option<NodeId>)>> = HashMap::new();
    for id in graph.ids() {
        rewriter.enter(id);
        let node = graph.node(id);
        match &node.op {
            Op::Scan(scan) => {
                let parts = scan.parts();
                let read: Option<Vec<usize>> =
                    users.of(id).iter().map(|user| part_read(graph.node(*user), &parts)).collect();
                let body = optimize(&scan.body);
                let scan = Scan { body, ..(**scan).clone() };
                match read.filter(|_| !roots.contains(&id)) {
                    Some(read) => {
                        let operands = rewriter.operands(id);
                        let values = rebuild(&mut rewriter.new, scan, &operands, &read);
                        taken.insert(id, parts.into_iter().zip(values).collect());
                    }
                    None => {
                        let operands = rewriter.operands(id);
                        let image = Node::new(
                            Op::Scan(Box::new(scan)),
                            node.ty.clone(),
                            operands,
                            node.origin.clone(),
                        );
                        let image = rewriter.new.push(image);
                        rewriter.set(id, image);
                    }
                }
            }
            _ => match node.operands.first().and_then(|x| taken.get(x)) {
                Some(parts) => {
                    let only: Vec<Part> = parts.iter().map(|(part, _)| part.clone()).collect();
                    let at = part_read(node, &only).expect("all users read parts");
                    rewriter.set(id, parts[at].1.expect("what is read was made"));
                }
                None => {
                    rewriter.copy(id);
                }
            },
        }
    }
    rewriter.finish()
}

/// Which part of a scan's results a node is.
fn part_read(user: &Node, parts: &[Part]) -> Option<usize> {
    let Op::View(View::Slice { start, step }) = &user.op else { return None };
    let is =
        |part: &Part| part.offset == start[0] && step[0] == 1 && part.ty.n_elements() == user.ty.n_elements();
    parts.iter().position(is)
}

/// The scan without what is not read or need not be inside: for each old part that is read, its vector.
fn rebuild(graph: &mut Graph, scan: Scan, operands: &[NodeId], read: &[usize]) -> Vec<Option<NodeId>> {
    let n_carried = scan.n_carried();
    let mut cx = Motion::new(graph, &scan, operands);
    let innermost = scan.body.ids().all(|id| !matches!(scan.body.node(id).op, Op::Scan(_)));
    let sunk = if innermost { sinkable(&scan.body) } else { Vec::new() };
    let places: Vec<Option<Place>> = scan
        .body
        .outputs
        .iter()
        .enumerate()
        .map(|(i, (name, value))| {
            let free = innermost && !cx.of_carried[value.index()];
            read.contains(&(n_carried + i)).then(|| match sunk.contains(value) {
                _ if free => Place::Outside(cx.outside(*value)),
                true => {
                    let of = &scan.body.node(*value).operands;
                    let of = of.into_iter().map(|x| cx.factor(*x, innermost)).collect();
                    Place::Sunk(*value, of)
                }
                false => Place::Yield(cx.yielded(*value, Some(name.clone()), innermost)),
            })
        })
        .collect();
    for (leaf, next) in &scan.body.updates {
        let next = cx.inside(*next, innermost);
        let leaf = cx.inside(*leaf, innermost);
        cx.body.updates.push((leaf, next));
    }
    let (new, all_operands) = cx.finish();
    let (last, stacks) = graph.scan(new, &all_operands).expect("the same values in each turn");
    let flat = |graph: &mut Graph, x: NodeId| {
        let n = graph.ty(x).n_elements();
        graph.reshape(x, [n]).expect("as many elements")
    };
    let mut values: Vec<Option<NodeId>> =
        (0..n_carried).map(|i| read.contains(&i).then(|| flat(graph, last[i]))).collect();
    for place in places {
        let value = place.map(|place| match place {
            Place::Yield(i) => stacks[i],
            Place::Outside((x, true)) => x,
            Place::Outside((x, false)) => {
                let ty = stacked(graph.ty(x), &scan.turns);
                let axes: Vec<usize> = (1..ty.rank()).collect();
                graph.broadcast(x, &axes, ty.shape).expect("one more axis")
            }
            Place::Sunk(node, factors) => {
                let of: Vec<Operand> = factors
                    .into_iter()
                    .map(|factor| match factor {
                        Factor::Yield(i) => (stacks[i], true),
                        Factor::Outside(x) => x,
                    })
                    .collect();
                lift(graph, &scan, node, &of)
            }
        });
        values.push(value.map(|x| flat(graph, x)));
    }
    values
}

/// A node of the body for all turns.
fn lift(graph: &mut Graph, scan: &Scan, node: NodeId, operands: &[Operand]) -> NodeId {
    let mut none = || unreachable!("the body of a scan has no random numbers");
    let mut lift = Lift { n: scan.turns.clone(), new_site: &mut none };
    lift.node(graph, scan.body.node(node), operands).expect("a letter is left for the turns")
}

/// Products that are yielded and used for nothing else.
fn sinkable(body: &Graph) -> Vec<NodeId> {
    let counts = use_counts(body);
    let is_only_yielded = |id: &NodeId| {
        let yields = body.outputs.iter().filter(|(_, value)| value == id).count();
        matches!(body.node(*id).op, Op::Contract(_)) && counts[id.index()] == yields
    };
    body.outputs.iter().map(|(_, id)| *id).filter(is_only_yielded).collect()
}

/// Where an old yield is found.
enum Place {
    Yield(usize),
    /// It does not depend on what is carried, and is made outside.
    Outside(Operand),
    /// The product of these, after the scan.
    Sunk(NodeId, Vec<Factor>),
}

enum Factor {
    Yield(usize),
    Outside(Operand),
}

/// A body on its way into a smaller one.
struct Motion<'a> {
    graph: &'a mut Graph,
    scan: &'a Scan,
    operands: &'a [NodeId],
    /// By node of the old body: whether it depends on a slice, on what is carried, on anything but numbers.
    of_slices: Vec<bool>,
    of_carried: Vec<bool>,
    of_leaves: Vec<bool>,
    body: Graph,
    image: HashMap<NodeId, NodeId>,
    /// What old nodes are outside: lifted, if they depend on slices.
    outside: HashMap<NodeId, Operand>,
    slices: Vec<NodeId>,
    outer: Vec<NodeId>,
}

impl<'a> Motion<'a> {
    fn new(graph: &'a mut Graph, scan: &'a Scan, operands: &'a [NodeId]) -> Motion<'a> {
        let n = scan.body.len();
        let (mut of_slices, mut of_carried, mut of_leaves) = (vec![false; n], vec![false; n], vec![false; n]);
        for (leaf, role) in scan.leaves() {
            of_leaves[leaf.index()] = true;
            of_slices[leaf.index()] = matches!(role, Role::Slice(_));
            of_carried[leaf.index()] = matches!(role, Role::Carry(_));
        }
        for id in scan.body.ids() {
            for operand in &scan.body.node(id).operands {
                of_slices[id.index()] |= of_slices[operand.index()];
                of_carried[id.index()] |= of_carried[operand.index()];
                of_leaves[id.index()] |= of_leaves[operand.index()];
            }
        }
        let (body, image, outside) = (Graph::new(), HashMap::new(), HashMap::new());
        let (slices, outer) = (Vec::new(), Vec::new());
        let mut cx = Motion {
            graph,
            scan,
            operands,
            of_slices,
            of_carried,
            of_leaves,
            body,
            image,
            outside,
            slices,
            outer,
        };
        // Carried values first, for they are all there.
        for (i, (leaf, _)) in scan.body.updates.iter().enumerate() {
            let new = cx.body.state(Role::Carry(i).name(), scan.body.ty(*leaf).clone());
            cx.image.insert(*leaf, new);
        }
        cx
    }

    /// Whether a node is better worked out before the scan.
    fn leaves(&self, id: NodeId, innermost: bool) -> bool {
        let node = self.scan.body.node(id);
        let has_work = !matches!(
            node.op,
            Op::View(_)
                | Op::Const(_)
                | Op::Size(_)
                | Op::Iota { .. }
                | Op::Input(_)
                | Op::State(_)
                | Op::Detach
        );
        let i = id.index();
        has_work
            && !self.of_carried[i]
            && match self.of_slices[i] {
                true => innermost && matches!(node.op, Op::Contract(_)),
                // What is made of numbers alone is as cheap inside.
                false => self.of_leaves[i],
            }
    }

    /// The node in the new body.
    fn inside(&mut self, id: NodeId, innermost: bool) -> NodeId {
        if let Some(image) = self.image.get(&id) {
            return *image;
        }
        let node = self.scan.body.node(id);
        let role = node.op.leaf_name().and_then(|name| Role::of(name));
        let image = if role.is_some() || self.leaves(id, innermost) {
            let (value, lifted) = self.outside(id);
            self.leaf(value, lifted, &node.ty)
        } else {
            let operands: Vec<NodeId> = node.operands.iter().map(|x| self.inside(*x, innermost)).collect();
            copy_node(&mut self.body, self.scan.body.node(id), &operands)
        };
        self.image.insert(id, image);
        image
    }

    /// A leaf of the new body for a value outside; one for each value.
    fn leaf(&mut self, value: NodeId, lifted: bool, ty: &TensorType) -> NodeId {
        let values = if lifted { &mut self.slices } else { &mut self.outer };
        let at = values.iter().position(|x| *x == value).unwrap_or_else(|| {
            values.push(value);
            values.len() - 1
        });
        let name = if lifted { Role::Slice(at).name() } else { Role::Outer(at).name() };
        let known = self.body.ids().find(|id| self.body.node(*id).op.leaf_name() == Some(&name));
        known.unwrap_or_else(|| self.body.input(name, ty.clone()))
    }

    /// What a node that does not depend on what is carried is for all turns.
    fn outside(&mut self, id: NodeId) -> Operand {
        if let Some(known) = self.outside.get(&id) {
            return *known;
        }
        let node = self.scan.body.node(id);
        let role = node.op.leaf_name().and_then(|name| Role::of(name));
        let value = match role {
            Some(role) => (self.operands[self.scan.operand(role)], matches!(role, Role::Slice(_))),
            None => {
                let operands: Vec<Operand> = node.operands.iter().map(|x| self.outside(*x)).collect();
                if operands.iter().any(|x| x.1) {
                    (lift(self.graph, self.scan, id, &operands), true)
                } else {
                    let operands: Vec<NodeId> = operands.iter().map(|x| x.0).collect();
                    (copy_node(self.graph, self.scan.body.node(id), &operands), false)
                }
            }
        };
        self.outside.insert(id, value);
        value
    }

    /// Which yield of the new body a value is; `name`: what it is to be called if it is none yet.
    fn yielded(&mut self, id: NodeId, name: Option<SmolStr>, innermost: bool) -> usize {
        let value = self.inside(id, innermost);
        if let Some(at) = self.body.outputs.iter().position(|(_, other)| *other == value) {
            return at;
        }
        let is_free = |cx: &Self, name: &SmolStr| {
            let all = cx.scan.body.outputs.iter().chain(&cx.body.outputs);
            all.into_iter().all(|(other, _)| other != name)
        };
        let name = name.unwrap_or_else(|| {
            let names = (0..).map(|i| format_smolstr!("yield.{i}"));
            names.into_iter().find(|name| is_free(self, name)).expect("there are more names than yields")
        });
        self.body.outputs.push((name, value));
        self.body.outputs.len() - 1
    }

    fn factor(&mut self, id: NodeId, innermost: bool) -> Factor {
        if self.of_carried[id.index()] {
            return Factor::Yield(self.yielded(id, None, innermost));
        }
        Factor::Outside(self.outside(id))
    }

    /// The new scan and its operands.
    fn finish(self) -> (Scan, Vec<NodeId>) {
        let n_carried = self.scan.n_carried();
        let first = self.operands[..n_carried].iter();
        let operands = first.chain(&self.slices).chain(&self.outer).copied().collect();
        let scan = Scan {
            body: self.body,
            turns: self.scan.turns.clone(),
            n_sliced: self.slices.len(),
            reversed: self.scan.reversed,
        };
        (scan, operands)
    }
}
