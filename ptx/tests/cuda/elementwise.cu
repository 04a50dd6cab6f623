// arch: sm_80 sm_90
// Maps: vector loads in a grid-stride loop with a tail, functions of the mathematical library.

extern "C" __global__ void saxpy(float a, const float* __restrict__ x, float* __restrict__ y, int n) {
    int stride = gridDim.x * blockDim.x;
    int first = blockIdx.x * blockDim.x + threadIdx.x;
    for (int i = first; i < n / 4; i += stride) {
        float4 u = reinterpret_cast<const float4*>(x)[i];
        float4 v = reinterpret_cast<float4*>(y)[i];
        v.x = fmaf(a, u.x, v.x);
        v.y = fmaf(a, u.y, v.y);
        v.z = fmaf(a, u.z, v.z);
        v.w = fmaf(a, u.w, v.w);
        reinterpret_cast<float4*>(y)[i] = v;
    }
    for (int i = n / 4 * 4 + first; i < n; i += stride) y[i] = fmaf(a, x[i], y[i]);
}

extern "C" __global__ void gelu(const float* __restrict__ x, float* __restrict__ y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    y[i] = 0.5f * v * (1.0f + tanhf(0.7978845608f * (v + 0.044715f * v * v * v)));
}

// Accurate library functions, in the order 0: exp, 1: log, 2: sin, 3: cos, 4: erf, 5: pow(|x|, 1.3), 6: rsqrt, 7: 1 / x.
extern "C" __global__ void library(const float* __restrict__ x, float* __restrict__ y, int n, int function) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    switch (function) {
        case 0: v = expf(v); break;
        case 1: v = logf(fabsf(v)); break;
        case 2: v = sinf(v); break;
        case 3: v = cosf(v); break;
        case 4: v = erff(v); break;
        case 5: v = powf(fabsf(v), 1.3f); break;
        case 6: v = rsqrtf(fabsf(v)); break;
        case 7: v = 1.0f / v; break;
        default: v = -1.0f;
    }
    y[i] = v;
}

// One AdamW step; the moments are updated in place.
extern "C" __global__ void adamw(float* __restrict__ p, const float* __restrict__ g, float* __restrict__ m,
                                 float* __restrict__ v, int n, float lr, float decay, float correct1, float correct2) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float gradient = g[i];
    float first = 0.9f * m[i] + 0.1f * gradient;
    float second = 0.999f * v[i] + 0.001f * gradient * gradient;
    m[i] = first;
    v[i] = second;
    p[i] = p[i] - lr * (first * correct1 / (sqrtf(second * correct2) + 1e-8f) + decay * p[i]);
}
