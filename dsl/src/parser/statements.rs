//! Blocks and the statements of functions.
//!
//! What enters: tokens. What leaves: `Block` and `Statement`. Each statement stands on lines of its own,
//! unless the whole block stands on one line. The last expression of a block is its value.
//! A statement that cannot be read gives one error and is left out; the next is read as if nothing happened.

use super::{Parse, Parser, missing};
use crate::ast::{Block, Declaration, Expr, Let, Name, Pattern, Span, Statement};
use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::token::Kind;

/// Words with which other languages begin what we begin with `let`.
const LIKE_LET: [&str; 7] = ["var", "const", "val", "auto", "set", "lets", "mut"];

impl Parser<'_> {
    /// `{ … }` around statements of a function. `what` names it for a message.
    pub(super) fn block(&mut self, what: &str) -> Parse<Block> {
        if self.kind() != Kind::OpenBrace {
            let (place, found) = (self.place(), self.found());
            let message = format!("expected `{{` before {what}, {found}");
            let diagnostic = Diagnostic::error("E0130", message, place, "");
            return self.fail(match self.kind() {
                Kind::Update => {
                    diagnostic.help("to compare with a negative number write `x < -1`, with a space")
                }
                Kind::Colon => diagnostic.help("blocks stand in braces: `{ … }`"),
                _ => diagnostic.help("write `{` here, and `}` at its end"),
            });
        }
        let start = self.here();
        let (mut statements, height) = self.nested(|parser| parser.braced(Self::statement, |_| false))?;
        let value = match statements.last() {
            Some(Statement::Expr(_)) => match statements.pop() {
                Some(Statement::Expr(value)) => Some(Box::new(value)),
                _ => None,
            },
            _ => None,
        };
        self.set_height(height)?;
        Ok(Block { statements, value, span: self.span_from(start) })
    }

    /// `{`, what `read` reads, again and again, `}`; with the height of the highest thing read. `shares_line`
    /// tells whether what begins at the current token may stand on the line of what came before it.
    pub(super) fn braced<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Parse<T>,
        shares_line: impl Fn(&Self) -> bool,
    ) -> Parse<(Vec<T>, usize)> {
        let open = self.position;
        let close = self.partner[open];
        let one_line =
            close.is_some_and(|close| !self.tokens[open + 1..=close].iter().any(|token| token.starts_line));
        self.bump();
        let outer = std::mem::replace(&mut self.in_brackets, false);
        let mut items = Vec::new();
        let mut height = 0;
        loop {
            let at_close = close.is_some_and(|close| self.position >= close);
            let lost = close.is_none() && (self.at_item() || self.kind().is_closer());
            if at_close || lost || self.kind() == Kind::Eof {
                break;
            }
            let start = self.position;
            let depth = self.depth;
            match read(self) {
                Ok(item) => {
                    items.push(item);
                    height = height.max(self.height);
                    let token = self.token();
                    let ends = token.starts_line || token.kind == Kind::Eof || token.kind.is_closer();
                    if !ends && !one_line && !shares_line(self) {
                        self.two_on_a_line();
                        self.recover(start);
                    }
                }
                Err(_) => {
                    self.depth = depth;
                    self.in_brackets = false;
                    self.recover(start);
                }
            }
            if self.position == start {
                self.bump();
            }
        }
        if close.is_some() {
            self.bump();
        }
        self.in_brackets = outer;
        Ok((items, height))
    }

    /// After a statement, on its line, stands something that does not belong to it.
    fn two_on_a_line(&mut self) {
        let token = self.token();
        let described = self.describe(token);
        let diagnostic = match token.kind {
            Kind::Assign => Diagnostic::error("E0123", "only a name can be given a value", token.span, "")
                .help("write `let name = …`; equality is tested with `==`"),
            Kind::Update => {
                Diagnostic::error("E0123", "only a state's name can stand before `<-`", token.span, "")
                    .help("if you compare with a negative number, put a space between `<` and `-`")
            }
            Kind::Foreign if self.slice(token.span).ends_with('=') => {
                let op = self.slice(token.span);
                let message = format!("there is no `{op}`");
                Diagnostic::error("E0124", message, token.span, "")
                    .help("give the new value a name: `let y = x + 1`; a state's next value is `m <- m + 1`")
            }
            Kind::Colon => Diagnostic::error("E0128", "`:` cannot stand here", token.span, "")
                .help("blocks stand in braces: `{ … }`"),
            Kind::FatArrow | Kind::Arrow => {
                Diagnostic::error("E0119", format!("{described} cannot stand here"), token.span, "")
                    .help("`->` stands only between a function's parameters and its result's type")
            }
            _ => {
                let message = format!("{described} does not belong to what stands before it");
                let help = match self.previous().map(|previous| previous.kind) {
                    Some(Kind::Number) => "to multiply, write `*`; a new statement begins on a new line",
                    _ => {
                        "an operator or a comma is missing, or a line end: every statement has a line of its own"
                    }
                };
                Diagnostic::error("E0120", message, token.span, "").help(help)
            }
        };
        self.report(diagnostic);
    }

    fn statement(&mut self) -> Parse<Statement> {
        let start = self.here();
        let token = self.token();
        let next = self.ahead(1);
        match self.word() {
            "let" => return self.let_statement().map(Statement::Let),
            "param" if self.word_follows() => return self.declaration().map(Statement::Param),
            "state" if self.word_follows() => return self.declaration().map(Statement::State),
            "shadow" if self.word_follows() => return self.declaration().map(Statement::Shadow),
            "fn" => {
                let function = self.function()?;
                let message = format!("the function `{}` stands inside another function", function.name.text);
                return self.fail(
                    Diagnostic::error("E0127", message, token.span, "")
                        .help("move it to the top of the file; every function sees every other"),
                );
            }
            word @ "return" | word @ "yield"
                if self.word_follows() || word == "return" && !next.starts_line && !next.kind.is_closer() =>
            {
                self.report(
                    Diagnostic::error("E0115", format!("there is no `{word}`"), token.span, "")
                        .help("leave the word out: the last expression of a block is its value"),
                );
                self.bump();
                return self.expr().map(Statement::Expr);
            }
            word @ ("minimize" | "report" | "predict") if self.word_follows() => {
                let message = format!("`{word}` stands in train blocks, not in functions");
                return self.fail(
                    Diagnostic::error("E0127", message, token.span, "")
                        .help("write it in `train name { … }`"),
                );
            }
            word if self.word_follows() && !super::RESERVED.contains(&word) && self.meant_let(word)? => {
                self.bump();
                return self.let_rest(start).map(Statement::Let);
            }
            _ => {}
        }
        if token.kind == Kind::Word && next.kind == Kind::Update {
            let target = self.name("a state's name")?;
            self.bump();
            let value = self.expr()?;
            return Ok(Statement::Update { target, value, span: self.span_from(start) });
        }
        if token.kind == Kind::Word && next.kind == Kind::Assign && !next.starts_line {
            let word = self.word();
            self.report(
                Diagnostic::error("E0123", format!("`let` is missing before `{word} =`"), token.span, "")
                    .help(format!("write `let {word} = …`; a state's next value is written `{word} <- …`")),
            );
            return self.let_rest(start).map(Statement::Let);
        }
        self.expr().map(Statement::Expr)
    }

    /// A word and then another word on the line: perhaps a keyword was meant. Reports it and tells whether
    /// that was `let`; fails if it was another.
    fn meant_let(&mut self, word: &str) -> Parse<bool> {
        let token = self.token();
        let after = self.ahead(2).kind;
        let meant = match nearest(word, ["let", "param", "state", "shadow"]) {
            _ if LIKE_LET.contains(&word) => "let",
            _ if matches!(word, "parameter" | "weight") => "param",
            Some(meant) if matches!(after, Kind::Assign | Kind::Colon) => meant,
            _ if matches!(word, "for" | "while" | "loop") => {
                return self.fail(
                    Diagnostic::error("E0115", format!("there is no `{word}`"), token.span, "").help(
                        "stack layers with `x |> repeat 4 { … }`; sum over an index with `sum[i] a[i] * b[i]`",
                    ),
                );
            }
            _ => return Ok(false),
        };
        self.report(
            Diagnostic::error("E0115", format!("there is no `{word}`"), token.span, "")
                .help(format!("did you mean `{meant}`?")),
        );
        if meant == "let" { Ok(true) } else { Err(super::Failed) }
    }

    /// `let PATTERN [: TYPE] = EXPR`; the current token is `let`.
    pub(super) fn let_statement(&mut self) -> Parse<Let> {
        let start = self.here();
        self.bump();
        self.let_rest(start)
    }

    /// What follows `let`.
    fn let_rest(&mut self, start: u32) -> Parse<Let> {
        if self.word() == "mut" && self.word_follows() {
            let span = self.bump().span;
            self.report(
                Diagnostic::error("E0115", "there is no `mut`", span, "")
                    .help("leave it out; a value that changes from step to step is a `state`"),
            );
        }
        let pattern = self.pattern()?;
        let ty = if self.eat(Kind::Colon) { Some(self.ty()?) } else { None };
        self.assign("`let`", "let x = …")?;
        let value = self.expr()?;
        Ok(Let { pattern, ty, value, span: self.span_from(start) })
    }

    /// The `=` of a statement that needs one.
    pub(super) fn assign(&mut self, what: &str, example: &str) -> Parse<()> {
        if self.eat(Kind::Assign) {
            return Ok(());
        }
        let token = self.token();
        let written = self.slice(token.span);
        if token.kind == Kind::Update
            || (token.kind == Kind::Foreign && written == ":=")
            || token.kind == Kind::Equal
        {
            self.report(
                Diagnostic::error("E0113", format!("{what} takes `=`, not `{written}`"), token.span, "")
                    .help(format!("write `{example}`")),
            );
            self.bump();
            return Ok(());
        }
        let (place, found) = (self.place(), self.found());
        let message = format!("expected `=` and a value, {found}");
        self.fail(Diagnostic::error("E0116", message, place, "").help(format!("write `{example}`")))
    }

    fn pattern(&mut self) -> Parse<Pattern> {
        let start = self.here();
        if self.kind() == Kind::OpenParen {
            let names = self.list(|parser| parser.name("a name"))?;
            return Ok(Pattern::Tuple(names, self.span_from(start)));
        }
        let name = self.name("the name that the value gets")?;
        if self.kind() == Kind::OpenBracket && self.on_line() {
            let indices = self.list(|parser| parser.name("the name of an index"))?;
            return Ok(Pattern::Indexed { name, indices, span: self.span_from(start) });
        }
        if self.kind() == Kind::Comma {
            let place: Span = self.token().span;
            return self.fail(
                Diagnostic::error("E0112", "several names stand in parentheses", place, "")
                    .help("write `let (a, b) = …`"),
            );
        }
        Ok(Pattern::Name(name))
    }

    /// `param w: f32[n, m] = glorot_uniform()`; the current token is `param`, `state` or `shadow`.
    fn declaration(&mut self) -> Parse<Declaration> {
        let start = self.here();
        let keyword = self.bump().span;
        let keyword = self.slice(keyword);
        let name: Name = self.name("its name")?;
        if !self.eat(Kind::Colon) {
            let (place, found) = (self.place(), self.found());
            let message = format!("`{}` needs a type: expected `:`, {found}", name.text);
            return self.fail(
                Diagnostic::error("E0121", message, place, "")
                    .help(format!("write `{keyword} {}: f32[n] = zeros()`", name.text)),
            );
        }
        let ty = self.ty()?;
        let initial: Expr = if self.kind() == Kind::Assign || self.on_line() {
            self.assign(&format!("`{keyword}`"), &format!("{keyword} {}: f32[n] = zeros()", name.text))?;
            self.expr()?
        } else {
            let place = self.place();
            let message = format!("`{}` needs a first value", name.text);
            self.report(
                Diagnostic::error("E0116", message, place, "after its type")
                    .help("add `= zeros()`, or `= glorot_uniform()` for a weight"),
            );
            missing(place)
        };
        Ok(Declaration { name, ty, initial, span: self.span_from(start) })
    }
}
