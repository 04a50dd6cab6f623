//! Products against the plain sum, bit for bit.

use super::{Product, ProductFn, portable, product_function};

/// Numbers that are all different and neither large nor small.
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let number =
        |i: u32| ((i.wrapping_mul(2_654_435_761).wrapping_add(seed * 97)) >> 16) as f32 / 65536.0 - 0.5;
    (0..n as u32).map(number).collect()
}

/// How a matrix lies: its strides, for rows and columns.
type Lie = fn(i64, i64) -> (i64, i64);

const LIES: &[(&str, Lie)] = &[
    ("rows", |_, columns| (columns, 1)),
    ("rows, apart", |_, columns| (columns + 600, 1)),
    ("columns", |rows, _| (1, rows)),
    ("every third", |_, columns| (3 * columns, 3)),
];

fn check(function: ProductFn, (m, n, k): (i64, i64, i64), lies: [(&str, Lie); 3], accumulate: bool) {
    let room = |rows: i64, columns: i64, lie: Lie| {
        let (row, column) = lie(rows, columns);
        ((rows - 1).max(0) * row + (columns - 1).max(0) * column + 1) as usize
    };
    let (lhs, rhs) = (numbers(room(m, k, lies[0].1), 1), numbers(room(k, n, lies[1].1), 2));
    let before = numbers(room(m, n, lies[2].1), 3);
    let mut out = before.clone();
    let ((lhs_row, lhs_column), (rhs_row, rhs_column), (out_row, out_column)) =
        (lies[0].1(m, k), lies[1].1(k, n), lies[2].1(m, n));
    let product = Product {
        m,
        n,
        k,
        out: out.as_mut_ptr(),
        out_row,
        out_column,
        lhs: lhs.as_ptr(),
        lhs_row,
        lhs_column,
        rhs: rhs.as_ptr(),
        rhs_row,
        rhs_column,
        accumulate: accumulate.into(),
    };
    // SAFETY: the buffers have room for the matrices.
    unsafe { function(&raw const product) };
    let mut expected = before;
    for i in 0..m {
        for j in 0..n {
            let place = (i * out_row + j * out_column) as usize;
            let from = if accumulate { expected[place] } else { 0.0 };
            let term = |l: i64| {
                (lhs[(i * lhs_row + l * lhs_column) as usize], rhs[(l * rhs_row + j * rhs_column) as usize])
            };
            expected[place] = (0..k).map(term).fold(from, |sum, (a, b)| a.mul_add(b, sum));
        }
    }
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let lies = lies.map(|(name, _)| name);
    assert!(bits(&out) == bits(&expected), "{m} x {n} x {k}, {lies:?}, accumulate {accumulate}");
}

#[test]
fn products_are_sums_in_order() {
    let sizes = [
        (1, 1, 1),
        (1, 1, 0),
        (2, 3, 0),
        (0, 5, 3),
        (5, 0, 3),
        (1, 10, 300),
        (7, 64, 33),
        (12, 32, 17),
        (13, 33, 5),
        (33, 10, 40),
        (6, 65, 3),
        (25, 130, 270),
        (40, 47, 513),
        (17, 1, 64),
        (64, 16, 2),
    ];
    // Without FMA the portable sum rounds twice.
    let fused = cfg!(any(target_feature = "fma", not(target_arch = "x86_64")));
    let mut functions = vec![product_function()];
    functions.extend(fused.then_some(portable as ProductFn));
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        functions.push(super::avx2);
    }
    for function in functions {
        for size in sizes {
            for lhs in LIES {
                for rhs in LIES {
                    for out in LIES {
                        for accumulate in [false, true] {
                            check(function, size, [*lhs, *rhs, *out], accumulate);
                        }
                    }
                }
            }
        }
    }
}
