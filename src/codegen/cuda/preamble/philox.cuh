// Philox 4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", 2011).
__device__ __forceinline__ uint4 philox(long long block, unsigned site, const StepEnv* env) {
    unsigned x = (unsigned)block, y = (unsigned)(block >> 32), z = site, w = (unsigned)env->step;
    unsigned key0 = (unsigned)env->seed, key1 = (unsigned)(env->seed >> 32);
    #pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xd2511f53u, x), low0 = 0xd2511f53u * x;
        const unsigned high1 = __umulhi(0xcd9e8d57u, z), low1 = 0xcd9e8d57u * z;
        x = high1 ^ y ^ key0, y = low1, z = high0 ^ w ^ key1, w = low0;
        key0 += 0x9e3779b9u, key1 += 0xbb67ae85u;
    }
    return make_uint4(x, y, z, w);
}
