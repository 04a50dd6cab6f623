//! The table held to itself: derivatives to finite differences, lowerings to their bounds, identities to numbers.

use super::*;

/// Operand tuples from a row's points.
fn tuples(func: Func) -> Vec<Vec<f64>> {
    let points = func.row().points;
    let mut all: Vec<Vec<f64>> = vec![Vec::new()];
    for _ in 0..func.arity() {
        all = all.iter().flat_map(|t| points.iter().map(move |p| [&t[..], &[*p]].concat())).collect();
    }
    all
}

fn near_kink(func: Func, operands: &[f64]) -> bool {
    let row = func.row();
    let place = if func.arity() == 2 { operands[0] - operands[1] } else { operands[0] };
    row.kinks.iter().any(|k| (place - k).abs() < 1e-3)
}

#[test]
fn derivatives_are_finite_differences() {
    for &func in Func::ALL {
        assert_eq!(func.row().derivatives.len(), func.arity(), "{}", func.name());
        for operands in tuples(func) {
            if near_kink(func, &operands) {
                continue;
            }
            for i in 0..func.arity() {
                let (h, mut up, mut down) = (1e-5, operands.clone(), operands.clone());
                up[i] += h;
                down[i] -= h;
                let expected = if func == Func::Select && i == 0 {
                    0.0
                } else {
                    (func.eval(&up) - func.eval(&down)) / (2.0 * h)
                };
                let mut variables = operands.clone();
                variables.resize(3, f64::NAN);
                variables.push(func.eval(&operands));
                let found = func.derivative(i).eval(&variables);
                let scale = 1.0 + expected.abs();
                assert!(
                    (found - expected).abs() < 1e-4 * scale,
                    "d {}({operands:?}) by {i}: {found}, not {expected}",
                    func.name()
                );
            }
        }
    }
}

fn lowered(func: Func) -> (Steps, StepId) {
    let mut steps = Steps::default();
    let arguments: Vec<StepId> =
        (0..func.arity()).map(|i| steps.push(machine::Step::Argument(i as u8))).collect();
    let result = func.lower(&mut steps, &arguments, DType::F32);
    (steps, result)
}

/// Units in the last place of f32 between a result and the exact value.
fn ulps(found: f32, exact: f64) -> f64 {
    if f64::from(found) == exact || (found.is_nan() && exact.is_nan()) {
        return 0.0;
    }
    let near = (exact as f32).abs().max(f32::MIN_POSITIVE);
    let unit = f64::from(f32::from_bits(near.to_bits() + 1)) - f64::from(near);
    (f64::from(found) - exact).abs() / unit
}

/// Where a lowering loses most: near the multiples of a quarter turn, and near 1.
fn awkward(func: Func) -> Vec<f64> {
    let places: Vec<f64> = match func {
        Func::Sin | Func::Cos | Func::Tan => {
            let quarters = (1..3_000).chain((3_000..630_000).step_by(31));
            quarters.map(|n| f64::from(n) * std::f64::consts::FRAC_PI_2).collect()
        }
        _ => vec![1.0],
    };
    let near =
        |x: f64| (-3..=3).map(move |d| f32::from_bits(((x as f32).to_bits() as i32 + d) as u32).into());
    places.into_iter().flat_map(near).flat_map(|x: f64| [x, -x]).collect()
}

#[test]
fn lowerings_keep_their_bounds() {
    for &func in Func::ALL {
        let row = func.row();
        if !matches!(row.types, Types::Float | Types::Number) || row.ulp.is_infinite() {
            continue;
        }
        let (steps, result) = lowered(func);
        let (low, high) = row.range;
        let n = if func.arity() == 1 { 20_001 } else { 301 };
        // Evenly over the range, and evenly over its logarithm, down to where results may underflow.
        let even = (0..n).map(|i| low + (high - low) * i as f64 / (n - 1) as f64);
        let fine = (0..n).flat_map(|i| {
            let size = 10f64.powf(-35.0 + 73.0 * i as f64 / n as f64);
            [size, -size]
        });
        let values: Vec<f32> = even
            .chain(fine)
            .chain(awkward(func))
            .filter(|v| *v >= low && *v <= high)
            .map(|v| v as f32)
            .collect();
        let (mut worst, mut at) = (0.0, Vec::new());
        let mut check = |operands: &[f32]| {
            let bits: Vec<u32> = operands.iter().map(|o| o.to_bits()).collect();
            let found = f32::from_bits(machine::eval(&steps, &bits, result));
            let exact = func.eval(&operands.iter().map(|o| f64::from(*o)).collect::<Vec<_>>());
            let error = ulps(found, exact);
            if error > worst {
                (worst, at) = (error, operands.to_vec());
            }
        };
        for &a in &values {
            match func.arity() {
                1 => check(&[a]),
                _ => [0.5f32, 1.0, -2.0, 3.0].iter().for_each(|b| check(&[a, *b])),
            }
        }
        assert!(worst <= row.ulp, "{}: {worst} ulp at {at:?}, the table says {}", row.name, row.ulp);
    }
}

