//! Every model text of the library and of the examples is read without an error, and formatting it keeps its
//! meaning and is stable.

use gradc_dsl::format::format;
use gradc_dsl::{parse, tree};
use std::path::Path;

#[test]
fn texts_are_read_and_formatted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["std", "../examples"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else { continue };
        for entry in entries {
            let path = entry.expect("a folder's entry").path();
            if path.extension().is_none_or(|extension| extension != "model") {
                continue;
            }
            let text = std::fs::read_to_string(&path).expect("a readable file");
            if !text.contains("fn ") {
                continue; // An area whose functions are still to come.
            }
            let name = path.display();
            let formatted = format(&text).unwrap_or_else(|errors| panic!("{name}: {errors:#?}"));
            assert_eq!(tree(&parse(0, &text).0), tree(&parse(0, &formatted).0), "{name}");
            assert_eq!(format(&formatted).as_deref(), Ok(formatted.as_str()), "{name}");
        }
    }
}
