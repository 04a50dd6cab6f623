//! Operators element by element: arithmetic, comparisons, bits, activations, conversions.

use super::{Call, F32, Import, Results, Said, Value, built, one};
use crate::onnx::tensor::Elem;
use gradc::base::DType;
use gradc::graph::NodeId;
use gradc::scalar::Func;

/// Operators that are one row of the scalar table, on f32.
const FUNCTIONS: &[(&str, Func)] = &[
    ("Exp", Func::Exp),
    ("Log", Func::Log),
    ("Sqrt", Func::Sqrt),
    ("Sin", Func::Sin),
    ("Cos", Func::Cos),
    ("Tan", Func::Tan),
    ("Asin", Func::Asin),
    ("Acos", Func::Acos),
    ("Atan", Func::Atan),
    ("Sinh", Func::Sinh),
    ("Cosh", Func::Cosh),
    ("Tanh", Func::Tanh),
    ("Asinh", Func::Asinh),
    ("Acosh", Func::Acosh),
    ("Atanh", Func::Atanh),
    ("Sigmoid", Func::Sigmoid),
    ("Erf", Func::Erf),
    ("Floor", Func::Floor),
    ("Ceil", Func::Ceil),
    ("Round", Func::Round),
];

const COMPARISONS: &[(&str, Func)] = &[
    ("Equal", Func::Eq),
    ("Less", Func::Lt),
    ("LessOrEqual", Func::Le),
    ("Greater", Func::Gt),
    ("GreaterOrEqual", Func::Ge),
    ("And", Func::And),
    ("Or", Func::Or),
    ("Xor", Func::Ne),
];

fn row(table: &[(&str, Func)], name: &str) -> Option<Func> {
    table.iter().find(|(n, _)| *n == name).map(|(_, func)| *func)
}

pub fn import(cx: &mut Import, call: &Call) -> Results {
    if let Some(func) = row(FUNCTIONS, call.name()) {
        let x = call.input(0)?;
        return one(cx.map(func, &[x.id])?, x.elem);
    }
    if let Some(func) = row(COMPARISONS, call.name()) {
        let (a, b) = (call.input(0)?, call.input(1)?);
        return one(cx.map(func, &[a.id, b.id])?, Elem::Bool);
    }
    if let Some(y) = arithmetic(cx, call)? {
        return Ok(Some(vec![y]));
    }
    match call.inputs.first() {
        Some(Some(x)) => match activation(cx, call, x.id)? {
            Some(y) => one(y, x.elem),
            None => conversion(cx, call, *x),
        },
        _ => Ok(None),
    }
}

/// Folds a function over all operands.
fn fold(cx: &mut Import, call: &Call, func: Func) -> Said<Value> {
    let first = call.input(0)?;
    let mut y = first.id;
    for i in 1..call.inputs.len() {
        let x = call.input(i)?.id;
        y = cx.map(func, &[y, x])?;
    }
    Ok(Value { id: y, elem: first.elem })
}

fn arithmetic(cx: &mut Import, call: &Call) -> Said<Option<Value>> {
    let is_float = call.optional(0).is_some_and(|x| x.elem.is_float());
    let two = |cx: &mut Import, func: Func| -> Said<Value> {
        let (a, b) = (call.input(0)?, call.input(1)?);
        let y = cx.map(func, &[a.id, b.id])?;
        Ok(Value { id: cx.wrap(y, a.elem)?, elem: a.elem })
    };
    Ok(Some(match call.name() {
        "Add" => two(cx, Func::Add)?,
        "Sub" => two(cx, Func::Sub)?,
        "Mul" => two(cx, Func::Mul)?,
        "Div" => two(cx, if is_float { Func::Div } else { Func::TruncDiv })?,
        "Mod" => two(cx, if call.int("fmod", 0) == 1 { Func::TruncRem } else { Func::Rem })?,
        "BitwiseAnd" => two(cx, Func::BitAnd)?,
        "BitwiseOr" => two(cx, Func::BitOr)?,
        "BitwiseXor" => two(cx, Func::BitXor)?,
        "BitShift" => {
            two(cx, if call.text("direction", "") == "LEFT" { Func::ShiftLeft } else { Func::ShiftRight })?
        }
        "Max" => fold(cx, call, Func::Max)?,
        "Min" => fold(cx, call, Func::Min)?,
        "Sum" => fold(cx, call, Func::Add)?,
        "Mean" => {
            let sum = fold(cx, call, Func::Add)?;
            Value { id: cx.scale(sum.id, 1.0 / call.inputs.len() as f64)?, elem: sum.elem }
        }
        "Pow" => {
            let (a, b) = (call.input(0)?, call.input(1)?);
            let (base, exponent) = (cx.cast(a.id, DType::F32)?, cx.cast(b.id, DType::F32)?);
            let y = cx.map(Func::Pow, &[base, exponent])?;
            if is_float {
                return Ok(Some(Value { id: y, elem: a.elem }));
            }
            let y = cx.map(Func::Round, &[y])?;
            Value { id: cx.cast(y, DType::I32)?, elem: a.elem }
        }
        "PRelu" => {
            let (x, slope) = (call.input(0)?, call.input(1)?);
            let zero = cx.graph.constant(0.0, x.elem.dtype());
            let negative = cx.map(Func::Lt, &[x.id, zero])?;
            let scaled = cx.mul(x.id, slope.id)?;
            Value { id: cx.map(Func::Select, &[negative, scaled, x.id])?, elem: x.elem }
        }
        "Where" => {
            let (c, a, b) = (call.input(0)?, call.input(1)?, call.input(2)?);
            Value { id: cx.map(Func::Select, &[c.id, a.id, b.id])?, elem: a.elem }
        }
        "Clip" => {
            let x = call.input(0)?;
            let bound = |cx: &mut Import, i: usize, name: &str| match call.optional(i) {
                Some(bound) => Some(bound.id),
                None => call.attribute(name).map(|a| cx.f(a.f.into())),
            };
            let (low, high) = (bound(cx, 1, "min"), bound(cx, 2, "max"));
            let mut y = x.id;
            for (func, bound) in [(Func::Max, low), (Func::Min, high)] {
                if let Some(bound) = bound {
                    y = cx.map(func, &[y, bound])?;
                }
            }
            Value { id: y, elem: x.elem }
        }
        _ => return Ok(None),
    }))
}

