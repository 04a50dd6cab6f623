// A driver without a GPU, for the test of what gradc asks of NVIDIA's: memory of the host stands for the device's, copies are made at once or
// taken down into a graph, kernels and products of a library (`cublaslt.c`) are counted and not run, and take a time that is made up. It
// refuses handles that it did not give, memory out of bounds and calls that a capture forbids, and says at the end what was not given back.
// The functions have the types of CUDA's `cuda.h`.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int Result;
typedef unsigned long long Pointer;
enum { SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, CAPTURE_UNSUPPORTED = 900 };

// Everything that is given out: what it is, and how large.
enum Kind { FREE, MEMORY, HOST, STREAM, EVENT, MODULE, GRAPH, EXECUTABLE, N_KINDS };
static const char *names[] = {"free", "memory", "host memory", "stream", "event", "module", "graph", "executable graph"};
struct Thing { enum Kind kind; char *start; size_t bytes; struct Graph *graph; double ms; };
static struct Thing things[4096];
static int n_things, current, retained;
static size_t in_use, n_graph_launches;
static const size_t capacity = (size_t)1 << 28;

struct Copy { char *to, *from; size_t bytes; };
// What was handed over: the time that it takes, and products by the number of their algorithm.
enum { N_ALGORITHMS = 3 };
struct Work { double ms; size_t n_kernels, n_products[N_ALGORITHMS]; };
struct Graph { int n_copies; struct Work work; struct Copy copies[256]; };
static struct Work done;
static struct Graph *capture;
static struct Thing *capturing[8];
static int n_capturing;

static struct Thing *give(enum Kind kind, char *start, size_t bytes) {
    if (n_things == 4096) abort();
    things[n_things] = (struct Thing){kind, start, bytes, NULL, 0};
    return &things[n_things++];
}
static struct Thing *known(void *handle, enum Kind kind) {
    struct Thing *thing = handle;
    return thing >= things && thing < things + n_things && thing->kind == kind ? thing : NULL;
}
static struct Thing *holding(const void *address, size_t bytes, enum Kind kind) {
    for (int i = 0; i < n_things; i++) {
        struct Thing *t = &things[i];
        if (t->kind == kind && (const char *)address >= t->start && (const char *)address + bytes <= t->start + t->bytes) return t;
    }
    return NULL;
}
static int captures(struct Thing *stream) {
    for (int i = 0; i < n_capturing; i++) if (capturing[i] == stream) return 1;
    return 0;
}
static struct Work *work(struct Thing *stream) { return captures(stream) ? &capture->work : &done; }
static Result copy(void *to, const void *from, size_t bytes, struct Thing *stream) {
    if (stream && captures(stream)) {
        if (capture->n_copies == 256) abort();
        capture->copies[capture->n_copies++] = (struct Copy){to, (char *)from, bytes};
    } else {
        memcpy(to, from, bytes);
    }
    return SUCCESS;
}
#define NEEDS(condition, error) if (!(condition)) return error
#define CONTEXT NEEDS(current, INVALID_CONTEXT)
#define NO_CAPTURE NEEDS(!capture, CAPTURE_UNSUPPORTED)

