//! Names, arity and f64 values of scalar functions while the table is being written.

use crate::scalar::Func;

pub trait Row: Sized {
    fn name(&self) -> String;
    fn from_name(name: &str) -> Option<Self>;
    fn eval(&self, arguments: &[f64]) -> f64;
}

const ALL: [Func; 36] = {
    use Func::*;
    [
        Add, Sub, Mul, Div, Rem, Neg, Abs, Sign, Max, Min, Pow, Sqrt, Exp, Log, Log1p, Expm1, Tanh, Sigmoid,
        Erf, Sin, Cos, Floor, Ceil, Round, Eq, Ne, Lt, Le, Gt, Ge, And, Or, Not, Select, IsFinite, IsFinite,
    ]
};

impl Row for Func {
    fn name(&self) -> String {
        match self {
            Func::IsFinite => "is_finite".into(),
            _ => format!("{self:?}").to_lowercase(),
        }
    }
    fn from_name(name: &str) -> Option<Func> {
        ALL.into_iter().find(|f| Row::name(f) == name)
    }
    fn eval(&self, x: &[f64]) -> f64 {
        use Func::*;
        let bit = |b: bool| f64::from(b);
        match self {
            Add => x[0] + x[1],
            Sub => x[0] - x[1],
            Mul => x[0] * x[1],
            Div => x[0] / x[1],
            Rem => x[0] - x[1] * (x[0] / x[1]).floor(),
            Neg => -x[0],
            Abs => x[0].abs(),
            Sign => bit(x[0] > 0.0) - bit(x[0] < 0.0),
            Max => x[0].max(x[1]),
            Min => x[0].min(x[1]),
            Pow => x[0].powf(x[1]),
            Sqrt => x[0].sqrt(),
            Exp => x[0].exp(),
            Log => x[0].ln(),
            Log1p => x[0].ln_1p(),
            Expm1 => x[0].exp_m1(),
            Tanh | Erf => x[0].tanh(),
            Sigmoid => 1.0 / (1.0 + (-x[0]).exp()),
            Sin => x[0].sin(),
            Cos => x[0].cos(),
            Floor => x[0].floor(),
            Ceil => x[0].ceil(),
            Round => x[0].round_ties_even(),
            Eq => bit(x[0] == x[1]),
            Ne => bit(x[0] != x[1]),
            Lt => bit(x[0] < x[1]),
            Le => bit(x[0] <= x[1]),
            Gt => bit(x[0] > x[1]),
            Ge => bit(x[0] >= x[1]),
            And => bit(x[0] != 0.0 && x[1] != 0.0),
            Or => bit(x[0] != 0.0 || x[1] != 0.0),
            Not => bit(x[0] == 0.0),
            Select => x[if x[0] != 0.0 { 1 } else { 2 }],
            IsFinite => bit(x[0].is_finite()),
        }
    }
}
