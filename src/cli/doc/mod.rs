//! `gradc doc [NAME | FILE]`: what functions do, from their comments, and how they are written.
//!
//! What enters: the standard library, or a model's file. What leaves: a list by area, one function's page, or all of it
//! as Markdown or as one page of HTML. Invariant: everything that is shown stands in the text of the functions.

mod html;
mod markdown;

use super::output::{Failure, say};
use gradc_dsl::nearest::nearest;
use gradc_dsl::page::{Page, Part, pages};
use std::fmt::Write;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Arguments {
    /// A function of the standard library, an area of it, or a model's file; without it, all functions are listed
    name: Option<String>,
    /// Print everything as Markdown
    #[arg(long, conflicts_with = "html")]
    markdown: bool,
    /// Write everything as a page, `index.html` in this folder
    #[arg(long, value_name = "DIR")]
    html: Option<PathBuf>,
}

/// Functions that stand together: an area of the library, or a file.
struct Chapter {
    title: String,
    /// The comment at the top of the text.
    about: String,
    pages: Vec<Page>,
}

impl Chapter {
    fn new(title: &str, text: &str) -> Chapter {
        let top = text.lines().take_while(|line| line.starts_with("//") && !line.starts_with("///"));
        let about: Vec<&str> = top.map(|line| line.trim_start_matches('/').trim()).collect();
        let pages = pages(text).into_iter().filter(Page::public).collect();
        Chapter { title: title.to_owned(), about: about.join(" "), pages }
    }
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let name = arguments.name.as_deref();
    let library = || gradc_dsl::STD.iter().map(|(area, text)| Chapter::new(area, text));
    let (title, chapters): (String, Vec<Chapter>) = match name {
        Some(file) if file.ends_with(".model") => {
            let bytes =
                std::fs::read(file).map_err(|e| Failure::Error(format!("cannot read `{file}`: {e}")))?;
            let text = String::from_utf8_lossy(&bytes);
            let title = Path::new(file).file_name().map_or(file.into(), |name| name.to_string_lossy());
            (title.clone().into_owned(), vec![Chapter::new(&title, &text)])
        }
        Some(area) if gradc_dsl::std_source(area).is_some() => {
            (area.to_owned(), library().filter(|chapter| chapter.title == area).collect())
        }
        Some(name) => return one(name, library().collect()),
        None => ("The standard library".to_owned(), library().filter(|c| !c.pages.is_empty()).collect()),
    };
    match &arguments.html {
        Some(folder) => {
            let path = folder.join("index.html");
            let written = std::fs::create_dir_all(folder)
                .and_then(|()| std::fs::write(&path, html::document(&title, &chapters)));
            written.map_err(|e| Failure::Error(format!("cannot write `{}`: {e}", path.display())))?;
            say(format!("wrote {}", path.display()))
        }
        None if arguments.markdown => say(markdown::document(&title, &chapters)),
        None => say(list(&chapters)),
    }
}

/// A name and a summary a line.
fn list(chapters: &[Chapter]) -> String {
    let width = chapters.iter().flat_map(|c| &c.pages).map(|page| page.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for chapter in chapters {
        let _ = writeln!(text, "{}{}", if text.is_empty() { "" } else { "\n" }, chapter.title);
        for page in &chapter.pages {
            let _ = writeln!(text, "  {:width$}  {}", page.name, page.summary());
        }
    }
    text
}

fn one(name: &str, chapters: Vec<Chapter>) -> Result<(), Failure> {
    let find = |chapter: &Chapter| chapter.pages.iter().find(|page| page.name == name).cloned();
    if let Some((area, page)) = chapters.iter().find_map(|c| Some((&c.title, find(c)?))) {
        return say(plain(area, &page));
    }
    let names = chapters.iter().flat_map(|c| &c.pages).map(|page| page.name.as_str());
    let near = nearest(name, names).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    Err(Failure::Usage(format!("the standard library has no `{name}`{near} (`gradc doc` lists all)")))
}

/// A page for the terminal.
fn plain(area: &str, page: &Page) -> String {
    let mut text = format!("{}\n", page.signature);
    for part in &page.parts {
        match part {
            Part::Paragraph(paragraph) => {
                let _ = write!(text, "\n{}", filled(paragraph));
            }
            Part::Example(example) => {
                let _ = write!(text, "\n{}", indented(example));
            }
        }
    }
    if !page.arguments.is_empty() {
        text.push_str("\nArguments\n");
        let width = page.arguments.iter().map(|a| a.name.len()).max().unwrap_or(0);
        for argument in &page.arguments {
            let default = argument.default.as_ref().map(|d| format!(", {d} if left out")).unwrap_or_default();
            let _ = writeln!(text, "    {:width$}  {}{default}", argument.name, argument.ty);
        }
    }
    if !page.variables.is_empty() {
        let _ = write!(text, "\nVariables\n{}", indented(&page.variables.join("\n")));
    }
    let _ = write!(text, "\nHow it is written (std.{area})\n{}", indented(&page.text));
    text
}

/// Lines of at most 100 characters.
fn filled(paragraph: &str) -> String {
    let (mut text, mut column) = (String::new(), 0);
    for word in paragraph.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > 100 {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text + "\n"
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}").trim_end().to_owned() + "\n").collect()
}
