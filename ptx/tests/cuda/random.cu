// Dropout by Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), four elements a thread.

__device__ uint4 philox(uint4 counter, uint2 key) {
    for (int round = 0; round < 10; ++round) {
        unsigned high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
        unsigned high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
        counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

extern "C" __global__ void dropout(const float* __restrict__ x, float* __restrict__ y, int n, float keep, uint2 seed) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i * 4 >= n) return;
    uint4 bits = philox(make_uint4(i, 0, 0, 0), seed);
    unsigned words[4] = {bits.x, bits.y, bits.z, bits.w};
    for (int j = 0; j < 4 && i * 4 + j < n; ++j) {
        float uniform = (words[j] >> 8) * 0x1p-24f;
        y[i * 4 + j] = uniform < keep ? x[i * 4 + j] / keep : 0.0f;
    }
}
