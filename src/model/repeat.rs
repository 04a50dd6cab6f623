//! `x |> repeat 4 { … }`: turns that have variables of their own.
//!
//! What enters: a value, how many turns, and their block. What leaves: the last turn's value. Invariant: a turn that is nothing but calls makes
//! what the turn before it made, of another value and under other names; so it is elaborated no more often than needed (`alike.rs`).

use super::alike::{Made, Mark};
use super::elaborate::{Elaborator, Mode};
use super::paths::Segments;
use super::value::Value;
use gradc_dsl::Span;
use gradc_dsl::ast::{Argument, ArgumentValue, Block, Expr, ExprKind};
use smol_str::{SmolStr, format_smolstr};
use std::ops::Range;
use std::rc::Rc;

/// More turns of a `repeat` than any model has.
const MAX_REPEAT: i64 = 10_000;

impl<'a> Elaborator<'a> {
    pub(super) fn repeat(&mut self, piped: Value, span: Span, count: &'a Expr, body: &'a Block) -> Value {
        let times = match self.expr(count) {
            Value::Dim(d) => match d.as_const() {
                Some(n) if (0..=MAX_REPEAT).contains(&n) => n,
                Some(n) => {
                    return self.error(
                        "E0313",
                        format!("cannot repeat {n} times"),
                        count.span,
                        format!("must be between 0 and {MAX_REPEAT}"),
                        "write a smaller count",
                    );
                }
                None => 1,
            },
            Value::Opaque => 1,
            Value::Error => return Value::Error,
            other => {
                let found = self.describe(&other);
                return self.error(
                    "E0312",
                    format!("`repeat` needs a whole number, not {found}"),
                    count.span,
                    format!("this is {found}"),
                    "write a whole number, or a size: `repeat 4 { … }`",
                );
            }
        };
        let outer = self.frame().turn;
        let mut value = piped;
        let times = if self.mode == Mode::Generic { times.min(1) } else { times };
        let first = self.graph.len();
        let mut made: Option<(Turn, Made)> = None;
        for turn in 0..times as usize {
            self.frame().turn = Some(turn);
            if let (Some((of, made)), Value::Tensor(x)) = (&made, &value)
                && let Some(result) = self.copy_made(made, &[*x], &|text| of.moved(text, turn), None)
            {
                value = Value::Tensor(result[0]);
                continue;
            }
            let (begun, errors, given) = (self.mark(), self.n_errors(), value.clone());
            value = self.block(body, Some((value, span))).unwrap_or(Value::Error);
            if self.n_errors() > errors {
                value = Value::Error;
                break;
            }
            // What all turns share is there after the first.
            if turn > 0 && is_call(body) {
                made = self.turn_made(begun, first, turn, &given, &value);
            }
        }
        self.frame().turn = outer;
        value
    }

    /// A turn that others may be copies of. `first`: how many nodes there were before all turns.
    fn turn_made(
        &mut self,
        begun: Mark,
        first: usize,
        number: usize,
        given: &Value,
        result: &Value,
    ) -> Option<(Turn, Made)> {
        let (Value::Tensor(given), Value::Tensor(result)) = (given, result) else { return None };
        let frame = self.frame();
        // Names of axes go with a value; at the top, calls of one function share their variables.
        if frame.function.is_none() || frame.axis_names.contains_key(given) {
            return None;
        }
        let turn = Turn { path: frame.path.clone(), segments: frame.segments.clone(), number };
        let is_own = |text: &str| text == turn.path || turn.place(text).is_some();
        let made = self.made(begun, &[*given], vec![*result], first, &is_own, None)?;
        Some((turn, made))
    }
}

/// Whether a block calls functions, one after another, with arguments that are the same in each turn.
fn is_call(block: &Block) -> bool {
    let is_same = |argument: &Argument| match &argument.value {
        ArgumentValue::Expr(expr) => {
            let kind = &expr.kind;
            matches!(
                kind,
                ExprKind::Name(_) | ExprKind::Number { .. } | ExprKind::Bool(_) | ExprKind::Text(_)
            )
        }
        ArgumentValue::Type(_) => false,
    };
    fn is_chain(expr: &Expr, is_same: &dyn Fn(&Argument) -> bool) -> bool {
        match &expr.kind {
            ExprKind::Name(_) => true,
            ExprKind::Call { callee, arguments } => {
                matches!(callee.kind, ExprKind::Name(_)) && arguments.iter().all(is_same)
            }
            ExprKind::Pipe(left, right) => is_chain(left, is_same) && is_chain(right, is_same),
            _ => false,
        }
    }
    block.statements.is_empty() && block.value.as_ref().is_some_and(|value| is_chain(value, &is_same))
}

