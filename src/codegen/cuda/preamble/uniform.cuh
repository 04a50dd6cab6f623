// Four numbers of [0, 1), from the upper 24 bits.
__device__ __forceinline__ void uniform_four(float (&to)[4], long long block, unsigned site, const StepEnv* env) {
    const uint4 words = philox(block, site, env);
    to[0] = (float)(words.x >> 8) * 0x1p-24f, to[1] = (float)(words.y >> 8) * 0x1p-24f;
    to[2] = (float)(words.z >> 8) * 0x1p-24f, to[3] = (float)(words.w >> 8) * 0x1p-24f;
}
