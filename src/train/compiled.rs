//! A model compiled for the CPU: the engine that the training loop runs.
//!
//! What enters: a checked model and a number of threads. What leaves: an
//! `Engine` that compiles each program when it is first asked for. Invariant: all programs share the variables by
//! name, so what training changes, evaluation sees.

use super::engine::{Engine, Program};
use super::planned::{Cost, plan_of};
use crate::model::Model;
use crate::plan::{Plan, Target};
use crate::runtime::{ProgramId, Recording, Session, StepEnv, Ticking};
use smol_str::SmolStr;

pub struct Compiled<'m> {
    model: &'m Model,
    session: Session,
    n_threads: usize,
    /// In the order of `Program`'s variants.
    programs: [Option<ProgramId>; 3],
}

impl<'m> Compiled<'m> {
    /// Starts the threads; compiles nothing yet.
    pub fn new(model: &'m Model, n_threads: usize) -> Compiled<'m> {
        Compiled { model, session: Session::new(n_threads), n_threads, programs: [None; 3] }
    }

    /// Compiles a program now and says what a run of it takes.
    ///
    /// # Errors
    /// The machine cannot run it, in words for the user.
    pub fn compile(&mut self, program: Program) -> Result<Cost, String> {
        self.compile_with(program, Ticking::Off)
    }

    /// The same, with code that can be recorded or not.
    ///
    /// # Errors
    /// As `compile`.
    pub fn compile_with(&mut self, program: Program, ticking: Ticking) -> Result<Cost, String> {
        let plan = plan_of(self.model, program, Target::Cpu);
        let cost = Cost { peak_bytes: plan.peak_bytes(self.n_threads), flops: plan.flops };
        let id = self.session.add_with(plan, ticking).map_err(|e| e.to_string())?;
        self.programs[program as usize] = Some(id);
        Ok(cost)
    }
}

impl Engine for Compiled<'_> {
    fn prepare(&mut self, program: Program) -> Result<Vec<SmolStr>, String> {
        let id = match self.programs[program as usize] {
            Some(id) => id,
            None => {
                let id =
                    self.session.add(plan_of(self.model, program, Target::Cpu)).map_err(|e| e.to_string())?;
                self.programs[program as usize] = Some(id);
                id
            }
        };
        Ok(self.session.inputs(id).to_vec())
    }

    fn run(&mut self, program: Program, n_rows: usize, step: u64, inputs: &[&[u8]]) {
        let env = StepEnv { seed: self.model.settings.seed, step };
        self.session.run(self.id(program), n_rows, env, inputs);
    }

    fn output(&self, program: Program, name: &str) -> &[u8] {
        self.session.output(self.id(program), name)
    }

    fn variable(&self, path: &str) -> Vec<f32> {
        self.session.variable(path).map(<[f32]>::to_vec).unwrap_or_default()
    }

    fn set_variable(&mut self, path: &str, values: &[f32]) {
        self.session.set_variable(path, values).expect("a variable has the elements that the model gives it");
    }
}

impl Compiled<'_> {
    /// Records the next steps of a program that was compiled with `Ticking::EachOp`.
    pub fn record(&mut self, program: Program, n_steps: usize, batch: usize) {
        self.session.record(self.id(program), n_steps, batch);
    }

    /// What was recorded so far.
    pub fn recording(&self, program: Program) -> Recording {
        self.session.recording(self.id(program))
    }

    pub fn plan(&self, program: Program) -> &Plan {
        self.session.plan(self.id(program))
    }

    /// # Panics
    /// When `prepare` was not called.
    fn id(&self, program: Program) -> ProgramId {
        self.programs[program as usize].expect("a program is prepared before it is run")
    }
}
