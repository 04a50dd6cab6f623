//! `Scan`: a recurrence. A small graph, the *body*, runs once a turn; each turn begins with what the last one left.
//!
//! A turn is like a step of a model: the body's states are the values carried from turn to turn (their updates are
//! what the next turn begins with), its outputs are what each turn yields. Its inputs are the slices of this turn
//! and the values that are the same in every turn. The operands of the node are, in this order,
//!
//! - the first values of the carried (`state @carry.0`, …, in the order of the body's updates),
//! - tensors whose axis 0 has an index for each turn (`input @slice.0`, …: a slice lacks that axis),
//! - what all turns read (`input @outer.0`, …).
//!
//! A node has one result, so all of a scan's are one f32 vector: the last carried values, then for each yield the
//! values of all turns, stacked along a new axis 0; each row-major, one after another. `parts` says where each lies, and
//! `Graph::scan` gives them as views. With `reversed`, turn 0 takes the last slices and gives the last of each stack.
//! The body holds no `Random`: fresh numbers for each turn are a slice.

use super::{Family, ShapeError};
use crate::base::{DType, Dim, TensorType};
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Env, Tensor, interpret_step};
use crate::graph::{Graph, NodeId, Op, text, verify};
use smol_str::{SmolStr, format_smolstr};

/// See the module's documentation.
#[derive(Clone, PartialEq, Debug)]
pub struct Scan {
    pub body: Graph,
    pub turns: Dim,
    /// How many operands have a slice for each turn.
    pub n_sliced: usize,
    /// The last slice first.
    pub reversed: bool,
}

/// What a leaf of a body stands for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Role {
    Carry(usize),
    Slice(usize),
    Outer(usize),
}

impl Role {
    pub fn name(self) -> SmolStr {
        match self {
            Role::Carry(i) => format_smolstr!("carry.{i}"),
            Role::Slice(i) => format_smolstr!("slice.{i}"),
            Role::Outer(i) => format_smolstr!("outer.{i}"),
        }
    }

    pub fn of(name: &str) -> Option<Role> {
        let (kind, number) = name.split_once('.')?;
        let i = number.parse().ok()?;
        match kind {
            "carry" => Some(Role::Carry(i)),
            "slice" => Some(Role::Slice(i)),
            "outer" => Some(Role::Outer(i)),
            _ => None,
        }
    }
}

/// One of a scan's results inside of the vector of all.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    pub offset: Dim,
    pub ty: TensorType,
}

impl Scan {
    pub fn n_carried(&self) -> usize {
        self.body.updates.len()
    }

    /// Which operand a leaf of the body reads.
    pub fn operand(&self, role: Role) -> usize {
        match role {
            Role::Carry(i) => i,
            Role::Slice(i) => self.n_carried() + i,
            Role::Outer(i) => self.n_carried() + self.n_sliced + i,
        }
    }

    /// What an operand is to the body.
    pub fn role(&self, operand: usize) -> Role {
        let (carried, sliced) = (self.n_carried(), self.n_sliced);
        match operand {
            i if i < carried => Role::Carry(i),
            i if i < carried + sliced => Role::Slice(i - carried),
            i => Role::Outer(i - carried - sliced),
        }
    }

    /// The leaves of the body, with what they stand for.
    pub fn leaves(&self) -> impl Iterator<Item = (NodeId, Role)> + '_ {
        let role = |id: &NodeId| Role::of(self.body.node(*id).op.leaf_name()?);
        self.body.ids().filter_map(move |id| Some((id, role(&id)?)))
    }

    /// The last carried values, then the stacked yields.
    pub fn parts(&self) -> Vec<Part> {
        let carried = self.body.updates.iter().map(|(leaf, _)| self.body.ty(*leaf).clone());
        let yields = self.body.outputs.iter().map(|(_, id)| stacked(self.body.ty(*id), &self.turns));
        let mut offset = Dim::from(0);
        let place = |ty: TensorType| {
            let part = Part { offset: offset.clone(), ty };
            offset = offset.clone() + part.ty.n_elements();
            part
        };
        carried.chain(yields).map(place).collect()
    }

    /// The vector of all results.
    pub fn ty(&self) -> TensorType {
        let n = self.parts().iter().fold(Dim::from(0), |n, part| n + part.ty.n_elements());
        TensorType::new(DType::F32, [n])
    }

    /// The type of the operand that a leaf of the body reads.
    pub fn operand_type(&self, role: Role, leaf: &TensorType) -> TensorType {
        match role {
            Role::Slice(_) => stacked(leaf, &self.turns),
            Role::Carry(_) | Role::Outer(_) => leaf.clone(),
        }
    }
}

/// With an axis of `turns` in front.
pub fn stacked(ty: &TensorType, turns: &Dim) -> TensorType {
    let shape: Vec<Dim> = std::iter::once(turns.clone()).chain(ty.shape.iter().cloned()).collect();
    TensorType::new(ty.dtype, shape)
}

pub struct Scans;

