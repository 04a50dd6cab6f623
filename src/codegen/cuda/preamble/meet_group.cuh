// A barrier of so many neighbouring threads of a block.
template <int THREADS>
__device__ __forceinline__ void meet_group() {
    asm volatile("bar.sync %0, %1;" ::"r"(1 + threadIdx.x / THREADS), "n"(THREADS) : "memory");
}
