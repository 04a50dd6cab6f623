//! `Sort`: the places of the elements in order, along one axis.
//!
//! What enters: f32 or i32 elements. What leaves: for each line along the axis, i32 places such that gathering by them
//! gives the elements in increasing (or decreasing) order. Equal elements keep their order (the sort is stable, and 0
//! equals -0); NaN comes last either way. Values follow by `Gather`, so a gradient flows through them and not through
//! here. Everything else that is said by order (top-k, medians, ranks) is composed of it.

use super::{Family, ShapeError, expect_axis, expect_dtype, expect_operands};
use crate::base::{DType, TensorType, sort_order};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor, offsets};

pub struct Sort;

impl Family for Sort {
    fn infer(&self, op: &Op, operands: &[&TensorType], _: &TensorType) -> Result<TensorType, ShapeError> {
        let Op::Sort { axis, .. } = op else { unreachable!("{op:?} is not of this family") };
        expect_operands::<1>(operands)?;
        expect_dtype(0, operands[0], &[DType::F32, DType::I32])?;
        expect_axis(*axis, operands[0].rank())?;
        Ok(TensorType::new(DType::I32, operands[0].shape.clone()))
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::Sort { axis, descending } = op else { unreachable!("{op:?} is not of this family") };
        let x = operands[0];
        let strides = x.strides();
        let mut lines = x.shape.clone();
        let n = lines.remove(*axis);
        let mut outer = strides.clone();
        let step = outer.remove(*axis);
        let mut out = Tensor::full(cx.shape.clone(), 0.0);
        for base in offsets(&lines, &outer) {
            let at = |place: usize| (base + place as i64 * step) as usize;
            let mut places: Vec<usize> = (0..n).collect();
            places.sort_by(|a, b| sort_order(x.data[at(*a)], x.data[at(*b)], *descending));
            for (to, from) in places.into_iter().enumerate() {
                out.data[at(to)] = from as f64;
            }
        }
        Ok(out)
    }

    fn print(&self, op: &Op) -> String {
        let Op::Sort { axis, descending } = op else { unreachable!("{op:?} is not of this family") };
        format!("sort {} {axis}", if *descending { "down" } else { "up" })
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        if keyword != "sort" {
            return Ok(None);
        }
        let descending = match cursor.word()? {
            "up" => false,
            "down" => true,
            word => return cursor.reject(format!("a sort goes `up` or `down`, not `{word}`")),
        };
        Ok(Some(Op::Sort { axis: cursor.integer()?, descending }))
    }
}
