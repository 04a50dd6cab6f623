//! `gradc test FILE`: the claims that a model's `test` blocks make about it.
//!
//! What enters: a checked model with its `test` blocks, and the examples in its functions' comments. What leaves: a
//! diagnostic for each claim that does not hold. Metrics `at N` are those of step N (from 0) of a fresh run.

use super::devices::DeviceArguments;
use super::output::{Failure, report, say};
use super::project::{ModelArguments, Project};
use crate::base::Precision;
use crate::graph::Graph;
use crate::model::{CheckedClaim, Model, Program, Subject, TestBlock, Variable, examples};
use crate::plan::{Plan, Target};
use crate::train::engine;
use crate::train::gradcheck::{gradcheck, gradcheck_function};
use crate::train::interpreted::Interpreted;
use crate::train::planned::{plan_graph, plan_of};
use crate::train::run::{Event, Flow, Trainer};
use gradc_dsl::ast::BinaryOp;
use gradc_dsl::{Diagnostic, SourceMap, Span, page};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Examples that a gradient check looks at: few, since the interpreter is slow.
const N_GRADCHECK_ROWS: usize = 2;

pub fn json(arguments: &Arguments) -> bool {
    arguments.model.json
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let checked = Project::open_any(&arguments.model)?;
    let (mut n_claims, mut wrong) = (0, Vec::new());
    for test in &checked.tests {
        let metrics = metrics(&checked.project, test, &arguments.device)?;
        for claim in &test.claims {
            n_claims += 1;
            let project = checked.project.as_ref();
            let found = match (&test.subject, project) {
                (Subject::Function { graph, variables }, _) => check_function(graph, variables, claim)?,
                (Subject::Train, Some(project)) => check_train(project, &metrics, claim)?,
                (Subject::Train, None) => unreachable!("a test of a train block comes with its model"),
            };
            wrong.extend(found);
        }
    }
    let mut sources = checked.program.sources.clone();
    for (name, text) in examples(&checked.program) {
        let (n, found) = check_example(&checked.program, &name, &text, &mut sources)?;
        n_claims += n;
        wrong.extend(found);
    }
    let n_wrong = wrong.len();
    let reported = report(&wrong, &sources, arguments.model.json);
    if arguments.model.json {
        say(json!({ "claims": n_claims, "wrong": n_wrong }).to_string())?;
    } else if n_claims == 0 {
        say("the model has no test blocks, and no examples in its comments")?;
    } else {
        say(format!("{} of {n_claims} claims hold", n_claims - n_wrong))?;
    }
    reported
}

/// The examples in the comments of the user's functions: function and text.
fn examples(program: &Program) -> Vec<(String, String)> {
    let files = program.files.iter().zip(&program.sources.sources).enumerate();
    let own = files.filter(|(i, _)| !program.is_std(*i as u32));
    let pages = own.flat_map(|(_, (file, source))| page::of_file(source, file));
    pages
        .flat_map(|p| p.examples().map(|text| (p.name.clone(), text.to_owned())).collect::<Vec<_>>())
        .collect()
}

/// How many claims an example makes, and those that do not hold. Its text is added to `sources`.
fn check_example(
    program: &Program,
    name: &str,
    text: &str,
    sources: &mut SourceMap,
) -> Result<(usize, Vec<Diagnostic>), Failure> {
    let (n, mut found, texts) = match examples::example(program, name, text) {
        Ok(example) => {
            let mut engine = Interpreted::new(&example.model);
            let wrong = crate::train::examples::run(&example, &mut engine).map_err(Failure::Error)?;
            let found =
                wrong.into_iter().filter_map(|w| self::wrong("an example does not hold", w.span, w.found));
            (example.claims.len(), found.collect(), example.sources)
        }
        Err((errors, texts)) => (1, errors, texts),
    };
    // The example's text is the last; others may have been added here before.
    let last = texts.sources.len() - 1;
    let number = sources.add(texts.sources[last].name.clone(), texts.sources[last].text.clone());
    for label in found.iter_mut().flat_map(|d: &mut Diagnostic| &mut d.labels) {
        if label.span.source as usize == last {
            label.span.source = number;
        }
    }
    Ok((n, found))
}

/// Metrics by step, for the steps that the claims of `test` ask for.
type StepMetrics = BTreeMap<u64, Vec<f32>>;

