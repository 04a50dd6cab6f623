//! bf16: the upper half of an f32, eight bits of precision and all of its range.
//!
//! What enters: a number. What leaves: the nearest bf16, of two that are equally near the one whose last bit is 0; beyond
//! the greatest bf16, from half a step on, infinity. NaN stays NaN, with its sign. Invariant: `round` of an f32 is
//! `from_bits(to_bits(x))`. This is the definition; machine code is tested against it.

/// The bits of the nearest bf16.
pub fn to_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() {
        // A bit of the fraction that is surely left, or else it would become infinite.
        return (bits >> 16) as u16 | 0x40;
    }
    // Below half a step the carry does not come as far as the upper half; at half a step only from an odd one.
    let half = 0x7fff + (bits >> 16 & 1);
    ((bits + half) >> 16) as u16
}

/// The number that the bits stand for.
pub fn from_bits(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// The nearest bf16 of a number of any precision, rounded once.
pub fn round(x: f64) -> f64 {
    /// Of an f64's 52 bits of fraction, those that a bf16 has not.
    const DROPPED: u32 = 52 - 7;
    /// The distance of neighbours below the least normal number, 2^-126.
    const LEAST_STEP: f64 = f64::from_bits((1023 - 133) << 52);
    const GREATEST: f64 = 255.0 / 128.0 * f64::from_bits((1023 + 127) << 52);
    if !x.is_finite() {
        return x;
    }
    if x.abs() < f64::from(f32::MIN_POSITIVE) {
        return (x / LEAST_STEP).round_ties_even() * LEAST_STEP;
    }
    let bits = x.to_bits();
    let half = (1 << (DROPPED - 1)) - 1 + (bits >> DROPPED & 1);
    let nearest = f64::from_bits((bits + half) >> DROPPED << DROPPED);
    if nearest.abs() > GREATEST { f64::INFINITY.copysign(x) } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even_and_what_is_special_stays() {
        let step = 2f32.powi(-7);
        let cases = [
            (1.0, 1.0),
            (-0.0, -0.0),
            (1.0 + step / 2.0, 1.0),
            (1.0 + step * 1.5, 1.0 + 2.0 * step),
            (1.0 + step * 0.500_01, 1.0 + step),
            (-1.0 - step * 1.5, -1.0 - 2.0 * step),
            (2.0 - step / 2.0, 2.0),
            (f32::INFINITY, f32::INFINITY),
            (f32::MAX, f32::INFINITY),
            // The greatest bf16, and half a step beyond it.
            (f32::from_bits(0x7f7f_0000), f32::from_bits(0x7f7f_0000)),
            (f32::from_bits(0x7f7f_7fff), f32::from_bits(0x7f7f_0000)),
            (f32::from_bits(0x7f7f_8000), f32::INFINITY),
            (f32::MIN_POSITIVE, f32::MIN_POSITIVE),
            (f32::from_bits(0x0001_8000), f32::from_bits(0x0002_0000)),
            (f32::from_bits(0x0000_8000), 0.0),
            (f32::from_bits(0x0000_8001), f32::from_bits(0x0001_0000)),
        ];
        for (x, expected) in cases {
            assert_eq!(from_bits(to_bits(x)).to_bits(), expected.to_bits(), "{x:?}");
            assert_eq!((round(x.into()) as f32).to_bits(), expected.to_bits(), "{x:?} in f64");
        }
        for bits in [0x7fc0_0000, 0x7f80_0001, 0xff80_0001, 0xffff_ffff] {
            let found = from_bits(to_bits(f32::from_bits(bits)));
            assert!(found.is_nan() && found.is_sign_negative() == (bits >> 31 == 1), "{bits:x}");
            assert!(round(f32::from_bits(bits).into()).is_nan());
        }
    }

    #[test]
    fn every_bf16_is_its_own_nearest_and_both_roundings_agree() {
        for bits in 0..=u16::MAX {
            let x = from_bits(bits);
            if !x.is_nan() {
                assert_eq!(to_bits(x), bits);
                assert_eq!(round(x.into()).to_bits(), f64::from(x).to_bits());
            }
            // What lies between this one and the next.
            for low in [1, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let x = f32::from_bits(u32::from(bits) << 16 | low);
                let (narrow, wide) = (from_bits(to_bits(x)), round(x.into()) as f32);
                assert!(narrow.to_bits() == wide.to_bits() || narrow.is_nan() && wide.is_nan(), "{x:?}");
            }
        }
    }

    /// Rounding to f32 first would give another number.
    #[test]
    fn a_number_of_more_digits_is_rounded_once() {
        let step = 2f64.powi(-7);
        let above_half = 1.0 + step / 2.0 + 2f64.powi(-40);
        assert_eq!(round(above_half), 1.0 + step);
        assert_eq!(round(f64::from(above_half as f32)), 1.0);
    }
}
