//! The order of examples, and batches assembled ahead of time.
//!
//! What enters: a data set, the fields to read, a schedule. What leaves: one batch after another, each field's
//! rows gathered in a buffer aligned to 64 bytes. Invariants: which examples a step sees is a function of (seed,
//! step) alone, so a run can start at any step; every epoch sees every example once; the last batch of an epoch
//! may be short. A thread gathers the next chunk of batches while the step computes; chunks hold up to a
//! mebibyte, so that small steps do not pay a hand-over each.

use super::data::Dataset;
use super::philox::Philox;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// How far a chunk goes, in bytes, before it is handed over.
const CHUNK_BYTES: usize = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Examples in a batch, at least 1.
    pub batch: usize,
    pub seed: u64,
    pub shuffle: bool,
    /// The first step to deliver, counted from the run's start.
    pub first_step: u64,
    /// The step to stop before.
    pub end_step: u64,
}

impl Schedule {
    /// Every example once, in the order of the file.
    pub fn once(n_examples: usize, batch: usize) -> Schedule {
        let end_step = steps_per_epoch(n_examples, batch);
        Schedule { batch, seed: 0, shuffle: false, first_step: 0, end_step }
    }
}

pub fn steps_per_epoch(n_examples: usize, batch: usize) -> u64 {
    n_examples.div_ceil(batch) as u64
}

/// The order in which `epoch` sees the examples: Fisher and Yates' shuffle (Durstenfeld 1964).
pub fn order(n_examples: usize, seed: u64, epoch: u64, shuffle: bool) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n_examples as u32).collect();
    if shuffle {
        let mut random = Philox::keyed(seed, &format!("shuffle epoch {epoch}"));
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i as u64 + 1) as usize);
        }
    }
    order
}

/// Bytes whose first element lies on a 64-byte boundary.
#[derive(Default)]
struct Aligned {
    storage: Vec<u8>,
    len: usize,
}

impl Aligned {
    fn resize(&mut self, len: usize) {
        if self.storage.len() < len + 63 {
            self.storage.resize(len + 63, 0);
        }
        self.len = len;
    }

    fn start(&self) -> usize {
        self.storage.as_ptr().align_offset(64).min(self.storage.len())
    }

    fn bytes(&self) -> &[u8] {
        let start = self.start();
        &self.storage[start..start + self.len]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let start = self.start();
        &mut self.storage[start..start + self.len]
    }
}

/// The rows of one step.
#[derive(Default)]
pub struct Batch {
    /// Counted from the run's start.
    pub step: u64,
    pub epoch: u64,
    pub n_rows: usize,
    /// True for the last batch of its epoch.
    pub ends_epoch: bool,
    fields: Vec<Aligned>,
}

impl Batch {
    /// The rows' bytes of the i-th of the fields that were asked for.
    pub fn field(&self, i: usize) -> &[u8] {
        self.fields[i].bytes()
    }

    fn gather(&mut self, dataset: &Dataset, fields: &[usize], rows: &[u32]) {
        self.n_rows = rows.len();
        self.fields.resize_with(fields.len(), Aligned::default);
        for (field, out) in fields.iter().zip(&mut self.fields) {
            let field = &dataset.fields[*field];
            let size = field.row_bytes();
            out.resize(size * rows.len());
            for (row, out) in rows.iter().zip(out.bytes_mut().chunks_exact_mut(size)) {
                out.copy_from_slice(&field.bytes[*row as usize * size..][..size]);
            }
        }
    }
}

#[derive(Default)]
struct Chunk {
    batches: Vec<Batch>,
    n_filled: usize,
}

/// A stream of batches. Dropping it stops the thread.
pub struct Batches {
    full: Option<Receiver<Chunk>>,
    empty: Option<SyncSender<Chunk>>,
    current: Chunk,
    next: usize,
    thread: Option<JoinHandle<()>>,
}

impl Batches {
    /// Starts to gather `fields` (indices into the data set's) by the schedule.
    pub fn start(dataset: Arc<Dataset>, fields: Vec<usize>, schedule: Schedule) -> Batches {
        let (full_sender, full) = sync_channel(2);
        let (empty, empty_receiver) = sync_channel(2);
        for _ in 0..2 {
            // The channel has room for both, and the other end is still here.
            let _ = empty.send(Chunk::default());
        }
        let thread = std::thread::spawn(move || {
            produce(&dataset, &fields, schedule, &empty_receiver, &full_sender);
        });
        let (full, empty, thread) = (Some(full), Some(empty), Some(thread));
        Batches { full, empty, current: Chunk::default(), next: 0, thread }
    }

    /// The next batch, or `None` after the schedule's end.
    pub fn next_batch(&mut self) -> Option<&Batch> {
        if self.next == self.current.n_filled {
            let chunk = self.full.as_ref()?.recv().ok()?;
            let used = std::mem::replace(&mut self.current, chunk);
            if let Some(empty) = &self.empty {
                // After its last chunk the thread is gone, and so is the need for empty ones.
                let _ = empty.send(used);
            }
            self.next = 0;
        }
        self.next += 1;
        self.current.batches.get(self.next - 1)
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.full = None;
        self.empty = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gathers the batches of a schedule, step after step.
struct Gatherer<'d> {
    dataset: &'d Dataset,
    fields: &'d [usize],
    schedule: Schedule,
    /// The epoch that `rows` is the order of.
    epoch: Option<u64>,
    rows: Vec<u32>,
}

impl<'d> Gatherer<'d> {
    fn new(dataset: &'d Dataset, fields: &'d [usize], schedule: Schedule) -> Gatherer<'d> {
        Gatherer { dataset, fields, schedule, epoch: None, rows: Vec::new() }
    }

