//! `scan x over xs along t with h = … { … }` and `each x over xs { … }`.
//!
//! What enters: tokens, the current one `scan` or `each`. What leaves: `ExprKind::Turns`. These words, like `over`,
//! `along`, `reversed`, `segments` and `with`, mean something only here and can be names elsewhere.

use super::expressions::level;
use super::{Parse, Parser, RESERVED};
use crate::ast::{Expr, ExprKind, Name, Turns};
use crate::diagnostic::Diagnostic;
use crate::token::Kind;

/// What goes on with a loop after its slices, or with a test after its places (`f(x) at scan in over..1`).
const WORDS: [&str; 5] = ["along", "reversed", "segments", "with", "in"];

impl Parser<'_> {
    /// Whether `scan` or `each` begins a loop: `scan NAME over`. The words of a loop are no names of slices: where a
    /// value is named `scan`, `along scan with over = x` goes on with the loop outside.
    pub(super) fn at_turns(&self) -> bool {
        let word = |n: usize| {
            let token = self.ahead(n);
            if token.kind == Kind::Word && !token.starts_line { self.slice(token.span) } else { "" }
        };
        let is_name = |word: &str| !word.is_empty() && !RESERVED.contains(&word) && !WORDS.contains(&word);
        is_name(word(1)) && word(2) == "over"
    }

    pub(super) fn turns(&mut self) -> Parse<Expr> {
        let start = self.here();
        let scans = self.word() == "scan";
        self.bump();
        let mut height = 0;
        let mut over = Vec::new();
        loop {
            let name = self.name("the name of a slice")?;
            if !self.eat_word("over") {
                return self.expected("`over`", "as in `scan xt over x along t with h = zeros([n]) { … }`");
            }
            over.push((name, self.part(&mut height)?));
            if !self.eat(Kind::Comma) {
                break;
            }
        }
        let along = if self.eat_word("along") { Some(self.part(&mut height)?) } else { None };
        let reversed = scans && self.eat_word("reversed");
        let segments = if scans && self.eat_word("segments") { Some(self.part(&mut height)?) } else { None };
        let mut carried: Vec<(Name, Expr)> = Vec::new();
        if scans {
            if !self.eat_word("with") {
                return self.expected(
                    "`with`",
                    "a scan carries values from turn to turn: `with h = zeros([n])`; for turns that are independent write `each`",
                );
            }
            loop {
                let name = self.name("the name of a carried value")?;
                self.assign("a carried value", "h = zeros([n])")?;
                carried.push((name, self.part(&mut height)?));
                if !self.eat(Kind::Comma) {
                    break;
                }
            }
        }
        let body = self.block("what is done in each turn")?;
        let height = height.max(self.height);
        self.set_height(height)?;
        let turns = Turns { over, along, reversed, segments, carried, body };
        Ok(Expr { kind: ExprKind::Turns(Box::new(turns)), span: self.span_from(start) })
    }

    fn part(&mut self, height: &mut usize) -> Parse<Expr> {
        let expr = self.expr_at(level::OR)?;
        *height = self.height.max(*height);
        Ok(expr)
    }

    fn expected<T>(&mut self, what: &str, help: &str) -> Parse<T> {
        let (place, found) = (self.place(), self.found());
        let message = format!("expected {what}, {found}");
        self.fail(Diagnostic::error("E0133", message, place, "").help(help))
    }
}
