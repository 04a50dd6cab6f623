//! The pages as one text of Markdown.

use super::{Chapter, indented};
use gradc_dsl::page::{Page, Part};
use std::fmt::Write;

pub(super) fn document(title: &str, chapters: &[Chapter]) -> String {
    let mut text = format!("# {title}\n");
    for chapter in chapters {
        if chapter.title != title {
            let _ = write!(text, "\n## {}\n", chapter.title);
        }
        let _ = write!(text, "\n{}\n", chapter.about);
        for page in &chapter.pages {
            let _ = write!(text, "\n{}", of(page));
        }
    }
    text
}

fn of(page: &Page) -> String {
    let mut text = format!("### {}\n\n```model\n{}\n```\n", page.name, page.signature);
    for part in &page.parts {
        let _ = match part {
            Part::Paragraph(paragraph) => write!(text, "\n{paragraph}\n"),
            Part::Example(example) => write!(text, "\n{}", indented(example)),
        };
    }
    if !page.variables.is_empty() {
        let named: Vec<String> = page.variables.iter().map(|variable| format!("- `{variable}`")).collect();
        let _ = write!(text, "\nVariables:\n\n{}\n", named.join("\n"));
    }
    let _ = write!(
        text,
        "\n<details><summary>How it is written</summary>\n\n```model\n{}\n```\n\n</details>\n",
        page.text
    );
    text
}
