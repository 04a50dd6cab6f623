//! Views: the same elements under other indices, of any element type. Each is linear, and its transpose is a
//! view again (a `Broadcast`'s is a sum).

use super::expect_same_size;
use super::{AxisSize, Family, ShapeError, expect_axes, expect_axis, expect_operands, expect_rank};
use crate::base::{Dim, TensorType};
use crate::graph::cursor::{Cursor, Read, write_list};
use crate::graph::interpret::{Context, Tensor, offsets, row_major};
use crate::graph::{Op, View, Windowing};

pub struct Views;

impl Family for Views {
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        let Op::View(view) = op else { unreachable!("{op:?} is not of this family") };
        expect_operands::<1>(operands)?;
        let x = operands[0];
        let shape = match view {
            View::Permute(permutation) => permuted(x, permutation)?,
            View::Reshape => {
                let to = TensorType::new(x.dtype, requested.shape.clone());
                if x.n_elements() != to.n_elements() {
                    return Err(ShapeError::Elements { from: x.n_elements(), to: to.n_elements() });
                }
                to.shape
            }
            View::Broadcast { axes } => {
                expect_rank(0, x, axes.len())?;
                expect_axes(axes, requested.rank())?;
                for (axis, &to) in axes.iter().enumerate() {
                    let left = AxisSize { operand: Some(0), axis, size: x.shape[axis].clone() };
                    let right = AxisSize { operand: None, axis: to, size: requested.shape[to].clone() };
                    expect_same_size(left, right)?;
                }
                requested.shape.clone()
            }
            View::Slice { start, step } => {
                expect_inside(&requested.shape, &x.shape, start, step)?;
                requested.shape.clone()
            }
            View::Pad { start, step } => {
                expect_inside(&x.shape, &requested.shape, start, step)?;
                requested.shape.clone()
            }
            View::Flip { axes } => {
                expect_axes(axes, x.rank())?;
                x.shape.clone()
            }
            View::Window(window) => {
                window.check(x, requested)?;
                requested.shape.clone()
            }
        };
        Ok(TensorType::new(x.dtype, shape))
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::View(view) = op else { unreachable!("{op:?} is not of this family") };
        let x = operands[0];
        let strides = x.strides();
        let shape = &cx.shape;
        match view {
            View::Permute(permutation) => {
                let strides: Vec<i64> = permutation.iter().map(|axis| strides[*axis]).collect();
                Ok(x.pick(shape, offsets(shape, &strides)))
            }
            View::Reshape => Ok(Tensor::new(shape.clone(), x.data.clone())),
            View::Broadcast { axes } => {
                let mut repeated = vec![0; shape.len()];
                for (axis, to) in axes.iter().enumerate() {
                    repeated[*to] = strides[axis];
                }
                Ok(x.pick(shape, offsets(shape, &repeated)))
            }
            View::Slice { start, step } => Ok(x.pick(shape, strided(&x.shape, shape, start, step, cx)?)),
            View::Pad { start, step } => {
                let mut out = Tensor::full(shape.clone(), 0.0);
                for (at, value) in strided(shape, &x.shape, start, step, cx)?.into_iter().zip(&x.data) {
                    out.data[at as usize] = *value;
                }
                Ok(out)
            }
            View::Flip { axes } => {
                let backwards =
                    |axis: usize| if axes.contains(&axis) { -strides[axis] } else { strides[axis] };
                let first: i64 = axes.iter().map(|axis| (shape[*axis] as i64 - 1) * strides[*axis]).sum();
                let strides: Vec<i64> = (0..shape.len()).map(backwards).collect();
                Ok(x.pick(shape, offsets(shape, &strides).into_iter().map(|at| first + at)))
            }
            View::Window(window) => Ok(x.pick(shape, window.places(&x.shape, shape)?)),
        }
    }

    fn print(&self, op: &Op) -> String {
        let Op::View(view) = op else { unreachable!("{op:?} is not of this family") };
        match view {
            View::Permute(permutation) => format!("permute {}", write_list(permutation)),
            View::Reshape => "reshape".into(),
            View::Broadcast { axes } => format!("broadcast {}", write_list(axes)),
            View::Slice { start, step } => format!("slice {} step {}", write_list(start), write_list(step)),
            View::Pad { start, step } => format!("pad {} step {}", write_list(start), write_list(step)),
            View::Flip { axes } => format!("flip {}", write_list(axes)),
            View::Window(window) => format!("window {}", window.print()),
        }
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        let starts_and_steps = |cursor: &mut Cursor| {
            let start = cursor.list(Cursor::dim)?;
            cursor.expect("step")?;
            Ok((start, cursor.list(Cursor::integer)?))
        };
        Ok(Some(Op::View(match keyword {
            "permute" => View::Permute(cursor.list(Cursor::integer)?),
            "reshape" => View::Reshape,
            "broadcast" => View::Broadcast { axes: cursor.list(Cursor::integer)? },
            "slice" => {
                let (start, step) = starts_and_steps(cursor)?;
                View::Slice { start, step }
            }
            "pad" => {
                let (start, step) = starts_and_steps(cursor)?;
                View::Pad { start, step }
            }
            "flip" => View::Flip { axes: cursor.list(Cursor::integer)? },
            "window" => View::Window(Windowing::parse(cursor)?),
            _ => return Ok(None),
        })))
    }
}

