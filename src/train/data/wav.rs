//! Sounds: `wav("digits/train", length = 8000)` reads every `.wav` file of a folder, in the order of their names.
//!
//! What enters: a folder, and how many samples an example has. What leaves: `wave: f32[length]` from -1 to 1, the channels'
//! mean, cut or followed by zeros; `samples: i32`, how many there were, at most `length`; and `label: i32` from the
//! file's name, up to its first `_`: the number that stands there, or, where some are not numbers, the place of the word
//! among all words in order. Files of different sample rates are refused, for a network would hear them as different.

use super::arguments::Arguments;
use super::{DataError, Dataset, Field};
use hound::{SampleFormat, WavReader};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Ten minutes at 48 kHz.
const MOST_SAMPLES: u64 = 48_000 * 600;

pub fn load(mut arguments: Arguments) -> Result<Dataset, DataError> {
    let folder = arguments.file()?;
    let length = arguments.count("length", 1, 16_000)?;
    let rate = arguments.count("rate", 0, 0)?;
    arguments.finish()?;
    if length > MOST_SAMPLES {
        return Err(DataError::new(format!("`wav`: `length` is {length}, more than {MOST_SAMPLES}")));
    }
    let files = files(&folder)?;
    let words: Vec<String> = files.iter().map(|path| word(path)).collect();
    let labels = labels(&words);
    let mut rate = u32::try_from(rate).ok().filter(|rate| *rate > 0);
    let (mut waves, mut samples) = (Vec::new(), Vec::new());
    for path in &files {
        let (sound, own) = read(path)?;
        let expected = *rate.get_or_insert(own);
        if own != expected {
            let text = format!("has {own} samples a second, the others {expected}; convert it first");
            return Err(DataError::at(path, text));
        }
        samples.push(sound.len().min(length as usize) as i32);
        let padded = sound.into_iter().chain(std::iter::repeat(0.0)).take(length as usize);
        waves.extend(padded);
    }
    let fields = vec![
        Field::f32("wave", &[length as usize], &waves),
        Field::i32("samples", &[], &samples),
        Field::i32("label", &[], &labels),
    ];
    Dataset::new(&folder.display().to_string(), fields)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let entries = std::fs::read_dir(folder)
        .map_err(|e| DataError::new(format!("cannot read the folder `{}`: {e}", folder.display())))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| DataError::at(folder, e))?.path();
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("wav")) {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(DataError::at(folder, "holds no .wav files"));
    }
    Ok(files)
}

/// What a file's name says of its class.
fn word(path: &Path) -> String {
    let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    name.split('_').next().unwrap_or_default().to_string()
}

fn labels(words: &[String]) -> Vec<i32> {
    let numbers: Option<Vec<i32>> = words.iter().map(|w| w.parse().ok().filter(|n| *n >= 0)).collect();
    numbers.unwrap_or_else(|| {
        let classes: BTreeSet<&String> = words.iter().collect();
        words.iter().map(|w| classes.iter().filter(|class| **class < w).count() as i32).collect()
    })
}

/// The channels' mean from -1 to 1, and the samples a second.
fn read(path: &Path) -> Result<(Vec<f32>, u32), DataError> {
    let broken = |e: hound::Error| DataError::at(path, format!("is no readable WAV file ({e})"));
    let mut reader = WavReader::open(path).map_err(broken)?;
    let spec = reader.spec();
    let all: Result<Vec<f32>, hound::Error> = match spec.sample_format {
        SampleFormat::Float => reader.samples::<f32>().collect(),
        SampleFormat::Int => {
            let full = 2f32.powi(i32::from(spec.bits_per_sample) - 1);
            reader.samples::<i32>().map(|sample| sample.map(|s| s as f32 / full)).collect()
        }
    };
    let channels = usize::from(spec.channels.max(1));
    let frames = all.map_err(broken)?;
    let mean = |frame: &[f32]| frame.iter().sum::<f32>() / channels as f32;
    Ok((frames.chunks_exact(channels).map(mean).collect(), spec.sample_rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_places() {
        let words = |all: &[&str]| all.iter().map(|w| w.to_string()).collect::<Vec<_>>();
        assert_eq!(labels(&words(&["7", "0", "7"])), [7, 0, 7]);
        assert_eq!(labels(&words(&["no", "yes", "maybe", "no"])), [1, 2, 0, 1]);
        assert_eq!(word(Path::new("a/3_theo_12.wav")), "3");
    }

    #[test]
    fn sounds_are_cut_padded_and_mixed() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, channels: u16, rate: u32, samples: &[i16]| {
            let spec = hound::WavSpec {
                channels,
                sample_rate: rate,
                bits_per_sample: 16,
                sample_format: SampleFormat::Int,
            };
            let mut writer = hound::WavWriter::create(folder.path().join(name), spec).unwrap();
            samples.iter().for_each(|s| writer.write_sample(*s).unwrap());
            writer.finalize().unwrap();
        };
        let call = |length: f64| crate::model::DataCall {
            source: "wav".into(),
            arguments: vec![
                (None, crate::model::DataValue::Text(".".into()), Default::default()),
                (Some("length".into()), crate::model::DataValue::Number(length), Default::default()),
            ],
            span: Default::default(),
        };
        let load_here = |length: f64| load(Arguments::new(&call(length), folder.path()));
        assert!(load_here(3.0).unwrap_err().to_string().contains("no .wav files"));
        write("1_a.wav", 1, 8000, &[16384, -16384, 8192, 0]);
        write("0_b.wav", 2, 8000, &[32767, 1, 0, -32768]);
        let data = load_here(3.0).unwrap();
        assert_eq!(data.n_examples, 2);
        let wave: &[f32] = bytemuck::cast_slice(&data.field("wave").unwrap().bytes);
        assert_eq!(wave, [0.5, -0.5, 0.0, 0.5, -0.5, 0.25]);
        let ints = |name: &str| bytemuck::cast_slice::<u8, i32>(&data.field(name).unwrap().bytes).to_vec();
        assert_eq!((ints("samples"), ints("label")), (vec![2, 3], vec![0, 1]));
        write("2_c.wav", 1, 44_100, &[0]);
        assert!(load_here(3.0).unwrap_err().to_string().contains("samples a second"));
        std::fs::write(folder.path().join("2_c.wav"), b"RIFF....").unwrap();
        assert!(load_here(3.0).unwrap_err().to_string().contains("no readable WAV"));
    }
}
