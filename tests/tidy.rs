//! The order of the rooms, held by a test: a room imports only rooms to its left.
//!
//! What enters: every source file under `src/`. What fails: a `crate::ROOM` that points to the right, a file
//! without a purpose line at its top, a file that has outgrown one sitting, an `unsafe` outside its rooms.

use std::fs;
use std::path::{Path, PathBuf};

const ROOMS: [&str; 12] = [
    "base", "scalar", "nest", "graph", "model", "autodiff", "passes", "plan", "codegen", "runtime", "train",
    "cli",
];

/// Folders in which `unsafe` may stand.
const UNSAFE_ROOMS: [&str; 3] = ["src/runtime/", "src/codegen/cpu/", "src/codegen/cuda/nvrtc.rs"];

/// Past this a file is no longer one concept.
const MOST_LINES: usize = 700;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    sources(&root.join("src"), &mut paths);
    sources(&root.join("dsl/src"), &mut paths);
    sources(&root.join("ptx/src"), &mut paths);
    paths.sort();
    let name = |p: &Path| p.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
    paths.iter().map(|p| (name(p), fs::read_to_string(p).unwrap())).collect()
}

/// The rooms a line names as `crate::ROOM`, or in a brace list `crate::{a::…, b::…}` on one line.
fn rooms_named(line: &str) -> Vec<usize> {
    let code = line.split("//").next().unwrap_or("");
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let list = rest.strip_prefix('{').unwrap_or(rest);
        let heads = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for head in heads {
            let word: String = head.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.extend(ROOMS.iter().position(|r| *r == word));
        }
    }
    found
}

#[test]
fn rooms_import_only_to_their_left() {
    let mut wrong = Vec::new();
    for (name, text) in all_sources() {
        let Some(room) = name.strip_prefix("src/").and_then(|n| n.split('/').next()) else { continue };
        let Some(place) = ROOMS.iter().position(|r| *r == room) else { continue };
        // Tests may look anywhere: they hold rooms against each other.
        let code = text.split("#[cfg(test)]").next().unwrap_or("");
        for (number, line) in code.lines().enumerate() {
            for named in rooms_named(line) {
                if named > place {
                    wrong.push(format!("{name}:{}: {room} imports {}", number + 1, ROOMS[named]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports that run against the room order:\n{}", wrong.join("\n"));
}

#[test]
fn files_open_with_their_purpose_and_stay_one_sitting_long() {
    let mut wrong = Vec::new();
    for (name, text) in all_sources() {
        if !text.starts_with("//!") {
            wrong.push(format!("{name}: no `//!` at its top"));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{name}: {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stands_only_in_its_rooms_and_says_why() {
    let mut wrong = Vec::new();
    for (name, text) in all_sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            let is_unsafe = code.contains("unsafe {") || code.contains("unsafe impl");
            if !is_unsafe {
                continue;
            }
            let place = format!("{name}:{}", number + 1);
            if !UNSAFE_ROOMS.iter().any(|room| name.starts_with(room)) {
                wrong.push(format!("{place}: unsafe outside its rooms"));
            }
            let before = &lines[number.saturating_sub(6)..=number];
            if !before.iter().any(|l| l.contains("SAFETY")) {
                wrong.push(format!("{place}: unsafe without a SAFETY line"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
