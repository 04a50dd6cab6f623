//! Values of a body as ops: constants, functions of the scalar table, casts.
//!
//! What enters: operands. What leaves: registers with results, their ops pushed. Constants and what the frame holds are made once,
//! before all loops. A comparison's result is a mask; where an integer is wanted of it, or a mask of an integer, it is turned.
//! The bits are those of Cranelift's code, lane by lane.

use super::program::{Amount, Binary, Class, Item, Logic, Op, Program, Unary, V};
use crate::base::DType;
use crate::scalar::Func;
use crate::scalar::machine::{Compare, Step, StepId, Steps};
use std::collections::HashMap;

#[derive(Default)]
pub struct Values {
    pub program: Program,
    /// What comes before all loops.
    head: Vec<Op>,
    constants: HashMap<u32, V>,
    items: HashMap<usize, V>,
    /// By stride.
    steps: HashMap<i32, V>,
}

impl Values {
    pub fn finish(mut self) -> Program {
        self.head.append(&mut self.program.ops);
        self.program.ops = self.head;
        self.program
    }

    pub fn push(&mut self, op: Op) {
        self.program.ops.push(op);
    }

    pub fn make(&mut self, class: Class, op: impl FnOnce(V) -> Op) -> V {
        let to = self.program.register(class);
        self.push(op(to));
        to
    }

    fn first(&mut self, op: impl FnOnce(V) -> Op) -> V {
        let to = self.program.register(Class::Lanes);
        self.head.push(op(to));
        to
    }

    fn bits(&mut self, bits: u32) -> V {
        if let Some(v) = self.constants.get(&bits) {
            return *v;
        }
        let v = self.first(|to| Op::Const { to, bits });
        self.constants.insert(bits, v);
        v
    }

    pub fn float(&mut self, value: f32) -> V {
        self.bits(value.to_bits())
    }

    pub fn integer(&mut self, value: i32) -> V {
        self.bits(value.cast_unsigned())
    }

    pub fn always(&mut self, set: bool) -> V {
        self.make(Class::Mask, |to| Op::Always { to, set })
    }

    /// What the frame holds, in all lanes.
    pub fn item(&mut self, item: Item) -> V {
        let item = self.program.item(item);
        if let Some(v) = self.items.get(&item) {
            return *v;
        }
        let v = self.first(|to| Op::Item { to, item });
        self.items.insert(item, v);
        v
    }

    /// 0, `stride`, twice the stride, …
    pub fn steps(&mut self, stride: i32) -> V {
        if let Some(v) = self.steps.get(&stride) {
            return *v;
        }
        let v = if stride == 1 {
            self.first(|to| Op::Iota { to })
        } else {
            let (a, b) = (self.steps(1), self.integer(stride));
            self.first(|to| Op::Binary { op: Binary::MulI, to, a, b })
        };
        self.steps.insert(stride, v);
        v
    }

    /// A cell with the greatest multiple of `step` that is not above the amount.
    pub fn whole(&mut self, of: Amount, step: i64) -> Amount {
        let local = self.program.n_locals;
        self.program.n_locals += 1;
        self.head.push(Op::Whole { local, of, step });
        Amount::Local(local)
    }

    pub fn unary(&mut self, op: Unary, a: V) -> V {
        self.make(Class::Lanes, |to| Op::Unary { op, to, a })
    }

    pub fn binary(&mut self, op: Binary, a: V, b: V) -> V {
        self.make(Class::Lanes, |to| Op::Binary { op, to, a, b })
    }

    pub fn compare(&mut self, float: bool, how: Compare, a: V, b: V) -> V {
        let (a, b) = (self.lanes(a), self.lanes(b));
        self.make(Class::Mask, |to| Op::Compare { to, float, how, a, b })
    }

    pub fn logic(&mut self, op: Logic, a: V, b: V) -> V {
        self.make(Class::Mask, |to| Op::Logic { op, to, a, b })
    }

    fn class(&self, v: V) -> Class {
        self.program.classes[v as usize]
    }

    pub fn lanes(&mut self, v: V) -> V {
        if self.class(v) == Class::Lanes {
            v
        } else {
            self.make(Class::Lanes, |to| Op::LanesOf { to, mask: v })
        }
    }

    fn mask(&mut self, v: V) -> V {
        if self.class(v) == Class::Mask { v } else { self.make(Class::Mask, |to| Op::MaskOf { to, a: v }) }
    }