impl Family for Scans {
    fn infer(&self, op: &Op, operands: &[&TensorType], _: &TensorType) -> Result<TensorType, ShapeError> {
        let Op::Scan(scan) = op else { unreachable!("{op:?} is not of this family") };
        let fail = |text: String| Err(ShapeError::Attribute(text));
        let in_body = |e: String| ShapeError::Attribute(format!("in the scan's body: {e}"));
        verify::verify(&scan.body).map_err(in_body)?;
        let n = scan.n_carried() + scan.n_sliced;
        if operands.len() < n {
            return Err(ShapeError::OperandCount { expected: n, found: operands.len() });
        }
        for (i, (leaf, _)) in scan.body.updates.iter().enumerate() {
            if scan.body.node(*leaf).op.leaf_name() != Some(&Role::Carry(i).name()) {
                return fail(format!("the scan's update {i} is not of {}", Role::Carry(i).name()));
            }
        }
        for id in scan.body.ids() {
            let node = scan.body.node(id);
            let Some(name) = node.op.leaf_name() else {
                if matches!(node.op, Op::Random { .. }) {
                    return fail("fresh numbers in a scan's body".into());
                }
                continue;
            };
            let role = Role::of(name).filter(|role| scan.operand(*role) < operands.len());
            let Some(role) = role else { return fail(format!("the scan has no operand for {name}")) };
            let expected = scan.operand_type(role, &node.ty);
            let found = operands[scan.operand(role)];
            if *found != expected {
                return fail(format!("{name} of the scan is {found}, not {expected}"));
            }
        }
        let results = scan.body.updates.iter().map(|(leaf, _)| leaf);
        for id in results.chain(scan.body.outputs.iter().map(|(_, id)| id)) {
            if scan.body.dtype(*id) != DType::F32 {
                return fail(format!("a scan carries and yields f32, not {}", scan.body.dtype(*id)));
            }
        }
        Ok(scan.ty())
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::Scan(scan) = op else { unreachable!("{op:?} is not of this family") };
        let turns = cx.env.dim(&scan.turns)?.max(0) as usize;
        let n_carried = scan.n_carried();
        let mut carried: Vec<Tensor> = operands[..n_carried].iter().map(|x| (*x).clone()).collect();
        let mut yields: Vec<Vec<Vec<f64>>> = vec![vec![Vec::new(); turns]; scan.body.outputs.len()];
        for turn in 0..turns {
            let at = if scan.reversed { turns - 1 - turn } else { turn };
            let mut env = Env { leaves: Default::default(), ..cx.env.clone() };
            for (i, operand) in operands.iter().enumerate() {
                let role = scan.role(i);
                let value = match role {
                    Role::Carry(i) => carried[i].clone(),
                    Role::Slice(_) => slice(operand, at),
                    Role::Outer(_) => (*operand).clone(),
                };
                env.leaves.insert(role.name(), value);
            }
            let (outputs, updates) =
                interpret_step(&scan.body, &env).map_err(|e| format!("turn {turn}: {e}"))?;
            for (stack, (name, _)) in yields.iter_mut().zip(&scan.body.outputs) {
                stack[at] = outputs[name].data.clone();
            }
            for (i, carry) in carried.iter_mut().enumerate() {
                *carry = updates[&Role::Carry(i).name()].clone();
            }
        }
        let carried = carried.into_iter().flat_map(|x| x.data);
        let all: Vec<f64> = carried.chain(yields.into_iter().flatten().flatten()).collect();
        Ok(Tensor::new(cx.shape.clone(), all))
    }

    fn print(&self, op: &Op) -> String {
        let Op::Scan(scan) = op else { unreachable!("{op:?} is not of this family") };
        let order = if scan.reversed { " reversed" } else { "" };
        let body = text::print(&scan.body, false);
        let inside = body.lines().filter(|line| line.starts_with("  "));
        let inside: String = inside.map(|line| format!("  {line}\n")).collect();
        format!("scan [{}] slices {}{order} {{\n{inside}  }}", scan.turns, scan.n_sliced)
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        if keyword != "scan" {
            return Ok(None);
        }
        let mut turns = cursor.list(Cursor::dim)?;
        let (Some(turns), true) = (turns.pop(), turns.is_empty()) else {
            return cursor.error("expected one number of turns");
        };
        cursor.expect("slices")?;
        let n_sliced = cursor.integer()?;
        let reversed = cursor.take("reversed");
        let inside = cursor.braces()?;
        match text::parse(&format!("graph {{\n{inside}\n}}")) {
            Ok(body) => Ok(Some(Op::Scan(Box::new(Scan { body, turns, n_sliced, reversed })))),
            Err(e) => cursor.error(format!("in the scan's body: {e}")),
        }
    }
}

fn slice(x: &Tensor, at: usize) -> Tensor {
    let n: usize = x.shape[1..].iter().product();
    Tensor::new(&x.shape[1..], &x.data[at * n..(at + 1) * n])
}

impl Graph {
    /// A scan as views of its results: the last carried values, and the stacked yields.
    ///
    /// # Errors
    /// If operands and body do not fit together.
    pub fn scan(
        &mut self,
        scan: Scan,
        operands: &[NodeId],
    ) -> Result<(Vec<NodeId>, Vec<NodeId>), ShapeError> {
        let (parts, n_carried) = (scan.parts(), scan.n_carried());
        let all = self.apply_inferred(Op::Scan(Box::new(scan)), operands)?;
        let view = |part: &Part| {
            let flat = self.slice(all, [part.offset.clone()], &[1], [part.ty.n_elements()])?;
            self.reshape(flat, part.ty.shape.clone())
        };
        let mut views = parts.iter().map(view).collect::<Result<Vec<_>, _>>()?;
        let yields = views.split_off(n_carried);
        Ok((views, yields))
    }
}
