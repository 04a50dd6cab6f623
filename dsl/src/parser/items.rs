//! What stands at the top of a file: imports, settings, functions; and types.
//!
//! What enters: tokens. What leaves: `Item`s. Something else at the top gives one error, and reading goes on
//! at the next line that begins an item.

use super::{Parse, Parser, missing};
use crate::ast::{DimItem, Expr, Function, Import, ImportPath, Item, Name, Parameter, Span, Type};
use crate::diagnostic::Diagnostic;
use crate::nearest::nearest;
use crate::token::Kind;

/// The words that begin items.
const ITEM_WORDS: [&str; 5] = ["fn", "train", "test", "import", "let"];

/// Types of values that are known when the model is compiled. `bool[…]` is a tensor all the same.
const CONSTANT_TYPES: [&str; 5] = ["bool", "int", "float", "string", "function"];

impl Parser<'_> {
    pub(super) fn items(&mut self) -> Vec<Item> {
        let mut items = Vec::new();
        while self.kind() != Kind::Eof {
            let start = self.position;
            match self.item() {
                Ok(item) => {
                    items.push(item);
                    if !self.token().starts_line && self.kind() != Kind::Eof {
                        let span = self.token().span;
                        let message =
                            format!("expected the end of the line, found {}", self.describe(self.token()));
                        self.report(
                            Diagnostic::error("E0120", message, span, "")
                                .help("begin a new line here, or remove it: at the top of a file, each part has lines of its own"),
                        );
                        self.recover_item(start);
                    }
                }
                Err(_) => {
                    self.depth = 0;
                    self.in_brackets = false;
                    self.recover_item(start);
                }
            }
            if self.position == start {
                self.bump();
            }
        }
        items
    }

    /// Goes to the next line that begins an item and does not stand inside brackets opened since `start`.
    fn recover_item(&mut self, start: usize) {
        let mut index = start;
        loop {
            let token = self.tokens[index];
            let past = index > start && index >= self.position;
            let begins =
                token.starts_line && token.kind == Kind::Word && ITEM_WORDS.contains(&self.slice(token.span));
            if token.kind == Kind::Eof || (past && begins) {
                break;
            }
            index = self.partner[index].map_or(index + 1, |close| close + 1);
        }
        self.position = index.max(self.position);
    }

    fn item(&mut self) -> Parse<Item> {
        let token = self.token();
        let word = self.word();
        match word {
            "fn" => return self.function().map(Item::Function),
            "train" => return self.train().map(Item::Train),
            "test" => return self.test().map(Item::Test),
            "import" => return self.import().map(Item::Import),
            "let" => return self.let_statement().map(Item::Setting),
            _ => {}
        }
        let described = self.describe(token);
        let meant = match word {
            "def" | "func" | "function" | "fun" | "fu" | "model" | "class" | "layer" => Some("fn"),
            "use" | "include" | "from" | "require" => Some("import"),
            "const" | "var" | "val" | "set" => Some("let"),
            word => nearest(word, ITEM_WORDS).filter(|_| self.word_follows() && word.len() > 1),
        };
        let Some(meant) = meant else {
            if token.kind == Kind::Word && self.ahead(1).kind == Kind::Assign {
                let message = format!("`let` is missing before `{word} =`");
                let help = format!("write `let {word} = …`");
                return self.fail(Diagnostic::error("E0123", message, token.span, "").help(help));
            }
            let message = format!("{described} cannot stand outside of functions and train blocks");
            return self.fail(
                Diagnostic::error("E0127", message, token.span, "")
                    .help("at the top of a file stand `fn`, `let`, `train`, `test` and `import`"),
            );
        };
        self.report(
            Diagnostic::error("E0115", format!("there is no `{word}`"), token.span, "")
                .help(format!("did you mean `{meant}`?")),
        );
        match meant {
            "fn" => self.function().map(Item::Function),
            "train" => self.train().map(Item::Train),
            "test" => self.test().map(Item::Test),
            "let" => self.let_statement().map(Item::Setting),
            _ => Err(super::Failed),
        }
    }

    /// `import "x.model"` or `import std.vision`.
    fn import(&mut self) -> Parse<Import> {
        let start = self.here();
        self.bump();
        if matches!(self.kind(), Kind::String | Kind::OpenString) && self.on_line() {
            let path = ImportPath::File(self.string());
            return Ok(Import { path, span: self.span_from(start) });
        }
        if !self.on_line() || self.word() != "std" {
            let (place, found) = (self.place(), self.found());
            return self.fail(
                Diagnostic::error("E0122", format!("expected what to import, {found}"), place, "").help(
                    "write `import \"blocks.model\"` for a file, `import std.layers` for a part of the standard library",
                ),
            );
        }
        let mut names = vec![self.name("the library's name")?];
        while self.eat(Kind::Dot) {
            names.push(self.name("a name")?);
        }
        Ok(Import { path: ImportPath::Std(names), span: self.span_from(start) })
    }

    /// The current token is `fn`, or a word that was meant as it.
    pub(super) fn function(&mut self) -> Parse<Function> {
        let start = self.here();
        let doc = self.doc_above(start);
        self.bump();
        let name = self.name("the function's name")?;
        if self.kind() != Kind::OpenParen {
            let (place, found) = (self.place(), self.found());
            let message = format!("expected `(` after the function's name, {found}");
            return self.fail(
                Diagnostic::error("E0130", message, place, "")
                    .help(format!("write `fn {}(x: f32[..]) {{ … }}`", name.text)),
            );
        }
        let parameters = self.list(Self::parameter)?;
        let result = self.result()?;
        let body = self.block("the function's body")?;
        Ok(Function { doc, name, parameters, result, body, span: self.span_from(start) })
    }

    /// `-> TYPE`, if it is there.
    fn result(&mut self) -> Parse<Option<Type>> {
        let token = self.token();
        match token.kind {
            Kind::Arrow => {}
            Kind::Colon if self.ahead(1).starts_line => {
                return self.fail(
                    Diagnostic::error("E0130", "a function's body stands in braces", token.span, "")
                        .help("write `{` here, and `}` after the last line of the body"),
                );
            }
            Kind::FatArrow | Kind::Colon | Kind::Update | Kind::Assign => {
                let message =
                    format!("the result's type is written after `->`, not {}", self.describe(token));
                self.report(Diagnostic::error("E0119", message, token.span, "").help("write `->`"));
            }
            Kind::Minus if self.ahead(1).kind == Kind::Greater => {
                self.report(
                    Diagnostic::error("E0119", "`->` is written without a space", token.span, "")
                        .help("write `->`"),
                );
                self.bump();
            }
            Kind::Word => {
                self.report(
                    Diagnostic::error("E0119", "`->` is missing before the result's type", token.span, "")
                        .help("write `fn f(x: f32[n]) -> f32[n] { … }`"),
                );
                return self.ty().map(Some);
            }
            _ => return Ok(None),
        }
        self.bump();
        self.ty().map(Some)
    }

    /// `name: TYPE = DEFAULT`; type and default may be left out.
    fn parameter(&mut self) -> Parse<Parameter> {
        let start = self.here();
        let name = self.name("a parameter's name")?;
        let colon_missing = self.kind() == Kind::Word && self.on_line();
        if colon_missing {
            let span = self.token().span;
            let message = format!("`:` is missing between `{}` and its type", name.text);
            let help = format!("write `{}: {}`", name.text, self.word());
            self.report(Diagnostic::error("E0121", message, span, "").help(help));
        }
        let ty = if self.eat(Kind::Colon) || colon_missing { Some(self.ty()?) } else { None };
        let default = if self.eat(Kind::Assign) { Some(self.expr()?) } else { None };
        Ok(Parameter { name, ty, default, span: self.span_from(start) })
    }

    /// `f32[batch, 784]`, `dim`, `int`, `(f32, f32)`.
    pub(super) fn ty(&mut self) -> Parse<Type> {
        self.nested(Self::ty_inside)
    }

    fn ty_inside(&mut self) -> Parse<Type> {
        let start = self.here();
        self.height = 0;
        if self.kind() == Kind::OpenParen && self.on_line() {
            let items = self.list(Self::ty)?;
            return Ok(Type::Tuple { items, span: self.span_from(start) });
        }
        if self.kind() != Kind::Word || !self.on_line() {
            let (place, found) = (self.place(), self.found());
            return self.fail(
                Diagnostic::error("E0121", format!("expected a type, {found}"), place, "")
                    .help("as in `f32[batch, 784]`, `dim` or `int`"),
            );
        }
        let dtype: Name = self.name("a type")?;
        if self.kind() == Kind::OpenBracket && self.on_line() {
            let dims = self.list(Self::dim)?;
            return Ok(Type::Tensor { dtype, dims, span: self.span_from(start) });
        }
        if matches!(self.kind(), Kind::OpenParen | Kind::Less) && self.on_line() {
            let span = self.token().span;
            return self.fail(
                Diagnostic::error("E0121", "a type's sizes stand in square brackets", span, "")
                    .help(format!("write `{}[n, m]`", dtype.text)),
            );
        }
        let span: Span = dtype.span;
        Ok(match dtype.text.as_str() {
            "dim" => Type::Dim(span),
            word if CONSTANT_TYPES.contains(&word) => Type::Constant { name: dtype, span },
            _ => Type::Tensor { dtype, dims: Vec::new(), span },
        })
    }

    fn dim(&mut self) -> Parse<DimItem> {
        if self.kind() == Kind::Rest {
            self.height = 0;
            return Ok(DimItem::Rest(self.bump().span));
        }
        let size: Expr = if matches!(self.kind(), Kind::Colon) {
            let span = self.bump().span;
            self.report(
                Diagnostic::error("E0121", "`:` is no size", span, "")
                    .help("give the size a name, as in `f32[n]`, or write `..` for any number of axes"),
            );
            missing(span)
        } else {
            self.expr()?
        };
        Ok(DimItem::Dim(size))
    }

    /// The lines of `///` that stand directly above `start`, without slashes.
    fn doc_above(&self, start: u32) -> Vec<String> {
        let mut lines = Vec::new();
        let mut below = start as usize;
        let before = self.comments.partition_point(|comment| comment.span.start < start);
        for comment in self.comments[..before].iter().rev() {
            let gap = &self.text[comment.span.end as usize..below];
            let Some(line) = comment.text.strip_prefix("///") else { break };
            if !comment.own_line || !gap.trim().is_empty() || line_ends(gap) > 1 {
                break;
            }
            lines.push(line.strip_prefix(' ').unwrap_or(line).to_owned());
            below = comment.span.start as usize;
        }
        lines.reverse();
        lines
    }
}

/// How many line ends `text` holds; `\r\n` is one.
fn line_ends(text: &str) -> usize {
    text.matches('\n').count() + text.replace("\r\n", "").matches('\r').count()
}
