//! What the parser says about broken texts: each a way in which a person goes wrong. The messages are in
//! `snapshots/`, to be reviewed as text that somebody reads who has never seen a compiler.

use gradc_dsl::{SourceMap, decode, explain, parse};
use std::fmt::Write;

/// Name and text.
const CASES: &[(&str, &str)] = &[
    ("empty file", ""),
    ("only comments", "// nothing\n"),
    ("unclosed brace", "fn f(x: f32) {\n    x\n\nfn g(x: f32) {\n    x\n}\n"),
    (
        "unclosed inner brace",
        "fn f(x: f32) {\n    x |> repeat 3 {\n        dense(4)\n}\n\nfn g(x: f32) { x }\n",
    ),
    ("unclosed parenthesis", "fn f(x: f32) {\n    let y = dense(x, 64\n    relu(y)\n}\n"),
    ("unclosed square bracket", "fn f(x: f32[n, m) -> f32 {\n    x\n}\n"),
    ("stray brace", "fn f(x: f32) {\n    x\n}\n}\nfn g(x: f32) { x }\n"),
    ("wrong bracket", "fn f(x: f32) {\n    dense(x, 64]\n}\n"),
    ("missing comma in a call", "fn f(x: f32) {\n    dense(x 64)\n}\n"),
    ("missing comma between parameters", "fn f(x: f32 y: f32) { x }\n"),
    ("two names without parentheses", "fn f(x: f32) {\n    let a, b = split(x, 2)\n    a\n}\n"),
    ("= in a condition", "fn f(x: f32, n: int) {\n    if n = 3 { x } else { 2 * x }\n}\n"),
    ("= in a claim", "test f { params = 5 }\n"),
    ("semicolons", "fn f(x: f32) {\n    let y = x + 1;\n    y;\n}\n"),
    ("def", "def f(x: f32) { x }\n"),
    ("func with a body error too", "func f(x: f32) {\n    let = 3\n}\n"),
    ("tran", "tran classifier {\n    batch = 32\n}\n"),
    ("python's def with colon", "def f(x):\n    return x\n"),
    ("missing value of a let", "fn f(x: f32) {\n    let y =\n    let z = x *\n    y + z\n}\n"),
    ("missing value in a call", "fn f(x: f32) {\n    dense(x, , 64) + dense(x, units = )\n}\n"),
    ("missing let", "fn f(x: f32) {\n    y = x + 1\n    y\n}\n"),
    ("lett", "fn f(x: f32) {\n    lett y = x + 1\n    var z = 2\n    parm w: f32 = zeros()\n    y * z\n}\n"),
    ("let mut", "fn f(x: f32) {\n    let mut y = x\n    y\n}\n"),
    ("return", "fn f(x: f32) {\n    return x + 1\n}\n"),
    ("for", "fn f(x: f32) {\n    for i in 10 { x }\n}\n"),
    ("=> for ->", "fn f(x: f32) => f32 { x }\n"),
    ("colon for ->", "fn f(x: f32): f32 { x }\n"),
    ("no ->", "fn f(x: f32) f32 { x }\n"),
    ("no body", "fn f(x: f32) -> f32\n\nfn g(x: f32) { x }\n"),
    ("no parameters", "fn f { 1 }\n"),
    ("no name", "fn (x: f32) { x }\n"),
    ("a reserved word as a name", "fn f(not: f32) { 1 }\nfn if(x: f32) { x }\n"),
    ("type in parentheses", "fn f(x: f32(n, m)) { x }\n"),
    ("colon as a size", "fn f(x: f32[:, 3]) { x }\n"),
    ("param without type", "fn f(x: f32) {\n    param w = zeros()\n    x * w\n}\n"),
    ("param without a first value", "fn f(x: f32) {\n    param w: f32[3]\n    x * w\n}\n"),
    ("tabs", "fn f(x: f32) {\n\tlet y = x\n\ty\n}\n"),
    ("hash comment", "# a model\nfn f(x: f32) { x }\n"),
    ("block comment", "/* a model */\nfn f(x: f32) { x }\n"),
    ("curly quotes", "import “blocks.model”\n"),
    ("unclosed text", "import \"blocks.model\n\nfn f(x: f32) { x }\n"),
    ("unknown escape", "let path = \"data\\mnist\"\n"),
    ("multiplication sign and minus sign", "fn f(x: f32) { 2 × x − 1 }\n"),
    ("number stuck to a name", "fn f(x: f32) { 4x + 1.5.2 + 3. + 2f + 1e }\n"),
    ("number too large", "let a = 1e999\n"),
    ("c operators", "fn f(x: f32, a: bool, b: bool) {\n    if a && b || !a { x ** 2 } else { x }\n}\n"),
    ("plus equals", "fn f(x: f32) {\n    x += 1\n    x\n}\n"),
    ("chained comparison", "fn f(x: f32, n: int) {\n    if 0 < n < 3 { x } else { 2 * x }\n}\n"),
    ("operator after a pipeline", "fn f(x: f32) {\n    x |> relu + 1\n}\n"),
    ("pipe into a number", "fn f(x: f32) {\n    x |> 3\n}\n"),
    ("repeat without a pipe", "fn f(x: f32) {\n    repeat 3 { dense(4) }\n}\n"),
    ("two statements on a line", "fn f(x: f32) {\n    let y = x + 1 y * 2\n}\n"),
    ("number times name", "fn f(x: f32) {\n    let y = 2 x\n    y\n}\n"),
    ("arrow with a space", "fn f(x: f32) - > f32 { x }\n"),
    ("less than minus", "fn f(x: f32) {\n    if x <-1 { x } else { 1 }\n}\n"),
    ("minimize in a function", "fn f(x: f32) {\n    minimize x with adam()\n}\n"),
    ("function in a function", "fn f(x: f32) {\n    fn g(y: f32) { y }\n    g(x)\n}\n"),
    ("param in a train block", "train t {\n    param w: f32 = zeros()\n    batch = 32\n}\n"),
    ("expression at the top", "x + 1\n\nfn f(x: f32) { x }\n"),
    ("setting without let at the top", "lr = 1e-3\n\nfn f(x: f32) { x }\n"),
    ("minimize without with", "train t {\n    minimize loss\n    batch = 32\n}\n"),
    ("minimze", "train t {\n    minimze loss with adam()\n    batch = 32\n}\n"),
    ("over without params", "train t {\n    minimize loss over generator with adam()\n}\n"),
    ("setting with a colon", "train t {\n    batch: 32\n    epochs 10\n}\n"),
    ("a loss alone in a train block", "train t {\n    cross_entropy(a, b)\n}\n"),
    ("a claim without comparison", "test f { params }\n"),
    ("a range with a comma", "test f { loss at 0 in 2.0, 3.0 }\n"),
    ("a range without in", "test f { loss at 0 2.0..3.0 }\n"),
    ("argument with colon", "let a = adam(lr: 1e-3)\n"),
    ("import without quotes", "import blocks\n"),
    (
        "several errors in one file",
        "fn f(x: f32) {\n    let = 3\n    dense(x,, 3)\n    x ** 2\n}\n\nfn g(x f32) { x }\n",
    ),
    ("a stage on its own", "fn f(x: f32) {\n    |> relu\n}\n"),
    ("parentheses around nothing", "fn f(x: f32) { x + () }\n"),
    ("point before digits", "let a = .5\n"),
    ("class", "class Net:\n    x = 1\n"),
];

