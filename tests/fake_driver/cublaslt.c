// A cuBLASLt without a GPU, beside the driver of `driver.c`: it offers three algorithms for each product and makes none. It refuses what
// it did not give, descriptions that are not whole and algorithms that are not its own, and says at the end what was not given back. FAKE_MS
// says how long each algorithm takes (`0.008 0.009 0.005`), FAKE_REFUSED the number of one that it offers and does not run. The functions have
// the types of CUDA's `cublasLt.h`.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Status;
enum { SUCCESS = 0, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
#define NEEDS(condition, error) if (!(condition)) return error

int fakeProduct(void *stream, void *to, size_t bytes, void *workspace, size_t workspace_bytes, int algorithm, double ms);
int fakeCaptures(void);

enum Kind { FREE, HANDLE, PRODUCT, LAYOUT, WISH, N_KINDS };
static const char *names[] = {"free", "handle", "description of a product", "layout", "preference"};
// Of a description: what was set, and its values.
struct Thing { enum Kind kind; int type; uint64_t rows, columns, set; int64_t leading, values[16]; };
static struct Thing things[65536];
static int n_things;

static struct Thing *give(enum Kind kind) {
    if (n_things == 65536) abort();
    things[n_things].kind = kind;
    return &things[n_things++];
}
static struct Thing *known(void *handle, enum Kind kind) {
    struct Thing *thing = handle;
    return thing >= things && thing < things + n_things && thing->kind == kind ? thing : NULL;
}
static Status take(void *handle, enum Kind kind) {
    struct Thing *thing = known(handle, kind);
    NEEDS(thing, INVALID_VALUE);
    thing->kind = FREE;
    return SUCCESS;
}
static Status set(void *handle, enum Kind kind, int which, const void *value, size_t bytes) {
    struct Thing *thing = known(handle, kind);
    NEEDS(thing && which >= 0 && which < 16 && value && (bytes == 4 || bytes == 8), INVALID_VALUE);
    thing->set |= 1u << which;
    if (bytes == 4) thing->values[which] = *(const int32_t *)value;
    else thing->values[which] = *(const int64_t *)value;
    return SUCCESS;
}
static int has(const struct Thing *thing, int which) { return thing->set >> which & 1; }

size_t cublasLtGetVersion(void) { return 130100; }
Status cublasLtCreate(void **handle) { *handle = give(HANDLE); return SUCCESS; }
Status cublasLtDestroy(void *handle) {
    NEEDS(take(handle, HANDLE) == SUCCESS, INVALID_VALUE);
    int left[N_KINDS] = {0};
    for (int i = 0; i < n_things; i++) left[things[i].kind]++;
    for (int kind = 1; kind < N_KINDS; kind++) if (left[kind]) fprintf(stderr, "fake cuBLASLt: %d %s not given back\n", left[kind], names[kind]);
    return SUCCESS;
}

Status cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    NEEDS(rows && columns && leading >= (int64_t)rows, INVALID_VALUE);
    struct Thing *thing = give(LAYOUT);
    thing->type = type, thing->rows = rows, thing->columns = columns, thing->leading = leading;
    *layout = thing;
    return SUCCESS;
}
// Batch count and the distance of its matrices are attributes 5 and 6.
Status cublasLtMatrixLayoutSetAttribute(void *layout, int which, const void *value, size_t bytes) { return set(layout, LAYOUT, which, value, bytes); }
Status cublasLtMatrixLayoutDestroy(void *layout) { return take(layout, LAYOUT); }
Status cublasLtMatmulDescCreate(void **product, int compute, int scale) {
    // Sums of f32, of factors that may be rounded to tf32.
    NEEDS((compute == 68 || compute == 77) && scale == 0, INVALID_VALUE);
    *product = give(PRODUCT);
    return SUCCESS;
}
Status cublasLtMatmulDescSetAttribute(void *product, int which, const void *value, size_t bytes) { return set(product, PRODUCT, which, value, bytes); }
Status cublasLtMatmulDescDestroy(void *product) { return take(product, PRODUCT); }
Status cublasLtMatmulPreferenceCreate(void **wish) { *wish = give(WISH); return SUCCESS; }
Status cublasLtMatmulPreferenceSetAttribute(void *wish, int which, const void *value, size_t bytes) { return set(wish, WISH, which, value, bytes); }
Status cublasLtMatmulPreferenceDestroy(void *wish) { return take(wish, WISH); }

