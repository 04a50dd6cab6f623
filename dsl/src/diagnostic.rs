//! One kind of message to the user, from the lexer to the runtime.
//!
//! What enters: a code, a sentence, places in the text. What leaves: the same, as data; `render` in the main
//! crate's `cli` draws it. Invariant: a `Diagnostic` speaks the language of the model's author; no inside
//! of the compiler shows. This file does not decide what is an error.

use crate::ast::Span;
use serde::Serialize;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// A place in the text and what is to be said about it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Label {
    pub span: Span,
    pub text: String,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// `E0203`: a row of the table that `gradc explain` prints.
    pub code: &'static str,
    pub message: String,
    /// The first label is the place where the error is; the rest are its causes.
    pub labels: Vec<Label>,
    pub notes: Vec<String>,
    /// What to write instead.
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error at `span`; `text` stands under the excerpt and may be empty.
    pub fn error(
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        text: impl Into<String>,
    ) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: vec![Label { span, text: text.into() }],
            notes: Vec::new(),
            help: None,
        }
    }

    /// The same, as a warning.
    pub fn warning(
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        text: impl Into<String>,
    ) -> Self {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::error(code, message, span, text) }
    }

    /// Adds a further place.
    pub fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a line of background.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Says how to mend it.
    pub fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
