//! `Concat`: operands one after another along one axis; all other sizes and the element type agree.

use super::{AxisSize, Family, ShapeError, expect_axis, expect_rank, expect_same_size};
use crate::base::{Dim, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor, offsets};

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

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::Concat { axis } = op else { unreachable!("{op:?} is not of this family") };
        let mut out = Tensor::full(cx.shape.clone(), 0.0);
        let strides = out.strides();
        let mut first = 0;
        for operand in operands {
            for (at, value) in offsets(&operand.shape, &strides).into_iter().zip(&operand.data) {
                out.data[(first + at) as usize] = *value;
            }
            first += operand.shape[*axis] as i64 * strides[*axis];
        }
        Ok(out)
    }

    fn print(&self, op: &Op) -> String {
        let Op::Concat { axis } = op else { unreachable!("{op:?} is not of this family") };
        format!("concat {axis}")
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        Ok(match keyword {
            "concat" => Some(Op::Concat { axis: cursor.integer()? }),
            _ => None,
        })
    }
}
