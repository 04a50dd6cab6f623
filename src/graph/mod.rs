//! The tensor graph: what a model means, before anything is decided about how to compute it.
//!
//! A graph is a directed acyclic graph of nodes, each a primitive applied to ordered operands, with one typed
//! output tensor. Evaluation is pure: a node's value depends on its operands' values, on the step's inputs, on
//! the variables' values *before* the step and, for `Random`, on (seed, step, site). `outputs` name what the
//! caller reads (loss, metrics, predictions). `updates` say what each variable holds *after* the step; they all
//! read old values, so their order means nothing.
//!
//! Sizes may be symbolic. A graph that is to be compiled has one free symbol at most: `batch`, the number of
//! examples in this step.
//!
//! Invariant (see `verify.rs` for all of them): operands come before their users, so node order is a
//! topological order; the type of every node is what its primitive's shape rule gives. What a node is
//! never changes, so graphs share it: a copy of a node, on the same operands or others, costs no more than its operands.
//!
//! The graph does not know about fusion, memory, devices, or the model's text (beyond an `Origin` kept for
//! messages).

#[doc(hidden)]
pub mod arbitrary;
mod builder;
pub mod capture;
mod compose;
mod cursor;
mod dot;
pub mod incremental;
pub mod interpret;
mod kind;
mod nodes;
pub mod op;
mod operands;
pub mod rewrite;
mod tensor;
pub mod text;
pub mod vectorize;
pub mod verify;

pub use builder::{Built, common_shape};
pub use dot::dot;
pub use kind::Kind;
pub use op::scan::Scan;
pub use op::{AxisSize, ShapeError};
pub use operands::Operands;

#[cfg(test)]
mod tests;

use crate::base::{DType, Dim, Distribution, ReduceOp, TensorType};
use crate::scalar::Func;
use nodes::Nodes;
use petgraph::graph::{DiGraph, NodeIndex};
use smol_str::SmolStr;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A node; prints as in the text form, `%12`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where in the model's text a node came from; empty for what the compiler made up.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Origin {
    pub span: Option<gradc_dsl::Span>,
    /// The path of calls, `classifier.dense.0`.
    pub scope: SmolStr,
}

/// A primitive applied to operands; its fields are those of its `Body`.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    body: Arc<Body>,
    pub operands: Operands,
    kind: Kind,
}

/// What a node is but for its operands, which alone differ where a graph is like another: so graphs share it.
#[derive(Clone, PartialEq, Debug)]
pub struct Body {
    pub op: Op,
    pub ty: TensorType,
    pub origin: Origin,
}

impl Deref for Node {
    type Target = Body;
    fn deref(&self) -> &Body {
        &self.body
    }
}

impl Node {
    pub fn new(op: Op, ty: TensorType, operands: impl Into<Operands>, origin: Origin) -> Node {
        let kind = Kind::of(&op);
        Node { body: Arc::new(Body { op, ty, origin }), operands: operands.into(), kind }
    }

    /// The same on other operands.
    pub fn on(&self, operands: impl Into<Operands>) -> Node {
        Node { body: self.body.clone(), operands: operands.into(), kind: self.kind }
    }

    /// Takes another's origin, unless it is that one on other operands. Whether it could: what others share stays as it is.
    fn comes_from(&mut self, other: &Node) -> bool {
        match Arc::get_mut(&mut self.body) {
            Some(body) => body.origin.clone_from(&other.origin),
            None => return Arc::ptr_eq(&self.body, &other.body),
        }
        true
    }

    /// Itself on other operands.
    pub fn moved_on(self, operands: Operands) -> Node {
        Node { operands, ..self }
    }

    /// What its op is; to ask this first spares a look at the op of nodes that are of no interest.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same primitive and type; origins do not count.
    pub fn is_alike(&self, other: &Node) -> bool {
        Arc::ptr_eq(&self.body, &other.body)
            || self.kind == other.kind && self.ty == other.ty && self.op.is_same(&other.op)
    }
}

