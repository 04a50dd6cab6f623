//! Device functions that kernels call.
//!
//! What enters: the names of those that are used. What leaves: their text, each after those that it needs, in one fixed order. Here stands
//! what is the same for all kernels; functions of the scalar table are made from the table (`steps.rs`).

use std::collections::BTreeSet;

struct Helper {
    name: &'static str,
    needs: &'static [&'static str],
    text: &'static str,
}

/// What every text begins with.
pub const OPENING: &str = "\
// Seed and step, from which random numbers follow.
struct StepEnv {
    unsigned long long seed, step;
};
";

const fn helper(name: &'static str, needs: &'static [&'static str], text: &'static str) -> Helper {
    Helper { name, needs, text }
}

const HELPERS: &[Helper] = &[
    helper(
        "round_bf16",
        &[],
        "\
// The nearest bf16, of two the even one, as a float.
__device__ __forceinline__ float round_bf16(float x) {
    const unsigned bits = __float_as_uint(x);
    const unsigned nearest = bits + 0x7fffu + (bits >> 16 & 1u);
    return __uint_as_float((x != x ? bits | 0x400000u : nearest) & 0xffff0000u);
}
",
    ),
    helper(
        "load_four_f32",
        &[],
        "\
__device__ __forceinline__ void load_four_f32(float (&to)[4], const float* from) {
    const float4 v = *reinterpret_cast<const float4*>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
",
    ),
    helper(
        "store_four_f32",
        &[],
        "\
__device__ __forceinline__ void store_four_f32(float* to, const float (&from)[4]) {
    *reinterpret_cast<float4*>(to) = make_float4(from[0], from[1], from[2], from[3]);
}
",
    ),
    helper(
        "load_four_i32",
        &[],
        "\
__device__ __forceinline__ void load_four_i32(int (&to)[4], const int* from) {
    const int4 v = *reinterpret_cast<const int4*>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
",
    ),
    helper(
        "store_four_i32",
        &[],
        "\
__device__ __forceinline__ void store_four_i32(int* to, const int (&from)[4]) {
    *reinterpret_cast<int4*>(to) = make_int4(from[0], from[1], from[2], from[3]);
}
",
    ),
    helper(
        "load_four_bf16",
        &[],
        "\
__device__ __forceinline__ void load_four_bf16(float (&to)[4], const unsigned short* from) {
    const uint2 v = *reinterpret_cast<const uint2*>(from);
    to[0] = __uint_as_float(v.x << 16), to[1] = __uint_as_float(v.x & 0xffff0000u);
    to[2] = __uint_as_float(v.y << 16), to[3] = __uint_as_float(v.y & 0xffff0000u);
}
",
    ),
    helper(
        "store_four_bf16",
        &[],
        "\
__device__ __forceinline__ void store_four_bf16(unsigned short* to, const float (&from)[4]) {
    const unsigned low = __float_as_uint(from[0]) >> 16 | (__float_as_uint(from[1]) & 0xffff0000u);
    const unsigned high = __float_as_uint(from[2]) >> 16 | (__float_as_uint(from[3]) & 0xffff0000u);
    *reinterpret_cast<uint2*>(to) = make_uint2(low, high);
}
",
    ),
    helper(
        "load_four_u8",
        &[],
        "\
__device__ __forceinline__ void load_four_u8(int (&to)[4], const unsigned char* from) {
    const uchar4 v = *reinterpret_cast<const uchar4*>(from);
    to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}
",
    ),
    helper(
        "store_four_u8",
        &[],
        "\
__device__ __forceinline__ void store_four_u8(unsigned char* to, const int (&from)[4]) {
    *reinterpret_cast<uchar4*>(to) = make_uchar4(from[0], from[1], from[2], from[3]);
}
",
    ),
    helper(
        "load_four_bool",
        &[],
        "\
// Masks: all ones for true.
__device__ __forceinline__ void load_four_bool(int (&to)[4], const unsigned char* from) {
    const uchar4 v = *reinterpret_cast<const uchar4*>(from);
    to[0] = -(int)v.x, to[1] = -(int)v.y, to[2] = -(int)v.z, to[3] = -(int)v.w;
}
",
    ),
    helper(
        "store_four_bool",
        &[],
        "\
__device__ __forceinline__ void store_four_bool(unsigned char* to, const int (&from)[4]) {
    *reinterpret_cast<uchar4*>(to) = make_uchar4(from[0] & 1, from[1] & 1, from[2] & 1, from[3] & 1);
}
",
    ),
    helper("meet", &[], include_str!("preamble/meet.cuh")),
    helper("meet_group", &[], include_str!("preamble/meet_group.cuh")),
    helper("philox", &[], include_str!("preamble/philox.cuh")),
    helper("uniform_four", &["philox"], include_str!("preamble/uniform.cuh")),
    helper("normal_four", &["philox"], include_str!("preamble/normal.cuh")),
    helper("copy_16", &[], include_str!("preamble/copy.cuh")),
    helper("made", &[], include_str!("preamble/made.cuh")),
    helper("add_product_f32", &["copy_16", "made"], include_str!("preamble/product_f32.cuh")),
    helper("add_product_bf16", &["copy_16", "made"], include_str!("preamble/product_bf16.cuh")),
    helper("add_product_tf32", &["copy_16", "made"], include_str!("preamble/product_tf32.cuh")),
    helper("sort_key_f32", &[], include_str!("preamble/sort_key_f32.cuh")),
    helper("sort_key_i32", &[], include_str!("preamble/sort_key_i32.cuh")),
    helper("sort_line", &[], include_str!("preamble/sort_line.cuh")),
];

/// The text of the helpers that are used, and of those that they need.
pub fn helpers(used: &BTreeSet<&'static str>) -> String {
    let mut wanted = used.clone();
    // A helper needs only earlier ones.
    for helper in HELPERS.iter().rev().filter(|helper| used.contains(helper.name)) {
        wanted.extend(helper.needs);
    }
    let texts = HELPERS.iter().filter(|helper| wanted.contains(helper.name)).map(|helper| helper.text);
    texts.collect::<Vec<_>>().join("\n")
}
