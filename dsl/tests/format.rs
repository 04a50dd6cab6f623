//! The formatter: cases of text before and after, and what holds for every text.

use gradc_dsl::format::format;
use gradc_dsl::{parse, tree};

/// Formats, and checks that formatting again changes nothing and that the tree stays the same.
#[track_caller]
fn formatted(text: &str) -> String {
    let once = format(text).unwrap_or_else(|errors| panic!("{text}\n{errors:#?}"));
    let twice = format(&once).unwrap_or_else(|errors| panic!("{once}\n{errors:#?}"));
    assert_eq!(once, twice, "formatting twice");
    assert_eq!(tree(&parse(0, text).0), tree(&parse(0, &once).0), "{text}\n---\n{once}");
    let count = |text: &str| parse(0, text).0.comments.iter().map(|c| c.text.len()).sum::<usize>();
    assert!(count(&once) >= count(text), "a comment is lost:\n{text}\n---\n{once}");
    once
}

/// Name, text, what becomes of it.
const CASES: &[(&str, &str, &str)] = &[
    (
        "a scalar `bool[]` is a tensor, `bool` a constant",
        "fn f(x: f32[], flag: bool[], fast: bool) { x }",
        "fn f(x: f32, flag: bool[], fast: bool) { x }\n",
    ),
    ("spaces", "fn  f( x:f32[ n,..,2*m ] )->f32{x}", "fn f(x: f32[n, .., 2 * m]) -> f32 { x }\n"),
    (
        "a value may be named as the words of a loop are",
        "let a = scan x over x along scan with over = x { }",
        "let a = scan x over x along scan with over = x {}\n",
    ),
    ("also where a test goes on", "test x { x at scan in over .. x }", "test x { x at scan in over..x }\n"),
    (
        "a long call breaks, one argument a line",
        "let a = something(first_argument_that_is_long, second_argument_that_is_long, third = argument_that_is_long)",
        "let a = something(
    first_argument_that_is_long,
    second_argument_that_is_long,
    third = argument_that_is_long,
)
",
    ),
    (
        "a long pipeline breaks before every stage",
        "fn f(x: f32) { x |> layer_norm |> dense(128) |> relu |> dense(128) |> relu |> dense(128) |> relu |> dense(128) |> relu }",
        "fn f(x: f32) {
    x
        |> layer_norm
        |> dense(128)
        |> relu
        |> dense(128)
        |> relu
        |> dense(128)
        |> relu
        |> dense(128)
        |> relu
}
",
    ),
    (
        "line ends before stages stay",
        "fn f(x: f32) {\nx |> dense(64) |> relu\n|> dense(32) |> relu // last\n }",
        "fn f(x: f32) {
    x |> dense(64) |> relu
        |> dense(32) |> relu  // last
}
",
    ),
    (
        "settings may share a line",
        "train t {\nbatch=32 epochs=10 \n seed = 7\n}",
        "train t {
    batch = 32   epochs = 10
    seed = 7
}
",
    ),
    (
        "comments",
        "// head

/// Doc.
fn f(
  a: f32, // first
  // own
  b: f32
  // dangling
) { // open
  // lead


  a + // plus
  b   // trail
  // end
}
// tail
",
        "// head

/// Doc.
fn f(
    a: f32,  // first
    // own
    b: f32,
    // dangling
) {  // open
    // lead

    a  // plus
        + b  // trail
    // end
}

// tail
",
    ),
    (
        "items stand apart, settings need not",
        "let a = 1\nlet b = 2\nfn f() {1}\nfn g() {2}\n",
        "let a = 1
let b = 2

fn f() { 1 }

fn g() { 2 }
",
    ),
    (
        "if and else",
        "fn f() {\n if a==1 {x} else if not b {y} else { let z = 1\n z }\n}",
        "fn f() {
    if a == 1 {
        x
    } else if not b {
        y
    } else {
        let z = 1
        z
    }
}
",
    ),
    (
        "a long sum breaks before `+` and after `-`",
        "let a = first_summand_that_is_long + second_summand_that_is_long - third_summand_that_is_long - fourth * b",
        "let a = first_summand_that_is_long
    + second_summand_that_is_long -
    third_summand_that_is_long -
    fourth * b
",
    ),
    ("tabs and carriage returns go", "fn f() {\r\n\tx\r\n}", "fn f() {\n    x\n}\n"),
    ("nothing", "", ""),
    ("only a comment", "\n\n// x", "// x\n"),
    (
        "claims",
        "test c(a=1) {params==52_650 gradcheck\nloss at 0 in 2.0 .. 2.6}",
        "test c(a = 1) {\n    params == 52_650   gradcheck\n    loss at 0 in 2.0..2.6\n}\n",
    ),
];

#[test]
fn cases() {
    for (name, text, expected) in CASES {
        assert_eq!(formatted(text), *expected, "{name}");
    }
}
