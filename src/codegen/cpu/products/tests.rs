//! Products against the plain sum, bit for bit.

use super::{
    Bf16ProductFn, Numbers, Product, ProductFn, bf16_portable, bf16_product_function, gradc_fill, portable,
    product_function,
};
use crate::base::philox::Stream;
use crate::base::{Distribution, bf16};

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

/// A product of factors that `factor` makes of numbers, against the plain sum: `sum` goes on from a number over the terms.
fn check<F: Copy>(
    function: unsafe extern "C" fn(*const Product<F>),
    factor: fn(f32) -> F,
    sum: fn(f32, &[(F, F)]) -> f32,
    (m, n, k): (i64, i64, i64),
    lies: [(&str, Lie); 3],
    accumulate: bool,
) {
    let room = |rows: i64, columns: i64, lie: Lie| {
        let (row, column) = lie(rows, columns);
        ((rows - 1).max(0) * row + (columns - 1).max(0) * column + 1) as usize
    };
    let factors = |n: usize, seed: u32| numbers(n, seed).into_iter().map(factor).collect::<Vec<F>>();
    let (lhs, rhs) = (factors(room(m, k, lies[0].1), 1), factors(room(k, n, lies[1].1), 2));
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
        panels: 1,
        rhs_panel: 0,
        runs: 1,
        lhs_run: 0,
        rhs_run: 0,
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
            expected[place] = sum(from, &(0..k).map(term).collect::<Vec<_>>());
        }
    }
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let lies = lies.map(|(name, _)| name);
    assert!(bits(&out) == bits(&expected), "{m} x {n} x {k}, {lies:?}, accumulate {accumulate}");
}

fn check_all<F: Copy>(
    functions: &[unsafe extern "C" fn(*const Product<F>)],
    factor: fn(f32) -> F,
    sum: fn(f32, &[(F, F)]) -> f32,
) {
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
        (130, 18, 1026),
        (17, 1, 64),
        (64, 16, 2),
        (20, 208, 400),
        (22, 200, 40),
        (300, 70, 20),
        (1030, 40, 9),
    ];
    for function in functions {
        for size in sizes {
            for lhs in LIES {
                for rhs in LIES {
                    for out in LIES {
                        for accumulate in [false, true] {
                            check(*function, factor, sum, size, [*lhs, *rhs, *out], accumulate);
                        }
                    }
                }
            }
        }
    }
}

/// A right operand in panels gives what it gives in one piece. `width`: columns of a panel.
#[test]
fn panels_of_a_right_operand_are_as_one() {
    /// Vectors as wide as a panel, several to a block, on any CPU.
    unsafe extern "C" fn joining(product: *const Product) {
        // SAFETY: the caller's promises are this call's.
        unsafe { super::floats::product::<super::simd::Portable<16>>(&*product) }
    }
    let mut functions = vec![product_function(), portable, joining];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        functions.push(super::avx2);
    }
    let sizes = [
        (16, 256, 16, 9, 0),
        (7, 33, 4, 7, 3),
        (13, 400, 8, 3, 5),
        (1, 5, 16, 2, 0),
        (40, 20, 3, 5, 1),
        (3, 0, 16, 2, 0),
    ];
    for ((m, k, width, panels, apart), is_turned) in
        sizes.into_iter().flat_map(|of| [(of, false), (of, true)])
    {
        let (n, panel) = (width * panels, k * width + apart);
        let (lhs, rhs) = (numbers((m * k) as usize, 1), numbers((panel * panels) as usize, 2));
        let before = numbers((m * n) as usize, 3);
        let [along, across] = if is_turned { [1, k] } else { [width, 1] };
        let place = |l: i64, j: i64| (j / width * panel + l * along + j % width * across) as usize;
        let mut whole = vec![0.0; (k * n) as usize];
        (0..k * n).for_each(|at| whole[at as usize] = rhs[place(at / n, at % n)]);
        for (function, accumulate) in functions.iter().flat_map(|function| [(function, 0), (function, 1)]) {
            let made = |n, rhs: &[f32], [rhs_row, rhs_column]: [i64; 2], panels, rhs_panel| {
                let mut out = before.clone();
                let (out_row, lhs) = (n * panels, lhs.as_ptr());
                let (lhs_row, lhs_column, out_column) = (k, 1, 1);
                let (rhs, written) = (rhs.as_ptr(), out.as_mut_ptr());
                let product = Product {
                    m,
                    n,
                    k,
                    out: written,
                    out_row,
                    out_column,
                    lhs,
                    lhs_row,
                    lhs_column,
                    rhs,
                    rhs_row,
                    rhs_column,
                    accumulate,
                    panels,
                    rhs_panel,
                    runs: 1,
                    lhs_run: 0,
                    rhs_run: 0,
                };
                // SAFETY: the buffers have room for the matrices.
                unsafe { function(&raw const product) };
                out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
            };
            assert!(
                made(width, &rhs, [along, across], panels, panel) == made(n, &whole, [n, 1], 1, 0),
                "{m} x {k}, {panels} of {width}"
            );
        }
    }
}

