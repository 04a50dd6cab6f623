//! Text to tokens.
//!
//! What enters: the text of one PTX module. What leaves: its tokens, each with its place in the text and its line.
//! Invariant: nothing is left out but white space and comments; a character that begins no token is an error with
//! its line. A dotted word is several tokens (`ld`, `.global`, `.f32`); the parser puts them together.

use crate::fault::ParseError;
use logos::Logos;

#[derive(Logos, Clone, Copy, PartialEq, Eq, Debug)]
#[logos(skip r"[ \t\r\n\f]+")]
#[logos(skip(r"//[^\n]*", allow_greedy = true))]
#[logos(skip r"/\*([^*]|\*[^/])*\*/")]
pub enum Kind {
    #[regex(r"[A-Za-z_$%][A-Za-z0-9_$]*")]
    Word,
    #[regex(r"\.[A-Za-z0-9_]+(::[A-Za-z0-9_]+)*")]
    Suffix,
    /// A float by its bits: `0f3F800000` or `0d3FF0000000000000`.
    #[regex(r"0[fF][0-9a-fA-F]{8}|0[dD][0-9a-fA-F]{16}", priority = 5)]
    FloatBits,
    #[regex(r"0[xX][0-9a-fA-F]+U?|0[bB][01]+U?|[0-9]+U?")]
    Integer,
    #[regex(r"[0-9]+\.[0-9]+([eE][+-]?[0-9]+)?")]
    Decimal,
    #[regex(r#""[^"\n]*""#)]
    String,
    #[token(",")]
    Comma,
    #[token(";")]
    Semicolon,
    #[token(":")]
    Colon,
    #[token("{")]
    OpenBrace,
    #[token("}")]
    CloseBrace,
    #[token("[")]
    OpenBracket,
    #[token("]")]
    CloseBracket,
    #[token("(")]
    OpenParenthesis,
    #[token(")")]
    CloseParenthesis,
    #[token("<")]
    Less,
    #[token(">")]
    Greater,
    #[token("|")]
    Bar,
    #[token("!")]
    Not,
    #[token("@")]
    At,
    #[token("+")]
    Plus,
    #[token("-")]
    Minus,
    #[token("=")]
    Equal,
    End,
}

#[derive(Clone, Copy, Debug)]
pub struct Token<'t> {
    pub kind: Kind,
    pub text: &'t str,
    /// Of its first byte in the module's text.
    pub start: usize,
    /// From 1.
    pub line: u32,
}

/// All tokens of `text`, with an `End` after them.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, ParseError> {
    let mut found = Vec::new();
    let (mut line, mut counted) = (1, 0);
    for (kind, span) in Kind::lexer(text).spanned() {
        line += text[counted..span.start].matches('\n').count() as u32;
        counted = span.start;
        let Ok(kind) = kind else {
            return Err(ParseError { line, message: format!("`{}` begins no token", &text[span]) });
        };
        found.push(Token { kind, text: &text[span.clone()], start: span.start, line });
    }
    found.push(Token { kind: Kind::End, text: "", start: text.len(), line });
    Ok(found)
}
