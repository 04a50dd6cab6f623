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