#[test]
fn lowerings_at_the_ends() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let cases: &[(Func, &[f32], f32)] = &[
        (Func::Exp, &[inf], inf),
        (Func::Exp, &[-inf], 0.0),
        (Func::Exp, &[nan], nan),
        (Func::Exp, &[89.0], inf),
        (Func::Exp, &[-200.0], 0.0),
        (Func::Log, &[0.0], -inf),
        (Func::Log, &[-1.0], nan),
        (Func::Log, &[inf], inf),
        (Func::Log, &[nan], nan),
        (Func::Log, &[1e-40], -92.103_4),
        (Func::Log1p, &[-1.0], -inf),
        (Func::Log1p, &[inf], inf),
        (Func::Expm1, &[-200.0], -1.0),
        (Func::Tanh, &[inf], 1.0),
        (Func::Tanh, &[nan], nan),
        (Func::Erf, &[-inf], -1.0),
        (Func::Sigmoid, &[-inf], 0.0),
        (Func::Sigmoid, &[inf], 1.0),
        (Func::Pow, &[0.0, 0.0], 1.0),
        (Func::Pow, &[0.0, 2.0], 0.0),
        (Func::Pow, &[0.0, -1.0], inf),
        (Func::Pow, &[-2.0, 3.0], -8.0),
        (Func::Pow, &[-2.0, 0.5], nan),
        (Func::Sin, &[inf], nan),
        (Func::Cos, &[-inf], nan),
        (Func::Sin, &[nan], nan),
        (Func::Sin, &[1.1e6], 0.0),
        (Func::Cos, &[-3e38], 1.0),
        (Func::Max, &[0.0, nan], nan),
        (Func::Max, &[nan, 0.0], 0.0),
        (Func::Sign, &[-0.0], 0.0),
        (Func::Rem, &[-1.0, 3.0], 2.0),
        (Func::TruncRem, &[-4.0, 3.0], -1.0),
        (Func::FloorDiv, &[-4.0, 3.0], -2.0),
        (Func::TruncDiv, &[-4.0, 3.0], -1.0),
        (Func::Trunc, &[-1.5], -1.0),
        (Func::Asin, &[1.5], nan),
        (Func::Acos, &[-1.5], nan),
        (Func::Acos, &[-1.0], std::f32::consts::PI),
        (Func::Atan, &[-inf], -std::f32::consts::FRAC_PI_2),
        (Func::Atan, &[nan], nan),
        (Func::Atan2, &[0.0, 0.0], 0.0),
        (Func::Atan2, &[0.0, -0.0], std::f32::consts::PI),
        (Func::Atan2, &[-1.0, 0.0], -std::f32::consts::FRAC_PI_2),
        (Func::Atan2, &[-inf, -inf], -3.0 * std::f32::consts::FRAC_PI_4),
        (Func::Atan2, &[0.0, nan], nan),
        (Func::Atan2, &[nan, 1.0], nan),
        (Func::Sinh, &[-100.0], -inf),
        (Func::Sinh, &[nan], nan),
        (Func::Cosh, &[-inf], inf),
        (Func::Asinh, &[-inf], -inf),
        (Func::Acosh, &[0.5], nan),
        (Func::Acosh, &[-3.0], nan),
        (Func::Acosh, &[inf], inf),
        (Func::Atanh, &[1.0], inf),
        (Func::Atanh, &[-1.0], -inf),
        (Func::Atanh, &[1.5], nan),
        (Func::IsNan, &[nan], f32::from_bits(u32::MAX)),
    ];
    for (func, operands, expected) in cases {
        let (steps, result) = lowered(*func);
        let bits: Vec<u32> = operands.iter().map(|o| o.to_bits()).collect();
        let found = f32::from_bits(machine::eval(&steps, &bits, result));
        let close =
            found == *expected || found.is_nan() && expected.is_nan() || (found - expected).abs() < 1e-4;
        assert!(close, "{}({operands:?}) is {found}, not {expected}", func.name());
    }
}

