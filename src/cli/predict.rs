//! `gradc predict RUN`: the model's `predict` outputs for every example, as CSV, JSON lines or npy.

use super::devices::DeviceArguments;
use super::eval::Part;
use super::output::{Failure, say};
use super::project::{ModelArguments, Project};
use crate::base::files::write_atomically;
use crate::base::{DType, TensorType, bf16};
use crate::train::engine::Program;
use crate::train::run::Trainer;
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The weights [default: the run's, when FILE is a run's folder]
    #[arg(long, value_name = "FILE.safetensors")]
    weights: Option<PathBuf>,
    /// Which of the model's data
    #[arg(long, value_enum, default_value = "test")]
    on: Part,
    #[command(flatten)]
    device: DeviceArguments,
    /// Where to: .csv, .jsonl or .npy (one output only) [default: CSV on standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// One output for all examples.
struct Prediction {
    name: String,
    dtype: DType,
    /// Of one example; empty for a scalar.
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let project = Project::open(&arguments.model)?;
    let data = project.part(arguments.on)?;
    let ready = arguments.device.engine(&project.model, Program::Predict, project.threads)?;
    let mut trainer = Trainer::new(&project.model, ready.engine, data.clone(), None);
    trainer.load_weights(&project.weights(arguments.weights.as_deref())?)?;
    let graph = &project.model.predict;
    let mut predictions = Vec::new();
    for (name, id) in &graph.outputs {
        let TensorType { dtype, shape } = graph.ty(*id);
        if shape.first().is_none_or(|d| d.as_const().is_some()) {
            return Err(Failure::Error(format!(
                "`predict {name}` is of type `{}`, which has no value for each example",
                graph.ty(*id)
            )));
        }
        let shape = shape[1..].iter().map(|d| d.as_const().unwrap_or(0) as usize).collect();
        let bytes = trainer.predict(data.clone(), name)?;
        predictions.push(Prediction { name: name.to_string(), dtype: *dtype, shape, bytes });
    }
    let kind = match &arguments.out {
        Some(path) => path.extension().and_then(|e| e.to_str()).unwrap_or("csv").to_lowercase(),
        None if arguments.model.json => "jsonl".to_string(),
        None => "csv".to_string(),
    };
    let bytes = match kind.as_str() {
        "csv" => csv(&predictions, data.n_examples).into_bytes(),
        "jsonl" => json_lines(&predictions, data.n_examples).into_bytes(),
        "npy" => npy(&predictions, data.n_examples)?,
        other => {
            return Err(Failure::Usage(format!(
                "`.{other}` is not a kind of file that predict writes: .csv, .jsonl or .npy"
            )));
        }
    };
    write(arguments.out.as_deref(), &bytes)
}

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

fn write(path: Option<&Path>, bytes: &[u8]) -> Result<(), Failure> {
    match path {
        None => say(String::from_utf8_lossy(bytes)),
        Some(path) => write_atomically(path, bytes)
            .map_err(|e| Failure::Error(format!("cannot write `{}`: {e}", path.display()))),
    }
}

impl Prediction {
    fn row_len(&self) -> usize {
        self.shape.iter().product()
    }

    /// An element as JSON; a float prints its shortest exact form, one that is not finite is null.
    fn element(&self, at: usize) -> Value {
        let size = self.dtype.bytes();
        let b = &self.bytes[at * size..][..size];
        match self.dtype {
            DType::F32 | DType::BF16 => {
                let value = match self.dtype {
                    DType::BF16 => bf16::from_bits(u16::from_ne_bytes([b[0], b[1]])),
                    _ => f32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
                };
                // Through its shortest text, so that 0.1f32 is 0.1 and not 0.10000000149011612.
                value
                    .to_string()
                    .parse::<f64>()
                    .ok()
                    .filter(|v| v.is_finite())
                    .map_or(Value::Null, |v| json!(v))
            }
            DType::I32 => json!(i32::from_ne_bytes([b[0], b[1], b[2], b[3]])),
            DType::U8 => json!(b[0]),
            DType::Bool => json!(b[0] != 0),
        }
    }

    fn nested(&self, start: usize, shape: &[usize]) -> Value {
        let Some((n, rest)) = shape.split_first() else { return self.element(start) };
        let stride: usize = rest.iter().product();
        (0..*n).map(|i| self.nested(start + i * stride, rest)).collect::<Vec<_>>().into()
    }
}

/// A column for each element: `guess.0,guess.1`.
fn csv(predictions: &[Prediction], n_rows: usize) -> String {
    let mut header = Vec::new();
    for p in predictions {
        match p.shape.is_empty() {
            true => header.push(p.name.clone()),
            false => header.extend((0..p.row_len()).map(|i| format!("{}.{i}", p.name))),
        }
    }
    let mut text = header.join(",") + "\n";
    for row in 0..n_rows {
        let cells = predictions
            .iter()
            .flat_map(|p| (0..p.row_len()).map(move |i| p.element(row * p.row_len() + i).to_string()));
        text += &(cells.collect::<Vec<_>>().join(",") + "\n");
    }
    text
}

fn json_lines(predictions: &[Prediction], n_rows: usize) -> String {
    let line = |row: usize| {
        let fields = predictions.iter().map(|p| (p.name.clone(), p.nested(row * p.row_len(), &p.shape)));
        Value::Object(fields.collect::<Map<_, _>>()).to_string() + "\n"
    };
    (0..n_rows).map(line).collect()
}

/// NumPy's format 1.0.
fn npy(predictions: &[Prediction], n_rows: usize) -> Result<Vec<u8>, Failure> {
    let [p] = predictions else {
        return Err(Failure::Usage(format!(
            "an npy file holds one output, but the model predicts {}",
            predictions.len()
        )));
    };
    let descr = match p.dtype {
        DType::F32 => "<f4",
        // Two bytes without a meaning, as NumPy has no bf16.
        DType::BF16 => "|V2",
        DType::I32 => "<i4",
        DType::U8 => "|u1",
        DType::Bool => "|b1",
    };
    let sizes: String = std::iter::once(&n_rows).chain(&p.shape).map(|n| format!("{n}, ")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", sizes.trim_end());
    // Magic, version, length and header together fill whole blocks of 64 bytes.
    while (header.len() + 11) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.into_bytes());
    bytes.extend(&p.bytes);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_kinds_say_the_same() {
        let bytes = |values: &[f32]| bytemuck::cast_slice(values).to_vec();
        let guess = Prediction {
            name: "guess".into(),
            dtype: DType::F32,
            shape: vec![2],
            bytes: bytes(&[0.1, 2.0, f32::NAN, -3.5]),
        };
        let class = Prediction { name: "class".into(), dtype: DType::U8, shape: vec![], bytes: vec![1, 9] };
        let file = npy(std::slice::from_ref(&class), 2).unwrap();
        assert_eq!((file.len(), &file[128..]), (130, &[1, 9][..]));
        assert!(String::from_utf8_lossy(&file).contains("'shape': (2,), }"));
        let both = [guess, class];
        assert_eq!(csv(&both, 2), "guess.0,guess.1,class\n0.1,2.0,1\nnull,-3.5,9\n");
        assert_eq!(
            json_lines(&both, 2),
            "{\"guess\":[0.1,2.0],\"class\":1}\n{\"guess\":[null,-3.5],\"class\":9}\n"
        );
        assert!(npy(&both, 2).is_err());
    }
}
