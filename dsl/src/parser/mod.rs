//! Tokens to syntax tree: recursive descent for items and statements, Pratt for expressions.
//!
//! What enters: the text of one source. What leaves: a `File`, always, and every error of the text.
//! Invariants: parsing never fails as a whole, never panics and always ends; each broken statement gives one
//! error and parsing goes on at the next; a tree is nowhere deeper than `MAX_DEPTH`, so that later stages may
//! recurse on it. Names, shapes and types are not looked at.

mod brackets;
mod expressions;
mod items;
mod primary;
mod statements;
mod train;
mod turns;

pub(crate) use expressions::level;

use crate::ast::{Comment, Expr, ExprKind, File, Name, Span};
use crate::diagnostic::Diagnostic;
use crate::token::{self, Kind, Token};
use smol_str::SmolStr;

/// How deep brackets, blocks and operands may be nested: what the parser's own recursion is limited to.
pub const MAX_NESTING: usize = 80;

/// How high a tree may be; every link of a chain (`a + b + c`, `x |> f |> g`) is a level of it.
pub const MAX_DEPTH: usize = 200;

/// After so many errors the rest is not told.
pub const MAX_ERRORS: usize = 100;

/// Words that are never names.
pub const RESERVED: [&str; 10] = ["fn", "let", "if", "else", "repeat", "and", "or", "not", "true", "false"];

/// Reads a whole source.
///
/// ```
/// let (file, diagnostics) = gradc_dsl::parse(0, "fn double(x: f32[..]) -> f32[..] { 2 * x }");
/// assert!(diagnostics.is_empty());
/// assert_eq!(file.items.len(), 1);
/// ```
pub fn parse(source: u32, text: &str) -> (File, Vec<Diagnostic>) {
    let lexed = token::lex(source, text);
    let mut diagnostics = lexed.diagnostics;
    let mut tokens = remove_semicolons(lexed.tokens, &mut diagnostics);
    let brackets = brackets::match_brackets(text, &mut tokens);
    diagnostics.extend(brackets.diagnostics);
    let mut parser = Parser {
        source,
        text,
        tokens,
        partner: brackets.partner,
        comments: &lexed.comments,
        diagnostics,
        position: 0,
        in_brackets: false,
        depth: 0,
        height: 0,
    };
    let items = parser.items();
    let mut diagnostics = parser.diagnostics;
    let span = Span { source, start: 0, end: text.len() as u32 };
    if items.is_empty() && diagnostics.is_empty() {
        diagnostics.push(
            Diagnostic::error("E0117", "this file is empty", span, "")
                .help("a model has at least one function: `fn double(x: f32[..]) -> f32[..] { 2 * x }`"),
        );
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.labels[0].span);
    diagnostics.truncate(MAX_ERRORS);
    (File { items, comments: lexed.comments, span }, diagnostics)
}

/// Takes the semicolons out; what follows one counts as a new line. The first is reported for all.
fn remove_semicolons(tokens: Vec<Token>, diagnostics: &mut Vec<Diagnostic>) -> Vec<Token> {
    let mut first = None;
    let mut new_line = false;
    let mut kept = Vec::with_capacity(tokens.len());
    for mut token in tokens {
        if token.kind == Kind::Semicolon {
            first = first.or(Some(token.span));
            new_line = true;
            continue;
        }
        token.starts_line |= new_line;
        new_line = false;
        kept.push(token);
    }
    if let Some(span) = first {
        diagnostics.push(
            Diagnostic::error("E0114", "there are no semicolons in this language", span, "the first one")
                .help("remove it: the end of the line ends the statement"),
        );
    }
    kept
}

/// A statement could not be read; the reason has been reported.
struct Failed;

type Parse<T> = Result<T, Failed>;

struct Parser<'a> {
    source: u32,
    text: &'a str,
    /// Ends with `Eof`; holds no semicolon and no closing bracket without an opening one.
    tokens: Vec<Token>,
    partner: Vec<Option<usize>>,
    comments: &'a [Comment],
    diagnostics: Vec<Diagnostic>,
    position: usize,
    /// True directly inside `( )` or `[ ]`, where line ends mean nothing.
    in_brackets: bool,
    /// How many expressions and blocks are being read.
    depth: usize,
    /// Height of the tree that was read last.
    height: usize,
}

