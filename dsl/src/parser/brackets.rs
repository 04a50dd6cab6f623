//! Which bracket closes which, found before parsing.
//!
//! What enters: tokens. What leaves: for each opening bracket the index of its closing one, and a message
//! for each bracket that has no partner. Closing brackets without an opening one are taken out of the list,
//! so the parser never meets them.
//! Invariant: pairs nest. When brackets do not balance, indentation decides who is to blame: a `}` at the
//! start of a line closes the brace whose own line is indented the same.

use crate::ast::Span;
use crate::diagnostic::Diagnostic;
use crate::token::{Kind, Token};

/// How many open brackets are searched for the partner of a closing one: more than may be nested.
const REACH: usize = 256;

pub(super) struct Brackets {
    /// For each token: its closing bracket, if it is an opening one that has one.
    pub partner: Vec<Option<usize>>,
    pub diagnostics: Vec<Diagnostic>,
}

struct Open {
    index: usize,
    kind: Kind,
    /// Indentation of the line it stands on.
    indent: usize,
}

struct Matching {
    pairs: Vec<(usize, usize)>,
    unclosed: Vec<usize>,
    stray: Vec<usize>,
}

/// Pairs the brackets of `tokens` and removes stray closing ones.
pub(super) fn match_brackets(text: &str, tokens: &mut Vec<Token>) -> Brackets {
    let mut matching = pair(text, tokens, false);
    if !matching.unclosed.is_empty() || !matching.stray.is_empty() {
        matching = pair(text, tokens, true);
    }
    let spelled = |index: usize| {
        let span = tokens[index].span;
        &text[span.start as usize..span.end as usize]
    };
    let mut diagnostics = Vec::new();
    for &index in &matching.unclosed {
        let open = spelled(index);
        let close = match open {
            "(" => ")",
            "[" => "]",
            _ => "}",
        };
        diagnostics.push(
            Diagnostic::error(
                "E0110",
                format!("this `{open}` is never closed"),
                tokens[index].span,
                "opened here",
            )
            .help(format!("add the `{close}` that belongs to it")),
        );
    }
    for &index in &matching.stray {
        let close = spelled(index);
        let span: Span = tokens[index].span;
        diagnostics.push(
            Diagnostic::error("E0111", format!("this `{close}` closes nothing"), span, "")
                .help("remove it, or add the opening bracket that is missing before it"),
        );
    }
    let mut partner = vec![None; tokens.len()];
    for &(open, close) in &matching.pairs {
        partner[open] = Some(close);
    }
    if !matching.stray.is_empty() {
        remove_stray(tokens, &mut partner, &matching.stray);
    }
    Brackets { partner, diagnostics }
}

fn pair(text: &str, tokens: &[Token], by_indentation: bool) -> Matching {
    let mut matching = Matching { pairs: Vec::new(), unclosed: Vec::new(), stray: Vec::new() };
    let mut stack: Vec<Open> = Vec::new();
    let mut indent = 0;
    for (index, token) in tokens.iter().enumerate() {
        if token.starts_line {
            indent = column(text, token.span.start as usize);
        }
        if by_indentation && token.starts_line && indent == 0 && starts_item(text, token) {
            matching.unclosed.extend(stack.drain(..).map(|open| open.index));
        }
        if token.kind.is_opener() {
            stack.push(Open { index, kind: token.kind, indent });
        }
        if !token.kind.is_closer() {
            continue;
        }
        let wanted = match token.kind {
            Kind::CloseParen => Kind::OpenParen,
            Kind::CloseBracket => Kind::OpenBracket,
            _ => Kind::OpenBrace,
        };
        // A `)` never reaches out of the block it stands in; a `}` may skip unclosed `(` and `[`.
        let reach = |open: &&Open| wanted == Kind::OpenBrace || open.kind != Kind::OpenBrace;
        let mut depth = stack.iter().rev().take(REACH).take_while(reach).position(|open| open.kind == wanted);
        if by_indentation && wanted == Kind::OpenBrace && token.starts_line {
            let same_indent = |open: &Open| open.kind == wanted && open.indent == indent;
            depth = stack.iter().rev().take(REACH).position(same_indent).or(depth);
        }
        match depth {
            Some(depth) => {
                let at = stack.len() - 1 - depth;
                matching.unclosed.extend(stack.drain(at + 1..).map(|open| open.index));
                let open = stack.pop().expect("the stack holds the bracket that was just found in it");
                matching.pairs.push((open.index, index));
            }
            None => matching.stray.push(index),
        }
    }
    matching.unclosed.extend(stack.into_iter().map(|open| open.index));
    matching
}

/// True for a word that can only begin an item when it stands at the left edge.
fn starts_item(text: &str, token: &Token) -> bool {
    matches!(&text[token.span.start as usize..token.span.end as usize], "fn" | "train" | "test" | "import")
}

fn column(text: &str, at: usize) -> usize {
    text[..at].bytes().rev().take_while(|&b| b != b'\n' && b != b'\r').count()
}

fn remove_stray(tokens: &mut Vec<Token>, partner: &mut Vec<Option<usize>>, stray: &[usize]) {
    let mut moved = vec![0; tokens.len()];
    let mut removed = 0;
    for (index, place) in moved.iter_mut().enumerate() {
        *place = index - removed;
        if stray.binary_search(&index).is_ok() {
            removed += 1;
        }
    }
    let keep = |index: usize| stray.binary_search(&index).is_err();
    // The token after a removed one inherits its line start, so that lines stay separate.
    for &index in stray {
        if tokens[index].starts_line && index + 1 < tokens.len() {
            tokens[index + 1].starts_line = true;
        }
    }
    *tokens = (0..tokens.len()).filter(|&i| keep(i)).map(|i| tokens[i]).collect();
    *partner =
        (0..partner.len()).filter(|&i| keep(i)).map(|i| partner[i].map(|close| moved[close])).collect();
}
