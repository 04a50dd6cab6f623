//! gradc against PyTorch: ten training steps of small networks, one for each activation, norm, loss, optimizer and
//! schedule, and of attention, convolution, embedding and a gradient inside of a network.
//!
//! What enters: `tests/golden/NAME.model` and `NAME.safetensors`, made by `tests/golden/make.py` in double precision:
//! data, parameters before, the loss of each step, a projection of the loss's gradient to the input, parameters after.
//! What fails: a loss, a slope or a parameter that differs, on any rung of the ladder, by more than rounding: 1e-10 of a
//! tensor's greatest element in f64, 1e-5 in f32. `GOLDEN=NAME` looks at the cases whose names contain NAME only.

mod ladder;

use gradc::base::{DType, TensorType};
use gradc::train::data::{Data, Field};
use ladder::{COMPILED, EXACT, Ladder, Rung, Values, differences};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::path::{Path, PathBuf};

fn cases() -> Vec<(String, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let models = paths.filter(|path| path.extension().is_some_and(|e| e == "model"));
    let mut cases: Vec<_> =
        models.map(|path| (path.file_stem().unwrap().to_string_lossy().into_owned(), path)).collect();
    if let Ok(part) = std::env::var("GOLDEN") {
        cases.retain(|(name, _)| name.contains(&part));
        assert!(!cases.is_empty(), "no case is called {part}");
    }
    cases.sort();
    cases
}

fn numbers(view: &TensorView) -> Vec<f64> {
    let (data, four) = (view.data(), |b: &[u8]| [b[0], b[1], b[2], b[3]]);
    match view.dtype() {
        Dtype::F64 => data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect(),
        Dtype::F32 => data.chunks_exact(4).map(|b| f32::from_le_bytes(four(b)).into()).collect(),
        Dtype::I32 => data.chunks_exact(4).map(|b| i32::from_le_bytes(four(b)).into()).collect(),
        other => panic!("elements of type {other:?}"),
    }
}

fn field(name: &str, view: &TensorView) -> Field {
    let dtype = if view.dtype() == Dtype::I32 { DType::I32 } else { DType::F32 };
    let bytes = match dtype {
        DType::I32 => numbers(view).iter().flat_map(|v| (*v as i32).to_ne_bytes()).collect(),
        _ => numbers(view).iter().flat_map(|v| (*v as f32).to_ne_bytes()).collect(),
    };
    let shape: Vec<_> = view.shape()[1..].iter().map(|n| gradc::base::Dim::from(*n)).collect();
    Field { name: name.into(), ty: TensorType::new(dtype, shape), bytes }
}

/// Where the rungs differ from PyTorch in one case; an error if the twins are not of one kind.
fn compare(path: &Path, rungs: &[Rung]) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(path).unwrap();
    let bytes = std::fs::read(path.with_extension("safetensors")).map_err(|e| e.to_string())?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| e.to_string())?;
    let (mut fields, mut before, mut wanted) = (Vec::new(), Values::new(), Values::new());
    for (name, view) in tensors.tensors() {
        match name.split_once('.') {
            Some(("data", name)) => fields.push(field(name, &view)),
            Some(("before", path)) => drop(before.insert(path.into(), numbers(&view))),
            Some(("after", path)) => drop(wanted.insert(path.into(), numbers(&view))),
            _ => drop(wanted.insert(name, numbers(&view))),
        }
    }
    let data = Data::default().with_memory("data", fields).map_err(|e| e.to_string())?;
    let model = gradc::check(&gradc::load("golden.model", &text), &data, &[])
        .map_err(|errors| errors.iter().map(|e| e.message.clone()).collect::<Vec<_>>().join("; "))?;
    let parameters: Vec<_> = model.variables.iter().filter(|v| v.trained).map(|v| v.path.as_str()).collect();
    if let Some(missing) = parameters.iter().find(|path| !before.contains_key(**path)) {
        return Err(format!("the twin has no `{missing}`"));
    }
    let ladder = Ladder::new(&model, data.load(&model.settings.data).unwrap(), before)?;
    Ok(differences(&ladder, &wanted, rungs))
}

/// All cases on all rungs, and all that differ.
fn hold(rungs: &[Rung]) {
    let cases = cases();
    assert!(cases.len() >= 42 || std::env::var("GOLDEN").is_ok(), "{} cases", cases.len());
    let mut failures = Vec::new();
    for (name, path) in &cases {
        let found = compare(path, rungs).unwrap_or_else(|error| vec![error]);
        failures.extend(found.into_iter().map(|what| format!("{name}, {what}")));
    }
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn exact_rungs_equal_pytorch() {
    hold(EXACT);
}

#[test]
fn compiled_rungs_equal_pytorch() {
    hold(COMPILED);
}
