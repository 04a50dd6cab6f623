//! The command line, one file a command.
//!
//! What enters: the process's arguments. What leaves: text for people (or one JSON object a line for machines)
//! and an exit code. Invariant: nothing here decides what a model means or how it runs; a command calls the
//! library and words the result.

pub mod render;
