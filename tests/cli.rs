//! The command line as its users see it: `tests/cli/*.trycmd`.

#[test]
fn transcripts() {
    trycmd::TestCases::new().case("tests/cli/*.trycmd");
}
