//! A value for each of the 32 lanes of a warp, and scalar functions lifted to it.
//!
//! Invariant: a lane holds the bits of its value, and zeros above them. An instruction without side effects becomes,
//! when it is decoded, one closure over all lanes: the scalar function is compiled into the loop.

/// Lanes of a warp.
pub const WARP: usize = 32;

/// The bits of a register in each lane.
pub type Lanes = [u64; WARP];

/// What a register can hold, as the bits of a lane.
pub trait Word: Copy {
    fn from_bits(bits: u64) -> Self;
    fn to_bits(self) -> u64;
}

macro_rules! words {
    ($($int:ty as $unsigned:ty),*) => {$(
        impl Word for $int {
            fn from_bits(bits: u64) -> Self {
                bits as $int
            }
            fn to_bits(self) -> u64 {
                self as $unsigned as u64
            }
        }
    )*};
}
words!(u8 as u8, u16 as u16, u32 as u32, u64 as u64, i8 as u8, i16 as u16, i32 as u32, i64 as u64);

impl Word for f32 {
    fn from_bits(bits: u64) -> Self {
        f32::from_bits(bits as u32)
    }
    fn to_bits(self) -> u64 {
        f32::to_bits(self) as u64
    }
}

impl Word for f64 {
    fn from_bits(bits: u64) -> Self {
        f64::from_bits(bits)
    }
    fn to_bits(self) -> u64 {
        f64::to_bits(self)
    }
}

pub type One = Box<dyn Fn(&Lanes) -> Lanes + Send + Sync>;
pub type Two = Box<dyn Fn(&Lanes, &Lanes) -> Lanes + Send + Sync>;
pub type Three = Box<dyn Fn(&Lanes, &Lanes, &Lanes) -> Lanes + Send + Sync>;

/// An instruction without side effects, by its number of operands.
pub enum Compute {
    One(One),
    Two(Two),
    Three(Three),
}

/// A comparison: the lanes in which it holds.
pub type Compare = Box<dyn Fn(&Lanes, &Lanes) -> u32 + Send + Sync>;

pub fn one<A: Word, R: Word>(f: impl Fn(A) -> R + Send + Sync + 'static) -> Compute {
    Compute::One(Box::new(move |a| std::array::from_fn(|i| f(A::from_bits(a[i])).to_bits())))
}

pub fn two<A: Word, R: Word>(f: impl Fn(A, A) -> R + Send + Sync + 'static) -> Compute {
    mixed(f)
}

/// Two operands of different types: a value and a shift, say.
pub fn mixed<A: Word, B: Word, R: Word>(f: impl Fn(A, B) -> R + Send + Sync + 'static) -> Compute {
    Compute::Two(Box::new(move |a, b| {
        std::array::from_fn(|i| f(A::from_bits(a[i]), B::from_bits(b[i])).to_bits())
    }))
}

pub fn three<A: Word, B: Word, C: Word, R: Word>(
    f: impl Fn(A, B, C) -> R + Send + Sync + 'static,
) -> Compute {
    Compute::Three(Box::new(move |a, b, c| {
        std::array::from_fn(|i| f(A::from_bits(a[i]), B::from_bits(b[i]), C::from_bits(c[i])).to_bits())
    }))
}

pub fn compare<A: Word>(f: impl Fn(A, A) -> bool + Send + Sync + 'static) -> Compare {
    Box::new(move |a, b| {
        let mut holds = 0;
        for i in 0..WARP {
            holds |= (f(A::from_bits(a[i]), A::from_bits(b[i])) as u32) << i;
        }
        holds
    })
}