/// Offsets in a tensor of shape `large` of the elements `start + i * step`, for every `i` inside of `small`.
fn strided(
    large: &[usize],
    small: &[usize],
    start: &[Dim],
    step: &[i64],
    cx: &Context,
) -> Result<Vec<i64>, String> {
    let strides = row_major(large);
    let mut first = 0;
    for axis in 0..large.len() {
        let from = cx.env.dim(&start[axis])?;
        let last = from + (small[axis] as i64 - 1) * step[axis];
        if small[axis] > 0 && (from < 0 || last >= large[axis] as i64) {
            return Err(format!("axis {axis}: {from}..={last} is outside of size {}", large[axis]));
        }
        first += from * strides[axis];
    }
    let steps: Vec<i64> = strides.iter().zip(step).map(|(stride, step)| stride * step).collect();
    Ok(offsets(small, &steps).into_iter().map(|at| first + at).collect())
}

fn permuted(x: &TensorType, permutation: &[usize]) -> Result<Vec<Dim>, ShapeError> {
    expect_rank(0, x, permutation.len())?;
    for (i, &axis) in permutation.iter().enumerate() {
        expect_axis(axis, x.rank())?;
        if permutation[..i].contains(&axis) {
            return Err(ShapeError::Attribute(format!("{permutation:?} is not a permutation")));
        }
    }
    Ok(permutation.iter().map(|&axis| x.shape[axis].clone()).collect())
}

/// Every `start + i * step` with `i` inside of `small` lies inside of `large`, as far as the sizes decide it:
/// an axis is refused only if its first or last index is surely outside.
fn expect_inside(small: &[Dim], large: &[Dim], start: &[Dim], step: &[i64]) -> Result<(), ShapeError> {
    let rank = large.len();
    if [small.len(), start.len(), step.len()] != [rank; 3] {
        return Err(ShapeError::Attribute(format!("a start, a step and a size for each of {rank} axes")));
    }
    for axis in 0..rank {
        if step[axis] < 1 {
            return Err(ShapeError::Attribute(format!("the step of axis {axis} is less than 1")));
        }
        if small[axis].is_const(0) {
            continue;
        }
        let last = start[axis].clone() + (small[axis].clone() - Dim::from(1)) * Dim::from(step[axis]);
        let beyond = large[axis].clone() - last.clone();
        let surely = |dim: &Dim, limit: i64| dim.as_const().is_some_and(|value| value < limit);
        for (index, outside) in [(&start[axis], surely(&start[axis], 0)), (&last, surely(&beyond, 1))] {
            if outside {
                return Err(ShapeError::Bounds { axis, index: index.clone(), size: large[axis].clone() });
            }
        }
    }
    Ok(())
}
