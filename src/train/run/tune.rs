//! A model's large products, timed on a GPU as each of what can make them.
//!
//! What enters: a trainer whose engine runs on a GPU, a program. What leaves: the program's products, each timed once whatever
//! programs have it. A step of the program is taken before, of a full batch, so that what is multiplied are a model's numbers; a
//! last batch that is shorter has products of its own, which are left as they are. Not here: choosing, keeping.

use super::{Engine, Inputs, Program, TrainError, Trainer};
use crate::codegen::cuda::choices::Product;
use crate::runtime::cuda::{Driver, Timed};
use crate::train::accelerated::Accelerated;
use crate::train::batches::gathered;

pub struct Tuned {
    pub product: Product,
    /// Launches of a step that have it, by program, in the order of `Program`'s variants.
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
        let batches = gathered(&self.data, &inputs.fields, self.schedule(1));
        let batch = &batches[0];
        inputs.run(&mut self.engine, program, batch.n_rows, 0, &|i| batch.field(i));
        self.engine.finish(program, 0).map_err(TrainError::Engine)?;
        for (product, n) in self.engine.products(program, batch.n_rows) {
            if let Some(known) = tuned.iter_mut().find(|known| known.product == product) {
                known.launches[program as usize] = n;
                continue;
            }
            let timed = self.engine.time_product(program, batch.n_rows, &product);
            let timed = timed.map_err(TrainError::Engine)?;
            let mut launches = [0; 3];
            launches[program as usize] = n;
            tuned.push(Tuned { product, launches, timed });
        }
        Ok(())
    }
}
