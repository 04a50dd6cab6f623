//! The first steps of a run as a file, so that a program in another framework can take the same steps.
//!
//! What enters: a trainer at its position. What leaves: a safetensors file with `before.PATH`, each variable before the
//! steps (optimizer states left out); `data.FIELD`, the rows of all steps' batches, one after another; and `loss`, the
//! first metric of each step. The names and layouts are those of `tests/parity`.

use super::{Engine, Inputs, Program, TrainError, Trainer, is_optimizer_state, scalar};
use crate::base::DType;
use crate::base::files::write_atomically;
use crate::train::batches::gathered;
use crate::train::weights::WeightsError;
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// A tensor of the file: name, type, shape, bytes.
type Part = (String, Dtype, Vec<usize>, Vec<u8>);

impl<E: Engine> Trainer<'_, E> {
    /// Takes the steps from the position to the end and writes what they read and what their losses were.
    ///
    /// # Errors
    /// The data lack a field the model reads; the file cannot be written.
    pub fn record(&mut self, path: &Path) -> Result<(), TrainError> {
        let inputs = Inputs::of(&mut self.engine, Program::Train, &self.data)?;
        let batches = gathered(&self.data, &inputs.fields, self.schedule(self.n_steps()));
        let mut parts: Vec<Part> = Vec::new();
        for (path, tensor) in self.variables().into_iter().filter(|(path, _)| !is_optimizer_state(path)) {
            let bytes = bytemuck::cast_slice(&tensor.values).to_vec();
            parts.push((format!("before.{path}"), Dtype::F32, tensor.shape, bytes));
        }
        for (i, field) in inputs.fields.iter().map(|i| &self.data.fields[*i]).enumerate() {
            let n_rows = batches.iter().map(|batch| batch.n_rows).sum();
            let of_one = field.ty.shape.iter().map(|d| d.as_const().unwrap_or(0) as usize);
            let shape = std::iter::once(n_rows).chain(of_one).collect();
            let bytes = batches.iter().flat_map(|batch| batch.field(i)).copied().collect();
            parts.push((format!("data.{}", field.name), dtype(field.ty.dtype), shape, bytes));
        }
        let mut losses = Vec::with_capacity(batches.len());
        for batch in &batches {
            inputs.run(&mut self.engine, Program::Train, batch.n_rows, batch.step, &|i| batch.field(i));
            self.engine.finish(Program::Train, 0).map_err(TrainError::Engine)?;
            losses.push(scalar(&self.engine, Program::Train, &self.model.metrics[0]));
        }
        let bytes = bytemuck::cast_slice(&losses).to_vec();
        parts.push(("loss".to_string(), Dtype::F32, vec![losses.len()], bytes));
        let views: Vec<(&str, TensorView)> = parts
            .iter()
            .map(|(name, dtype, shape, bytes)| {
                Ok((name.as_str(), TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect::<Result<_, safetensors::SafeTensorError>>()
            .map_err(|e| WeightsError::at(path, e))?;
        let bytes = safetensors::serialize(views, None).map_err(|e| WeightsError::at(path, e))?;
        let unwritten = |e| WeightsError::at(path, format!("cannot be written: {e}"));
        Ok(write_atomically(path, &bytes).map_err(unwritten)?)
    }
}

fn dtype(dtype: DType) -> Dtype {
    match dtype {
        DType::F32 => Dtype::F32,
        DType::BF16 => Dtype::BF16,
        DType::I32 => Dtype::I32,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
