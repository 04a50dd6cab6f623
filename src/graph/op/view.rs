//! Views: the same elements under other indices, of any element type. Each is linear, and its transpose is a
//! view again (a `Broadcast`'s is a sum).

use super::expect_same_size;
use super::{AxisSize, Family, ShapeError, expect_axes, expect_axis, expect_operands, expect_rank};
use crate::base::{Dim, TensorType};
use crate::graph::{Op, View};

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
        };
        Ok(TensorType::new(x.dtype, shape))
    }
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
