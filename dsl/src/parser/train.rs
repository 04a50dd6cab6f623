//! Train blocks and test blocks.
//!
//! What enters: tokens. What leaves: `Train` and `Test`. Their words (`minimize`, `report`, `gradcheck`, …)
//! mean something only here. Settings and claims may share a line.

use super::expressions::level;
use super::{Parse, Parser, missing};
use crate::ast::{BinaryOp, Claim, Name, Test, Train, TrainStatement};
use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::token::Kind;

const TRAIN_WORDS: [&str; 5] = ["let", "freeze", "minimize", "report", "predict"];

impl Parser<'_> {
    /// The current token is `train`, or a word that was meant as it.
    pub(super) fn train(&mut self) -> Parse<Train> {
        let start = self.here();
        self.bump();
        let name = self.name("the name of the training")?;
        self.expect_brace(&format!("train {} {{ … }}", name.text))?;
        let shares = |parser: &Self| {
            parser.kind() == Kind::Word && (parser.ahead(1).kind == Kind::Assign || parser.at_train_word())
        };
        let (statements, _) = self.braced(Self::train_statement, shares)?;
        Ok(Train { name, statements, span: self.span_from(start) })
    }

    fn expect_brace(&mut self, example: &str) -> Parse<()> {
        if self.kind() == Kind::OpenBrace {
            return Ok(());
        }
        let (place, found) = (self.place(), self.found());
        let message = format!("expected `{{`, {found}");
        self.fail(Diagnostic::error("E0130", message, place, "").help(format!("write `{example}`")))
    }

    fn at_train_word(&self) -> bool {
        TRAIN_WORDS.contains(&self.word()) && self.ahead(1).kind != Kind::Assign
    }

    fn train_statement(&mut self) -> Parse<TrainStatement> {
        let start = self.here();
        let token = self.token();
        let next = self.ahead(1);
        let is_setting = next.kind == Kind::Assign && !next.starts_line;
        match self.word() {
            "let" => return self.let_statement().map(TrainStatement::Let),
            "minimize" if !is_setting => return self.minimize(),
            "freeze" if !is_setting => {
                self.bump();
                let mut paths = vec![self.path()?];
                while self.eat(Kind::Comma) {
                    paths.push(self.path()?);
                }
                return Ok(TrainStatement::Freeze { paths, span: self.span_from(start) });
            }
            "report" if !is_setting => {
                let (name, value) = self.named_value()?;
                return Ok(TrainStatement::Report { name, value, span: self.span_from(start) });
            }
            "predict" if !is_setting => {
                let (name, value) = self.named_value()?;
                return Ok(TrainStatement::Predict { name, value, span: self.span_from(start) });
            }
            word @ ("param" | "state" | "shadow") if self.word_follows() => {
                let message = format!("a `{word}` belongs to a function, not to a train block");
                return self.fail(
                    Diagnostic::error("E0127", message, token.span, "")
                        .help("write a function that has it, and call that here"),
                );
            }
            _ => {}
        }
        if token.kind != Kind::Word {
            let message = format!("{} cannot stand in a train block", self.describe(token));
            return self.fail(train_help(Diagnostic::error("E0127", message, token.span, "")));
        }
        let word = self.word();
        let name = self.name("a setting's name")?;
        let found = self.token();
        match found.kind {
            Kind::Assign if self.on_line() => {
                self.bump();
            }
            Kind::Colon | Kind::Update | Kind::Equal | Kind::Number | Kind::Foreign if self.on_line() => {
                let message = format!("the setting `{word}` needs `=` before its value");
                self.report(
                    Diagnostic::error("E0113", message, found.span, "").help(format!("write `{word} = …`")),
                );
                if found.kind != Kind::Number {
                    self.bump();
                }
            }
            _ => {
                let diagnostic = match nearest(word, TRAIN_WORDS) {
                    Some(meant) => {
                        Diagnostic::error("E0115", format!("there is no `{word}`"), token.span, "")
                            .help(format!("did you mean `{meant}`?"))
                    }
                    None => train_help(Diagnostic::error(
                        "E0127",
                        format!("`{word}` begins no statement of a train block"),
                        token.span,
                        "",
                    )),
                };
                return self.fail(diagnostic);
            }
        }
        let value = self.expr()?;
        Ok(TrainStatement::Setting { name, value, span: self.span_from(start) })
    }

    /// `minimize LOSS [over params(a, b)] with OPTIMIZER`.
    fn minimize(&mut self) -> Parse<TrainStatement> {
        let start = self.here();
        self.bump();
        let loss = self.expr()?;
        let mut over = Vec::new();
        if self.eat_word("over") {
            if self.word() != "params" || self.ahead(1).kind != Kind::OpenParen {
                let (place, found) = (self.place(), self.found());
                return self.fail(
                    Diagnostic::error(
                        "E0130",
                        format!("expected `params(…)` after `over`, {found}"),
                        place,
                        "",
                    )
                    .help("name functions or parameters: `over params(generator)`"),
                );
            }
            self.bump();
            over = self.list(Self::path)?;
        }
        let optimizer = if self.eat_word("with") {
            self.expr()?
        } else {
            let place = self.place();
            self.report(
                Diagnostic::error("E0130", "`minimize` needs an optimizer", place, "after the loss")
                    .help("add one: `with adam(lr = 1e-3)`"),
            );
            if !self.token().starts_line {
                return Err(super::Failed);
            }
            missing(place)
        };
        Ok(TrainStatement::Minimize { loss, over, optimizer, span: self.span_from(start) })
    }

    /// `gpt.block.3.head`: a function's name, and how its parameters' paths go on.
    fn path(&mut self) -> Parse<Name> {
        let start = self.here();
        let first = self.name("the name of a function or a parameter")?;
        let mut text = first.text.to_string();
        while self.kind() == Kind::Dot && matches!(self.ahead(1).kind, Kind::Word | Kind::Number) {
            self.bump();
            let more = self.bump().span;
            text.push('.');
            text.push_str(self.slice(more));
        }
        Ok(Name { text: text.into(), span: self.span_from(start) })
    }

    /// After `report` or `predict`: `EXPR` or `name = EXPR`.
    fn named_value(&mut self) -> Parse<(Option<Name>, crate::ast::Expr)> {
        self.bump();
        let named = self.kind() == Kind::Word && self.ahead(1).kind == Kind::Assign;
        let name = if named {
            let name = self.name("a metric's name")?;
            self.bump();
            Some(name)
        } else {
            None
        };
        Ok((name, self.expr()?))
    }

    /// The current token is `test`, or a word that was meant as it.
    pub(super) fn test(&mut self) -> Parse<Test> {
        let start = self.here();
        self.bump();
        let name = self.name("the name of what is tested")?;
        let arguments = if self.kind() == Kind::OpenParen { self.list(Self::argument)? } else { Vec::new() };
        self.expect_brace(&format!("test {} {{ … }}", name.text))?;
        let (claims, _) = self.braced(Self::claim, |parser| parser.kind() == Kind::Word)?;
        Ok(Test { name, arguments, claims, span: self.span_from(start) })
    }

    fn claim(&mut self) -> Parse<Claim> {
        let start = self.here();
        let next = self.ahead(1);
        if self.word() == "gradcheck" && next.kind != Kind::OpenParen {
            return Ok(Claim::GradCheck(self.bump().span));
        }
        if self.kind() == Kind::Word && self.slice(next.span) == "at" && next.kind == Kind::Word {
            return self.range_claim();
        }
        let left = self.expr_at(level::SUM)?;
        let token = self.token();
        let op = match token.kind {
            Kind::Equal => BinaryOp::Equal,
            Kind::NotEqual => BinaryOp::NotEqual,
            Kind::Less => BinaryOp::Less,
            Kind::LessEqual => BinaryOp::LessEqual,
            Kind::Greater => BinaryOp::Greater,
            Kind::GreaterEqual => BinaryOp::GreaterEqual,
            Kind::Assign => {
                self.report(
                    Diagnostic::error("E0113", "`=` does not compare", token.span, "").help("write `==`"),
                );
                BinaryOp::Equal
            }
            _ => {
                let (place, found) = (self.place(), self.found());
                return self.fail(
                    Diagnostic::error("E0131", format!("a claim needs a comparison, {found}"), place, "")
                        .help("claims: `params == 52_650`, `gradcheck`, `kernels(cpu) <= 8`, `loss at 0 in 2.0..2.6`"),
                );
            }
        };
        self.bump();
        let right = self.expr_at(level::SUM)?;
        Ok(Claim::Compare { left, op, right, span: self.span_from(start) })
    }

    /// `loss at 0 in 2.0..2.6`
    fn range_claim(&mut self) -> Parse<Claim> {
        let start = self.here();
        let metric = self.name("a metric's name")?;
        self.bump();
        let at = self.expr_at(level::SUM)?;
        if !self.eat_word("in") {
            return self.broken_range("`in`");
        }
        let low = self.expr_at(level::SUM)?;
        if !self.eat(Kind::Rest) {
            return self.broken_range("`..`");
        }
        let high = self.expr_at(level::SUM)?;
        Ok(Claim::InRange { metric, at, low, high, span: self.span_from(start) })
    }

    fn broken_range(&mut self, expected: &str) -> Parse<Claim> {
        let (place, found) = (self.place(), self.found());
        self.fail(
            Diagnostic::error("E0131", format!("expected {expected}, {found}"), place, "")
                .help("a claim about a metric is written `loss at 0 in 2.0..2.6`"),
        )
    }
}

fn train_help(diagnostic: Diagnostic) -> Diagnostic {
    diagnostic.help(
        "in a train block stand settings (`batch = 32`), `let`, `freeze`, `minimize … with …`, `report` and `predict`",
    )
}
