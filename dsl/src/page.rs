//! What a function's documentation says: the page that `gradc doc` shows.
//!
//! What enters: a file's text and its tree. What leaves: a `Page` for each function. A doc comment is paragraphs and
//! blocks indented by four spaces, as in Markdown; an indented block is an example, and a test runs it. Not here:
//! how a page looks, what an example means.

use crate::ast::{File, Function, Item, Parameter};
use crate::parse;
use crate::source::Source;

/// A function's documentation.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    pub name: String,
    /// `fn dense(x: f32[.., n], units: dim) -> f32[.., units]`, on one line.
    pub signature: String,
    /// What the comment says, in order.
    pub parts: Vec<Part>,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// The variables that it declares itself: `param w: f32[n, units] = glorot_uniform()`.
    pub variables: Vec<String>,
    /// The whole function as it is written, without its comment.
    pub text: String,
}

/// A piece of a doc comment.
#[derive(Clone, PartialEq, Debug)]
pub enum Part {
    /// Lines joined by spaces.
    Paragraph(String),
    /// Without its indentation.
    Example(String),
}

/// An argument as a reader sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct Argument {
    pub name: String,
    /// `f32[.., n]`; `number` for one without a type.
    pub ty: String,
    pub default: Option<String>,
}

impl Page {
    /// The first sentence or paragraph.
    pub fn summary(&self) -> &str {
        let first = self.parts.iter().find_map(|part| match part {
            Part::Paragraph(text) => Some(text.as_str()),
            Part::Example(_) => None,
        });
        let text = first.unwrap_or("");
        text.find(". ").map_or(text, |end| &text[..=end])
    }

    pub fn examples(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Example(text) => Some(text.as_str()),
            Part::Paragraph(_) => None,
        })
    }

    /// Whether others may call it: a name that begins with `_` is private.
    pub fn public(&self) -> bool {
        !self.name.starts_with('_')
    }
}

/// The pages of a text's functions, in its order.
///
/// ```
/// let pages = gradc_dsl::page::pages("/// Twice.\n///\n///     twice(2) == 4\nfn twice(x) { 2 * x }\n");
/// assert_eq!(pages[0].summary(), "Twice.");
/// assert_eq!(pages[0].examples().collect::<Vec<_>>(), ["twice(2) == 4"]);
/// ```
pub fn pages(text: &str) -> Vec<Page> {
    let (file, _) = parse(0, text);
    of_file(&Source { name: String::new(), text: text.into() }, &file)
}

/// The same of a file that is parsed already.
pub fn of_file(source: &Source, file: &File) -> Vec<Page> {
    let functions = file.items.iter().filter_map(|item| match item {
        Item::Function(function) => Some(function),
        _ => None,
    });
    functions.map(|function| page(&source.text, function)).collect()
}

fn page(text: &str, function: &Function) -> Page {
    let at = |start: u32, end: u32| &text[start as usize..end as usize];
    let heading = at(function.span.start, function.body.span.start);
    let heading: Vec<&str> = heading.split_whitespace().collect();
    let whole = at(function.span.start, function.span.end);
    // A declaration is a statement, and a statement has its line wherever it is; in branches, too.
    let declares = |line: &&str| line.starts_with("param ") || line.starts_with("state ");
    Page {
        name: function.name.text.to_string(),
        signature: heading.join(" ").replace("( ", "(").replace(", )", ")"),
        parts: parts(&function.doc),
        arguments: function.parameters.iter().map(|p| argument(text, p)).collect(),
        variables: whole.lines().map(str::trim).filter(declares).map(str::to_owned).collect(),
        text: whole.to_owned(),
    }
}

fn argument(text: &str, parameter: &Parameter) -> Argument {
    let (name, whole) = (&parameter.name, &text[parameter.span.start as usize..parameter.span.end as usize]);
    let default =
        parameter.default.as_ref().map(|d| text[d.span.start as usize..d.span.end as usize].to_owned());
    let ty = match &parameter.ty {
        None => "number",
        Some(_) => {
            let after = whole[name.text.len()..].trim_start().trim_start_matches(':');
            let end = default.as_ref().map_or(after.len(), |d| after.len() - d.len());
            after[..end].trim().trim_end_matches('=').trim()
        }
    };
    Argument { name: name.text.to_string(), ty: ty.to_owned(), default }
}

/// Paragraphs and indented blocks.
fn parts(lines: &[String]) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut open = false;
    for line in lines {
        let (text, example) = match line.strip_prefix("    ") {
            Some(text) => (text, true),
            None => (line.trim(), false),
        };
        if text.trim().is_empty() {
            open = false;
            continue;
        }
        match parts.last_mut() {
            Some(Part::Paragraph(paragraph)) if open && !example => {
                paragraph.push(' ');
                paragraph.push_str(text);
            }
            // An empty line does not end an example: its parts are one text.
            Some(Part::Example(block)) if example => {
                block.push_str(if open { "\n" } else { "\n\n" });
                block.push_str(text);
            }
            _ if example => parts.push(Part::Example(text.to_owned())),
            _ => parts.push(Part::Paragraph(text.to_owned())),
        }
        open = true;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_what_stands_in_the_text() {
        let text = "/// One. Two\n/// three.\n///\n///     let x = 1\n///     f(x) == 2\n///\n/// Four.\n\
                    fn f(\n    x: f32[..],\n    n: dim = 3,\n    rate = 0.5,\n) -> f32[..] {\n    \
                    param w: f32[..] = zeros()\n    x + w\n}\n";
        let page = &pages(text)[0];
        assert_eq!(page.signature, "fn f(x: f32[..], n: dim = 3, rate = 0.5) -> f32[..]");
        assert_eq!(page.summary(), "One.");
        assert_eq!(page.examples().collect::<Vec<_>>(), ["let x = 1\nf(x) == 2"]);
        assert_eq!(page.parts.len(), 3);
        assert_eq!(page.variables, ["param w: f32[..] = zeros()"]);
        let shown: Vec<String> =
            page.arguments.iter().map(|a| format!("{}|{}|{:?}", a.name, a.ty, a.default)).collect();
        assert_eq!(shown, ["x|f32[..]|None", "n|dim|Some(\"3\")", "rate|number|Some(\"0.5\")"]);
    }
}
