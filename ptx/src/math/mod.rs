//! What instructions without side effects compute: closures over the lanes of a warp, chosen by name and type.

pub mod compare;
pub mod convert;
pub mod float;
pub mod half;
pub mod integer;
pub mod lanes;
pub mod round;
