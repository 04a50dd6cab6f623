//! Checkpoints: everything a run needs to go on to the same bits.
//!
//! What enters: all variables (parameters, states, optimizer states) and the run's position. What leaves: one
//! safetensors file with a checksum, and back. Invariant: a checkpoint is read whole and unchanged or not at all;
//! nothing falls back to an older one.

use super::weights::{Tensors, WeightsError, read, write};
use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use std::path::Path;

/// The format's number; a file of another number is refused.
const FORMAT: u32 = 1;
const KEY: &str = "gradc.checkpoint";

/// Where a run stands.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Position {
    /// Steps done since the run's start.
    pub step: u64,
    /// What the run was given; going on with other values would not be the same run.
    pub seed: u64,
    pub batch: u64,
    pub n_examples: u64,
    /// Metrics of the unfinished epoch.
    pub sums: Sums,
}

/// Sums of metrics, each value weighted by the rows it is the mean of.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Sums {
    pub n_rows: u64,
    pub metrics: Vec<(SmolStr, f64)>,
}

impl Sums {
    pub fn new(names: &[SmolStr]) -> Sums {
        Sums { n_rows: 0, metrics: names.iter().map(|n| (n.clone(), 0.0)).collect() }
    }

    /// Adds one step's values, in the order of the names.
    pub fn add(&mut self, n_rows: usize, values: impl IntoIterator<Item = f32>) {
        self.n_rows += n_rows as u64;
        for ((_, sum), value) in self.metrics.iter_mut().zip(values) {
            *sum += n_rows as f64 * f64::from(value);
        }
    }

    pub fn means(&self) -> Vec<(SmolStr, f64)> {
        self.metrics.iter().map(|(name, sum)| (name.clone(), sum / self.n_rows.max(1) as f64)).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    position: Position,
    /// blake3 of position and tensors, in hexadecimal digits.
    checksum: String,
}

/// Writes a checkpoint atomically.
///
/// # Errors
/// See [`write`].
pub fn save(path: &Path, variables: &Tensors, position: &Position) -> Result<(), WeightsError> {
    let header =
        Header { format: FORMAT, position: position.clone(), checksum: checksum(variables, position) };
    let header = serde_json::to_string(&header).map_err(|e| WeightsError::at(path, e))?;
    write(path, variables, Some((KEY, header)))
}

/// Reads a checkpoint and proves it whole.
///
/// # Errors
/// The file cannot be read, is damaged, is of another format, or is no checkpoint.
pub fn load(path: &Path) -> Result<(Tensors, Position), WeightsError> {
    let (variables, header) = read(path, KEY)?;
    let header = header.ok_or_else(|| WeightsError::at(path, "holds weights, but is no checkpoint"))?;
    let damaged = || WeightsError::at(path, "is damaged: its checksum does not agree with its content");
    let format =
        serde_json::from_str::<serde_json::Value>(&header).map_err(|_| damaged())?["format"].as_u64();
    if format != Some(FORMAT.into()) {
        return Err(WeightsError::at(
            path,
            format!("is of format {format:?}; this program reads format {FORMAT}"),
        ));
    }
    let header: Header = serde_json::from_str(&header).map_err(|_| damaged())?;
    if header.checksum != checksum(&variables, &header.position) {
        return Err(damaged());
    }
    Ok((variables, header.position))
}

fn checksum(variables: &Tensors, position: &Position) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(format!("{position:?}").as_bytes());
    let mut names: Vec<&SmolStr> = variables.keys().collect();
    names.sort();
    for name in names {
        let tensor = &variables[name];
        hasher.update(format!("\n{name} {:?}\n", tensor.shape).as_bytes());
        hasher.update(bytemuck::cast_slice(&tensor.values));
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::super::weights::Tensor;
    use super::*;

    #[test]
    fn a_checkpoint_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        let mut sums = Sums::new(&["loss".into(), "accuracy".into()]);
        sums.add(3, [0.1, 1.0 / 3.0]);
        let position = Position { step: 12, seed: u64::MAX, batch: 32, n_examples: 100, sums };
        let tensor = Tensor { shape: vec![3], values: vec![0.1, f32::MIN_POSITIVE / 2.0, -0.0] };
        let variables = Tensors::from([("w".into(), tensor)]);
        save(&path, &variables, &position).unwrap();
        assert_eq!(load(&path).unwrap(), (variables.clone(), position.clone()));

        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            // A last digit that reads as the same number is no damage.
            let read = load(&path);
            assert!(
                read.is_err() || read == Ok((variables.clone(), position.clone())),
                "byte {at}: {read:?}"
            );
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(load(&path).is_err(), "{at} bytes were accepted");
        }
    }

    #[test]
    fn weights_are_no_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights.safetensors");
        write(&path, &Tensors::new(), None).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("no checkpoint"));
    }
}
