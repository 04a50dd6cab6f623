// options: -lineinfo
// One kernel for each thing that is reported.

extern "C" __global__ void past_the_end(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i] = x[0];
}

extern "C" __global__ void before_the_start(const float* x, float* y) { y[threadIdx.x] = x[(int)threadIdx.x - 1]; }

extern "C" __global__ void past_a_shared_array(float* y, int i) {
    __shared__ float tile[32], other[32];
    tile[threadIdx.x] = 1.0f;
    other[threadIdx.x] = 2.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x + i] + other[threadIdx.x];
}

extern "C" __global__ void misaligned(const float* x, float* y) {
    reinterpret_cast<float4*>(y)[threadIdx.x] = *reinterpret_cast<const float4*>(x + threadIdx.x);
}

extern "C" __global__ void no_pointer(float* y) { y[threadIdx.x] = 1.0f; }

extern "C" __global__ void uninitialised_global(const float* x, float* y) { y[threadIdx.x] = x[threadIdx.x] + 1.0f; }

extern "C" __global__ void uninitialised_shared(float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 1.0f;
    __syncthreads();
    y[threadIdx.x] = tile[threadIdx.x * 2];
}

extern "C" __global__ void divergent_barrier(float* y) {
    if (threadIdx.x < 16) __syncthreads();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void left_before_barrier(float* y, int n) {
    if (threadIdx.x >= n) return;
    __syncthreads();
    y[threadIdx.x] = 1.0f;
}

extern "C" __global__ void race_between_warps(float* y) {
    __shared__ float tile[64];
    tile[threadIdx.x] = 0.0f;
    __syncthreads();
    tile[threadIdx.x] += threadIdx.x;
    y[threadIdx.x] = tile[63 - threadIdx.x];
}

extern "C" __global__ void race_in_a_warp(float* y) {
    __shared__ float tile[32];
    tile[threadIdx.x] = threadIdx.x;
    y[threadIdx.x] = tile[31 - threadIdx.x];
}

extern "C" __global__ void race_of_reader(float* y) {
    __shared__ volatile float tile[64];
    tile[threadIdx.x] = threadIdx.x;
    __syncthreads();
    float v = tile[63 - threadIdx.x];
    tile[threadIdx.x] = v;
    y[threadIdx.x] = v;
}

extern "C" __global__ void race_between_blocks(float* y) { y[threadIdx.x] = blockIdx.x; }

extern "C" __global__ void forever(volatile int* stop) {
    while (*stop == 0) {
    }
}

extern "C" __global__ void deadlock(volatile int* y) {
    if (threadIdx.x < 32) asm volatile("bar.sync 1, 64;");
    else asm volatile("bar.sync 2, 64;");
    y[threadIdx.x] = 1;
}

extern "C" __global__ void traps(int* y) {
    if (threadIdx.x == 5) __trap();
    y[threadIdx.x] = 1;
}

extern "C" __global__ void shuffle_from_nobody(int* y) {
    int v = threadIdx.x;
    if (threadIdx.x < 16) v = __shfl_sync(0xffffu, v, 20);
    y[threadIdx.x] = v;
}

extern "C" __global__ void copy_without_wait(const float4* x, float4* y) {
    __shared__ float4 tile[32];
    unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(&tile[threadIdx.x]));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + threadIdx.x));
    asm volatile("cp.async.commit_group;");
    y[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void copy_without_barrier(const float4* x, float4* y) {
    __shared__ float4 tile[64];
    tile[threadIdx.x] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    __syncthreads();
    unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(&tile[threadIdx.x]));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(x + threadIdx.x));
    asm volatile("cp.async.wait_all;");
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
