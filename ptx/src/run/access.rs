//! One thread's access to memory, with every check: bounds, alignment, initialisation, races.

use super::warp::Frame;
use crate::code::Strength;
use crate::fault::{Access, Violation};
use crate::memory::cells::{Cells, State};
use crate::memory::global::Memory;
use crate::memory::resolve;
use crate::memory::shadow::{Actor, Conflict, Shadow};
use crate::memory::shared::Shared;
use crate::types::Space;

/// All memory that a warp can reach.
pub struct Reach<'m> {
    pub memory: &'m mut Memory,
    pub shared: &'m mut Shared,
    pub local: &'m mut [Cells],
    pub frame: &'m mut Frame,
    pub constants: &'m Cells,
    pub params: &'m Cells,
    pub races: bool,
    pub uninitialised: bool,
}

type Checked<T> = Result<T, Violation>;

/// The address in its space: windows of less than 64 bits wrap at 32.
pub fn effective(space: Space, base: u64, offset: i64) -> (Space, u64) {
    let address = base.wrapping_add(offset as u64);
    match space {
        Space::Generic => resolve(address),
        Space::Global => (space, address),
        _ => (space, address & 0xffff_ffff),
    }
}

fn raced(
    conflict: Option<Conflict>,
    access: Access,
    bytes: usize,
    whereabouts: impl Fn() -> String,
) -> Checked<()> {
    match conflict {
        None => Ok(()),
        Some(Conflict { other, by }) => {
            Err(Violation::Race { access, bytes: bytes as u32, whereabouts: whereabouts(), other, by })
        }
    }
}

