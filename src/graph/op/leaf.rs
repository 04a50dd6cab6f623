//! Leaves: what comes from outside (`Input`, `Param`, `State`) and what needs no operands (`Const`, `Iota`,
//! `Size`). The type of a leaf is the one asked for, within its primitive's limits.

use super::{Family, ShapeError, expect_axis, expect_operands};
use crate::base::{DType, TensorType};
use crate::graph::Op;

pub struct Leaf;

impl Family for Leaf {
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        expect_operands::<0>(operands)?;
        Ok(match op {
            Op::Const(_) => TensorType::scalar(requested.dtype),
            Op::Size(_) => TensorType::scalar(DType::F32),
            Op::Iota { axis } => {
                expect_axis(*axis, requested.rank())?;
                TensorType::new(DType::I32, requested.shape.clone())
            }
            _ => requested.clone(),
        })
    }
}
