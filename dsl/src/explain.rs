//! What every code means: the table that `gradc explain CODE` prints.
//!
//! What enters: a code such as `E0110`. What leaves: its title and a page of text with an example.
//! Invariant: codes are unique, sorted, and every code that a `Diagnostic` carries has a row here.
//! The rows stand in one file a range: `syntax` (E01xx), `names` (E02xx), `shapes` (E03xx), `training` (E04xx to
//! E06xx and W06xx).

mod names;
mod shapes;
mod syntax;
mod training;

/// One row: the long form of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// `E0110`.
    pub code: &'static str,
    /// One line, without a full stop.
    pub title: &'static str,
    /// Paragraphs, with an example of the mistake and of its mend.
    pub text: &'static str,
}

const fn row(code: &'static str, title: &'static str, text: &'static str) -> Explanation {
    Explanation { code, title, text }
}

/// The row of a code; letters may be written small (`e0110`).
///
/// ```
/// assert_eq!(gradc_dsl::explain::explain("E0110").unwrap().code, "E0110");
/// assert!(gradc_dsl::explain::explain("E9999").is_none());
/// ```
pub fn explain(code: &str) -> Option<&'static Explanation> {
    all().find(|row| row.code.eq_ignore_ascii_case(code.trim()))
}

/// Every row, syntax first, each file in the order of its codes.
pub fn all() -> impl Iterator<Item = &'static Explanation> {
    [syntax::ROWS, names::ROWS, shapes::ROWS, training::ROWS].into_iter().flatten()
}
