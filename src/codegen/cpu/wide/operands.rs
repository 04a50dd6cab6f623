//! Where operands are taken from, for both kinds of vectors: registers, or memory as the last operand of an instruction.
//!
//! What enters: virtual registers. What leaves: registers, which may be a spare one that is loaded here, and the form of a fused
//! multiply-add that needs the fewest moves. Not here: which instructions a kind has.

use super::allocate::Home;
use super::assembler::{Assembler, Operand};
use super::program::V;
use iced_x86::{Code, Register};

pub trait Operands {
    /// What passes a value inside of an op.
    const SPARE: Register;
    /// `to = to * last + second`, `to = second * to + last`, `to = second * last + to`.
    const FMA: [Code; 3];

    fn code(&mut self) -> &mut Assembler;
    fn home(&self, v: V) -> Home;
    /// Lanes as the last operand of an instruction.
    fn operand(&mut self, v: V) -> Operand;
    /// The register for a result.
    fn target(&self, v: V) -> Register;
    fn move_to(&mut self, to: Register, from: Operand);

    fn is_register(&self, v: V) -> bool {
        matches!(self.home(v), Home::Register(_))
    }

    /// Lanes in a register, the spare one if they lie in memory.
    fn lanes(&mut self, v: V, spare: Register) -> Register {
        match self.operand(v) {
            Operand::Register(register) => register,
            memory => {
                self.move_to(spare, memory);
                spare
            }
        }
    }

    /// `a * b + c`: the result's register is one of the factors or the summand, or becomes one.
    fn fma(&mut self, v: V, a: V, b: V, c: V) {
        let [by_last, plus_last, plus_itself] = Self::FMA;
        let to = self.target(v);
        let is = |this: &Self, x: V| this.is_register(x) && this.target(x) == to;
        if is(self, c) {
            let (a, b) = if self.is_register(a) { (a, b) } else { (b, a) };
            let (a, b) = (self.lanes(a, Self::SPARE), self.operand(b));
            return self.code().three(plus_itself, to, a, b);
        }
        let (a, b) = if is(self, b) { (b, a) } else { (a, b) };
        if !is(self, a) {
            let from = self.operand(a);
            self.move_to(to, from);
        }
        if self.is_register(c) && !self.is_register(b) {
            let (b, c) = (self.operand(b), self.lanes(c, Self::SPARE));
            self.code().three(by_last, to, c, b);
        } else {
            let (b, c) = (self.lanes(b, Self::SPARE), self.operand(c));
            self.code().three(plus_last, to, b, c);
        }
    }
}
