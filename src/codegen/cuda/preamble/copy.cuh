__device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// Asynchronous copies from global to shared memory: so many bytes, of which the first come from memory and the rest are zeros.
__device__ __forceinline__ void copy_4(void* to, const void* from, int bytes) {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}

__device__ __forceinline__ void copy_16(void* to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}

// What was asked for since the last mark is one group of copies.
__device__ __forceinline__ void mark_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most so many groups are under way.
template <int GROUPS>
__device__ __forceinline__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}
