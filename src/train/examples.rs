//! Computes the claims of an example, on any engine.
//!
//! What enters: an elaborated example and an engine of its model. What leaves: the claims that do not hold, each with
//! what was found. Invariant: equal means within `TOLERANCE` of the greatest element stated, or of 1, so that an example
//! may round what it states to four digits.

use super::engine::{Engine, Program};
use super::init::initial_value;
use crate::model::examples::Example;
use gradc_dsl::Span;
use gradc_dsl::ast::BinaryOp;

/// A claim that does not hold.
#[derive(Clone, PartialEq, Debug)]
pub struct Wrong {
    pub span: Span,
    /// `it is [0, 0, 2]`
    pub found: String,
}

const TOLERANCE: f64 = 1e-4;
/// Elements that a message shows.
const SHOWN: usize = 16;

/// Runs the example once.
///
/// # Errors
/// The engine cannot run it, in words for the user.
pub fn run(example: &Example, engine: &mut dyn Engine) -> Result<Vec<Wrong>, String> {
    let inputs = engine.prepare(Program::Train)?;
    for variable in &example.model.variables {
        engine.set_variable(&variable.path, &initial_value(variable, example.model.settings.seed));
    }
    if let Some(other) = inputs.iter().find(|name| *name != "step") {
        return Err(format!("an example reads no `{other}`"));
    }
    let step = i32::try_from(example.step).unwrap_or(i32::MAX).to_ne_bytes();
    let bytes: Vec<&[u8]> = inputs.iter().map(|_| &step[..]).collect();
    engine.run(Program::Train, 1, example.step, &bytes);
    engine.finish(Program::Train, 0)?;
    let mut wrong = Vec::new();
    for (index, claim) in example.claims.iter().enumerate() {
        let [left, right] =
            ["left", "right"].map(|side| numbers(engine.output(Program::Train, &format!("{side}{index}"))));
        if let Some(found) = contradiction(&left, claim.op, &right) {
            wrong.push(Wrong { span: claim.span, found });
        }
    }
    Ok(wrong)
}

fn numbers(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(4).map(|b| f64::from(f32::from_ne_bytes([b[0], b[1], b[2], b[3]]))).collect()
}

/// What was found, if `left op right` does not hold for every element.
fn contradiction(left: &[f64], op: BinaryOp, right: &[f64]) -> Option<String> {
    if left.len() != right.len() && right.len() != 1 {
        return Some(format!("{} elements, not {}", left.len(), right.len()));
    }
    let scale = right.iter().fold(1.0f64, |most, x| if x.is_finite() { most.max(x.abs()) } else { most });
    let holds = |(a, b): (&f64, &f64)| {
        let equal = a == b || (a - b).abs() <= TOLERANCE * scale || a.is_nan() && b.is_nan();
        match op {
            BinaryOp::Equal => equal,
            BinaryOp::NotEqual => !equal,
            BinaryOp::Less => a < b,
            BinaryOp::LessEqual => a <= b,
            BinaryOp::Greater => a > b,
            BinaryOp::GreaterEqual => a >= b,
            _ => false,
        }
    };
    if left.iter().zip(right.iter().cycle()).all(holds) {
        return None;
    }
    let shown: Vec<String> = left.iter().take(SHOWN).map(|x| format!("{}", *x as f32)).collect();
    let more = if left.len() > SHOWN { ", …" } else { "" };
    Some(format!("the left side is [{}{more}]", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::super::interpreted::Interpreted;
    use super::*;

    fn wrong(text: &str) -> Vec<String> {
        let program = crate::load("m.model", "fn twice(x: f32[..]) -> f32[..] { 2 * x }\n");
        let example = match crate::model::examples::example(&program, "twice", text) {
            Ok(example) => example,
            Err((errors, _)) => return errors.into_iter().map(|e| e.message).collect(),
        };
        let mut engine = Interpreted::new(&example.model);
        run(&example, &mut engine).unwrap().into_iter().map(|wrong| wrong.found).collect()
    }

    #[test]
    fn claims_hold_or_say_what_is_found() {
        for (text, expected) in [
            ("twice([1, 2]) == [2, 4]", vec![]),
            ("twice([1, 2]) == [2, 5]", vec!["the left side is [2, 4]"]),
            ("twice([[1], [2]]) == [[2], [4]]", vec![]),
            ("let x = 3\ntwice(x) == 6\ntwice(x) < 6", vec!["the left side is [6]"]),
            ("shape(twice(zeros([2, 3]))) == [2, 3]", vec![]),
            ("twice([1, 2]) == [2, 4, 6]", vec!["2 elements, not 3"]),
            ("0 * twice(ones([3])) == 0", vec![]),
            ("twice([1, [2]]) == 2", vec!["a tensor is expected, not a list"]),
            ("twise(1) == 2", vec!["there is no function `twise`"]),
            ("sgd(1, 0.5, lr = 0.1) == 0.95", vec![]),
            ("let m = twice([[1, 2], [3, 4]])\nlet d[k] = m[k, k]\nd == [2, 8]", vec![]),
            ("let m = twice([[1, 2], [3, 4]])\n(sum[k] m[k, k]) == 11", vec!["the left side is [10]"]),
            ("let m = twice([[[1, 2], [3, 4]]]) > 5\nlet d[i, k] = m[k, i, i]\nf32(d) == [[0], [1]]", vec![]),
            ("let step = 5\nlinear(1, total = 10) == 0.5", vec![]),
        ] {
            assert_eq!(wrong(text), expected, "{text}");
        }
    }
}
