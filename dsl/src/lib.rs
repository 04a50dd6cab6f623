//! The gradc language: text to syntax tree, and back to text.
//!
//! This crate knows nothing of tensors or devices; editors and other tools can depend on it alone.

pub mod ast;
pub mod diagnostic;
pub mod explain;
pub mod format;
pub mod nearest;
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

/// The parts of the standard library, for `import std.NAME`. `prelude` is always there.
pub const STD_MODULES: [&str; 1] = ["prelude"];

/// The text of a part of the standard library.
///
/// ```
/// assert!(gradc_dsl::std_source("prelude").unwrap().contains("fn dense"));
/// assert!(gradc_dsl::std_source("nothing").is_none());
/// ```
pub fn std_source(module: &str) -> Option<&'static str> {
    match module {
        "prelude" => Some(concat!(
            include_str!("../std/layers.model"),
            include_str!("../std/losses.model"),
            include_str!("../std/optimizers.model")
        )),
        _ => None,
    }
}
