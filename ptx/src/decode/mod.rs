//! Syntax tree to decoded functions: names to slots, opcodes to what they do, labels to places.
//!
//! An instruction that is not known decodes to `Op::Unknown` with the reason, and faults when it is executed: a module
//! may hold kernels that are never run.

mod arithmetic;
mod control;
mod matrix;
mod memory;
mod reader;
mod regions;
pub mod scope;
mod warp;

use crate::code::{Code, Instr, Op};
use crate::memory::shared::SharedLayout;
use crate::text::syntax::Function;
use reader::{Decoded, Reader};
use scope::{Names, Symbol};
use smol_str::SmolStr;
use std::collections::HashMap;

/// Where shared variables lie; a function's own are added to those of the module.
#[derive(Clone, Default)]
pub struct Layout {
    pub shared: SharedLayout,
}

/// Decodes a function. `functions`: the number of each by name.
pub fn decode(
    function: &Function,
    module: &HashMap<SmolStr, Symbol>,
    functions: &HashMap<SmolStr, usize>,
    mut layout: Layout,
) -> Result<Code, String> {
    let mut names = Names::of(function, module, &mut layout)?;
    let n = names.instructions.len();
    let mut instrs = Vec::with_capacity(n);
    for at in 0..n {
        let mut reader = Reader::new(&mut names, at);
        let (op, guard) =
            match reader.guard().and_then(|guard| Ok((operation(&mut reader, functions)?, guard))) {
                Ok(decoded) => decoded,
                Err(why) => {
                    let text = reader.instruction.text.trim_end_matches(';');
                    (Op::Unknown(format!("`{text}` is not known to the interpreter: {why}")), None)
                }
            };
        let instruction = reader.instruction;
        instrs.push(Instr {
            op,
            guard,
            name: instruction.opcode.clone(),
            text: instruction.text.clone(),
            line: instruction.line,
            source: instruction.source,
        });
    }
    reconverge(&mut instrs);
    Ok(Code {
        name: function.name.clone(),
        is_entry: function.is_entry,
        instrs,
        registers: names.registers as usize,
        predicates: names.predicates as usize,
        specials: names.specials.into_iter().collect(),
        local_bytes: names.local_bytes.next_multiple_of(16),
        param_bytes: names.param_bytes,
        parameters: names.parameters,
        results: names.results,
        most_threads: function.most_threads,
        shared: layout.shared,
    })
}

/// Asks one family after another; none knows another's opcodes.
fn operation(reader: &mut Reader, functions: &HashMap<SmolStr, usize>) -> Decoded<Op> {
    let families = [arithmetic::decode, memory::decode, warp::decode, matrix::decode];
    let mut found = control::decode(reader, functions)?;
    for family in families {
        if found.is_none() {
            found = family(reader)?;
        }
    }
    let op = found.ok_or_else(|| format!("no opcode `{}`", reader.instruction.opcode))?;
    reader.finish()?;
    Ok(op)
}

/// Tells each branch where its lanes meet again.
fn reconverge(instrs: &mut [Instr]) {
    let successors: Vec<Vec<u32>> = instrs
        .iter()
        .enumerate()
        .map(|(at, instr)| {
            let mut next = match &instr.op {
                Op::Branch { target, .. } => vec![*target],
                Op::BranchTable { targets, .. } => targets.clone(),
                Op::Return | Op::Exit | Op::Trap | Op::Assertion => vec![u32::MAX],
                _ => vec![at as u32 + 1],
            };
            if instr.guard.is_some() {
                next.push(at as u32 + 1);
            }
            next
        })
        .collect();
    let meets = regions::post_dominators(&successors);
    for (instr, meet) in instrs.iter_mut().zip(meets) {
        if let Op::Branch { reconverge, .. } | Op::BranchTable { reconverge, .. } = &mut instr.op {
            *reconverge = meet;
        }
    }
}
