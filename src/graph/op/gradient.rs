//! Marks for differentiation: `Detach` stops it, `Grad` asks for it, `Rule` says how, `Recompute` what it must not keep;
//! `After` is what is left of the last one. All but `Grad` and `Hole` are the identity of their first operand; these two have no
//! meaning of their own, and are gone before a graph is evaluated.

use super::{Family, ShapeError, expect_dtype, expect_operands, expect_rank, expect_same_shape};
use crate::base::{DType, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor};

pub struct Gradient;

/// Operand `i` has the type of operand `of`.
fn expect_same_type(operands: &[&TensorType], of: usize, i: usize) -> Result<(), ShapeError> {
    if operands[of].dtype != operands[i].dtype {
        let (left, right) = ((of, operands[of].dtype), (i, operands[i].dtype));
        return Err(ShapeError::DTypesDiffer { left, right });
    }
    expect_same_shape(&[operands[of], operands[i]], 1)
}

impl Family for Gradient {
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        match op {
            Op::Detach => {
                expect_operands::<1>(operands)?;
                Ok(operands[0].clone())
            }
            Op::After => {
                expect_operands::<2>(operands)?;
                Ok(operands[0].clone())
            }
            Op::Hole => {
                expect_operands::<0>(operands)?;
                Ok(requested.clone())
            }
            Op::Recompute => {
                let Some(value) = operands.first() else {
                    return Err(ShapeError::OperandCount { expected: 1, found: 0 });
                };
                Ok((*value).clone())
            }
            Op::Rule { n } => {
                if operands.len() != 2 * n + 3 {
                    return Err(ShapeError::OperandCount { expected: 2 * n + 3, found: operands.len() });
                }
                (0..=*n).try_for_each(|i| expect_dtype(i, operands[i], &[DType::F32]))?;
                (n + 1..n + 3).try_for_each(|hole| expect_same_type(operands, 0, hole))?;
                (1..=*n).try_for_each(|i| expect_same_type(operands, i, n + 2 + i))?;
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
            Op::Grad => Err("a gradient that was not worked out".into()),
            Op::Hole => Err("a hole that nothing was put into".into()),
            _ => Ok(operands[0].clone()),
        }
    }

    fn print(&self, op: &Op) -> String {
        match op {
            Op::Detach => "detach".into(),
            Op::After => "after".into(),
            Op::Hole => "hole".into(),
            Op::Recompute => "recompute".into(),
            Op::Rule { n } => format!("rule {n}"),
            _ => "grad".into(),
        }
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        Ok(match keyword {
            "detach" => Some(Op::Detach),
            "after" => Some(Op::After),
            "hole" => Some(Op::Hole),
            "recompute" => Some(Op::Recompute),
            "rule" => Some(Op::Rule { n: cursor.integer()? }),
            "grad" => Some(Op::Grad),
            _ => None,
        })
    }
}
