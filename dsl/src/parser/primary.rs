//! What expressions are made of: literals, names, brackets, `if`, index reductions, arguments and indices.
//!
//! What enters: tokens. What leaves: the part of an `Expr` that no operator splits. A place where a value should
//! stand and does not is reported here.

use super::expressions::level;
use super::{Failed, Parse, Parser, RESERVED, missing, starts_value};
use crate::ast::{Argument, ArgumentValue, BinaryOp, Block, Expr, ExprKind, Index, Span, Text};
use crate::diagnostic::Diagnostic;
use crate::token::{self, Kind, Token};
use smol_str::SmolStr;

/// The reductions of index notation.
const REDUCTIONS: [&str; 5] = ["sum", "prod", "max", "min", "mean"];

impl Parser<'_> {
    pub(super) fn primary(&mut self) -> Parse<Expr> {
        let token = self.token();
        let start = token.span.start;
        self.height = 0;
        let kind = match token.kind {
            Kind::Number => {
                self.bump();
                self.number(token)
            }
            Kind::String | Kind::OpenString => ExprKind::Text(self.string().value),
            Kind::OpenBracket => {
                let items = self.list(Self::expr)?;
                let height = self.height;
                self.set_height(height)?;
                ExprKind::List(items)
            }
            Kind::OpenParen => self.parenthesised()?,
            Kind::OpenBrace => ExprKind::Block(self.block("a block")?),
            Kind::Word => match self.word() {
                "true" | "false" => {
                    let value = self.word() == "true";
                    self.bump();
                    ExprKind::Bool(value)
                }
                "if" => self.condition()?,
                "repeat" => {
                    self.report(
                        Diagnostic::error("E0126", "`repeat` needs a value to work on", token.span, "")
                            .help("pipe one into it: `x |> repeat 4 { block(8) }`"),
                    );
                    return self.repeat();
                }
                "scan" | "each" if self.at_turns() => return self.turns(),
                word if RESERVED.contains(&word) => return self.missing_value(),
                word if REDUCTIONS.contains(&word) && self.at_index_reduction() => self.index_reduction()?,
                word => {
                    self.bump();
                    ExprKind::Name(SmolStr::new(word))
                }
            },
            _ => return self.missing_value(),
        };
        Ok(Expr { kind, span: self.span_from(start) })
    }

    fn number(&mut self, token: Token) -> ExprKind {
        let text = self.slice(token.span);
        let int = !text.contains(['.', 'e', 'E']);
        // A malformed number (`3x`) has been reported by the lexer.
        let value = text.replace('_', "").parse::<f64>().unwrap_or(0.0);
        if value.is_infinite() {
            self.report(
                Diagnostic::error("E0105", format!("`{text}` is too large"), token.span, "")
                    .help("the largest number is about 1.8e308; infinity is written `inf`"),
            );
        }
        ExprKind::Number { value, int, text: SmolStr::new(text) }
    }

    /// The string at the current token, unescaped.
    pub(super) fn string(&mut self) -> Text {
        let token = self.bump();
        let (value, unknown) = token::unescape(self.slice(token.span));
        for (offset, c) in unknown {
            let start = token.span.start + offset as u32;
            let span = Span { start, end: start + 1 + c.len_utf8() as u32, ..token.span };
            self
                .report(Diagnostic::error("E0104", format!("`\\{c}` means nothing in a text"), span, "").help(
                "the escapes are `\\n`, `\\t`, `\\r`, `\\0`, `\\\"` and `\\\\`; paths are written with `/`",
            ));
        }
        Text { value, span: token.span }
    }

    /// `(a)`, `(a, b)`.
    fn parenthesised(&mut self) -> Parse<ExprKind> {
        let open = self.token();
        let close = self.partner[self.position];
        let mut items = self.list(Self::expr)?;
        let height = self.height;
        self.set_height(height)?;
        let comma_before_close = close.is_some_and(|close| self.tokens[close - 1].kind == Kind::Comma);
        if items.is_empty() {
            let span = self.span_from(open.span.start);
            return self.fail(
                Diagnostic::error("E0116", "there is no value between these parentheses", span, "")
                    .help("write a value between them, or remove them"),
            );
        }
        if items.len() == 1 && !comma_before_close {
            return Ok(ExprKind::Paren(Box::new(items.remove(0))));
        }
        Ok(ExprKind::Tuple(items))
    }

    /// `if C { … } else { … }`; the current token is `if`.
    fn condition(&mut self) -> Parse<ExprKind> {
        self.bump();
        let outer = std::mem::replace(&mut self.in_brackets, false);
        let start = self.here();
        let mut condition = self.expr_at(level::OR)?;
        let mut height = self.height;
        if self.kind() == Kind::Assign && self.on_line() {
            let span = self.token().span;
            self.report(
                Diagnostic::error("E0113", "`=` gives a name to a value; it does not compare", span, "")
                    .help("write `==`"),
            );
            self.bump();
            let right = self.expr_at(level::SUM)?;
            let kind = ExprKind::Binary(BinaryOp::Equal, Box::new(condition), Box::new(right));
            condition = Expr { kind, span: self.span_from(start) };
            height = height.max(self.height) + 1;
        }
        let then = self.block("what holds if the condition does")?;
        height = height.max(self.height);
        let mut otherwise = None;
        if self.eat_word("else") {
            let block = if self.word() == "if" {
                let start = self.here();
                let kind = self.nested(Self::condition)?;
                let inner = Expr { kind, span: self.span_from(start) };
                let span = inner.span;
                Block { statements: Vec::new(), value: Some(Box::new(inner)), span }
            } else {
                self.block("what holds otherwise")?
            };
            height = height.max(self.height);
            otherwise = Some(block);
        }
        self.in_brackets = outer;
        self.set_height(height)?;
        Ok(ExprKind::If { condition: Box::new(condition), then, otherwise })
    }

    /// After `sum`: `[i, j]` and then the beginning of a value on the same line.
    fn at_index_reduction(&self) -> bool {
        let mut ahead = 1;
        if self.ahead(ahead).kind != Kind::OpenBracket {
            return false;
        }
        loop {
            if self.ahead(ahead + 1).kind != Kind::Word {
                return false;
            }
            ahead += 2;
            match self.ahead(ahead).kind {
                Kind::Comma => {}
                Kind::CloseBracket => break,
                _ => return false,
            }
        }
        let next = self.ahead(ahead + 1);
        let operator =
            next.kind == Kind::Word && matches!(self.slice(next.span), "and" | "or" | "with" | "over");
        starts_value(next.kind)
            && !matches!(next.kind, Kind::OpenBracket | Kind::OpenBrace)
            && !operator
            && (self.in_brackets || !next.starts_line)
    }

    /// `sum[i, j] BODY`, where BODY is a product.
    fn index_reduction(&mut self) -> Parse<ExprKind> {
        let op = self.name("a reduction")?;
        let indices = self.list(|parser| parser.name("the name of an index"))?;
        let body = self.expr_at(level::PRODUCT)?;
        let height = self.height;
        self.set_height(height)?;
        Ok(ExprKind::IndexReduce { op, indices, body: Box::new(body) })
    }

    /// `value`, `name = value` or `name: type`.
    pub(super) fn argument(&mut self) -> Parse<Argument> {
        let start = self.here();
        if self.kind() == Kind::Word && self.ahead(1).kind == Kind::Assign {
            let name = self.name("an argument's name")?;
            self.bump();
            let value = ArgumentValue::Expr(self.expr()?);
            return Ok(Argument { name: Some(name), value, span: self.span_from(start) });
        }
        if self.kind() == Kind::Word && self.ahead(1).kind == Kind::Colon {
            let name = self.name("a field's name")?;
            let colon = self.bump();
            if self.kind() != Kind::Word && self.kind() != Kind::OpenParen {
                let message = "an argument is given by name with `=`";
                self.report(
                    Diagnostic::error("E0113", message, colon.span, "")
                        .help(format!("write `{} = …`", name.text)),
                );
                let value = ArgumentValue::Expr(self.expr()?);
                return Ok(Argument { name: Some(name), value, span: self.span_from(start) });
            }
            let value = ArgumentValue::Type(self.ty()?);
            return Ok(Argument { name: Some(name), value, span: self.span_from(start) });
        }
        let value = ArgumentValue::Expr(self.expr()?);
        Ok(Argument { name: None, value, span: self.span_from(start) })
    }

    /// `i`, `a:b`, `:`, `a:b:step` or `..`.
    pub(super) fn index(&mut self) -> Parse<Index> {
        let start = self.here();
        if self.kind() == Kind::Rest {
            self.height = 0;
            return Ok(Index::Rest(self.bump().span));
        }
        let ends = |parser: &Self| {
            matches!(parser.kind(), Kind::Colon | Kind::Comma | Kind::CloseBracket | Kind::Eof)
        };
        let mut height = 0;
        let mut part = |parser: &mut Self| -> Parse<Option<Expr>> {
            if ends(parser) {
                return Ok(None);
            }
            let expr = parser.expr()?;
            height = height.max(parser.height);
            Ok(Some(expr))
        };
        let first = part(self)?;
        if self.kind() != Kind::Colon {
            self.height = height;
            return match first {
                Some(expr) => Ok(Index::Expr(expr)),
                None => self.missing_value().map(Index::Expr),
            };
        }
        self.bump();
        let end = part(self)?;
        let step = if self.eat(Kind::Colon) { part(self)? } else { None };
        self.height = height;
        Ok(Index::Range { start: first, end, step, span: self.span_from(start) })
    }

    /// Reports that a value was expected at the current token.
    fn missing_value(&mut self) -> Parse<Expr> {
        let (token, place) = (self.token(), self.place());
        let after = self.previous().filter(|previous| {
            !matches!(
                previous.kind,
                Kind::Word | Kind::Number | Kind::String | Kind::CloseParen | Kind::CloseBracket
            )
        });
        let ended =
            token.kind == Kind::Eof || token.kind.is_closer() || (token.starts_line && !self.in_brackets);
        let diagnostic = match after {
            _ if token.kind == Kind::Pipe || self.binary_operator().is_some() => {
                let message = format!("there is no value before {}", self.describe(token));
                Diagnostic::error("E0116", message, token.span, "").help(match token.kind {
                    Kind::Pipe => "write what flows in before it: `x |> relu`",
                    _ => "an operator stands between two values, `a + b`: write the first, or remove the operator",
                })
            }
            Some(previous) if ended || token.kind == Kind::Comma => {
                let message = format!("a value is missing after {}", self.describe(previous));
                Diagnostic::error("E0116", message, previous.span, "here")
                    .help(format!("write a value after it, or remove {}", self.describe(previous)))
            }
            _ => {
                let message = format!("expected a value, {}", self.found());
                let diagnostic = Diagnostic::error("E0116", message, place, "");
                match (token.kind, self.word()) {
                    (Kind::Dot, _) => diagnostic.help("a number begins with a digit: `0.5`"),
                    (Kind::Word, word) if RESERVED.contains(&word) => {
                        diagnostic.note(format!("`{word}` has a meaning of its own and is never a name"))
                    }
                    _ => diagnostic.help(
                        "a value is a number, a name, a call or something in brackets: `0.5`, `x`, `relu(x)`",
                    ),
                }
            }
        };
        self.report(diagnostic);
        if ended && after.is_some() && !token.kind.is_closer() {
            // Nothing was consumed and the next line begins a statement: go on as if a value stood here.
            return Ok(missing(place));
        }
        Err(Failed)
    }
}
