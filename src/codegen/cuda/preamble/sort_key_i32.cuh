__device__ __forceinline__ unsigned long long sort_key_i32(int x, bool descending) {
    const unsigned rising = (unsigned)x ^ 0x80000000u;
    return descending ? ~rising : rising;
}
