//! Elementwise primitives: `Map` (a row of the scalar table) and `Cast`.
//!
//! Operands have exactly the result's shape; stretching is an explicit `Broadcast` view. Element types are the
//! scalar table's business.

use super::{Family, ShapeError, expect_operands, expect_same_shape};
use crate::base::{DType, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor};
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

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::Map(func) = op else {
            let data: Vec<f64> = operands[0].data.iter().map(|x| cx.dtype.convert(*x)).collect();
            return Ok(Tensor::new(cx.shape.clone(), data));
        };
        let n_elements: usize = cx.shape.iter().product();
        let of = cx.operand_types.last().map_or(cx.dtype, |ty| ty.dtype);
        let element = |i: usize| {
            let arguments: Vec<f64> = operands.iter().map(|x| x.data[i]).collect();
            func.eval_on(of, &arguments)
        };
        Ok(Tensor::new(cx.shape.clone(), (0..n_elements).map(element).collect::<Vec<_>>()))
    }

    fn print(&self, op: &Op) -> String {
        match op {
            Op::Map(func) => format!("map {}", func.name()),
            _ => "cast".into(),
        }
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        match keyword {
            "map" => {
                let name = cursor.word()?;
                match Func::named(name) {
                    Some(func) => Ok(Some(Op::Map(func))),
                    None => cursor.reject(format!("no scalar function is named `{name}`")),
                }
            }
            "cast" => Ok(Some(Op::Cast)),
            _ => Ok(None),
        }
    }
}

fn infer_map(func: Func, operands: &[&TensorType]) -> Result<TensorType, ShapeError> {
    if operands.len() != func.arity() {
        return Err(ShapeError::OperandCount { expected: func.arity(), found: operands.len() });
    }
    (1..operands.len()).try_for_each(|i| expect_same_shape(operands, i))?;
    let dtypes: Vec<DType> = operands.iter().map(|ty| ty.dtype).collect();
    match func.result_dtype(&dtypes) {
        Ok(dtype) => Ok(TensorType::new(dtype, operands[0].shape.clone())),
        Err(expected) => Err(ShapeError::NoSuchFunction { name: func.name(), found: dtypes, expected }),
    }
}
