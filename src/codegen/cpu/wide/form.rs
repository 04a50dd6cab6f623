//! How the loops of a nest lie: their order, which is taken a vector at a time, how many vectors side by side.
//!
//! What enters: a verified nest, its neighbouring axes merged. What leaves: a `Form`, or nothing if the nest has no vector axis or
//! does what `lower` has no ops for. The choice depends on the nest alone, so that results do.

use super::Kind;
use crate::base::DType;
use crate::codegen::cpu::nest::vector_axis;
use crate::nest::analysis::{accesses, types_of};
use crate::nest::{Access, Inst, Nest, StoreKind};
use crate::scalar::machine::{Step, Steps};

/// Vectors side by side.
const MOST_BESIDE: i64 = 4;
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
}

impl Form {
    pub fn of(nest: &Nest, kind: Kind) -> Option<Form> {
        let n_parallel = nest.axes.iter().filter(|axis| !axis.reduce).count();
        let vector = vector_axis(nest, n_parallel)?;
        if !reachable(nest, vector, kind) || divides_whole_numbers(nest) {
            return None;
        }
        let mut order: Vec<usize> = (0..nest.axes.len()).collect();
        if vector < n_parallel {
            order.remove(vector);
            order.insert(n_parallel - 1, vector);
        }
        let beside = beside(nest, vector, kind);
        Some(Form { kind, order, n_parallel, vector, beside })
    }

    /// Where an axis stands in the order.
    pub fn depth(&self, axis: usize) -> usize {
        self.order.iter().position(|a| *a == axis).expect("each axis has a loop")
    }
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
    nest.body.iter().all(|inst| !matches!(inst, Inst::LoadAt { .. }))
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
                StoreKind::ArgMax | StoreKind::AddAt { .. } => false,
            }
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
    let n_running = nest.stores.iter().filter(|s| s.kind != StoreKind::Set).count() as i64;
    if n_running == 0 {
        return 1;
    }
    // Running values for which there are registers.
    let running = kind.lanes() / 2;
    let most = (running / n_running).clamp(1, MOST_BESIDE);
    match nest.axes[vector].extent.as_const().map(|n| n / kind.lanes()) {
        // As few rounds as can be; of a size that is not known only powers of two can be told apart cheaply.
        Some(vectors) => (1..=most).rev().min_by_key(|c| vectors / c + vectors % c).unwrap_or(1),
        None => 1 << most.ilog2(),
    }
}