/// `log(1 + exp(x))`
fn softplus(cx: &mut Import, x: NodeId) -> Said<NodeId> {
    let (zero, size) = (cx.f(0.0), cx.map(Func::Abs, &[x])?);
    let top = cx.map(Func::Max, &[x, zero])?;
    let down = cx.map(Func::Neg, &[size])?;
    let small = cx.map(Func::Exp, &[down])?;
    let rest = cx.map(Func::Log1p, &[small])?;
    cx.add(top, rest)
}

/// `x` above a bound, something else elsewhere.
fn above(cx: &mut Import, x: NodeId, bound: f64, yes: NodeId, no: NodeId) -> Said<NodeId> {
    let bound = cx.f(bound);
    let over = cx.map(Func::Gt, &[x, bound])?;
    cx.map(Func::Select, &[over, yes, no])
}

/// `min(max(x, low), high)`
pub fn clamp(cx: &mut Import, x: NodeId, low: f64, high: f64) -> Said<NodeId> {
    let (low, high) = (cx.f(low), cx.f(high));
    let y = cx.map(Func::Max, &[x, low])?;
    cx.map(Func::Min, &[y, high])
}

pub fn elu(cx: &mut Import, x: NodeId, alpha: f64) -> Said<NodeId> {
    let zero = cx.f(0.0);
    let low = cx.map(Func::Min, &[x, zero])?;
    let bent = cx.map(Func::Expm1, &[low])?;
    let bent = cx.scale(bent, alpha)?;
    above(cx, x, 0.0, x, bent)
}

