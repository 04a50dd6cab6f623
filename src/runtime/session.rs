//! Programs that share variables: the object that training, evaluation and embedding programs hold.
//!
//! What enters: plans, values. What leaves: outputs and variables by name. Invariants: variables of one name are one
//! storage, whichever program uses them; a program that does not fit the machine's memory is refused before anything is
//! allocated.

use super::buffer::{Buffer, Pages};
use super::executor::Executor;
use super::memory::available_bytes;
use super::pool::Pool;
use super::record::{Recorder, Recording};
use super::team::for_teams;
use crate::base::DType;
use crate::base::stopwatch::timed;
use crate::codegen::cpu::{StepEnv, Ticking, compile_in_portions};
use crate::plan::{BufferId, Place, Plan, bytes};
use smol_str::SmolStr;
use std::collections::HashMap;

/// Why a program cannot be run.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RuntimeError {
    #[error("a step needs {} of memory, and this machine has {} to give", bytes(*.needed), bytes(*.available))]
    OutOfMemory { needed: u64, available: u64 },
    #[error("the variable {name} has {found} elements in one program and {expected} in another")]
    VariableDiffers { name: SmolStr, expected: usize, found: usize },
    #[error("the variable {name} is {found} in one program and {expected} in another")]
    VariableTypeDiffers { name: SmolStr, expected: DType, found: DType },
}

/// A program of a session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProgramId(usize);

struct Variable {
    name: SmolStr,
    dtype: DType,
    buffer: Buffer,
}

pub struct Session {
    pool: Pool,
    programs: Vec<Executor>,
    input_names: Vec<Vec<SmolStr>>,
    variables: Vec<Variable>,
    by_name: HashMap<SmolStr, usize>,
    /// One for each thread.
    scratch: Vec<Buffer>,
    /// Copies of inputs that are not aligned to their elements.
    realigned: Vec<Buffer>,
    addresses: Vec<*const u8>,
}

// SAFETY: `addresses` is filled and used within one `run`.
unsafe impl Send for Session {}

