//! The parser on legal texts: what is accepted without a complaint.

use gradc_dsl::parse;

#[track_caller]
fn accept(text: &str) {
    let (_, diagnostics) = parse(0, text);
    assert!(diagnostics.is_empty(), "{text}\n{diagnostics:#?}");
}

#[test]
fn a_whole_model() {
    accept(include_str!("model.model"));
}

#[test]
fn line_ends_and_marks() {
    accept("\u{FEFF}fn f(x: f32) -> f32 {\r\n    x\r\n}\r\n");
    accept("fn f() { 1 }");
}
