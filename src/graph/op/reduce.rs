//! Reductions: `Reduce` folds the elements along some axes, `ArgMax` finds the first greatest along one. The
//! axes disappear from the shape. Elements are f32 or i32.
//! Where elements are NaN, it is not said which of them or of the others `max`, `min` and `argmax` give.

use super::{Family, ShapeError, expect_axes, expect_axis, expect_dtype, expect_operands};
use crate::base::{DType, ReduceOp, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read, write_list};
use crate::graph::interpret::{Context, Tensor, offsets};
use crate::scalar::Func;

const NAMES: [(&str, ReduceOp); 4] =
    [("sum", ReduceOp::Sum), ("prod", ReduceOp::Prod), ("max", ReduceOp::Max), ("min", ReduceOp::Min)];

/// The reduction's keyword in the text form.
pub fn name(op: ReduceOp) -> &'static str {
    NAMES.iter().find(|(_, other)| *other == op).expect("every reduction has a name").0
}

/// The index of the first greatest element, 0 if there is none.
fn first_greatest(elements: impl Iterator<Item = f64>) -> f64 {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, x) in elements.enumerate() {
        if x > best.1 {
            best = (i, x);
        }
    }
    best.0 as f64
}

pub struct Reduce;

impl Family for Reduce {
    fn infer(&self, op: &Op, operands: &[&TensorType], _: &TensorType) -> Result<TensorType, ShapeError> {
        expect_operands::<1>(operands)?;
        let x = operands[0];
        expect_dtype(0, x, &[DType::F32, DType::I32])?;
        let (dtype, axes) = match op {
            Op::Reduce { axes, .. } => {
                expect_axes(axes, x.rank())?;
                (x.dtype, axes.clone())
            }
            Op::ArgMax { axis } => {
                expect_axis(*axis, x.rank())?;
                (DType::I32, vec![*axis])
            }
            _ => unreachable!("{op:?} is not of this family"),
        };
        let kept = (0..x.rank()).filter(|axis| !axes.contains(axis));
        Ok(TensorType::new(dtype, kept.map(|axis| x.shape[axis].clone()).collect::<Vec<_>>()))
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let x = operands[0];
        let axes: &[usize] = match op {
            Op::Reduce { axes, .. } => axes,
            Op::ArgMax { axis } => std::slice::from_ref(axis),
            _ => unreachable!("{op:?} is not of this family"),
        };
        let strides = x.strides();
        let part = |reduced: bool| {
            let axes: Vec<usize> = (0..x.shape.len()).filter(|a| axes.contains(a) == reduced).collect();
            let shape: Vec<usize> = axes.iter().map(|a| x.shape[*a]).collect();
            offsets(&shape, &axes.iter().map(|a| strides[*a]).collect::<Vec<_>>())
        };
        let inner = part(true);
        let fold = |base: i64| {
            let elements = inner.iter().map(|offset| x.data[(base + offset) as usize]);
            match op {
                Op::Reduce { op, .. } => {
                    let step = Func::of_reduction(*op);
                    elements.fold(op.identity(cx.dtype), |a, b| step.eval_on(cx.dtype, &[a, b]))
                }
                _ => first_greatest(elements),
            }
        };
        Ok(Tensor::new(cx.shape.clone(), part(false).into_iter().map(fold).collect::<Vec<_>>()))
    }

    fn print(&self, op: &Op) -> String {
        match op {
            Op::Reduce { op, axes } => format!("reduce {} {}", name(*op), write_list(axes)),
            Op::ArgMax { axis } => format!("argmax {axis}"),
            _ => unreachable!("{op:?} is not of this family"),
        }
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        match keyword {
            "reduce" => {
                let word = cursor.word()?;
                match NAMES.into_iter().find(|(name, _)| *name == word) {
                    Some((_, op)) => Ok(Some(Op::Reduce { op, axes: cursor.list(Cursor::integer)? })),
                    None => cursor.reject(format!("no reduction is named `{word}`")),
                }
            }
            "argmax" => Ok(Some(Op::ArgMax { axis: cursor.integer()? })),
            _ => Ok(None),
        }
    }
}
