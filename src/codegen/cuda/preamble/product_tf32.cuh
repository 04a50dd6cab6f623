// sums += lhs * rhs for M x N elements of a product of f32 factors that are rounded to tf32, on tensor cores, by eight warps in two rows
// of four. Tiles of 16 terms come through two stages in shared memory, where what lies across k are neighbours.
// LHS_BY_K, RHS_BY_K: neighbours in memory lie along k. LHS_FOURS, RHS_FOURS: across it they do, and four can be copied at once.
// LHS_FAR, RHS_FAR: a factor lies in global memory for sure. `left`, `right`: what makes a factor that does not lie there.
template <int SIDE, bool FAR, bool BY_K, bool FOURS, class Index>
__device__ __forceinline__ void fetch_tf32(
    float (&tile)[16][SIDE + 8], const float* from, Index across, Index along, Index side, Index terms) {
    if (FOURS) {
        for (int e = threadIdx.x; e < SIDE * 4; e += 256) {
            const int l = e / (SIDE / 4), i = e % (SIDE / 4) * 4;
            const Index left = l < terms ? side - i : 0;
            const int bytes = left < 0 ? 0 : left < 4 ? (int)left * 4 : 16;
            copy_16<FAR>(&tile[l][i], bytes > 0 ? from + i + l * along : from, bytes);
        }
    } else {
        for (int e = threadIdx.x; e < SIDE * 16; e += 256) {
            const int l = BY_K ? e % 16 : e / SIDE, i = BY_K ? e / 16 : e % SIDE;
            const bool inside = i < side && l < terms;
            copy_4<FAR>(&tile[l][i], inside ? from + i * across + l * along : from, inside ? 4 : 0);
        }
    }
}

// The nearest number with ten bits of fraction, of two the one that is farther from 0.
__device__ __forceinline__ unsigned round_tf32(float x) {
    unsigned nearest;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(nearest) : "f"(x));
    return nearest;
}

template <int M, int N, bool LHS_FAR, bool LHS_BY_K, bool LHS_FOURS, bool RHS_FAR, bool RHS_BY_K, bool RHS_FOURS, class Index,
          class Left = Copied, class Right = Copied>
__device__ __forceinline__ void add_product_tf32(
    float (&sums)[M / 32][N / 32][4], unsigned char* stages, const float* lhs, Index lhs_row, Index lhs_k, Index m,
    const float* rhs, Index rhs_k, Index rhs_column, Index n, Index k, Left left = {}, Right right = {}) {
    // Eight columns more than there are, so that the lanes of a warp touch every bank once.
    float (*const lhs_tile)[16][M + 8] = reinterpret_cast<float (*)[16][M + 8]>(stages);
    float (*const rhs_tile)[16][N + 8] = reinterpret_cast<float (*)[16][N + 8]>(lhs_tile + 2);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first_row = warp / 4 * (M / 2) + lane / 4, first_column = warp % 4 * (N / 4) + lane / 4;
    auto fetch = [&](int stage, Index start) {
        if (Left::IS_MADE) left.begin(start);
        else fetch_tf32<M, LHS_FAR, LHS_BY_K, LHS_FOURS, Index>(lhs_tile[stage], lhs + start * lhs_k, lhs_row, lhs_k, m, k - start);
        if (Right::IS_MADE) right.begin(start);
        else fetch_tf32<N, RHS_FAR, RHS_BY_K, RHS_FOURS, Index>(rhs_tile[stage], rhs + start * rhs_k, rhs_column, rhs_k, n, k - start);
        mark_copies();
    };
    auto make = [&](int stage, Index start) {
        left.end(start, [&](int l, int i, float x) { lhs_tile[stage][l][i] = x; });
        right.end(start, [&](int l, int j, float x) { rhs_tile[stage][l][j] = x; });
    };
    if (k > 0) fetch(0, 0), make(0, 0);
    int stage = 0;
    for (Index start = 0; start < k; start += 16, stage = 1 - stage) {
        if (start + 16 < k) {
            fetch(1 - stage, start + 16);
            await_copies<1>();
        } else {
            await_copies<0>();
        }
        __syncthreads();
        // Beyond the last term both factors are 0.
        #pragma unroll
        for (int inner = 0; inner < 16; inner += 8) {
            const int l = inner + lane % 4;
            unsigned a[M / 32][4], b[N / 32][2];
            #pragma unroll
            for (int i = 0; i < M / 32; ++i) {
                const int row = first_row + i * 16;
                a[i][0] = round_tf32(lhs_tile[stage][l][row]), a[i][1] = round_tf32(lhs_tile[stage][l][row + 8]);
                a[i][2] = round_tf32(lhs_tile[stage][l + 4][row]), a[i][3] = round_tf32(lhs_tile[stage][l + 4][row + 8]);
            }
            #pragma unroll
            for (int j = 0; j < N / 32; ++j) {
                const int column = first_column + j * 8;
                b[j][0] = round_tf32(rhs_tile[stage][l][column]), b[j][1] = round_tf32(rhs_tile[stage][l + 4][column]);
            }
            #pragma unroll
            for (int i = 0; i < M / 32; ++i)
                #pragma unroll
                for (int j = 0; j < N / 32; ++j)
                    asm volatile(
                        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                        : "+f"(sums[i][j][0]), "+f"(sums[i][j][1]), "+f"(sums[i][j][2]), "+f"(sums[i][j][3])
                        : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
        }
        if (start + 16 < k) make(1 - stage, start + 16);
        __syncthreads();
    }
}