fn metrics(
    project: &Option<Project>,
    test: &TestBlock,
    device: &DeviceArguments,
) -> Result<StepMetrics, Failure> {
    let mut found = StepMetrics::new();
    let wanted: Vec<u64> = test
        .claims
        .iter()
        .filter_map(|claim| match claim {
            CheckedClaim::InRange { at, .. } => Some(*at),
            _ => None,
        })
        .collect();
    let (Some(project), Some(last), Subject::Train) = (project, wanted.iter().max(), &test.subject) else {
        return Ok(found);
    };
    let mut model: Model = project.model.clone();
    model.settings.steps = Some(last + 1);
    let data = project.data.load(&model.settings.data)?;
    let ready = device.engine(&model, engine::Program::Train, project.threads)?;
    let mut trainer = Trainer::new(&model, ready.engine, data, None);
    trainer.train(None, Duration::MAX, &mut |event| {
        if let Event::Step { step, metrics, .. } = event
            && wanted.contains(&step)
        {
            found.insert(step, metrics.to_vec());
        }
        Flow::Continue
    })?;
    Ok(found)
}

fn wrong(message: impl Into<String>, span: Span, label: impl Into<String>) -> Option<Diagnostic> {
    Some(Diagnostic::error("E0602", message, span, label))
}

fn check_train(
    project: &Project,
    metrics: &StepMetrics,
    claim: &CheckedClaim,
) -> Result<Option<Diagnostic>, Failure> {
    let model = &project.model;
    match claim {
        CheckedClaim::Compare { quantity, op, value, span, .. } => {
            let plan = || plan_of(model, engine::Program::Train, Target::Cpu);
            let found = measure(quantity, &model.train, &model.variables, &plan);
            Ok(compare(found, *op, *value, *span))
        }
        CheckedClaim::GradCheck(span) => {
            let data = project.data.load(&model.settings.data)?;
            let trainer = Trainer::new(model, Interpreted::new(model), data.clone(), None);
            let checks = gradcheck(model, &data, &trainer.variables(), N_GRADCHECK_ROWS)?;
            Ok(gradients(&checks, *span))
        }
        CheckedClaim::InRange { metric, at, low, high, span } => {
            let Some(index) = model.metrics.iter().position(|name| name == metric) else {
                let label = format!("reported are: {}", model.metrics.join(", "));
                return Ok(wrong(format!("no metric is called `{metric}`"), *span, label));
            };
            let value = metrics.get(at).map_or(f64::NAN, |m| f64::from(m[index]));
            if (*low..=*high).contains(&value) {
                return Ok(None);
            }
            Ok(wrong("a metric is out of its range", *span, format!("in step {at} it is {value}")))
        }
    }
}

fn check_function(
    graph: &Graph,
    variables: &[Variable],
    claim: &CheckedClaim,
) -> Result<Option<Diagnostic>, Failure> {
    match claim {
        CheckedClaim::Compare { quantity, op, value, span, .. } => {
            let plan = || plan_graph(graph, 1, Precision::F32, Target::Cpu);
            Ok(compare(measure(quantity, graph, variables, &plan), *op, *value, *span))
        }
        CheckedClaim::GradCheck(span) => Ok(gradients(&gradcheck_function(graph, variables, 0)?, *span)),
        CheckedClaim::InRange { span, .. } => Ok(wrong(
            "a function by itself has no metrics",
            *span,
            "name the train block in a test of metrics",
        )),
    }
}

/// `params`, `states`, `nodes`, or what the plan says.
fn measure(quantity: &str, graph: &Graph, variables: &[Variable], plan: &dyn Fn() -> Plan) -> f64 {
    let elements = |trained: bool| -> f64 {
        let counted = variables.iter().filter(|v| v.trained == trained);
        counted.map(|v| v.ty.n_elements().as_const().unwrap_or(0) as f64).sum()
    };
    match quantity {
        "params" => elements(true),
        "states" => elements(false),
        "nodes" => graph.len() as f64,
        "memory" => plan().peak_bytes(1) as f64,
        "flops" => plan().flops as f64,
        "kernels" => plan().kernels.len() as f64,
        _ => f64::NAN,
    }
}

fn compare(found: f64, op: BinaryOp, value: f64, span: Span) -> Option<Diagnostic> {
    let holds = match op {
        BinaryOp::Equal => found == value,
        BinaryOp::NotEqual => found != value,
        BinaryOp::Less => found < value,
        BinaryOp::LessEqual => found <= value,
        BinaryOp::Greater => found > value,
        BinaryOp::GreaterEqual => found >= value,
        _ => false,
    };
    if holds { None } else { wrong("a claim does not hold", span, format!("it is {found}")) }
}

fn gradients(checks: &[crate::train::gradcheck::Check], span: Span) -> Option<Diagnostic> {
    let bad: Vec<String> = checks
        .iter()
        .filter(|check| !check.agrees)
        .map(|c| format!("`{}`: {:.6e} by calculus, {:.6e} by differences", c.path, c.symbolic, c.numeric))
        .collect();
    if bad.is_empty() {
        return None;
    }
    wrong("gradients disagree with finite differences", span, bad.join("; "))
}