impl Reach<'_> {
    fn describe(&self, space: Space, at: u64) -> String {
        match space {
            Space::Global | Space::Generic => self.memory.describe(at),
            Space::Shared => self.shared.describe(at),
            _ => format!("byte {at} of {} memory", space.name()),
        }
    }

    fn check_alignment(&self, space: Space, at: u64, bytes: usize, access: Access) -> Checked<()> {
        if at.is_multiple_of(bytes as u64) {
            return Ok(());
        }
        Err(Violation::Misaligned { access, bytes: bytes as u32, whereabouts: self.describe(space, at) })
    }

    /// The bounds of shared, local, constant and parameter memory.
    fn check_bounds(
        &self,
        space: Space,
        cells: &Cells,
        at: u64,
        bytes: usize,
        access: Access,
    ) -> Checked<()> {
        let inside = at.checked_add(bytes as u64).is_some_and(|end| end <= cells.len() as u64);
        if inside && !cells.has(at as usize, bytes, State::Hole) {
            return Ok(());
        }
        let whereabouts = match space {
            Space::Shared => self.shared.describe(at),
            _ => format!("at byte {at} of {} memory ({} bytes)", space.name(), cells.len()),
        };
        Err(Violation::OutOfBounds { access, bytes: bytes as u32, whereabouts })
    }

    fn check_written(
        &self,
        space: Space,
        cells: &Cells,
        at: usize,
        bytes: usize,
        address: u64,
    ) -> Checked<()> {
        let whereabouts = || self.describe(space, address);
        match cells.flaw(at, bytes) {
            Some(State::InFlight) => Err(Violation::InFlight {
                access: Access::Read,
                bytes: bytes as u32,
                whereabouts: whereabouts(),
            }),
            Some(State::Unwritten) if self.uninitialised => {
                Err(Violation::Uninitialised { bytes: bytes as u32, whereabouts: whereabouts() })
            }
            _ => Ok(()),
        }
    }

    fn global_shadow(&mut self, buffer: usize) -> &mut Shadow {
        let buffer = self.memory.buffer(buffer);
        let bytes = buffer.cells.len();
        buffer.shadow.get_or_insert_with(|| Shadow::new(bytes))
    }

    /// Reads `out.len()` bytes, elements of so many.
    pub fn read(
        &mut self,
        (space, at): (Space, u64),
        (out, element): (&mut [u8], usize),
        lane: usize,
        actor: &Actor,
        strength: Strength,
    ) -> Checked<()> {
        let n = out.len();
        self.check_alignment(space, at, n, Access::Read)?;
        let place = at as usize;
        match space {
            Space::Global | Space::Generic => {
                let (buffer, place) = self.memory.find(at, n, Access::Read)?;
                let cells = &self.memory.buffer(buffer).cells;
                out.copy_from_slice(cells.bytes(place, n));
                if self.uninitialised && cells.flaw(place, n).is_some() {
                    return Err(Violation::Uninitialised {
                        bytes: n as u32,
                        whereabouts: self.memory.describe(at),
                    });
                }
                if self.races {
                    let shadow = self.global_shadow(buffer);
                    let stale = strength == Strength::ReadOnly && shadow.is_written(place, n);
                    let conflict = match strength {
                        Strength::Relaxed | Strength::Ordering => shadow.atomic(place, n, actor),
                        _ => shadow.read(place, n, actor),
                    };
                    raced(conflict, Access::Read, n, || self.memory.describe(at))?;
                    if stale {
                        return Err(Violation::StaleCache {
                            bytes: n as u32,
                            whereabouts: self.memory.describe(at),
                        });
                    }
                }
            }
            Space::Shared => {
                self.check_bounds(space, &self.shared.cells, at, n, Access::Read)?;
                // The compiler may load four elements where it knows that they are aligned and wants fewer: the rest is never used.
                let cells = &self.shared.cells;
                let is_padded = n == 4 * element
                    && cells.flaw(place, n) == Some(State::Unwritten)
                    && cells.flaw(place, element).is_none();
                if !is_padded {
                    self.check_written(space, cells, place, n, at)?;
                }
                out.copy_from_slice(self.shared.cells.bytes(place, n));
                if self.races {
                    let conflict = self.shared.shadow.read(place, n, actor);
                    raced(conflict, Access::Read, n, || self.shared.describe(at))?;
                }
            }
            Space::Local => {
                let Some(cells) = self.local.get(lane) else { return Err(self.stray(space, at, n)) };
                self.check_bounds(space, cells, at, n, Access::Read)?;
                self.check_written(space, cells, place, n, at)?;
                out.copy_from_slice(cells.bytes(place, n));
            }
            Space::Const | Space::Param => {
                let cells = if space == Space::Const { self.constants } else { self.params };
                self.check_bounds(space, cells, at, n, Access::Read)?;
                out.copy_from_slice(cells.bytes(place, n));
            }
            Space::Frame => {
                let from = self.frame_place(at, n, lane).ok_or_else(|| self.stray(space, at, n))?;
                out.copy_from_slice(&self.frame.params[from..from + n]);
            }
        }
        Ok(())
    }

    fn stray(&self, space: Space, at: u64, n: usize) -> Violation {
        let whereabouts = format!("at byte {at} of {} memory", space.name());
        Violation::OutOfBounds { access: Access::Read, bytes: n as u32, whereabouts }
    }

    fn frame_place(&self, at: u64, n: usize, lane: usize) -> Option<usize> {
        let size = self.frame.param_bytes as usize;
        (at as usize + n <= size).then_some(lane * size + at as usize)
    }

    pub fn write(
        &mut self,
        (space, at): (Space, u64),
        data: &[u8],
        lane: usize,
        actor: &Actor,
        strength: Strength,
    ) -> Checked<()> {
        let n = data.len();
        self.check_alignment(space, at, n, Access::Write)?;
        let place = at as usize;
        match space {
            Space::Global | Space::Generic => {
                let (buffer, place) = self.memory.find(at, n, Access::Write)?;
                if self.races {
                    let same = self.memory.buffer(buffer).cells.bytes(place, n) == data;
                    let shadow = self.global_shadow(buffer);
                    let conflict = match strength {
                        Strength::Relaxed | Strength::Ordering => shadow.atomic(place, n, actor),
                        _ => shadow.write(place, n, actor, same),
                    };
                    raced(conflict, Access::Write, n, || self.memory.describe(at))?;
                }
                self.memory.buffer(buffer).cells.write(place, data);
            }
            Space::Shared => {
                self.claim_shared(at, data, actor)?;
                self.shared.cells.write(place, data);
            }
            Space::Local => {
                let Some(cells) = self.local.get(lane) else { return Err(self.stray(space, at, n)) };
                self.check_bounds(space, cells, at, n, Access::Write)?;
                self.local[lane].write(place, data);
            }
            Space::Frame => {
                let to = self.frame_place(at, n, lane).ok_or_else(|| self.stray(space, at, n))?;
                self.frame.params[to..to + n].copy_from_slice(data);
            }
            Space::Const | Space::Param => {
                let whereabouts = self.describe(space, at);
                return Err(Violation::ReadOnly { bytes: n as u32, whereabouts });
            }
        }
        Ok(())
    }

    /// All that a write to shared memory must pass, now or when a copy lands.
    pub fn claim_shared(&mut self, at: u64, data: &[u8], actor: &Actor) -> Checked<()> {
        let n = data.len();
        self.check_alignment(Space::Shared, at, n, Access::Write)?;
        self.check_bounds(Space::Shared, &self.shared.cells, at, n, Access::Write)?;
        let place = at as usize;
        if self.shared.cells.has(place, n, State::InFlight) {
            let whereabouts = self.shared.describe(at);
            return Err(Violation::InFlight { access: Access::Write, bytes: n as u32, whereabouts });
        }
        if self.races {
            let same = self.shared.cells.bytes(place, n) == data;
            let conflict = self.shared.shadow.write(place, n, actor, same);
            raced(conflict, Access::Write, n, || self.shared.describe(at))?;
        }
        Ok(())
    }

    /// Replaces a value by `f` of it; returns the old one.
    pub fn update(
        &mut self,
        (space, at): (Space, u64),
        n: usize,
        actor: &Actor,
        f: impl Fn(u64) -> u64,
    ) -> Checked<u64> {
        self.check_alignment(space, at, n, Access::Atomic)?;
        let old;
        let place = at as usize;
        let word = |bytes: &[u8]| {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            word
        };
        match space {
            Space::Global | Space::Generic => {
                let (buffer, place) = self.memory.find(at, n, Access::Atomic)?;
                if self.uninitialised && self.memory.buffer(buffer).cells.flaw(place, n).is_some() {
                    return Err(Violation::Uninitialised {
                        bytes: n as u32,
                        whereabouts: self.memory.describe(at),
                    });
                }
                if self.races {
                    let conflict = self.global_shadow(buffer).atomic(place, n, actor);
                    raced(conflict, Access::Atomic, n, || self.memory.describe(at))?;
                }
                let cells = &mut self.memory.buffer(buffer).cells;
                old = word(cells.bytes(place, n));
                cells.write(place, &f(u64::from_le_bytes(old)).to_le_bytes()[..n]);
            }
            Space::Shared => {
                self.check_bounds(space, &self.shared.cells, at, n, Access::Atomic)?;
                self.check_written(space, &self.shared.cells, place, n, at)?;
                if self.races {
                    let conflict = self.shared.shadow.atomic(place, n, actor);
                    raced(conflict, Access::Atomic, n, || self.shared.describe(at))?;
                }
                old = word(self.shared.cells.bytes(place, n));
                self.shared.cells.write(place, &f(u64::from_le_bytes(old)).to_le_bytes()[..n]);
            }
            _ => {
                return Err(Violation::Unknown(format!(
                    "atomic access to {} memory is not possible",
                    space.name()
                )));
            }
        }
        Ok(u64::from_le_bytes(old))
    }
}
