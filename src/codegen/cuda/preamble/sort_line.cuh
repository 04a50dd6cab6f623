// Sorts n keys, in rising order; every thread of the block comes here. Keys beyond the end count as greater than all.
template <int THREADS>
__device__ void sort_line(unsigned long long* keys, int n) {
    __syncthreads();
    for (int length = 2; length / 2 < n; length *= 2) {
        for (int apart = length / 2; apart > 0; apart /= 2) {
            // The first comparisons of a length meet from both ends, those after it are `apart`.
            const bool from_ends = apart == length / 2;
            for (int pair = threadIdx.x; pair < (n + 1) / 2 + apart; pair += THREADS) {
                const int group = pair / apart, place = pair % apart;
                const int low = group * 2 * apart + place;
                const int high = from_ends ? group * length + length - 1 - place : low + apart;
                if (high < n && keys[high] < keys[low]) {
                    const unsigned long long greater = keys[low];
                    keys[low] = keys[high];
                    keys[high] = greater;
                }
            }
            __syncthreads();
        }
    }
}