Result cuGetErrorString(Result error, const char **text) { static char said[32]; snprintf(said, 32, "error %d", error); *text = said; return SUCCESS; }
Result cuGetErrorName(Result error, const char **text) { return cuGetErrorString(error, text); }
Result cuDriverGetVersion(int *version) { *version = 13000; return SUCCESS; }
// NVRTC asks for tables of the driver that nobody documents, and does without.
Result cuGetExportTable(const void **table, const void *id) { *table = NULL; return id ? 500 : INVALID_VALUE; }
Result cuInit(unsigned flags) { return flags; }
Result cuDeviceGetCount(int *count) { *count = 1; return SUCCESS; }
Result cuDeviceGet(int *device, int ordinal) { *device = ordinal; return ordinal ? INVALID_VALUE : SUCCESS; }
Result cuDeviceGetName(char *name, int size, int device) { snprintf(name, size, "Pretender"); return device; }
Result cuDeviceTotalMem_v2(size_t *bytes, int device) { *bytes = capacity; return device; }
Result cuDeviceGetAttribute(int *value, int which, int device) {
    *value = which == 75 ? 9 : which == 76 ? 0 : which == 16 ? 132 : which == 13 ? 1000000 : 0;
    return device;
}
Result cuDevicePrimaryCtxRetain(void **context, int device) { retained++; *context = things; return device; }
Result cuDevicePrimaryCtxRelease_v2(int device) {
    NEEDS(retained, INVALID_CONTEXT);
    if (--retained == 0) {
        int left[N_KINDS] = {0};
        for (int i = 0; i < n_things; i++) left[things[i].kind]++;
        fprintf(stderr, "fake driver: %zu kernels, %zu graphs launched;", done.n_kernels, n_graph_launches);
        size_t n_products = 0;
        for (int i = 0; i < N_ALGORITHMS; i++) n_products += done.n_products[i];
        if (n_products) fprintf(stderr, " products by algorithm %zu %zu %zu;", done.n_products[0], done.n_products[1], done.n_products[2]);
        for (int kind = 1; kind < N_KINDS; kind++) if (left[kind]) fprintf(stderr, " %d %s not given back;", left[kind], names[kind]);
        fprintf(stderr, " done\n");
    }
    return device;
}
Result cuCtxSetCurrent(void *context) { current = context == things; return current ? SUCCESS : INVALID_CONTEXT; }

Result cuMemGetInfo_v2(size_t *free, size_t *total) { CONTEXT; *free = capacity - in_use; *total = capacity; return SUCCESS; }
Result cuMemAlloc_v2(Pointer *address, size_t bytes) {
    CONTEXT; NO_CAPTURE;
    NEEDS(bytes && bytes <= capacity - in_use, OUT_OF_MEMORY);
    char *start = aligned_alloc(256, (bytes + 255) / 256 * 256);
    memset(start, 0, bytes);
    in_use += bytes;
    give(MEMORY, start, bytes);
    *address = (Pointer)start;
    return SUCCESS;
}
Result cuMemFree_v2(Pointer address) {
    CONTEXT; NO_CAPTURE;
    struct Thing *t = holding((void *)address, 0, MEMORY);
    NEEDS(t && t->start == (char *)address, INVALID_VALUE);
    in_use -= t->bytes;
    free(t->start);
    t->kind = FREE;
    return SUCCESS;
}
Result cuMemHostAlloc(void **start, size_t bytes, unsigned flags) {
    CONTEXT; NO_CAPTURE;
    *start = malloc(bytes);
    give(HOST, *start, bytes);
    return flags;
}
Result cuMemFreeHost(void *start) {
    CONTEXT;
    struct Thing *t = holding(start, 0, HOST);
    NEEDS(t && t->start == start, INVALID_VALUE);
    free(start);
    t->kind = FREE;
    return SUCCESS;
}
Result cuMemsetD8Async(Pointer to, unsigned char value, size_t bytes, void *stream) {
    CONTEXT; NEEDS(known(stream, STREAM), INVALID_HANDLE); NEEDS(holding((void *)to, bytes, MEMORY), INVALID_VALUE);
    memset((void *)to, value, bytes);
    return SUCCESS;
}
Result cuMemcpyHtoD_v2(Pointer to, const void *from, size_t bytes) {
    CONTEXT; NO_CAPTURE; NEEDS(holding((void *)to, bytes, MEMORY), INVALID_VALUE);
    return copy((void *)to, from, bytes, NULL);
}
Result cuMemcpyDtoH_v2(void *to, Pointer from, size_t bytes) {
    CONTEXT; NO_CAPTURE; NEEDS(holding((void *)from, bytes, MEMORY), INVALID_VALUE);
    return copy(to, (void *)from, bytes, NULL);
}
Result cuMemcpyHtoDAsync_v2(Pointer to, const void *from, size_t bytes, void *stream) {
    CONTEXT; NEEDS(known(stream, STREAM), INVALID_HANDLE);
    NEEDS(holding((void *)to, bytes, MEMORY) && holding(from, bytes, HOST), INVALID_VALUE);
    return copy((void *)to, from, bytes, stream);
}
Result cuMemcpyDtoHAsync_v2(void *to, Pointer from, size_t bytes, void *stream) {
    CONTEXT; NEEDS(known(stream, STREAM), INVALID_HANDLE);
    NEEDS(holding((void *)from, bytes, MEMORY) && holding(to, bytes, HOST), INVALID_VALUE);
    return copy(to, (void *)from, bytes, stream);
}
Result cuMemcpyDtoDAsync_v2(Pointer to, Pointer from, size_t bytes, void *stream) {
    CONTEXT; NEEDS(known(stream, STREAM), INVALID_HANDLE);
    NEEDS(holding((void *)to, bytes, MEMORY) && holding((void *)from, bytes, MEMORY), INVALID_VALUE);
    done.ms += 0.01;
    return copy((void *)to, (void *)from, bytes, stream);
}

