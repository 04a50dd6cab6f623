//! THE table: one row a function.
//!
//! Columns: the variant; name in the language; operand and result types; meaning in f64 (bools are 0 and 1);
//! partial derivative by each operand, as algebra over the operands a, b, c and the result y; identities, left to
//! right; meaning on i32 where it is not that of f64, wrapped; lowering, of which every backend makes its code; error bound of the
//! lowering in ulp, for operands within `range`, of a size of 1e-35 or more, or 0; awkward operands, at which everything is tested;
//! places where the derivative is not defined, or finite differences do not see it.
//!
//! NaN: comparisons with NaN are false (`ne` is true). `max(a, b)` is `a > b ? a : b` and `min` alike, so a NaN in
//! `b` stays and one in `a` does not: write `max(0, x)`.
//!
//! Whole numbers wrap at 32 bits. Divided by 0 they give the quotient 0, and so the dividend as remainder.
//!
//! Where there is no derivative: a kink has the mean of its two sides (`abs` at 0 has 0; `max` and `min` of equals halve it), a step
//! has 0, `pow` by a base that is not positive has 0 in its exponent. Outside of `range`: functions keep their limits at the
//! infinities, and give NaN for NaN; results that are too small may be 0, those that are too great are infinite.

use super::machine::{Compare, Step, StepId, Steps};
use super::{lower, trigonometry, whole};
use crate::base::DType;

/// Which operands a function takes, and what it gives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Types {
    /// f32 to f32.
    Float,
    /// f32 or i32, all alike, to the same.
    Number,
    /// i32 to i32.
    Whole,
    /// Operands all alike, to bool.
    Compare,
    /// bool to bool.
    Logic,
    /// f32 to bool.
    Test,
    /// (bool, T, T) to T.
    Select,
}

impl Types {
    /// The result's type, or what is expected instead.
    pub fn result(self, operands: &[DType]) -> Result<DType, String> {
        let all = |dtypes: &[DType]| operands.iter().all(|d| dtypes.contains(d));
        let alike = |operands: &[DType]| operands.windows(2).all(|w| w[0] == w[1]);
        let first = operands[0];
        match self {
            Types::Float if all(&[DType::F32]) => Ok(DType::F32),
            Types::Float => Err("operands of type f32 are expected".into()),
            Types::Number if all(&[DType::F32, DType::I32]) && alike(operands) => Ok(first),
            Types::Number => Err("operands of one type, f32 or i32, are expected".into()),
            Types::Whole if all(&[DType::I32]) => Ok(DType::I32),
            Types::Whole => Err("operands of type i32 are expected".into()),
            Types::Compare if all(&[DType::F32, DType::I32, DType::Bool]) && alike(operands) => {
                Ok(DType::Bool)
            }
            Types::Compare => Err("operands of one type, f32, i32 or bool, are expected".into()),
            Types::Logic if all(&[DType::Bool]) => Ok(DType::Bool),
            Types::Logic => Err("operands of type bool are expected".into()),
            Types::Test if all(&[DType::F32]) => Ok(DType::Bool),
            Types::Test => Err("an operand of type f32 is expected".into()),
            Types::Select
                if first == DType::Bool
                    && alike(&operands[1..])
                    && !matches!(operands[1], DType::U8 | DType::BF16) =>
            {
                Ok(operands[1])
            }
            Types::Select => Err("a bool and two operands of one type are expected".into()),
        }
    }
}

/// See the module's documentation.
pub struct Row {
    pub name: &'static str,
    pub arity: usize,
    pub types: Types,
    pub eval: fn(&[f64]) -> f64,
    /// On i32, where it is not `eval` cut down to 32 bits.
    pub eval_whole: Option<fn(&[i32]) -> i32>,
    pub derivatives: &'static [&'static str],
    pub identities: &'static [(&'static str, &'static str)],
    pub lower: fn(&mut Steps, &[StepId], DType) -> StepId,
    pub ulp: f64,
    /// Operands for which `ulp` holds, where neither they nor the result are close to underflow.
    pub range: (f64, f64),
    pub points: &'static [f64],
    /// Operands near which finite differences say nothing of the derivative; an operand pair is left out when
    /// its difference is one of these for functions of two operands.
    pub kinks: &'static [f64],
}

