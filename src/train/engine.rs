//! What the training loop needs of a compiled model, whatever runs it.
//!
//! What enters: bytes of a batch, by input. What leaves: outputs, and variables that change from step to step.
//! Invariant: `run` is a function of (variables, inputs, seed, step) to the last bit.

use smol_str::SmolStr;

/// The compiled graphs of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    Train,
    Eval,
    Predict,
}

pub trait Engine {
    /// Compiles `program`, if that was not done before, and gives the inputs that `run` takes, in order: the
    /// data's fields, and `step` when the program reads it.
    ///
    /// # Errors
    /// The machine cannot run it, in words for the user.
    fn prepare(&mut self, program: Program) -> Result<Vec<SmolStr>, String>;
    /// One step of a prepared program over `n_rows` examples.
    fn run(&mut self, program: Program, n_rows: usize, step: u64, inputs: &[&[u8]]);
    /// An output of the last run of `program`, native byte order.
    fn output(&self, program: Program, name: &str) -> &[u8];
    /// A variable's elements, row-major.
    fn variable(&self, path: &str) -> Vec<f32>;
    fn set_variable(&mut self, path: &str, values: &[f32]);
}
