//! Leaves: what comes from outside (`Input`, `Param`, `State`) and what needs no operands (`Const`, `Iota`,
//! `Size`). The type of a leaf is the one asked for, within its primitive's limits.

use super::{Family, ShapeError, expect_axis, expect_operands};
use crate::base::{DType, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read, write_name};
use crate::graph::interpret::{Context, Tensor, offsets};

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

    fn interpret(&self, op: &Op, _: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        match op {
            Op::Input(name) | Op::Param(name) | Op::State(name) => {
                let value = cx.env.leaves.get(name).ok_or_else(|| format!("@{name} has no value"))?;
                if value.shape != cx.shape {
                    return Err(format!("@{name} has shape {:?}, not {:?}", value.shape, cx.shape));
                }
                Ok(value.clone())
            }
            Op::Const(value) => Ok(Tensor::scalar(*value)),
            Op::Size(dim) => Ok(Tensor::scalar(cx.env.dim(dim)? as f64)),
            Op::Iota { axis } => {
                let mut strides = vec![0; cx.shape.len()];
                strides[*axis] = 1;
                let index = offsets(&cx.shape, &strides).into_iter().map(|i| i as f64);
                Ok(Tensor::new(cx.shape.clone(), index.collect::<Vec<_>>()))
            }
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn print(&self, op: &Op) -> String {
        match op {
            Op::Input(name) => format!("input @{}", write_name(name)),
            Op::Param(name) => format!("param @{}", write_name(name)),
            Op::State(name) => format!("state @{}", write_name(name)),
            Op::Const(value) => format!("const {value:?}"),
            Op::Iota { axis } => format!("iota {axis}"),
            Op::Size(dim) => format!("size {dim}"),
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        let mut name = || cursor.expect("@").and_then(|()| cursor.name());
        Ok(Some(match keyword {
            "input" => Op::Input(name()?),
            "param" => Op::Param(name()?),
            "state" => Op::State(name()?),
            "const" => match cursor.token()?.parse() {
                Ok(value) => Op::Const(value),
                Err(_) => return cursor.reject("expected a number"),
            },
            "iota" => Op::Iota { axis: cursor.integer()? },
            "size" => Op::Size(cursor.dim()?),
            _ => return Ok(None),
        }))
    }
}
