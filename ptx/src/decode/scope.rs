//! Names of a function: registers, variables, labels, in blocks within blocks.
//!
//! What enters: a function's statements. What leaves: its instructions in one list, each with its scope, and for each
//! scope what its names mean. An inline assembly block may declare what stands outside of it already.

use super::Layout;
use crate::code::{Field, Slot, Special};
use crate::text::syntax::{Function, Instruction, Statement, Variable};
use crate::types::{Space, Type};
use smol_str::SmolStr;
use std::collections::HashMap;

/// More registers than a function needs, and few enough for memory.
const MOST_REGISTERS: u32 = 1 << 20;

#[derive(Clone, Copy, Debug)]
pub enum Symbol {
    Register(Slot, Type),
    Predicate(Slot),
    /// In local memory at an offset of the frame.
    Local(u32),
    Shared(u32),
    /// Dynamic shared memory.
    Dynamic,
    Const(u32),
    /// A variable of the module in global memory.
    Global,
    /// A parameter of an entry, or of a function or call.
    Param(Field),
    Frame(Field),
    Label(u32),
}

#[derive(Default)]
struct Scope {
    parent: usize,
    names: HashMap<SmolStr, Symbol>,
    /// `%r<9>`: by prefix, the first slot, how many, the type.
    ranges: HashMap<SmolStr, (Slot, u32, Type)>,
    targets: HashMap<SmolStr, Vec<SmolStr>>,
}

pub struct Names<'a> {
    scopes: Vec<Scope>,
    module: &'a HashMap<SmolStr, Symbol>,
    pub instructions: Vec<(&'a Instruction, usize)>,
    pub registers: u32,
    pub predicates: u32,
    pub local_bytes: u32,
    pub param_bytes: u32,
    pub parameters: Vec<Field>,
    pub results: Vec<Field>,
    pub specials: HashMap<Special, Slot>,
}

impl<'a> Names<'a> {
    pub fn of(
        function: &'a Function,
        module: &'a HashMap<SmolStr, Symbol>,
        layout: &mut Layout,
    ) -> Result<Names<'a>, String> {
        let mut names = Names {
            scopes: vec![Scope::default()],
            module,
            instructions: Vec::new(),
            registers: 0,
            // The carry is the first.
            predicates: 1,
            local_bytes: 0,
            param_bytes: 0,
            parameters: Vec::new(),
            results: Vec::new(),
            specials: HashMap::new(),
        };
        for variable in &function.parameters {
            let field = names.field(variable);
            names.parameters.push(field);
            let symbol = if function.is_entry { Symbol::Param(field) } else { Symbol::Frame(field) };
            names.scopes[0].names.insert(variable.name.clone(), symbol);
        }
        for variable in &function.returns {
            let field = names.field(variable);
            names.results.push(field);
            names.scopes[0].names.insert(variable.name.clone(), Symbol::Frame(field));
        }
        names.walk(function.body.as_deref().unwrap_or_default(), 0, layout)?;
        Ok(names)
    }

    fn field(&mut self, variable: &Variable) -> Field {
        let at = self.param_bytes.next_multiple_of(variable.align);
        self.param_bytes = at + variable.bytes;
        Field { at, bytes: variable.bytes }
    }

    fn walk(&mut self, body: &'a [Statement], scope: usize, layout: &mut Layout) -> Result<(), String> {
        for statement in body {
            match statement {
                Statement::Label(name) => {
                    let at = self.instructions.len() as u32;
                    self.scopes[scope].names.insert(name.clone(), Symbol::Label(at));
                }
                Statement::Registers { ty, name, count } => self.registers_of(scope, *ty, name, *count)?,
                Statement::Variable(variable) => {
                    let symbol = match variable.space {
                        Space::Local => {
                            let at = self.local_bytes.next_multiple_of(variable.align);
                            self.local_bytes = at + variable.bytes;
                            Symbol::Local(at)
                        }
                        Space::Shared => Symbol::Shared(layout.shared.place(
                            &variable.name,
                            variable.bytes,
                            variable.align,
                        )),
                        // Parameters of a call live in the caller's frame, also in an entry.
                        Space::Param => Symbol::Frame(self.field(variable)),
                        _ => return Err(format!("`{}` is declared in a function", variable.name)),
                    };
                    self.scopes[scope].names.insert(variable.name.clone(), symbol);
                }
                Statement::Block(inner) => {
                    self.scopes.push(Scope { parent: scope, ..Scope::default() });
                    self.walk(inner, self.scopes.len() - 1, layout)?;
                }
                Statement::Instruction(instruction) => self.instructions.push((instruction, scope)),
                Statement::Targets(name, list) => {
                    self.scopes[scope].targets.insert(name.clone(), list.clone());
                }
            }
        }
        Ok(())
    }

    fn registers_of(
        &mut self,
        scope: usize,
        ty: Type,
        name: &SmolStr,
        count: Option<u32>,
    ) -> Result<(), String> {
        let next = if ty == Type::Pred { &mut self.predicates } else { &mut self.registers };
        let first = *next;
        *next += count.unwrap_or(1).min(MOST_REGISTERS);
        if *next > MOST_REGISTERS {
            return Err(format!("more than {MOST_REGISTERS} registers"));
        }
        match count {
            Some(count) => {
                self.scopes[scope].ranges.insert(name.clone(), (first, count, ty));
            }
            None => {
                let symbol = register(first, ty);
                self.scopes[scope].names.insert(name.clone(), symbol);
            }
        }
        Ok(())
    }

    fn lookup_in(&self, scope: &Scope, name: &str) -> Option<Symbol> {
        if let Some(symbol) = scope.names.get(name) {
            return Some(*symbol);
        }
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (prefix, number) = name.split_at(name.len() - digits);
        let (first, count, ty) = *scope.ranges.get(prefix)?;
        let number = number.parse::<u32>().ok().filter(|n| *n < count)?;
        Some(register(first + number, ty))
    }

    pub fn lookup(&self, mut scope: usize, name: &str) -> Option<Symbol> {
        loop {
            if let Some(symbol) = self.lookup_in(&self.scopes[scope], name) {
                return Some(symbol);
            }
            if scope == 0 {
                return self.module.get(name).copied();
            }
            scope = self.scopes[scope].parent;
        }
    }

    /// The labels of a `.branchtargets` list.
    pub fn targets(&self, mut scope: usize, name: &str) -> Option<&[SmolStr]> {
        loop {
            if let Some(list) = self.scopes[scope].targets.get(name) {
                return Some(list);
            }
            if scope == 0 {
                return None;
            }
            scope = self.scopes[scope].parent;
        }
    }

    /// The slot that holds a special value.
    pub fn special(&mut self, special: Special) -> Slot {
        let next = &mut self.registers;
        *self.specials.entry(special).or_insert_with(|| {
            *next += 1;
            *next - 1
        })
    }
}

fn register(slot: Slot, ty: Type) -> Symbol {
    if ty == Type::Pred { Symbol::Predicate(slot) } else { Symbol::Register(slot, ty) }
}