/// Bases and exponents at which IEEE 754 says what a power is, in f64 and lowered.
#[test]
fn powers_at_the_ends() {
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let cases: &[(f32, f32, f32)] = &[
        (1.0, inf, 1.0),
        (1.0, -inf, 1.0),
        (1.0, nan, 1.0),
        (-1.0, inf, 1.0),
        (-1.0, -inf, 1.0),
        (-1.0, nan, nan),
        (0.0, 0.0, 1.0),
        (nan, 0.0, 1.0),
        (inf, 0.0, 1.0),
        (nan, 1.0, nan),
        (0.0, nan, nan),
        (0.0, 3.0, 0.0),
        (-0.0, 3.0, -0.0),
        (-0.0, 2.0, 0.0),
        (-0.0, 0.5, 0.0),
        (0.0, -3.0, inf),
        (-0.0, -3.0, -inf),
        (-0.0, -2.0, inf),
        (0.0, inf, 0.0),
        (0.0, -inf, inf),
        (0.5, inf, 0.0),
        (2.0, inf, inf),
        (2.0, -inf, 0.0),
        (-2.0, inf, inf),
        (-0.5, inf, 0.0),
        (inf, 2.0, inf),
        (inf, -2.0, 0.0),
        (-inf, 3.0, -inf),
        (-inf, 2.0, inf),
        (-inf, -3.0, -0.0),
        (-inf, 0.5, inf),
        (-2.0, 3.0, -8.0),
        (-2.0, -3.0, -0.125),
        (-2.0, 2.0, 4.0),
        (-8.0, 0.25, nan),
    ];
    let (steps, result) = lowered(Func::Pow);
    for &(a, b, expected) in cases {
        let exact = Func::Pow.eval(&[a.into(), b.into()]) as f32;
        let found = f32::from_bits(machine::eval(&steps, &[a.to_bits(), b.to_bits()], result));
        for (how, value) in [("in f64", exact), ("lowered", found)] {
            let is_same = value.is_nan() && expected.is_nan()
                || (value - expected).abs() < 1e-5 * expected.abs()
                || value == expected && value.is_sign_negative() == expected.is_sign_negative();
            assert!(is_same, "pow({a}, {b}) {how} is {value}, not {expected}");
        }
    }
}

/// The error of a power is the one that its logarithm makes of the exponent's rounding.
#[test]
fn powers_lose_digits_by_their_size() {
    let (steps, result) = lowered(Func::Pow);
    for i in 0..20_000u32 {
        let words = crate::base::philox::block([i, 0, 0, 0], [0; 2]);
        let unit = |k: usize| f64::from(words[k]) / f64::from(u32::MAX);
        let a = 10f64.powf(unit(0) * 60.0 - 30.0) as f32;
        let size = unit(1) * 170.0 - 85.0;
        let b = (size / f64::from(a).ln()) as f32;
        let exact = f64::from(a).powf(b.into());
        let found = f32::from_bits(machine::eval(&steps, &[a.to_bits(), b.to_bits()], result));
        let bound = 3.0 + 3.0 * exact.ln().abs();
        assert!(ulps(found, exact) <= bound, "pow({a}, {b}) is {found}, not {exact}: more than {bound} ulp");
    }
}

