//! Scalar functions by their names in the language: on numbers known when compiled, or elementwise on tensors.
//!
//! What enters: a name and evaluated arguments. What leaves: a value. Which functions there are and what they give is
//! said by the scalar table alone.

use super::elaborate::{Elaborator, show};
use super::value::{Given, Value};
use crate::base::{DType, Dim};
use crate::scalar::Func;
use gradc_dsl::{Diagnostic, Span};

/// The scalar table's function of that name. `max` and `min` also name reductions, so their elementwise forms have
/// names of their own; a choice for each element is written `where`.
pub(super) fn scalar(name: &str) -> Option<Func> {
    match name {
        "maximum" => Some(Func::Max),
        "minimum" => Some(Func::Min),
        _ => Func::named(name).filter(|func| *func != Func::Select),
    }
}

/// A function's value where all operands are known: a truth value or a number; whole where whole numbers give a
/// whole one, or where it is rounded.
pub(super) fn folded(func: Func, operands: &[&Value]) -> Option<Value> {
    let numbers: Vec<f64> = operands.iter().map(|value| value.as_number()).collect::<Option<_>>()?;
    let result = func.eval(&numbers);
    let of = |dtype| func.result_dtype(&vec![dtype; operands.len()]);
    if of(DType::F32) == Ok(DType::Bool) {
        return Some(Value::Bool(result != 0.0));
    }
    let whole = operands.iter().all(|value| matches!(value, Value::Dim(_))) && of(DType::I32).is_ok();
    let rounded = matches!(func, Func::Floor | Func::Ceil | Func::Round);
    // Up to 2^53 every whole number is an f64.
    let exact = result.fract() == 0.0 && result.abs() <= 9_007_199_254_740_992.0;
    Some(if (whole || rounded) && exact {
        Value::Dim(Dim::from(result as i64))
    } else {
        Value::Number(result)
    })
}

impl<'a> Elaborator<'a> {
    pub(super) fn scalar_call(&mut self, name: &str, func: Func, given: Vec<Given>, span: Span) -> Value {
        let names: &[&str] = if func.arity() == 1 { &["x"] } else { &["a", "b"] };
        let Some(slots) = self.intrinsic_slots(name, names, given, span) else { return Value::Error };
        let operands: Vec<(Value, Span)> = slots.into_iter().flatten().map(|g| (g.value, g.span)).collect();
        if operands.iter().any(|(v, _)| matches!(v, Value::Opaque)) {
            return Value::Opaque;
        }
        let values: Vec<&Value> = operands.iter().map(|(value, _)| value).collect();
        // Sizes stay sizes.
        if let (Func::FloorDiv, [Value::Dim(a), Value::Dim(b)]) = (func, &values[..])
            && b.as_const().is_none_or(|b| b > 0)
        {
            return Value::Dim(a.floor_div(b));
        }
        if let Some(value) = folded(func, &values) {
            return value;
        }
        if let [(value, at)] = &operands[..]
            && let Some(id) = self.tensor(value, *at)
            && func.result_dtype(&[self.graph.dtype(id)]).is_err()
        {
            let ty = show(self.graph.ty(id));
            return self.report(
                Diagnostic::error(
                    "E0305",
                    format!("`{name}` takes real numbers (f32)"),
                    *at,
                    format!("this is `{ty}`"),
                )
                .help("convert it: `f32(…)`"),
            );
        }
        self.map(func, &operands, span)
    }
}
