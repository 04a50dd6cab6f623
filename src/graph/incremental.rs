//! From a graph over a whole sequence to one that goes on by a single place: how text is generated without reading all of
//! it again.
//!
//! What enters: a graph of fixed sizes, and the input that holds the sequence, `[1, n]`. What leaves: a graph that works out
//! every output, `[1, n, ..]`, at one place only. It reads the whole input, the scalar i32 input `PLACE`, and values kept from the places
//! before: states, each updated by this place's row. Attention keeps its keys and values in this way, a recurrence what
//! it carries; neither is known here.
//!
//! A node is needed *whole*, or at one place along an axis: its *row*. `direct` says for each primitive which forms of its
//! operands a row is made of; where it says nothing, the row is read out of the whole. An axis along which the rows of a
//! node are made of rows, down to the sequence itself, is an axis of *places*. What has one such axis and is needed whole is kept.
//!
//! This is sound for a graph in which what stands at a place depends on nothing behind it; whether that is so the caller has
//! to see by trying other values behind a place (`train/generate.rs`). Whatever stands in the kept values there must be finite.

use super::op::scan::Role;
use super::{Built, Graph, NodeId, Op, Scan, View};
use crate::base::{DType, Dim, TensorType};
use crate::scalar::Func;
use smol_str::{SmolStr, format_smolstr};
use std::collections::{BTreeSet, HashMap};

/// The input that says which place it is: i32, from 0.
pub const PLACE: &str = "place";

/// See the module's documentation.
pub struct Incremental {
    /// Its outputs are `[1, 1, ..]`.
    pub graph: Graph,
    /// Values from step to step, zeros at the beginning.
    pub kept: Vec<(SmolStr, TensorType)>,
}

/// How much of a node is needed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Form {
    Whole,
    /// One place along the axis, which has size 1.
    Row(usize),
    /// One turn of a scan that goes from place to place: all its results.
    Turn,
}

type Need = (NodeId, Form);

/// The graph that goes on by a place; `input` holds the sequence.
///
/// # Errors
/// None, for a graph that is well-typed and has fixed sizes.
pub fn incremental(whole: &Graph, input: &str) -> Result<Incremental, super::ShapeError> {
    let sequence = Sequence::of(whole, input);
    let outputs: Vec<(SmolStr, Need)> =
        whole.outputs.iter().map(|(name, id)| (name.clone(), (*id, Form::Row(1)))).collect();
    let mut needed: Vec<BTreeSet<Form>> = vec![BTreeSet::new(); whole.len()];
    for (_, (id, form)) in &outputs {
        needed[id.index()].insert(*form);
    }
    for id in whole.ids().rev() {
        // A node's whole and row may need one another's.
        let mut todo: Vec<Form> = needed[id.index()].iter().copied().collect();
        while let Some(form) = todo.pop() {
            for (of, form) in sequence.needs((id, form)) {
                if needed[of.index()].insert(form) && of == id {
                    todo.push(form);
                }
            }
        }
    }
    let mut new =
        Builder { sequence: &sequence, graph: Graph::new(), made: HashMap::new(), kept: Vec::new() };
    for id in whole.ids() {
        new.graph.origin = whole.node(id).origin.clone();
        // What needs the other form of the same node comes after it.
        let (first, last): (Vec<Form>, Vec<Form>) = needed[id.index()]
            .iter()
            .partition(|form| sequence.needs((id, **form)).iter().all(|n| n.0 != id));
        for form in first.into_iter().chain(last) {
            let made = new.make((id, form))?;
            new.made.insert((id, form), made);
        }
    }
    new.graph.outputs = outputs.iter().map(|(name, need)| (name.clone(), new.made[need])).collect();
    Ok(Incremental { graph: new.graph, kept: new.kept })
}

/// What is known of the graph over the whole sequence.
struct Sequence<'a> {
    graph: &'a Graph,
    input: NodeId,
    /// Whether the node depends on the sequence.
    depends: Vec<bool>,
    /// The axes of places of a node that depends on it.
    places: Vec<Vec<usize>>,
}

