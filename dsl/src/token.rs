//! Text to tokens, and bytes to text.
//!
//! What enters: one source's text (or, in `decode`, its bytes). What leaves: its tokens with their places,
//! its comments, and a `Diagnostic` for everything that is no token.
//! Invariant: lexing never fails. What cannot be read is reported and left out, so the parser always gets a
//! list of tokens; their spans rise and never overlap.
//! Keywords are not decided here: most are words with a meaning only in their place, so the parser decides.

use crate::ast::{Comment, Span};
use crate::diagnostic::Diagnostic;
use logos::Logos;
use smol_str::SmolStr;

/// The largest text that is read, in bytes.
pub const MAX_BYTES: usize = 16 << 20;

/// What a token is. `Eof` ends every list.
#[derive(Logos, Clone, Copy, PartialEq, Eq, Debug)]
#[logos(skip r"[ ]+")]
pub enum Kind {
    #[regex(r"\r\n|\n|\r")]
    Newline,
    #[regex(r"\t+")]
    Tab,
    #[regex(r"//[^\n\r]*", allow_greedy = true)]
    Comment,
    #[token("/*")]
    BlockComment,
    /// Python's comment and typographic quotes: reported, and then read as what was meant.
    #[regex(r"#[^\n\r]*", allow_greedy = true)]
    HashComment,
    #[regex(r"[“”„][^“”\n\r]*[“”]?")]
    CurlyString,
    #[regex(r"[A-Za-z_][A-Za-z0-9_]*")]
    Word,
    #[regex(r"[0-9][0-9_]*(\.[0-9][0-9_]*)?([eE][+-]?[0-9]+)?")]
    Number,
    #[regex(r#""([^"\\\n\r]|\\[^\n\r])*""#)]
    String,
    #[regex(r#""([^"\\\n\r]|\\[^\n\r])*\\?"#)]
    OpenString,
    #[token("|>")]
    Pipe,
    #[token("<-")]
    Update,
    #[token("->")]
    Arrow,
    #[token("=>")]
    FatArrow,
    #[token("..")]
    Rest,
    #[token(".")]
    Dot,
    #[token(",")]
    Comma,
    #[token(":")]
    Colon,
    #[token(";")]
    Semicolon,
    #[token("=")]
    Assign,
    #[token("==")]
    Equal,
    #[token("!=")]
    NotEqual,
    #[token("<")]
    Less,
    #[token("<=")]
    LessEqual,
    #[token(">")]
    Greater,
    #[token(">=")]
    GreaterEqual,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("*")]
    Star,
    #[token("/")]
    Slash,
    #[token("%")]
    Percent,
    #[token("@")]
    At,
    #[token("^")]
    Caret,
    #[token("(")]
    OpenParen,
    #[token(")")]
    CloseParen,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    /// Operators of other languages, read as one token so that the parser can name ours.
    #[token("&&")]
    #[token("||")]
    #[token("**")]
    #[token("!")]
    #[token(":=")]
    #[token("+=")]
    #[token("-=")]
    #[token("*=")]
    #[token("/=")]
    #[token("===")]
    Foreign,
    Eof,
}

impl Kind {
    pub fn is_opener(self) -> bool {
        matches!(self, Kind::OpenParen | Kind::OpenBracket | Kind::OpenBrace)
    }

    pub fn is_closer(self) -> bool {
        matches!(self, Kind::CloseParen | Kind::CloseBracket | Kind::CloseBrace)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Token {
    pub kind: Kind,
    pub span: Span,
    /// True when it is the first token of its line (comments do not count).
    pub starts_line: bool,
}

/// What lexing a text gives.
pub struct Lexed {
    pub tokens: Vec<Token>,
    pub comments: Vec<Comment>,
    pub diagnostics: Vec<Diagnostic>,
}

/// Bytes to text. A byte order mark is kept (the lexer steps over it).
///
/// # Errors
/// E0106 where the bytes are not UTF-8, with the byte's offset and line; E0107 for more than `MAX_BYTES`.
pub fn decode(source: u32, bytes: &[u8]) -> Result<String, Diagnostic> {
    let nowhere = Span { source, start: 0, end: 0 };
    if bytes.len() > MAX_BYTES {
        let message =
            format!("this file is {} bytes long; a model may have at most {MAX_BYTES}", bytes.len());
        return Err(Diagnostic::error("E0107", message, nowhere, "")
            .help("is this a data file? Name it in a train block instead: `data = idx(\"…\")`"));
    }
    let error = match std::str::from_utf8(bytes) {
        Ok(text) => return Ok(text.to_owned()),
        Err(error) => error,
    };
    let offset = error.valid_up_to();
    let line = bytes[..offset].iter().filter(|&&b| b == b'\n').count() + 1;
    let message = format!(
        "this file is not UTF-8 text: byte 0x{:02X} at offset {offset}, in line {line}, fits no character",
        bytes[offset]
    );
    let wide = bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]);
    let help = if wide {
        "the file seems to be saved as UTF-16; save it as UTF-8 in your editor"
    } else {
        "save the file with the encoding UTF-8 in your editor"
    };
    Err(Diagnostic::error("E0106", message, nowhere, "").help(help))
}

