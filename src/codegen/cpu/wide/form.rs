//! How the loops of a nest lie: their order, which is taken a vector at a time, how many vectors side by side.
//!
//! What enters: a verified nest, its neighbouring axes merged. What leaves: a `Form`, or nothing if the nest has no vector axis or
//! does what `lower` has no ops for. The choice depends on the nest alone, so that results do.
//!
//! A reduction over rows of something wide goes along the rows, one after another, with the running values in the memory of the result: the
//! registers hold them for a few neighbouring columns alone, and to visit each row's few columns again and again is to read memory
//! in another order than it lies in.
//!
//! Rows that are added or read at places: lanes lie along the row, and the loops around find the place of each row once.
//!
//! Transposes: where a map stores neighbours along one axis and loads them along another, lanes lie along the first, and the second
//! is innermost, a vector's lanes of indices at a time: as many rows are loaded whole and turned in registers. So each line of memory
//! is read once and written once, and nothing hinges on how many lines at distances of a power of two a cache can hold.

use super::Kind;
use super::turn::LINE;
use crate::base::{DType, Dim};
use crate::codegen::cpu::nest::vector_axis;
use crate::nest::analysis::{accesses, depends_on, types_of};
use crate::nest::{Access, BufferRef, Inst, Nest, Store, StoreKind};
use crate::scalar::machine::{Step, Steps};

/// Vectors side by side.
const MOST_BESIDE: i64 = 4;
/// Vectors side by side where running values lie in memory, for the sake of the loop around them.
const BESIDE_IN_MEMORY: i64 = 2;
/// Indices of a reduction below which its columns may as well be visited one after another.
const LONG: i64 = 64;
/// Vectors side by side where each lane reduces an index of its own, so that more neighbouring lines are read together.
const MOST_COLUMNS: i64 = 8;
/// Arrays that are turned at once, each in as many registers as a line has elements.
const MOST_TURNED: usize = 2;
/// The greatest distance of neighbouring lanes, in elements, for which sixteen of them are an i32.
const FARTHEST: i64 = 1 << 26;

pub struct Form {
    pub kind: Kind,
    /// Outermost first.
    pub order: Vec<usize>,
    pub n_parallel: usize,
    /// The axis along which lanes lie.
    pub vector: usize,
    /// How many vectors a reduction takes at once.
    pub beside: i64,
    /// Whether running values lie in memory, and the reduced axes are around the vector axis.
    pub along_rows: bool,
    /// The innermost axis, if along it lie neighbours of what is strided along the vector axis.
    pub turn: Option<usize>,
}

impl Form {
    pub fn of(nest: &Nest, kind: Kind) -> Option<Form> {
        let n_parallel = nest.axes.iter().filter(|axis| !axis.reduce).count();
        let (vector, turn) = match transpose(nest) {
            Some((vector, turn)) => (vector, Some(turn)),
            None => (vector_axis(nest, n_parallel)?, None),
        };
        if !reachable(nest, vector, kind) || divides_whole_numbers(nest) {
            return None;
        }
        let mut order: Vec<usize> = (0..nest.axes.len()).collect();
        if vector < n_parallel {
            order.remove(vector);
            order.insert(n_parallel - 1, vector);
        }
        if let Some(turn) = turn {
            order.retain(|axis| *axis != turn);
            order.push(turn);
        }
        let along_rows = turn.is_none() && goes_along_rows(nest, vector, kind);
        if along_rows {
            order.retain(|axis| *axis != vector);
            order.push(vector);
        }
        let beside = match turn {
            Some(_) => LINE / kind.lanes(),
            None if along_rows => BESIDE_IN_MEMORY,
            None => beside(nest, vector, kind),
        };
        Some(Form { kind, order, n_parallel, vector, beside, along_rows, turn })
    }

    /// Whether an access is to be turned: its neighbours lie along the innermost axis, and lanes along another.
    pub fn turns(&self, access: &Access) -> bool {
        self.turn.is_some_and(|turn| is_turned(access, self.vector, turn))
    }

    /// Where an axis stands in the order.
    pub fn depth(&self, axis: usize) -> usize {
        self.order.iter().position(|a| *a == axis).expect("each axis has a loop")
    }
}

fn is_turned(access: &Access, vector: usize, turn: usize) -> bool {
    let stride = access.strides[vector].as_const();
    access.dtype.bytes() == 4
        && access.strides[turn].is_const(1)
        && stride.is_some_and(|stride| !matches!(stride, 0 | 1) && stride.abs() < FARTHEST / LINE)
}

/// The axis along which all stores of a map are neighbours, and one along which loads are that are strided along the first.
fn transpose(nest: &Nest) -> Option<(usize, usize)> {
    let long_enough = |axis: &usize| nest.axes[*axis].extent.as_const().is_none_or(|n| n >= LINE);
    let at_index = |inst: &Inst| matches!(inst, Inst::LoadAt { .. });
    if nest.axes.iter().any(|axis| axis.reduce)
        || nest.stores.iter().any(|s| s.kind != StoreKind::Set)
        || nest.body.iter().any(at_index)
    {
        return None;
    }
    let axes = || (0..nest.axes.len()).filter(long_enough);
    let vector = axes().rev().find(|axis| nest.stores.iter().all(|s| s.access.strides[*axis].is_const(1)))?;
    let n_turned = |turn: usize| {
        let loads = nest.body.iter().filter_map(|inst| match inst {
            Inst::Load { access } => Some(access),
            _ => None,
        });
        loads.filter(|access| is_turned(access, vector, turn)).count()
    };
    let turn = axes().filter(|axis| *axis != vector).max_by_key(|axis| n_turned(*axis))?;
    (1..=MOST_TURNED).contains(&n_turned(turn)).then_some((vector, turn))
}

