//! A step of a compiled program allocates nothing, whatever it computes and however many threads do it.
//!
//! The allocator of this test counts what all threads ask of it while a flag is up. The first steps may allocate (lists of
//! who does what, once for each batch size); the steps after them may not.

use gradc::base::{DType, Dim, TensorType};
use gradc::graph::Graph;
use gradc::runtime::{Session, StepEnv};
use gradc::scalar::Func;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static N_ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

fn count() {
    if COUNTS.load(Ordering::Relaxed) {
        N_ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: everything is passed on to the system's allocator, unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A network of dense layers with noise, tanh, its values in order and a mean square as loss, trained by gradient descent.
fn training_step(widths: &[usize]) -> Graph {
    let mut g = Graph::new();
    let input = |width: usize| TensorType::new(DType::F32, vec![Dim::symbol("batch"), width.into()]);
    let x = g.input("x", input(widths[0]));
    let y = g.input("y", input(widths[widths.len() - 1]));
    let noise = g.random(gradc::base::Distribution::Normal, 0, input(widths[0]).shape);
    let mut h = g.map(Func::Add, &[x, noise]).unwrap();
    let mut params = Vec::new();
    for (i, pair) in widths.windows(2).enumerate() {
        let w = g.param(format!("w{i}"), TensorType::new(DType::F32, vec![pair[0].into(), pair[1].into()]));
        let b = g.param(format!("b{i}"), TensorType::new(DType::F32, vec![pair[1].into()]));
        params.extend([w, b]);
        let product = g.matmul(h, w).unwrap();
        let sum = g.map_broadcast(Func::Add, &[product, b]).unwrap();
        h = g.map(Func::Tanh, &[sum]).unwrap();
    }
    let places = g.sort(h, 1, true).unwrap();
    h = g.take_along(h, places, 1).unwrap();
    let difference = g.map(Func::Sub, &[h, y]).unwrap();
    let square = g.map(Func::Mul, &[difference, difference]).unwrap();
    let loss = g.mean(square, &[0, 1]).unwrap();
    let rate = g.constant(0.01, DType::F32);
    for param in params {
        let slope = g.grad(loss, param).unwrap();
        let step = g.map_broadcast(Func::Mul, &[slope, rate]).unwrap();
        let next = g.map(Func::Sub, &[param, step]).unwrap();
        g.updates.push((param, next));
    }
    g.outputs.push(("loss".into(), loss));
    g
}

/// Allocations of ten steps at each of two batch sizes, after one step at each: the fewest of some tries, for on a busy machine a thread
/// of the session may begin, and allocate what a thread needs, when the others are already at work.
fn n_allocations(widths: &[usize], max_batch: usize, n_threads: usize) -> usize {
    let mut session = Session::new(n_threads);
    let plan = gradc::plan(&gradc::lower(&training_step(widths)), max_batch as i64);
    let program = session.add(plan).unwrap();
    let values =
        |n: usize| -> Vec<u8> { (0..n).flat_map(|i| ((i * 37 % 64) as f32 / 64.0).to_ne_bytes()).collect() };
    let of_batch = |batch: usize| [values(batch * widths[0]), values(batch * widths[widths.len() - 1])];
    let batches = [max_batch, max_batch / 2 + 1].map(|batch| (batch, of_batch(batch)));
    let mut step = |number: u64| {
        for (batch, [x, y]) in &batches {
            session.run(program, *batch, StepEnv { seed: 1, step: number }, &[x, y]);
        }
    };
    step(0);
    let mut count = || {
        N_ALLOCATIONS.store(0, Ordering::SeqCst);
        COUNTS.store(true, Ordering::SeqCst);
        (1..=10).for_each(&mut step);
        COUNTS.store(false, Ordering::SeqCst);
        N_ALLOCATIONS.load(Ordering::SeqCst)
    };
    const TRIES: usize = 5;
    let mut least = count();
    for _ in 1..TRIES {
        if least > 0 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            least = least.min(count());
        }
    }
    least
}

/// One test, for a second one's thread would be counted.
#[test]
fn steps_allocate_nothing() {
    let cases: &[(&str, &[usize], usize)] = &[
        ("a small network", &[3, 16, 2], 8),
        ("products of some size", &[130, 257, 70, 10], 48),
        ("products deeper than a panel", &[600, 40], 48),
    ];
    for (name, widths, batch) in cases {
        for n_threads in [1, 2, 4] {
            let n = n_allocations(widths, *batch, n_threads);
            assert_eq!(n, 0, "{name}, {n_threads} threads: allocations in 20 steps");
        }
    }
}
