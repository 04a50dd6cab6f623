//! Kernels with arguments and what these are after a run.

use super::kernels::*;
use super::parts::*;
use crate::base::{DType, ReduceOp};
use crate::nest::Kernel;
use crate::scalar::Func;

pub struct Sample {
    pub name: &'static str,
    pub kernel: Kernel,
    /// Of the run.
    pub batch: i64,
    pub arguments: Vec<Vec<f64>>,
    /// All arguments after the run.
    pub expected: Vec<Vec<f64>>,
}

fn sample(
    name: &'static str,
    kernel: Kernel,
    batch: i64,
    arguments: &[&[f64]],
    expected: &[&[f64]],
) -> Sample {
    let owned = |all: &[&[f64]]| all.iter().map(|a| a.to_vec()).collect();
    Sample { name, kernel, batch, arguments: owned(arguments), expected: owned(expected) }
}

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

pub fn samples() -> Vec<Sample> {
    let big = f64::from(i32::MAX);
    vec![
        sample(
            "a map, the last tile shorter",
            affine(2),
            3,
            &[&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -1.0, -2.0, -3.0], &[NAN; 9]],
            &[
                &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, -1.0, -2.0, -3.0],
                &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0, -1.0, -3.0, -5.0],
            ],
        ),
        sample("no rows at all", affine(2), 0, &[&[], &[]], &[&[], &[]]),
        sample(
            "softmax through scratch",
            softmax(2, 2),
            3,
            &[&[0.0, 0.0, 5.0, 5.0, -900.0, -900.0], &[NAN; 6]],
            &[&[0.0, 0.0, 5.0, 5.0, -900.0, -900.0], &[0.5; 6]],
        ),
        sample(
            "places of columns in order",
            sorted(F32, 4, 3, 2, false),
            1,
            &[&[3.0, 0.0, NAN, 1.0, -0.0, 7.0, 2.0, -INF, NAN, -1.0, INF, -7.0], &[NAN; 12]],
            &[
                &[3.0, 0.0, NAN, 1.0, -0.0, 7.0, 2.0, -INF, NAN, -1.0, INF, -7.0],
                &[3.0, 1.0, 2.0, 0.0, 2.0, 0.0, 1.0, 3.0, 3.0, 1.0, 0.0, 2.0],
            ],
        ),
        sample(
            "places of columns in falling order",
            sorted(F32, 4, 3, 3, true),
            1,
            &[&[3.0, 0.0, NAN, 1.0, -0.0, 7.0, 2.0, -INF, NAN, -1.0, INF, -7.0], &[NAN; 12]],
            &[
                &[3.0, 0.0, NAN, 1.0, -0.0, 7.0, 2.0, -INF, NAN, -1.0, INF, -7.0],
                &[0.0, 2.0, 1.0, 3.0, 3.0, 0.0, 1.0, 2.0, 1.0, 3.0, 0.0, 2.0],
            ],
        ),
        sample(
            "places of whole numbers, equal ones in their order",
            sorted(I32, 5, 1, 1, true),
            1,
            &[&[1.0, big, -big - 1.0, 1.0, big], &[NAN; 5]],
            &[&[1.0, big, -big - 1.0, 1.0, big], &[1.0, 4.0, 0.0, 3.0, 2.0]],
        ),
        sample(
            "sums of rows",
            rows_reduced(ReduceOp::Sum, F32, 2, 3),
            1,
            &[&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], &[NAN; 2]],
            &[&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], &[6.0, 60.0]],
        ),
        sample(
            "the greatest of nothing",
            rows_reduced(ReduceOp::Max, F32, 2, 0),
            1,
            &[&[], &[NAN; 2]],
            &[&[], &[-INF; 2]],
        ),
        sample(
            "the least integer of nothing",
            rows_reduced(ReduceOp::Min, I32, 1, 0),
            1,
            &[&[], &[0.0]],
            &[&[], &[big]],
        ),
        sample(
            "products of integers wrap",
            rows_reduced(ReduceOp::Prod, I32, 2, 3),
            1,
            &[&[123_456_789.0, 987_654_321.0, 7.0, big, 3.0, 1.0], &[0.0; 2]],
            &[&[123_456_789.0, 987_654_321.0, 7.0, big, 3.0, 1.0], &[-470_071_133.0, 2_147_483_645.0]],
        ),
        sample(
            "sums of integers wrap",
            rows_reduced(ReduceOp::Sum, I32, 1, 3),
            1,
            &[&[big, 1.0, 5.0], &[0.0]],
            &[&[big, 1.0, 5.0], &[-2_147_483_643.0]],
        ),
        sample(
            "the first of equal ones is the greatest",
            places(3),
            1,
            &[&[1.0, 3.0, 3.0, -1.0, -2.0, -1.0], &[7.0; 2]],
            &[&[1.0, 3.0, 3.0, -1.0, -2.0, -1.0], &[1.0, 0.0]],
        ),
        sample(
            "the place of minus infinity",
            places(2),
            1,
            &[&[-INF, -INF, -INF, -1e30], &[7.0; 2]],
            &[&[-INF, -INF, -INF, -1e30], &[0.0, 1.0]],
        ),
        sample(
            "rows by index, two out of range",
            gather(F32, 4, 2, 3),
            1,
            &[&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], &[2.0, -1.0, 0.0, 3.0], &[7.0; 8]],
            &[
                &[0.0, 1.0, 2.0, 3.0, 4.0, 5.0],
                &[2.0, -1.0, 0.0, 3.0],
                &[4.0, 5.0, NAN, NAN, 0.0, 1.0, NAN, NAN],
            ],
        ),
        sample(
            "integers by index, one out of range",
            gather(I32, 2, 1, 2),
            1,
            &[&[5.0, 6.0], &[9.0, 1.0], &[7.0; 2]],
            &[&[5.0, 6.0], &[9.0, 1.0], &[0.0, 6.0]],
        ),
        sample(
            "additions at indices, one twice, one out of range",
            scatter(F32, 4, 3),
            1,
            &[&[1.0, 2.0, 4.0, 8.0], &[2.0, 0.0, 2.0, 3.0], &[0.0, 10.0, 100.0]],
            &[&[1.0, 2.0, 4.0, 8.0], &[2.0, 0.0, 2.0, 3.0], &[2.0, 10.0, 105.0]],
        ),
        sample(
            "additions of integers wrap",
            scatter(I32, 2, 1),
            1,
            &[&[big, 2.0], &[0.0, 0.0], &[0.0]],
            &[&[big, 2.0], &[0.0, 0.0], &[-2_147_483_647.0]],
        ),
        sample(
            "f32 to i32 saturates",
            conversion(F32, I32, 6),
            1,
            &[&[1.9, -1.9, 3e9, -3e9, NAN, -0.0], &[7.0; 6]],
            &[&[1.9, -1.9, 3e9, -3e9, NAN, -0.0], &[1.0, -1.0, big, f64::from(i32::MIN), 0.0, 0.0]],
        ),
        sample(
            "f32 to u8 saturates",
            conversion(F32, DType::U8, 5),
            1,
            &[&[1.9, -1.9, 256.0, 255.9, NAN], &[7.0; 5]],
            &[&[1.9, -1.9, 256.0, 255.9, NAN], &[1.0, 0.0, 255.0, 255.0, 0.0]],
        ),
        sample(
            "i32 to u8 saturates",
            conversion(I32, DType::U8, 3),
            1,
            &[&[-1.0, 300.0, 7.0], &[7.0; 3]],
            &[&[-1.0, 300.0, 7.0], &[0.0, 255.0, 7.0]],
        ),
        sample(
            "f32 to bool",
            conversion(F32, DType::Bool, 4),
            1,
            &[&[0.0, -0.0, 1e-30, NAN], &[0.0; 4]],
            &[&[0.0, -0.0, 1e-30, NAN], &[0.0, 0.0, 1.0, 1.0]],
        ),
        sample(
            "bool to f32",
            conversion(DType::Bool, F32, 2),
            1,
            &[&[0.0, 1.0], &[7.0; 2]],
            &[&[0.0, 1.0], &[0.0, 1.0]],
        ),
        sample("places and sizes", positions(), 3, &[&[7.0; 3], &[7.0; 3]], &[&[0.0, 1.0, 2.0], &[6.0; 3]]),
        sample(
            "a product by rows",
            product(2, 1, 2),
            3,
            &[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 10.0], &[NAN; 3]],
            &[&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 10.0], &[21.0, 43.0, 65.0]],
        ),
        sample("a product over nothing", product(0, 2, 2), 2, &[&[], &[], &[NAN; 4]], &[&[], &[], &[0.0; 4]]),
        sample(
            "products summed and added to",
            summed_products(),
            1,
            &[&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 10.0, 10.0], &[NAN]],
            &[&[1.0, 2.0, 3.0, 4.0], &[1.0, 1.0, 10.0, 10.0], &[74.0]],
        ),
        sample(
            "a nest without axes",
            kernel(
                c(1),
                1,
                &[(F32, 'b')],
                vec![nest(
                    &[],
                    &[],
                    vec![load(at(argument(0), F32, c(0), &[])), call(Func::Neg, &[0])],
                    vec![set(at(argument(0), F32, c(0), &[]), 1)],
                )],
            ),
            1,
            &[&[4.0]],
            &[&[-4.0]],
        ),
    ]
}
