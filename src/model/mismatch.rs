//! What is said of operands whose shapes do not fit: both shapes, where they come from, how to mend it.
//!
//! What enters: two operands with their places. What leaves: a message; or, while sizes are not known, a tensor of the
//! shape that it would be.

use super::elaborate::{Elaborator, show, show_shape};
use super::value::Value;
use crate::base::TensorType;
use crate::graph::NodeId;
use gradc_dsl::{Diagnostic, Span};

impl<'a> Elaborator<'a> {
    /// Elementwise operands whose shapes do not align.
    pub(super) fn shapes_differ(
        &mut self,
        a: NodeId,
        b: NodeId,
        at_a: Span,
        at_b: Span,
        span: Span,
    ) -> Value {
        let (ta, tb) = (self.graph.ty(a).clone(), self.graph.ty(b).clone());
        let rank = ta.rank().max(tb.rank());
        let size =
            |t: &TensorType, axis: usize| (axis + t.rank()).checked_sub(rank).map(|i| t.shape[i].clone());
        let axis = (0..rank).rev().find(|axis| match (size(&ta, *axis), size(&tb, *axis)) {
            (Some(x), Some(y)) => x != y && !x.is_const(1) && !y.is_const(1),
            _ => false,
        });
        let axis = axis.unwrap_or(0);
        let (x, y) = (size(&ta, axis), size(&tb, axis));
        let (Some(x), Some(y)) = (x, y) else { return Value::Error };
        if self.same_size(&x, &y) {
            let shape = if ta.rank() >= tb.rank() { ta } else { tb };
            return self.opaque(shape);
        }
        let from_end = rank - axis;
        let place = match from_end {
            1 => "the last axis".to_owned(),
            2 => "the last axis but one".to_owned(),
            n => format!("axis {n} from the end"),
        };
        let error = Diagnostic::error(
            "E0301",
            format!("shapes do not fit: {place} is `{x}` on one side and `{y}` on the other"),
            self.operator(at_a, at_b, span),
            "",
        )
        .label(at_a, format!("this is `{}`", show(&ta)))
        .label(at_b, format!("this is `{}`", show(&tb)));
        let error = self
            .with_origins(error, &[at_a, at_b])
            .note("axes are matched from the last one backwards; they must be equal, or 1");
        let (big, small, at) = if ta.rank() >= tb.rank() { (&ta, &tb, at_b) } else { (&tb, &ta, at_a) };
        let text = self.program.sources.text(at).to_owned();
        let help = if small.rank() == 1 && big.rank() == 2 && small.shape[0] == big.shape[0] {
            format!(
                "to use one number for each row, give it a second axis of size 1: `reshape({text}, [{}, 1])`",
                small.shape[0]
            )
        } else if big.rank() == 2
            && small.rank() == 2
            && big.shape[0] == small.shape[1]
            && big.shape[1] == small.shape[0]
        {
            format!("the axes look exchanged: `transpose({text})`")
        } else {
            "make the sizes equal".to_owned()
        };
        self.report(error.help(help))
    }

    /// The sign between two operands; the whole, where none stands between them.
    pub(super) fn operator(&self, a: Span, b: Span, whole: Span) -> Span {
        if a.source != b.source || a.end >= b.start {
            return whole;
        }
        let between = Span { source: a.source, start: a.end, end: b.start };
        let text = self.program.sources.text(between);
        let sign = text.trim_matches(|c: char| c.is_whitespace() || c == '(' || c == ')');
        if sign.is_empty() || sign.len() > 3 || sign.contains(',') {
            return whole;
        }
        let start = between.start + text.find(sign).unwrap_or(0) as u32;
        Span { start, end: start + sign.len() as u32, ..between }
    }

    /// Shows where operands that are plain names come from, so that a size can be followed to its origin.
    pub(super) fn with_origins(&self, mut error: Diagnostic, operands: &[Span]) -> Diagnostic {
        let Some(frame) = self.frames.last() else { return error };
        for place in operands {
            let name = self.program.sources.text(*place);
            let Some(binding) = frame.scopes.iter().rev().find_map(|scope| scope.get(name)) else { continue };
            if !error.labels.iter().any(|label| label.span == binding.span) {
                error = error.label(binding.span, format!("`{name}` comes from here"));
            }
        }
        error
    }
}

/// The axes of a stack of matrices before the last two.
pub(super) fn leading(ty: &TensorType) -> String {
    show_shape(&ty.shape[..ty.rank().saturating_sub(2)])
}
