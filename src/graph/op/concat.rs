//! `Concat`: operands one after another along one axis; all other sizes and the element type agree.

use super::{AxisSize, Family, ShapeError, expect_axis, expect_rank, expect_same_size};
use crate::base::{Dim, TensorType};
use crate::graph::Op;

pub struct Concat;

impl Family for Concat {
    fn infer(&self, op: &Op, operands: &[&TensorType], _: &TensorType) -> Result<TensorType, ShapeError> {
        let Op::Concat { axis: along } = op else { unreachable!("{op:?} is not of this family") };
        let [first, ..] = operands else {
            return Err(ShapeError::OperandCount { expected: 1, found: 0 });
        };
        expect_axis(*along, first.rank())?;
        let mut shape = first.shape.clone();
        shape[*along] = Dim::from(0);
        for (i, operand) in operands.iter().enumerate() {
            if operand.dtype != first.dtype {
                return Err(ShapeError::DTypesDiffer { left: (0, first.dtype), right: (i, operand.dtype) });
            }
            expect_rank(i, operand, first.rank())?;
            for axis in (0..first.rank()).filter(|axis| axis != along) {
                let left = AxisSize { operand: Some(0), axis, size: first.shape[axis].clone() };
                let right = AxisSize { operand: Some(i), axis, size: operand.shape[axis].clone() };
                expect_same_size(left, right)?;
            }
            shape[*along] = shape[*along].clone() + operand.shape[*along].clone();
        }
        Ok(TensorType::new(first.dtype, shape))
    }
}
