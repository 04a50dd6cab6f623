//! What a test that cannot be run here says.

use std::io::Write;

/// Says so to people: what a test that passes prints in the usual way is kept from them.
pub fn skipped(why: &str) {
    let test = std::thread::current().name().unwrap_or_default().to_string();
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {why}");
}
