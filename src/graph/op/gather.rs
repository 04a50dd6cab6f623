//! `Gather` reads a table at indices along one axis; `ScatterAdd`, its transpose, adds updates up at indices.
//!
//! With indices of shape `I…`: a table `[A…, n, B…]` gathers to `[A…, I…, B…]`; updates `[A…, I…, B…]` scatter to
//! `[A…, n, B…]`, whose `n` is the one asked for.

use super::expect_same_size;
use super::{AxisSize, Family, ShapeError, expect_axis, expect_dtype, expect_operands, expect_rank};
use crate::base::{DType, Dim, TensorType};
use crate::graph::Op;

pub struct Gather;

impl Family for Gather {
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        expect_operands::<2>(operands)?;
        match op {
            Op::Gather { axis } => {
                let (table, indices) = (operands[0], operands[1]);
                expect_dtype(1, indices, &[DType::I32])?;
                expect_axis(*axis, table.rank())?;
                Ok(TensorType::new(table.dtype, gathered(table, *axis, indices)))
            }
            Op::ScatterAdd { axis } => {
                let (indices, updates) = (operands[0], operands[1]);
                expect_dtype(0, indices, &[DType::I32])?;
                expect_dtype(1, updates, &[DType::F32])?;
                expect_axis(*axis, requested.rank())?;
                let expected = gathered(requested, *axis, indices);
                expect_rank(1, updates, expected.len())?;
                for (axis, size) in expected.into_iter().enumerate() {
                    let left = AxisSize { operand: Some(1), axis, size: updates.shape[axis].clone() };
                    expect_same_size(left, AxisSize { operand: None, axis, size })?;
                }
                Ok(TensorType::new(DType::F32, requested.shape.clone()))
            }
            _ => unreachable!("{op:?} is not of this family"),
        }
    }
}

fn gathered(table: &TensorType, axis: usize, indices: &TensorType) -> Vec<Dim> {
    let (before, after) = (&table.shape[..axis], &table.shape[axis + 1..]);
    [before, &indices.shape, after].concat()
}
