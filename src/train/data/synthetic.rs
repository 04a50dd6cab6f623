//! Data without files: made-up numbers for benchmarks, and arrays the caller holds.
//!
//! `synthetic(rows = 4096, image: f32[784], label: i32[], classes = 10, seed = 0)`: f32 fields are uniform in
//! `[0, 1)`, integer fields in `0..classes`, booleans fair. The same seed gives the same bytes everywhere.
//! `memory(image: f32[784], label: i32[])` checks that the caller's arrays have these types.

use super::arguments::Arguments;
use super::{DataError, Dataset, Field, row_bytes};
use crate::base::{DType, bf16};
use crate::model::DataInfo;
use crate::train::philox::Philox;
use smol_str::SmolStr;
use std::sync::Arc;

/// The most that made-up data may take, in bytes.
const MAX_BYTES: usize = 8 << 30;

pub fn load(mut arguments: Arguments) -> Result<Dataset, DataError> {
    let rows = arguments.count("rows", 1, 4096)? as usize;
    let classes = arguments.count("classes", 1, 10)?;
    let seed = arguments.count("seed", 0, 0)?;
    let types = arguments.field_types()?;
    let too_large = arguments.error(format!("the data would take more than {} GiB", MAX_BYTES >> 30));
    arguments.finish()?;
    let mut total = 0usize;
    let mut fields = Vec::new();
    for (name, ty) in types {
        let bytes = row_bytes(&ty).and_then(|row| row.checked_mul(rows)).ok_or_else(|| too_large.clone())?;
        total =
            total.checked_add(bytes).filter(|total| *total <= MAX_BYTES).ok_or_else(|| too_large.clone())?;
        let mut random = Philox::keyed(seed, &name);
        let n_elements = bytes / ty.dtype.bytes();
        let mut values = Vec::with_capacity(bytes);
        for _ in 0..n_elements {
            match ty.dtype {
                DType::F32 => values.extend(random.uniform().to_ne_bytes()),
                DType::BF16 => values.extend(bf16::to_bits(random.uniform()).to_ne_bytes()),
                DType::I32 => values.extend((random.below(classes) as i32).to_ne_bytes()),
                DType::U8 => values.push(random.below(classes.min(256)) as u8),
                DType::Bool => values.push(random.below(2) as u8),
            }
        }
        fields.push(Field { name, ty, bytes: values });
    }
    Dataset::new("synthetic", fields)
}

/// The arrays given under the call's name, if they have the types it says.
pub fn from_memory(
    mut arguments: Arguments,
    memory: &[(SmolStr, Arc<Dataset>)],
) -> Result<Arc<Dataset>, DataError> {
    let name = arguments.positional()?.unwrap_or("data");
    let types = arguments.field_types()?;
    let Some((_, dataset)) = memory.iter().find(|(n, _)| n == name) else {
        return Err(arguments.error(format!(
            "no arrays were given under the name \"{name}\"; a program that embeds the model passes them"
        )));
    };
    for (field, ty) in &types {
        match dataset.field(field) {
            None => return Err(arguments.error(format!("no array was given for the field `{field}`"))),
            Some(given) if given.ty != *ty => {
                return Err(arguments.error(format!(
                    "the array given for `{field}` has rows of type `{}`, but the model says `{ty}`",
                    given.ty
                )));
            }
            Some(_) => {}
        }
    }
    arguments.finish()?;
    Ok(dataset.clone())
}

/// What the call says of its fields, for checking a model before there are arrays.
pub fn memory_types(mut arguments: Arguments) -> Result<DataInfo, DataError> {
    arguments.positional()?;
    let fields = arguments.field_types()?;
    arguments.finish()?;
    Ok(DataInfo { fields, sizes: Vec::new(), n_examples: 1 })
}
