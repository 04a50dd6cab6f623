//! ONNX's own operator cases as an outside judge.
//!
//! What enters: `tests/onnx/cases.bin.gz`, inputs and outputs of every operator, made by `tests/onnx/make.py`. Each case over
//! plain numbers is built through the graph's builder (`tests/onnx/import`), then evaluated by the interpreter and, planned
//! and compiled, by the CPU. What fails: a case that can be said and gives another result than ONNX has, within the
//! tolerance that ONNX sets; a table of counts and reasons that changed without review.

mod onnx {
    pub mod import;
    pub mod proto;
    pub mod tensor;
}

use gradc::base::DType;
use gradc::graph::interpret::{Env, Tensor, interpret_step};
use gradc::graph::{Graph, Op, verify};
use gradc::runtime::{Session, StepEnv};
use gradc::scalar::Func;
use onnx::import::{Import, Value};
use onnx::proto::{Archive, Case, TensorProto};
use onnx::tensor::{Elem, read};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io::Read;

/// Why a case is not among those that count.
const OTHER: &str = "no plain numbers: texts, sequences, optional values, or elements of 8 bits and less";

fn archive() -> Archive {
    let packed: &[u8] = include_bytes!("onnx/cases.bin.gz");
    let mut bytes = Vec::new();
    flate2::read::GzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
    Archive::decode(&bytes[..]).unwrap()
}

/// The case's graph, the values of its inputs, and its outputs.
fn said(case: &Case, tensors: &[TensorProto]) -> Result<(Graph, Env, Vec<Value>), String> {
    let model = case.model.as_ref().ok_or("a case without a model")?;
    let graph = model.graph.as_ref().ok_or("a model without a graph")?;
    let opset = model.opset_import.iter().find(|o| o.domain.is_empty()).map_or(1, |o| o.version);
    let mut import = Import::default();
    let mut inputs = Vec::new();
    for number in &case.inputs {
        inputs.push(match number {
            0 => None,
            n => {
                let (elem, tensor) = read(&tensors[*n as usize - 1]).ok_or(OTHER)?;
                Some(import.tensor(elem, &tensor)?)
            }
        });
    }
    let outputs = import.model(graph, opset, &inputs)?;
    for (i, value) in outputs.iter().enumerate() {
        import.graph.outputs.push((format!("y{i}").into(), value.id));
    }
    Ok((import.graph, import.env, outputs))
}

/// The outputs in machine code.
fn compiled(graph: &Graph, env: &Env) -> BTreeMap<String, Tensor> {
    let graph = gradc::lower(graph);
    let mut session = Session::new(1);
    let program = session.add(gradc::plan(&graph, 1)).unwrap();
    let bytes = |name: &str| -> Vec<u8> {
        let id = graph.ids().find(|id| graph.node(*id).op.leaf_name().is_some_and(|n| n == name));
        let data = &env.leaves[name].data;
        match graph.dtype(id.expect("an input of the graph")) {
            DType::F32 => data.iter().flat_map(|x| (*x as f32).to_ne_bytes()).collect(),
            DType::I32 => data.iter().flat_map(|x| (*x as i32).to_ne_bytes()).collect(),
            DType::BF16 => unreachable!("made only for a precision that was asked for"),
            DType::U8 | DType::Bool => data.iter().map(|x| *x as u8).collect(),
        }
    };
    let inputs: Vec<Vec<u8>> = session.inputs(program).iter().map(|name| bytes(name)).collect();
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    session.run(program, 1, StepEnv::default(), &inputs);
    let read = |name: &str, id| -> Tensor {
        let ty = graph.ty(id);
        let shape: Vec<usize> = ty.shape.iter().map(|d| d.as_const().unwrap() as usize).collect();
        let n: usize = shape.iter().product();
        let raw = session.output(program, name);
        let words = || raw.chunks_exact(4).map(|w| w.try_into().unwrap()).take(n);
        let data: Vec<f64> = match ty.dtype {
            DType::F32 => words().map(|w| f32::from_ne_bytes(w).into()).collect(),
            DType::I32 => words().map(|w| i32::from_ne_bytes(w).into()).collect(),
            DType::BF16 => unreachable!("outputs are f32, i32, u8 or bool"),
            DType::U8 | DType::Bool => raw.iter().take(n).map(|b| f64::from(*b)).collect(),
        };
        Tensor::new(shape, data)
    };
    graph.outputs.iter().map(|(name, id)| (name.to_string(), read(name, *id))).collect()
}

