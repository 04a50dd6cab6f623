//! NumPy arrays: `npy(image = "x.npy", label = "y.npy")` and `npz("file.npz")`.
//!
//! The first axis counts examples. Doubles become f32; integers of 1 to 8 bytes become i32 (u8 stays); a value
//! that does not fit is an error. Arrays of Python objects are refused, since reading them runs code.

use super::arguments::Arguments;
use super::{DataError, Dataset, Field, read_file};
use crate::base::DType;
use std::io::Read;
use std::path::Path;

/// A field for each named file.
pub fn load_npy(mut arguments: Arguments) -> Result<Dataset, DataError> {
    let files = arguments.named_texts()?;
    if files.is_empty() {
        return Err(
            arguments.error("expected a file for each field, `npy(image = \"x.npy\", label = \"y.npy\")`")
        );
    }
    let mut fields = Vec::new();
    for (name, file) in &files {
        let path = arguments.path(file);
        let bytes = read_file(&path)?;
        fields.push(read(name, &mut &bytes[..]).map_err(|why| DataError::at(&path, why))?);
    }
    arguments.finish()?;
    Dataset::new("npy", fields)
}

/// A field for each array of the archive, under its name, in sorted order.
pub fn load_npz(mut arguments: Arguments) -> Result<Dataset, DataError> {
    let path = arguments.file()?;
    arguments.finish()?;
    let bytes = read_file(&path)?;
    let broken = |e: std::io::Error| DataError::at(&path, format!("is no readable npz archive ({e})"));
    let mut archive = npyz::npz::NpzArchive::new(std::io::Cursor::new(bytes)).map_err(broken)?;
    let mut names: Vec<String> = archive.array_names().map(str::to_string).collect();
    names.sort();
    let mut fields = Vec::new();
    for name in names {
        let Some(array) = archive.by_name(&name).map_err(broken)? else { continue };
        let header = array.header().clone();
        fields.push(
            convert(&name, &header, &mut array.into_inner()).map_err(|why| at_array(&path, &name, why))?,
        );
    }
    Dataset::new(&path.display().to_string(), fields)
}

fn at_array(path: &Path, name: &str, why: String) -> DataError {
    DataError::at(path, format!("array `{name}` {why}"))
}

fn read(name: &str, reader: &mut dyn Read) -> Result<Field, String> {
    let header = npyz::NpyHeader::from_reader(&mut *reader)
        .map_err(|e| format!("is no npy file, or its header is damaged ({e})"))?;
    convert(name, &header, reader)
}

fn convert(name: &str, header: &npyz::NpyHeader, reader: &mut dyn Read) -> Result<Field, String> {
    let npyz::DType::Plain(ty) = header.dtype() else {
        return Err("holds records; save each column as an array of its own".to_string());
    };
    let text = ty.to_string();
    let (order, kind) = text.split_at(1);
    let shape: Vec<usize> = header.shape().iter().map(|n| *n as usize).collect();
    let Some((_, row_shape)) = shape.split_first() else {
        return Err("is a single number without an axis of examples".to_string());
    };
    if header.order() == npyz::Order::Fortran && shape.len() > 1 {
        return Err("is stored column by column; save it with `numpy.ascontiguousarray`".to_string());
    }
    let (dtype, width) = match kind {
        "u1" => (DType::U8, 1),
        "b1" => (DType::Bool, 1),
        "f4" => (DType::F32, 4),
        "f8" => (DType::F32, 8),
        "i1" => (DType::I32, 1),
        "i2" | "u2" => (DType::I32, 2),
        "i4" | "u4" => (DType::I32, 4),
        "i8" | "u8" => (DType::I32, 8),
        _ => {
            return Err(format!(
                "has the element type `{text}`; use float32, float64, bool or an integer type"
            ));
        }
    };
    let wanted = shape
        .iter()
        .try_fold(width, |n: usize, size| n.checked_mul(*size))
        .ok_or_else(|| format!("has a header with the impossible shape {shape:?}"))?;
    let mut raw = Vec::new();
    reader.read_to_end(&mut raw).map_err(|e| format!("cannot be unpacked ({e})"))?;
    if raw.len() != wanted {
        return Err(format!(
            "should hold {wanted} bytes of elements for the shape {shape:?}, but holds {}",
            raw.len()
        ));
    }
    let big_endian = order == ">";
    let bytes = match kind {
        "u1" => raw,
        "b1" => raw.iter().map(|b| u8::from(*b != 0)).collect(),
        _ => convert_wide(kind, width, big_endian, &raw)?,
    };
    Ok(Field::new(name, dtype, row_shape, bytes))
}

/// Elements of 1 to 8 bytes to f32 or i32.
fn convert_wide(kind: &str, width: usize, big_endian: bool, raw: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(raw.len() / width * 4);
    for (at, element) in raw.chunks_exact(width).enumerate() {
        let mut wide = [0u8; 8];
        wide[..width].copy_from_slice(element);
        if big_endian {
            wide[..width].reverse();
        }
        let unsigned = u64::from_le_bytes(wide);
        let shift = 64 - 8 * width as u32;
        let signed = ((unsigned << shift) as i64) >> shift;
        let bytes = match kind {
            "f4" => f32::from_bits(unsigned as u32).to_ne_bytes(),
            "f8" => (f64::from_bits(unsigned) as f32).to_ne_bytes(),
            _ => {
                let value =
                    if kind.starts_with('u') { i32::try_from(unsigned) } else { i32::try_from(signed) };
                let value = value.map_err(|_| {
                    let shown = if kind.starts_with('u') { unsigned.to_string() } else { signed.to_string() };
                    format!("holds {shown} at element {at}, which does not fit into i32")
                })?;
                value.to_ne_bytes()
            }
        };
        out.extend(bytes);
    }
    Ok(out)
}
