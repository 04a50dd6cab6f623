//! Contractions: products summed over shared labels, the binary einsum. `bk,kn->bn` is the matrix product,
//! `m,n->mn` the outer, `bij,bjk->bik` the batched one.
//!
//! A label is an ASCII letter and stands for one axis. Both operands are f32. A label in both operands has one
//! size; if it is not in the output it is summed.

use super::{AxisSize, Family, ShapeError, expect_dtype, expect_operands, expect_rank, expect_same_size};
use crate::base::{DType, TensorType};
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor, offsets};
use crate::graph::{Contraction, Op};
use std::fmt;

impl Contraction {
    /// From the text form, `bk,kn->bn`. `None` if it is not of that form; `check` has the rest of the rules.
    pub fn parse(text: &str) -> Option<Contraction> {
        let (operands, out) = text.split_once("->")?;
        let (lhs, rhs) = operands.split_once(',')?;
        let labels = |s: &str| s.bytes().all(|b| b.is_ascii_alphabetic()).then(|| s.as_bytes().to_vec());
        Some(Contraction { lhs: labels(lhs)?, rhs: labels(rhs)?, out: labels(out)? })
    }

    /// `lhs @ rhs`: the last axis of the left with the last but one (or only) of the right. Leading axes that
    /// both have run together, aligned at the last; those of one operand alone come first in the result.
    /// `None` for a scalar, and for more axes than there are letters.
    pub fn matmul(lhs_rank: usize, rhs_rank: usize) -> Option<Contraction> {
        if lhs_rank == 0 || rhs_rank == 0 || lhs_rank.max(rhs_rank) > 20 {
            return None;
        }
        let lhs_leading = lhs_rank.saturating_sub(2);
        let rhs_leading = rhs_rank.saturating_sub(2);
        // Of an operand with a matrix on the right, all but the last axis of the left are rows.
        let leading: Vec<u8> = (b'a'..=b'z').take(lhs_leading.max(rhs_leading)).collect();
        let last = |n: usize| leading[leading.len() - n..].to_vec();
        let (row, inner, column) = (b'X', b'Y', b'Z');
        let mut lhs = last(lhs_leading);
        let mut rhs = last(rhs_leading);
        let mut out = leading.clone();
        if lhs_rank > 1 {
            lhs.push(row);
            out.push(row);
        }
        lhs.push(inner);
        rhs.push(inner);
        if rhs_rank > 1 {
            rhs.push(column);
            out.push(column);
        }
        Some(Contraction { lhs, rhs, out }.renamed())
    }

    /// The same contraction with labels `a`, `b`, … in order of first appearance.
    pub fn renamed(&self) -> Contraction {
        let mut seen: Vec<u8> = Vec::new();
        for label in self.lhs.iter().chain(&self.rhs) {
            if !seen.contains(label) {
                seen.push(*label);
            }
        }
        let letters: Vec<u8> = (b'a'..=b'z').chain(b'A'..=b'Z').collect();
        let rename = |labels: &[u8]| {
            let place = |l: &u8| seen.iter().position(|s| s == l).expect("an output label is in an operand");
            labels.iter().map(|l| letters[place(l)]).collect()
        };
        Contraction { lhs: rename(&self.lhs), rhs: rename(&self.rhs), out: rename(&self.out) }
    }

    /// Labels that are summed, in the order of the left operand.
    pub fn summed(&self) -> Vec<u8> {
        self.lhs.iter().copied().filter(|l| !self.out.contains(l)).collect()
    }

    /// The rules that do not depend on sizes; see the type's documentation.
    pub fn check(&self) -> Result<(), ShapeError> {
        let fail = |text: String| Err(ShapeError::Attribute(format!("in {self}: {text}")));
        for labels in [&self.lhs, &self.rhs, &self.out] {
            for (i, label) in labels.iter().enumerate() {
                if labels[..i].contains(label) {
                    return fail(format!("label {} stands twice in one place", *label as char));
                }
                if !label.is_ascii_alphabetic() {
                    return fail("a label is not a letter".into());
                }
            }
        }
        for label in &self.out {
            if !self.lhs.contains(label) && !self.rhs.contains(label) {
                return fail(format!("label {} of the result is in no operand", *label as char));
            }
        }
        for label in self.lhs.iter().chain(&self.rhs) {
            let in_both = self.lhs.contains(label) && self.rhs.contains(label);
            if !in_both && !self.out.contains(label) {
                return fail(format!("label {} is in one operand only", *label as char));
            }
        }
        Ok(())
    }
}