/// A turn, and how paths in it begin: `PATH.SEGMENT.TURN`.
struct Turn {
    path: SmolStr,
    segments: Rc<Segments>,
    number: usize,
}

impl Turn {
    /// Where the turn's number stands in a path; nothing if there is no such place, or more than one.
    fn place(&self, text: &str) -> Option<Range<usize>> {
        let inside = text.strip_prefix(self.path.as_str())?.strip_prefix('.')?;
        let number = self.number.to_string();
        let of_segment = |segment: &SmolStr| {
            let behind = inside.strip_prefix(segment.as_str())?.strip_prefix('.')?;
            let rest = behind.strip_prefix(number.as_str())?;
            (rest.is_empty() || rest.starts_with('.')).then(|| text.len() - behind.len())
        };
        let mut places = self.segments.all().filter_map(of_segment);
        let place = places.next()?;
        places.all(|other| other == place).then(|| place..place + number.len())
    }

    /// What a path of this turn is in another.
    fn moved(&self, text: &str, number: usize) -> SmolStr {
        match self.place(text) {
            Some(place) => format_smolstr!("{}{number}{}", &text[..place.start], &text[place.end..]),
            None => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::text::print;
    use crate::model::Model;
    use crate::train::data::{Data, Field};

    fn model(body: &str) -> Model {
        let text = format!(
            "fn layer(x: f32[batch, n]) -> f32[batch, n] {{ x |> dense(n) |> dropout(0.5) |> batch_norm }}
             fn net(x: f32[batch, 4]) -> f32[batch, 4] {{ x |> repeat 5 {{ {body} }} }}
             train net {{
                 data = memory(x: f32[4], y: f32[4])
                 minimize mse(net(data.x), data.y) with adam()
                 batch = 2  epochs = 1  seed = 1
             }}"
        );
        let fields = vec![Field::f32("x", &[4], &[0.5; 8]), Field::f32("y", &[4], &[0.5; 8])];
        let data = Data::default().with_memory("data", fields).unwrap();
        crate::check(&crate::load("m.model", &text), &data, &[]).expect("a sound model")
    }

    #[test]
    fn a_copied_turn_is_what_an_elaborated_one_is() {
        // A block with a `let` is not copied.
        let [copied, elaborated] = ["layer", "let _one = 1\n layer"].map(model);
        for (a, b) in [(&copied.train, &elaborated.train), (&copied.eval, &elaborated.eval)] {
            assert_eq!(print(a, false), print(b, false));
            let scopes = |graph: &crate::graph::Graph| -> Vec<String> {
                graph.ids().map(|id| graph.node(id).origin.scope.to_string()).collect()
            };
            assert_eq!(scopes(a), scopes(b));
        }
        let variables = |model: &Model| -> Vec<_> {
            model.variables.iter().map(|v| (v.path.clone(), v.ty.clone(), v.initial, v.trained)).collect()
        };
        assert_eq!(variables(&copied), variables(&elaborated));
        assert!(copied.variables.iter().any(|v| v.path == "net.layer.4.dense.w"), "{:?}", variables(&copied));
    }

    /// The last copy may be what makes it too large, and who elaborates says so.
    #[test]
    fn a_model_of_copies_may_be_too_large() {
        let text = "fn id(x: f32[..]) -> f32[..] { x }
            fn opt(p: f32[..], g: f32[..]) { let q = p |> repeat 2500 { id }
                p <- q - 0.01 * g }
            fn net(x: f32[batch, 4]) -> f32[batch, 4] { x |> repeat 5 { dense(4) } }
            train net {
                data = memory(x: f32[4], y: f32[4])
                minimize mse(net(data.x), data.y) with opt()
                batch = 2  epochs = 1  seed = 1
            }";
        let fields = vec![Field::f32("x", &[4], &[0.5; 8]), Field::f32("y", &[4], &[0.5; 8])];
        let data = Data::default().with_memory("data", fields).unwrap();
        let found = crate::check(&crate::load("m.model", text), &data, &[]);
        let codes: Vec<_> = found.err().into_iter().flatten().map(|d| d.code).collect();
        assert_eq!(codes, ["E0413"]);
    }
}
