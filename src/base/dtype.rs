//! Element types.

use std::fmt;

/// What a tensor's elements are. Arithmetic happens in `F32` and `I32`; `U8` is storage for data (pictures,
/// labels) and is cast before use; so is `BF16`, half an f32, but for contractions, which multiply it as it is;
/// `Bool` is what comparisons give, one byte in memory, 0 or 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum DType {
    F32,
    /// See `bf16`. Only the compiler makes tensors of it.
    BF16,
    I32,
    U8,
    Bool,
}

impl DType {
    pub const ALL: [DType; 5] = [DType::F32, DType::BF16, DType::I32, DType::U8, DType::Bool];

    /// Size of an element in bytes.
    pub fn bytes(self) -> usize {
        match self {
            DType::F32 | DType::I32 => 4,
            DType::BF16 => 2,
            DType::U8 | DType::Bool => 1,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::BF16 => "bf16",
            DType::I32 => "i32",
            DType::U8 => "u8",
            DType::Bool => "bool",
        }
    }

    /// The inverse of `name`.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.into_iter().find(|d| d.name() == name)
    }

    /// What a number becomes as an element of this type: to integers toward zero, saturating, NaN to 0; to bool as `!= 0`; to
    /// bf16 the nearest.
    pub fn convert(self, x: f64) -> f64 {
        match self {
            DType::F32 => x,
            DType::BF16 => super::bf16::round(x),
            DType::I32 => f64::from(x as i32),
            DType::U8 => f64::from(x as u8),
            DType::Bool => f64::from(u8::from(x != 0.0)),
        }
    }

    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::BF16)
    }

    /// The numbers in native bytes; of bools 0 and 1.
    pub fn decode(self, bytes: &[u8]) -> Vec<f64> {
        let four = |b: &[u8]| [b[0], b[1], b[2], b[3]];
        match self {
            DType::F32 => bytes.chunks_exact(4).map(|b| f64::from(f32::from_ne_bytes(four(b)))).collect(),
            DType::BF16 => {
                let two = bytes.chunks_exact(2).map(|b| u16::from_ne_bytes([b[0], b[1]]));
                two.map(|bits| super::bf16::from_bits(bits).into()).collect()
            }
            DType::I32 => bytes.chunks_exact(4).map(|b| f64::from(i32::from_ne_bytes(four(b)))).collect(),
            DType::U8 | DType::Bool => bytes.iter().map(|b| f64::from(*b)).collect(),
        }
    }

    /// Numbers as native bytes, each as `convert` says.
    pub fn encode(self, values: &[f64]) -> Vec<u8> {
        match self {
            DType::F32 => values.iter().flat_map(|v| (*v as f32).to_ne_bytes()).collect(),
            DType::BF16 => {
                values.iter().flat_map(|v| super::bf16::to_bits(*v as f32).to_ne_bytes()).collect()
            }
            DType::I32 => values.iter().flat_map(|v| (*v as i32).to_ne_bytes()).collect(),
            DType::U8 => values.iter().map(|v| *v as u8).collect(),
            DType::Bool => values.iter().map(|v| u8::from(*v != 0.0)).collect(),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
