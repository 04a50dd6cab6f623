//! Which element types go together, and what comes out: the rules of the reference as a table.
//!
//! What enters: every operator, on every pair of element types, and every reduction on each. What fails: a rule that changed
//! without review. `-` is an error, with a message that says what to write.

use gradc::graph::Graph;
use gradc::model::Overrides;
use gradc::train::data::Data;
use std::fmt::Write;

const TYPES: [&str; 4] = ["f32", "i32", "u8", "bool"];

/// Of `a`, `b` and, in a choice, a condition.
const PAIRS: &[&str] = &[
    "a + b",
    "a * b",
    "a / b",
    "a % b",
    "a ^ b",
    "floor_div(a, b)",
    "trunc_rem(a, b)",
    "maximum(a, b)",
    "bit_and(a, b)",
    "shift_left(a, b)",
    "a < b",
    "a == b",
    "a and b",
    "where(a == a, a, b)",
];

const SINGLES: &[&str] = &[
    "a + 1",
    "a + 0.5",
    "2 * a",
    "a % 3",
    "a > 0",
    "-a",
    "abs(a)",
    "sign(a)",
    "exp(a)",
    "floor(a)",
    "is_nan(a)",
    "bit_not(a)",
    "not a",
    "sum(a)",
    "prod(a)",
    "max(a)",
    "min(a)",
    "mean(a)",
    "any(a)",
    "all(a)",
    "argmax(a)",
    "argsort(a)",
    "a[i]",
    "take_along(a, i)",
    "scatter_add(i, a, 5)",
    "concat([a, a])",
    "f32(a)",
    "i32(a)",
    "bool(a)",
];

/// The element type of an expression of `a`, `b` and indices `i`, or `-`.
fn type_of(expr: &str, a: &str, b: &str) -> String {
    let text = format!(
        "
fn f(a: {a}[3], b: {b}[3], i: i32[3]) {{
    {expr}
}}
train t {{
    data = memory(a: {a}[3], b: {b}[3], i: i32[3], y: f32[])
    let result = f(data.a[0], data.b[0], data.i[0])
    minimize mse(dense(ones([batch, 1]), 1)[:, 0], data.y) with sgd(lr = 0.1)
    predict result
    batch = 1
}}
"
    );
    let program = gradc::load("mixing.model", &text);
    let checked = gradc::model::check(&program, &Data::default(), &Overrides::default());
    match checked.model {
        Some(model) => {
            let graph: &Graph = &model.predict;
            let (_, id) = graph.outputs.last().expect("a prediction");
            graph.dtype(*id).name().into()
        }
        None => {
            let helps = checked.diagnostics.iter().all(|d| !d.is_error() || d.help.is_some());
            assert!(helps, "{expr} of {a} and {b}: {:?}", checked.diagnostics);
            "-".into()
        }
    }
}

#[test]
fn element_types_mix_as_the_reference_says() {
    let mut table = format!("{:22}", "");
    let pairs: Vec<(&str, &str)> = TYPES.iter().flat_map(|a| TYPES.iter().map(move |b| (*a, *b))).collect();
    for (a, b) in &pairs {
        write!(table, "{:10}", format!("{a} {b}")).unwrap();
    }
    for expr in PAIRS {
        write!(table, "\n{expr:22}").unwrap();
        for (a, b) in &pairs {
            write!(table, "{:10}", type_of(expr, a, b)).unwrap();
        }
    }
    write!(table, "\n\n{:22}", "").unwrap();
    for a in TYPES {
        write!(table, "{a:6}").unwrap();
    }
    for expr in SINGLES {
        write!(table, "\n{expr:22}").unwrap();
        for a in TYPES {
            write!(table, "{:6}", type_of(expr, a, "f32")).unwrap();
        }
    }
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!("mixing", lines.join("\n"));
}