/// A sum in runs of terms gives what its runs give one after another.
#[test]
fn runs_of_terms_are_added_one_after_another() {
    fn check<F: Copy>(function: unsafe extern "C" fn(*const Product<F>), factor: fn(f32) -> F) {
        // Of the last, some runs are taken together and some are left over; of the one before, each by itself.
        let sizes = [
            (1, 1, 1, 3),
            (7, 20, 1, 5),
            (30, 17, 4, 9),
            (9, 64, 30, 3),
            (3, 5, 0, 2),
            (20, 130, 300, 2),
            (70, 40, 48, 20),
        ];
        for ((m, n, k, runs), (apart, accumulate)) in
            sizes.into_iter().flat_map(|size| [(0, 0), (7, 1), (1000, 0)].map(|with| (size, with)))
        {
            for (lhs_lie, rhs_lie) in LIES.iter().flat_map(|lhs| LIES.iter().map(move |rhs| (lhs.1, rhs.1))) {
                let ((lhs_row, lhs_column), (rhs_row, rhs_column)) = (lhs_lie(m, k), rhs_lie(k, n));
                let (lhs_run, rhs_run) =
                    (m * lhs_row + k * lhs_column + apart, k * rhs_row + n * rhs_column + apart);
                let factors = |n: i64, seed: u32| -> Vec<F> {
                    numbers(n as usize, seed).into_iter().map(factor).collect()
                };
                let (lhs, rhs) = (factors(runs * lhs_run, 1), factors(runs * rhs_run, 2));
                let before = numbers((m * n) as usize, 3);
                let made = |parts: &[(i64, i64)]| {
                    let mut out = before.clone();
                    for (run, runs) in parts {
                        let product = Product {
                            m,
                            n,
                            k,
                            out: out.as_mut_ptr(),
                            out_row: n,
                            out_column: 1,
                            lhs: lhs.as_ptr().wrapping_add((run * lhs_run) as usize),
                            lhs_row,
                            lhs_column,
                            rhs: rhs.as_ptr().wrapping_add((run * rhs_run) as usize),
                            rhs_row,
                            rhs_column,
                            accumulate: accumulate | run,
                            panels: 1,
                            rhs_panel: 0,
                            runs: *runs,
                            lhs_run,
                            rhs_run,
                        };
                        // SAFETY: the buffers have room for the matrices.
                        unsafe { function(&raw const product) };
                    }
                    out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                };
                let one_by_one: Vec<(i64, i64)> = (0..runs).map(|run| (run, 1)).collect();
                assert!(made(&[(0, runs)]) == made(&one_by_one), "{runs} runs of {m} x {n} x {k}");
            }
        }
    }
    let mut functions = vec![product_function(), portable];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        functions.push(super::avx2);
    }
    functions.into_iter().for_each(|function| check(function, |x| x));
    [bf16_product_function(), bf16_portable].into_iter().for_each(|function| check(function, bf16::to_bits));
}

/// Without FMA the portable sum rounds twice.
const FUSED: bool = cfg!(any(target_feature = "fma", not(target_arch = "x86_64")));

#[test]
fn products_are_sums_in_order() {
    let mut functions = vec![product_function()];
    functions.extend(FUSED.then_some(portable as ProductFn));
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        functions.push(super::avx2);
    }
    check_all(&functions, |x| x, |from, terms| terms.iter().fold(from, |sum, (a, b)| a.mul_add(*b, sum)));
}

#[test]
fn products_of_bf16_are_sums_of_pairs_the_second_first() {
    let mut functions = vec![];
    functions.extend(FUSED.then_some(bf16_portable as Bf16ProductFn));
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512bw") {
            functions.push(super::bf16_pairs);
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            functions.push(super::bf16_avx2);
        }
        if is_x86_feature_detected!("avx512f") {
            functions.push(super::bf16_avx512);
        }
    }
    check_all(&functions, bf16::to_bits, |from, terms| {
        let add = |sum: f32, (a, b): &(u16, u16)| bf16::from_bits(*a).mul_add(bf16::from_bits(*b), sum);
        terms.chunks(2).fold(from, |sum, pair| pair.iter().rev().fold(sum, add))
    });
}

