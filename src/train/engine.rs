//! What the training loop needs of a compiled model, whatever runs it.
//!
//! What enters: bytes of a batch, by input. What leaves: outputs, and variables that change from step to
//! step. A step may go on after `run` has returned; outputs are there once `finish` has waited for it.
//! Invariant: a step is a function of (variables, inputs, seed, step) to the last bit, and steps follow each
//! other in the order in which they were begun.

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
    /// Begins a step of a prepared program over `n_rows` examples. The inputs may change when this returns.
    fn run(&mut self, program: Program, n_rows: usize, step: u64, inputs: &[&[u8]]);
    /// How many steps it pays to have under way before the outputs of the first are asked for, besides that one.
    fn n_ahead(&self) -> usize {
        0
    }
    /// Waits until at most `n_left` steps of the program are under way.
    ///
    /// # Errors
    /// The machine has failed, in words for the user.
    fn finish(&mut self, _program: Program, _n_left: usize) -> Result<(), String> {
        Ok(())
    }
    /// An output of the last step of `program` that is over, native byte order.
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

    fn n_ahead(&self) -> usize {
        (**self).n_ahead()
    }

    fn finish(&mut self, program: Program, n_left: usize) -> Result<(), String> {
        (**self).finish(program, n_left)
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