pub fn activation(cx: &mut Import, call: &Call, x: NodeId) -> Said<Option<NodeId>> {
    Ok(Some(match call.name() {
        "Identity" => x,
        "Neg" => cx.map(Func::Neg, &[x])?,
        "Abs" => cx.map(Func::Abs, &[x])?,
        "Sign" => cx.map(Func::Sign, &[x])?,
        "Not" => cx.map(Func::Not, &[x])?,
        "BitwiseNot" => {
            let y = cx.map(Func::BitNot, &[x])?;
            cx.wrap(y, call.input(0)?.elem)?
        }
        "Reciprocal" => {
            let one = cx.f(1.0);
            cx.div(one, x)?
        }
        "Relu" => {
            let zero = cx.graph.constant(0.0, cx.graph.dtype(x));
            cx.map(Func::Max, &[zero, x])?
        }
        "LeakyRelu" => {
            let low = cx.scale(x, call.float("alpha", 0.01))?;
            above(cx, x, 0.0, x, low)?
        }
        "ThresholdedRelu" => {
            let zero = cx.f(0.0);
            above(cx, x, call.float("alpha", 1.0), x, zero)?
        }
        "Elu" => elu(cx, x, call.float("alpha", 1.0))?,
        "Selu" => {
            let y = elu(cx, x, call.float("alpha", 1.673_263_192_176_818_8))?;
            cx.scale(y, call.float("gamma", 1.050_701_022_148_132_3))?
        }
        "Celu" => {
            let alpha = call.float("alpha", 1.0);
            let scaled = cx.scale(x, 1.0 / alpha)?;
            let y = elu(cx, scaled, 1.0)?;
            cx.scale(y, alpha)?
        }
        "HardSigmoid" => {
            let y = cx.scale(x, call.float("alpha", 0.2))?;
            let y = cx.shift(y, call.float("beta", 0.5))?;
            clamp(cx, y, 0.0, 1.0)?
        }
        "HardSwish" => {
            let y = cx.scale(x, 1.0 / 6.0)?;
            let y = cx.shift(y, 0.5)?;
            let y = clamp(cx, y, 0.0, 1.0)?;
            cx.mul(x, y)?
        }
        "Softplus" => softplus(cx, x)?,
        "Softsign" => {
            let size = cx.map(Func::Abs, &[x])?;
            let below = cx.shift(size, 1.0)?;
            cx.div(x, below)?
        }
        "Mish" => {
            let y = softplus(cx, x)?;
            let y = cx.map(Func::Tanh, &[y])?;
            cx.mul(x, y)?
        }
        "Swish" => {
            let y = cx.scale(x, call.float("alpha", 1.0))?;
            let y = cx.map(Func::Sigmoid, &[y])?;
            cx.mul(x, y)?
        }
        "Gelu" => {
            let y = if call.text("approximate", "none") == "tanh" {
                let cube = cx.mul(x, x)?;
                let cube = cx.mul(cube, x)?;
                let cube = cx.scale(cube, 0.044_715)?;
                let sum = cx.add(x, cube)?;
                let y = cx.scale(sum, std::f64::consts::FRAC_2_PI.sqrt())?;
                cx.map(Func::Tanh, &[y])?
            } else {
                let y = cx.scale(x, std::f64::consts::FRAC_1_SQRT_2)?;
                cx.map(Func::Erf, &[y])?
            };
            let y = cx.shift(y, 1.0)?;
            let y = cx.mul(x, y)?;
            cx.scale(y, 0.5)?
        }
        "Shrink" => {
            let (lambda, bias) = (call.float("lambd", 0.5), call.float("bias", 0.0));
            let x = cx.cast(x, DType::F32)?;
            let (zero, up, down) = (cx.f(0.0), cx.shift(x, -bias)?, cx.shift(x, bias)?);
            let bound = cx.f(-lambda);
            let under = cx.map(Func::Lt, &[x, bound])?;
            let low = cx.map(Func::Select, &[under, down, zero])?;
            let y = above(cx, x, lambda, up, low)?;
            cx.cast(y, call.input(0)?.elem.dtype())?
        }
        "Binarizer" => {
            let (one, zero) = (cx.f(1.0), cx.f(0.0));
            above(cx, x, call.float("threshold", 0.0), one, zero)?
        }
        "SwiGLU" => {
            let y = cx.scale(x, call.float("alpha", 1.0))?;
            let y = cx.map(Func::Sigmoid, &[y])?;
            let y = cx.mul(x, y)?;
            cx.mul(y, call.input(1)?.id)?
        }
        _ => return Ok(None),
    }))
}

fn conversion(cx: &mut Import, call: &Call, x: Value) -> Results {
    match call.name() {
        "IsNaN" => one(cx.map(Func::IsNan, &[x.id])?, Elem::Bool),
        "IsInf" => {
            let [up, down] = [("detect_positive", f64::INFINITY), ("detect_negative", f64::NEG_INFINITY)]
                .map(|(name, bound)| {
                    let bound = cx.f(if call.int(name, 1) == 1 { bound } else { f64::NAN });
                    cx.map(Func::Eq, &[x.id, bound])
                });
            one(cx.map(Func::Or, &[up?, down?])?, Elem::Bool)
        }
        "Cast" => {
            let to = Elem::of(call.int("to", 1) as i32).ok_or("an element type that is no plain number")?;
            one(cx.convert(x, to)?, to)
        }
        "CastLike" => {
            let to = call.input(1)?.elem;
            one(cx.convert(x, to)?, to)
        }
        "Dropout" => {
            let ratio = match call.optional(1) {
                Some(ratio) => cx.known_number(ratio)?,
                None => call.float("ratio", 0.5),
            };
            let training = match call.optional(2) {
                Some(training) => cx.known_number(training)? != 0.0,
                None => false,
            };
            if training && ratio != 0.0 {
                return Err("random numbers of another generator".into());
            }
            let shape = cx.shape(x.id);
            let mask = cx.full(1.0, DType::Bool, &shape);
            Ok(Some(vec![x, Value { id: mask, elem: Elem::Bool }]))
        }
        "Hardmax" => {
            let rank = cx.rank(x.id);
            let axis = super::axis_of(call.int("axis", if call.opset < 13 { 1 } else { -1 }), rank);
            let place = built(cx.graph.argmax(x.id, axis))?;
            let shape = cx.shape(x.id);
            let mut kept = shape.clone();
            kept[axis] = 1;
            let place = cx.reshape(place, &kept)?;
            let index = cx.iota(&shape, axis)?;
            let hit = cx.map(Func::Eq, &[index, place])?;
            one(cx.cast(hit, DType::F32)?, F32)
        }
        _ => Ok(None),
    }
}
