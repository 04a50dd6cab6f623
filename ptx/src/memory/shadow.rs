//! Who touched a word last: races, found while the kernel runs.
//!
//! One counter of events runs through a launch: barriers and fences advance it. A word remembers its last writer and
//! its last readers with the time of their access. A thread knows since when it has been in step with its warp, its
//! block and the grid; an earlier access of another thread is ordered before its own if it lies before that time.
//!
//! What this misses: a race on bytes of a word of which others were written since, and one that an unrelated
//! synchronisation of the same two parties happens to hide. What it reports is a race, with one exception: order that
//! is made by data alone (a flag without a fence, lanes of a warp without `__syncwarp`) is not seen as order.

use crate::fault::Access;

/// Bytes of a word, each with a bit in a tag's mask.
const WORD: usize = 4;
/// After this many events races are not looked for: the time of a tag would overflow.
const MOST_EVENTS: u32 = (1 << 27) - 1;
/// Blocks that a tag can tell apart.
pub const MOST_BLOCKS: u64 = 1 << 21;

/// Events of a launch.
#[derive(Debug)]
pub struct Clock {
    now: u32,
    /// False if races are not asked for, or can no longer be told.
    pub is_on: bool,
}

impl Clock {
    pub fn new(is_on: bool) -> Clock {
        Clock { now: 1, is_on }
    }

    pub fn now(&self) -> u32 {
        self.now
    }

    /// The time of a new event: all accesses until now lie before it.
    pub fn advance(&mut self) -> u32 {
        if self.now == MOST_EVENTS {
            self.is_on = false;
        } else {
            self.now += 1;
        }
        self.now
    }
}

/// A thread that touches memory, and what it is in step with.
#[derive(Clone, Copy, Debug)]
pub struct Actor {
    pub block: u32,
    pub thread: u32,
    pub now: u32,
    /// What other lanes of its warp did before this time is ordered before what it does.
    pub since_warp: u32,
    pub since_block: u32,
    pub since_grid: u32,
}

/// How many threads of its block a tag stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Debug)]
enum Crowd {
    Thread,
    Warp,
    Block,
}

/// The last access of one kind to a word: 0, or a thread, its block, the crowd it stands for, the time and the bytes of
/// the word.
#[derive(Clone, Copy)]
struct Tag(u64);

impl Tag {
    fn new(actor: &Actor, crowd: Crowd, mask: u64) -> Tag {
        Tag((actor.thread as u64) << 54
            | (actor.block as u64) << 33
            | (crowd as u64) << 31
            | (actor.now as u64) << 4
            | mask)
    }

    fn thread(self) -> u32 {
        (self.0 >> 54) as u32
    }

    fn block(self) -> u32 {
        (self.0 >> 33) as u32 & 0x1f_ffff
    }

    fn crowd(self) -> Crowd {
        [Crowd::Thread, Crowd::Warp, Crowd::Block, Crowd::Block][(self.0 >> 31 & 3) as usize]
    }

    fn time(self) -> u32 {
        (self.0 >> 4) as u32 & MOST_EVENTS
    }

    /// The smallest crowd that holds both; they are of one block.
    fn common(self, actor: &Actor) -> Crowd {
        if self.thread() / 32 != actor.thread / 32 || self.crowd() == Crowd::Block {
            Crowd::Block
        } else if self.thread() != actor.thread || self.crowd() == Crowd::Warp {
            Crowd::Warp
        } else {
            Crowd::Thread
        }
    }

    fn is_ordered_before(self, actor: &Actor) -> bool {
        if self.block() != actor.block {
            return actor.since_grid > self.time();
        }
        match self.common(actor) {
            Crowd::Thread => true,
            Crowd::Warp => actor.since_warp > self.time(),
            Crowd::Block => actor.since_block > self.time(),
        }
    }

    fn who(self, actor: &Actor) -> String {
        let thread = self.thread();
        match (self.crowd(), self.block() == actor.block) {
            (_, false) => format!("block {}", self.block()),
            (Crowd::Thread, true) => format!("thread {thread} of the block"),
            (Crowd::Warp, true) => format!("threads of warp {}", thread / 32),
            (Crowd::Block, true) => "threads of several warps".into(),
        }
    }
}

/// A race: what was done before, and by whom.
pub struct Conflict {
    pub other: Access,
    pub by: String,
}

