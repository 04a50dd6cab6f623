//! What the training loop needs of a compiled model, whatever runs it.
//!
//! What enters: bytes of a batch, by input. What leaves: outputs, and variables that change from step to step.
//! Invariant: `run` is a function of (variables, inputs, seed, step) to the last bit.

use crate::graph::Graph;
use crate::model::Model;
use smol_str::SmolStr;

/// The compiled graphs of a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Program {
    Train,
    Eval,
    Predict,
}

/// The graph of a program, before differentiation.
pub fn graph(model: &Model, program: Program) -> &Graph {
    match program {
        Program::Train => &model.train,
        Program::Eval => &model.eval,
        Program::Predict => &model.predict,
    }
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

impl<E: Engine + ?Sized> Engine for Box<E> {
    fn prepare(&mut self, program: Program) -> Result<Vec<SmolStr>, String> {
        (**self).prepare(program)
    }

    fn run(&mut self, program: Program, n_rows: usize, step: u64, inputs: &[&[u8]]) {
        (**self).run(program, n_rows, step, inputs);
    }

    fn output(&self, program: Program, name: &str) -> &[u8] {
        (**self).output(program, name)
    }

    fn variable(&self, path: &str) -> Vec<f32> {
        (**self).variable(path)
    }

    fn set_variable(&mut self, path: &str, values: &[f32]) {
        (**self).set_variable(path, values);
    }
}
