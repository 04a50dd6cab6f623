//! A thread's scratch as the interpreter sees it: one arena, in which each byte belongs to the buffer written last.
//!
//! What enters: the kernel's scratch buffers. What leaves: elements, or nothing where a buffer's element was not written, or
//! where another buffer that shares its bytes was written after it. So a wrong overlap shows as a read of nothing, on any
//! machine. Not here: what is computed.

use super::Scratch;

/// The buffers' elements; `None` holds nothing.
#[derive(Clone)]
pub struct Arena<'a> {
    layout: &'a [Scratch],
    elements: Vec<Vec<Option<f64>>>,
}

impl Arena<'_> {
    /// Nothing is written yet.
    pub fn new(layout: &[Scratch]) -> Arena<'_> {
        let elements = layout.iter().map(|s| vec![None; s.bytes as usize / s.dtype.bytes()]).collect();
        Arena { layout, elements }
    }

    /// Elements of a buffer.
    pub fn len(&self, buffer: u32) -> usize {
        self.elements[buffer as usize].len()
    }

    pub fn read(&self, buffer: u32, at: usize) -> Option<f64> {
        self.elements[buffer as usize][at]
    }

    /// Writes an element; elements of other buffers in the same bytes hold nothing from now on.
    pub fn write(&mut self, buffer: u32, at: usize, value: f64) {
        let written = &self.layout[buffer as usize];
        let size = written.dtype.bytes() as u64;
        let from = written.offset + at as u64 * size;
        for (i, (other, elements)) in self.layout.iter().zip(&mut self.elements).enumerate() {
            let size_of_other = other.dtype.bytes() as u64;
            let end = other.offset + elements.len() as u64 * size_of_other;
            if i == buffer as usize || from + size <= other.offset || end <= from {
                continue;
            }
            let first = from.saturating_sub(other.offset) / size_of_other;
            let last = (from + size - other.offset).div_ceil(size_of_other).min(elements.len() as u64);
            elements[first as usize..last as usize].fill(None);
        }
        self.elements[buffer as usize][at] = Some(value);
    }
}
