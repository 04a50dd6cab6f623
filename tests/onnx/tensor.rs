//! Tensors of ONNX as tensors of the interpreter.
//!
//! What enters: a `TensorProto`. What leaves: its element type, shape and numbers, exact in f64 but for 64-bit integers beyond
//! 53 bits, which nothing here can hold.

use super::proto::TensorProto;
use gradc::base::DType;
use gradc::graph::interpret::Tensor;

/// An element type of ONNX that holds plain numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Elem {
    Bool,
    /// Bits.
    Int(u32),
    Uint(u32),
    /// Bits; 15 stands for bfloat16.
    Float(u32),
}

impl Elem {
    pub fn of(data_type: i32) -> Option<Elem> {
        Some(match data_type {
            1 => Elem::Float(32),
            2 => Elem::Uint(8),
            3 => Elem::Int(8),
            4 => Elem::Uint(16),
            5 => Elem::Int(16),
            6 => Elem::Int(32),
            7 => Elem::Int(64),
            9 => Elem::Bool,
            10 => Elem::Float(16),
            11 => Elem::Float(64),
            12 => Elem::Uint(32),
            13 => Elem::Uint(64),
            16 => Elem::Float(15),
            _ => return None,
        })
    }

    pub fn is_float(self) -> bool {
        matches!(self, Elem::Float(_))
    }

    /// What carries it here: floats are f32, integers i32.
    pub fn dtype(self) -> DType {
        match self {
            Elem::Bool => DType::Bool,
            Elem::Float(_) => DType::F32,
            _ => DType::I32,
        }
    }

    /// The relative distance of neighbouring numbers, where f32 is finer.
    pub fn coarseness(self) -> f64 {
        match self {
            Elem::Float(16) => 2f64.powi(-10),
            Elem::Float(15) => 2f64.powi(-7),
            _ => 0.0,
        }
    }
}

fn half(bits: u16) -> f64 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        e => (1.0 + fraction / 1024.0) * 2f64.powi(e - 15),
    }
}

fn brain(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

/// Element type and numbers; `None` for an element type that is no plain number.
pub fn read(proto: &TensorProto) -> Option<(Elem, Tensor)> {
    let elem = Elem::of(proto.data_type)?;
    let shape: Vec<usize> = proto.dims.iter().map(|d| *d as usize).collect();
    let raw = &proto.raw_data;
    let chunks = |n: usize| raw.chunks_exact(n);
    let data: Vec<f64> = if !raw.is_empty() {
        match elem {
            Elem::Bool | Elem::Uint(8) => raw.iter().map(|b| f64::from(*b)).collect(),
            Elem::Int(8) => raw.iter().map(|b| f64::from(*b as i8)).collect(),
            Elem::Uint(16) => chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]]).into()).collect(),
            Elem::Int(16) => chunks(2).map(|c| i16::from_le_bytes([c[0], c[1]]).into()).collect(),
            Elem::Float(16) => chunks(2).map(|c| half(u16::from_le_bytes([c[0], c[1]]))).collect(),
            Elem::Float(15) => chunks(2).map(|c| brain(u16::from_le_bytes([c[0], c[1]]))).collect(),
            Elem::Int(32) => chunks(4).map(|c| i32::from_le_bytes(c.try_into().unwrap()).into()).collect(),
            Elem::Uint(32) => chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap()).into()).collect(),
            Elem::Float(32) => chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap()).into()).collect(),
            Elem::Int(_) => chunks(8).map(|c| i64::from_le_bytes(c.try_into().unwrap()) as f64).collect(),
            Elem::Uint(_) => chunks(8).map(|c| u64::from_le_bytes(c.try_into().unwrap()) as f64).collect(),
            Elem::Float(_) => chunks(8).map(|c| f64::from_le_bytes(c.try_into().unwrap())).collect(),
        }
    } else {
        match elem {
            Elem::Float(32) => proto.float_data.iter().map(|x| f64::from(*x)).collect(),
            Elem::Float(64) => proto.double_data.clone(),
            Elem::Float(16) => proto.int32_data.iter().map(|x| half(*x as u16)).collect(),
            Elem::Float(_) => proto.int32_data.iter().map(|x| brain(*x as u16)).collect(),
            Elem::Int(64) => proto.int64_data.iter().map(|x| *x as f64).collect(),
            Elem::Uint(32 | 64) => proto.uint64_data.iter().map(|x| *x as f64).collect(),
            _ => proto.int32_data.iter().map(|x| f64::from(*x)).collect(),
        }
    };
    (shape.iter().product::<usize>() == data.len()).then(|| (elem, Tensor::new(shape, data)))
}
