//! `Random`: f32 numbers that depend on (seed, step, site, element number) and on nothing else, so they can be
//! made again wherever they are needed.

use super::{Family, ShapeError, expect_operands};
use crate::base::philox::Stream;
use crate::base::{DType, Distribution, TensorType};
use crate::graph::Op;
use crate::graph::cursor::{Cursor, Read};
use crate::graph::interpret::{Context, Tensor};

const NAMES: [(&str, Distribution); 2] =
    [("uniform", Distribution::Uniform), ("normal", Distribution::Normal)];

pub struct Random;

impl Family for Random {
    fn infer(
        &self,
        _: &Op,
        operands: &[&TensorType],
        requested: &TensorType,
    ) -> Result<TensorType, ShapeError> {
        expect_operands::<0>(operands)?;
        Ok(TensorType::new(DType::F32, requested.shape.clone()))
    }

    fn interpret(&self, op: &Op, _: &[&Tensor], cx: &Context) -> Result<Tensor, String> {
        let Op::Random { distribution, site } = op else { unreachable!("{op:?} is not of this family") };
        let n_elements: u64 = cx.shape.iter().product::<usize>() as u64;
        let stream =
            Stream { seed: cx.env.seed, step: cx.env.step, site: *site, distribution: *distribution };
        let data: Vec<f64> = (0..n_elements).map(|i| f64::from(stream.at(i))).collect();
        Ok(Tensor::new(cx.shape.clone(), data))
    }

    fn print(&self, op: &Op) -> String {
        let Op::Random { distribution, site } = op else { unreachable!("{op:?} is not of this family") };
        let name = NAMES.iter().find(|(_, other)| other == distribution);
        format!("random {} {site}", name.expect("every distribution has a name").0)
    }

    fn parse(&self, keyword: &str, cursor: &mut Cursor) -> Read<Option<Op>> {
        if keyword != "random" {
            return Ok(None);
        }
        let word = cursor.word()?;
        match NAMES.into_iter().find(|(name, _)| *name == word) {
            Some((_, distribution)) => Ok(Some(Op::Random { distribution, site: cursor.integer()? })),
            None => cursor.reject(format!("no distribution is named `{word}`")),
        }
    }
}
