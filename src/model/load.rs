//! A model's files: the one that was named, what it imports, the standard library.
//!
//! What enters: a name, bytes, and a `Loader` for imports. What leaves: a `Program`, all texts and trees, with
//! every error of syntax and of imports. Invariant: each file is read once, whatever imports it; the standard
//! library is always there. This file reads no disk itself.

use gradc_dsl::ast::{File, Import, ImportPath, Item};
use gradc_dsl::{Diagnostic, SourceMap, decode, parse, std_source};
use std::path::{Component, Path, PathBuf};

/// Finds imported files.
pub trait Loader {
    /// The bytes of the file at `path`, already joined to the folder of the importing file.
    ///
    /// # Errors
    /// A sentence for the user.
    fn load(&self, path: &str) -> Result<Vec<u8>, String>;
}

/// A loader for models without imports of files.
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&self, _path: &str) -> Result<Vec<u8>, String> {
        Err("no files can be imported here".into())
    }
}

/// Reads imports from the disk.
pub struct Disk;

impl Loader for Disk {
    fn load(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// Parsed files. File 0 is the one the user named.
#[derive(Clone, Default)]
pub struct Program {
    pub sources: SourceMap,
    /// Indexed as the sources are.
    pub files: Vec<File>,
    /// Errors of syntax and imports.
    pub diagnostics: Vec<Diagnostic>,
    /// Sources from this number on are the standard library's.
    pub(super) std_sources: Vec<u32>,
}

impl Program {
    /// Whether a source belongs to the standard library.
    pub fn is_std(&self, source: u32) -> bool {
        self.std_sources.contains(&source)
    }
}

/// Reads a model and everything it imports.
pub fn load(name: &str, bytes: &[u8], loader: &dyn Loader) -> Program {
    let mut program = Program::default();
    let mut loading = Loading { program: &mut program, loader, stack: Vec::new() };
    loading.add(name, bytes);
    for (area, _) in gradc_dsl::STD {
        loading.add_std(area);
    }
    program
}

struct Loading<'a> {
    program: &'a mut Program,
    loader: &'a dyn Loader,
    /// Files whose imports are being read.
    stack: Vec<String>,
}

impl Loading<'_> {
    fn add(&mut self, name: &str, bytes: &[u8]) {
        let number = self.program.sources.sources.len() as u32;
        let text = match decode(number, bytes) {
            Ok(text) => text,
            Err(error) => {
                self.program.diagnostics.push(error);
                self.program.sources.add(name, String::from_utf8_lossy(bytes));
                let span = gradc_dsl::Span { source: number, start: 0, end: 0 };
                self.program.files.push(File { items: Vec::new(), comments: Vec::new(), span });
                return;
            }
        };
        let number = self.program.sources.add(name, text.clone());
        let (file, errors) = parse_deep(number, &text);
        self.program.diagnostics.extend(errors);
        let imports: Vec<Import> = file
            .items
            .iter()
            .filter_map(|item| match item {
                Item::Import(import) => Some(import.clone()),
                _ => None,
            })
            .collect();
        self.program.files.push(file);
        self.stack.push(normal(name));
        for import in imports {
            self.import(name, &import);
        }
        self.stack.pop();
    }

    fn known(&self, name: &str) -> bool {
        self.program.sources.sources.iter().any(|s| normal(&s.name) == normal(name))
    }

    fn import(&mut self, from: &str, import: &Import) {
        match &import.path {
            ImportPath::Std(names) => {
                let module = names.last().map(|n| n.text.to_string()).unwrap_or_default();
                if !self.add_std(&module) {
                    let mut error = Diagnostic::error(
                        "E0208",
                        format!("the standard library has no part called `{module}`"),
                        import.span,
                        "",
                    );
                    let areas: Vec<&str> = gradc_dsl::STD.iter().map(|(area, _)| *area).collect();
                    error = match gradc_dsl::nearest::nearest(&module, areas.iter().copied()) {
                        Some(near) => error.help(format!("did you mean `import std.{near}`?")),
                        None => error.help(format!("it has: {}", areas.join(", "))),
                    };
                    self.program.diagnostics.push(error);
                }
            }
            ImportPath::File(text) => {
                let folder = Path::new(from).parent().unwrap_or(Path::new(""));
                let path = folder.join(&text.value).to_string_lossy().into_owned();
                if self.stack.contains(&normal(&path)) {
                    let circle: Vec<&str> =
                        self.stack.iter().map(String::as_str).chain([path.as_str()]).collect();
                    self.program.diagnostics.push(
                        Diagnostic::error(
                            "E0206",
                            "these files import each other in a circle",
                            text.span,
                            format!("`{}` is being read already", text.value),
                        )
                        .note(format!("the circle: {}", circle.join(" → ")))
                        .help("move what both need into a third file, and import that from both"),
                    );
                    return;
                }
                if self.known(&path) {
                    return;
                }
                match self.loader.load(&path) {
                    Ok(bytes) => self.add(&path, &bytes),
                    Err(reason) => self.program.diagnostics.push(
                        Diagnostic::error(
                            "E0207",
                            format!("cannot import `{}`", text.value),
                            text.span,
                            reason,
                        )
                        .help("the path is relative to the file in which the import stands"),
                    ),
                }
            }
        }
    }

    fn add_std(&mut self, module: &str) -> bool {
        let name = format!("std/{module}.model");
        if self.known(&name) {
            return true;
        }
        let Some(text) = std_source(module) else { return false };
        let number = self.program.sources.add(name, text);
        self.program.std_sources.push(number);
        // Known to nest little and to import nothing: no thread, no decoding. An area may be empty (E0117).
        let (file, errors) = parse(number, text);
        self.program.diagnostics.extend(errors.into_iter().filter(|error| error.code != "E0117"));
        self.program.files.push(file);
        true
    }
}

/// Parses with room for the deepest nesting that the parser lets through, whatever thread this is.
fn parse_deep(number: u32, text: &str) -> (File, Vec<Diagnostic>) {
    std::thread::scope(|scope| {
        let thread =
            std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, || parse(number, text));
        let thread = thread.expect("the system gives a thread");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The same path without `.` and `a/..`.
fn normal(path: &str) -> String {
    let mut parts = PathBuf::new();
    for component in Path::new(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if parts.file_name().is_some() => {
                parts.pop();
            }
            other => parts.push(other),
        }
    }
    parts.to_string_lossy().into_owned()
}
