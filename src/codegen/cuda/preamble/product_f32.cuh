// sums += lhs * rhs for M x N elements of a product, over all of k in its order, by 256 threads. A thread has the elements of every
// 16th row and every 16th column. Tiles of 16 terms come through two stages in shared memory: one is read while the other is filled.
// LHS_BY_K, RHS_BY_K: neighbours in memory lie along k. LHS_FOURS, RHS_FOURS: across it they do, and four can be copied at once.
// LHS_FAR, RHS_FAR: a factor lies in global memory for sure. `left`, `right`: what makes a factor that does not lie there.
template <int M, int N, bool LHS_FAR, bool LHS_BY_K, bool LHS_FOURS, bool RHS_FAR, bool RHS_BY_K, bool RHS_FOURS, class Index,
          class Left = Copied, class Right = Copied>
__device__ __forceinline__ void add_product_f32(
    float (&sums)[M / 16][N / 16], unsigned char* stages, const float* lhs, Index lhs_row, Index lhs_k, Index m,
    const float* rhs, Index rhs_k, Index rhs_column, Index n, Index k, Left left = {}, Right right = {}) {
    float (*const lhs_tile)[16][M + 4] = reinterpret_cast<float (*)[16][M + 4]>(stages);
    float (*const rhs_tile)[16][N + 4] = reinterpret_cast<float (*)[16][N + 4]>(lhs_tile + 2);
    const int thread = threadIdx.x;
    auto fetch = [&](int stage, Index start) {
        if (Left::IS_MADE) {
            left.begin(start);
        } else if (LHS_FOURS) {
            for (int e = thread; e < M * 4; e += 256) {
                const int l = e / (M / 4), i = e % (M / 4) * 4;
                const Index left = start + l < k ? m - i : 0;
                const int bytes = left < 0 ? 0 : left < 4 ? (int)left * 4 : 16;
                copy_16<LHS_FAR>(&lhs_tile[stage][l][i], bytes > 0 ? lhs + i + (start + l) * lhs_k : lhs, bytes);
            }
        } else {
            for (int e = thread; e < M * 16; e += 256) {
                const int l = LHS_BY_K ? e % 16 : e / M, i = LHS_BY_K ? e / 16 : e % M;
                const bool inside = i < m && start + l < k;
                copy_4<LHS_FAR>(&lhs_tile[stage][l][i], inside ? lhs + i * lhs_row + (start + l) * lhs_k : lhs, inside ? 4 : 0);
            }
        }
        if (Right::IS_MADE) {
            right.begin(start);
        } else if (RHS_FOURS) {
            for (int e = thread; e < N * 4; e += 256) {
                const int l = e / (N / 4), j = e % (N / 4) * 4;
                const Index left = start + l < k ? n - j : 0;
                const int bytes = left < 0 ? 0 : left < 4 ? (int)left * 4 : 16;
                copy_16<RHS_FAR>(&rhs_tile[stage][l][j], bytes > 0 ? rhs + (start + l) * rhs_k + j : rhs, bytes);
            }
        } else {
            for (int e = thread; e < N * 16; e += 256) {
                const int l = RHS_BY_K ? e % 16 : e / N, j = RHS_BY_K ? e / 16 : e % N;
                const bool inside = j < n && start + l < k;
                copy_4<RHS_FAR>(&rhs_tile[stage][l][j], inside ? rhs + (start + l) * rhs_k + j * rhs_column : rhs, inside ? 4 : 0);
            }
        }
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
        #pragma unroll 4
        for (int l = 0; l < 16; ++l) {
            float a[M / 16], b[N / 16];
            #pragma unroll
            for (int i = 0; i < M / 16; ++i) a[i] = lhs_tile[stage][l][thread / 16 + i * 16];
            #pragma unroll
            for (int j = 0; j < N / 16; ++j) b[j] = rhs_tile[stage][l][thread % 16 + j * 16];
            #pragma unroll
            for (int i = 0; i < M / 16; ++i)
                #pragma unroll
                for (int j = 0; j < N / 16; ++j) sums[i][j] = __fmaf_rn(a[i], b[j], sums[i][j]);
        }
        if (start + 16 < k) make(1 - stage, start + 16);
        __syncthreads();
    }
}
