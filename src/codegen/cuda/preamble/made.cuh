// A factor of a product that is copied as it lies in memory: nothing is made.
struct Copied {
    static constexpr bool IS_MADE = false;
    template <class Index> __device__ __forceinline__ void begin(Index) {}
    template <class Index, class Put> __device__ __forceinline__ void end(Index, Put) {}
};

// A factor whose elements are made where it comes into shared memory, in tiles of SIDE by TERMS. What a thread makes its elements of
// is loaded before the tile that is there is multiplied, and waits in registers until then.
// BY_K: neighbours in memory lie along k. `side`, `terms`: how many there are from the first tile on.
template <int SIDE, int TERMS, bool BY_K, class Loaded, class Index, class Load, class Make>
struct Made {
    static constexpr bool IS_MADE = true;
    static constexpr int N = SIDE * TERMS / 256;
    const Load load;
    const Make make;
    const Index side, terms;
    Loaded loaded[N];

    static __device__ __forceinline__ int term(int n) {
        const int e = threadIdx.x + n * 256;
        return BY_K ? e % TERMS : e / SIDE;
    }
    static __device__ __forceinline__ int across(int n) {
        const int e = threadIdx.x + n * 256;
        return BY_K ? e / TERMS : e % SIDE;
    }
    __device__ __forceinline__ void begin(Index start) {
        #pragma unroll
        for (int n = 0; n < N; ++n) {
            if (across(n) < side && start + term(n) < terms) loaded[n] = load(across(n), start + term(n));
        }
    }
    template <class Put>
    __device__ __forceinline__ void end(Index start, Put put) {
        #pragma unroll
        for (int n = 0; n < N; ++n) {
            const bool inside = across(n) < side && start + term(n) < terms;
            put(term(n), across(n), inside ? make(loaded[n], across(n), start + term(n)) : 0);
        }
    }
};

template <int SIDE, int TERMS, bool BY_K, class Loaded, class Index, class Load, class Make>
__device__ __forceinline__ Made<SIDE, TERMS, BY_K, Loaded, Index, Load, Make> made(Load load, Make make, Index side, Index terms) {
    return {load, make, side, terms, {}};
}
