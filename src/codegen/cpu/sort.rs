//! What compiled kernels call to sort: the places of a line's elements in order.
//!
//! What enters: a description that the kernel wrote onto its stack. What leaves: written places. Each element becomes a
//! key of 64 bits, above a number whose unsigned order is the elements' order, below the element's place: keys differ, so
//! the fastest sort that there is, which is not stable, gives what a stable one would. Invariant: one thread, no
//! allocation.

/// A line of `n` elements, `stride` elements apart, as the kernel describes it.
#[repr(C)]
pub struct Line {
    pub n: i64,
    /// f32, or i32 if `whole`.
    pub source: *const u8,
    pub stride: i64,
    pub places: *mut i32,
    /// Room for `2 n + 2` elements of 4 bytes.
    pub keys: *mut u8,
    pub whole: i64,
    pub descending: i64,
}

/// A number in whose unsigned order floats stand in theirs: 0 and -0 alike, NaN last.
fn float_key(x: f32, descending: bool) -> u32 {
    if x.is_nan() {
        return u32::MAX;
    }
    // Makes -0 to 0.
    let bits = (x + 0.0).to_bits();
    // Negative numbers grow towards 0, so all their bits turn.
    let key = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
    if descending { !key } else { key }
}

fn whole_key(x: i32, descending: bool) -> u32 {
    let key = x.cast_unsigned() ^ 1 << 31;
    if descending { !key } else { key }
}

/// Writes the places of a line's elements in order.
///
/// # Safety
/// `line` describes live buffers: `n` elements to read, `n` places to write, and keys that nobody else uses.
pub unsafe extern "C" fn gradc_sort(line: *const Line) {
    // SAFETY: the caller vouches for the description; the first key is moved up to a multiple of 8 bytes, for which there is room.
    let (line, keys, places) = unsafe {
        let line = &*line;
        let n = line.n.max(0) as usize;
        let first = line.keys.add(line.keys.align_offset(align_of::<u64>())).cast::<u64>();
        // Keys are written before they are read; all bits are a number.
        (line, std::slice::from_raw_parts_mut(first, n), std::slice::from_raw_parts_mut(line.places, n))
    };
    let descending = line.descending != 0;
    for (place, key) in keys.iter_mut().enumerate() {
        // SAFETY: `place` is below `n`, so the element is one of the line; both types have 4 bytes.
        let high = unsafe {
            let at = line.source.offset(place as isize * line.stride as isize * 4);
            match line.whole {
                0 => float_key(at.cast::<f32>().read_unaligned(), descending),
                _ => whole_key(at.cast::<i32>().read_unaligned(), descending),
            }
        };
        *key = u64::from(high) << 32 | place as u64;
    }
    keys.sort_unstable();
    for (place, key) in places.iter_mut().zip(keys) {
        *place = *key as u32 as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_the_order() {
        let floats = [f32::NEG_INFINITY, -2.5, -1e-30, 0.0, 1e-30, 1.0, 3e38, f32::INFINITY];
        let whole = [i32::MIN, -7, -1, 0, 1, i32::MAX];
        for down in [false, true] {
            let rises = |pair: &[u32]| if down { pair[0] > pair[1] } else { pair[0] < pair[1] };
            let keys: Vec<u32> = floats.iter().map(|x| float_key(*x, down)).collect();
            assert!(keys.windows(2).all(rises), "{keys:x?}");
            assert!(keys.iter().all(|key| *key < float_key(f32::NAN, down)));
            assert_eq!(float_key(-0.0, down), float_key(0.0, down));
            let keys: Vec<u32> = whole.iter().map(|x| whole_key(*x, down)).collect();
            assert!(keys.windows(2).all(rises), "{keys:x?}");
        }
    }
}
