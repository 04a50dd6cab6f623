// sums += lhs * rhs for M x N elements of a product of bf16 factors, on tensor cores, by eight warps in two rows of four. Tiles of 32
// terms come through two stages in shared memory and lie there as in global memory: along k or across it.
// LHS_BY_K, RHS_BY_K: neighbours lie along k. LHS_EIGHTS, RHS_EIGHTS: eight of them can be copied at once.
// LHS_FAR, RHS_FAR: a factor lies in global memory for sure. `left`, `right`: what makes a factor that does not lie there.
template <int ROWS, int COLUMNS, bool FAR, bool EIGHTS, class Index>
__device__ __forceinline__ void fetch_bf16(
    unsigned short* tile, const unsigned short* from, Index row_stride, Index column_stride, Index rows, Index columns) {
    constexpr int WIDTH = COLUMNS + 8;
    if (EIGHTS) {
        for (int e = threadIdx.x; e < ROWS * COLUMNS / 8; e += 256) {
            const int row = e / (COLUMNS / 8), column = e % (COLUMNS / 8) * 8;
            const Index left = row < rows ? columns - column : 0;
            const int bytes = left < 0 ? 0 : left < 8 ? (int)left * 2 : 16;
            copy_16<FAR>(tile + row * WIDTH + column, bytes > 0 ? from + row * row_stride + column : from, bytes);
        }
    } else {
        for (int e = threadIdx.x; e < ROWS * COLUMNS; e += 256) {
            const int row = e / COLUMNS, column = e % COLUMNS;
            const bool inside = row < rows && column < columns;
            tile[row * WIDTH + column] = inside ? from[row * row_stride + column * column_stride] : (unsigned short)0;
        }
    }
}

template <int M, int N, bool LHS_FAR, bool LHS_BY_K, bool LHS_EIGHTS, bool RHS_FAR, bool RHS_BY_K, bool RHS_EIGHTS, class Index,
          class Left = Copied, class Right = Copied>
__device__ __forceinline__ void add_product_bf16(
    float (&sums)[M / 32][N / 32][4], unsigned char* stages, const unsigned short* lhs, Index lhs_row, Index lhs_k, Index m,
    const unsigned short* rhs, Index rhs_k, Index rhs_column, Index n, Index k, Left left = {}, Right right = {}) {
    constexpr int LHS_WIDTH = LHS_BY_K ? 40 : M + 8, RHS_WIDTH = RHS_BY_K ? 40 : N + 8;
    constexpr int LHS_SIZE = LHS_BY_K ? M * 40 : 32 * (M + 8), RHS_SIZE = RHS_BY_K ? N * 40 : 32 * (N + 8);
    unsigned short (*const lhs_tile)[LHS_SIZE] = reinterpret_cast<unsigned short (*)[LHS_SIZE]>(stages);
    unsigned short (*const rhs_tile)[RHS_SIZE] = reinterpret_cast<unsigned short (*)[RHS_SIZE]>(lhs_tile + 2);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first_row = warp / 4 * (M / 2), first_column = warp % 4 * (N / 4);
    auto fetch = [&](int stage, Index start) {
        const unsigned short *a = lhs + start * lhs_k, *b = rhs + start * rhs_k;
        if (Left::IS_MADE) left.begin(start);
        else if (LHS_BY_K) fetch_bf16<M, 32, LHS_FAR, LHS_EIGHTS, Index>(lhs_tile[stage], a, lhs_row, lhs_k, m, k - start);
        else fetch_bf16<32, M, LHS_FAR, LHS_EIGHTS, Index>(lhs_tile[stage], a, lhs_k, lhs_row, k - start, m);
        if (Right::IS_MADE) right.begin(start);
        else if (RHS_BY_K) fetch_bf16<N, 32, RHS_FAR, RHS_EIGHTS, Index>(rhs_tile[stage], b, rhs_column, rhs_k, n, k - start);
        else fetch_bf16<32, N, RHS_FAR, RHS_EIGHTS, Index>(rhs_tile[stage], b, rhs_k, rhs_column, k - start, n);
        mark_copies();
    };
    auto make = [&](int stage, Index start) {
        left.end(start, [&](int l, int i, unsigned short x) { lhs_tile[stage][LHS_BY_K ? i * LHS_WIDTH + l : l * LHS_WIDTH + i] = x; });
        right.end(start, [&](int l, int j, unsigned short x) { rhs_tile[stage][RHS_BY_K ? j * RHS_WIDTH + l : l * RHS_WIDTH + j] = x; });
    };
    if (k > 0) fetch(0, 0), make(0, 0);
    int stage = 0;
    for (Index start = 0; start < k; start += 32, stage = 1 - stage) {
        if (start + 32 < k) {
            fetch(1 - stage, start + 32);
            await_copies<1>();
        } else {
            await_copies<0>();
        }
        __syncthreads();
        #pragma unroll
        for (int inner = 0; inner < 32; inner += 16) {
            unsigned a[M / 32][4], b[N / 32][2];
            #pragma unroll
            for (int i = 0; i < M / 32; ++i) {
                const int row = first_row + i * 16;
                if (LHS_BY_K) {
                    const unsigned short* at = lhs_tile[stage] + (row + lane % 16) * LHS_WIDTH + inner + lane / 16 * 8;
                    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                                 : "=r"(a[i][0]), "=r"(a[i][1]), "=r"(a[i][2]), "=r"(a[i][3]) : "r"(shared_address(at)));
                } else {
                    const unsigned short* at =
                        lhs_tile[stage] + (inner + lane / 16 * 8 + lane % 8) * LHS_WIDTH + row + lane / 8 % 2 * 8;
                    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                                 : "=r"(a[i][0]), "=r"(a[i][1]), "=r"(a[i][2]), "=r"(a[i][3]) : "r"(shared_address(at)));
                }
            }
            #pragma unroll
            for (int j = 0; j < N / 32; ++j) {
                const int column = first_column + j * 8;
                if (RHS_BY_K) {
                    const unsigned short* at =
                        rhs_tile[stage] + (column + lane % 8) * RHS_WIDTH + inner + lane / 8 % 2 * 8;
                    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                                 : "=r"(b[j][0]), "=r"(b[j][1]) : "r"(shared_address(at)));
                } else {
                    const unsigned short* at = rhs_tile[stage] + (inner + lane % 16) * RHS_WIDTH + column;
                    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                                 : "=r"(b[j][0]), "=r"(b[j][1]) : "r"(shared_address(at)));
                }
            }
            #pragma unroll
            for (int i = 0; i < M / 32; ++i)
                #pragma unroll
                for (int j = 0; j < N / 32; ++j)
                    asm volatile(
                        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                        : "+f"(sums[i][j][0]), "+f"(sums[i][j][1]), "+f"(sums[i][j][2]), "+f"(sums[i][j][3])
                        : "r"(a[i][0]), "r"(a[i][1]), "r"(a[i][2]), "r"(a[i][3]), "r"(b[j][0]), "r"(b[j][1]));
        }
        if (start + 32 < k) make(1 - stage, start + 32);
        __syncthreads();
    }
}
