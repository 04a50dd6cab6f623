__device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

// Copies to shared memory: so many bytes, of which the first come from memory and the rest are zeros. From global memory (FAR) they go
// on while the thread does, from elsewhere they are done at once.
template <bool FAR>
__device__ __forceinline__ void copy_4(void* to, const void* from, int bytes) {
    if (FAR) asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
    else *static_cast<unsigned*>(to) = bytes > 0 ? *static_cast<const unsigned*>(from) : 0u;
}

template <bool FAR>
__device__ __forceinline__ void copy_16(void* to, const void* from, int bytes) {
    if (FAR) {
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
    } else if (bytes == 16) {
        *static_cast<uint4*>(to) = *static_cast<const uint4*>(from);
    } else {
        #pragma unroll
        for (int i = 0; i < 8; ++i) {
            static_cast<unsigned short*>(to)[i] = i * 2 < bytes ? static_cast<const unsigned short*>(from)[i] : (unsigned short)0;
        }
    }
}

// What was asked for since the last mark is one group of copies.
__device__ __forceinline__ void mark_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most so many groups are under way.
template <int GROUPS>
__device__ __forceinline__ void await_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}
