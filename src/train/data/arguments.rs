//! Typed access to a data source's arguments.
//!
//! What enters: a `DataCall`. What leaves: paths, numbers, texts and field types, each taken once. Invariant:
//! `finish` refuses what no one took, so a misspelt option is an error and never ignored.

use super::DataError;
use crate::base::TensorType;
use crate::model::{DataCall, DataValue};
use gradc_dsl::nearest::nearest;
use smol_str::SmolStr;
use std::path::{Path, PathBuf};

pub struct Arguments<'a> {
    pub source: &'a str,
    folder: &'a Path,
    rest: Vec<(Option<SmolStr>, &'a DataValue)>,
    asked: Vec<&'static str>,
}

impl<'a> Arguments<'a> {
    pub fn new(call: &'a DataCall, folder: &'a Path) -> Arguments<'a> {
        let rest = call.arguments.iter().map(|(name, value, _)| (name.clone(), value)).collect();
        Arguments { source: &call.source, folder, rest, asked: Vec::new() }
    }

    /// An error that begins with the source's name.
    pub fn error(&self, text: impl std::fmt::Display) -> DataError {
        DataError::new(format!("`{}`: {text}", self.source))
    }

    /// An argument of any kind.
    pub fn value(&mut self, name: &'static str) -> Option<&'a DataValue> {
        self.take(name)
    }

    fn take(&mut self, name: &'static str) -> Option<&'a DataValue> {
        self.asked.push(name);
        let at = self.rest.iter().position(|(n, _)| n.as_deref() == Some(name))?;
        Some(self.rest.remove(at).1)
    }

    /// The next argument without a name, which must be text.
    pub fn positional(&mut self) -> Result<Option<&'a str>, DataError> {
        let Some(at) = self.rest.iter().position(|(n, _)| n.is_none()) else { return Ok(None) };
        match self.rest.remove(at).1 {
            DataValue::Text(text) => Ok(Some(text)),
            other => Err(self.error(format!("expected text in quotes here, found {}", kind(other)))),
        }
    }

    /// The file the first argument names.
    pub fn file(&mut self) -> Result<PathBuf, DataError> {
        match self.positional()? {
            Some(text) => Ok(self.path(text)),
            None => Err(self.error("expected a file's name in quotes as the first argument")),
        }
    }

    /// Relative to the model's folder.
    pub fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    pub fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, DataError> {
        match self.take(name) {
            None => Ok(None),
            Some(DataValue::Text(text)) => Ok(Some(text)),
            Some(other) => Err(self.error(format!("`{name}` must be text in quotes, not {}", kind(other)))),
        }
    }

    /// A whole number from `low`.
    pub fn count(&mut self, name: &'static str, low: u64, default: u64) -> Result<u64, DataError> {
        match self.take(name) {
            None => Ok(default),
            Some(DataValue::Number(n)) if n.fract() == 0.0 && *n >= low as f64 && *n < 2f64.powi(53) => {
                Ok(*n as u64)
            }
            Some(DataValue::Number(n)) => {
                Err(self.error(format!("`{name}` must be a whole number from {low}, not {n}")))
            }
            Some(other) => Err(self.error(format!("`{name}` must be a number, not {}", kind(other)))),
        }
    }

    /// All remaining `name: type` arguments.
    pub fn field_types(&mut self) -> Result<Vec<(SmolStr, TensorType)>, DataError> {
        let mut fields: Vec<(SmolStr, TensorType)> = Vec::new();
        let mut others = Vec::new();
        for (name, value) in std::mem::take(&mut self.rest) {
            match (name, value) {
                (Some(name), DataValue::Type(ty)) if fields.iter().any(|(n, _)| *n == name) => {
                    return Err(self.error(format!("field `{name}` of type `{ty}` is given twice")));
                }
                (Some(name), DataValue::Type(ty)) => fields.push((name, ty.clone())),
                other => others.push(other),
            }
        }
        self.rest = others;
        if fields.is_empty() {
            return Err(self.error("name at least one field with its type, such as `image: f32[784]`"));
        }
        Ok(fields)
    }

    /// All remaining `name = "text"` arguments.
    pub fn named_texts(&mut self) -> Result<Vec<(SmolStr, &'a str)>, DataError> {
        let mut texts = Vec::new();
        for (name, value) in std::mem::take(&mut self.rest) {
            match (name, value) {
                (Some(name), DataValue::Text(text)) => texts.push((name, text.as_str())),
                (name, value) => self.rest.push((name, value)),
            }
        }
        Ok(texts)
    }

    /// # Errors
    /// An argument that nothing took.
    pub fn finish(self) -> Result<(), DataError> {
        match self.rest.first() {
            None => Ok(()),
            Some((Some(name), _)) => {
                let help = match nearest(name, self.asked.iter().copied()) {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None if self.asked.is_empty() => String::new(),
                    None => format!(" (it takes {})", self.asked.join(", ")),
                };
                Err(self.error(format!("there is no option `{name}` of this kind{help}")))
            }
            Some((None, value)) => Err(self.error(format!("one argument too many: {}", kind(value)))),
        }
    }
}

fn kind(value: &DataValue) -> String {
    match value {
        DataValue::Number(n) => format!("the number {n}"),
        DataValue::Text(text) => format!("the text \"{text}\""),
        DataValue::Bool(b) => format!("{b}"),
        DataValue::Type(ty) => format!("the type `{ty}`"),
    }
}
