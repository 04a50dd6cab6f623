//! Symbolic sizes: polynomials with integer coefficients over named symbols.
//!
//! `batch`, `4 * d`, `batch * t + 1`. What enters: constants, symbols, `+ - *` and exact division. What leaves:
//! a canonical form, so that `a * b` and `b * a` are equal values and print alike. A quotient that is not exact
//! as a polynomial becomes a symbol of its own, named after its text (`(t / 2)`), equal to itself only.
//! Not here: inequalities, and what a symbol stands for.

use smol_str::SmolStr;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Add, Mul, Sub};
use std::sync::Arc;

/// A size (elements or bytes), an offset or a stride. Never inspect the variants to compare: use `==`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Dim(Repr);

#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
enum Repr {
    Const(i64),
    /// Products of symbols (sorted) and their coefficients (never 0), in the order of the products, each once; at least one
    /// is not of no symbols. Shared, for most of a compiler's work on sizes is passing them on.
    Poly(Arc<[Term]>),
}

/// A product of symbols, and what it is multiplied by.
type Term = (Vec<SmolStr>, i64);

impl Dim {
    pub fn symbol(name: impl Into<SmolStr>) -> Dim {
        Dim(Repr::Poly([(vec![name.into()], 1)].into()))
    }

    fn from_terms(terms: BTreeMap<Vec<SmolStr>, i64>) -> Dim {
        Dim::from_ordered(terms.into_iter().filter(|(_, c)| *c != 0).collect())
    }

    /// Terms in the order of their products, each once, none 0.
    fn from_ordered(terms: Vec<Term>) -> Dim {
        match &terms[..] {
            [] => Dim(Repr::Const(0)),
            [(symbols, c)] if symbols.is_empty() => Dim(Repr::Const(*c)),
            _ => Dim(Repr::Poly(terms.into())),
        }
    }

    /// The product with a number that is not 0.
    fn scaled(&self, factor: i64) -> Dim {
        match &self.0 {
            Repr::Const(c) => Dim::from(c.saturating_mul(factor)),
            Repr::Poly(terms) => {
                let scale = |(symbols, c): &Term| (symbols.clone(), c.saturating_mul(factor));
                Dim(Repr::Poly(terms.iter().map(scale).collect()))
            }
        }
    }

    /// The terms `(symbols, coefficient)`, in a fixed order; empty for 0.
    pub fn terms(&self) -> Vec<(Vec<SmolStr>, i64)> {
        match &self.0 {
            Repr::Const(0) => Vec::new(),
            Repr::Const(c) => vec![(Vec::new(), *c)],
            Repr::Poly(t) => t.to_vec(),
        }
    }

    /// The value, when no symbol is in it.
    pub fn as_const(&self) -> Option<i64> {
        match self.0 {
            Repr::Const(c) => Some(c),
            Repr::Poly(_) => None,
        }
    }

    pub fn is_const(&self, value: i64) -> bool {
        self.as_const() == Some(value)
    }

    pub fn symbols(&self) -> Vec<SmolStr> {
        let mut all: Vec<SmolStr> = self.terms().into_iter().flat_map(|(k, _)| k).collect();
        all.sort();
        all.dedup();
        all
    }

    pub fn contains(&self, symbol: &str) -> bool {
        match &self.0 {
            Repr::Const(_) => false,
            Repr::Poly(terms) => terms.iter().any(|(symbols, _)| symbols.iter().any(|s| s == symbol)),
        }
    }

    /// Whether the value may become less as the symbol grows.
    pub fn shrinks_with(&self, symbol: &str) -> bool {
        let Repr::Poly(terms) = &self.0 else { return false };
        terms.iter().any(|(symbols, coefficient)| *coefficient < 0 && symbols.iter().any(|s| s == symbol))
    }

    /// Replaces symbols by what `value` gives; the others stay.
    pub fn substitute(&self, value: &dyn Fn(&str) -> Option<Dim>) -> Dim {
        if self.as_const().is_some() {
            return self.clone();
        }
        self.terms().into_iter().fold(Dim::from(0), |sum, (symbols, coefficient)| {
            let product = symbols.into_iter().fold(Dim::from(coefficient), |p, s| {
                let factor = value(&s).unwrap_or_else(|| Dim::symbol(s.clone()));
                p * factor
            });
            sum + product
        })
    }

    /// The value when `value` knows every symbol.
    pub fn eval(&self, value: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
        let Repr::Poly(terms) = &self.0 else { return self.as_const() };
        terms.iter().try_fold(0i64, |sum, (symbols, coefficient)| {
            let multiply = |product: i64, symbol: &SmolStr| Some(product.saturating_mul(value(symbol)?));
            Some(sum.saturating_add(symbols.iter().try_fold(*coefficient, multiply)?))
        })
    }

    /// `self / divisor` rounded down, for a positive divisor; a symbol of its own where that is not known.
    pub fn floor_div(&self, divisor: &Dim) -> Dim {
        match (self.as_const(), divisor.as_const(), self.exact_div(divisor)) {
            (Some(n), Some(m), _) if m > 0 => Dim::from(n.div_euclid(m)),
            (_, _, Some(exact)) => exact,
            _ => Dim::symbol(format!("(floor_div({self}, {divisor}))")),
        }
    }