fn bit(value: bool) -> f64 {
    f64::from(u8::from(value))
}

/// Applies one step, on f32 or on i32.
fn either(s: &mut Steps, dtype: DType, float: Step, int: Step) -> StepId {
    s.push(if dtype == DType::F32 { float } else { int })
}

fn compare(s: &mut Steps, how: Compare, x: &[StepId], dtype: DType) -> StepId {
    // Masks compare as integers, but true is -1: for the order, compare the other way about.
    let (a, b) = if dtype == DType::Bool { (x[1], x[0]) } else { (x[0], x[1]) };
    either(s, dtype, Step::CompareF(how, a, b), Step::CompareI(how, a, b))
}

fn zero(s: &mut Steps, dtype: DType) -> StepId {
    either(s, dtype, Step::ConstF(0.0), Step::ConstI(0))
}

fn negate(s: &mut Steps, x: StepId, dtype: DType) -> StepId {
    let zero = s.i(0);
    either(s, dtype, Step::NegF(x), Step::SubI(zero, x))
}

fn extreme(s: &mut Steps, how: Compare, x: &[StepId], dtype: DType) -> StepId {
    let first = compare(s, how, x, dtype);
    s.select(first, x[0], x[1])
}

fn abs(s: &mut Steps, x: &[StepId], dtype: DType) -> StepId {
    if dtype == DType::F32 {
        return s.push(Step::AbsF(x[0]));
    }
    let negated = negate(s, x[0], dtype);
    extreme(s, Compare::Gt, &[x[0], negated], dtype)
}

fn sign(s: &mut Steps, x: &[StepId], dtype: DType) -> StepId {
    let zero = zero(s, dtype);
    let one = either(s, dtype, Step::ConstF(1.0), Step::ConstI(1));
    let minus = either(s, dtype, Step::ConstF(-1.0), Step::ConstI(-1));
    let above = compare(s, Compare::Gt, &[x[0], zero], dtype);
    let below = compare(s, Compare::Lt, &[x[0], zero], dtype);
    let rest = s.select(below, minus, x[0]);
    s.select(above, one, rest)
}

/// Not infinite and not NaN: the difference with itself is 0.
fn is_finite(s: &mut Steps, x: &[StepId], _: DType) -> StepId {
    let (difference, zero) = (s.sub(x[0], x[0]), s.f(0.0));
    s.compare(Compare::Eq, difference, zero)
}