Result cuModuleLoadData(void **module, const void *image) {
    CONTEXT; NO_CAPTURE; NEEDS(!memcmp(image, "\x7f" "ELF", 4), INVALID_VALUE);
    *module = give(MODULE, NULL, 0);
    return SUCCESS;
}
Result cuModuleGetFunction(void **function, void *module, const char *name) {
    CONTEXT; NEEDS(known(module, MODULE), INVALID_HANDLE); NEEDS(name[0], INVALID_VALUE);
    *function = module;
    return SUCCESS;
}
Result cuModuleUnload(void *module) {
    CONTEXT;
    struct Thing *t = known(module, MODULE);
    NEEDS(t, INVALID_HANDLE);
    t->kind = FREE;
    return SUCCESS;
}
Result cuFuncGetAttribute(int *value, int which, void *function) { CONTEXT; *value = which == 0 ? 1024 : 0; return known(function, MODULE) ? SUCCESS : INVALID_HANDLE; }
Result cuFuncSetAttribute(void *function, int which, int value) {
    CONTEXT; NEEDS(which == 8 && value <= 227 << 10, INVALID_VALUE);
    return known(function, MODULE) ? SUCCESS : INVALID_HANDLE;
}
Result cuLaunchKernel(void *function, unsigned x, unsigned y, unsigned z, unsigned tx, unsigned ty, unsigned tz, unsigned shared,
                      void *stream, void **parameters, void **extra) {
    CONTEXT; NEEDS(known(function, MODULE) && known(stream, STREAM), INVALID_HANDLE);
    NEEDS(x && y == 1 && z == 1 && tx && tx <= 1024 && ty == 1 && tz == 1 && shared <= 227 << 10 && parameters && !extra, INVALID_VALUE);
    work(stream)->n_kernels++, work(stream)->ms += 0.01;
    return SUCCESS;
}
// A product of the library.
Result fakeProduct(void *stream, void *to, size_t bytes, void *workspace, size_t workspace_bytes, int algorithm, double ms) {
    CONTEXT; NEEDS(known(stream, STREAM), INVALID_HANDLE);
    NEEDS(holding(to, bytes, MEMORY) && holding(workspace, workspace_bytes, MEMORY), INVALID_VALUE);
    work(stream)->n_products[algorithm]++, work(stream)->ms += ms;
    return SUCCESS;
}
int fakeCaptures(void) { return capture != NULL; }

