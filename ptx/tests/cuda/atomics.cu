// Atomics on shared and on global memory.

extern "C" __global__ void histogram(const unsigned char* __restrict__ x, unsigned* __restrict__ counts, int n) {
    __shared__ unsigned local[256];
    for (int i = threadIdx.x; i < 256; i += blockDim.x) local[i] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&local[x[i]], 1u);
    __syncthreads();
    for (int i = threadIdx.x; i < 256; i += blockDim.x)
        if (local[i] != 0) atomicAdd(&counts[i], local[i]);
}

// One of each kind; out: 0 add, 1 min, 2 max, 3 and, 4 or, 5 xor, 6 increment, 7 decrement, 8 exchange, 9 sum of old values.
extern "C" __global__ void each(unsigned* out, float* sum, unsigned long long* wide, double* wider) {
    unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    unsigned old = atomicAdd(&out[0], i);
    atomicMin((int*)&out[1], 3 - (int)i);
    atomicMax(&out[2], i);
    atomicAnd(&out[3], ~(1u << i % 32));
    atomicOr(&out[4], 1u << i % 32);
    atomicXor(&out[5], i);
    atomicInc(&out[6], 6u);
    atomicDec(&out[7], 6u);
    atomicExch(&out[8], 77u);
    atomicAdd(&out[9], old);
    atomicAdd(sum, (float)i);
    atomicAdd(wide, 1ull << 40);
    atomicAdd(wider, 0.5);
}

// The largest float by compare-and-swap.
extern "C" __global__ void largest(const float* __restrict__ x, float* most, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned* place = (unsigned*)most;
    unsigned seen = *(volatile unsigned*)place;
    while (__uint_as_float(seen) < x[i]) {
        unsigned before = atomicCAS(place, seen, __float_as_uint(x[i]));
        if (before == seen) break;
        seen = before;
    }
}
