/* What this machine can do: fused multiply-adds from registers, and bytes from and to memory.
 *
 * usage: machine THREADS     prints {"gflops": …, "gigabytes": …}: 1e9 operations and 1e9 bytes a second, best of several turns.
 * Bytes are those of the triad a = b + s * c of STREAM (McCalpin 1995): two arrays read, one written, as the program sees it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* As wide as the registers: a wider vector would be several of them, and more chains than there are registers. */
#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
enum { CHAINS = 12, REPEATS = 400000, ELEMENTS = 1 << 24, TURNS = 30 };

typedef float vector __attribute__((vector_size(LANES * sizeof(float))));

static float *a, *b, *c;
static int n_threads;
static pthread_barrier_t barrier;
static double gflops, gigabytes;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

/* Independent chains, as many as hide the latency of two units; the result is used, so nothing is left out. */
static float multiply_add(void) {
    vector x[CHAINS], factor, term;
    for (int lane = 0; lane < LANES; lane++) factor[lane] = 0.999f, term[lane] = 0.001f;
    for (int i = 0; i < CHAINS; i++) x[i] = term * (float)i;
    for (int n = 0; n < REPEATS; n++) {
#pragma GCC unroll 12
        for (int i = 0; i < CHAINS; i++) x[i] = x[i] * factor + term;
    }
    float sum = 0;
    for (int i = 0; i < CHAINS; i++)
        for (int lane = 0; lane < LANES; lane++) sum += x[i][lane];
    return sum;
}

static void triad(long first, long last) {
    for (long i = first; i < last; i++) a[i] = b[i] + 3.0f * c[i];
}

static void *work(void *argument) {
    long me = (long)argument, first = me * ELEMENTS / n_threads, last = (me + 1) * ELEMENTS / n_threads;
    volatile float sink;
    /* Each thread touches its own part first, so that its pages lie near it. */
    for (long i = first; i < last; i++) a[i] = 0, b[i] = 1, c[i] = 2;
    for (int turn = 0; turn < TURNS; turn++) {
        pthread_barrier_wait(&barrier);
        double begun = now();
        sink = multiply_add();
        pthread_barrier_wait(&barrier);
        double rate = 2e-9 * LANES * CHAINS * (double)REPEATS * n_threads / (now() - begun);
        if (me == 0 && rate > gflops) gflops = rate;
        pthread_barrier_wait(&barrier);
        begun = now();
        triad(first, last);
        pthread_barrier_wait(&barrier);
        rate = 3e-9 * sizeof(float) * (double)ELEMENTS / (now() - begun);
        if (me == 0 && rate > gigabytes) gigabytes = rate;
    }
    (void)sink;
    return NULL;
}

int main(int n, char **arguments) {
    n_threads = n > 1 ? atoi(arguments[1]) : 1;
    a = malloc(ELEMENTS * sizeof *a), b = malloc(ELEMENTS * sizeof *b), c = malloc(ELEMENTS * sizeof *c);
    if (n_threads < 1 || n_threads > 256 || !a || !b || !c) return 1;
    pthread_t threads[256];
    pthread_barrier_init(&barrier, NULL, n_threads);
    for (long i = 0; i < n_threads; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < n_threads; i++) pthread_join(threads[i], NULL);
    printf("{\"gflops\": %.1f, \"gigabytes\": %.1f}\n", gflops, gigabytes);
    return 0;
}
