// arch: sm_80 sm_90
// Control flow that diverges: loops of unequal length with breaks, a switch, a function that is not inlined, an array in
// local memory, votes.

__constant__ int table[8] = {3, 1, 4, 1, 5, 9, 2, 6};
__device__ unsigned launches = 0;

// Steps of the Collatz sequence until 1, at most 200; odd threads give up at 50.
extern "C" __global__ void collatz(const unsigned* __restrict__ x, unsigned* __restrict__ steps, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    unsigned long long v = x[i];
    unsigned count = 0;
    while (v != 1) {
        if (count == 200) break;
        if (i % 2 == 1 && count == 50) {
            count = 1000;
            break;
        }
        v = v % 2 == 0 ? v / 2 : 3 * v + 1;
        ++count;
        if (v == 0) continue;
    }
    steps[i] = count;
}

extern "C" __global__ void choose(const int* __restrict__ x, int* __restrict__ y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int v = x[i], r = 0;
    switch (v & 15) {
        case 0: r = v * 3; break;
        case 1: r = v ^ 0x55; break;
        case 2: r = __popc(v); break;
        case 3: r = __clz(v); break;
        case 4: r = __brev(v); break;
        case 5: r = __ffs(v); break;
        case 6: r = v / 7; break;
        case 7: r = v % 7; // falls through
        case 8: r += table[v >> 4 & 7]; break;
        case 9: r = __byte_perm(v, ~v, 0x3715); break;
        case 10: r = min(v, 1000) - max(v, -1000); break;
        case 11: r = abs(v) >> 3; break;
        case 12: r = __funnelshift_l(v, v * 5, 7); break;
        case 13: r = __mulhi(v, 123456789); break;
        case 14: r = __sad(v, 99, 5u); break;
        default: r = __ffs(v) + (int)((long long)v * v >> 13);
    }
    y[i] = r;
}

__device__ __noinline__ int ackermann(int m, int n) {
    return m == 0 ? n + 1 : n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

extern "C" __global__ void recursive(int* y, int n) {
    int i = threadIdx.x;
    if (i < n) y[i] = ackermann(2, i % 5);
}

// Sorts eight numbers a thread in local memory: the indices are not known when compiling.
extern "C" __global__ void sort_eight(int* __restrict__ x, int n, int length) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int values[8];
    for (int j = 0; j < length; ++j) values[j] = x[i * length + j];
    for (int j = 1; j < length; ++j) {
        int v = values[j], p = j;
        while (p > 0 && values[p - 1] > v) {
            values[p] = values[p - 1];
            --p;
        }
        values[p] = v;
    }
    for (int j = 0; j < length; ++j) x[i * length + j] = values[j];
}

// Keeps the even numbers of each warp, in order, by ballots; count[w]: how many.
extern "C" __global__ void compact(const int* __restrict__ x, int* __restrict__ y, int* __restrict__ count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x, lane = threadIdx.x % 32;
    unsigned kept = __ballot_sync(0xffffffffu, x[i] % 2 == 0);
    if (kept >> lane & 1) y[i - lane + __popc(kept & ((1u << lane) - 1))] = x[i];
    if (lane == 0) count[i / 32] = __popc(kept);
    __syncwarp();
    if (__all_sync(0xffffffffu, x[i] > 0) && lane == 1) count[i / 32] += 100;
    if (__any_sync(0xffffffffu, x[i] == 7) && lane == 1) count[i / 32] += 1000;
    if (i == 0) atomicAdd(&launches, 1u);
}

extern "C" __global__ void launched(unsigned* y) { *y = launches; }

// What a block counts with its barriers.
extern "C" __global__ void count_in_barrier(const int* __restrict__ x, int* __restrict__ y) {
    int v = x[blockIdx.x * blockDim.x + threadIdx.x];
    int count = __syncthreads_count(v > 0);
    int all = __syncthreads_and(v > 0);
    int any = __syncthreads_or(v > 0);
    if (threadIdx.x == 0) y[blockIdx.x] = count + 10000 * all + 100000 * any;
}

// Sums by warp reductions and matches.
extern "C" __global__ void reduce_and_match(const unsigned* __restrict__ x, unsigned* __restrict__ y) {
    unsigned v = x[threadIdx.x];
    unsigned sum = __reduce_add_sync(0xffffffffu, v), most = __reduce_max_sync(0xffffffffu, v);
    unsigned same = __match_any_sync(0xffffffffu, v % 4);
    int all;
    __match_all_sync(0xffffffffu, v / 1000, &all);
    unsigned up = __shfl_up_sync(0xffffffffu, v, 3), down = __shfl_down_sync(0xffffffffu, v, 5, 16);
    y[threadIdx.x] = sum ^ most << 8 ^ same ^ all << 30 ^ up << 4 ^ down << 12;
}
