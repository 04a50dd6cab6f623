//! A model on a GPU: the engine that the training loop runs there.
//!
//! What enters: a checked model and a device. What leaves: an `Engine` that compiles each program when it is
//! first asked for. Invariants: all programs share the variables by name; what the device fails at is said by
//! the next `finish` or `prepare`, and until then nothing that it gives is a number, so that nothing of it is
//! kept.

use super::engine::{Engine, Program};
use super::planned::{Cost, plan_of};
use crate::base::DType;
use crate::codegen::cuda::choices::Product;
use crate::model::Model;
use crate::plan::{Plan, Target};
use crate::runtime::StepEnv;
use crate::runtime::cuda::{Device, DeviceError, Driver, ProgramId, Session, Timed};
use smol_str::SmolStr;

pub struct Accelerated<'m, D: Device> {
    model: &'m Model,
    session: Session<D>,
    /// In the order of `Program`'s variants.
    programs: [Option<ProgramId>; 3],
    failure: Option<DeviceError>,
}

impl<'m, D: Device> Accelerated<'m, D> {
    /// Compiles nothing yet.
    pub fn new(model: &'m Model, device: D) -> Accelerated<'m, D> {
        Accelerated { model, session: Session::new(device), programs: [None; 3], failure: None }
    }

    /// Compiles a program now and says what the device holds for it, and what a run of it takes.
    ///
    /// # Errors
    /// The device cannot run it, in words for the user.
    pub fn compile(&mut self, program: Program) -> Result<Cost, String> {
        let plan = plan_of(self.model, program, Target::Cuda);
        let flops = plan.flops;
        let id = self.session.add(plan).map_err(|error| error.to_string())?;
        self.programs[program as usize] = Some(id);
        Ok(Cost { peak_bytes: self.session.bytes(), flops })
    }

    /// Seconds of each launch of a step: see `Session::time_launches`.
    ///
    /// # Errors
    /// The device has failed, in words for the user.
    pub fn time_launches(
        &mut self,
        program: Program,
        n_rows: usize,
        inputs: &[&[u8]],
        n_steps: usize,
    ) -> Result<Vec<f64>, String> {
        let (id, env) = (self.id(program), StepEnv { seed: self.model.settings.seed, step: 0 });
        let times = self.session.time_launches(id, n_rows, env, inputs, n_steps);
        times.map_err(|error| error.to_string())
    }

    /// Blocks of each launch of a step.
    pub fn n_blocks(&self, program: Program, n_rows: usize) -> Vec<usize> {
        self.session.n_blocks(self.id(program), n_rows)
    }

    pub fn session(&self) -> &Session<D> {
        &self.session
    }

    pub fn plan(&self, program: Program) -> &Plan {
        self.session.plan(self.id(program))
    }

    /// # Panics
    /// When `prepare` was not called.
    pub fn id(&self, program: Program) -> ProgramId {
        self.programs[program as usize].expect("a program is prepared before it is run")
    }

    /// The first failure stays: what follows from it says less.
    fn keep<T>(&mut self, result: Result<T, DeviceError>) {
        if let Err(error) = result {
            self.failure.get_or_insert(error);
        }
    }

    fn checked(&self) -> Result<(), String> {
        self.failure.as_ref().map_or(Ok(()), |error| Err(error.to_string()))
    }
}

impl<D: Device> Engine for Accelerated<'_, D> {
    fn prepare(&mut self, program: Program) -> Result<Vec<SmolStr>, String> {
        self.checked()?;
        if self.programs[program as usize].is_none() {
            self.compile(program)?;
        }
        Ok(self.session.inputs(self.id(program)).to_vec())
    }

    fn run(&mut self, program: Program, n_rows: usize, step: u64, inputs: &[&[u8]]) {
        if self.failure.is_none() {
            let env = StepEnv { seed: self.model.settings.seed, step };
            let begun = self.session.begin(self.id(program), n_rows, env, inputs);
            self.keep(begun);
        }
    }

    fn n_ahead(&self) -> usize {
        self.session.n_ahead()
    }

    fn finish(&mut self, program: Program, n_left: usize) -> Result<(), String> {
        self.checked()?;
        let finished = self.session.finish(self.id(program), n_left);
        self.keep(finished);
        self.checked()
    }

    fn output(&self, program: Program, name: &str) -> &[u8] {
        self.session.output(self.id(program), name)
    }

    fn variable(&self, path: &str) -> Vec<f32> {
        match self.session.variable(path) {
            Ok(Some(bytes)) => bytemuck::pod_collect_to_vec(&bytes),
            Ok(None) => Vec::new(),
            // A checkpoint of it is refused.
            Err(_) => vec![f32::NAN],
        }
    }

    fn set_variable(&mut self, path: &str, values: &[f32]) {
        let set = self.session.set_variable(path, DType::F32, bytemuck::cast_slice(values));
        self.keep(set);
    }
}

