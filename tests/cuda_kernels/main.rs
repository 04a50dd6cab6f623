//! The CUDA C of models, without a GPU.
//!
//! What enters: the examples, the workloads of the benchmarks, the models of the ladder. What fails: a kernel that NVRTC refuses for
//! sm_80 or sm_90, one that spills registers or needs local memory, one whose PTX trains otherwise than the definition of meaning,
//! and a text that has changed (`INSTA_UPDATE=always cargo test --test cuda_kernels` blesses it). Where NVRTC is absent
//! the PTX of some models is a golden one, which `INSTA_UPDATE=always` makes again where NVRTC is; models that have none are named as skipped.

#[allow(dead_code, reason = "the other rungs are other tests'")]
#[path = "../ladder/mod.rs"]
mod ladder;
mod machine;
#[path = "../skip/mod.rs"]
mod skip;

use gradc::base::Precision;
use gradc::codegen::cuda::{emit, emit_whole};
use gradc::model::Model;
use gradc::plan::{Launch, Target, work};
use gradc::train::data::{Data, Dataset};
use gradc::train::engine::{Program, graph};
use gradc::train::planned::plan_of;
use ladder::{Ladder, Rung, Values, differences};
use machine::{GOLDEN, How, Machine, assert_same, golden_path, mark, nvrtc};
use skip::skipped;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What NVRTC made of the plan for a GPU, now or once.
const CUDA: &[Rung] = &[Rung {
    name: "cuda",
    tolerance: 1e-5,
    train: |ladder| {
        let plan = ladder.planned(Target::Cuda);
        let machine = Machine::new(&plan).expect("it was there a moment ago");
        ladder.train_by(&mut |leaves, at| machine.run(leaves, at))
    },
}];

fn models(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> = files.filter(|p| p.extension().is_some_and(|e| e == "model")).collect();
    models.sort();
    models
}

fn load(path: &Path, settings: &[(&str, &str)]) -> (Model, Data) {
    let text = std::fs::read_to_string(path).unwrap();
    let data = Data::in_folder(path.parent().unwrap());
    let settings: Vec<_> =
        settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let checked = gradc::check(&gradc::load("test.model", &text), &data, &settings);
    let model = checked.unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()));
    (model, data)
}

/// Bytes that a kernel may save around a call: quotients, roots and normal numbers have a function for what is rare (infinities, the
/// ends of the range), which is called and not inlined. Nothing else is in local memory.
fn may_save(text: &str, kernel: &str) -> u64 {
    const AROUND_A_CALL: u64 = 64;
    // The first place of a name is its definition.
    let body_of = |name: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let pattern = format!("{name}(");
        let mut places = text.match_indices(&pattern).map(|(at, _)| at);
        let at = places.find(|at| !text[..*at].ends_with(is_word)).unwrap_or(text.len());
        text[at..].split("\n}\n").next().unwrap_or_default()
    };
    let calls =
        |body: &str| ["__fdiv_rn", "__fsqrt_rn", "normal_four"].iter().any(|name| body.contains(name));
    let functions = text.lines().filter(|line| line.starts_with("__device__"));
    let names: Vec<&str> = functions.filter_map(|line| line.split('(').next()?.rsplit(' ').next()).collect();
    // The kernel, what it calls, what that calls.
    let (mut reached, mut next) = (vec![kernel], 0);
    while let Some(function) = reached.get(next).copied() {
        let body = body_of(function);
        if calls(body) {
            return AROUND_A_CALL;
        }
        let called: Vec<&str> =
            names.iter().copied().filter(|name| body.contains(&format!("{name}("))).collect();
        called.into_iter().for_each(|name| {
            if !reached.contains(&name) {
                reached.push(name)
            }
        });
        next += 1;
    }
    0
}

