//! Text with indentation.
//!
//! What enters: lines, and the braces around them. What leaves: text. Not here: what the lines say.

#[derive(Default)]
pub struct Writer {
    text: String,
    depth: usize,
}

impl Writer {
    pub fn line(&mut self, line: impl AsRef<str>) {
        let line = line.as_ref();
        if !line.is_empty() {
            (0..self.depth).for_each(|_| self.text.push_str("    "));
            self.text.push_str(line);
        }
        self.text.push('\n');
    }

    /// A line that ends in a brace, and what follows inside of it.
    pub fn open(&mut self, head: impl AsRef<str>) {
        let head = head.as_ref();
        self.line(if head.is_empty() { "{".to_string() } else { format!("{head} {{") });
        self.depth += 1;
    }

    pub fn close(&mut self) {
        self.close_with("");
    }

    /// A closing brace, and what stands behind it.
    pub fn close_with(&mut self, behind: &str) {
        self.depth -= 1;
        self.line(format!("}}{behind}"));
    }

    pub fn finish(self) -> String {
        self.text
    }
}
