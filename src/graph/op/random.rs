//! `Random`: f32 numbers that depend on (seed, step, site, element number) and on nothing else, so they can be
//! made again wherever they are needed.

use super::{Family, ShapeError, expect_operands};
use crate::base::{DType, TensorType};
use crate::graph::Op;

pub struct Random;

impl Family for Random {
    fn infer(
        &self,
        _: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        expect_operands::<0>(operands)?;
        Ok(TensorType::new(DType::F32, requested.shape.clone()))
    }
}
