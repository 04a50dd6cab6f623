//! Sums that need a maximum which is not known yet: they are mended whenever a greater one is found.
//!
//! What enters: a sum over columns, and a maximum over the same columns that it needs. What leaves: whether both can be made in one pass,
//! and the ops that do it. A softmax is the case: `exp(x - m)` of the greatest `m` so far is less than `exp(x - m')` of an older one by the same
//! factor `exp(m' - m)` in every column, so a sum of such exponentials, however weighted, is multiplied by that factor and goes on
//! (Milakov and Gimelshein, 2018). What is subtracted, the *reference*, may be a function of the maximum (in bf16 a multiple of `log 2`, so that
//! factors are powers of two and rounded exponentials stay what they are: `passes/precision/powers.rs`). It is asked by values, of any
//! sum: a wide value is *free* of the reference, or *shifted* by it (`x - m`), or *scaled* (an exponential of a shifted one, and what is
//! proportional to that).
//!
//! What the exponentials are made with is never less than the lowest finite number, for a row may have nothing but minus infinity in its
//! first columns: these are then 0 and not NaN. What a whole row of minus infinity makes (NaN) it makes when the sums are mended for
//! the last time, by the factor to the reference itself, which is 1 for all others.

use super::super::lower::{Lowerer, Placed};
use super::super::space::{Read, Reads};
use super::super::strips::Along;
use super::wide::Wide;
use super::{Blocks, Mended};
use crate::base::hash::FastMap;
use crate::base::{DType, Dim, ReduceOp};
use crate::graph::{Graph, NodeId, Op};
use crate::nest::{Inst, Nest, Store, StoreKind, TileOp, Value};
use crate::scalar::Func;
use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::LN_2;

/// What exponentials of a pass are shifted by: a maximum, or what is made of it from row to row.
#[derive(Clone, PartialEq, Debug)]
pub struct Reference {
    pub maximum: NodeId,
    /// Functions of the maximum alone, in order; the last is the reference.
    functions: Vec<Function>,
}

#[derive(Clone, PartialEq, Debug)]
struct Function {
    id: NodeId,
    func: Func,
    of: Vec<Argument>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Argument {
    Number(f64),
    Value(NodeId),
}

/// What a reference is worked out by.
enum Step<T> {
    Number(f64),
    Call(Func, Vec<T>),
}

impl Reference {
    /// The reference that a value of a section is; `is_sum` and `is_after` say what its pass makes.
    pub fn of(
        graph: &Graph,
        reads: &Reads,
        id: NodeId,
        is_sum: &dyn Fn(NodeId) -> bool,
        is_after: &dyn Fn(NodeId) -> bool,
    ) -> Option<Reference> {
        let (mut functions, mut maxima) = (BTreeMap::new(), BTreeSet::new());
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            if graph.dtype(id) != DType::F32 {
                return None;
            }
            match graph.node(id).op {
                Op::Reduce { op: ReduceOp::Max, .. } if is_sum(id) => _ = maxima.insert(id),
                Op::Map(func) if is_after(id) && !functions.contains_key(&id) => {
                    let argument = |read: &Read| match number(graph, read) {
                        Some(number) => Some(Argument::Number(number)),
                        None => read.is_whole.then_some(Argument::Value(read.base)),
                    };
                    let of: Vec<Argument> = reads.of(id).iter().map(argument).collect::<Option<_>>()?;
                    let value = |argument: &Argument| match argument {
                        Argument::Number(_) => None,
                        Argument::Value(id) => Some(*id),
                    };
                    todo.extend(of.iter().filter_map(value));
                    functions.insert(id, Function { id, func, of });
                }
                _ if functions.contains_key(&id) => {}
                _ => return None,
            }
        }
        let maximum = maxima.pop_first().filter(|_| maxima.is_empty())?;
        Some(Reference { maximum, functions: functions.into_values().collect() })
    }

    /// The value that is subtracted.
    pub fn node(&self) -> NodeId {
        self.functions.last().map_or(self.maximum, |function| function.id)
    }

    /// Whether factors are powers of two, so that what is rounded is rounded alike whatever the maximum was: of some maxima all
    /// references are multiples of log 2.
    fn is_of_powers(&self) -> bool {
        let step = |step| match step {
            Step::Number(number) => number,
            Step::Call(func, arguments) => func.eval(&arguments),
        };
        let is_power = |maximum: f64| {
            let power = self.follow(maximum, step) / LN_2;
            (power - power.round()).abs() < 1e-6
        };
        [-7.3, -0.4, 0.1, 1.9, 12.6].into_iter().all(is_power)
    }