impl fmt::Display for Contraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |labels: &[u8]| String::from_utf8_lossy(labels).into_owned();
        write!(f, "{},{}->{}", text(&self.lhs), text(&self.rhs), text(&self.out))
    }
}

fn axis_of(labels: &[u8], label: u8) -> Option<usize> {
    labels.iter().position(|l| *l == label)
}

/// The stride in `x` of each label of `along`; 0 for a label that `x` lacks.
fn strides(x: &Tensor, labels: &[u8], along: &[u8]) -> Vec<i64> {
    along.iter().map(|label| axis_of(labels, *label).map_or(0, |axis| x.strides()[axis])).collect()
}

/// Both operands have the same; the result is f32.
const FACTORS: [DType; 2] = [DType::F32, DType::BF16];

pub struct Contract;

impl Family for Contract {
    fn infer(&self, op: &Op, operands: &[&TensorType], _: &TensorType) -> Result<TensorType, ShapeError> {
        let Op::Contract(contraction) = op else { unreachable!("{op:?} is not of this family") };
        expect_operands::<2>(operands)?;
        contraction.check()?;
        let sides = [&contraction.lhs, &contraction.rhs];
        for (i, labels) in sides.iter().enumerate() {
            expect_dtype(
                i,
                operands[i],
                if i == 0 { &FACTORS } else { std::slice::from_ref(&operands[0].dtype) },
            )?;
            expect_rank(i, operands[i], labels.len())?;
        }
        let size = |operand: usize, label: u8| {
            let axis = sides[operand].iter().position(|l| *l == label)?;
            Some(AxisSize { operand: Some(operand), axis, size: operands[operand].shape[axis].clone() })
        };
        for label in &contraction.lhs {
            if let (Some(left), Some(right)) = (size(0, *label), size(1, *label)) {
                expect_same_size(left, right)?;
            }
        }
        let shape = contraction.out.iter().map(|label| {
            let place = size(0, *label).or_else(|| size(1, *label));
            place.expect("checked: an output label is in an operand").size
        });
        Ok(TensorType::new(DType::F32, shape.collect::<Vec<_>>()))
    }

    fn interpret(&self, op: &Op, operands: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::Contract(contraction) = op else { unreachable!("{op:?} is not of this family") };
        let (lhs, rhs) = (operands[0], operands[1]);
        let summed = contraction.summed();
        let size = |label: &u8| {
            let axis = axis_of(&contraction.lhs, *label).expect("a summed label is in both operands");
            lhs.shape[axis]
        };
        let summed_shape: Vec<usize> = summed.iter().map(size).collect();
        // Where each element of the result starts in an operand, and how its sum goes on from there.
        let starts = |x: &Tensor, labels: &[u8]| offsets(&cx.shape, &strides(x, labels, &contraction.out));
        let steps = |x: &Tensor, labels: &[u8]| offsets(&summed_shape, &strides(x, labels, &summed));
        let (lhs_steps, rhs_steps) = (steps(lhs, &contraction.lhs), steps(rhs, &contraction.rhs));
        let starts = starts(lhs, &contraction.lhs).into_iter().zip(starts(rhs, &contraction.rhs));
        let element = |(l, r): (i64, i64)| -> f64 {
            let terms = lhs_steps.iter().zip(&rhs_steps);
            // Not `Iterator::sum`, which is -0 over no terms.
            terms.fold(0.0, |sum, (i, j)| sum + lhs.data[(l + i) as usize] * rhs.data[(r + j) as usize])
        };
        Ok(Tensor::new(cx.shape.clone(), starts.map(element).collect::<Vec<_>>()))
    }

    fn print(&self, op: &Op) -> String {
        let Op::Contract(contraction) = op else { unreachable!("{op:?} is not of this family") };
        format!("contract {contraction}")
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        if keyword != "contract" {
            return Ok(None);
        }
        match Contraction::parse(cursor.token()?) {
            Some(contraction) => Ok(Some(Op::Contract(contraction))),
            None => cursor.reject("expected labels, such as `ab,bc->ac`"),
        }
    }
}
