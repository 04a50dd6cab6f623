//! A module: decoded functions and the variables that they share.

use crate::code::{Code, Op};
use crate::decode::scope::Symbol;
use crate::decode::{Layout, decode};
use crate::fault::{Fault, ParseError};
use crate::memory::cells::Cells;
use crate::memory::global::Memory;
use crate::run::launch::{Arg, Limits, Size, launch};
use crate::run::stats::Stats;
use crate::text::parser::parse;
use crate::text::syntax::{Function, Variable};
use crate::types::Space;
use smol_str::SmolStr;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// PTX, ready to run.
pub struct Module {
    /// Tells the variables of modules in one memory apart.
    id: u64,
    pub(crate) functions: Vec<Code>,
    pub(crate) constants: Cells,
    globals: Vec<Variable>,
    files: Vec<(u32, SmolStr)>,
    target: SmolStr,
}

impl Module {
    /// Reads and decodes the text of a module. An instruction that is not known is no error here, but a fault when it
    /// is executed; `unknown` lists them.
    ///
    /// # Errors
    /// If the text is no PTX.
    pub fn parse(text: &str) -> Result<Module, ParseError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unit = parse(text)?;
        let mut symbols = HashMap::new();
        let mut layout = Layout::default();
        let mut constants = Vec::new();
        let mut globals = Vec::new();
        for variable in unit.variables {
            let symbol = match variable.space {
                Space::Shared if variable.is_extern => Symbol::Dynamic,
                Space::Shared => {
                    Symbol::Shared(layout.shared.place(&variable.name, variable.bytes, variable.align))
                }
                Space::Const => Symbol::Const(place_constant(&mut constants, &variable)),
                _ => Symbol::Global,
            };
            symbols.insert(variable.name.clone(), symbol);
            if matches!(symbol, Symbol::Global) {
                globals.push(variable);
            }
        }
        // Declarations come before definitions; what is only declared cannot be called.
        let defined: Vec<&Function> = unit.functions.iter().filter(|f| f.body.is_some()).collect();
        let numbers = defined.iter().enumerate().map(|(i, f)| (f.name.clone(), i)).collect();
        let functions = defined.iter().map(|function| {
            decode(function, &symbols, &numbers, layout.clone()).map_err(|why| ParseError {
                line: 0,
                message: format!("function `{}`: {why}", function.name),
            })
        });
        Ok(Module {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            functions: functions.collect::<Result<_, _>>()?,
            constants: Cells::written(constants),
            globals,
            files: unit.files,
            target: unit.target,
        })
    }

    /// What it was compiled for: `sm_80`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The names of its kernels, in the order of the text.
    pub fn kernels(&self) -> impl Iterator<Item = &str> {
        self.functions.iter().filter(|f| f.is_entry).map(|f| f.name.as_str())
    }

    /// Instructions that are not known: the line of each in the PTX, and why.
    pub fn unknown(&self) -> impl Iterator<Item = (u32, &str)> {
        self.functions.iter().flat_map(|f| &f.instrs).filter_map(|instr| match &instr.op {
            Op::Unknown(why) => Some((instr.line, why.as_str())),
            _ => None,
        })
    }

    /// Runs a kernel to its end on `grid` blocks of `block` threads.
    ///
    /// # Errors
    /// What the kernel was stopped for, or why it could not begin.
    pub fn launch(
        &self,
        kernel: &str,
        grid: impl Size,
        block: impl Size,
        dynamic_shared: u32,
        args: &[Arg],
        memory: &mut Memory,
    ) -> Result<Stats, Fault> {
        self.launch_within(
            Limits::default(),
            kernel,
            (grid.axes(), block.axes()),
            dynamic_shared,
            args,
            memory,
        )
    }

    /// `launch`, with limits other than the usual ones. `size`: of the grid and of a block.
    ///
    /// # Errors
    /// As `launch`.
    pub fn launch_within(
        &self,
        limits: Limits,
        kernel: &str,
        size: ([u32; 3], [u32; 3]),
        dynamic_shared: u32,
        args: &[Arg],
        memory: &mut Memory,
    ) -> Result<Stats, Fault> {
        launch(self, kernel, size, dynamic_shared, args, memory, limits)
    }

    /// The address of a global variable, which is made at the first question or launch.
    pub fn variable(&self, name: &str, memory: &mut Memory) -> Option<u64> {
        self.variables_in(memory).get(name).copied()
    }

    pub(crate) fn variables_in(&self, memory: &mut Memory) -> HashMap<SmolStr, u64> {
        let mut found = HashMap::new();
        for variable in &self.globals {
            let key = (self.id, variable.name.clone());
            let address = match memory.variables.get(&key) {
                Some(address) => *address,
                None => {
                    let mut bytes = variable.initial.clone();
                    bytes.resize(variable.bytes as usize, 0);
                    let address = memory.alloc_of(&bytes);
                    memory.label(address, &format!("variable `{}`", variable.name));
                    memory.variables.insert(key, address);
                    address
                }
            };
            found.insert(variable.name.clone(), address);
        }
        found
    }

    pub(crate) fn file(&self, number: u32) -> SmolStr {
        self.files
            .iter()
            .find(|f| f.0 == number)
            .map_or_else(|| format!("file {number}").into(), |f| f.1.clone())
    }
}

fn place_constant(constants: &mut Vec<u8>, variable: &Variable) -> u32 {
    let at = constants.len().next_multiple_of(variable.align as usize);
    constants.resize(at, 0);
    constants.extend_from_slice(&variable.initial);
    constants.resize(at + variable.bytes as usize, 0);
    at as u32
}
