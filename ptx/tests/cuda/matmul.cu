// arch: sm_80 sm_90
// Three matrix products c[m, n] = a[m, k] @ b[k, n], all row-major: through shared memory in f32, with tensor cores
// in bf16 (ldmatrix, a pipeline of cp.async) and in tf32.

#include <cuda_bf16.h>

// A block makes 16 x 16 elements.
extern "C" __global__ void matmul_tiled(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                                        int m, int n, int k) {
    __shared__ float tile_a[16][16];
    __shared__ float tile_b[16][17];
    int row = blockIdx.y * 16 + threadIdx.y, column = blockIdx.x * 16 + threadIdx.x;
    float sum = 0.0f;
    for (int start = 0; start < k; start += 16) {
        int p = start + threadIdx.x, q = start + threadIdx.y;
        tile_a[threadIdx.y][threadIdx.x] = row < m && p < k ? a[row * k + p] : 0.0f;
        tile_b[threadIdx.y][threadIdx.x] = q < k && column < n ? b[q * n + column] : 0.0f;
        __syncthreads();
        for (int i = 0; i < 16; ++i) sum = fmaf(tile_a[threadIdx.y][i], tile_b[i][threadIdx.x], sum);
        __syncthreads();
    }
    if (row < m && column < n) c[row * n + column] = sum;
}

__device__ unsigned shared_address(const void* p) { return static_cast<unsigned>(__cvta_generic_to_shared(p)); }

// 16 bytes, of which `bytes` come from memory and the rest are zeros.
__device__ void copy_16(void* to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes));
}

// A block of four warps makes 64 x 64 elements in steps of 32 over k; n and k are multiples of 8.
// A warp makes 32 x 32: two by four products of 16 x 8.
extern "C" __global__ void __launch_bounds__(128) matmul_bf16(const __nv_bfloat16* __restrict__ a, const __nv_bfloat16* __restrict__ b,
                                                            float* __restrict__ c, int m, int n, int k) {
    __shared__ __align__(16) __nv_bfloat16 tile_a[2][64][40];
    __shared__ __align__(16) __nv_bfloat16 tile_b[2][32][72];
    int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    int first_row = blockIdx.y * 64, first_column = blockIdx.x * 64;
    int warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
    float sums[2][4][4] = {};

    auto fetch = [&](int stage, int start) {
        for (int i = thread; i < 256; i += 128) {
            int row = i / 4, column = i % 4 * 8;
            bool inside = first_row + row < m && start + column < k;
            copy_16(&tile_a[stage][row][column], inside ? a + (size_t)(first_row + row) * k + start + column : a, inside ? 16 : 0);
        }
        for (int i = thread; i < 256; i += 128) {
            int row = i / 8, column = i % 8 * 8;
            bool inside = start + row < k && first_column + column < n;
            copy_16(&tile_b[stage][row][column], inside ? b + (size_t)(start + row) * n + first_column + column : b, inside ? 16 : 0);
        }
        asm volatile("cp.async.commit_group;");
    };

    int n_steps = (k + 31) / 32;
    fetch(0, 0);
    for (int step = 0; step < n_steps; ++step) {
        int stage = step % 2;
        if (step + 1 < n_steps) {
            fetch(1 - stage, (step + 1) * 32);
            asm volatile("cp.async.wait_group 1;");
        } else {
            asm volatile("cp.async.wait_group 0;");
        }
        __syncthreads();
        for (int inner = 0; inner < 32; inner += 16) {
            unsigned fa[2][4], fb[4][2];
            for (int i = 0; i < 2; ++i)
                asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                             : "=r"(fa[i][0]), "=r"(fa[i][1]), "=r"(fa[i][2]), "=r"(fa[i][3])
                             : "r"(shared_address(&tile_a[stage][warp_row + i * 16 + lane % 16][inner + lane / 16 * 8])));
            for (int j = 0; j < 4; ++j)
                asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                             : "=r"(fb[j][0]), "=r"(fb[j][1])
                             : "r"(shared_address(&tile_b[stage][inner + lane % 16][warp_column + j * 8])));
            for (int i = 0; i < 2; ++i)
                for (int j = 0; j < 4; ++j)
                    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                                 : "+f"(sums[i][j][0]), "+f"(sums[i][j][1]), "+f"(sums[i][j][2]), "+f"(sums[i][j][3])
                                 : "r"(fa[i][0]), "r"(fa[i][1]), "r"(fa[i][2]), "r"(fa[i][3]), "r"(fb[j][0]), "r"(fb[j][1]));
        }
        __syncthreads();
    }
    for (int i = 0; i < 2; ++i)
        for (int j = 0; j < 4; ++j)
            for (int e = 0; e < 4; ++e) {
                int row = first_row + warp_row + i * 16 + lane / 4 + e / 2 * 8;
                int column = first_column + warp_column + j * 8 + lane % 4 * 2 + e % 2;
                if (row < m && column < n) c[(size_t)row * n + column] = sums[i][j][e];
            }
}

__device__ unsigned to_tf32(float v) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
    return bits;
}

// A warp makes 16 x 8 elements straight from global memory.
extern "C" __global__ void matmul_tf32(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int m,
                                       int n, int k) {
    int lane = threadIdx.x, group = lane / 4, place = lane % 4;
    int first_row = blockIdx.y * 16, first_column = blockIdx.x * 8;
    float sums[4] = {};
    auto from_a = [&](int row, int p) { return to_tf32(row < m && p < k ? a[row * k + p] : 0.0f); };
    auto from_b = [&](int p, int column) { return to_tf32(p < k && column < n ? b[p * n + column] : 0.0f); };
    for (int start = 0; start < k; start += 8) {
        unsigned a0 = from_a(first_row + group, start + place), a1 = from_a(first_row + group + 8, start + place);
        unsigned a2 = from_a(first_row + group, start + place + 4), a3 = from_a(first_row + group + 8, start + place + 4);
        unsigned b0 = from_b(start + place, first_column + group), b1 = from_b(start + place + 4, first_column + group);
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
    }
    for (int e = 0; e < 4; ++e) {
        int row = first_row + group + e / 2 * 8, column = first_column + place * 2 + e % 2;
        if (row < m && column < n) c[row * n + column] = sums[e];
    }
}
