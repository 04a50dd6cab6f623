//! What holds for every text: the parser and the formatter end, never panic, and agree with each other.

use gradc_dsl::format::{format, print};
use gradc_dsl::{decode, parse, tree};
use proptest::prelude::*;

mod generate;

/// Everything a token soup is made of; also what people write by mistake.
const TOKENS: &[&str] = &[
    "fn",
    "let",
    "param",
    "state",
    "train",
    "test",
    "minimize",
    "over",
    "with",
    "report",
    "predict",
    "repeat",
    "if",
    "else",
    "import",
    "and",
    "or",
    "not",
    "true",
    "false",
    "sum",
    "max",
    "std",
    "at",
    "in",
    "gradcheck",
    "params",
    "dim",
    "f32",
    "x",
    "y",
    "data",
    "name",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    ";",
    "=",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "+",
    "-",
    "*",
    "/",
    "%",
    "@",
    "^",
    "|>",
    "<-",
    "->",
    "=>",
    "..",
    ".",
    "&&",
    "!",
    "**",
    ":=",
    "+=",
    "1",
    "2.5",
    "1e-3",
    "3x",
    "1.",
    "\"text\"",
    "\"open",
    "\"\\q\"",
    "\n",
    "\n",
    "\n",
    "\r\n",
    " ",
    "\t",
    "// comment\n",
    "/// doc\n",
    "/* block",
    "#",
    "é",
    "“",
    "\u{0}",
    "\n}\n",
    "\nfn f(x: f32[n]) -> f32 {\n",
];

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(TOKENS), 0..60).prop_map(|tokens| tokens.join(" "))
}

/// A legal model with one or two pieces cut out, doubled or replaced.
fn damaged() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0usize..12, prop::sample::select(TOKENS));
    prop::collection::vec(edit, 1..3).prop_map(|edits| {
        let mut text: Vec<char> = include_str!("model.model").chars().collect();
        for (at, length, token) in edits {
            let start = at.index(text.len());
            let end = (start + length).min(text.len());
            text.splice(start..end, token.chars());
        }
        text.into_iter().collect()
    })
}

/// Parsing reports places inside the text; formatting, if it succeeds, is stable and keeps the tree.
fn check(text: &str) -> Result<(), TestCaseError> {
    let (file, diagnostics) = parse(0, text);
    for label in diagnostics.iter().flat_map(|diagnostic| &diagnostic.labels) {
        let (start, end) = (label.span.start as usize, label.span.end as usize);
        prop_assert!(text.get(start..end).is_some(), "a label outside of the text: {label:?}");
    }
    if let Ok(once) = format(text) {
        let (again, errors) = parse(0, &once);
        prop_assert!(errors.iter().all(|e| e.code == "E0117"), "{}\n---\n{}\n{:?}", text, once, errors);
        prop_assert_eq!(tree(&file), tree(&again));
        let twice = format(&once);
        prop_assert_eq!(Ok(&once), twice.as_ref());
        for comment in &file.comments {
            prop_assert!(once.contains(comment.text.as_str()), "lost: {}", comment.text);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(text) = decode(0, &bytes) {
            check(&text)?;
        }
        check(&String::from_utf8_lossy(&bytes))?;
    }

    #[test]
    fn token_soup(text in soup()) {
        check(&text)?;
    }

    #[test]
    fn soup_in_a_function(text in soup()) {
        check(&format!("fn f(x: f32) {{\n{text}\n}}\n"))?;
    }

    #[test]
    fn a_damaged_model(text in damaged()) {
        check(&text)?;
    }

    #[test]
    fn comments_anywhere(places in prop::collection::vec(any::<prop::sample::Index>(), 1..6), own in any::<bool>()) {
        let text = include_str!("model.model");
        let mut out = String::new();
        let words: Vec<&str> = text.split_inclusive([' ', ',', '(']).collect();
        let places: Vec<usize> = places.iter().map(|place| place.index(words.len())).collect();
        for (index, word) in words.iter().enumerate() {
            out.push_str(word);
            if places.contains(&index) {
                out.push_str(&format!("{}// comment {index}\n", if own { "\n" } else { "" }));
            }
        }
        check(&out)?;
    }

    #[test]
    fn random_trees(file in generate::file()) {
        let text = print(&file);
        let (parsed, diagnostics) = parse(0, &text);
        prop_assert!(diagnostics.is_empty(), "{}\n{:#?}", text, diagnostics);
        let plain = |file| generate::without_parentheses(&tree(file));
        prop_assert_eq!(plain(&parsed), plain(&file), "{}", text);
        check(&text)?;
    }
}

#[test]
fn deep_and_long_texts_end() {
    let deep = [
        "(".repeat(100_000),
        "fn f() { x = ".to_owned() + &"(".repeat(5_000) + &")".repeat(5_000) + " }",
        "{".repeat(100_000),
        "fn f() {".to_owned() + &"{".repeat(3_000) + &"}".repeat(3_000) + "}",
        "fn f() { ".to_owned() + &"1 + ".repeat(50_000) + "1 }",
        "fn f() { x".to_owned() + &" |> g".repeat(50_000) + " }",
        "fn f() { ".to_owned() + &"-".repeat(50_000) + "1 }",
        "fn f() { ".to_owned() + &"not ".repeat(50_000) + "a }",
        "fn f() { ".to_owned() + &"+".repeat(50_000) + "a }",
        "fn f() { x".to_owned() + &"[0]".repeat(50_000) + " }",
        "fn f() { x".to_owned() + &".a".repeat(50_000) + " }",
        "fn f() { ".to_owned() + &"if a { } else ".repeat(20_000) + "{ } }",
        "fn f(x: ".to_owned() + &"(".repeat(20_000) + &")".repeat(20_000) + ") { }",
        "fn f() { ".to_owned() + &"sum[i] ".repeat(20_000) + "a }",
        "fn f() { ".to_owned() + &"a ^ ".repeat(20_000) + "a }",
        "fn f() {\n".repeat(20_000),
        "]".repeat(100_000),
        "(".repeat(50_000) + &"]".repeat(50_000),
    ];
    for text in &deep {
        let (_, diagnostics) = parse(0, text);
        assert!(!diagnostics.is_empty(), "{}", &text[..40]);
        assert!(diagnostics.len() <= gradc_dsl::parser::MAX_ERRORS);
    }
}