/// The last accesses to each word of one buffer.
#[derive(Debug)]
pub struct Shadow {
    writers: Vec<u64>,
    readers: Vec<u64>,
    /// When a block other than that of the last reader read the word; 0 if none did.
    other_readers: Vec<u32>,
}

fn words(at: usize, bytes: usize) -> impl Iterator<Item = (usize, u64)> {
    (at / WORD..(at + bytes).div_ceil(WORD)).map(move |word| {
        let first = at.saturating_sub(word * WORD);
        let last = (at + bytes - word * WORD).min(WORD);
        (word, (1 << last) - (1 << first))
    })
}

impl Shadow {
    pub fn new(bytes: usize) -> Shadow {
        let n = bytes.div_ceil(WORD);
        Shadow { writers: vec![0; n], readers: vec![0; n], other_readers: vec![0; n] }
    }

    /// Nothing was touched.
    pub fn clear(&mut self) {
        self.writers.fill(0);
        self.readers.fill(0);
        self.other_readers.fill(0);
    }

    /// True if this launch has written one of the bytes.
    pub fn is_written(&self, at: usize, bytes: usize) -> bool {
        words(at, bytes).any(|(word, mask)| self.writers[word] & mask != 0)
    }

    pub fn read(&mut self, at: usize, bytes: usize, actor: &Actor) -> Option<Conflict> {
        for (word, mask) in words(at, bytes) {
            if let Some(conflict) = self.conflict_with_writer(word, mask, actor) {
                return Some(conflict);
            }
            self.remember_reader(word, mask, actor);
        }
        None
    }

    fn remember_reader(&mut self, word: usize, mask: u64, actor: &Actor) {
        let last = Tag(self.readers[word]);
        // A crowd is remembered for the bytes that all of it read.
        let both = mask & last.0;
        let others = &mut self.other_readers[word];
        if both == 0 || actor.since_grid > *others {
            *others = 0;
        }
        self.readers[word] = if both == 0 || last.is_ordered_before(actor) {
            Tag::new(actor, Crowd::Thread, if *others == 0 { mask } else { both }).0
        } else if last.block() == actor.block {
            Tag::new(actor, last.common(actor), both).0
        } else {
            *others = last.time();
            Tag::new(actor, Crowd::Thread, both).0
        };
    }

    /// `same`: what is written is what is there, which harms no other writer.
    pub fn write(&mut self, at: usize, bytes: usize, actor: &Actor, same: bool) -> Option<Conflict> {
        for (word, mask) in words(at, bytes) {
            if !same && let Some(conflict) = self.conflict_with_writer(word, mask, actor) {
                return Some(conflict);
            }
            if let Some(conflict) = self.conflict_with_reader(word, mask, actor) {
                return Some(conflict);
            }
            let last = Tag(self.writers[word]);
            // What the same thread wrote of the word since its block's last barrier counts as written now.
            let own = last.block() == actor.block
                && last.thread() == actor.thread
                && last.time() >= actor.since_block;
            let mask = if last.0 != 0 && own { mask | last.0 & 15 } else { mask };
            self.writers[word] = Tag::new(actor, Crowd::Thread, mask).0;
        }
        None
    }

    /// An atomic access leaves no trace: it races with plain accesses, never with its like.
    pub fn atomic(&self, at: usize, bytes: usize, actor: &Actor) -> Option<Conflict> {
        words(at, bytes).find_map(|(word, mask)| {
            self.conflict_with_writer(word, mask, actor)
                .or_else(|| self.conflict_with_reader(word, mask, actor))
        })
    }

    fn conflict_with_writer(&self, word: usize, mask: u64, actor: &Actor) -> Option<Conflict> {
        let tag = Tag(self.writers[word]);
        let is_fine = tag.0 & mask == 0 || tag.is_ordered_before(actor);
        (!is_fine).then(|| Conflict { other: Access::Write, by: tag.who(actor) })
    }

    fn conflict_with_reader(&self, word: usize, mask: u64, actor: &Actor) -> Option<Conflict> {
        let tag = Tag(self.readers[word]);
        if tag.0 & mask == 0 {
            return None;
        }
        if !tag.is_ordered_before(actor) {
            return Some(Conflict { other: Access::Read, by: tag.who(actor) });
        }
        let others = self.other_readers[word];
        let is_fine = others == 0 || actor.since_grid > others;
        (!is_fine).then(|| Conflict { other: Access::Read, by: "another block".into() })
    }
}
