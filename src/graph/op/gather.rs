//! `Gather` reads a table at indices along one axis; `ScatterAdd`, its transpose, adds updates up at indices.
//!
//! With indices of shape `[P…, I…]`, where `P…` are the `batch` axes that they share with the table: a table
//! `[P…, A…, n, B…]` gathers to `[P…, A…, I…, B…]`; updates `[P…, A…, I…, B…]` scatter to `[P…, A…, n, B…]`, whose `n`
//! is the one asked for.

use super::expect_same_size;
use super::{AxisSize, Family, ShapeError, expect_axis, expect_dtype, expect_operands, expect_rank};
use crate::base::{DType, Dim, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor};
use crate::scalar::Func;

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
            Op::Gather { axis, batch } => {
                let (table, indices) = (operands[0], operands[1]);
                expect_dtype(1, indices, &[DType::I32])?;
                let shape = gathered([Some(0), Some(1)], table, indices, *axis, *batch)?;
                Ok(TensorType::new(table.dtype, shape))
            }
            Op::ScatterAdd { axis, batch } => {
                let (indices, updates) = (operands[0], operands[1]);
                expect_dtype(0, indices, &[DType::I32])?;
                expect_dtype(1, updates, &[DType::F32, DType::I32])?;
                let expected = gathered([None, Some(0)], requested, indices, *axis, *batch)?;
                expect_rank(1, updates, expected.len())?;
                for (axis, size) in expected.into_iter().enumerate() {
                    let left = AxisSize { operand: Some(1), axis, size: updates.shape[axis].clone() };
                    expect_same_size(left, AxisSize { operand: None, axis, size })?;
                }
                Ok(TensorType::new(updates.dtype, requested.shape.clone()))
            }
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        match op {
            Op::Gather { axis, batch } => {
                let (table, indices) = (operands[0], operands[1]);
                let missing = if cx.dtype.is_float() { f64::NAN } else { 0.0 };
                let read = |at: Option<usize>| at.map_or(missing, |at| table.data[at]);
                let places = places(&table.shape, indices, *axis, *batch);
                Ok(Tensor::new(cx.shape.clone(), places.into_iter().map(read).collect::<Vec<_>>()))
            }
            Op::ScatterAdd { axis, batch } => {
                let (indices, updates) = (operands[0], operands[1]);
                let mut out = Tensor::full(cx.shape.clone(), 0.0);
                for (at, update) in places(&cx.shape, indices, *axis, *batch).into_iter().zip(&updates.data) {
                    if let Some(at) = at {
                        out.data[at] = Func::Add.eval_on(cx.dtype, &[out.data[at], *update]);
                    }
                }
                Ok(out)
            }
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn print(&self, op: &Op) -> String {
        let (word, axis, batch) = match op {
            Op::Gather { axis, batch } => ("gather", axis, batch),
            Op::ScatterAdd { axis, batch } => ("scatter_add", axis, batch),
            _ => unreachable!("{op:?} is not of this family"),
        };
        if *batch == 0 { format!("{word} {axis}") } else { format!("{word} {axis} batch {batch}") }
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        if !matches!(keyword, "gather" | "scatter_add") {
            return Ok(None);
        }
        let axis = cursor.integer()?;
        let batch = if cursor.take("batch") { cursor.integer()? } else { 0 };
        Ok(Some(match keyword {
            "gather" => Op::Gather { axis, batch },
            _ => Op::ScatterAdd { axis, batch },
        }))
    }
}

/// For each element `[p…, a…, i…, b…]` of what is gathered, its place `[p…, a…, index, b…]` in a table of `shape`, or
/// `None` if the index is out of range.
fn places(shape: &[usize], indices: &Tensor, axis: usize, batch: usize) -> Vec<Option<usize>> {
    let count = |shape: &[usize]| shape.iter().product::<usize>();
    let (n_lines, n_after) = (count(&shape[batch..axis]), count(&shape[axis + 1..]));
    let n_indices = count(&indices.shape[batch..]);
    let mut places = Vec::new();
    for before in 0..count(&shape[..axis]) {
        let first = before / n_lines * n_indices;
        for &index in &indices.data[first..first + n_indices] {
            let inside = (0.0..shape[axis] as f64).contains(&index);
            for after in 0..n_after {
                places.push(inside.then(|| (before * shape[axis] + index as usize) * n_after + after));
            }
        }
    }
    places
}

/// The shape of what is gathered; `operands` are the table's and the indices' numbers, for messages.
fn gathered(
    operands: [Option<usize>; 2],
    table: &TensorType,
    indices: &TensorType,
    axis: usize,
    batch: usize,
) -> Result<Vec<Dim>, ShapeError> {
    expect_axis(axis, table.rank())?;
    if batch > axis || batch > indices.rank() {
        return Err(ShapeError::Attribute(format!("{batch} axes before axis {axis} are not common")));
    }
    for common in 0..batch {
        let size =
            |operand, ty: &TensorType| AxisSize { operand, axis: common, size: ty.shape[common].clone() };
        expect_same_size(size(operands[0], table), size(operands[1], indices))?;
    }
    let (before, after) = (&table.shape[..axis], &table.shape[axis + 1..]);
    Ok([before, &indices.shape[batch..], after].concat())
}
