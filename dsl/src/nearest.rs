//! The nearest of several words: "did you mean".
//!
//! What enters: a word that is not known and the words that are. What leaves: the one that a slip of the
//! fingers away, or nothing. It does not decide which words are candidates.

/// The candidate with the smallest edit distance, if that is at most a third of the word's length (at least
/// one slip, but never all letters of a word); the first of equals. A difference in case alone always counts as near.
///
/// ```
/// assert_eq!(gradc_dsl::nearest::nearest("dnese", ["dense", "conv"]), Some("dense"));
/// assert_eq!(gradc_dsl::nearest::nearest("attention", ["dense", "conv"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let limit = (length.max(3) / 3).min(length.saturating_sub(1));
    candidates
        .into_iter()
        .map(|candidate| (distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|&(distance, candidate)| {
            distance <= limit && distance < candidate.chars().count() && candidate != word
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            table[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let change = usize::from(a[i - 1] != b[j - 1]);
                let mut best =
                    (table[i - 1][j] + 1).min(table[i][j - 1] + 1).min(table[i - 1][j - 1] + change);
                if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    best = best.min(table[i - 2][j - 2] + 1);
                }
                best
            }
        }
    }
    table[a.len()][b.len()]
}
