//! Text to syntax tree: lexer, tree, parser. Knows nothing of what an instruction does.

pub mod lexer;
pub mod parser;
pub mod syntax;
