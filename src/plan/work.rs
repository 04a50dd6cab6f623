//! What a launch must do at least: floating-point operations, and bytes that it reads and writes in memory.
//!
//! What enters: a plan, one of its launches, a batch. What leaves: the work of the launch, and of each of its ops. A
//! value in memory counts once for all the reads of an op or launch and once for its writes, however often it is touched:
//! what comes from a cache is not memory's work. Scratch does not count. Invariant: estimates from sizes alone.

use super::tile::{Sizes, flops, over_turns};
use super::{Launch, Plan};
use crate::base::{DType, Dim};
use crate::nest::{Access, ArgumentAccess, BufferRef, Inst, Matrix, Nest, StoreKind, TileOp};

/// Floating-point operations (a multiply-add counts 2), and bytes to and from memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Work {
    pub flops: u64,
    /// Those of products whose factors are bf16 or may be rounded to tf32, which a GPU has units for.
    pub of_tensors: u64,
    pub bytes: u64,
}

/// The work of a launch over `batch` examples: in all, and of each of its kernel's ops.
pub fn work(plan: &Plan, launch: &Launch, batch: i64) -> (Work, Vec<Work>) {
    let kernel = &plan.kernels[launch.kernel];
    let rows = kernel.n_rows(batch).unwrap_or(0);
    let sizes = Sizes::new(batch, rows);
    let most = |i: usize| match kernel.arguments[i].access {
        // A product's factor or result that stays in its own kernel.
        ArgumentAccess::Temporary => 0,
        _ => plan.buffer_bytes(launch.arguments[i], batch).unwrap_or(u64::MAX),
    };
    let most: Vec<u64> = (0..launch.arguments.len()).map(most).collect();
    let of = |ops: &[TileOp]| {
        let mut touched =
            Touched { read: vec![0; most.len()], written: vec![0; most.len()], sizes: sizes.clone() };
        ops.iter().for_each(|op| touched.op(op, 1));
        let capped = |bytes: &[u64]| bytes.iter().zip(&most).map(|(b, most)| *b.min(most)).sum::<u64>();
        Work {
            flops: ops.iter().map(|op| flops(op, &sizes)).fold(0, u64::saturating_add),
            of_tensors: ops.iter().map(|op| of_tensors(op, &sizes, plan)).fold(0, u64::saturating_add),
            bytes: capped(&touched.read).saturating_add(capped(&touched.written)),
        }
    };
    (of(&kernel.ops), kernel.ops.iter().map(|op| of(std::slice::from_ref(op))).collect())
}

/// Those of an op's operations that are of such products.
fn of_tensors(op: &TileOp, sizes: &Sizes, plan: &Plan) -> u64 {
    match op {
        TileOp::Gemm(gemm) if gemm.lhs.dtype == DType::BF16 || plan.allows_tf32 => flops(op, sizes),
        TileOp::Loop(l) => over_turns(l, sizes, |op, sizes| of_tensors(op, sizes, plan)),
        _ => 0,
    }
}

/// Bytes by argument, before it is asked how many the argument has.
struct Touched {
    read: Vec<u64>,
    written: Vec<u64>,
    sizes: Sizes,
}

impl Touched {
    fn op(&mut self, op: &TileOp, times: u64) {
        match op {
            TileOp::Nest(nest) => self.nest(nest, times),
            TileOp::Gemm(gemm) => {
                let sides = [
                    (&gemm.lhs, [&gemm.m, &gemm.k], false),
                    (&gemm.rhs, [&gemm.k, &gemm.n], false),
                    (&gemm.out, [&gemm.m, &gemm.n], true),
                ];
                for (side, (matrix, extents, write)) in sides.into_iter().enumerate() {
                    let moves = gemm.batch.iter().filter(|axis| {
                        let stride = [&axis.lhs, &axis.rhs, &axis.out][side];
                        !stride.is_const(0)
                    });
                    let all = moves.map(|axis| &axis.extent).chain(extents);
                    let elements = self.product(all).saturating_mul(times);
                    self.matrix(matrix, elements, write);
                    if write && gemm.accumulate {
                        self.matrix(matrix, elements, false);
                    }
                }
            }
            TileOp::Fill(fill) => {
                self.touch(fill.buffer, 4, self.sizes.of(&fill.count).saturating_mul(times), true);
            }
            TileOp::Sort(sort) => {
                let elements = self.product(sort.axes.iter().chain([&sort.n])).saturating_mul(times);
                self.touch(sort.source.buffer, sort.source.dtype.bytes(), elements, false);
                self.touch(sort.out.buffer, sort.out.dtype.bytes(), elements, true);
            }
            TileOp::Loop(l) => {
                let around = self.sizes.clone();
                let turns = around.turns(l);
                // As in `tile.rs`: the first and the last are as much as any two.
                let (first, last) =
                    (times.saturating_mul(turns.div_ceil(2)), times.saturating_mul(turns / 2));
                for (turn, times) in [(0, first), (turns.saturating_sub(1), last)] {
                    self.sizes = around.inside(l, turn);
                    l.ops.iter().for_each(|op| self.op(op, times));
                }
                self.sizes = around;
            }
        }
    }

    fn nest(&mut self, nest: &Nest, times: u64) {
        let all = self.product(nest.axes.iter().map(|axis| &axis.extent)).saturating_mul(times);
        for inst in &nest.body {
            match inst {
                Inst::Load { access } => {
                    let elements = self.along(nest, access).saturating_mul(times);
                    self.touch(access.buffer, access.dtype.bytes(), elements, false);
                }
                Inst::LoadAt { access, .. } => self.touch(access.buffer, access.dtype.bytes(), all, false),
                _ => {}
            }
        }
        for store in &nest.stores {
            let access = &store.access;
            let elements = match &store.kind {
                StoreKind::AddAt { .. } => all,
                _ => self.along(nest, access).saturating_mul(times),
            };
            self.touch(access.buffer, access.dtype.bytes(), elements, true);
            if matches!(store.kind, StoreKind::AddAt { .. }) {
                self.touch(access.buffer, access.dtype.bytes(), elements, false);
            }
        }
    }

    /// Elements that an access walks over: axes along which it stands still do not count.
    fn along(&self, nest: &Nest, access: &Access) -> u64 {
        let moves = nest.axes.iter().zip(&access.strides).filter(|(_, stride)| !stride.is_const(0));
        self.product(moves.map(|(axis, _)| &axis.extent))
    }

    fn product<'d>(&self, dims: impl Iterator<Item = &'d Dim>) -> u64 {
        dims.fold(1, |product: u64, dim| product.saturating_mul(self.sizes.of(dim)))
    }

    fn matrix(&mut self, matrix: &Matrix, elements: u64, write: bool) {
        self.touch(matrix.buffer, 4, elements, write);
    }

    fn touch(&mut self, buffer: BufferRef, element: usize, elements: u64, write: bool) {
        let BufferRef::Argument(i) = buffer else { return };
        let bytes = if write { &mut self.written } else { &mut self.read };
        let bytes = &mut bytes[i as usize];
        *bytes = bytes.saturating_add(elements.saturating_mul(element as u64));
    }
}
