//! What every backend can do to a lane: the steps into which scalar functions are lowered.
//!
//! What enters: calls of the builder by the table's rows. What leaves: a straight line of `Step`s over 32-bit
//! lanes, each an f32, an i32 or a mask (all ones or zero); lanes do not see each other, so the same steps serve one
//! lane or sixteen. A backend maps each step to one instruction, or nearly. `eval` is their meaning, in f32.
//! Bools inside a body are masks; in memory they are bytes 0 and 1, which is the backend's business.

/// The result of a step.
pub type StepId = u32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Compare {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// One operation; operands are earlier steps. `…F` work on f32, `…I` on i32, bitwise ones also on masks.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Step {
    /// The i-th operand of the function.
    Argument(u8),
    ConstF(f32),
    ConstI(i32),
    AddF(StepId, StepId),
    SubF(StepId, StepId),
    MulF(StepId, StepId),
    DivF(StepId, StepId),
    NegF(StepId),
    AbsF(StepId),
    SqrtF(StepId),
    /// `a * b + c`, rounded once.
    Fma(StepId, StepId, StepId),
    FloorF(StepId),
    CeilF(StepId),
    /// To nearest, ties to even.
    NearestF(StepId),
    /// A mask; false when an operand is NaN, but for `Ne`, which is true.
    CompareF(Compare, StepId, StepId),
    AddI(StepId, StepId),
    SubI(StepId, StepId),
    MulI(StepId, StepId),
    /// Toward zero; the divisor is neither 0 nor -1.
    DivI(StepId, StepId),
    /// Left by 0 to 31 bits.
    ShlBy(StepId, StepId),
    /// Right by 0 to 31 bits, the sign kept.
    ShrBy(StepId, StepId),
    /// Left by a constant number of bits.
    ShlI(StepId, u8),
    /// Right by a constant number of bits, the sign kept.
    ShrI(StepId, u8),
    AndI(StepId, StepId),
    OrI(StepId, StepId),
    XorI(StepId, StepId),
    NotI(StepId),
    CompareI(Compare, StepId, StepId),
    /// `mask ? a : b`, of any type.
    Select(StepId, StepId, StepId),
    /// The bits of an f32 as i32, and back.
    BitsOfF(StepId),
    FOfBits(StepId),
    /// Toward zero; unspecified out of the range of i32.
    TruncateF(StepId),
    ToF(StepId),
}

/// A straight line of steps.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Steps {
    pub steps: Vec<Step>,
}

impl Steps {
    pub fn push(&mut self, step: Step) -> StepId {
        // Constants are shared, so that a backend need not look for equal ones.
        if let Step::ConstF(_) | Step::ConstI(_) | Step::Argument(_) = step {
            let same = |s: &Step| match (s, &step) {
                (Step::ConstF(a), Step::ConstF(b)) => a.to_bits() == b.to_bits(),
                (a, b) => *a == *b,
            };
            if let Some(at) = self.steps.iter().position(same) {
                return at as StepId;
            }
        }
        self.steps.push(step);
        (self.steps.len() - 1) as StepId
    }

    pub fn f(&mut self, value: f32) -> StepId {
        self.push(Step::ConstF(value))
    }

    pub fn i(&mut self, value: i32) -> StepId {
        self.push(Step::ConstI(value))
    }

    pub fn add(&mut self, a: StepId, b: StepId) -> StepId {
        self.push(Step::AddF(a, b))
    }

    pub fn sub(&mut self, a: StepId, b: StepId) -> StepId {
        self.push(Step::SubF(a, b))
    }

    pub fn mul(&mut self, a: StepId, b: StepId) -> StepId {
        self.push(Step::MulF(a, b))
    }

    pub fn div(&mut self, a: StepId, b: StepId) -> StepId {
        self.push(Step::DivF(a, b))
    }

    pub fn fma(&mut self, a: StepId, b: StepId, c: StepId) -> StepId {
        self.push(Step::Fma(a, b, c))
    }

    pub fn select(&mut self, mask: StepId, a: StepId, b: StepId) -> StepId {
        self.push(Step::Select(mask, a, b))
    }

