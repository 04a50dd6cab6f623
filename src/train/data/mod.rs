//! Data sources: from a call such as `idx("data/mnist-train")` to rows of bytes in memory.
//!
//! What enters: a `DataCall` of the model, and files (or arrays the caller gave). What leaves: a `Dataset`, one
//! block of bytes a field, row after row. Invariants: all fields have the same number of rows; a field's bytes
//! are exactly `n_examples` rows of its type, native byte order; every f32 is finite. A file that breaks any of
//! this is refused with an error that names the file and the place. A source is read once, however often the
//! checker and the trainer ask for it.
//! Not here: normalisation (the model's text does it), order and batches (`batches.rs`).

mod arguments;
mod csv;
mod idx;
mod npy;
mod synthetic;
mod text;
mod wav;

use crate::base::{DType, TensorType};
use crate::model::{Catalog, DataCall, DataInfo};
use gradc_dsl::nearest::nearest;
use smol_str::SmolStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// Why data could not be read: one sentence or two for the user.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct DataError(String);

impl DataError {
    pub(crate) fn new(text: impl Into<String>) -> DataError {
        DataError(text.into())
    }

    /// `FILE: text`
    fn at(path: &Path, text: impl std::fmt::Display) -> DataError {
        DataError(format!("`{}`: {text}", path.display()))
    }
}

/// One field of all examples.
#[derive(Clone, PartialEq, Debug)]
pub struct Field {
    pub name: SmolStr,
    /// Of one example: `u8[28, 28]`.
    pub ty: TensorType,
    /// All rows, one after another, native byte order.
    pub bytes: Vec<u8>,
}

impl Field {
    /// A field of `f32` numbers, row after row; `shape` is one example's.
    pub fn f32(name: &str, shape: &[usize], values: &[f32]) -> Field {
        Field::new(name, DType::F32, shape, bytemuck::cast_slice(values).to_vec())
    }

    /// The same of `i32`, for labels and tokens.
    pub fn i32(name: &str, shape: &[usize], values: &[i32]) -> Field {
        Field::new(name, DType::I32, shape, bytemuck::cast_slice(values).to_vec())
    }

    /// The same of bytes, for pictures.
    pub fn u8(name: &str, shape: &[usize], values: &[u8]) -> Field {
        Field::new(name, DType::U8, shape, values.to_vec())
    }

    fn new(name: &str, dtype: DType, shape: &[usize], bytes: Vec<u8>) -> Field {
        let shape: Vec<_> = shape.iter().map(|n| crate::base::Dim::from(*n)).collect();
        Field { name: name.into(), ty: TensorType::new(dtype, shape), bytes }
    }

    /// Bytes of one example.
    pub fn row_bytes(&self) -> usize {
        row_bytes(&self.ty).unwrap_or(0)
    }
}

/// Bytes of one example of a type; `None` when a size is not a constant or too great to count.
pub(crate) fn row_bytes(ty: &TensorType) -> Option<usize> {
    ty.shape
        .iter()
        .try_fold(ty.dtype.bytes(), |bytes, dim| bytes.checked_mul(usize::try_from(dim.as_const()?).ok()?))
}

/// Examples in memory.
#[derive(Clone, PartialEq, Debug)]
pub struct Dataset {
    pub fields: Vec<Field>,
    pub n_examples: usize,
    /// Numbers that the data decide and a model may need as sizes, by name: `vocab`.
    pub sizes: Vec<(SmolStr, i64)>,
    /// Of text: which character each number is.
    pub vocabulary: Option<Arc<Vec<char>>>,
}

impl Dataset {
    /// Checks the invariants and puts fields together. `origin` is what an error calls the data.
    ///
    /// # Errors
    /// Fields of different numbers of rows, no field, no row, a NaN or an infinity.
    pub fn new(origin: &str, fields: Vec<Field>) -> Result<Dataset, DataError> {
        let Some(first) = fields.first() else {
            return Err(DataError(format!("`{origin}` has no fields")));
        };
        let mut counts = Vec::with_capacity(fields.len());
        for field in &fields {
            let row = row_bytes(&field.ty).filter(|row| *row > 0).ok_or_else(|| {
                DataError(format!(
                    "`{origin}`: field `{}` of type `{}` has no elements",
                    field.name, field.ty
                ))
            })?;
            if field.bytes.len() % row != 0 {
                return Err(DataError(format!(
                    "`{origin}`: field `{}` has {} bytes, which is not a whole number of rows of `{}` ({row} bytes each)",
                    field.name,
                    field.bytes.len(),
                    field.ty
                )));
            }
            counts.push(field.bytes.len() / row);
        }
        let n_examples = counts[0];
        if let Some(other) = counts.iter().position(|n| *n != n_examples) {
            return Err(DataError(format!(
                "`{origin}`: field `{}` has {n_examples} rows, but field `{}` has {}; every example needs one of each",
                first.name, fields[other].name, counts[other]
            )));
        }
        if n_examples == 0 {
            return Err(DataError(format!("`{origin}` has no examples")));
        }
        for field in fields.iter().filter(|f| f.ty.dtype == DType::F32) {
            let row_elements = field.row_bytes() / 4;
            let bad = field
                .bytes
                .chunks_exact(4)
                .position(|b| !f32::from_ne_bytes([b[0], b[1], b[2], b[3]]).is_finite());
            if let Some(at) = bad {
                return Err(DataError(format!(
                    "`{origin}`: field `{}` holds a NaN or an infinity in row {}, element {} (both from 0); \
                     training would spread it to every weight",
                    field.name,
                    at / row_elements,
                    at % row_elements
                )));
            }
        }
        Ok(Dataset { fields, n_examples, sizes: Vec::new(), vocabulary: None })
    }

