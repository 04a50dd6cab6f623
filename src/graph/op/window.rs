//! Windows and folds: an axis as overlapping pieces, and pieces added up to an axis.
//!
//! A window, `View::Window { axis, stride, dilation }`, replaces axis `axis` of size n by two: positions and taps.
//! `out[.., p, k, ..] = in[.., p * stride + k * dilation, ..]`. It is an index map, so it costs nothing: convolution is
//! a `Contract` over a window, pooling a `Reduce`.
//! A fold, `Op::Fold` with the same attributes, is its transpose: zeros of the asked size, to which each element is
//! added where the window would have read it, in the order of positions, then taps.
//! How many positions and taps there are is in the wider type; all of them lie inside of the axis.

use super::{AxisSize, Family, ShapeError, expect_axis, expect_dtype, expect_operands, expect_same_size};
use crate::base::{DType, Dim, TensorType};
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor, offsets};
use crate::graph::{Op, Windowing};

impl Windowing {
    pub(super) fn print(&self) -> String {
        format!("{} stride {} dilation {}", self.axis, self.stride, self.dilation)
    }

    pub(super) fn parse(cursor: &mut Cursor) -> Read<Windowing> {
        let axis = cursor.integer()?;
        cursor.expect("stride")?;
        let stride = cursor.integer()?;
        cursor.expect("dilation")?;
        Ok(Windowing { axis, stride, dilation: cursor.integer()? })
    }

    /// Whether `wide` is a window on `narrow`.
    pub(super) fn check(&self, narrow: &TensorType, wide: &TensorType) -> Result<(), ShapeError> {
        let Windowing { axis, stride, dilation } = *self;
        if stride < 1 || dilation < 1 {
            return Err(ShapeError::Attribute(format!("a window of {}", self.print())));
        }
        expect_axis(axis, narrow.rank())?;
        let others = |ty: &TensorType, n: usize| -> Vec<(usize, Dim)> {
            let axes = (0..ty.rank()).filter(|a| !(axis..axis + n).contains(a));
            axes.map(|a| (a, ty.shape[a].clone())).collect()
        };
        let (few, many) = (others(narrow, 1), others(wide, 2));
        if wide.rank() != narrow.rank() + 1 {
            let text = format!("a window on {} axes has one more, not {}", narrow.rank(), wide.rank());
            return Err(ShapeError::Attribute(text));
        }
        for ((i, a), (j, b)) in few.into_iter().zip(many) {
            let left = AxisSize { operand: None, axis: i, size: a };
            expect_same_size(left, AxisSize { operand: None, axis: j, size: b })?;
        }
        let (n, positions, taps) = (&narrow.shape[axis], &wide.shape[axis], &wide.shape[axis + 1]);
        let one = Dim::from(1);
        let last = (positions.clone() - one.clone()) * Dim::from(stride)
            + (taps.clone() - one) * Dim::from(dilation);
        let is_empty = [positions, taps].iter().any(|d| d.is_const(0));
        let beyond = (last.clone() - n.clone()).as_const().is_some_and(|over| over >= 0);
        if beyond && !is_empty {
            return Err(ShapeError::Attribute(format!(
                "a window reaches index {last} of an axis of size {n}"
            )));
        }
        Ok(())
    }

    /// Where each element of the wide shape lies in the narrow tensor.
    pub(super) fn places(&self, narrow: &[usize], wide: &[usize]) -> Result<Vec<i64>, String> {
        let Windowing { axis, stride, dilation } = *self;
        let (positions, taps) = (wide[axis] as i64, wide[axis + 1] as i64);
        let last = (positions - 1) * stride + (taps - 1) * dilation;
        if positions > 0 && taps > 0 && last >= narrow[axis] as i64 {
            return Err(format!("a window reaches index {last} of an axis of size {}", narrow[axis]));
        }
        let mut strides = crate::graph::interpret::row_major(narrow);
        let along = strides.remove(axis);
        strides.splice(axis..axis, [along * stride, along * dilation]);
        Ok(offsets(wide, &strides))
    }
}

pub struct Fold;

impl Family for Fold {
    fn infer(
        &self,
        op: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        let Op::Fold(window) = op else { unreachable!("{op:?} is not of this family") };
        expect_operands::<1>(operands)?;
        expect_dtype(0, operands[0], &[DType::F32])?;
        let to = TensorType::new(DType::F32, requested.shape.clone());
        window.check(&to, operands[0])?;
        Ok(to)
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::Fold(window) = op else { unreachable!("{op:?} is not of this family") };
        let mut out = Tensor::full(cx.shape.clone(), 0.0);
        let places = window.places(&cx.shape, &operands[0].shape)?;
        for (at, value) in places.into_iter().zip(&operands[0].data) {
            out.data[at as usize] += value;
        }
        Ok(out)
    }

    fn print(&self, op: &Op) -> String {
        let Op::Fold(window) = op else { unreachable!("{op:?} is not of this family") };
        format!("fold {}", window.print())
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        if keyword != "fold" {
            return Ok(None);
        }
        Ok(Some(Op::Fold(Windowing::parse(cursor)?)))
    }
}
