//! `setp` and `set`: comparisons of integers and floats.
//!
//! Of floats, `eq`, `ne`, `lt`, … are false with a NaN; `equ`, `neu`, `ltu`, … are true; `num` and `nan` ask for it.

use super::half::enter;
use super::integer::with_int;
use super::lanes::{Compare, Word, compare};
use super::round::{BF16, F16, flush};
use crate::types::Type;

pub fn comparison(name: &str, ty: Type, ftz: bool) -> Option<Compare> {
    match ty {
        Type::F32 if ftz => floats(name, |bits| flush(<f32 as Word>::from_bits(bits)) as f64),
        Type::F32 => floats(name, |bits| <f32 as Word>::from_bits(bits) as f64),
        Type::F64 => floats(name, <f64 as Word>::from_bits),
        Type::F16 => floats(name, |bits| enter(bits as u16, F16, false)),
        Type::Bf16 => floats(name, |bits| enter(bits as u16, BF16, false)),
        _ => integers(name, ty),
    }
}

fn integers(name: &str, ty: Type) -> Option<Compare> {
    Some(with_int!(ty, I => match name {
        "eq" => compare(|a: I, b: I| a == b),
        "ne" => compare(|a: I, b: I| a != b),
        "lt" | "lo" => compare(|a: I, b: I| a < b),
        "le" | "ls" => compare(|a: I, b: I| a <= b),
        "gt" | "hi" => compare(|a: I, b: I| a > b),
        "ge" | "hs" => compare(|a: I, b: I| a >= b),
        _ => return None,
    }))
}

fn floats(name: &str, value: fn(u64) -> f64) -> Option<Compare> {
    fn by(value: fn(u64) -> f64, f: impl Fn(f64, f64) -> bool + Send + Sync + 'static) -> Option<Compare> {
        Some(compare(move |a: u64, b: u64| f(value(a), value(b))))
    }
    let unordered = |a: f64, b: f64| a.is_nan() || b.is_nan();
    match name {
        "eq" => by(value, |a, b| a == b),
        "ne" => by(value, move |a, b| a != b && !unordered(a, b)),
        "lt" => by(value, |a, b| a < b),
        "le" => by(value, |a, b| a <= b),
        "gt" => by(value, |a, b| a > b),
        "ge" => by(value, |a, b| a >= b),
        "equ" => by(value, move |a, b| a == b || unordered(a, b)),
        "neu" => by(value, |a, b| a != b),
        "ltu" => by(value, move |a, b| a < b || unordered(a, b)),
        "leu" => by(value, move |a, b| a <= b || unordered(a, b)),
        "gtu" => by(value, move |a, b| a > b || unordered(a, b)),
        "geu" => by(value, move |a, b| a >= b || unordered(a, b)),
        "num" => by(value, move |a, b| !unordered(a, b)),
        "nan" => by(value, unordered),
        _ => None,
    }
}
