//! Reading one line of a graph's text form: words, numbers, names, lists, sizes.
//!
//! What enters: a line. What leaves: its pieces in order, or a `LineError` with the column where the line stopped
//! making sense. A comment, `// …`, counts as the line's end. Writers of the same pieces stand beside their
//! readers. This file does not know any primitive.

use crate::base::{DType, Dim, TensorType};
use smol_str::SmolStr;

/// A position in a line of text.
pub struct Cursor<'a> {
    line: &'a str,
    at: usize,
    /// Where the last word, token or name began.
    last: usize,
}

/// What is wrong with a line, and where (bytes from 0).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineError {
    pub column: usize,
    pub message: String,
}

/// What reading gives.
pub type Read<T> = Result<T, LineError>;

impl<'a> Cursor<'a> {
    pub fn new(line: &'a str) -> Cursor<'a> {
        Cursor { line, at: 0, last: 0 }
    }

    fn rest(&self) -> &'a str {
        &self.line[self.at..]
    }

    fn skip_space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    pub fn error<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(LineError { column: self.at, message: message.into() })
    }

    /// Says what is wrong with the word, token or name just read.
    pub fn reject<T>(&self, message: impl Into<String>) -> Read<T> {
        Err(LineError { column: self.last, message: message.into() })
    }

    /// Whether only a comment is left, or nothing.
    pub fn at_end(&mut self) -> bool {
        self.skip_space();
        self.rest().is_empty() || self.rest().starts_with("//")
    }

    /// Takes `token` if it is next.
    pub fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub fn expect(&mut self, token: &str) -> Read<()> {
        if self.take(token) { Ok(()) } else { self.error(format!("expected `{token}`")) }
    }

    fn take_while(&mut self, accept: impl Fn(char) -> bool) -> &'a str {
        self.skip_space();
        self.last = self.at;
        let rest = self.rest();
        let end = rest.find(|c| !accept(c)).unwrap_or(rest.len());
        self.at += end;
        &rest[..end]
    }

    /// A keyword: letters, digits, `_`.
    pub fn word(&mut self) -> Read<&'a str> {
        let word = self.take_while(|c| c.is_alphanumeric() || c == '_');
        if word.is_empty() { self.error("expected a word") } else { Ok(word) }
    }

    /// Everything up to the next space.
    pub fn token(&mut self) -> Read<&'a str> {
        let token = self.take_while(|c| !c.is_whitespace());
        if token.is_empty() { self.error("expected more") } else { Ok(token) }
    }

    pub fn integer<T: std::str::FromStr>(&mut self) -> Read<T> {
        let digits = self.take_while(|c| c.is_ascii_digit() || c == '-');
        digits.parse().or_else(|_| self.reject("expected a whole number"))
    }

    /// A node's label without its `%`.
    pub fn node(&mut self) -> Read<&'a str> {
        self.expect("%")?;
        self.word()
    }

    /// `[item, …]`
    pub fn list<T>(&mut self, item: impl Fn(&mut Cursor<'a>) -> Read<T>) -> Read<Vec<T>> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.take("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// The text between `{` and the `}` that belongs to it, line ends included.
    pub fn braces(&mut self) -> Read<&'a str> {
        self.expect("{")?;
        let rest = self.rest();
        let ends = rest.match_indices('}').map(|(at, _)| at);
        match ends.into_iter().find(|at| open_braces(&rest[..=*at]) < 0) {
            Some(at) => {
                self.at += at + 1;
                Ok(&rest[..at])
            }
            None => self.error("a closing brace is missing"),
        }
    }

    /// A plain name or a quoted one; see `write_name`.
    pub fn name(&mut self) -> Read<SmolStr> {
        if !self.take("\"") {
            let name = self.take_while(is_plain);
            return if name.is_empty() { self.error("expected a name") } else { Ok(name.into()) };
        }
        let mut name = String::new();
        let mut characters = self.rest().char_indices();
        while let Some((at, c)) = characters.next() {
            match c {
                '"' => {
                    self.at += at + 1;
                    return Ok(name.into());
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => name.push('\n'),
                    Some((_, c)) => name.push(c),
                    None => break,
                },
                c => name.push(c),
            }
        }
        self.error("the name's closing quote is missing")
    }

    /// A size: a sum of products of numbers and symbols. A symbol may be a text in parentheses, which is its
    /// name with the parentheses.
    pub fn dim(&mut self) -> Read<Dim> {
        let mut sum = if self.take("-") { Dim::from(-1) * self.product()? } else { self.product()? };
        loop {
            if self.take("+") {
                sum = sum + self.product()?;
            } else if self.take("-") {
                sum = sum - self.product()?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn product(&mut self) -> Read<Dim> {
        let mut product = self.factor()?;
        while self.take("*") {
            product = product * self.factor()?;
        }
        Ok(product)
    }

    fn factor(&mut self) -> Read<Dim> {
        self.skip_space();
        let rest = self.rest();
        if rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Ok(Dim::from(self.integer::<i64>()?));
        }
        if !rest.starts_with('(') {
            return Ok(Dim::symbol(self.word()?));
        }
        let mut depth = 0;
        for (at, c) in rest.char_indices() {
            depth += i32::from(c == '(') - i32::from(c == ')');
            if depth == 0 {
                self.at += at + 1;
                return Ok(Dim::symbol(&rest[..=at]));
            }
        }
        self.error("a closing parenthesis is missing")
    }

    /// `f32[batch, 784]`
    pub fn tensor_type(&mut self) -> Read<TensorType> {
        let word = self.word()?;
        let Some(dtype) = DType::from_name(word) else {
            return self.reject(format!("`{word}` is not an element type"));
        };
        Ok(TensorType::new(dtype, self.list(Cursor::dim)?))
    }
}

/// Braces opened and not closed, those in quotes left out.
pub fn open_braces(text: &str) -> i64 {
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted => depth += 1,
            '}' if !quoted => depth -= 1,
            _ => {}
        }
    }
    depth
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || "_./:-".contains(c)
}

/// A name as `Cursor::name` reads it: quoted if it is not plain letters, digits and `_./:-`, or if it could be
/// taken for a comment.
pub fn write_name(name: &str) -> String {
    if !name.is_empty() && name.chars().all(is_plain) && !name.contains("//") {
        return name.to_string();
    }
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// `[item, …]`
pub fn write_list<T: std::fmt::Display>(items: &[T]) -> String {
    format!("[{}]", items.iter().map(T::to_string).collect::<Vec<_>>().join(", "))
}
