//! What compiled kernels call: matrix products and random numbers.
//!
//! What enters: descriptions that the kernel wrote onto its stack. What leaves: written buffers. Invariant: one thread,
//! no allocation, results that depend on sizes and values alone.

#[cfg(target_arch = "x86_64")]
mod amx;
mod blocks;
mod floats;
mod pairs;
mod panels;
mod simd;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tiles;

use super::StepEnv;
use crate::base::Distribution;
use crate::base::philox::Stream;
pub use crate::plan::PANEL;

/// A product as the kernel describes it: sizes, addresses, strides in elements. `i64` throughout, in this order.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Product<Factor = f32> {
    pub m: i64,
    pub n: i64,
    pub k: i64,
    pub out: *mut f32,
    pub out_row: i64,
    pub out_column: i64,
    pub lhs: *const Factor,
    pub lhs_row: i64,
    pub lhs_column: i64,
    pub rhs: *const Factor,
    pub rhs_row: i64,
    pub rhs_column: i64,
    /// Not 0: add to what is there.
    pub accumulate: i64,
    /// So many panels of `n` columns has the right operand, from one to the next `rhs_panel` elements, and the result, side by side.
    pub panels: i64,
    pub rhs_panel: i64,
    /// So many runs of `k` terms has the sum, from one to the next `lhs_run` and `rhs_run` elements.
    pub runs: i64,
    pub lhs_run: i64,
    pub rhs_run: i64,
}

impl<Factor: Copy> Product<Factor> {
    /// A product of each run, which adds to those before.
    fn by_runs(&self, mut product: impl FnMut(&Product<Factor>)) {
        for run in 0..self.runs.max(1) {
            let (lhs_shift, rhs_shift) = ((run * self.lhs_run) as isize, (run * self.rhs_run) as isize);
            product(&Product {
                lhs: self.lhs.wrapping_offset(lhs_shift),
                rhs: self.rhs.wrapping_offset(rhs_shift),
                accumulate: self.accumulate | run,
                runs: 1,
                ..*self
            });
        }
    }

    /// The same with rows and columns changed about, for products of one panel.
    fn transposed(&self) -> Product<Factor> {
        Product {
            m: self.n,
            n: self.m,
            out_row: self.out_column,
            out_column: self.out_row,
            lhs: self.rhs,
            lhs_row: self.rhs_column,
            lhs_column: self.rhs_row,
            rhs: self.lhs,
            rhs_row: self.lhs_column,
            rhs_column: self.lhs_row,
            lhs_run: self.rhs_run,
            rhs_run: self.lhs_run,
            ..*self
        }
    }
}

/// `out = lhs * rhs`, or `out += lhs * rhs`, for the CPU that we run on.
pub type ProductFn = unsafe extern "C" fn(*const Product);

/// The function for the widest vectors that the CPU has.
pub fn product_function() -> ProductFn {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return avx2;
        }
    }
    portable
}

/// # Safety
/// The CPU has AVX-512 F; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe extern "C" fn avx512(product: *const Product) {
    // SAFETY: the caller's promises are this call's.
    unsafe { floats::product::<simd::x86::Avx512>(&*product) }
}

/// # Safety
/// The CPU has AVX2 and FMA; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe extern "C" fn avx2(product: *const Product) {
    // SAFETY: the caller's promises are this call's.
    unsafe { floats::product::<simd::x86::Avx2>(&*product) }
}

/// # Safety
/// `product` describes matrices in live buffers, of which `out` overlaps neither.
unsafe extern "C" fn portable(product: *const Product) {
    // SAFETY: the caller's promises are this call's.
    unsafe { floats::product::<simd::Portable>(&*product) }
}

/// `out = lhs * rhs`, or `out += lhs * rhs`, of bf16 factors: the same bits from each of these functions, but `bf16_tiles` adds in
/// another order.
pub type Bf16ProductFn = unsafe extern "C" fn(*const Product<u16>);

/// The function that uses the most of what the CPU has.
pub fn bf16_product_function() -> Bf16ProductFn {
    #[cfg(target_arch = "x86_64")]
    {
        let has_words = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
        if has_words && amx::are_there() {
            return bf16_tiles;
        }
        if has_words && is_x86_feature_detected!("avx512bf16") {
            return bf16_pairs;
        }
        if is_x86_feature_detected!("avx512f") {
            return bf16_avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return bf16_avx2;
        }
    }
    bf16_portable
}

/// # Safety
/// The CPU has AVX-512 F and BW, and `amx::are_there`; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe extern "C" fn bf16_tiles(product: *const Product<u16>) {
    // SAFETY: the caller's promises are this call's.
    unsafe { (*product).by_runs(|product| tiles::product(product)) }
}

/// # Safety
/// The CPU has AVX-512 F, BW and BF16; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe extern "C" fn bf16_pairs(product: *const Product<u16>) {
    // SAFETY: the caller's promises are this call's.
    unsafe { (*product).by_runs(|product| pairs::product::<pairs::x86::Pairs>(product)) }
}

/// # Safety
/// The CPU has AVX-512 F; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe extern "C" fn bf16_avx512(product: *const Product<u16>) {
    // SAFETY: the caller's promises are this call's.
    unsafe { (*product).by_runs(|product| pairs::product::<pairs::Widened<simd::x86::Avx512>>(product)) }
}

/// # Safety
/// The CPU has AVX2 and FMA; `product` describes matrices in live buffers, of which `out` overlaps neither.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe extern "C" fn bf16_avx2(product: *const Product<u16>) {
    // SAFETY: the caller's promises are this call's.
    unsafe { (*product).by_runs(|product| pairs::product::<pairs::Widened<simd::x86::Avx2>>(product)) }
}

/// # Safety
/// `product` describes matrices in live buffers, of which `out` overlaps neither.
unsafe extern "C" fn bf16_portable(product: *const Product<u16>) {
    // SAFETY: the caller's promises are this call's.
    unsafe { (*product).by_runs(|product| pairs::product::<pairs::Widened<simd::Portable>>(product)) }
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
    fill(stream, numbers.first as u64, out);
}

/// `Stream::fill` with the widest vectors that the CPU has: the same bits.
pub fn fill(stream: Stream, first: u64, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the CPU has it.
            return unsafe { fill_avx512(stream, first, out) };
        }
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the CPU has it.
            return unsafe { fill_avx2(stream, first, out) };
        }
    }
    stream.fill(first, out);
}

/// For CPUs with AVX-512 F.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn fill_avx512(stream: Stream, first: u64, out: &mut [f32]) {
    stream.fill(first, out);
}

/// For CPUs with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(stream: Stream, first: u64, out: &mut [f32]) {
    stream.fill(first, out);
}