    pub fn compare(&mut self, how: Compare, a: StepId, b: StepId) -> StepId {
        self.push(Step::CompareF(how, a, b))
    }

    /// Horner's scheme; coefficients from the highest power down.
    pub fn polynomial(&mut self, x: StepId, coefficients: &[f32]) -> StepId {
        let first = self.f(coefficients[0]);
        coefficients[1..].iter().fold(first, |sum, c| {
            let c = self.f(*c);
            self.fma(sum, x, c)
        })
    }
}

/// The value of step `result`, lanes given and returned as bits.
pub fn eval(steps: &Steps, arguments: &[u32], result: StepId) -> u32 {
    let mut lanes: Vec<u32> = Vec::with_capacity(steps.steps.len());
    for step in &steps.steps {
        let f = |id: StepId| f32::from_bits(lanes[id as usize]);
        let i = |id: StepId| lanes[id as usize] as i32;
        let mask = |b: bool| if b { u32::MAX } else { 0 };
        let order = |how: Compare, order: Option<std::cmp::Ordering>| match (how, order) {
            (Compare::Ne, None) => true,
            (_, None) => false,
            (Compare::Eq, Some(o)) => o.is_eq(),
            (Compare::Ne, Some(o)) => o.is_ne(),
            (Compare::Lt, Some(o)) => o.is_lt(),
            (Compare::Le, Some(o)) => o.is_le(),
            (Compare::Gt, Some(o)) => o.is_gt(),
            (Compare::Ge, Some(o)) => o.is_ge(),
        };
        let lane = match *step {
            Step::Argument(n) => arguments[n as usize],
            Step::ConstF(c) => c.to_bits(),
            Step::ConstI(c) => c as u32,
            Step::AddF(a, b) => (f(a) + f(b)).to_bits(),
            Step::SubF(a, b) => (f(a) - f(b)).to_bits(),
            Step::MulF(a, b) => (f(a) * f(b)).to_bits(),
            Step::DivF(a, b) => (f(a) / f(b)).to_bits(),
            Step::NegF(a) => (-f(a)).to_bits(),
            Step::AbsF(a) => f(a).abs().to_bits(),
            Step::SqrtF(a) => f(a).sqrt().to_bits(),
            Step::Fma(a, b, c) => f(a).mul_add(f(b), f(c)).to_bits(),
            Step::FloorF(a) => f(a).floor().to_bits(),
            Step::CeilF(a) => f(a).ceil().to_bits(),
            Step::NearestF(a) => f(a).round_ties_even().to_bits(),
            Step::CompareF(how, a, b) => mask(order(how, f(a).partial_cmp(&f(b)))),
            Step::AddI(a, b) => i(a).wrapping_add(i(b)) as u32,
            Step::SubI(a, b) => i(a).wrapping_sub(i(b)) as u32,
            Step::MulI(a, b) => i(a).wrapping_mul(i(b)) as u32,
            Step::DivI(a, b) => (i(a) / i(b)) as u32,
            Step::ShlBy(a, n) => (i(a) << i(n)) as u32,
            Step::ShrBy(a, n) => (i(a) >> i(n)) as u32,
            Step::ShlI(a, n) => (i(a) << n) as u32,
            Step::ShrI(a, n) => (i(a) >> n) as u32,
            Step::AndI(a, b) => (i(a) & i(b)) as u32,
            Step::OrI(a, b) => (i(a) | i(b)) as u32,
            Step::XorI(a, b) => (i(a) ^ i(b)) as u32,
            Step::NotI(a) => !i(a) as u32,
            Step::CompareI(how, a, b) => mask(order(how, Some(i(a).cmp(&i(b))))),
            Step::Select(m, a, b) => lanes[if i(m) != 0 { a } else { b } as usize],
            Step::BitsOfF(a) | Step::FOfBits(a) => lanes[a as usize],
            Step::TruncateF(a) => f(a) as i32 as u32,
            Step::ToF(a) => (i(a) as f32).to_bits(),
        };
        lanes.push(lane);
    }
    lanes[result as usize]
}
