//! Comma-separated text with a header line.
//!
//! Without options every column must be numeric and becomes a field of its own, `f32[]`, under its name. With
//! `label = "column"` that column becomes the field `label`, `i32[]`: whole numbers as they are, anything else as
//! categories, numbered from 0 in sorted order. `features = "a, b, c"` (or, with `label`, all other columns)
//! become one field `features`, `f32[n]`, in the order written.

use super::arguments::Arguments;
use super::{DataError, Dataset, Field, read_file};
use gradc_dsl::nearest::nearest;
use std::collections::BTreeMap;
use std::path::Path;

/// The text of all cells, column by column.
struct Table {
    header: Vec<String>,
    columns: Vec<Vec<String>>,
    /// The line of each row, from 1.
    lines: Vec<u64>,
}

pub fn load(mut arguments: Arguments) -> Result<Dataset, DataError> {
    let path = arguments.file()?;
    let label = arguments.text("label")?;
    let features = arguments.text("features")?;
    let separator = match arguments.text("separator")? {
        None => b',',
        Some(text) if text.len() == 1 => text.as_bytes()[0],
        Some(text) => {
            return Err(arguments.error(format!("`separator` must be one ASCII character, not \"{text}\"")));
        }
    };
    arguments.finish()?;
    let table = read(&path, separator)?;
    let label = label.map(|name| table.column(&path, name)).transpose()?;
    let features: Option<Vec<usize>> = match features {
        Some(names) => {
            Some(names.split(',').map(|name| table.column(&path, name.trim())).collect::<Result<_, _>>()?)
        }
        None => label.map(|label| (0..table.header.len()).filter(|c| *c != label).collect()),
    };
    let mut fields = Vec::new();
    match &features {
        Some(columns) if columns.is_empty() => {
            return Err(DataError::at(&path, "no column is left for `features`"));
        }
        Some(columns) => {
            let numbers: Vec<Vec<f32>> =
                columns.iter().map(|c| table.numbers(&path, *c)).collect::<Result<_, _>>()?;
            let rows: Vec<f32> = (0..table.lines.len())
                .flat_map(|row| numbers.iter().map(move |column| column[row]))
                .collect();
            fields.push(Field::f32("features", &[columns.len()], &rows));
        }
        None => {
            for (column, name) in table.header.iter().enumerate() {
                fields.push(Field::f32(name, &[], &table.numbers(&path, column)?));
            }
        }
    }
    if let Some(column) = label {
        fields.push(Field::i32("label", &[], &table.categories(column)));
    }
    Dataset::new(&path.display().to_string(), fields)
}

fn read(path: &Path, separator: u8) -> Result<Table, DataError> {
    let bytes = read_file(path)?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut reader =
        ::csv::ReaderBuilder::new().delimiter(separator).trim(::csv::Trim::All).from_reader(bytes);
    let broken = |e: ::csv::Error| {
        let line = e.position().map_or(1, |p| p.line());
        match e.kind() {
            ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => DataError::at(
                path,
                format!("line {line} has {len} cells, but the header has {expected_len} columns"),
            ),
            ::csv::ErrorKind::Utf8 { .. } => DataError::at(path, format!("line {line} is not UTF-8 text")),
            _ => DataError::at(path, format!("line {line}: {e}")),
        }
    };
    let header: Vec<String> = reader.headers().map_err(broken)?.iter().map(str::to_string).collect();
    if header.iter().all(|name| name.is_empty()) {
        return Err(DataError::at(path, "is empty; its first line must name the columns"));
    }
    for (column, name) in header.iter().enumerate() {
        if name.is_empty() {
            return Err(DataError::at(path, format!("column {} has no name in the header", column + 1)));
        }
        if header[..column].contains(name) {
            return Err(DataError::at(path, format!("two columns are called `{name}`")));
        }
        if name.parse::<f64>().is_ok() {
            return Err(DataError::at(
                path,
                format!(
                    "the first line holds the number {name}, so it seems to be data; add a line that names the columns"
                ),
            ));
        }
    }
    let mut table = Table { columns: vec![Vec::new(); header.len()], header, lines: Vec::new() };
    let mut record = ::csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(broken)? {
        table.lines.push(record.position().map_or(0, |p| p.line()));
        for (column, cell) in record.iter().enumerate() {
            table.columns[column].push(cell.to_string());
        }
    }
    Ok(table)
}

impl Table {
    fn column(&self, path: &Path, name: &str) -> Result<usize, DataError> {
        self.header.iter().position(|h| h == name).ok_or_else(|| {
            let names: Vec<&str> = self.header.iter().map(String::as_str).collect();
            let help = match nearest(name, names.iter().copied()) {
                Some(near) => format!("; did you mean `{near}`?"),
                None => format!(" (there are {})", names.join(", ")),
            };
            DataError::at(path, format!("there is no column `{name}`{help}"))
        })
    }

    fn numbers(&self, path: &Path, column: usize) -> Result<Vec<f32>, DataError> {
        let mut numbers = Vec::with_capacity(self.lines.len());
        for (cell, line) in self.columns[column].iter().zip(&self.lines) {
            let place = || format!("line {line}, column `{}`", self.header[column]);
            match cell.parse::<f32>() {
                Ok(number) if number.is_finite() => numbers.push(number),
                Ok(_) => {
                    return Err(DataError::at(path, format!("{}: `{cell}` is not a finite number", place())));
                }
                Err(_) if cell.is_empty() => {
                    return Err(DataError::at(path, format!("{}: the cell is empty", place())));
                }
                Err(_) => {
                    return Err(DataError::at(
                        path,
                        format!("{}: `{cell}` is not a number; is it the `label`?", place()),
                    ));
                }
            }
        }
        Ok(numbers)
    }

    fn categories(&self, column: usize) -> Vec<i32> {
        let cells = &self.columns[column];
        if let Ok(numbers) = cells.iter().map(|cell| cell.parse::<i32>()).collect::<Result<Vec<i32>, _>>() {
            return numbers;
        }
        let mut index: BTreeMap<&str, i32> = cells.iter().map(|cell| (cell.as_str(), 0)).collect();
        for (number, value) in index.values_mut().enumerate() {
            *value = number as i32;
        }
        cells.iter().map(|cell| index[cell.as_str()]).collect()
    }
}
