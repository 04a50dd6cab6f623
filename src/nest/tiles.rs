//! Which tile touched which element of the arguments: tiles must be independent, and so must turns that may run at the same time.
//!
//! What enters: reads and writes, as the interpreter does them one tile or turn after another. What leaves: nothing, or the two that would
//! race if they ran at the same time. What a tile does around such turns counts as one more of them. Not here: launches of one phase,
//! which are the plan's business.

/// A tile or turn, by its number in `Touched::names`.
type Who = u32;

#[derive(Clone, Copy, Default)]
struct Element {
    writer: Option<Who>,
    reader: Option<Who>,
    /// Read by another than `reader`, too.
    other_reader: Option<Who>,
}

/// All arguments' elements.
pub struct Touched {
    elements: Vec<Vec<Element>>,
    names: Vec<String>,
}

impl Touched {
    pub fn new(lengths: impl Iterator<Item = usize>) -> Touched {
        let elements = lengths.map(|n| vec![Element::default(); n]).collect();
        Touched { elements, names: Vec::new() }
    }

    /// From now on it is this tile or turn that reads and writes: a new one, or one that goes on.
    pub fn begin(&mut self, name: String) {
        self.names.push(name);
    }

    /// Who reads and writes.
    pub fn who(&self) -> &str {
        self.names.last().expect("one has begun")
    }

    fn number(&self) -> Who {
        self.names.len() as Who - 1
    }

    pub fn read(&mut self, argument: u32, at: usize) -> Result<(), String> {
        let who = self.number();
        let element = &mut self.elements[argument as usize][at];
        if element.reader.is_none_or(|reader| reader == who) {
            element.reader = Some(who);
        } else {
            element.other_reader = Some(who);
        }
        match element.writer.filter(|writer| *writer != who) {
            None => Ok(()),
            Some(writer) => Err(self.clash(argument, at, writer, "read", who)),
        }
    }

    pub fn write(&mut self, argument: u32, at: usize) -> Result<(), String> {
        let who = self.number();
        let element = &mut self.elements[argument as usize][at];
        if let Some(writer) = element.writer.filter(|writer| *writer != who) {
            return Err(self.clash(argument, at, writer, "written", who));
        }
        let readers = [element.reader, element.other_reader];
        if let Some(reader) = readers.into_iter().flatten().find(|reader| *reader != who) {
            return Err(self.clash(argument, at, who, "read", reader));
        }
        element.writer = Some(who);
        Ok(())
    }

    fn clash(&self, argument: u32, at: usize, writer: Who, what: &str, other: Who) -> String {
        let [writer, other] = [writer, other].map(|who| &self.names[who as usize]);
        format!("element {at} of ${argument} is written by {writer} and {what} by {other}")
    }
}