    /// `self / divisor` when it is exact for all values of the symbols.
    pub fn exact_div(&self, divisor: &Dim) -> Option<Dim> {
        if self == divisor && !divisor.is_const(0) {
            return Some(Dim::from(1));
        }
        let [(symbols, coefficient)] = &divisor.terms()[..] else { return None };
        let mut quotient = BTreeMap::new();
        for (key, c) in self.terms() {
            let mut rest = key;
            for s in symbols {
                let at = rest.iter().position(|k| k == s)?;
                rest.remove(at);
            }
            if c.checked_rem(*coefficient)? != 0 {
                return None;
            }
            quotient.insert(rest, c.checked_div(*coefficient)?);
        }
        Some(Dim::from_terms(quotient))
    }
}

impl From<i64> for Dim {
    fn from(value: i64) -> Dim {
        Dim(Repr::Const(value))
    }
}

impl From<usize> for Dim {
    fn from(value: usize) -> Dim {
        Dim(Repr::Const(value as i64))
    }
}

impl From<i32> for Dim {
    fn from(value: i32) -> Dim {
        Dim(Repr::Const(value.into()))
    }
}

impl Add for Dim {
    type Output = Dim;
    fn add(self, other: Dim) -> Dim {
        match (self.as_const(), other.as_const()) {
            (Some(a), Some(b)) => return Dim::from(a.saturating_add(b)),
            (Some(0), _) => return other,
            (_, Some(0)) => return self,
            _ => {}
        }
        // Both in the order of their products.
        let (left, right) = (self.terms(), other.terms());
        let mut sum: Vec<Term> = Vec::with_capacity(left.len() + right.len());
        let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
        while let (Some((a, x)), Some((b, y))) = (left.peek(), right.peek()) {
            match a.cmp(b) {
                Ordering::Less => sum.extend(left.next()),
                Ordering::Greater => sum.extend(right.next()),
                Ordering::Equal => {
                    let coefficient = x.saturating_add(*y);
                    let product = left.next().map(|(product, _)| product).unwrap_or_default();
                    right.next();
                    if coefficient != 0 {
                        sum.push((product, coefficient));
                    }
                }
            }
        }
        sum.extend(left.chain(right));
        Dim::from_ordered(sum)
    }
}

impl Mul for Dim {
    type Output = Dim;
    fn mul(self, other: Dim) -> Dim {
        match (self.as_const(), other.as_const()) {
            (Some(a), Some(b)) => return Dim::from(a.saturating_mul(b)),
            (Some(0), _) | (_, Some(0)) => return Dim::from(0),
            (Some(1), _) => return other,
            (_, Some(1)) => return self,
            (Some(factor), None) => return other.scaled(factor),
            (None, Some(factor)) => return self.scaled(factor),
            (None, None) => {}
        }
        let mut terms = BTreeMap::new();
        for (a, x) in self.terms() {
            for (b, y) in other.terms() {
                let mut key = a.clone();
                key.extend(b);
                key.sort();
                let sum: &mut i64 = terms.entry(key).or_insert(0);
                *sum = sum.saturating_add(x.saturating_mul(y));
            }
        }
        Dim::from_terms(terms)
    }
}

impl Sub for Dim {
    type Output = Dim;
    fn sub(self, other: Dim) -> Dim {
        self + Dim::from(-1) * other
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms = self.terms();
        if terms.is_empty() {
            return write!(f, "0");
        }
        terms.sort_by_key(|(k, _)| std::cmp::Reverse(k.len()));
        for (i, (symbols, c)) in terms.iter().enumerate() {
            match (i, *c < 0) {
                (0, true) => write!(f, "-")?,
                (0, false) => {}
                (_, true) => write!(f, " - ")?,
                (_, false) => write!(f, " + ")?,
            }
            let size = c.unsigned_abs();
            let mut factors: Vec<String> = symbols.iter().map(|s| s.to_string()).collect();
            if size != 1 || factors.is_empty() {
                factors.insert(0, size.to_string());
            }
            write!(f, "{}", factors.join(" * "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_canonical() {
        let (b, t) = (Dim::symbol("batch"), Dim::symbol("t"));
        let cases = [
            (b.clone() * t.clone(), "batch * t"),
            (t.clone() * b.clone() + Dim::from(3) - Dim::from(3), "batch * t"),
            (b.clone() * Dim::from(4) + t.clone() * t.clone(), "t * t + 4 * batch"),
            (b.clone() - b.clone(), "0"),
            (Dim::from(2) - t.clone() * Dim::from(3), "-3 * t + 2"),
        ];
        for (dim, text) in cases {
            assert_eq!(dim.to_string(), text);
        }
        assert_eq!((b.clone() * Dim::from(6)).exact_div(&(b.clone() * Dim::from(3))), Some(Dim::from(2)));
        assert_eq!((t.clone() * Dim::from(6)).exact_div(&Dim::from(4)), None);
        assert_eq!((b * t).eval(&|s| Some(if s == "t" { 5 } else { 7 })), Some(35));
    }
}
