//! The shared memory of a block.
//!
//! Invariant: variables do not touch: between two of them, and past the last, lie bytes of nobody, so a stray index is
//! found. The gaps are multiples of 128 bytes: they change no bank.

use super::cells::{Cells, State};
use super::shadow::Shadow;
use smol_str::SmolStr;

const GAP: u32 = 256;

/// Where the shared variables of a kernel lie; `dynamic` bytes are added at launch.
#[derive(Clone, Debug, Default)]
pub struct SharedLayout {
    variables: Vec<(SmolStr, u32, u32)>,
    end: u32,
}

impl SharedLayout {
    /// The offset of a new variable.
    pub fn place(&mut self, name: &SmolStr, bytes: u32, align: u32) -> u32 {
        let at = self.end.next_multiple_of(align.clamp(1, 128));
        self.variables.push((plain_name(name), at, bytes));
        self.end = (at + bytes).next_multiple_of(128) + GAP;
        at
    }

    /// Where dynamic shared memory begins: after all variables.
    pub fn dynamic_start(&self) -> u32 {
        self.end.next_multiple_of(128)
    }

    /// Bytes of the variables alone.
    pub fn bytes(&self) -> u32 {
        self.variables.iter().map(|v| v.2).sum()
    }
}

/// `tile` of `_ZZ6kernelE4tile`: what a variable of a function is called in CUDA.
fn plain_name(name: &SmolStr) -> SmolStr {
    let is_local = name.starts_with("_ZZ");
    let Some(at) = name.rfind('E').filter(|_| is_local) else { return name.clone() };
    let rest = &name[at + 1..];
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    match rest[..digits].parse::<usize>() {
        Ok(length) if rest.len() >= digits + length => rest[digits..digits + length].into(),
        _ => name.clone(),
    }
}

#[derive(Debug)]
pub struct Shared {
    pub cells: Cells,
    pub shadow: Shadow,
    variables: Vec<(SmolStr, u32, u32)>,
}

impl Shared {
    pub fn new(layout: &SharedLayout, dynamic: u32) -> Shared {
        let mut variables = layout.variables.clone();
        if dynamic > 0 {
            variables.push(("dynamic shared memory".into(), layout.dynamic_start(), dynamic));
        }
        let end = variables.last().map_or(0, |v| v.1 + v.2 + GAP) as usize;
        let mut shared = Shared { cells: Cells::new(end, State::Hole), shadow: Shadow::new(end), variables };
        shared.clear();
        shared
    }

    /// As before the block began.
    pub fn clear(&mut self) {
        self.shadow.clear();
        for (_, at, bytes) in &self.variables {
            self.cells.mark(*at as usize, *bytes as usize, State::Unwritten);
        }
    }

    /// An offset as a variable and a place in it; a stray one by what is before it.
    pub fn describe(&self, at: u64) -> String {
        let before = self.variables.iter().rev().find(|v| v.1 as u64 <= at);
        match before {
            Some((name, start, bytes)) if at < (start + bytes) as u64 => {
                format!("byte {} of shared `{name}` ({bytes} bytes)", at - *start as u64)
            }
            Some((name, start, bytes)) if at == (start + bytes) as u64 => {
                format!("just past the end of shared `{name}` ({bytes} bytes)")
            }
            Some((name, start, bytes)) => {
                format!(
                    "{} bytes past the end of shared `{name}` ({bytes} bytes)",
                    at - (start + bytes) as u64
                )
            }
            None => format!("address {at:#x} of shared memory, where nothing is"),
        }
    }
}
