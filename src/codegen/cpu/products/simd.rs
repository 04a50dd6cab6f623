//! Vectors of f32, or of pairs of bf16, as wide as the CPU has them, for matrix products.
//!
//! What enters: addresses. What leaves: multiply-adds of whole vectors. Invariant: an implementation's functions are called only
//! where its CPU features were found, from a function that was compiled for them; `fma` rounds once, so that products
//! are the same bits whichever implementation computes them (but for x86 CPUs without FMA, on which `Portable` rounds twice).

/// A vector type; all of it is inlined into functions that enable its CPU features.
pub trait Simd {
    type Vector: Copy;
    const LANES: usize;
    /// Vectors side by side in a block of the result.
    const VECTORS: usize;

    /// Terms that are multiplied at a time: a panel of so many is read from the first- or second-level cache.
    const TERMS: usize;
    /// Rows at a time: of so many, `TERMS` terms stay in the second-level cache.
    const ROWS: usize;
    /// Whether left rows whose terms are neighbours are laid out, where many panels read them and the rows lie far apart.
    const LAYS_ROWS: bool;
    /// Elements from which on a right operand that is read once is taken a few terms at a time: then it is read along its rows,
    /// but sums come and go.
    const READ_ALONG: usize;

    /// Whether blocks' vectors may lie apart: where a block is wider than a panel that the plan packs.
    const JOINS: bool = Self::LANES * Self::VECTORS > super::PANEL as usize;

    /// Rows of a block that is `vectors` wide, so that block, operands and addresses fit the registers.
    fn rows(vectors: usize) -> usize;

    /// # Safety
    /// The CPU has the features.
    unsafe fn splat(x: f32) -> Self::Vector;

    /// # Safety
    /// The CPU has the features; `LANES` elements can be read.
    unsafe fn load(from: *const f32) -> Self::Vector;

    /// The first `n` lanes, `n` at most `LANES`; the others are 0.
    ///
    /// # Safety
    /// The CPU has the features; `n` elements can be read.
    unsafe fn load_some(from: *const f32, n: usize) -> Self::Vector;

    /// # Safety
    /// The CPU has the features; `LANES` elements can be written.
    unsafe fn store(to: *mut f32, x: Self::Vector);

    /// The first `n` lanes, `n` at most `LANES`.
    ///
    /// # Safety
    /// The CPU has the features; `n` elements can be written.
    unsafe fn store_some(to: *mut f32, n: usize, x: Self::Vector);

    /// Asks for the line at an address, which need not be valid, in the second-level cache.
    fn fetch(_from: *const f32) {}

    /// Asks for it in the first-level cache, where that pays.
    fn fetch_near(_from: *const f32) {}

    /// Copies `n` elements, fewer than `LANES`.
    ///
    /// # Safety
    /// The CPU has the features; `n` elements can be read and written.
    #[inline(always)]
    unsafe fn copy_some(from: *const f32, to: *mut f32, n: usize) {
        for i in 0..n {
            // SAFETY: the caller vouches for `n` elements.
            unsafe { *to.add(i) = *from.add(i) };
        }
    }

    /// `a * b + c`
    ///
    /// # Safety
    /// The CPU has the features.
    unsafe fn fma(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;

    /// `LANES` rows of `LANES` elements, `row` apart, as columns; those past `n_rows` are 0. Element `i` of row `j` comes to
    /// `to[i * to_row + j]`; columns are written in their order, each whole.
    ///
    /// # Safety
    /// The CPU has the features; the rows can be read and the columns written.
    unsafe fn turn(from: *const f32, row: isize, n_rows: usize, to: *mut f32, to_row: usize);
}

/// Some lanes at a time in plain Rust, which LLVM turns into whatever vectors the target is sure to have: four, which every
/// target has, or in tests as many as the widest CPUs.
pub struct Portable<const N: usize = 4>;

impl<const N: usize> Simd for Portable<N> {
    type Vector = [f32; N];
    const LANES: usize = N;
    const VECTORS: usize = 4;
    const TERMS: usize = 256;
    const ROWS: usize = 192;
    const LAYS_ROWS: bool = true;
    const READ_ALONG: usize = 1 << 22;