/// The excerpt's line and place of each label, then message, notes and help.
fn messages(text: &str) -> String {
    let mut sources = SourceMap::default();
    let source = sources.add("x.model", text);
    let (_, diagnostics) = parse(source, text);
    let mut out = String::new();
    for diagnostic in diagnostics {
        let _ = writeln!(out, "{}: {}", diagnostic.code, diagnostic.message);
        for label in &diagnostic.labels {
            let (line, column) = sources.line_column(label.span);
            let shown = sources.text(label.span).escape_debug();
            let _ = writeln!(out, "  at {line}:{column} `{shown}` {}", label.text);
        }
        for note in &diagnostic.notes {
            let _ = writeln!(out, "  note: {note}");
        }
        if let Some(help) = &diagnostic.help {
            let _ = writeln!(out, "  help: {help}");
        }
    }
    out
}

#[test]
fn messages_of_broken_texts() {
    let mut out = String::new();
    for (name, text) in CASES {
        let said = messages(text);
        assert!(!said.is_empty(), "{name}: accepted");
        let indented: String = text.lines().map(|line| format!("    {line}\n")).collect();
        let _ = writeln!(out, "== {name}\n{indented}{said}");
    }
    insta::assert_snapshot!("messages", out);
}

#[test]
fn texts_that_are_not_utf8() {
    let cases: [(&str, &[u8], &str); 3] = [
        ("latin 1", b"// caf\xE9\n", "byte 0xE9 at offset 6, in line 1"),
        ("later line", b"let a = 1\n\nlet \xFF = 2", "byte 0xFF at offset 15, in line 3"),
        ("utf-16", b"\xFF\xFEl\0e\0t\0", "byte 0xFF at offset 0, in line 1"),
    ];
    for (name, bytes, place) in cases {
        let error = decode(0, bytes).expect_err(name);
        assert_eq!(error.code, "E0106", "{name}");
        assert!(error.message.contains(place), "{name}: {}", error.message);
    }
    assert_eq!(decode(0, "é".as_bytes()).as_deref(), Ok("é"));
    assert_eq!(decode(0, &vec![b' '; gradc_dsl::token::MAX_BYTES + 1]).expect_err("size").code, "E0107");
}

#[test]
fn every_code_is_explained() {
    let codes: Vec<&str> = explain::all().map(|row| row.code).collect();
    let mut sorted = codes.clone();
    sorted.sort_unstable_by_key(|code| (code.starts_with('W'), *code));
    sorted.dedup();
    assert_eq!(codes, sorted, "codes rise and are unique");
    for (name, text) in CASES {
        for diagnostic in parse(0, text).1 {
            assert!(
                explain::explain(diagnostic.code).is_some(),
                "{name}: {} is not explained",
                diagnostic.code
            );
        }
    }
    for row in explain::all() {
        assert!(row.text.len() > 40 && !row.title.ends_with('.'), "{}", row.code);
        assert!(!row.title.starts_with(|c: char| c.is_lowercase()), "{}", row.code);
        let shown = ["Wrong:", "Before:", "Example:"].iter().any(|word| row.text.contains(word));
        assert!(shown, "{}: no example", row.code);
    }
}
