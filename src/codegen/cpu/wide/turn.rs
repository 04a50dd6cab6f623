//! The innermost loop of a transpose: a vector's lanes of indices at a time, for which as many rows are loaded and turned.
//!
//! What enters: a form with an axis to turn along, at whole vectors. What leaves: a loop over squares, in which the body stands
//! as often as a vector has lanes, and one over what is left, one index at a time, which gathers. Vectors of eight lanes go two beside
//! each other, so that lines of the result are written whole. Not here: a tail of the vector axis, which has not all rows and gathers
//! too.

use super::lower::Lowering;
use super::program::{Amount, Binary, Class, Counter, Op, Place, V};
use super::values::Values;
use crate::nest::Inst;

/// Elements of a line of memory.
pub(super) const LINE: i64 = 16;

impl Lowering<'_> {
    pub(super) fn turns(&mut self, depth: usize) {
        let counter: Counter = depth;
        let extent = self.values.program.extent(&self.nest.axes[self.form.order[depth]].extent);
        let lanes = self.form.kind.lanes();
        self.push(Op::Start { counter });
        let (whole, known) = match extent {
            Amount::Known(n) => (Amount::Known(n / lanes * lanes), Some(n)),
            of => (self.values.whole(of, lanes), None),
        };
        self.looped(counter, 1, whole, known.is_none(), known.is_some_and(|n| n < 2 * lanes), |this| {
            this.turn();
            for i in 0..lanes {
                if i > 0 {
                    this.push(Op::Bump { counter, step: 1 });
                }
                this.next_turned = Some(i as usize);
                this.run(depth + 1);
                this.advance(depth);
            }
            this.next_turned = None;
        });
        if known.is_none_or(|n| n % lanes != 0) {
            self.looped(counter, 1, extent, known.is_none(), known.is_some_and(|n| n % lanes == 1), |this| {
                this.run(depth + 1);
                this.advance(depth);
            });
        }
    }

    /// Loads a vector's lanes of rows of each array that is turned, and makes columns of them.
    fn turn(&mut self) {
        let nest = self.nest;
        for (i, inst) in nest.body.iter().enumerate() {
            let Inst::Load { access } = inst else { continue };
            if !self.form.turns(access) {
                continue;
            }
            let stride = access.strides[self.form.vector].as_const().expect("the form has seen to it");
            let dtype = access.dtype;
            self.turned[i] = (0..self.beside)
                .map(|beside| {
                    let first = self.place(access, beside);
                    let rows: Vec<V> = (0..self.form.kind.lanes())
                        .map(|row| {
                            let beyond = first.beyond + row * stride * dtype.bytes() as i64;
                            let at = Place { beyond, ..first };
                            self.values.make(Class::Lanes, |to| Op::Load { to, at, dtype, masked: false })
                        })
                        .collect();
                    columns(&mut self.values, &rows)
                })
                .collect();
        }
    }
}

/// Vectors as rows of a square, and its columns: lanes, pairs, then quarters of four lanes change places.
fn columns(values: &mut Values, rows: &[V]) -> Vec<V> {
    let n = rows.len();
    let mut fours = vec![0; n];
    for i in (0..n).step_by(4) {
        let mut two = |op, row| values.binary(op, rows[i + row], rows[i + row + 1]);
        let lower = [two(Binary::LowerLanes, 0), two(Binary::LowerLanes, 2)];
        let upper = [two(Binary::UpperLanes, 0), two(Binary::UpperLanes, 2)];
        fours[i] = values.binary(Binary::LowerPairs, lower[0], lower[1]);
        fours[i + 1] = values.binary(Binary::UpperPairs, lower[0], lower[1]);
        fours[i + 2] = values.binary(Binary::LowerPairs, upper[0], upper[1]);
        fours[i + 3] = values.binary(Binary::UpperPairs, upper[0], upper[1]);
    }
    // Quarter `l` of `fours[4 * i + j]` is column `4 * l + j` of rows `4 * i` to `4 * i + 3`.
    let mut all = vec![0; n];
    for j in 0..4 {
        for (odd, op) in [(0, Binary::EvenQuarters), (1, Binary::OddQuarters)] {
            let front = values.binary(op, fours[j], fours[j + 4]);
            if n == 8 {
                all[j + 4 * odd] = front;
                continue;
            }
            let back = values.binary(op, fours[j + 8], fours[j + 12]);
            all[j + 4 * odd] = values.binary(Binary::EvenQuarters, front, back);
            all[j + 4 * odd + 8] = values.binary(Binary::OddQuarters, front, back);
        }
    }
    all
}