    fn gather(&mut self, step: u64, batch: &mut Batch) {
        let Schedule { batch: size, seed, shuffle, .. } = self.schedule;
        let per_epoch = steps_per_epoch(self.dataset.n_examples, size);
        let epoch = step / per_epoch;
        if self.epoch != Some(epoch) {
            self.epoch = Some(epoch);
            self.rows = order(self.dataset.n_examples, seed, epoch, shuffle);
        }
        let first = (step % per_epoch) as usize * size;
        let last = (first + size).min(self.rows.len());
        batch.gather(self.dataset, self.fields, &self.rows[first..last]);
        (batch.step, batch.epoch, batch.ends_epoch) = (step, epoch, last == self.rows.len());
    }
}

/// All batches of a schedule at once, for measurements.
pub fn gathered(dataset: &Dataset, fields: &[usize], schedule: Schedule) -> Vec<Batch> {
    let mut gatherer = Gatherer::new(dataset, fields, schedule);
    let mut one = |step| {
        let mut batch = Batch::default();
        gatherer.gather(step, &mut batch);
        batch
    };
    (schedule.first_step..schedule.end_step).map(&mut one).collect()
}

fn produce(
    dataset: &Dataset,
    fields: &[usize],
    schedule: Schedule,
    empty: &Receiver<Chunk>,
    full: &SyncSender<Chunk>,
) {
    let row_bytes: usize = fields.iter().map(|f| dataset.fields[*f].row_bytes()).sum();
    let per_chunk = (CHUNK_BYTES / (row_bytes * schedule.batch).max(1)).max(1);
    let mut gatherer = Gatherer::new(dataset, fields, schedule);
    let mut step = schedule.first_step;
    while step < schedule.end_step {
        let Ok(mut chunk) = empty.recv() else { return };
        chunk.n_filled = 0;
        while chunk.n_filled < per_chunk && step < schedule.end_step {
            if chunk.batches.len() == chunk.n_filled {
                chunk.batches.push(Batch::default());
            }
            gatherer.gather(step, &mut chunk.batches[chunk.n_filled]);
            chunk.n_filled += 1;
            step += 1;
        }
        if full.send(chunk).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::data::Field;
    use super::*;

    fn steps(n: usize, schedule: Schedule) -> Vec<(u64, u64, Vec<i32>, bool)> {
        let values: Vec<i32> = (0..n as i32).collect();
        let dataset = Dataset::new("test", vec![Field::i32("x", &[], &values)]).unwrap();
        let mut batches = Batches::start(Arc::new(dataset), vec![0], schedule);
        let mut seen = Vec::new();
        while let Some(batch) = batches.next_batch() {
            assert_eq!(batch.field(0).as_ptr() as usize % 64, 0);
            let rows = bytemuck::cast_slice::<u8, i32>(batch.field(0)).to_vec();
            assert_eq!(rows.len(), batch.n_rows);
            seen.push((batch.step, batch.epoch, rows, batch.ends_epoch));
        }
        seen
    }

    #[test]
    fn every_epoch_sees_every_example_once_and_any_step_can_be_first() {
        for (n, batch) in [(10, 4), (8, 4), (1, 3), (1000, 7), (5, 1)] {
            let per_epoch = steps_per_epoch(n, batch);
            let whole = Schedule { batch, seed: 3, shuffle: true, first_step: 0, end_step: 3 * per_epoch };
            let all = steps(n, whole);
            assert_eq!(all.len() as u64, 3 * per_epoch);
            for epoch in 0..3 {
                let mine = all.iter().filter(|s| s.1 == epoch);
                let mut rows: Vec<i32> = mine.clone().flat_map(|s| s.2.clone()).collect();
                rows.sort_unstable();
                assert_eq!(rows, (0..n as i32).collect::<Vec<_>>());
                assert_eq!(mine.filter(|s| s.3).count(), 1);
            }
            for first_step in 0..whole.end_step.min(20) {
                assert_eq!(steps(n, Schedule { first_step, ..whole }), all[first_step as usize..]);
            }
        }
    }

    #[test]
    fn order_depends_on_seed_and_epoch() {
        let orders =
            [order(50, 1, 0, true), order(50, 1, 1, true), order(50, 2, 0, true), order(50, 1, 0, false)];
        for (i, a) in orders.iter().enumerate() {
            assert!(orders[..i].iter().all(|b| a != b));
        }
        assert_eq!(order(50, 1, 0, true), orders[0]);
        assert_eq!(orders[3], (0..50).collect::<Vec<u32>>());
    }

    #[test]
    fn an_abandoned_stream_stops_its_thread() {
        let dataset = Arc::new(Dataset::new("test", vec![Field::u8("x", &[1000], &[0; 100_000])]).unwrap());
        let schedule = Schedule { batch: 3, seed: 0, shuffle: true, first_step: 0, end_step: u64::MAX };
        let mut batches = Batches::start(dataset.clone(), vec![0], schedule);
        assert_eq!(batches.next_batch().map(|b| b.step), Some(0));
        drop(batches);
        assert_eq!(Arc::strong_count(&dataset), 1);
    }
}
