//! Polynomials of Cephes (Moshier, single precision: logf, sinf), highest power first.
//!
//! Shared by the scalar functions (`scalar/lower.rs`) and by normal numbers (`normal.rs`).

/// `(log(1 + t) - t + t² / 2) / t³` for `1 + t` in `[sqrt(1/2), sqrt(2))`.
pub const LOG: [f32; 9] = [
    7.037_683_6e-2,
    -1.151_461e-1,
    1.167_699_9e-1,
    -1.242_014_1e-1,
    1.424_932_3e-1,
    -1.666_805_8e-1,
    2.000_071_5e-1,
    -2.499_999_4e-1,
    3.333_333e-1,
];
/// ln 2 in two parts, the first with few bits.
pub const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// `(sin(r) - r) / r³` in `r²`, for `|r| <= pi / 4`.
pub const SIN: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
/// `(cos(r) - 1 + r² / 2) / r⁴` in `r²`.
pub const COS: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];