    fn rows(vectors: usize) -> usize {
        if vectors <= 2 { 12 } else { 6 }
    }

    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; N] {
        [x; N]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; N] {
        // SAFETY: the caller vouches for so many elements.
        unsafe { from.cast::<[f32; N]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn load_some(from: *const f32, n: usize) -> [f32; N] {
        // SAFETY: the caller vouches for `n` elements.
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(to: *mut f32, x: [f32; N]) {
        // SAFETY: the caller vouches for so many elements.
        unsafe { to.cast::<[f32; N]>().write_unaligned(x) }
    }

    #[inline(always)]
    unsafe fn store_some(to: *mut f32, n: usize, x: [f32; N]) {
        for (i, x) in x.into_iter().enumerate().take(n) {
            // SAFETY: the caller vouches for `n` elements.
            unsafe { *to.add(i) = x };
        }
    }

    #[inline(always)]
    unsafe fn fma(a: [f32; N], b: [f32; N], c: [f32; N]) -> [f32; N] {
        // On x86 without FMA, `mul_add` would be a call into the C library.
        let one_rounding = cfg!(any(target_feature = "fma", not(target_arch = "x86_64")));
        std::array::from_fn(|i| if one_rounding { a[i].mul_add(b[i], c[i]) } else { a[i] * b[i] + c[i] })
    }

    #[inline(always)]
    unsafe fn turn(from: *const f32, row: isize, n_rows: usize, to: *mut f32, to_row: usize) {
        // SAFETY: the caller vouches for rows and columns.
        unsafe {
            let mut rows = [[0.0; N]; N];
            for (i, x) in rows.iter_mut().enumerate().take(n_rows) {
                *x = Self::load(from.offset(i as isize * row));
            }
            for i in 0..N {
                Self::store(to.add(i * to_row), rows.map(|row| row[i]));
            }
        }
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
        const LANES: usize = 16;
        const VECTORS: usize = 4;
        const TERMS: usize = 384;
        const ROWS: usize = 256;
        const LAYS_ROWS: bool = false;
        const READ_ALONG: usize = 0;

        #[inline(always)]
        fn fetch(from: *const f32) {
            // SAFETY: every x86-64 CPU knows the request, and ignores one for nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
        }

        fn rows(vectors: usize) -> usize {
            if vectors <= 2 { 12 } else { 6 }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_some(from: *const f32, n: usize) -> __m512 {
            // SAFETY: the caller vouches for CPU and elements; masked lanes are not touched.
            unsafe { _mm512_maskz_loadu_ps(first(n), from) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm512_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn store_some(to: *mut f32, n: usize, x: __m512) {
            // SAFETY: the caller vouches for CPU and elements; masked lanes are not touched.
            unsafe { _mm512_mask_storeu_ps(to, first(n), x) }
        }

        #[inline(always)]
        unsafe fn copy_some(from: *const f32, to: *mut f32, n: usize) {
            // SAFETY: the caller's promises are these calls'.
            unsafe { Self::store_some(to, n, Self::load_some(from, n)) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn turn(from: *const f32, row: isize, n_rows: usize, to: *mut f32, to_row: usize) {
            // SAFETY: the caller vouches for CPU, rows and columns.
            unsafe {
                // Four vectors hold four columns: the first rows 0, 4, 8 and 12 of them, the next rows 1, 5, 9 and 13. Rows that are
                // missing are the last one again: a loop of some turns would keep all of them in memory.
                let fours = |i: usize, column: usize| {
                    let part =
                        |i: usize| _mm_loadu_ps(from.offset(i.min(n_rows - 1) as isize * row).add(column));
                    let x = _mm512_castps128_ps512(part(i));
                    let x = _mm512_insertf32x4::<1>(x, part(i + 4));
                    let x = _mm512_insertf32x4::<2>(x, part(i + 8));
                    _mm512_insertf32x4::<3>(x, part(i + 12))
                };
                for column in (0..16).step_by(4) {
                    let r: [__m512; 4] = std::array::from_fn(|i| fours(i, column));
                    let low = [_mm512_unpacklo_ps(r[0], r[1]), _mm512_unpacklo_ps(r[2], r[3])]
                        .map(|x| _mm512_castps_pd(x));
                    let high = [_mm512_unpackhi_ps(r[0], r[1]), _mm512_unpackhi_ps(r[2], r[3])]
                        .map(|x| _mm512_castps_pd(x));
                    let columns = [
                        _mm512_unpacklo_pd(low[0], low[1]),
                        _mm512_unpackhi_pd(low[0], low[1]),
                        _mm512_unpacklo_pd(high[0], high[1]),
                        _mm512_unpackhi_pd(high[0], high[1]),
                    ];
                    for (i, x) in columns.into_iter().enumerate() {
                        _mm512_storeu_ps(to.add((column + i) * to_row), _mm512_castpd_ps(x));
                    }
                }
            }
        }
    }

    /// The first `n` of 16 lanes.
    fn first(n: usize) -> __mmask16 {
        ((1u32 << n) - 1) as __mmask16
    }

    /// Pairs of bf16, in place of f32, as factors: `fma` adds both products of a pair, the second first. Needs AVX-512 F and BF16.
    pub struct Avx512Bf16;

    impl Simd for Avx512Bf16 {
        type Vector = __m512;
        const LANES: usize = Avx512::LANES;
        const VECTORS: usize = Avx512::VECTORS;
        const TERMS: usize = Avx512::TERMS;
        const ROWS: usize = Avx512::ROWS;
        const LAYS_ROWS: bool = Avx512::LAYS_ROWS;
        const JOINS: bool = false;
        const READ_ALONG: usize = Avx512::READ_ALONG;

        fn rows(vectors: usize) -> usize {
            Avx512::rows(vectors)
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m512 {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::splat(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::load(from) }
        }

        #[inline(always)]
        unsafe fn load_some(from: *const f32, n: usize) -> __m512 {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::load_some(from, n) }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m512) {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::store(to, x) }
        }

        #[inline(always)]
        unsafe fn store_some(to: *mut f32, n: usize, x: __m512) {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::store_some(to, n, x) }
        }

        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            // SAFETY: the caller vouches for the CPU; both types are 512 bits, of which all are meant.
            unsafe {
                let [a, b] = [a, b].map(|x| std::mem::transmute::<__m512, __m512bh>(x));
                _mm512_dpbf16_ps(c, a, b)
            }
        }

        #[inline(always)]
        unsafe fn turn(from: *const f32, row: isize, n_rows: usize, to: *mut f32, to_row: usize) {
            // SAFETY: the caller's promises are this call's.
            unsafe { Avx512::turn(from, row, n_rows, to, to_row) }
        }
    }

    /// Needs AVX2 and FMA.
    pub struct Avx2;

    impl Simd for Avx2 {
        type Vector = __m256;
        const LANES: usize = 8;
        const VECTORS: usize = 2;
        const TERMS: usize = 384;
        const ROWS: usize = 192;
        const LAYS_ROWS: bool = true;
        const READ_ALONG: usize = 1 << 22;

        #[inline(always)]
        fn fetch(from: *const f32) {
            // SAFETY: every x86-64 CPU knows the request, and ignores one for nothing.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) };
        }

        #[inline(always)]
        fn fetch_near(from: *const f32) {
            // SAFETY: as for `fetch`.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) };
        }

        fn rows(vectors: usize) -> usize {
            if vectors == 1 { 8 } else { 6 }
        }

        #[inline(always)]
        unsafe fn splat(x: f32) -> __m256 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm256_set1_ps(x) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_some(from: *const f32, n: usize) -> __m256 {
            // SAFETY: the caller vouches for CPU and elements; masked lanes are not touched.
            unsafe {
                let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
                _mm256_maskload_ps(from, _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes))
            }
        }

        #[inline(always)]
        unsafe fn store(to: *mut f32, x: __m256) {
            // SAFETY: the caller vouches for CPU and elements.
            unsafe { _mm256_storeu_ps(to, x) }
        }

        #[inline(always)]
        unsafe fn store_some(to: *mut f32, n: usize, x: __m256) {
            // A masked store takes some twenty cycles on AMD's CPUs before Zen 4.
            let mut all = [0.0f32; 8];
            // SAFETY: the caller vouches for CPU and elements.
            unsafe {
                _mm256_storeu_ps(all.as_mut_ptr(), x);
                to.copy_from_nonoverlapping(all.as_ptr(), n);
            }
        }

        #[inline(always)]
        unsafe fn copy_some(from: *const f32, to: *mut f32, n: usize) {
            // SAFETY: the caller vouches for `n` elements: four, two and one, of those that `n` is the sum of.
            unsafe {
                let (mut from, mut to) = (from, to);
                if n & 4 != 0 {
                    _mm_storeu_ps(to, _mm_loadu_ps(from));
                    (from, to) = (from.add(4), to.add(4));
                }
                if n & 2 != 0 {
                    to.cast::<u64>().write_unaligned(from.cast::<u64>().read_unaligned());
                    (from, to) = (from.add(2), to.add(2));
                }
                if n & 1 != 0 {
                    *to = *from;
                }
            }
        }

        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: the caller vouches for the CPU.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }

        #[inline(always)]
        unsafe fn turn(from: *const f32, row: isize, n_rows: usize, to: *mut f32, to_row: usize) {
            // SAFETY: the caller vouches for CPU, rows and columns.
            unsafe {
                let mut r = [_mm256_setzero_ps(); 8];
                for (i, x) in r.iter_mut().enumerate().take(n_rows) {
                    *x = _mm256_loadu_ps(from.offset(i as isize * row));
                }
                // Pairs, then fours, then eights: each step exchanges what lies off the diagonal.
                let mut by_two = r;
                for i in (0..8).step_by(2) {
                    by_two[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
                    by_two[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
                }
                let mut by_four = r;
                for i in (0..8).step_by(4) {
                    by_four[i] = _mm256_shuffle_ps::<0x44>(by_two[i], by_two[i + 2]);
                    by_four[i + 1] = _mm256_shuffle_ps::<0xee>(by_two[i], by_two[i + 2]);
                    by_four[i + 2] = _mm256_shuffle_ps::<0x44>(by_two[i + 1], by_two[i + 3]);
                    by_four[i + 3] = _mm256_shuffle_ps::<0xee>(by_two[i + 1], by_two[i + 3]);
                }
                for i in 0..4 {
                    let (low, high) = (by_four[i], by_four[i + 4]);
                    _mm256_storeu_ps(to.add(i * to_row), _mm256_permute2f128_ps::<0x20>(low, high));
                }
                for i in 0..4 {
                    let (low, high) = (by_four[i], by_four[i + 4]);
                    _mm256_storeu_ps(to.add((i + 4) * to_row), _mm256_permute2f128_ps::<0x31>(low, high));
                }
            }
        }
    }

    /// Sixteen by sixteen elements of 32 bits, rows and columns changed about.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn transposed(rows: [__m512i; 16]) -> [__m512i; 16] {
        let zero = _mm512_setzero_si512();
        let (mut by_two, mut by_four, mut all) = ([zero; 16], [zero; 16], [zero; 16]);
        for i in (0..16).step_by(2) {
            by_two[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            by_two[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        for i in (0..16).step_by(4) {
            by_four[i] = _mm512_unpacklo_epi64(by_two[i], by_two[i + 2]);
            by_four[i + 1] = _mm512_unpackhi_epi64(by_two[i], by_two[i + 2]);
            by_four[i + 2] = _mm512_unpacklo_epi64(by_two[i + 1], by_two[i + 3]);
            by_four[i + 3] = _mm512_unpackhi_epi64(by_two[i + 1], by_two[i + 3]);
        }
        // Part `l` (of four) of `by_four[4 * i + j]` is column `4 * l + j` of rows `4 * i` to `4 * i + 3`.
        for j in 0..4 {
            let even = |i: usize| _mm512_shuffle_i32x4::<0x88>(by_four[i], by_four[i + 4]);
            let odd = |i: usize| _mm512_shuffle_i32x4::<0xdd>(by_four[i], by_four[i + 4]);
            all[j] = _mm512_shuffle_i32x4::<0x88>(even(j), even(j + 8));
            all[j + 8] = _mm512_shuffle_i32x4::<0xdd>(even(j), even(j + 8));
            all[j + 4] = _mm512_shuffle_i32x4::<0x88>(odd(j), odd(j + 8));
            all[j + 12] = _mm512_shuffle_i32x4::<0xdd>(odd(j), odd(j + 8));
        }
        all
    }
}