// Whether three layouts are those of a product: rows, terms and columns agree, and how many there are.
static int fits(void *description, void *layouts[3]) {
    const struct Thing *product = known(description, PRODUCT), *at[3];
    NEEDS(product && has(product, 3) && has(product, 4), 0);
    uint64_t sizes[3][2];
    for (int i = 0; i < 3; i++) {
        at[i] = known(layouts[i], LAYOUT);
        NEEDS(at[i] && has(at[i], 5) && has(at[i], 6) && at[i]->values[5] == at[0]->values[5], 0);
        int turned = i < 2 && product->values[3 + i];
        sizes[i][turned] = at[i]->rows, sizes[i][!turned] = at[i]->columns;
    }
    return sizes[0][0] == sizes[2][0] && sizes[0][1] == sizes[1][0] && sizes[1][1] == sizes[2][1];
}

struct Algorithm { uint64_t mark, number, rest[6]; };
enum { MARK = 0xb1a5, N_ALGORITHMS = 3 };
struct Offer { struct Algorithm algorithm; size_t workspace; int status; float waves; int reserved[4]; };

Status cublasLtMatmulAlgoGetHeuristic(void *handle, void *product, void *a, void *b, void *c, void *d, void *wish, int most, struct Offer *offers,
                                      int *n) {
    const struct Thing *wishes = known(wish, WISH);
    NEEDS(known(handle, HANDLE) && fits(product, (void *[]){a, b, d}) && c == d && wishes && most > 0 && offers && n, INVALID_VALUE);
    // Memory, no sums whose order is left to chance, and the alignment of all four matrices.
    NEEDS(has(wishes, 1) && has(wishes, 3) && wishes->values[3] == 0, INVALID_VALUE);
    for (int i = 5; i <= 8; i++) NEEDS(has(wishes, i) && wishes->values[i] >= 1 && wishes->values[i] <= 256, INVALID_VALUE);
    *n = most < N_ALGORITHMS ? most : N_ALGORITHMS;
    for (int i = 0; i < *n; i++) offers[i] = (struct Offer){.algorithm = {MARK, i, {~(uint64_t)0}}, .workspace = 1 << 20, .waves = 1};
    return SUCCESS;
}

Status cublasLtMatmul(void *handle, void *product, const float *alpha, const void *a, void *layout_a, const void *b, void *layout_b, const float *beta,
                      const void *c, void *layout_c, void *d, void *layout_d, const struct Algorithm *algorithm, void *workspace, size_t bytes,
                      void *stream) {
    NEEDS(known(handle, HANDLE) && fits(product, (void *[]){layout_a, layout_b, layout_d}), INVALID_VALUE);
    NEEDS(a && b && c == d && layout_c == layout_d && *alpha == 1 && (*beta == 0 || *beta == 1), INVALID_VALUE);
    NEEDS(algorithm->mark == MARK && algorithm->number < N_ALGORITHMS && algorithm->rest[0] == ~(uint64_t)0 && bytes >= 1 << 20, INVALID_VALUE);
    int number = (int)algorithm->number;
    // The first use loads a kernel, which no capture allows.
    static int loaded[N_ALGORITHMS];
    NEEDS(loaded[number] || !fakeCaptures(), INVALID_VALUE);
    loaded[number] = 1;
    const char *refused = getenv("FAKE_REFUSED"), *ms = getenv("FAKE_MS");
    NEEDS(!refused || atoi(refused) != number, NOT_SUPPORTED);
    double each[N_ALGORITHMS] = {0.008, 0.009, 0.005};
    if (ms) sscanf(ms, "%lf %lf %lf", &each[0], &each[1], &each[2]);
    const struct Thing *layout = layout_d;
    size_t element = layout->type == 14 ? 2 : 4;
    size_t last = (layout->values[5] - 1) * layout->values[6] + (layout->columns - 1) * layout->leading + layout->rows;
    return fakeProduct(stream, d, last * element, workspace, bytes, number, each[number]) ? INVALID_VALUE : SUCCESS;
}
