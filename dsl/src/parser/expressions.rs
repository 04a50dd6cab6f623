//! Operators, by precedence climbing.
//!
//! What enters: tokens. What leaves: an `Expr`. From loose to tight: `|>`; `or`; `and`; `not`; comparisons,
//! which do not chain; `+ -`; `* / % @`; unary `-`; `^`, which associates to the right; calls, indices and
//! fields. Line ends are decided here: an expression goes on in a line that begins with an operator which
//! cannot begin a statement.

use super::{Parse, Parser};
use crate::ast::{BinaryOp, Expr, ExprKind, Name, UnaryOp};
use crate::diagnostic::Diagnostic;
use crate::token::{Kind, Token};
use smol_str::SmolStr;

/// Binding strengths; the formatter uses them to know where parentheses are needed.
pub(crate) mod level {
    pub const PIPE: u8 = 1;
    pub const OR: u8 = 2;
    pub const AND: u8 = 3;
    pub const NOT: u8 = 4;
    pub const COMPARE: u8 = 5;
    pub const SUM: u8 = 6;
    pub const PRODUCT: u8 = 7;
    pub const POWER: u8 = 8;
    pub const POSTFIX: u8 = 9;
}

impl BinaryOp {
    /// How tightly it binds.
    pub(crate) fn level(self) -> u8 {
        use BinaryOp::*;
        match self {
            Or => level::OR,
            And => level::AND,
            Equal | NotEqual | Less | LessEqual | Greater | GreaterEqual => level::COMPARE,
            Add | Subtract => level::SUM,
            Multiply | Divide | Remainder | MatMul => level::PRODUCT,
            Power => level::POWER,
        }
    }

    /// As it is written.
    pub fn symbol(self) -> &'static str {
        use BinaryOp::*;
        match self {
            Add => "+",
            Subtract => "-",
            Multiply => "*",
            Divide => "/",
            Remainder => "%",
            MatMul => "@",
            Power => "^",
            Equal => "==",
            NotEqual => "!=",
            Less => "<",
            LessEqual => "<=",
            Greater => ">",
            GreaterEqual => ">=",
            And => "and",
            Or => "or",
        }
    }
}