impl<'a> Parser<'a> {
    fn token(&self) -> Token {
        self.tokens[self.position]
    }

    fn kind(&self) -> Kind {
        self.token().kind
    }

    /// The token `ahead` places further, or the last one.
    fn ahead(&self, ahead: usize) -> Token {
        self.tokens[(self.position + ahead).min(self.tokens.len() - 1)]
    }

    fn slice(&self, span: Span) -> &'a str {
        &self.text[span.start as usize..span.end as usize]
    }

    /// The text of the current token if it is a word, else the empty text.
    fn word(&self) -> &'a str {
        if self.kind() == Kind::Word { self.slice(self.token().span) } else { "" }
    }

    /// The next token is a word on the same line, and not one that joins two values.
    fn word_follows(&self) -> bool {
        let next = self.ahead(1);
        let joins = matches!(self.slice(next.span), "and" | "or");
        next.kind == Kind::Word && !next.starts_line && !joins
    }

    fn bump(&mut self) -> Token {
        let token = self.token();
        if token.kind != Kind::Eof {
            self.position += 1;
        }
        token
    }

    fn eat(&mut self, kind: Kind) -> bool {
        let found = self.kind() == kind;
        if found {
            self.bump();
        }
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = self.word() == word;
        if found {
            self.bump();
        }
        found
    }

    /// The current token belongs to the statement being read: it stands on the same line or in brackets.
    fn on_line(&self) -> bool {
        self.in_brackets || !self.token().starts_line
    }

    fn previous(&self) -> Option<Token> {
        self.position.checked_sub(1).map(|index| self.tokens[index])
    }

    /// From `start` to the end of the token before the current one.
    fn span_from(&self, start: u32) -> Span {
        let end = self.previous().map_or(start, |token| token.span.end).max(start);
        Span { source: self.source, start, end }
    }

    fn here(&self) -> u32 {
        self.token().span.start
    }

    fn report(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    fn fail<T>(&mut self, diagnostic: Diagnostic) -> Parse<T> {
        self.report(diagnostic);
        Err(Failed)
    }

    /// What messages call a token.
    fn describe(&self, token: Token) -> String {
        match token.kind {
            Kind::Eof => "the end of the file".to_owned(),
            Kind::String | Kind::OpenString => "a text in quotes".to_owned(),
            Kind::Number => format!("the number `{}`", self.slice(token.span)),
            _ => format!("`{}`", self.slice(token.span)),
        }
    }

    /// The current token, or, where the line has ended, the end of what stands before it.
    fn place(&self) -> Span {
        match self.previous() {
            Some(previous) if self.token().starts_line => {
                Span { start: previous.span.end, end: previous.span.end, ..previous.span }
            }
            _ => self.token().span,
        }
    }

    /// What was found where something else was expected.
    fn found(&self) -> String {
        let token = self.token();
        match token.kind {
            Kind::Eof => "found the end of the file".to_owned(),
            _ if token.starts_line && !self.in_brackets => "the line ends here".to_owned(),
            _ => format!("found {}", self.describe(token)),
        }
    }

    /// A name. `what` says of what: "a function's name".
    fn name(&mut self, what: &str) -> Parse<Name> {
        let token = self.token();
        let word = self.word();
        if word.is_empty() {
            let (place, found) = (self.place(), self.found());
            return self.fail(
                Diagnostic::error("E0122", format!("expected {what}, {found}"), place, "")
                    .help("a name is letters, digits and `_`, and begins with a letter or `_`: `hidden_2`"),
            );
        }
        if RESERVED.contains(&word) {
            let message = format!("`{word}` has a meaning of its own and cannot be {what}");
            return self
                .fail(Diagnostic::error("E0132", message, token.span, "").help("choose another name"));
        }
        self.bump();
        Ok(Name { text: SmolStr::new(word), span: token.span })
    }

    /// Runs `read` one level deeper; `height` is then that of what it read, plus one.
    fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Parse<T>) -> Parse<T> {
        if self.depth >= MAX_NESTING {
            return self.too_deep(MAX_NESTING);
        }
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    fn too_deep<T>(&mut self, limit: usize) -> Parse<T> {
        let message = format!("this is nested more than {limit} levels deep");
        let span = self.token().span;
        self.fail(
            Diagnostic::error("E0118", message, span, "too deep here")
                .note("every bracket, every block and every link of a chain like `a + b + c` is a level")
                .help("give parts of it names with `let`"),
        )
    }

    /// Sets the height of a tree over children of height `children`.
    fn set_height(&mut self, children: usize) -> Parse<()> {
        self.height = children + 1;
        if self.height > MAX_DEPTH { self.too_deep(MAX_DEPTH) } else { Ok(()) }
    }

    /// `( … )` or `[ … ]`: items with commas between them, the last one optional. The current token is the
    /// opening bracket. Sets `height` to the highest item's.
    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Parse<T>) -> Parse<Vec<T>> {
        let close = self.partner[self.position];
        self.bump();
        let outer = self.in_brackets;
        self.in_brackets |= close.is_some();
        let mut items = Vec::new();
        let mut height = 0;
        while !self.at_list_end(close) {
            items.push(item(self)?);
            height = height.max(self.height);
            if self.eat(Kind::Comma) || self.at_list_end(close) {
                continue;
            }
            let (token, place) = (self.token(), self.place());
            let described = self.describe(token);
            let diagnostic = match token.kind {
                Kind::Assign => {
                    Diagnostic::error("E0128", "only a plain name can stand before `=` here", place, "")
                        .help("an argument is given by name as in `lr = 1e-3`; equality is tested with `==`")
                }
                kind if starts_value(kind) => {
                    let message = format!("a comma is missing before {described}");
                    Diagnostic::error("E0112", message, place, "").help("put a `,` between the two")
                }
                _ => Diagnostic::error("E0128", format!("{described} cannot stand here"), place, "")
                    .help("remove it, or close the bracket before it"),
            };
            self.report(diagnostic);
            if !starts_value(token.kind) {
                return Err(Failed);
            }
        }
        if close.is_some() {
            self.bump();
        }
        self.in_brackets = outer;
        self.height = height;
        Ok(items)
    }

    /// At the closing bracket; or, in brackets that are never closed (this was reported), at the line's end.
    fn at_list_end(&self, close: Option<usize>) -> bool {
        match close {
            Some(close) => self.position >= close,
            None => self.token().starts_line || self.kind() == Kind::Eof || self.kind().is_closer(),
        }
    }

    /// After a failure: goes to the next line that is not inside brackets opened since `start`, or to the
    /// end of the surrounding block.
    fn recover(&mut self, start: usize) {
        let mut index = start;
        loop {
            let token = self.tokens[index];
            let past = index > start && index >= self.position;
            if token.kind == Kind::Eof || token.kind.is_closer() || (past && token.starts_line) {
                break;
            }
            index = self.partner[index].map_or(index + 1, |close| close + 1);
        }
        self.position = index.max(self.position);
    }

    /// The current token begins a line at the left edge with a word that begins items: a block that is still
    /// open here was never closed.
    fn at_item(&self) -> bool {
        let token = self.token();
        let at = token.span.start as usize;
        let left_edge = at == 0 || matches!(self.text.as_bytes()[at - 1], b'\n' | b'\r');
        token.starts_line && left_edge && matches!(self.word(), "fn" | "train" | "test" | "import")
    }
}

/// A token that can begin an expression.
fn starts_value(kind: Kind) -> bool {
    kind.is_opener()
        || matches!(kind, Kind::Word | Kind::Number | Kind::String | Kind::OpenString | Kind::Minus)
}

/// What stands for an expression that could not be read.
fn missing(span: Span) -> Expr {
    Expr { kind: ExprKind::Error, span }
}
