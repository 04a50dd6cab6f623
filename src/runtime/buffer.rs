//! Bytes that start on a cache line, at an address that does not change.
//!
//! Large buffers start on a 2 MiB boundary and ask the system for pages of that size: a step walks through all weights and the
//! optimizer's states, and with small pages it would spend more on finding them than on reading them.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
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
    const LARGE_PAGE: usize = 2 << 20;

    /// At least one cache line is reserved, so that an address is valid even for no elements.
    fn layout(bytes: usize) -> Option<Layout> {
        let alignment = if bytes >= Self::LARGE_PAGE { Self::LARGE_PAGE } else { Self::ALIGNMENT };
        Layout::from_size_align(bytes.max(Self::ALIGNMENT), alignment).ok()
    }

    /// `None` when the system has no such memory.
    pub fn new(bytes: usize) -> Option<Buffer> {
        let layout = Self::layout(bytes)?;
        if bytes < Self::LARGE_PAGE {
            // SAFETY: the layout has a size, which is not 0.
            let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
            return Some(Buffer { start, bytes });
        }
        // SAFETY: the layout has a size, which is not 0.
        let start = NonNull::new(unsafe { alloc(layout) })?;
        ask_for_large_pages(start, bytes);
        // SAFETY: so many bytes were just allocated. Zeroed only now, for the first touch decides on the page's size.
        unsafe { start.write_bytes(0, bytes) };
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

/// A hint, which the system may ignore.
#[cfg(target_os = "linux")]
fn ask_for_large_pages(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range is this buffer's own, starts on a page's boundary, and the advice changes no contents.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages(_: NonNull<u8>, _: usize) {}

impl Drop for Buffer {
    fn drop(&mut self) {
        let layout = Self::layout(self.bytes).expect("the layout was good when the buffer was made");
        // SAFETY: allocated in `new` with this very layout, and not freed since.
        unsafe { dealloc(self.address(), layout) };
    }
}