/// The structural primitives.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    /// Data of this step, by name (`image`, `label`; also `step`, an i32 scalar counting from 0).
    Input(SmolStr),
    /// A trained variable, by path.
    Param(SmolStr),
    /// A kept variable that is not trained, by path.
    State(SmolStr),
    /// The same number everywhere. Rank 0; use `Broadcast` for more.
    Const(f64),
    /// The index along `axis`, as i32.
    Iota { axis: usize },
    /// A size as an f32 scalar, known when the step runs.
    Size(Dim),
    /// A scalar function, elementwise; all operands have the output's shape.
    Map(Func),
    /// Conversion to the output's element type: to i32 and u8 toward zero with saturation, to bool as `!= 0`.
    Cast,
    /// Reduction over `axes` (sorted), which disappear. Over no elements: the reduction's identity.
    Reduce { op: ReduceOp, axes: Vec<usize> },
    /// The index (i32) of the first greatest element along `axis`, which disappears.
    ArgMax { axis: usize },
    /// `out[o…] = sum over the other labels of lhs[l…] * rhs[r…]`; of f32 or of bf16, whose products and sums are f32.
    Contract(Contraction),
    /// The same elements under other indices.
    View(View),
    /// Operands one after another along `axis`.
    Concat { axis: usize },
    /// `table[.., index, ..]`: operands (table, i32 indices); the indices' axes replace `axis`. The first `batch` axes
    /// (at most `axis`) are common to both: each index reads the part of the table that stands at its own place there.
    /// An index out of range reads NaN (f32), 0 (integers) or false.
    Gather { axis: usize, batch: usize },
    /// The transpose of `Gather`: operands (i32 indices, updates of f32 or i32). Zeros, with each update added at its
    /// index along `axis` (whose size is in the output's type), in index order. An index out of range is dropped.
    ScatterAdd { axis: usize, batch: usize },
    /// The places (i32) of the elements along `axis` in increasing or decreasing order: stable, NaN last.
    Sort { axis: usize, descending: bool },
    /// Fresh numbers in every step, by (seed, step, site, element number): `base::philox`.
    Random { distribution: Distribution, site: u32 },
    /// The transpose of a window: pieces added up where they overlap. The narrow size is in the output's type.
    Fold(Windowing),
    /// A graph run once a turn, each turn beginning with what the last one left: `op/scan.rs`.
    Scan(Box<Scan>),
    /// The identity, through which no gradient flows.
    Detach,
    /// The identity of the first operand, with a reverse rule of its own: operands are (value, `n` of type f32 by which it
    /// is differentiated, two holes of the value's type, `n` gradients, made of anything and of the holes). In the
    /// gradients the first hole stands for the value, the second for its cotangent. Gone after `autodiff`.
    Rule { n: usize },
    /// See `Rule`. Gone after `autodiff`.
    Hole,
    /// The identity of the first operand; all between it and the other operands is worked out again where a gradient
    /// needs it, instead of being kept. Every way from a leaf to the first operand passes another one; what two marks work
    /// out again lies apart, or one in the other. Gone after `autodiff`.
    Recompute,
    /// The identity of the first operand, which is not read before the second is there.
    After,
    /// The gradient of the scalar first operand with respect to the second operand. Only between `model` and
    /// `autodiff`, which replaces it.
    Grad,
}

/// Labels of a binary einsum, one per axis; `bk,kn->bn` is the matrix product. Labels are unique within an
/// operand and within the output; each output label is in an operand; each operand label that is not in the
/// output is in both operands (a label in one only would be a `Reduce`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Contraction {
    pub lhs: Vec<u8>,
    pub rhs: Vec<u8>,
    pub out: Vec<u8>,
}

