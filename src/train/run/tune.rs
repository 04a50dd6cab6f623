//! A model's large products, timed on a GPU as each of what can make them.
//!
//! What enters: a trainer whose engine runs on a GPU, a program. What leaves: the program's products, each timed once whatever
//! programs have it. A step of the program is taken before, so that what is multiplied are a model's numbers: of a full batch, and of an
//! epoch's last batch where that is shorter, for its products are others. Not here: choosing, keeping.

use super::{Engine, Inputs, Program, TrainError, Trainer};
use crate::codegen::cuda::choices::Product;
use crate::runtime::cuda::{Driver, Timed};
use crate::train::accelerated::Accelerated;
use crate::train::batches::{Schedule, gathered};

pub struct Tuned {
    pub product: Product,
    /// Examples of a step that has it.
    pub batch: usize,
    /// Launches of such a step that have it, by program, in the order of `Program`'s variants.
    pub launches: [usize; 3],
    pub timed: Timed,
}

impl Trainer<'_, Accelerated<'_, Driver>> {
    /// Adds a program's products to those that were timed before.
    ///
    /// # Errors
    /// The data lack a field the model reads; the device cannot run the program, or has failed.
    pub fn tune(&mut self, program: Program, tuned: &mut Vec<Tuned>) -> Result<(), TrainError> {
        let inputs = Inputs::of(&mut self.engine, program, &self.data)?;
        let whole = Schedule::once(self.data.n_examples, self.batch());
        let one = |step: u64| {
            let schedule = Schedule { first_step: step, end_step: step + 1, ..whole };
            gathered(&self.data, &inputs.fields, schedule).remove(0)
        };
        let mut batches = vec![one(0)];
        let last = one(whole.end_step - 1);
        batches.extend((last.n_rows != batches[0].n_rows).then_some(last));
        for batch in &batches {
            inputs.run(&mut self.engine, program, batch.n_rows, 0, &|i| batch.field(i));
            self.engine.finish(program, 0).map_err(TrainError::Engine)?;
            for (product, n) in self.engine.products(program, batch.n_rows) {
                if let Some(known) = tuned.iter_mut().find(|known| known.product == product) {
                    if known.batch == batch.n_rows {
                        known.launches[program as usize] = n;
                    }
                    continue;
                }
                let timed = self.engine.time_product(program, batch.n_rows, &product);
                let timed = timed.map_err(TrainError::Engine)?;
                let mut launches = [0; 3];
                launches[program as usize] = n;
                tuned.push(Tuned { product, batch: batch.n_rows, launches, timed });
            }
        }
        Ok(())
    }
}