    pub fn info(&self) -> DataInfo {
        let fields = self.fields.iter().map(|f| (f.name.clone(), f.ty.clone())).collect();
        DataInfo { fields, sizes: self.sizes.clone(), n_examples: self.n_examples as u64 }
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

/// The data a model may name: files below a folder, and arrays in memory.
#[derive(Default)]
pub struct Data {
    folder: PathBuf,
    memory: Vec<(SmolStr, Arc<Dataset>)>,
    loaded: Mutex<Vec<(DataCall, Arc<Dataset>)>>,
}

impl Data {
    /// Relative paths are relative to `folder`, the model file's.
    pub fn in_folder(folder: impl Into<PathBuf>) -> Data {
        Data { folder: folder.into(), ..Data::default() }
    }

    /// Gives the examples that `memory(…)` reads (`name` is `"data"`), or `memory("name", …)`.
    ///
    /// # Errors
    /// See [`Dataset::new`].
    pub fn with_memory(mut self, name: &str, fields: Vec<Field>) -> Result<Data, DataError> {
        self.memory.push((name.into(), Arc::new(Dataset::new(name, fields)?)));
        Ok(self)
    }

    /// Reads a source, or returns what an earlier call read.
    ///
    /// # Errors
    /// An unknown source or argument; a file that is missing or malformed.
    pub fn load(&self, call: &DataCall) -> Result<Arc<Dataset>, DataError> {
        let same = |known: &DataCall| known.source == call.source && values_of(known) == values_of(call);
        let mut loaded = self.loaded.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, dataset)) = loaded.iter().find(|(known, _)| same(known)) {
            return Ok(dataset.clone());
        }
        let arguments = arguments::Arguments::new(call, &self.folder);
        let dataset = match call.source.as_str() {
            "idx" => Arc::new(idx::load(arguments)?),
            "csv" => Arc::new(csv::load(arguments)?),
            "npy" => Arc::new(npy::load_npy(arguments)?),
            "npz" => Arc::new(npy::load_npz(arguments)?),
            "text" => Arc::new(text::load(arguments)?),
            "wav" => Arc::new(wav::load(arguments)?),
            "synthetic" => Arc::new(synthetic::load(arguments)?),
            "memory" => synthetic::from_memory(arguments, &self.memory)?,
            unknown => {
                let help =
                    nearest(unknown, SOURCES.iter().copied()).map(|s| format!("; did you mean `{s}`?"));
                return Err(DataError(format!(
                    "there is no data source `{unknown}`{}",
                    help.unwrap_or_else(|| format!(" (there are {})", SOURCES.join(", ")))
                )));
            }
        };
        loaded.push((call.clone(), dataset.clone()));
        Ok(dataset)
    }
}

const SOURCES: &[&str] = &["idx", "csv", "npy", "npz", "text", "wav", "synthetic", "memory"];

/// The arguments without their places.
fn values_of(call: &DataCall) -> Vec<(Option<&str>, &crate::model::DataValue)> {
    call.arguments.iter().map(|(name, value, _)| (name.as_deref(), value)).collect()
}

impl Catalog for Data {
    fn info(&self, call: &DataCall) -> Result<DataInfo, String> {
        if call.source == "memory" && self.memory.is_empty() {
            return synthetic::memory_types(arguments::Arguments::new(call, &self.folder)).map_err(|e| e.0);
        }
        Ok(self.load(call).map_err(|e| e.0)?.info())
    }
}

/// A whole file, unpacked when it is gzipped (told by its first two bytes, not by its name).
fn read_file(path: &Path) -> Result<Vec<u8>, DataError> {
    let raw = std::fs::read(path).map_err(|e| DataError(format!("cannot read `{}`: {e}", path.display())))?;
    if !raw.starts_with(&[0x1f, 0x8b]) {
        return Ok(raw);
    }
    let mut unpacked = Vec::new();
    flate2::read::MultiGzDecoder::new(&raw[..])
        .read_to_end(&mut unpacked)
        .map_err(|e| DataError::at(path, format!("the gzip data are damaged or cut off ({e})")))?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests;