/// Index changes. The output's shape is in the node's type.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum View {
    /// Output axis `i` is input axis `permutation[i]`.
    Permute(Vec<usize>),
    /// The same elements in row-major order under another shape.
    Reshape,
    /// Input axis `i` becomes output axis `axes[i]` (increasing); the other output axes repeat. An input axis of
    /// size 1 does not stretch: leave it out by `Reshape` first.
    Broadcast { axes: Vec<usize> },
    /// `out[i] = in[start + i * step]` for each axis; `step` is at least 1.
    Slice { start: Vec<Dim>, step: Vec<i64> },
    /// `out[start + i * step] = in[i]`, zero elsewhere: the transpose of `Slice`.
    Pad { start: Vec<Dim>, step: Vec<i64> },
    /// Each of `axes` read backwards.
    Flip { axes: Vec<usize> },
    /// An axis as overlapping pieces: `op/window.rs`.
    Window(Windowing),
}

/// `out[.., p, k, ..] = in[.., p * stride + k * dilation, ..]`: axis `axis` becomes positions p and taps k. `stride` and
/// `dilation` are at least 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Windowing {
    pub axis: usize,
    pub stride: i64,
    pub dilation: i64,
}

/// See the module's documentation.
#[derive(Clone, Default)]
pub struct Graph {
    nodes: Nodes,
    /// What the caller reads after a step, by name.
    pub outputs: Vec<(SmolStr, NodeId)>,
    /// (variable's leaf, its next value); at most one a variable.
    pub updates: Vec<(NodeId, NodeId)>,
    /// Stamped by the builder on each node that it makes.
    pub origin: Origin,
}

/// The same nodes under the same numbers, and the same roots; origins do not count.
impl PartialEq for Graph {
    fn eq(&self, other: &Graph) -> bool {
        let same = |(x, y): (&Node, &Node)| x.operands == y.operands && x.is_alike(y);
        let same_nodes = || self.nodes.iter().zip(other.nodes.iter()).all(same);
        self.len() == other.len()
            && self.outputs == other.outputs
            && self.updates == other.updates
            && (self.nodes.are_those_of(&other.nodes) || same_nodes())
    }
}

impl Op {
    /// Equal attributes; numbers by their bits, so that NaN is itself and 0 is not -0.
    pub fn is_same(&self, other: &Op) -> bool {
        match (self, other) {
            (Op::Const(x), Op::Const(y)) => x.to_bits() == y.to_bits(),
            _ => self == other,
        }
    }
}

impl Graph {
    pub fn new() -> Graph {
        Graph::default()
    }

    /// An empty graph with room for as many nodes as another has.
    pub fn with_room_of(other: &Graph) -> Graph {
        Graph { nodes: Nodes::with_capacity(other.nodes.len()), ..Graph::default() }
    }

    /// Adds a node whose type was already inferred; `builder.rs` has the checked constructors.
    pub fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() as u32 - 1)
    }

    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    pub fn ty(&self, id: NodeId) -> &TensorType {
        &self.node(id).ty
    }

    pub fn dtype(&self, id: NodeId) -> DType {
        self.ty(id).dtype
    }

    /// Steps of the scalar table that a map takes for an element; a cast takes two.
    pub fn n_steps(&self, id: NodeId) -> usize {
        let node = self.node(id);
        let Op::Map(func) = &node.op else { return 2 };
        func.n_steps(node.operands.last().map_or(node.ty.dtype, |operand| self.dtype(*operand)))
    }

    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All nodes, operands before users.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.len() as u32).map(NodeId)
    }

    /// What is read from outside: outputs and updates.
    pub fn roots(&self) -> impl Iterator<Item = NodeId> + '_ {
        let outputs = self.outputs.iter().map(|(_, id)| *id);
        outputs.chain(self.updates.iter().flat_map(|(leaf, value)| [*leaf, *value]))
    }

    /// The same nodes with an edge for each operand, for traversals and DOT.
    pub fn petgraph(&self) -> DiGraph<NodeId, ()> {
        let mut graph = DiGraph::with_capacity(self.len(), 2 * self.len());
        for id in self.ids() {
            let index = graph.add_node(id);
            for operand in &self.node(id).operands {
                graph.add_edge(NodeIndex::new(operand.index()), index, ());
            }
        }
        graph
    }
}
