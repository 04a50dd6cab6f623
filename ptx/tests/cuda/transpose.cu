// A transpose through shared memory, once with a padded tile and once without: the second has bank conflicts.

template <int WIDTH>
__device__ void through_tile(const float* __restrict__ x, float* __restrict__ y, int n_rows, int n_columns, float* tile) {
    int column = blockIdx.x * 32 + threadIdx.x;
    for (int i = threadIdx.y; i < 32; i += 8) {
        int row = blockIdx.y * 32 + i;
        if (row < n_rows && column < n_columns) tile[i * WIDTH + threadIdx.x] = x[row * n_columns + column];
    }
    __syncthreads();
    int row = blockIdx.y * 32 + threadIdx.x;
    for (int i = threadIdx.y; i < 32; i += 8) {
        int column = blockIdx.x * 32 + i;
        if (row < n_rows && column < n_columns) y[column * n_rows + row] = tile[threadIdx.x * WIDTH + i];
    }
}

extern "C" __global__ void transpose(const float* x, float* y, int n_rows, int n_columns) {
    __shared__ float tile[32 * 33];
    through_tile<33>(x, y, n_rows, n_columns, tile);
}

extern "C" __global__ void transpose_with_conflicts(const float* x, float* y, int n_rows, int n_columns) {
    __shared__ float tile[32 * 32];
    through_tile<32>(x, y, n_rows, n_columns, tile);
}
