// arch: sm_80 sm_90
// bf16 and f16: conversions in both directions, packed arithmetic, vectors of eight.

#include <cuda_bf16.h>
#include <cuda_fp16.h>

extern "C" __global__ void to_bf16(const float* __restrict__ x, __nv_bfloat16* __restrict__ y, int n) {
    int i = (blockIdx.x * blockDim.x + threadIdx.x) * 2;
    if (i + 1 < n) {
        *reinterpret_cast<__nv_bfloat162*>(y + i) = __floats2bfloat162_rn(x[i], x[i + 1]);
    } else if (i < n) {
        y[i] = __float2bfloat16(x[i]);
    }
}

extern "C" __global__ void to_f16(const float* __restrict__ x, __half* __restrict__ y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = __float2half(x[i]);
}

extern "C" __global__ void from_bf16(const uint4* __restrict__ x, float* __restrict__ y, int n_vectors) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n_vectors) return;
    uint4 bits = x[i];
    const __nv_bfloat162* pairs = reinterpret_cast<const __nv_bfloat162*>(&bits);
    for (int j = 0; j < 4; ++j) {
        float2 pair = __bfloat1622float2(pairs[j]);
        y[i * 8 + j * 2] = pair.x;
        y[i * 8 + j * 2 + 1] = pair.y;
    }
}

extern "C" __global__ void packed(const __nv_bfloat162* __restrict__ a, const __nv_bfloat162* __restrict__ b,
                                  const __half2* __restrict__ c, const __half2* __restrict__ d, __nv_bfloat162* __restrict__ y,
                                  __half2* __restrict__ z, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = __hmax2(__hfma2(a[i], b[i], a[i]), __hmul2(a[i], b[i]));
    z[i] = __hadd2(__hmul2(c[i], d[i]), __hmin2(c[i], __hsub2(c[i], d[i])));
}