impl<'a> Sequence<'a> {
    fn of(graph: &'a Graph, input: &str) -> Sequence<'a> {
        let is_input = |id: &NodeId| matches!(&graph.node(*id).op, Op::Input(name) if name == input);
        let input = graph.ids().find(is_input).unwrap_or(NodeId(u32::MAX));
        let mut it = Sequence { graph, input, depends: Vec::new(), places: Vec::new() };
        for id in graph.ids() {
            let depends = id == input || graph.node(id).operands.iter().any(|x| it.depends[x.index()]);
            it.depends.push(depends);
            let n_axes = if depends { graph.ty(id).rank() } else { 0 };
            let places = (0..n_axes).filter(|axis| it.is_place(id, *axis)).collect();
            it.places.push(places);
        }
        it
    }

    fn is_place(&self, id: NodeId, axis: usize) -> bool {
        if id == self.input {
            return axis == 1;
        }
        let Some(needs) = self.direct(id, axis) else { return false };
        let mut rows = needs.iter().filter(|(of, form)| *form != Form::Whole && self.depends[of.index()]);
        let holds = |(of, form): &Need| match form {
            Form::Row(axis) => self.places[of.index()].contains(axis),
            _ => true,
        };
        rows.clone().next().is_some() && rows.all(holds)
    }

    /// The axis along which a node that is needed whole is kept. Views that repeat elements are made anew.
    fn kept_along(&self, id: NodeId) -> Option<usize> {
        let node = self.graph.node(id);
        let kept = node.ty.dtype == DType::F32 && id != self.input && !self.repeats(id);
        match self.places[id.index()][..] {
            [axis] if kept => Some(axis),
            _ => None,
        }
    }

    /// Whether the node is views of something, elements of which it has more than once.
    fn repeats(&self, mut id: NodeId) -> bool {
        loop {
            let node = self.graph.node(id);
            match &node.op {
                Op::View(View::Broadcast { .. } | View::Window(_)) => return true,
                Op::View(_) => id = node.operands[0],
                _ => return false,
            }
        }
    }

    /// What a form of a node is made of.
    fn needs(&self, (id, form): Need) -> Vec<Need> {
        match form {
            Form::Whole => match self.kept_along(id) {
                Some(axis) => vec![(id, Form::Row(axis))],
                None => self.graph.node(id).operands.iter().map(|x| (*x, Form::Whole)).collect(),
            },
            Form::Row(axis) => self.direct(id, axis).unwrap_or_else(|| vec![(id, Form::Whole)]),
            Form::Turn => self.turn(id).expect("asked for where there is one"),
        }
    }

    /// Forms of the operands (or of the scan that a stack of results is read from) that make a row; `None` where the row
    /// has to be read out of the whole.
    fn direct(&self, id: NodeId, axis: usize) -> Option<Vec<Need>> {
        let node = self.graph.node(id);
        let operand = |i: usize| node.operands[i];
        let same = |axis: usize| node.operands.iter().map(|x| (*x, Form::Row(axis))).collect::<Vec<Need>>();
        let one = |form: Form| Some(vec![(operand(0), form)]);
        match &node.op {
            Op::Iota { .. } => Some(Vec::new()),
            Op::Map(_) | Op::Cast | Op::Detach => Some(same(axis)),
            Op::After => Some(vec![(operand(0), Form::Row(axis)), (operand(1), Form::Whole)]),
            Op::Reduce { axes, .. } => one(Form::Row(without(axes, axis))),
            Op::ArgMax { axis: gone } => one(Form::Row(without(&[*gone], axis))),
            Op::Sort { axis: along, .. } if *along != axis => one(Form::Row(axis)),
            Op::Concat { axis: along } if *along != axis => Some(same(axis)),
            Op::Contract(contraction) => {
                let label = contraction.out[axis];
                let form =
                    |labels: &[u8]| labels.iter().position(|l| *l == label).map_or(Form::Whole, Form::Row);
                Some(vec![(operand(0), form(&contraction.lhs)), (operand(1), form(&contraction.rhs))])
            }
            Op::Gather { axis: along, batch } => {
                let rank = self.graph.ty(operand(1)).rank();
                let (table, indices) = match axis {
                    a if a < *batch => (Form::Row(a), Form::Row(a)),
                    a if a < *along => (Form::Row(a), Form::Whole),
                    a if a < along + rank - batch => (Form::Whole, Form::Row(a - along + batch)),
                    a => (Form::Row(a + 1 + batch - rank), Form::Whole),
                };
                Some(vec![(operand(0), table), (operand(1), indices)])
            }
            Op::View(view) => {
                if axis == 0
                    && let Some((scan, _)) = self.stack(id)
                {
                    return Some(vec![(scan, Form::Turn)]);
                }
                let from = &self.graph.ty(operand(0)).shape;
                let whole_axis = |start: &[Dim], step: &[i64]| {
                    start[axis].is_const(0) && step[axis] == 1 && from[axis] == node.ty.shape[axis]
                };
                match view {
                    View::Permute(permutation) => one(Form::Row(permutation[axis])),
                    View::Broadcast { axes } => {
                        one(axes.iter().position(|to| *to == axis).map_or(Form::Whole, Form::Row))
                    }
                    View::Reshape => one(Form::Row(before_reshape(from, &node.ty.shape, axis)?)),
                    View::Slice { start, step } | View::Pad { start, step } if whole_axis(start, step) => {
                        one(Form::Row(axis))
                    }
                    View::Flip { axes } if !axes.contains(&axis) => one(Form::Row(axis)),
                    View::Window(window) if axis < window.axis => one(Form::Row(axis)),
                    View::Window(window) if axis > window.axis + 1 => one(Form::Row(axis - 1)),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The scan, and which of its yields, if the node is the stack of what turns at places have yielded.
    fn stack(&self, id: NodeId) -> Option<(NodeId, usize)> {
        let graph = self.graph;
        let of = |id: NodeId| graph.node(id).operands.first().copied();
        let flat = of(id)?;
        let (Op::View(View::Reshape), Op::View(View::Slice { start, .. })) =
            (&graph.node(id).op, &graph.node(flat).op)
        else {
            return None;
        };
        let from = of(flat)?;
        let Op::Scan(scan) = &graph.node(from).op else { return None };
        let parts = scan.parts();
        let i = parts.iter().position(|part| part.offset == start[0] && part.ty == *graph.ty(id))?;
        let is_yield = i >= scan.n_carried() && !scan.turns.is_const(0);
        (is_yield && self.turn(from).is_some()).then(|| (from, i - scan.n_carried()))
    }

    /// What a turn of a scan is made of, if its turns go from place to place.
    fn turn(&self, id: NodeId) -> Option<Vec<Need>> {
        let node = self.graph.node(id);
        let Op::Scan(scan) = &node.op else { return None };
        let depends = |x: NodeId| self.depends[x.index()];
        let mut goes_along = false;
        let mut needs = Vec::new();
        for (i, x) in node.operands.iter().enumerate() {
            let is_slice = matches!(scan.role(i), Role::Slice(_));
            if depends(*x) && !(is_slice && self.places[x.index()] == [0]) {
                return None;
            }
            goes_along |= depends(*x);
            needs.push((*x, if is_slice { Form::Row(0) } else { Form::Whole }));
        }
        (goes_along && !scan.reversed).then_some(needs)
    }
}

/// The axis of the operand that is `axis` once `gone` are taken out.
fn without(gone: &[usize], axis: usize) -> usize {
    let mut axis = axis;
    for gone in gone {
        axis += usize::from(*gone <= axis);
    }
    axis
}

/// The axis that a reshape leaves as it is, by its number after and before.
fn before_reshape(from: &[Dim], to: &[Dim], axis: usize) -> Option<usize> {
    let product = |dims: &[Dim]| dims.iter().fold(Dim::from(1), |p, d| p * d.clone());
    let before = product(&to[..axis]);
    // Of axes of one size that stand between axes of size 1, any will do.
    (0..from.len()).find(|i| from[*i] == to[axis] && product(&from[..*i]) == before)
}

struct Builder<'a> {
    sequence: &'a Sequence<'a>,
    graph: Graph,
    made: HashMap<Need, NodeId>,
    kept: Vec<(SmolStr, TensorType)>,
}

impl Builder<'_> {
    fn make(&mut self, (id, form): Need) -> Built {
        let node = self.sequence.graph.node(id);
        let images: Vec<NodeId> =
            self.sequence.needs((id, form)).iter().map(|need| self.made[need]).collect();
        match form {
            Form::Whole => match self.sequence.kept_along(id) {
                Some(axis) => self.keep(images[0], &node.ty, axis),
                None => self.graph.apply(node.op.clone(), &images, &node.ty),
            },
            Form::Turn => self.turn(node.op.clone(), &images),
            Form::Row(axis) => {
                let ty = cut(&node.ty, axis);
                if self.sequence.direct(id, axis).is_none() {
                    let place = self.place(&[Dim::from(1)])?;
                    return self.graph.gather(images[0], place, axis);
                }
                match (&node.op, self.sequence.stack(id)) {
                    (Op::Iota { axis: along }, _) if *along == axis => self.place(&ty.shape),
                    (Op::View(_), Some((scan, number))) if axis == 0 => self.yielded(scan, number, images[0]),
                    (op, _) => self.graph.apply(op.clone(), &images, &ty),
                }
            }
        }
    }

    /// The place, everywhere.
    fn place(&mut self, shape: &[Dim]) -> Built {
        let place = match self
            .graph
            .ids()
            .find(|id| matches!(&self.graph.node(*id).op, Op::Input(name) if name == PLACE))
        {
            Some(place) => place,
            None => self.graph.input(PLACE, TensorType::scalar(DType::I32)),
        };
        self.graph.broadcast_to(place, shape)
    }

    fn state(&mut self, ty: TensorType) -> NodeId {
        let name = format_smolstr!("kept/{}", self.kept.len());
        self.kept.push((name.clone(), ty.clone()));
        self.graph.state(name, ty)
    }

    /// All rows, this one being new.
    fn keep(&mut self, row: NodeId, ty: &TensorType, axis: usize) -> Built {
        let state = self.state(ty.clone());
        let index = self.graph.iota(ty.shape.clone(), axis)?;
        let place = self.place(&ty.shape)?;
        let is_here = self.graph.map(Func::Eq, &[index, place])?;
        let flat: Vec<Dim> =
            ty.shape.iter().enumerate().filter(|(i, _)| *i != axis).map(|(_, d)| d.clone()).collect();
        let row = self.graph.reshape(row, flat)?;
        let axes: Vec<usize> = (0..ty.rank()).filter(|i| *i != axis).collect();
        let row = self.graph.broadcast(row, &axes, ty.shape.clone())?;
        let next = self.graph.map(Func::Select, &[is_here, row, state])?;
        self.graph.updates.push((state, next));
        Ok(next)
    }

    /// A scan of one turn, which begins with what the last one left.
    fn turn(&mut self, op: Op, images: &[NodeId]) -> Built {
        let Op::Scan(scan) = op else { unreachable!("only a scan has turns") };
        let scan = Scan { turns: Dim::from(1), ..*scan };
        let mut operands = images.to_vec();
        let mut states = Vec::new();
        for first in operands.iter_mut().take(scan.n_carried()) {
            let ty = self.graph.ty(*first).clone();
            let state = self.state(ty.clone());
            let place = self.place(&ty.shape)?;
            let zero = self.graph.full(0.0, &TensorType::new(DType::I32, ty.shape));
            let begins = self.graph.map(Func::Eq, &[place, zero])?;
            *first = self.graph.map(Func::Select, &[begins, *first, state])?;
            states.push(state);
        }
        let parts = scan.parts();
        let all = self.graph.apply_inferred(Op::Scan(Box::new(scan)), &operands)?;
        for (state, part) in states.into_iter().zip(parts) {
            let flat = self.graph.slice(all, [part.offset], &[1], [part.ty.n_elements()])?;
            let last = self.graph.reshape(flat, part.ty.shape)?;
            self.graph.updates.push((state, last));
        }
        Ok(all)
    }

    /// What a turn has yielded, out of all its results.
    fn yielded(&mut self, scan: NodeId, number: usize, all: NodeId) -> Built {
        let Op::Scan(scan) = &self.sequence.graph.node(scan).op else { unreachable!("found as a scan") };
        let turn = Scan { turns: Dim::from(1), ..(**scan).clone() };
        let part = turn.parts().swap_remove(scan.n_carried() + number);
        let flat = self.graph.slice(all, [part.offset], &[1], [part.ty.n_elements()])?;
        self.graph.reshape(flat, part.ty.shape)
    }
}

/// With one place along `axis`.
fn cut(ty: &TensorType, axis: usize) -> TensorType {
    let mut ty = ty.clone();
    ty.shape[axis] = Dim::from(1);
    ty
}
