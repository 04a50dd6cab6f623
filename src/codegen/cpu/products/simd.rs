//! Vectors of f32, or of pairs of bf16, as wide as the CPU has them, for matrix products.
//!
//! What enters: addresses. What leaves: multiply-adds of whole vectors. Invariant: an implementation's functions are called only
//! where its CPU features were found, from a function that was compiled for them; `fma` rounds once, so that products
//! are the same bits whichever implementation computes them (but for x86 CPUs without FMA, on which `Portable` rounds twice).

/// A vector type; all of it is inlined into functions that enable its CPU features.
pub trait Simd {
    type Vector: Copy;
    type Mask: Copy;
    const LANES: usize;
    /// Vectors side by side in a block of the result.
    const VECTORS: usize;

    /// Rows of a block that is `vectors` wide, so that block, operands and addresses fit the registers.
    fn rows(vectors: usize) -> usize;

    /// # Safety
    /// The CPU has the features.
    unsafe fn splat(x: f32) -> Self::Vector;

    /// The first `n` lanes, `n` at most `LANES`.
    ///
    /// # Safety
    /// The CPU has the features.
    unsafe fn mask(n: usize) -> Self::Mask;

    /// # Safety
    /// The CPU has the features; `LANES` elements can be read.
    unsafe fn load(from: *const f32) -> Self::Vector;

    /// The other lanes are 0.
    ///
    /// # Safety
    /// The CPU has the features; the mask's elements can be read.
    unsafe fn load_masked(from: *const f32, mask: Self::Mask) -> Self::Vector;

    /// # Safety
    /// The CPU has the features; `LANES` elements can be written.
    unsafe fn store(to: *mut f32, x: Self::Vector);

    /// # Safety
    /// The CPU has the features; the mask's elements can be written.
    unsafe fn store_masked(to: *mut f32, mask: Self::Mask, x: Self::Vector);

    /// `a * b + c`
    ///
    /// # Safety
    /// The CPU has the features.
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
}

/// Four lanes at a time in plain Rust, which LLVM turns into whatever vectors the target is sure to have.
pub struct Portable;

impl Simd for Portable {
    type Vector = [f32; 4];
    type Mask = usize;
    const LANES: usize = 4;
    const VECTORS: usize = 4;

    fn rows(vectors: usize) -> usize {
        if vectors <= 2 { 12 } else { 6 }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 4] {
        [x; 4]
    }

    #[inline(always)]
    unsafe fn mask(n: usize) -> usize {
        n
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        // SAFETY: the caller vouches for four elements.
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_masked(from: *const f32, n: usize) -> [f32; 4] {
        // SAFETY: the caller vouches for `n` elements.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; 4]) {
        // SAFETY: the caller vouches for four elements.
        unsafe { to.cast::<[f32; 4]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn store_masked(to: *mut f32, n: usize, x: [f32; 4]) {
        for (i, x) in x.into_iter().enumerate().take(n) {
            // SAFETY: the caller vouches for `n` elements.
            unsafe { *to.add(i) = x };
        }
    }

    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        // On x86 without FMA, `mul_add` would be a call into the C library.
        let one_rounding = cfg!(any(target_feature = "fma", not(target_arch = "x86_64")));
        std::array::from_fn(|i| if one_rounding { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }
}

#[cfg(target_arch = "x86_64")]
pub mod x86 {
    //! AVX-512 and AVX2.

    use super::Simd;
    use std::arch::x86_64::*;

    /// Needs AVX-512 F.
    pub struct Avx512;

    impl Simd for Avx512 {
        type Vector = __m512;
        type Mask = __mmask16;
        const LANES: usize = 16;
        const VECTORS: usize = 4;

        fn rows(vectors: usize) -> usize {
            if vectors <= 2 { 12 } else { 6 }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn mask(n: usize) -> __mmask16 {
            ((1u32 << n) - 1) as __mmask16
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_masked(from: *const f32, mask: __mmask16) -> __m512 {
            // SAFETY: the caller vouches for CPU and elements; masked lanes are not touched.
            unsafe { _mm512_maskz_loadu_ps(mask, from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm512_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn store_masked(to: *mut f32, mask: __mmask16, x: __m512) {
            // SAFETY: the caller vouches for CPU and elements; masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(to, mask, x) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
    }

    /// Pairs of bf16, in place of f32, as factors: `fma` adds both products of a pair, the second first. Needs AVX-512 F and BF16.
    pub struct Avx512Bf16;

    impl Simd for Avx512Bf16 {
        type Vector = __m512;
        type Mask = __mmask16;
        const LANES: usize = Avx512::LANES;
        const VECTORS: usize = Avx512::VECTORS;

        fn rows(vectors: usize) -> usize {
            Avx512::rows(vectors)
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::splat(x) }
        }

        #[inline(always)]
        unsafe fn mask(n: usize) -> __mmask16 {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::mask(n) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::load(from) }
        }

        #[inline(always)]
        unsafe fn load_masked(from: *const f32, mask: __mmask16) -> __m512 {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::load_masked(from, mask) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::store(to, x) }
        }

        #[inline(always)]
        unsafe fn store_masked(to: *mut f32, mask: __mmask16, x: __m512) {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::store_masked(to, mask, x) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller vouches for the CPU; both types are 512 bits, of which all are meant.
            unsafe {
                let [a, b] = [a, b].map(|x| std::mem::transmute::<__m512, __m512bh>(x));
                _mm512_dpbf16_ps(c, a, b)
            }
        }
    }

    /// Needs AVX2 and FMA.
    pub struct Avx2;

    impl Simd for Avx2 {
        type Vector = __m256;
        type Mask = __m256i;
        const LANES: usize = 8;
        const VECTORS: usize = 2;

        fn rows(vectors: usize) -> usize {
            if vectors == 1 { 12 } else { 6 }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn mask(n: usize) -> __m256i {
            // SAFETY: the caller vouches for the CPU.
            unsafe {
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
            }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_masked(from: *const f32, mask: __m256i) -> __m256 {
            // SAFETY: the caller vouches for CPU and elements; masked lanes are not touched.
            unsafe { _mm256_maskload_ps(from, mask) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m256) {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm256_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn store_masked(to: *mut f32, mask: __m256i, x: __m256) {
            // SAFETY: the caller vouches for CPU and elements; masked lanes are not touched.
            unsafe { _mm256_maskstore_ps(to, mask, x) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
    }
}
