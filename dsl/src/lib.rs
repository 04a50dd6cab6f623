//! The gradc language: text to syntax tree, and back to text.
//!
//! This crate knows nothing of tensors or devices; editors and other tools can depend on it alone.

pub mod ast;
pub mod diagnostic;
pub mod explain;
pub mod format;
pub mod nearest;
pub mod page;
pub mod parser;
pub mod source;
pub mod token;
pub mod tree;

pub use ast::Span;
pub use diagnostic::{Diagnostic, Label, Severity};
pub use parser::parse;
pub use source::{Source, SourceMap};
pub use token::decode;
pub use tree::tree;

/// The standard library, a file an area: the name that `import std.NAME` and `gradc doc` know, and the text. A new
/// area is a line here.
pub const STD: &[(&str, &str)] = &[
    ("layers", include_str!("../std/layers.model")),
    ("activations", include_str!("../std/activations.model")),
    ("norms", include_str!("../std/norms.model")),
    ("vision", include_str!("../std/vision.model")),
    ("recurrent", include_str!("../std/recurrent.model")),
    ("attention", include_str!("../std/attention.model")),
    ("audio", include_str!("../std/audio.model")),
    ("generative", include_str!("../std/generative.model")),
    ("tensors", include_str!("../std/tensors.model")),
    ("losses", include_str!("../std/losses.model")),
    ("metrics", include_str!("../std/metrics.model")),
    ("optimizers", include_str!("../std/optimizers.model")),
    ("schedules", include_str!("../std/schedules.model")),
];

/// The text of an area of the standard library.
///
/// ```
/// assert!(gradc_dsl::std_source("layers").unwrap().contains("fn dense"));
/// assert!(gradc_dsl::std_source("nothing").is_none());
/// ```
pub fn std_source(area: &str) -> Option<&'static str> {
    STD.iter().find(|(name, _)| *name == area).map(|(_, text)| *text)
}