fn compile_examples(architecture: &str) {
    let Some(nvrtc) = nvrtc() else { return };
    let mut failures = Vec::new();
    let own = [models("examples"), models("examples/bench"), models("benches/cuda")].concat();
    let all = own.iter().map(|path| (path, None));
    // In bf16 what has other products, norms and attention, in tf32 what has products.
    let others = [
        ("cnn", Precision::Bf16),
        ("gpt-mini", Precision::Bf16),
        ("gpt-mini", Precision::Tf32),
        ("gpt2", Precision::Bf16),
    ];
    let is_named = |path: &PathBuf, name: &str| path.file_stem().is_some_and(|stem| stem == name);
    let others = others.into_iter().filter_map(|(name, precision)| {
        Some((own.iter().find(|path| is_named(path, name))?, Some(precision)))
    });
    for (path, precision) in all.chain(others) {
        let (mut model, _) = load(path, &[]);
        model.settings.precision = precision.unwrap_or(model.settings.precision);
        for program in [Program::Train, Program::Eval, Program::Predict] {
            if graph(&model, program).outputs.is_empty() {
                continue;
            }
            let plan = plan_of(&model, program, Target::Cuda);
            let (source, whole) = (emit(&plan), emit_whole(&plan));
            let n_functions = source.functions().count();
            let texts = [(source.text, n_functions)];
            for (text, n_kernels) in texts.into_iter().chain(whole.map(|whole| (whole.text, 1))) {
                let at = format!("{}, {program:?}, {architecture}", path.display());
                match nvrtc.compile(&text, architecture) {
                    Err(error) => failures.push(format!("{at}: {error}")),
                    Ok(compiled) => {
                        assert_eq!(compiled.usage.len(), n_kernels, "{at}");
                        let slow = compiled.usage.iter().filter(|usage| {
                            let saved = usage.spill_store_bytes.max(usage.stack_bytes);
                            saved > may_save(&text, &usage.kernel)
                        });
                        failures.extend(slow.map(|usage| format!("{at}: {usage:?}")));
                    }
                }
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn kernels_of_all_examples_compile_without_spills_for_sm_80() {
    compile_examples("sm_80");
}

#[test]
fn kernels_of_all_examples_compile_without_spills_for_sm_90() {
    compile_examples("sm_90");
}

/// Work is shared: where blocks are few, none has more than a processor of a large GPU does in about a tenth of a millisecond.
#[test]
fn no_launch_of_much_work_has_few_blocks() {
    const FEW: u64 = 512;
    const FLOPS: u64 = 1 << 26;
    const BYTES: u64 = 1 << 22;
    let mut failures = Vec::new();
    for path in [models("examples"), models("examples/bench"), models("benches/cuda")].concat() {
        let (model, _) = load(&path, &[]);
        let plan = plan_of(&model, Program::Train, Target::Cuda);
        let source = emit(&plan);
        for launch in plan.phases.iter().flatten().flat_map(Launch::variants) {
            let (all, _) = work(&plan, launch, plan.max_batch);
            let blocks = u64::from(source.kernels[launch.kernel].blocks(plan.max_batch));
            if blocks < FEW && (all.flops / blocks > FLOPS || all.bytes / blocks > BYTES) {
                let name = &source.kernels[launch.kernel].name;
                failures.push(format!(
                    "{} {name}: {blocks} blocks, {all:?}: {}",
                    path.display(),
                    launch.note
                ));
            }
        }
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// The first `n` examples.
fn cut(data: &Dataset, n: usize) -> Arc<Dataset> {
    let n = n.min(data.n_examples);
    let mut fields = data.fields.clone();
    for field in &mut fields {
        let bytes = field.row_bytes() * n;
        field.bytes.truncate(bytes);
    }
    Arc::new(Dataset::new("the first examples", fields).unwrap())
}

fn check(path: &Path, settings: &[(&str, &str)], n_examples: usize) -> Vec<String> {
    let (model, data) = load(path, settings);
    let examples = cut(&data.load(&model.settings.data).unwrap(), n_examples);
    let ladder = Ladder::new(&model, examples, Values::new()).unwrap();
    if Machine::new(&ladder.planned(Target::Cuda)).is_none() {
        skipped(&format!("{}: there is neither NVRTC nor golden PTX", path.display()));
        return Vec::new();
    }
    let found = differences(&ladder, &ladder.definition(), CUDA);
    found.into_iter().map(|what| format!("{}: {what}", path.display())).collect()
}

#[test]
fn models_train_the_same_from_their_ptx() {
    let mut failures = Vec::new();
    for path in models("tests/models") {
        failures.extend(check(&path, &[("steps", "2")], usize::MAX));
    }
    let mnist = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mnist.model");
    failures.extend(check(&mnist, &[("batch", "8"), ("steps", "1"), ("shuffle", "false")], 5));
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

/// Golden PTX is of the text that is emitted now.
#[test]
fn golden_ptx_is_of_this_text() {
    let blesses = std::env::var("INSTA_UPDATE").is_ok_and(|how| how == "always");
    for (name, has_step) in GOLDEN {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/models/{name}.model"));
        let (model, data) = load(&path, &[("steps", "2")]);
        let examples = data.load(&model.settings.data).unwrap();
        let plan = Ladder::new(&model, examples, Values::new()).unwrap().planned(Target::Cuda);
        let step = has_step.then(|| emit_whole(&plan).expect("a small step").text);
        for (text, file) in [(Some(emit(&plan).text), name.to_string()), (step, format!("{name}.step"))] {
            let (Some(text), file) = (text, golden_path(&file)) else { continue };
            if blesses && let Some(nvrtc) = nvrtc() {
                let ptx = nvrtc.compile(&text, "sm_80").unwrap().ptx;
                std::fs::write(&file, format!("{}\n{ptx}", mark(&text))).unwrap();
            }
            let found = std::fs::read_to_string(&file).unwrap_or_default();
            assert!(
                found.lines().next() == Some(&mark(&text)),
                "{}: of another text; where NVRTC is, `INSTA_UPDATE=always cargo test --test cuda_kernels` makes it again",
                file.display()
            );
        }
    }
}

/// The classifier's step as one launch, on any number of blocks, does what its launches do, and reads nothing through the read-only
/// cache, which does not see what a launch itself has written.
#[test]
fn the_classifier_as_one_launch() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mnist.model");
    let (model, data) = load(&path, &[("batch", "32"), ("steps", "2"), ("shuffle", "false")]);
    let plan = plan_of(&model, Program::Train, Target::Cuda);
    let whole = emit_whole(&plan).expect("a small step");
    insta::assert_snapshot!("classifier_step_cuda", whole.text);
    let Some(nvrtc) = nvrtc() else { return };
    let ptx = nvrtc.compile(&whole.text, "sm_80").unwrap().ptx;
    assert!(!ptx.contains("ld.global.nc"));
    let examples = cut(&data.load(&model.settings.data).unwrap(), 32);
    let machine = Machine::new(&plan).unwrap();
    let most = machine.whole().unwrap().blocks(32);
    assert!(most > 64, "{most} blocks");
    let ladder = Ladder::new(&model, examples, Values::new()).unwrap();
    ladder.train_by(&mut |leaves, at| {
        let expected = machine.run_as(How::Launches, leaves, at);
        for blocks in [1, 7, most] {
            let found = machine.run_as(How::Whole { blocks }, leaves, at);
            assert_same(&found, &expected, &format!("{blocks} blocks"));
        }
        expected
    });
}

/// Which steps of the examples are one launch.
#[test]
fn steps_of_examples_that_are_one_launch() {
    let mut all = Vec::new();
    for path in [models("examples"), models("examples/bench")].concat() {
        let (model, _) = load(&path, &[]);
        let plan = plan_of(&model, Program::Train, Target::Cuda);
        let blocks = emit_whole(&plan).map(|whole| format!("{} blocks", whole.blocks(plan.max_batch)));
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        all.push(format!("{name}: {}", blocks.unwrap_or_else(|| "launches".into())));
    }
    insta::assert_snapshot!("one_launch", all.join("\n"));
}

/// Convolutions, turns, random numbers and dropout, of small models; a generator with its losses, attention, norms and an optimizer, of examples.
#[test]
fn models_as_text() {
    for path in [
        "tests/models/convolution",
        "tests/models/recurrence",
        "tests/models/noise",
        "examples/vae",
        "examples/gpt",
    ] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (model, _) = load(&folder.join(format!("{path}.model")), &[]);
        let text = emit(&plan_of(&model, Program::Train, Target::Cuda)).text;
        insta::assert_snapshot!(format!("{}_cuda", path.replace('/', "_")), text);
    }
}

#[test]
fn the_classifier_as_text() {
    let (model, _) = load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/mnist.model"), &[]);
    insta::assert_snapshot!("classifier_cuda", emit(&plan_of(&model, Program::Train, Target::Cuda)).text);
}