/// Splits `text` into tokens, comments and complaints.
pub fn lex(source: u32, text: &str) -> Lexed {
    let skip = if text.starts_with('\u{FEFF}') { '\u{FEFF}'.len_utf8() } else { 0 };
    let mut lexed = Lexed { tokens: Vec::new(), comments: Vec::new(), diagnostics: Vec::new() };
    let mut starts_line = true;
    let mut tab: Option<Span> = None;
    let mut unknown: Option<Span> = None;
    let mut lexer = Kind::lexer(&text[skip..]);
    while let Some(kind) = lexer.next() {
        let range = lexer.span();
        let span = Span { source, start: (range.start + skip) as u32, end: (range.end + skip) as u32 };
        let slice = lexer.slice();
        let Ok(kind) = kind else {
            // Neighbouring unknown characters make one message.
            match &mut unknown {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => {
                    flush_unknown(&mut unknown, text, &mut lexed.diagnostics);
                    unknown = Some(span);
                }
            }
            continue;
        };
        flush_unknown(&mut unknown, text, &mut lexed.diagnostics);
        let mut push = |kind, span| {
            lexed.tokens.push(Token { kind, span, starts_line });
            starts_line = false;
        };
        match kind {
            Kind::Newline => starts_line = true,
            Kind::Tab => tab = tab.or(Some(span)),
            Kind::Comment => {
                let text = SmolStr::new(slice.trim_end());
                let end = span.start + text.len() as u32;
                lexed.comments.push(Comment { text, span: Span { end, ..span }, own_line: starts_line });
            }
            Kind::BlockComment => {
                let rest = &text[span.end as usize..];
                let end = rest.find("*/").map_or(text.len(), |at| span.end as usize + at + 2);
                lexer.bump(end - span.end as usize);
                lexed.diagnostics.push(
                    Diagnostic::error("E0108", "there are no block comments", span, "begins here")
                        .help("begin each line of the comment with `//`"),
                );
            }
            Kind::HashComment => {
                let hash = Span { end: span.start + 1, ..span };
                lexed.diagnostics.push(
                    Diagnostic::error("E0102", "the character `#` has no meaning here", hash, "")
                        .help("a comment begins with `//`"),
                );
            }
            Kind::CurlyString => {
                lexed.diagnostics.push(
                    Diagnostic::error("E0102", "this text stands in curly quotes", span, "")
                        .help("texts stand in straight double quotes: \"…\""),
                );
                push(Kind::OpenString, span);
            }
            Kind::OpenString => {
                lexed.diagnostics.push(
                    Diagnostic::error("E0103", "this text has no closing quote", span, "begins here")
                        .help("put a `\"` at its end; a text cannot go on in the next line"),
                );
                push(Kind::OpenString, span);
            }
            Kind::Number => {
                // In a path, `gpt.block.0.head`, a number is a name's part.
                let in_path = text[..span.start as usize].ends_with('.');
                let end = if in_path { span.end as usize } else { number_end(text, span.end as usize) };
                if end > span.end as usize {
                    lexer.bump(end - span.end as usize);
                    let whole = Span { end: end as u32, ..span };
                    lexed.diagnostics.push(malformed_number(&text[span.start as usize..end], slice, whole));
                    push(kind, whole);
                } else {
                    push(kind, span);
                }
            }
            _ => push(kind, span),
        }
    }
    flush_unknown(&mut unknown, text, &mut lexed.diagnostics);
    if let Some(span) = tab {
        lexed.diagnostics.push(
            Diagnostic::error("E0101", "there is a tab in this file", span, "the first one")
                .note("a tab is as wide as each editor likes, so lines that look aligned here are not elsewhere")
                .help("use spaces; `gradc fmt` replaces every tab for you"),
        );
    }
    let end = text.len() as u32;
    let span = Span { source, start: end, end };
    lexed.tokens.push(Token { kind: Kind::Eof, span, starts_line: true });
    lexed
}

