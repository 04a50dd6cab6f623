//! Every example of the language reference is read without an error, and formatting keeps its tree.

use gradc_dsl::format::format;
use gradc_dsl::{parse, tree};

/// The examples with the line each begins in.
fn examples() -> Vec<(usize, String)> {
    let mut examples: Vec<(usize, String)> = Vec::new();
    let mut inside = false;
    for (number, line) in include_str!("../grammar.md").lines().enumerate() {
        match line {
            "```model" => {
                inside = true;
                examples.push((number + 2, String::new()));
            }
            "```" => inside = false,
            _ if inside => {
                let (_, text) = examples.last_mut().expect("an example has begun");
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    examples
}

#[test]
fn examples_are_read_and_formatted() {
    let examples = examples();
    assert!(examples.len() >= 15, "{} examples", examples.len());
    for (line, text) in examples {
        let (file, diagnostics) = parse(0, &text);
        assert!(diagnostics.is_empty(), "grammar.md:{line}\n{diagnostics:#?}");
        let formatted = format(&text).expect("it was read without an error");
        assert_eq!(tree(&parse(0, &formatted).0), tree(&file), "grammar.md:{line}");
        assert_eq!(format(&formatted).as_deref(), Ok(formatted.as_str()), "grammar.md:{line}");
    }
}
