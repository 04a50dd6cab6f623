// A whole number that is less for what comes before; zeros are equal, NaN is last.
__device__ __forceinline__ unsigned long long sort_key_f32(float x, bool descending) {
    if (x != x) return 0xffffffffull;
    const unsigned bits = __float_as_uint(x == 0.0f ? 0.0f : x);
    const unsigned rising = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return descending ? ~rising : rising;
}
