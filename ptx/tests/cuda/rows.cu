// arch: sm_80 sm_90
// Reductions over rows: a warp a row with shuffles, and a block a row in two stages.

#define FULL 0xffffffffu

__device__ float warp_sum(float v) {
    for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(FULL, v, offset);
    return v;
}

__device__ float warp_max(float v) {
    for (int offset = 16; offset > 0; offset /= 2) v = fmaxf(v, __shfl_xor_sync(FULL, v, offset));
    return v;
}

__device__ float block_sum(float v, float* partial) {
    v = warp_sum(v);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
    __syncthreads();
    v = threadIdx.x < blockDim.x / 32 ? partial[threadIdx.x] : 0.0f;
    if (threadIdx.x < 32) {
        v = warp_sum(v);
        if (threadIdx.x == 0) partial[0] = v;
    }
    __syncthreads();
    v = partial[0];
    __syncthreads();
    return v;
}

// One warp a row.
extern "C" __global__ void softmax(const float* __restrict__ x, float* __restrict__ y, int n_rows, int n_columns) {
    int row = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
    int lane = threadIdx.x % 32;
    if (row >= n_rows) return;
    const float* from = x + (size_t)row * n_columns;
    float most = -__int_as_float(0x7f800000);
    for (int j = lane; j < n_columns; j += 32) most = fmaxf(most, from[j]);
    most = warp_max(most);
    float sum = 0.0f;
    for (int j = lane; j < n_columns; j += 32) sum += __expf(from[j] - most);
    sum = warp_sum(sum);
    for (int j = lane; j < n_columns; j += 32) y[(size_t)row * n_columns + j] = __expf(from[j] - most) / sum;
}

// One block a row, mean and variance in two stages.
extern "C" __global__ void layer_norm(const float* __restrict__ x, const float* __restrict__ scale,
                                      const float* __restrict__ shift, float* __restrict__ y, int n_columns) {
    __shared__ float partial[32];
    const float* from = x + (size_t)blockIdx.x * n_columns;
    float sum = 0.0f;
    for (int j = threadIdx.x; j < n_columns; j += blockDim.x) sum += from[j];
    float mean = block_sum(sum, partial) / n_columns;
    float squares = 0.0f;
    for (int j = threadIdx.x; j < n_columns; j += blockDim.x) squares += (from[j] - mean) * (from[j] - mean);
    float inverse = rsqrtf(block_sum(squares, partial) / n_columns + 1e-5f);
    for (int j = threadIdx.x; j < n_columns; j += blockDim.x)
        y[(size_t)blockIdx.x * n_columns + j] = (from[j] - mean) * inverse * scale[j] + shift[j];
}

// Sums of blocks, to be summed by a second launch of one block: the order is fixed.
extern "C" __global__ void sum_stage(const float* __restrict__ x, float* __restrict__ partial_sums, int n) {
    extern __shared__ float partial[];
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) sum += x[i];
    sum = block_sum(sum, partial);
    if (threadIdx.x == 0) partial_sums[blockIdx.x] = sum;
}