    /// The reference that follows from a maximum.
    fn follow<T: Copy>(&self, maximum: T, mut step: impl FnMut(Step<T>) -> T) -> T {
        let mut values = FastMap::from_iter([(self.maximum, maximum)]);
        for function in &self.functions {
            let arguments = function.of.iter().map(|argument| match argument {
                Argument::Number(number) => step(Step::Number(*number)),
                Argument::Value(id) => values[id],
            });
            let arguments = arguments.collect();
            values.insert(function.id, step(Step::Call(function.func, arguments)));
        }
        values[&self.node()]
    }
}

fn number(graph: &Graph, read: &Read) -> Option<f64> {
    match graph.node(read.base).op {
        Op::Const(number) => Some(number),
        _ => None,
    }
}

/// What a wide value is to a reference.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Free,
    Shifted,
    Scaled,
}

/// Whether a sum over columns is multiplied by `exp(m' - m)` if the reference is `m` instead of `m'`.
pub fn is_mended_by(graph: &Graph, reads: &Reads, wide: &Wide, sum: NodeId, reference: &Reference) -> bool {
    let (of_powers, reference) = (reference.is_of_powers(), reference.node());
    let mut cx = Follow { graph, reads, wide, reference, of_powers, known: FastMap::default() };
    match (&graph.node(sum).op, reads.of(sum)) {
        _ if graph.dtype(sum) != DType::F32 => false,
        (Op::Reduce { op: ReduceOp::Sum, .. }, [of]) => cx.read(of) == Some(Kind::Scaled),
        (Op::Contract(_), [lhs, rhs]) => {
            cx.read(lhs).zip(cx.read(rhs)).and_then(|(lhs, rhs)| lhs.times(rhs)) == Some(Kind::Scaled)
        }
        _ => false,
    }
}

struct Follow<'a> {
    graph: &'a Graph,
    reads: &'a Reads,
    wide: &'a Wide,
    reference: NodeId,
    of_powers: bool,
    known: FastMap<NodeId, Option<Kind>>,
}

impl Kind {
    fn times(self, other: Kind) -> Option<Kind> {
        match (self, other) {
            (Kind::Free, kind @ (Kind::Free | Kind::Scaled)) | (kind @ Kind::Scaled, Kind::Free) => {
                Some(kind)
            }
            _ => None,
        }
    }
}

impl Follow<'_> {
    /// Nothing where an operand depends on the reference in another way.
    fn read(&mut self, read: &Read) -> Option<Kind> {
        if read.base == self.reference {
            return None;
        }
        // What is not wide and needs the reference is there after its pass: who reads that has a later one.
        if !self.wide.axes.contains_key(&read.base) {
            return Some(Kind::Free);
        }
        if let Some(known) = self.known.get(&read.base) {
            return *known;
        }
        let kind = self.kind(read.base);
        self.known.insert(read.base, kind);
        kind
    }

    fn kind(&mut self, id: NodeId) -> Option<Kind> {
        let node = self.graph.node(id);
        let of = self.reads.of(id);
        if let (Op::Map(Func::Sub), [x, m]) = (&node.op, of)
            && m.base == self.reference
        {
            return (self.read(x)? == Kind::Free).then_some(Kind::Shifted);
        }
        let kinds: Vec<Kind> = of.iter().map(|read| self.read(read)).collect::<Option<_>>()?;
        if kinds.iter().all(|kind| *kind == Kind::Free) {
            return Some(Kind::Free);
        }
        let is_zero = |read: &Read| number(self.graph, read) == Some(0.0);
        match (&node.op, &kinds[..]) {
            (Op::Map(Func::Exp), [Kind::Shifted]) => Some(Kind::Scaled),
            (Op::Map(Func::Mul), [lhs, rhs]) => lhs.times(*rhs),
            (Op::Map(Func::Div), [Kind::Scaled, Kind::Free]) => Some(Kind::Scaled),
            (Op::Map(Func::Select), [Kind::Free, yes, no]) => {
                let is_scaled = |at: usize, kind: Kind| kind == Kind::Scaled || is_zero(&of[at]);
                (is_scaled(1, *yes) && is_scaled(2, *no)).then_some(Kind::Scaled)
            }
            (Op::Cast, [Kind::Scaled]) if node.ty.dtype == DType::F32 || self.of_powers => Some(Kind::Scaled),
            _ => None,
        }
    }
}

/// What a pass mends its sums by.
pub struct Mending {
    /// Of the greatest value so far, or the lowest finite number where there is none.
    pub reference: Placed,
    /// By which sums are multiplied: as many numbers as the maximum has.
    factor: Placed,
}

