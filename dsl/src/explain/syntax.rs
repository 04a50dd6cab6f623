//! The long form of what the lexer and the parser say (E01xx). Rows in the order of their codes.

use super::Explanation;

pub(super) static ROWS: &[Explanation] = &[Explanation {
    code: "E0110",
    title: "A bracket is not closed",
    text: "Every `(`, `[` and `{` needs its `)`, `]` or `}`. The message points at the one that has none.",
}];
