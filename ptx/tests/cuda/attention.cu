// Causal attention with an online softmax: one warp a query row, keys in tiles of 32 through shared memory.
// q, k, v, y: [heads, length, 64].

#define FULL 0xffffffffu

extern "C" __global__ void attention(const float* __restrict__ q, const float* __restrict__ k, const float* __restrict__ v,
                                     float* __restrict__ y, int length) {
    __shared__ float keys[32][65];
    __shared__ float values[32][65];
    __shared__ float queries[4][64];
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    int row = blockIdx.x * 4 + warp;
    size_t head = (size_t)blockIdx.y * length * 64;
    bool live = row < length;
    for (int d = lane; d < 64; d += 32) queries[warp][d] = live ? q[head + (size_t)row * 64 + d] * 0.125f : 0.0f;
    float most = -__int_as_float(0x7f800000), sum = 0.0f, y0 = 0.0f, y1 = 0.0f;
    int last = min(length, (int)blockIdx.x * 4 + 4);
    for (int start = 0; start < last; start += 32) {
        for (int i = threadIdx.x; i < 32 * 64; i += 128) {
            int place = start + i / 64;
            keys[i / 64][i % 64] = place < length ? k[head + (size_t)place * 64 + i % 64] : 0.0f;
            values[i / 64][i % 64] = place < length ? v[head + (size_t)place * 64 + i % 64] : 0.0f;
        }
        __syncthreads();
        float score = 0.0f;
        for (int d = 0; d < 64; ++d) score = fmaf(queries[warp][d], keys[lane][d], score);
        if (start + lane > row || start + lane >= length) score = -__int_as_float(0x7f800000);
        float tile_most = score;
        for (int offset = 16; offset > 0; offset /= 2) tile_most = fmaxf(tile_most, __shfl_xor_sync(FULL, tile_most, offset));
        float next = fmaxf(most, tile_most);
        float scale = __expf(most - next);
        float weight = __expf(score - next);
        float tile_sum = weight;
        for (int offset = 16; offset > 0; offset /= 2) tile_sum += __shfl_xor_sync(FULL, tile_sum, offset);
        sum = sum * scale + tile_sum;
        y0 *= scale;
        y1 *= scale;
        for (int j = 0; j < 32; ++j) {
            float w = __shfl_sync(FULL, weight, j);
            y0 = fmaf(w, values[j][lane], y0);
            y1 = fmaf(w, values[j][lane + 32], y1);
        }
        most = next;
        __syncthreads();
    }
    if (live) {
        y[head + (size_t)row * 64 + lane] = y0 / sum;
        y[head + (size_t)row * 64 + lane + 32] = y1 / sum;
    }
}