impl Lowerer<'_> {
    /// Scratch for what the sums of a pass are mended by, as it is before the first column.
    pub fn begin_mending(&mut self, blocks: &Blocks, reference: &Reference) -> Mending {
        let maximum = reference.maximum;
        let reference = self.begin_with(blocks, maximum, f64::from(f32::MIN));
        Mending { reference, factor: self.block_place(blocks, maximum) }
    }

    /// The maximum of a turn's block, to what is there: the factor by which sums change follows.
    pub fn mend(
        &mut self,
        blocks: &Blocks,
        reference: &Reference,
        mending: &Mending,
        [from, to]: [&Placed; 2],
    ) {
        let mut rows = Rows::of(self, blocks, reference.maximum);
        let (block, so_far, old) = (rows.load(from), rows.load(to), rows.load(&mending.reference));
        let greatest = rows.call(Func::Max, vec![so_far, block]);
        let new = reference.follow(greatest, |step| rows.step(step));
        let lowest = rows.number(f64::from(f32::MIN));
        let new = rows.call(Func::Max, vec![new, lowest]);
        rows.store(to, greatest);
        rows.store(&mending.reference, new);
        rows.store_factor(mending, old, new);
        rows.finish();
    }

    /// All sums, by the factor from what their exponentials were made with to the reference itself.
    pub(super) fn mend_at_last(
        &mut self,
        blocks: &Blocks,
        mended: &Mended,
        mending: &Mending,
        running: &FastMap<NodeId, Placed>,
    ) {
        let maximum = mended.reference.maximum;
        let mut rows = Rows::of(self, blocks, maximum);
        let (old, greatest) = (rows.load(&mending.reference), rows.load(&running[&maximum]));
        let new = mended.reference.follow(greatest, |step| rows.step(step));
        rows.store_factor(mending, old, new);
        rows.finish();
        for sum in &mended.sums {
            self.mend_sum(blocks, mended, (*sum, &running[sum]), (mending, None));
        }
    }

    /// A sum so far, times the factor; and the block's own, if it has one, is added.
    pub(super) fn mend_sum(
        &mut self,
        blocks: &Blocks,
        mended: &Mended,
        (sum, place): (NodeId, &Placed),
        (mending, block): (&Mending, Option<&Placed>),
    ) {
        let maximum = mended.reference.maximum;
        let of_maximum = &blocks.axes[&maximum];
        let strides = blocks.strides(self, maximum).0;
        let stride = |along: &Along| {
            let at = of_maximum.iter().position(|other| other == along && *along != Along::Whole);
            at.map_or(Dim::from(0), |at| strides[at].clone())
        };
        let of_factor: Vec<Dim> = blocks.axes[&sum].iter().map(stride).collect();
        let mut rows = Rows::of(self, blocks, sum);
        let so_far = rows.load(place);
        let access = rows.cx.access_at(&mending.factor, DType::F32, &Dim::from(0), &of_factor, false);
        let factor = rows.push(Inst::Load { access });
        let mut value = rows.call(Func::Mul, vec![so_far, factor]);
        if let Some(block) = block {
            let more = rows.load(block);
            value = rows.call(Func::Add, vec![value, more]);
        }
        rows.store(place, value);
        rows.finish();
    }
}

/// A nest over the axes of a sum, while it is written.
struct Rows<'c, 'a> {
    cx: &'c mut Lowerer<'a>,
    blocks: &'c Blocks,
    of: NodeId,
    strides: Vec<Dim>,
    body: Vec<Inst>,
    stores: Vec<Store>,
}

impl<'c, 'a> Rows<'c, 'a> {
    fn of(cx: &'c mut Lowerer<'a>, blocks: &'c Blocks, of: NodeId) -> Rows<'c, 'a> {
        let strides = blocks.strides(cx, of).0;
        Rows { cx, blocks, of, strides, body: Vec::new(), stores: Vec::new() }
    }

    fn push(&mut self, inst: Inst) -> Value {
        self.body.push(inst);
        self.body.len() as Value - 1
    }

    fn number(&mut self, number: f64) -> Value {
        self.push(Inst::Const { bits: number.to_bits(), dtype: DType::F32 })
    }

    fn step(&mut self, step: Step<Value>) -> Value {
        match step {
            Step::Number(number) => self.number(number),
            Step::Call(func, arguments) => self.call(func, arguments),
        }
    }

    fn call(&mut self, func: Func, arguments: Vec<Value>) -> Value {
        self.push(Inst::Call { func, arguments })
    }

    fn load(&mut self, place: &Placed) -> Value {
        let access = self.cx.access_at(place, DType::F32, &Dim::from(0), &self.strides, false);
        self.push(Inst::Load { access })
    }

    fn store(&mut self, place: &Placed, value: Value) {
        let access = self.cx.access_at(place, DType::F32, &Dim::from(0), &self.strides, true);
        self.stores.push(Store { value, access, kind: StoreKind::Set });
    }

    fn store_factor(&mut self, mending: &Mending, from: Value, to: Value) {
        let less = self.call(Func::Sub, vec![from, to]);
        let factor = self.call(Func::Exp, vec![less]);
        self.store(&mending.factor, factor);
    }

    fn finish(self) {
        let axes = self.cx.axes_of(self.blocks, self.of);
        self.cx.out.push(TileOp::Nest(Nest { axes, body: self.body, stores: self.stores }));
    }
}
