//! Reductions: `Reduce` folds the elements along some axes, `ArgMax` finds the first greatest along one. The
//! axes disappear from the shape. Elements are f32 or i32.

use super::{Family, ShapeError, expect_axes, expect_axis, expect_dtype, expect_operands};
use crate::base::{DType, TensorType};
use crate::graph::Op;

pub struct Reduce;

impl Family for Reduce {
    fn infer(&self, op: &Op, operands: &[&TensorType], _: &TensorType) -> Result<TensorType, ShapeError> {
        expect_operands::<1>(operands)?;
        let x = operands[0];
        expect_dtype(0, x, &[DType::F32, DType::I32])?;
        let (dtype, axes) = match op {
            Op::Reduce { axes, .. } => {
                expect_axes(axes, x.rank())?;
                (x.dtype, axes.clone())
            }
            Op::ArgMax { axis } => {
                expect_axis(*axis, x.rank())?;
                (DType::I32, vec![*axis])
            }
            _ => unreachable!("{op:?} is not of this family"),
        };
        let kept = (0..x.rank()).filter(|axis| !axes.contains(axis));
        Ok(TensorType::new(dtype, kept.map(|axis| x.shape[axis].clone()).collect::<Vec<_>>()))
    }
}
