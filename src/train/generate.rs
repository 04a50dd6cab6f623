//! Text from a trained model, a character at a time.
//!
//! What enters: a model whose `predict` gives logits for each of `tokens`; an engine with weights; how to choose. What leaves:
//! characters, each chosen from the logits behind the last one. The model goes on by one place at a time and keeps what it
//! needs of the places before (`graph/incremental.rs`). Where its context is full it goes on from the last half of it, which it
//! reads anew. Invariants: the same weights, prompt and seed give the same text, on any number of threads; a model in which
//! what stands at a place depends on what comes behind it is refused.

use super::data::Field;
use super::engine::{Engine, Program};
use super::philox::Philox;
use super::run::TrainError;
use crate::autodiff::differentiate;
use crate::graph::Graph;
use crate::graph::incremental::{PLACE, incremental};
use crate::graph::rewrite::specialize;
use crate::model::{Initial, Model, Variable};
use gradc_dsl::Span;
use smol_str::SmolStr;

/// The field that holds the text.
const TOKENS: &str = "tokens";

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

/// A model made to go on by one place.
pub struct Writer {
    /// Its `predict` is one place; it does nothing else. The variables that it keeps come after the given model's own.
    pub model: Model,
    output: SmolStr,
    /// Places of the sequence.
    context: usize,
    /// Inputs other than tokens and place, all zeros.
    others: Vec<(SmolStr, Vec<u8>)>,
    kept: Vec<(SmolStr, usize)>,
}

impl Writer {
    /// `fields` are the data's; `output` names a prediction.
    pub fn new(model: &Model, fields: &[Field], output: &str) -> Writer {
        let mut whole = specialize(&differentiate(&model.predict), "batch", 1);
        whole.outputs.retain(|(name, _)| name == output);
        let step = incremental(&whole, TOKENS).expect("checked: the graph is well-typed");
        let mut model =
            Model { train: Graph::new(), eval: Graph::new(), predict: step.graph, ..model.clone() };
        model.settings.batch = 1;
        let mut kept = Vec::new();
        for (path, ty) in step.kept {
            kept.push((path.clone(), ty.n_elements().as_const().expect("sizes are fixed") as usize));
            let (initial, span) = (Initial::Constant(0.0), Span::default());
            model.variables.push(Variable { path, ty, initial, begins_as: None, trained: false, span });
        }
        let others = fields.iter().filter(|f| f.name != TOKENS);
        let others = others.map(|f| (f.name.clone(), vec![0; f.row_bytes()])).collect();
        let context = fields.iter().find(|f| f.name == TOKENS).map_or(0, |f| f.row_bytes() / 4);
        Writer { model, output: output.into(), context, others, kept }
    }

    /// Goes on from `tokens` by `n` more, each given to `each`. The engine is of `Writer::model` and has weights.
    ///
    /// # Errors
    /// A model that looks ahead; what preparing it gives; what `each` refuses.
    pub fn generate<E: Engine, F: From<TrainError>>(
        &self,
        engine: &mut E,
        mut tokens: Vec<i32>,
        n: usize,
        choice: &Choice,
        mut each: impl FnMut(i32) -> Result<(), F>,
    ) -> Result<(), F> {
        self.refuse_to_look_ahead(engine)?;
        let mut random = Philox::keyed(choice.seed, "generate");
        let (mut start, mut read) = (0, 0);
        for _ in 0..n {
            // Where the context is full, the model goes on from the last half of it.
            if tokens.len() - start > self.context {
                let half = self.context.div_ceil(2);
                start += (tokens.len() - start - self.context).div_ceil(half) * half;
                read = start;
            }
            let mut next = 0;
            while read < tokens.len() {
                let end = tokens.len().min(start + self.context);
                let logits = self.place(engine, &tokens[start..end], read - start)?;
                read += 1;
                if read == tokens.len() {
                    next = choose(&logits, choice, &mut random) as i32;
                }
            }
            tokens.push(next);
            each(next)?;
        }
        Ok(())
    }

    /// The logits at a place of the context, those before it having been read.
    ///
    /// # Errors
    /// What preparing the engine gives.
    pub fn place<E: Engine>(
        &self,
        engine: &mut E,
        tokens: &[i32],
        place: usize,
    ) -> Result<Vec<f32>, TrainError> {
        let names = engine.prepare(Program::Predict).map_err(TrainError::Engine)?;
        let mut all = tokens.to_vec();
        all.resize(self.context, 0);
        let (place, step) = ((place as i32).to_ne_bytes(), 0i32.to_ne_bytes());
        let bytes = |name: &SmolStr| -> &[u8] {
            match name.as_str() {
                TOKENS => bytemuck::cast_slice(&all),
                PLACE => &place,
                "step" => &step,
                _ => &self.others.iter().find(|(n, _)| n == name).expect("checked: a field of the data").1,
            }
        };
        let inputs: Vec<&[u8]> = names.iter().map(bytes).collect();
        engine.run(Program::Predict, 1, 0, &inputs);
        engine.finish(Program::Predict, 0).map_err(TrainError::Engine)?;
        let logits: &[f32] = bytemuck::cast_slice(engine.output(Program::Predict, &self.output));
        Ok(logits.to_vec())
    }

    /// Tries places with two ways for the text, and for what is kept, to go on.
    fn refuse_to_look_ahead<E: Engine>(&self, engine: &mut E) -> Result<(), TrainError> {
        for place in [0, self.context / 2] {
            let mut found: Vec<Vec<Vec<f32>>> = Vec::new();
            for value in [0, 1] {
                self.fill(engine, value as f32);
                let vocabulary = found.first().map_or(1, |logits| logits[0].len() as i32);
                let mut tokens = vec![value % vocabulary; self.context];
                tokens[..=place].fill(0);
                let all = (0..=place).map(|place| self.place(engine, &tokens, place));
                found.push(all.collect::<Result<Vec<_>, _>>()?);
            }
            if found[0] != found[1] {
                let text = "the model looks ahead: what it predicts at a place depends on the text behind it; in \
                    attention, mask the places to come, as `causal_mask` does";
                return Err(TrainError::Engine(text.to_string()));
            }
        }
        self.fill(engine, 0.0);
        Ok(())
    }

    fn fill<E: Engine>(&self, engine: &mut E, value: f32) {
        for (path, n) in &self.kept {
            engine.set_variable(path, &vec![value; *n]);
        }
    }
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
