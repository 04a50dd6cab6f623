//! What bodies do with values: other types, comparisons, the scalar table's functions, one CLIF instruction a step.
//!
//! What enters: values of a body's mode, scalars or vectors of four lanes. What leaves: such values. Not here: memory (`body.rs`).

use super::body::{BodyEmitter, LANES, Mode, value_type};
use super::kernel::Emitter;
use crate::base::DType;
use crate::scalar::machine::{Compare, Step, Steps};
use crate::scalar::{Func, StepId};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::{Endianness, InstBuilder, MemFlagsData as MemFlags, Value, types};

impl BodyEmitter<'_> {
    pub fn cast(&self, e: &mut Emitter, x: Value, from: DType, to: DType) -> Value {
        let int = value_type(DType::I32, self.mode);
        let float = value_type(DType::F32, self.mode);
        match (from, to) {
            _ if from == to => x,
            (DType::BF16, _) => self.cast(e, x, DType::F32, to),
            (_, DType::BF16) => {
                let float = self.cast(e, x, from, DType::F32);
                self.round_bf16(e, float)
            }
            (DType::Bool, DType::F32) => {
                let one = e.b.ins().iconst(types::I32, i64::from(1f32.to_bits()));
                let one = self.splat(e, one, DType::I32);
                let bits = e.b.ins().band(x, one);
                e.b.ins().bitcast(float, self.as_is(), bits)
            }
            (DType::Bool, _) => e.b.ins().ineg(x),
            (DType::F32, DType::Bool) => {
                let zero = e.b.ins().f32const(0.0);
                let zero = self.splat(e, zero, DType::F32);
                self.compare_f(e, Compare::Ne, x, zero)
            }
            (_, DType::Bool) => {
                let zero = e.b.ins().iconst(types::I32, 0);
                let zero = self.splat(e, zero, DType::I32);
                self.compare_i(e, Compare::Ne, x, zero)
            }
            (DType::F32, _) => {
                let whole = e.b.ins().fcvt_to_sint_sat(int, x);
                if to == DType::U8 { self.clamp_byte(e, whole) } else { whole }
            }
            (_, DType::F32) => e.b.ins().fcvt_from_sint(float, x),
            (_, DType::U8) => self.clamp_byte(e, x),
            _ => x,
        }
    }

    /// The nearest bf16, of two the even one, as an f32: `base::bf16::to_bits`, without branches.
    fn round_bf16(&self, e: &mut Emitter, x: Value) -> Value {
        let int = value_type(DType::I32, self.mode);
        let integer = |e: &mut Emitter, value: u32| {
            let lane = e.b.ins().iconst(types::I32, i64::from(value));
            self.splat(e, lane, DType::I32)
        };
        let (below_half, one, upper) = (integer(e, 0x7fff), integer(e, 1), integer(e, 0xffff_0000));
        let bits = e.b.ins().bitcast(int, self.as_is(), x);
        let last = e.b.ins().ushr_imm_s(bits, 16);
        let last = e.b.ins().band(last, one);
        let half = e.b.ins().iadd(below_half, last);
        let nearest = e.b.ins().iadd(bits, half);
        // A bit that makes NaN stay one is set where x is not itself.
        let is_nan = self.compare_f(e, Compare::Ne, x, x);
        let quiet = integer(e, 0x0040_0000);
        let quiet = e.b.ins().bor(bits, quiet);
        let bits = self.choose(e, is_nan, quiet, nearest);
        let bits = e.b.ins().band(bits, upper);
        e.b.ins().bitcast(value_type(DType::F32, self.mode), self.as_is(), bits)
    }

    fn clamp_byte(&self, e: &mut Emitter, x: Value) -> Value {
        let zero = e.b.ins().iconst(types::I32, 0);
        let most = e.b.ins().iconst(types::I32, 255);
        let (zero, most) = (self.splat(e, zero, DType::I32), self.splat(e, most, DType::I32));
        let x = e.b.ins().smax(x, zero);
        e.b.ins().smin(x, most)
    }

    /// Flags for a change of type that keeps the bits.
    pub fn as_is(&self) -> MemFlags {
        if self.mode == Mode::Vector { little() } else { MemFlags::new() }
    }

    pub fn choose(&self, e: &mut Emitter, mask: Value, a: Value, b: Value) -> Value {
        if self.mode == Mode::Scalar {
            return e.b.ins().select(mask, a, b);
        }
        let ty = e.b.func.dfg.value_type(a);
        let mask = if ty == types::I32X4 { mask } else { e.b.ins().bitcast(ty, little(), mask) };
        e.b.ins().bitselect(mask, a, b)
    }

    pub fn compare_f(&self, e: &mut Emitter, how: Compare, a: Value, b: Value) -> Value {
        let code = match how {
            Compare::Eq => FloatCC::Equal,
            Compare::Ne => FloatCC::NotEqual,
            Compare::Lt => FloatCC::LessThan,
            Compare::Le => FloatCC::LessThanOrEqual,
            Compare::Gt => FloatCC::GreaterThan,
            Compare::Ge => FloatCC::GreaterThanOrEqual,
        };
        let found = e.b.ins().fcmp(code, a, b);
        if self.mode == Mode::Scalar { e.b.ins().bmask(types::I32, found) } else { found }
    }

    pub fn compare_i(&self, e: &mut Emitter, how: Compare, a: Value, b: Value) -> Value {
        let code = match how {
            Compare::Eq => IntCC::Equal,
            Compare::Ne => IntCC::NotEqual,
            Compare::Lt => IntCC::SignedLessThan,
            Compare::Le => IntCC::SignedLessThanOrEqual,
            Compare::Gt => IntCC::SignedGreaterThan,
            Compare::Ge => IntCC::SignedGreaterThanOrEqual,
        };
        let found = e.b.ins().icmp(code, a, b);
        if self.mode == Mode::Scalar { e.b.ins().bmask(types::I32, found) } else { found }
    }

    /// A function of the table, step by step.
    pub fn call(&self, e: &mut Emitter, func: Func, operands: &[Value], dtype: DType) -> Value {
        let mut steps = Steps::default();
        let arguments: Vec<StepId> =
            (0..operands.len()).map(|i| steps.push(Step::Argument(i as u8))).collect();
        let result = func.lower(&mut steps, &arguments, dtype);
        let mut done: Vec<Value> = Vec::with_capacity(steps.steps.len());
        for step in &steps.steps {
            let value = self.step(e, *step, operands, &done);
            done.push(value);
        }
        done[result as usize]
    }

    /// An instruction on i32 that vectors do not have.
    fn by_lane(
        &self,
        e: &mut Emitter,
        a: Value,
        b: Value,
        instruction: impl Fn(&mut Emitter, Value, Value) -> Value,
    ) -> Value {
        if self.mode == Mode::Scalar {
            return instruction(e, a, b);
        }
        let mut vector = a;
        for lane in 0..LANES as u8 {
            let (x, y) = (e.b.ins().extractlane(a, lane), e.b.ins().extractlane(b, lane));
            let element = instruction(e, x, y);
            vector = e.b.ins().insertlane(vector, element, lane);
        }
        vector
    }

    fn step(&self, e: &mut Emitter, step: Step, operands: &[Value], done: &[Value]) -> Value {
        let v = |id: StepId| done[id as usize];
        let (float, int) = (value_type(DType::F32, self.mode), value_type(DType::I32, self.mode));
        match step {
            Step::Argument(i) => operands[i as usize],
            Step::ConstF(c) => {
                let lane = e.b.ins().f32const(c);
                self.splat(e, lane, DType::F32)
            }
            Step::ConstI(c) => {
                let lane = e.b.ins().iconst(types::I32, i64::from(c as u32));
                self.splat(e, lane, DType::I32)
            }
            Step::AddF(a, b) => e.b.ins().fadd(v(a), v(b)),
            Step::SubF(a, b) => e.b.ins().fsub(v(a), v(b)),
            Step::MulF(a, b) => e.b.ins().fmul(v(a), v(b)),
            Step::DivF(a, b) => e.b.ins().fdiv(v(a), v(b)),
            Step::NegF(a) => e.b.ins().fneg(v(a)),
            Step::AbsF(a) => e.b.ins().fabs(v(a)),
            Step::SqrtF(a) => e.b.ins().sqrt(v(a)),
            Step::Fma(a, b, c) => e.b.ins().fma(v(a), v(b), v(c)),
            Step::FloorF(a) => e.b.ins().floor(v(a)),
            Step::CeilF(a) => e.b.ins().ceil(v(a)),
            Step::NearestF(a) => e.b.ins().nearest(v(a)),
            Step::CompareF(how, a, b) => self.compare_f(e, how, v(a), v(b)),
            Step::AddI(a, b) => e.b.ins().iadd(v(a), v(b)),
            Step::SubI(a, b) => e.b.ins().isub(v(a), v(b)),
            Step::MulI(a, b) => e.b.ins().imul(v(a), v(b)),
            Step::DivI(a, b) => self.by_lane(e, v(a), v(b), |e, a, b| e.b.ins().sdiv(a, b)),
            Step::ShlBy(a, n) => self.by_lane(e, v(a), v(n), |e, a, n| e.b.ins().ishl(a, n)),
            Step::ShrBy(a, n) => self.by_lane(e, v(a), v(n), |e, a, n| e.b.ins().sshr(a, n)),
            Step::ShlI(a, n) => e.b.ins().ishl_imm_s(v(a), i64::from(n)),
            Step::ShrI(a, n) => e.b.ins().sshr_imm_s(v(a), i64::from(n)),
            Step::AndI(a, b) => e.b.ins().band(v(a), v(b)),
            Step::OrI(a, b) => e.b.ins().bor(v(a), v(b)),
            Step::XorI(a, b) => e.b.ins().bxor(v(a), v(b)),
            Step::NotI(a) => e.b.ins().bnot(v(a)),
            Step::CompareI(how, a, b) => self.compare_i(e, how, v(a), v(b)),
            Step::Select(m, a, b) => self.choose(e, v(m), v(a), v(b)),
            Step::BitsOfF(a) => e.b.ins().bitcast(int, self.as_is(), v(a)),
            Step::FOfBits(a) => e.b.ins().bitcast(float, self.as_is(), v(a)),
            // On x86 one instruction, unspecified out of range; elsewhere the saturating one is as fast.
            Step::TruncateF(a) if self.mode == Mode::Vector && cfg!(target_arch = "x86_64") => {
                e.b.ins().x86_cvtt2dq(int, v(a))
            }
            Step::TruncateF(a) => e.b.ins().fcvt_to_sint_sat(int, v(a)),
            Step::ToF(a) => e.b.ins().fcvt_from_sint(float, v(a)),
        }
    }
}

pub fn little() -> MemFlags {
    MemFlags::new().with_endianness(Endianness::Little)
}
