//! The loop on an engine of a few lines: a line fitted by gradient descent with momentum.

use super::*;
use crate::base::{DType, Dim, TensorType};
use crate::graph::Graph;
use crate::model::{DataCall, Initial, Settings, Variable};
use crate::train::data::Field;
use crate::train::folder::RunInfo;
use gradc_dsl::Span;
use std::collections::HashMap;

struct Line {
    variables: HashMap<String, f32>,
    rate: f32,
    loss: [u8; 4],
    predictions: Vec<u8>,
}

impl Engine for Line {
    fn prepare(&mut self, program: Program) -> Result<Vec<SmolStr>, String> {
        match program {
            Program::Predict => Ok(vec!["x".into()]),
            _ => Ok(vec!["y".into(), "step".into(), "x".into()]),
        }
    }

    fn run(&mut self, program: Program, n_rows: usize, step: u64, inputs: &[&[u8]]) {
        let w = self.variables["w"];
        if program == Program::Predict {
            let xs: &[f32] = bytemuck::cast_slice(inputs[0]);
            self.predictions = xs.iter().flat_map(|x| (w * x).to_ne_bytes()).collect();
            return;
        }
        assert_eq!(inputs[1], (step as i32).to_ne_bytes());
        let (ys, xs): (&[f32], &[f32]) = (bytemuck::cast_slice(inputs[0]), bytemuck::cast_slice(inputs[2]));
        assert_eq!((ys.len(), xs.len()), (n_rows, n_rows));
        let errors = xs.iter().zip(ys).map(|(x, y)| w * x - y);
        self.loss = (errors.clone().map(|e| e * e).sum::<f32>() / n_rows as f32).to_ne_bytes();
        if program == Program::Train {
            let gradient = errors.zip(xs).map(|(e, x)| 2.0 * e * x).sum::<f32>() / n_rows as f32;
            let momentum = 0.9 * self.variables["momentum/w"] + gradient;
            self.variables.insert("momentum/w".into(), momentum);
            self.variables.insert("w".into(), w - self.rate * momentum);
        }
    }

    fn output(&self, program: Program, _: &str) -> &[u8] {
        if program == Program::Predict { &self.predictions } else { &self.loss }
    }

    fn variable(&self, path: &str) -> Vec<f32> {
        vec![self.variables[path]]
    }

    fn set_variable(&mut self, path: &str, values: &[f32]) {
        self.variables.insert(path.to_string(), values[0]);
    }
}

fn model(epochs: u64, steps: Option<u64>) -> Model {
    let variable = |path: &str, initial, trained| Variable {
        path: path.into(),
        ty: TensorType::new(DType::F32, Vec::<Dim>::new()),
        initial,
        begins_as: None,
        trained,
        span: Span::default(),
    };
    let data = DataCall { source: "memory".into(), arguments: Vec::new(), span: Span::default() };
    Model {
        name: "line".into(),
        train: Graph::new(),
        eval: Graph::new(),
        predict: Graph::new(),
        variables: vec![
            variable("w", Initial::Normal { mean: 0.0, deviation: 1.0 }, true),
            variable("momentum/w", Initial::Constant(0.0), false),
        ],
        shadows: Vec::new(),
        aggregates: Vec::new(),
        metrics: vec!["loss".into()],
        settings: Settings {
            data,
            test: None,
            valid: None,
            batch: 4,
            epochs,
            steps,
            seed: 5,
            shuffle: true,
            precision: Default::default(),
        },
    }
}

fn data() -> Arc<Dataset> {
    let x: Vec<f32> = (0..10).map(|i| i as f32 / 10.0).collect();
    let y: Vec<f32> = x.iter().map(|x| 3.0 * x).collect();
    Arc::new(Dataset::new("line", vec![Field::f32("x", &[], &x), Field::f32("y", &[], &y)]).unwrap())
}

fn trainer(model: &Model, rate: f32) -> Trainer<'_, Line> {
    let engine = Line { variables: HashMap::new(), rate, loss: [0; 4], predictions: Vec::new() };
    Trainer::new(model, engine, data(), Some(data()))
}

fn folder(parent: &Path, name: &str) -> RunFolder {
    let info = RunInfo::new("line", Path::new("line.model"), &[]);
    RunFolder::create(Some(&parent.join(name)), info, &[("line.model".into(), "train line {}".into())])
        .unwrap()
}

