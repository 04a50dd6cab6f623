//! Bytes that start on a cache line, at an address that does not change.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

/// Zeroed at first.
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the buffer owns its bytes, as a `Vec` does; who writes them is settled by the borrows of `Buffer`.
unsafe impl Send for Buffer {}
// SAFETY: shared borrows give shared slices only.
unsafe impl Sync for Buffer {}

impl Buffer {
    const ALIGNMENT: usize = 64;

    /// At least one cache line is reserved, so that an address is valid even for no elements.
    fn layout(bytes: usize) -> Option<Layout> {
        Layout::from_size_align(bytes.max(Self::ALIGNMENT), Self::ALIGNMENT).ok()
    }

    /// `None` when the system has no such memory.
    pub fn new(bytes: usize) -> Option<Buffer> {
        let layout = Self::layout(bytes)?;
        // SAFETY: the layout has a size, which is not 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Buffer { start, bytes })
    }

    pub fn address(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the bytes are live and initialised for as long as the buffer is borrowed.
        unsafe { std::slice::from_raw_parts(self.address(), self.bytes) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.address(), self.bytes) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let layout = Self::layout(self.bytes).expect("the layout was good when the buffer was made");
        // SAFETY: allocated in `new` with this very layout, and not freed since.
        unsafe { dealloc(self.address(), layout) };
    }
}
