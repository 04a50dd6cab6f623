//! Reads one instruction's modifiers and operands.
//!
//! Invariant: a modifier that nobody has taken makes the instruction unknown. So nothing that is written is ignored,
//! but for the words in `HINTS`, which say nothing about what an instruction does.

use super::scope::{Names, Symbol};
use crate::code::{Address, Guard, Slot, Source, Special, Truth};
use crate::math::round::Rounding;
use crate::text::syntax::{Instruction, Operand};
use crate::types::{Space, Type};
use smol_str::SmolStr;

/// What cannot be read, in words.
pub type Decoded<T> = Result<T, String>;

/// Words about caches and about what the compiler knows already.
const HINTS: [&str; 24] = [
    "uni",
    "aligned",
    "ca",
    "cg",
    "cs",
    "lu",
    "cv",
    "wb",
    "wt",
    "weak",
    "sys",
    "gpu",
    "cta",
    "cluster",
    "noftz",
    "L1::evict_normal",
    "L1::evict_first",
    "L1::evict_last",
    "L1::no_allocate",
    "L1::evict_unchanged",
    "L2::64B",
    "L2::128B",
    "L2::256B",
    "unified",
];

pub struct Reader<'r, 'a> {
    pub names: &'r mut Names<'a>,
    pub scope: usize,
    pub instruction: &'a Instruction,
    modifiers: Vec<&'a str>,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub fn new(names: &'r mut Names<'a>, at: usize) -> Self {
        let (instruction, scope) = names.instructions[at];
        let modifiers = instruction.modifiers.iter().map(SmolStr::as_str).collect();
        Reader { names, scope, instruction, modifiers }
    }

    /// True if the modifier stands there; it is then used up.
    pub fn take(&mut self, name: &str) -> bool {
        self.take_if(|m| m == name).is_some()
    }

    fn take_if(&mut self, wanted: impl Fn(&str) -> bool) -> Option<&'a str> {
        let at = self.modifiers.iter().position(|m| wanted(m))?;
        Some(self.modifiers.remove(at))
    }

    /// The first modifier in a table, and what it stands for.
    pub fn take_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let found = self.take_if(|m| table.iter().any(|row| row.0 == m))?;
        table.iter().find(|row| row.0 == found).map(|row| row.1)
    }

    pub fn take_type(&mut self) -> Decoded<Type> {
        let found = self.take_if(|m| Type::named(m).is_some()).and_then(Type::named);
        found.ok_or_else(|| "no type in it".into())
    }

    pub fn take_space(&mut self) -> Space {
        self.take_if(|m| Space::named(m).is_some()).and_then(Space::named).unwrap_or(Space::Generic)
    }

    /// A rounding of floats: `.rn`, `.rz`, `.rm`, `.rp`.
    pub fn take_rounding(&mut self) -> Option<Rounding> {
        self.take_of(&[
            ("rn", Rounding::Nearest),
            ("rz", Rounding::Zero),
            ("rm", Rounding::Down),
            ("rp", Rounding::Up),
            ("rna", Rounding::Away),
        ])
    }

    /// The first modifier, whatever it is.
    pub fn take_any(&mut self) -> Option<&'a str> {
        if self.modifiers.is_empty() { None } else { Some(self.modifiers.remove(0)) }
    }

    /// Fails if a modifier is left that means something.
    pub fn finish(&self) -> Decoded<()> {
        match self.modifiers.iter().find(|m| !HINTS.contains(m)) {
            Some(left) => Err(format!("`.{left}` is not known here")),
            None => Ok(()),
        }
    }

    pub fn n_operands(&self) -> usize {
        self.instruction.operands.len()
    }

    fn operand(&self, i: usize) -> Decoded<&'a Operand> {
        self.instruction.operands.get(i).ok_or_else(|| format!("it has no operand {}", i + 1))
    }

    pub fn name(&self, i: usize) -> Decoded<&'a SmolStr> {
        match self.operand(i)? {
            Operand::Name(name) => Ok(name),
            _ => Err(format!("operand {} should be a name", i + 1)),
        }
    }

    pub fn integer(&self, i: usize) -> Decoded<u64> {
        match self.operand(i)? {
            Operand::Integer(value) => Ok(*value),
            _ => Err(format!("operand {} should be an integer", i + 1)),
        }
    }

    /// A register to write to, and its type.
    fn register(&self, operand: &Operand) -> Decoded<Option<(Slot, Type)>> {
        match operand {
            Operand::Name(name) if name == "_" => Ok(None),
            Operand::Name(name) => match self.names.lookup(self.scope, name) {
                Some(Symbol::Register(slot, ty)) => Ok(Some((slot, ty))),
                _ => Err(format!("`{name}` should be a register")),
            },
            _ => Err("a register should stand there".into()),
        }
    }

    pub fn dst(&mut self, i: usize) -> Decoded<Slot> {
        let operand = match self.operand(i)? {
            Operand::Pair(first, _) => first,
            other => other,
        };
        match self.register(operand)? {
            Some((slot, _)) => Ok(slot),
            // What is thrown away needs a place too.
            None => Ok(self.names.special(Special::Sink)),
        }
    }

    /// The bits of a destination register.
    pub fn dst_bits(&self, i: usize) -> Decoded<u32> {
        let operand = match self.operand(i)? {
            Operand::Vector(parts) => parts.first().ok_or("an empty vector")?,
            other => other,
        };
        Ok(self.register(operand)?.map_or(64, |r| r.1.bits()))
    }

    /// One register or a vector of them.
    pub fn dsts(&mut self, i: usize) -> Decoded<Vec<Option<Slot>>> {
        match self.operand(i)? {
            Operand::Vector(parts) => {
                parts.iter().map(|part| Ok(self.register(part)?.map(|r| r.0))).collect()
            }
            other => Ok(vec![self.register(other)?.map(|r| r.0)]),
        }
    }

    /// The same, where none may be thrown away.
    pub fn all_dsts(&mut self, i: usize) -> Decoded<Vec<Slot>> {
        self.dsts(i)?
            .into_iter()
            .map(|d| d.ok_or_else(|| "`_` stands for a result that is needed".into()))
            .collect()
    }

    pub fn source(&mut self, i: usize, ty: Type) -> Decoded<Source> {
        let operand = self.operand(i)?;
        self.value(operand, ty)
    }

    pub fn sources(&mut self, i: usize, ty: Type) -> Decoded<Vec<Source>> {
        match self.operand(i)? {
            Operand::Vector(parts) => parts.iter().map(|part| self.value(part, ty)).collect(),
            other => Ok(vec![self.value(other, ty)?]),
        }
    }

    /// True if the operand is a vector in braces.
    pub fn is_vector(&self, i: usize) -> bool {
        matches!(self.instruction.operands.get(i), Some(Operand::Vector(_)))
    }

    fn value(&mut self, operand: &Operand, ty: Type) -> Decoded<Source> {
        let keep = if ty.bits() >= 64 { u64::MAX } else { (1 << ty.bits()) - 1 };
        Ok(match operand {
            Operand::Integer(value) => Source::Value(value & keep),
            Operand::Single(bits) => Source::Value(*bits as u64),
            Operand::Double(bits) if ty == Type::F32 => {
                Source::Value((f64::from_bits(*bits) as f32).to_bits() as u64)
            }
            Operand::Double(bits) => Source::Value(*bits),
            Operand::Name(name) => self.named(name)?,
            _ => return Err("a value should stand there".into()),
        })
    }

    fn named(&mut self, name: &SmolStr) -> Decoded<Source> {
        if let Some(special) = special_register(name) {
            return Ok(Source::Slot(self.names.special(special)));
        }
        if name == "WARP_SZ" {
            return Ok(Source::Value(32));
        }
        Ok(match self.names.lookup(self.scope, name) {
            Some(Symbol::Register(slot, _)) => Source::Slot(slot),
            Some(Symbol::Shared(at) | Symbol::Const(at)) => Source::Value(at as u64),
            Some(Symbol::Param(field) | Symbol::Frame(field)) => Source::Value(field.at as u64),
            Some(Symbol::Dynamic) => Source::Slot(self.names.special(Special::DynamicShared)),
            Some(Symbol::Global) => Source::Slot(self.names.special(Special::Variable(name.clone()))),
            Some(_) => return Err(format!("`{name}` is no value")),
            None => return Err(format!("`{name}` is not declared")),
        })
    }

    /// The offset in the frame, if the operand is a variable in local memory.
    pub fn local_variable(&self, i: usize) -> Option<u32> {
        match self.operand(i) {
            Ok(Operand::Name(name)) => match self.names.lookup(self.scope, name) {
                Some(Symbol::Local(at)) => Some(at),
                _ => None,
            },
            _ => None,
        }
    }

    pub fn address(&mut self, i: usize, mut space: Space) -> Decoded<Address> {
        let Operand::Address { base, offset } = self.operand(i)? else {
            return Err(format!("operand {} should be an address", i + 1));
        };
        let Some(name) = base else { return Ok(Address { space, base: None, offset: *offset }) };
        let mut offset = *offset;
        let symbol = self.names.lookup(self.scope, name);
        let base = match symbol {
            Some(Symbol::Local(at)) => {
                offset += at as i64;
                Some(self.names.special(Special::LocalBase))
            }
            _ => match self.named(name)? {
                Source::Slot(slot) => Some(slot),
                Source::Value(at) => {
                    offset += at as i64;
                    None
                }
            },
        };
        // A variable says its space itself; `ld.param` of a call reads the frame.
        match symbol {
            Some(Symbol::Frame(_)) => space = Space::Frame,
            Some(Symbol::Local(_)) => space = Space::Local,
            Some(Symbol::Shared(_) | Symbol::Dynamic) => space = Space::Shared,
            Some(Symbol::Const(_)) => space = Space::Const,
            _ => {}
        }
        Ok(Address { space, base, offset })
    }

    fn predicate_named(&self, name: &str) -> Decoded<Slot> {
        match self.names.lookup(self.scope, name) {
            Some(Symbol::Predicate(slot)) => Ok(slot),
            _ => Err(format!("`{name}` should be a predicate")),
        }
    }

    pub fn guard(&self) -> Decoded<Option<Guard>> {
        let Some(guard) = &self.instruction.guard else { return Ok(None) };
        Ok(Some(Guard { slot: self.predicate_named(&guard.register)?, negated: guard.negated }))
    }

    /// A predicate to read.
    pub fn truth(&self, i: usize) -> Decoded<Truth> {
        match self.operand(i)? {
            Operand::Integer(value) => Ok(Truth::Constant(*value != 0)),
            Operand::Name(name) => {
                Ok(Truth::Slot(Guard { slot: self.predicate_named(name)?, negated: false }))
            }
            Operand::Not(inner) => match &**inner {
                Operand::Name(name) => {
                    Ok(Truth::Slot(Guard { slot: self.predicate_named(name)?, negated: true }))
                }
                _ => Err("a predicate should follow `!`".into()),
            },
            _ => Err(format!("operand {} should be a predicate", i + 1)),
        }
    }

    /// A predicate to write.
    pub fn predicate(&self, i: usize) -> Decoded<Slot> {
        self.predicate_named(self.name(i)?)
    }

    /// The two predicates of `p|q`; either may be thrown away.
    pub fn predicates(&self, i: usize) -> Decoded<(Option<Slot>, Option<Slot>)> {
        let of = |operand: &Operand| match operand {
            Operand::Name(name) if name == "_" => Ok(None),
            Operand::Name(name) => self.predicate_named(name).map(Some),
            _ => Err("a predicate should stand there".to_string()),
        };
        match self.operand(i)? {
            Operand::Pair(first, second) => Ok((of(first)?, of(second)?)),
            other => Ok((of(other)?, None)),
        }
    }

    /// The predicate of `value|p`.
    pub fn second_predicate(&self, i: usize) -> Decoded<Option<Slot>> {
        match self.operand(i)? {
            Operand::Pair(_, second) => match &**second {
                Operand::Name(name) if name == "_" => Ok(None),
                Operand::Name(name) => self.predicate_named(name).map(Some),
                _ => Err("a predicate should follow `|`".into()),
            },
            _ => Ok(None),
        }
    }

    pub fn label_named(&self, name: &str) -> Decoded<u32> {
        match self.names.lookup(self.scope, name) {
            Some(Symbol::Label(at)) => Ok(at),
            _ => Err(format!("`{name}` is no label")),
        }
    }

    /// Parameter memory of a call's list: the offsets of its members.
    pub fn call_fields(&self, i: usize) -> Decoded<Vec<u32>> {
        let Operand::Group(members) = self.operand(i)? else {
            return Err(format!("operand {} should be a list in parentheses", i + 1));
        };
        members
            .iter()
            .map(|member| match member {
                Operand::Name(name) => match self.names.lookup(self.scope, name) {
                    Some(Symbol::Frame(field)) => Ok(field.at),
                    _ => Err(format!("`{name}` should be a parameter of the call")),
                },
                _ => Err("a parameter of the call should stand there".into()),
            })
            .collect()
    }

    pub fn is_group(&self, i: usize) -> bool {
        matches!(self.instruction.operands.get(i), Some(Operand::Group(_)))
    }
}

fn special_register(name: &str) -> Option<Special> {
    let (stem, axis) = match name.split_once('.') {
        Some((stem, "x")) => (stem, 0),
        Some((stem, "y")) => (stem, 1),
        Some((stem, "z")) => (stem, 2),
        Some(_) => return None,
        None => (name, 0),
    };
    Some(match stem {
        "%tid" => Special::Tid(axis),
        "%ntid" => Special::Ntid(axis),
        "%ctaid" => Special::Ctaid(axis),
        "%nctaid" => Special::Nctaid(axis),
        "%laneid" => Special::LaneId,
        "%warpid" => Special::WarpId,
        "%nwarpid" => Special::NWarpId,
        "%smid" => Special::SmId,
        "%nsmid" => Special::NSmId,
        "%gridid" => Special::GridId,
        "%lanemask_eq" => Special::LaneMaskEq,
        "%lanemask_lt" => Special::LaneMaskLt,
        "%lanemask_le" => Special::LaneMaskLe,
        "%lanemask_gt" => Special::LaneMaskGt,
        "%lanemask_ge" => Special::LaneMaskGe,
        "%dynamic_smem_size" => Special::DynamicSharedSize,
        "%total_smem_size" => Special::TotalSharedSize,
        _ => return None,
    })
}