fn metrics_without_time(folder: &RunFolder) -> Vec<String> {
    let text = std::fs::read_to_string(folder.metrics()).unwrap();
    text.lines().map(|line| line.split(",\"seconds\"").next().unwrap().to_string()).collect()
}

const NEVER: Duration = Duration::MAX;

#[test]
fn a_line_is_learnt_and_predicted() {
    let model = model(60, None);
    let mut trainer = trainer(&model, 0.1);
    assert!(trainer.train(None, NEVER, &mut |_| Flow::Continue).unwrap());
    assert_eq!(trainer.position.step, 180);
    assert!((trainer.engine.variable("w")[0] - 3.0).abs() < 1e-3);
    assert!(trainer.evaluate(data()).unwrap()[0].1 < 1e-5);
    let predicted = trainer.predict(data(), "y").unwrap();
    assert_eq!(predicted.len(), 40);
    assert_eq!(trainer.weights().len(), 1);
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let parent = tempfile::tempdir().unwrap();
    let model = model(4, Some(11));
    let mut whole = trainer(&model, 0.1);
    let mut whole_folder = folder(parent.path(), "whole");
    assert!(whole.train(Some(&mut whole_folder), NEVER, &mut |_| Flow::Continue).unwrap());
    for stop in 0..10 {
        let mut run = folder(parent.path(), &format!("stopped-{stop}"));
        let mut first = trainer(&model, 0.1);
        let mut watch = |event: Event| match event {
            Event::Step { step, .. } if step == stop => Flow::Stop,
            _ => Flow::Continue,
        };
        assert!(!first.train(Some(&mut run), NEVER, &mut watch).unwrap());
        // A line of an epoch that the checkpoint does not know, as a kill may leave it.
        run.add_epoch(9, 999, &Metrics::new(), &Metrics::new(), 0.0).unwrap();
        let mut second = trainer(&model, 0.1);
        second.load_checkpoint(&run.checkpoint()).unwrap();
        assert_eq!(second.position.step, stop + 1);
        run.forget_after(second.position.step).unwrap();
        assert!(second.train(Some(&mut run), NEVER, &mut |_| Flow::Continue).unwrap());
        assert_eq!((second.variables(), &second.position), (whole.variables(), &whole.position));
        assert_eq!(metrics_without_time(&run), metrics_without_time(&whole_folder));
        assert_eq!(std::fs::read(run.weights()).unwrap(), std::fs::read(whole_folder.weights()).unwrap());
    }
}

#[test]
fn a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint() {
    let parent = tempfile::tempdir().unwrap();
    let model = model(1000, None);
    let mut run = folder(parent.path(), "wild");
    let mut wild = trainer(&model, 1e6);
    let error = wild.train(Some(&mut run), Duration::ZERO, &mut |_| Flow::Continue).unwrap_err();
    assert!(error.to_string().contains("smaller learning rate"), "{error}");
    let (variables, position) = checkpoint::load(&run.checkpoint()).unwrap();
    assert!(position.step > 1 && variables.values().all(|t| t.values[0].is_finite()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let parent = tempfile::tempdir().unwrap();
    let one = model(1, None);
    let mut run = folder(parent.path(), "run");
    trainer(&one, 0.1).train(Some(&mut run), NEVER, &mut |_| Flow::Continue).unwrap();
    let mut other = model(1, None);
    other.settings.seed = 6;
    let error = trainer(&other, 0.1).load_checkpoint(&run.checkpoint()).unwrap_err().to_string();
    assert!(error.contains("was made with seed 5, but now it is 6"), "{error}");
    let mut other = model(1, None);
    other.variables[0].path = "v".into();
    let error = trainer(&other, 0.1).load_weights(&run.weights()).unwrap_err().to_string();
    assert!(error.contains("`v` is missing"), "{error}");
    trainer(&one, 0.1).load_weights(&run.weights()).unwrap();

    let info = RunInfo::new("line", Path::new("line.model"), &[]);
    let error = RunFolder::create(Some(&run.path), info.clone(), &[]).unwrap_err().to_string();
    assert!(error.contains("holds a run already"), "{error}");
    let file = parent.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(RunFolder::create(Some(&file), info, &[]).is_err());
    assert!(RunFolder::open(parent.path()).unwrap_err().to_string().contains("not the folder of a run"));
    assert_eq!(RunFolder::open(&run.path).unwrap().info, run.info);
}
