//! Elementwise primitives: `Map` (a row of the scalar table) and `Cast`.
//!
//! Operands have exactly the result's shape; stretching is an explicit `Broadcast` view. Element types are the
//! scalar table's business.

use super::{Family, ShapeError, expect_operands, expect_same_shape};
use crate::base::{DType, TensorType};
use crate::graph::Op;
use crate::scalar::Func;

pub struct Map;

impl Family for Map {
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        match op {
            Op::Map(func) => infer_map(*func, operands),
            _ => {
                expect_operands::<1>(operands)?;
                Ok(TensorType::new(requested.dtype, operands[0].shape.clone()))
            }
        }
    }
}

fn infer_map(func: Func, operands: &[&TensorType]) -> Result<TensorType, ShapeError> {
    use Func::*;
    let expected = match func {
        Select => 3,
        Neg | Abs | Sign | Sqrt | Exp | Log | Log1p | Expm1 | Tanh | Sigmoid | Erf | Sin | Cos | Floor
        | Ceil | Round | Not | IsFinite => 1,
        _ => 2,
    };
    if operands.len() != expected {
        return Err(ShapeError::OperandCount { expected, found: operands.len() });
    }
    (1..expected).try_for_each(|i| expect_same_shape(operands, i))?;
    let dtype = match func {
        Eq | Ne | Lt | Le | Gt | Ge | And | Or | Not | IsFinite => DType::Bool,
        Select => operands[1].dtype,
        _ => operands[0].dtype,
    };
    Ok(TensorType::new(dtype, operands[0].shape.clone()))
}
