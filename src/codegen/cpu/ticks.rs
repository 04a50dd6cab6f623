//! When each op of a kernel was done, for profiles.
//!
//! What enters: a thread's list of marks, while the thread runs tiles; a mark after each op of a program that ticks. What leaves:
//! marks, in the order in which they happened. Invariant: a mark allocates nothing, and a list that is full takes no more. Not
//! here: what the marks mean.

use std::cell::Cell;
use std::time::Instant;

/// What happened, and when: nanoseconds from the list's origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    pub at: u64,
    pub what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// A tile begins: which launch of the plan, all phases counted through, and the tile's first row.
    Begun { launch: u32, start: u32 },
    /// The tile's op of this number is done.
    Done { op: u32 },
}

/// A list of marks with room for a number of them that is known before.
pub struct Marks {
    origin: Instant,
    marks: Vec<Mark>,
}

impl Marks {
    pub fn new(origin: Instant, room: usize) -> Marks {
        Marks { origin, marks: Vec::with_capacity(room) }
    }

    pub fn all(&self) -> &[Mark] {
        &self.marks
    }

    fn push(&mut self, what: What) {
        if self.marks.len() < self.marks.capacity() {
            self.marks.push(Mark { at: self.origin.elapsed().as_nanos() as u64, what });
        }
    }
}

thread_local! {
    static LISTENER: Cell<*mut Marks> = const { Cell::new(std::ptr::null_mut()) };
}

/// Marks of this thread go into a list until this is dropped.
pub struct Listening<'a>(std::marker::PhantomData<&'a mut Marks>);

impl<'a> Listening<'a> {
    pub fn begin(marks: &'a mut Marks) -> Listening<'a> {
        LISTENER.set(marks);
        Listening(std::marker::PhantomData)
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        LISTENER.set(std::ptr::null_mut());
    }
}

/// Adds a mark to the list that this thread's marks go into, if there is one.
pub fn mark(what: What) {
    let listener = LISTENER.get();
    if !listener.is_null() {
        // SAFETY: `Listening` borrows the list for as long as the pointer is there, and the pointer is this thread's alone.
        unsafe { (*listener).push(what) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_go_to_who_listens_and_stop_when_the_list_is_full() {
        let mut marks = Marks::new(Instant::now(), 2);
        mark(What::Done { op: 7 });
        {
            let _listening = Listening::begin(&mut marks);
            mark(What::Begun { launch: 3, start: 8 });
            mark(What::Done { op: 0 });
            mark(What::Done { op: 1 });
        }
        mark(What::Done { op: 9 });
        let found: Vec<What> = marks.all().iter().map(|mark| mark.what).collect();
        assert_eq!(found, [What::Begun { launch: 3, start: 8 }, What::Done { op: 0 }]);
        assert!(marks.all()[0].at <= marks.all()[1].at);
    }
}
