//! The text form of graphs, for dumps, tests and people.
//!
//! ```text
//! graph {
//!   %0 = input @image : u8[batch, 784]
//!   %1 = param @dense.w : f32[784, 10]
//!   %2 = cast %0 : f32[batch, 784]
//!   %3 = contract ab,bc->ac %2, %1 : f32[batch, 10]  // dense
//!   output guess = %3
//! }
//! ```
//!
//! A scan's body stands between braces, over several lines, in the same form. Else one node a line: label, primitive with its attributes, operands, type. Then outputs (`output NAME = %n`) and
//! updates (`update %variable <- %value`). `// …` is a comment; the printer can put a node's scope there. In
//! what is read, labels may be any words; each is defined once, before its use.
//!
//! What `print` writes, `parse` reads back as the same graph but for origins. `parse` does not check types: that
//! is `verify`'s work, and its tests need to write graphs that are wrong.

use super::cursor::{Cursor, LineError, Read, open_braces, write_name};
use super::op::{family, parse_op};
use super::{Graph, Node, NodeId, Origin};
use std::collections::HashMap;
use std::fmt::{self, Write};

/// Why a text is not a graph.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct TextError {
    /// From 1.
    pub line: usize,
    /// In bytes, from 1.
    pub column: usize,
    pub message: String,
}

impl fmt::Display for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&print(self, false))
    }
}

impl fmt::Debug for Graph {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text form; `with_scopes` adds each node's scope as a comment.
pub fn print(graph: &Graph, with_scopes: bool) -> String {
    let mut text = String::from("graph {\n");
    for id in graph.ids() {
        let node = graph.node(id);
        let scope = if with_scopes && !node.origin.scope.is_empty() {
            format!("  // {}", node.origin.scope)
        } else {
            String::new()
        };
        writeln!(text, "  {id} = {}{scope}", print_node(node)).expect("a string takes any text");
    }
    for (name, id) in &graph.outputs {
        writeln!(text, "  output {} = {id}", write_name(name)).expect("a string takes any text");
    }
    for (variable, value) in &graph.updates {
        writeln!(text, "  update {variable} <- {value}").expect("a string takes any text");
    }
    text.push_str("}\n");
    text
}

/// A node without its label: `map mul %1, %2 : f32[batch]`.
pub fn print_node(node: &Node) -> String {
    let operands: Vec<String> = node.operands.iter().map(NodeId::to_string).collect();
    let space = if operands.is_empty() { "" } else { " " };
    format!("{}{space}{} : {}", family(&node.op).print(&node.op), operands.join(", "), node.ty)
}

/// Reads the text form.
pub fn parse(text: &str) -> Result<Graph, TextError> {
    let mut reader = Reader::default();
    let mut state = Place::Before;
    let mut lines = text.split_inclusive('\n').enumerate();
    let mut from = 0;
    while let Some((number, line)) = lines.next() {
        let mut to = from + line.len();
        // A statement goes on to the brace that closes its own.
        while state == Place::Inside && open_braces(&text[from..to]) > 0 {
            let Some((_, line)) = lines.next() else { break };
            to += line.len();
        }
        let mut cursor = Cursor::new(&text[from..to]);
        from = to;
        let read = match (state, cursor.at_end()) {
            (_, true) => continue,
            (Place::Before, _) => {
                state = Place::Inside;
                cursor.expect("graph").and_then(|()| cursor.expect("{"))
            }
            (Place::Inside, _) if cursor.take("}") => {
                state = Place::After;
                Ok(())
            }
            (Place::Inside, _) => reader.statement(&mut cursor),
            (Place::After, _) => cursor.error("text after the graph"),
        };
        let end = read.and_then(|()| if cursor.at_end() { Ok(()) } else { cursor.error("unexpected text") });
        end.map_err(|LineError { column, message }| TextError {
            line: number + 1,
            column: column + 1,
            message,
        })?;
    }
    if state == Place::After {
        return Ok(reader.graph);
    }
    let line = text.lines().count().max(1);
    Err(TextError { line, column: 1, message: "the graph's closing `}` is missing".into() })
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Before,
    Inside,
    After,
}

#[derive(Default)]
struct Reader<'a> {
    graph: Graph,
    labels: HashMap<&'a str, NodeId>,
}

impl<'a> Reader<'a> {
    fn statement(&mut self, cursor: &mut Cursor<'a>) -> Read<()> {
        if cursor.take("output ") {
            let name = cursor.name()?;
            cursor.expect("=")?;
            let value = self.reference(cursor)?;
            self.graph.outputs.push((name, value));
            return Ok(());
        }
        if cursor.take("update ") {
            let variable = self.reference(cursor)?;
            cursor.expect("<-")?;
            let value = self.reference(cursor)?;
            self.graph.updates.push((variable, value));
            return Ok(());
        }
        let label = cursor.node()?;
        if self.labels.contains_key(label) {
            return cursor.reject(format!("%{label} is defined twice"));
        }
        cursor.expect("=")?;
        let op = parse_op(cursor)?;
        let mut operands = Vec::new();
        while !cursor.take(":") {
            if !operands.is_empty() {
                cursor.expect(",")?;
            }
            operands.push(self.reference(cursor)?);
        }
        let ty = cursor.tensor_type()?;
        let id = self.graph.push(Node::new(op, ty, operands, Origin::default()));
        self.labels.insert(label, id);
        Ok(())
    }

    fn reference(&self, cursor: &mut Cursor<'a>) -> Read<NodeId> {
        let label = cursor.node()?;
        match self.labels.get(label) {
            Some(id) => Ok(*id),
            None => cursor.reject(format!("%{label} is not defined above")),
        }
    }
}