/// The convention that the table states: means at kinks, 0 at steps.
#[test]
fn derivatives_where_there_are_none() {
    let cases: &[(Func, &[f64], usize, f64)] = &[
        (Func::Abs, &[0.0], 0, 0.0),
        (Func::Sign, &[0.0], 0, 0.0),
        (Func::Max, &[2.0, 2.0], 0, 0.5),
        (Func::Max, &[2.0, 2.0], 1, 0.5),
        (Func::Min, &[-1.0, -1.0], 0, 0.5),
        (Func::Min, &[-1.0, -1.0], 1, 0.5),
        (Func::Floor, &[1.0], 0, 0.0),
        (Func::Ceil, &[1.0], 0, 0.0),
        (Func::Round, &[0.5], 0, 0.0),
        (Func::Lt, &[1.0, 1.0], 0, 0.0),
        (Func::Eq, &[1.0, 1.0], 1, 0.0),
        (Func::Select, &[1.0, 5.0, 6.0], 0, 0.0),
        (Func::Select, &[1.0, 5.0, 6.0], 1, 1.0),
        (Func::Select, &[0.0, 5.0, 6.0], 1, 0.0),
        (Func::Pow, &[0.0, 2.0], 0, 0.0),
        (Func::Pow, &[0.0, 1.0], 0, 1.0),
        (Func::Pow, &[0.0, 0.0], 0, 0.0),
        (Func::Pow, &[0.0, 2.0], 1, 0.0),
        (Func::Pow, &[-2.0, 2.0], 0, -4.0),
        (Func::Pow, &[-2.0, 2.0], 1, 0.0),
        (Func::Sqrt, &[0.0], 0, f64::INFINITY),
    ];
    for (func, operands, by, expected) in cases {
        let mut variables = operands.to_vec();
        variables.resize(3, f64::NAN);
        variables.push(func.eval(operands));
        let found = func.derivative(*by).eval(&variables);
        assert_eq!(found, *expected, "d {}({operands:?}) by {by}", func.name());
    }
}

#[test]
fn integers_and_bools_lower_as_they_mean() {
    let values: &[(DType, &[i32])] =
        &[(DType::I32, &[i32::MIN, -7, -1, 0, 1, 3, 5, 31, 32, i32::MAX]), (DType::Bool, &[0, -1])];
    for &func in Func::ALL {
        for (dtype, lanes) in values {
            if func.arity() > 2 || func.result_dtype(&vec![*dtype; func.arity()]).is_err() {
                continue;
            }
            let gives = func.result_dtype(&vec![*dtype; func.arity()]).unwrap();
            let mut steps = Steps::default();
            let arguments: Vec<StepId> =
                (0..func.arity()).map(|i| steps.push(machine::Step::Argument(i as u8))).collect();
            let result = func.lower(&mut steps, &arguments, *dtype);
            let number =
                |lane: i32, d: DType| if d == DType::Bool { f64::from(lane & 1) } else { f64::from(lane) };
            for &a in *lanes {
                for &b in *lanes {
                    let operands = &[a, b][..func.arity()];
                    let bits: Vec<u32> = operands.iter().map(|o| *o as u32).collect();
                    let found = number(machine::eval(&steps, &bits, result) as i32, gives);
                    let numbers: Vec<f64> = operands.iter().map(|o| number(*o, *dtype)).collect();
                    let exact = func.eval_on(*dtype, &numbers);
                    assert_eq!(found, exact, "{}({operands:?}) on {dtype}", func.name());
                }
            }
        }
    }
}

#[test]
fn identities_hold() {
    for &func in Func::ALL {
        for (from, to) in func.identities() {
            for seed in 0..20 {
                let value = |k: i32| 0.3 + f64::from((seed * 7 + k * 13) % 11) / 5.0;
                let logic = func.row().types == Types::Logic;
                let whole = func.row().types == Types::Whole;
                let number = |k: i32| match () {
                    () if logic => f64::from((seed + k) % 2),
                    () if whole => f64::from(seed - 9 * k),
                    () => value(k),
                };
                let mut variables: Vec<f64> = (0..3).map(number).collect();
                if func == Func::Select {
                    variables[0] = f64::from(seed % 2);
                }
                let (left, right) = (from.eval(&variables), to.eval(&variables));
                assert!((left - right).abs() < 1e-12, "{from} = {left}, {to} = {right}");
            }
        }
    }
}

#[test]
fn algebra_round_trips() {
    for &func in Func::ALL {
        let derivatives = (0..func.arity()).map(|i| func.derivative(i));
        let both = func.identities().iter().flat_map(|(from, to)| [from, to]);
        for expr in derivatives.chain(both) {
            assert_eq!(&Expr::parse(&expr.to_string()).unwrap(), expr);
        }
    }
    for (text, expected) in
        [("a +", "unexpected"), ("sin a", "missing"), ("foo(a)", "no function"), ("max(a)", "takes 2")]
    {
        let error = Expr::parse(text).unwrap_err();
        assert!(error.contains(expected) || error.contains("no function"), "{text}: {error}");
    }
}
