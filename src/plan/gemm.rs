//! From a contraction to a matrix product with loops around it.
//!
//! What enters: labels, their extents, and for each of left, right and output a stride a label. What leaves: a `Gemm`.
//! Labels in all three are loops; those in the left and the output are rows, in the right and the output columns,
//! in left and right the sum. Labels of one kind whose strides follow one another evenly become one axis; of several
//! axes left, neighbours in the result, or else the longest of those inside of an example, are the product's and the others are loops. Labels of one place are none.

use crate::base::Dim;
use crate::graph::Contraction;
use crate::nest::{Access, Gemm, GemmAxis, Matrix};

/// An axis of a product that is worth one.
const SHORT: i64 = 8;
/// Elements of a line of a cache.
pub const LINE: i64 = 16;

/// One label, or several that became one: strides in left, right and output.
#[derive(Clone)]
struct Label {
    extent: Dim,
    strides: [Dim; 3],
}

/// `extents`: of the output's labels, then of the summed ones; so are the strides ordered.
pub fn gemm(contraction: &Contraction, extents: &[Dim], sides: [Access; 3]) -> Gemm {
    let all = [&contraction.out[..], &contraction.summed()].concat();
    let label = |i: usize| Label {
        extent: extents[i].clone(),
        strides: sides.each_ref().map(|access| access.strides[i].clone()),
    };
    let kind = |left: bool, right: bool, out: bool| -> Vec<Label> {
        let has = |labels: &[u8], label: u8| labels.contains(&label);
        let of_kind = |i: &usize| {
            has(&contraction.lhs, all[*i]) == left
                && has(&contraction.rhs, all[*i]) == right
                && has(&contraction.out, all[*i]) == out
                && !extents[*i].is_const(1)
        };
        merge((0..all.len()).filter(of_kind).map(label).collect())
    };
    let mut loops: Vec<GemmAxis> =
        kind(true, true, true).into_iter().map(|label| axis(label, false)).collect();
    let m = product_axis(kind(true, false, true), false, &mut loops);
    let n = product_axis(kind(false, true, true), false, &mut loops);
    let k = product_axis(kind(true, true, false), true, &mut loops);
    let [lhs, rhs, out] = sides;
    let matrix = |access: Access, row: &Dim, column: &Dim| Matrix {
        buffer: access.buffer,
        dtype: access.dtype,
        offset: access.offset,
        row_stride: row.clone(),
        column_stride: column.clone(),
    };
    Gemm {
        lhs: matrix(lhs, &m.strides[0], &k.strides[0]),
        rhs: matrix(rhs, &k.strides[1], &n.strides[1]),
        out: matrix(out, &m.strides[2], &n.strides[2]),
        m: m.extent,
        n: n.extent,
        k: k.extent,
        batch: loops,
        accumulate: false,
    }
}

fn axis(label: Label, reduce: bool) -> GemmAxis {
    let [lhs, rhs, out] = label.strides;
    GemmAxis { extent: label.extent, lhs, rhs, out, reduce }
}

/// Those that step evenly in all three, whichever comes first, become one.
fn merge(mut labels: Vec<Label>) -> Vec<Label> {
    let steps_on = |outer: &Label, inner: &Label| {
        (0..3).all(|s| outer.strides[s] == inner.strides[s].clone() * inner.extent.clone())
    };
    let pair = |labels: &[Label]| {
        let all = || 0..labels.len();
        let inner_of = |outer: usize| all().find(|i| *i != outer && steps_on(&labels[outer], &labels[*i]));
        all().find_map(|outer| Some((outer, inner_of(outer)?)))
    };
    while let Some((outer, inner)) = pair(&labels) {
        let extent = labels[outer].extent.clone() * labels[inner].extent.clone();
        labels[outer] = Label { extent, strides: labels[inner].strides.clone() };
        labels.remove(inner);
    }
    labels
}

/// The longest for the product, the last of equals; the others become loops. One that is not known (examples, and tiles of
/// them) lies further apart than those inside of an example, and is taken only where these are short. Neighbours in the result, if
/// there is a line of them, come before all others: they are written together.
fn product_axis(mut labels: Vec<Label>, reduce: bool, loops: &mut Vec<GemmAxis>) -> Label {
    let length = |label: &Label| match label.extent.as_const() {
        Some(LINE..) if label.strides[2].is_const(1) => i64::MAX,
        Some(n) if n < SHORT => n,
        Some(n) => n.saturating_add(SHORT),
        None => SHORT,
    };
    let Some(longest) = (0..labels.len()).max_by_key(|i| length(&labels[*i])) else {
        let zero = Dim::from(0);
        return Label { extent: Dim::from(1), strides: [zero.clone(), zero.clone(), zero] };
    };
    let chosen = labels.remove(longest);
    loops.extend(labels.into_iter().map(|label| axis(label, reduce)));
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_step_as_one_are_one() {
        // Of each label its extent and its steps in left, right and output.
        type Steps = (i64, [i64; 3]);
        let cases: [(&[Steps], &[Steps]); 7] = [
            (&[(4, [6, 0, 12]), (6, [1, 0, 2])], &[(24, [1, 0, 2])]),
            (&[(6, [1, 0, 2]), (4, [6, 0, 12])], &[(24, [1, 0, 2])]),
            (&[(2, [3, 3, 0]), (5, [6, 6, 0]), (3, [1, 1, 0])], &[(30, [1, 1, 0])]),
            // A step that only two agree on; a gap; the other way.
            (&[(4, [6, 1, 0]), (6, [1, 4, 0])], &[(4, [6, 1, 0]), (6, [1, 4, 0])]),
            (&[(4, [8, 0, 8]), (6, [1, 0, 1])], &[(4, [8, 0, 8]), (6, [1, 0, 1])]),
            (&[(4, [-6, 0, 6]), (6, [1, 0, 1])], &[(4, [-6, 0, 6]), (6, [1, 0, 1])]),
            (&[(4, [0, 0, 0]), (6, [0, 0, 0])], &[(24, [0, 0, 0])]),
        ];
        for (labels, wanted) in cases {
            let label = |(extent, strides): &Steps| Label {
                extent: Dim::from(*extent),
                strides: strides.map(Dim::from),
            };
            let merged = merge(labels.iter().map(label).collect());
            let found: Vec<Steps> = merged
                .iter()
                .map(|l| (l.extent.as_const().unwrap(), l.strides.each_ref().map(|s| s.as_const().unwrap())))
                .collect();
            assert_eq!(found, wanted, "{labels:?}");
        }
    }
}
