//! Which tile touched which element of the arguments: tiles must be independent.
//!
//! What enters: reads and writes, as the interpreter does them tile by tile. What leaves: nothing, or the two tiles that would
//! race if they ran at the same time. Not here: launches of one phase, which are the plan's business.

/// A tile is named by its first row.
#[derive(Clone, Copy, Default)]
struct Element {
    writer: Option<i64>,
    reader: Option<i64>,
    /// Read by another tile than `reader`, too.
    other_reader: Option<i64>,
}

/// All arguments' elements.
pub struct Touched(Vec<Vec<Element>>);

impl Touched {
    pub fn new(lengths: impl Iterator<Item = usize>) -> Touched {
        Touched(lengths.map(|n| vec![Element::default(); n]).collect())
    }

    pub fn read(&mut self, argument: u32, at: usize, tile: i64) -> Result<(), String> {
        let element = &mut self.0[argument as usize][at];
        if element.reader.is_none_or(|reader| reader == tile) {
            element.reader = Some(tile);
        } else {
            element.other_reader = Some(tile);
        }
        match element.writer.filter(|writer| *writer != tile) {
            None => Ok(()),
            Some(writer) => Err(clash(argument, at, writer, "read", tile)),
        }
    }

    pub fn write(&mut self, argument: u32, at: usize, tile: i64) -> Result<(), String> {
        let element = &mut self.0[argument as usize][at];
        if let Some(writer) = element.writer.filter(|writer| *writer != tile) {
            return Err(clash(argument, at, writer, "written", tile));
        }
        let readers = [element.reader, element.other_reader];
        if let Some(reader) = readers.into_iter().flatten().find(|reader| *reader != tile) {
            return Err(clash(argument, at, tile, "read", reader));
        }
        element.writer = Some(tile);
        Ok(())
    }
}

fn clash(argument: u32, at: usize, writer: i64, what: &str, other: i64) -> String {
    format!(
        "element {at} of ${argument} is written by the tile from row {writer} and {what} by the one from row {other}"
    )
}
