//! The folder of a run: model text, settings, metrics, checkpoint, weights.
//!
//! What enters: what a run needs to be started again. What leaves: files that a person and `--resume` read.
//! Invariants: a folder that holds a run is never overwritten by another; `metrics.jsonl` has one line an epoch,
//! and after a resume none from a future that the checkpoint does not know.

use super::run::{Metrics, TrainError};
use crate::base::files::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};

const FORMAT: u32 = 1;

/// `run.json`: how the run was started.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct RunInfo {
    pub format: u32,
    /// The compiler's version.
    pub gradc: String,
    pub name: String,
    /// The model's file as it was named, which messages and imports go by.
    pub model_file: PathBuf,
    /// What relative data paths are relative to.
    pub data_folder: PathBuf,
    /// `NAME=VALUE`, as given.
    pub settings: Vec<String>,
    /// Imported files: the path they were found at, and the copy in this folder.
    pub imports: Vec<(String, String)>,
}

impl RunInfo {
    pub fn new(name: &str, model_file: &Path, settings: &[String]) -> RunInfo {
        let folder = model_file.parent().filter(|f| !f.as_os_str().is_empty()).unwrap_or(Path::new("."));
        RunInfo {
            format: FORMAT,
            gradc: env!("CARGO_PKG_VERSION").to_string(),
            name: name.to_string(),
            model_file: model_file.to_path_buf(),
            data_folder: std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf()),
            settings: settings.to_vec(),
            imports: Vec::new(),
        }
    }
}

/// A run's folder, open for writing.
#[derive(Debug)]
pub struct RunFolder {
    pub path: PathBuf,
    pub info: RunInfo,
}

impl RunFolder {
    /// Makes the folder `path`, or the first free `runs/NAME-N`, and writes the model into it. `sources` are the
    /// texts: first the model's, then its imports, as (path, text).
    ///
    /// # Errors
    /// The folder cannot be made or holds a run already.
    pub fn create(
        path: Option<&Path>,
        mut info: RunInfo,
        sources: &[(String, String)],
    ) -> Result<Self, TrainError> {
        let path = match path {
            Some(path) => {
                std::fs::create_dir_all(path).map_err(|e| cannot("make", path, e))?;
                if path.join("run.json").exists() {
                    return Err(TrainError::Folder(format!(
                        "`{}` holds a run already; give another folder, or go on with `--resume {}`",
                        path.display(),
                        path.display()
                    )));
                }
                path.to_path_buf()
            }
            None => first_free(Path::new("runs"), &info.name)?,
        };
        for (i, (name, text)) in sources.iter().enumerate() {
            let file = if i == 0 { "model.model".to_string() } else { format!("imports/{i}.model") };
            if i == 1 {
                let imports = path.join("imports");
                std::fs::create_dir_all(&imports).map_err(|e| cannot("make", &imports, e))?;
            }
            if i > 0 {
                info.imports.push((name.clone(), file.clone()));
            }
            let file = path.join(file);
            std::fs::write(&file, text).map_err(|e| cannot("write", &file, e))?;
        }
        let text = serde_json::to_string_pretty(&info).map_err(|e| TrainError::Folder(e.to_string()))?;
        let file = path.join("run.json");
        write_atomically(&file, format!("{text}\n").as_bytes()).map_err(|e| cannot("write", &file, e))?;
        Ok(RunFolder { path, info })
    }

    /// A folder that `create` made.
    ///
    /// # Errors
    /// It does not exist, or its `run.json` is missing, damaged or of another format.
    pub fn open(path: &Path) -> Result<RunFolder, TrainError> {
        let file = path.join("run.json");
        let text = std::fs::read_to_string(&file).map_err(|e| {
            TrainError::Folder(format!(
                "`{}` is not the folder of a run: {}: {e}",
                path.display(),
                file.display()
            ))
        })?;
        let damaged =
            |e: serde_json::Error| TrainError::Folder(format!("`{}` is damaged: {e}", file.display()));
        let info: RunInfo = serde_json::from_str(&text).map_err(damaged)?;
        if info.format != FORMAT {
            return Err(TrainError::Folder(format!(
                "`{}` is of format {}; this program reads format {FORMAT}",
                file.display(),
                info.format
            )));
        }
        Ok(RunFolder { path: path.to_path_buf(), info })
    }

    /// The model's text as it was when the run began.
    pub fn model(&self) -> PathBuf {
        self.path.join("model.model")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }

    pub fn weights(&self) -> PathBuf {
        self.path.join("weights.safetensors")
    }

    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// Drops the metrics of epochs that ended after `step`.
    ///
    /// # Errors
    /// The file cannot be rewritten.
    pub fn forget_after(&self, step: u64) -> Result<(), TrainError> {
        let file = self.metrics();
        let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
        let known = |line: &&str| {
            serde_json::from_str::<Value>(line)
                .ok()
                .and_then(|v| v["step"].as_u64())
                .is_some_and(|s| s <= step)
        };
        let kept: String = text.lines().filter(known).map(|line| format!("{line}\n")).collect();
        if kept == text {
            return Ok(());
        }
        write_atomically(&file, kept.as_bytes()).map_err(|e| cannot("write", &file, e))
    }

    /// Adds a line to the metrics.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add_epoch(
        &mut self,
        epoch: u64,
        step: u64,
        train: &Metrics,
        valid: &Metrics,
        seconds: f64,
    ) -> Result<(), TrainError> {
        let file = self.metrics();
        let line = epoch_line(epoch, step, train, valid, seconds);
        let append = || -> std::io::Result<()> {
            let mut out = std::fs::OpenOptions::new().create(true).append(true).open(&file)?;
            out.write_all(format!("{line}\n").as_bytes())
        };
        append().map_err(|e| cannot("write", &file, e))
    }
}

/// `{"epoch":1,"step":125,"loss":…,"accuracy":…,"valid":{…},"seconds":…}`
pub fn epoch_line(epoch: u64, step: u64, train: &Metrics, valid: &Metrics, seconds: f64) -> Value {
    let object = |metrics: &Metrics| -> Map<String, Value> {
        metrics.iter().map(|(name, value)| (name.to_string(), json!(value))).collect()
    };
    let mut line = Map::from_iter([("epoch".to_string(), json!(epoch)), ("step".to_string(), json!(step))]);
    line.extend(object(train));
    if !valid.is_empty() {
        line.insert("valid".to_string(), object(valid).into());
    }
    line.insert("seconds".to_string(), json!((seconds * 1e6).round() / 1e6));
    Value::Object(line)
}

fn first_free(parent: &Path, name: &str) -> Result<PathBuf, TrainError> {
    std::fs::create_dir_all(parent).map_err(|e| cannot("make", parent, e))?;
    let mut number = 1;
    loop {
        let path = parent.join(format!("{name}-{number}"));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
            Err(e) => return Err(cannot("make", &path, e)),
        }
    }
}

fn cannot(what: &str, path: &Path, error: std::io::Error) -> TrainError {
    TrainError::Folder(format!("cannot {what} `{}`: {error}", path.display()))
}