    pub fn select(&mut self, mask: V, a: V, b: V) -> V {
        let mask = self.mask(mask);
        if (self.class(a), self.class(b)) == (Class::Mask, Class::Mask) {
            let (a, b) = (self.logic(Logic::And, mask, a), self.logic(Logic::AndNot, mask, b));
            return self.logic(Logic::Or, a, b);
        }
        let (a, b) = (self.lanes(a), self.lanes(b));
        // The greater of two: of the comparison before, if it has no other use, nobody makes code.
        let made_by = self.program.ops.iter().rev().take(4).find_map(|op| match *op {
            Op::Compare { to, float: true, how, a, b } if to == mask => Some((how, a, b)),
            _ => None,
        });
        match made_by {
            Some((Compare::Gt, x, y)) if (x, y) == (a, b) => self.binary(Binary::MaxF, a, b),
            Some((Compare::Lt, x, y)) if (x, y) == (a, b) => self.binary(Binary::MinF, a, b),
            _ => self.make(Class::Lanes, |to| Op::Select { to, mask, a, b }),
        }
    }

    /// A bitwise function, of masks where both are.
    fn bitwise(&mut self, lanes: Binary, masks: Logic, a: V, b: V) -> V {
        if (self.class(a), self.class(b)) == (Class::Mask, Class::Mask) {
            return self.logic(masks, a, b);
        }
        let (a, b) = (self.lanes(a), self.lanes(b));
        self.binary(lanes, a, b)
    }

    /// A function of the table, step by step.
    pub fn call(&mut self, func: Func, operands: &[V], dtype: DType) -> V {
        let mut steps = Steps::default();
        let arguments: Vec<StepId> =
            (0..operands.len()).map(|i| steps.push(Step::Argument(i as u8))).collect();
        let result = func.lower(&mut steps, &arguments, dtype);
        let mut done: Vec<V> = Vec::with_capacity(steps.steps.len());
        for step in &steps.steps {
            let value = self.step(*step, operands, &done);
            done.push(value);
        }
        done[result as usize]
    }

    fn step(&mut self, step: Step, operands: &[V], done: &[V]) -> V {
        let at = |id: StepId| done[id as usize];
        let of = |this: &mut Self, id: StepId| this.lanes(done[id as usize]);
        let two = |this: &mut Self, op: Binary, a: StepId, b: StepId| {
            let (a, b) = (of(this, a), of(this, b));
            this.binary(op, a, b)
        };
        let one = |this: &mut Self, op: Unary, a: StepId| {
            let a = of(this, a);
            this.unary(op, a)
        };
        match step {
            Step::Argument(i) => operands[i as usize],
            Step::ConstF(c) => self.float(c),
            Step::ConstI(c) => self.integer(c),
            Step::AddF(a, b) => two(self, Binary::AddF, a, b),
            Step::SubF(a, b) => two(self, Binary::SubF, a, b),
            Step::MulF(a, b) => two(self, Binary::MulF, a, b),
            Step::DivF(a, b) => two(self, Binary::DivF, a, b),
            Step::NegF(a) => {
                let (a, sign) = (of(self, a), self.integer(i32::MIN));
                self.binary(Binary::Xor, a, sign)
            }
            Step::AbsF(a) => {
                let (a, rest) = (of(self, a), self.integer(i32::MAX));
                self.binary(Binary::And, a, rest)
            }
            Step::SqrtF(a) => one(self, Unary::SqrtF, a),
            Step::Fma(a, b, c) => {
                let (a, b, c) = (of(self, a), of(self, b), of(self, c));
                self.make(Class::Lanes, |to| Op::Fma { to, a, b, c })
            }
            Step::FloorF(a) => one(self, Unary::FloorF, a),
            Step::CeilF(a) => one(self, Unary::CeilF, a),
            Step::NearestF(a) => one(self, Unary::NearestF, a),
            Step::CompareF(how, a, b) => self.compare(true, how, at(a), at(b)),
            Step::CompareI(how, a, b) => self.compare(false, how, at(a), at(b)),
            Step::AddI(a, b) => two(self, Binary::AddI, a, b),
            Step::SubI(a, b) => two(self, Binary::SubI, a, b),
            Step::MulI(a, b) => two(self, Binary::MulI, a, b),
            Step::DivI(..) => unreachable!("the form has none of these"),
            Step::ShlBy(a, n) => two(self, Binary::ShlBy, a, n),
            Step::ShrBy(a, n) => two(self, Binary::ShrBy, a, n),
            Step::ShlI(a, n) => one(self, Unary::Shl(n), a),
            Step::ShrI(a, n) => one(self, Unary::Shr(n), a),
            Step::AndI(a, b) => self.bitwise(Binary::And, Logic::And, at(a), at(b)),
            Step::OrI(a, b) => self.bitwise(Binary::Or, Logic::Or, at(a), at(b)),
            Step::XorI(a, b) => self.bitwise(Binary::Xor, Logic::Xor, at(a), at(b)),
            Step::NotI(a) if self.class(at(a)) == Class::Mask => {
                self.make(Class::Mask, |to| Op::Not { to, a: at(a) })
            }
            Step::NotI(a) => {
                let all = self.integer(-1);
                self.binary(Binary::Xor, at(a), all)
            }
            Step::Select(mask, a, b) => self.select(at(mask), at(a), at(b)),
            Step::BitsOfF(a) | Step::FOfBits(a) => at(a),
            Step::TruncateF(a) => one(self, Unary::Truncate, a),
            Step::ToF(a) => one(self, Unary::ToF, a),
        }
    }

