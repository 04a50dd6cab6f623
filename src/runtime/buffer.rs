//! Bytes that start on a cache line, at an address that does not change.
//!
//! Large buffers start on a 2 MiB boundary and ask the system for pages of that size: a step walks through all weights and the
//! optimizer's states, and with small pages it would spend more on finding them than on reading them. The system gives
//! zeroed pages one by one when they are touched; `Pages` has it give all of them, while something else is being done.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Zeroed at first.
pub struct Buffer {
    start: NonNull<u8>,
    bytes: usize,
    owner: Owner,
}

/// Who has the memory back.
enum Owner {
    Allocator(Layout),
    /// A mapping of its own, from its begin, and how long it is.
    #[cfg(target_os = "linux")]
    System(NonNull<u8>, usize),
}

// SAFETY: the buffer owns its bytes, as a `Vec` does; who writes them is settled by the borrows of `Buffer`.
unsafe impl Send for Buffer {}
// SAFETY: shared borrows give shared slices only.
unsafe impl Sync for Buffer {}

impl Buffer {
    const ALIGNMENT: usize = 64;
    const LARGE_PAGE: usize = 2 << 20;

    /// `None` when the system has no such memory.
    pub fn new(bytes: usize) -> Option<Buffer> {
        #[cfg(target_os = "linux")]
        if bytes >= Self::LARGE_PAGE {
            return Buffer::mapped(bytes);
        }
        let alignment = if bytes >= Self::LARGE_PAGE { Self::LARGE_PAGE } else { Self::ALIGNMENT };
        // At least one cache line is reserved, so that an address is valid even for no elements.
        let layout = Layout::from_size_align(bytes.max(Self::ALIGNMENT), alignment).ok()?;
        // SAFETY: the layout has a size, which is not 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Buffer { start, bytes, owner: Owner::Allocator(layout) })
    }

    #[cfg(target_os = "linux")]
    fn mapped(bytes: usize) -> Option<Buffer> {
        let length = bytes.checked_add(Self::LARGE_PAGE)?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping of nobody's memory, at a place that the system chooses.
        let begin = unsafe { libc::mmap(std::ptr::null_mut(), length, access, kind, -1, 0) };
        if begin == libc::MAP_FAILED {
            return None;
        }
        let begin = NonNull::new(begin.cast::<u8>())?;
        let skipped = begin.as_ptr().align_offset(Self::LARGE_PAGE);
        // SAFETY: less than a large page is skipped, and the mapping is a large page longer than the buffer.
        let start = unsafe { begin.add(skipped) };
        // SAFETY: the range is this mapping's own and starts on a page's boundary. The advice changes no contents, and the system
        // may ignore it.
        unsafe { libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        Some(Buffer { start, bytes, owner: Owner::System(begin, length) })
    }

    /// Has the system give the large page that begins there. Contents do not change, and others may read and write them meanwhile.
    fn populate(&self, at: usize) {
        #[cfg(target_os = "linux")]
        if let Owner::System(..) = self.owner {
            let bytes = Self::LARGE_PAGE.min(self.bytes - at);
            // SAFETY: the range is this mapping's own; where the system does not know the advice, pages come when they are
            // touched.
            unsafe { libc::madvise(self.address().add(at).cast(), bytes, libc::MADV_POPULATE_WRITE) };
        }
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

/// Pages of buffers that the system is still to give. Any number of threads wait for them, each for another.
pub struct Pages<'b> {
    /// Large ones, and where in each.
    all: Vec<(&'b Buffer, usize)>,
    n_asked: AtomicUsize,
    /// Whether nobody else of the process maps memory.
    is_all: AtomicBool,
}

impl<'b> Pages<'b> {
    /// In which others get their turn.
    const TURN: std::time::Duration = std::time::Duration::from_micros(50);

    pub fn of(buffers: impl IntoIterator<Item = &'b Buffer>) -> Pages<'b> {
        let of_buffer =
            |buffer: &'b Buffer| (0..buffer.bytes).step_by(Buffer::LARGE_PAGE).map(move |at| (buffer, at));
        let large = buffers.into_iter().filter(|buffer| buffer.bytes >= Buffer::LARGE_PAGE);
        let all = large.flat_map(of_buffer).collect();
        Pages { all, n_asked: AtomicUsize::new(0), is_all: AtomicBool::new(false) }
    }

    /// Waits for pages until there are none left, while something else is being done. While the system gives one, nobody else of the
    /// process can map memory, as a compiler does for its code, and it would let us go first again, were we there again at once.
    pub fn wait(&self) {
        while self.next() {
            if !self.is_all.load(Ordering::Relaxed) {
                std::thread::sleep(Self::TURN);
            }
        }
    }

    /// The same, when nothing else is left to do.
    pub fn wait_for_all(&self) {
        self.is_all.store(true, Ordering::Relaxed);
        while self.next() {}
    }

    /// Waits for one page; whether there was one.
    fn next(&self) -> bool {
        let Some((buffer, at)) = self.all.get(self.n_asked.fetch_add(1, Ordering::Relaxed)) else {
            return false;
        };
        buffer.populate(*at);
        true
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        match self.owner {
            // SAFETY: allocated in `new` with this very layout, and not freed since.
            Owner::Allocator(layout) => unsafe { dealloc(self.address(), layout) },
            #[cfg(target_os = "linux")]
            // SAFETY: mapped in `mapped`, so long, and not unmapped since.
            Owner::System(begin, length) => unsafe {
                libc::munmap(begin.as_ptr().cast(), length);
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zero_aligned_and_writable_to_their_end() {
        for bytes in [0, 1, 64, Buffer::LARGE_PAGE - 1, Buffer::LARGE_PAGE, 3 * Buffer::LARGE_PAGE + 5] {
            let mut buffer = Buffer::new(bytes).unwrap();
            let pages = Pages::of([&buffer]);
            std::thread::scope(|scope| {
                scope.spawn(|| pages.wait());
                assert!(buffer.bytes().iter().all(|byte| *byte == 0));
                pages.wait_for_all();
            });
            let alignment = if bytes >= Buffer::LARGE_PAGE { Buffer::LARGE_PAGE } else { Buffer::ALIGNMENT };
            assert_eq!(buffer.address() as usize % alignment, 0);
            buffer.bytes_mut().fill(7);
            Pages::of([&buffer]).wait();
            assert!(buffer.bytes().len() == bytes && buffer.bytes().iter().all(|byte| *byte == 7));
        }
        assert!(Buffer::new(usize::MAX).is_none() && Buffer::new(usize::MAX / 2).is_none());
    }
}
