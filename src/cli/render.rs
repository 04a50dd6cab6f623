//! Draws diagnostics: the only place that knows what an error looks like.
//!
//! What enters: a `Diagnostic` and the `SourceMap` its spans point into. What leaves: an excerpt with labels for
//! people, or one JSON object for machines. Invariant: any span, even one outside the text, draws something and
//! never panics. Colour is the caller's choice, made once by `Style::for_terminal`.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use gradc_dsl::{Diagnostic, Severity, SourceMap, Span};
use serde_json::{Value, json};
use std::io::IsTerminal;
use std::ops::Range;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Style {
    Plain,
    Coloured,
}

impl Style {
    /// Coloured when standard error is a terminal and `NO_COLOR` (<https://no-color.org>) is not set.
    pub fn for_terminal() -> Style {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        if !no_colour && std::io::stderr().is_terminal() { Style::Coloured } else { Style::Plain }
    }
}

/// The drawing of one diagnostic, without a line end after it.
pub fn text(diagnostic: &Diagnostic, sources: &SourceMap, style: Style) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(&diagnostic.message).id(diagnostic.code));
    let mut drawn: Vec<u32> = Vec::new();
    for label in &diagnostic.labels {
        let number = label.span.source;
        let Some(source) = sources.sources.get(number as usize) else { continue };
        if drawn.contains(&number) {
            continue;
        }
        drawn.push(number);
        let mut snippet = Snippet::source(&source.text).path(&source.name);
        for (i, label) in diagnostic.labels.iter().enumerate().filter(|(_, l)| l.span.source == number) {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let text = (!label.text.is_empty()).then_some(label.text.as_str());
            snippet = snippet.annotation(kind.span(range_in(&source.text, label.span)).label(text));
        }
        group = group.element(snippet);
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(note));
    }
    if let Some(help) = &diagnostic.help {
        group = group.element(Level::HELP.message(help));
    }
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Coloured => Renderer::styled().decor_style(DecorStyle::Unicode),
    };
    renderer.render(&[group])
}

/// One diagnostic as a JSON object: severity, code, message, labels (file, line and column from 1, byte range,
/// text), notes, help.
pub fn json(diagnostic: &Diagnostic, sources: &SourceMap) -> Value {
    let labels: Vec<Value> = diagnostic
        .labels
        .iter()
        .filter_map(|label| {
            let source = sources.sources.get(label.span.source as usize)?;
            let range = range_in(&source.text, label.span);
            let span = Span { start: range.start as u32, end: range.end as u32, ..label.span };
            let (line, column) = sources.line_column(span);
            Some(json!({
                "file": source.name, "line": line, "column": column,
                "start": range.start, "end": range.end, "text": label.text,
            }))
        })
        .collect();
    json!({
        "severity": diagnostic.severity, "code": diagnostic.code, "message": diagnostic.message,
        "labels": labels, "notes": diagnostic.notes, "help": diagnostic.help,
    })
}

/// The span clamped to the text and to whole characters.
fn range_in(text: &str, span: Span) -> Range<usize> {
    let floor = |at: u32| {
        let mut at = (at as usize).min(text.len());
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (start, end) = (floor(span.start), floor(span.end));
    start..end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(source: u32, start: u32, end: u32) -> Span {
        Span { source, start, end }
    }

    fn sources() -> SourceMap {
        let mut sources = SourceMap::default();
        sources.add("a.model", "fn f(x: f32[n]) {\n    x @ wé\n}\n");
        sources.add("std/activations.model", "fn relu(x: f32[..]) -> f32[..] { max(x, 0) }\n");
        sources
    }

    #[test]
    fn excerpt_labels_notes_and_help_are_drawn() {
        let diagnostic = Diagnostic::error("E0203", "`w` is not known", at(0, 26, 28), "no such name")
            .label(at(0, 5, 6), "did you mean this?")
            .label(at(1, 3, 7), "or this")
            .note("names are case-sensitive")
            .help("write `x`");
        let drawn = text(&diagnostic, &sources(), Style::Plain);
        let wanted = [
            "error[E0203]: `w` is not known",
            "a.model:2:9",
            "no such name",
            "did you mean this?",
            "std/activations.model",
            "or this",
            "note: names are case-sensitive",
            "help: write `x`",
        ];
        for part in wanted {
            assert!(drawn.contains(part), "{part:?} is missing in\n{drawn}");
        }
        assert!(!drawn.contains('\u{1b}'));
        assert!(text(&diagnostic, &sources(), Style::Coloured).contains('\u{1b}'));
        let object = json(&diagnostic, &sources());
        assert_eq!(object["labels"][0]["line"], 2);
        assert_eq!(object["labels"][0]["column"], 9);
        assert_eq!(object["severity"], "Error");
    }

    #[test]
    fn no_span_panics() {
        let wild =
            [at(0, 0, 0), at(0, 33, 99), at(0, 28, 27), at(0, 29, 28), at(7, 1, 2), at(0, u32::MAX, 0)];
        for span in wild {
            let diagnostic = Diagnostic::warning("W0001", "somewhere", span, "here").label(span, "");
            assert!(text(&diagnostic, &sources(), Style::Plain).starts_with("warning[W0001]: somewhere"));
            json(&diagnostic, &sources());
        }
        let mut empty = SourceMap::default();
        empty.add("empty.model", "");
        assert!(
            text(&Diagnostic::error("E0001", "empty", at(0, 0, 0), ""), &empty, Style::Plain)
                .contains("empty")
        );
    }
}