Result cuStreamCreate(void **stream, unsigned flags) { CONTEXT; *stream = give(STREAM, NULL, 0); return flags == 1 ? SUCCESS : INVALID_VALUE; }
Result cuStreamDestroy_v2(void *stream) {
    struct Thing *t = known(stream, STREAM);
    NEEDS(t, INVALID_HANDLE);
    t->kind = FREE;
    return SUCCESS;
}
Result cuStreamSynchronize(void *stream) { CONTEXT; NO_CAPTURE; return known(stream, STREAM) ? SUCCESS : INVALID_HANDLE; }
Result cuStreamBeginCapture_v2(void *stream, int mode) {
    CONTEXT; NO_CAPTURE; NEEDS(known(stream, STREAM), INVALID_HANDLE);
    capture = calloc(1, sizeof *capture);
    capturing[0] = stream, n_capturing = 1;
    return mode == 1 ? SUCCESS : INVALID_VALUE;
}
Result cuStreamEndCapture(void *stream, void **graph) {
    CONTEXT; NEEDS(capture && capturing[0] == stream, INVALID_VALUE);
    struct Thing *t = give(GRAPH, NULL, 0);
    t->graph = capture, capture = NULL, n_capturing = 0;
    *graph = t;
    return SUCCESS;
}
Result cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long flags) {
    CONTEXT; NEEDS(known(graph, GRAPH), INVALID_HANDLE);
    struct Thing *t = give(EXECUTABLE, NULL, 0);
    t->graph = ((struct Thing *)graph)->graph;
    *executable = t;
    return (Result)flags;
}
Result cuGraphLaunch(void *executable, void *stream) {
    CONTEXT; NO_CAPTURE;
    struct Thing *t = known(executable, EXECUTABLE);
    NEEDS(t && known(stream, STREAM), INVALID_HANDLE);
    for (int i = 0; i < t->graph->n_copies; i++) memcpy(t->graph->copies[i].to, t->graph->copies[i].from, t->graph->copies[i].bytes);
    done.ms += t->graph->work.ms, done.n_kernels += t->graph->work.n_kernels, n_graph_launches++;
    for (int i = 0; i < N_ALGORITHMS; i++) done.n_products[i] += t->graph->work.n_products[i];
    return SUCCESS;
}
Result cuGraphExecDestroy(void *executable) {
    struct Thing *t = known(executable, EXECUTABLE);
    NEEDS(t, INVALID_HANDLE);
    t->kind = FREE;
    return SUCCESS;
}
Result cuGraphDestroy(void *graph) {
    struct Thing *t = known(graph, GRAPH);
    NEEDS(t, INVALID_HANDLE);
    t->kind = FREE;
    return SUCCESS;
}

// An event that was recorded in a capture draws whoever waits for it into the capture.
Result cuEventCreate(void **event, unsigned flags) { CONTEXT; NO_CAPTURE; *event = give(EVENT, NULL, flags); return SUCCESS; }
Result cuEventRecord(void *event, void *stream) {
    CONTEXT;
    struct Thing *t = known(event, EVENT);
    NEEDS(t && known(stream, STREAM), INVALID_HANDLE);
    t->graph = captures(stream) ? capture : NULL, t->ms = done.ms;
    return SUCCESS;
}
Result cuStreamWaitEvent(void *stream, void *event, unsigned flags) {
    CONTEXT;
    struct Thing *t = known(event, EVENT);
    NEEDS(t && known(stream, STREAM), INVALID_HANDLE);
    if (capture && t->graph == capture && !captures(stream)) capturing[n_capturing++] = stream;
    return (Result)flags;
}
Result cuEventSynchronize(void *event) { CONTEXT; NO_CAPTURE; return known(event, EVENT) ? SUCCESS : INVALID_HANDLE; }
Result cuEventElapsedTime_v2(float *ms, void *start, void *end) {
    CONTEXT; NEEDS(known(start, EVENT) && known(end, EVENT), INVALID_HANDLE);
    // Only events that were made for it have a time.
    NEEDS(!((struct Thing *)start)->bytes && !((struct Thing *)end)->bytes, INVALID_HANDLE);
    *ms = (float)(((struct Thing *)end)->ms - ((struct Thing *)start)->ms);
    return SUCCESS;
}
Result cuEventDestroy_v2(void *event) {
    struct Thing *t = known(event, EVENT);
    NEEDS(t, INVALID_HANDLE);
    t->kind = FREE;
    return SUCCESS;
}
