//! IDX files, gzipped or not: the format of MNIST.
//!
//! Layout (<http://yann.lecun.com/exdb/mnist/>): two zero bytes, a byte for the element type, the rank, each size
//! as a big-endian u32, then the elements, big-endian. The first axis counts examples.

use super::arguments::Arguments;
use super::{DataError, Dataset, Field, read_file};
use crate::base::DType;
use gradc_dsl::nearest::nearest;
use std::path::{Path, PathBuf};

/// `idx("PREFIX")` reads `PREFIX-images…` and `PREFIX-labels…`; `idx(image = "file", label = "file")` any files.
pub fn load(mut arguments: Arguments) -> Result<Dataset, DataError> {
    let mut fields = Vec::new();
    let origin;
    if let Some(prefix) = arguments.positional()? {
        origin = prefix.to_string();
        for (part, name) in [("images", "image"), ("labels", "label")] {
            fields.push(read(name, &find(&arguments.path(prefix), part)?)?);
        }
    } else {
        let files = arguments.named_texts()?;
        if files.is_empty() {
            return Err(
                arguments.error("expected a prefix, `idx(\"data/mnist-train\")`, or a file for each field")
            );
        }
        origin = "idx".to_string();
        for (name, file) in files {
            fields.push(read(&name, &arguments.path(file))?);
        }
    }
    arguments.finish()?;
    Dataset::new(&origin, fields)
}

/// The first file, by name, that begins with `PREFIX-PART`.
fn find(prefix: &Path, part: &str) -> Result<PathBuf, DataError> {
    let folder = match prefix.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let stem = prefix.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let begins = format!("{stem}-{part}");
    let entries = std::fs::read_dir(folder)
        .map_err(|e| DataError::new(format!("cannot look into the folder `{}`: {e}", folder.display())))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort();
    let matches = |name: &&String| {
        name.strip_prefix(&begins).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']))
    };
    match names.iter().find(matches) {
        Some(name) => Ok(folder.join(name)),
        None => {
            let mut prefixes: Vec<&str> =
                names.iter().filter_map(|n| n.split_once("-images").map(|(stem, _)| stem)).collect();
            prefixes.dedup();
            let known = match nearest(&stem, prefixes.iter().copied()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => String::new(),
            };
            Err(DataError::new(format!("there is no file `{begins}…` in `{}`{known}", folder.display())))
        }
    }
}

fn read(name: &str, path: &Path) -> Result<Field, DataError> {
    let bytes = read_file(path)?;
    let [0, 0, code, rank, rest @ ..] = &bytes[..] else {
        let why = if bytes.len() < 4 {
            format!("is cut off after {} bytes", bytes.len())
        } else {
            format!("is no IDX file: it begins with {:02x?} instead of two zero bytes", &bytes[..4])
        };
        return Err(DataError::at(path, why));
    };
    let rank = *rank as usize;
    if rank == 0 {
        return Err(DataError::at(path, "has rank 0, so no axis of examples"));
    }
    let Some((header, elements)) = rest.split_at_checked(4 * rank) else {
        return Err(DataError::at(path, format!("is cut off inside its header of {rank} sizes")));
    };
    let sizes: Vec<usize> =
        header.chunks_exact(4).map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]) as usize).collect();
    let (dtype, width) = match code {
        0x08 => (DType::U8, 1),
        0x09 => (DType::I32, 1),
        0x0b => (DType::I32, 2),
        0x0c => (DType::I32, 4),
        0x0d => (DType::F32, 4),
        0x0e => (DType::F32, 8),
        other => {
            return Err(DataError::at(
                path,
                format!("has the element type {other:#04x}, which IDX does not know"),
            ));
        }
    };
    let wanted = sizes.iter().try_fold(width, |n: usize, size| n.checked_mul(*size));
    if wanted != Some(elements.len()) {
        let shape: Vec<String> = sizes.iter().map(usize::to_string).collect();
        let state = if wanted.is_none_or(|n| n > elements.len()) { "cut off" } else { "too long" };
        return Err(DataError::at(
            path,
            format!(
                "is {state}: its header says [{}], which is {} bytes of elements, but {} follow",
                shape.join(", "),
                wanted.map_or("far too many".to_string(), |n| n.to_string()),
                elements.len()
            ),
        ));
    }
    let values = match code {
        0x08 => elements.to_vec(),
        0x09 => elements.iter().flat_map(|b| i32::from(*b as i8).to_ne_bytes()).collect(),
        0x0b => elements
            .chunks_exact(2)
            .flat_map(|b| i32::from(i16::from_be_bytes([b[0], b[1]])).to_ne_bytes())
            .collect(),
        0x0c | 0x0d => elements
            .chunks_exact(4)
            .flat_map(|b| u32::from_be_bytes([b[0], b[1], b[2], b[3]]).to_ne_bytes())
            .collect(),
        _ => elements
            .chunks_exact(8)
            .flat_map(|b| {
                let mut wide = [0; 8];
                wide.copy_from_slice(b);
                (f64::from_be_bytes(wide) as f32).to_ne_bytes()
            })
            .collect(),
    };
    Ok(Field::new(name, dtype, &sizes[1..], values))
}
