//! Global memory: buffers, far from each other in a sparse address space.
//!
//! Invariant: each buffer has a terabyte of addresses of its own, with the buffer in the middle. An index of 32 bits
//! that runs out of one buffer, on either side, therefore never lands in another, and is found. A buffer is aligned to
//! 256 bytes, as CUDA's allocator promises, and to no more.

use super::cells::{Cells, State};
use super::shadow::Shadow;
use crate::fault::{Access, Violation};
use smol_str::SmolStr;
use std::collections::HashMap;

const ROOM_BITS: u32 = 40;
/// Where a buffer lies in its room: in the middle, and aligned to 256 bytes but not to 512.
const MIDDLE: u64 = (1 << (ROOM_BITS - 1)) + 256;
/// The largest buffer.
const MOST_BYTES: usize = 1 << 36;

/// The memory of the device: buffers, and the variables of modules. It lives longer than a launch.
#[derive(Debug, Default)]
pub struct Memory {
    buffers: Vec<Buffer>,
    /// Variables of modules, by module and name.
    pub(crate) variables: HashMap<(u64, SmolStr), u64>,
}

#[derive(Debug)]
pub(crate) struct Buffer {
    label: String,
    pub cells: Cells,
    /// Made at the first access in a launch that looks for races.
    pub shadow: Option<Shadow>,
    is_read_only: bool,
    is_freed: bool,
}

impl Memory {
    pub fn new() -> Memory {
        Memory::default()
    }

    /// A new buffer to which nothing has been written: its device address.
    ///
    /// # Panics
    /// If `bytes` passes 64 GiB.
    pub fn alloc(&mut self, bytes: usize) -> u64 {
        assert!(bytes <= MOST_BYTES, "a buffer of {bytes} bytes");
        let label = format!("buffer #{}", self.buffers.len());
        let cells = Cells::new(bytes, State::Unwritten);
        self.buffers.push(Buffer { label, cells, shadow: None, is_read_only: false, is_freed: false });
        ((self.buffers.len() as u64) << ROOM_BITS) + MIDDLE
    }

