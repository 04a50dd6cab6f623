//! `Gather` reads a table at indices along one axis; `ScatterAdd`, its transpose, adds updates up at indices.
//!
//! With indices of shape `I…`: a table `[A…, n, B…]` gathers to `[A…, I…, B…]`; updates `[A…, I…, B…]` scatter to
//! `[A…, n, B…]`, whose `n` is the one asked for.

use super::expect_same_size;
use super::{AxisSize, Family, ShapeError, expect_axis, expect_dtype, expect_operands, expect_rank};
use crate::base::{DType, Dim, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor};

pub struct Gather;

impl Family for Gather {
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        expect_operands::<2>(operands)?;
        match op {
            Op::Gather { axis } => {
                let (table, indices) = (operands[0], operands[1]);
                expect_dtype(1, indices, &[DType::I32])?;
                expect_axis(*axis, table.rank())?;
                Ok(TensorType::new(table.dtype, gathered(table, *axis, indices)))
            }
            Op::ScatterAdd { axis } => {
                let (indices, updates) = (operands[0], operands[1]);
                expect_dtype(0, indices, &[DType::I32])?;
                expect_dtype(1, updates, &[DType::F32])?;
                expect_axis(*axis, requested.rank())?;
                let expected = gathered(requested, *axis, indices);
                expect_rank(1, updates, expected.len())?;
                for (axis, size) in expected.into_iter().enumerate() {
                    let left = AxisSize { operand: Some(1), axis, size: updates.shape[axis].clone() };
                    expect_same_size(left, AxisSize { operand: None, axis, size })?;
                }
                Ok(TensorType::new(DType::F32, requested.shape.clone()))
            }
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        match op {
            Op::Gather { axis } => {
                let (table, indices) = (operands[0], operands[1]);
                let missing = if cx.dtype == DType::F32 { f64::NAN } else { 0.0 };
                let read = |at: Option<usize>| at.map_or(missing, |at| table.data[at]);
                let data: Vec<f64> = places(&table.shape, *axis, indices).into_iter().map(read).collect();
                Ok(Tensor::new(cx.shape.clone(), data))
            }
            Op::ScatterAdd { axis } => {
                let (indices, updates) = (operands[0], operands[1]);
                let mut out = Tensor::full(cx.shape.clone(), 0.0);
                for (at, update) in places(&cx.shape, *axis, indices).into_iter().zip(&updates.data) {
                    if let Some(at) = at {
                        out.data[at] += update;
                    }
                }
                Ok(out)
            }
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn print(&self, op: &Op) -> String {
        match op {
            Op::Gather { axis } => format!("gather {axis}"),
            Op::ScatterAdd { axis } => format!("scatter_add {axis}"),
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        Ok(match keyword {
            "gather" => Some(Op::Gather { axis: cursor.integer()? }),
            "scatter_add" => Some(Op::ScatterAdd { axis: cursor.integer()? }),
            _ => None,
        })
    }
}

/// For each element `[a…, i…, b…]` of what is gathered, its place `[a…, index, b…]` in a table of `shape`, or
/// `None` if the index is out of range.
fn places(shape: &[usize], axis: usize, indices: &Tensor) -> Vec<Option<usize>> {
    let n_before: usize = shape[..axis].iter().product();
    let n_after: usize = shape[axis + 1..].iter().product();
    let mut places = Vec::new();
    for before in 0..n_before {
        for &index in &indices.data {
            let inside = (0.0..shape[axis] as f64).contains(&index);
            for after in 0..n_after {
                places.push(inside.then(|| (before * shape[axis] + index as usize) * n_after + after));
            }
        }
    }
    places
}

fn gathered(table: &TensorType, axis: usize, indices: &TensorType) -> Vec<Dim> {
    let (before, after) = (&table.shape[..axis], &table.shape[axis + 1..]);
    [before, &indices.shape, after].concat()
}