impl Session {
    /// Starts the threads (`n_threads` counts the caller's).
    pub fn new(n_threads: usize) -> Session {
        let pool = Pool::new(n_threads);
        Session {
            pool,
            programs: Vec::new(),
            input_names: Vec::new(),
            variables: Vec::new(),
            by_name: HashMap::new(),
            scratch: Vec::new(),
            realigned: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// Compiles a plan and reserves its memory. Variables that are new are zero.
    ///
    /// # Errors
    /// The plan does not fit into memory, or disagrees with another about a variable.
    pub fn add(&mut self, plan: Plan) -> Result<ProgramId, RuntimeError> {
        self.add_with(plan, Ticking::Off)
    }

    /// The same, with code that can be recorded or not.
    ///
    /// # Errors
    /// As `add`.
    pub fn add_with(&mut self, plan: Plan, ticking: Ticking) -> Result<ProgramId, RuntimeError> {
        let is_known = |buffer: &&crate::plan::Buffer| {
            buffer.place == Place::Variable && self.by_name.contains_key(&buffer.name)
        };
        let bytes_of =
            |buffer: &crate::plan::Buffer| self.variables[self.by_name[&buffer.name]].buffer.bytes().len();
        let known: usize = plan.buffers.iter().filter(is_known).map(bytes_of).sum();
        let n_threads = self.pool.n_threads();
        let for_teams = for_teams(&plan, n_threads);
        let needed = plan.peak_bytes(n_threads).saturating_sub(known as u64);
        let available = available_bytes().unwrap_or(u64::MAX);
        let refused = RuntimeError::OutOfMemory { needed, available };
        if needed > available {
            return Err(refused);
        }
        let reserve = |n: u64| usize::try_from(n).ok().and_then(Buffer::new).ok_or(refused.clone());
        let arena = reserve(plan.arena_bytes)?;
        let n_known = self.variables.len();
        for (i, buffer) in plan.buffers.iter().enumerate() {
            if buffer.place != Place::Variable {
                continue;
            }
            let n = plan.buffer_bytes(BufferId(i as u32), plan.max_batch).ok_or(refused.clone())?;
            match self.by_name.get(&buffer.name) {
                None => {
                    let storage = reserve(n)?;
                    self.by_name.insert(buffer.name.clone(), self.variables.len());
                    self.variables.push(Variable {
                        name: buffer.name.clone(),
                        dtype: buffer.dtype,
                        buffer: storage,
                    });
                }
                Some(known) => {
                    let known = &self.variables[*known];
                    fits(known, buffer.dtype, n)?;
                }
            }
        }
        let scratch_bytes = plan.scratch_bytes();
        let have = self.scratch.first().map_or(0, |s| s.bytes().len()) as u64;
        if self.scratch.is_empty() || have < scratch_bytes {
            let all: Result<Vec<Buffer>, _> = (0..n_threads).map(|_| reserve(scratch_bytes)).collect();
            self.scratch = all?;
        }
        // The system takes its time to give pages, and another thread can wait for them.
        let new_variables = self.variables[n_known..].iter().map(|variable| &variable.buffer);
        let pages = Pages::of(new_variables.chain([&arena]));
        let code = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pages.wait());
            let code = timed("machine code", || {
                compile_in_portions(&plan.kernels, &|kernel| for_teams[kernel], ticking)
            });
            timed("waiting for memory", || {
                pages.wait_for_all();
                waiting.join().expect("nothing there can fail");
            });
            code
        });
        let (variables, by_name) = (&self.variables, &self.by_name);
        let address = |id: BufferId| {
            let name = plan_name(&plan, id);
            variables[by_name[&name]].buffer.address()
        };
        let addresses: HashMap<BufferId, *mut u8> = (0..plan.buffers.len() as u32)
            .map(BufferId)
            .filter(|id| plan.buffers[id.0 as usize].place == Place::Variable)
            .map(|id| (id, address(id)))
            .collect();
        let executor = Executor::new(plan, code, arena, |id| addresses[&id]);
        self.input_names.push(executor.inputs.iter().map(|id| plan_name(&executor.plan, *id)).collect());
        self.programs.push(executor);
        Ok(ProgramId(self.programs.len() - 1))
    }

    /// Records the next `n_steps` runs of a program that was added with `Ticking::EachOp`, of up to `batch` examples.
    pub fn record(&mut self, program: ProgramId, n_steps: usize, batch: usize) {
        let n_threads = self.pool.n_threads();
        self.programs[program.0].record(n_steps, batch as i64, n_threads);
    }

    /// What was recorded so far.
    pub fn recording(&self, program: ProgramId) -> Recording {
        self.programs[program.0].recorder.as_ref().map(Recorder::recording).unwrap_or_default()
    }

    /// Names of the inputs that `run` takes, in order.
    pub fn inputs(&self, program: ProgramId) -> &[SmolStr] {
        &self.input_names[program.0]
    }

    pub fn plan(&self, program: ProgramId) -> &Plan {
        &self.programs[program.0].plan
    }

    /// One step over `batch` examples. Inputs are native bytes, row-major, in the order of `inputs`; a bool is
    /// a byte 0 or 1, and another byte gives a meaningless result.
    ///
    /// # Panics
    /// If `batch` is more than the plan's, or an input has not the bytes that the batch needs.
    pub fn run(&mut self, program: ProgramId, batch: usize, env: StepEnv, inputs: &[&[u8]]) {
        let executor = &mut self.programs[program.0];
        let batch = batch as i64;
        assert!(
            batch <= executor.plan.max_batch,
            "a batch of {batch}, planned for {}",
            executor.plan.max_batch
        );
        assert_eq!(inputs.len(), executor.inputs.len(), "a program takes all its inputs");
        self.addresses.clear();
        let n_threads = self.pool.n_threads();
        for (i, needed) in executor.input_bytes(batch, n_threads).iter().enumerate() {
            assert_eq!(
                inputs[i].len() as u64,
                *needed,
                "bytes of the input {}",
                self.input_names[program.0][i]
            );
        }
        for (i, (bytes, id)) in inputs.iter().zip(&executor.inputs).enumerate() {
            let buffer = &executor.plan.buffers[id.0 as usize];
            let aligned = (bytes.as_ptr() as usize).is_multiple_of(buffer.dtype.bytes());
            self.addresses.push(if aligned {
                bytes.as_ptr()
            } else {
                while self.realigned.len() <= i {
                    self.realigned.push(Buffer::new(0).expect("a cache line of memory"));
                }
                if self.realigned[i].bytes().len() < bytes.len() {
                    self.realigned[i] = Buffer::new(bytes.len()).expect("memory for a copy of an input");
                }
                self.realigned[i].bytes_mut()[..bytes.len()].copy_from_slice(bytes);
                self.realigned[i].address()
            });
        }
        // SAFETY: variables live in this session at fixed addresses and are not borrowed now (`&mut self`); inputs were measured
        // above; scratch is as large as the greatest need of all programs.
        unsafe { executor.run(&mut self.pool, &self.scratch, batch, env, &self.addresses) };
    }

    /// An output of the program's last run, native bytes.
    ///
    /// # Panics
    /// If the program has no output of that name.
    pub fn output(&self, program: ProgramId, name: &str) -> &[u8] {
        let executor = &self.programs[program.0];
        let found = executor.plan.outputs.iter().find(|(n, _)| n == name);
        let (_, id) = found.unwrap_or_else(|| panic!("the program has no output {name}"));
        executor.arena_bytes(*id)
    }

    /// The variables' names, in order of first use.
    pub fn variables(&self) -> impl Iterator<Item = &SmolStr> {
        self.variables.iter().map(|v| &v.name)
    }

    /// A variable's elements, row-major; `None` if no program has it, or it is not f32.
    pub fn variable(&self, name: &str) -> Option<&[f32]> {
        let variable = &self.variables[*self.by_name.get(name)?];
        (variable.dtype == DType::F32).then(|| bytemuck::cast_slice(variable.buffer.bytes()))
    }

    /// A variable's native bytes; `None` if no program has it.
    pub fn variable_bytes(&self, name: &str) -> Option<&[u8]> {
        Some(self.variables[*self.by_name.get(name)?].buffer.bytes())
    }

    /// Gives a variable its value; one that no program has is kept for those to come.
    ///
    /// # Errors
    /// Another number of elements than programs expect; no memory.
    pub fn set_variable(&mut self, name: &str, values: &[f32]) -> Result<(), RuntimeError> {
        self.set_variable_bytes(name, DType::F32, bytemuck::cast_slice(values))
    }

    /// The same for any element type, native bytes.
    ///
    /// # Errors
    /// As `set_variable`.
    pub fn set_variable_bytes(&mut self, name: &str, dtype: DType, bytes: &[u8]) -> Result<(), RuntimeError> {
        let index = match self.by_name.get(name) {
            Some(index) => *index,
            None => {
                let none = RuntimeError::OutOfMemory { needed: bytes.len() as u64, available: 0 };
                let buffer = Buffer::new(bytes.len()).ok_or(none)?;
                self.by_name.insert(name.into(), self.variables.len());
                self.variables.push(Variable { name: name.into(), dtype, buffer });
                self.variables.len() - 1
            }
        };
        let variable = &mut self.variables[index];
        fits(variable, dtype, bytes.len() as u64)?;
        variable.buffer.bytes_mut().copy_from_slice(bytes);
        Ok(())
    }
}

/// Whether a variable is what another program, or a new value, says.
fn fits(variable: &Variable, dtype: DType, n_bytes: u64) -> Result<(), RuntimeError> {
    let name = || variable.name.clone();
    let bytes = variable.buffer.bytes().len() as u64;
    if variable.dtype != dtype {
        return Err(RuntimeError::VariableTypeDiffers {
            name: name(),
            expected: variable.dtype,
            found: dtype,
        });
    }
    if bytes != n_bytes {
        let n_elements = |bytes: u64| bytes as usize / dtype.bytes();
        let (expected, found) = (n_elements(bytes), n_elements(n_bytes));
        return Err(RuntimeError::VariableDiffers { name: name(), expected, found });
    }
    Ok(())
}

fn plan_name(plan: &Plan, id: BufferId) -> SmolStr {
    plan.buffers[id.0 as usize].name.clone()
}