#[cfg(target_arch = "x86_64")]
#[test]
fn products_of_bf16_on_tiles_are_sums_of_steps() {
    fn normal(x: f32) -> f32 {
        if x.is_subnormal() { 0f32.copysign(x) } else { x }
    }
    fn sum(from: f32, terms: &[(u16, u16)]) -> f32 {
        terms.chunks(super::amx::STEP).fold(normal(from), |sum, step| {
            let mut halves = [0.0f32; 2];
            for i in 0..super::amx::STEP {
                let (a, b) = step.get(i).copied().unwrap_or_default();
                let [a, b] = [a, b].map(|bits| normal(bf16::from_bits(bits)));
                halves[i % 2] = normal(a.mul_add(b, halves[i % 2]));
            }
            normal(sum + normal(halves[0] + halves[1]))
        })
    }
    if !super::amx::are_there() {
        return;
    }
    check_all(&[super::bf16_tiles], bf16::to_bits, sum);
    // Products on both sides of the least normal number; then factors.
    let tiny: [fn(f32) -> u16; 2] =
        [|x| bf16::to_bits(x * 2f32.powi(-61)), |x| bf16::to_bits(x * 2f32.powi(-124))];
    for factor in tiny {
        check(super::bf16_tiles, factor, sum, (25, 130, 270), [LIES[0], LIES[2], LIES[0]], true);
        check(super::bf16_tiles, factor, sum, (25, 130, 270), [LIES[2], LIES[0], LIES[0]], false);
    }
}

/// `cargo test --release -- --ignored --nocapture speed_of_products`
#[test]
#[ignore = "measures, and holds nothing"]
fn speed_of_products() {
    fn gflops<F: Copy>(
        function: unsafe extern "C" fn(*const Product<F>),
        [m, n, k]: [i64; 3],
        [lhs_lie, rhs_lie]: [Lie; 2],
        one: F,
    ) -> f64 {
        let (lhs, rhs) = (vec![one; (m * k) as usize], vec![one; (k * n) as usize]);
        let mut out = vec![0f32; (m * n) as usize];
        let ((lhs_row, lhs_column), (rhs_row, rhs_column)) = (lhs_lie(m, k), rhs_lie(k, n));
        let product = Product {
            m,
            n,
            k,
            out: out.as_mut_ptr(),
            out_row: n,
            out_column: 1,
            lhs: lhs.as_ptr(),
            lhs_row,
            lhs_column,
            rhs: rhs.as_ptr(),
            rhs_row,
            rhs_column,
            accumulate: 0,
            panels: 1,
            rhs_panel: 0,
            runs: 1,
            lhs_run: 0,
            rhs_run: 0,
        };
        let mut least = f64::INFINITY;
        for _ in 0..30 {
            let begun = std::time::Instant::now();
            // SAFETY: the buffers have the matrices' elements.
            unsafe { function(&raw const product) };
            least = least.min(begun.elapsed().as_secs_f64());
        }
        (2 * m * n * k) as f64 / least * 1e-9
    }
    let (rows, columns) = (LIES[0].1, LIES[2].1);
    for (what, size, lies) in [
        ("x w", [256, 384, 384], [rows, rows]),
        ("x w", [256, 1536, 384], [rows, rows]),
        ("x w", [256, 384, 1536], [rows, rows]),
        ("g w'", [256, 384, 1536], [rows, columns]),
        ("g w'", [256, 1536, 384], [rows, columns]),
        ("x' g", [48, 384, 2048], [columns, rows]),
        ("x' g", [192, 384, 2048], [columns, rows]),
        ("q k'", [256, 256, 64], [rows, columns]),
        ("p v", [256, 64, 256], [rows, rows]),
        ("x w", [4, 64, 784], [rows, rows]),
        ("x w", [16, 1024, 256], [rows, rows]),
    ] {
        let full = gflops(product_function(), size, lies, 1.0);
        let half = gflops(bf16_product_function(), size, lies, bf16::to_bits(1.0));
        println!("{what:5} {size:?}: f32 {full:.1}, bf16 {half:.1} GFLOP/s, {:.2}", half / full);
    }
}

#[test]
fn random_numbers_are_those_of_their_stream_on_any_cpu() {
    let env = super::StepEnv { seed: 3 << 33, step: 17 };
    for (normal, distribution) in [(0, Distribution::Uniform), (1, Distribution::Normal)] {
        let stream = Stream { seed: env.seed, step: env.step, site: 4, distribution };
        for (first, n) in [(0, 1024), (5, 300), (1 << 35, 700)] {
            let mut out = vec![0.0f32; n];
            let numbers = Numbers {
                out: out.as_mut_ptr(),
                count: n as i64,
                first,
                site: 4,
                normal,
                env: &raw const env,
            };
            // SAFETY: the buffer has that many elements; it and the environment outlive the call.
            unsafe { gradc_fill(&raw const numbers) };
            assert!((0..n).all(|i| out[i].to_bits() == stream.at((first as usize + i) as u64).to_bits()));
        }
    }
}
