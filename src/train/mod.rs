//! Data, batches, the training loop, checkpoints, metrics.
//!
//! What enters: a checked and compiled model, and the data its train block names. What leaves: trained
//! parameters, metrics, a run folder. Invariant: everything a run computes is a function of (model, data, seed,
//! step), so a run that was stopped anywhere goes on to the same bits.
//! Not here: what a model means (`model`), how a step is executed (`runtime`), what a person sees (`cli`).

pub mod batches;
pub mod checkpoint;
pub mod data;
pub mod engine;
pub mod folder;
pub mod init;
mod philox;
pub mod run;
pub mod weights;

/// The candidate that looks most like `name`, when one is close enough to be what was meant.
pub(crate) fn nearest<'a>(name: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let limit = 1 + name.chars().count() / 4;
    let scored = candidates.iter().map(|c| (edit_distance(name, c), *c));
    scored.filter(|(distance, _)| *distance <= limit).min().map(|(_, c)| c)
}

/// Insertions, deletions and substitutions from `a` to `b` (Levenshtein 1966).
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substitute = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
