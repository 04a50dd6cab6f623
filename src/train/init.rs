//! Initial values of variables.
//!
//! What enters: a variable and the run's seed. What leaves: its elements. Invariant: the numbers depend on (seed,
//! path, shape, distribution) alone, so a layer added elsewhere changes nothing here.

use super::philox::Philox;
use crate::model::{Initial, Variable};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

/// Gives each variable's first value to `set`, in order; other threads work them out.
pub fn initial_values(variables: &[Variable], seed: u64, mut set: impl FnMut(&Variable, &[f32])) {
    // As many as there is something to do for: numbers come slower than they are taken away.
    const NUMBERS_A_THREAD: i64 = 50_000;
    let n_numbers: i64 = variables.iter().filter_map(|v| v.ty.n_elements().as_const()).sum();
    let n_cores = std::thread::available_parallelism().map_or(1, usize::from);
    let n_threads = ((n_numbers / NUMBERS_A_THREAD) as usize).min(n_cores);
    if n_threads <= 1 {
        return variables.iter().for_each(|variable| set(variable, &initial_value(variable, seed)));
    }
    let next = AtomicUsize::new(0);
    // Few at a time: what waits to be taken away is memory.
    let (sender, values) = sync_channel(n_threads);
    std::thread::scope(|scope| {
        for sender in (0..n_threads).map(|_| sender.clone()) {
            scope.spawn(|| {
                let sender = sender;
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    let Some(variable) = variables.get(i) else { return };
                    if sender.send((i, initial_value(variable, seed))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut early: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for (i, variable) in variables.iter().enumerate() {
            while !early.contains_key(&i) {
                early.extend([values.recv().expect("who takes a variable sends its value")]);
            }
            set(variable, &early.remove(&i).expect("it just came"));
        }
    });
}

/// The variable's first value, row-major.
pub fn initial_value(variable: &Variable, seed: u64) -> Vec<f32> {
    let shape: Vec<usize> =
        variable.ty.shape.iter().map(|d| d.as_const().unwrap_or(0).max(0) as usize).collect();
    let n: usize = shape.iter().product();
    let mut random = Philox::keyed(seed, variable.begins_as.as_ref().unwrap_or(&variable.path));
    match variable.initial {
        Initial::Constant(value) => vec![value as f32; n],
        Initial::Uniform { low, high } => {
            scaled(n, |block| random.uniforms(block), |x| low + (high - low) * x)
        }
        Initial::Normal { mean, deviation } => {
            scaled(n, |block| random.normals(block), |x| mean + deviation * x)
        }
        Initial::Orthogonal { gain } => {
            let columns = shape.last().copied().unwrap_or(1);
            orthogonal(n / columns.max(1), columns, gain, &mut random)
        }
    }
}

/// Numbers a block at a time, which stays in a core's first cache, and what is made of each.
fn scaled(n: usize, mut numbers: impl FnMut(&mut [f32]), of: impl Fn(f64) -> f64) -> Vec<f32> {
    let mut block = [0.0; 4096];
    let mut values = Vec::with_capacity(n);
    while values.len() < n {
        let block = &mut block[..(n - values.len()).min(4096)];
        numbers(block);
        values.extend(block.iter().map(|x| of(f64::from(*x)) as f32));
    }
    values
}

/// Gram and Schmidt, twice for accuracy ("twice is enough", Giraud et al. 2005), on rows or columns, whichever
/// are fewer.
fn orthogonal(rows: usize, columns: usize, gain: f64, random: &mut Philox) -> Vec<f32> {
    let (n_vectors, length) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(n_vectors);
    while basis.len() < n_vectors {
        let mut vector = random.normal_vector(length);
        for _ in 0..2 {
            for other in &basis {
                let along = dot(&vector, other);
                vector.iter_mut().zip(other).for_each(|(v, o)| *v -= along * o);
            }
        }
        let norm = dot(&vector, &vector).sqrt();
        if norm > 1e-6 {
            vector.iter_mut().for_each(|v| *v /= norm);
            basis.push(vector);
        }
    }
    let element = |row: usize, column: usize| {
        if rows <= columns { basis[row][column] } else { basis[column][row] }
    };
    (0..rows * columns).map(|i| (gain * element(i / columns, i % columns)) as f32).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{DType, Dim, TensorType};
    use gradc_dsl::Span;

    fn variable(path: &str, shape: &[i64], initial: Initial) -> Variable {
        let shape: Vec<Dim> = shape.iter().map(|n| Dim::from(*n)).collect();
        let ty = TensorType::new(DType::F32, shape);
        Variable { path: path.into(), ty, initial, begins_as: None, trained: true, span: Span::default() }
    }

    #[test]
    fn distributions_have_their_moments() {
        let cases = [
            (Initial::Constant(0.5), 0.5, 0.0),
            (Initial::Uniform { low: -1.0, high: 3.0 }, 1.0, 4.0 / 12f64.sqrt()),
            (Initial::Normal { mean: 2.0, deviation: 0.1 }, 2.0, 0.1),
            (Initial::Orthogonal { gain: 1.0 }, 0.0, 0.1),
        ];
        for (initial, mean, deviation) in cases {
            let values = initial_value(&variable("w", &[100, 100], initial), 1);
            let n = values.len() as f64;
            let m = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
            let d = (values.iter().map(|v| (f64::from(*v) - m).powi(2)).sum::<f64>() / n).sqrt();
            assert!((m - mean).abs() < 0.05 && (d - deviation).abs() < 0.05, "{initial:?}: {m} {d}");
        }
    }

    #[test]
    fn orthogonal_means_orthogonal() {
        for shape in [&[4, 9][..], &[9, 4], &[3, 2, 4], &[5], &[]] {
            let values = initial_value(&variable("w", shape, Initial::Orthogonal { gain: 2.0 }), 3);
            let columns = *shape.last().unwrap_or(&1) as usize;
            let rows = values.len() / columns;
            let vector = |i: usize| -> Vec<f64> {
                let along = |j: usize| if rows <= columns { i * columns + j } else { j * columns + i };
                (0..rows.max(columns)).map(|j| f64::from(values[along(j)])).collect()
            };
            for i in 0..rows.min(columns) {
                for j in 0..rows.min(columns) {
                    let wanted = if i == j { 4.0 } else { 0.0 };
                    assert!((dot(&vector(i), &vector(j)) - wanted).abs() < 1e-5, "{shape:?} {i} {j}");
                }
            }
        }
    }

    #[test]
    fn values_depend_on_seed_and_path() {
        let normal = Initial::Normal { mean: 0.0, deviation: 1.0 };
        let value = |path: &str, seed| initial_value(&variable(path, &[4], normal), seed);
        assert_eq!(value("a", 1), value("a", 1));
        assert_ne!(value("a", 1), value("b", 1));
        assert_ne!(value("a", 1), value("a", 2));
    }
}
