//! Marks for differentiation: `Detach` stops it, `Grad` asks for it. `Detach` is the identity otherwise; `Grad`
//! has no meaning of its own and is gone before a graph is evaluated.

use super::{Family, ShapeError, expect_dtype, expect_operands, expect_rank};
use crate::base::{DType, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor};

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

    fn interpret(&self, op: &Op, operands: &[&Tensor], _: &Context) -> Result<Tensor, String> {
        match op {
            Op::Detach => Ok(operands[0].clone()),
            _ => Err("a gradient that was not worked out".into()),
        }
    }

    fn print(&self, op: &Op) -> String {
        match op {
            Op::Detach => "detach".into(),
            _ => "grad".into(),
        }
    }

    fn parse(&self, keyword: &str, _: &mut Cursor) -> Read<Option<Op>> {
        Ok(match keyword {
            "detach" => Some(Op::Detach),
            "grad" => Some(Op::Grad),
            _ => None,
        })
    }
}
