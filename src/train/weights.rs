//! Variables as files: safetensors under path names, written atomically.
//!
//! What enters: named f32 tensors, or a file. What leaves: the other. Format:
//! <https://github.com/huggingface/safetensors>, which Python's `safetensors` reads. Invariants: a file under its
//! final name is always whole (temporary file in the same folder, sync, rename, sync of the folder); what is
//! loaded has exactly the names and shapes that the model wants, or an error says every difference.

use crate::base::files::write_atomically;
use gradc_dsl::nearest::nearest;
use indexmap::IndexMap;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use smol_str::SmolStr;
use std::collections::HashMap;
use std::path::Path;

/// Why weights could not be read or written: text for the user.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct WeightsError(String);

impl WeightsError {
    pub(crate) fn at(path: &Path, text: impl std::fmt::Display) -> WeightsError {
        WeightsError(format!("`{}`: {text}", path.display()))
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

/// By path: `classifier.dense.0.w`.
pub type Tensors = IndexMap<SmolStr, Tensor>;

/// Writes `tensors` and text `metadata` to `path`.
///
/// # Errors
/// The folder cannot be written, the disk is full. What stood under `path` before is then untouched.
pub fn write(path: &Path, tensors: &Tensors, metadata: Option<(&str, String)>) -> Result<(), WeightsError> {
    let views: Vec<(&str, TensorView)> = tensors
        .iter()
        .map(|(name, tensor)| {
            let bytes = bytemuck::cast_slice(&tensor.values);
            TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map(|view| (name.as_str(), view))
        })
        .collect::<Result<_, _>>()
        .map_err(|e| WeightsError::at(path, e))?;
    let metadata = metadata.map(|(key, value)| HashMap::from([(key.to_string(), value)]));
    let bytes = safetensors::serialize(views, metadata).map_err(|e| WeightsError::at(path, e))?;
    write_atomically(path, &bytes).map_err(|e| WeightsError::at(path, format!("cannot be written: {e}")))
}

/// All tensors of a file, and the metadata under `key`. 16-bit floats and doubles are converted to f32.
///
/// # Errors
/// The file cannot be read, is no safetensors file, is cut off, or holds other element types.
pub fn read(path: &Path, key: &str) -> Result<(Tensors, Option<String>), WeightsError> {
    let bytes = std::fs::read(path).map_err(|e| WeightsError::at(path, format!("cannot be read: {e}")))?;
    let broken = |e: safetensors::SafeTensorError| {
        WeightsError::at(path, format!("is damaged or no safetensors file ({e})"))
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
    let file = SafeTensors::deserialize(&bytes).map_err(broken)?;
    let metadata = header.metadata().as_ref().and_then(|m| m.get(key).cloned());
    let mut tensors = Tensors::new();
    for name in header.offset_keys() {
        let view = file.tensor(&name).map_err(broken)?;
        let values = to_f32(view.dtype(), view.data()).ok_or_else(|| {
            WeightsError::at(path, format!("`{name}` has elements of type {:?}, not f32", view.dtype()))
        })?;
        tensors.insert(name.into(), Tensor { shape: view.shape().to_vec(), values });
    }
    Ok((tensors, metadata))
}

fn to_f32(dtype: Dtype, data: &[u8]) -> Option<Vec<f32>> {
    match dtype {
        Dtype::F32 => {
            Some(data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        }
        Dtype::BF16 => Some(
            data.chunks_exact(2)
                .map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16))
                .collect(),
        ),
        Dtype::F64 => {
            let wide = |b: &[u8]| b.try_into().map(f64::from_le_bytes).unwrap_or(f64::NAN) as f32;
            Some(data.chunks_exact(8).map(wide).collect())
        }
        _ => None,
    }
}

/// Checks that `tensors` are what `wanted` (path and shape) asks for; names not in `wanted` are allowed when
/// `optional` says so.
///
/// # Errors
/// Every missing name, unknown name and wrong shape, in one message.
pub fn match_names(
    path: &Path,
    tensors: &Tensors,
    wanted: &[(SmolStr, Vec<usize>)],
    optional: &dyn Fn(&str) -> bool,
) -> Result<(), WeightsError> {
    let known: Vec<&str> = wanted.iter().map(|(name, _)| name.as_str()).collect();
    let there: Vec<&str> = tensors.keys().map(SmolStr::as_str).filter(|n| !known.contains(n)).collect();
    let mut problems = Vec::new();
    for (name, shape) in wanted {
        match tensors.get(name) {
            Some(tensor) if tensor.shape == *shape => {}
            Some(tensor) => problems
                .push(format!("`{name}` is {:?} in the file, but {shape:?} in the model", tensor.shape)),
            None if optional(name) => {}
            None => {
                let near = nearest(name, there.iter().copied());
                let near = near.map(|n| format!(" (the file has `{n}`)")).unwrap_or_default();
                problems.push(format!("`{name}` is missing{near}"));
            }
        }
    }
    for name in there.iter().filter(|name| !optional(name)) {
        let missing: Vec<&str> = known.iter().copied().filter(|k| !tensors.contains_key(*k)).collect();
        if nearest(name, missing.iter().copied()).is_none() {
            problems.push(format!("`{name}` is not in the model"));
        }
    }
    const SHOWN: usize = 12;
    let more = problems.len().saturating_sub(SHOWN);
    problems.truncate(SHOWN);
    if more > 0 {
        problems.push(format!("and {more} more"));
    }
    match problems.is_empty() {
        true => Ok(()),
        false => Err(WeightsError::at(path, format!("does not fit the model:\n  {}", problems.join("\n  ")))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tensors {
        let tensor =
            |shape: &[usize], values: &[f32]| Tensor { shape: shape.to_vec(), values: values.to_vec() };
        Tensors::from([
            ("net.dense.0.w".into(), tensor(&[2, 2], &[1.0, -0.0, f32::MIN_POSITIVE, 4.5])),
            ("net.dense.0.b".into(), tensor(&[2], &[0.5, 0.25])),
            ("scale".into(), tensor(&[], &[3.0])),
        ])
    }

    #[test]
    fn files_round_trip_and_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        for turn in ["first", "second"] {
            write(&path, &sample(), Some(("note", turn.to_string()))).unwrap();
            let (mut tensors, note) = read(&path, "note").unwrap();
            tensors.sort_keys();
            let mut wanted = sample();
            wanted.sort_keys();
            assert_eq!((tensors, note.as_deref()), (wanted, Some(turn)));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_cut_and_garbage_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        write(&path, &sample(), None).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path, "x").is_err(), "{length} of {} bytes were accepted", whole.len());
        }
        std::fs::write(&path, [0xff; 64]).unwrap();
        assert!(read(&path, "x").is_err());
        assert!(read(folder.path(), "x").is_err());
        assert!(write(&folder.path().join("no/such/folder"), &sample(), None).is_err());
    }

    #[test]
    fn names_and_shapes_must_fit() {
        let wanted = |list: &[(&str, &[usize])]| -> Vec<(SmolStr, Vec<usize>)> {
            list.iter().map(|(name, shape)| ((*name).into(), shape.to_vec())).collect()
        };
        type Names<'a> = &'a [(&'a str, &'a [usize])];
        let cases: [(Names, &str); 4] = [
            (&[("net.dense.0.w", &[2, 2]), ("net.dense.0.b", &[2]), ("scale", &[])], ""),
            (
                &[("net.dense.0.w", &[2, 3]), ("net.dense.0.b", &[2]), ("scale", &[])],
                "is [2, 2] in the file, but [2, 3]",
            ),
            (
                &[("net.dense.1.w", &[2, 2]), ("net.dense.0.b", &[2]), ("scale", &[])],
                "(the file has `net.dense.0.w`)",
            ),
            (&[("net.dense.0.w", &[2, 2]), ("net.dense.0.b", &[2])], "`scale` is not in the model"),
        ];
        for (list, message) in cases {
            let result = match_names(Path::new("f"), &sample(), &wanted(list), &|_| false);
            match result {
                Ok(()) => assert_eq!(message, ""),
                Err(e) => assert!(!message.is_empty() && e.to_string().contains(message), "{e}"),
            }
        }
    }
}
