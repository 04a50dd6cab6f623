//! `window(x, axis, size, stride, dilation)` and `fold(x, axis, stride, dilation)`.
//!
//! What enters: evaluated arguments. What leaves: the view on overlapping pieces, or pieces added up; or a message.
//! There are as many pieces as fit: `floor_div(n - dilation * (size - 1) - 1, stride) + 1`.

use super::elaborate::{Elaborator, Mode, show};
use super::value::{Given, Value};
use crate::base::{DType, Dim};
use crate::graph::Windowing;
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    pub(super) fn windowed(&mut self, name: &str, slots: &[Option<Given>], span: Span) -> Value {
        let is_window = name == "window";
        let argument = |i: usize| slots.get(i).and_then(Option::as_ref);
        let (x, axis) = (argument(0).expect("required"), argument(1).expect("required"));
        let Some(node) = self.tensor(&x.value, x.span) else { return Value::Error };
        let Some(axis) = self.axis(node, axis) else { return Value::Error };
        let steps = if is_window { [argument(3), argument(4)] } else { [argument(2), argument(3)] };
        let steps = steps.map(|given| given.map_or(Some(Dim::from(1)), |g| self.positive(name, g)));
        let [Some(stride), Some(dilation)] = steps else { return Value::Error };
        let mut ty = self.graph.ty(node).clone();
        let one = Dim::from(1);
        if !is_window && axis + 1 >= ty.rank() {
            let error = Diagnostic::error(
                "E0306",
                "`fold` adds up two axes, pieces and places in a piece",
                x.span,
                "",
            )
            .label(x.span, format!("this is `{}`", show(&ty)));
            return self.report(error.help("name the first of two axes that follow one another"));
        }
        let (positions, taps) = if is_window {
            let Some(size) = self.positive(name, argument(2).expect("required")) else { return Value::Error };
            let reach = dilation.clone() * (size.clone() - one.clone()) + one.clone();
            let room = ty.shape[axis].clone() - reach.clone();
            if room.as_const().is_some_and(|room| room < 0) {
                let text =
                    format!("a window over {reach} elements does not fit an axis of {}", ty.shape[axis]);
                return self.error(
                    "E0309",
                    text,
                    span,
                    format!("of `{}`", show(&ty)),
                    "take a smaller one, or `pad` first",
                );
            }
            (room.floor_div(&stride) + one, size)
        } else {
            if ty.dtype != DType::F32 {
                return self.error(
                    "E0305",
                    "`fold` adds real numbers (f32)",
                    x.span,
                    "",
                    "convert first: `f32(x)`",
                );
            }
            (ty.shape[axis].clone(), ty.shape[axis + 1].clone())
        };
        let n = (positions.clone() - Dim::from(1)) * stride.clone()
            + (taps.clone() - Dim::from(1)) * dilation.clone()
            + Dim::from(1);
        match (stride.as_const(), dilation.as_const()) {
            (Some(stride), Some(dilation)) => {
                let window = Windowing { axis, stride, dilation };
                let built = match is_window {
                    true => self.graph.window(node, window, positions, taps),
                    false => self.graph.fold(node, window, n),
                };
                self.built(built, span)
            }
            _ => {
                let put = if is_window { vec![positions, taps] } else { vec![n] };
                ty.shape.splice(axis..axis + 3 - put.len(), put);
                self.opaque(ty)
            }
        }
    }

    /// A size of at least 1, which may not be known while a function is checked by itself.
    fn positive(&mut self, name: &str, given: &Given) -> Option<Dim> {
        match &given.value {
            Value::Dim(d) if d.as_const().is_some_and(|n| n > 0) => Some(d.clone()),
            Value::Dim(d) if d.as_const().is_none() && self.mode == Mode::Generic => Some(d.clone()),
            Value::Opaque => Some(Dim::symbol("(unknown)")),
            Value::Error => None,
            other => {
                let found = self.describe(other);
                let message = format!("`{name}` takes a whole number from 1 on, not {found}");
                self.error("E0313", message, given.span, "", "write a number such as `2`");
                None
            }
        }
    }
}
