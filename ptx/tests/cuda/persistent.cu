// arch: sm_80 sm_90
// One kernel for many steps: blocks meet at a barrier of the whole grid after each.

struct Barrier {
    unsigned arrived;
    unsigned generation;
};

__device__ void meet(Barrier* barrier) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        volatile unsigned* generation = &barrier->generation;
        unsigned mine = *generation;
        if (atomicAdd(&barrier->arrived, 1u) == gridDim.x - 1) {
            barrier->arrived = 0;
            __threadfence();
            atomicAdd(&barrier->generation, 1u);
        } else {
            while (*generation == mine) __nanosleep(20);
        }
        __threadfence();
    }
    __syncthreads();
}

// Diffusion on a ring: each step reads neighbours that other blocks wrote in the step before.
extern "C" __global__ void diffuse(float* a, float* b, int n, int n_steps, Barrier* barrier) {
    for (int step = 0; step < n_steps; ++step) {
        for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
            b[i] = 0.5f * a[i] + 0.25f * (a[(i + 1) % n] + a[(i + n - 1) % n]);
        meet(barrier);
        float* t = a;
        a = b;
        b = t;
    }
}

// The same without the barrier: blocks race.
extern "C" __global__ void diffuse_without_barrier(float* a, float* b, int n, int n_steps) {
    for (int step = 0; step < n_steps; ++step) {
        for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
            b[i] = 0.5f * a[i] + 0.25f * (a[(i + 1) % n] + a[(i + n - 1) % n]);
        __syncthreads();
        float* t = a;
        a = b;
        b = t;
    }
}