/// The first element that differs; `ties` says that an integer may be rounded the other way.
fn difference(found: &Tensor, expected: &Tensor, elem: Elem, case: &Case, ties: bool) -> Option<String> {
    if found.shape != expected.shape {
        return Some(format!("shape {:?}, not {:?}", found.shape, expected.shape));
    }
    // The result of a long sum in f32 is exact to some units of its greatest terms.
    let greatest = expected.data.iter().filter(|x| x.is_finite()).fold(0.0, |most: f64, x| most.max(x.abs()));
    let absolute = case.atol.max(4.0 * f64::from(f32::EPSILON) * greatest);
    for (i, (a, b)) in found.data.iter().zip(&expected.data).enumerate() {
        // Unsigned integers are carried by their bits.
        let a = if matches!(elem, Elem::Uint(32 | 64)) && *a < 0.0 { a + 4_294_967_296.0 } else { *a };
        let close = if elem.is_float() {
            let relative = case.rtol.max(2.0 * elem.coarseness());
            a == *b || a.is_nan() && b.is_nan() || (a - b).abs() <= absolute + relative * b.abs()
        } else {
            a == *b || ties && (a - b).abs() <= 1.0
        };
        if !close {
            return Some(format!("element {i} is {a}, not {b}"));
        }
    }
    None
}

/// What is wrong with a case that can be said.
fn failure(
    case: &Case,
    tensors: &[TensorProto],
    graph: &Graph,
    env: &Env,
    values: &[Value],
) -> Option<String> {
    if let Err(error) = verify::verify(graph) {
        return Some(error);
    }
    let interpreted = match interpret_step(graph, env) {
        Ok((outputs, _)) => outputs.into_iter().map(|(name, y)| (name.to_string(), y)).collect(),
        Err(error) => return Some(error.to_string()),
    };
    let rounds = graph.ids().any(|id| graph.node(id).op == Op::Map(Func::Round));
    for (who, outputs) in [("interpreter", interpreted), ("CPU", compiled(graph, env))] {
        for (i, (number, value)) in case.outputs.iter().zip(values).enumerate() {
            let Some(proto) = tensors.get((*number as usize).wrapping_sub(1)) else { continue };
            let (elem, expected) = read(proto)?;
            if elem.dtype() != value.elem.dtype() {
                return Some(format!("output {i} is {:?}, not {elem:?}", value.elem));
            }
            // Quantized to 8 bits: what lies halfway between two integers in one rounding does not in another. The
            // interpreter rounds nothing, and a compiled quotient by one divisor is a product with its reciprocal.
            let ties = rounds && matches!(elem, Elem::Int(8) | Elem::Uint(8));
            if let Some(text) = difference(&outputs[&format!("y{i}")], &expected, elem, case, ties) {
                return Some(format!("{who}: output {i}: {text}"));
            }
        }
    }
    None
}

#[test]
fn operators_agree_with_onnx() {
    let archive = archive();
    let only = std::env::var("ONNX_CASE").unwrap_or_default();
    let (mut n_others, mut n_passed) = (0, 0);
    let mut failures: Vec<String> = Vec::new();
    let mut unsaid: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for case in archive.cases.iter().filter(|case| case.name.contains(&only)) {
        if case.outputs.is_empty() {
            n_others += 1;
            continue;
        }
        match said(case, &archive.tensors) {
            Err(reason) => unsaid.entry(reason).or_default().push(&case.name),
            Ok((graph, env, values)) => match failure(case, &archive.tensors, &graph, &env, &values) {
                None => n_passed += 1,
                Some(text) => failures.push(format!("{}: {text}", case.name)),
            },
        }
    }
    let n_unsaid: usize = unsaid.values().map(Vec::len).sum();
    let n = n_passed + failures.len() + n_unsaid;
    let mut table = format!(
        "{n} cases over floats, integers and truths: {n_passed} pass, {} fail, {n_unsaid} cannot be said ({:.1} % said)\n\
         {n_others} more have {OTHER}\n\ncannot be said:\n",
        failures.len(),
        100.0 * (n - n_unsaid) as f64 / n.max(1) as f64
    );
    let mut reasons: Vec<_> = unsaid.into_iter().collect();
    reasons.sort_by_key(|(reason, names)| (usize::MAX - names.len(), reason.clone()));
    for (reason, names) in &reasons {
        writeln!(table, "{:4}  {reason}", names.len()).unwrap();
    }
    println!("{table}\n{}", failures.join("\n"));
    if std::env::var("ONNX_NAMES").is_ok() {
        reasons.iter().for_each(|(reason, names)| println!("{reason}: {}", names.join(" ")));
    }
    assert!(failures.is_empty(), "{} cases fail", failures.len());
    if only.is_empty() {
        insta::assert_snapshot!("onnx", table);
    }
}
