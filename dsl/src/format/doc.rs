//! Layout: a document of texts and possible line ends, fitted to a width (after Wadler, "A prettier printer").
//!
//! What enters: a `Doc`. What leaves: lines of at most `WIDTH` characters wherever the document allows it.
//! Invariant: no line ends in white space. It knows nothing of the language.

/// Columns of a line.
pub const WIDTH: usize = 100;
const INDENT: usize = 4;

pub(super) enum Doc {
    Text(String),
    /// The given text if its group fits on the line, else a line end.
    Line(&'static str),
    /// Always a line end; breaks every group around it.
    Hard,
    /// An empty line, after a line end.
    Blank,
    /// A comment for the end of the current line, wherever that is; breaks every group around it.
    Suffix(String),
    /// A text that is there only if its group is broken.
    IfBroken(&'static str),
    Concat(Vec<Doc>),
    Indent(Box<Doc>),
    Group {
        inner: Box<Doc>,
        breaks: bool,
    },
}

impl Doc {
    pub fn text(text: impl Into<String>) -> Doc {
        Doc::Text(text.into())
    }

    pub fn nothing() -> Doc {
        Doc::Concat(Vec::new())
    }

    pub fn indent(self) -> Doc {
        Doc::Indent(Box::new(self))
    }

    pub fn group(self) -> Doc {
        let breaks = self.breaks();
        Doc::Group { inner: Box::new(self), breaks }
    }

    fn breaks(&self) -> bool {
        match self {
            Doc::Hard | Doc::Blank | Doc::Suffix(_) => true,
            Doc::Text(_) | Doc::Line(_) | Doc::IfBroken(_) => false,
            Doc::Concat(docs) => docs.iter().any(Doc::breaks),
            Doc::Indent(doc) => doc.breaks(),
            Doc::Group { breaks, .. } => *breaks,
        }
    }
}

impl From<&str> for Doc {
    fn from(text: &str) -> Doc {
        Doc::text(text)
    }
}

impl From<Vec<Doc>> for Doc {
    fn from(docs: Vec<Doc>) -> Doc {
        Doc::Concat(docs)
    }
}

#[derive(Clone, Copy)]
struct Todo<'a> {
    indent: usize,
    broken: bool,
    doc: &'a Doc,
}

/// Lays the document out; the text ends with one line end unless it is empty.
pub(super) fn render(doc: &Doc) -> String {
    let mut out = String::new();
    let mut column = 0;
    let mut suffix = String::new();
    let mut todo = vec![Todo { indent: 0, broken: true, doc }];
    while let Some(Todo { indent, broken, doc }) = todo.pop() {
        match doc {
            Doc::Text(text) => write(&mut out, &mut column, indent, text),
            Doc::IfBroken(text) if broken => write(&mut out, &mut column, indent, text),
            Doc::IfBroken(_) => {}
            Doc::Line(flat) if !broken => write(&mut out, &mut column, indent, flat),
            Doc::Line(_) | Doc::Hard => end_line(&mut out, &mut column, &mut suffix),
            Doc::Blank => {
                if !out.is_empty() && !out.ends_with("\n\n") {
                    out.push('\n');
                }
            }
            Doc::Suffix(comment) => {
                suffix.push_str("  ");
                suffix.push_str(comment);
            }
            Doc::Concat(docs) => todo.extend(docs.iter().rev().map(|doc| Todo { indent, broken, doc })),
            Doc::Indent(inner) => todo.push(Todo { indent: indent + INDENT, broken, doc: inner }),
            Doc::Group { inner, breaks } => {
                let flat = Todo { indent, broken: false, doc: inner };
                let start = if column == 0 { indent } else { column };
                let broken = *breaks || !fits(flat, &todo, start);
                todo.push(Todo { indent, broken, doc: inner });
            }
        }
    }
    end_line(&mut out, &mut column, &mut suffix);
    let length = out.trim_end().len();
    out.truncate(length);
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn write(out: &mut String, column: &mut usize, indent: usize, text: &str) {
    if text.is_empty() {
        return;
    }
    if *column == 0 {
        out.extend(std::iter::repeat_n(' ', indent));
        *column = indent;
    }
    out.push_str(text);
    *column += text.chars().count();
}

fn end_line(out: &mut String, column: &mut usize, suffix: &mut String) {
    let kept = out.trim_end_matches(' ').len();
    out.truncate(kept);
    if *column == 0 {
        out.push_str(suffix.trim_start());
    } else {
        out.push_str(suffix);
    }
    let length = out.trim_end_matches(' ').len();
    out.truncate(length);
    suffix.clear();
    out.push('\n');
    *column = 0;
}

/// Whether `first`, laid out flat, and what follows it up to the next line end, fits from `column` on.
fn fits<'a>(first: Todo<'a>, rest: &[Todo<'a>], column: usize) -> bool {
    let mut left = WIDTH.saturating_sub(column) as isize;
    let mut stack = vec![first];
    let mut rest = rest.iter().rev();
    loop {
        let Some(Todo { indent, broken, doc }) = stack.pop().or_else(|| rest.next().copied()) else {
            return true;
        };
        match doc {
            Doc::Text(text) => left -= text.chars().count() as isize,
            Doc::IfBroken(text) if broken => left -= text.chars().count() as isize,
            Doc::Line(_) if broken => return true,
            Doc::Line(flat) => left -= flat.len() as isize,
            Doc::Hard | Doc::Blank => return true,
            Doc::IfBroken(_) | Doc::Suffix(_) => {}
            Doc::Concat(docs) => stack.extend(docs.iter().rev().map(|doc| Todo { indent, broken, doc })),
            Doc::Indent(inner) => stack.push(Todo { indent, broken, doc: inner }),
            // A later group may break at its first line end; one inside of `first` is flat with it.
            Doc::Group { inner, .. } => stack.push(Todo { indent, broken, doc: inner }),
        }
        if left < 0 {
            return false;
        }
    }
}