/// Where a number really ends when letters, or a point and digits, are stuck to it.
fn number_end(text: &str, end: usize) -> usize {
    let rest = &text.as_bytes()[end..];
    let glued = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut length = rest.iter().take_while(|&&b| glued(b)).count();
    if rest.get(length) == Some(&b'.') && rest.get(length + 1) != Some(&b'.') {
        length += 1;
        length += rest[length..].iter().take_while(|&&b| glued(b)).count();
    }
    end + length
}

fn malformed_number(whole: &str, number: &str, span: Span) -> Diagnostic {
    let help = if whole.ends_with('.') {
        format!("write `{number}` or `{number}.0`")
    } else if whole.matches('.').count() > 1 {
        "a number has one decimal point".to_owned()
    } else if whole.ends_with(['e', 'E']) {
        format!("write the exponent, as in `{number}e-3`, or leave the `e` out")
    } else if whole.ends_with(['f', 'F', 'L', 'l']) {
        format!("numbers need no ending: write `{number}`")
    } else {
        "a name cannot begin with a digit; between a number and a name goes an operator, as in `4 * d`"
            .to_owned()
    };
    Diagnostic::error("E0105", format!("`{whole}` is not a number"), span, "").help(help)
}

fn flush_unknown(unknown: &mut Option<Span>, text: &str, diagnostics: &mut Vec<Diagnostic>) {
    let Some(span) = unknown.take() else { return };
    let slice = &text[span.start as usize..span.end as usize];
    let first = slice.chars().next().unwrap_or(' ');
    let shown = match first {
        c if c.is_control() || c.is_whitespace() || c == '\u{FEFF}' || c == '\u{200B}' => {
            format!("the character U+{:04X} (which cannot be seen)", c as u32)
        }
        c => format!("the character `{c}`"),
    };
    let message = format!("{shown} has no meaning here");
    let help = match first {
        '«' | '»' | '\'' | '‘' | '’' | '`' => "texts stand in straight double quotes: \"…\"",
        '×' | '·' | '∙' | '⋅' => "multiplication is written `*`",
        '÷' => "division is written `/`",
        '−' | '–' | '—' => "minus is written `-`",
        '≤' => "write `<=`",
        '≥' => "write `>=`",
        '≠' => "write `!=`",
        '→' => "write `->`",
        '←' => "write `<-`",
        '…' => "write `..`",
        '∞' => "write `inf`",
        '&' => "write `and`",
        '|' => "a pipeline is written `|>`, a choice `or`",
        c if c.is_alphabetic() => "names are made of the letters a to z and A to Z, digits and `_`",
        c if c.is_whitespace() || c == '\u{200B}' => "replace it by a space",
        _ => "remove it",
    };
    diagnostics.push(Diagnostic::error("E0102", message, span, "").help(help));
}

/// The value of a string token (with its quotes), and the place of each escape that means nothing.
pub fn unescape(token: &str) -> (String, Vec<(usize, char)>) {
    let inner = token.strip_prefix('"').unwrap_or(token);
    let inner = if token.len() > 1 { inner.strip_suffix('"').unwrap_or(inner) } else { inner };
    let mut value = String::with_capacity(inner.len());
    let mut unknown = Vec::new();
    let mut characters = inner.char_indices();
    while let Some((at, c)) = characters.next() {
        if c != '\\' {
            value.push(c);
            continue;
        }
        match characters.next() {
            Some((_, 'n')) => value.push('\n'),
            Some((_, 't')) => value.push('\t'),
            Some((_, 'r')) => value.push('\r'),
            Some((_, '0')) => value.push('\0'),
            Some((_, c @ ('"' | '\\'))) => value.push(c),
            Some((_, c)) => unknown.push((at + 1, c)),
            None => {}
        }
    }
    (value, unknown)
}

/// A string literal with `value`: the inverse of `unescape`.
pub fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len() + 2);
    text.push('"');
    for c in value.chars() {
        match c {
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            '\r' => text.push_str("\\r"),
            '\0' => text.push_str("\\0"),
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}