impl Parser<'_> {
    /// Any expression.
    pub(super) fn expr(&mut self) -> Parse<Expr> {
        self.expr_at(level::PIPE)
    }

    /// An expression of operators that bind at least as tightly as `min`.
    pub(super) fn expr_at(&mut self, min: u8) -> Parse<Expr> {
        self.nested(|parser| parser.climb(min))
    }

    fn climb(&mut self, min: u8) -> Parse<Expr> {
        let start = self.here();
        let mut left = self.unary(min)?;
        let mut compared: Option<Token> = None;
        loop {
            let token = self.token();
            if token.kind == Kind::Pipe {
                if min > level::PIPE {
                    return Ok(left);
                }
                left = self.pipe(left, start)?;
                continue;
            }
            let Some(op) = self.binary_operator() else { return Ok(left) };
            if op.level() < min {
                return Ok(left);
            }
            if matches!(left.kind, ExprKind::Pipe(..)) {
                let message = format!("`{}` cannot follow a pipeline", op.symbol());
                return self.fail(
                    Diagnostic::error("E0126", message, token.span, "")
                        .label(left.span, "the pipeline")
                        .help("put parentheses around the pipeline: `(x |> f) + y`"),
                );
            }
            if token.kind == Kind::Foreign {
                self.foreign(token, op.symbol());
            }
            self.bump();
            if op.level() == level::COMPARE {
                if let Some(first) = compared {
                    self.report(
                        Diagnostic::error("E0125", "comparisons cannot be chained", token.span, "")
                            .label(first.span, "the first comparison")
                            .help("write `a < b and b < c`"),
                    );
                }
                compared = Some(token);
            }
            let height = self.height;
            let right = self.expr_at(if op == BinaryOp::Power { level::POWER } else { op.level() + 1 })?;
            let height = height.max(self.height);
            self.set_height(height)?;
            let kind = ExprKind::Binary(op, Box::new(left), Box::new(right));
            left = Expr { kind, span: self.span_from(start) };
        }
    }

    /// The operator at the current token, if the expression goes on with it.
    pub(super) fn binary_operator(&self) -> Option<BinaryOp> {
        let token = self.token();
        let op = match token.kind {
            Kind::Plus => BinaryOp::Add,
            Kind::Minus if self.on_line() => BinaryOp::Subtract,
            Kind::Star => BinaryOp::Multiply,
            Kind::Slash => BinaryOp::Divide,
            Kind::Percent => BinaryOp::Remainder,
            Kind::At => BinaryOp::MatMul,
            Kind::Caret => BinaryOp::Power,
            Kind::Equal => BinaryOp::Equal,
            Kind::NotEqual => BinaryOp::NotEqual,
            Kind::Less => BinaryOp::Less,
            Kind::LessEqual => BinaryOp::LessEqual,
            Kind::Greater => BinaryOp::Greater,
            Kind::GreaterEqual => BinaryOp::GreaterEqual,
            Kind::Word if self.word() == "and" => BinaryOp::And,
            Kind::Word if self.word() == "or" => BinaryOp::Or,
            Kind::Foreign => match self.slice(token.span) {
                "&&" => BinaryOp::And,
                "||" => BinaryOp::Or,
                "**" => BinaryOp::Power,
                "===" => BinaryOp::Equal,
                _ => return None,
            },
            _ => return None,
        };
        Some(op)
    }

    fn foreign(&mut self, token: Token, ours: &str) {
        let message = format!("there is no operator `{}`", self.slice(token.span));
        self.report(Diagnostic::error("E0124", message, token.span, "").help(format!("write `{ours}`")));
    }

    fn pipe(&mut self, left: Expr, start: u32) -> Parse<Expr> {
        let pipe = self.bump();
        let height = self.height;
        let right = self.nested(|parser| match parser.word() {
            "repeat" => parser.repeat(),
            _ => parser.postfix(),
        })?;
        let callable = matches!(
            right.kind,
            ExprKind::Name(_)
                | ExprKind::Call { .. }
                | ExprKind::Repeat { .. }
                | ExprKind::Block(_)
                | ExprKind::Error
        );
        if !callable {
            self.report(
                Diagnostic::error("E0126", "this cannot receive a value from a pipeline", right.span, "")
                    .label(pipe.span, "the pipeline")
                    .help("right of `|>` stands a function, a call, a `repeat` or a block: `x |> dense(64) |> relu`"),
            );
        }
        let height = height.max(self.height);
        self.set_height(height)?;
        Ok(Expr { kind: ExprKind::Pipe(Box::new(left), Box::new(right)), span: self.span_from(start) })
    }

    /// `repeat N { … }`; the current token is `repeat`.
    pub(super) fn repeat(&mut self) -> Parse<Expr> {
        let start = self.here();
        self.bump();
        let count = self.expr_at(level::OR)?;
        let height = self.height;
        let body = self.block("what is repeated")?;
        let height = height.max(self.height);
        self.set_height(height)?;
        let kind = ExprKind::Repeat { count: Box::new(count), body };
        Ok(Expr { kind, span: self.span_from(start) })
    }

    fn unary(&mut self, min: u8) -> Parse<Expr> {
        let token = self.token();
        let (op, operand) = match token.kind {
            Kind::Minus => (UnaryOp::Negate, level::POWER),
            Kind::Foreign if self.slice(token.span) == "!" => {
                self.foreign(token, "not");
                (UnaryOp::Not, level::COMPARE)
            }
            Kind::Word if self.word() == "not" => {
                if min > level::NOT {
                    self.report(
                        Diagnostic::error("E0124", "`not` needs parentheses here", token.span, "")
                            .help("write `(not x)`"),
                    );
                }
                (UnaryOp::Not, level::COMPARE)
            }
            Kind::Plus => {
                self.report(
                    Diagnostic::error("E0124", "there is no `+` in front of a value", token.span, "")
                        .help("leave it out"),
                );
                self.bump();
                return self.nested(|parser| parser.unary(min));
            }
            _ => return self.postfix(),
        };
        self.bump();
        let inner = if operand == level::POWER {
            self.expr_at(level::POWER)?
        } else {
            // `not not x` is legal; so its operand may begin with `not`.
            let next_is_not = self.word() == "not";
            self.expr_at(if next_is_not { level::NOT } else { operand })?
        };
        let height = self.height;
        self.set_height(height)?;
        Ok(Expr { kind: ExprKind::Unary(op, Box::new(inner)), span: self.span_from(token.span.start) })
    }

    /// A value, then any number of `(…)`, `[…]` and `.name`.
    fn postfix(&mut self) -> Parse<Expr> {
        let start = self.here();
        let mut base = self.primary()?;
        loop {
            let takes_brackets = !matches!(
                base.kind,
                ExprKind::Number { .. }
                    | ExprKind::Text(_)
                    | ExprKind::Bool(_)
                    | ExprKind::If { .. }
                    | ExprKind::Repeat { .. }
                    | ExprKind::Turns(_)
                    | ExprKind::Block(_)
                    | ExprKind::IndexReduce { .. }
            );
            if !takes_brackets {
                return Ok(base);
            }
            let height = self.height;
            let kind = match self.kind() {
                Kind::OpenParen if self.on_line() => {
                    let arguments = self.list(Self::argument)?;
                    ExprKind::Call { callee: Box::new(base), arguments }
                }
                Kind::OpenBracket if self.on_line() => {
                    let indices = self.list(Self::index)?;
                    ExprKind::Index { base: Box::new(base), indices }
                }
                Kind::Dot => {
                    self.bump();
                    let field = self.token();
                    if field.kind != Kind::Word {
                        let (place, found) = (self.place(), self.found());
                        let message = format!("expected a field's name after `.`, {found}");
                        return self
                            .fail(Diagnostic::error("E0122", message, place, "").help("as in `data.image`"));
                    }
                    self.bump();
                    self.height = 0;
                    let text = SmolStr::new(self.slice(field.span));
                    ExprKind::Field(Box::new(base), Name { text, span: field.span })
                }
                _ => return Ok(base),
            };
            let height = height.max(self.height);
            self.set_height(height)?;
            base = Expr { kind, span: self.span_from(start) };
        }
    }
}
