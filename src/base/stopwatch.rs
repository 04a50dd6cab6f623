//! Where the time of a compilation goes.
//!
//! What enters: pieces of work, each with a name, one inside of another. What leaves: for each path of names the time of all
//! runs under it, in the order in which they first began. Invariant: on a thread that has not started the watch, timing is
//! running and nothing else. Each thread has a watch of its own.

use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Work of one name inside of one other.
#[derive(Clone, PartialEq, Debug)]
pub struct Lap {
    pub name: &'static str,
    /// How many others are around.
    pub depth: usize,
    pub time: Duration,
    /// How often it ran.
    pub n: usize,
    /// What was counted in it: `13 kernels`.
    pub counts: Vec<(&'static str, usize)>,
}

#[derive(Default)]
struct Watch {
    laps: Vec<Lap>,
    /// Of each lap, the lap around it.
    around: Vec<Option<usize>>,
    current: Option<usize>,
}

thread_local! {
    static WATCH: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Starts this thread's watch.
pub fn start() {
    WATCH.set(Some(Watch::default()));
}

/// Runs `work`, as a part of what is being timed.
pub fn timed<T>(name: &'static str, work: impl FnOnce() -> T) -> T {
    let enter = |watch: &mut Watch| {
        let depth = watch.current.map_or(0, |around| watch.laps[around].depth + 1);
        let is_known = |i: &usize| watch.laps[*i].name == name && watch.around[*i] == watch.current;
        let lap = (0..watch.laps.len()).find(is_known).unwrap_or_else(|| {
            watch.laps.push(Lap { name, depth, time: Duration::ZERO, n: 0, counts: Vec::new() });
            watch.around.push(watch.current);
            watch.laps.len() - 1
        });
        watch.current = Some(lap);
        lap
    };
    let Some(lap) = WATCH.with_borrow_mut(|watch| watch.as_mut().map(enter)) else { return work() };
    let begun = Instant::now();
    let result = work();
    let time = begun.elapsed();
    WATCH.with_borrow_mut(|watch| {
        // Work that takes the laps ends with no watch.
        let Some(watch) = watch else { return };
        watch.laps[lap].time += time;
        watch.laps[lap].n += 1;
        watch.current = watch.around[lap];
    });
    result
}

/// Adds to a count of the work that is being timed.
pub fn count(what: &'static str, n: usize) {
    WATCH.with_borrow_mut(|watch| {
        let Some(watch) = watch else { return };
        let Some(current) = watch.current else { return };
        let counts = &mut watch.laps[current].counts;
        match counts.iter_mut().find(|(name, _)| *name == what) {
            Some((_, sum)) => *sum += n,
            None => counts.push((what, n)),
        }
    });
}

/// Stops this thread's watch; all laps, each after the one around it. None if it was not started.
pub fn stop() -> Vec<Lap> {
    let Watch { laps, around, .. } = WATCH.take().unwrap_or_default();
    let mut order = Vec::with_capacity(laps.len());
    fn below(parent: Option<usize>, around: &[Option<usize>], order: &mut Vec<usize>) {
        for i in (0..around.len()).filter(|i| around[*i] == parent) {
            order.push(i);
            below(Some(i), around, order);
        }
    }
    below(None, &around, &mut order);
    order.into_iter().map(|i| laps[i].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_nest_and_add_up() {
        assert_eq!(timed("nobody watches", || 3), 3);
        start();
        for _ in 0..2 {
            timed("outer", || {
                timed("a", || std::thread::sleep(Duration::from_millis(1)));
                timed("b", || count("things", 2));
                timed("a", || ());
            });
        }
        timed("last", || ());
        let laps = stop();
        let shown: Vec<_> = laps.iter().map(|lap| (lap.name, lap.depth, lap.n)).collect();
        assert_eq!(shown, [("outer", 0, 2), ("a", 1, 4), ("b", 1, 2), ("last", 0, 1)]);
        assert_eq!(laps[2].counts, [("things", 4)]);
        assert!(laps[0].time >= laps[1].time + laps[2].time && laps[1].time >= Duration::from_millis(2));
        assert_eq!(stop(), []);
    }
}