/// Abramowitz and Stegun 7.1.5 (the series) near 0, 7.1.14 (the continued fraction) far off.
fn erf(x: f64) -> f64 {
    let size = x.abs();
    if size < 3.0 {
        let mut term = size;
        let mut sum = size;
        for n in 1..200 {
            term *= -size * size / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return x.signum() * sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    if size.is_nan() || size > 6.5 {
        return if x.is_nan() { x } else { x.signum() };
    }
    let fraction = (1..=120).rev().fold(0.0, |f, k| f64::from(k) / 2.0 / (size + f));
    x.signum() * (1.0 - (-size * size).exp() / ((size + fraction) * std::f64::consts::PI.sqrt()))
}

macro_rules! table {
    ($($(#[doc = $doc:literal])* $variant:ident = $row:expr;)*) => {
        /// A scalar function: a row of the table.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
        pub enum Func { $($(#[doc = $doc])* $variant,)* }

        impl Func {
            pub const ALL: &'static [Func] = &[$(Func::$variant),*];

            /// The function's row.
            pub fn row(self) -> &'static Row {
                match self { $(Func::$variant => { const ROW: Row = $row; &ROW })* }
            }
        }
    };
}

/// What most rows have.
const PLAIN: Row = Row {
    name: "",
    arity: 2,
    types: Types::Number,
    eval: |_| f64::NAN,
    eval_whole: None,
    derivatives: &[],
    identities: &[],
    lower: |_, x, _| x[0],

    ulp: 0.5,
    range: (-1e6, 1e6),
    points: &[0.0, 1.0, -1.0, 0.5, -3.0],
    kinks: &[],
};

/// A function of one f32.
const UNARY: Row = Row { arity: 1, types: Types::Float, ..PLAIN };

/// A step function: its derivative is 0 wherever it has one.
const STEPWISE: Row = Row { derivatives: &["0"], kinks: &[0.0, 1.0, -1.0, 0.5, -0.5, -3.0, 1.5], ..UNARY };

const COMPARISON: Row = Row { types: Types::Compare, derivatives: &["0", "0"], kinks: &[0.0], ..PLAIN };

/// A function of the bits of two i32.
const BITS: Row =
    Row { types: Types::Whole, derivatives: &["0", "0"], points: &[0.5, 2.5, -3.5, 30.5], ..PLAIN };

/// A quotient without fraction, or its remainder.
const DIVISION: Row = Row {
    derivatives: &["0", "0"],
    ulp: f64::INFINITY,
    points: &[0.75, -0.3, 2.6, -3.1],
    kinks: &[0.0],
    ..PLAIN
};

const LOGIC: Row = Row {
    types: Types::Logic,
    derivatives: &["0", "0"],
    points: &[0.0, 1.0],
    kinks: &[0.0, 1.0, -1.0],
    ..PLAIN
};

table! {
    Add = Row {
        name: "add", eval: |x| x[0] + x[1], derivatives: &["1", "1"],
        identities: &[("add(a, 0)", "a"), ("add(0, a)", "a"), ("add(a, neg(b))", "sub(a, b)"), ("add(neg(a), b)", "sub(b, a)")],
        lower: |s, x, d| either(s, d, Step::AddF(x[0], x[1]), Step::AddI(x[0], x[1])), ..PLAIN
    };
    Sub = Row {
        name: "sub", eval: |x| x[0] - x[1], derivatives: &["1", "-1"],
        identities: &[("sub(a, 0)", "a"), ("sub(0, a)", "neg(a)"), ("sub(a, neg(b))", "add(a, b)")],
        lower: |s, x, d| either(s, d, Step::SubF(x[0], x[1]), Step::SubI(x[0], x[1])), ..PLAIN
    };
    Mul = Row {
        name: "mul", eval: |x| x[0] * x[1], eval_whole: Some(|x| x[0].wrapping_mul(x[1])), derivatives: &["b", "a"],
        identities: &[
            ("mul(a, 1)", "a"), ("mul(1, a)", "a"), ("mul(a, -1)", "neg(a)"), ("mul(-1, a)", "neg(a)"),
            ("mul(neg(a), neg(b))", "mul(a, b)"),
        ],
        lower: |s, x, d| either(s, d, Step::MulF(x[0], x[1]), Step::MulI(x[0], x[1])), ..PLAIN
    };
    Div = Row {
        name: "div", types: Types::Float, eval: |x| x[0] / x[1], derivatives: &["1 / b", "-y / b"],
        identities: &[("div(a, 1)", "a"), ("div(a, -1)", "neg(a)"), ("div(neg(a), neg(b))", "div(a, b)")],
        lower: |s, x, _| s.div(x[0], x[1]), points: &[1.0, -1.0, 0.5, -3.0, 1e-3], ..PLAIN
    };
    /// The greatest whole number that is not above the quotient.
    FloorDiv = Row {
        name: "floor_div", eval: |x| (x[0] / x[1]).floor(), eval_whole: Some(whole::floor_div),
        lower: whole::lower_floor_div, ..DIVISION
    };
    /// The quotient without its fraction.
    TruncDiv = Row {
        name: "trunc_div", eval: |x| (x[0] / x[1]).trunc(), eval_whole: Some(whole::trunc_div),
        lower: whole::lower_trunc_div, ..DIVISION
    };
    /// What `floor_div` leaves: it has the divisor's sign.
    Rem = Row {
        name: "rem", eval: whole::floor_rem_of_floats, eval_whole: Some(whole::floor_rem),
        derivatives: &["1", "-floor_div(a, b)"], lower: whole::lower_floor_rem, ..DIVISION
    };
    /// What `trunc_div` leaves: it has the dividend's sign.
    TruncRem = Row {
        name: "trunc_rem", eval: |x| x[0] % x[1], eval_whole: Some(whole::trunc_rem),
        derivatives: &["1", "-trunc_div(a, b)"], lower: whole::lower_trunc_rem, ..DIVISION
    };
    Neg = Row {
        name: "neg", arity: 1, eval: |x| -x[0], derivatives: &["-1"], identities: &[("neg(neg(a))", "a"), ("neg(sub(a, b))", "sub(b, a)")],
        lower: |s, x, d| negate(s, x[0], d), ..PLAIN
    };
    Abs = Row {
        name: "abs", arity: 1, eval: |x| x[0].abs(), derivatives: &["sign(a)"],
        identities: &[("abs(neg(a))", "abs(a)"), ("abs(abs(a))", "abs(a)")],
        lower: abs, kinks: &[0.0], ..PLAIN
    };
    /// -1, 0 or 1; NaN stays.
    Sign = Row {
        name: "sign", types: Types::Number,
        eval: |x| if x[0] > 0.0 { 1.0 } else if x[0] < 0.0 { -1.0 } else { x[0] },
        lower: sign, ..STEPWISE
    };
    Max = Row {
        name: "max", eval: |x| if x[0] > x[1] { x[0] } else { x[1] },
        derivatives: &["select(gt(a, b), 1, select(eq(a, b), 0.5, 0))", "select(gt(a, b), 0, select(eq(a, b), 0.5, 1))"],
        identities: &[("max(a, a)", "a")],
        lower: |s, x, d| extreme(s, Compare::Gt, x, d), kinks: &[0.0], ..PLAIN
    };
    Min = Row {
        name: "min", eval: |x| if x[0] < x[1] { x[0] } else { x[1] },
        derivatives: &["select(lt(a, b), 1, select(eq(a, b), 0.5, 0))", "select(lt(a, b), 0, select(eq(a, b), 0.5, 1))"],
        identities: &[("min(a, a)", "a")],
        lower: |s, x, d| extreme(s, Compare::Lt, x, d), kinks: &[0.0], ..PLAIN
    };
    /// A negative base with a fraction as exponent gives NaN; zeros, infinities and NaN as IEEE 754 has them. The error grows
    /// with the result's logarithm: 3 ulp for each e-fold, above 3.
    Pow = Row {
        name: "pow", types: Types::Float, eval: |x| x[0].powf(x[1]),
        derivatives: &["select(eq(b, 0), 0, b * pow(a, b - 1))", "select(gt(a, 0), y * log(a), 0)"],
        identities: &[
            ("pow(a, 1)", "a"), ("pow(a, 2)", "mul(a, a)"), ("pow(a, 3)", "mul(mul(a, a), a)"),
            ("pow(a, -1)", "div(1, a)"), ("pow(a, 0.5)", "sqrt(a)"),
        ],
        lower: |s, x, _| lower::pow(s, x[0], x[1]), ulp: 24.0, range: (0.05, 12.0),
        points: &[0.3, 1.0, 2.0, 3.0, 0.5], ..PLAIN
    };
    Sqrt = Row {
        name: "sqrt", eval: |x| x[0].sqrt(), derivatives: &["0.5 / y"],
        lower: |s, x, _| s.push(Step::SqrtF(x[0])), range: (0.0, 1e9), points: &[1e-3, 0.25, 1.0, 9.0], ..UNARY
    };
    Exp = Row {
        name: "exp", eval: |x| x[0].exp(), derivatives: &["y"],
        lower: |s, x, _| lower::exp(s, x[0]), ulp: 2.0, range: (-86.9, 88.7),
        points: &[0.0, -0.0, 1.0, -1.0, 10.0, -20.0], ..UNARY
    };
    Log = Row {
        name: "log", eval: |x| x[0].ln(), derivatives: &["1 / a"], identities: &[("log(exp(a))", "a"), ("log(div(exp(a), b))", "sub(a, log(b))")],
        lower: |s, x, _| lower::log(s, x[0]), ulp: 2.0, range: (1e-37, 1e30),
        points: &[1e-3, 0.5, 1.0, 2.0, 1e6], ..UNARY
    };
    /// `log(1 + a)`
    Log1p = Row {
        name: "log1p", eval: |x| x[0].ln_1p(), derivatives: &["1 / (1 + a)"],
        lower: |s, x, _| lower::log1p(s, x[0]), ulp: 4.0, range: (-0.99, 1e30),
        points: &[0.0, 1e-6, -0.5, 1.0, 100.0], ..UNARY
    };
    /// `exp(a) - 1`
    Expm1 = Row {
        name: "expm1", eval: |x| x[0].exp_m1(), derivatives: &["y + 1"],
        lower: |s, x, _| lower::expm1(s, x[0]), ulp: 6.0, range: (-86.9, 88.7),
        points: &[0.0, 1e-6, -1e-6, 1.0, -5.0, 10.0], ..UNARY
    };
    Tanh = Row {
        name: "tanh", eval: |x| x[0].tanh(), derivatives: &["1 - y * y"],
        lower: |s, x, _| lower::tanh(s, x[0]), ulp: 6.0, range: (-50.0, 50.0),
        points: &[0.0, 1e-4, 0.6, -0.7, 3.0, -9.0], ..UNARY
    };
    /// `1 / (1 + exp(-a))`
    Sigmoid = Row {
        name: "sigmoid", eval: |x| 1.0 / (1.0 + (-x[0]).exp()), derivatives: &["y * (1 - y)"],
        lower: |s, x, _| lower::sigmoid(s, x[0]), ulp: 4.0, range: (-80.0, 80.0),
        points: &[0.0, 1.0, -1.0, 8.0, -8.0, 20.0], ..UNARY
    };
    Erf = Row {
        name: "erf", eval: |x| erf(x[0]), derivatives: &["1.1283791670955126 * exp(-(a * a))"],
        lower: |s, x, _| lower::erf(s, x[0]), ulp: 12.0, range: (-50.0, 50.0),
        points: &[0.0, 1e-4, 0.5, -1.0, 2.5, -4.0], ..UNARY
    };
    /// Accurate up to ±1e6; an operand beyond counts as 0 in f32.
    Sin = Row {
        name: "sin", eval: |x| x[0].sin(), derivatives: &["cos(a)"],
        lower: |s, x, _| lower::sin(s, x[0]), ulp: 2.0, range: (-1e6, 1e6),
        points: &[0.0, 0.7, -1.5, 3.0, 100.0], ..UNARY
    };
    /// Accurate up to ±1e6; an operand beyond counts as 0 in f32.
    Cos = Row {
        name: "cos", eval: |x| x[0].cos(), derivatives: &["-sin(a)"],
        lower: |s, x, _| lower::cos(s, x[0]), ulp: 2.0, range: (-1e6, 1e6),
        points: &[0.0, 0.7, -1.5, 3.0, 100.0], ..UNARY
    };
    Tan = Row {
        name: "tan", eval: |x| x[0].tan(), derivatives: &["1 + y * y"],
        lower: |s, x, _| trigonometry::tan(s, x[0]), ulp: 5.0, range: (-1e6, 1e6),
        points: &[0.0, 0.7, -1.2, 3.0, 100.0], ..UNARY
    };
    Asin = Row {
        name: "asin", eval: |x| x[0].asin(), derivatives: &["1 / sqrt(1 - a * a)"],
        lower: |s, x, _| trigonometry::asin(s, x[0]), ulp: 4.0, range: (-1.0, 1.0),
        points: &[0.0, 1e-4, 0.4, -0.6, 0.9], ..UNARY
    };
    Acos = Row {
        name: "acos", eval: |x| x[0].acos(), derivatives: &["-1 / sqrt(1 - a * a)"],
        lower: |s, x, _| trigonometry::acos(s, x[0]), ulp: 4.0, range: (-1.0, 1.0),
        points: &[0.0, 1e-4, 0.4, -0.6, 0.9], ..UNARY
    };
    Atan = Row {
        name: "atan", eval: |x| x[0].atan(), derivatives: &["1 / (1 + a * a)"],
        lower: |s, x, _| trigonometry::atan(s, x[0]), ulp: 4.0, range: (-1e30, 1e30),
        points: &[0.0, 1e-4, 0.4, -0.7, 3.0, -50.0], ..UNARY
    };
    /// The angle of the point (b, a), from -pi to pi.
    Atan2 = Row {
        name: "atan2", types: Types::Float, eval: |x| x[0].atan2(x[1]),
        derivatives: &["b / (a * a + b * b)", "-a / (a * a + b * b)"],
        lower: |s, x, _| trigonometry::atan2(s, x[0], x[1]), ulp: 6.0,
        points: &[1.0, -1.0, 0.5, -3.0], ..PLAIN
    };
    Sinh = Row {
        name: "sinh", eval: |x| x[0].sinh(), derivatives: &["cosh(a)"],
        lower: |s, x, _| trigonometry::sinh(s, x[0]), ulp: 5.0, range: (-88.7, 88.7),
        points: &[0.0, 1e-4, 0.6, -0.7, 3.0, -5.0], ..UNARY
    };
    Cosh = Row {
        name: "cosh", eval: |x| x[0].cosh(), derivatives: &["sinh(a)"],
        lower: |s, x, _| trigonometry::cosh(s, x[0]), ulp: 4.0, range: (-88.7, 88.7),
        points: &[0.0, 1e-4, 0.6, -0.7, 3.0, -5.0], ..UNARY
    };
    Asinh = Row {
        name: "asinh", eval: |x| x[0].asinh(), derivatives: &["1 / sqrt(a * a + 1)"],
        lower: |s, x, _| trigonometry::asinh(s, x[0]), ulp: 6.0, range: (-1e30, 1e30),
        points: &[0.0, 1e-4, 0.6, -0.7, 3.0, -500.0], ..UNARY
    };
    Acosh = Row {
        name: "acosh", eval: |x| x[0].acosh(), derivatives: &["1 / sqrt(a * a - 1)"],
        lower: |s, x, _| trigonometry::acosh(s, x[0]), ulp: 6.0, range: (1.0, 1e30),
        points: &[1.01, 1.5, 3.0, 500.0], ..UNARY
    };
    Atanh = Row {
        name: "atanh", eval: |x| x[0].atanh(), derivatives: &["1 / (1 - a * a)"],
        lower: |s, x, _| trigonometry::atanh(s, x[0]), ulp: 7.0, range: (-1.0, 1.0),
        points: &[0.0, 1e-4, 0.4, -0.6, 0.9], ..UNARY
    };
    Floor = Row { name: "floor", eval: |x| x[0].floor(), lower: |s, x, _| s.push(Step::FloorF(x[0])), ..STEPWISE };
    Ceil = Row { name: "ceil", eval: |x| x[0].ceil(), lower: |s, x, _| s.push(Step::CeilF(x[0])), ..STEPWISE };
    /// Without the fraction.
    Trunc = Row {
        name: "trunc", eval: |x| x[0].trunc(), lower: |s, x, _| whole::toward_zero(s, x[0]), ..STEPWISE
    };
    /// To nearest, ties to even.
    Round = Row {
        name: "round", eval: |x| x[0].round_ties_even(), lower: |s, x, _| s.push(Step::NearestF(x[0])), ..STEPWISE
    };
    Eq = Row { name: "eq", eval: |x| bit(x[0] == x[1]), lower: |s, x, d| compare(s, Compare::Eq, x, d), ..COMPARISON };
    Ne = Row { name: "ne", eval: |x| bit(x[0] != x[1]), lower: |s, x, d| compare(s, Compare::Ne, x, d), ..COMPARISON };
    Lt = Row { name: "lt", eval: |x| bit(x[0] < x[1]), lower: |s, x, d| compare(s, Compare::Lt, x, d), ..COMPARISON };
    Le = Row { name: "le", eval: |x| bit(x[0] <= x[1]), lower: |s, x, d| compare(s, Compare::Le, x, d), ..COMPARISON };
    Gt = Row { name: "gt", eval: |x| bit(x[0] > x[1]), lower: |s, x, d| compare(s, Compare::Gt, x, d), ..COMPARISON };
    Ge = Row { name: "ge", eval: |x| bit(x[0] >= x[1]), lower: |s, x, d| compare(s, Compare::Ge, x, d), ..COMPARISON };
    And = Row { name: "and", eval: |x| bit(x[0] != 0.0 && x[1] != 0.0), identities: &[("and(a, 1)", "a"), ("and(1, a)", "a")], lower: |s, x, _| s.push(Step::AndI(x[0], x[1])), ..LOGIC };
    Or = Row { name: "or", eval: |x| bit(x[0] != 0.0 || x[1] != 0.0), identities: &[("or(a, 0)", "a"), ("or(0, a)", "a")], lower: |s, x, _| s.push(Step::OrI(x[0], x[1])), ..LOGIC };
    Not = Row {
        name: "not", arity: 1, derivatives: &["0"], eval: |x| bit(x[0] == 0.0), identities: &[("not(not(a))", "a")],
        lower: |s, x, _| s.push(Step::NotI(x[0])), ..LOGIC
    };
    /// `select(condition, a, b)`
    Select = Row {
        name: "select", arity: 3, types: Types::Select, eval: |x| if x[0] != 0.0 { x[1] } else { x[2] },
        derivatives: &["0", "select(a, 1, 0)", "select(a, 0, 1)"], identities: &[("select(a, b, b)", "b"), ("select(not(a), b, c)", "select(a, c, b)")],
        lower: |s, x, _| s.select(x[0], x[1], x[2]), ..PLAIN
    };
    BitAnd = Row {
        name: "bit_and", eval: |x| f64::from(x[0] as i32 & x[1] as i32), lower: |s, x, _| s.push(Step::AndI(x[0], x[1])), ..BITS
    };
    BitOr = Row {
        name: "bit_or", eval: |x| f64::from(x[0] as i32 | x[1] as i32), lower: |s, x, _| s.push(Step::OrI(x[0], x[1])), ..BITS
    };
    BitXor = Row {
        name: "bit_xor", eval: |x| f64::from(x[0] as i32 ^ x[1] as i32), lower: |s, x, _| s.push(Step::XorI(x[0], x[1])), ..BITS
    };
    BitNot = Row {
        name: "bit_not", arity: 1, eval: |x| f64::from(!(x[0] as i32)), derivatives: &["0"], identities: &[("bit_not(bit_not(a))", "a")],
        lower: |s, x, _| s.push(Step::NotI(x[0])), ..BITS
    };
    /// By 0 to 31 bits; by any other number nothing is left: 0.
    ShiftLeft = Row {
        name: "shift_left", eval: |x| f64::from((x[0] as i32).checked_shl((x[1] as i32).cast_unsigned()).unwrap_or(0)), lower: |s, x, _| whole::lower_shift_left(s, x), ..BITS
    };
    /// By 0 to 31 bits, the sign kept; by any other number only the sign is left: 0 or -1.
    ShiftRight = Row {
        name: "shift_right", eval: |x| f64::from(x[0] as i32 >> whole::within(x[1])), lower: |s, x, _| whole::lower_shift_right(s, x), ..BITS
    };
    IsNan = Row {
        name: "is_nan", types: Types::Test, eval: |x| bit(x[0].is_nan()), lower: |s, x, _| s.compare(Compare::Ne, x[0], x[0]), ..STEPWISE
    };
    IsFinite = Row {
        name: "is_finite", types: Types::Test, eval: |x| bit(x[0].is_finite()), lower: is_finite, ..STEPWISE
    };
}
