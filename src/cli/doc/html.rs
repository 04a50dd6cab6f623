//! The pages as one page of HTML that needs nothing else: no script, no other file. Names of functions in the text are
//! links.

use super::Chapter;
use gradc_dsl::page::{Page, Part};
use std::collections::HashSet;
use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --soft: #8881; --link: light-dark(#0550ae, #79b8ff); }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0; display: grid; grid-template-columns: 15rem minmax(0, 50rem); gap: 2rem; }
nav { border-right: 1px solid var(--line); padding: 1rem; height: 100vh; box-sizing: border-box; overflow: auto; position: sticky; top: 0; }
nav a { display: block; font: 14px/1.6 ui-monospace, monospace; }
main { padding: 1rem 1rem 30vh 0; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
h3 { margin: 2.5rem 0 0.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
code, pre { font: 14px/1.5 ui-monospace, monospace; }
pre { background: var(--soft); padding: 0.75rem 1rem; overflow-x: auto; border-radius: 6px; }
summary { cursor: pointer; }
@media (max-width: 50rem) { body { display: block; } nav { display: none; } main { padding: 1rem; } }
";

pub(super) fn document(title: &str, chapters: &[Chapter]) -> String {
    let known: HashSet<&str> =
        chapters.iter().flat_map(|c| &c.pages).map(|page| page.name.as_str()).collect();
    let (mut contents, mut body) = (String::new(), String::new());
    for chapter in chapters {
        let heading = escaped(&chapter.title);
        let _ = writeln!(contents, "<h4>{heading}</h4>");
        if chapter.title != title {
            let _ = writeln!(body, "<h2>{heading}</h2>");
        }
        let _ = writeln!(body, "<p>{}</p>", prose(&chapter.about, &known));
        for page in &chapter.pages {
            let _ = writeln!(contents, "<a href=\"#{0}\">{0}</a>", page.name);
            body.push_str(&of(page, &known));
        }
    }
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{0}</title>\n<style>{STYLE}</style>\n\
         <nav>\n{contents}</nav>\n<main>\n<h1>{0}</h1>\n{body}</main>\n</html>\n",
        escaped(title)
    )
}

fn of(page: &Page, known: &HashSet<&str>) -> String {
    let mut text = format!(
        "<h3 id=\"{0}\">{0}</h3>\n<pre>{1}</pre>\n",
        page.name,
        code(&page.signature, known, &page.name)
    );
    for part in &page.parts {
        let _ = match part {
            Part::Paragraph(paragraph) => writeln!(text, "<p>{}</p>", prose(paragraph, known)),
            Part::Example(example) => writeln!(text, "<pre>{}</pre>", code(example, known, &page.name)),
        };
    }
    if !page.variables.is_empty() {
        let _ = writeln!(
            text,
            "<p>Variables</p>\n<pre>{}</pre>",
            code(&page.variables.join("\n"), known, &page.name)
        );
    }
    let _ = writeln!(
        text,
        "<details><summary>How it is written</summary><pre>{}</pre></details>",
        code(&page.text, known, &page.name)
    );
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text with `code` in backticks.
fn prose(text: &str, known: &HashSet<&str>) -> String {
    let parts = text.split('`').enumerate();
    let marked = parts.map(|(i, part)| match i % 2 {
        0 => escaped(part),
        _ => format!("<code>{}</code>", code(part, known, "")),
    });
    marked.collect()
}

/// Code in which every known name but `own` is a link.
fn code(text: &str, known: &HashSet<&str>, own: &str) -> String {
    let mut marked = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        let starts_word = rest.starts_with(in_word);
        let end = rest.find(|c| in_word(c) != starts_word).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        if piece != own && known.contains(piece) {
            let _ = write!(marked, "<a href=\"#{piece}\">{piece}</a>");
        } else {
            marked.push_str(&escaped(piece));
        }
        rest = after;
    }
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_links_and_signs_are_escaped() {
        let known = HashSet::from(["relu", "dense"]);
        assert_eq!(code("x |> relu < 1", &known, "dense"), "x |&gt; <a href=\"#relu\">relu</a> &lt; 1");
        assert_eq!(
            prose("As `relu`, but & more", &known),
            "As <code><a href=\"#relu\">relu</a></code>, but &amp; more"
        );
    }
}
