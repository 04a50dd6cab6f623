//! Algebra in text: derivatives and identities of the table, `1 - y * y`.
//!
//! What enters: text over the operands `a`, `b`, `c` and the result `y`. What leaves: a tree of table functions.
//! `parse(print(e)) == e`. Not here: what the operands are.

use super::Func;
use std::fmt;

#[derive(Clone, PartialEq, Debug)]
pub enum Expr {
    /// `a`, `b`, `c` are operands 0 to 2; `y` is `Expr::RESULT`.
    Var(u8),
    Const(f64),
    Call(Func, Vec<Expr>),
}

impl Expr {
    /// The variable `y`.
    pub const RESULT: u8 = 3;

    pub fn parse(text: &str) -> Result<Expr, String> {
        let mut parser = Parser { rest: text.trim_start() };
        let expr = parser.sum()?;
        if parser.rest.is_empty() { Ok(expr) } else { Err(format!("unexpected `{}`", parser.rest)) }
    }

    /// The value, `variables` being a, b, c and y.
    pub fn eval(&self, variables: &[f64]) -> f64 {
        match self {
            Expr::Var(v) => variables[*v as usize],
            Expr::Const(c) => *c,
            Expr::Call(func, arguments) => {
                let values: Vec<f64> = arguments.iter().map(|e| e.eval(variables)).collect();
                func.eval(&values)
            }
        }
    }

    /// Whether the variable stands in it.
    pub fn uses(&self, variable: u8) -> bool {
        match self {
            Expr::Var(v) => *v == variable,
            Expr::Const(_) => false,
            Expr::Call(_, arguments) => arguments.iter().any(|e| e.uses(variable)),
        }
    }

    pub fn is_const(&self, value: f64) -> bool {
        *self == Expr::Const(value)
    }
}

impl fmt::Display for Expr {
    /// Calls only, `sub(1, mul(y, y))`: no precedence to get wrong.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Var(v) => write!(f, "{}", ["a", "b", "c", "y"][*v as usize]),
            Expr::Const(c) => write!(f, "{c}"),
            Expr::Call(func, arguments) => {
                write!(f, "{}(", func.name())?;
                for (i, e) in arguments.iter().enumerate() {
                    write!(f, "{}{e}", if i > 0 { ", " } else { "" })?;
                }
                write!(f, ")")
            }
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn accept(&mut self, symbol: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(symbol) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn binary(&mut self, func: Func, left: Expr, right: Expr) -> Expr {
        Expr::Call(func, vec![left, right])
    }

    fn sum(&mut self) -> Result<Expr, String> {
        let mut left = self.product()?;
        loop {
            let func = match () {
                () if self.accept("+") => Func::Add,
                () if self.accept("-") => Func::Sub,
                () => return Ok(left),
            };
            let right = self.product()?;
            left = self.binary(func, left, right);
        }
    }

    fn product(&mut self) -> Result<Expr, String> {
        let mut left = self.atom()?;
        loop {
            let func = match () {
                () if self.accept("*") => Func::Mul,
                () if self.accept("/") => Func::Div,
                () => return Ok(left),
            };
            let right = self.atom()?;
            left = self.binary(func, left, right);
        }
    }

    fn atom(&mut self) -> Result<Expr, String> {
        if self.accept("(") {
            let inner = self.sum()?;
            return if self.accept(")") { Ok(inner) } else { Err("`)` is missing".into()) };
        }
        if self.accept("-") {
            return Ok(match self.atom()? {
                Expr::Const(c) => Expr::Const(-c),
                inner => Expr::Call(Func::Neg, vec![inner]),
            });
        }
        let length = self.rest.find(|c: char| !(c.is_alphanumeric() || c == '.' || c == '_'));
        let (word, rest) = self.rest.split_at(length.unwrap_or(self.rest.len()));
        if let Ok(value) = word.parse::<f64>()
            && word.starts_with(|c: char| c.is_ascii_digit())
        {
            self.rest = rest.trim_start();
            return Ok(Expr::Const(value));
        }
        self.rest = rest.trim_start();
        if let Some(variable) = ["a", "b", "c", "y"].iter().position(|v| *v == word) {
            return Ok(Expr::Var(variable as u8));
        }
        let func = Func::named(word).ok_or_else(|| format!("`{word}` is no function"))?;
        if !self.accept("(") {
            return Err(format!("`(` is missing after {word}"));
        }
        let mut arguments = vec![self.sum()?];
        while self.accept(",") {
            arguments.push(self.sum()?);
        }
        if !self.accept(")") {
            return Err(format!("`)` is missing after the operands of {word}"));
        }
        if arguments.len() != func.arity() {
            return Err(format!("{word} takes {} operands", func.arity()));
        }
        Ok(Expr::Call(func, arguments))
    }
}
