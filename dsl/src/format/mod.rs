//! The formatter: one style, no options.
//!
//! What enters: a text without syntax errors (tabs are forgiven). What leaves: the same program, laid out in
//! lines of at most 100 columns, with every comment kept.
//! Invariants: formatting twice gives what formatting once gives; the syntax tree of the result is that of
//! the text, places aside.
//!
//! The author's choices that are kept: one empty line between statements; a line end before `|>`; a line end
//! after `{`; settings and claims that share a line.

mod doc;
mod expressions;
mod items;

pub use doc::WIDTH;

use crate::ast::{Comment, File, Span};
use crate::diagnostic::Diagnostic;
use doc::Doc;

/// Lays a text out.
///
/// # Errors
/// Every syntax error of the text; nothing is formatted then.
///
/// ```
/// let text = gradc_dsl::format::format("fn f(x:f32[n]){x*2}").unwrap();
/// assert_eq!(text, "fn f(x: f32[n]) { x * 2 }\n");
/// ```
pub fn format(text: &str) -> Result<String, Vec<Diagnostic>> {
    let (file, diagnostics) = crate::parse(0, text);
    // A tab is white space that formatting removes; a file of comments alone is empty but not wrong.
    let forgiven = |d: &Diagnostic| matches!(d.code, "E0101" | "E0117");
    if !diagnostics.iter().all(forgiven) {
        return Err(diagnostics.into_iter().filter(|d| !forgiven(d)).collect());
    }
    let mut printer = Printer { text: Some(text), comments: &file.comments };
    Ok(doc::render(&printer.file(&file)))
}

/// Prints a tree that need not come from a text; its spans and comments are not looked at.
pub fn print(file: &File) -> String {
    doc::render(&Printer { text: None, comments: &[] }.file(file))
}

struct Printer<'a> {
    /// Where the spans point to; `None` for a tree without a text.
    text: Option<&'a str>,
    /// Those not printed yet, in order of their places.
    comments: &'a [Comment],
}

impl<'a> Printer<'a> {
    /// The comments before `place` that have not been printed.
    fn comments_before(&mut self, place: u32) -> &'a [Comment] {
        let count = self.comments.iter().take_while(|comment| comment.span.start < place).count();
        let (taken, left) = self.comments.split_at(count);
        self.comments = left;
        taken
    }

    /// How many lines end between two places.
    fn line_ends(&self, from: u32, to: u32) -> usize {
        match self.text {
            Some(text) if from < to => {
                let between = &text.as_bytes()[from as usize..to as usize];
                let line_end =
                    |(i, &b): (usize, &u8)| b == b'\n' || (b == b'\r' && between.get(i + 1) != Some(&b'\n'));
                between.iter().enumerate().filter(|&pair| line_end(pair)).count()
            }
            _ => 0,
        }
    }

    fn line_ends_between(&self, before: Span, after: Span) -> usize {
        self.line_ends(before.end, after.start)
    }

    /// `open`, items with commas between them, `close`: on one line, or one item a line. `end` is the place
    /// of the closing bracket; comments before it stay inside.
    fn bracketed<T>(
        &mut self,
        open: &'static str,
        items: &[T],
        close: &'static str,
        end: u32,
        span_of: impl Fn(&T) -> Span,
        mut print: impl FnMut(&mut Self, &T) -> Doc,
    ) -> Doc {
        let mut inner = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let comments = self.comments_before(span_of(item).start);
            let own = comments.iter().position(|comment| comment.own_line).unwrap_or(comments.len());
            inner.extend(comments[..own].iter().map(|c| Doc::Suffix(c.text.to_string())));
            inner.push(Doc::Line(if index == 0 { "" } else { " " }));
            for comment in &comments[own..] {
                inner.push(Doc::text(comment.text.as_str()));
                inner.push(Doc::Hard);
            }
            inner.push(print(self, item));
            if index + 1 < items.len() {
                inner.push(",".into());
            }
        }
        let comments = self.comments_before(end);
        if items.is_empty() && comments.is_empty() {
            return Doc::text(format!("{open}{close}"));
        }
        if !items.is_empty() {
            inner.push(Doc::IfBroken(","));
        }
        let mut after_own = false;
        for comment in comments {
            after_own |= comment.own_line;
            if after_own {
                inner.push(Doc::Hard);
                inner.push(Doc::text(comment.text.as_str()));
            } else {
                inner.push(Doc::Suffix(comment.text.to_string()));
            }
        }
        Doc::from(vec![open.into(), Doc::from(inner).indent(), Doc::Line(""), close.into()]).group()
    }

    /// Statements, claims or items, one a line, with the comments between them. `end` is the place where the
    /// surrounding block ends.
    fn lines<T>(&mut self, entries: &[T], end: u32, style: &dyn Lines<T>) -> Vec<Doc> {
        let mut docs = Vec::new();
        let mut last: Option<(u32, Option<&T>)> = None;
        for entry in entries.iter().map(Some).chain([None]) {
            let start = entry.map_or(end, |entry| style.span(entry).start);
            let comments = self.comments_before(start);
            let own = comments.iter().position(|comment| comment.own_line).unwrap_or(comments.len());
            for (index, comment) in comments.iter().enumerate() {
                let before = last;
                let at = last.map_or(0, |(at, _)| at).max(comment.span.end);
                if index < own {
                    docs.push(Doc::Suffix(comment.text.to_string()));
                    last = Some((at, before.and_then(|(_, entry)| entry)));
                } else {
                    self.separate(&mut docs, before, comment.span.start, entry, style);
                    docs.push(Doc::text(comment.text.as_str()));
                    last = Some((at, None));
                }
            }
            let Some(entry) = entry else { break };
            let shared = match last {
                Some((at, Some(previous))) => {
                    self.text.is_some()
                        && style.may_share_line(previous, entry)
                        && self.line_ends(at, start) == 0
                }
                _ => false,
            };
            if shared {
                let doc = style.print(self, entry);
                docs.push(Doc::from(vec![Doc::Line("   "), doc]).group());
            } else {
                self.separate(&mut docs, last, start, Some(entry), style);
                docs.push(style.print(self, entry));
            }
            let at = last.map_or(0, |(at, _)| at).max(style.span(entry).end);
            last = Some((at, Some(entry)));
        }
        docs
    }

    /// The line end before an entry or a comment at `start`, and an empty line if there shall be one.
    fn separate<T>(
        &self,
        docs: &mut Vec<Doc>,
        last: Option<(u32, Option<&T>)>,
        start: u32,
        next: Option<&T>,
        style: &dyn Lines<T>,
    ) {
        let Some((at, previous)) = last else {
            docs.push(style.first());
            return;
        };
        let apart = previous.is_some_and(|previous| {
            style.stands_apart(previous) || next.is_some_and(|next| style.stands_apart(next))
        });
        docs.push(Doc::Hard);
        if apart || self.line_ends(at, start) > 1 {
            docs.push(Doc::Blank);
        }
    }
}

/// How a list of lines is laid out.
trait Lines<T> {
    fn span(&self, entry: &T) -> Span;
    fn print(&self, printer: &mut Printer, entry: &T) -> Doc;
    /// What stands before the first entry.
    fn first(&self) -> Doc {
        Doc::Hard
    }
    /// Empty lines surround it.
    fn stands_apart(&self, _entry: &T) -> bool {
        false
    }
    /// May stay on the line of the entry before it, if the author put it there.
    fn may_share_line(&self, _previous: &T, _entry: &T) -> bool {
        false
    }
}
