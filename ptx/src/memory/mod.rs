//! Memory: the state spaces, what is written to them and by whom.
//!
//! Generic addresses below a terabyte are windows on shared, local, constant and parameter memory; above it lie the
//! buffers of global memory, each in a room of its own.

pub mod cells;
pub mod global;
pub mod shadow;
pub mod shared;

use crate::types::Space;

pub const SHARED_WINDOW: u64 = 0x10_0000_0000;
pub const LOCAL_WINDOW: u64 = 0x20_0000_0000;
pub const CONST_WINDOW: u64 = 0x30_0000_0000;
pub const PARAM_WINDOW: u64 = 0x40_0000_0000;
const WINDOW_BITS: u32 = 36;

/// What to add to an address of a space to make it generic.
pub fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_WINDOW,
        Space::Local => LOCAL_WINDOW,
        Space::Const => CONST_WINDOW,
        Space::Param => PARAM_WINDOW,
        Space::Generic | Space::Global | Space::Frame => 0,
    }
}

/// The space of a generic address, and the address therein.
pub fn resolve(generic: u64) -> (Space, u64) {
    let space = match generic >> WINDOW_BITS {
        1 => Space::Shared,
        2 => Space::Local,
        3 => Space::Const,
        4 => Space::Param,
        _ => Space::Global,
    };
    (space, generic.wrapping_sub(window(space)))
}