    pub fn cast(&mut self, x: V, from: DType, to: DType) -> V {
        match (from, to) {
            _ if from == to => x,
            (DType::BF16, _) => self.cast(x, DType::F32, to),
            (_, DType::BF16) => {
                let float = self.cast(x, from, DType::F32);
                self.round_bf16(float)
            }
            (DType::Bool, DType::F32) => {
                let (one, zero) = (self.float(1.0), self.float(0.0));
                self.select(x, one, zero)
            }
            (DType::Bool, _) => {
                let (one, zero) = (self.integer(1), self.integer(0));
                self.select(x, one, zero)
            }
            (DType::F32, DType::Bool) => {
                let zero = self.float(0.0);
                self.compare(true, Compare::Ne, x, zero)
            }
            (_, DType::Bool) => {
                let zero = self.integer(0);
                self.compare(false, Compare::Ne, x, zero)
            }
            (DType::F32, _) => {
                let whole = self.saturated(x);
                if to == DType::U8 { self.clamp_byte(whole) } else { whole }
            }
            (_, DType::F32) => self.unary(Unary::ToF, x),
            (_, DType::U8) => self.clamp_byte(x),
            _ => x,
        }
    }

    /// Toward zero; the nearest i32 for what is beyond, 0 for NaN.
    fn saturated(&mut self, x: V) -> V {
        // What is out of range becomes the least i32, which is right below.
        let whole = self.unary(Unary::Truncate, x);
        let (beyond, most, none) = (self.float(2_147_483_648.0), self.integer(i32::MAX), self.integer(0));
        let over = self.compare(true, Compare::Ge, x, beyond);
        let whole = self.select(over, most, whole);
        let is_nan = self.compare(true, Compare::Ne, x, x);
        self.select(is_nan, none, whole)
    }

    fn clamp_byte(&mut self, x: V) -> V {
        let (least, most) = (self.integer(0), self.integer(255));
        let x = self.binary(Binary::MaxI, x, least);
        self.binary(Binary::MinI, x, most)
    }

    /// The nearest bf16, of two the even one, as an f32: `base::bf16::to_bits`, without branches.
    fn round_bf16(&mut self, x: V) -> V {
        let (below_half, one, upper) = (self.integer(0x7fff), self.integer(1), self.integer(-0x1_0000));
        let last = self.unary(Unary::ShrZeros(16), x);
        let last = self.binary(Binary::And, last, one);
        let half = self.binary(Binary::AddI, last, below_half);
        let nearest = self.binary(Binary::AddI, x, half);
        let is_nan = self.compare(true, Compare::Ne, x, x);
        let quiet = self.integer(0x0040_0000);
        let quiet = self.binary(Binary::Or, x, quiet);
        let bits = self.select(is_nan, quiet, nearest);
        self.binary(Binary::And, bits, upper)
    }

    /// The value as `Op::Store` takes it.
    pub fn stored(&mut self, value: V, dtype: DType) -> V {
        match dtype {
            DType::F32 | DType::I32 | DType::U8 => self.lanes(value),
            DType::BF16 => self.unary(Unary::ShrZeros(16), value),
            DType::Bool => self.mask(value),
        }
    }
}
