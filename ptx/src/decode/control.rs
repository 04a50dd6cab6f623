//! Decodes control flow: branches, calls, the ways out; and hints that do nothing.

use super::reader::{Decoded, Reader};
use crate::code::Op;
use crate::types::Type;
use smol_str::SmolStr;
use std::collections::HashMap;

pub fn decode(r: &mut Reader, functions: &HashMap<SmolStr, usize>) -> Decoded<Option<Op>> {
    Ok(Some(match r.instruction.opcode.as_str() {
        "bra" => Op::Branch { target: r.label_named(r.name(0)?)?, reconverge: 0 },
        "brx" => {
            r.take("idx");
            let index = r.source(0, Type::U32)?;
            let list = r.name(1)?;
            let labels =
                r.names.targets(r.scope, list).ok_or_else(|| format!("`{list}` lists no targets"))?;
            let targets = labels.iter().map(|name| r.label_named(name)).collect::<Decoded<_>>()?;
            Op::BranchTable { index, targets, reconverge: 0 }
        }
        "ret" => Op::Return,
        "exit" => Op::Exit,
        "trap" | "brkpt" => Op::Trap,
        "call" => call(r, functions)?,
        "prefetch" | "prefetchu" | "griddepcontrol" | "setmaxnreg" | "discard" | "applypriority"
        | "pmevent" => {
            while r.take_any().is_some() {}
            Op::Nothing
        }
        "nanosleep" => {
            r.take("u32");
            Op::Sleep
        }
        _ => return Ok(None),
    }))
}

/// `call (result), function, (parameters);` with either list left out.
fn call(r: &mut Reader, functions: &HashMap<SmolStr, usize>) -> Decoded<Op> {
    let mut at = 0;
    let results = if r.is_group(0) {
        at = 1;
        r.call_fields(0)?
    } else {
        Vec::new()
    };
    let name = r.name(at)?;
    let arguments = if r.is_group(at + 1) { r.call_fields(at + 1)? } else { Vec::new() };
    if name == "__assertfail" {
        return Ok(Op::Assertion);
    }
    let function = *functions.get(name).ok_or_else(|| format!("the function `{name}` has no body here"))?;
    Ok(Op::Call { function, arguments, results })
}
