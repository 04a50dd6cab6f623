//! Text from a trained model, a character at a time.
//!
//! What enters: a trainer with weights whose `predict` gives logits for each of `tokens`, a vocabulary, how to choose. What leaves:
//! characters, each chosen from the logits behind the last one. The model reads the last `context` characters; shorter text
//! is followed by zeros, which what comes before does not see. Invariant: the same weights, prompt and seed give the same text,
//! on any number of threads.

use super::data::{Dataset, Field};
use super::engine::Engine;
use super::philox::Philox;
use super::run::{TrainError, Trainer};
use std::sync::Arc;

/// How the next character is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// Logits are divided by it; 0 takes the likeliest.
    pub temperature: f32,
    /// Of so many likeliest ones; all if 0.
    pub top_k: usize,
    pub seed: u64,
}

/// A character's number from its logits.
pub fn choose(logits: &[f32], choice: &Choice, random: &mut Philox) -> usize {
    // The likeliest first; of equals the first.
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]));
    if choice.temperature <= 0.0 {
        return order[0];
    }
    if choice.top_k > 0 {
        order.truncate(choice.top_k);
    }
    let top = f64::from(logits[order[0]]);
    let weight = |i: &usize| ((f64::from(logits[*i]) - top) / f64::from(choice.temperature)).exp();
    let total: f64 = order.iter().map(weight).sum();
    let mut left = f64::from(random.uniform()) * total;
    for i in &order {
        left -= weight(i);
        if left < 0.0 {
            return *i;
        }
    }
    order[order.len() - 1]
}

/// Goes on from `tokens` by `n` more, each given to `each`.
///
/// # Errors
/// What running the model gives, and what `each` refuses.
pub fn generate<E: Engine, F: From<TrainError>>(
    trainer: &mut Trainer<E>,
    like: &Dataset,
    output: &str,
    mut tokens: Vec<i32>,
    n: usize,
    choice: &Choice,
    mut each: impl FnMut(i32) -> Result<(), F>,
) -> Result<(), F> {
    let context = like.field("tokens").map_or(0, |field| field.row_bytes() / 4);
    let mut random = Philox::keyed(choice.seed, "generate");
    for _ in 0..n {
        let seen = &tokens[tokens.len().saturating_sub(context)..];
        let logits = trainer.predict(row(like, seen), output)?;
        let logits: &[f32] = bytemuck::cast_slice(&logits);
        let vocabulary = logits.len() / context;
        let last = seen.len() - 1;
        let next = choose(&logits[last * vocabulary..][..vocabulary], choice, &mut random) as i32;
        tokens.push(next);
        each(next)?;
    }
    Ok(())
}

/// One example with these tokens; its other fields are zeros.
fn row(like: &Dataset, tokens: &[i32]) -> Arc<Dataset> {
    let field = |field: &Field| {
        let mut bytes = vec![0; field.row_bytes()];
        if field.name == "tokens" {
            let given: &[u8] = bytemuck::cast_slice(tokens);
            bytes[..given.len()].copy_from_slice(given);
        }
        Field { name: field.name.clone(), ty: field.ty.clone(), bytes }
    };
    let fields = like.fields.iter().map(field).collect();
    Arc::new(Dataset { fields, n_examples: 1, sizes: like.sizes.clone(), vocabulary: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices() {
        let logits = [0.0, 3.0, 3.0, 1.0];
        let often = |temperature: f32, top_k: usize| {
            let mut counts = [0u32; 4];
            let mut random = Philox::new(1);
            for _ in 0..4000 {
                counts[choose(&logits, &Choice { temperature, top_k, seed: 0 }, &mut random)] += 1;
            }
            counts
        };
        assert_eq!(often(0.0, 0), [0, 4000, 0, 0]);
        assert_eq!(often(1.0, 1), [0, 4000, 0, 0]);
        let two = often(1.0, 2);
        assert!(two[0] == 0 && two[3] == 0 && two[1].abs_diff(two[2]) < 300, "{two:?}");
        // e^0, e^3, e^3, e^1 of 43.9.
        let all = often(1.0, 0);
        assert!(all[0].abs_diff(91) < 50 && all[3].abs_diff(248) < 80, "{all:?}");
        let flat = often(100.0, 0);
        assert!(flat.iter().all(|n| (800..1200).contains(n)), "{flat:?}");
    }
}
