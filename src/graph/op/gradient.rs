//! Marks for differentiation: `Detach` stops it, `Grad` asks for it. `Detach` is the identity otherwise; `Grad`
//! has no meaning of its own and is gone before a graph is evaluated.

use super::{Family, ShapeError, expect_dtype, expect_operands, expect_rank};
use crate::base::{DType, TensorType};
use crate::graph::Op;

pub struct Gradient;

impl Family for Gradient {
    fn infer(&self, op: &Op, operands: &[&TensorType], _: &TensorType) -> Result<TensorType, ShapeError> {
        match op {
            Op::Detach => {
                expect_operands::<1>(operands)?;
                Ok(operands[0].clone())
            }
            _ => {
                expect_operands::<2>(operands)?;
                expect_dtype(0, operands[0], &[DType::F32])?;
                expect_rank(0, operands[0], 0)?;
                expect_dtype(1, operands[1], &[DType::F32])?;
                Ok(operands[1].clone())
            }
        }
    }
}
