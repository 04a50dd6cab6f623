//! Bytes of the arena, and of a kernel's scratch.
//!
//! What enters: buffers with their sizes and the time they live. What leaves: an offset for each. Invariant: buffers whose lives
//! meet do not overlap. In the arena the time is the phase, for launches of one phase run at the same time; in scratch it is the op.

/// Places are multiples of this many bytes: a cache line.
const ALIGNMENT: u64 = 64;

/// The lowest place for `bytes` bytes that meets none of the places taken (from, to), which come in order.
fn first_fit(bytes: u64, taken: impl Iterator<Item = (u64, u64)>) -> u64 {
    let mut at = 0;
    for (from, to) in taken {
        if at + bytes <= from {
            break;
        }
        at = at.max(to.next_multiple_of(ALIGNMENT));
    }
    at
}

/// A buffer's need: bytes, first and last phase or op.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    pub bytes: u64,
    pub live: (usize, usize),
}

/// Offsets, largest buffers first; and the bytes needed in all.
pub fn place(needs: &[Need]) -> (Vec<u64>, u64) {
    let mut order: Vec<usize> = (0..needs.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(needs[*i].bytes));
    let mut offsets = vec![0; needs.len()];
    // Lives and places of those that have one, in the order of their offsets.
    let mut done: Vec<((usize, usize), (u64, u64))> = Vec::with_capacity(needs.len());
    let mut end = 0;
    for i in order {
        let Need { bytes, live } = needs[i];
        let meets = |other: &(usize, usize)| other.0 <= live.1 && live.0 <= other.1;
        let taken = done.iter().filter(|(other, _)| meets(other)).map(|(_, place)| *place);
        let offset = first_fit(bytes, taken);
        offsets[i] = offset;
        end = end.max(offset + bytes);
        done.insert(done.partition_point(|(_, (from, _))| *from <= offset), (live, (offset, offset + bytes)));
    }
    (offsets, end.next_multiple_of(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_that_meet_do_not_share() {
        let need = |bytes, from, to| Need { bytes, live: (from, to) };
        let cases: &[(&[Need], u64)] = &[
            (&[need(100, 0, 1), need(100, 2, 3)], 128),
            (&[need(100, 0, 1), need(100, 1, 3)], 256),
            (&[need(64, 0, 0), need(64, 1, 1), need(128, 0, 1)], 192),
            (&[], 0),
        ];
        for (needs, bytes) in cases {
            let (offsets, end) = place(needs);
            assert_eq!(end, *bytes, "{needs:?}");
            for i in 0..needs.len() {
                for j in 0..i {
                    let meet = needs[i].live.0 <= needs[j].live.1 && needs[j].live.0 <= needs[i].live.1;
                    let apart = offsets[i] + needs[i].bytes <= offsets[j]
                        || offsets[j] + needs[j].bytes <= offsets[i];
                    assert!(!meet || apart, "{needs:?}: {offsets:?}");
                }
            }
        }
    }
}
