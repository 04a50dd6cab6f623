//! Axes and shapes among an intrinsic's arguments.
//!
//! What enters: arguments such as `axis = -1`, `axes = [n]`, `[batch, 28]`. What leaves: axes counted from 0, and
//! shapes of possible sizes; or a message.

use super::elaborate::{Elaborator, Mode, show};
use super::value::{Given, Value};
use crate::base::Dim;
use crate::graph::NodeId;
use gradc_dsl::Diagnostic;
use gradc_dsl::ast::Type;
use smol_str::SmolStr;

impl<'a> Elaborator<'a> {
    /// An axis by number (negative: from the end), or by the name of its size.
    pub(super) fn axis(&mut self, x: NodeId, given: &Given) -> Option<usize> {
        let ty = self.graph.ty(x).clone();
        if let [Some(word)] = &given.words[..]
            && let Some(axis) = self.axis_of_name(x, word)
        {
            return Some(axis);
        }
        let value = match &given.value {
            Value::List(items) if items.len() == 1 => items[0].clone(),
            other => other.clone(),
        };
        match value {
            Value::Dim(d) => match d.as_const() {
                Some(n) => {
                    let rank = ty.rank() as i64;
                    let axis = if n < 0 { n + rank } else { n };
                    if (0..rank).contains(&axis) {
                        return Some(axis as usize);
                    }
                    self.report(
                        Diagnostic::error(
                            "E0306",
                            format!("there is no axis {n}"),
                            given.span,
                            format!("of `{}`", show(&ty)),
                        )
                        .help(if rank == 0 {
                            "this is one number, without axes".to_owned()
                        } else {
                            format!("its axes are 0 to {}, or -1 for the last", rank - 1)
                        }),
                    );
                    None
                }
                None => {
                    let found = ty.shape.iter().position(|s| *s == d);
                    // A function checked by itself does not know the numbers that it is given.
                    if found.is_none() && self.is_given_number(&d) {
                        return (ty.rank() > 0).then_some(0);
                    }
                    if found.is_none() {
                        self.report(
                            Diagnostic::error(
                                "E0306",
                                format!("no axis has the size {d}"),
                                given.span,
                                format!("of `{}`", show(&ty)),
                            )
                            .help("name one of its axes, or count from 0"),
                        );
                    }
                    found
                }
            },
            Value::Opaque => Some(0),
            Value::Error => None,
            other => {
                let found = self.describe(&other);
                self.error(
                    "E0312",
                    format!("an axis is a whole number, not {found}"),
                    given.span,
                    "",
                    "count axes from 0 (-1 is the last), or name a size: `[n]`",
                );
                None
            }
        }
    }

    /// Whether it is an `int` parameter of the function that is checked by itself.
    fn is_given_number(&mut self, d: &Dim) -> bool {
        let is_int = |ty: &Type| matches!(ty, Type::Constant { name, .. } if name.text == "int");
        let function = self.frame().function;
        self.mode == Mode::Generic
            && function.is_some_and(|f| {
                let mut ints = f.parameters.iter().filter(|p| p.ty.as_ref().is_some_and(is_int));
                ints.any(|p| Dim::symbol(p.name.text.clone()) == *d)
            })
    }

    /// The axis that a name of the signature stands for: in an argument, as declared; in another tensor, where the size is
    /// that of the name, and of several such the one at which an argument of as many axes has it.
    fn axis_of_name(&mut self, x: NodeId, word: &SmolStr) -> Option<usize> {
        let place = |names: &[Option<SmolStr>]| names.iter().position(|name| name.as_ref() == Some(word));
        if let Some(axis) = self.frame().axis_names.get(&x).and_then(|names| place(names)) {
            return Some(axis);
        }
        let (size, _) = self.frame().dims.get(word)?.clone();
        let shape = self.graph.ty(x).shape.clone();
        let fits: Vec<usize> = (0..shape.len()).filter(|axis| shape[*axis] == size).collect();
        let mut arguments: Vec<(&NodeId, &Vec<Option<SmolStr>>)> =
            self.frames.last()?.axis_names.iter().filter(|(_, names)| names.len() == shape.len()).collect();
        arguments.sort_unstable_by_key(|(id, _)| **id);
        let declared =
            arguments.into_iter().filter_map(|(_, names)| place(names)).find(|axis| fits.contains(axis));
        declared.or(fits.first().copied())
    }

    pub(super) fn axes(&mut self, x: NodeId, given: &Given) -> Option<Vec<usize>> {
        match &given.value {
            Value::List(items) => {
                let word = |i: usize| vec![given.words.get(i).cloned().flatten()];
                let item = |(i, item): (usize, &Value)| Given {
                    words: word(i),
                    ..Given::positional(item.clone(), given.span)
                };
                items.iter().enumerate().map(|i| self.axis(x, &item(i))).collect()
            }
            _ => self.axis(x, given).map(|axis| vec![axis]),
        }
    }

    /// A shape: a list of sizes, or one size.
    pub(super) fn shape_of(&mut self, given: &Given) -> Option<Vec<Dim>> {
        let items = match &given.value {
            Value::List(items) | Value::Tuple(items) => items.clone(),
            other => vec![other.clone()],
        };
        let mut shape = Vec::new();
        for item in items {
            match item {
                Value::Dim(d) => {
                    if !self.check_size(&d, given.span) {
                        return None;
                    }
                    shape.push(d);
                }
                Value::Opaque => shape.push(Dim::symbol("(unknown)")),
                Value::Error => return None,
                other => {
                    let found = self.describe(&other);
                    self.report(
                        Diagnostic::error(
                            "E0313",
                            format!("a shape is a list of sizes, not {found}"),
                            given.span,
                            "",
                        )
                        .help("write `[batch, 28, 28]`"),
                    );
                    return None;
                }
            }
        }
        Some(shape)
    }
}