impl Accelerated<'_, Driver> {
    /// Products that a library may make: see `Session::products`.
    pub fn products(&mut self, program: Program, n_rows: usize) -> Vec<(Product, usize)> {
        self.session.products(self.id(program), n_rows)
    }

    /// Times what can make a product: see `Session::time_product`.
    ///
    /// # Errors
    /// The device has failed, in words for the user.
    pub fn time_product(
        &mut self,
        program: Program,
        n_rows: usize,
        product: &Product,
    ) -> Result<Timed, String> {
        let timed = self.session.time_product(self.id(program), n_rows, product);
        timed.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::super::compiled::Compiled;
    use super::super::data::{Data, Dataset, Field};
    use super::super::folder::{RunFolder, RunInfo};
    use super::super::generate::{Choice, Writer};
    use super::super::interpreted::Interpreted;
    use super::super::run::{Event, Flow, TrainError, Trainer};
    use super::*;
    use crate::codegen::cuda::library::call;
    use crate::runtime::cuda::mock::{Late, Mock};
    use std::path::Path;
    use std::time::Duration;

    /// Random numbers, states, an optimizer's moments, a last batch that is short, data kept apart.
    const MODEL: &str = "
        fn net(x: f32[batch, 4]) -> f32[batch, 3] {
            x |> batch_norm |> dense(8) |> relu |> dropout(rate = 0.2) |> dense(3)
        }
        train net {
            data = memory(x: f32[4], label: i32)
            valid = memory(x: f32[4], label: i32)
            let guess = net(data.x)
            minimize cross_entropy(guess, data.label) with adam(lr = 1e-2)
            report accuracy(guess, data.label)
            predict softmax(guess)
            batch = 8  epochs = 3  seed = 5
        }";

    fn data() -> Data {
        let x: Vec<f32> = (0..27 * 4).map(|i| ((i * 37 % 29) as f32 - 14.0) / 10.0).collect();
        let label: Vec<i32> = (0..27).map(|i| i * 5 % 3).collect();
        let fields = || vec![Field::f32("x", &[4], &x), Field::i32("label", &[], &label)];
        let data = Data::default().with_memory("data", fields()).unwrap();
        data.with_memory("valid", fields()).unwrap()
    }

    fn model(text: &str, data: &Data) -> Model {
        let checked = crate::check(&crate::load("net.model", text), data, &[]);
        checked.map_err(|errors| errors[0].message.clone()).unwrap()
    }

    fn trainer<'m, E: Engine>(model: &'m Model, data: &Data, engine: E) -> Trainer<'m, E> {
        let valid = model.settings.valid.as_ref().map(|call| data.load(call).unwrap());
        Trainer::new(model, engine, data.load(&model.settings.data).unwrap(), valid)
    }

    /// All that a run tells: metrics of steps and epochs.
    fn told<E: Engine>(trainer: &mut Trainer<E>) -> Vec<f64> {
        let mut all = Vec::new();
        let mut watch = |event: Event| {
            match event {
                Event::Step { metrics, .. } => all.extend(metrics.iter().map(|m| f64::from(*m))),
                Event::Epoch { train, valid, .. } => all.extend(train.iter().chain(valid).map(|(_, m)| *m)),
                Event::Checkpoint { .. } => {}
            }
            Flow::Continue
        };
        assert!(trainer.train(None, Duration::MAX, &mut watch).unwrap());
        all
    }

    fn mock(model: &Model, late: Late) -> Accelerated<'_, Mock> {
        let mut engine = Accelerated::new(model, Mock::new(1 << 30, late));
        engine.compile(Program::Train).unwrap();
        engine
    }

    #[test]
    fn a_run_is_the_interpreters() {
        let data = data();
        let model = model(MODEL, &data);
        let mut slow = trainer(&model, &data, Interpreted::new(&model));
        let expected = told(&mut slow);
        for late in [Late::ALL[0], Late::ALL[5], Late::ALL[7]] {
            let mut run = trainer(&model, &data, mock(&model, late));
            let found = told(&mut run);
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-3, "{found}, not {expected}");
            }
            let predicted = |bytes: Vec<u8>| bytemuck::pod_collect_to_vec::<u8, f32>(&bytes);
            let examples = data.load(&model.settings.data).unwrap();
            let name = &model.predict.outputs[0].0;
            let found = predicted(run.predict(examples.clone(), name).unwrap());
            let expected = predicted(slow.predict(examples, name).unwrap());
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-2));
            assert!(run.engine.session().device().faults().is_empty());
        }
    }

    /// Products large enough to be kernels of their own, as calls of a library: forward, and both gradients.
    #[test]
    fn large_products_may_be_a_librarys() {
        let text = "
            fn net(x: f32[batch, 64]) -> f32[batch, 3] { x |> dense(128) |> tanh |> dense(160) |> tanh |> dense(3) }
            train net {
                data = synthetic(rows = 100, x: f32[64], label: i32[], classes = 3)
                let guess = net(data.x)
                minimize cross_entropy(guess, data.label) with sgd(lr = 0.1)
                batch = 96  steps = 2  seed = 5
            }";
        let data = Data::default();
        let model = model(text, &data);
        let expected = told(&mut trainer(&model, &data, Compiled::new(&model, 2)));
        for mock in [Mock::new(1 << 30, Late::ALL[7]), Mock::new(1 << 30, Late::ALL[3]).with_library()] {
            let mut run = trainer(&model, &data, Accelerated::new(&model, mock));
            let found = told(&mut run);
            assert!(
                found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-4),
                "{found:?}, not {expected:?}"
            );
            let kernels = &run.engine.plan(Program::Train).kernels;
            let n_calls = kernels.iter().filter(|kernel| call(kernel, 96).is_some()).count();
            assert!(n_calls >= 3, "{n_calls} of {}", kernels.len());
            assert!(run.engine.session().device().faults().is_empty());
        }
    }

    fn folder(path: &Path) -> RunFolder {
        let info = RunInfo::new("net", Path::new("net.model"), &[]);
        RunFolder::create(Some(path), info, &[("net.model".into(), MODEL.into())]).unwrap()
    }

    #[test]
    fn a_stopped_run_goes_on_to_the_same_bits() {
        let (data, parent) = (data(), tempfile::tempdir().unwrap());
        let model = model(MODEL, &data);
        let mut whole = trainer(&model, &data, mock(&model, Late::ALL[7]));
        let mut whole_folder = folder(&parent.path().join("whole"));
        assert!(whole.train(Some(&mut whole_folder), Duration::ZERO, &mut |_| Flow::Continue).unwrap());
        for stop in [0, 2, 3, 6] {
            let mut run = folder(&parent.path().join(format!("stopped-{stop}")));
            let mut first = trainer(&model, &data, mock(&model, Late::ALL[2]));
            let mut watch = |event: Event| match event {
                Event::Step { step, .. } if step == stop => Flow::Stop,
                _ => Flow::Continue,
            };
            assert!(!first.train(Some(&mut run), Duration::MAX, &mut watch).unwrap());
            let mut second = trainer(&model, &data, mock(&model, Late::ALL[5]));
            second.load_checkpoint(&run.checkpoint()).unwrap();
            assert!(second.position.step > stop);
            assert!(second.train(Some(&mut run), Duration::MAX, &mut |_| Flow::Continue).unwrap());
            assert_eq!((second.variables(), &second.position), (whole.variables(), &whole.position));
        }
    }

    #[test]
    fn text_goes_on_as_on_the_cpu() {
        let text = "
            fn net(tokens: i32[batch, t]) -> f32[batch, t, 5] {
                embedding(tokens, 5, 8) |> self_attention(heads = 2, causal = true) |> dense(5)
            }
            train net {
                data = memory(tokens: i32[6], label: i32[6])
                let guess = net(data.tokens)
                minimize cross_entropy(guess, data.label) with sgd(lr = 0.1)
                predict guess
                batch = 2  steps = 1  seed = 5
            }";
        let tokens: Vec<i32> = (0..24).map(|i| i * 7 % 5).collect();
        let fields = vec![Field::i32("tokens", &[6], &tokens), Field::i32("label", &[6], &tokens)];
        let data = Data::default().with_memory("data", fields.clone()).unwrap();
        let model = model(text, &data);
        let writer = Writer::new(&model, &fields, "guess");
        let dataset = std::sync::Arc::new(Dataset::new("data", fields.clone()).unwrap());
        fn write<'m, E: Engine>(writer: &'m Writer, dataset: std::sync::Arc<Dataset>, engine: E) -> Vec<i32> {
            let mut trainer: Trainer<'m, E> = Trainer::new(&writer.model, engine, dataset, None);
            let choice = Choice { temperature: 0.0, top_k: 0, seed: 0 };
            let mut all = Vec::new();
            let each = |token| -> Result<(), TrainError> {
                all.push(token);
                Ok(())
            };
            writer.generate(&mut trainer.engine, vec![1, 2], 12, &choice, each).unwrap();
            all
        }
        let expected = write(&writer, dataset.clone(), Compiled::new(&writer.model, 1));
        let engine = Accelerated::new(&writer.model, Mock::new(1 << 30, Late::ALL[7]));
        assert_eq!(write(&writer, dataset, engine), expected);
    }

    #[test]
    fn what_does_not_fit_is_said_in_bytes() {
        let data = data();
        let model = model(MODEL, &data);
        let mut engine = Accelerated::new(&model, Mock::new(1 << 10, Late::default()));
        let error = engine.compile(Program::Train).unwrap_err();
        assert!(error.contains("of memory (") && error.contains("), and mock has 1.0 K"), "{error}");
        // Values that nobody has room for are an error of the next step, not a crash.
        engine.set_variable("w", &[0.0; 1000]);
        assert!(engine.prepare(Program::Train).unwrap_err().contains("of memory"));
    }
}