/// Whether lanes can be read and written: neighbours, or elements of four bytes at a distance that is known.
fn reachable(nest: &Nest, vector: usize, kind: Kind) -> bool {
    let spread = |access: &Access| match access.strides[vector].as_const() {
        Some(0 | 1) => true,
        Some(stride) => access.dtype.bytes() == 4 && stride.abs() < FARTHEST,
        None => false,
    };
    let is_parallel = !nest.axes[vector].reduce;
    let types = types_of(nest);
    nest.body.iter().all(|inst| reads_rows(nest, vector, inst))
        && accesses(nest).into_iter().all(spread)
        && nest.stores.iter().all(|store| {
            let moves = !store.access.strides[vector].is_const(0);
            // AVX2 has no scatter.
            if kind == Kind::Avx2 && moves && !store.access.strides[vector].is_const(1) {
                return false;
            }
            match store.kind {
                StoreKind::Set => moves,
                StoreKind::Reduce(_) => {
                    moves == is_parallel
                        && matches!(types[store.value as usize], DType::F32 | DType::I32)
                        && store.access.dtype == types[store.value as usize]
                }
                // The vector axis says that rows are added: each index adds neighbours to neighbours.
                StoreKind::AddAt { ref stride, ref bound, .. } => {
                    let is_known = |n: &Dim| n.as_const().is_none_or(|n| (0..FARTHEST).contains(&n));
                    let is_number = matches!(store.access.dtype, DType::F32 | DType::I32);
                    is_number && nest.stores.len() == 1 && is_known(stride) && is_known(bound)
                }
                StoreKind::ArgMax => false,
            }
        })
}

/// Whether a load at an index, if it is one, is of neighbours in a row that is the same for all lanes. Where there are sums they would be
/// made of other parts than without such a load.
fn reads_rows(nest: &Nest, vector: usize, inst: &Inst) -> bool {
    let Inst::LoadAt { access, index, stride, bound } = inst else { return true };
    let is_known = |n: &Dim| n.as_const().is_none_or(|n| (0..FARTHEST).contains(&n));
    access.dtype.bytes() == 4
        && access.strides[vector].is_const(1)
        && is_known(stride)
        && is_known(bound)
        && !depends_on(nest, vector)[*index as usize]
        && nest.axes.iter().all(|axis| !axis.reduce)
}

/// Whether a reduction walks a long way over rows that are wider than registers are many, in memory that is not scratch.
fn goes_along_rows(nest: &Nest, vector: usize, kind: Kind) -> bool {
    let is_long = |axis: usize, least: i64| nest.axes[axis].extent.as_const().is_none_or(|n| n >= least);
    let Some(last) = nest.axes.iter().rposition(|axis| axis.reduce) else { return false };
    let loads = || {
        nest.body.iter().filter_map(|inst| match inst {
            Inst::Load { access } => Some(access),
            _ => None,
        })
    };
    let is_far = |access: &Access| {
        matches!(access.buffer, BufferRef::Argument(_))
            && access.strides[vector].is_const(1)
            && !matches!(access.strides[last].as_const(), Some(0 | 1))
    };
    let is_apart = |store: &Store| loads().all(|access| access.buffer != store.access.buffer);
    !nest.axes[vector].reduce
        && is_long(vector, MOST_COLUMNS * kind.lanes() + 1)
        && is_long(last, LONG)
        && loads().any(is_far)
        && nest.stores.iter().all(|s| {
            matches!(s.kind, StoreKind::Reduce(_)) && s.access.strides[vector].is_const(1) && is_apart(s)
        })
}

/// Vectors have no quotient of whole numbers.
fn divides_whole_numbers(nest: &Nest) -> bool {
    let types = types_of(nest);
    nest.body.iter().any(|inst| {
        let Inst::Call { func, arguments } = inst else { return false };
        let dtype = arguments.last().map_or(DType::F32, |v| types[*v as usize]);
        let mut steps = Steps::default();
        let operands: Vec<u32> = (0..arguments.len()).map(|i| steps.push(Step::Argument(i as u8))).collect();
        func.lower(&mut steps, &operands, dtype);
        steps.steps.iter().any(|step| matches!(step, Step::DivI(..)))
    })
}

fn beside(nest: &Nest, vector: usize, kind: Kind) -> i64 {
    let n_running = nest.stores.iter().filter(|s| matches!(s.kind, StoreKind::Reduce(_))).count() as i64;
    if n_running == 0 {
        return 1;
    }
    // A sum along lanes has as many parts whatever else its loop reduces: else its last bits would depend on what it is fused with. Lanes
    // that reduce indices of their own take as many vectors as there are registers for.
    let most = match nest.axes[vector].reduce {
        true => MOST_BESIDE,
        false => (kind.lanes() / 2 / n_running).clamp(1, MOST_COLUMNS),
    };
    match nest.axes[vector].extent.as_const().map(|n| n / kind.lanes()) {
        // As few rounds as can be; of a size that is not known only powers of two can be told apart cheaply.
        Some(vectors) => (1..=most).rev().min_by_key(|c| vectors / c + vectors % c).unwrap_or(1),
        None => 1 << most.ilog2(),
    }
}
