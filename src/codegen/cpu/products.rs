//! What compiled kernels call: matrix products and random numbers.
//!
//! What enters: descriptions that the kernel wrote onto its stack. What leaves: written buffers. Invariant: one thread,
//! no allocation once each thread has made its packing buffers, results that depend on sizes and values alone. Products are
//! done by the crate `gemm`, without its own threads.

use super::StepEnv;
use crate::base::Distribution;
use crate::base::philox::Stream;

/// A product as the kernel describes it: sizes, addresses, strides in elements. `i64` throughout, in this order.
#[repr(C)]
pub struct Product {
    pub m: i64,
    pub n: i64,
    pub k: i64,
    pub out: *mut f32,
    pub out_row: i64,
    pub out_column: i64,
    pub lhs: *const f32,
    pub lhs_row: i64,
    pub lhs_column: i64,
    pub rhs: *const f32,
    pub rhs_row: i64,
    pub rhs_column: i64,
    /// Not 0: add to what is there.
    pub accumulate: i64,
}

/// `out = lhs * rhs`, or `out += lhs * rhs`.
///
/// # Safety
/// `product` describes matrices in live buffers, of which `out` overlaps neither.
pub unsafe extern "C" fn gradc_gemm(product: *const Product) {
    // SAFETY: the caller vouches for the description.
    let p = unsafe { &*product };
    let (m, n, k) = (p.m.max(0) as usize, p.n.max(0) as usize, p.k.max(0) as usize);
    if m == 0 || n == 0 {
        return;
    }
    // SAFETY: the caller vouches for the buffers; the strides are the plan's, within them.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            p.out,
            p.out_column as isize,
            p.out_row as isize,
            p.accumulate != 0,
            p.lhs,
            p.lhs_column as isize,
            p.lhs_row as isize,
            p.rhs,
            p.rhs_column as isize,
            p.rhs_row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// Random numbers as the kernel describes them.
#[repr(C)]
pub struct Numbers {
    pub out: *mut f32,
    pub count: i64,
    pub first: i64,
    pub site: i64,
    /// 0: uniform; 1: normal.
    pub normal: i64,
    pub env: *const StepEnv,
}

/// Writes `count` numbers, the first being number `first` of its tensor.
///
/// # Safety
/// `numbers` describes a live buffer of that many elements, and a live environment.
pub unsafe extern "C" fn gradc_fill(numbers: *const Numbers) {
    // SAFETY: the caller vouches for the description and for what it points to.
    let (numbers, env, out) = unsafe {
        let numbers = &*numbers;
        let out = std::slice::from_raw_parts_mut(numbers.out, numbers.count.max(0) as usize);
        (numbers, &*numbers.env, out)
    };
    let distribution = if numbers.normal != 0 { Distribution::Normal } else { Distribution::Uniform };
    let stream = Stream { seed: env.seed, step: env.step, site: numbers.site as u32, distribution };
    stream.fill(numbers.first as u64, out);
}
