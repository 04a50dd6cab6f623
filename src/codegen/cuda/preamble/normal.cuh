// Two normal numbers of two words: Box and Muller (1958). The radius comes from (0, 1].
__device__ __forceinline__ void normal_pair(float& first, float& second, unsigned a, unsigned b) {
    const double radius = sqrt(-2.0 * log(((double)a + 1.0) / 4294967296.0));
    double sine, cosine;
    sincospi((double)b / 2147483648.0, &sine, &cosine);
    first = (float)(radius * cosine), second = (float)(radius * sine);
}

__device__ __forceinline__ void normal_four(float (&to)[4], long long block, unsigned site, const StepEnv* env) {
    const uint4 words = philox(block, site, env);
    normal_pair(to[0], to[1], words.x, words.y);
    normal_pair(to[2], to[3], words.z, words.w);
}
