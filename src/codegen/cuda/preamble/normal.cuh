// Two normal numbers of two words: Box and Muller (1958), in single precision, rounded after every operation, so that the bits are the CPU's.
template <int N> __device__ __forceinline__ float normal_polynomial(float x, const float (&coefficients)[N]) {
    float sum = coefficients[0];
    #pragma unroll
    for (int i = 1; i < N; ++i) sum = __fadd_rn(__fmul_rn(sum, x), coefficients[i]);
    return sum;
}

// Of 2^-32 to 1.
__device__ __forceinline__ float normal_log(float x) {
    const int above = (__float_as_int(x) - __float_as_int(0.70710678f)) >> 23;
    const float t = __fadd_rn(__int_as_float(__float_as_int(x) - (above << 23)), -1.0f), e = (float)above, t2 = __fmul_rn(t, t);
    const float p = normal_polynomial(t, {7.0376836e-2f, -1.151461e-1f, 1.1676999e-1f, -1.2420141e-1f, 1.4249323e-1f, -1.6668058e-1f,
                                          2.0000715e-1f, -2.4999994e-1f, 3.333333e-1f});
    const float y = __fadd_rn(__fmul_rn(__fmul_rn(t, t2), p), __fmul_rn(e, -2.1219444e-4f));
    return __fadd_rn(__fadd_rn(t, __fsub_rn(y, __fmul_rn(0.5f, t2))), __fmul_rn(e, 0.6933594f));
}

__device__ __forceinline__ void normal_pair(float& first, float& second, unsigned a, unsigned b) {
    const float u = __fmul_rn(__fadd_rn(__uint2float_rn(a), 1.0f), 0x1p-32f);
    const float radius = __fsqrt_rn(__fmul_rn(-2.0f, normal_log(u)));
    // Quarter turns, and what is left of the angle.
    const unsigned quarters = (b + (1u << 29)) >> 30;
    const float rest = __fmul_rn(__int2float_rn((int)(b - (quarters << 30))), __fmul_rn(6.2831855f, 0x1p-32f));
    const float square = __fmul_rn(rest, rest);
    const float of_sine = normal_polynomial(square, {-1.9515296e-4f, 8.332161e-3f, -1.6666655e-1f});
    const float sine = __fadd_rn(rest, __fmul_rn(__fmul_rn(rest, square), of_sine));
    const float of_cosine = normal_polynomial(square, {2.4433157e-5f, -1.3887316e-3f, 4.1666646e-2f});
    const float cosine =
        __fadd_rn(__fsub_rn(1.0f, __fmul_rn(0.5f, square)), __fmul_rn(__fmul_rn(square, square), of_cosine));
    const float along = quarters & 1 ? sine : cosine, across = quarters & 1 ? cosine : sine;
    first = __fmul_rn(radius, __uint_as_float(__float_as_uint(along) ^ ((quarters + 1) & 2) << 30));
    second = __fmul_rn(radius, __uint_as_float(__float_as_uint(across) ^ (quarters & 2) << 30));
}

__device__ __forceinline__ void normal_four(float (&to)[4], long long block, unsigned site, const StepEnv* env) {
    const uint4 words = philox(block, site, env);
    normal_pair(to[0], to[1], words.x, words.y);
    normal_pair(to[2], to[3], words.z, words.w);
}
