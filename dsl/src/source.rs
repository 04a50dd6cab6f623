//! The texts of a compilation: the user's file, what it imports, the standard library.
//!
//! What enters: bytes and a name for each. What leaves: checked text, addressed by `Span::source`.
//! Invariant: a source never changes once added, so a span always finds its text again.
//! Reading files is the caller's business (`Loader`), so that the crate works without a file system.

use crate::ast::Span;

#[derive(Clone, Debug)]
pub struct Source {
    /// What messages call it: the path as the user gave it, or `std/layers.model`.
    pub name: String,
    pub text: String,
}

#[derive(Clone, Debug, Default)]
pub struct SourceMap {
    pub sources: Vec<Source>,
}

impl SourceMap {
    /// Adds a text and returns its number.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> u32 {
        self.sources.push(Source { name: name.into(), text: text.into() });
        (self.sources.len() - 1) as u32
    }

    /// The text under a span.
    pub fn text(&self, span: Span) -> &str {
        &self.sources[span.source as usize].text[span.start as usize..span.end as usize]
    }

    /// Line and column, both from 1; the column counts characters.
    pub fn line_column(&self, span: Span) -> (usize, usize) {
        let before = &self.sources[span.source as usize].text[..span.start as usize];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
        (line, column)
    }
}