    /// A new buffer that holds `values`, which may be `f32`s, `u8`s, …: its device address.
    pub fn alloc_of<T: Plain>(&mut self, values: &[T]) -> u64 {
        let address = self.alloc(std::mem::size_of_val(values));
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_bytes()).collect();
        self.buffers[(address >> ROOM_BITS) as usize - 1].cells.write(0, &bytes);
        address
    }

    /// Names the buffer at `address` in faults.
    pub fn label(&mut self, address: u64, name: &str) {
        if let Some(buffer) = self.buffer_mut(address) {
            buffer.label = name.into();
        }
    }

    /// From now on a kernel that writes to the buffer at `address` is stopped.
    pub fn protect(&mut self, address: u64) {
        if let Some(buffer) = self.buffer_mut(address) {
            buffer.is_read_only = true;
        }
    }

    /// Gives the buffer back; a later access is reported.
    pub fn free(&mut self, address: u64) {
        if let Some(buffer) = self.buffer_mut(address) {
            buffer.is_freed = true;
            buffer.cells = Cells::new(0, State::Unwritten);
            buffer.shadow = None;
        }
    }

    /// Copies `bytes` to the device.
    ///
    /// # Errors
    /// If they do not lie in one buffer.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Violation> {
        let at = self.find(address, bytes.len(), Access::Write)?;
        self.buffers[at.0].cells.write(at.1, bytes);
        Ok(())
    }

    /// Copies `bytes` bytes from the device.
    ///
    /// # Errors
    /// If they do not lie in one buffer, or one of them was never written.
    pub fn read(&self, address: u64, bytes: usize) -> Result<Vec<u8>, Violation> {
        let (buffer, at) = self.find(address, bytes, Access::Read)?;
        let cells = &self.buffers[buffer].cells;
        if let Some(first) = (at..at + bytes).find(|i| cells.flaw(*i, 1).is_some()) {
            let whereabouts = self.describe(address + (first - at) as u64);
            return Err(Violation::Uninitialised { bytes: 1, whereabouts });
        }
        Ok(cells.bytes(at, bytes).to_vec())
    }

    /// `n` values from the device.
    ///
    /// # Errors
    /// As `read`.
    pub fn read_of<T: Plain>(&self, address: u64, n: usize) -> Result<Vec<T>, Violation> {
        let bytes = self.read(address, n * size_of::<T>())?;
        Ok(bytes.chunks_exact(size_of::<T>()).map(T::from_bytes).collect())
    }

    fn buffer_mut(&mut self, address: u64) -> Option<&mut Buffer> {
        self.buffers.get_mut(((address >> ROOM_BITS) as usize).wrapping_sub(1))
    }

    pub(crate) fn buffer(&mut self, index: usize) -> &mut Buffer {
        &mut self.buffers[index]
    }

    /// The buffer of an access and its place therein.
    pub(crate) fn find(
        &self,
        address: u64,
        bytes: usize,
        access: Access,
    ) -> Result<(usize, usize), Violation> {
        let index = ((address >> ROOM_BITS) as usize).wrapping_sub(1);
        if let Some(buffer) = self.buffers.get(index) {
            let at = address.wrapping_sub(((index as u64 + 1) << ROOM_BITS) + MIDDLE) as usize;
            if at < buffer.cells.len() && bytes <= buffer.cells.len() - at {
                if access != Access::Read && buffer.is_read_only {
                    let whereabouts = self.describe(address);
                    return Err(Violation::ReadOnly { bytes: bytes as u32, whereabouts });
                }
                return Ok((index, at));
            }
        }
        Err(Violation::OutOfBounds { access, bytes: bytes as u32, whereabouts: self.describe_stray(address) })
    }

    /// An address as its buffer and a place in it.
    pub(crate) fn describe(&self, address: u64) -> String {
        let index = ((address >> ROOM_BITS) as usize).wrapping_sub(1);
        match self.buffers.get(index) {
            Some(buffer) => {
                let at = address.wrapping_sub(((index as u64 + 1) << ROOM_BITS) + MIDDLE) as i64;
                format!("byte {at} of {} ({} bytes)", buffer.label, buffer.cells.len())
            }
            None => format!("address {address:#x}, which is in no buffer"),
        }
    }

    fn describe_stray(&self, address: u64) -> String {
        let index = ((address >> ROOM_BITS) as usize).wrapping_sub(1);
        let Some(buffer) = self.buffers.get(index) else {
            return format!("at address {address:#x}, which is in no buffer");
        };
        let at = address.wrapping_sub(((index as u64 + 1) << ROOM_BITS) + MIDDLE) as i64;
        let (label, len) = (&buffer.label, buffer.cells.len() as i64);
        match at {
            _ if buffer.is_freed => format!("at byte {at} of {label}, which was given back"),
            ..0 => format!("{} bytes before the start of {label} ({len} bytes)", -at),
            _ if at < len => format!("at byte {at} of {label} ({len} bytes), over its end"),
            _ if at == len => format!("just past the end of {label} ({len} bytes)"),
            _ => format!("{} bytes past the end of {label} ({len} bytes)", at - len),
        }
    }

    /// Forgets who touched what: at the start of a launch.
    pub(crate) fn forget_accesses(&mut self) {
        for buffer in &mut self.buffers {
            buffer.shadow = None;
        }
    }
}

/// A number that has the same bytes on the host and on the device.
pub trait Plain: Copy {
    fn to_bytes(self) -> impl Iterator<Item = u8>;
    fn from_bytes(bytes: &[u8]) -> Self;
}

macro_rules! plain {
    ($($number:ty),*) => {$(
        impl Plain for $number {
            fn to_bytes(self) -> impl Iterator<Item = u8> {
                self.to_le_bytes().into_iter()
            }
            fn from_bytes(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$number>()];
                own.copy_from_slice(bytes);
                <$number>::from_le_bytes(own)
            }
        }
    )*};
}
plain!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);
