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

#[test]
fn lowerings_keep_their_bounds() {
    for &func in Func::ALL {
        let row = func.row();
        if !matches!(row.types, Types::Float | Types::Number) || row.ulp.is_infinite() {
            continue;
        }
        let (steps, result) = lowered(func);
        let (low, high) = row.range;
        let n = if func.arity() == 1 { 50_001 } else { 301 };
        // Evenly over the range, and over its logarithm near 0.
        let even = (0..n).map(|i| low + (high - low) * i as f64 / (n - 1) as f64);
        let fine = (0..n).flat_map(|i| {
            let size = 10f64.powf(-6.0 + 8.0 * i as f64 / n as f64);
            [size, -size]
        });
        let values: Vec<f32> =
            even.chain(fine).filter(|v| *v >= low && *v <= high).map(|v| v as f32).collect();
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
        (Func::Max, &[0.0, nan], nan),
        (Func::Max, &[nan, 0.0], 0.0),
        (Func::Sign, &[-0.0], 0.0),
        (Func::Rem, &[-1.0, 3.0], 2.0),
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

#[test]
fn integers_and_bools_lower_as_they_mean() {
    let values: &[(DType, &[i32])] = &[(DType::I32, &[-7, -1, 0, 1, 5]), (DType::Bool, &[0, -1])];
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
                    let exact = func.eval(&operands.iter().map(|o| number(*o, *dtype)).collect::<Vec<_>>());
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
                let mut variables: Vec<f64> =
                    (0..3).map(|k| if logic { f64::from((seed + k) % 2) } else { value(k) }).collect();
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
